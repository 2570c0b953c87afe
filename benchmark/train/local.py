"""Where runs are done: worker processes on this machine, so many at once on each device, each alone with its sealed folder.

`ray.client` does the same on the machines of a Ray cluster. Whatever the executor, a worker that raises an error or runs
too long has failed; one that dies (killed by a signal, or with its machine) is tried once more.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import benchmark
from benchmark import InputError

POLL_S = 0.1
VECTORS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
SCRATCH = "weakseg-bench-"  # folders in the system's temporary place


@dataclass(frozen=True)
class Task:
    """A job on its way: what the worker reads and writes."""

    name: str  # for the screen
    job: Path  # JOB, inside `out`
    sealed: Path
    out: Path
    threads: int
    steps: int


@dataclass
class Running:
    """A task at work."""

    task: Task
    device: str
    start: float = field(default_factory=time.monotonic)
    stage: str = "starting"  # for the screen, while no step is known


@dataclass
class Worker(Running):
    """A task at work in a process of this machine."""

    process: subprocess.Popen[bytes] = field(kw_only=True)


@dataclass(frozen=True)
class Outcome:
    """A worker that has ended; `reason` is empty if it did its work."""

    task: Task
    device: str
    seconds: float  # of the last try
    reason: str
    processor: str  # of the machine that it ran on
    died: bool = False  # it raised no error and had time left
    first_try: str = ""  # why there was a second one


class Executor(Protocol):
    """Does tasks, several at once."""

    @property
    def running(self) -> list[Running]:
        """What is at work."""

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        """Outcomes as they come, and None whenever a moment has passed; a task is asked for when there is room for it."""


class Local:
    """Slots on CPUs or GPUs; a slot takes the next task when its worker has ended."""

    def __init__(self, devices: list[str], per_device: int, timeout_s: float | None, hide: Collection[Path]) -> None:
        """`hide` are folders that no environment variable of a worker may name."""
        self.free = [device for device in devices for _ in range(per_device)]
        self.timeout_s = timeout_s
        self.hide = hide
        self.workers: list[Worker] = []
        self.deaths = RetryOnce()

    @property
    def running(self) -> list[Running]:
        """What is at work."""
        return list(self.workers)

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        """Outcomes as they come, and None whenever a moment has passed; tasks are made when a slot is free."""
        waiting = True
        try:
            while waiting or self.workers:
                while waiting and self.free:
                    task = next(tasks, None)
                    waiting = task is not None
                    if task is not None:
                        self.workers.append(start(task, self.free.pop(0), self.hide))
                yield from self._ended()
                yield None
                if self.workers:
                    time.sleep(POLL_S)
        finally:
            for worker in self.workers:
                kill(worker)
            self.workers.clear()

    def _ended(self) -> Iterator[Outcome]:
        for worker in list(self.workers):
            ended = outcome(worker, self.timeout_s)
            if ended is None:
                continue
            self.workers.remove(worker)
            if self.deaths.is_first(ended):
                self.workers.append(start(worker.task, worker.device, self.hide))
            else:
                self.free.append(worker.device)
                yield self.deaths.with_first_failure(ended)


class RetryOnce:
    """Tasks whose worker died, and of what: each is tried once more, for a death may be the machine's fault."""

    def __init__(self) -> None:
        self.reasons: dict[Task, str] = {}

    def is_first(self, ended: Outcome) -> bool:
        """Whether it is to be tried again; what the worker left is removed then."""
        if not ended.died or ended.task in self.reasons:
            return False
        self.reasons[ended.task] = ended.reason
        for path in ended.task.out.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != ended.task.job:
                path.unlink()
        return True

    def with_first_failure(self, ended: Outcome) -> Outcome:
        """The outcome of the last try, with what became of the first."""
        first = self.reasons.pop(ended.task, "")
        reason = ended.reason
        if first and ended.died:
            reason = f"{reason}, twice" if reason == first else f"{first}, then {reason}"
        if ended.died and "SIGKILL" in reason:
            reason += " (out of memory?)"
        return replace(ended, reason=reason, first_try=first)


def start(task: Task, device: str, hide: Collection[Path]) -> Worker:
    """A worker process that does the task on a device of this machine."""
    command = [sys.executable, "-m", "benchmark.train.worker", str(task.job), str(task.sealed), str(task.out)]
    with (task.out / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closes when this process ends, however it ends
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=task.out,
            env=worker_environment(device, task.threads, hide),
            start_new_session=True,  # so that a worker's own children end with it
        )
    return Worker(task, device, process=process)


def outcome(worker: Worker, timeout_s: float | None) -> Outcome | None:
    """How a worker ended, and nothing of it runs on; None while it may go on."""
    seconds = time.monotonic() - worker.start
    late = timeout_s is not None and seconds > timeout_s
    if worker.process.poll() is None and not late:
        return None
    reason, died = (f"it ran longer than {timeout_s:g} s", False) if late else _reason(worker)
    kill(worker)
    return Outcome(worker.task, worker.device, seconds, reason, processor(), died)


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


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_environment(device: str, threads: int, hide: Collection[Path]) -> dict[str, str]:
    """What a worker's environment is: `clean_environment` without what leads into a Ray cluster; its device and threads."""
    kept = {name: value for name, value in clean_environment(hide).items() if not name.startswith("RAY_")}
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return kept | counts | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "CUDA_VISIBLE_DEVICES": _visible(device),
    }  # fmt: skip


def clean_environment(hide: Collection[Path]) -> dict[str, str]:
    """This process's environment without what could lead to masks or results; this package can be imported in it."""
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
    return kept | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # the working folder holds nothing to import


def _visible(device: str) -> str:
    """What CUDA_VISIBLE_DEVICES must say so that a worker sees its own device alone."""
    number = device.partition(":")[2]
    outer = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return outer[int(number)] if number and outer else number


def _reason(worker: Worker) -> tuple[str, bool]:
    """Why a worker that has ended failed, empty if it did not; and whether it died without a word."""
    code = worker.process.returncode
    if code == 0:
        return ("" if (worker.task.out / "worker.json").is_file() else "it ended without an outcome"), False
    error = worker.task.out / "error.txt"
    if error.is_file() and (lines := error.read_text().strip().splitlines()):
        return lines[-1], False
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}", True
    return f"it ended with status {code}", False


def kill(worker: Worker) -> None:
    """End a worker and whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    if worker.process.stdin is not None:
        worker.process.stdin.close()


def processor() -> str:
    """The processor's name and its widest vector instructions, which a virtual machine's name does not tell."""
    told: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            told.setdefault(key.strip(), value.strip())
    widest = next((flag for flag in VECTORS if flag in told.get("flags", "").split()), "")
    return told.get("model name", os.uname().machine) + (f" ({widest})" if widest else "")


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder of this process; those of processes that were killed are removed."""
    for old in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError), (old / "lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - old.stat().st_mtime > 1:  # not one that is being made
                shutil.rmtree(old)
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH))
    try:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
