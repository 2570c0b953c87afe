"""Time three steps of a job in a worker, on random images with marks."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.plan.costs import Estimate, trainings
from benchmark.plan.jobs import Job
from benchmark.seal.contract import TestScan, WeakScan, everything
from benchmark.seal.folder import seal
from benchmark.train import local
from benchmark.train.local import Task, scratch
from benchmark.train.sweep import request_of

STEPS = 3
MOST = 4  # slices in a batch; a step is timed with them, and scaled
TIMEOUT_S = 120


def time_steps(jobs: Sequence[tuple[Job, int, int]], devices: list[str]) -> list[Estimate | str]:
    """Return what jobs with so many classes and channels will cost, each timed in a worker, or why it fails."""
    with scratch() as folder:
        tasks = {_task(folder / str(number), *each): number for number, each in enumerate(jobs)}
        found: list[Estimate | str] = [""] * len(jobs)
        for event in local.Local(devices, 1, TIMEOUT_S, []).run(iter(list(tasks))):
            if event is not None:
                number = tasks[event.task]
                found[number] = event.reason or _estimate(jobs[number][0], event.task, event.seconds)
    return found


def _task(folder: Path, job: Job, classes: int, channels: int) -> Task:
    """Write a sealed folder of random images and a job of few steps."""
    budget = dataclasses.replace(job.budget, steps=STEPS, batch=min(job.budget.batch, MOST), snapshots=0, tune=0)
    sealed, out = folder / "sealed", folder / "out"
    sealed.mkdir(parents=True)
    out.mkdir()
    rng = np.random.default_rng(0)
    image = rng.random((budget.batch, channels, budget.size, budget.size), np.float32)
    labels = rng.integers(0, classes, (budget.batch, budget.size, budget.size))
    marks = np.where(rng.random(labels.shape) < 0.05, 1 << labels, everything(classes)).astype(np.int32)
    seal(sealed, {"train": [WeakScan(image, marks)]}, [TestScan(image)], classes, channels)
    (out / "job.json").write_text(json.dumps(request_of(dataclasses.replace(job, budget=budget))))
    return Task(job.name, out / "job.json", sealed, out, budget.threads, budget.steps)


def _estimate(job: Job, task: Task, wall_s: float) -> Estimate:
    """Return the cost of a job by its log, in which the first step also holds what is done once."""
    fit_s = json.loads((task.out / "worker.json").read_text())["fit_s"]
    logged = [json.loads(line)["seconds"] for line in (task.out / "train.jsonl").read_text().splitlines()]
    step = (logged[-1] - logged[0]) / (len(logged) - 1) if len(logged) == STEPS else fit_s / STEPS
    batch = min(job.budget.batch, MOST)
    scaled = f", scaled from {batch} x {job.budget.size} px" if batch < job.budget.batch else ""
    steps = job.budget.steps * trainings(job)
    other = wall_s - step * STEPS
    return Estimate(step * steps * job.budget.batch / batch + other, f"{STEPS} timed steps{scaled}")
