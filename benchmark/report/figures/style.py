"""The common style of all figures: methods differ by more than colour, and a line below states the runs in the figure."""

import hashlib
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmark.images import OKABE_ITO
from benchmark.plan import plugins
from benchmark.plan.plugins import SUPERVISED
from benchmark.report import supervision
from benchmark.report.runs import Rows
from benchmark.report.summary import MEAN, Summary
from benchmark.score.metrics import Facts
from benchmark.store import ResultsFolder

SETTINGS: Any = {
    "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "weakseg-bench", "font.size": 8, "legend.fontsize": 7,
    "axes.titlesize": 8, "axes.titley": 1.0, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.2, "lines.markersize": 4.5,
}  # fmt: skip  # titles have a fixed place, since searching one is slow
COLOURS = tuple(OKABE_ITO[name] for name in ("blue", "vermillion", "green", "purple", "orange", "sky", "black"))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")  # nine, so that a pair with one of seven colours repeats late
LINES = ("-", "--", ":", "-.")
DARK, GREY = "#333333", "#767676"
FULL_ROW = "Full masks"
FULL: dict[str, Any] = {"color": DARK, "linewidth": 1, "linestyle": "--", "zorder": 1}  # full supervision
KINDS = ("pdf", "png", "svg")
DPI = 150
FEW = 4  # runs whose hashes fit below a figure
ACROSS = 4  # panels in a row
ROOM = 1.5  # of a log axis beyond its data, a factor
WIDEST, PANEL = 7.2, 3.6  # inches: of a page, and of one panel where there is room
NAME = 32  # characters of a line of a method's name


@dataclass(frozen=True)
class SavedFigure:
    """A figure that lies in a report's folder as `<name>.svg` and its other kinds."""

    name: str
    title: str
    caption: str
    hashes: tuple[str, ...]  # of all runs in it


@dataclass(frozen=True)
class Provenance:
    """The runs in a figure."""

    hashes: tuple[str, ...] = ()
    runs: int = 0
    n: str = ""  # such as "n = 16 patients, 3 seeds"

    @property
    def line(self) -> str:
        """Return the line below the figure: n, and the hashes of the runs or, if there are many, a digest of them."""
        unnamed = self.runs - len(self.hashes)
        text = f"{self.runs} run{'s' * (self.runs != 1)}"
        if len(self.hashes) > FEW:
            digest = hashlib.sha256("".join(f"{each}\n" for each in self.hashes).encode()).hexdigest()
            text += f", digest {digest[:12]} (all hashes in the file's metadata)"
        elif self.hashes:
            text += f": {self.short}"
        text += f"; {unnamed} without a hash" if unnamed > 0 else ""
        return f"{self.n}; {text}" if self.n else text

    @property
    def short(self) -> str:
        """The first eight digits of each hash."""
        return " ".join(each[:8] for each in self.hashes)


@dataclass(frozen=True)
class FigureSpec:
    """A figure before it is saved."""

    name: str
    title: str
    caption: str
    figure: Figure
    origin: Provenance
    legend: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # text -> the style of its line


@dataclass(frozen=True)
class FigureData:
    """The data of the figures."""

    read: Rows
    summary: Summary
    results: ResultsFolder
    metric: str = "dice"

    def label(self, cells: pd.DataFrame | None = None) -> str:
        """The metric's name, with its unit where these cells (or all) have one."""
        units = {unit for unit in (self.cells if cells is None else cells).unit.dropna() if unit}
        return self.facts.heading(units.pop() if len(units) == 1 else "")

    @property
    def facts(self) -> Facts:
        """What is known of the metric."""
        return self.read.metrics[self.metric]

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The summary's lines of the metric, mean over regions, that have a mean."""
        cells = self.summary.cells
        return cells[(cells.metric == self.metric) & (cells.region == MEAN) & cells["mean"].notna()]

    @cached_property
    def styles(self) -> dict[str, dict[str, Any]]:
        """Of each method its colour, marker and line; of this project's methods the same in all reports."""
        names = sorted(plugins.groups()["all"])
        own = {called: k for k, name in enumerate(names) for called in (name, self.read.titles.get(("row", name), name))}
        others = count(len(names))
        return {row: look(own[row] if row in own else next(others)) for row in dict.fromkeys(self.read.runs.row)}

    @cached_property
    def full(self) -> dict[str, pd.Series]:
        """Of each column of weak marks the cell of full supervision in its setting, where there is one."""
        found, supervised = {}, self.cells[self.cells.role == SUPERVISED]
        for column, full in supervision.full_columns(self.read).items():
            cells = supervised[supervised.column == full].set_index("method")
            if len(cells):
                found[column] = cells.loc[next(row for row in self.read.roles if row in cells.index)]
        return found

    @cached_property
    def folded(self) -> pd.DataFrame:
        """The cells; full supervision that is its column's only row is FULL_ROW in the columns of its setting instead."""
        alone = set(self.cells.column[self.cells.groupby("column")["column"].transform("size") == 1])
        lines = {column: full for column, full in self.full.items() if full["column"] in alone}
        kept = self.cells[~self.cells.column.isin({full["column"] for full in lines.values()})]
        rows = [full.to_frame().T.assign(column=column, method=FULL_ROW) for column, full in lines.items()]
        return pd.concat([kept, *rows]).infer_objects() if len(kept) else self.cells

    @cached_property
    def values(self) -> supervision.Values:
        """The metric by patient."""
        return supervision.by_patient(self.read.cases, self.metric)

    @cached_property
    def patient_counts(self) -> dict[str, int]:
        """How many patients a column has."""
        return {str(column): int(n) for column, n in self.read.cases.groupby("column").patient.nunique().items()}

    def shown(self, columns: Iterable[str], rows: Iterable[str]) -> pd.DataFrame:
        """The runs that are done, of these pairs of column and row."""
        runs = self.read.runs
        wanted = pd.MultiIndex.from_arrays([[*columns], [*rows]])
        return runs[(runs.state == "done") & pd.MultiIndex.from_frame(runs[["column", "row"]]).isin(wanted)]

    def origin(self, runs: pd.DataFrame) -> Provenance:
        """The provenance of these runs; predictions from elsewhere, which stand in several columns, count once."""
        once = runs.drop_duplicates("folder")
        columns = list(dict.fromkeys(runs.column))
        counts = [self.patient_counts.get(column, 0) for column in columns]
        known = {self.read.about[column]["patients_known"] for column in columns}
        unit = "images" if known == {False} else "patients" if False not in known else "patients or images"
        seeds = runs.groupby("column").seed.nunique()
        n = f"n = {_range(counts)} {unit}, {_range(seeds)} seed{'s' * (max(seeds, default=0) != 1)}"
        return Provenance(tuple(sorted({each for each in once.hash if each})), len(once), n)


def look(number: int) -> dict[str, Any]:
    """A colour, marker and line for each of many."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number // len(COLOURS) % len(LINES)],
    }


def grid(count: int, height: float, names: Sequence[str] = (), across: int = ACROSS, **how: Any) -> tuple[Figure, list[Any]]:
    """A figure with so many panels of a height (inches), so many in a row; names stand left of each row of panels."""
    across = min(count, across)
    down = -(-count // across)
    margin = widest_of(names)
    width = min(WIDEST, margin + PANEL * across) if across < ACROSS else margin + 1.9 * across
    figure = Figure((width, (height + 0.65) * down), dpi=DPI, layout="constrained")  # letters are as wide as in the PNG
    panels = list(figure.subplots(down, across, squeeze=False, **how).flat)
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def listed(panels: Sequence[Any], names: Sequence[str]) -> None:
    """Put names down the left of each row of panels that share their heights, the first on top."""
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    panels[0].set_yticks(range(len(names)), [plain(wrapped(name)) for name in names])
    for number, panel in enumerate(panels):
        panel.tick_params("y", length=0, labelleft=number % ACROSS == 0)
        panel.grid(visible=False, axis="y")
        panel.spines.left.set_visible(False)


def height_of(names: Sequence[str]) -> float:
    """Inches that a list of names takes."""
    return 0.2 + len(names) * (0.28 if any("\n" in wrapped(name) for name in names) else 0.19)


def beyond(panel: Any, height: int, value: float, edges: tuple[float, float]) -> None:
    """Draw an arrow with the value at the edge of a panel, instead of a dot outside it."""
    left = value < edges[0]
    panel.plot(edges[0] if left else edges[1], height, "<" if left else ">", color=GREY, clip_on=False)
    placing = {"textcoords": "offset points", "va": "center", "ha": "left" if left else "right", "fontsize": 6.5}
    text = f"{value:.2f}".replace("-", "−")
    panel.annotate(text, (edges[0] if left else edges[1], height), (5 if left else -5, 0), color=DARK, **placing)


def widest_of(names: Sequence[str]) -> float:
    """Inches that the longest line of names takes."""
    return 0.068 * max((len(line) for name in names for line in wrapped(name).split("\n")), default=0)


def by_score(source: FigureData, cells: pd.DataFrame) -> list[str]:
    """Rows of cells from the best to the worst by their mean place in the columns; as planned if nothing is better."""
    of_column = cells.groupby("column")["mean"]
    places = cells.assign(place=of_column.rank(pct=True).where(of_column.transform("size") > 1))  # alone is no place
    places = places.groupby("method", sort=False).place.mean().fillna(0.5)
    planned = [row for row in source.styles if row in places.index]
    return sorted(planned, key=lambda row: -source.facts.better * places[row])


def full_line(source: FigureData, panel: Any, column: str, *, upright: bool) -> None:
    """A dashed line at full supervision, where the column's setting has it."""
    if column in source.full:
        (panel.axvline if upright else panel.axhline)(source.full[column]["mean"], **FULL)


def full_named(source: FigureData, columns: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """The legend of those lines."""
    return {f"{source.full[column].name} on full masks": FULL for column in columns if column in source.full}


def with_full(source: FigureData, cells: pd.DataFrame) -> pd.DataFrame:
    """The runs of these cells, and of the lines at full supervision."""
    lines = [source.full[column] for column in dict.fromkeys(cells.column) if column in source.full]
    return source.shown(
        [*cells.column, *(str(line["column"]) for line in lines)], [*cells.method, *(str(line.name) for line in lines)]
    )


def headed(panel: Any, text: str) -> None:
    """A panel's title, broken where it would be wider than the panel."""
    panel.set_title(plain(wrapped(text, 30 if panel.figure.get_figwidth() <= WIDEST else 22, 3)))


def logarithmic(axis: Any, low: float, high: float) -> None:
    """A log axis with plain numbers, that has room for both."""
    span = ROOM**2 * high / low
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low / ROOM, high * ROOM)})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < 8 else (1, 3) if span < 40 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())  # ten per decade are slow to draw and of little use


def wrapped(text: str, width: int = NAME, lines: int = 2) -> str:
    """A text in lines of so many characters; what is longer ends in an ellipsis."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder="…")) or text


def plain(text: str) -> str:
    """Escape a name, so that it is not read as a formula, without characters that can't be printed."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text).replace("$", r"\$")


def save(spec: FigureSpec, folder: Path, kinds: Sequence[str] = KINDS) -> SavedFigure:
    """Write a figure in all kinds, its legend and its origin below it; the same spec gives the same bytes."""
    figure = spec.figure
    _put_below(spec)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the SVG names the sign; a reader's fonts may have it
        if figure.get_layout_engine():
            _lay_out(figure)
        for kind in kinds:
            figure.savefig(folder / f"{spec.name}.{kind}", dpi=DPI, metadata=_metadata(spec.origin, kind))
    return SavedFigure(spec.name, spec.title, f"{spec.caption} {spec.origin.line}.", spec.origin.hashes)


def _lay_out(figure: Figure) -> None:
    """Settle once for all kinds where the panels stand; the solver's last digits differ from time to time."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for panel in figure.axes:
        panel.set_position(tuple(np.round(panel.get_position().bounds, 4)))


def _put_below(spec: FigureSpec) -> None:
    """Make room at the foot of a figure for the legend and for what it is made of."""
    figure, (width, height) = spec.figure, spec.figure.get_size_inches()
    lines = textwrap.wrap(spec.origin.line, int(20 * width))
    longest = max(map(len, spec.legend), default=0)
    across = max(1, min(len(spec.legend), int(width / (0.5 + 0.054 * min(longest, 2 * NAME)))))
    rows = -(-len(spec.legend) // across)
    foot = 0.06 + 0.11 * len(lines)  # inches
    strip = foot + (0.08 + 0.132 * rows if rows else 0)
    total = height + strip
    figure.set_size_inches(width, total)
    if engine := figure.get_layout_engine():
        engine.set(rect=(0, strip / total, 1, height / total))  # type: ignore[call-arg]
    else:
        for panel in figure.axes:
            box = panel.get_position()
            panel.set_position((box.x0, (strip + box.y0 * height) / total, box.width, box.height * height / total))
    figure.text(0.05 / width, 0.03 / total, plain("\n".join(lines)), fontsize=6, color=GREY, va="bottom", linespacing=1.15)
    if rows:
        handles = [Line2D([], [], **how) for how in spec.legend.values()]
        names = [plain(wrapped(name, 2 * NAME, 1)) for name in spec.legend]
        where: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, foot / total)}
        tight: dict[str, Any] = {"borderaxespad": 0, "borderpad": 0, "labelspacing": 0.35}
        figure.legend(handles, names, ncols=across, frameon=False, **where, **tight)


def _metadata(origin: Provenance, kind: str) -> dict[str, Any]:
    """Every run's hash, and no stamp of the time."""
    keywords = {"Keywords": f"runs: {origin.short}"}
    if kind == "pdf":
        return {"CreationDate": None, "Subject": origin.line, **keywords}
    return {"Description": origin.line, **keywords} | ({"Date": None} if kind == "svg" else {})


def _range(counts: Iterable[int]) -> str:
    least, most = min(counts, default=0), max(counts, default=0)
    return f"{least}" if least == most else f"{least} to {most}"


MEANS = "Mean over patients and seeds, with its 95 % interval (over patients, from five seeds on also over seeds)"


def described(source: FigureData) -> str:
    """The metric, and which values of it are good."""
    good = {1: "higher is better", -1: "lower is better", 0: "best near 0"}
    return f"{source.label()}, {good[source.facts.better]}"


def name_metric(panels: Sequence[Any], labels: Sequence[str]) -> None:
    """Name the metric once in each row of panels, and wherever its unit is another."""
    for number, (panel, label) in enumerate(zip(panels, labels, strict=True)):
        if number % ACROSS == 0 or label != labels[number - 1]:
            panel.set_ylabel(label)


def legend_of(source: FigureData, methods: pd.Series) -> dict[str, Mapping[str, Any]]:
    """The legend of these methods."""
    shown = set(methods)
    return {method: how for method, how in source.styles.items() if method in shown}
