"""Truth can't reach a method: the five guards of the process boundary, and the truth-swap test."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmark.plan.jobs import make_plan
from benchmark.plan.presets import Request
from tests.support.sweeps import BUDGET, processes, run_sweep, small_plan, write_method
from tests.tiny import acdc as tiny

SPY = """import json, pathlib
        sealed, job = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[1])
        try:
            import benchmark.datasets.base
            imported = "it imports"
        except ImportError as error:
            imported = repr(error)
        try:
            import datasets
            bare = datasets.__file__
        except ImportError as error:
            bare = repr(error)
        opened = [os.path.realpath(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')]
        mapped = pathlib.Path('/proc/self/maps').read_text()
        seen = dict(env=dict(os.environ), argv=sys.argv, job=job.read_text(), sealed=sorted(os.listdir(sealed)),
                    index=(sealed / 'index.json').read_text(), imported=imported, bare=bare, opened=opened,
                    mapped=[name for name in ('train-image', 'test-image') if name in mapped],
                    cwd=os.getcwd(), pid=os.getpid(), vars=[sorted(vars(scan)) for scan in data])
        open(self.where, 'w').write(json.dumps(seen))"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What a method can see while it learns, on real-looking data with telling names."""
    root = tmp_path_factory.mktemp("spied")
    data, results = tiny.write(root / "secret-data"), root / "secret-results"
    method = write_method(root, "spy", SPY, "return np.zeros(scan.image[:, 0].shape, np.uint8)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHMARK_DATA", str(data))
        patch.setenv("MY_OWN_NOTE", f"masks are in {data}")
        patch.setenv("PWD", str(data))
        given = {"methods": [method], "datasets": ["acdc"], "data": data, "budget": BUDGET}
        plan = make_plan(Request(**given, options=[f"spy.where={root / 'seen.json'}"]))
        screen = run_sweep(plan, results, executor=processes(results, data))
    assert screen.lines == [("spy", "done", "")]
    return json.loads((root / "seen.json").read_text())


def test_guard_the_worker_is_a_process_of_its_own(seen):
    assert seen["pid"] != os.getpid()


def test_guard_the_job_names_no_data_set_no_scan_and_no_path_to_truth_or_results(seen):
    for text in (seen["job"], seen["index"], *seen["argv"]):
        for secret in ("acdc", "patient", "strat5", "secret-data", "secret-results", "DCM", "HCM", "MINF", "NOR", "RV"):
            assert secret not in text
    assert seen["sealed"] == ["index.json", "test-image", "train-allowed", "train-image"]
    assert set(map(tuple, seen["vars"])) == {("allowed", "image", "site", "spacing")}


def test_guard_of_sites_the_index_holds_numbers_alone(seen):
    index = json.loads(seen["index"])
    for part in ("train", "test"):
        assert all(each.keys() <= {"shape", "spacing", "site"} for each in index[part])
        assert {each.get("site", 0) for each in index[part]} == {0, 1, 2, 3, 4}
        assert all(type(each.get("site", 0)) is int for each in index[part])


def test_guard_the_environment_names_neither_data_nor_results(seen):
    assert not any("secret-data" in value or "secret-results" in value for value in seen["env"].values())
    assert not any(name.startswith("BENCHMARK_") for name in seen["env"])
    assert seen["env"]["OMP_NUM_THREADS"] == "1"
    assert "secret" not in seen["cwd"]


def test_guard_data_sets_do_not_import(seen):
    assert "ImportError" in seen["imported"] or "ModuleNotFoundError" in seen["imported"]


def test_guard_nor_do_they_under_the_name_of_their_folder(seen):
    assert not seen["bare"].startswith(str(Path(__file__).parents[2]))


def test_guard_test_images_are_closed_while_the_method_learns(seen):
    assert seen["mapped"] == ["train-image"]
    assert not any("test-image" in path or "secret-data" in path for path in seen["opened"])


def write_masks(data, other):
    """A tiny ACDC, with other masks if so asked; the scribbles are the same."""
    tiny.write(data)
    for path in sorted((data / "acdc/ACDC_training_volumes").glob("*.h5")) if other else ():
        tiny.change(data, path.stem, label=np.full((2, 32, 28), int(path.stem[-1]) % 4, np.uint8))
    return data


SPYING = '''"""Looks at what is open while it learns."""
import pathlib
from dataclasses import dataclass
from typing import Annotated
import numpy as np
from benchmark.methods.base import Method, Range

@dataclass
class Spying(Method):
    """For a test."""

    where: str = ""
    factor: Annotated[float, Range(1, 2)] = 1.0

    def fit(self, data, budget, log):
        mapped = pathlib.Path("/proc/self/maps").read_text()
        with open(self.where, "a") as file:
            print(*(part for part in ("train-image", "val-image", "val-allowed", "test-image") if part in mapped), file=file)

    def predict(self, scan):
        return np.zeros(scan.image[:, 0].shape, np.uint8)
'''


@pytest.mark.slow
def test_guard_held_out_scans_are_closed_while_any_trial_learns(tmp_path):
    """Those of one trial are closed again before the next begins."""
    (tmp_path / "spying.py").write_text(SPYING)
    options = ["octa_phantom.size=32", "octa_phantom.val=2", f"spying.where={tmp_path / 'seen'}"]
    plan = small_plan([str(tmp_path / "spying.py")], options=options, budget=[*BUDGET, "snapshots=2", "tune=2"])
    assert run_sweep(plan, tmp_path / "results", executor=processes()).lines == [("spying", "done", "")]
    assert (tmp_path / "seen").read_text().splitlines() == ["train-image"] * 3


@pytest.mark.slow
def test_other_masks_of_held_out_scans_change_neither_labels_nor_the_loss_on_their_marks(tmp_path):
    """The truth-swap test where snapshots are kept and options are tuned: all that a worker made is the same."""
    labels, made, scores = [], [], []
    for name in ("one", "two"):
        data, results = write_masks(tmp_path / name, name == "two"), tmp_path / f"results-{name}"
        budget = [*BUDGET, "snapshots=2", "tune=1"]
        plan = make_plan(Request(methods=["entropy"], datasets=["acdc"], data=data, budget=budget))
        run_sweep(plan, results, executor=processes(results, data))
        folder = results / "runs" / plan.jobs[0].folder
        run = json.loads((folder / "run.json").read_text())
        labels.append({path.name: np.load(path)["labels"] for path in sorted(folder.glob("*.npz"))})
        made.append((run["worker"]["trials"], [each["weakval"] for each in run["snapshots"]], run["selected"]["weakval"]))
        scores.append((folder / "snapshots.csv").read_text())
    assert len(labels[0]) == 2 * (40 + len(run["val_scans"]))
    assert labels[0].keys() == labels[1].keys()
    assert all(np.array_equal(labels[0][name], labels[1][name]) for name in labels[0])
    assert made[0] == made[1]
    assert scores[0] != scores[1]


@pytest.mark.slow
def test_other_masks_on_disk_change_no_label_map(tmp_path):
    """The truth-swap test: same images and scribbles, other masks and other results; bit-identical predictions."""
    labels, cases = [], []
    for name in ("one", "two"):
        data = write_masks(tmp_path / name, name == "two")
        results = tmp_path / f"results-{name}"
        plan = make_plan(Request(methods=["pce_dice"], datasets=["acdc"], data=data, budget=BUDGET))
        run_sweep(plan, results, executor=processes(results, data))
        folder = results / "runs" / plan.jobs[0].folder
        labels.append([np.load(path)["labels"] for path in sorted(folder.glob("*.npz"))])
        cases.append((folder / "cases.csv").read_text())
    assert len(labels[0]) == 40
    assert all(map(np.array_equal, *labels))
    assert cases[0] != cases[1]
