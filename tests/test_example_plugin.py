"""The example package is built, installed away from its folder, found, checked and run; its own tests pass."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # pip installs it

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/plugin"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs Python in an empty folder where the package is installed; gives what it printed."""
    installed, folder = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("user")
    source = tmp_path_factory.mktemp("source") / "plugin"
    source.symlink_to(EXAMPLE)
    install = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", installed, source]
    subprocess.run([sys.executable, "-m", *install], check=True, capture_output=True)
    path = os.pathsep.join([str(installed), str(ROOT)])
    environment = dict(os.environ, PYTHONPATH=path, COLUMNS="200", PYTHONDONTWRITEBYTECODE="1")
    for name in ("BENCHMARK_DATA", "PYTEST_ADDOPTS"):  # which are for these tests, not for its own
        environment.pop(name, None)

    def call(*words, where=folder):
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call("-m", "clinic_plugin.make", "data/clinic")
    return call


def test_the_package_comes_from_where_it_was_installed(run):
    code = "import clinic_plugin; print(clinic_plugin.__file__)"
    assert "/installed" in run("-c", code)


def test_its_plug_ins_are_listed(run):
    shown = run("-m", "benchmark", "list")
    for text in (
        "smooth ",
        "clinic ",
        "similar predictions of neighbouring pixels",
        "centre_distance (from clinic_plugin.centre_distance)",
    ):
        assert text.lower() in shown.lower(), text


def test_its_own_tests_check_each_of_them_and_pass(run):
    assert "5 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests", where=EXAMPLE)


def test_they_run_and_stand_in_a_report(run):
    budget = "steps=20,size=32,batch=4"
    assert "smooth" in run("-m", "benchmark", "run", "--methods", "smooth", "--datasets", "clinic", "--budget", budget)
    assert run("-m", "benchmark", "score", "--metrics", "centre_distance") == "1 runs scored\n"
    run("-m", "benchmark", "report", "--metric", "dice,centre_distance", "--format", "md", "--reports", "shown")
    code = "from pathlib import Path; print(Path('shown/report/table.md').read_text())"
    assert "centre distance (mm)" in run("-c", code)


def test_the_readme_s_commands_are_those_that_are_run_here():
    text = (EXAMPLE / "README.md").read_text()
    for command in ("clinic_plugin.make data/clinic", "benchmark check smooth", "score --metrics centre_distance"):
        assert f"python -m {command}\n" in text or f"python -m benchmark {command}\n" in text
