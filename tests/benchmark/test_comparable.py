"""My method against stored runs: only it is trained, and only what may be compared is compared."""

import json
import shutil

import pandas as pd
import pytest

from benchmark import InputError, store
from benchmark.report import ReportOptions, notes, runs, tables, write
from benchmark.report.summary import summarise
from tests.support.sweeps import BUDGET, TINY, run_sweep, small_plan, write_method

SEEDS = {"seeds": [0, 1]}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Somebody's results: two methods, two seeds."""
    folder = tmp_path_factory.mktemp("stored")
    run_sweep(small_plan(["prior", "pce"], **SEEDS), folder)
    for path in folder.rglob("label*.npz"):
        path.unlink()
    return folder


@pytest.fixture
def mine(tmp_path):
    return write_method(tmp_path, "mine", "pass", "return np.zeros((1, 32, 32), np.uint8)")


def test_only_mine_is_trained_and_all_stand_in_one_table(stored, mine, tmp_path):
    plan = small_plan([mine], against=str(stored), **SEEDS)
    screen = run_sweep(plan, tmp_path / "r")
    assert [method for method, *_ in screen.lines] == ["mine", "mine"]
    read = runs.read(tmp_path / "r")
    summary = summarise(read)
    table = tables.main_table(summary.cells)
    assert list(table.index) == ["mine", "prior", "pce"]
    second = tables.main_table(summarise(runs.read(stored)).cells)
    dice = ("octa_phantom scribble:sim", "Dice")
    assert table[dice]["pce"].partition(" [")[0].strip("*°") == second[dice]["pce"].partition(" [")[0].strip("*°")
    assert set(summary.tests.method) == {"mine", "prior"}  # differences to pce
    assert f"Not trained here: prior, pce (of {stored.resolve()})." in " ".join(notes(read, summary))


def test_stored_runs_of_other_seeds_are_left_out(stored, mine, tmp_path):
    run_sweep(small_plan([mine], against=str(stored), seeds=[1]), tmp_path / "r")
    read = runs.read(tmp_path / "r")
    assert sorted(zip(read.runs.row, read.runs.seed, strict=True)) == [("mine", 1), ("pce", 1), ("prior", 1)]


def test_a_run_of_mine_replaces_the_stored_one_of_that_row(stored, tmp_path):
    run_sweep(small_plan(["prior"], against=str(stored), **SEEDS), tmp_path / "r")
    read = runs.read(tmp_path / "r")
    assert sorted(zip(read.runs.row, read.runs.stored == "", strict=True)) == [
        *[("pce", False)] * 2, *[("prior", True)] * 2
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"budget": ["steps=3", "batch=2", "size=32"]}, "steps is 2 in the stored run and 3 here"),
        ({"seeds": [0, 7]}, "seed is 0 in the stored run and 7 here|seed is 1 in the stored run and 7 here"),
        ({"annotations": ["point"]}, "no stored run has that data set and annotation"),
        ({"options": ["octa_phantom.size=48", "octa_phantom.train=2", "octa_phantom.val=0", "octa_phantom.test=2"]},
         "size is 32 in the stored run and 48 here, the data's fingerprint is"),
    ],
)  # fmt: skip
def test_what_can_not_be_compared_is_refused_before_anything_is_trained(stored, mine, change, difference):
    given = {"seeds": [0], "budget": BUDGET, "against": str(stored)} | change
    with pytest.raises(InputError, match=f"no run to compare with on octa_phantom.*({difference})"):
        small_plan([mine], **given)


def test_runs_on_other_states_of_the_data_are_refused(stored, mine, tmp_path):
    other = shutil.copytree(stored, tmp_path / "other")
    for path in other.rglob("run.json"):
        run = json.loads(path.read_text())
        run["identity"]["data"] = "0123456789abcdef"
        path.write_text(json.dumps(run))
    with pytest.raises(InputError, match="the data's fingerprint is 01234567 in the stored run and .* here"):
        small_plan([mine], against=str(other))


def test_a_name_that_is_not_stored_is_refused_with_those_that_are(mine):
    with pytest.raises(InputError, match="no stored runs 'nothing'; there are reference, federated-acdc, reference-"):
        small_plan([mine], against="nothing")


def test_all_that_travel_with_the_package_can_be_compared_with():
    assert list(store.stored("reference")) == sorted(path.stem for path in (store.FOLDER / "sets").iterdir())
    assert list(store.stored("smoke")) == ["smoke"]


def test_the_smoke_runs_can_be_compared_with_runs_of_this_version():
    """The data and the protocol that they were made with are those of today."""
    from benchmark.plan.jobs import make_plan
    from benchmark.plan.presets import Request

    assert len(make_plan(Request(preset="smoke", methods=["prior"], against="smoke")).jobs) == 3


def test_stored_runs_with_snapshots_stand_in_a_report_whether_or_not_these_travelled(tmp_path):
    """A wheel holds scores of the last step alone; a colleague's folder holds the snapshots, too."""
    kept = {"datasets": ["octa_phantom"], "options": [*TINY[:2], "octa_phantom.val=2", TINY[3]]}
    kept["budget"] = [*BUDGET, "snapshots=2"]
    run_sweep(small_plan(["pce"], **kept), tmp_path / "second")
    run_sweep(small_plan(["prior"], against=str(tmp_path / "second"), **kept), tmp_path / "first")
    folder = write(tmp_path / "first", tmp_path / "reports", ReportOptions(formats=["csv"]))
    assert set(pd.read_csv(folder / "leaks.csv").method) == {"pce", "prior"}
    next((tmp_path / "second").rglob("snapshots.csv")).unlink()
    folder = write(tmp_path / "first", tmp_path / "reports", ReportOptions(formats=["csv"]))
    assert set(pd.read_csv(folder / "leaks.csv").method) == {"prior"}
    assert set(pd.read_csv(folder / "table.csv").method) == {"pce", "prior"}
