"""Published numbers and kept runs: every row has a source, and every folder makes a report."""

import csv
import gzip
import hashlib
import subprocess
from pathlib import Path

import pytest

from benchmark import report
from benchmark.datasets.annotations import parse
from benchmark.inputs import checked
from benchmark.packing import pack, unpack
from benchmark.plan import compare, revisions
from benchmark.plan.presets import expand, read_preset
from benchmark.report import published, runs
from benchmark.seal.contract import LATER, Budget
from benchmark.store import within

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "results/published"
REFERENCE = PUBLISHED.parent / "reference"
REPORTS = ROOT / "reports/reference"


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


def test_the_stored_runs_are_whole():
    """Each file is what its checksum says, and gzip keeps no time in it."""
    sums = dict(reversed(line.split("  ")) for line in (REFERENCE / "SHA256SUMS").read_text().splitlines())
    there = {str(path.relative_to(REFERENCE)): path.read_bytes() for path in REFERENCE.rglob("*") if path.is_file()}
    assert {name: hashlib.sha256(there[name]).hexdigest() for name in sums} == sums
    assert there.keys() - sums.keys() == {"README.md", "PLAN.md", "SHA256SUMS"}
    assert {there[name][4:8] for name in sums if name.endswith(".gz")} == {bytes(4)}


def test_packing_what_was_unpacked_gives_the_same_bytes(tmp_path):
    """So that adding runs changes nothing of the others."""
    unpack(REFERENCE, tmp_path / "live")
    pack(tmp_path / "live", tmp_path / "packed")
    for path in (path for path in (tmp_path / "packed").rglob("*") if path.is_file()):
        there = (REFERENCE / path.relative_to(tmp_path / "packed")).read_bytes()
        if path.suffix == ".gz":  # another zlib compresses otherwise
            assert gzip.decompress(path.read_bytes()) == gzip.decompress(there), path.name
        elif path.name != "SHA256SUMS":
            assert path.read_bytes() == there, path.name


def test_the_code_that_made_each_stored_run_is_known():
    """`methods/REVISIONS.toml` says of it which code gives equal numbers."""
    for name, folder in within(REFERENCE).items():
        for record in folder.records():
            made = record["identity"]["method"], record["code"][: revisions.DIGITS]
            assert made in revisions._known(), f"{name}: {record['folder']}"


@pytest.mark.parametrize("preset", ["smoke", "reference-core"])
def test_stored_runs_have_the_budget_that_their_preset_states(preset):
    """So a method of one's own is compared with them by `--preset NAME --against NAME`."""
    given = read_preset(preset).budget
    stated = checked(Budget, expand({k: v for k, v in given.items() if k not in ("dataset", "method")}), preset)
    budgets = [compare.budget(record) for record in within(REFERENCE)[preset].records()]
    assert budgets
    assert all(budget.get(name, LATER.get(name)) == getattr(stated, name) for budget in budgets for name in vars(stated))


def test_stored_runs_and_reports_are_a_small_part_of_a_checkout():
    listed = subprocess.run(["git", "ls-files", "results", "reports"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < sum((ROOT / name).stat().st_size for name in listed.stdout.splitlines()) < 12e6


@pytest.mark.parametrize("folder", within(REFERENCE))
def test_stored_runs_are_of_code_that_gives_the_same_numbers(folder):
    """So that `run --against` compares with no stale row."""
    assert not runs.read_folder(within(REFERENCE)[folder]).runs.stale.any()


@pytest.mark.parametrize(
    "folder", [pytest.param(name, marks=[pytest.mark.slow] * (name != "smoke")) for name in within(REFERENCE)]
)
def test_reference_runs_can_be_reported(folder, tmp_path):
    """Without label maps, and without the code that made them."""
    formats = ("md", "tex", "csv") if folder == "smoke" else report.FORMATS
    written = report.write(REFERENCE / folder, tmp_path, report.ReportOptions(formats=formats))
    assert "not run" not in (written / "table.md").read_text()
    assert (REFERENCE / "README.md").read_text().count(f"## {folder}") == 1
    again = "python -m benchmark report --results results/reference"
    held = [path for kind in ("md", "tex", "csv") for path in sorted((REPORTS / folder).glob(f"*.{kind}"))]
    assert held or folder == "smoke"
    for committed in held:
        assert (written / committed.name).read_bytes() == committed.read_bytes(), (
            f"{committed} is not of these runs: {again}"
        )
