"""Figures of training logs: losses, the test Dice of snapshots, and pseudo-labels."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark import InputError
from benchmark.report import runs as stored_runs
from benchmark.report.figures.style import (
    ACROSS,
    COLOURS,
    GREY,
    ROOM,
    FigureData,
    FigureSpec,
    Provenance,
    grid,
    headed,
    logarithmic,
    plain,
    wrapped,
)
from benchmark.store import AGAIN, ResultsFolder

COLUMNS = 6  # that are shown
LINES = 60  # of a run's log that are read
SMOOTH = 3  # of so many places of the curve, a moving mean

Curve = tuple[np.ndarray, np.ndarray]  # steps and values
Key = tuple[str, str]  # column and row


def learning_curves(source: FigureData) -> FigureSpec | None:
    """The training loss of each method over steps, a panel per column, and below it the test Dice of snapshots."""
    runs = source.read.runs[source.read.runs.state == "done"].drop_duplicates(["column", "row", "seed"])
    every = list(dict.fromkeys(runs.column))
    runs = runs[runs.column.isin(every[:COLUMNS])]
    losses = losses_of(runs, source.results)
    dice = snapshots_of(runs[runs.folder.isin(_snapshot_cases(source))], source.results)
    above, below = (list(dict.fromkeys(column for column, _ in curves)) for curves in (losses, dice))
    if not above and not below:
        return None
    across = min(ACROSS, max(len(above), len(below)))
    first = -(-len(above) // across) * across  # the panel of snapshots, which begin a row
    figure, panels = grid(first + len(below), 1.9, across=across)
    for unused in panels[len(above) : first]:
        unused.remove()
    for number, (panel, column) in enumerate(zip(panels, above, strict=False)):
        _drawn(panel, {row: curve for (where, row), curve in losses.items() if where == column}, source, (3, 12))
        _scaled(panel, [values for (where, _), (_, values) in losses.items() if where == column])
        headed(panel, column)
        panel.set_ylabel("" if number % across else "training loss")
    for number, (panel, column) in enumerate(zip(panels[first:], below, strict=True)):
        _drawn(panel, {row: curve for (where, row), curve in dice.items() if where == column}, source, 1)
        headed(panel, column)
        panel.set_ylabel("" if number % across else "test Dice of snapshots")
    shown = {*losses, *dice}
    caption = _caption(every, snapshots=bool(below))
    legend = {row: how for row, how in source.styles.items() if row in {row for _, row in shown}}
    return FigureSpec(
        "learning_curves", "Learning curves", caption, figure, source.origin(runs[_pairs(runs, shown)]), legend
    )


def _caption(columns: Sequence[str], *, snapshots: bool) -> str:
    """Return the notes below the curves."""
    text = (
        "Training loss, mean over the runs of a method (of each seed the first), a moving mean over "
        f"{SMOOTH} of {LINES} places. Losses of different methods are sums of different terms: compare their course only."
    )
    text += " Test Dice of snapshots: what nobody may select by." if snapshots else ""
    return text + (f" Not shown: {', '.join(columns[COLUMNS:])}." if len(columns) > COLUMNS else "")


def _drawn(panel: Any, curves: Mapping[str, Curve], source: FigureData, markers: Any) -> None:
    for row, (steps, values) in curves.items():
        panel.plot(steps, values, markevery=markers, **source.styles[row] | {"markersize": 3.5})
    panel.set_xlabel("step")


def _scaled(panel: Any, curves: Sequence[np.ndarray]) -> None:
    """A log axis where no loss is negative."""
    low, high = min(values.min() for values in curves), max(values.max() for values in curves)
    if low > 0:
        logarithmic(panel.yaxis, low * ROOM / 1.1, high / ROOM * 1.1)


def _pairs(runs: pd.DataFrame, keys: Iterable[Key]) -> np.ndarray:
    return np.asarray(pd.MultiIndex.from_frame(runs[["column", "row"]]).isin(list(keys)))


def losses_of(runs: pd.DataFrame, results: ResultsFolder) -> dict[Key, Curve]:
    """Of each column and row the mean loss over its runs, on a grid of steps, smoothed; none where none was stored."""
    logged: dict[Key, list[Curve]] = {}
    for column, row, folder in zip(runs.column, runs.row, runs.folder, strict=True):
        if curve := _loss(folder, results.log(folder)):
            logged.setdefault((column, row), []).append(curve)
    return {key: _mean(curves) for key, curves in logged.items()}


def snapshots_of(runs: pd.DataFrame, results: ResultsFolder) -> dict[Key, Curve]:
    """Of each column and row the mean test Dice over its runs, by step."""
    snapshots: dict[Key, list[dict[str, Any]]] = {}
    recorded = {record["folder"]: record.get("snapshots", []) for record in results.records()} if len(runs) else {}
    for column, row, folder in zip(runs.column, runs.row, runs.folder, strict=True):
        lines = recorded.get(folder, [])  # none of stored runs that others are compared with
        snapshots.setdefault((column, row), []).extend(line for line in lines if line["test_dice"] is not None)
    means = {key: pd.DataFrame(lines).groupby("step").test_dice.mean() for key, lines in snapshots.items() if lines}
    return {key: (mean.index.to_numpy(), mean.to_numpy()) for key, mean in means.items()}


def _snapshot_cases(source: FigureData) -> Iterable[str]:
    """The folders of runs that stored snapshots."""
    return [] if source.read.snapshot_cases is None else source.read.snapshot_cases.folder.unique()


def _loss(run: str, log: Iterable[str]) -> Curve | None:
    """Steps and losses of at most LINES lines of a log, evenly spaced; None where it has none."""
    lines = [line for line in log if '"loss"' in line]
    if not lines:
        return None
    try:
        places = np.unique(np.linspace(0, len(lines) - 1, LINES).round().astype(int))
        read: list[Mapping[str, float]] = [json.loads(lines[place]) for place in places]
        return np.array([line["step"] + 1 for line in read], float), np.array([line["loss"] for line in read], float)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{run}/train.jsonl is damaged ({error}); {AGAIN}") from error


def _mean(curves: Iterable[Curve]) -> Curve:
    """The mean of curves at LINES steps from their first to their last, smoothed; at an end over what is there."""
    own = list(curves)
    steps = np.linspace(min(steps[0] for steps, _ in own), max(steps[-1] for steps, _ in own), LINES)
    mean = np.mean([np.interp(steps, *curve) for curve in own], axis=0)
    window = np.ones(SMOOTH)
    return steps, np.convolve(mean, window, "same") / np.convolve(np.ones(LINES), window, "same")


# ----------------------------------------------------------------------------------------------------- pseudo-labels


def pseudo_labels(source: FigureData) -> FigureSpec | None:
    """Draw the pseudo-labels of the first run that logged them."""
    logged = stored_runs.pseudo_label_run(source.read, source.results)
    if logged is None:
        return None
    folder, log = logged
    own = source.read.runs[source.read.runs.folder == folder].head(1)
    run = own.iloc[0]
    classes = [*source.read.about[run.column]["labelled_share"]]
    return _passes(log, f"{run.row} on {run.column}, {run.split}, seed {run.seed}", classes, source.origin(own))


def _passes(log: Sequence[Mapping[str, float]], name: str, names: Sequence[str], origin: Provenance) -> FigureSpec | None:
    """Draw the pseudo-labels of one run: training Dice with its fitted curve, masked shares, and the share that changed.

    Read off the values `dice_K`, `curve_K_a` to `_c` (in steps from `second_phase` on), `fired_K`, `masked_K` (K a class)
    and `changed` of its log. The curve is the last that was fitted: of a class that fired, the one that made it fire.
    """
    lines = pd.DataFrame(log)
    classes = sorted({int(found[1]) for column in lines if (found := re.fullmatch(r"(?:dice|masked)_(\d+)", column))})
    values = {
        "training Dice, dashed: fitted": {f"dice_{k}": k for k in classes},
        "masked share": {f"masked_{k}": k for k in classes},
        "changed since last pass": {"changed": 0},
    }
    shown = {title: {column: k for column, k in own.items() if column in lines} for title, own in values.items()}
    shown = {title: own for title, own in shown.items() if (lines[[*own]].nunique() > 1).any()}  # else flat lines
    if not shown:
        return None
    figure, panels = grid(len(shown), 2.0)
    for panel, (title, own) in zip(panels, shown.items(), strict=True):
        for column, k in own.items():
            known = lines[lines[column].notna()]
            panel.plot(known.step + 1, known[column], color=_colour(k))
            if column.startswith("dice"):
                _fitted(panel, lines, k)
        panel.set(title=title, xlabel="step")
    figure.suptitle(plain(wrapped(name, 100)), fontsize=8)
    caption = f"Pseudo-labels of one run, {name}: {'; '.join(shown)}."
    legend: dict[str, Mapping[str, Any]] = {
        names[k] if k < len(names) else f"class {k}": {"color": _colour(k)} for k in classes
    }
    if any(column.startswith("fired") for column in lines):
        legend["a class fires"] = {"color": GREY, "linestyle": ":"}
    return FigureSpec("pseudo_labels", "Pseudo-labels of one run", caption, figure, origin, legend)


def _fitted(panel: Any, lines: pd.DataFrame, k: int) -> None:
    """The curve that was fitted to the Dice of a class, and when the class fired."""
    if f"curve_{k}_a" in lines and "second_phase" in lines:  # a shortened log may lack the start of the phase
        last = lines[lines[f"curve_{k}_a"].notna()].iloc[-1]
        x = np.linspace(1, last.step + 1 - lines.second_phase.max(), 200)
        a, b, c = (last[f"curve_{k}_{parameter}"] for parameter in "abc")
        panel.plot(lines.second_phase.max() + x, a * (1 - np.exp(-(x**b) / c)), "--", color=_colour(k), linewidth=1)
    for step in lines.step[lines.get(f"fired_{k}", lines.step * np.nan).notna()]:
        panel.axvline(step + 1, color=_colour(k), linestyle=":")


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


PLACE = 4
FIGURES = (learning_curves, pseudo_labels)
