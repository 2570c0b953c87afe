"""Published numbers compared with stored runs: which are comparable, and why others are not.

They are in `results/published/`: a file per table, a row per number; the README there describes the columns.
"""

import csv
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from benchmark import InputError
from benchmark.datasets import annotations
from benchmark.inputs import explain
from benchmark.plan import plugins
from benchmark.report.summary import MEAN
from benchmark.score.evaluate import OVERLAPS, SURFACE_METRICS
from benchmark.store import RULES

INSIDE = Path(__file__).parents[1] / "published"  # in an installed wheel
FOLDER = INSIDE if INSIDE.is_dir() else Path(__file__).parents[2] / "results/published"
COST = "annotation_cost.csv"  # hours, not scores
KNOWN = {**OVERLAPS, **SURFACE_METRICS}  # distances per slice have another unit
VERDICTS = ("yes", "partly", "no")  # from best to worst

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
UNKNOWN = BeforeValidator(lambda text: text or None)
Count = Annotated[Annotated[int, Field(ge=1)] | None, UNKNOWN]


class Number(BaseModel):
    """A row: a published number, and how it was computed."""

    paper: Text
    link: Annotated[str, Field(pattern="^(https://.*)?$")]
    table: Text
    dataset: Text
    split: Text
    family: str
    annotation: Text
    supervision: Annotated[str, Field(pattern="^(weak|full|semi .*)$")]
    method: Text
    here: str
    region: Text
    metric: Text
    definition: Text
    mean: Decimal  # as it is printed
    std: Annotated[Annotated[Decimal, Field(ge=0)] | None, UNKNOWN]
    unit: Literal["", "mm", "px", "mm per slice", "px per slice"]
    patients: Count
    seeds: Count
    steps: Count
    size: Count
    selection: Text
    comparable: Literal["yes", "partly", "no"]
    why: Text
    source: Text

    @model_validator(mode="after")
    def _fits_the_data_set_and_the_metric(self) -> "Number":
        _must_be_in(plugins.find("data set"), "dataset", self.dataset)
        _must_be_in([*_regions(self.dataset), MEAN], "region", self.region)
        _must_be_in([*plugins.find("method"), ""], "here", self.here)
        _must_be_in(KNOWN, "metric", self.metric)
        facts = KNOWN[self.metric]
        if facts.distance != bool(self.unit):
            raise ValueError(
                f"unit of {self.metric} is {self.unit!r}; it must be {'mm or px' if facts.distance else 'empty'}"
            )
        if not facts.low <= self.mean <= facts.high:
            raise ValueError(f"mean is {self.mean}; {self.metric} is from {facts.low:g} to {facts.high:g} (87.2 % is 0.872)")
        return self

    @model_validator(mode="after")
    def _says_how_it_was_supervised(self) -> "Number":
        annotation, kind = annotations.parse(self.annotation), self.supervision.partition(" ")[0]
        if annotation.form == "scribble" and not annotation.maker:
            raise ValueError("annotation is 'scribble'; say who made it: scribble:drawn or scribble:sim")
        if str(annotation) != self.annotation:
            raise ValueError(f"annotation {self.annotation!r} must be written {annotation}")
        if (kind == "weak") == (annotation.form == "full"):
            raise ValueError(f"supervision is {kind!r} of {annotation}; full masks make it full or semi, others weak")
        if kind == "semi" and self.here:
            raise ValueError(f"here is {self.here!r}; nothing here is trained on a few dense masks alone: it must be empty")
        return self


COLUMNS = tuple(Number.model_fields)
COUNTS = ("patients", "seeds", "steps", "size")
KEY = ("paper", "table", "dataset", "annotation", "supervision", "method", "metric")  # and a region: one number
COMPARISON_COLUMNS = (
    *("column", "dataset", "annotation", "paper", "link", "table", "split", "method", "here", "region", "metric"),
    *("definition", "selection", "published_mean", "published_std", "published_unit", "published_seeds"),
    *("mean", "low", "high", "unit", "patients", "seeds", "comparable", "why", "source"),
)
OTHER_PATIENTS = 0.1  # tolerated share of other patients: ACDC's 100 are 99 here, as two have the same images

Line = Mapping[str, Any]


def read(folder: Path = FOLDER) -> pd.DataFrame:
    """Read COLUMNS of every published number; an InputError names file and line of the first row that is not valid."""
    rows = {where: row for path in sorted(folder.glob("*.csv")) if path.name != COST for where, row in _rows(path)}
    _check_together(rows)
    frame = pd.DataFrame([row.model_dump() for row in rows.values()], columns=[*COLUMNS])
    numbers = {name: frame[name].astype(float) for name in ("mean", "std")}
    return frame.assign(**numbers, **{name: pd.to_numeric(frame[name]) for name in COUNTS})


def compare(summary: pd.DataFrame, published: pd.DataFrame, selection: str = "last") -> pd.DataFrame:
    """Return COMPARISON_COLUMNS: for each column of a report the published numbers for its data set and annotation.

    summary: the cells of `report.summary`; published: of `read`. A number is compared with the cell of the method in its
    column `here`, and with each row of that method if there are several. Without such a cell the number has a line, too,
    so that the missing run is visible. Semi-supervised numbers and external predictions are left out. `comparable` is
    that of the file, or worse if the runs differ; `selection` is the rule by which a snapshot of each was chosen.
    """
    own = summary[~summary.external.astype(bool) & summary["mean"].notna()]
    lines = []
    for (column, dataset, annotation), _ in summary.groupby(["column", "dataset", "annotation"], sort=False, observed=True):
        cells = defaultdict(list)
        for cell in own[own.column == column].to_dict("records"):
            cells[cell["method"].partition(" (")[0], cell["region"], cell["metric"]].append(cell)
        supervised = published.supervision == ("full" if annotation == "full" else "weak")
        same = (published.dataset == dataset) & (published.annotation == annotation) & supervised
        for number in published[same].to_dict("records"):
            found = cells[number["here"], number["region"], number["metric"]]
            lines += [{"column": column, **_compared(number, cell, selection)} for cell in found or [{}]]
    return pd.DataFrame(lines, columns=[*COMPARISON_COLUMNS])


def _compared(number: Line, cell: Line, selection: str) -> dict[str, object]:
    """One line of the comparison; the cell may be empty."""
    missing = f"{number['here']} has no number here" if number["here"] else "no method here is known to be this one"
    differences = list(_differences(cell, number, selection)) if cell else [("no", missing)]
    verdict = max([number["comparable"], *(verdict for verdict, _ in differences)], key=VERDICTS.index)
    return {
        **{name: number[name] for name in COMPARISON_COLUMNS if name in number},
        **{f"published_{name}": number[name] for name in ("mean", "std", "unit", "seeds")},
        **{name: cell.get(name) for name in ("mean", "low", "high", "unit", "patients", "seeds")},
        "here": cell.get("method", number["here"]),
        "comparable": verdict,
        "why": "; ".join([*(reason for _, reason in differences), number["why"]]),
    }


def _differences(cell: Line, number: Line, selection: str) -> Iterator[tuple[str, str]]:
    """Yield the differences between a cell and a published number, each as a verdict and a reason."""
    if cell["unit"] != number["unit"]:
        yield "no", f"in {cell['unit']} here, published in {number['unit']}"
    if selection != "last":
        yield "no" if selection == "test" else "partly", f"model selection here: {RULES[selection]}"
    if cell["runs"] < cell["planned"]:
        yield "partly", f"{cell['runs']} of {cell['planned']} runs"
    for many, what in ((cell["unlearned"], "failed to learn"), (cell["stale"], "were made by other code")):
        if many:
            yield "partly", f"{many} of {cell['runs']} runs {what}"
    if cell["own_budget"]:
        yield "partly", f"the row is not trained like the others ({cell['own_budget']})"
    yield from _counted(cell, number, "steps")
    yield from _counted(cell, number, "size")
    if cell["family"] != number["family"]:
        yield "partly", f"splits are {cell['family']} here, published {number['split']}"
    yield from _counted(cell, number, "patients")
    yield from _counted(cell, number, "seeds")


def _counted(cell: Line, number: Line, what: str) -> Iterator[tuple[str, str]]:
    """Yield a verdict if two counts differ: `partly` for seeds or an unknown count, else `no`."""
    own, printed = cell[what], number[what]
    if pd.isna(own) or pd.isna(printed):
        yield "partly", f"{what} unknown"
    elif abs(own - printed) > (OTHER_PATIENTS * printed if what == "patients" else 0):
        noun = "px" if what == "size" else what.removesuffix("s") if own == 1 else what
        yield "partly" if what == "seeds" else "no", f"{own:,.0f} {noun} against {printed:,.0f}"


# ------------------------------------------------------------------------------------------------------------ checks


def _rows(path: Path) -> Iterator[tuple[str, Number]]:
    """Read the rows of a file with their positions."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if set(reader.fieldnames or ()) != set(COLUMNS):
            raise InputError(f"{path}, line 1: the columns must be {','.join(COLUMNS)}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise InputError(f"{where}: it must have {len(COLUMNS)} fields; text with a comma stands in double quotes")
            try:
                yield where, Number.model_validate(row)
            except ValidationError as error:
                raise InputError(f"{where}: {explain(error)}") from error


def _must_be_in(known: Collection[str], name: str, value: str) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(known)}")


def _check_together(rows: Mapping[str, Number]) -> None:
    """Raise InputError where a number is there twice, or a printed mean is not that of its regions."""
    tables: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for where, row in rows.items():
        table = tables[tuple(getattr(row, name) for name in KEY)]
        if row.region in table:
            raise InputError(f"{where}: this number is there already, in {table[row.region]}")
        table[row.region] = where
    for table in tables.values():
        printed = {region: rows[where].mean for region, where in table.items()}
        regions = _regions(rows[next(iter(table.values()))].dataset)
        if MEAN not in table or not regions or not set(regions) <= set(table):
            continue
        mean = sum((printed[region] for region in regions), Decimal()) / len(regions)
        last_digit = Decimal(10) ** min(int(each.as_tuple().exponent) for each in printed.values())
        if abs(mean - printed[MEAN]) > Decimal("1.5") * last_digit:  # of two roundings, and a margin
            raise InputError(f"{table[MEAN]}: the mean is {printed[MEAN]}, that of its regions {float(mean):.4g}")


def _regions(dataset: str) -> tuple[str, ...]:
    """List the regions of a data set, as far as its class states them."""
    return tuple(plugins.describe(plugins.get("data set", dataset)).get("regions", ()))
