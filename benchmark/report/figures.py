"""Dots with intervals: every method's Dice, a panel per data set and annotation."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

SETTINGS: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "weakseg-bench", "font.size": 9}
COLOUR = "#0072b2"  # Okabe and Ito's blue


def intervals(summary: pd.DataFrame, folder: Path, metric: str = "dice") -> list[Path]:
    """The figure as PDF, PNG and SVG; the same input gives the same bytes."""
    cells = summary[(summary.metric == metric) & summary["mean"].notna()]
    columns = list(dict.fromkeys(cells.column))
    methods = list(dict.fromkeys(summary.method))
    with mpl.rc_context(SETTINGS):
        figure = Figure((1.6 + 2.6 * max(1, len(columns)), 1.0 + 0.28 * len(methods)), layout="constrained")
        panels = figure.subplots(1, max(1, len(columns)), sharey=True, squeeze=False)[0]
        for panel, column in zip(panels, columns, strict=False):
            own = cells[cells.column == column].set_index("method").reindex(methods)
            heights = range(len(methods))
            panel.hlines(heights, own.low, own.high, color=COLOUR, linewidth=1.5)
            panel.plot(own["mean"], heights, "o", color=COLOUR, markersize=5)
            panel.set_title(column.replace("$", r"\$"), fontsize=9)
            panel.set_xlabel(f"Dice, 95 % interval (n = {own.patients.max():.0f})")
            panel.grid(axis="x", color="#dddddd", linewidth=0.6)
            panel.spines[["top", "right", "left"]].set_visible(False)
        panels[0].set_yticks(range(len(methods)), [method.replace("$", r"\$") for method in methods])
        panels[0].invert_yaxis()
        paths = [folder / f"intervals.{kind}" for kind in ("pdf", "png", "svg")]
        for path, stamp in zip(paths, ({"CreationDate": None}, {}, {"Date": None}), strict=True):
            figure.savefig(path, dpi=150, metadata=stamp)
    return paths
