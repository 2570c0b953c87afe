"""From a preset and flags to jobs: everything that settles a number, checked before anything runs."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import InputError
from benchmark.plan import compare, plugins
from benchmark.plan.plugins import Plugin
from benchmark.plan.presets import Part, Request, Row, Settings, apply_flags
from benchmark.plan.revisions import is_stale, revision
from benchmark.seal.contract import Budget
from benchmark.store import ResultsFolder, plain

if TYPE_CHECKING:
    from benchmark.datasets.annotations import Annotation
    from benchmark.datasets.base import Dataset, Inventory

PROTOCOL = 1  # of the rules that settle a number: splits, sizes, scores


@dataclass(frozen=True)
class Job:
    """One run: a method trained once on one split with one set of weak labels."""

    method: str  # its label in tables
    plugin: Plugin
    options: Mapping[str, Any]  # all of them, resolved
    dataset: str
    dataset_options: Mapping[str, Any]
    annotation: str  # resolved: scribble:drawn or scribble:sim, never scribble
    split: str
    seed: int
    budget: Budget
    common: Budget  # the other methods' budget
    reason: str  # why the two differ, if they do
    data: str  # fingerprint of the split's scans
    code: str  # fingerprint of the method's code
    revision: int | None  # of a method of this suite
    simulator: int  # version
    role: str = ""  # of its row in reports

    def identity(self) -> dict[str, Any]:
        """Everything that settles the number, and nothing that doesn't."""
        return {
            "protocol": PROTOCOL,
            "method": self.plugin.name,
            "options": dict(self.options),
            "dataset": self.dataset,
            "dataset_options": dict(self.dataset_options),
            "annotation": self.annotation,
            "simulator": self.simulator,
            "split": self.split,
            "seed": self.seed,
            "budget": _without_defaults(self.budget) | {"weights": _digest(self.budget.weights)},
            "data": self.data,
        }

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the identity."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """What the screen calls it."""
        return f"{self.method} · {self.dataset} · {self.annotation} · {self.split} · seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where its run lies below `runs/`."""
        parts = (self.dataset, self.annotation, self.method, f"{self.split}-seed{self.seed}-{self.hash[:8]}")
        return Path(*map(plain, parts))


def _without_defaults(budget: Budget) -> dict[str, Any]:
    """All of a budget, but of selection and tuning only what was asked for: runs from before there were such stay valid."""
    return {name: value for name, value in dataclasses.asdict(budget).items() if value or name not in ("snapshots", "tune")}


@cache
def _digest(path: str) -> str:
    """SHA-256 of a file; empty without one."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


@dataclass(frozen=True)
class Plan:
    """The jobs of a sweep, the data sets they need, and the pairs that a method doesn't claim to learn from."""

    name: str  # the preset's
    title: str
    jobs: list[Job]
    datasets: "dict[str, Dataset]"
    not_claimed: list[tuple[str, str]]  # method, annotation
    warnings: list[str]  # of the data
    against: str = ""  # stored runs that reports show beside these
    metrics: Sequence[Plugin] = ()  # one's own, that runs are scored with too

    def content(self) -> dict[str, Any]:
        """What `plan.json` holds."""
        content = {"name": self.name, "title": self.title, "not_claimed": self.not_claimed, "runs": self.records()}
        if self.against:
            path = Path(self.against)
            content["against"] = str(path.resolve()) if (path / "runs").is_dir() else self.against
        return content

    def records(self) -> list[dict[str, Any]]:
        """Of each job what a run's record says before it is run."""
        return [
            {
                "folder": str(job.folder),
                "label": job.method,
                "identity": job.identity(),
                "common": dataclasses.asdict(job.common),
            }
            for job in self.jobs
        ]


def state(results: ResultsFolder, job: Job) -> str:
    """`done`, `failed`, `stale` (done by code that may give other numbers) or `planned`."""
    run = results.record(job.folder)
    if run is None:
        return "planned"
    return "stale" if is_stale(run, job.code) else str(run["state"])


def make_plan(request: Request) -> Plan:
    """Resolve and check everything; raises InputError for the first thing that is wrong.

    Every scan of every split is read once, so that a file that can't be used is found before the first job starts.
    """
    preset = apply_flags(request)
    metrics = [plugins.get("metric", text) for text in preset.metrics]
    settings = Settings(preset, request)
    rows = settings.rows([name for part in preset.parts for name in part.methods])
    _check_ranges(rows)
    for part in preset.parts:  # what is mistyped is found before any file is read
        for row, dataset in product(settings.rows(part.methods), map(plugins.data_set, part.datasets)):
            settings.budget(row, dataset.name, part.budget)
            settings.options(row, dataset.name)
    surveys = settings.surveys(dict.fromkeys(name for part in preset.parts for name in part.datasets))
    datasets = {survey.dataset.name: survey for survey in surveys.values()}
    named = [plugins.data_set(text).name for text in surveys]  # nnunet:PATH takes its options as nnunet
    settings.check_names([c.label for c in rows], [*dict.fromkeys([*named, *datasets])])
    planned = _Planned()
    for part in preset.parts:
        _add(planned, part, settings, {name: surveys[name] for name in part.datasets})
    _check_networks(planned.jobs.values(), datasets, {c.label: c.cls for c in rows})
    plan = Plan(
        name=preset.name,
        title=preset.title,
        jobs=list(planned.jobs.values()),
        datasets={name: survey.dataset for name, survey in datasets.items()},
        not_claimed=sorted(planned.not_claimed),
        warnings=list(planned.warnings),
        against=request.against,
        metrics=metrics,
    )
    if request.against:
        compare.check_match(plan.records(), request.against)
    return plan


@dataclass(frozen=True)
class _Planned:
    """What the parts of a preset come to, each job once."""

    jobs: dict[str, Job] = field(default_factory=dict)
    not_claimed: set[tuple[str, str]] = field(default_factory=set)
    warnings: dict[str, None] = field(default_factory=dict)


def _add(planned: _Planned, part: Part, settings: Settings, surveys: "Mapping[str, Inventory]") -> None:
    """Plan another part, on these data sets; every scan of its splits is looked at."""
    from benchmark.datasets import annotations, forms

    rows = settings.rows(part.methods)
    splits = _splits(part, surveys.values(), required=[] if settings.cut else part.splits)
    for survey in surveys.values():
        name = survey.dataset.name
        looks = {split: survey.look(split) for split in splits[name]}
        planned.warnings.update(dict.fromkeys(warning for look in looks.values() for warning in look.warnings))
        for text, (split, look) in product(part.annotations, looks.items()):
            annotation = annotations.resolve(text, look.drawn, name)
            annotations.check_simulable(annotation, look, f"split {split} of {name}")
            for seed, row in product(part.seeds, rows):
                if annotation.form in forms.learnt(row.cls.annotations):
                    job = _job(settings, row, survey, annotation, split, seed, look.fingerprint, part.budget)
                    _check_selection(job, survey.dataset)
                    planned.jobs[str(job.folder)] = job
                else:
                    planned.not_claimed.add((row.label, str(annotation)))


def _splits(part: Part, surveys: "Iterable[Inventory]", required: Iterable[str]) -> dict[str, list[str]]:
    """For each data set those splits that were asked for, by name or family; its first if none were asked for.

    Raises InputError for a data set without any of them, and for one of those required that no data set has.
    """
    chosen: dict[str, list[str]] = {}
    met = set()
    for dataset in (survey.dataset for survey in surveys):
        there = dataset.splits()
        wanted = part.splits or there[:1]
        chosen[dataset.name] = [split for split in there if {split, split.partition("/")[0]} & set(wanted)]
        if not chosen[dataset.name]:
            raise InputError(f"{dataset.name} has no split {', '.join(wanted)}; it has {', '.join(there)}")
        met |= {known for split in chosen[dataset.name] for known in (split, split.partition("/")[0])}
    strange = [split for split in required if split not in met]
    if strange:
        raise InputError(f"no data set of this run has a split {strange[0]!r}; chosen are {chosen}")
    return chosen


def _check_ranges(rows: Iterable[Row]) -> None:
    """Raise InputError where a method has ranges for more options than any may tune."""
    from benchmark.plan import trials

    for row in rows:
        try:
            trials.ranges(row.cls)
        except ValueError as error:
            raise InputError(f"{row.label}: {error}") from error


def _check_selection(job: Job, dataset: "Dataset") -> None:
    """Raise InputError where something is to be selected on held-out patients and the split holds none out."""
    budget = job.budget
    if budget.snapshots > budget.steps:
        raise InputError(f"{budget.snapshots} snapshots can't be taken in {budget.steps} steps")
    if (budget.snapshots or budget.tune) and not dataset.split(job.split).val:
        there = ", ".join(split for split in dataset.splits() if dataset.split(split).val) or "none"
        what = "snapshots" if budget.snapshots else "tune"
        raise InputError(
            f"{what} needs held-out patients, and split {job.split} of {job.dataset} has none; splits that have: {there}"
        )


def _job(
    settings: Settings,
    row: Row,
    survey: "Inventory",
    annotation: "Annotation",
    split: str,
    seed: int,
    data: str,
    of_part: Mapping[str, Any],
) -> Job:
    """One run of a row."""
    from benchmark.datasets import simulate

    budget, common, reason = settings.budget(row, survey.dataset.name, of_part)
    return Job(
        method=row.label,
        plugin=row.plugin,
        options=settings.options(row, survey.dataset.name),
        dataset=survey.dataset.name,
        dataset_options=survey.options,
        annotation=str(annotation),
        split=split,
        seed=seed,
        budget=budget,
        common=common,
        reason=reason,
        data=data,
        code=plugins.fingerprint(row.plugin),
        revision=revision(row.plugin),
        simulator=simulate.VERSION,
        role=plugins.role(row.cls),
    )


def _check_networks(jobs: Iterable[Job], surveys: "Mapping[str, Inventory]", methods: Mapping[str, Any]) -> None:
    """Raise InputError where a network can't be built, or lacks what a method needs of it; `unet` has all there is."""
    met = set()
    for job in jobs:
        channels, needs = surveys[job.dataset].dataset.channels, getattr(methods[job.method], "needs", ())
        case = (job.budget.network, job.budget.weights, job.budget.size, channels, needs)
        if case in met or job.budget.network == "unet":
            continue
        met.add(case)
        from benchmark.methods import networks  # imports torch

        try:
            missing = networks.lacks(job.budget.network, needs, channels, job.budget.size)
            networks.build(job.budget.network, channels, 2, job.budget.weights)
        except ValueError as error:
            raise InputError(str(error)) from error
        if missing:
            raise InputError(f"{job.method} needs {' and '.join(missing)}, which {job.budget.network} does not make")


def select_shard(jobs: Sequence[Job], which: str) -> list[Job]:
    """The jobs of shard `I/N`, in their order; raises InputError where that is no shard.

    Jobs are dealt out like cards, method after method: every shard gets as many of each method (and so as much work) as the
    others, give or take one; where N divides the number of sealed folders, most are needed by one shard alone.
    """
    number, parts = parse_shard(which)
    dealt = {id(job) for job in sorted(jobs, key=lambda job: job.method)[number - 1 :: parts]}  # sorting keeps their order
    return [job for job in jobs if id(job) in dealt]


def parse_shard(which: str) -> tuple[int, int]:
    """I and N of `I/N`; raises InputError where these are none."""
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", which)
    number, parts = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= parts:
        raise InputError(f"--shard is {which!r}; it must be I/N with I from 1 to N, such as 2/8")
    return number, parts
