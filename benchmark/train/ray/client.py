"""Ray executor: runs on the machines of a Ray cluster (`--executor ray`).

A separate process (`driver`) is connected to Ray, because Ray ends a process that has lost its cluster, and because this
one has the masks. Tasks and outcomes pass through a pipe; when it closes, the driver cleans up and ends.
"""

import importlib.util
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmark import InputError
from benchmark.train.local import POLL_S, Outcome, RetryOnce, Running, Task, clean_environment, scratch

GRACE_S = 20  # for Ray to end its tasks
LOST = "the connection to Ray was lost"

Nodes = Collection[Mapping[str, Any]]  # of `ray.nodes()`


@dataclass(frozen=True)
class Cluster:
    """The cluster, and the resources of a run."""

    address: str  # HOST:PORT; empty: a private cluster on this machine
    device: str  # auto, cpu or cuda
    workers: int  # runs at once per GPU; 0: one
    threads: int  # CPUs of the largest run
    timeout_s: float | None


class Ray:
    """Slots on the nodes of a cluster; their number changes as nodes join and leave."""

    def __init__(self, cluster: Cluster, hide: Collection[Path]) -> None:
        """`hide`: folders that no environment variable of a worker may name."""
        self.cluster = cluster
        self.hide = tuple({path for folder in hide for path in (folder.absolute(), folder.resolve())})
        self.running: list[Running] = []
        self.retries = RetryOnce()
        self.slots = 0

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        """Yield outcomes in the order of their ends, and None after each wait; raises InputError if the cluster is lost."""
        waiting = True
        with _driver(self.cluster, self.hide) as pipe:
            while waiting or self.running:
                while waiting and len(self.running) < self.slots:
                    task = next(tasks, None)
                    waiting = task is not None
                    if task is not None:
                        self._send(pipe, task)
                try:
                    for message in _received(pipe):
                        yield from self._take(pipe, message)
                except EOFError:
                    while self.running:
                        yield Outcome(self.running.pop().task, "ray", 0, LOST, "")
                    raise
                yield None

    def _send(self, pipe: "Connection[Any, Any]", task: Task) -> None:
        self.running.append(Running(task, "ray", stage="on a node"))
        with suppress(BrokenPipeError, ConnectionResetError):  # found when the next message is awaited
            pipe.send(task)

    def _take(self, pipe: "Connection[Any, Any]", message: str | int | Outcome) -> Iterator[Outcome]:
        """Yield the outcome in a message, unless the task is to be started again."""
        if isinstance(message, str):
            raise InputError(message)
        if isinstance(message, int):
            self.slots = message
            return
        self.running = [each for each in self.running if each.task != message.task]
        if self.retries.is_first(message):
            self._send(pipe, message.task)
        else:
            yield self.retries.with_first_failure(message)


def _received(pipe: "Connection[Any, Any]") -> Iterator[str | int | Outcome]:
    """Yield the messages so far, after a short wait for the first; raises EOFError if the driver has ended."""
    wait_s = POLL_S
    try:
        while pipe.poll(wait_s):
            yield pipe.recv()
            wait_s = 0
    except (BrokenPipeError, ConnectionResetError) as error:
        raise EOFError from error


def check_device(device: str) -> None:
    """Check that Ray is installed, and that the device is a kind, not a single GPU."""
    if importlib.util.find_spec("ray") is None:
        raise InputError("--executor ray needs Ray: pip install 'weakseg-bench[ray]'")
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device is {device!r}; with --executor ray it must be auto, cpu or cuda")


def slots(nodes: Nodes, cluster: Cluster, gpu: bool) -> int:
    """Return the number of runs that fit on the nodes at once."""
    count = 0
    for node in nodes:
        by_cpu = amount(node, "CPU") // cluster.threads
        count += min(by_cpu, amount(node, "GPU") * max(1, cluster.workers)) if gpu else by_cpu
    return count


def cluster_fault(nodes: Nodes, cluster: Cluster, gpu: bool) -> str:
    """Return why the nodes can't run the jobs; empty if they can."""
    if cluster.device == "cuda" and not gpu:
        return "no node of the Ray cluster has a GPU"
    if cluster.workers and not gpu:
        return "--workers is the number of runs per GPU with --executor ray, and there is no GPU; leave it out"
    if not slots(nodes, cluster, gpu):
        return f"no node of the Ray cluster has {cluster.threads} CPUs" + (" and a GPU" if gpu else "")
    return ""


def amount(node: Mapping[str, Any], resource: str) -> int:
    """Return a node's amount of a resource."""
    return int(node["Resources"].get(resource, 0))


def _private() -> dict[str, str]:
    """Return variables that lock other users of this machine out of a private Ray cluster."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def _driver(cluster: Cluster, hide: tuple[Path, ...]) -> Iterator["Connection[Any, Any]"]:
    """Start the driver, yield the pipe to it, and end it after the block. An EOFError becomes an InputError."""
    pipe, driver_pipe = Pipe()
    with scratch() as folder, (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmark.train.ray.driver", str(driver_pipe.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=clean_environment(hide) | {"RAY_USAGE_STATS_ENABLED": "0"} | ({} if cluster.address else _private()),
            pass_fds=[driver_pipe.fileno()],
            start_new_session=True,  # Ctrl-C reaches this process only, which then closes the pipe
        )
        driver_pipe.close()
        try:
            with suppress(BrokenPipeError):  # found when an answer is awaited
                pipe.send((cluster, hide))
            yield pipe
        except EOFError as error:
            last = (folder / "output.txt").read_text(errors="replace").strip().rpartition("\n")[2]
            raise InputError(f"{LOST}; finished runs are stored, and the same command resumes. {last}".strip()) from error
        finally:
            pipe.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # processes of a private Ray cluster, if any are left
            process.wait()
