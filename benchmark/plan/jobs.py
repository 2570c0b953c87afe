"""Make jobs of a preset and flags; everything that determines a score is checked before the first job starts."""

import dataclasses
import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import InputError
from benchmark.inputs import nearest
from benchmark.plan import compare, plugins
from benchmark.plan.plugins import Plugin
from benchmark.plan.presets import Part, Preset, Request, Row, Settings, apply_flags
from benchmark.plan.revisions import is_stale, later, revision
from benchmark.seal.contract import LATER, Budget
from benchmark.store import ResultsFolder, plain, stored

if TYPE_CHECKING:
    from benchmark.datasets.annotations import Annotation, Mixed
    from benchmark.datasets.base import Dataset, Inventory

AGAIN = {"": (), "stale": ("stale",), "all": ("stale", "done")}  # states that `rerun` repeats, beside failed runs
Learner = tuple[str, Any, Budget, "Dataset"]  # a row's label, the method with its options, and what it learns with
PROTOCOL = 1  # version of the rules that determine a score: splits, sizes, metrics


@dataclass(frozen=True)
class Job:
    """One run: a method trained once on one split with one set of weak labels."""

    method: str  # its label in tables
    plugin: Plugin
    options: Mapping[str, Any]  # all, defaults included
    dataset: str
    dataset_options: Mapping[str, Any]
    annotation: str  # resolved: scribble:drawn or scribble:sim, never scribble
    split: str
    seed: int
    budget: Budget
    common: Budget  # of the other methods
    reason: str  # why the two budgets differ, or rotations are left out; empty if it is trained like the others
    data: str  # fingerprint of the split's scans
    code: str  # fingerprint of the method's code
    revision: int | None  # of a method of this suite
    simulator: int  # version
    role: str = ""  # of its row in reports
    files: tuple[str, ...] = ()  # options that name a file: its digest is in the identity
    extra: str = ""  # what the method needs beyond a pass of the network per step
    title: str = ""  # of the method in figures and LaTeX tables
    classes: tuple[str, ...] = ()  # of the data set

    def identity(self) -> dict[str, Any]:
        """Return everything that determines the scores, and nothing else."""
        return {
            "protocol": PROTOCOL,
            "method": self.plugin.name,
            "options": {
                name: _digest(value) if name in self.files else value
                for name, value in self.options.items()
                if (name, value) not in later(self.plugin).items()
            },
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
        """The job's name in the terminal."""
        return f"{self.method} · {self.dataset} · {self.annotation} · {self.split} · seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The run's folder below `runs/`."""
        parts = (self.dataset, self.annotation, self.method, f"{self.split}-seed{self.seed}-{self.hash[:8]}")
        return Path(*map(plain, parts))


def _without_defaults(budget: Budget) -> dict[str, Any]:
    """Return a budget; fields that older runs lack are left out at their default."""
    return {name: value for name, value in dataclasses.asdict(budget).items() if name not in LATER or value != LATER[name]}


@cache
def _digest(path: str) -> str:
    """Return the SHA-256 of a file; empty without one."""
    if not path:
        return ""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Plan:
    """The jobs of a sweep, their data sets, and the annotations that a method doesn't learn from."""

    name: str  # the preset's
    title: str
    jobs: list[Job]
    datasets: "dict[str, Dataset]"
    files: Mapping[str, str]  # of data sets: the state of their files before a scan was read
    not_claimed: list[tuple[str, str]]  # method, annotation
    warnings: list[str]  # about the data, and about what budgets leave out
    against: str = ""  # stored runs that reports compare these with
    metrics: Sequence[Plugin] = ()  # of plug-ins; runs are scored with them too
    notes: Sequence[str] = ()  # of the preset, to show before the runs
    beside: Sequence[Job] = ()  # jobs again, each planned beside another common budget: they are in several columns

    def content(self) -> dict[str, Any]:
        """Return the content of `plan.json`."""
        content = {"name": self.name, "title": self.title, "not_claimed": self.not_claimed, "runs": self.records()}
        if self.against:
            named = next(iter(stored(self.against)), "")
            content["against"] = str(Path(self.against).resolve()) if Path(named).is_absolute() else self.against
        return content

    def records(self) -> list[dict[str, Any]]:
        """Return, for each job, the entries of its run's record that are known before it runs."""
        return [
            {
                "folder": str(job.folder),
                "label": job.method,
                "identity": job.identity(),
                "common": dataclasses.asdict(job.common),
            }
            for job in (*self.jobs, *self.beside)
        ]


def state(results: ResultsFolder, job: Job) -> str:
    """Return `done`, `failed`, `stale` (done by code or of classes that may give other numbers) or `planned`."""
    run = results.record(job.folder)
    if run is None:
        return "planned"
    other_classes = list(run.get("labelled_share") or job.classes) != list(job.classes)
    return "stale" if is_stale(run, job.code) or (run["state"] == "done" and other_classes) else str(run["state"])


def make_plan(request: Request) -> Plan:
    """Resolve and check everything; raises InputError for the first fault.

    Names and options are checked first. Then every scan of every split is read once, so that a damaged file is found
    before the first job starts; scans that an earlier plan has read are not read again as long as no file changes.
    """
    from benchmark.datasets.plausibility import implausible
    from benchmark.datasets.summaries import remembered, state_of_files

    plugins.read_again()
    _digest.cache_clear()
    preset = apply_flags(request)
    metrics = plugins.metrics(preset.metrics)
    settings = Settings(preset, request)
    rows = settings.rows([name for part in preset.parts for name in part.methods])
    if request.against:
        stored(request.against)
    surveys = _surveys(preset, settings, [row.label for row in rows])
    _check_ranges(rows)
    parts = _checked_parts(preset, settings, surveys)
    planned = _Planned()
    files = dict[str, str]()
    for survey in surveys.values():
        with suppress(OSError):  # a link may lead nowhere
            files[survey.dataset.name] = state_of_files(survey.dataset)
    with remembered(surveys.values()):
        for part, own, splits in parts:
            _add(planned, part, settings, own, splits)
    _check_jobs(planned.jobs.values())
    datasets: dict[str, Dataset] = {}
    for survey in surveys.values():
        datasets[survey.dataset.name] = survey.dataset
        planned.warnings.update(dict.fromkeys(implausible(survey.dataset, survey.looked)))
    classes = {row.label: row.cls for row in rows}
    once = {job.hash: job for job in planned.jobs.values()}
    plan = Plan(
        name=preset.name,
        title=preset.title,
        jobs=list(once.values()),
        datasets=datasets,
        files=files,
        not_claimed=sorted(planned.not_claimed),
        warnings=[*planned.warnings, *_left_out(planned.jobs.values(), classes, datasets)],
        against=request.against,
        metrics=metrics,
        notes=preset.notes,
        beside=[job for job in planned.jobs.values() if job is not once[job.hash]],
    )
    if request.against:
        compare.check_match(plan.records(), request.against)
    return plan


def _check_jobs(jobs: Iterable[Job]) -> None:
    """Raise InputError if there are none, or if one is the same as another but for its row's name."""
    known: dict[str, Job] = {}
    for job in jobs:
        other = known.setdefault(job.hash, job)
        if other.folder != job.folder:
            raise InputError(f"{other.method} and {job.method} have the same options and so equal runs; leave one out")
    if not known:
        raise InputError("there is nothing to run: none of the methods learns from these annotations")


@dataclass(frozen=True)
class _Planned:
    """The jobs of all parts of a preset, each once."""

    jobs: dict[tuple[Path, Budget], Job] = field(default_factory=dict)  # by folder and common budget
    not_claimed: set[tuple[str, str]] = field(default_factory=set)
    warnings: dict[str, None] = field(default_factory=dict)


def _surveys(preset: Preset, settings: Settings, methods: list[str]) -> "dict[str, Inventory]":
    """Check the names of data sets and annotations, and those in settings; return an inventory of each data set.

    No method is imported, as that imports torch, and no scan is read.
    """
    from benchmark.datasets.annotations import check_sites, parse_sites, resolve

    for text in dict.fromkeys(text for part in preset.parts for text in part.annotations):
        parse_sites(text)
    surveys = settings.surveys(dict.fromkeys(name for part in preset.parts for name in part.datasets))
    named = [plugins.data_set(text).name for text in surveys]  # nnunet:PATH takes its options as nnunet
    settings.check_names(methods, [*dict.fromkeys([*named, *(survey.dataset.name for survey in surveys.values())])])
    for part in preset.parts:
        for text, dataset in product(part.annotations, (surveys[name].dataset for name in part.datasets)):
            resolve(text, dataset.drawn, dataset.name)
            check_sites(text, dataset)
    return surveys


def _checked_parts(
    preset: Preset, settings: Settings, surveys: "Mapping[str, Inventory]"
) -> "list[tuple[Part, list[Inventory], dict[str, list[str]]]]":
    """Check options, budgets, networks and splits, without reading a scan; return the parts, each with its data."""
    parts = [(part, [surveys[name] for name in part.datasets]) for part in preset.parts]
    learners = [list(_learners(part, settings, [survey.dataset for survey in own])) for part, own in parts]
    _check_networks(learner for each in learners for learner in each)
    checked = [(part, own, _splits(part, own, settings)) for part, own in parts]
    for (_, _, splits), each in zip(checked, learners, strict=True):
        for _, _, budget, dataset in each:
            for split in splits[dataset.name]:
                _check_selection(budget, dataset, split)
    return checked


def _learners(part: Part, settings: Settings, datasets: "Iterable[Dataset]") -> "Iterator[Learner]":
    """Check options and budgets of a part; yield the rows that learn from its annotations, on each data set."""
    from benchmark.datasets import annotations

    given = [{each.form for each in annotations.parse_sites(text).parts} for text in part.annotations]
    for row, dataset in product(settings.rows(part.methods), datasets):
        budget = settings.budget(row, dataset.parts[0].name, part.budget)[0]
        method = settings.method(row, dataset.parts[0].name)
        learnt = [every for every in given if every <= _forms(method)]
        _check_tuned(budget, {form for every in learnt for form in every})
        if learnt:
            yield row.label, method, budget, dataset


def _forms(method: Any) -> set[str]:
    """The forms of annotation that a method learns from, with the methods that its options name."""
    from benchmark.datasets import forms

    return set.intersection(*(set(forms.learnt(cls.annotations)) for cls in plugins.learners(method)))


def _add(
    planned: _Planned,
    part: Part,
    settings: Settings,
    surveys: "Iterable[Inventory]",
    splits: Mapping[str, Sequence[str]],
) -> None:
    """Plan the jobs of a part on these splits of data sets, every scan of which is read."""
    from benchmark.datasets import annotations

    rows = settings.rows(part.methods)
    for survey in surveys:
        name = survey.dataset.name
        methods = {row.label: settings.method(row, survey.dataset.parts[0].name) for row in rows}
        looks = {split: survey.look(split) for split in splits[name]}
        planned.warnings.update(dict.fromkeys(warning for look in looks.values() for warning in look.warnings))
        made: dict[str, dict[str, str]] = {}  # annotation as asked for -> what it is, and the first split where it is that
        for text, (split, look) in product(part.annotations, looks.items()):
            annotation = annotations.resolve(text, look.drawn, name)
            made.setdefault(text, {}).setdefault(str(annotation), split)
            annotations.check_simulable(annotation, look, f"split {split} of {name}")
            for seed, row in product(part.seeds, rows):
                if {each.form for each in annotation.parts} <= _forms(method := methods[row.label]):
                    job = _job(settings, row, survey, annotation, split, seed, look.fingerprint, part.budget)
                    planned.jobs[job.folder, job.common] = job
                else:
                    named = "".join(f" with {option}={getattr(method, option)}" for option in method.methods)
                    planned.not_claimed.add((row.label + named, str(annotation)))
        for text, kinds in made.items():
            if len(kinds) > 1:
                on = " and ".join(f"{kind} on {split}" for kind, split in kinds.items())
                why = "as some training scans have no drawn marks; name the one that you mean"
                planned.warnings[f"{name}: {text} is {on}, {why}"] = None


def _splits(part: Part, surveys: "Sequence[Inventory]", settings: Settings) -> dict[str, list[str]]:
    """Return the part's splits on each data set, by name or family, also with `@val`; without any, the data set's first.

    Raises InputError for a data set that has none of them, for a split that no data set has, unless it may be unused, and
    for a split that can't be used.
    """
    from benchmark.datasets.base import HELD_OUT, check_split

    chosen: dict[str, list[str]] = {}
    found = set()
    for dataset in (survey.dataset for survey in surveys):
        names = dataset.splits()
        known = names + [name + HELD_OUT for name in names]
        wanted = part.splits or names[:1]
        chosen[dataset.name] = [split for split in known if {split, compare.family(split)} & set(wanted)]
        if not chosen[dataset.name]:
            near = nearest(wanted[0], {*known, *map(compare.family, known)})
            raise InputError(f"{dataset.name} has no split {', '.join(wanted)}{near}; it has {', '.join(names)}")
        for split in chosen[dataset.name]:
            check_split(dataset, split)
        found |= {name for split in chosen[dataset.name] for name in (split, compare.family(split))}
    unknown = [split for split in part.splits if split not in found]
    if unknown and not settings.splits_may_be_unused:
        near = nearest(unknown[0], (split for survey in surveys for split in survey.dataset.splits()))
        there = "; ".join(f"{', '.join(splits)} of {name}" for name, splits in chosen.items())
        raise InputError(f"no data set of this run has a split {unknown[0]!r}{near}; there is {there}")
    return chosen


def _check_ranges(rows: Iterable[Row]) -> None:
    """Check that no method declares ranges for too many options."""
    from benchmark.plan import trials

    for row in rows:
        try:
            trials.ranges(row.cls)
        except ValueError as error:
            raise InputError(f"{row.label}: {error}") from error


def _check_tuned(budget: Budget, named: set[str]) -> None:
    """Check that the labels of held-out patients can tell a good trial from a bad one."""
    from benchmark.datasets.forms import FORMS

    sets = [name for name in sorted(named) if FORMS[name].gives == "sets"]
    if budget.tune and sets:
        raise InputError(
            f"tune={budget.tune} chooses by the labels of held-out patients, and those of {' and '.join(sets)} are fitted "
            "best by a network that finds nothing; tune on marks or masks"
        )


def _check_selection(budget: Budget, dataset: "Dataset", split: str) -> None:
    """Check that a split has held-out patients where snapshots or trials are to be selected on them."""
    if budget.snapshots > budget.steps:
        raise InputError(f"snapshots is {budget.snapshots}; it must be at most the number of steps, {budget.steps}")
    if (budget.snapshots or budget.tune) and not dataset.find_split(split).val:
        having = ", ".join(name for name in dataset.splits() if dataset.split(name).val) or "none"
        what = "snapshots" if budget.snapshots else "tune"
        raise InputError(
            f"{what} needs held-out patients, and split {split} of {dataset.name} has none; splits with some: {having}"
        )


def _job(
    settings: Settings,
    row: Row,
    survey: "Inventory",
    annotation: "Annotation | Mixed",
    split: str,
    seed: int,
    data: str,
    part_budget: Mapping[str, Any],
) -> Job:
    """Return the job of a row on a split."""
    trained = survey.dataset.parts[0].name
    budget, common, reason = settings.budget(row, trained, part_budget)
    options = settings.options(row, trained)
    return Job(
        method=row.label,
        plugin=row.plugin,
        options=options,
        dataset=survey.dataset.name,
        dataset_options=survey.options,
        annotation=str(annotation),
        split=split,
        seed=seed,
        budget=budget,
        common=common,
        reason=reason,
        data=data,
        code=plugins.code(row.plugin, options),
        revision=revision(row.plugin),
        simulator=annotation.version,
        role=plugins.role(row.cls),
        files=getattr(row.cls, "files", ()),
        extra=getattr(row.cls, "extra", ""),
        title=plugins.title(row.cls),
        classes=tuple(survey.dataset.classes),
    )


def _check_networks(learners: "Iterable[Learner]") -> None:
    """Check that each network can be trained with its budget and has what its methods need; `unet` has everything."""
    checked = set()
    for label, method, budget, dataset in learners:
        needs = tuple(need for cls in plugins.learners(method) for need in plugins.needs(cls))
        further = [(name, ()) for option in method.networks if (name := getattr(method, option))]
        for network, own in [(budget.network, needs), *further]:
            case = (network, budget.network, budget.weights, budget.size, budget.batch, dataset.channels, own)
            if case in checked or network == "unet":
                continue
            checked.add(case)
            from benchmark.methods import networks  # imports torch

            try:
                missing = networks.lacks(network, own, dataset.channels, budget.size, budget.batch)
                if budget.weights:
                    networks.build(budget.network, dataset.channels, 2, budget.weights)
            except ValueError as error:
                raise InputError(str(error)) from error
            if missing:
                raise InputError(f"{label} needs {' and '.join(missing)}, which {network} does not make")


def _left_out(jobs: Iterable[Job], methods: Mapping[str, Any], datasets: "Mapping[str, Dataset]") -> list[str]:
    """Say which parts of methods their budgets leave no time for, each once."""
    from benchmark.datasets.base import site_names

    said: dict[str, None] = {}
    for job in {(job.method, job.dataset, job.split, job.budget): job for job in jobs}.values():
        method, dataset = plugins.configure(methods[job.method], job.options), datasets[job.dataset]
        of_scans = site_names(dataset) if "sites" in inspect.signature(method.left_out).parameters else {}
        sites = {of_scans[scan] for scan in dataset.find_split(job.split).train} if of_scans else ()
        if text := method.left_out(job.budget, sites=len(sites)) if sites else method.left_out(job.budget):
            said[f"{job.method}: {text}"] = None
    return list(said)


def select_shard(jobs: Sequence[Job], which: str) -> list[Job]:
    """Return the jobs of shard `I/N`, in their order; raises InputError if that is not a shard.

    The jobs, sorted by method, go to the shards in turn. So the shards have equally many jobs of each method, to within
    one. Where N divides the number of sealed folders, most folders are needed by one shard alone.
    """
    number, parts = parse_shard(which)
    chosen = {id(job) for job in sorted(jobs, key=lambda job: job.method)[number - 1 :: parts]}  # the sort is stable
    return [job for job in jobs if id(job) in chosen]


def parse_shard(which: str) -> tuple[int, int]:
    """Return I and N of `I/N`; raises InputError if it is not of that form."""
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", which)
    number, parts = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= parts:
        raise InputError(f"--shard is {which!r}; it must be I/N with I from 1 to N, such as 2/8")
    return number, parts
