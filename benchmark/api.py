"""Sweeps and results from Python: `benchmark.run(...)` and `benchmark.load(folder)`; the command line calls the same."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import InputError
from benchmark.inputs import nearest
from benchmark.plan.costs import Costs, Estimate, by_stored
from benchmark.plan.jobs import Job, Plan, make_plan
from benchmark.plan.presets import Request
from benchmark.store import open_results, stored
from benchmark.train.local import Executor, Running

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.report.runs import Rows
    from benchmark.train.sweep import Screen

MakeExecutor = Callable[[int, int, float | None, list[Path]], Executor]  # workers, threads, timeout in s, hidden folders


@dataclass(frozen=True, eq=False)
class Results:
    """Stored runs as data frames."""

    read: "Rows"

    @property
    def runs(self) -> "pd.DataFrame":
        """A line for each run: its column, method, split, seed, state, options, costs."""
        return self.read.runs

    @property
    def cases(self) -> "pd.DataFrame":
        """A line for each run, test scan and region, with every metric."""
        return self.read.cases

    def summary(self, metrics: Sequence[str] = ("dice", "hd95_max", "nsd"), reference: str = "") -> "pd.DataFrame":
        """A line for each method, column, region and metric: mean, spread over seeds, interval, patients, seeds.

        Raises InputError for a metric that the runs were not scored with.
        """
        from benchmark.report.summary import Options, summarise

        if isinstance(metrics, str):
            raise InputError(f"metrics is {metrics!r}; it must be a list, such as [{metrics!r}]")
        if unknown := [name for name in metrics if name not in self.read.metrics]:
            near = nearest(unknown[0], self.read.metrics)
            raise InputError(f"no metric {unknown[0]!r}{near}; the runs were scored with {', '.join(self.read.metrics)}")
        self.read.check_reference(reference)
        cells = summarise(self.read, Options(reference), metrics).cells
        return cells[cells.metric.isin(metrics)]


def load(folder: str | Path, selection: str = "last") -> Results:
    """The runs of a results folder, or of a stored set by its name, such as `reference-core`."""
    from benchmark.report import runs

    if Path(folder).exists():
        return Results(runs.read(Path(folder), selection))
    there = stored(str(folder))
    if len(there) > 1:
        raise InputError(f"{folder} holds {len(there)} results folders; load one of {', '.join(there)}")
    return Results(runs.read_folder(next(iter(there.values())), selection))


def run(
    *,
    preset: str = "",
    methods: Iterable[str] = (),
    datasets: Iterable[str] = (),
    annotations: Iterable[str] = (),
    splits: Iterable[str] = (),
    seeds: Iterable[int] = (),
    budget: Mapping[str, Any] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    metrics: Iterable[str] = (),
    against: str = "",
    data: str | Path = "data",
    results: str | Path = "results",
    workers: int = 0,
    device: str = "auto",
    timeout_s: float = 0,
    rerun: str = "",
    screen: "Screen | None" = None,
) -> Results:
    """Train, predict and score what is planned and not yet done; return all runs of the results folder.

    The arguments are the flags of `python -m benchmark run`; `options` are by method or data set, then by name. Without
    any, the preset `demo`. A failed run does not raise: its state in `runs` is `failed`, with the reason.
    """
    if not isinstance(budget or {}, Mapping):
        raise InputError(f"budget is {budget!r}; give its fields, such as {{'name': 'short'}}")
    request = Request(
        preset=preset,
        methods=_listed("methods", methods),
        datasets=_listed("datasets", datasets),
        annotations=_listed("annotations", annotations),
        splits=_listed("splits", splits),
        seeds=_listed("seeds", seeds),
        budget=[_assignment(name, value) for name, value in (budget or {}).items()],
        options=[
            _assignment(f"{owner}.{name}", each) for owner, own in (options or {}).items() for name, each in own.items()
        ],
        metrics=_listed("metrics", metrics),
        against=against,
        data=Path(data),
        on_cpu=lambda: may_use_cpu(device),
    )
    make = local_executor(device)
    execute(
        make_plan(request), Path(results), make,
        hide=[Path(data)], workers=workers, timeout_s=timeout_s, rerun=rerun, screen=screen,
    )  # fmt: skip
    return load(results)


def _listed(name: str, given: Iterable[Any]) -> list[Any]:
    """The items of an argument; raises InputError for text or a number, as a text's letters are no names."""
    if isinstance(given, str | bytes | Path) or not isinstance(given, Iterable):
        raise InputError(f"{name} is {given!r}; give a list, such as [{given!r}]")
    return list(given)


def _assignment(name: str, value: Any) -> str:
    """NAME=VALUE as flags are written; raises InputError for a value that can't be."""
    if value is None:
        raise InputError(f"{name} is None; leave it out for its default")
    try:
        text = json.dumps(value, ensure_ascii=False, default=lambda own: str(own) if isinstance(own, Path) else own.item())
    except (AttributeError, TypeError, ValueError):
        raise InputError(
            f"{name} is a {type(value).__name__}; give text, a number, true or false, or a list of these"
        ) from None
    return f"{name}={text}"


def execute(
    plan: Plan,
    results: Path,
    make: MakeExecutor,
    *,
    jobs: Sequence[Job] | None = None,
    hide: Iterable[Path] = (),
    workers: int = 0,
    timeout_s: float = 0,
    rerun: str = "",
    screen: "Screen | None" = None,
) -> Counter[str]:
    """Do the jobs of a plan, or some of them, that are not done; return how many are in which state at the end."""
    from benchmark.train.sweep import Sweep  # loads what scores and simulates

    if rerun not in ("", "stale", "all"):
        raise InputError(f"rerun is {rerun!r}; it must be stale or all")
    if workers < 0 or timeout_s < 0:
        raise InputError(f"workers is {workers} and timeout_s is {timeout_s:g}; neither may be below 0")
    hidden = [*hide, results, *(part.root for dataset in plan.datasets.values() for part in dataset.parts)]
    executor = make(workers, max(job.budget.threads for job in plan.jobs), timeout_s or None, hidden)
    return Sweep(plan, open_results(results), executor, screen or Silent(), rerun).run(jobs)


def local_executor(device: str) -> MakeExecutor:
    """Workers on this machine; a device that does not exist is an error at once."""
    from benchmark.train.local import Local, devices, slots

    if device != "auto":
        devices(device)

    def make(workers: int, threads: int, timeout_s: float | None, hide: list[Path]) -> Executor:
        found = devices(device)
        return Local(found, slots(found, workers, threads), timeout_s, hide)

    return make


def estimate(
    plan: Plan, jobs: Sequence[Job], results: Path, device: str, workers: int, *, local: bool, measure: bool = True
) -> Costs:
    """Return what jobs of a plan will cost, by stored runs on such devices: in `results`, or else in the reference.

    Without such runs, and if `measure`, three steps of the method are timed on this machine. `local`: the jobs will run on
    it, too.
    """
    from benchmark.train.local import devices, slots
    from benchmark.train.timing import time_steps

    found = devices(device)
    gpu = found != ["cpu"]
    reference = [record for folder in stored("reference").values() for record in folder.records()]
    sources = {str(results): open_results(results).records(), "the stored reference": reference}
    kinds = [(job.plugin, json.dumps(dict(job.options)), job.budget, job.dataset) for job in jobs]
    first = dict(zip(kinds, jobs, strict=True))
    known: dict[Any, Estimate | str | None] = {kind: by_stored(job, sources, gpu=gpu) for kind, job in first.items()}
    unknown = [kind for kind, cost in known.items() if cost is None and measure]
    shapes = [(len(dataset.classes), dataset.channels) for dataset in (plan.datasets[kind[-1]] for kind in unknown)]
    timed = time_steps([(first[kind], *shape) for kind, shape in zip(unknown, shapes, strict=True)], found)
    known |= dict(zip(unknown, timed, strict=True))
    threads = max((job.budget.threads for job in jobs), default=1)
    at_once = len(found) * slots(found, workers, threads) if local else 0
    return Costs(jobs, [known[kind] or "" for kind in kinds], at_once, gpu)


def may_use_cpu(device: str, executor: str = "local") -> bool:
    """Return whether runs may go to a CPU. On a Ray cluster `auto` may, as only the cluster knows its GPUs."""
    from benchmark.train.local import devices

    return device != "cuda" if executor == "ray" else devices(device) == ["cpu"]


def ray_executor(device: str, address: str) -> MakeExecutor:
    """Workers on a Ray cluster; raises InputError where Ray is not installed."""
    from benchmark.train.ray.client import Cluster, Ray, check_device

    check_device(device)
    where = address or os.environ.get("RAY_ADDRESS", "")
    return lambda workers, threads, timeout_s, hide: Ray(Cluster(where, device, workers, threads, timeout_s), hide)


class Silent:
    """A screen that shows nothing."""

    def planned(self, states: Counter[str]) -> None:
        """Show nothing."""

    def tick(self, running: list[Running]) -> None:
        """Show nothing."""

    def ended(self, job: Job, state: str, reason: str, seconds: float) -> None:
        """Show nothing."""
