"""Figure: scores against training time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.plan.plugins import PRIOR
from benchmark.report.figures.style import (
    FigureData,
    FigureSpec,
    described,
    grid,
    headed,
    legend_of,
    logarithmic,
    name_metric,
)


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
    figure, panels = grid(len(columns), 2.0)
    for panel, column in zip(panels, columns, strict=True):
        own = cells[cells.column == column]
        logarithmic(panel.xaxis, own.seconds.min(), own.seconds.max())
        _front(panel, own, source.facts.better)
        for line in own.itertuples():
            panel.plot(line.seconds, line.mean, **source.styles[line.method] | {"linestyle": "none"})
        headed(panel, column)
        panel.set_xlabel("training time of a run (s)")
    name_metric(panels, [source.label(cells[cells.column == column]) for column in columns])
    timed = source.shown(cells.column, cells.method)
    caption = f"{described(source)}, against mean training time of a run{_trials(source, columns)}."
    caption += " Grey steps: no other method is both faster and better." if source.facts.better else ""
    caption += " The prior, which trains no network, is left out." if (source.cells.role == PRIOR).any() else ""
    caption += f" {_devices(timed)}"
    legend = {method: {**how, "linestyle": "none"} for method, how in legend_of(source, cells.method).items()}
    return FigureSpec("cost", f"{source.label()} against training time", caption, figure, source.origin(timed), legend)


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
