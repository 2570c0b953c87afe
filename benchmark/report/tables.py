"""Tables as text, from one summary: cells for people to read, as Markdown and LaTeX; the numbers go to CSV beside them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.report.summary import BETTER, DISTANCES, MEAN, Summary

NAMES = {"dice": "Dice", "hd95": "HD95", "hd95_found": "HD95 of found", "hd95_max": "HD95 (max)", "hd": "HD", "assd": "ASSD",
         "nsd": "NSD", "iou": "IoU", "precision": "precision", "recall": "recall", "rve": "volume error"}  # fmt: skip
HEADLINE = ("dice", "hd95")
TIED, DAGGER = "°", "†"


@dataclass(frozen=True)
class Table:
    """Cells as text under a title, and what is said below it."""

    name: str  # of its files
    title: str
    cells: pd.DataFrame
    notes: list[str]


def main_table(cells: pd.DataFrame, metrics: Iterable[str] = HEADLINE, region: str = MEAN) -> pd.DataFrame:
    """Methods down, data sets and metrics across; of one region, or of their mean."""
    shown = cells[cells.metric.isin(_wanted(cells, metrics)) & (cells.region == region)]
    named = shown.assign(heading=[NAMES[of] + unit for of, unit in zip(shown.metric, _units(shown), strict=True)])
    texts = {(line.column, line.heading, _label(line)): cell(line) for line in named.itertuples(index=False)}
    series = pd.Series(texts, dtype=object)
    table = series.unstack().T if len(series) else pd.DataFrame()
    order = pd.MultiIndex.from_tuples(dict.fromkeys(key[:2] for key in texts), names=["", ""])
    rows = dict.fromkeys(_label(line) for line in named.itertuples(index=False))
    return table.reindex(index=pd.Index(rows, name="method"), columns=order).fillna("n/a")


def region_table(cells: pd.DataFrame, column: str, metrics: Iterable[str] = HEADLINE) -> pd.DataFrame:
    """The regions of one column of the main table."""
    own = cells[(cells.column == column) & (cells.region != MEAN)]
    parts = [main_table(own.assign(column=region), metrics, region) for region in dict.fromkeys(own.region)]
    return pd.concat(parts, axis=1)


def test_table(summary: Summary) -> pd.DataFrame:
    """Differences to the reference with intervals, corrected p-values and effect sizes."""
    shown = summary.tests
    return pd.DataFrame(
        {
            "data": shown.column,
            "metric": shown.metric.map(NAMES),
            "method": shown.method,
            "difference to": shown.reference,
            "mean": [
                _number(m, lo, hi, of)
                for m, lo, hi, of in zip(shown.difference, shown.low, shown.high, shown.metric, strict=True)
            ],
            "by interval": shown.verdict,
            "p (Holm)": [f"{p:.3g}" if not np.isnan(p) else "no test" for p in shown.p_holm],
            "median": [f"{value:+.{_digits(of)}f}" for value, of in zip(shown["median"], shown.metric, strict=True)],
            "rank-biserial": [f"{value:+.2f}" for value in shown.rank_biserial],
            "patients higher/equal/lower": [
                f"{w}/{t}/{x}" for w, t, x in zip(shown.wins, shown.ties, shown.losses, strict=True)
            ],
        }
    ).set_index("data")


def rank_table(summary: Summary) -> pd.DataFrame:
    """Mean ranks in Dice and how firm they are."""
    shown = summary.ranks
    return pd.DataFrame(
        {
            "method": shown.method,
            "mean rank": [f"{value:.2f}" for value in shown.mean_rank],
            "columns": shown.cells,
            "wins/ties/losses": [f"{w}/{t}/{x}" for w, t, x in zip(shown.wins, shown.ties, shown.losses, strict=True)],
            "first in resamples": ["n/a" if np.isnan(value) else f"{value:.0%}" for value in shown["first"]],
        }
    ).set_index("method")


def leak_table(summary: Summary) -> pd.DataFrame:
    """Dice by rule of selection; what choosing on the test set gains, and what choosing honestly changes."""
    shown = summary.leaks

    def gain(name: str) -> list[str]:
        parts = zip(shown[name], shown[f"{name}_low"], shown[f"{name}_high"], strict=True)
        return [_number(mean, low, high, "dice") for mean, low, high in parts]

    return pd.DataFrame(
        {
            "data": shown.column,
            "method": shown.method,
            **{rule: [f"{value:.3f}" for value in shown[rule]] for rule in ("last", "weakval", "val")},
            "test (oracle)": [f"{value:.3f}" for value in shown["test"]],
            "leak delta: test − last": gain("leak"),
            "val − last": gain("of_val"),
            "weakval − last": gain("of_weakval"),
        }
    ).set_index("data")


def published_table(beside: pd.DataFrame) -> pd.DataFrame:
    """Numbers from papers, and ours where there is one."""
    digits = [_digits(metric) for metric in beside.metric]

    def number(value: float, places: int) -> str:
        return "" if pd.isna(value) else f"{value:.{places}f}"

    theirs = zip(beside.published_mean, beside.published_std, digits, strict=True)
    ours = zip(beside["mean"], beside.low, beside.high, beside.metric, strict=True)
    return pd.DataFrame(
        {
            "data": beside.column,
            "paper": beside.paper,
            "method": beside.method,
            "region": beside.region,
            "metric": beside.metric.map(NAMES),
            "published": [number(mean, d) + ("" if pd.isna(std) else f" ± {number(std, d)}") for mean, std, d in theirs],
            "ours": ["" if pd.isna(mean) else _number(mean, low, high, of, sign="") for mean, low, high, of in ours],
            "comparable": [f"{c}: {why}" if why else c for c, why in zip(beside.comparable, beside.why, strict=True)],
        }
    ).set_index("data")


def markdown(table: pd.DataFrame) -> str:
    """The table for a README."""
    flat = table
    if isinstance(table.columns, pd.MultiIndex):
        flat = table.set_axis([f"{column} {metric}" for column, metric in table.columns], axis=1)
    return str(flat.to_markdown(disable_numparse=True)).replace("<", "&lt;") + "\n"


def latex(table: Table) -> str:
    """The table for a paper: booktabs, and its notes below; what is special to LaTeX is escaped, the best is bold."""
    two_headed = isinstance(table.cells.columns, pd.MultiIndex)
    cells = table.cells if two_headed else table.cells.reset_index()
    styled = cells.style.format(lambda text: _tex(str(text))).format_index(lambda name: _tex(str(name)), axis=1)
    styled = styled.format_index(lambda name: _tex(str(name)), axis=0) if two_headed else styled.hide(axis=0)
    body = styled.to_latex(hrules=True, multicol_align="c", column_format="l" * (len(cells.columns) + two_headed))
    below = "".join(f"\\par {_tex(note)}\n" for note in table.notes)
    return f"% {_tex(table.title)}; needs \\usepackage{{booktabs}}\n{body}{{\\footnotesize\n{below}}}\n"


def cell(line: object) -> str:
    """One cell: mean, spread over seeds and interval, or why there is none; `**` round the only best, ° for tied ones."""
    mean, low, high, metric, spread = line.mean, line.low, line.high, line.metric, line.sd_seeds  # type: ignore[attr-defined]
    runs, planned, failed, missed = line.runs, line.planned, line.failed, line.missed  # type: ignore[attr-defined]
    if failed:
        return f"{failed} of {planned} failed"
    if not runs:
        return "not run"
    if pd.isna(mean):
        return "none" if metric == "hd95_found" else "not defined"
    digits = _digits(metric)
    text = f"{mean:.{digits}f}" + ("" if pd.isna(spread) else f" ± {spread:.{digits}f}")
    place = line.place  # type: ignore[attr-defined]
    text = f"**{text}**" if place == "best" else f"{text}{TIED}" if place == "tied" else text
    text += "" if pd.isna(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    notes = [f"{missed:.0f} missed"] if metric in ("hd95", "hd95_max", "hd", "assd") and missed else []
    notes += [f"{runs} of {planned} runs"] if runs < planned else []
    notes += ["stale"] if line.stale else []  # type: ignore[attr-defined]
    return text + (f" ({', '.join(notes)})" if notes else "")


def _wanted(cells: pd.DataFrame, metrics: Iterable[str]) -> list[str]:
    """The metrics, and HD95 of what all found wherever something was missed."""
    wanted = list(metrics)
    if "hd95" in wanted and cells.missed.fillna(0).any():
        wanted.insert(wanted.index("hd95") + 1, "hd95_found")
    return [metric for metric in BETTER if metric in wanted]


def _label(line: object) -> str:
    marks = DAGGER if line.own_budget else ""  # type: ignore[attr-defined]
    return f"{line.method}{marks}" + (" (external)" if line.external else "")  # type: ignore[attr-defined]


def _units(shown: pd.DataFrame) -> list[str]:
    """Of each line the unit that its column's distances have, from whichever row has one."""
    known = shown[shown.metric.isin(DISTANCES) & shown.unit.notna() & (shown.unit != "")]
    units = {key: ", ".join(sorted(set(own.unit))) for key, own in known.groupby(["column", "metric"], observed=True)}
    return [f" ({units[key]})" if key in units else "" for key in zip(shown.column, shown.metric, strict=True)]


def _digits(metric: str) -> int:
    return 1 if metric in DISTANCES else 3


def _number(mean: float, low: float, high: float, metric: str, sign: str = "+") -> str:
    digits = _digits(metric)
    text = f"{mean:{sign}.{digits}f}"
    return text if pd.isna(low) else f"{text} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "°": r"$^\circ$",
           "†": r"$^\dagger$", "±": r"$\pm$", "−": "$-$", "<": r"\textless{}", ">": r"\textgreater{}"}  # fmt: skip
SPECIAL |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _tex(text: str) -> str:
    parts = text.split("**")
    escaped = ["".join(SPECIAL.get(sign, sign) for sign in part) for part in parts]
    if len(parts) != 3:
        return "**".join(escaped)
    return f"{escaped[0]}\\textbf{{{escaped[1]}}}{escaped[2]}"
