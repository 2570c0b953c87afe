"""Small sweeps for tests: real workers on tiny phantoms."""

from collections import Counter
from pathlib import Path

from benchmark.executors import Local
from benchmark.jobs import Job, Plan, Request, make_plan
from benchmark.runner import Place, Sweep

TINY = [f"octa_phantom.{field}" for field in ("size=32", "train=2", "val=0", "test=2")]
BUDGET = ["steps=2", "batch=2", "size=32"]


class Recorder:
    """A screen that keeps what it was shown."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def planned(self, states: Counter[str]) -> None:
        self.states = states

    def tick(self, running: list) -> None:
        self.most = max(getattr(self, "most", 0), len(running))

    def ended(self, job: Job, state: str, reason: str, seconds: float) -> None:
        self.lines.append((job.method, state, reason))


def small_plan(methods: list[str], **changes) -> Plan:
    """A plan on the tiny phantom."""
    given = {"datasets": ["octa_phantom"], "options": TINY, "budget": BUDGET, **changes}
    return make_plan(Request(methods=methods, **given))


def run_sweep(
    plan: Plan, results: Path, *, timeout: float | None = 120, rerun: str = "", hide: tuple[Path, ...] = ()
) -> Recorder:
    """Run it with two local workers; returns what the screen was shown."""
    screen = Recorder()
    Sweep(plan, Place(results), Local(["cpu"], 2, timeout, [results, *hide]), screen, rerun).run()
    return screen


def write_method(folder: Path, name: str, fit: str, predict: str = "return scan.image[:, 0].astype('uint8')") -> str:
    """A method file whose `fit` and `predict` have these bodies; returns its path."""
    path = folder / f"{name}.py"
    path.write_text(
        f'"""A method for a test."""\nimport os, signal, subprocess, sys, time\nfrom dataclasses import dataclass\n'
        f"import numpy as np\nfrom benchmark.methods.base import Method\n\n\n@dataclass\nclass M(Method):\n"
        f'    """For a test."""\n\n    where: str = ""\n\n'
        f"    def fit(self, data, budget, log):\n        {fit}\n\n    def predict(self, scan):\n        {predict}\n"
    )
    return str(path)
