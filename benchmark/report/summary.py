"""Summaries of cases: means in the protocol's order, intervals, comparisons with a reference, ranks, and the leak delta.

Order of means: regions of a scan, scans of a patient, seeds of a patient, then patients. `patients` has it for all metrics;
`supervision.by_patient`, `figures.cases` and, without a report, `stored.mean_dice` follow it. Distances are those on the
whole stack where these are defined, else those per slice.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd

from benchmark.plan.plugins import BASE, PRIOR, SUPERVISED
from benchmark.report import names, statistics
from benchmark.report.runs import Rows
from benchmark.score.evaluate import SLICE_METRICS
from benchmark.score.metrics import BUILT_IN, Facts
from benchmark.store import RULES

MEAN = "mean"  # the name of the mean over all regions
COUNTS = ("missed", "ghosts", "absent")
HEADLINE = ("dice", "hd95_max", "nsd")
DIAGONAL = "diagonal"  # its column in cases, averaged like a metric
OVER = {False: "patients", True: "patients and seeds"}  # of what an interval covers other ones
THESE = " in these runs"  # of a verdict over patients
TOO_LITTLE = "too little"
PAIR_COLUMNS = ["column", "method", "against", "verdict"]
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
    comparing: "Comparison | None" = None  # for verdicts on other pairs
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PAIR_COLUMNS))  # verdicts behind the ranks
    sites: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["column", "site"]))  # cells of each site

    def titled(self, titles: names.Titles) -> "Summary":
        """The same with the names of figures and LaTeX tables; `comparing` keeps the short ones."""
        frames = {each: names.titled(frame, titles) for each, frame in vars(self).items() if isinstance(frame, pd.DataFrame)}
        return replace(self, **frames)


@dataclass(frozen=True)
class Options:
    """What is stated before rows are compared."""

    reference: str = ""  # row with which others are compared; by default pce_dice, or pce
    margins: tuple[float, float] = (0.02, 2.0)  # differences that don't matter: of a metric's range, and in mm or px

    def margin(self, facts: Facts) -> float:
        """Return the largest difference in a metric that does not matter; 0 where it has no range."""
        share, distance = self.margins
        return distance if facts.distance else share * (facts.high - facts.low) if np.isfinite(facts.high - facts.low) else 0


DEFAULTS = Options()


def summarise(read: Rows, options: Options = DEFAULTS, metrics: Iterable[str] = HEADLINE) -> Summary:
    """Summarise the cases of one track, with tests in these metrics."""
    states, values = _states(read), arrays(read.cases, [*read.metrics, DIAGONAL])
    comparing = Comparison(states, values, read, options)
    columns = comparing.columns()
    ranked = list(columns.column[columns.informative.isin(["yes", "unknown"])])
    return Summary(
        _cells(read, states, values, comparing),
        comparing.tests([metric for metric in read.metrics if metric in metrics and comparing.compares(metric)]),
        comparing.ranks(ranked),
        comparing.agreement({column: about["dataset"] for column, about in read.about.items()}),
        columns,
        _leaks(read, states),
        read.metrics,
        comparing,
        comparing.verdicts(ranked),
        _by_site(read, options),
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
    if DIAGONAL in cases:  # runs scored before 2026-11-28 tell it of missed regions only
        known = cases[DIAGONAL].fillna(found["hd95"].where(cases["n_missed"] == 1))
        found[DIAGONAL] = known.fillna(known.groupby([cases["column"], cases["scan"]], observed=True).transform("max"))
    return found | {"false_regions": cases["n_ghost"].where(cases["n_absent"] == 1).astype(float)}


# ------------------------------------------------------------------------------------------------------------- cells


def _states(read: Rows) -> pd.DataFrame:
    """Per column and row: how many runs are done, planned, failed, unlearned; patients; `whole` if it may be compared."""
    runs = read.runs
    planned = runs[~runs.external].drop_duplicates(["column", "split", "seed"]).groupby("column", observed=True).size()
    grouped = runs.groupby(["column", "row"], observed=True, sort=False)
    states = grouped.agg(
        runs=("state", lambda states: int((states == "done").sum())),
        failed=("state", lambda states: int((states == "failed").sum())),
        stale=("stale", "sum"),
        own_budget=("own_budget", "max"),
        steps=("steps", "first"),
        size=("size", "first"),
        external=("external", "all"),
        role=("role", "max"),  # a run that is missing says neither this nor why it has a budget of its own
    ).reset_index()
    states["planned"] = np.where(states.external, states.runs, states.column.map(planned)).astype(int)
    states["whole"] = (states.failed == 0) & (states.runs > 0) & (states.runs == states.planned)
    cases, keys = read.cases, list(zip(states.column, states.row, strict=True))
    failed, tested = unlearned(read), cases.groupby(["column", "row"], observed=True).patient.nunique()
    testable = cases.groupby("column", observed=True).patient.nunique()
    states["unlearned"] = [int(failed.get(key, 0)) for key in keys]
    states["tested"] = [int(tested.get(key, 0)) for key in keys]
    states["testable"] = [int(testable.get(column, 0)) for column, _ in keys]
    return states


def unlearned(read: Rows) -> pd.Series:
    """Count the runs of each column and row that failed to learn.

    Their Dice is not above that of a location prior with the same split and seed, or they predict a region in no scan
    although scans have it. Location priors learn nothing, and are not counted; one that isn't shown is compared with, too.
    """
    if read.cases.empty:
        return pd.Series(dtype=int)
    cases = pd.concat([read.cases, read.controls])
    run = ["column", "row", "split", "seed"]
    present = cases[cases.n_absent == 0]
    never = present.groupby([*run, "region"], observed=True).n_missed.min().groupby(run, observed=True).max() == 1
    dice = (
        present.groupby([*run, "patient", "scan"], observed=True)
        .dice.mean()
        .groupby([*run, "patient"], observed=True)
        .mean()
    )
    dice = dice.groupby(run, observed=True).mean()
    controls = set(zip(*(cases[cases.role == PRIOR][key] for key in ("column", "row")), strict=True))
    control = pd.Series([key[:2] in controls for key in dice.index], dice.index)
    same = [dice.index.get_level_values(key) for key in ("column", "split", "seed")]
    failed = never | (dice <= dice.where(control).groupby(same, observed=True).transform("max"))
    return failed[~control].groupby(["column", "row"], observed=True).sum()


def _cells(read: Rows, states: pd.DataFrame, values: Mapping[Cell, Values], comparing: "Comparison") -> pd.DataFrame:
    """One line per column, row, region and metric; a row with failed runs has no mean."""
    counts, units = _counts(read.cases), _units(read.cases)
    lines, shared = [], dict[Cell, tuple[statistics.Seeds, dict[str, str]]]()
    for state in states.to_dict("records"):
        column, row = state["column"], state["row"]
        about = read.about[column]
        of_column = {key: about[key] for key in ("dataset", "annotation", "family")}
        for name in ("steps", "size") if not state["external"] else ():
            of_column[name] = about["budget"].get(name) if pd.isna(state[name]) else state[name]
        shown = {key: state[key] for key in STATE_COLUMNS}
        for region in (MEAN, *about["regions"]):
            for metric, facts in read.metrics.items():
                key = column, region, metric
                line = {"column": column, "method": row, "region": region, "metric": metric, **of_column, **shown}
                own = values.get(key, {}).get(row)
                if own is not None and not state["failed"]:
                    line["unit"] = unit = units[column, row] if facts.distance else ""
                    if " and " not in unit:  # distances in different units have no mean
                        if key not in shared:
                            shared[key] = comparing.seeds(key), comparing.places(key)
                        seeds, places = shared[key]
                        low, high = statistics.interval(own, comparing.bounds(key, row), seeds, row)
                        line |= _cell(own, facts) | counts[column, row, region]
                        over = OVER[row in seeds.rows and line["seeds"] >= statistics.FEW_SEEDS]
                        line |= {"low": low, "high": high, "over": over, "place": places.get(row, "")}
                lines.append(line)
    return pd.DataFrame(lines).reindex(columns=CELL_COLUMNS)


def _by_site(read: Rows, options: Options) -> pd.DataFrame:
    """The cells of the patients of each `site` alone, in columns with sites."""
    found, failed = [], unlearned(read)  # of whole runs: on few patients of a site one miss would be enough
    for (column, site), cases in read.cases.groupby(["column", "site"], observed=True):
        runs, about = read.runs[read.runs.column == column], {column: read.about[column]}
        own = replace(read, runs=runs, cases=cases, about=about)
        states, values = _states(own), arrays(cases, [*read.metrics, DIAGONAL])
        states["unlearned"] = [int(failed.get(key, 0)) for key in zip(states.column, states.row, strict=True)]
        found.append(_cells(own, states, values, Comparison(states, values, own, options)).assign(site=site))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["site", *CELL_COLUMNS])


STATE_COLUMNS = ["runs", "planned", "failed", "unlearned", "stale", "own_budget", "external", "role", "tested", "testable"]
CELL_COLUMNS = [
    *("column", "dataset", "annotation", "family", "steps", "size", "method", "region", "metric", "unit"),
    *("mean", "median", "low", "high", "over", "per_seed", "sd_seeds", "patients", "seeds", "place", "cases", *COUNTS),
    *STATE_COLUMNS,
]


def _cell(values: np.ndarray, facts: Facts) -> dict[str, object]:
    known = ~np.isnan(values)
    if not known.any():
        return {}
    means = statistics.seed_means(values)
    means = means[~np.isnan(means)]
    spread = means - means[:1]  # for equal seeds it is 0, without rounding errors
    return {
        "mean": statistics.mean(values),
        "median": float(np.nanmedian(values)),
        "per_seed": per_seed(means, facts),
        "sd_seeds": float(spread.std(ddof=1)) if len(means) > 1 else np.nan,
        "patients": int(known.any(0).sum()),
        "seeds": len(means),
    }


def per_seed(means: Iterable[float], facts: Facts, sign: str = "") -> str:
    """Means of each seed as text; of FEW_SEEDS or more the least, the median and the largest."""
    known = np.asarray([*means])
    shown = known if len(known) < statistics.FEW_SEEDS else np.quantile(known, [0, 0.5, 1])
    digits = 1 if facts.distance else 3
    return "/".join(f"{round(each, digits) + 0.0:{sign}.{digits}f}" for each in shown)


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
    sliced = cases["hd95"].isna() & cases["hd95@slice"].notna()
    unit, units = cases.unit.astype(str) + np.where(sliced, " per slice", ""), {}
    named = cases.assign(unit=unit, there=cases["hd95"].notna() | sliced)
    for key, own in named.groupby(["column", "row"], observed=True):
        units[key] = " and ".join(sorted(own.unit[own.there | ~own.there.any()].unique()))
    return units


# ------------------------------------------------------------------------------------------------------- comparisons


class Comparison:
    """Comparisons of complete rows; external predictions are compared, but have no place."""

    def __init__(self, states: pd.DataFrame, values: Mapping[Cell, Values], read: Rows, options: Options) -> None:
        self.values, self.options, self.metrics, self.roles = values, options, read.metrics, read.roles
        self.whole = _rows(states[states.whole])
        self.trained = _rows(states[states.whole & ~states.external])
        self.learned = _rows(states[states.whole & ~states.external & (states.unlearned == 0)])
        self.all = list(dict.fromkeys(states.column))
        self.mixed = {key for key, unit in _units(read.cases).items() if " and " in unit}  # their distances have no mean
        self._found: dict[Cell, statistics.Pairs] = {}
        self._here: dict[Cell, dict[tuple[str, str], str]] = {}

    def compares(self, metric: str) -> bool:
        """Whether rows are compared by a metric: it has a better direction, and all have the same cases."""
        return bool(self.metrics[metric].better) and metric not in OWN_CASES

    def cell(self, key: Cell, rows: Mapping[str, list[str]]) -> Values:
        """Return the values of these rows in a column, region and metric."""
        values, mixed = self.values.get(key, {}), self.mixed if self.metrics[key[2]].distance else ()
        named = [row for row in rows.get(key[0], []) if (key[0], row) not in mixed]
        return {row: values[row] for row in named if row in values and not np.isnan(values[row]).all()}

    def seeds(self, key: Cell) -> statistics.Seeds:
        """Return the variance between seeds in a cell."""
        cell = self.cell(key, self.learned)
        return statistics.pooled(cell, cell, [row for row in cell if self.roles.get(row) == PRIOR])

    def bounds(self, key: Cell, row: str) -> tuple[float, float]:
        """Return the least and the largest possible mean of a row; of a distance the mean diagonal, if all are known."""
        facts, diagonals = self.metrics[key[2]], self.values.get((*key[:2], DIAGONAL), {})
        if not facts.distance or not diagonals:
            return facts.low, facts.high
        scored = ~np.isnan(self.values[key][row])
        largest = np.where(scored, diagonals[row], np.nan)
        known = scored.any() and not np.isnan(largest[scored]).any()
        return facts.low, statistics.mean(largest) if known else np.inf

    def span(self, key: Cell) -> float:
        """Return the largest possible difference of two complete rows."""
        ends = [self.bounds(key, row) for row in self.cell(key, self.whole)]
        return max((high - low for low, high in ends), default=np.inf)

    def pairs(self, key: Cell) -> statistics.Pairs:
        """Return the differences of all pairs of complete rows, with simultaneous intervals."""
        if key not in self._found:
            self._found[key] = statistics.compare(self.cell(key, self.whole), self.seeds(key), self.span(key))
        return self._found[key]

    def outcomes(self, key: Cell) -> dict[tuple[str, str], str]:
        """Return the verdicts on all pairs; none is told apart or alike where rows and seeds are too few to cover seeds."""
        found = self._verdicts(key, self.pairs(key))
        return {pair: outcome and statistics.OPEN for pair, outcome in found.items()} if self.seeds(key).few else found

    def outcomes_here(self, key: Cell) -> dict[tuple[str, str], str]:
        """Return the verdicts on all pairs in these runs: nothing is said of other seeds."""
        if key not in self._here:
            found = statistics.compare(self.cell(key, self.whole), span=self.span(key))
            given = {pair: diff for pair, diff in self.pairs(key).items() if not diff.over_seeds}  # of these runs already
            self._here[key] = self._verdicts(key, found | given)
        return self._here[key]

    def _verdicts(self, key: Cell, pairs: statistics.Pairs) -> dict[tuple[str, str], str]:
        better, margin = self.metrics[key[2]].better, self.options.margin(self.metrics[key[2]])
        return {pair: statistics.verdict(diff, better, margin) for pair, diff in pairs.items()}

    def worded(self, key: Cell, pair: tuple[str, str]) -> str:
        """Return the verdict on a pair, and of what it is one; empty where there is none."""
        return worded(self.outcomes(key)[pair], self.outcomes_here(key)[pair], over_seeds=self.pairs(key)[pair].over_seeds)

    def places(self, key: Cell) -> dict[str, str]:
        """Return the places of rows that were trained here; nothing where no method beats the location priors."""
        if not self.compares(key[2]) or self.informative(key) == "no":
            return {}
        means = {row: statistics.mean(own) for row, own in self.cell(key, self.trained).items()}
        here = self.outcomes_here(key)
        told = {
            pair: here[pair] + THESE if differ_here(outcome, here[pair]) else outcome
            for pair, outcome in self.outcomes(key).items()
        }
        return statistics.groups(means, told, self.metrics[key[2]].better)

    def informative(self, key: Cell) -> str:
        """Whether any method beats all location priors: yes, no, unknown without a prior, or too little for a verdict."""
        rows, outcomes = list(self.cell(key, self.trained)), self._verdicts(key, self.pairs(key))
        if not any(outcomes.get(pair) for pair in permutations(rows, 2)):
            return TOO_LITTLE
        priors = [row for row in rows if self.roles.get(row) == PRIOR]
        beaten = any(all(outcomes[row, prior] == "better" for prior in priors) for row in rows if row not in priors)
        return "unknown" if not priors else "yes" if beaten else "no"

    def reference(self, column: str) -> str:
        """The row that others are compared with in a column; empty if there is none."""
        rows, wanted = self.trained.get(column, []), self.options.reference
        return (wanted if wanted in rows else "") if wanted else default_reference(rows, self.roles)

    def tests(self, metrics: Iterable[str]) -> pd.DataFrame:
        """Test every row against the reference of its column; p-values are corrected over rows of a column and metric."""
        lines = [line for column in self.all for metric in metrics for line in self._family((column, MEAN, metric))]
        return pd.DataFrame(lines).reindex(columns=TEST_COLUMNS)

    def _family(self, key: Cell) -> Iterator[dict[str, object]]:
        cell, reference, better = self.cell(key, self.whole), self.reference(key[0]), self.metrics[key[2]].better
        others = [row for row in cell if row != reference]
        if reference not in cell or not others:
            return
        signed = [statistics.signed_rank(cell[row], cell[reference]) for row in others]
        corrected = statistics.holm([each.p for each in signed], [each.least for each in signed])
        for row, test, p in zip(others, signed, corrected, strict=True):
            diff, outcome = self.pairs(key)[row, reference], self.outcomes(key)[row, reference]
            if not diff.patients:  # of predictions from elsewhere: no seed in common
                continue
            yield {
                "column": key[0], "metric": key[2], "method": row, "reference": reference, "difference": diff.mean,
                "low": diff.low, "high": diff.high, "verdict": outcome,
                "in_these_runs": self.outcomes_here(key)[row, reference], "over": OVER[diff.over_seeds],
                "per_seed": per_seed(diff.per_seed, self.metrics[key[2]], "+"),
                "superiority": diff.better(better),
                "p": test.p, "p_holm": p, "least_p": test.least, "median": test.median, "rank_biserial": test.rank_biserial,
                "wins": test.wins, "ties": test.ties, "losses": test.losses, "tests": len(others),
            }  # fmt: skip

    def columns(self) -> pd.DataFrame:
        """Of each column: does any method beat the location priors, in which metrics does none, and what could be found?"""
        lines = []
        for column in self.all:
            key, reference = (column, MEAN, "dice"), self.reference(column)
            methods = [row for row in self.cell(key, self.trained) if row != reference and self.roles.get(row) != PRIOR]
            pairs = [self.pairs(key)[row, reference] for row in methods if (row, reference) in self.pairs(key)]
            keys = {metric: (column, MEAN, metric) for metric in HEADLINE}
            lines.append(
                {
                    "column": column,
                    "informative": self.informative(key),
                    "uninformative": ", ".join(of for of, each in keys.items() if self.informative(each) == "no"),
                    "reference": reference,
                    "detectable": statistics.detectable(pairs, self.seeds(key), self.span(key)),
                    "pairs": len(pairs),
                }
            )
        names = ["column", "informative", "uninformative", "reference", "detectable", "pairs"]
        return pd.DataFrame(lines, columns=names)

    def ranks(self, informative: list[str]) -> pd.DataFrame:
        """How rows that were trained here stand in Dice over these columns, also with another budget."""
        keys: list[Cell] = [(column, MEAN, "dice") for column in informative]
        cells = {key: cell for key in keys if len(cell := self.cell(key, self.trained)) > 1}
        standings = statistics.standings([*cells.values()], [self.outcomes(key) for key in cells])
        lines = [{"method": row, **vars(standing)} for row, standing in standings.items()]
        names = ["method", "mean_rank", "cells", "better", "alike", "open", "worse", "first"]
        return pd.DataFrame(lines, columns=names).sort_values("mean_rank", kind="stable", ignore_index=True)

    def verdicts(self, informative: list[str]) -> pd.DataFrame:
        """PAIR_COLUMNS: the verdict on Dice of each pair in these columns, in both directions."""
        keys: list[Cell] = [(column, MEAN, "dice") for column in informative]
        lines = [(key[0], *pair, verdict) for key in keys for pair, verdict in self.outcomes(key).items()]
        return pd.DataFrame(lines, columns=PAIR_COLUMNS)

    def agreement(self, datasets: Mapping[str, str]) -> pd.DataFrame:
        """How alike two columns of a data set order three methods or more that were trained here; no location priors."""
        cells = {column: self.cell((column, MEAN, "dice"), self.trained) for column in self.all}
        lines = []
        for one, other in combinations(self.all, 2):
            both = {row: cells[one][row] for row in cells[one] if row in cells[other] and self.roles.get(row) != PRIOR}
            if datasets[one] == datasets[other] and len(both) > 2:
                lines.append({"column": one, "other": other, **vars(statistics.agreement(both, cells[other]))})
        return pd.DataFrame(lines, columns=["column", "other", "tau", "low", "high", "methods"])


TEST_COLUMNS = [
    *("column", "metric", "method", "reference", "difference", "low", "high", "verdict", "in_these_runs", "over"),
    *("per_seed", "superiority"),
    *("p", "p_holm", "least_p", "median", "rank_biserial", "wins", "ties", "losses", "tests"),
]


def worded(outcome: str, here: str, *, over_seeds: bool) -> str:
    """Return a verdict as text, with what it is about; `here` is that in these runs."""
    if not over_seeds:
        return here and here + THESE
    return f"{outcome}, {here}{THESE}" if differ_here(outcome, here) else outcome


def differ_here(outcome: str, here: str) -> bool:
    """Whether two rows that are not told apart over seeds are told apart in these runs."""
    return outcome == statistics.OPEN and here in ("better", "worse")


def default_reference(rows: Collection[str], roles: Mapping[str, str]) -> str:
    """The first of these rows that stands for full supervision, else the first base; empty if there is none."""
    return next((row for role in (SUPERVISED, BASE) for row, own in roles.items() if own == role and row in rows), "")


def _rows(states: pd.DataFrame) -> dict[str, list[str]]:
    return {str(column): list(own.row) for column, own in states.groupby("column", observed=True, sort=False)}


# --------------------------------------------------------------------------------------------------------- selection


def _leaks(read: Rows, states: pd.DataFrame) -> pd.DataFrame:
    """Dice of each row with each rule of selection, and the gain of a choice on the test set over the last step.

    A row with failed runs has no number; `runs` are those that kept snapshots.
    """
    if read.snapshot_cases is None:
        return pd.DataFrame(columns=LEAK_COLUMNS)
    by_rule = {
        rule: arrays(read.snapshot_cases[read.snapshot_cases.selection == rule].drop(columns="selection")) for rule in RULES
    }
    last_steps = read.snapshot_cases[read.snapshot_cases.selection == "last"]
    runs = last_steps.drop_duplicates(["column", "row", "split", "seed"]).groupby(["column", "row"], observed=True).size()
    known = states.set_index(["column", "row"])
    lines = []
    for (column, region, metric), last in by_rule["last"].items():
        if (region, metric) != (MEAN, "dice"):
            continue
        for row, own in last.items():
            line: dict[str, object] = {"column": column, "method": row, "metric": metric, "runs": int(runs[column, row])}
            line |= {name: int(known.loc[(column, row), name]) for name in ("planned", "failed")}
            if line["failed"]:
                lines.append(line)
                continue
            chosen = {rule: by_rule[rule][column, region, metric][row] for rule in RULES}
            line |= {rule: statistics.mean(values) for rule, values in chosen.items()}
            for name, rule in (("leak", "test"), ("of_val", "val"), ("of_weakval", "weakval")):
                diff = statistics.difference(chosen[rule], own, span=1)
                line |= {name: diff.mean, f"{name}_low": diff.low, f"{name}_high": diff.high}
            scored = ~np.isnan(own)
            lines.append(line | {"patients": int(scored.any(0).sum()), "seeds": int(scored.any(1).sum())})
    return pd.DataFrame(lines, columns=LEAK_COLUMNS)


LEAK_COLUMNS = [
    *("column", "method", "metric", *RULES, "leak", "leak_low", "leak_high", "of_val", "of_val_low", "of_val_high"),
    *("of_weakval", "of_weakval_low", "of_weakval_high", "patients", "seeds"),
    *("runs", "planned", "failed"),
]
