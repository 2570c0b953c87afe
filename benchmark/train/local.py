"""Local executor: a fixed number of worker processes per device, each with one sealed folder.

`ray.client` is the executor for a Ray cluster. In both, a worker that raises an error or exceeds the time limit has failed.
A worker that dies (killed by a signal, or with its machine) is started once more.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import benchmark
from benchmark import InputError
from benchmark.train.forks import Forked, Forks
from benchmark.train.mps import shared_gpus

POLL_S = 0.1
VECTORS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
SCRATCH = "weakseg-bench-"  # prefix of temporary folders


@dataclass(frozen=True)
class Task:
    """A job for a worker: the paths that it reads and writes."""

    name: str  # for the terminal
    job: Path  # JOB, inside `out`
    sealed: Path
    out: Path
    threads: int
    steps: int


@dataclass
class Running:
    """A task that is running."""

    task: Task
    device: str
    start: float = field(default_factory=time.monotonic)
    stage: str = "starting"  # for the terminal, before the first logged step


@dataclass
class Worker(Running):
    """A task that is running in a process of this machine."""

    process: subprocess.Popen[bytes] | Forked = field(kw_only=True)


@dataclass(frozen=True)
class Outcome:
    """How a worker ended; `reason` is empty if it finished its task."""

    task: Task
    device: str
    seconds: float  # of the last try
    reason: str
    processor: str  # of its machine
    died: bool = False  # without an error, within the time limit
    first_try: str = ""  # why a first try failed; empty without one


class Executor(Protocol):
    """Runs tasks, several at once."""

    @property
    def running(self) -> list[Running]:
        """The running tasks."""

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        """Yield outcomes in the order of their ends, and None after each wait; take a task only when a slot is free."""


class Local:
    """Slots on CPUs or GPUs; a free slot gets the next task."""

    def __init__(self, devices: list[str], per_device: int, timeout_s: float | None, hide: Collection[Path]) -> None:
        """`hide`: folders that no environment variable of a worker may name."""
        self.devices, self.per_device = devices, per_device
        self.free = [device for _ in range(per_device) for device in devices]
        self.timeout_s = timeout_s
        self.hide = hide
        self.workers: list[Worker] = []
        self.retries = RetryOnce()
        self.forks: Forks | None = None
        self.variables: dict[str, str] = {}  # by which workers find the service that shares a GPU

    @property
    def running(self) -> list[Running]:
        """The running tasks."""
        return list(self.workers)

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        """Yield outcomes in the order of their ends, and None after each wait; take a task only when a slot is free."""
        with scratch() as folder, shared_gpus(folder, self.devices, self.per_device) as self.variables:
            try:
                if sys.platform == "linux":  # elsewhere a process that has imported torch can't be forked safely
                    self.forks = Forks(worker_environment("cpu", 1, self.hide))
                yield from self._run(tasks)
            finally:
                for worker in self.workers:
                    kill(worker)
                self.workers.clear()
                if self.forks:
                    self.forks.close()

    def _run(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        waiting = True
        while waiting or self.workers:
            while waiting and self.free:
                task = next(tasks, None)
                waiting = task is not None
                if task is not None:
                    device = max(self.free, key=self.free.count)  # the one with the most free slots
                    self.free.remove(device)
                    self.workers.append(self._start(task, device))
            yield from self._ended()
            if waiting and self.free:
                continue
            yield None
            if self.workers:
                time.sleep(POLL_S)

    def _start(self, task: Task, device: str) -> Worker:
        return start(task, device, self.hide, self.forks, self.variables)

    def _ended(self) -> Iterator[Outcome]:
        for worker in list(self.workers):
            ended = outcome(worker, self.timeout_s)
            if ended is None:
                continue
            self.workers.remove(worker)
            if self.retries.is_first(ended):
                self.workers.append(self._start(worker.task, worker.device))
            else:
                self.free.append(worker.device)
                yield self.retries.with_first_failure(ended)


class RetryOnce:
    """Tasks whose worker died, with the reason; each is started once more, as the machine may be the cause."""

    def __init__(self) -> None:
        self.reasons: dict[Task, str] = {}

    def is_first(self, ended: Outcome) -> bool:
        """Return whether the task is to be started again; if so, remove the files of the first try."""
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
        """Return the outcome of the last try, with the reason of a first failure."""
        first = self.reasons.pop(ended.task, "")
        reason = ended.reason
        if first and ended.died:
            reason = f"{reason}, twice" if reason == first else f"{first}, then {reason}"
        if ended.died and "SIGKILL" in reason:
            reason += " (out of memory?)"
        return replace(ended, reason=reason, first_try=first)


def start(
    task: Task,
    device: str,
    hide: Collection[Path],
    forks: Forks | None = None,
    variables: Mapping[str, str] | None = None,
) -> Worker:
    """Start a worker process for the task on a device of this machine, forked if possible.

    variables: added to its environment.
    """
    arguments = [str(task.job), str(task.sealed), str(task.out)]
    environment = worker_environment(device, task.threads, hide) | dict(variables or {})
    # NumPy's library takes its number of threads when it is imported, which in the helper is one
    if forks and task.threads == 1 and (forked := forks.start(arguments, environment)):
        return Worker(task, device, process=forked)
    with (task.out / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmark.train.worker", *arguments],
            stdin=subprocess.PIPE,  # closes whenever this process ends
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=task.out,
            env=environment,
            start_new_session=True,  # so that a worker's children end with it
        )
    return Worker(task, device, process=process)


def outcome(worker: Worker, timeout_s: float | None) -> Outcome | None:
    """Return how a worker ended, and kill its remaining processes; None while it runs."""
    seconds = time.monotonic() - worker.start
    runs = worker.process.poll() is None
    if runs and (timeout_s is None or seconds <= timeout_s):
        return None
    reason, died = (f"it ran longer than {timeout_s:g} s", False) if runs else _reason(worker)
    kill(worker)
    return Outcome(worker.task, worker.device, seconds, reason, processor(), died)


def devices(wanted: str) -> list[str]:
    """Return the devices of `auto`, `cpu`, `cuda` or `cuda:N`; raises InputError for one that doesn't exist."""
    if wanted == "cpu":
        return ["cpu"]
    import torch

    gpus = [f"cuda:{n}" for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if wanted == "auto":
        return gpus or ["cpu"]
    chosen = gpus if wanted == "cuda" else [device for device in gpus if device == wanted]
    if not chosen:
        raise InputError(f"there is no device {wanted!r}; there are {', '.join(['cpu', *gpus])}")
    return chosen


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slots(devices: list[str], workers: int, threads: int) -> int:
    """Return the number of runs at once on each device; `workers` if it is stated, else one per core or GPU."""
    return workers or (max(1, cores() // threads) if devices == ["cpu"] else 1)


def worker_environment(device: str, threads: int, hide: Collection[Path]) -> dict[str, str]:
    """Return a worker's environment: `clean_environment` without Ray's variables; its device and threads."""
    clean = {name: value for name, value in clean_environment(hide).items() if not name.startswith("RAY_")}
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return clean | counts | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "CUDA_VISIBLE_DEVICES": _visible(device),
        "PYTHONHASHSEED": "0",  # the order of a set of texts
    }  # fmt: skip


def clean_environment(hide: Collection[Path]) -> dict[str, str]:
    """Return this process's environment without variables that name masks or results; this package is importable in it."""
    package = Path(benchmark.__file__).parents[1]  # a checkout may not be installed
    secret = {
        re.compile(rf"{re.escape(str(path))}(?![\w-]|\.\w)")  # not a part of another folder's name
        for folder in hide
        for path in (folder.absolute(), folder.resolve())
        if not any(Path(needed).is_relative_to(path) for needed in (package, sys.prefix))  # by the worker
    }
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BENCHMARK_") and not any(pattern.search(value) for pattern in secret)
    }
    path = os.pathsep.join(filter(None, [clean.get("PYTHONPATH"), str(package)]))
    return clean | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # nothing is imported from the working folder


def _visible(device: str) -> str:
    """Return the CUDA_VISIBLE_DEVICES with which a worker sees only its own device."""
    number = device.partition(":")[2]
    outer = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return outer[int(number)] if number and outer else number


def _reason(worker: Worker) -> tuple[str, bool]:
    """Return why a worker failed (empty if it did not), and whether it died without an error."""
    code = worker.process.returncode
    if code == 0:
        return ("" if (worker.task.out / "worker.json").is_file() else "it ended without writing worker.json"), False
    reason = worker.task.out / "reason.txt"
    if reason.is_file() and (text := reason.read_text().strip()):
        return text, False
    if code < 0:
        known = {each.value: each.name for each in signal.Signals}
        return f"it was killed by {known.get(-code, f'signal {-code}')}", True
    return f"it ended with status {code}", False


def kill(worker: Worker) -> None:
    """Kill a worker and its children."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    if worker.process.stdin is not None:
        worker.process.stdin.close()


def processor() -> str:
    """Return the processor's name and its widest vector instructions; on a virtual machine the name doesn't imply these."""
    facts: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    widest = next((flag for flag in VECTORS if flag in facts.get("flags", "").split()), "")
    return facts.get("model name", os.uname().machine) + (f" ({widest})" if widest else "")


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a temporary folder for the block; folders of killed processes are removed."""
    for old in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError), (old / "lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - old.stat().st_mtime > 1:  # not one that is being created
                shutil.rmtree(old)
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH))
    try:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
