"""From a preset and flags to jobs: everything that settles a number, checked before anything runs."""

import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from benchmark import InputError, comparable, plugins
from benchmark.plugins import Plugin

if TYPE_CHECKING:
    from benchmark.datasets.base import Dataset, Survey
    from benchmark.datasets.weak import Annotation

PROTOCOL = 1  # of the rules that settle a number: splits, sizes, scores
PRESETS = Path(__file__).parent / "presets"
PARTED = ("methods", "datasets", "annotations", "splits", "seeds")  # what a part of a preset may say itself
LABEL = plugins.NAME  # what a row of the tables may be called

Count = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Budget:
    """What every method may spend, and on which network; equal for all unless a preset says so openly."""

    steps: Count = 30000
    batch: Count = 12
    size: Annotated[int, Field(ge=16, le=2**15)] = 256  # px, height and width of what the network sees
    network: str = "unet"  # or smp:ARCHITECTURE/ENCODER
    weights: str = ""  # file of encoder weights; from scratch without
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    momentum: Share = 0.9
    weight_decay: Share = 1e-4
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: Count = 1
    snapshots: Annotated[int, Field(ge=0)] = 0  # weights kept at so many evenly spaced steps, to select from
    tune: Annotated[int, Field(ge=0)] = 0  # random trials of each method's options, beside the published values

    def __post_init__(self) -> None:
        """Refuse what batch normalisation can't work with: one value per channel at the deepest level."""
        if self.batch * (self.size // 16) ** 2 < 2:
            raise ValueError(f"a batch of {self.batch} at size {self.size} is too small; size must be at least 32")


@dataclass(frozen=True)
class Part:
    """A part of a preset: all combinations of these; what it leaves empty is what the preset says of all parts."""

    methods: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = field(default_factory=list)
    budget: dict[str, Any] = field(default_factory=dict)  # where it is another one; columns tell budgets apart


@dataclass(frozen=True)
class Preset:
    """What a preset's TOML file may hold."""

    name: Annotated[str, Field(pattern=r"^[\w-]*$")] = ""  # of the report; the file's if empty
    title: str = ""
    methods: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=lambda: ["scribble"])
    splits: list[str] = field(default_factory=list)  # none: each data set's first; strat5: all its folds
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = field(default_factory=lambda: [0])
    budget: dict[str, Any] = field(default_factory=dict)  # and [budget.dataset.NAME], [budget.method.NAME] with `reason`
    options: dict[str, dict[str, Any]] = field(default_factory=dict)  # [options.NAME], [options.METHOD.dataset.NAME]
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)  # [variants.LABEL] method = "...", and options
    parts: list[Part] = field(default_factory=list)  # [[parts]], one after the other; none: the preset is its only part


@dataclass(frozen=True)
class Request:
    """What the command line asks for beyond the preset; what is empty leaves the preset as it is."""

    preset: str = ""
    methods: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    budget: list[str] = field(default_factory=list)  # NAME=VALUE
    options: list[str] = field(default_factory=list)  # METHOD.NAME=VALUE
    against: str = ""  # stored runs to compare with
    data: Path = Path("data")


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
    code: str  # fingerprint of the method's code and of what makes its labels
    simulator: int  # version

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


def plain(name: str) -> str:
    """A name as a folder may be called."""
    return re.sub(r"^\.+$|[^\w.@+=-]", "-", name)


def _without_defaults(budget: Budget) -> dict[str, Any]:
    """All of a budget, but of selection and tuning only what was asked for: runs from before there were such stay valid."""
    return {name: value for name, value in dataclasses.asdict(budget).items() if value or name not in ("snapshots", "tune")}


@cache
def _digest(path: str) -> str:
    """SHA-256 of a file; empty without one."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


@dataclass(frozen=True)
class Contestant:
    """A row of the tables to come: a method, perhaps with some options fixed."""

    label: str
    plugin: Plugin
    cls: Any
    fixed: Mapping[str, Any]


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


def make_plan(request: Request) -> Plan:
    """Resolve and check everything; raises InputError for the first thing that is wrong.

    Every scan of every split is read once, so that a file that can't be used is found before the first job starts.
    """
    preset = _wanted(request)
    settings = _Settings(preset, request)
    contestants = settings.contestants([name for part in preset.parts for name in part.methods])
    _refuse_ranges(contestants)
    for part in preset.parts:  # what is mistyped is found before any file is read
        for contestant, dataset in product(settings.contestants(part.methods), map(plugins.data_set, part.datasets)):
            settings.budget(contestant, dataset.name, part.budget)
            settings.options(contestant, dataset.name)
    surveys = settings.surveys(dict.fromkeys(name for part in preset.parts for name in part.datasets))
    datasets = {survey.dataset.name: survey for survey in surveys.values()}
    named = [plugins.data_set(text).name for text in surveys]  # nnunet:PATH takes its options as nnunet
    settings.refuse_strangers([c.label for c in contestants], [*dict.fromkeys([*named, *datasets])])
    planned = _Planned()
    for part in preset.parts:
        _add(planned, part, settings, {name: surveys[name] for name in part.datasets})
    _refuse_networks(planned.jobs.values(), datasets, {c.label: c.cls for c in contestants})
    plan = Plan(
        name=preset.name,
        title=preset.title,
        jobs=list(planned.jobs.values()),
        datasets={name: survey.dataset for name, survey in datasets.items()},
        not_claimed=sorted(planned.not_claimed),
        warnings=list(planned.warnings),
        against=request.against,
    )
    if request.against:
        comparable.refuse_without_match(plan.records(), request.against)
    return plan


@dataclass(frozen=True)
class _Planned:
    """What the parts of a preset come to, each job once."""

    jobs: dict[str, Job] = field(default_factory=dict)
    not_claimed: set[tuple[str, str]] = field(default_factory=set)
    warnings: dict[str, None] = field(default_factory=dict)


def _add(planned: _Planned, part: Part, settings: "_Settings", surveys: "Mapping[str, Survey]") -> None:
    """Plan another part, on these data sets; every scan of its splits is looked at."""
    from benchmark.datasets import weak

    contestants = settings.contestants(part.methods)
    splits = _splits(part, surveys.values(), required=[] if settings.cut else part.splits)
    for survey in surveys.values():
        name = survey.dataset.name
        looks = {split: survey.look(split) for split in splits[name]}
        planned.warnings.update(dict.fromkeys(warning for look in looks.values() for warning in look.warnings))
        for text, (split, look) in product(part.annotations, looks.items()):
            annotation = weak.resolve(text, look.drawn, name)
            weak.check_makeable(annotation, look, f"split {split} of {name}")
            for seed, contestant in product(part.seeds, contestants):
                if annotation.form in contestant.cls.annotations:
                    job = settings.job(contestant, survey, annotation, split, seed, look.fingerprint, part.budget)
                    _refuse_selection(job, survey.dataset)
                    planned.jobs[str(job.folder)] = job
                else:
                    planned.not_claimed.add((contestant.label, str(annotation)))


def _splits(part: Part, surveys: "Iterable[Survey]", required: Iterable[str]) -> dict[str, list[str]]:
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


def _refuse_ranges(contestants: Iterable[Contestant]) -> None:
    """Raise InputError where a method has ranges for more options than any may tune."""
    from benchmark import tuning

    for contestant in contestants:
        try:
            tuning.ranges(contestant.cls)
        except ValueError as error:
            raise InputError(f"{contestant.label}: {error}") from error


def _refuse_selection(job: Job, dataset: "Dataset") -> None:
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


def read_preset(name: str) -> Preset:
    """The preset of that name, or in the TOML file of that path."""
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    own = name.endswith(".toml") or plugins.NAME.fullmatch(name)  # a name without the ending leads nowhere else
    if not own or not path.exists():
        there = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
        raise InputError(f"no preset {name!r}; there are {there}, or give the path of a TOML file")
    preset = plugins.checked(Preset, plugins.read_toml(path), str(path))
    _refuse_misshapen(preset, str(path))
    return preset if preset.name else dataclasses.replace(preset, name=re.sub(r"[^\w-]", "-", path.stem))


def _refuse_misshapen(preset: Preset, what: str) -> None:
    """Raise InputError where a preset has something else where a table must be, or a variant without a method's name."""
    tables = {f"budget.{part}": preset.budget.get(part, {}) for part in ("dataset", "method")}
    tables |= {f"options.{name}.dataset": own.get("dataset", {}) for name, own in preset.options.items()}
    for name, table in tables.items():
        if not isinstance(table, dict) or not all(isinstance(each, dict) for each in table.values()):
            raise InputError(f"{what}: {name} is {table!r:.100}; it must be a table for each name, such as [{name}.NAME]")
    reasons = {f"budget.method.{name}.reason": own.get("reason", "") for name, own in tables["budget.method"].items()}
    named = {f"variants.{label}.method": own.get("method", "") for label, own in preset.variants.items()}
    for name, text in {**reasons, **named}.items():
        if not isinstance(text, str):
            raise InputError(f"{what}: {name} is {text!r:.100}; it must be text")


class _Settings:
    """What preset and flags say of methods, data sets and budgets; flags win over everything in the preset."""

    def __init__(self, preset: Preset, request: Request) -> None:
        self.preset, self.data = preset, request.data
        self.cut = bool(request.datasets and not request.splits)  # a preset's splits may be of data sets that are left out
        self.budget_flags = dict(_assignment(text) for text in request.budget)
        self.option_flags: dict[str, dict[str, Any]] = {}
        for text in request.options:
            name, value = _assignment(text)
            owner, dot, option = name.rpartition(".")
            if not dot:
                raise InputError(f"--set {text!r} must be METHOD.NAME=VALUE")
            self.option_flags.setdefault(owner, {})[option] = value

    def contestants(self, names: Iterable[str]) -> list[Contestant]:
        """These methods, with groups and variants resolved; each label once."""
        found: dict[str, Contestant] = {}
        for name in names:
            fixed = dict(self.preset.variants.get(name, {}))
            base = fixed.pop("method", name)
            for member in plugins.groups().get(base, [base]):
                plugin = plugins.get("method", member)
                label = name if name in self.preset.variants else plugin.name
                if not LABEL.fullmatch(label):
                    raise InputError(f"{label!r} can't name a method; names are letters, digits, _, ., + and -")
                found[label] = Contestant(label, plugin, plugin.load(), fixed)
        return list(found.values())

    def surveys(self, names: Iterable[str]) -> "dict[str, Survey]":
        """These data sets, opened."""
        from benchmark.datasets.base import Survey

        found: dict[str, Survey] = {}
        for text in names:
            name = plugins.data_set(text).name
            options = {**self.preset.options.get(name, {}), **self.option_flags.get(name, {})}
            dataset = plugins.open_data_set(text, self.data, options)
            for other in (survey.dataset for survey in found.values()):
                if other.name == dataset.name and other.root != dataset.root:
                    raise InputError(f"two data sets are called {dataset.name}: {other.root} and {dataset.root}")
            found[text] = Survey(dataset, {k: v for k, v in plugins.options_of(dataset).items() if k != "root"})
        return found

    def refuse_strangers(self, methods: list[str], datasets: list[str]) -> None:
        """Raise InputError where a setting speaks of something that isn't there: flags of this run, presets of any."""
        for name in self.option_flags:
            if name not in (*methods, *datasets, *(v.get("method") for v in self.preset.variants.values())):
                raise InputError(
                    f"--set speaks of {name!r}, which is not in this run; it has {', '.join(methods + datasets)}"
                )
        known = {*methods, *datasets, *plugins.find("method"), *plugins.find("data set"), *self.preset.variants}
        overrides = [name for part in ("method", "dataset") for name in self.preset.budget.get(part, {})]
        for name in (*self.preset.options, *overrides):
            if name not in known:
                raise InputError(f"the preset speaks of {name!r}, which is no method, variant or data set")

    def budget(self, contestant: Contestant, dataset: str, of_part: Mapping[str, Any]) -> tuple[Budget, Budget, str]:
        """The method's budget, everybody's, and the reason if they differ."""
        given = {k: v for k, v in self.preset.budget.items() if k not in ("dataset", "method")}
        given |= {**self.preset.budget.get("dataset", {}).get(dataset, {}), **of_part}
        overrides = self.preset.budget.get("method", {})
        own = dict(overrides.get(contestant.label, overrides.get(contestant.plugin.name, {})))
        reason = own.pop("reason", "")
        if shared := {"snapshots", "tune"} & set(own):
            raise InputError(f"the preset gives {contestant.label} its own {min(shared)}; it must be one for all methods")
        if own and not reason:
            raise InputError(f"the preset gives {contestant.label} a budget of its own; it must say why, as `reason`")
        common = plugins.checked(Budget, {**given, **self.budget_flags}, "budget")
        budget = plugins.checked(Budget, {**given, **own, **self.budget_flags}, "budget")
        for each in (common, budget):
            if each.weights and (each.network == "unet" or not Path(each.weights).is_file()):
                raise InputError(f"weights are {each.weights}; they must be a file of an encoder's, for an smp: network")
        return budget, common, reason if budget != common else ""

    def options(self, contestant: Contestant, dataset: str) -> dict[str, Any]:
        """A method's options: of the method, for the data set, of the variant, and from flags, the last one winning."""
        given: dict[str, Any] = {}
        names = dict.fromkeys((contestant.plugin.name, contestant.label))
        for name in names:
            general = dict(self.preset.options.get(name, {}))
            special = general.pop("dataset", {}).get(dataset, {})
            given |= general | special | (contestant.fixed if name == contestant.label else {})
        for name in names:
            given |= self.option_flags.get(name, {})
        return plugins.options_of(plugins.configure(contestant.cls, given))

    def job(
        self,
        contestant: Contestant,
        survey: "Survey",
        annotation: "Annotation",
        split: str,
        seed: int,
        data: str,
        of_part: Mapping[str, Any],
    ) -> Job:
        """One run of a method."""
        from benchmark.datasets import weak

        budget, common, reason = self.budget(contestant, survey.dataset.name, of_part)
        return Job(
            method=contestant.label,
            plugin=contestant.plugin,
            options=self.options(contestant, survey.dataset.name),
            dataset=survey.dataset.name,
            dataset_options=survey.options,
            annotation=str(annotation),
            split=split,
            seed=seed,
            budget=budget,
            common=common,
            reason=reason,
            data=data,
            code=plugins.fingerprint(contestant.plugin, *weak.sources(annotation)),
            simulator=weak.VERSION,
        )


def _refuse_networks(jobs: Iterable[Job], surveys: "Mapping[str, Survey]", methods: Mapping[str, Any]) -> None:
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


def _wanted(request: Request) -> Preset:
    """The preset with the flags laid over it, as whole parts; without any, the demo."""
    name = request.preset or ("" if request.methods or request.datasets else "demo")
    preset = read_preset(name) if name else Preset(name="report")
    flags = {name: getattr(request, name) for name in PARTED if getattr(request, name)}
    whole = plugins.checked(Preset, {**vars(preset), **flags}, "the command line")
    of_all = {name: getattr(whole, name) for name in PARTED} | {"methods": whole.methods or list(whole.variants)}
    parts = []
    for part in preset.parts or [Part()]:
        own = {name: stated for name, stated in vars(part).items() if stated}
        left = {name: _cut(stated, flags[name]) if name in flags else stated for name, stated in own.items()}
        if all(left.values()):
            parts.append(Part(**{**of_all, **left}))
    if not parts:
        wanted = " with ".join(", ".join(map(str, named)) for named in flags.values())
        stated = [[s for name in PARTED if (s := getattr(part, name))] for part in preset.parts]
        there = "; ".join(" with ".join(", ".join(map(str, s)) for s in part) for part in stated)
        raise InputError(f"no part of the preset {preset.name} has {wanted}; they have {there}")
    if not all(part.methods for part in parts):
        raise InputError(f"name methods with --methods; there are {', '.join([*plugins.groups(), *plugins.find('method')])}")
    if not all(part.datasets for part in parts):
        raise InputError(f"name data sets with --datasets; there are {', '.join(plugins.find('data set'))}")
    return dataclasses.replace(whole, parts=parts)


def _cut(stated: list[Any], named: list[Any]) -> list[Any]:
    """What a part states, cut down to what flags name: names, groups, forms of annotation, families or folds of splits."""
    members = [member for name in named for member in (name, *plugins.groups().get(name, []))]
    kept = [one for one in stated if {one, *(str(one).partition(sign)[0] for sign in ":/")} & set(members)]
    return kept + [name for name in named if "/" in str(name) and str(name).partition("/")[0] in stated]


def _assignment(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as TOML reads it, or as it stands where that is no TOML."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"{text!r} must be NAME=VALUE")
    try:
        return name.strip(), tomllib.loads(f"x = {value}")["x"]
    except ValueError:
        return name.strip(), value
