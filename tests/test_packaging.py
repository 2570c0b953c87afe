"""What is installed: the wheel works from another folder, and bounds are stated once."""

import re
import subprocess
import sys
import tarfile
import tomllib
import warnings
import zipfile
from pathlib import Path

import pytest

from benchmark import __version__, store
from benchmark.report import published

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel's files in a folder of their own, away from the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def python(installed, folder, *words):
    """Run Python where `benchmark` is the installed one."""
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); "
    return subprocess.run(
        [sys.executable, "-P", "-c", code + words[0], *words[1:]], cwd=folder, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_wheel_holds_all_folders_inside_the_package_and_nothing_else(installed):
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"benchmark"}
    for part in ("methods/procns.py", "methods/losses/__init__.py", "datasets/acdc.py", "presets/demo.toml", "py.typed",
                 "datasets/splits/acdc/SHA256SUMS", "report/templates/index.html", "published/README.md"):  # fmt: skip
        assert (installed / "benchmark" / part).is_file(), part


@pytest.mark.slow
def test_the_wheel_runs_from_another_folder(installed, tmp_path):
    """Workers included: methods, data sets, templates and presets come from the wheel."""
    code = "import benchmark; assert benchmark.__file__.startswith(sys.path[0]), benchmark.__file__; "
    code += "from benchmark.__main__ import main; main()"
    flags = ["--methods", "prior", "--datasets", "octa_phantom", "--set", "octa_phantom.size=32"]
    done = python(installed, tmp_path, code, "run", *flags, "--budget", "steps=1,size=32")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("report: reports/report")


@pytest.mark.slow
def test_the_wheel_holds_every_published_number(installed, tmp_path):
    tables = {path.name for path in (ROOT / "results/published").glob("*.csv")}
    assert {path.name for path in (installed / "benchmark/published").glob("*.csv")} == tables
    code = "from benchmark.report import published; print(published.FOLDER, len(published.read()))"
    done = python(installed, tmp_path, code)
    assert done.stdout.split() == [str(installed / "benchmark/published"), str(len(published.read()))], done.stderr


@pytest.mark.slow
def test_the_wheel_holds_the_reference_runs(installed, tmp_path):
    code = "from benchmark.store import stored; print(*(len(own.records()) for own in stored('reference').values()))"
    done = python(installed, tmp_path, code)
    there = store.within(ROOT / "results/reference")
    assert done.stdout.split() == [str(len(own.records())) for own in there.values()], done.stderr


@pytest.mark.slow
def test_the_source_archive_holds_what_a_wheel_is_made_of(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for path in ("hatch_build.py", "methods/pce.py", "datasets/acdc.py", "results/published/annotation_cost.csv",
                 "results/reference/cases.csv.gz"):  # fmt: skip
        assert path in inside, path


def test_every_dependency_says_why_and_has_a_lower_bound():
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    lines = block.splitlines()[1:-2]
    for before, line in zip(["", *lines], lines, strict=False):
        if line.strip().startswith('"'):
            assert "#" in line or before.strip().startswith("#"), line
            assert re.search(r"[>=]=\d", line), line


def test_the_oldest_dependencies_are_the_lower_bounds():
    bounds = dict(re.match(r"([\w.-]+)[>=]=([\w.]+)", line).groups() for line in PROJECT["dependencies"])
    oldest = dict(line.split("==") for line in (ROOT / "tests/oldest.txt").read_text().splitlines() if "==" in line)
    for name in ("torch", "torchvision", "albumentations"):
        bounds.pop(name)
    assert oldest.keys() == bounds.keys()
    for name, bound in bounds.items():
        padded = ".".join([*bound.split("."), "0", "0"][:3])
        assert oldest[name].startswith((bound, padded)), name


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("CHANGELOG.md", r"^## (.*)$"),  # the latest comes first
        ("CITATION.cff", r"^version: (.*)$"),
        ("recipe/recipe.yaml", r'^  version: "(.*)"$'),
    ],
)
def test_every_file_names_the_version_of_the_package(file, line):
    assert re.search(line, (ROOT / file).read_text(), re.M)[1] == __version__


def test_the_recipe_has_the_dependencies_and_the_command_of_the_package():
    text, names = (ROOT / "recipe/recipe.yaml").read_text(), {"torch": "pytorch", "opencv-python-headless": "py-opencv"}
    required = [re.match(r"([\w.-]+)(.*)", line).groups() for line in PROJECT["dependencies"]]
    run = text.partition("\n  run:")[2].partition("\n\n")[0]
    listed = re.findall(r"^    - (\S+) (\S+)$", run, re.M)
    assert listed == [("python", PROJECT["requires-python"]), *((names.get(name, name), bound) for name, bound in required)]
    (command,) = PROJECT["scripts"].items()
    assert f"- {' = '.join(command)}\n" in text


def test_methods_import_no_data_set():
    for path in (ROOT / "methods").rglob("*.py"):
        assert "benchmark.datasets" not in path.read_text(), path


@pytest.mark.parametrize("module", ["benchmark.score", "benchmark.methods.pce", "tests.test_packaging"])
def test_a_warning_of_our_own_code_is_an_error(module):
    with pytest.raises(DeprecationWarning):
        warnings.warn_explicit("it is old", DeprecationWarning, "file.py", 1, module)


@pytest.mark.parametrize("module", ["typer.main", "benchmarks"])
def test_a_warning_of_another_package_is_not_an_error(module):
    """A release of a dependency that warns of another must not fail a fresh installation."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.warn_explicit("it is old", DeprecationWarning, "file.py", 1, module)
    assert len(shown) == 1
