"""The commands of README and docs do what these say; the two set-up lines are covered by .ci/run and by the demo below."""

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
DOCS = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
DOCS_BLOCKS = [block for path in DOCS for block in re.findall(r"```console\n(.*?)```", path.read_text(), re.S)]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder with the README's method in it."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(PYTHON[0])
    return folder


def run(block, folder):
    """Run a block of commands in a folder where those before were run."""
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
    return done


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][-60:])
def test_every_block_of_commands_runs(block, folder):
    done = run(block, folder)
    if "benchmark run\n" in block:
        assert done.stdout.rstrip().endswith("report: reports/demo")
        assert (folder / "reports/demo/index.html").is_file()
        assert len(list((folder / "results/runs").rglob("cases.csv"))) == 20
    if "--dry-run" in block:
        assert "8 runs" in done.stdout
    if "mine.py" in block:
        assert "11 checks ran, 0 failed" in done.stdout
        assert "mine " in done.stdout


@pytest.mark.parametrize("block", DOCS_BLOCKS, ids=lambda block: block.splitlines()[-1][-60:])
def test_every_block_in_docs_runs_after_the_readme_s(block, folder):
    run(block, folder)


def test_there_are_two_commands_from_nothing_each_of_one_line():
    lines = [line for line in README.splitlines() if line.startswith(SET_UP)]
    assert len(lines) == 2
    assert lines[0].endswith("-m benchmark run")
    assert "pytest" in lines[1]


def test_every_method_and_data_set_is_in_its_table():
    for kind in plugins.KINDS:
        for name in plugins.find(kind):
            assert re.search(rf"^\|.*`{name}[`:]", README, re.M), name


@pytest.mark.parametrize("path", [Path(__file__).parents[1] / "README.md", *DOCS], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\((?!http|#)([^)#]+)[^)]*\)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_the_example_fits_in_forty_lines():
    assert len(PYTHON[0].splitlines()) <= 40
