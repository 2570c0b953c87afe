"""What the runs of a plan will cost, by what stored runs of the same methods did."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmark.plan.jobs import Job
from benchmark.seal.contract import Budget
from benchmark.store import Record

DEFAULTS = dataclasses.asdict(Budget())
Shape = tuple[int, int]  # images in a batch, side of each in px
KIND = ("network", "precision", "threads", "kernels")  # fields of a budget between which no cost is carried over


@dataclass(frozen=True)
class Estimate:
    """Seconds of a run in a slot, and what they are estimated from."""

    seconds: float
    source: str


@dataclass(frozen=True)
class Costs:
    """Of jobs: the estimate of each, or why there is none; and how many run at once, 0 if that is unknown."""

    jobs: Sequence[Job]
    estimates: Sequence[Estimate | str]
    at_once: int
    gpu: bool

    @property
    def unit(self) -> str:
        """The unit of `hours`."""
        return "GPU-hours" if self.gpu else "core-hours"

    def hours(self, method: str) -> float:
        """Hours of all runs of a method, multiplied by their threads on a CPU."""
        return sum(
            estimate.seconds * (1 if self.gpu else job.budget.threads) / 3600
            for job, estimate in zip(self.jobs, self.estimates, strict=True)
            if isinstance(estimate, Estimate) and job.method == method
        )

    @property
    def known(self) -> list[Estimate]:
        """The estimates that there are."""
        return [estimate for estimate in self.estimates if isinstance(estimate, Estimate)]

    def wall_s(self) -> float:
        """Seconds until all have ended: at least those of the longest."""
        seconds = [estimate.seconds for estimate in self.known]
        return max(sum(seconds) / self.at_once, *seconds)


def by_stored(job: Job, sources: Mapping[str, Iterable[Record]], *, gpu: bool) -> Estimate | None:
    """Return what a job will cost by the first of these stored runs that has its method; None if none has."""
    return next(filter(None, (_by_runs(job, records, where, gpu) for where, records in sources.items())), None)


def _by_runs(job: Job, records: Iterable[Record], where: str, gpu: bool) -> Estimate | None:
    """Return what a job will cost by the runs that are most like it.

    They have its method, network, precision, threads and kernels, and were trained on a GPU or not. Of these, those with its
    options count, then those with the nearest number of pixels in a batch, then those on its data set.
    """
    budget = dataclasses.asdict(job.budget)
    like: dict[tuple[bool, float, bool], list[Record]] = {}
    seconds: dict[str, dict[Shape, list[float]]] = {}  # of a step, by method and shape of the batch
    for record in records:
        known, given = record["identity"], DEFAULTS | record["identity"]["budget"]
        if any(given[name] != budget[name] for name in KIND) or _on_gpu(record) is not gpu or "wall_s" not in record:
            continue
        seconds.setdefault(known["method"], {}).setdefault(_shape(given), []).append(_step_s(record))
        if known["method"] == job.plugin.name:
            ratio = round(abs(math.log(_pixels(_shape(given)) / _pixels(_shape(budget)))), 6)
            distance = (known["options"] != job.identity()["options"], ratio, known["dataset"] != job.dataset)
            like.setdefault(distance, []).append(record)
    if not like:
        return None
    nearest = like[min(like)]
    shapes = [_shape(record["identity"]["budget"]) for record in nearest]
    growth = {shape: _growth(seconds.values(), shape, _shape(budget)) for shape in set(shapes)}
    step = median(_step_s(record) * growth[shape] for record, shape in zip(nearest, shapes, strict=True))
    other = median(max(0.0, record["wall_s"] - record["worker"]["fit_s"]) for record in nearest)
    source = f"{len(nearest)} run{'s' * (len(nearest) > 1)} in {where}" + ", with other options" * min(like)[0]
    if set(shapes) != {_shape(budget)}:
        source += f", scaled from {' and '.join(f'{batch} x {size} px' for batch, size in sorted(set(shapes)))}"
    return Estimate(step * job.budget.steps * trainings(job) + other, source)


def _growth(methods: Iterable[Mapping[Shape, Sequence[float]]], known: Shape, wanted: Shape) -> float:
    """Return by what factor a step takes longer in another shape: that of the methods that ran in both, else that of pixels.

    Small batches take longer than their pixels say, as most of their time goes into starting operations.
    """
    pairs = [(median(steps[wanted]), median(steps[known])) for steps in methods if known in steps and wanted in steps]
    both = [there / here for there, here in pairs if here]  # a method that trains nothing may take no time
    return median(both) if both else _pixels(wanted) / _pixels(known)


def trainings(job: Job) -> int:
    """Return how often a method is trained for a run: once for each trial, and once if nothing is tuned."""
    from benchmark.plan.trials import trials

    return len(trials(job.plugin.load(), job.plugin.name, job.options, job.budget.tune)) if job.budget.tune else 1


def trained(record: Record) -> int:
    """Return the number of steps in which a run was trained, those of all trials."""
    steps: int = record["identity"]["budget"]["steps"]
    return steps * max(1, len(record["worker"].get("trials", [])))


def _on_gpu(record: Record) -> bool | None:
    """Whether a run was trained on a GPU; None if it does not tell its costs."""
    worker = record.get("worker", {})
    return None if record["state"] != "done" or worker.get("fit_s") is None else worker["device"] != "cpu"


def _step_s(record: Record) -> float:
    """Return the seconds of a step of a run."""
    seconds: float = record["worker"]["fit_s"] / trained(record)
    return seconds


def _shape(budget: Mapping[str, Any]) -> Shape:
    """Return the number of images in a batch, and the side of each in px."""
    return budget["batch"], budget["size"]


def _pixels(shape: Shape) -> int:
    """Return the number of pixels in a batch."""
    return shape[0] * shape[1] ** 2
