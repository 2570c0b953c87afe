"""What published protocols of this field do, done here on purpose: each is refused, or shows in the table."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmark import InputError, report
from benchmark.plan.jobs import make_plan
from benchmark.plan.presets import Request
from benchmark.report import runs, tables
from benchmark.report.summary import summarise
from benchmark.score.evaluate import evaluate
from benchmark.score.external import Predictions, score
from tests.benchmark.test_selection import WITH_VAL
from tests.support.sweeps import TINY, notes_of, run_sweep, small_plan, write_method

WANDERING = '''"""Thresholds that are best in the middle of training and bad at its end."""
from dataclasses import dataclass
import numpy as np
from benchmark.methods.base import Method


@dataclass
class Wandering(Method):
    """For a test."""

    def fit(self, data, budget, log):
        for done, self.threshold in enumerate((1.0, 0.25, 0.35, 0.0), 1):
            self.keep(done, budget)

    def predict(self, scan):
        return (scan.image[:, 0] < self.threshold).astype(np.uint8)

    def state(self):
        return self.threshold

    def restore(self, state):
        self.threshold = state
'''


MARKDOWN = report.ReportOptions(formats=["md"])


def summary(results, selection="last"):
    return summarise(runs.read(results, selection))


def dice(found, method):
    cells = found.cells
    return cells[(cells.method == method) & (cells.metric == "dice") & (cells.region == "mean")]["mean"].item()


def test_a_checkpoint_chosen_on_the_test_set_shows_as_a_leak_delta_and_moves_no_table(tmp_path):
    (tmp_path / "wandering.py").write_text(WANDERING)
    budget = ["steps=4", "size=32", "snapshots=4"]
    run_sweep(small_plan([str(tmp_path / "wandering.py"), "prior"], options=WITH_VAL, budget=budget), tmp_path / "results")
    found = summary(tmp_path / "results")
    leak = found.leaks.set_index("method").leak
    assert leak["wandering"] > 0.1
    assert leak["prior"] == 0
    assert dice(found, "wandering") == 0  # the last step's
    assert dice(summary(tmp_path / "results", "test"), "wandering") == pytest.approx(leak["wandering"])
    text = (report.write(tmp_path / "results", tmp_path / "reports", MARKDOWN) / "notes.md").read_text()
    assert "Model selection: the last step." in text


def test_an_empty_prediction_ranks_last_in_hd95_and_its_misses_stand_in_the_cell(tmp_path):
    """Elsewhere it scores 0, a perfect distance, or drops out of the mean."""
    nothing = write_method(tmp_path, "nothing", "pass", "return np.zeros(scan.image[:, 0].shape, np.uint8)")
    rough = write_method(tmp_path, "rough", "pass", "return np.ones(scan.image[:, 0].shape, np.uint8)")
    run_sweep(small_plan([nothing, rough]), tmp_path / "results")
    found = summary(tmp_path / "results")
    hd95 = found.cells[(found.cells.metric == "hd95_max") & (found.cells.region == "mean")].set_index("method")
    assert hd95["mean"].idxmax() == "nothing"
    assert hd95["mean"]["nothing"] == pytest.approx(32 * 2**0.5)
    assert hd95.patients["nothing"] == hd95.patients["rough"]
    assert hd95.place["nothing"] == ""
    assert "2 missed" in tables.main_table(found.cells).loc["nothing"].str.cat()


def test_a_buffer_of_pseudo_labels_can_not_start_as_the_mask(tmp_path):
    """No file that a learner is given holds the mask of any scan, whole or with its values as sets."""
    body = "import pathlib, shutil; shutil.copytree(sys.argv[2], self.where)"
    thief = write_method(tmp_path, "thief", body, "return np.zeros(scan.image[:, 0].shape, np.uint8)")
    options = [*WITH_VAL, f"thief.where={tmp_path / 'loot'}"]
    plan = small_plan([thief], options=options, budget=["steps=2", "size=32", "snapshots=2"])
    run_sweep(plan, tmp_path / "results")
    loot = {path.name: path.read_bytes() for path in (tmp_path / "loot").iterdir()}
    assert {"train-image", "train-allowed", "val-image", "val-allowed", "test-image"} <= set(loot)
    dataset = plan.datasets["octa_phantom"]
    for names in dataset.split("default").roles().values():
        for mask in (dataset.load(name).mask for name in names):
            for form in (mask, mask * 255, 1 << mask, mask.astype(np.float32), mask.astype(np.int64)):
                assert not any(np.ascontiguousarray(form).tobytes() in content for content in loot.values())


def test_distances_in_voxels_are_not_given_for_a_stack_of_distant_slices():
    """Of two errors, the one in the plane is the worse in voxels and the better in mm."""
    truth = np.zeros((8, 40, 40), np.uint8)
    truth[2:6, 10:30, 10:30] = 1
    across, within = np.roll(truth, 1, 0), np.roll(truth, 3, 2)
    region, spacing = {"object": (1,)}, (10.0, 1.0, 1.0)
    in_mm = [evaluate(each, truth, region, spacing)["object"]["hd"] for each in (across, within)]
    assert in_mm == [10, 3]
    unknown = [evaluate(each, truth, region)["object"] for each in (across, within)]
    assert all(np.isnan(each["hd95"]) for each in unknown)
    assert all(np.isfinite(each["hd95@slice"]) for each in unknown)


PRESET = """methods = ["pce", "entropy"]
datasets = ["octa_phantom"]
[budget]
steps = 2
size = 32
batch = 2
[options.octa_phantom]
size = 32
train = 2
val = 0
test = 2
[budget.method.entropy]
lr = 0.1
"""


def test_an_own_learning_rate_needs_a_reason_and_has_a_dagger(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(PRESET)
    with pytest.raises(InputError, match="gives entropy another budget; it must say why, as `reason`"):
        make_plan(Request(preset=str(path)))
    path.write_text(PRESET + 'reason = "as published"\n')
    run_sweep(make_plan(Request(preset=str(path))), tmp_path / "results")
    written = report.write(tmp_path / "results", tmp_path, MARKDOWN)
    text = (written / "table.md").read_text()
    assert "| entropy† " in text
    assert "† entropy is not trained like the others: as published." in (written / "notes.md").read_text()
    assert "| pce " in text


def test_other_numbers_of_steps_stand_in_another_column(tmp_path):
    for steps in (1, 2):
        run_sweep(small_plan(["pce"], budget=[f"steps={steps}", "batch=2", "size=32"]), tmp_path)
    assert set(summary(tmp_path).cells.column) == {f"octa_phantom scribble:sim (steps={steps})" for steps in (1, 2)}


def test_one_seed_is_called_too_few_for_a_paper(tmp_path):
    run_sweep(small_plan(["prior"]), tmp_path)
    said = " ".join(notes_of(tmp_path))
    assert "1 seed (one seed is too few for a paper); intervals over patients, given these runs" in said


def test_a_folder_scored_against_itself_is_refused(tmp_path):
    from benchmark.datasets.phantom import OctaPhantom
    from benchmark.seal.export import write_labels

    dataset = OctaPhantom(tmp_path)
    for name in dataset.split("default").test:
        scan = dataset.load(name)
        write_labels(tmp_path / name, scan.mask, scan, flat=True)
    with pytest.raises(InputError, match="truth"):
        score(Predictions([str(tmp_path)], "octa_phantom"), tmp_path / "results", tmp_path / "elsewhere")


def test_a_failed_run_leaves_a_gap_and_no_average_over_the_survivors(tmp_path):
    moody = write_method(tmp_path, "moody", "import torch; assert torch.initial_seed() != 1")
    run_sweep(small_plan([moody, "prior"], options=TINY, seeds=[0, 1]), tmp_path / "results")
    table = tables.main_table(summary(tmp_path / "results").cells)
    assert set(table.loc["moody"]) == {"1 of 2 failed"}


def test_every_number_of_the_report_can_be_traced_to_the_runs_that_it_rests_on(tmp_path):
    run_sweep(small_plan(["prior"]), tmp_path)
    folder = report.write(tmp_path, tmp_path / "reports", report.ReportOptions(formats=["csv"]))
    named = pd.read_csv(folder / "runs.csv").folder
    for name in named:
        run = json.loads((tmp_path / "runs" / name / "run.json").read_text())
        assert name.endswith(run["hash"][:8])
