"""Figures of scores: every mean with its interval, and differences to the reference by patient."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.images import OKABE_ITO
from benchmark.plan.plugins import PRIOR
from benchmark.report import statistics
from benchmark.report.figures.style import (
    COLOURS,
    DARK,
    FULL_ROW,
    GREY,
    MEANS,
    FigureData,
    FigureSpec,
    beyond,
    by_score,
    described,
    full_line,
    full_named,
    grid,
    headed,
    height_of,
    listed,
    plain,
    wrapped,
)
from benchmark.report.statistics import ALIKE, OPEN
from benchmark.report.summary import OVER, OWN_CASES

DOTS = 3000  # from so many on, patients are drawn as one picture
VERDICTS: dict[str, dict[str, Any]] = {
    "better": {"color": OKABE_ITO["blue"], "marker": "^"},
    "worse": {"color": OKABE_ITO["vermillion"], "marker": "v"},
    "other": {"color": OKABE_ITO["purple"], "marker": "D"},  # of a metric of which neither more nor less is better
    ALIKE: {"color": OKABE_ITO["green"], "marker": "s"},
    OPEN: {"color": DARK, "marker": "o"},
    "no verdict": {"color": DARK, "marker": "."},
}


def intervals(source: FigureData) -> FigureSpec | None:
    """Every method's mean with its interval, a panel per column; a method without a mean there leaves a gap."""
    cells = source.cells
    if cells.empty:
        return None
    panelled = source.folded[source.folded.method != FULL_ROW]  # full masks are a line
    known = by_score(source, panelled)
    methods = [*known, *(row for row in dict.fromkeys(source.summary.cells.method) if row not in known)]
    columns = list(dict.fromkeys(panelled.column))
    figure, panels = grid(len(columns), height_of(methods), methods, sharey=True)
    listed(panels, methods)
    for panel, column in zip(panels, columns, strict=True):
        own = cells[cells.column == column].set_index("method").reindex(methods)
        panel.hlines(range(len(methods)), own.low, own.high, color=COLOURS[0], linewidth=1.5)
        panel.plot(own["mean"], range(len(methods)), "o", color=COLOURS[0])
        full_line(source, panel, column, upright=True)
        headed(panel, column)
        panel.set_xlabel(f"{source.label(own)} (n = {own.patients.max():.0f})")
    caption = f"{described(source)}. {MEANS}; no dot: not every run is there, or the value is not defined."
    caption += " Rows in the order of their mean place."
    runs, legend = source.shown(cells.column, cells.method), full_named(source, columns)
    return FigureSpec("intervals", f"{source.label()} with intervals", caption, figure, source.origin(runs), legend)


def paired(source: FigureData) -> FigureSpec | None:
    """Each method minus the reference: a dot per patient, and the mean difference with its interval on top."""
    if source.metric in OWN_CASES:
        return None
    references = source.summary.columns.set_index("column").reference
    shown = {column: references[column] for column in dict.fromkeys(source.cells.column) if references[column]}
    differences = {column: _differences(source, column, reference) for column, reference in shown.items()}
    differences = {column: own for column, own in differences.items() if own}
    if not differences:
        return None
    methods = [row for row in by_score(source, source.cells) if any(row in own for own in differences.values())]
    many = sum(len(each.by_patient) for own in differences.values() for each in own.values()) > DOTS
    figure, panels = grid(len(differences), height_of(methods), methods, sharey=True)
    listed(panels, methods)
    for panel, (column, own) in zip(panels, differences.items(), strict=True):
        scale = [each for row, each in own.items() if source.read.roles.get(row) != PRIOR] or list(own.values())
        _differing(panel, {methods.index(method): each for method, each in own.items()}, scale, many=many)
        headed(panel, column)
        label = source.label(source.cells[source.cells.column == column])
        panel.set_xlabel(f"{label} minus {plain(wrapped(shown[column], 20, 1))}")
    caption = (
        f"{described(source)}, minus that of the reference. Each dot is a patient, mean over seeds; on top the mean "
        "difference with its 95 % interval, which holds for all pairs of a column at once. "
    )
    tests = source.summary.tests
    if (tests[(tests.metric == source.metric) & tests.column.isin(list(differences))].over == OVER[False]).any():
        caption += "With few seeds, or for a row with a run that failed to learn, it is over patients, given these runs. "
    caption += "An arrow: a mean beyond the panel."
    pairs = [(column, row) for column, own in differences.items() for row in (*own, shown[column])]
    runs = source.shown(*zip(*pairs, strict=True))
    verdicts = {each.verdict for own in differences.values() for each in own.values()}
    legend = {name: how | {"linestyle": "-"} for name, how in VERDICTS.items() if name in verdicts}
    return FigureSpec("paired", "Differences to the reference by patient", caption, figure, source.origin(runs), legend)


@dataclass(frozen=True, eq=False)
class _Paired:
    """A method minus the reference."""

    by_patient: np.ndarray  # (patients,), means over seeds
    mean: float
    low: float
    high: float
    verdict: str  # one of VERDICTS


def _differences(source: FigureData, column: str, reference: str) -> dict[str, _Paired]:
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
            mean, low, high = tested.loc[method, ["difference", "low", "high"]]
            result = tested.verdict[method] if tested.over[method] == OVER[True] else tested.in_these_runs[method]
        else:
            diff = statistics.difference(both.to_numpy(), np.zeros(both.shape))
            mean, low, high, result = diff.mean, diff.low, diff.high, ""
        found[method] = _Paired(by_patient, float(mean), float(low), float(high), result or "no verdict")
    return found


def _differing(panel: Any, lines: Mapping[int, _Paired], scale: Iterable[_Paired], *, many: bool) -> None:
    """The differences of one column, each at its height, on a scale for some of them: a location prior may be far away."""
    together = np.concatenate([[0.0], *([*each.by_patient, each.mean, each.low, each.high] for each in scale)])
    together = together[~np.isnan(together)]
    room = 0.05 * np.ptp(together) or 0.05
    edges = float(together.min() - room), float(together.max() + room)
    panel.axvline(0, color=GREY, linewidth=0.8)
    panel.set_xlim(*edges)
    for height, each in lines.items():
        if not edges[0] <= each.mean <= edges[1]:
            beyond(panel, height, each.mean, edges)
            continue
        offset = 0.55 * (np.arange(len(each.by_patient)) * 0.6180339887 % 1 - 0.5)  # the golden ratio spreads any number
        dots = {"color": "#9a9a9a", "markersize": 2.5 if many else 4, "alpha": 0.6, "markeredgewidth": 0, "rasterized": many}
        panel.plot(np.sort(each.by_patient), height + offset, ".", **dots)
        how = VERDICTS[each.verdict]
        panel.hlines(height, each.low, each.high, color=how["color"], linewidth=1.8, zorder=3)
        panel.plot(each.mean, height, markeredgecolor="white", markeredgewidth=0.5, markersize=6, zorder=4, **how)


PLACE = 1
FIGURES = (intervals, paired)
