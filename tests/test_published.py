"""Published numbers and kept runs: every row has a source, and every folder makes a report."""

import csv
from pathlib import Path

import pytest

from benchmark import report
from benchmark.datasets.weak import parse

PUBLISHED = Path(__file__).parents[1] / "results/published"
REFERENCE = PUBLISHED.parent / "reference"


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


@pytest.mark.parametrize("folder", sorted(path.name for path in REFERENCE.iterdir() if path.is_dir()))
def test_reference_runs_can_be_reported(folder, tmp_path):
    """Without label maps, and without the code that made them."""
    written = report.write(REFERENCE / folder, tmp_path)
    assert "not run" not in (written / "table.md").read_text()
    assert (REFERENCE / "README.md").read_text().count(f"## {folder}") == 1
