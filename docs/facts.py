"""Writes what README and docs/ say of methods, data sets, presets, commands and results, from the code and the stored runs.

`python -m docs.facts` rewrites every block between `<!-- generated: NAME ARGUMENT -->` and `<!-- end -->`; `BLOCKS` has the
names. With `--check` it changes nothing, lists the pages that differ and exits with status 1.
"""

import argparse
import ast
import csv
import dataclasses
import importlib
import inspect
import io
import math
import os
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pandas as pd
import typer

from benchmark import store
from benchmark.__main__ import app
from benchmark.datasets.forms import ANNOTATOR_ERRORS, DENSITY, FORMS
from benchmark.plan import plugins, trials
from benchmark.plan import presets as preset_files
from benchmark.report import published, runs, tables
from benchmark.report.summary import MEAN, Options, summarise
from benchmark.score.evaluate import OVERLAPS, SURFACE_METRICS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
REPORTS = ROOT / "reports/reference"
MARKED = ("best", "open", "alike")  # places of rows that have a mark in a table
BLOCK = re.compile(r"^(<!-- generated: (\w+) ?(\S*) -->)\n.*?^<!-- end -->$", re.S | re.M)
NOWHERE = Path("nowhere")  # a data set's description needs no files
MEANS = (
    "Mean over patients and runs with a 95 % interval (below five seeds over patients, given these runs), of the "
    "[stored runs](/results/reference/README.md); their page says what they show and what they do not."
)
STALE = "*Stale*: the code of the method has changed since these runs, so a new run may give other numbers."
GROUPS = {  # what README says of each group of methods; `all` has those of no other group
    "all": "ProCNS, which this suite was made for",
    "losses": "one network; most add a term for unlabelled pixels",
    "teachers": "labels or a teacher for unlabelled pixels",
    "modern": "methods that papers compare with since 2022",
    "sets": "made for boxes and tags",
    "controls": "simple ways that a method should beat",
    "outside": "uses weights from other images; not in `all`",
    "exchange": "sites that keep their scans, around any other method; not in `all`",
}
WANTED = {"dice": "Dice", "hd95_max": "HD95 (max)"}


def main() -> None:
    """Rewrite the generated blocks, or list the pages in which they differ."""
    parser = argparse.ArgumentParser(prog="python -m docs.facts", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with status 1 if a page differs")
    check = parser.parse_args().check
    differing = {page: text for page in PAGES if (text := generated(page)) != page.read_text()}
    for page, text in differing.items():
        print(page.relative_to(ROOT))
        if not check:
            page.write_text(text)
    if check and differing:
        raise SystemExit(1)


def generated(page: Path) -> str:
    """The text of a page with its blocks written anew; links are made relative to the page's folder."""

    def block(found: re.Match[str]) -> str:
        text = BLOCKS[found[2]](*filter(None, [found[3]]))
        text = re.sub(r"\]\(/([^)]+)\)", lambda link: f"]({os.path.relpath(ROOT / link[1], page.parent)})", text)
        return f"{found[1]}\n\n{text}\n\n<!-- end -->"

    return BLOCK.sub(block, page.read_text())


# --------------------------------------------------------------------------------- tables of README and of the reference


def methods() -> str:
    """A row for each method."""
    lines = []
    for group, names in grouped().items():
        for name in names:
            about = plugins.describe(plugins.get("method", name))
            idea, paper = (about[line].removesuffix(".") for line in ("idea", "paper"))
            lines.append([method_page(name), "none" if group == "all" else f"`{group}`", idea, paper])
    return table(["name", "group", "idea", "definition"], lines)


def method_groups() -> str:
    """A row for each group of methods, and below it which methods learn from each form of annotation."""
    lines = [
        ["" if group == "all" else f"`{group}`", GROUPS[group], ", ".join(map(method_page, names))]
        for group, names in grouped().items()
    ]
    groups = table(["group", "what they are", "methods"], lines)
    claims, forms = claimed(), {}
    for form in FORMS:
        forms.setdefault(tuple(name for name, own in claims.items() if form in own), []).append(form)
    sets = []
    for names, alike in forms.items():
        others = [name for name in claims if name not in names]
        who = f"All of the group `all` but {codes(others)}" if len(others) < len(names) else codes(names)
        sets.append(f"- {who} learn from {codes(alike)}.")
    return "\n\n".join([groups, "\n".join(sets)])


def claimed() -> dict[str, Iterable[str]]:
    """The forms of annotation that each method learns from."""
    return {name: plugins.describe(plugins.get("method", name))["annotations"] for name in plugins.groups()["all"]}


def grouped() -> dict[str, list[str]]:
    """Every method of the suite in the first group that has it; `all` has those of no other group."""
    named, found = plugins.groups(), {}
    for name in [*named["all"], *named["outside"], *named["exchange"]]:
        found.setdefault(next(group for group, members in named.items() if name in members), []).append(name)
    return found


def method_page(name: str) -> str:
    """A link to the page of a method."""
    return f"[`{name}`](/docs/methods/{name}.md)"


def learners() -> str:
    """Which methods learn from which forms of annotation: a row for each set of forms, and a count."""
    claims, lines = claimed(), []
    for forms in dict.fromkeys(claims.values()):
        names = codes(name for name, own in claims.items() if own == forms)
        lines.append([names, *("✓" if form in forms else "" for form in FORMS)])
    counts = [str(sum(form in forms for forms in claims.values())) for form in FORMS]
    return table(["methods", *(f"`{form}`" for form in FORMS)], [*lines, ["number of methods", *counts]])


def data_sets() -> str:
    """A row for each data set: real ones first, then phantoms, then the layouts of one's own files."""
    lines = []
    for name, plugin in plugins.find("data set").items():
        about, cls = plugins.describe(plugin), plugin.load()
        own = about["by_path"]
        line = [
            link(f"{name}:PATH" if own else name, plugin.file()),
            about["modality"],
            "yours" if own else ", ".join(about["classes"][1:]),
            "what you bring" if own else codes(about["drawn"]) or "none",
            "yours, or five folds" if name == "folder" else "official, or five folds" if own else families(splits(cls)),
            "yes" if about["redistribute"] else "no",
            f"[page](/{data_set_page(name).relative_to(ROOT)})",
        ]
        lines.append((own, about["modality"] == "phantom", line))
    return table(
        ["name", "modality", "classes", "drawn by people", "splits", "pixels", "page"], [line for *_, line in sorted(lines)]
    )


def data_kinds() -> str:
    """The data sets of each kind, with links to their pages."""
    kinds: dict[str, list[str]] = {"Real images": [], "Phantoms": [], "Your files": []}
    for name, plugin in plugins.find("data set").items():
        about = plugins.describe(plugin)
        page = f"(/{data_set_page(name).relative_to(ROOT)})"
        if about["by_path"]:
            kinds["Your files"].append(f"[`{name}:PATH`]{page}")
        elif about["modality"] == "phantom":
            kinds["Phantoms"].append(f"[`{name}`]{page}")
        else:
            kinds["Real images"].append(f"[`{name}`]{page} ({about['modality']})")
    return "\n".join(f"- {kind}: {', '.join(names)}" for kind, names in kinds.items())


def data_set_page(name: str) -> Path:
    """The page that describes a data set; several phantoms share one."""
    return next(page for page in PAGES if f"<!-- generated: dataset {name} -->" in page.read_text())


def reference(rows: str = "all") -> str:
    """Dice of the reference runs under weak labels, with intervals; bold: better than all, °: not told apart from the best.

    The last rows are a few full masks (`slices:k`), which take as many hours as the marks, and all full masks, where there
    are any. With `shared` only methods are shown that every column has, or that are marked wherever they were run, and no
    few full masks. A column in which no row is marked has no verdict.
    """
    cells = pd.read_csv(REPORTS / "reference-core/table.csv")
    cells = cells[(cells.metric == "dice") & (cells.region == MEAN) & cells["mean"].notna()]
    form = cells.column.str.split().str[1]
    few = {"full masks, as many hours as marks, `pce_dice`": form.str.startswith("slices")} if rows == "all" else {}
    masks = {**few, "full masks, `pce_dice`": form == "full"}
    weak = cells[~(form.str.startswith("slices") | (form == "full"))]
    datasets = dict(zip(weak.column, weak.dataset, strict=True))
    lines = []
    for name, own in weak.groupby("method", sort=False):
        shown = {line.column: _short(line) for line in own.itertuples()}
        if rows == "all" or shown.keys() == datasets.keys() or own.place.isin(MARKED).all():
            lines.append([f"`{name}`", *(shown.get(column, "n/a") for column in datasets)])
    for title, chosen in masks.items():
        if own := {line.dataset: _short(line) for line in cells[chosen].assign(place="").itertuples()}:
            lines.append([title, *(own.get(dataset, "n/a") for dataset in datasets.values())])
    sizes = [f"`{column}`: {_size(own)}." for column, own in weak.groupby("column", sort=False)]
    return table(["method", *(f"`{column}`" for column in datasets)], lines) + "\n\n" + " ".join(sizes)


def _size(cells: pd.DataFrame) -> str:
    """Patients (or images) and seeds of a column; seeds from the fewest to the most of its rows."""
    few, many = int(cells.seeds.min()), int(cells.seeds.max())
    seeds = f"{many}" if few == many else f"{few} to {many}"
    verdict = "" if cells.place.isin(MARKED).any() else "; no verdict"
    verdict += "".join(
        f"; {line.unlearned} of {line.runs} runs of `{line.method}` failed to learn"
        for line in cells[cells.unlearned > 0].itertuples()
    )
    return f"{int(cells.patients.max())} test patients or images, {seeds} seed{'s' * (many > 1)}{verdict}"


def _short(line: Any) -> str:
    mean = (
        f"**{line.mean:.2f}**"
        if line.place == "best"
        else f"{line.mean:.2f}" + {"open": "°", "alike": "≈"}.get(line.place, "")
    )
    return f"{mean} [{line.low:.2f}, {line.high:.2f}]"


# ----------------------------------------------------------------------------------------------- blocks of the other pages


def method(name: str) -> str:
    """A method's definition, annotations, groups and options, and the results of its stored runs."""
    plugin = plugins.get("method", name)
    about, cls = plugins.describe(plugin), plugin.load()
    groups = [group for group, members in plugins.groups().items() if name in members]
    facts = {
        "Definition": about["paper"],
        "Learns from": codes(about["annotations"]),
        "Groups": codes(groups) or "none",
        "Beyond one network": about.get("extra") or "nothing",
        "Needs of the network": codes(getattr(cls, "needs", ())) or "nothing special",
        "What differs from papers for all methods": "[augmentation, resizing](../explanation/augmentation.md), "
        "[the rest](../explanation/equal-budget.md)",
        "Source": source(plugin.file()),
    }
    return "\n\n".join([listed(facts), "**Options**", options(cls), "**Reference result**", reference_result(name)])


YOURS = {  # of your files: channels, splits, whether patients are known, whether pixels may be shown
    "folder": ("1 or 3, as your images", "yours, or `cv5/0` to `cv5/4`", "if you say so", "no, unless you say so"),
    "nnunet": ("those of `dataset.json`", "`official` with test labels, or `cv5/0` to `cv5/4`", "each case is one", "no"),
}


def data_set(name: str) -> str:
    """A data set's content, splits, scored regions, licence and options."""
    plugin = plugins.get("data set", name)
    about, cls = plugins.describe(plugin), plugin.load()
    own, yours = getattr(cls, "by_path", False), YOURS.get(name, YOURS["folder"])
    facts = {
        "Content": about["paper"],
        "Modality": about["modality"],
        "Channels": yours[0] if own else about["channels"],
        "Classes": "yours" if own else ", ".join(f"{k} {label}" for k, label in enumerate(about["classes"])),
        "Regions that are scored": "each class, or yours" if own else regions(about["regions"], about["classes"]),
        "Tolerance of NSD": f"{about['tolerance']:g} mm; px where the spacing is unknown",
        "Splits": yours[1] if own else families(splits(cls)),
        "Drawn by people": "what you bring" if own else codes(about["drawn"]) or "none",
        "Patients known": yours[2] if own else "yes" if about["patients_known"] else "no",
        "Pixels may enter published pages": yours[3] if own else "yes" if about["redistribute"] else "no",
        "Licence": about["licence"],
        "Get it from": "your files" if own else about["source"],
        "Cite": "your source" if own else about["citation"],
        "Source": source(plugin.file()),
    }
    return "\n\n".join([listed(facts), "**Options**", options(cls, leave_out=("root",))])


def presets() -> str:
    """Every preset with what it compares, a row for each of its parts."""
    lines = []
    for path in sorted(preset_files.PRESETS.glob("*.toml"), key=lambda preset: preset.stem):
        preset = preset_files.read_preset(path.stem)
        title = f": {preset.title}"
        for part in preset.parts or [preset_files.Part()]:
            own = {name: getattr(part, name) or getattr(preset, name) for name in ("methods", "datasets", "annotations")}
            seeds = ", ".join(map(str, part.seeds or preset.seeds))
            budget = {k: v for k, v in (preset.budget | part.budget).items() if k not in ("dataset", "method")}
            spent = ", ".join(f"`{v}`" if k == "name" else f"{k} {v}" for k, v in budget.items()) or "the default"
            lines.append([link(path.stem, path) + title, *map(codes, own.values()), seeds, spent])
            title = ""
    return table(["preset", "methods", "data sets", "annotations", "seeds", "budget"], lines)


def annotations() -> str:
    """Every form of annotation: what is labelled, and its options with their defaults."""
    lines = []
    for form in FORMS.values():
        options = [f"{name}={option.default}".removesuffix(".0") for name, option in form.options.items()]
        marks = f"share of {form.marks}" if form.marks else "no"
        lines.append([codes(form.written), form.about, form.gives, codes(options) or "none", marks])
    return table(["form", "what is labelled", "gives", "options and defaults", "density"], lines)


def annotation_options() -> str:
    """Every option of annotations: the forms that have it, its values, and what it does."""
    options = {name: option for form in FORMS.values() for name, option in form.options.items()}
    known = sorted(options.items(), key=lambda each: each[0] in ANNOTATOR_ERRORS)  # these come last
    marks = [form.name for form in FORMS.values() if form.marks]
    lines = [["`@`", codes(marks), "a share from 0.0001 to 1", DENSITY.about]]
    for name, option in known:
        has = [form.name for form in FORMS.values() if name in form.options]
        lines.append([f"`{name}`", codes(has), option.allowed, option.about])
    return table(["option", "forms", "value", "what it is"], lines)


def costs() -> str:
    """The published hours of annotation, as they are stored."""
    with (published.FOLDER / "annotation_cost.csv").open(newline="") as file:
        stored = list(csv.DictReader(file))
    lines = [[f"`{c['annotation']}`", f"{float(c['seconds']):g} s", c["per"], c["source"], c["note"]] for c in stored]
    return table(["format", "time", "per", "source", "what was annotated"], lines)


def metrics() -> str:
    """Every metric that a scan is scored with: its definition, between which values it lies, and which are better."""
    better, lines = {1: "more", -1: "less", 0: "near 0"}, []
    for name, each in {**OVERLAPS, **SURFACE_METRICS}.items():
        span = f"{each.low:g} ".replace("-", "−") + ("upwards" if math.isinf(each.high) else f"to {each.high:g}")
        lines.append([f"`{name}`", each.definition, span, better[each.better]])
    return table(["name", "definition", "range", "better"], lines)


def commands() -> str:
    """Every command with its arguments and flags, as `--help` shows them."""
    return "\n\n".join(_command("python -m benchmark", typer.main.get_command(app), 2))


def _command(name: str, command: Any, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{name}`\n\n{command.help}"
    lines = []
    for each in command.params:
        named = each.opts[0] if each.opts[0].startswith("-") else each.metavar
        shown = f"`{named}{f' {each.metavar}' if each.metavar and each.metavar != named else ''}`"
        unset = each.default in (None, "", ("", "")) or each.default is False
        default = "required" if each.required else "" if unset else f"`{each.default}`"
        lines.append([shown, default, (each.help or "") + (f" Or `{each.envvar}`." if each.envvar else "")])
    if lines:
        yield table(["flag", "default", "meaning"], lines)
    for sub, own in getattr(command, "commands", {}).items():
        yield from _command(f"{name} {sub}", own, level + 1)


# --------------------------------------------------------------------------------------------- options of a dataclass


def options_of(name: str) -> str:
    """The fields of the dataclass `module.Class`."""
    module, _, cls = name.rpartition(".")
    return options(getattr(importlib.import_module(module), cls))


def options(cls: type, leave_out: Iterable[str] = ()) -> str:
    """A dataclass's fields: default, the range that may be tuned, and the comment in the source."""
    ranges, meanings, hints, lines = trials.ranges(cls), comments(cls), get_type_hints(cls), []
    for each in dataclasses.fields(cls):
        if each.init and each.name not in leave_out:
            tuned = f"{ranges[each.name].low:g} to {ranges[each.name].high:g}" if each.name in ranges else ""
            choice = codes(map(written, get_args(hints[each.name]))) if get_origin(hints[each.name]) is Literal else ""
            meaning = "; ".join(filter(None, [meanings.get(each.name, ""), choice]))
            lines.append([f"`{each.name}`", f"`{default(each)}`", tuned, meaning])
    if not lines:
        return "None."
    if not any(line[2] for line in lines):
        return table(["name", "default", "meaning"], [[line[0], line[1], line[3]] for line in lines])
    return table(["name", "default", "tuned within", "meaning"], lines)


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
    """The comments at the fields of a class and of its bases, from their sources."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if dataclasses.is_dataclass(each):
            found |= _comments(Path(inspect.getfile(each)), each.__name__)
    return found


@cache
def _comments(path: Path, name: str) -> dict[str, str]:
    text = path.read_text()
    by_line = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    body = next(node.body for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == name)
    fields = [node for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {ast.unparse(node.target): by_line.get(node.end_lineno or 0, "") for node in fields}


# ------------------------------------------------------------------------------------------------------- stored runs


def reference_result(name: str) -> str:
    """Dice and HD95 of a method's stored runs: a row per set of runs, column of its report and variant."""
    cells = stored_cells()
    own = cells[cells.method.str.partition(" (")[0] == name]
    if own.empty:
        return "None yet."
    lines = []
    for (stored, column, row), group in own.groupby(["stored", "column", "method"], sort=False):
        first, scores = group.iloc[0], dict(zip(group.metric, group.score, strict=True))
        what = f"`{column}` {row.removeprefix(name).strip()}".strip()
        state = f"{first.runs}, stale" if first.stale else str(first.runs)
        budget = f"{first.steps} steps, {first['size']} px"
        lines.append([f"`{stored}`", what, *(scores.get(metric, "n/a") for metric in WANTED), state, budget])
    below = f"\n\n{MEANS}" + (f" {STALE}" if own.stale.any() else "")
    return table(["set", "data set, annotation", *WANTED.values(), "runs", "budget"], lines) + below


@cache
def stored_cells() -> pd.DataFrame:
    """Means over all regions of the stored runs, with `stored`, the name of their set, and `score`, the text of the cell."""
    parts = []
    for name, folder in store.stored(store.ALL).items():
        report = REPORTS / name / "table.csv"  # the same numbers, where a report of them is committed
        cells = pd.read_csv(report) if report.exists() else summarise(runs.read_folder(folder)).cells
        parts.append(cells[(cells.region == MEAN) & cells.metric.isin(WANTED) & cells["mean"].notna()].assign(stored=name))
    found = pd.concat(parts, ignore_index=True).fillna({"unit": ""})
    return found.assign(score=[score(line) for line in found.assign(stale=0, place="").itertuples()])


def score(line: Any) -> str:
    """The cell that a report has for a metric, with the unit after the interval."""
    text, bracket, rest = tables.cell(line).partition(" (")
    return text + (f" {line.unit}" if line.unit else "") + bracket + rest


# ----------------------------------------------------------------------------------------------------- published claims

OUTCOMES = {"better": "holds", "worse": "reverses", "alike": "no gain", "not told apart": "within noise"}
TABLE_1 = "Luo et al., MICCAI 2022 (WSL4MIS)"


def claims() -> str:
    """What each method of WSL4MIS's table gains in mean Dice over `pce` there, and in the stored runs."""
    printed = published.read()
    printed = printed[(printed.paper == TABLE_1) & (printed.metric == "dice") & (printed.region == MEAN)]
    printed = printed[printed.supervision == "weak"].set_index("method")
    column, own = "acdc scribble:drawn", store.stored("reference-core")["reference-core"]
    tests = summarise(runs.read_folder(own), Options(reference="pce"), ["dice"]).tests
    found = {line.method: line for line in tests[tests.column == column].itertuples()}
    lines = []
    for name, line in printed[printed.here != "pce"].iterrows():
        here = found.get(line.here)
        gain = "" if here is None else f"{here.difference:+.2f} [{here.low:+.2f}, {here.high:+.2f}]"
        outcome = "no such method here" if not line.here else "no runs on test scans yet" if here is None else ""
        outcome = outcome or OUTCOMES.get(here.verdict, "no verdict: one seed")
        lines.append(
            [str(name), line.here and f"`{line.here}`", f"{line['mean'] - printed['mean']['pCE']:+.2f}", gain, outcome]
        )
    return table(["in the paper", "here", "gain there", "gain here", "outcome"], lines)


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
    """Facts by name as a table."""
    return table(["property", "value"], [[name, str(value)] for name, value in facts.items()])


def table(heading: list[str], lines: Iterable[list[str]]) -> str:
    """A table in Markdown."""
    shown = [heading, ["---"] * len(heading), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in shown)


def codes(names: Iterable[str]) -> str:
    """Names as code, with commas between."""
    return ", ".join(f"`{name}`" for name in names)


def source(path: Path | None) -> str:
    """A link to a file of this repository, with its path as the text."""
    assert path is not None
    return link(str(path.resolve().relative_to(ROOT)), path)


def link(text: str, path: Path | None) -> str:
    """A link to a file of this repository; `/` is its root until `generated` makes the link relative."""
    assert path is not None
    return f"[`{text}`](/{path.resolve().relative_to(ROOT)})"


BLOCKS: dict[str, Callable[..., str]] = {
    "methods": methods,
    "method_groups": method_groups,
    "learners": learners,
    "datasets": data_sets,
    "data_kinds": data_kinds,
    "reference": reference,
    "claims": claims,
    "method": method,
    "dataset": data_set,
    "presets": presets,
    "annotations": annotations,
    "annotation_options": annotation_options,
    "costs": costs,
    "commands": commands,
    "metrics": metrics,
    "options": options_of,
}

if __name__ == "__main__":
    main()
