"""Facts of methods, data sets, presets and commands as Markdown, read off the code and the stored runs."""

import ast
import csv
import dataclasses
import importlib
import inspect
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pandas as pd
import typer

from benchmark import store
from benchmark.plan import presets
from benchmark.plan import plugins
from benchmark.plan import trials
from benchmark.__main__ import app
from benchmark.datasets import annotations
from benchmark.report import published
from benchmark.report import runs
from benchmark.report import tables
from benchmark.report.summary import MEAN, summarise

ROOT = Path(__file__).parents[1]
NOWHERE = Path("nowhere")  # a data set's folder that isn't there: what it says of itself needs none
MEANS = (
    "Mean over patients and runs, ± its spread over seeds, with a 95 % interval, of the sets of runs that "
    "[travel with the package](/../results/reference/README.md), which says what they show and what not."
)
STALE = (
    "*Stale*: the code of the method or of its labels was changed since these runs: a run of today may give other numbers."
)
WANTED = {"dice": "Dice", "hd95": "HD95"}


def method(name: str) -> str:
    """What a method is after, learns from and can be told, and what its stored runs gave."""
    plugin = plugins.get("method", name)
    about, cls = plugins.describe(plugin), plugin.load()
    groups = [group for group, members in plugins.groups().items() if name in members]
    facts = {
        "After": about["paper"],
        "Learns from": codes(about["annotations"]),
        "Groups": codes(groups) or "none",
        "Asks of the network": codes(getattr(cls, "needs", ())) or "nothing",
        "Source": source(plugin.file()),
    }
    return "\n\n".join([listed(facts), "**Options**", options(cls), "**Reference result**", reference_result(name)])


def data_set(name: str) -> str:
    """What a data set holds, how it is split and scored, and whose it is."""
    plugin = plugins.get("data set", name)
    about, cls = plugins.describe(plugin), plugin.load()
    own = getattr(cls, "by_path", False)
    facts = {
        "What": about["paper"],
        "Modality": about["modality"],
        "Channels": "1 or 3, as your images" if own else about["channels"],
        "Classes": "yours" if own else ", ".join(f"{k} {label}" for k, label in enumerate(about["classes"])),
        "Regions that are scored": "each class, or yours" if own else regions(about["regions"], about["classes"]),
        "Tolerance of NSD": f"{about['tolerance']:g} mm; px where the spacing is unknown",
        "Splits": "yours, or `cv5/0` to `cv5/4`" if own else families(splits(cls)),
        "Drawn by people": "what you bring" if own else codes(about["drawn"]) or "nothing",
        "Patients known": "if you say so" if own else "yes" if about["patients_known"] else "no",
        "Pixels may enter published pages": "yes" if about["redistribute"] else "no, unless you say so" if own else "no",
        "Licence": about["licence"],
        "Get it from": "your files" if own else about["source"],
        "Cite": "your source" if own else about["citation"],
        "Source": source(plugin.file()),
    }
    return "\n\n".join([listed(facts), "**Options**", options(cls, leave_out=("root",))])


def presets() -> str:
    """Every preset with what it compares, a line for each of its parts."""
    lines = []
    for path in sorted(presets.PRESETS.glob("*.toml")):
        preset = presets.read_preset(path.stem)
        budget = ", ".join(f"{k} {v}" for k, v in preset.budget.items() if k not in ("dataset", "method"))
        named = [f"{link(path.stem, path)}: {preset.title}", budget or "the default"]
        for part in preset.parts or [presets.Part()]:
            own = {name: getattr(part, name) or getattr(preset, name) for name in ("methods", "datasets", "annotations")}
            seeds = ", ".join(map(str, part.seeds or preset.seeds))
            lines.append([named[0], *map(codes, own.values()), seeds, named[1]])
            named = ["", ""]
    return table(["preset", "methods", "data sets", "annotations", "seeds", "budget"], lines)


def annotations() -> str:
    """Every form of annotation with its options and their defaults."""
    lines = []
    for form, known in annotations.OPTIONS.items():
        shown = [f"`{name}={value:g}`" if isinstance(value, float) else f"`{name}={value}`" for name, value in known.items()]
        choices = [f"`{name}`: {codes(annotations.CHOICES[name])}" for name in known if name in annotations.CHOICES]
        lines.append([f"`{form}`", ", ".join(shown) or "none", "; ".join(choices), "yes" if form in annotations.MARKS else "no"])
    return table(["form", "options", "choices", "density"], lines)


def costs() -> str:
    """The published hours of annotation, as they are stored."""
    with (published.FOLDER / "annotation_cost.csv").open(newline="") as file:
        stored = list(csv.DictReader(file))
    lines = [[f"`{c['annotation']}`", f"{float(c['seconds']):g} s", c["per"], c["source"], c["note"]] for c in stored]
    return table(["format", "time", "per", "source", "what was annotated"], lines)


def commands() -> str:
    """Every command with its arguments and flags, as `--help` shows them."""
    return "\n\n".join(_command("python -m benchmark", typer.main.get_command(app), 2))


def _command(name: str, command: Any, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{name}`\n\n{command.help}"
    lines = []
    for each in command.params:
        named = each.opts[0] if each.opts[0].startswith("-") else each.metavar
        shown = f"`{named}{f' {each.metavar}' if each.metavar and each.metavar != named else ''}`"
        unset = each.default in (None, "") or each.default is False
        default = "required" if each.required else "" if unset else f"`{each.default}`"
        lines.append([shown, default, (each.help or "") + (f" Or `{each.envvar}`." if each.envvar else "")])
    if lines:
        yield table(["flag", "default", ""], lines)
    for sub, own in getattr(command, "commands", {}).items():
        yield from _command(f"{name} {sub}", own, level + 1)


# --------------------------------------------------------------------------------------------- options of a dataclass


def options_of(name: str) -> str:
    """The fields of the dataclass `module.Class`."""
    module, _, cls = name.rpartition(".")
    return options(getattr(importlib.import_module(module), cls))


def options(cls: type, leave_out: Iterable[str] = ()) -> str:
    """A dataclass's fields: default, the range that may be tuned, and the comment beside them."""
    ranges, said, hints, lines = trials.ranges(cls), comments(cls), get_type_hints(cls), []
    for each in dataclasses.fields(cls):
        if each.init and each.name not in leave_out:
            tuned = f"{ranges[each.name].low:g} to {ranges[each.name].high:g}" if each.name in ranges else ""
            choice = codes(map(written, get_args(hints[each.name]))) if get_origin(hints[each.name]) is Literal else ""
            beside = "; ".join(filter(None, [said.get(each.name, ""), choice]))
            lines.append([f"`{each.name}`", f"`{default(each)}`", tuned, beside])
    if not lines:
        return "None."
    if not any(line[2] for line in lines):
        return table(["name", "default", ""], [[line[0], line[1], line[3]] for line in lines])
    return table(["name", "default", "tuned within", ""], lines)


def default(each: "dataclasses.Field[Any]") -> str:
    """A field's default as TOML has it, where it can; a field without one is required."""
    if each.default_factory is not dataclasses.MISSING:
        return written(each.default_factory())
    return "required" if each.default is dataclasses.MISSING else written(each.default)


def written(value: Any) -> str:
    """A value as one would write it in a preset."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else "not set" if value is None else str(value)


def comments(cls: type) -> dict[str, str]:
    """What stands beside the fields of a class and of its bases, in their sources."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if dataclasses.is_dataclass(each):
            found |= _comments(Path(inspect.getfile(each)), each.__name__)
    return found


@cache
def _comments(path: Path, name: str) -> dict[str, str]:
    text = path.read_text()
    beside = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    body = next(node.body for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == name)
    fields = [node for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {ast.unparse(node.target): beside.get(node.end_lineno or 0, "") for node in fields}


# ------------------------------------------------------------------------------------------------------- stored runs


def reference_result(name: str) -> str:
    """Dice and HD95 of a method's stored runs, a line per set of runs, column of its report and row of that name."""
    cells = stored_cells()
    own = cells[cells.method.str.partition(" (")[0] == name]
    if own.empty:
        return "None yet."
    lines = []
    for (kept, column, row), group in own.groupby(["stored", "column", "method"], sort=False):
        first, options_of_row = group.iloc[0], row.removeprefix(name).strip()
        state = f"{first.runs}, stale" if first.stale else str(first.runs)
        about = [f"`{kept}`", f"`{column}` {options_of_row}", *(score(group, metric) for metric in WANTED)]
        lines.append([*about, state, f"{first.steps} steps, {first['size']} px"])
    below = f"\n\n{MEANS}" + (f" {STALE}" if own.stale.any() else "")
    return table(["set", "data set, annotation", *WANTED.values(), "runs", "budget"], lines) + below


def score(group: pd.DataFrame, metric: str) -> str:
    """The cell that a report has for a metric, without the marks that only hold beside other rows."""
    (line,) = group[group.metric == metric].assign(stale=0, place="").itertuples(index=False)
    text, bracket, rest = tables.cell(line).partition(" (")
    return text + (f" {line.unit}" if line.unit else "") + bracket + rest


@cache
def stored_cells() -> pd.DataFrame:
    """Means over all regions of the runs that travel with the package, with `stored`, the name of their set."""
    parts = []
    for name, folder in store.stored(store.ALL).items():
        cells = summarise(runs.read_folder(folder)).cells
        parts.append(cells[(cells.region == MEAN) & cells.metric.isin(WANTED) & cells["mean"].notna()].assign(stored=name))
    return pd.concat(parts, ignore_index=True)


# --------------------------------------------------------------------------------------------------------- data sets


def splits(cls: Any) -> list[str]:
    """Names of a data set's splits; its files aren't read."""
    return list(plugins.configure(cls, {}, root=NOWHERE).splits())


def families(names: Iterable[str]) -> str:
    """`strat5/0`, ..., `strat5/4` as one."""
    folds: dict[str, list[str]] = {}
    for name in names:
        folds.setdefault(name.partition("/")[0], []).append(name)
    return ", ".join(f"`{own[0]}`" if len(own) == 1 else f"`{own[0]}` to `{own[-1]}`" for own in folds.values())


def regions(named: Mapping[str, tuple[int, ...]], classes: tuple[str, ...]) -> str:
    """Each region, and of which classes it is the union where these are several."""
    unions = {name: " + ".join(classes[k] for k in labels) for name, labels in named.items()}
    return ", ".join(name if name == union else f"{name} (= {union})" for name, union in unions.items())


# ---------------------------------------------------------------------------------------------------------- Markdown


def listed(facts: Mapping[str, Any]) -> str:
    """Facts by name as a table without a heading."""
    return table(["", ""], [[name, str(value)] for name, value in facts.items()])


def table(heading: list[str], lines: Iterable[list[str]]) -> str:
    """A table in Markdown."""
    shown = [heading, ["---"] * len(heading), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in shown)


def codes(names: Iterable[str]) -> str:
    """Names as code, with commas between."""
    return ", ".join(f"`{name}`" for name in names)


def source(path: Path | None) -> str:
    """A link to a file of this repository."""
    assert path is not None
    return link(str(path.resolve().relative_to(ROOT)), path)


def link(text: str, path: Path) -> str:
    """A link that holds on every page, whichever folder it is in: `/` is `docs/`."""
    return f"[`{text}`](/../{path.resolve().relative_to(ROOT)})"
