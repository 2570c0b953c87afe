"""Output on the terminal: lists, the plan, the live progress of a sweep, the table at the end."""

import dataclasses
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from benchmark.datasets.forms import ANNOTATIONS
from benchmark.plan import plugins
from benchmark.score.metrics import BUILT_IN

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.datasets.base import Dataset, Split
    from benchmark.plan.costs import Costs
    from benchmark.plan.jobs import Job, Plan
    from benchmark.train.local import Running


MANY = 6  # methods that a line can name


def show_list(presets: Iterable[Path]) -> None:
    """Print methods, groups, data sets and presets, from their sources, without importing them."""
    console = _wide()
    shown = grid("method", "learns from", "idea", "after")
    for name, plugin in plugins.find("method").items():
        about = plugins.describe(plugin)
        shown.add_row(name, " ".join(about.get("annotations", ())), about["idea"], about["paper"])
    console.print(shown)
    for group, names in plugins.groups().items():
        console.print(Text(f"{group}: {', '.join(names)}"))
    shown = grid("data set", "modality", "classes", "drawn", "what")
    for name, plugin in plugins.find("data set").items():
        about = plugins.describe(plugin)
        shown.add_row(
            name,
            about.get("modality", ""),
            " ".join(about.get("classes", ())),
            " ".join(about.get("drawn", ())),
            about["paper"],
        )
    console.print(shown)
    installed = "".join(f"; {name} (from {plugin.module})" for name, plugin in plugins.find("metric").items())
    console.print(Text(f"metrics: {', '.join(BUILT_IN)}{installed}"))
    console.print(Text(f"annotations: {', '.join(ANNOTATIONS)}"))
    console.print(Text(f"presets: {', '.join(sorted(path.stem for path in presets))}"))


def show_brief(plan: "Plan", states: Sequence[tuple["Job", str]], costs: "Costs", results: Path) -> None:
    """Print what a command will do: methods, data, splits, runs by state and their costs, and where results go."""
    jobs = [job for job, _ in states]
    methods, seeds = (list(dict.fromkeys(getattr(job, name) for job in jobs)) for name in ("method", "seed"))
    named = ", ".join(methods) if len(methods) <= MANY else f"{len(methods)} methods"
    forms = {name: dict.fromkeys(job.annotation for job in jobs if job.dataset == name) for name in plan.datasets}
    columns = "; ".join(f"{name} {', '.join(own)}" for name, own in forms.items())
    counts = ", ".join(f"{count} {state}" for state, count in sorted(Counter(state for _, state in states).items()))
    again = "; stale: by other code, --rerun stale repeats them" if any(state == "stale" for _, state in states) else ""
    spent = "costs unknown, --dry-run times the first steps" if costs.jobs else "nothing to do"
    if costs.known:
        part = "" if len(costs.known) == len(costs.jobs) else f" for {len(costs.known)} of {_count(len(costs.jobs), 'run')}"
        wall = f", {_in_words(costs.wall_s())} with {costs.at_once} at once" if costs.at_once else ""
        spent = f"about {sum(costs.hours(method) for method in methods):.2g} {costs.unit}{part}{wall}"
    console = Console()
    for name, text in {
        "methods": f"{named}; seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}",
        "data": columns,
        "splits": "; ".join(_splits(dataset, jobs) for dataset in plan.datasets.values()),
        "runs": f"{counts}{again}; {spent}",
        "results": str(results),
    }.items():
        console.print(Text(f"{name:9} {text}"), soft_wrap=True)


def _splits(dataset: "Dataset", jobs: Iterable["Job"]) -> str:
    """Name the splits of a data set that jobs have, and how to get all of a family."""
    from benchmark.plan.compare import family  # imports pandas

    planned = list(dict.fromkeys(job.split for job in jobs if job.dataset == dataset.name))
    families: dict[str, list[str]] = {}
    for split in planned:
        families.setdefault(family(split), []).append(split)
    said = []
    for name, own in families.items():
        fold, at, part = name.partition("@")
        every = [split for split in dataset.splits() if family(split) == fold]
        rest = f" ({len(own)} of {len(every)}; all: --splits {fold}{at}{part})" if len(own) < len(every) else ""
        said.append(f"{', '.join(own)}{rest}")
    return f"{dataset.name} {', '.join(said)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def show_plan(plan: "Plan", states: Iterable[tuple["Job", str]]) -> None:
    """Print the jobs, each with its state."""
    shown = grid("run", "state", "budget", "options")
    for job, state in states:
        common = dataclasses.asdict(job.common)
        differing = {name: value for name, value in dataclasses.asdict(job.budget).items() if value != common[name]}
        defaults = {field.name: field.default for field in dataclasses.fields(job.plugin.load())}
        options = {name: value for name, value in job.options.items() if value != defaults[name]}
        shown.add_row(str(job.folder), state, _settings(differing), _settings(options))
    console = _wide()
    console.print(shown)
    for name in plan.datasets:
        budgets = {_settings(dataclasses.asdict(job.common)) for job in plan.jobs if job.dataset == name}
        console.print(Text(f"budget on {name}: {'; '.join(budgets)}"), soft_wrap=True)
    console.print(Text(_count(len(plan.jobs), "run")))
    show_not_claimed(plan)


def show_costs(costs: "Costs") -> None:
    """Print what the runs of each method will cost and by what that is known, the sum, and when all will have ended."""
    shown, total = grid("method", "runs", costs.unit, "estimated by"), 0.0
    sources: dict[str, dict[str, None]] = defaultdict(dict)
    for job, estimate in zip(costs.jobs, costs.estimates, strict=True):
        source = f"nothing: three steps fail: {estimate}" if isinstance(estimate, str) else estimate.source
        sources[job.method][source] = None
    for method, found in sources.items():
        hours, count = costs.hours(method), sum(job.method == method for job in costs.jobs)
        total += hours
        shown.add_row(method, str(count), f"{hours:.3g}" if hours else "", "; ".join(found))
    console = _wide()
    if sources:
        console.print(shown)
    if costs.known:
        wall = f", {_in_words(costs.wall_s())} with {costs.at_once} at once" if costs.at_once else ""
        console.print(Text(f"about {total:.3g} {costs.unit}{wall}"))


def show_not_claimed(plan: "Plan") -> None:
    """Print the pairs of method and annotation that stay n/a in the tables."""
    console = Console()
    for method, annotation in plan.not_claimed:
        console.print(Text(f"n/a: {method} does not learn from {annotation}"))


def show_warnings(warnings: Iterable[str]) -> None:
    """Print what a plan or a table warns of."""
    for warning in warnings:
        Console().print(Text(f"warning: {warning}"), soft_wrap=True)


def show_splits(dataset: "Dataset", splits: dict[str, "Split"]) -> None:
    """Print the numbers of scans and patients in each part of each split."""
    owner = {scan: patient for patient, scans in dataset.patients().items() for scan in scans}
    unit = "patients" if dataset.patients_known else "groups (patients unknown)"
    shown = grid("split", *(f"{role}: scans, {unit}" for role in ("train", "val", "test")))
    for name, split in splits.items():
        counts = [f"{len(scans)}, {len({owner[s] for s in scans})}" for scans in split.roles().values()]
        shown.add_row(name, *counts)
    Console().print(shown)


def show_tables(found: "Mapping[str, pd.DataFrame]", note: str) -> None:
    """Print a table for each data set, in as many pieces as its columns need, and a note on all."""
    console = Console()
    for dataset, table in found.items():
        names = list(table.columns)
        widest = max(len(text) for text in [*names, *map(str, table.to_numpy().ravel())])
        together = max(1, (console.width - max(map(len, [dataset, *table.index]))) // (widest + 2))
        for start in range(0, len(names), together):
            shown = grid(dataset, *names[start : start + together])
            for method, cells in zip(table.index, table.to_numpy(), strict=True):
                shown.add_row(str(method), *map(str, cells[start : start + together]))
            console.print(shown)
    console.print(Text(note), soft_wrap=True)


class Watcher:
    """Show the progress of a sweep: a live table in a terminal, else a line per run.

    `verbose`: also a line per run in a terminal. `quiet`: only lines of runs that failed.
    """

    def __init__(
        self, console: Console | None = None, *, quiet: bool = False, verbose: bool = False, rerun: str = ""
    ) -> None:
        self.rerun, self.console = rerun, console or Console(highlight=False)
        shown = self.console.is_terminal and not quiet
        self.live = Live(console=self.console, refresh_per_second=4) if shown else None
        self.lines = verbose or not (quiet or shown)
        self.done = self.failed = self.elsewhere = self.total = self.kept = self.all = 0
        self.start = time.monotonic()

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.update(Text(""))
            self.live.stop()
        if kind is KeyboardInterrupt:
            said = f"stopped; {self.kept + self.done} of {_count(self.all, 'run')} done and kept; the same command goes on"
            if self.rerun == "all":
                said = (
                    f"stopped; {_count(self.done, 'run')} repeated, the others are as before; the same command repeats all"
                )
            self.console.print(Text(said))

    def planned(self, states: Counter[str]) -> None:
        """Keep how many runs are in which state."""
        self.total, self.start = states["planned"] + states["failed"], time.monotonic()
        self.kept, self.all = states["done"] + states["stale"], states.total()

    def tick(self, running: list["Running"]) -> None:
        """Show the running jobs with their last logged step, loss and time left."""
        if self.live is None:
            return
        shown = grid("running", "device", "step", "loss", "time", "left")
        done = float(self.done + self.failed)  # runs, with the shares of those that are running
        for worker in running:
            last, seconds = last_line(worker.task.out / "train.jsonl"), time.monotonic() - worker.start
            steps = worker.task.steps
            trains = "step" in last and "propagated" not in last
            done += (last["step"] + 1) / steps if trains else 0
            left = last["seconds"] * (steps / (last["step"] + 1) - 1) if trains else None
            shown.add_row(
                worker.task.name,
                worker.device,
                _stage(last, worker),
                f"{last['loss']:.4f}" if "loss" in last else "",
                _duration(seconds),
                "" if left is None else _duration(left),
            )
        caption = f"{self.done + self.failed} of {self.total} ended, {self.failed} failed"
        if done:
            left = max(0, self.total - self.elsewhere - done) * (time.monotonic() - self.start) / done
            caption += f"; about {_in_words(left)} left"
        self.live.update(Group(shown, Text(caption, "italic")))

    def ended(self, job: "Job", state: str, reason: str, seconds: float) -> None:
        """Print a line for a run that has ended."""
        self.done += state == "done"
        self.failed += state == "failed"
        self.elsewhere += state == "elsewhere"
        if self.lines or state == "failed" or (state == "done" and reason):
            said = f"{state:9} {job.name} ({_duration(seconds)})" + (f": {reason}" if reason else "")
            self.console.print(Text(said), soft_wrap=True)


def _stage(last: Mapping[str, Any], worker: "Running") -> str:
    """Say what a run does: the step it is at, or what comes before the first."""
    if "propagated" in last:
        return f"labels {last['propagated']:.0%}"
    return f"{last['step'] + 1}/{worker.task.steps}" if last else worker.stage


def last_line(path: Path) -> dict[str, Any]:
    """Return the last complete line of a training log; empty if there is none yet."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 1000))
            lines = file.read().split(b"\n")[:-1]
        return dict(json.loads(lines[-1])) if lines else {}
    except (OSError, ValueError):
        return {}


@contextmanager
def status(text: str) -> Iterator[None]:
    """Show a status line while the block runs."""
    console = Console()
    if console.is_terminal:
        with console.status(Text(text)):
            yield
    else:
        console.print(Text(text))
        yield


def _wide() -> Console:
    """Return a console; one that is not a terminal gets long lines."""
    console = Console()
    return console if console.is_terminal else Console(width=240)


def grid(*columns: str) -> Table:
    """Return an empty table without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _settings(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _in_words(seconds: float) -> str:
    """Return a duration such as 2 h 10 min; below a minute in seconds."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if seconds < 60:
        return f"{round(seconds)} s"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
