"""Published numbers and kept runs: every row has a source, and every folder makes a report."""

import csv
from pathlib import Path

import pytest

from benchmark import report
from benchmark.datasets.weak import parse
from benchmark.report import published

PUBLISHED = Path(__file__).parents[1] / "results/published"
REFERENCE = PUBLISHED.parent / "reference"
REPORTS = Path(__file__).parents[1] / "reports/reference"


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


@pytest.fixture(scope="module")
def numbers():
    return published.read(PUBLISHED)


def test_published_numbers_are_what_a_checkout_reads(numbers):
    assert published.FOLDER == PUBLISHED
    assert published.read().equals(numbers)


def test_every_number_of_the_wsl4mis_table_is_there(numbers):
    """14 methods, three regions and their mean, two metrics."""
    assert (numbers.paper == "Luo et al., MICCAI 2022 (WSL4MIS)").sum() == 14 * 4 * 2


@pytest.mark.parametrize(
    ("method", "region", "metric", "mean", "std"),
    [("pCE", "RV", "hd95", 187.2, 35.2), ("DMPLS", "mean", "dice", 0.872, 0.077), ("FullSup", "MYO", "dice", 0.883, 0.042)],
)
def test_numbers_are_as_printed(numbers, method, region, metric, mean, std):
    (line,) = numbers[(numbers.method == method) & (numbers.region == region) & (numbers.metric == metric)].itertuples()
    assert (line.mean, line.std) == (mean, std)


def test_the_distances_of_wsl4mis_are_not_comparable_and_say_why(numbers):
    hd95 = numbers[(numbers.family == "wsl4mis") & (numbers.metric == "hd95")]
    assert set(hd95.comparable) == {"no"}
    assert hd95.why.str.contains("spacings that the distributed files lack").all()


def test_every_table_is_explained(numbers):
    readme = (PUBLISHED / "README.md").read_text()
    assert all(f"`{path.name}`" in readme for path in PUBLISHED.glob("*.csv"))
    assert all(f"`{column}`" in readme for column in numbers)


FOLDERS = sorted(path.name for path in REFERENCE.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", [pytest.param(name, marks=[pytest.mark.slow] * (name != "smoke")) for name in FOLDERS])
def test_reference_runs_can_be_reported(folder, tmp_path):
    """Without label maps, and without the code that made them."""
    written = report.write(REFERENCE / folder, tmp_path)
    assert "not run" not in (written / "table.md").read_text()
    assert (REFERENCE / "README.md").read_text().count(f"## {folder}") == 1
    again = "python -m benchmark report --results results/reference"
    for committed in [path for kind in ("md", "tex", "csv") for path in sorted((REPORTS / folder).glob(f"*.{kind}"))]:
        assert (written / committed.name).read_bytes() == committed.read_bytes(), (
            f"{committed} is not of these runs: {again}"
        )
