"""Worker processes on this machine: so many at once on each device, each alone with its sealed folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import benchmark
from benchmark import InputError

POLL_S = 0.1


@dataclass(frozen=True)
class Task:
    """A job on its way: what the worker reads and writes."""

    name: str  # for the screen
    job: Path  # JOB
    sealed: Path
    out: Path
    threads: int
    steps: int


@dataclass
class Running:
    """A worker at work."""

    task: Task
    process: subprocess.Popen[bytes]
    device: str
    start: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Ended:
    """A worker that has ended; `reason` is empty if it did its work."""

    task: Task
    device: str
    seconds: float
    reason: str


class Local:
    """Slots on CPUs or GPUs; a slot takes the next task when its worker has ended."""

    def __init__(self, devices: list[str], per_device: int, timeout_s: float | None, hide: Collection[Path]) -> None:
        """`hide` are folders that no environment variable of a worker may name."""
        self.free = [device for device in devices for _ in range(per_device)]
        self.timeout_s = timeout_s
        self.hide = hide
        self.running: list[Running] = []

    def run(self, tasks: Iterator[Task]) -> Iterator[Ended | None]:
        """Outcomes as they come, and None whenever a moment has passed; tasks are made when a slot is free."""
        waiting = True
        try:
            while waiting or self.running:
                while waiting and self.free:
                    task = next(tasks, None)
                    waiting = task is not None
                    if task is not None:
                        self._start(task)
                yield from self._ended()
                yield None
                if self.running:
                    time.sleep(POLL_S)
        finally:
            self._kill_all()

    def _start(self, task: Task) -> None:
        device = self.free.pop(0)
        command = [sys.executable, "-m", "benchmark.worker", str(task.job), str(task.sealed), str(task.out)]
        with (task.out / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # closes when this process ends, however it ends
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=task.out,
                env=worker_environment(device, task.threads, self.hide),
                start_new_session=True,  # so that a worker's own children end with it
            )
        self.running.append(Running(task, process, device))

    def _ended(self) -> Iterator[Ended]:
        for worker in list(self.running):
            seconds = time.monotonic() - worker.start
            late = self.timeout_s is not None and seconds > self.timeout_s
            if worker.process.poll() is None and not late:
                continue
            reason = f"it ran longer than {self.timeout_s:g} s" if late else _reason(worker)
            _kill(worker)
            self.running.remove(worker)
            self.free.append(worker.device)
            yield Ended(worker.task, worker.device, seconds, reason)

    def _kill_all(self) -> None:
        for worker in self.running:
            _kill(worker)
        self.running.clear()


def devices(wanted: str) -> list[str]:
    """The devices that `auto`, `cpu`, `cuda` or `cuda:N` means here; raises InputError for one that is not there."""
    if wanted == "cpu":
        return ["cpu"]
    import torch

    there = [f"cuda:{n}" for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if wanted == "auto":
        return there or ["cpu"]
    chosen = there if wanted == "cuda" else [device for device in there if device == wanted]
    if not chosen:
        raise InputError(f"there is no device {wanted!r}; there are {', '.join(['cpu', *there])}")
    return chosen


def worker_environment(device: str, threads: int, hide: Collection[Path]) -> dict[str, str]:
    """This process's environment without what could lead to masks or results; with the worker's device and threads."""
    package = Path(benchmark.__file__).parents[1]  # a checkout need not be installed
    secret = {
        str(path)
        for folder in hide
        for path in (folder.absolute(), folder.resolve())
        if not any(Path(own).is_relative_to(path) for own in (package, sys.prefix))  # these the worker needs
    }
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BENCHMARK_") and not any(path in value for path in secret)
    }
    path = os.pathsep.join(filter(None, [kept.get("PYTHONPATH"), str(package)]))
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return kept | counts | {
        "PYTHONPATH": path,
        "PYTHONSAFEPATH": "1",  # the working folder holds nothing to import
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "CUDA_VISIBLE_DEVICES": _visible(device),
    }  # fmt: skip


def _visible(device: str) -> str:
    """What CUDA_VISIBLE_DEVICES must say so that a worker sees its own device alone."""
    number = device.partition(":")[2]
    outer = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return outer[int(number)] if number and outer else number


def _reason(worker: Running) -> str:
    """Why a worker that has ended failed; empty if it did not."""
    code = worker.process.returncode
    if code == 0:
        return "" if (worker.task.out / "worker.json").is_file() else "it ended without an outcome"
    error = worker.task.out / "error.txt"
    if error.is_file() and (lines := error.read_text().strip().splitlines()):
        return lines[-1]
    if code < 0:
        name = signal.Signals(-code).name
        return f"it was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"it ended with status {code}"


def _kill(worker: Running) -> None:
    """End a worker and whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    if worker.process.stdin is not None:
        worker.process.stdin.close()
