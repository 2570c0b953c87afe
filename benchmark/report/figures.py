"""Figures of a report, as PDF, PNG and SVG: scores with intervals, against training time and against supervision."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from benchmark.report import curves, statistics, supervision
from benchmark.report.canvas import (
    ACROSS,
    COLOURS,
    DARK,
    GREY,
    KINDS,
    SETTINGS,
    Drawn,
    Sketch,
    Source,
    beyond,
    grid,
    headed,
    height_of,
    listed,
    logarithmic,
    plain,
    save,
    wrapped,
)

__all__ = ["KINDS", "Drawn", "Source", "draw"]

DOTS = 3000  # from so many on, patients are drawn as one picture
SHARES = (-0.6, 1.6)  # of a gap: what lies beyond is an arrow at the edge
CLOSE = 0.035  # of a panel's width: names of formats that are nearer to each other are moved apart
VERDICTS: dict[str, dict[str, Any]] = {
    "better": {"color": "#0072b2", "marker": "^"},
    "worse": {"color": "#d55e00", "marker": "v"},
    "other": {"color": "#cc79a7", "marker": "D"},  # of a metric of which neither more nor less is better
    "tied": {"color": DARK, "marker": "o"},
}
MEANS = "Mean over patients and seeds, with its 95 % interval (crossed bootstrap of both)"


def draw(source: Source, folder: Path, kinds: Sequence[str] = KINDS) -> list[Drawn]:
    """Save every figure that these runs make, and give them in reading order; one without anything to show is left out."""
    with mpl.rc_context(SETTINGS):
        return [save(sketch, folder, kinds) for sketch in _sketches(source)]


def _sketches(source: Source) -> Iterator[Sketch]:
    """The figures, each made when it is asked for: together they would need much memory."""
    makers = (_intervals, _paired, _gap, _hours, _density, _noise, _cost, curves.learning_curves, curves.pseudo_labels)
    for make in makers:
        if sketch := make(source):
            yield sketch


# ------------------------------------------------------------------------------------------------------------- scores


def _intervals(source: Source) -> Sketch | None:
    """Every method's mean with its interval, a panel per column; a method without a mean there leaves a gap."""
    cells = source.cells
    if cells.empty:
        return None
    methods = list(dict.fromkeys(source.summary.cells.method))
    columns = list(dict.fromkeys(cells.column))
    figure, panels = grid(len(columns), height_of(methods), methods, sharey=True)
    listed(panels, methods)
    for panel, column in zip(panels, columns, strict=True):
        own = cells[cells.column == column].set_index("method").reindex(methods)
        panel.hlines(range(len(methods)), own.low, own.high, color=COLOURS[0], linewidth=1.5)
        panel.plot(own["mean"], range(len(methods)), "o", color=COLOURS[0])
        headed(panel, column)
        panel.set_xlabel(f"{source.label(own)} (n = {own.patients.max():.0f})")
    caption = f"{_what(source)}. {MEANS}; no dot: not every run is there, or the value is not defined."
    runs = source.shown(cells.column, cells.method)
    return Sketch("intervals", f"{source.label()} with intervals", caption, figure, source.origin(runs))


def _paired(source: Source) -> Sketch | None:
    """Each method minus the reference: a dot per patient, and the mean difference with its interval on top."""
    references = source.summary.columns.set_index("column").reference
    shown = {column: references[column] for column in dict.fromkeys(source.cells.column) if references[column]}
    apart = {column: _differences(source, column, reference) for column, reference in shown.items()}
    apart = {column: own for column, own in apart.items() if own}
    if not apart:
        return None
    methods = [row for row in source.looks if any(row in own for own in apart.values())]
    many = sum(len(each.by_patient) for own in apart.values() for each in own.values()) > DOTS
    figure, panels = grid(len(apart), height_of(methods), methods, sharey=True)
    listed(panels, methods)
    for panel, (column, own) in zip(panels, apart.items(), strict=True):
        _differing(panel, {methods.index(method): each for method, each in own.items()}, own, many=many)
        headed(panel, column)
        label = source.label(source.cells[source.cells.column == column])
        panel.set_xlabel(f"{label} minus {plain(wrapped(shown[column], 20, 1))}")
    caption = (
        f"{_what(source)}, minus that of the reference. Each dot is a patient, mean over seeds; on top the mean difference "
        "with its 95 % interval (crossed bootstrap, paired by patient and seed). An arrow: a mean beyond the panel."
    )
    pairs = [(column, row) for column, own in apart.items() for row in (*own, shown[column])]
    runs = source.shown(*zip(*pairs, strict=True))
    there = {each.verdict for own in apart.values() for each in own.values()}
    legend = {name: how | {"linestyle": "-"} for name, how in VERDICTS.items() if name in there}
    return Sketch("paired", "Differences to the reference by patient", caption, figure, source.origin(runs), legend)


@dataclass(frozen=True, eq=False)
class _Apart:
    """A method minus the reference."""

    by_patient: np.ndarray  # (patients,), means over seeds
    mean: float
    low: float
    high: float
    verdict: str


def _differences(source: Source, column: str, reference: str) -> dict[str, _Apart]:
    """Of each method of a column that has a mean, as the reference has."""
    known = list(source.cells[source.cells.column == column].method)
    tests = source.summary.tests
    tested = tests[(tests.column == column) & (tests.metric == source.metric)].set_index("method")
    values, found = source.values[column], {}
    for method in known if reference in known else []:
        if method == reference:
            continue
        both = values[method] - values[reference]  # by the names of seeds and patients
        by_patient = both.mean().dropna().to_numpy()
        if not len(by_patient):
            continue
        if method in tested.index:
            mean, low, high = map(float, tested.loc[method, ["difference", "low", "high"]])
        else:
            mean, (low, high) = float(np.nanmean(both)), statistics.interval(both.to_numpy())
        found[method] = _Apart(by_patient, mean, low, high, _verdict(mean, low, high, source.facts.better))
    return found


def _verdict(mean: float, low: float, high: float, better: int) -> str:
    """By the interval, as in the tables."""
    if not (low > 0 or high < 0):
        return "tied"
    return "better" if better * mean > 0 else "worse" if better else "other"


def _differing(panel: Any, lines: Mapping[int, _Apart], names: Iterable[str], *, many: bool) -> None:
    """The differences of one column, each at its height; the prior, which may be far away, does not settle the scale."""
    kept = [each for each, name in zip(lines.values(), names, strict=True) if name != "prior"] or list(lines.values())
    together = np.concatenate([[0.0], *([*each.by_patient, each.mean, each.low, each.high] for each in kept)])
    together = together[~np.isnan(together)]
    room = 0.05 * np.ptp(together) or 0.05
    edges = float(together.min() - room), float(together.max() + room)
    panel.axvline(0, color=GREY, linewidth=0.8)
    panel.set_xlim(*edges)
    for height, each in lines.items():
        if not edges[0] <= each.mean <= edges[1]:
            beyond(panel, height, each.mean, edges)
            continue
        beside = 0.55 * (np.arange(len(each.by_patient)) * 0.6180339887 % 1 - 0.5)  # the golden ratio spreads any number
        dots = {"color": "#9a9a9a", "markersize": 2.5 if many else 4, "alpha": 0.6, "markeredgewidth": 0, "rasterized": many}
        panel.plot(np.sort(each.by_patient), height + beside, ".", **dots)
        how = VERDICTS[each.verdict]
        panel.hlines(height, each.low, each.high, color=how["color"], linewidth=1.8, zorder=3)
        panel.plot(each.mean, height, markeredgecolor="white", markeredgewidth=0.5, markersize=6, zorder=4, **how)


def _cost(source: Source) -> Sketch | None:
    """The metric against training time, with the methods that no other beats in both."""
    runs = source.read.runs[(source.read.runs.state == "done") & (source.read.runs.fit_s > 0)]
    runs = runs[runs.row != "prior"]  # trained in no time, it would stretch both axes and begin each front
    seconds = runs.groupby(["column", "row"], observed=True, as_index=False).agg(seconds=("fit_s", "mean"))
    cells = source.cells.merge(seconds.rename(columns={"row": "method"}), on=["column", "method"])
    cells = cells[cells.groupby("column", observed=True)["column"].transform("size") > 1]
    columns = list(dict.fromkeys(cells.column))
    if not columns:
        return None
    figure, panels = grid(len(columns), 2.0)
    for panel, column in zip(panels, columns, strict=True):
        own = cells[cells.column == column]
        logarithmic(panel.xaxis, own.seconds.min(), own.seconds.max())
        _front(panel, own, source.facts.better)
        for line in own.itertuples():
            panel.plot(line.seconds, line.mean, **source.looks[line.method] | {"linestyle": "none"})
        headed(panel, column)
        panel.set_xlabel("training time of a run (s)")
    _labelled(panels, [source.label(cells[cells.column == column]) for column in columns])
    timed = source.shown(cells.column, cells.method)
    caption = f"{_what(source)}, against mean training time of a run{_trials(source, columns)}."
    caption += " Grey steps: no other method is both faster and better." if source.facts.better else ""
    caption += " The prior, which trains no network, is left out." if (source.cells.method == "prior").any() else ""
    caption += f" {_devices(timed)}"
    legend = {method: {**how, "linestyle": "none"} for method, how in _legend(source, cells.method).items()}
    return Sketch("cost", f"{source.label()} against training time", caption, figure, source.origin(timed), legend)


def _front(panel: Any, own: pd.DataFrame, better: int) -> None:
    """Steps through the methods that are better than all that are as fast; none where nothing is better."""
    if not better:
        return
    ordered = own.assign(worth=better * own["mean"]).sort_values(["seconds", "worth"], ascending=[True, False])
    best = ordered[ordered.worth > ordered.worth.cummax().shift(fill_value=-np.inf)]
    seconds = [*best.seconds, panel.get_xlim()[1]]
    panel.plot(seconds, [*best["mean"], best["mean"].iloc[-1]], drawstyle="steps-post", color="#bbbbbb", linewidth=1.5)


def _devices(timed: pd.DataFrame) -> str:
    """On what the times were taken, and where they can't be compared."""
    by_column = {str(column): sorted(set(own.device.dropna())) for column, own in timed.groupby("column", sort=False)}
    all_of_them = sorted({device for devices in by_column.values() for device in devices})
    mixed = [column for column, devices in by_column.items() if len(devices) > 1]
    said = f"Times on {', '.join(all_of_them)}." if all_of_them else "The runs do not say on what device they were timed."
    where = "in all columns" if len(mixed) == len(by_column) else f"in {', '.join(mixed)}"
    return said + (f" Not comparable, since from different devices, {where}." if mixed else "")


def _trials(source: Source, columns: Sequence[str]) -> str:
    tuned = any(source.read.about[column]["budget"].get("tune") for column in columns)
    return " (of all its trials)" if tuned else ""


# -------------------------------------------------------------------------------------------------------- supervision


def _gap(source: Source) -> Sketch | None:
    """The share of the gap between marks alone and full masks that each method closes."""
    frame = supervision.gaps(source.read, source.values if source.metric == "dice" else None)
    known = frame[frame.share.notna()]
    if known.empty:
        return None
    methods, columns = list(dict.fromkeys(known.method)), list(dict.fromkeys(known.column))
    figure, panels = grid(len(columns), height_of(methods), methods, sharey=True, sharex=True)
    listed(panels, methods)
    for panel, column in zip(panels, columns, strict=True):
        _shares(panel, known[known.column == column].set_index("method").reindex(methods), _edges(known))
        headed(panel, column)
    caption = (
        "Share of the gap in Dice that is closed: 0 is the best of "
        f"{', '.join(supervision.BASES)} on the same marks, 1 is {supervision.FULL} on full masks. Mean and 95 % interval "
        f"(crossed bootstrap; all three from the same draws of patients and seeds). {_no_gap(frame)}"
    )
    runs = source.shown([*known.column, *known.full_column], [*known.method, *known.full])
    return Sketch("gap", "Closed share of the gap to full supervision", caption.strip(), figure, source.origin(runs))


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
    """What is said of columns without any share."""
    said = []
    for column, own in frame.groupby("column", observed=True, sort=False):
        if own.share.isna().all():
            line = own.sort_values("gap", na_position="first").iloc[-1]  # a complete row: its reason is that of the column
            between = "" if np.isnan(line.gap_low) else f" (gap {line.gap:.3f} [{line.gap_low:.3f}, {line.gap_high:.3f}])"
            said.append(f"No share for {column}: {line.reason}{between}.")
    return " ".join(said)


def _hours(source: Source) -> Sketch | None:
    """The metric against hours of annotation, a panel per data set and budget, a line per method through the formats."""
    frame = supervision.hours(source.read)
    known = frame[frame.low.notna() & frame.column.isin(source.cells.column)].assign(middle=np.sqrt(frame.low * frame.high))
    known = known[known.groupby("setting").annotation.transform("nunique") > 1]
    if known.empty:
        return None
    cells = source.cells.merge(known, on="column", suffixes=("", "_of_marks")).rename(columns={"middle": "x"})
    figure, panels = grid(cells.setting.nunique(), 2.6)
    settings = list(cells.groupby("setting", sort=False))
    for panel, (_, own) in zip(panels, settings, strict=True):
        logarithmic(panel.xaxis, own.low_of_marks.min(), own.high_of_marks.max())
        _lines(panel, own, source.looks, log=True)
        headed(panel, _setting_title(own, settings))
        _formats(panel, own.drop_duplicates("column").sort_values("x"))
        panel.set_xlabel("annotation of the training scans (h)")
    _labelled(panels, [source.label(own) for _, own in settings])
    left = frame[~frame.column.isin(known.column)]
    caption = (
        f"{_what(source)}, against the hours that annotating the training scans of one run would take: "
        "published seconds per image or object (Bearman et al., ECCV 2016; Papadopoulos et al., ICCV 2017; measured on "
        "photographs of PASCAL VOC and ImageNet, not on medical images) times what is labelled. Slices of slices:k cost as "
        "much as full masks. A grey bar on top spans several published costs; dots are at its middle on the axis. "
        f"Vertical bars: 95 % intervals. {_left_out(left)}"
    )
    runs = source.shown(cells.column, cells.method)
    title, legend = f"{source.label()} against annotation hours", _legend(source, cells.method)
    return Sketch("hours", title, caption.strip(), figure, source.origin(runs), legend)


def _formats(panel: Any, formats: pd.DataFrame) -> None:
    """Names of formats above a panel, at their hours, moved apart where they are too near."""
    low, high = np.log(panel.get_xlim())
    places = (np.log(formats.x.to_numpy()) - low) / (high - low)
    apart = places.copy()
    for i in range(1, len(apart)):
        apart[i] = max(apart[i], apart[i - 1] + 2 * CLOSE)
    apart -= max(0.0, float(apart[-1]) - 1)
    for place, moved, name in zip(places, apart, formats.annotation_of_marks, strict=True):
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


def _density(source: Source) -> Sketch | None:
    """The metric against the share of marks that is kept."""
    return _levels(source, "density", "share of marks kept")


def _noise(source: Source) -> Sketch | None:
    """The metric against the share of marks that lie across a boundary."""
    return _levels(source, "noise", "share of marked pixels across the boundary")


def _levels(source: Source, what: str, axis: str) -> Sketch | None:
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
        _lines(panel, own, source.looks, log=what == "density")
        headed(panel, f"{_setting_title(own, series)} {annotation}")
        panel.set_xlabel(axis)
    _labelled(panels, [source.label(own) for _, own in series])
    caption = f"{_what(source)}, against the {axis}; all else is equal. {MEANS}."
    runs, legend = source.shown(cells.column, cells.method), _legend(source, cells.method)
    title = f"{source.label()} against {what} of the marks"
    return Sketch(what, title, caption, figure, source.origin(runs), legend)


def _lines(panel: Any, cells: pd.DataFrame, looks: Mapping[str, Mapping[str, Any]], *, log: bool) -> None:
    """A line per method through its means with their intervals, each a little beside the others."""
    methods = [method for method in looks if method in set(cells.method)]
    low, high = (np.log(cells.x) if log else cells.x).agg(["min", "max"])
    for method, beside in zip(methods, np.linspace(-0.012, 0.012, len(methods)) * (high - low), strict=True):
        own = cells[cells.method == method].sort_values("x")
        x = own.x * np.exp(beside) if log else own.x + beside
        panel.vlines(x, own.low, own.high, color=looks[method]["color"], linewidth=0.8, alpha=0.6)
        panel.plot(x, own["mean"], **looks[method])


def _setting_title(own: pd.DataFrame, settings: Sequence[Any]) -> str:
    """A data set's name, or the name of a column where the same data set has several budgets."""
    dataset = str(own.dataset.iloc[0])
    others = {key if isinstance(key, str) else key[0] for key, other in settings if other.dataset.iloc[0] == dataset}
    return dataset if len(others) == 1 else str(own.column.iloc[0])


# ------------------------------------------------------------------------------------------------------------- common


def _what(source: Source) -> str:
    """The metric, and which values of it are good."""
    good = {1: "higher is better", -1: "lower is better", 0: "best near 0"}
    return f"{source.label()}, {good[source.facts.better]}"


def _labelled(panels: Sequence[Any], labels: Sequence[str]) -> None:
    """Name the metric once in each row of panels, and wherever its unit is another."""
    for number, (panel, label) in enumerate(zip(panels, labels, strict=True)):
        if number % ACROSS == 0 or label != labels[number - 1]:
            panel.set_ylabel(label)


def _legend(source: Source, methods: pd.Series) -> dict[str, Mapping[str, Any]]:
    shown = set(methods)
    return {method: how for method, how in source.looks.items() if method in shown}
