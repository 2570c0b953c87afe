"""What supervision buys: the closed share of the gap to full masks, hours of annotation, density and noise of marks.

Columns of one *setting* have the same data set, options, splits and common budget; they differ in the annotation.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark import InputError
from benchmark.datasets import annotations
from benchmark.datasets.forms import FORMS
from benchmark.plan import compare
from benchmark.plan.plugins import BASE, SUPERVISED
from benchmark.report import published, statistics
from benchmark.report.runs import Rows
from benchmark.report.summary import MEAN, patients

BASES = (BASE, SUPERVISED)  # roles of methods that do nothing but fit the annotations
GAP_COLUMNS = [
    *("column", "full_column", "method", "base", "full", "share", "low", "high", "gap", "gap_low", "gap_high"),
    *("patients", "seeds", "reason"),
]
HOUR_COLUMNS = ["column", "setting", "annotation", "low", "high", "reason"]
LEVEL_COLUMNS = ["column", "setting", "annotation", "level"]

DERIVED = (
    "hd95",
    "hd95_max",
    "hd95_found",
    "nsd",
    "assd",
    "false_regions",
)  # metrics that summary.patients derives from several columns

Values = dict[str, dict[str, pd.DataFrame]]  # column -> row -> values, seeds down and patients across


def by_patient(cases: pd.DataFrame, metric: str = "dice") -> Values:
    """Of each column and row a frame (seeds, patients) of one metric, mean over a scan's regions and a patient's scans."""
    if cases.empty:
        return {}
    keys = ["column", "row", "seed", "patient"]
    if metric in DERIVED:
        known = patients(cases)
        means = known[known.region == MEAN].set_index(keys)[metric]
    else:  # the same, without means of all other metrics, which take six times as long
        means = cases.groupby([*keys, "scan"], observed=True)[metric].mean().groupby(keys, observed=True).mean()
    found: Values = {}
    for (column, row), own in means.unstack("patient").groupby(["column", "row"], observed=True):
        found.setdefault(str(column), {})[str(row)] = own.droplevel(["column", "row"])
    return found


# --------------------------------------------------------------------------------------------------- the gap to full masks


@dataclass(frozen=True)
class _GapBounds:
    """Both ends of a gap: values (seeds, patients) of the base and of full supervision; or the reason why there is none."""

    base: str = ""
    full: str = ""
    values: tuple[pd.DataFrame, ...] = ()
    reason: str = ""


def gaps(read: Rows, dice: Values | None = None) -> pd.DataFrame:
    """GAP_COLUMNS: the share of the gap in Dice between the best base and full masks that each row of a column closes.

    0 is the best of BASES on the same marks, 1 is the supervised method on dense masks. The base is chosen once; patients
    (from five seeds on, seeds, too) are drawn for all three alike. NaN with the reason where the interval of the
    gap includes 0.
    `dice`: what `by_patient` makes of the cases, if it is at hand.
    """
    matching = full_columns(read)
    if not matching:
        return pd.DataFrame(columns=GAP_COLUMNS)
    values = by_patient(read.cases[read.cases.column.isin([*matching, *matching.values()])]) if dice is None else dice
    rows = _trained(read.runs)
    lines = []
    for column, full in matching.items():
        ends = _ends(read, rows, values, column, full)
        gap = _gap(ends)
        for row, own in rows[column].items():
            line: dict[str, Any] = {"column": column, "full_column": full, "method": row, "reason": own.reason}
            line |= {"base": ends.base, "full": ends.full} | gap
            if not line["reason"]:
                line |= {"reason": ends.reason} if ends.reason else _share(values[column][row], ends.values, gap)
            lines.append(line)
    return pd.DataFrame(lines).reindex(columns=GAP_COLUMNS)


def full_columns(read: Rows) -> dict[str, str]:
    """Of each column of weak marks, the first column of full masks in its setting, where there is one."""
    full: dict[str, str] = {}
    for column, about in read.about.items():
        if about["annotation"] == "full":
            full.setdefault(setting(about), column)
    weakly = {column: setting(about) for column, about in read.about.items() if about["annotation"] not in ("", "full")}
    return {column: full[own] for column, own in weakly.items() if own in full}


@dataclass(frozen=True)
class _Row:
    """A row of this suite in a column: its method's role, and the reason if it has no mean."""

    role: str
    reason: str


def _trained(runs: pd.DataFrame) -> dict[str, dict[str, _Row]]:
    """Return the rows of this suite by column."""
    own = runs[~runs.external.astype(bool)]
    planned = own.drop_duplicates(["column", "split", "seed"]).groupby("column", observed=True).size()
    found: dict[str, dict[str, _Row]] = {}
    for (column, row), part in own.groupby(["column", "row"], observed=True, sort=False):
        done, asked = int((part.state == "done").sum()), int(planned[column])
        reason = "" if done == asked else f"{done} of {asked} runs done"
        found.setdefault(str(column), {})[str(row)] = _Row(str(part.role.max()), reason)
    return found


def _ends(read: Rows, rows: Mapping[str, Mapping[str, _Row]], values: Values, column: str, full: str) -> _GapBounds:
    """The best complete row of BASES in a column, and the supervised one in the column of dense masks."""
    bases = _complete(rows, values, column, BASES)
    tops = _complete(rows, values, full, (SUPERVISED,))
    if not bases:
        return _GapBounds(reason=f"no complete row of {read.named(*BASES)}")
    if not tops:
        return _GapBounds(reason=f"no complete row {read.named(SUPERVISED)} in {full}")
    base = max(bases, key=lambda row: statistics.mean(values[column][row].to_numpy(float)))
    top = next(row for row in read.roles if row in tops)  # a variant only where the method itself is missing
    return _GapBounds(base, top, (values[column][base], values[full][top]))


def _complete(rows: Mapping[str, Mapping[str, _Row]], values: Values, column: str, roles: Sequence[str]) -> list[str]:
    """The rows of a column that have one of these roles, all their runs, and a value."""
    scored = {row for row, own in values.get(column, {}).items() if own.notna().any(axis=None)}
    return [row for row, own in rows[column].items() if own.role in roles and not own.reason and row in scored]


def _gap(ends: _GapBounds) -> dict[str, object]:
    """Return the difference of the two ends."""
    if ends.reason:
        return {}
    base, full = _aligned(*ends.values)
    if not base.size:
        return {"patients": 0, "seeds": 0}
    gap = statistics.difference(full, base)
    return {
        "gap": gap.mean,
        "gap_low": gap.low,
        "gap_high": gap.high,
        "patients": base.shape[1],
        "seeds": base.shape[0],
    }


def _share(own: pd.DataFrame, ends: Sequence[pd.DataFrame], gap: Mapping[str, Any]) -> dict[str, object]:
    """Return the closed share with its interval, or the reason why there is none."""
    if not gap["patients"]:
        return {"reason": "no patient and seed are in both columns"}
    if np.isnan(gap["gap_low"]):
        return {"reason": "the gap has no interval with one patient"}
    if gap["gap_low"] <= 0 <= gap["gap_high"]:
        return {"reason": "the gap's interval includes 0"}
    if gap["gap"] < 0:
        return {"reason": "full masks are worse than the base"}
    method, base, full = _aligned(own, *ends)
    if method.shape[1] < 2:
        return {"reason": "fewer than two patients are in both columns"}
    part, whole = statistics.resampled(method - base), statistics.resampled(full - base)  # the same draws: one shape
    shares = np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole != 0)
    low, high = np.nanquantile(shares, [statistics.ALPHA / 2, 1 - statistics.ALPHA / 2])
    share = statistics.mean(method - base) / statistics.mean(full - base)
    return {"share": share, "low": low, "high": high, "patients": method.shape[1], "seeds": method.shape[0]}


def _aligned(*frames: pd.DataFrame) -> list[np.ndarray]:
    """Arrays (seeds, patients) of what all frames have, by name; NaN in all where one has none."""
    seeds, names = frames[0].index, frames[0].columns
    for frame in frames[1:]:
        seeds, names = seeds.intersection(frame.index), names.intersection(frame.columns)
    arrays = [frame.loc[seeds, names].to_numpy(float) for frame in frames]
    known = ~np.any([np.isnan(each) for each in arrays], axis=0)
    used, shared = known.any(1), known.any(0)
    return [np.where(known, each, np.nan)[used][:, shared] for each in arrays]


# ------------------------------------------------------------------------------------------------------ hours and levels


def hours(read: Rows, costs: Path = published.FOLDER / published.COST) -> pd.DataFrame:
    """HOUR_COLUMNS: the hours that annotating the training scans of one run of a column takes by published seconds.

    Where a form has several published costs, `low` and `high` are the extremes; NaN with the reason where it has none.
    """
    seconds = pd.read_csv(costs)
    lines = []
    for column, about in read.about.items():
        if annotation := _annotation(about):
            line = {"column": column, "setting": setting(about), "annotation": str(annotation)}
            lines.append(line | _hours(annotation, about, seconds))
    frame = pd.DataFrame(lines).reindex(columns=HOUR_COLUMNS)
    again = frame.low.notna() & frame.duplicated(["setting", "annotation"], keep="last")  # as of two simulators
    frame.loc[again, ["low", "high"]] = np.nan
    frame.loc[again, "reason"] = "a later column has the same marks"
    return frame


def _hours(annotation: annotations.Annotation, about: Mapping[str, Any], costs: pd.DataFrame) -> dict[str, object]:
    """Return the range of hours, or the reason why it is unknown."""
    if annotation.density != 1 or annotation.options:
        return {"reason": "no hours are published of marks with a density or with options"}
    form = "full" if annotation.form == "slices" else annotation.form
    known = costs[costs.annotation == form]
    known = known[known.per == "image"] if (known.per == "image").any() else known
    if known.empty:
        return {"reason": f"no hours are published of {form}"}
    per = known.per.iloc[0]
    count = about.get({"image": "labelled_slices", "object": "labelled_objects"}[per])
    if not count:
        return {"reason": f"the runs do not say how many {'slices' if per == 'image' else 'objects'} are labelled"}
    return {"low": known.seconds.min() * count / 3600, "high": known.seconds.max() * count / 3600, "reason": ""}


def levels(read: Rows, what: str) -> pd.DataFrame:
    """LEVEL_COLUMNS: columns that differ in nothing but the `density` or the `noise` of their marks, from two levels on.

    `annotation` is the columns' own without it. Of columns with the same level, as of two simulators, only the last counts.
    """
    lines = []
    for column, about in read.about.items():
        annotation = _annotation(about)
        if annotation is None or not FORMS[annotation.form].marks:
            continue
        plain, level = replace(annotation, density=1.0), annotation.density
        if what == "noise":
            options = tuple(each for each in annotation.options if each[0] != "noise")
            plain, level = replace(annotation, options=options), annotation["noise"]
        lines.append({"column": column, "setting": setting(about), "annotation": str(plain), "level": float(level)})
    series = ["setting", "annotation"]
    frame = pd.DataFrame(lines, columns=LEVEL_COLUMNS).drop_duplicates([*series, "level"], keep="last")
    frame = frame.assign(order=frame.groupby(series, sort=False).ngroup()).sort_values(["order", "level"], ignore_index=True)
    return frame[frame.groupby("order")["level"].transform("size") > 1][LEVEL_COLUMNS].reset_index(drop=True)


def _annotation(about: Mapping[str, Any]) -> annotations.Annotation | None:
    """A column's annotation; None where it is unknown, as of predictions from elsewhere, or no longer written so."""
    try:
        return annotations.parse(about["annotation"])
    except InputError:
        return None


def setting(about: Mapping[str, Any]) -> str:
    """Return, as text, what columns share that differ only in their annotation."""
    budget = compare.budget({"common": about["budget"]})
    return json.dumps([about["dataset"], about["dataset_options"], about["family"], budget], sort_keys=True)
