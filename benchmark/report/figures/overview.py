"""Figures of all results at once: a matrix of scores with verdicts, and mean ranks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.plan.plugins import PRIOR
from benchmark.report.figures.style import (
    COLOURS,
    DARK,
    DPI,
    FULL_ROW,
    FigureData,
    FigureSpec,
    by_score,
    described,
    height_of,
    listed,
    plain,
    widest_of,
    wrapped,
)
from benchmark.report.statistics import ALIKE
from benchmark.report.summary import MEAN
from benchmark.report.tables import signed

ACROSS = 6  # columns of a matrix in a row
CELL = 0.8  # inches, the width of a cell
SIGNS = {"better": "+", "worse": "−", ALIKE: "="}
MAP = "Blues"
DARKEST = 0.75  # of the colour map, so that black and white print are read on it


def matrix(source: FigureData) -> FigureSpec | None:
    """Every method's mean in every column: its colour, its number, and the verdict to the reference."""
    cells, every = source.folded, source.summary.cells
    every = every[~every.column.isin(set(source.cells.column) - set(cells.column))]  # full masks that are a row
    methods = list(dict.fromkeys([*by_score(source, cells), *every.method]))
    methods += [FULL_ROW] * (FULL_ROW in set(cells.method))
    if len(methods) < 2 or cells.empty:
        return None
    columns = list(dict.fromkeys(every.column))
    blocks = [columns[first : first + ACROSS] for first in range(0, len(columns), ACROSS)]
    margin, height = 0.1 + widest_of(methods), height_of(methods) + 0.65
    figure = Figure((margin + CELL * len(blocks[0]), height * len(blocks)), dpi=DPI, layout="constrained")
    panels = list(figure.subplots(len(blocks), 1, squeeze=False).flat)
    means = cells.pivot(index="method", columns="column", values="mean").reindex(methods, columns=columns)
    signs, gaps = _signs(source), _gaps(source)
    shades = shades_of(means, source.facts.better, [row for row in methods if source.read.roles.get(row) == PRIOR])
    for panel, own in zip(panels, blocks, strict=True):
        _cells(panel, means[own], shades[own], signs, gaps)
        panel.set_xlim(-0.5, len(blocks[0]) - 0.5)
    caption = (
        f"{described(source)}: mean over patients and seeds, the darker the better, rows in the order of their mean place. "
        "+ and −: better and worse than the reference (ref), =: alike; none: not told apart, or no verdict. "
        f"{FULL_ROW}: full supervision in the same setting. "
        "Not run: planned, but not there. A dash: not planned, or the method does not learn from such marks."
    )
    runs = source.shown(source.cells.column, source.cells.method)
    return FigureSpec("matrix", f"{source.label()} of all rows", caption, figure, source.origin(runs))


def _signs(source: FigureData) -> dict[tuple[str, str], str]:
    """Of each row and column the sign of its verdict."""
    tests = source.summary.tests[source.summary.tests.metric == source.metric]
    verdicts = zip(tests.method, tests.column, tests.verdict, strict=True)
    references = zip(tests.reference, tests.column, strict=True)
    return {(row, column): SIGNS.get(verdict, "") for row, column, verdict in verdicts} | dict.fromkeys(references, "ref")


def _gaps(source: FigureData) -> dict[tuple[str, str], str]:
    """Of each planned row and column without a mean the reason."""
    cells = source.summary.cells[source.summary.cells.metric == source.metric]
    empty = cells[(cells.region == MEAN) & cells["mean"].isna()]
    why = np.select([empty.failed > 0, empty.runs == 0], ["failed", "not run"], "undefined")
    return dict(zip(zip(empty.method, empty.column, strict=True), why.tolist(), strict=True))


def shades_of(means: pd.DataFrame, better: int, priors: Sequence[str]) -> pd.DataFrame:
    """How good each mean is, from 0 to 1, on one scale for all columns; location priors don't stretch it."""
    worth = means * (better or 1)
    others = worth.drop(index=priors)
    scale = others if others.notna().to_numpy().any() else worth
    low, high = float(np.nanmin(scale)), float(np.nanmax(scale))
    return ((worth - low) / ((high - low) or 1)).clip(0, 1)


def _cells(
    panel: Any,
    means: pd.DataFrame,
    shades: pd.DataFrame,
    signs: Mapping[tuple[str, str], str],
    gaps: Mapping[tuple[str, str], str],
) -> None:
    """Draw one block of columns."""
    panel.imshow(
        colormaps[MAP](DARKEST * shades.fillna(0).to_numpy() + 0.05) * means.notna().to_numpy()[..., None],
        aspect="auto",
        interpolation="none",
    )
    digits = 3 if np.nanmax(np.abs(means.to_numpy())) < 10 else 1
    for height, row in enumerate(means.index):
        for place, column in enumerate(means.columns):
            value = means.loc[row, column]
            colour = "white" if shades.loc[row, column] > 0.7 else DARK
            text = gaps.get((row, column), "–") if np.isnan(value) else signed(value, digits, "")
            panel.text(place, height, text, ha="center", va="center", color=colour)
            sign = signs.get((row, column), "")
            panel.text(place + 0.47, height, sign, ha="right", va="center", color=colour, fontsize=6 if sign == "ref" else 8)
    listed([panel], list(means.index))
    panel.set_ylim(len(means) - 0.5, -0.5)
    panel.set_xticks(range(means.shape[1]), [plain(wrapped(str(column), 13, 3)) for column in means.columns])
    panel.tick_params("x", length=0, top=False, labeltop=True, labelbottom=False, labelsize=7)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)


def ranks(source: FigureData) -> FigureSpec | None:
    """Mean ranks, and bars that join rows that no column tells apart."""
    every = source.summary.ranks
    shown = every[every.cells == every.cells.max()]
    if len(shown) < 2:
        return None
    methods, columns = list(shown.method), int(shown.cells.max())
    bars = _joined(methods, source.summary.pairs)
    lanes = _lanes(bars)
    width = 0.3 + 0.14 * (max(lanes, default=-1) + 1)
    figure = Figure((widest_of(methods) + 3.2 + width, height_of(methods) + 0.65), dpi=DPI, layout="constrained")
    panel, side = figure.subplots(1, 2, sharey=True, width_ratios=(3.2, width))
    listed([panel, side], methods)
    panel.plot(shown.mean_rank, range(len(methods)), "o", color=COLOURS[0], clip_on=False)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.hlines(range(len(methods)), 1, shown.mean_rank, color=COLOURS[0], linewidth=0.8)
    for height, rank in enumerate(shown.mean_rank):
        panel.annotate(f"{rank:.1f}", (rank, height), (5, 0), textcoords="offset points", va="center", fontsize=7)
    panel.set_xlim(1, max(shown.mean_rank) * 1.12)
    panel.set_xlabel(f"mean rank in Dice over {columns} column{'s' * (columns > 1)} (1: best)")
    for rows, lane in zip(bars, lanes, strict=True):
        side.plot([lane] * len(rows), rows, "o-", color=DARK, markersize=3.5, linewidth=1)
    side.set_xlim(-0.7, max(lanes, default=0) + 0.7)
    side.set_xticks([])
    side.tick_params("y", labelleft=False)
    side.grid(visible=False)
    side.spines[:].set_visible(False)
    left = [row for row in every.method if row not in methods]
    caption = (
        "Mean rank in Dice over the informative columns, of rows that were trained here and whose runs are all there, also "
        "those with another budget. "
        "A bar on the right joins the rows with its dots, of which no column tells any two apart, by the verdicts of the "
        "main table. There is one for each largest such group, so rows without a common bar differ in a column at least."
        + (f" Not in every column: {', '.join(left)}." if left else "")
    )
    pairs = source.summary.pairs
    runs = source.shown(*zip(*((column, row) for column in dict.fromkeys(pairs.column) for row in methods), strict=True))
    return FigureSpec("ranks", "Mean ranks", caption, figure, source.origin(runs))


def _joined(methods: Sequence[str], pairs: pd.DataFrame) -> list[list[int]]:
    """Places of each largest group of rows of which no pair is better or worse in any column."""
    differ = pairs[pairs.verdict.isin(["better", "worse"])]
    told = set(zip(differ.method, differ.against, strict=True))
    groups = {frozenset[int]()}
    for place, row in enumerate(methods):
        groups |= {group - {k for k in group if (methods[k], row) in told} | {place} for group in groups}
        groups = {group for group in groups if not any(group < other for other in groups)}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _lanes(bars: Sequence[Sequence[int]]) -> list[int]:
    """Beside each other where bars overlap: of each the first lane that is free where it begins."""
    ends: list[int] = []
    lanes = []
    for first, *_, last in bars:
        lane = next((k for k, end in enumerate(ends) if end < first), len(ends))
        ends[lane : lane + 1] = [last]
        lanes.append(lane)
    return lanes


PLACE = 0
FIGURES = (matrix, ranks)
