"""Ablations: rows of one plug-in compared with the row that has its name, and the options in which they differ."""

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import product
from typing import Any

import pandas as pd

from benchmark.report import statistics
from benchmark.report.runs import Rows
from benchmark.report.summary import HEADLINE, MEAN, Comparison, Summary, per_seed

NOTES = [
    "The row with the name of the method is the base. Changed: the options that differ from it, its value in parentheses.",
    f"Difference: row minus base, paired by patient and seed. Its {statistics.LEVEL:.0%} interval holds for all pairs of a "
    "column at once, and decides as in the table of tests. In parentheses: the difference of each seed.",
    "P(better): the share of pairs of patient and seed in which the row is better.",
    "There is no difference where runs of either failed or are missing.",
]
COLUMNS = [  # and those of cells
    *("plugin", "changed", "difference", "difference_low", "difference_high", "difference_seeds", "superiority", "verdict"),
]


def ablations(read: Rows, summary: Summary, metrics: Collection[str] = HEADLINE) -> pd.DataFrame:
    """Select the cells of rows that vary a plug-in, with COLUMNS: means over regions of metrics that can be better or worse.

    A plug-in is varied in a column that has several rows of it, one with its own name; that comes first.
    """
    shown = [metric for metric, facts in read.metrics.items() if metric in metrics and facts.better]
    cells = summary.cells[(summary.cells.region == MEAN) & summary.cells.metric.isin(shown)]
    whole = cells[(cells.failed == 0) & (cells.runs == cells.planned) & cells["mean"].notna()]
    complete = set(zip(whole.column, whole.metric, whole.method, strict=True))
    lines: list[dict[str, Any]] = []
    for column, plugin, changed in _varied(read.runs):
        of_column = cells[cells.column == column].set_index(["metric", "method"], drop=False)
        for metric, row in product(shown, changed):
            lines.append(of_column.loc[metric, row].to_dict())
            lines[-1] |= {"plugin": plugin, "changed": changed[row], "place": ""}
            if row != plugin and {(column, metric, row), (column, metric, plugin)} <= complete:
                lines[-1] |= _difference(summary.comparing, (column, MEAN, metric), (row, plugin))
    return pd.DataFrame(lines).reindex(columns=[*cells.columns, *COLUMNS])


def _varied(runs: pd.DataFrame) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield column, plug-in, and the changed options of each of its rows; the base first."""
    trained = runs[~runs.external.astype(bool)]
    budget = trained.groupby(["column", "row"], observed=True).own_budget.transform("max")  # one that is missing has none
    trained = trained.assign(own_budget=budget).drop_duplicates(["column", "row"])
    for (column, plugin), own in trained.groupby(["column", "method"], observed=True, sort=False):
        options = {row: json.loads(text) for row, text in zip(own.row, own.options, strict=True)}
        budgets = dict(zip(own.row, own.own_budget, strict=True))
        if len(options) < 2 or plugin not in options:
            continue
        base, changed = options.pop(plugin), {plugin: ""}
        for row, of_row in options.items():
            another = ["another budget"] * (budgets[row] != budgets[plugin])
            changed[row] = ", ".join(_changed(of_row, base) + another) or "nothing"
        yield column, plugin, changed


def _changed(options: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Options that differ, with the base's value in parentheses."""
    names = [name for name in {**base, **options} if options.get(name) != base.get(name)]
    return [f"{name}={shown(options.get(name))} ({shown(base.get(name))})" for name in names]


def shown(value: Any) -> str:
    """Format a value as in a preset; text without quotes, unless it is empty."""
    return value if isinstance(value, str) and value else "none" if value is None else json.dumps(value)


def _difference(comparing: Comparison | None, key: tuple[str, str, str], pair: tuple[str, str]) -> dict[str, object]:
    """Return the difference to the base, its interval and the verdict, those of all pairs of the cell."""
    if comparing is None or not comparing.compares(key[2]):
        return {}
    diff, facts = comparing.pairs(key)[pair], comparing.metrics[key[2]]
    return {
        "difference": diff.mean,
        "difference_low": diff.low,
        "difference_high": diff.high,
        "difference_seeds": per_seed(diff.per_seed, facts, "+"),
        "superiority": diff.better(facts.better),
        "verdict": comparing.worded(key, pair),
    }
