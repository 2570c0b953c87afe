"""Small sweeps on tiny phantoms, in the test's own process unless a test is about processes."""

import json
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import torch

from benchmark import report
from benchmark.plan.jobs import Job, Plan, make_plan
from benchmark.plan.presets import Request
from benchmark.report import runs
from benchmark.report.summary import summarise
from benchmark.store import ResultsFolder
from benchmark.train import worker
from benchmark.train.local import Local, Outcome, Running, Task, processor
from benchmark.train.sweep import Sweep

TINY = [f"octa_phantom.{field}" for field in ("size=32", "train=2", "val=0", "test=2")]
BUDGET = ["steps=2", "batch=2", "size=32"]


class InProcess:
    """An executor that does one task after the other in this process: no interpreter has to start and import torch."""

    def __init__(self, *_: object) -> None:
        """Take the arguments of `Local`, so that it can be used in its place."""
        self.running: list[Running] = []

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        """The outcomes, as those of worker processes."""
        for task in tasks:
            start = time.monotonic()
            with settings_restored(), patch.object(sys, "argv", ["worker", *map(str, (task.job, task.sealed, task.out))]):
                reason = work(task)
            yield Outcome(task, "cpu", time.monotonic() - start, reason, processor())


def work(task: Task) -> str:
    """Do what `benchmark.train.worker` does in a process; return why it failed."""
    (task.out / "output.txt").touch()
    try:
        outcome = worker.work(json.loads(task.job.read_text()), task.sealed, task.out)
    except (Exception, SystemExit) as error:
        (task.out / "error.txt").write_text(traceback.format_exc())
        return worker.reason(error)
    (task.out / "worker.json").write_text(json.dumps(outcome))
    return ""


@contextmanager
def settings_restored() -> Iterator[None]:
    """Undo what `worker.seed_everything` sets for a whole process."""
    pairs = [
        (random.getstate, random.setstate),
        (np.random.get_state, np.random.set_state),
        (torch.get_rng_state, torch.set_rng_state),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
        (cv2.getNumThreads, cv2.setNumThreads),
    ]
    kept = [(put, get()) for get, put in pairs]
    try:
        yield
    finally:
        for put, value in kept:
            put(value)


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


def run_sweep(plan: Plan, results: Path, *, rerun: str = "", executor: InProcess | Local | None = None) -> Recorder:
    """Run it, in this process unless told otherwise; return what the screen was shown."""
    screen = Recorder()
    if executor is None:
        executor = processes(results) if torch.cuda.is_available() else InProcess()  # here a method would take the GPU
    Sweep(plan, ResultsFolder(results), executor, screen, rerun).run()
    return screen


def processes(*hide: Path, timeout_s: float = 120) -> Local:
    """Two worker processes, whose environment names none of these folders."""
    return Local(["cpu"], 2, timeout_s, hide)


def notes_of(results: Path, track: str = "equal") -> list[str]:
    """The notes below the main table of a track."""
    read = runs.read(results).track(track)
    return report.notes(read, summarise(read))


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
