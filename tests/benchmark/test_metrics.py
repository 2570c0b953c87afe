"""A metric of one's own: the protocol's rules for empty masks hold, stored runs get its column, and reports show it."""

import gzip
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from benchmark import InputError, store
from benchmark.plan import plugins
from benchmark.report import ReportOptions, runs, write
from benchmark.score.evaluate import COUNTS, METRICS, evaluate
from benchmark.score.metrics import Named, named
from benchmark.score.stored import rescore
from tests.support.sweeps import run_sweep, small_plan

SHARE = '''"""How much of the truth's volume was predicted."""

import numpy as np

from benchmark.score.metrics import Metric


class Share(Metric):
    """The smaller volume's share of the larger."""

    title = "volume share"
    better = 1
    low, high = 0.0, 1.0
    miss = 0.0

    def measure(self, prediction, truth, spacing):
        predicted, true = int(prediction.sum()), int(truth.sum())
        return min(predicted, true) / max(predicted, true)
'''
DISTANCE = SHARE.replace("    low, high = 0.0, 1.0\n    miss = 0.0\n", "    distance = True\n").replace(
    "better = 1", "better = -1"
)
REGIONS = {"one": (1,), "both": (1, 2)}


def own(tmp_path, text=SHARE, name="share"):
    """The metric of a file with that text."""
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    return named(plugins.get("metric", str(path)))


def stack(*labels):
    """A stack of one row per slice."""
    return np.array(labels, np.uint8)[:, None]


def value(metric, prediction, truth, spacing=None, region="one"):
    """The metric's score of a region, next to the suite's."""
    scores = evaluate(prediction, truth, REGIONS, spacing, extra=[metric])[region]
    assert tuple(scores) == (*METRICS, *COUNTS, metric.name)
    return scores[metric.name]


def test_it_scores_every_region_of_a_scan(tmp_path):
    pair = stack([1, 1, 0, 2]), stack([1, 0, 0, 2])
    assert [value(own(tmp_path), *pair, region=region) for region in REGIONS] == [1 / 2, 2 / 3]


def test_it_is_given_masks_of_the_whole_scan(tmp_path):
    width = own(
        tmp_path,
        SHARE.replace("1.0", "99").replace("predicted, true =", "return truth.shape[2]\n        predicted, true ="),
        "width",
    )
    assert value(width, stack([0] * 50 + [1]), stack([0] * 49 + [1, 0])) == 51


def test_a_region_that_the_truth_lacks_has_no_value_whatever_was_predicted(tmp_path):
    assert math.isnan(value(own(tmp_path), stack([1, 1, 0, 2]), stack([0, 0, 0, 2])))


def test_a_miss_gets_the_declared_value(tmp_path):
    metric = own(tmp_path, SHARE.replace("0.0, 1.0", "-1.0, 1.0").replace("miss = 0.0", "miss = -0.5"), "half")
    assert value(metric, stack([0, 0, 2]), stack([1, 0, 2])) == -0.5


def test_a_missed_distance_is_the_diagonal_of_the_scan(tmp_path):
    far = value(own(tmp_path, DISTANCE, "far"), stack([0] * 4, [0] * 4), stack([1] * 4, [0] * 4), (6, 1, 4))
    assert far == math.hypot(2 * 6, 4 * 4)  # axes of length one don't count


def test_a_stack_of_unknown_spacing_has_no_distance(tmp_path):
    labels = stack([1, 0], [1, 0])
    assert math.isnan(value(own(tmp_path, DISTANCE, "unspaced"), labels, labels))
    assert value(own(tmp_path), labels, labels) == 1


def test_a_value_that_is_not_finite_is_an_error(tmp_path):
    metric = own(tmp_path, SHARE.replace("return min", "return np.inf * min"), "endless")
    with pytest.raises(ValueError, match="metric endless returned inf; it must be finite"):
        value(metric, stack([1]), stack([1]))


def test_stored_runs_have_the_columns_of_scores():
    with gzip.open(store.FOLDER / "cases.csv.gz", "rt") as file:
        heading = file.readline().strip().split(",")
    known = ["run", "scan", "patient", "region", "unit", *METRICS, *COUNTS]
    assert set(heading) == set(known)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("better = 1", "better = 2", "better is 2; it must be 1 .* or -1"),
        ("    miss = 0.0\n", "", "miss is nan; it must be from low to high"),
        ("miss = 0.0", "miss = 3.0", "miss is 3.0; it must be"),
        ('    title = "volume share"\n', "", "has no valid title"),
        ('"volume share"', '"Dice"', "has the title 'Dice' of dice; give it another"),
    ],
)
def test_a_metric_that_does_not_say_what_it_must_is_refused(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message):
        own(tmp_path, SHARE.replace(old, new), f"wrong{abs(hash(new))}")


def test_a_value_that_its_bounds_exclude_is_an_error(tmp_path):
    percent = own(tmp_path, SHARE.replace("return min", "return 100 * min"), "percent")
    with pytest.raises(ValueError, match="metric percent returned 100; its low and high are 0 and 1"):
        value(percent, stack([0, 1, 1]), stack([0, 1, 1]))


@pytest.mark.parametrize("name", ["dice", "n_missed", "scan"])
def test_a_name_that_scores_have_already_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=f"the metric name '{name}' of .* is taken: scores have a column of that name"):
        own(tmp_path, SHARE, name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run_sweep(small_plan(["prior"]), folder)
    return folder


@pytest.fixture
def results(trained, tmp_path):
    """A copy of a results folder with one run, and a file with a metric."""
    (tmp_path / "share.py").write_text(SHARE)
    return shutil.copytree(trained, tmp_path / "results")


def case_columns(results):
    return list(pd.read_csv(next(results.rglob("cases.csv"))))


def test_stored_runs_get_its_column_and_lose_it_again(results, tmp_path):
    before = {path.name: path.read_bytes() for path in next(results.rglob("run.json")).parent.iterdir()}
    rescore(results, tmp_path, metrics=[str(tmp_path / "share.py")])
    assert case_columns(results)[-1] == "share"
    assert json.loads(next(results.rglob("run.json")).read_text())["metrics"]["share"]["title"] == "volume share"
    rescore(results, tmp_path)
    assert {path.name: path.read_bytes() for path in next(results.rglob("run.json")).parent.iterdir()} == before


def test_a_report_shows_it_like_any_other(results, tmp_path):
    rescore(results, tmp_path, metrics=[str(tmp_path / "share.py")])
    folder = write(results, tmp_path / "reports", ReportOptions(metrics=["share", "dice"], formats=["md", "csv"]))
    assert "volume share" in (folder / "table.md").read_text()
    cells = pd.read_csv(folder / "table.csv").query("metric == 'share' and region == 'mean'")
    patients = pd.read_csv(folder / "patients.csv").query("region == 'mean'")
    assert cells["mean"].item() == pytest.approx(patients.share.mean())


def test_two_versions_of_a_metric_are_not_compared(results, tmp_path):
    rescore(results, tmp_path, metrics=[str(tmp_path / "share.py")])
    path = next(results.rglob("run.json"))
    other = path.parent.with_name(path.parent.name.replace("seed0", "seed1"))
    other.mkdir()
    for file in path.parent.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    run = json.loads(path.read_text())
    run["identity"]["seed"], run["metrics"]["share"]["code"] = 1, "another"
    (other / "run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match="two versions of the metric share; score all with one"):
        runs.read(results)


@pytest.mark.parametrize(
    "held", [{"share": 3}, {"share": {"title": "x", "better": 0, "low": 0, "high": 1, "distance": False}}]
)
def test_facts_that_are_damaged_are_named(results, tmp_path, held):
    rescore(results, tmp_path, metrics=[str(tmp_path / "share.py")])
    path = next(results.rglob("run.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": held}))
    with pytest.raises(InputError, match="run.json is damaged"):
        runs.read(results)


def test_its_record_is_json_that_any_reader_takes(tmp_path):
    metric = own(tmp_path, SHARE.replace("    low, high = 0.0, 1.0\n", ""), "unbounded")
    assert isinstance(metric, Named)
    record = metric.record()
    assert (record["low"], record["high"]) == (None, None)
    json.dumps(record, allow_nan=False)


def test_a_sweep_scores_with_it_as_scoring_again_does(results, tmp_path):
    rescore(results, tmp_path, metrics=[str(tmp_path / "share.py")])
    plan = small_plan(["prior"], metrics=[str(tmp_path / "share.py")])
    assert [job.hash for job in plan.jobs] == [job.hash for job in small_plan(["prior"]).jobs]
    run_sweep(plan, tmp_path / "fresh")
    again, fresh = (next(folder.rglob("cases.csv")) for folder in (results, tmp_path / "fresh"))
    assert fresh.read_bytes() == again.read_bytes()
    assert fresh.parent.name == again.parent.name
    predicted, second = (json.loads((path.parent / "run.json").read_text()) for path in (fresh, again))
    assert predicted["metrics"] == second["metrics"]


def test_a_report_shows_the_values_that_are_there(results, tmp_path):
    plan = small_plan(["prior", "geodesic"], metrics=[str(tmp_path / "share.py")])
    run_sweep(plan, results)  # the prior is done, and has no value
    table = write(results, tmp_path / "reports", ReportOptions(metrics=["share"], formats=["md"])) / "table.md"
    lines = {line.split()[1]: line for line in table.read_text().splitlines() if line.startswith("| ")}
    assert "not defined" in lines["prior"]
    assert "not defined" not in lines["geodesic"]


def test_a_run_is_stored_without_a_metric_that_raises_and_can_be_scored_again(tmp_path):
    raises, share = tmp_path / "raises.py", tmp_path / "share.py"
    share.write_text(SHARE)
    raising = SHARE.replace('"volume share"', '"another title"')
    raises.write_text(raising.replace("        predicted", "        raise KeyError('no idea')\n        predicted", 1))
    plan = small_plan(["prior"], metrics=[str(raises), str(share)])
    ((name, state, reason),) = run_sweep(plan, tmp_path / "results").lines
    assert (name, state) == ("prior", "done")
    assert reason.startswith("not scored with all metrics: metric raises raised KeyError('no idea'); mend it")
    (path,) = (tmp_path / "results").rglob("run.json")
    assert list(json.loads(path.read_text())["metrics"]) == ["share"]
    assert json.loads(path.read_text())["reason"] == reason
    assert "raises" not in runs.read(tmp_path / "results").cases
    raises.write_text(raising)
    plugins.read_again()
    rescore(tmp_path / "results", tmp_path, metrics=[str(raises), str(share)])
    record = json.loads(path.read_text())
    assert (list(record["metrics"]), record["reason"]) == (["raises", "share"], "")


def test_a_metric_that_is_not_there_is_refused_when_a_sweep_is_planned():
    with pytest.raises(InputError, match=r"there is no file nowhere\.py"):
        small_plan(["prior"], metrics=["nowhere.py"])
