"""Figure: scores against training time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.plan.plugins import PRIOR
from benchmark.report.figures.style import (
    DARK,
    FigureData,
    FigureSpec,
    described,
    full_line,
    full_named,
    grid,
    headed,
    legend_of,
    logarithmic,
    name_metric,
    with_full,
)

SIZE = np.array([205.0, 150.0])  # pt, about the size of a panel
GAP = np.array([8.5, 7.5])  # pt between the middles of two numbers, or of a number and a point
FIRST = 8.0  # pt from a point to its number
RADII, TURNS = (1, 1.5, 2, 2.5, 3, 4), np.arange(12) * np.pi / 6


def cost(source: FigureData) -> FigureSpec | None:
    """The metric against training time, with the methods that no other beats in both."""
    runs = source.read.runs[(source.read.runs.state == "done") & (source.read.runs.fit_s > 0)]
    runs = runs[runs.role != PRIOR]  # trained in no time, it would stretch both axes and begin each front
    seconds = runs.groupby(["column", "row"], observed=True, as_index=False).agg(seconds=("fit_s", "mean"))
    cells = source.cells.merge(seconds.rename(columns={"row": "method"}), on=["column", "method"])
    cells = cells[cells.groupby("column", observed=True)["column"].transform("size") > 1]
    columns = list(dict.fromkeys(cells.column))
    if not columns:
        return None
    styles = legend_of(source, cells.method)
    numbers = {row: str(number) for number, row in enumerate(styles, 1)}
    figure, panels = grid(len(columns), 2.6)
    for panel, column in zip(panels, columns, strict=True):
        own = cells[cells.column == column]
        logarithmic(panel.xaxis, own.seconds.min(), own.seconds.max())
        _front(panel, own, source.facts.better)
        full_line(source, panel, column, upright=False)
        for line in own.itertuples():
            panel.plot(line.seconds, line.mean, **source.styles[line.method] | {"linestyle": "none"})
        _numbered(panel, own.seconds, own["mean"], [numbers[row] for row in own.method])
        headed(panel, column)
        panel.set_xlabel("training time of a run (s)")
    name_metric(panels, [source.label(cells[cells.column == column]) for column in columns])
    timed = source.shown(cells.column, cells.method)
    caption = f"{described(source)}, against mean training time of a run{_trials(source, columns)}."
    caption += " Grey steps: no other method is both faster and better." if source.facts.better else ""
    caption += " The prior, which trains no network, is left out." if (source.cells.role == PRIOR).any() else ""
    caption += f" {_devices(timed)}"
    legend = {f"{numbers[row]}  {row}": {**how, "linestyle": "none"} for row, how in styles.items()}
    runs = with_full(source, cells)
    named = {**legend, **full_named(source, columns)}
    return FigureSpec("cost", f"{source.label()} against training time", caption, figure, source.origin(runs), named)


def _numbered(panel: Any, x: pd.Series, y: pd.Series, texts: Sequence[str]) -> None:
    """Write a number at each point, at the nearest place around it where it covers no point and no other number."""
    panel.margins(y=0.1)
    low, high = np.log(panel.get_xlim())
    bottom, top = panel.get_ylim()
    points = np.column_stack([(np.log(x) - low) / (high - low), (y - bottom) / (top - bottom)]) * SIZE
    taken = [*points]
    for point, text in zip(points, texts, strict=True):
        around = [point + radius * FIRST * np.array([np.cos(turn), np.sin(turn)]) for radius in RADII for turn in TURNS]
        inside = [at for at in around if (at > 4).all() and (at < SIZE - 4).all()]
        place = max(inside, key=lambda at: min(1.0, *(np.abs((at - other) / GAP).max() for other in taken)))
        taken.append(place)
        line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
        far = np.hypot(*(place - point)) > FIRST + 1
        panel.annotate(
            text, point / SIZE, place - point, "axes fraction", "offset points", ha="center", va="center", fontsize=6.5,
            color=DARK, arrowprops=line if far else None,
        )  # fmt: skip


def _front(panel: Any, own: pd.DataFrame, better: int) -> None:
    """Steps through the methods that are better than all that are as fast; none where nothing is better."""
    if not better:
        return
    ordered = own.assign(worth=better * own["mean"]).sort_values(["seconds", "worth"], ascending=[True, False])
    best = ordered[ordered.worth > ordered.worth.cummax().shift(fill_value=-np.inf)]
    seconds = [*best.seconds, panel.get_xlim()[1]]
    panel.plot(seconds, [*best["mean"], best["mean"].iloc[-1]], drawstyle="steps-post", color="#bbbbbb", linewidth=1.5)


def _devices(timed: pd.DataFrame) -> str:
    """The devices that the times were measured on, and where they can't be compared."""
    by_column = {str(column): sorted(set(own.device.dropna())) for column, own in timed.groupby("column", sort=False)}
    all_of_them = sorted({device for devices in by_column.values() for device in devices})
    mixed = [column for column, devices in by_column.items() if len(devices) > 1]
    text = f"Times on {', '.join(all_of_them)}." if all_of_them else "The runs do not say on what device they were timed."
    where = "in all columns" if len(mixed) == len(by_column) else f"in {', '.join(mixed)}"
    return text + (f" Not comparable, since from different devices, {where}." if mixed else "")


def _trials(source: FigureData, columns: Sequence[str]) -> str:
    tuned = any(source.read.about[column]["budget"].get("tune") for column in columns)
    return " (of all its trials)" if tuned else ""


PLACE = 3
FIGURES = (cost,)
