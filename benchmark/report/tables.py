"""Tables as text, from one summary: cells for people to read, as Markdown and LaTeX; the numbers go to CSV next to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.inputs import nearest
from benchmark.report import statistics
from benchmark.report.latex import typeset
from benchmark.report.summary import HEADLINE, MEAN, OVER, Summary, worded
from benchmark.score.metrics import BUILT_IN, Facts

OPEN, ALIKE, DAGGER = "°", "≈", "†"
MARKS = {"open": OPEN, "alike": ALIKE}  # of a place that is not the best

Known = Mapping[str, Facts]  # metrics by name


@dataclass(frozen=True)
class Table:
    """Cells as text, with a title and notes below."""

    name: str  # of its files
    title: str
    cells: pd.DataFrame
    notes: list[str]  # in files of their own
    short: str = ""  # the note that stands below the table


def main_table(
    cells: pd.DataFrame, metrics: Iterable[str] = HEADLINE, region: str = MEAN, known: Known = BUILT_IN
) -> pd.DataFrame:
    """Methods down, data sets and metrics across; of one region, or of their mean.

    HD95 of found follows HD95 (max) in columns where something was missed, and the rate of false regions Dice where a
    region is absent from some scan. Raises ValueError for an unknown metric.
    """
    asked, own = _asked(metrics, known), cells[cells.region == region]
    extra = own.metric.isin([])
    for name, after, count in (("hd95_found", "hd95_max", own.missed), ("false_regions", "dice", own.absent)):
        known_there = own.column[(own.metric == name) & own["mean"].notna()]
        extra |= (
            (own.metric == name) & own.column.isin(own.column[count > 0]) & own.column.isin(known_there) & (after in asked)
        )
    shown = own[own.metric.isin(asked) | extra]
    named = shown.assign(heading=_headings(shown, known), label=_labels(shown))
    texts = {(line.column, line.heading, line.label): cell(line, known) for line in named.itertuples(index=False)}
    series = pd.Series(texts, dtype=object)
    table = series.unstack().T if len(series) else pd.DataFrame()
    order = pd.MultiIndex.from_tuples(dict.fromkeys(key[:2] for key in texts), names=["", ""])
    rows = named.label.drop_duplicates()
    table = table.reindex(index=pd.Index(rows, name="method"), columns=order).fillna("n/a")
    valued = named[named["mean"].notna()]  # no row has a value if the runs were scored before there was the metric
    stored = table.columns.isin([*zip(valued.column, valued.heading, strict=True)])
    return table.mask(table.eq("not defined") & ~stored, "n/a")


def metric_tables(
    cells: pd.DataFrame, metrics: Sequence[str], order: Sequence[str], known: Known = BUILT_IN
) -> dict[str, pd.DataFrame]:
    """The main table in parts by metric, the first of these first, each under its title, rows in this order.

    A title has the unit that all columns share.
    """
    own = cells[cells.region == MEAN]
    whole = main_table(cells, metrics, known=known)
    of = dict(zip(_headings(own, known), own.metric, strict=True))
    places = dict(zip(_labels(own), map(order.index, own.method), strict=True))
    whole = whole.loc[sorted(whole.index, key=places.__getitem__)]
    parts: dict[str, list[tuple[str, str]]] = {}
    for column, heading in whole.columns:
        parts.setdefault(of[heading], []).append((column, heading))
    found = {}
    for metric in sorted(parts, key=lambda each: each != metrics[0]):
        keys = parts[metric]
        headings = {heading for _, heading in keys}
        names = [column if len(headings) == 1 else f"{column}: {heading}" for column, heading in keys]
        title = headings.pop() if len(headings) == 1 else known[metric].title
        found[title] = whole[keys].set_axis(pd.Index(names), axis=1)
    return found


def region_table(
    cells: pd.DataFrame, column: str, metrics: Iterable[str] = HEADLINE, known: Known = BUILT_IN
) -> pd.DataFrame:
    """The regions of one column of the main table."""
    own = cells[(cells.column == column) & (cells.region != MEAN)]
    parts = [main_table(own.assign(column=region), metrics, region, known) for region in dict.fromkeys(own.region)]
    return pd.concat(parts, axis=1)


def test_table(summary: Summary) -> pd.DataFrame:
    """Differences to the reference with simultaneous intervals and verdicts, per seed, and effect sizes."""
    shown, cells, known = summary.tests, summary.cells, summary.metrics
    headings = dict(zip(zip(cells.column, cells.metric, strict=True), _headings(cells, known), strict=True))
    return pd.DataFrame(
        {
            "data": shown.column,
            "metric": [headings[key] for key in zip(shown.column, shown.metric, strict=True)],
            "method": shown.method,
            "difference to": shown.reference,
            "mean": [
                _of_seeds(_number(m, lo, hi, known[of]), seeds)
                for m, lo, hi, of, seeds in zip(
                    shown.difference, shown.low, shown.high, shown.metric, shown.per_seed, strict=True
                )
            ],
            "verdict": [
                worded(outcome, here, over_seeds=over == OVER[True]) or "no verdict"
                for outcome, here, over in zip(shown.verdict, shown.in_these_runs, shown.over, strict=True)
            ],
            "P(better)": [f"{value:.2f}" for value in shown.superiority],
            "p (Holm)": [f"{p:.3g}" if not np.isnan(p) else "no test" for p in shown.p_holm],
            "median": [signed(value, digits(known[of])) for value, of in zip(shown["median"], shown.metric, strict=True)],
            "rank-biserial": [signed(value, 2) for value in shown.rank_biserial],
            "patients higher / equal / lower": [
                f"{w}/{t}/{x}" for w, t, x in zip(shown.wins, shown.ties, shown.losses, strict=True)
            ],
        }
    ).set_index("data")


def rank_table(summary: Summary) -> pd.DataFrame:
    """Mean ranks in Dice and their stability."""
    shown = summary.ranks
    return pd.DataFrame(
        {
            "method": shown.method,
            "mean rank": [f"{value:.2f}" for value in shown.mean_rank],
            "columns": shown.cells,
            **{name: shown[name] for name in ("better", "alike")},
            "not told apart": shown.open,
            "worse": shown.worse,
            "first in resamples": ["n/a" if np.isnan(value) else f"{value:.0%}" for value in shown["first"]],
        }
    ).set_index("method")


def agreement_table(summary: Summary) -> pd.DataFrame:
    """Agreement of two columns of a data set on the order of methods."""
    shown = summary.agreement
    taus = zip(shown.tau, shown.low, shown.high, strict=True)
    return pd.DataFrame(
        {
            "data": shown.column,
            "other data": shown.other,
            "methods": shown.methods,
            "Kendall's tau": [
                "not defined" if pd.isna(tau) else f"{signed(tau, 2)} [{signed(low, 2)}, {signed(high, 2)}]"
                for tau, low, high in taus
            ],
        }
    ).set_index("data")


def leak_table(summary: Summary) -> pd.DataFrame:
    """Dice by rule of selection: the gain of a choice on the test set, and the change with fair rules."""
    shown = summary.leaks

    def gain(name: str) -> list[str]:
        parts = zip(shown[name], shown[f"{name}_low"], shown[f"{name}_high"], strict=True)
        return ["" if pd.isna(mean) else _number(mean, low, high, BUILT_IN["dice"]) for mean, low, high in parts]

    def dice(rule: str) -> list[str]:
        return ["" if pd.isna(value) else f"{value:.3f}" for value in shown[rule]]

    gaps = [
        f"{failed} of {planned} failed" if failed else f" ({runs} of {planned} runs)" * (runs < planned)
        for runs, planned, failed in zip(shown.runs, shown.planned, shown.failed, strict=True)
    ]

    return pd.DataFrame(
        {
            "data": shown.column,
            "method": shown.method,
            "last": [value + gap for value, gap in zip(dice("last"), gaps, strict=True)],
            **{rule: dice(rule) for rule in ("weakval", "val")},
            "test (oracle)": dice("test"),
            "leak delta: test − last": gain("leak"),
            "val − last": gain("of_val"),
            "weakval − last": gain("of_weakval"),
        }
    ).set_index("data")


def _of_seeds(text: str, seeds: str) -> str:
    """Add the values of each seed, if there are several."""
    return f"{text} ({seeds})" if "/" in seeds else text


def ablation_table(frame: pd.DataFrame, known: Known = BUILT_IN) -> pd.DataFrame:
    """What each row of a plug-in changes, its scores, and their values to those of the base."""
    values = zip(
        frame.difference, frame.difference_low, frame.difference_high, frame.metric, frame.difference_seeds, strict=True
    )
    return pd.DataFrame(
        {
            "data": frame.column,
            "metric": _headings(frame, known),
            "method": _labels(frame),
            "changed": frame.changed.replace("", "(base)"),
            "mean": [cell(line, known) for line in frame.itertuples(index=False)],
            "difference": [
                "" if pd.isna(m) else _of_seeds(_number(m, lo, hi, known[of]), seeds) for m, lo, hi, of, seeds in values
            ],
            "P(better)": ["" if pd.isna(value) else f"{value:.2f}" for value in frame.superiority],
            "verdict": frame.verdict.fillna("").mask(frame.verdict.eq(""), "no verdict"),
        }
    ).set_index("data")


def cost_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Costs of each row."""
    seconds = [_seconds(mean, spread) for mean, spread in zip(frame.fit_s, frame.fit_s_sd, strict=True)]
    on_device = {"peak on device (MiB)": [_count(value) for value in frame.device_memory_mib]}
    return pd.DataFrame(
        {
            "data": frame.column,
            "method": [f"{row}{DAGGER}" if own else row for row, own in zip(frame.method, frame.own_budget, strict=True)],
            "runs": frame.runs,
            "beyond one network": frame.extra,
            "parameters (M)": ["unknown" if pd.isna(value) else f"{value / 1e6:.2f}" for value in frame.parameters],
            "training (s)": seconds,
            "prediction (s)": [_seconds(mean) for mean in frame.predict_s],
            "peak memory (MiB)": [_count(value) for value in frame.memory_mib],
            **(on_device if (frame.device_memory_mib > 0).any() else {}),
            "device": frame.device,
            "labelled pixels": [_count(value) for value in frame.labelled_pixels],
            **({"rounds": [_sent(value) for value in frame.rounds]} if "rounds" in frame else {}),
            **({"sent (MiB)": [_sent(value / 2**20) for value in frame.bytes_sent]} if "bytes_sent" in frame else {}),
        }
    ).set_index("data")


def _sent(value: float) -> str:
    """Return a number of rounds or MiB; empty where a method states none."""
    return "" if pd.isna(value) else f"{value:,.4g}"


def published_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Published numbers, each with the number of this suite if there is one."""
    places = [digits(BUILT_IN[metric]) for metric in frame.metric]

    def number(value: float, after: int) -> str:
        return "" if pd.isna(value) else f"{value:.{after}f}"

    printed = zip(frame.published_mean, frame.published_std, places, strict=True)
    measured = zip(frame["mean"], frame.low, frame.high, frame.metric, strict=True)
    return pd.DataFrame(
        {
            "data": frame.column,
            "paper": frame.paper,
            "method": frame.method,
            "region": frame.region,
            "metric": [BUILT_IN[metric].title for metric in frame.metric],
            "published": [number(mean, d) + ("" if pd.isna(std) else f" ± {number(std, d)}") for mean, std, d in printed],
            "here": ["" if pd.isna(m) else _number(m, low, high, BUILT_IN[of], sign="") for m, low, high, of in measured],
            "comparable": [f"{c}: {why}" if why else c for c, why in zip(frame.comparable, frame.why, strict=True)],
        }
    ).set_index("data")


def markdown(table: pd.DataFrame) -> str:
    """The table for a README."""
    flat = table
    if isinstance(table.columns, pd.MultiIndex):
        flat = table.set_axis([f"{column} {metric}" for column, metric in table.columns], axis=1)
    escaped = flat.reset_index().map(_plain).rename(columns=_plain)
    return str(escaped.to_markdown(index=False, disable_numparse=True)) + "\n"


def latex(table: Table) -> str:
    """The table for a paper, with its short note."""
    return typeset(table.cells, table.title, [table.short] if table.short else [])


def cell(line: Any, known: Known = BUILT_IN) -> str:
    """One cell: mean, interval, means of few seeds and counts, or why there is none.

    `**` round the only best, ° where a row is not told apart from the best, ≈ where it is alike.
    """
    mean, low, high, metric, spread = line.mean, line.low, line.high, line.metric, line.sd_seeds
    runs, planned, failed, missed = line.runs, line.planned, line.failed, line.missed
    if failed:
        return f"{failed} of {planned} failed"
    if not runs:
        return "not run"
    if pd.isna(mean):
        return "none" if metric == "hd95_found" else "not defined"
    after, distance = digits(known[metric]), known[metric].distance
    few = line.seeds < statistics.FEW_SEEDS
    text = signed(mean, after, "") + ("" if few or pd.isna(spread) else f" ± {spread:.{after}f}")
    place = line.place
    text = f"**{text}**" if place == "best" else text + MARKS.get(place, "")
    text += "" if pd.isna(low) else f" [{signed(low, after, '')}, {signed(high, after, '')}]"
    counted = metric in ("hd95_found", "false_regions")
    notes = [line.per_seed] if few and line.seeds > 1 and not counted else []
    notes += [f"median {signed(line.median, after, '')}"] if distance else []
    notes += ["over patients"] if not few and line.over == "patients" and not pd.isna(low) else []
    if metric == "hd95_found":
        present = line.cases - line.absent
        notes.append(f"{present - missed:.0f} of {present:.0f}")
    elif metric == "false_regions":
        notes.append(f"{line.ghosts:.0f} of {line.absent:.0f}")
    elif distance and missed:
        notes.append(f"{missed:.0f} missed")
    notes += counts(line)[counted and line.unlearned > 0 :]
    return text + (f" ({', '.join(notes)})" if notes else "")


def counts(line: Any) -> list[str]:
    """What a reader must know of the runs of a cell: how many failed to learn, are missing or stale; and of its patients."""
    unlearned = [f"{line.unlearned} of {line.runs} failed to learn"] if line.unlearned else []
    gaps = [f"{line.runs} of {line.planned} runs"] * (line.runs < line.planned)
    gaps += [f"{line.tested} of {line.testable} patients"] * (line.tested < line.testable)
    return [*unlearned, *gaps, *["stale"] * bool(line.stale)]


def _plain(text: object) -> str:
    """Escape text for a cell of a Markdown table."""
    return " ".join(str(text).split()).replace("<", "&lt;").replace("|", r"\|")


def _asked(metrics: Iterable[str], known: Known) -> list[str]:
    """Return the metrics; raises ValueError for an unknown one."""
    asked = list(metrics)
    if unknown := [metric for metric in asked if metric not in known]:
        raise ValueError(f"no metric {', '.join(unknown)}{nearest(unknown[0], known)}; there are {', '.join(known)}")
    return asked


def _labels(cells: pd.DataFrame) -> list[str]:
    """Of each line the name of its row, with a dagger where the row has another budget in any of these columns."""
    own = set(cells.method[cells.own_budget != ""])
    rows = zip(cells.method, cells.external, strict=True)
    return [row + DAGGER * (row in own) + " (external)" * bool(external) for row, external in rows]


def _headings(shown: pd.DataFrame, known: Known) -> list[str]:
    """Of each line the metric's title, with the unit that its column's distances have, from whichever row has one."""
    distances = shown.metric.isin([metric for metric, facts in known.items() if facts.distance])
    with_unit = shown[distances & shown.unit.notna() & (shown.unit != "")]
    units = {key: ", ".join(sorted(set(own.unit))) for key, own in with_unit.groupby(["column", "metric"], observed=True)}
    return [
        known[metric].heading(units.get((column, metric), ""))
        for column, metric in zip(shown.column, shown.metric, strict=True)
    ]


def digits(facts: Facts) -> int:
    """How many digits a metric has after the point."""
    return 1 if facts.distance else 3


def _number(mean: float, low: float, high: float, facts: Facts, sign: str = "+") -> str:
    after = digits(facts)
    text = signed(mean, after, sign)
    return text if pd.isna(low) else f"{text} [{signed(low, after, sign)}, {signed(high, after, sign)}]"


def signed(value: float, digits: int, sign: str = "+") -> str:
    """Round a number; zero has no minus sign."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def _seconds(mean: float, spread: float = np.nan) -> str:
    if pd.isna(mean):
        return "unknown"
    digits = 0 if mean >= 100 else 1
    return f"{mean:,.{digits}f}" + ("" if pd.isna(spread) else f" ± {spread:,.{digits}f}")


def _count(value: float) -> str:
    return "unknown" if pd.isna(value) else f"{value:,.0f}"
