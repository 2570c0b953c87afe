"""Snapshots: what is kept, what it changes, and what each rule of selection takes."""

import csv
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from benchmark import InputError, report
from benchmark.check import data_of
from benchmark.methods.base import Method
from benchmark.methods.pce import PartialCrossEntropy
from benchmark.score.stored import mean_dice, rescore, score_snapshots
from benchmark.seal.contract import Budget, WeakScan
from benchmark.train.worker import seed_everything
from tests.support.sweeps import BUDGET, TINY, run_sweep, small_plan, write_method

WITH_VAL = [*TINY[:2], "octa_phantom.val=2", TINY[3]]
SNAPSHOTS = ["steps=6", "batch=2", "size=32", "snapshots=3"]

DIARY = '''"""Partial cross-entropy that writes down what it would predict after every step."""
from dataclasses import dataclass
import numpy as np
import torch
from benchmark.methods.mean_teacher import MeanTeacher
from benchmark.seal.contract import TestScan


@dataclass
class Diary(MeanTeacher):
    """For a test."""

    where: str = ""

    def after_step(self, batch, progress):
        super().after_step(batch, progress)
        rows, columns = np.mgrid[:32, :32] / 32
        scan = TestScan(np.float32(rows * columns)[None, None])
        done = round(progress * self.budget.steps) + 1
        np.save(f"{self.where}/{done}.npy", np.r_[self.marks_loss(scan_with_marks(scan), 2), self.predict(scan).ravel()])

    def restore(self, state):
        super().restore(state)
        rows, columns = np.mgrid[:32, :32] / 32
        scan = TestScan(np.float32(rows * columns)[None, None])
        found = np.r_[self.marks_loss(scan_with_marks(scan), 2), self.predict(scan).ravel()]
        np.save(f"{self.where}/restored-{len(list(__import__('pathlib').Path(self.where).glob('restored*')))}.npy", found)


def scan_with_marks(scan):
    from benchmark.seal.contract import WeakScan
    return WeakScan(scan.image, np.where(scan.image[:, 0] > 0.4, 2, 3).astype(np.uint8))
'''


def only_run(results):
    return next((results / "runs").glob("*/*/*/*/run.json")).parent


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run with three snapshots, and its diary."""
    root = tmp_path_factory.mktemp("kept")
    (root / "diary.py").write_text(DIARY)
    (root / "pages").mkdir()
    options = [*WITH_VAL, f"diary.where={root / 'pages'}"]
    screen = run_sweep(small_plan([str(root / "diary.py")], options=options, budget=SNAPSHOTS), root / "results")
    assert screen.lines == [("diary", "done", "")]
    return root


def test_a_restored_snapshot_predicts_what_it_did_when_it_was_kept(kept):
    for number, step in enumerate((2, 4)):
        then, now = np.load(kept / f"pages/{step}.npy"), np.load(kept / f"pages/restored-{number}.npy")
        np.testing.assert_array_equal(now[1:], then[1:])
        assert now[0] == pytest.approx(then[0], rel=1e-6)


def test_a_run_holds_the_scores_of_every_snapshot_on_test_and_held_out_scans(kept):
    folder = only_run(kept / "results")
    with (folder / "snapshots.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "cases.csv").open(newline="") as file:
        cases = list(csv.DictReader(file))
    assert {(row["part"], row["step"]) for row in rows} == {(part, str(s)) for part in ("val", "test") for s in (2, 4, 6)}
    assert [{k: row[k] for k in cases[0]} for row in rows if (row["part"], row["step"]) == ("test", "6")] == cases
    run = json.loads((folder / "run.json").read_text())
    assert [each["step"] for each in run["snapshots"]] == [2, 4, 6]
    assert run["selected"]["last"] == 6
    assert not set(run["scans"]) & set(run["val_scans"])
    for part in ("val", "test"):
        dice = {each["step"]: each[f"{part}_dice"] for each in run["snapshots"]}
        assert dice[run["selected"][part]] == max(dice.values())
        own = [row for row in rows if (row["part"], row["step"]) == (part, "4")]
        assert dice[4] == pytest.approx(mean_dice(own))
    losses = {each["step"]: each["weakval"] for each in run["snapshots"]}
    assert losses[run["selected"]["weakval"]] == min(losses.values())


def test_keeping_snapshots_changes_neither_labels_nor_the_log_of_the_last_step(kept, tmp_path):
    (tmp_path / "pages").mkdir()
    options = [*WITH_VAL, f"diary.where={tmp_path / 'pages'}"]
    plan = small_plan([str(kept / "diary.py")], options=options, budget=SNAPSHOTS[:3])
    run_sweep(plan, tmp_path / "results")
    with_snapshots, without = only_run(kept / "results"), only_run(tmp_path / "results")
    for path in without.glob("label*.npz"):
        np.testing.assert_array_equal(np.load(path)["labels"], np.load(with_snapshots / path.name)["labels"])
    losses = [
        [json.loads(line)["loss"] for line in (folder / "train.jsonl").read_text().splitlines()]
        for folder in (with_snapshots, without)
    ]
    assert losses[0] == losses[1]
    assert not list(without.glob("step*"))
    assert not (without / "snapshots.csv").exists()


def test_the_report_shows_the_leak_delta_and_takes_the_selection_that_is_asked_for(kept, tmp_path):
    folder = report.write(kept / "results", tmp_path, report.ReportOptions(formats=["md"]))
    assert "leak delta" in (folder / "leaks.md").read_text()
    run = json.loads((only_run(kept / "results") / "run.json").read_text())
    for rule in ("last", "weakval", "val", "test"):
        options = report.ReportOptions(selection=rule, formats=["md", "csv"])
        table = report.write(kept / "results", tmp_path / rule, options) / "table.csv"
        with table.open(newline="") as file:
            mean = next(
                float(row["mean"]) for row in csv.DictReader(file) if (row["metric"], row["region"]) == ("dice", "mean")
            )
        chosen = {each["step"]: each["test_dice"] for each in run["snapshots"]}[run["selected"][rule]]
        assert mean == pytest.approx(chosen)
    assert "an oracle" in (tmp_path / "test" / "report" / "notes.md").read_text()


def test_scoring_again_scores_snapshots_too(kept):
    folder = only_run(kept / "results")
    before = {name: (folder / name).read_text() for name in ("snapshots.csv", "cases.csv", "run.json")}
    (folder / "snapshots.csv").write_text("")
    assert rescore(kept / "results", kept) == 1
    assert {name: (folder / name).read_text() for name in before} == before


def test_runs_without_snapshots_are_set_aside_where_a_selection_is_asked_for(tmp_path):
    run_sweep(small_plan(["prior"], options=WITH_VAL), tmp_path)
    with pytest.raises(InputError, match="no run in .* kept snapshots to select from; run with --budget snapshots=10"):
        report.write(tmp_path, tmp_path / "reports", report.ReportOptions(selection="val"))
    run_sweep(small_plan(["prior"], options=WITH_VAL, budget=SNAPSHOTS), tmp_path)
    folder = report.write(tmp_path, tmp_path / "reports", report.ReportOptions(selection="val", formats=["html"]))
    assert "it kept no snapshots to select from" in (folder / "index.html").read_text()


def test_a_method_without_states_has_one_snapshot(tmp_path):
    run_sweep(small_plan(["prior"], options=WITH_VAL, budget=SNAPSHOTS), tmp_path)
    run = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert [each["step"] for each in run["snapshots"]] == [6]
    assert set(run["selected"].values()) == {6}


def test_equals_go_to_the_later_step(tmp_path):
    from benchmark.datasets.phantom import OctaPhantom

    dataset = OctaPhantom(tmp_path, size=32, train=1, val=1, test=1)
    split = dataset.split("default")
    for stem in ("label0000", "step000002-test0000", "step000002-val0000", "step000004-val0000"):
        np.save(tmp_path / f"{stem}.npy", dataset.load(split.test[0]).mask * 0)
    kept_steps = [{"step": 4, "weakval": 0.5}, {"step": 2, "weakval": 0.5}]
    _, chosen = score_snapshots(dataset, split.test, split.val, kept_steps, tmp_path)
    assert set(chosen["selected"].values()) == {4}


def test_a_split_that_holds_nobody_out_refuses_selection():
    for budget, what in ((SNAPSHOTS, "snapshots"), ([*BUDGET, "tune=1"], "tune")):
        with pytest.raises(InputError, match=f"{what} needs held-out patients, and split default .* splits with some: none"):
            small_plan(["pce"], budget=budget)


def test_more_snapshots_than_steps_are_refused():
    with pytest.raises(InputError, match="snapshots is 9; it must be at most the number of steps, 6"):
        small_plan(["pce"], options=WITH_VAL, budget=["steps=6", "size=32", "snapshots=9"])


def test_runs_without_selection_are_who_they_were():
    """Their identity, and so their hash, says nothing of snapshots and trials."""
    job = small_plan(["pce"]).jobs[0]
    assert not {"snapshots", "tune"} & set(job.identity()["budget"])
    other = small_plan(["pce"], options=WITH_VAL, budget=SNAPSHOTS).jobs[0]
    assert other.identity()["budget"]["snapshots"] == 3


def test_only_jobs_that_select_are_sealed_with_held_out_marks(tmp_path):
    body = "import pathlib; names = ' '.join(sorted(os.listdir(sys.argv[2])))\n"
    body += "        (pathlib.Path(self.where) / str(budget.snapshots)).write_text(names)"
    method = write_method(tmp_path, "spy", body, "return np.zeros(scan.image[:, 0].shape, np.uint8)")
    for budget in (SNAPSHOTS, SNAPSHOTS[:3]):
        run_sweep(small_plan([method], options=[*WITH_VAL, f"spy.where={tmp_path}"], budget=budget), tmp_path / "results")
    assert (tmp_path / "3").read_text() == "index.json test-image train-allowed train-image val-allowed val-image"
    assert (tmp_path / "0").read_text() == "index.json test-image train-allowed train-image"


@pytest.mark.parametrize(("annotation", "known"), [("tags", False), ("box", True), ("slices:1", True)])
def test_every_annotation_is_made_of_held_out_scans_and_without_marks_the_last_step_stands(tmp_path, annotation, known):
    """Tags of images that hold all classes say nothing: the loss is not known, and nothing fails."""
    path = tmp_path / "any.py"
    write_method(tmp_path, "any", "pass", "return np.zeros(scan.image[:, 0].shape, np.uint8)")
    path.write_text(path.read_text().replace("    where:", "    annotations = ('tags', 'box', 'slices')\n    where:"))
    plan = small_plan([str(path)], options=WITH_VAL, budget=SNAPSHOTS, annotations=[annotation])
    assert run_sweep(plan, tmp_path / "results").lines == [("any", "done", "")]
    run = json.loads((only_run(tmp_path / "results") / "run.json").read_text())
    assert (run["snapshots"][0]["weakval"] is not None) == known
    assert run["selected"]["weakval"] == 6


@dataclass
class TwoStages(PartialCrossEntropy):
    """Trains two steps, then the rest; gets a module on the way."""

    def fit(self, data, budget, log):
        for steps in (2, budget.steps - 2):
            super().fit(data, replace(budget, steps=steps), log)

    def after_step(self, batch, progress):
        if progress >= 0.8:
            self.late = torch.nn.Linear(1, 1)


def test_two_stages_keep_the_snapshots_of_the_last_and_modules_may_come_later():
    method = TwoStages()
    seed_everything(0)
    method.fit(data_of("scribble"), Budget(steps=8, batch=2, size=32, snapshots=2), lambda step, /, **values: None)
    assert [step for step, _ in method.snapshots] == [3]
    assert method.snapshots[0][1].keys() == {"net"}
    method.restore(method.snapshots[0][1])


class Fixed(Method):
    """Predicts class 1 everywhere."""

    def fit(self, data, budget, log):
        for done in range(1, budget.steps + 1):
            self.keep(done, budget)

    def predict(self, scan):
        return np.ones(scan.image[:, 0].shape, np.uint8)

    def state(self):
        return "state"


def test_the_loss_on_marks_is_the_share_of_marked_pixels_outside_their_set():
    """Of four marked pixels one allows class 1 alone, one classes 0 and 1, and two class 0; the open ones don't count."""
    scan = WeakScan(np.zeros((1, 1, 2, 3), np.float32), np.array([[[2, 3, 1], [1, 7, 7]]], np.uint8))
    assert Fixed().marks_loss(scan, 3) == 0.5
    assert np.isnan(Fixed().marks_loss(WeakScan(scan.image, np.full((1, 2, 3), 7, np.uint8)), 3))


@pytest.mark.parametrize(("steps", "snapshots", "at"), [(10, 5, [2, 4, 6, 8]), (7, 3, [2, 5]), (4, 1, []), (4, 0, [])])
def test_snapshots_are_evenly_spaced_and_fresh_at_each_fit(steps, snapshots, at):
    method = Fixed()
    for _ in range(2):
        method.fit(None, Budget(steps=steps, snapshots=snapshots), None)
        assert [step for step, _ in getattr(method, "snapshots", [])] == at
