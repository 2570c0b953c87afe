"""Figures of supervision: the closed share of the gap to full masks, hours, density and noise of annotations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.report import supervision
from benchmark.report.figures.style import (
    COLOURS,
    GREY,
    MEANS,
    FigureData,
    FigureSpec,
    beyond,
    described,
    full_line,
    full_named,
    grid,
    headed,
    height_of,
    legend_of,
    listed,
    logarithmic,
    name_metric,
    plain,
    with_full,
    wrapped,
)
from benchmark.report.names import of_annotation

SHARES = (-0.6, 1.6)  # of a gap: what lies beyond is an arrow at the edge
CLOSE = 0.035  # of a panel's width: names of formats that are nearer to each other are spread out


def gap(source: FigureData) -> FigureSpec | None:
    """The share of the gap between marks alone and full masks that each method closes."""
    frame = supervision.gaps(source.read, source.values if source.metric == "dice" else None)
    known = frame[frame.share.notna()]
    if known.empty:
        return None
    methods = sorted(dict.fromkeys(known.method), key=lambda row: -known.share[known.method == row].mean())
    columns = list(dict.fromkeys(known.column))
    figure, panels = grid(len(columns), height_of(methods), methods, sharey=True, sharex=True)
    listed(panels, methods)
    for panel, column in zip(panels, columns, strict=True):
        _shares(panel, known[known.column == column].set_index("method").reindex(methods), _edges(known))
        headed(panel, column)
    caption = (
        "Share of the gap in Dice that is closed: 0 is the best of "
        f"the rows that only fit the same marks (named below), 1 is {', '.join(dict.fromkeys(known.full))} on full masks. "
        "Mean and 95 % interval "
        f"(all three from the same draws of patients, from five seeds on also of seeds). {_no_gap(frame)}"
    )
    runs = source.shown([*known.column, *known.full_column], [*known.method, *known.full])
    return FigureSpec("gap", "Closed share of the gap to full supervision", caption.strip(), figure, source.origin(runs))


def _shares(panel: Any, own: pd.DataFrame, edges: tuple[float, float]) -> None:
    """The closed shares of one column, a line for each method down the panel."""
    for share in (0, 1):
        panel.axvline(share, color=GREY, linewidth=0.8, linestyle="-" if share else "--")
    inside = own.share.between(*edges)
    low, high = (own[end].clip(*edges).where(inside) for end in ("low", "high"))
    panel.hlines(range(len(own)), low, high, color=COLOURS[0], linewidth=1.5)
    panel.plot(own.share.where(inside), range(len(own)), "o", color=COLOURS[0])
    for height, share in enumerate(own.share.where(~inside)):
        if not np.isnan(share):
            beyond(panel, height, share, edges)
    gap = own.dropna(subset="gap").iloc[0]
    panel.set_xlim(*edges)
    panel.tick_params("x", labelbottom=True)
    panel.set_xlabel(f"closed share of {gap.gap:.3f} Dice\n(0: {plain(wrapped(gap.base, 20, 1))}; 1: full masks)")


def _edges(known: pd.DataFrame) -> tuple[float, float]:
    """From where to where closed shares are shown: both ends of the gap and every interval, within SHARES."""
    low, high = min(-0.1, known.low.min() - 0.05), max(1.1, known.high.max() + 0.05)
    return max(SHARES[0], low), min(SHARES[1], high)


def _no_gap(frame: pd.DataFrame) -> str:
    """The notes on columns without any share."""
    notes = []
    for column, own in frame.groupby("column", observed=True, sort=False):
        if own.share.isna().all():
            line = own.sort_values("gap", na_position="first").iloc[-1]  # a complete row: its reason is that of the column
            between = "" if np.isnan(line.gap_low) else f" (gap {line.gap:.3f} [{line.gap_low:.3f}, {line.gap_high:.3f}])"
            notes.append(f"No share for {column}: {line.reason}{between}.")
    return " ".join(notes)


def hours(source: FigureData) -> FigureSpec | None:
    """The metric against hours of annotation, a panel per data set and budget, a line per method through the formats."""
    frame = supervision.hours(source.read)
    known = frame[frame.low.notna() & frame.column.isin(source.cells.column)].assign(middle=np.sqrt(frame.low * frame.high))
    known = known[known.groupby("setting").annotation.transform("nunique") > 1]
    if known.empty:
        return None
    known = known.assign(annotation=known.annotation.map(of_annotation))
    cells = source.cells.merge(known, on="column", suffixes=("", "_of_marks")).rename(columns={"middle": "x"})
    figure, panels = grid(cells.setting.nunique(), 2.6)
    settings = list(cells.groupby("setting", sort=False))
    for panel, (_, own) in zip(panels, settings, strict=True):
        logarithmic(panel.xaxis, own.low_of_marks.min(), own.high_of_marks.max())
        _lines(panel, own, source.styles, log=True)
        headed(panel, _setting_title(own, settings))
        _formats(panel, own.drop_duplicates("column").sort_values("x"))
        panel.set_xlabel("annotation of the training scans (h)")
    name_metric(panels, [source.label(own) for _, own in settings])
    left = frame[~frame.column.isin(known.column)]
    caption = (
        f"{described(source)}, against the hours that annotating the training scans of one run would take: "
        "published seconds per image or object (Bearman et al., ECCV 2016; Papadopoulos et al., ICCV 2017; measured on "
        "photographs of PASCAL VOC and ImageNet, not on medical images) times what is labelled. Slices of slices:k cost as "
        "much as full masks. A grey bar on top spans several published costs; dots are at its middle on the axis. "
        f"Vertical bars: 95 % intervals. {_left_out(left)}"
    )
    runs = source.shown(cells.column, cells.method)
    title, legend = f"{source.label()} against annotation hours", legend_of(source, cells.method)
    return FigureSpec("hours", title, caption.strip(), figure, source.origin(runs), legend)


def _formats(panel: Any, formats: pd.DataFrame) -> None:
    """Names of formats above a panel, at their hours, spread out where they are too near."""
    low, high = np.log(panel.get_xlim())
    places = (np.log(formats.x.to_numpy()) - low) / (high - low)
    spread = places.copy()
    for i in range(1, len(spread)):
        spread[i] = max(spread[i], spread[i - 1] + 2 * CLOSE)
    spread -= max(0.0, float(spread[-1]) - 1)
    for place, moved, name in zip(places, spread, formats.annotation_of_marks, strict=True):
        panel.axvline(np.exp(low + place * (high - low)), color="#cccccc", linewidth=0.7, zorder=0)
        panel.annotate(
            plain(name), (place, 1), (moved, 1.06), "axes fraction", rotation=90, ha="center", va="bottom", fontsize=6.5,
            arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    spans = formats[formats.low_of_marks < formats.high_of_marks]
    on_top = {"transform": panel.get_xaxis_transform(), "clip_on": False}
    panel.hlines([1] * len(spans), spans.low_of_marks, spans.high_of_marks, color=GREY, linewidth=3, **on_top)
    panel.set_title(panel.get_title(), pad=12 + 3.7 * max(map(len, formats.annotation_of_marks)))  # above the names


def _left_out(left: pd.DataFrame) -> str:
    """Which columns have no hours, and why."""
    why = left[left.reason.fillna("") != ""].groupby("reason", sort=False).column.agg(", ".join)
    return " ".join(f"Left out, since {reason}: {columns}." for reason, columns in why.items())


def density(source: FigureData) -> FigureSpec | None:
    """The metric against the share of marks that is kept."""
    return _levels(source, "density", "share of marks kept")


def noise(source: FigureData) -> FigureSpec | None:
    """The metric against the share of marks that lie across a boundary."""
    return _levels(source, "noise", "noise: share of marked pixels to lie across the boundary")


def _levels(source: FigureData, what: str, axis: str) -> FigureSpec | None:
    frame = supervision.levels(source.read, what)
    known = frame[frame.column.isin(source.cells.column)]
    known = known[known.groupby(["setting", "annotation"])["level"].transform("size") > 1]
    if known.empty:
        return None
    cells = source.cells.merge(known, on="column", suffixes=("", "_of_marks")).rename(columns={"level": "x"})
    series = list(cells.groupby(["setting", "annotation_of_marks"], sort=False))
    figure, panels = grid(len(series), 2.1)
    for panel, ((_, annotation), own) in zip(panels, series, strict=True):
        levels = sorted(set(own.x))
        if what == "density":
            logarithmic(panel.xaxis, levels[0], levels[-1])
        panel.set_xticks(levels, [f"{level:.0%}" if level >= 0.01 else f"{level:.1%}" for level in levels])
        panel.set_xticks([], minor=True)
        _lines(panel, own, source.styles, log=what == "density")
        full_line(source, panel, str(own.column.iloc[0]), upright=False)
        headed(panel, f"{_setting_title(own, series)}, {of_annotation(str(annotation))}")
        panel.set_xlabel(axis)
    name_metric(panels, [source.label(own) for _, own in series])
    caption = f"{described(source)}, against the {axis}; all else is equal. {MEANS}."
    runs, legend = with_full(source, cells), legend_of(source, cells.method)
    legend |= full_named(source, known.column)
    title = f"{source.label()} against {what} of the marks"
    return FigureSpec(what, title, caption, figure, source.origin(runs), legend)


def _lines(panel: Any, cells: pd.DataFrame, styles: Mapping[str, Mapping[str, Any]], *, log: bool) -> None:
    """A line per method through its means with their intervals, each shifted a little from the others."""
    methods = [method for method in styles if method in set(cells.method)]
    low, high = (np.log(cells.x) if log else cells.x).agg(["min", "max"])
    for method, offset in zip(methods, np.linspace(-0.012, 0.012, len(methods)) * (high - low), strict=True):
        own = cells[cells.method == method].sort_values("x")
        x = own.x * np.exp(offset) if log else own.x + offset
        panel.vlines(x, own.low, own.high, color=styles[method]["color"], linewidth=0.8, alpha=0.6)
        panel.plot(x, own["mean"], **styles[method])


def _setting_title(own: pd.DataFrame, settings: Sequence[Any]) -> str:
    """A data set's name, or the name of a column where the same data set has several budgets."""
    dataset = str(own.dataset.iloc[0])
    others = {key if isinstance(key, str) else key[0] for key, other in settings if other.dataset.iloc[0] == dataset}
    return dataset if len(others) == 1 else str(own.column.iloc[0])


PLACE = 2
FIGURES = (gap, hours, density, noise)
