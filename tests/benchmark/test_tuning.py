"""The tuned track: what is tried, what is chosen, and that it never shares a table with the equal one."""

import json
from dataclasses import dataclass
from typing import Annotated

import pytest

from benchmark import InputError, report
from benchmark.plan import plugins
from benchmark.plan.trials import ranges, trials
from benchmark.seal.contract import Range
from tests.benchmark.test_selection import WITH_VAL, only_run
from tests.support.sweeps import notes_of, run_sweep, small_plan

GUESS = '''"""Learns nothing; its option settles what it predicts."""
from dataclasses import dataclass
from typing import Annotated
import numpy as np
from benchmark.methods.base import Method, Range


@dataclass
class Guess(Method):
    """For a test."""

    level: Annotated[float, Range(0.01, 100.0)] = 50.0

    def fit(self, data, budget, log):
        if self.level > 60:
            raise FloatingPointError("loss is nan at step 0")
        log(0, level=self.level)

    def predict(self, scan):
        return np.full(scan.image[:, 0].shape, self.level < 1, np.uint8)

    def marks_loss(self, scan, classes):
        return self.level
'''


@dataclass
class Options:
    weight: Annotated[float, Range(0.01, 1.0)] = 0.1
    rounds: Annotated[int, Range(2, 50)] = 5
    fixed: float = 3.0


def test_the_published_values_come_first_and_draws_stay_in_range():
    tried = trials(Options, "m", {"weight": 0.1, "rounds": 5, "fixed": 3.0}, 40)
    assert len(tried) == 41
    assert tried[0] == {"weight": 0.1, "rounds": 5, "fixed": 3.0}
    for options in tried:
        assert 0.0099 <= options["weight"] <= 1.01
        assert options["rounds"] in range(2, 51)
        assert options["fixed"] == 3.0
    weights = sorted(options["weight"] for options in tried)
    assert weights[10] < 0.06 < 0.2 < weights[-10]  # evenly over orders of magnitude


def test_a_draw_depends_on_the_name_and_the_number_alone():
    given = {"weight": 0.1, "rounds": 5, "fixed": 3.0}
    assert trials(Options, "m", given, 5)[:4] == trials(Options, "m", given, 3)
    assert trials(Options, "m", given, 1)[1] != trials(Options, "n", given, 1)[1]


def test_without_ranges_or_trials_there_is_nothing_to_try():
    assert trials(Options, "m", {"fixed": 1}, 0) == [{"fixed": 1}]
    assert trials(object, "m", {"fixed": 1}, 5) == [{"fixed": 1}]


def test_at_most_three_options_may_be_tuned():
    names = {name: Annotated[float, Range(1, 2)] for name in "abcd"}
    with pytest.raises(ValueError, match="at most 3 may be tuned"):
        ranges(type("Greedy", (), {"__annotations__": names}))
    with pytest.raises(ValueError, match="must rise"):
        Range(0, 1)


def test_every_declared_range_holds_the_published_value():
    found = {name: plugin.load() for name, plugin in plugins.find("method").items()}
    tuned = {name: ranges(cls) for name, cls in found.items() if ranges(cls)}
    assert {"entropy", "total_variation", "gated_crf"} <= set(tuned)
    for name, own in tuned.items():
        for option, each in own.items():
            assert each.low <= getattr(found[name](), option) <= each.high, (name, option)


def test_the_trial_with_the_least_loss_on_held_out_marks_is_kept(tmp_path):
    (tmp_path / "guess.py").write_text(GUESS)
    budget = ["steps=2", "batch=2", "size=32", "tune=6"]
    screen = run_sweep(small_plan([str(tmp_path / "guess.py")], options=WITH_VAL, budget=budget), tmp_path / "results")
    assert screen.lines == [("guess", "done", "")]
    folder = only_run(tmp_path / "results")
    worker = json.loads((folder / "run.json").read_text())["worker"]
    assert len(worker["trials"]) == 7
    assert worker["trials"][0]["options"] == {"level": 50.0}
    best = worker["trials"][worker["chosen"]]
    known = [trial["weakval"] for trial in worker["trials"] if trial["weakval"] is not None]
    assert best["weakval"] == min(known) == best["options"]["level"]
    for trial in worker["trials"]:
        assert (trial["weakval"] is None) == (trial["options"]["level"] > 60)
    log = json.loads((folder / "train.jsonl").read_text())
    assert log["level"] == best["options"]["level"]
    assert not (folder / "best.jsonl").exists()


def test_the_time_of_a_trial_that_diverges_counts(tmp_path):
    slow = GUESS.replace("import numpy as np", "import numpy as np, time").replace(
        "            raise", "            time.sleep(0.2); raise"
    )
    (tmp_path / "guess.py").write_text(slow.replace("self.level > 60", "self.level > 40"))
    plan = small_plan([str(tmp_path / "guess.py")], options=WITH_VAL, budget=["steps=2", "size=32", "tune=6"])
    run_sweep(plan, tmp_path / "results")
    worker = json.loads((only_run(tmp_path / "results") / "run.json").read_text())["worker"]
    diverged = sum(trial["weakval"] is None for trial in worker["trials"])
    assert diverged
    assert worker["fit_s"] > 0.2 * diverged


def test_trials_are_not_chosen_by_labels_that_a_network_without_a_finding_fits_best():
    for form in ("box", "scribble/tags"):
        with pytest.raises(
            InputError, match=f"those of {form.split('/')[-1]} are fitted best by a network that finds nothing"
        ):
            small_plan(
                ["pce"],
                annotations=[form],
                options=[*WITH_VAL, "octa_phantom.sites=2"],
                budget=["steps=2", "size=32", "tune=1"],
            )
    small_plan(["pce"], annotations=["scribble"], options=WITH_VAL, budget=["steps=2", "size=32", "tune=1"])


def test_a_trial_that_diverges_in_its_last_step_is_never_chosen(tmp_path):
    """Its losses were finite; its predictions are not."""
    text = GUESS.replace("self.level > 60", "False").replace(
        "return self.level\n", "return self.level if self.level < 9 else float('nan')\n"
    )
    (tmp_path / "guess.py").write_text(text)
    plan = small_plan([str(tmp_path / "guess.py")], options=WITH_VAL, budget=["steps=2", "size=32", "tune=6"])
    assert run_sweep(plan, tmp_path / "results").lines == [("guess", "done", "")]
    run = json.loads((only_run(tmp_path / "results") / "run.json").read_text())
    first, chosen = run["worker"]["trials"][0], run["worker"]["trials"][run["worker"]["chosen"]]
    assert (first["weakval"], first["reason"]) == (None, "the loss on held-out labels is nan")
    assert chosen["weakval"] < 9
    assert run["val_scans"]


def test_more_than_three_ranges_are_refused_before_anything_runs(tmp_path):
    ranges = "".join(f"    {name}: Annotated[float, Range(1, 2)] = 1.0\n" for name in "abcd")
    (tmp_path / "greedy.py").write_text(GUESS.replace("    level:", ranges + "    level:"))
    with pytest.raises(InputError, match="greedy: Guess has ranges for a, b, c, d, level; at most 3 may be tuned"):
        small_plan([str(tmp_path / "greedy.py")], options=WITH_VAL, budget=["steps=2", "size=32", "tune=1"])


def test_where_every_trial_diverges_the_run_has_failed(tmp_path):
    (tmp_path / "guess.py").write_text(GUESS.replace("self.level > 60", "True"))
    plan = small_plan([str(tmp_path / "guess.py")], options=WITH_VAL, budget=["steps=2", "size=32", "tune=2"])
    name, state, reason = run_sweep(plan, tmp_path / "results").lines[0]
    assert (name, state) == ("guess", "failed")
    assert "loss is nan at step 0" in reason


def test_two_methods_are_tuned_and_stand_in_a_table_of_their_own(tmp_path):
    budget = ["steps=2", "batch=2", "size=32"]
    for tune in ([], ["tune=1"]):
        run_sweep(
            small_plan(["entropy", "total_variation"], options=WITH_VAL, budget=[*budget, *tune]), tmp_path / "results"
        )
    folder = report.write(tmp_path / "results", tmp_path, report.ReportOptions(formats=["md"]))
    equal, tuned = ((place / "table.md").read_text() for place in (folder, folder / "tuned"))
    assert "tune 1" not in (folder / "notes.md").read_text()
    assert "tune 1" in (folder / "tuned/notes.md").read_text()
    assert "tune 1" in " ".join(notes_of(tmp_path / "results", "tuned"))
    assert "tune 1" not in " ".join(notes_of(tmp_path / "results"))
    for text in (equal, tuned):
        assert text.count("| entropy ") == text.count("| total_variation ") == 1
