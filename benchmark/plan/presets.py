"""Read and check presets and flags: methods, data sets, annotations, splits, seeds, budgets and options."""

import dataclasses
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from benchmark import InputError
from benchmark.inputs import checked, is_there, nearest, read_toml
from benchmark.plan import plugins
from benchmark.plan.plugins import PRESETS, Plugin
from benchmark.seal.contract import Budget

if TYPE_CHECKING:
    from benchmark.datasets.base import Inventory as _Inventory

# Named budgets: `published` is that of the literature; docs/explanation/equal-budget.md tells how `short` was chosen.
SHORT = Budget(steps=1000, batch=8, size=96, lr=0.03, optimiser="nesterov", warmup=0.1)
BUDGETS = {"published": Budget(), "short": SHORT, "laptop": dataclasses.replace(SHORT, steps=120, size=64)}
FREE = ("network", "weights", "threads", "snapshots", "tune", "kernels")  # what a named budget leaves as it is

PHANTOMS = ("octa_phantom", "fundus_phantom", "polyp_phantom")  # of the modalities of ProCNS's tasks

PARTED = ("methods", "datasets", "annotations", "splits", "seeds")  # a part of a preset may state these


@dataclass(frozen=True)
class Part:
    """A part of a preset: all combinations of these values; empty: the value of the preset."""

    methods: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = field(default_factory=list)
    budget: dict[str, Any] = field(default_factory=dict)  # overrides the preset's; another budget is another column


@dataclass(frozen=True)
class Preset:
    """The content of a preset's TOML file."""

    name: Annotated[str, Field(pattern=r"^[\w-]*$")] = ""  # of the report; empty: the file's name
    title: str = ""
    methods: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=lambda: ["scribble"])
    splits: list[str] = field(default_factory=list)  # empty: each data set's first; strat5: all its folds
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = field(default_factory=lambda: [0])
    budget: dict[str, Any] = field(default_factory=dict)  # `name`: a named one to start from; also [budget.dataset.NAME],
    # and [budget.method.NAME] with `reason`
    options: dict[str, dict[str, Any]] = field(default_factory=dict)  # [options.NAME], [options.METHOD.dataset.NAME]
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)  # [variants.LABEL] method = "...", and options
    metrics: list[str] = field(default_factory=list)  # of plug-ins, in addition to the suite's: .py files or names
    parts: list[Part] = field(default_factory=list)  # [[parts]], one after the other; empty: the preset is its only part
    notes: list[str] = field(default_factory=list)  # shown before the runs


@dataclass(frozen=True)
class Request:
    """The flags of the command line; empty: the value of the preset."""

    preset: str = ""
    methods: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    budget: list[str] = field(default_factory=list)  # NAME=VALUE, or the name of a budget
    options: list[str] = field(default_factory=list)  # METHOD.NAME=VALUE
    metrics: list[str] = field(default_factory=list)
    against: str = ""  # stored runs to compare with
    data: Path = Path("data")
    on_cpu: Callable[[], bool] = lambda: False  # whether runs may go to a CPU; asked only if it matters, as torch answers


def read_preset(name: str) -> Preset:
    """Return the preset of that name, or in the TOML file of that path."""
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    valid = name.endswith(".toml") or plugins.NAME.fullmatch(name)  # a name can't be a path to another folder
    if not valid or not is_there(path):
        known = sorted(p.stem for p in PRESETS.glob("*.toml"))
        there = f"there are {', '.join(known)}, or give the path of a TOML file"
        raise InputError(f"no preset {name!r}{nearest(name, known)}; {there}")
    given = read_toml(path)
    preset = checked(Preset, given, str(path))
    _check_shapes(preset, str(path))
    for table in (given, *given.get("parts", [])):
        if empty := [name for name in PARTED if table.get(name) == []]:
            raise InputError(f"{path}: {empty[0]} is empty; name something, or leave it out")
    return preset if preset.name else dataclasses.replace(preset, name=re.sub(r"[^\w-]", "-", path.stem))


def _check_shapes(preset: Preset, what: str) -> None:
    """Check that nested tables of a preset are tables, and that `reason` and `method` are text."""
    tables = {f"budget.{part}": preset.budget.get(part, {}) for part in ("dataset", "method")}
    tables |= {f"options.{name}.dataset": given.get("dataset", {}) for name, given in preset.options.items()}
    for name, table in tables.items():
        if not isinstance(table, dict) or not all(isinstance(each, dict) for each in table.values()):
            raise InputError(f"{what}: {name} is {table!r:.100}; it must be a table for each name, such as [{name}.NAME]")
    reasons = {f"budget.method.{name}.reason": given.get("reason", "") for name, given in tables["budget.method"].items()}
    named = {f"variants.{label}.method": given.get("method", "") for label, given in preset.variants.items()}
    for name, text in {**reasons, **named}.items():
        if not isinstance(text, str):
            raise InputError(f"{what}: {name} is {text!r:.100}; it must be text")
        if name in named and text in plugins.groups():
            raise InputError(f"{what}: {name} is the group {text}; a variant is of one method")


def apply_flags(request: Request) -> Preset:
    """Return the preset with the flags in place of its values; without methods and data sets, the demo.

    Methods alone are compared on the data sets that are found; without any, on phantoms.
    """
    if request.preset or not (request.methods or request.datasets):
        preset = read_preset(request.preset or "demo")
    else:
        preset = Preset(name="report") if request.datasets else _on_what_is_found(request)
    flags = {name: getattr(request, name) for name in PARTED if getattr(request, name)}
    whole = checked(Preset, {**vars(preset), **flags, "metrics": request.metrics or preset.metrics}, "the command line")
    of_all = {name: getattr(whole, name) for name in PARTED} | {"methods": whole.methods or list(whole.variants)}
    parts = []
    for part in preset.parts or [Part()]:
        stated = {name: values for name, values in vars(part).items() if values}
        left = {name: _filter(values, flags[name]) if name in flags else values for name, values in stated.items()}
        if all(left.values()):
            parts.append(Part(**{**of_all, **left}))
    if not parts:
        for name, named in flags.items():
            there = list(dict.fromkeys(value for part in preset.parts for value in getattr(part, name)))
            if all(getattr(part, name) for part in preset.parts) and not _filter(there, named):
                has = f"{', '.join(map(str, named))}; there are {', '.join(map(str, there))}"
                raise InputError(f"no part of the preset {preset.name} has the {name} {has}")
        filtered = [name for name in flags if any(getattr(part, name) for part in preset.parts)]
        wanted = " with ".join(", ".join(map(str, flags[name])) for name in filtered)
        values = [[given for name in PARTED if (given := getattr(part, name))] for part in preset.parts]
        known = "; ".join(" with ".join(", ".join(map(str, given)) for given in part) for part in values)
        raise InputError(f"no part of the preset {preset.name} has {wanted}; its parts have {known}")
    if not all(part.methods for part in parts):
        raise InputError(f"name methods with --methods; there are {', '.join([*plugins.groups(), *plugins.find('method')])}")
    if not all(part.datasets for part in parts):
        raise InputError(f"name data sets with --datasets; there are {', '.join(plugins.find('data set'))}")
    return dataclasses.replace(whole, parts=parts)


def _on_what_is_found(request: Request) -> Preset:
    """Return a preset of the data sets in the data folder, or else of phantoms, each with its task's form of annotation.

    Methods have the published options of a task, where it has some: those of `procns-tasks`.
    """
    known = {name: plugins.describe(plugin) for name, plugin in plugins.find("data set").items()}
    found = [name for name, facts in known.items() if not facts.get("by_path") and (request.data / name).is_dir()]
    if found:
        budget, note = "short", f"data sets found in {request.data}: {', '.join(found)}"
    else:
        budget = "laptop"
        there = f"no data sets in {request.data}" if request.data.is_dir() else f"there is no folder {request.data}"
        note = f"{there}, so phantoms are used; for yours: --data FOLDER, with FOLDER/NAME for each"
    forms = {name: request.annotations or [known[name].get("usual_form", "scribble")] for name in found or PHANTOMS}
    parts = [Part(datasets=[name], annotations=form) for name, form in forms.items()]
    if not request.budget:
        note += f"; the budget is {budget}, and --budget published is the published one"
    options = read_preset("procns-tasks").options
    return Preset(name="report", budget={"name": budget}, options=options, parts=parts, notes=[note])


def _filter(stated: list[Any], named: list[Any]) -> list[Any]:
    """Return those values of a part that a flag names, also as a group, a form of annotation, a family or fold of splits."""
    members = [member for name in named for member in (name, *plugins.groups().get(name, []))]
    found = [one for one in stated if {one, *(str(one).partition(sign)[0] for sign in ":/")} & set(members)]
    parts = {name: {name.removesuffix("@val"), re.split("[/@]", name)[0]} - {name} for name in map(str, named)}
    return found + [name for name, wholes in parts.items() if wholes & set(stated)]


def expand(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a budget with those of its named budget, if it has a `name`."""
    name = given.get("name")
    if name is None:
        return dict(given)
    if not isinstance(name, str) or name not in BUDGETS:
        raise InputError(
            f"{name!r} is not a budget{nearest(str(name), BUDGETS)}; give {', '.join(BUDGETS)}, and fields as NAME=VALUE"
        )
    fields = {field: value for field, value in dataclasses.asdict(BUDGETS[name]).items() if field not in FREE}
    return fields | {field: value for field, value in given.items() if field != "name"}


def _assignments(flag: str, texts: Iterable[str]) -> dict[str, Any]:
    """Return the values of NAME=VALUE by name; a value that is not TOML stays text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError(f"{flag} is {text!r}; it must be {'METHOD.' * (flag == '--set')}NAME=VALUE")
        try:
            found[name] = tomllib.loads(f"x = {value}")["x"]
        except (ValueError, RecursionError):
            found[name] = value
    return found


@dataclass(frozen=True)
class Row:
    """A row of the tables: a method, or a variant of it with fixed options."""

    label: str
    plugin: Plugin
    fixed: Mapping[str, Any]

    @cached_property
    def cls(self) -> Any:
        """The method's class; its module, and with it torch, is imported when this is first asked for."""
        return self.plugin.load()


class Settings:
    """Options and budgets of methods and data sets, by preset and flags; flags override the preset."""

    def __init__(self, preset: Preset, request: Request) -> None:
        self.preset, self.data, self.on_cpu = preset, request.data, request.on_cpu
        self.splits_may_be_unused = bool(request.datasets and not request.splits)  # they may be of other data sets
        self.budget_flags = expand(_assignments("--budget", [t if "=" in t else f"name={t}" for t in request.budget]))
        self.option_flags: dict[str, dict[str, Any]] = {}
        self.plugin_of: dict[str, str] = {}  # of each data set that is open
        for name, value in _assignments("--set", request.options).items():
            owner, dot, option = name.rpartition(".")
            if not dot:
                raise InputError(f"--set names {name!r}; it must be METHOD.NAME=VALUE")
            if isinstance(value, str) and re.search(r",\s*[\w+-]+\.\w+=", value):
                raise InputError(f"--set {name}={value} states several options; give --set once for each")
            self.option_flags.setdefault(owner, {})[option] = value

    def rows(self, names: Iterable[str]) -> list[Row]:
        """Return the rows of these methods, groups and variants; each label once."""
        found: dict[str, Row] = {}
        for name in names:
            fixed = dict(self.preset.variants.get(name, {}))
            base = fixed.pop("method", name)
            for member in plugins.groups().get(base, [base]):
                plugin = plugins.get("method", member)
                label = name if name in self.preset.variants else plugin.name
                if not plugins.NAME.fullmatch(label):
                    raise InputError(f"{label!r} can't name a method; names are letters, digits, _, ., + and -")
                if found.setdefault(label, Row(label, plugin, fixed)).plugin != plugin:
                    paths = f"{found[label].plugin.module} and {plugin.module}"
                    raise InputError(f"two methods are called {label}: {paths}; rename a file")
        return list(found.values())

    def surveys(self, names: Iterable[str]) -> "dict[str, _Inventory]":
        """Return the inventories of these data sets."""
        from benchmark.datasets.base import Inventory

        found: dict[str, _Inventory] = {}
        for text in names:
            name = plugins.data_set(text).name
            options = self._options_of_data(name)
            dataset = plugins.open_data_set(text, self.data, options)
            if dataset.name != name and (own := self._options_of_data(dataset.name)):  # such as fold of folder:PATH/fold
                dataset = plugins.open_data_set(text, self.data, options | own)
            self.plugin_of[dataset.parts[0].name] = name
            for other in (survey.dataset for survey in found.values()):
                if other.name == dataset.name and other.root != dataset.root:
                    raise InputError(f"two data sets are called {dataset.name}: {other.root} and {dataset.root}")
            found[text] = Inventory(dataset, plugins.options_of_data(dataset))
        return found

    def _options_of_data(self, name: str) -> dict[str, Any]:
        return {**self.preset.options.get(name, {}), **self.option_flags.get(name, {})}

    def _of_data(self, given: Mapping[str, Mapping[str, Any]], dataset: str) -> list[Mapping[str, Any]]:
        """Return what is given for a data set: by its plug-in's name, such as folder, then by its own."""
        return [given.get(name, {}) for name in dict.fromkeys((self.plugin_of.get(dataset, dataset), dataset))]

    def check_names(self, methods: list[str], datasets: list[str]) -> None:
        """Check the names in settings: a flag's must be in this run, a preset's must exist."""
        for name in self.option_flags:
            plugin_names = (own.get("method") for label, own in self.preset.variants.items() if label in methods)
            if name not in (*methods, *datasets, *plugin_names):
                there = f"it has {', '.join(methods + datasets)}"
                raise InputError(
                    f"--set names {name!r}, which is not in this run{nearest(name, methods + datasets)}; {there}"
                )
        known = {*methods, *datasets, *plugins.find("method"), *plugins.find("data set"), *self.preset.variants}
        overrides = [name for part in ("method", "dataset") for name in self.preset.budget.get(part, {})]
        for name in (*self.preset.options, *overrides):
            if name not in known:
                raise InputError(
                    f"the preset names {name!r}, which is not a method, variant or data set{nearest(name, known)}"
                )
        known = {*datasets, *plugins.find("data set")}
        for owner, own in self.preset.options.items():
            if unknown := [name for name in own.get("dataset", {}) if name not in known]:
                near = nearest(unknown[0], known)
                raise InputError(f"the preset's options of {owner} name {unknown[0]!r}, which is not a data set{near}")

    def budget(self, row: Row, dataset: str, part_budget: Mapping[str, Any]) -> tuple[Budget, Budget, str]:
        """Return the method's budget, the common budget, and the reasons if it is trained differently."""
        given = expand({k: v for k, v in self.preset.budget.items() if k not in ("dataset", "method")})
        for own in (*self._of_data(self.preset.budget.get("dataset", {}), dataset), part_budget):
            given |= expand(own)
        overrides = self.preset.budget.get("method", {})
        special = dict(overrides.get(row.label, overrides.get(row.plugin.name, {})))
        reason = special.pop("reason", "")
        if shared := {"snapshots", "tune"} & set(special):
            raise InputError(f"the preset gives {row.label} another {min(shared)}; it must be the same for all methods")
        if special and not reason:
            raise InputError(f"the preset gives {row.label} another budget; it must say why, as `reason`")
        common = checked(Budget, {**given, **self.budget_flags}, "budget")
        budget = checked(Budget, {**given, **special, **self.budget_flags}, "budget")
        for each in (common, budget):
            if each.weights and (each.network == "unet" or not Path(each.weights).is_file()):
                raise InputError(f"weights is {each.weights}; it must be a file of weights for an smp: network's encoder")
            if each.kernels != "torch" and self.on_cpu():
                raise InputError(f"kernels is {each.kernels}, which needs a GPU; give --device cuda, or kernels=torch")
        reasons = [reason] * (budget != common)
        keep_axes = any(getattr(cls, "keeps_axes", False) for cls in plugins.learners(self.method(row, dataset)))
        if keep_axes and budget.augmentation != "none":
            reasons.append("no rotations other than quarter turns, as its loss needs the image's axes")
        if outside := getattr(row.cls, "outside", ""):
            reasons.append(f"outside weights: {outside}")
        return budget, common, "; ".join(reasons)

    def options(self, row: Row, dataset: str) -> dict[str, Any]:
        """Return a method's options, defaults included; raises InputError for a value that a run's record can't hold."""
        options = plugins.options_of(self.method(row, dataset))
        for name, value in options.items():
            try:
                json.dumps(value)
            except TypeError:
                kind = type(value).__name__
                right = "an option is text, a number, true or false, or a list of these"
                raise InputError(f"option {name} of {row.label} is a {kind}; {right}") from None
        return options

    def method(self, row: Row, dataset: str) -> Any:
        """Return a method with its options; each overrides the one before: method, data set, variant, flags."""
        given: dict[str, Any] = {}
        names = dict.fromkeys((row.plugin.name, row.label))
        for name in names:
            general = dict(self.preset.options.get(name, {}))
            special = self._of_data(general.pop("dataset", {}), dataset)
            for own in (general, *special, row.fixed if name == row.label else {}):
                given |= own
        for name in names:
            given |= self.option_flags.get(name, {})
        return plugins.configure(row.cls, given)
