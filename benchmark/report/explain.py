"""How the verdict on two rows comes about, in numbers that a reader can check by hand."""

import math

from benchmark.report import statistics
from benchmark.report.statistics import Difference
from benchmark.report.summary import OVER, OWN_CASES, Comparison, per_seed


def explained(comparing: Comparison, key: tuple[str, str, str], pair: tuple[str, str]) -> str:
    """Return the steps from the values of two rows to their verdict; empty if a row lacks runs in the column."""
    diff = comparing.pairs(key).get(pair)
    if diff is None:
        return ""
    facts = comparing.metrics[key[2]]
    if key[2] in OWN_CASES:
        return f"{key[0]}, {facts.title}: nothing is compared by it, as rows found different cases"
    means = [statistics.mean(comparing.cell(key, comparing.whole)[row]) for row in pair]
    digits = 2 if facts.distance else 4
    lines = [
        f"{key[0]}, {facts.title}: {pair[0]} minus {pair[1]}",
        f"  means           {means[0]:.{digits}f} and {means[1]:.{digits}f}",
        f"  difference      {diff.mean:+.{digits}f}, over {diff.patients} patients that both have",
        f"  per seed        {per_seed(diff.per_seed, facts, '+')}",
        f"  superiority     {pair[0]} is higher in {diff.superiority:.0%} of pairs of patient and seed (ties count half)",
        *_interval(diff, comparing, key, digits),
    ]
    outcome = comparing.worded(key, pair) or f"none: {_reason(diff)}"
    margin = comparing.options.margin(facts)
    return "\n".join([*lines, f"  verdict         {outcome} (margin {margin:g}, over {OVER[diff.over_seeds]})"])


def _interval(diff: Difference, comparing: Comparison, key: tuple[str, str, str], digits: int) -> list[str]:
    """Return the steps from the standard error to the interval."""
    if math.isnan(diff.low) or math.isnan(diff.critical):
        return []
    rows = len(comparing.cell(key, comparing.whole))
    half, ends = diff.critical * diff.error, f"[{diff.low:+.{digits}f}, {diff.high:+.{digits}f}]"
    spread = f"{diff.spread:.{digits + 1}f} / sqrt({diff.patients})"
    part = "" if not diff.over_seeds else f", and the seeds' part {diff.of_seeds**0.5:.{digits + 1}f}"
    return [
        f"  standard error  {diff.error:.{digits + 1}f}: of the patients' differences, averaged over seeds, {spread}{part}",
        f"  critical value  {diff.critical:.2f}, for all {rows * (rows - 1) // 2} pairs of {rows} rows at once",
        f"  interval        {diff.mean:+.{digits}f} ± {diff.critical:.2f} x error = ± {half:.{digits}f}, so {ends}",
    ]


def _reason(diff: Difference) -> str:
    """Say why there is no verdict."""
    if diff.patients < statistics.FEW_PATIENTS:
        return f"fewer than {statistics.FEW_PATIENTS} patients"
    return "fewer than two seeds with all patients" if len(diff.per_seed) < 2 else "the differences do not vary"
