"""What a page opens with: a sentence, every row in every column as colour, number and interval, and cases to look at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.plan.plugins import PRIOR
from benchmark.report import names, statistics, tables
from benchmark.report.figures.overview import shades_of
from benchmark.report.figures.style import FULL_ROW, FigureData, by_score
from benchmark.report.summary import MEAN
from benchmark.store import RULES

PALE, STRONG = (243, 247, 252), (107, 174, 214)  # of cells, both below the same dark print
LEFT, RIGHT = 3, 97  # of an interval's drawing, which is 100 wide
SHOWN = 3  # cases
ORDER = ("dataset", "column", "scan")  # cases differ in the first of these if they can

Front = dict[str, Any]  # as the templates take it


def opening(source: FigureData) -> Front:
    """The title, what was compared, how many runs there are, and the matrix of the first metric."""
    read, shown = source.read, source.folded
    columns = [column for column in read.about if column in set(shown.column) or column not in set(source.cells.column)]
    of_metric = source.summary.cells[(source.summary.cells.metric == source.metric) & (source.summary.cells.region == MEAN)]
    every = pd.concat([of_metric, shown[shown.method == FULL_ROW]])
    lines = {(line.column, line.method): line for line in every[every.column.isin(columns)].itertuples()}
    rows = [row for row in [*rows_of(source), FULL_ROW] if any((column, row) in lines for column in columns)]
    known = shown.pivot(index="method", columns="column", values="mean").reindex(rows, columns=columns)
    priors = [row for row in rows if read.roles.get(row) == PRIOR]
    shades = shades_of(known, source.facts.better, priors) if len(source.cells) else known
    ends = source.cells[["mean", "low", "high"]].to_numpy(float)
    scale = (float(np.nanmin(ends)), float(np.nanmax(ends))) if len(ends) else (0.0, 1.0)
    cells = [[_cell(source, lines.get((c, row)), shades.loc[row, c], scale) for c in columns] for row in rows]
    states = read.runs.drop_duplicates("folder").state.value_counts()
    return {
        "title": read.title or ", ".join(dict.fromkeys(_dataset(source, about) for about in read.about.values())),
        "sentence": _sentence(source, rows_of(source)),
        "states": {state: int(states.get(state, 0)) for state in ("done", "failed", "missing")}
        | {"set aside": len(read.set_aside)},
        "columns": columns,
        "rows": [*zip(rows, cells, strict=True)],
        "legend": [*_legend(source, scale, [each for own in cells for each in own]), *_told_apart(source, columns)],
    }


def rows_of(source: FigureData) -> list[str]:
    """All rows, the best first by their mean place in the columns, those without a mean last."""
    return list(dict.fromkeys([*by_score(source, source.cells), *source.read.runs.row]))


def interesting(cases: Sequence[Mapping[str, Any]], roles: Mapping[str, str]) -> list[int]:
    """The numbers of up to SHOWN cases in which the Dice of methods differs most, of different data sets if it can be.

    Cases are those of the page's script. Location priors and rows that predict nothing in a case don't count there.
    """

    def scores(case: Mapping[str, Any]) -> list[float]:
        rows = [row for row in case["rows"] if roles.get(row["name"]) != PRIOR and not row["empty"]]
        return [row["dice"] for row in rows if row["dice"] is not None]

    wanted = [number for number, case in enumerate(cases) if len(scores(case)) > 1] or range(len(cases))
    ranked = sorted(wanted, key=lambda number: -np.ptp(scores(cases[number]) or [0.0]))
    chosen: list[int] = []
    for key in ORDER:
        for number in ranked:
            if len(chosen) < SHOWN and cases[number][key] not in {cases[each][key] for each in chosen}:
                chosen.append(number)
    return chosen


def _dataset(source: FigureData, about: Mapping[str, Any]) -> str:
    return source.read.titles.get(("dataset", about["dataset"]), about["dataset"])


def _sentence(source: FigureData, rows: Sequence[str]) -> str:
    """What was compared, on what, and on how many patients."""
    read = source.read
    forms: dict[str, dict[str, None]] = {}
    for about in read.about.values():
        forms.setdefault(_dataset(source, about), {})[names.of_annotation(about["annotation"]) or "no marks"] = None
    data = "; ".join(f"{dataset} with {_listed(own)}" for dataset, own in forms.items())
    steps = {about["budget"].get("steps") for about in read.about.values()} - {None}
    budget = f", with a budget of {steps.pop():,} steps" if len(steps) == 1 else ""
    count = source.origin(read.runs[read.runs.state == "done"]).n.removeprefix("n = ")
    variants = " and variants" * (read.runs.method.nunique() < len(rows))
    chosen = "" if read.selection == "last" else f" Scores are of {RULES[read.selection]}."
    return f"{len(rows)} method{'s' * (len(rows) != 1)}{variants} on {data}: {count}{budget}.{chosen}"


def _listed(texts: Mapping[str, None]) -> str:
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last


def _cell(source: FigureData, line: Any, shade: float, scale: tuple[float, float]) -> dict[str, Any]:
    """A cell of the matrix: its text and what it is; a mean also with its colour, its interval and its mark."""
    if line is None:
        return {"kind": "none", "text": "–", "says": "not planned"}
    whole = tables.cell(line, source.read.metrics)
    if pd.isna(line.mean):
        kind = "failed" if line.failed else "missing" if not line.runs else "undefined"
        return {"kind": kind, "text": whole, "says": whole}
    low, high = scale
    places = [LEFT + (RIGHT - LEFT) * (end - low) / ((high - low) or 1) for end in (line.low, line.mean, line.high)]
    colour = bytes(round(pale + (strong - pale) * shade) for pale, strong in zip(PALE, STRONG, strict=True))
    return {
        "kind": "mean",
        "text": tables.signed(line.mean, tables.digits(source.facts), ""),
        "mark": tables.MARKS.get(line.place, ""),
        "best": line.place == "best",
        "colour": f"#{colour.hex()}",
        "line": None if pd.isna(line.low) else f"M{places[0]:.1f} 5H{places[2]:.1f}",
        "dot": f"{places[1]:.1f}",
        "counts": tables.counts(line),
        "says": whole.replace("**", ""),
    }


def _legend(source: FigureData, scale: tuple[float, float], cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Explain what is in the matrix, and nothing else."""
    digits, kinds = tables.digits(source.facts), {each["kind"] for each in cells}
    marks = {each["mark"] for each in cells if each["kind"] == "mean"}
    best = any(each.get("best") for each in cells)
    judged = best or bool(marks - {""})
    good = {1: "Darker is better", -1: "Darker is better, that is lower", 0: "Darker is higher"}[source.facts.better]
    of_mean = [
        f"Number and dot: mean {source.label()}. {good}. Line: its {statistics.LEVEL:.0%} interval; "
        f"all have one scale, from {scale[0]:.{digits}f} to {scale[1]:.{digits}f}.",
        "Bold: better than all other complete rows." * best,
        f"{tables.OPEN}: the best mean, and rows that are not told apart from it." * (tables.OPEN in marks),
        f"{tables.ALIKE}: alike." * (tables.ALIKE in marks),
        "Nothing is called best: there is too little for a verdict, or no method beats the location prior." * (not judged),
    ]
    others = {
        "missing": "Hatched: planned, but not run.",
        "failed": "Framed: runs failed.",
        "none": "–: not planned, or the method does not learn from such marks.",
    }
    return [text for text in of_mean * ("mean" in kinds) if text] + [text for kind, text in others.items() if kind in kinds]


def _told_apart(source: FigureData, columns: Sequence[str]) -> list[str]:
    """How many pairs of methods the verdicts on Dice tell apart, each pair of a column counted once."""
    pairs = source.summary.pairs[source.summary.pairs.column.isin(columns)]
    verdicts, count = pairs.verdict, pairs.column.nunique()
    if source.metric != "dice" or not len(verdicts):
        return []
    apart, alike = (int(verdicts.isin(kinds).sum()) // 2 for kinds in (["better", "worse"], [statistics.ALIKE]))
    together = f" in {count} columns together" if count > 1 else ""
    also = f", and {alike} are alike" if alike else ""
    return [f"Of {len(verdicts) // 2} pairs of methods{together}, {apart} are told apart{also}."]
