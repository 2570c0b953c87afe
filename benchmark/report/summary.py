"""Summaries of cases: means in the protocol's order, intervals, comparisons with a reference, ranks, and the leak delta.

Order of means: regions of a scan, scans of a patient, then patients and seeds. `patients` has it for all metrics;
`supervision.by_patient`, `figures.cases` and, without a report, `stored.mean_dice` follow it. Distances are those on the
whole stack where these are defined, else those per slice.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from benchmark import InputError
from benchmark.plan.plugins import BASE, PRIOR, SUPERVISED
from benchmark.report import statistics
from benchmark.report.runs import Rows
from benchmark.score.evaluate import SLICE_METRICS
from benchmark.score.metrics import BUILT_IN, Facts
from benchmark.store import RULES

MEAN = "mean"  # the name of the mean over all regions
COUNTS = ("missed", "ghosts", "absent")
HEADLINE = ("dice", "hd95_max", "nsd")
OWN_CASES = ("hd95_found",)  # of each row over cases of its own, so that rows can't be compared

Cell = tuple[str, str, str]  # column, region, metric
Values = dict[str, np.ndarray]  # row -> (seeds, patients)


@dataclass(frozen=True)
class Summary:
    """All data of the tables."""

    cells: pd.DataFrame  # per column, method, region and metric: mean, interval, spread over seeds, place, counts
    tests: pd.DataFrame  # per column, metric and method: difference to the reference, p, effect sizes, wins
    ranks: pd.DataFrame  # per method, over the informative columns
    agreement: pd.DataFrame  # per pair of columns of a data set: how well they agree on the order of methods
    columns: pd.DataFrame  # per column: informative, detectable difference, reference
    leaks: pd.DataFrame  # per column and method: scores with other rules of selection
    metrics: Mapping[str, Facts] = field(default_factory=lambda: BUILT_IN)  # those that cells have


def summarise(read: Rows, reference: str = "", metrics: Iterable[str] = HEADLINE) -> Summary:
    """Summarise the cases of one track, with tests in these metrics. Raises InputError if `reference` has no run."""
    if reference and reference not in set(read.runs.row):
        raise InputError(f"no run is of the reference {reference!r}; there are {', '.join(dict.fromkeys(read.runs.row))}")
    states, values = _states(read.runs), arrays(read.cases, read.metrics)
    comparing = _Comparison(states, values, reference, read)
    columns = comparing.columns()
    return Summary(
        _cells(read, states, values, comparing),
        comparing.tests([metric for metric, facts in read.metrics.items() if metric in metrics and facts.better]),
        comparing.ranks(list(columns.column[columns.informative != "no"])),
        comparing.agreement({column: about["dataset"] for column, about in read.about.items()}),
        columns,
        _leaks(read),
        read.metrics,
    )


def patients(cases: pd.DataFrame, metrics: Iterable[str] = BUILT_IN) -> pd.DataFrame:
    """Values per column, row, region, seed and patient, each metric a column; region `mean` is over a scan's regions."""
    patient, names = ["column", "row", "region", "seed", "patient"], list(metrics)
    known = cases.assign(**_derived_metrics(cases))
    by_scan = known.groupby([*patient, "scan"], observed=True, sort=False)[names].mean().reset_index()
    whole = by_scan.groupby([*(key for key in patient if key != "region"), "scan"], observed=True, sort=False)[names]
    both = pd.concat([whole.mean().reset_index().assign(region=MEAN), by_scan], ignore_index=True)
    return both.groupby(patient, observed=True, sort=False)[names].mean().reset_index()


def arrays(cases: pd.DataFrame, metrics: Iterable[str] = BUILT_IN) -> dict[Cell, Values]:
    """The same as arrays: per column, region and metric the values (seeds, patients) of each row, aligned over rows."""
    found: dict[Cell, Values] = {}
    if cases.empty:
        return found
    names = list(metrics)
    for column, own in patients(cases, names).groupby("column", observed=True, sort=False):
        (rows, row), (seeds, seed), (_, patient) = (_codes(own[key]) for key in ("row", "seed", "patient"))
        for region, part in own.reset_index(drop=True).groupby("region", observed=True, sort=False):
            at = part.index.to_numpy()
            table = np.full((len(names), len(rows), len(seeds), patient.max() + 1), np.nan)
            table[:, row[at], seed[at], patient[at]] = part[names].to_numpy(float).T
            for metric, values in zip(names, table, strict=True):
                found[str(column), str(region), metric] = dict(zip(rows, values, strict=True))
    return found


def _codes(series: pd.Series) -> tuple[list[Any], np.ndarray]:
    codes, uniques = pd.factorize(series, sort=True)
    return list(uniques), codes


def _derived_metrics(cases: pd.DataFrame) -> dict[str, pd.Series]:
    """Surface metrics per slice where there is none on the stack, HD95 of what was found, and false regions.

    A case counts for false regions if the region is absent from the truth: 1 where it was predicted nevertheless.
    """
    found = {name.partition("@")[0]: cases[name.partition("@")[0]].fillna(cases[name]) for name in SLICE_METRICS}
    found["hd95_found"] = found["hd95_max"].where(cases["n_missed"] == 0)
    return found | {"false_regions": cases["n_ghost"].where(cases["n_absent"] == 1).astype(float)}


# ------------------------------------------------------------------------------------------------------------- cells


def _states(runs: pd.DataFrame) -> pd.DataFrame:
    """Per column and row: how many runs are done, planned, failed; `whole` if its mean may be compared."""
    planned = runs[~runs.external].drop_duplicates(["column", "split", "seed"]).groupby("column", observed=True).size()
    grouped = runs.groupby(["column", "row"], observed=True, sort=False)
    states = grouped.agg(
        runs=("state", lambda states: int((states == "done").sum())),
        failed=("state", lambda states: int((states == "failed").sum())),
        stale=("stale", "sum"),
        own_budget=("own_budget", "first"),
        steps=("steps", "first"),
        size=("size", "first"),
        external=("external", "all"),
        role=("role", "max"),  # a run that is missing doesn't say it
    ).reset_index()
    states["planned"] = np.where(states.external, states.runs, states.column.map(planned)).astype(int)
    states["whole"] = (states.failed == 0) & (states.runs > 0) & (states.runs == states.planned)
    return states


def _cells(read: Rows, states: pd.DataFrame, values: Mapping[Cell, Values], comparing: "_Comparison") -> pd.DataFrame:
    """One line per column, row, region and metric; a row with failed runs has no mean."""
    counts, units = _counts(read.cases), _units(read.cases)
    lines = []
    for state in states.to_dict("records"):
        column, row = state["column"], state["row"]
        about = read.about[column]
        of_column = {key: about[key] for key in ("dataset", "annotation", "family")}
        of_column |= {key: about["budget"].get(key) if pd.isna(state[key]) else state[key] for key in ("steps", "size")}
        shown = {key: state[key] for key in ("runs", "planned", "failed", "stale", "own_budget", "external", "role")}
        for region in (MEAN, *about["regions"]):
            for metric, facts in read.metrics.items():
                line = {"column": column, "method": row, "region": region, "metric": metric, **of_column, **shown}
                own = values.get((column, region, metric), {}).get(row)
                if own is not None and not state["failed"]:
                    line["unit"] = unit = units[column, row] if facts.distance else ""
                    if " and " not in unit:  # distances in different units have no mean
                        line |= _cell(own, facts) | counts[column, row, region]
                        line["place"] = comparing.places(column, region, metric).get(row, "")
                lines.append(line)
    return pd.DataFrame(lines).reindex(columns=CELL_COLUMNS)


CELL_COLUMNS = [
    *("column", "dataset", "annotation", "family", "steps", "size", "method", "region", "metric", "unit"),
    *("mean", "median", "low", "high", "sd_seeds", "patients", "seeds", "place", "cases", *COUNTS),
    *("runs", "planned", "failed", "stale", "own_budget", "external", "role"),
]


def _cell(values: np.ndarray, facts: Facts) -> dict[str, object]:
    known = ~np.isnan(values)
    if not known.any():
        return {}
    low, high = np.clip(statistics.interval(values), facts.low, facts.high)
    per_seed = np.nanmean(values[known.any(1)], axis=1)
    per_seed -= per_seed[0]  # only their spread is used: for equal seeds it is 0, without rounding errors
    return {
        "mean": float(np.nanmean(values)),
        "median": float(np.nanmedian(values)),
        "low": low,
        "high": high,
        "sd_seeds": float(per_seed.std(ddof=1)) if len(per_seed) > 1 else np.nan,
        "patients": int(known.any(0).sum()),
        "seeds": len(per_seed),
    }


def difference(first: np.ndarray, second: np.ndarray, facts: Facts) -> statistics.Difference:
    """The first minus the second; its interval is cut off at what a difference in this metric can be."""
    diff = statistics.difference(first, second)
    least, most = facts.low, facts.high
    return replace(diff, low=max(diff.low, least - most), high=min(diff.high, most - least))


def _counts(cases: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, int]]:
    """Count cases, misses, false regions and absent regions by column, row and region."""
    given = ["cases", "n_missed", "n_ghost", "n_absent"]
    counted = cases.assign(cases=1)
    by_region = counted.groupby(["column", "row", "region"], observed=True)[given].sum().reset_index()
    total = counted.groupby(["column", "row"], observed=True)[given].sum().reset_index().assign(region=MEAN)
    return {
        (line["column"], line["row"], line["region"]): {
            name: int(line[key]) for name, key in zip(("cases", *COUNTS), given, strict=True)
        }
        for line in [*by_region.to_dict("records"), *total.to_dict("records")]
    }


def _units(cases: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return the unit of distances by column and row."""
    units = {}
    for key, own in cases.groupby(["column", "row"], observed=True):
        sliced = own["hd95"].isna().all() and own["hd95@slice"].notna().any()
        units[key] = " and ".join(sorted(own.unit.unique())) + (" per slice" if sliced else "")
    return units


# ------------------------------------------------------------------------------------------------------- comparisons


class _Comparison:
    """Comparisons of complete rows; external predictions are compared, but have no place."""

    def __init__(self, states: pd.DataFrame, values: Mapping[Cell, Values], reference: str, read: Rows) -> None:
        self.values, self.wanted, self.metrics, self.roles = values, reference, read.metrics, read.roles
        self.whole = _rows(states[states.whole])
        self.trained = _rows(states[states.whole & ~states.external])
        self.all = list(dict.fromkeys(states.column))

    def cell(self, column: str, region: str, metric: str, rows: Mapping[str, list[str]]) -> Values:
        """Return the values of these rows."""
        values = self.values.get((column, region, metric), {})
        return {row: values[row] for row in rows.get(column, []) if row in values and not np.isnan(values[row]).all()}

    def places(self, column: str, region: str, metric: str) -> dict[str, str]:
        """Return `best` or `tied` for rows with the common budget; nothing where no method beats the location priors."""
        key = column, region, metric
        if key not in self._places:
            placed = self.metrics[metric].better and metric not in OWN_CASES and self.informative(*key) != "no"
            better = self.metrics[metric].better
            self._places[key] = statistics.groups(self.cell(*key, self.trained), better) if placed else {}
        return self._places[key]

    def informative(self, column: str, region: str, metric: str) -> str:
        """Whether any method beats all location priors in a metric: yes, no, or unknown without a prior."""
        cell, better = self.cell(column, region, metric, self.trained), self.metrics[metric].better
        priors = [own for row, own in cell.items() if self.roles.get(row) == PRIOR]
        methods = [own for row, own in cell.items() if self.roles.get(row) != PRIOR]
        beaten = any(all(statistics.difference(better * own, better * prior).low > 0 for prior in priors) for own in methods)
        return "unknown" if not priors else "yes" if beaten else "no"

    @cached_property
    def _places(self) -> dict[Cell, dict[str, str]]:
        return {}

    def reference(self, column: str) -> str:
        """The row that others are compared with in a column; empty if there is none."""
        rows = self.trained.get(column, [])
        return (self.wanted if self.wanted in rows else "") if self.wanted else default_reference(rows, self.roles)

    def tests(self, metrics: Iterable[str]) -> pd.DataFrame:
        """Test every row against the reference of its column; p-values are corrected over rows of a column and metric."""
        lines = [line for column in self.all for metric in metrics for line in self._family(column, metric)]
        return pd.DataFrame(lines).reindex(columns=TEST_COLUMNS)

    def _family(self, column: str, metric: str) -> Iterator[dict[str, object]]:
        cell, reference = self.cell(column, MEAN, metric, self.whole), self.reference(column)
        others = [row for row in cell if row != reference]
        if reference not in cell or not others:
            return
        signed = [statistics.signed_rank(cell[row], cell[reference]) for row in others]
        corrected = statistics.holm([each.p for each in signed], [each.least for each in signed])
        for row, test, p in zip(others, signed, corrected, strict=True):
            diff = difference(cell[row], cell[reference], self.metrics[metric])
            yield {
                "column": column, "metric": metric, "method": row, "reference": reference, "difference": diff.mean,
                "low": diff.low, "high": diff.high, "verdict": verdict(diff, self.metrics[metric].better),
                "p": test.p, "p_holm": p, "least_p": test.least, "median": test.median, "rank_biserial": test.rank_biserial,
                "wins": test.wins, "ties": test.ties, "losses": test.losses, "tests": len(others),
            }  # fmt: skip

    def columns(self) -> pd.DataFrame:
        """Of each column: does any method beat the location priors, in which metrics does none, and what could be found?"""
        lines = []
        for column in self.all:
            cell, reference = self.cell(column, MEAN, "dice", self.trained), self.reference(column)
            others = [own for row, own in cell.items() if row != reference and self.roles.get(row) != PRIOR]
            pairs = [own - cell[reference] for own in others] if reference in cell else []
            lines.append(
                {
                    "column": column,
                    "informative": self.informative(column, MEAN, "dice"),
                    "uninformative": ", ".join(of for of in HEADLINE if self.informative(column, MEAN, of) == "no"),
                    "reference": reference,
                    "detectable": statistics.detectable(pairs),
                    "pairs": len(pairs),
                }
            )
        names = ["column", "informative", "uninformative", "reference", "detectable", "pairs"]
        return pd.DataFrame(lines, columns=names)

    def ranks(self, informative: list[str]) -> pd.DataFrame:
        """How rows that were trained alike stand in Dice over these columns."""
        cells = [self.cell(column, MEAN, "dice", self.trained) for column in informative]
        standings = statistics.standings([cell for cell in cells if len(cell) > 1])
        lines = [{"method": row, **vars(standing)} for row, standing in standings.items()]
        names = ["method", "mean_rank", "cells", "wins", "ties", "losses", "first"]
        return pd.DataFrame(lines, columns=names).sort_values("mean_rank", kind="stable", ignore_index=True)

    def agreement(self, datasets: Mapping[str, str]) -> pd.DataFrame:
        """How alike two columns of a data set order three methods or more that were trained alike; no location priors."""
        cells = {column: self.cell(column, MEAN, "dice", self.trained) for column in self.all}
        lines = []
        for one, other in combinations(self.all, 2):
            both = {row: cells[one][row] for row in cells[one] if row in cells[other] and self.roles.get(row) != PRIOR}
            if datasets[one] == datasets[other] and len(both) > 2:
                lines.append({"column": one, "other": other, **vars(statistics.agreement(both, cells[other]))})
        return pd.DataFrame(lines, columns=["column", "other", "tau", "low", "high", "methods"])


TEST_COLUMNS = [
    *("column", "metric", "method", "reference", "difference", "low", "high", "verdict", "p", "p_holm", "least_p"),
    *("median", "rank_biserial", "wins", "ties", "losses", "tests"),
]


def default_reference(rows: Collection[str], roles: Mapping[str, str]) -> str:
    """The first of these rows that stands for full supervision, else the first base; empty if there is none."""
    return next((row for role in (SUPERVISED, BASE) for row, own in roles.items() if own == role and row in rows), "")


def _rows(states: pd.DataFrame) -> dict[str, list[str]]:
    return {str(column): list(own.row) for column, own in states.groupby("column", observed=True, sort=False)}


def verdict(diff: statistics.Difference, better: int) -> str:
    """Return better, worse or tied, by the interval; other if no direction is better, empty without an interval."""
    if np.isnan(diff.low):
        return ""
    return "tied" if not diff.holds else "better" if better * diff.mean > 0 else "worse" if better else "other"


# --------------------------------------------------------------------------------------------------------- selection


def _leaks(read: Rows) -> pd.DataFrame:
    """Dice of each row with each rule of selection, and the gain of a choice on the test set over the last step."""
    if read.snapshot_cases is None:
        return pd.DataFrame(columns=LEAK_COLUMNS)
    by_rule = {
        rule: arrays(read.snapshot_cases[read.snapshot_cases.selection == rule].drop(columns="selection")) for rule in RULES
    }
    lines = []
    for (column, region, metric), last in by_rule["last"].items():
        if (region, metric) != (MEAN, "dice"):
            continue
        for row, own in last.items():
            line: dict[str, object] = {"column": column, "method": row, "metric": metric}
            chosen = {rule: by_rule[rule][column, region, metric][row] for rule in RULES}
            line |= {rule: float(np.nanmean(values)) for rule, values in chosen.items()}
            for name, rule in (("leak", "test"), ("of_val", "val"), ("of_weakval", "weakval")):
                diff = difference(chosen[rule], own, BUILT_IN[metric])
                line |= {name: diff.mean, f"{name}_low": diff.low, f"{name}_high": diff.high}
            lines.append(line | {"patients": own.shape[1], "seeds": own.shape[0]})
    return pd.DataFrame(lines, columns=LEAK_COLUMNS)


LEAK_COLUMNS = [
    *("column", "method", "metric", *RULES, "leak", "leak_low", "leak_high", "of_val", "of_val_low", "of_val_high"),
    *("of_weakval", "of_weakval_low", "of_weakval_high", "patients", "seeds"),
]
