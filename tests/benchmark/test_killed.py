"""Killed runners, killed workers, interrupts, a full disk: nothing is lost, orphaned or half-written."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import alive, wait_for, workers_of
from tests.support.sweeps import BUDGET, TINY, write_method


def command(results: Path, methods: list[str], *more: str) -> subprocess.Popen:
    flags = [
        "--methods",
        ",".join(methods),
        "--datasets",
        "octa_phantom",
        "--budget",
        ",".join(BUDGET),
        "--workers",
        "2",
    ]
    options = [part for option in TINY for part in ("--set", option)]
    where = ["--results", str(results), "--reports", str(results / "reports")]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark", "run", *flags, *options, *where, *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=results.parent,
    )  # fmt: skip


@pytest.fixture
def slow(tmp_path):
    """A method that ends when a file appears."""
    (tmp_path / "plugins").mkdir()
    body = "log(0, loss=1.0)\n        while not os.path.exists(self.where): time.sleep(0.05)"
    path = write_method(tmp_path / "plugins", "slow", body, "return np.zeros((1, 32, 32), np.uint8)")
    return path, ["--set", f"slow.where={tmp_path / 'go'}"], tmp_path / "go"


@pytest.mark.slow
def test_a_killed_runner_leaves_no_orphan_and_no_half_run_and_is_resumed(tmp_path, slow):
    path, option, go = slow
    results = tmp_path / "results"
    runner = command(results, ["prior", path], *option)
    prior = wait_for(lambda: list(results.glob("runs/*/*/prior/*/run.json")))[0]
    workers = wait_for(lambda: workers_of(runner.pid))
    runner.kill()
    runner.communicate()
    wait_for(lambda: not any(map(alive, workers)), seconds=10)
    stored = {run.parent for run in results.glob("runs/*/*/*/*/run.json")}
    for folder in stored:
        assert json.loads((folder / "run.json").read_text())["state"] == "done"
        assert (folder / "cases.csv").exists()
    before = prior.stat().st_mtime_ns
    go.write_text("")
    again = command(results, ["prior", path], *option)
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert len(list(results.glob("runs/*/*/*/*/cases.csv"))) == 2
    assert prior.stat().st_mtime_ns == before
    assert not list((results / ".staging").iterdir())


@pytest.mark.slow
def test_a_run_that_keeps_snapshots_is_whole_or_absent_too(tmp_path, slow):
    path, option, go = slow
    results, select = tmp_path / "results", ["--budget", "steps=2,size=32,snapshots=2", "--set", "octa_phantom.val=2"]
    methods = ["pce", path, "prior"]
    runner = command(results, methods, *option, *select, "--tune", "1")
    wait_for(lambda: len(list(results.glob("runs/*/*/*/*/run.json"))) == 2)
    runner.kill()
    runner.communicate()
    go.write_text("")
    again = command(results, methods, *option, *select, "--tune", "1")
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert len(list(results.glob("runs/*/*/*/*/snapshots.csv"))) == 3
    assert len(list(results.glob("runs/*/*/pce/*/step000001-*.npz"))) == 4  # two test scans, two held out
    assert not list((results / ".staging").iterdir())


def kill_next_worker(runner: subprocess.Popen, tasks: Path, but: int = 0) -> int:
    """Kill the only worker once its method learns; `but` is one that was killed before."""
    (worker,) = wait_for(lambda: [pid for pid in workers_of(runner.pid) if pid != but])
    wait_for(lambda: (tasks / f"learns-{worker}").exists())
    os.kill(worker, signal.SIGKILL)
    return worker


@pytest.fixture
def telling(tmp_path):
    """A method that ends when a file appears, and leaves a file of its own and one that says that it learns."""
    (tmp_path / "plugins").mkdir()
    body = (
        "open('mine.txt', 'x').close(); open(os.path.join(self.where, f'learns-{os.getpid()}'), 'w').close()\n"
        "        while not os.path.exists(os.path.join(self.where, 'go')): time.sleep(0.05)"
    )
    path = write_method(tmp_path / "plugins", "telling", body, "return np.zeros((1, 32, 32), np.uint8)")
    return path, ["--set", f"telling.where={tmp_path}"], tmp_path


@pytest.mark.slow
def test_a_worker_that_is_killed_once_is_started_afresh_and_does_its_run(tmp_path, telling):
    path, option, where = telling
    results = tmp_path / "results"
    runner = command(results, [path], *option)
    kill_next_worker(runner, where)
    (where / "go").write_text("")
    output, _ = runner.communicate(timeout=300)
    assert runner.returncode == 0, output
    (stored,) = results.glob("runs/*/*/*/*/run.json")
    assert json.loads(stored.read_text())["first_try"] == "it was killed by SIGKILL"


@pytest.mark.slow
def test_a_worker_that_is_killed_twice_is_a_failed_run_and_is_resumed(tmp_path, telling):
    path, option, where = telling
    results = tmp_path / "results"
    runner = command(results, [path, "prior"], *option)
    wait_for(lambda: list(results.glob("runs/*/*/prior/*/run.json")))
    first = kill_next_worker(runner, where)
    kill_next_worker(runner, where, but=first)
    output, _ = runner.communicate(timeout=300)
    assert runner.returncode == 1, output
    assert "killed by SIGKILL, twice" in output
    (where / "go").write_text("")
    again = command(results, [path, "prior"], *option)
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert len(list(results.glob("runs/*/*/*/*/cases.csv"))) == 2


@pytest.mark.parametrize("sign", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_runner_ends_its_workers(tmp_path, slow, sign):
    path, option, _ = slow
    runner = command(tmp_path / "results", [path], *option)
    workers = wait_for(lambda: workers_of(runner.pid))
    runner.send_signal(sign)
    output, _ = runner.communicate(timeout=60)
    assert runner.returncode not in (0, 1, 2), output
    assert "Traceback" not in output
    assert not any(map(alive, workers))


@pytest.mark.slow
def test_two_runners_share_a_results_folder(tmp_path, slow):
    path, option, go = slow
    results = tmp_path / "results"
    one = command(results, [path, "prior"], *option)
    wait_for(lambda: workers_of(one.pid))
    two = command(results, [path, "prior"], *option)
    output, _ = two.communicate(timeout=300)
    assert "elsewhere" in output
    go.write_text("")
    output, _ = one.communicate(timeout=300)
    assert one.returncode == 0, output
    assert len(list(results.glob("runs/*/*/*/*/cases.csv"))) == 2


@pytest.mark.slow
def test_a_full_disk_is_said_in_a_sentence_and_stored_runs_stay_whole(tmp_path):
    """Files may not grow beyond a few kB here, as on a full disk."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000));"
        "from benchmark.__main__ import main; sys.argv[1:] = sys.argv[2:]; main()"
    )
    flags = ["--methods", "prior", "--datasets", "octa_phantom", "--results", str(tmp_path / "r")]
    unwatched = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}  # it writes, too
    command = [sys.executable, "-c", code, "-", "run", *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, env=unwatched)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "can't be written: File too large" in done.stderr
    assert not list((tmp_path / "r").glob("runs/*/*/*/*"))
