"""Published numbers: every row has a source, and formats by the names that are used here."""

import csv
from pathlib import Path

from benchmark.datasets.weak import parse

PUBLISHED = Path(__file__).parents[1] / "results/published"


def test_annotation_costs_have_a_source():
    with (PUBLISHED / "annotation_cost.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"full", "scribble", "point"} <= {row["annotation"] for row in rows if row["per"] == "image"}
    for row in rows:
        parse(row["annotation"])
        assert float(row["seconds"]) > 0
        assert row["per"] in ("image", "object")
        assert row["source"]
        assert row["doi"].startswith("10.")
