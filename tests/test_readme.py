"""The README's commands do what it says; its two set-up lines are covered by .ci/run and by the demo below."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import plugins

README = (Path(__file__).parents[1] / "README.md").read_text()
SET_UP = "python3 -m venv"
BLOCKS = [block for block in re.findall(r"```console\n(.*?)```", README, re.S) if not block.startswith(SET_UP)]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder with the README's method in it."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(PYTHON[0])
    return folder


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][-60:])
def test_every_block_of_commands_runs(block, folder):
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", COLUMNS="200")
    if "BENCHMARK_DATA" in block:
        if "BENCHMARK_DATA" not in os.environ:
            pytest.skip("BENCHMARK_DATA does not name a folder with real data")
        environment["BENCHMARK_DATA"] = str(Path(os.environ["BENCHMARK_DATA"]).resolve())
        block = "\n".join(line for line in block.splitlines() if not line.startswith("export"))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "benchmark run\n" in block:
        assert done.stdout.rstrip().endswith("report: reports/demo")
        assert (folder / "reports/demo/index.html").is_file()
        assert len(list((folder / "results/runs").rglob("cases.csv"))) == 20
    if "--dry-run" in block:
        assert "8 runs" in done.stdout
    if "mine.py" in block:
        assert "11 checks ran, 0 failed" in done.stdout
        assert "mine " in done.stdout


def test_there_are_two_commands_from_nothing_each_of_one_line():
    lines = [line for line in README.splitlines() if line.startswith(SET_UP)]
    assert len(lines) == 2
    assert lines[0].endswith("-m benchmark run")
    assert "pytest" in lines[1]


def test_every_method_and_data_set_is_in_its_table():
    for kind in plugins.KINDS:
        for name in plugins.find(kind):
            assert re.search(rf"^\|.*`{name}[`:]", README, re.M), name


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http|#)([^)]+)\)", README))
def test_links_lead_somewhere(link):
    assert (Path(__file__).parents[1] / link).exists()


def test_the_example_fits_in_forty_lines():
    assert len(PYTHON[0].splitlines()) <= 40
