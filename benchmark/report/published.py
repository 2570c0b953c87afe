"""Numbers that papers print, and ours beside them: which may be compared, and why others may not.

They lie in `results/published/`: a file per table, a row per number; the README there says what the columns hold.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark import InputError
from benchmark.datasets import annotations
from benchmark.plan import plugins
from benchmark.report.summary import MEAN
from benchmark.score.evaluate import METRICS

INSIDE = Path(__file__).parents[1] / "published"  # where a wheel has them
FOLDER = INSIDE if INSIDE.is_dir() else Path(__file__).parents[2] / "results/published"
COST = "annotation_cost.csv"  # hours, not scores
COLUMNS = (
    *("paper", "link", "table", "dataset", "split", "family", "annotation", "supervision", "method", "ours"),
    *("region", "metric", "definition", "mean", "std", "unit", "patients", "seeds", "steps", "size"),
    *("selection", "comparable", "why", "source"),
)
OPTIONAL = ("link", "family", "ours", "std", "unit", "patients", "seeds", "steps", "size")
COUNTS = ("patients", "seeds", "steps", "size")
KEY = ("paper", "table", "dataset", "annotation", "supervision", "method", "metric")  # and a region: one number
VERDICTS = ("yes", "partly", "no")  # from best to worst
SUPERVISIONS = ("weak", "full", "semi")
SHARES = ("dice", "iou", "precision", "recall", "nsd")
KNOWN = tuple(name for name in METRICS if "@" not in name)  # distances per slice have another unit, as in our tables
DISTANCES = tuple(name for name in KNOWN if name not in (*SHARES, "rve"))
UNITS = ("mm", "px", "mm per slice", "px per slice")
BESIDE = (
    *("column", "dataset", "annotation", "paper", "link", "table", "split", "method", "ours", "region", "metric"),
    *("definition", "selection", "published_mean", "published_std", "published_unit", "published_seeds"),
    *("mean", "low", "high", "unit", "patients", "seeds", "comparable", "why", "source"),
)
OTHER_PATIENTS = 0.1  # share that may be missing from the same ones: ACDC's 100 are 99 here, two have the same images

Row = dict[str, str]
Line = Mapping[str, Any]


def read(folder: Path = FOLDER) -> pd.DataFrame:
    """COLUMNS of every published number; raises InputError that names file and line for the first that can't be right."""
    rows = [row for path in sorted(folder.glob("*.csv")) if path.name != COST for row in _rows(path)]
    for row in rows:
        if problem := next(_problems(row), ""):
            raise InputError(f"{row['where']}: {problem}")
    _check_together(rows)
    frame = pd.DataFrame(rows, columns=[*COLUMNS])
    return frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in ("mean", "std", *COUNTS)})


def beside(summary: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """BESIDE: for each column of ours the numbers that are published on its data set and annotation.

    summary: the cells of `report.summary`; published: of `read`. A number stands beside the cell of the method that its
    `ours` names (beside each, where rows of that method differ in options), and alone if there is none, so that what is
    missing shows. Semi-supervised numbers have no annotation of ours and are left out, as are predictions made elsewhere.
    `comparable` is what the file says, or worse if our side differs.
    """
    own = summary[~summary.external.astype(bool) & summary["mean"].notna()]
    lines = []
    for (column, dataset, annotation), _ in summary.groupby(["column", "dataset", "annotation"], sort=False, observed=True):
        cells = defaultdict(list)
        for cell in own[own.column == column].to_dict("records"):
            cells[cell["method"].partition(" (")[0], cell["region"], cell["metric"]].append(cell)
        same = (published.dataset == dataset) & (published.annotation == annotation) & _supervised(published, annotation)
        for number in published[same].to_dict("records"):
            found = cells[number["ours"], number["region"], number["metric"]]
            lines += [{"column": column, **_beside(number, cell)} for cell in found or [{}]]
    return pd.DataFrame(lines, columns=[*BESIDE])


def _supervised(published: pd.DataFrame, annotation: str) -> pd.Series:
    """Which numbers come from training on that annotation of every training scan."""
    return published.supervision == ("full" if annotation == "full" else "weak")


def _beside(theirs: Line, ours: Line) -> dict[str, object]:
    """One line of the comparison; ours may be empty."""
    differences = list(_differences(ours, theirs)) if ours else [("no", _missing(theirs))]
    verdict = max([theirs["comparable"], *(verdict for verdict, _ in differences)], key=VERDICTS.index)
    return {
        **{name: theirs[name] for name in BESIDE if name in theirs},
        **{f"published_{name}": theirs[name] for name in ("mean", "std", "unit", "seeds")},
        **{name: ours.get(name) for name in ("mean", "low", "high", "unit", "patients", "seeds")},
        "ours": ours.get("method", theirs["ours"]),
        "comparable": verdict,
        "why": "; ".join([*(reason for _, reason in differences), theirs["why"]]),
    }


def _missing(theirs: Line) -> str:
    return f"{theirs['ours']} has no number here" if theirs["ours"] else "no method here is known to be this one"


def _differences(ours: Line, theirs: Line) -> Iterator[tuple[str, str]]:
    """What is another on our side than on theirs: a verdict and its reason."""
    if ours["unit"] != theirs["unit"]:
        yield "no", f"ours in {ours['unit']}, theirs in {theirs['unit']}"
    if ours["own_budget"]:
        yield "no", f"ours has a budget of its own ({ours['own_budget']})"
    else:
        yield from _counted(ours, theirs, "steps")
        yield from _counted(ours, theirs, "size")
    if ours["family"] != theirs["family"]:
        yield "partly", f"our splits are {ours['family']}, theirs {theirs['split']}"
    yield from _counted(ours, theirs, "patients")
    yield from _counted(ours, theirs, "seeds")


def _counted(ours: Line, theirs: Line, what: str) -> Iterator[tuple[str, str]]:
    """A verdict where two counts differ, seeds the mildest; `partly` where one of them isn't known."""
    own, printed = ours[what], theirs[what]
    if pd.isna(own) or pd.isna(printed):
        yield "partly", f"{what} unknown"
    elif abs(own - printed) > (OTHER_PATIENTS * printed if what == "patients" else 0):
        noun = "px" if what == "size" else what.removesuffix("s") if own == 1 else what
        yield "partly" if what == "seeds" else "no", f"{own:,.0f} {noun} against {printed:,.0f}"


# ------------------------------------------------------------------------------------------------------------ checks


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a file as text, each with `where` it stands."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if set(reader.fieldnames or ()) != set(COLUMNS):
            raise InputError(f"{path}, line 1: the columns must be {','.join(COLUMNS)}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise InputError(f"{where}: it must have {len(COLUMNS)} fields; text with a comma stands in double quotes")
            yield {**row, "where": where}


def _problems(row: Row) -> Iterator[str]:
    """What can't be right in one row; each check counts on those before it."""
    for name in (name for name in COLUMNS if name not in OPTIONAL and not row[name].strip()):
        yield f"{name} is empty" + ("; a number without a source isn't entered" if name in ("paper", "source") else "")
    if row["link"] and not row["link"].startswith("https://"):
        yield f"link is {row['link']!r}; it must be an address, such as https://doi.org/..."
    if row["comparable"] not in VERDICTS:
        yield f"comparable is {row['comparable']!r}; it may be {', '.join(VERDICTS)}, and `why` says the reason"
    yield from _what_is_unknown(row)
    yield from _misread_annotation(row)
    yield from _wrong_numbers(row)


def _what_is_unknown(row: Row) -> Iterator[str]:
    """Names that are none of ours."""
    datasets = plugins.find("data set")
    if row["dataset"] not in datasets:
        yield f"no data set {row['dataset']!r}; there are {', '.join(datasets)}"
    elif row["region"] not in (known := (*_regions(row["dataset"]), MEAN)):
        yield f"region is {row['region']!r}; {row['dataset']} has {', '.join(known)}"
    if row["ours"] and row["ours"] not in plugins.find("method"):
        yield f"ours is {row['ours']!r}; it may be empty, or {', '.join(plugins.find('method'))}"
    if row["metric"] not in KNOWN:
        yield f"no metric {row['metric']!r}; there are {', '.join(KNOWN)}"
    units = UNITS if row["metric"] in DISTANCES else ("",)
    if row["unit"] not in units:
        yield f"unit of {row['metric']} is {row['unit']!r}; it must be {', '.join(units) or 'empty'}"


def _misread_annotation(row: Row) -> Iterator[str]:
    """An annotation that isn't written as our runs write it, or that doesn't go with the supervision."""
    try:
        annotation = annotations.parse(row["annotation"])
    except InputError as error:
        yield str(error)
        return
    if annotation.form == "scribble" and not annotation.maker:
        yield "annotation is 'scribble'; say who made it: scribble:drawn or scribble:sim"
    if str(annotation) != row["annotation"]:
        yield f"annotation {row['annotation']!r} must be written {annotation}"
    kind = row["supervision"].partition(" ")[0]
    if kind not in SUPERVISIONS:
        yield f"supervision is {row['supervision']!r}; it may be weak, full, or semi with its share, such as semi 10 %"
    elif (kind == "weak") == (row["annotation"] == "full"):
        yield f"supervision is {row['supervision']!r} of {row['annotation']!r}; full masks make it full or semi, others weak"
    elif kind == "semi" and row["ours"]:
        yield f"ours is {row['ours']!r}; nothing here is trained on a few dense masks alone, so it must be empty"


def _wrong_numbers(row: Row) -> Iterator[str]:
    """Numbers that are none, or that the metric can't have."""
    for name in ("mean", "std", *COUNTS):
        if row[name] and not _is_number(row[name]):
            yield f"{name} is {row[name]!r}; it must be a number"
        elif row[name] and name in COUNTS and not (row[name].isdigit() and int(row[name])):
            yield f"{name} is {row[name]!r}; it must be a whole number from 1"
    least, most = (-1 if row["metric"] == "rve" else 0), (1 if row["metric"] in SHARES else math.inf)
    if not least <= float(row["mean"]) <= most:
        yield f"a {row['metric']} of {row['mean']} can't be; it lies between {least} and {most} (shares, not per cent)"
    if row["std"] and float(row["std"]) < 0:
        yield f"std is {row['std']}; it can't be negative"


def _check_together(rows: list[Row]) -> None:
    """Raise InputError where a number is there twice, or a printed mean is not that of its regions."""
    tables: dict[tuple[str, ...], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        table = tables[tuple(row[name] for name in KEY)]
        if row["region"] in table:
            raise InputError(f"{row['where']}: this number is there already, in {table[row['region']]['where']}")
        table[row["region"]] = row
    for table in tables.values():
        printed = table.get(MEAN)
        if printed is None or not (regions := _regions(printed["dataset"])) or not set(regions) <= set(table):
            continue
        mean = sum(float(table[region]["mean"]) for region in regions) / len(regions)
        if abs(mean - float(printed["mean"])) > _rounding([row["mean"] for row in table.values()]):
            raise InputError(f"{printed['where']}: the mean is {printed['mean']}, that of its regions {mean:.4g}")


def _rounding(printed: list[str]) -> float:
    """By how much a mean of printed numbers may be off: half a last digit on both sides, and half as much again."""
    decimals = max(-int(Decimal(text).as_tuple().exponent) for text in printed)
    return 1.5 * 10.0**-decimals


def _regions(dataset: str) -> tuple[str, ...]:
    """What a data set scores, as far as that is written in its class."""
    return tuple(plugins.describe(plugins.get("data set", dataset)).get("regions", ()))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
