"""Figures: every method's Dice with its interval, and what a pseudo-label method logged of its labels."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmark.report.summary import MEAN

SETTINGS: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "weakseg-bench", "font.size": 9}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's
KINDS: dict[str, Any] = {"pdf": {"CreationDate": None}, "png": {}, "svg": {"Date": None}}  # with no stamp of the time


def intervals(summary: pd.DataFrame, folder: Path, metric: str = "dice") -> None:
    """Dots with intervals, a panel per column, as PDF, PNG and SVG; the same input gives the same bytes."""
    cells = summary[(summary.metric == metric) & (summary.region == MEAN) & summary["mean"].notna()]
    columns = list(dict.fromkeys(cells.column))
    methods = list(dict.fromkeys(summary.method))
    with mpl.rc_context(SETTINGS):
        figure = Figure((1.6 + 2.6 * max(1, len(columns)), 1.0 + 0.28 * len(methods)), layout="constrained")
        panels = figure.subplots(1, max(1, len(columns)), sharey=True, squeeze=False)[0]
        for panel, column in zip(panels, columns, strict=False):
            own = cells[cells.column == column].set_index("method").reindex(methods)
            heights = range(len(methods))
            panel.hlines(heights, own.low, own.high, color=COLOURS[0], linewidth=1.5)
            panel.plot(own["mean"], heights, "o", color=COLOURS[0], markersize=5)
            panel.set_title(_plain(column), fontsize=9)
            panel.set_xlabel(f"Dice, 95 % interval (n = {own.patients.max():.0f})")
            panel.grid(axis="x", color="#dddddd", linewidth=0.6)
            panel.spines[["top", "right", "left"]].set_visible(False)
        panels[0].set_yticks(range(len(methods)), [_plain(method) for method in methods])
        panels[0].invert_yaxis()
        _save(figure, folder, "intervals")


def pseudo_labels(log: Sequence[Mapping[str, float]], name: str, folder: Path) -> None:
    """How one run's pseudo-labels went: training Dice with its fitted curve, masked shares, and the share that changed.

    Read off the values `dice_K`, `curve_K_a` to `_c` (in steps from `second_phase` on), `fired_K`, `masked_K` (K a class)
    and `changed` of its log. The curve is the last that was fitted: of a class that fired, the one that made it fire.
    """
    lines = pd.DataFrame(log)
    classes = sorted({int(found[1]) for column in lines if (found := re.fullmatch(r"(?:dice|masked)_(\d+)", column))})
    with mpl.rc_context(SETTINGS):
        figure = Figure((10, 2.8), layout="constrained")
        dice, masked, changed = figure.subplots(1, 3)
        for k in classes:
            colour = COLOURS[k % len(COLOURS)]
            _line(dice, lines, f"dice_{k}", label=f"class {k}", color=colour)
            _line(masked, lines, f"masked_{k}", label=f"class {k}", color=colour)
            if f"curve_{k}_a" in lines:
                last = lines[lines[f"curve_{k}_a"].notna()].iloc[-1]
                x = np.linspace(1, last.step + 1 - lines.second_phase.max(), 200)
                a, b, c = (last[f"curve_{k}_{parameter}"] for parameter in "abc")
                dice.plot(lines.second_phase.max() + x, a * (1 - np.exp(-(x**b) / c)), "--", color=colour, linewidth=1)
            for step in lines.step[lines.get(f"fired_{k}", lines.step * np.nan).notna()]:
                dice.axvline(step + 1, color=colour, linestyle=":", label=f"class {k} fired")
        _line(changed, lines, "changed", color=COLOURS[0])
        for panel, title in (
            (dice, "training Dice, dashed: fitted"),
            (masked, "masked share"),
            (changed, "changed since last pass"),
        ):
            panel.set_title(title, fontsize=9)
            panel.set_xlabel("step")
            panel.spines[["top", "right"]].set_visible(False)
            if panel.get_legend_handles_labels()[0]:
                panel.legend(frameon=False, fontsize=8)
        figure.suptitle(_plain(name), fontsize=8)
        _save(figure, folder, "pseudo_labels")


def _line(panel: Any, lines: pd.DataFrame, column: str, **how: Any) -> None:
    if column in lines:
        own = lines[lines[column].notna()]
        panel.plot(own.step + 1, own[column], linewidth=1.2, **how)


def _plain(text: str) -> str:
    """A name that is no formula."""
    return text.replace("$", r"\$")


def _save(figure: Figure, folder: Path, name: str) -> None:
    for kind, stamp in KINDS.items():
        figure.savefig(folder / f"{name}.{kind}", dpi=150, metadata=stamp)
