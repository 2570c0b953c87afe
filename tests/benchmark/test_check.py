"""The checks are checked: every method passes, and a method with one fault fails the check that is made for it."""

import pytest

from benchmark import plugins
from benchmark.check import METHOD_CHECKS, faults

SOUND = '''"""A sound method."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch

from benchmark.methods.base import Method, Range


@dataclass
class M(Method):
    """Thresholds the first channel at the mean of what is marked as class 2."""

    annotations: ClassVar = ("scribble", "point")
    factor: float = 1.0

    def fit(self, data, budget, log):
        marked = [scan.image[:, 0][scan.allowed == 4] for scan in data]
        marked = np.concatenate(marked)
        self.threshold = self.factor * float(marked.mean()) if marked.size else 1.0
        log(budget.steps - 1, threshold=self.threshold)

    def predict(self, scan):
        return (scan.image[:, 0] >= self.threshold).astype(np.uint8)
'''

FAULTS = {
    "constructs_without_work": ("    def fit(", "    def __post_init__(self):\n        self.net = 1\n\n    def fit("),
    "claims_known_annotations": ('("scribble", "point")', '("scribble", "doodle")'),
    "imports_no_data_set": ("import torch\n", "import torch\nfrom benchmark.datasets import base as truth\n"),
    "learns_from_all_that_it_claims": ("return (scan.image[:, 0]", "return (scan.image[:, 0, 1:]"),
    "bears_a_class_that_nobody_marked": (" if marked.size else 1.0", "\n        assert marked.size"),
    "bears_a_single_slice": ("        marked = [", "        assert len(data) > 1\n        marked = ["),
    "repeats_itself": (
        "self.threshold = self.factor",
        "self.threshold = getattr(self, 'threshold', 0.0) + self.factor",
    ),
    "keeps_its_options": ("        log(", "        self.factor = 2.0\n        log("),
    "stays_within_its_budget": ("log(budget.steps - 1", "log(budget.steps"),
    "keeps_snapshots_without_a_trace": (
        "self.threshold = self.factor",
        "self.threshold = (1 - budget.snapshots) * self.factor",
    ),
    "declares_sound_ranges": ("    factor: float = 1.0", "    factor: Annotated[float, Range(2.0, 3.0)] = 1.0"),
}


def failed(path, text):
    path.write_text(text)
    return {name: fault for name, fault in faults(plugins.get("method", str(path))) if fault}


@pytest.mark.parametrize("name", plugins.find("method"))
def test_every_method_keeps_the_contract(name):
    assert [(check, fault) for check, fault in faults(plugins.get("method", name)) if fault] == []


def test_a_sound_method_passes_every_check(tmp_path):
    assert failed(tmp_path / "sound.py", SOUND) == {}


def test_there_is_a_broken_method_for_every_check():
    assert set(FAULTS) == {check.__name__ for check in METHOD_CHECKS}


@pytest.mark.parametrize("check", FAULTS)
def test_a_fault_is_found_by_the_check_that_is_made_for_it(tmp_path, check):
    old, new = FAULTS[check]
    assert old in SOUND
    assert check in failed(tmp_path / f"broken_{check}.py", SOUND.replace(old, new))


def test_states_that_are_no_copies_are_found(tmp_path):
    """They would all become the last one, and every snapshot score what the end scores."""
    keeping = (
        SOUND.replace(
            "        log(",
            "        self.weights = np.zeros(1)\n        for done in range(1, budget.steps + 1):\n"
            "            self.weights += 1\n            self.keep(done, budget)\n        log(",
        )
        + "\n    def state(self):\n        return self.weights{}\n"
        + "\n    def restore(self, state):\n        self.weights = state\n"
    )
    assert failed(tmp_path / "copies.py", keeping.format(".copy()")) == {}
    found = failed(tmp_path / "lives.py", keeping.format(""))
    assert "state must give a copy" in found["keeps_snapshots_without_a_trace"]


def test_dependence_on_the_order_of_scans_is_found(tmp_path):
    counting = SOUND.replace(
        "        return (scan", "        self.threshold += 0.05\n        return (scan"
    )  # fmt: skip
    found = failed(tmp_path / "counting.py", counting)
    assert "depend on the order" in found["repeats_itself"]


def test_too_many_optimiser_steps_are_found(tmp_path):
    stepping = SOUND.replace(
        "        log(",
        "        opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)\n"
        "        for _ in range(budget.steps + 1):\n            opt.step()\n        log(",
    )
    assert "takes 5 steps" in failed(tmp_path / "stepping.py", stepping)["stays_within_its_budget"]
