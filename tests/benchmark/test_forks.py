"""Workers that are forked do what those do that are started afresh."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.seal import contract
from benchmark.seal import folder as sealed
from benchmark.seal.contract import Budget
from benchmark.train import forks
from benchmark.train.local import Outcome, Task, Worker, kill, outcome, start, worker_environment
from tests.support.processes import alive, children, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")

SPYING = '''"""Notes what it can see, and learns as `pce` does."""
import json, os, sys, threading
from dataclasses import dataclass
from pathlib import Path
import torch
from benchmark.methods.pce import PartialCrossEntropy

@dataclass
class Spying(PartialCrossEntropy):
    """For a test."""

    where: str = ""

    def fit(self, data, budget, log):
        opened = sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())
        seen = dict(environment=dict(os.environ), arguments=sys.argv, cwd=os.getcwd(), group=os.getpgrp() == os.getpid(),
                    opened=[os.readlink(f"/proc/self/fd/{fd}") for fd in opened[:3]], count=len(opened),
                    datasets=[name for name in sys.modules if "datasets" in name.split(".")],
                    threads=[torch.get_num_threads(), threading.active_count()], hashes=sys.flags.hash_randomization)
        seen["opened"][0] = seen["opened"][0].partition(":")[0]
        Path(self.where).write_text(json.dumps(seen))
        print("a line of output", flush=True)
        super().fit(data, budget, log)
'''


@pytest.fixture(scope="module")
def helper():
    """A helper process."""
    helper = forks.Forks(worker_environment("cpu", 1, []))
    yield helper
    helper.close()


def make_task(folder: Path, method: str, options: dict, name: str = "mine") -> Task:
    """A task of two steps on random images."""
    out, held = folder / "out", folder / "sealed"
    if not held.exists():
        out.mkdir()
        held.mkdir()
        rng = np.random.default_rng(0)
        images = rng.random((2, 1, 1, 32, 32), np.float32)
        marks = rng.integers(1, 4, (2, 1, 32, 32)).astype(np.uint8)
        scans = list(map(contract.WeakScan, images, marks))
        sealed.seal(held, {"train": scans}, [contract.TestScan(image) for image in images], 2, 1)
    (folder / f"{name}.py").write_text(method)
    plugin = {"kind": "method", "name": name, "module": str(folder / f"{name}.py"), "cls": ""}
    budget = dataclasses.asdict(Budget(steps=2, batch=2, size=32))
    (out / "job.json").write_text(json.dumps({"plugin": plugin, "options": options, "seed": 3, "budget": budget}))
    return Task(name, out / "job.json", held, out, 1, 2)


def ended(worker: Worker) -> Outcome:
    """How it ended, in the end."""
    return wait_for(lambda: outcome(worker, 120))


@pytest.fixture(scope="module")
def both(helper, tmp_path_factory):
    """What a method saw and made in a worker that was started afresh, and in one that was forked."""
    root = tmp_path_factory.mktemp("both")
    task, found = make_task(root, SPYING, {"where": str(root / "seen.json")}), []
    for way in (None, helper):
        worker = start(task, "cpu", [], way)
        assert isinstance(worker.process, subprocess.Popen if way is None else forks.Forked)
        assert ended(worker).reason == ""
        log = [json.loads(line) for line in (task.out / "train.jsonl").read_text().splitlines()]
        labels = [np.load(path) for path in sorted(task.out.glob("label*.npy"))]
        found.append((json.loads((root / "seen.json").read_text()), log, labels, (task.out / "output.txt").read_text()))
    return found


def test_a_forked_worker_makes_the_same_bytes(both):
    (_, log, labels, _), (_, forked_log, forked_labels, _) = both
    assert len(labels) == 2
    assert all(map(np.array_equal, labels, forked_labels))
    for lines in (log, forked_log):
        for line in lines:
            del line["seconds"]
    assert [line["step"] for line in log] == [0, 1]
    assert log == forked_log


def test_a_forked_worker_sees_what_a_fresh_one_sees(both):
    fresh, forked = dict(both[0][0]), dict(both[1][0])
    environment, forked_environment = fresh.pop("environment"), forked.pop("environment")
    assert environment.items() <= forked_environment.items()
    # set by torch's compiler, which the helper imports before the method learns
    assert set(forked_environment) - set(environment) <= {"TORCHINDUCTOR_CACHE_DIR"}
    assert forked_environment["OMP_NUM_THREADS"] == "1"
    assert forked["opened"][1:] == [forked["cwd"] + "/output.txt"] * 2
    assert forked["group"]
    assert forked == fresh


def test_a_forked_worker_has_no_module_of_data_sets(both):
    assert both[1][0]["datasets"] == ["benchmark.datasets"]  # its entry is None: importing it is an error


def test_a_forked_workers_output_is_kept(both):
    assert both[1][3] == both[0][3] == "a line of output\n"


@pytest.mark.parametrize(
    ("body", "reason", "died"),
    [
        ("raise RuntimeError('no idea')", "RuntimeError: no idea", False),
        ("os._exit(3)", "it ended with status 3", False),
        ("os.kill(os.getpid(), 9)", "it was killed by SIGKILL", True),
    ],
)
def test_how_a_forked_worker_ended_is_said(helper, tmp_path, body, reason, died):
    task = make_task(tmp_path, f"import os\n{body}\n", {})
    if "raise" in body:
        reason = f"method 'mine' doesn't import: {task.out.parent}/mine.py: RuntimeError('no idea')"
    found = ended(start(task, "cpu", [], helper))
    assert (found.reason, found.died) == (reason, died)


def test_what_a_worker_registers_for_its_end_is_done(helper, tmp_path):
    method = f"import atexit, pathlib\natexit.register(pathlib.Path({str(tmp_path / 'left')!r}).touch)\n"
    ended(start(make_task(tmp_path, method, {}), "cpu", [], helper))
    assert (tmp_path / "left").exists()


def test_the_helper_has_one_thread_and_keeps_no_file_of_a_worker(helper, both):
    process = Path(f"/proc/{helper.process.pid}")
    assert len(list((process / "task").iterdir())) == 1
    opened = [str(path.resolve()) for path in (process / "fd").iterdir()]
    assert not any("output.txt" in path or "sealed" in path for path in opened)
    assert len(opened) == 4  # the three of each process, and the pipe of requests


def test_a_process_with_a_second_thread_does_not_fork():
    code = "import threading; from benchmark.train.forks import forkable; print(forkable()); lock = threading.Lock()\n"
    code += "lock.acquire(); threading.Thread(target=lock.acquire, daemon=True).start(); print(forkable())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_worker_with_more_threads_is_started_afresh(helper, tmp_path):
    """NumPy's library takes their number at its import."""
    task = dataclasses.replace(make_task(tmp_path, "", {}), threads=2)
    worker = start(task, "cpu", [], helper)
    assert isinstance(worker.process, subprocess.Popen)
    kill(worker)


def test_a_forked_worker_takes_what_of_its_environment_differs(helper, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_OWN", "a value")
    method = f"import os, pathlib\npathlib.Path({str(tmp_path / 'seen')!r}).write_text(os.environ['MY_OWN'])\n"
    ended(start(make_task(tmp_path, method, {}), "cpu", [], helper))
    assert (tmp_path / "seen").read_text() == "a value"


def test_a_refused_fork_is_no_worker(monkeypatch):
    def refuse():
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    assert forks.fork() is None


def test_without_a_helper_its_workers_have_died_and_others_are_started_afresh(helper, tmp_path):
    """The last test of this file, since it kills the helper."""
    task = make_task(tmp_path, "import time\ntime.sleep(300)\n", {})
    worker = start(task, "cpu", [], helper)
    (pid,) = children(helper.process.pid)
    helper.process.send_signal(signal.SIGKILL)
    helper.process.wait()
    found = ended(worker)
    assert (found.reason, found.died) == ("it was killed by SIGKILL", True)
    wait_for(lambda: not alive(pid), seconds=10)
    fresh = start(task, "cpu", [], helper)
    assert isinstance(fresh.process, subprocess.Popen)
    kill(fresh)
