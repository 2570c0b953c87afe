"""Runs on the machines of a Ray cluster: `--executor ray`.

The connection to Ray is in a process of its own (`driver`), because Ray ends the process that has lost its cluster, and
because masks are in this one. Tasks and outcomes pass through a pipe; when it closes, the other side cleans up and ends.
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

GRACE_S = 20  # for Ray to end what it runs
LOST = "the connection to Ray was lost"

Nodes = Collection[Mapping[str, Any]]  # as `ray.nodes()` gives them


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and how much of it a run takes."""

    address: str  # HOST:PORT; empty: a private one on this machine
    device: str  # auto, cpu or cuda
    workers: int  # runs at once per GPU; 0: one
    threads: int  # CPUs of the run that takes most
    timeout_s: float | None


class Ray:
    """Places on the nodes of a cluster; how many there are changes as nodes come and go."""

    def __init__(self, cluster: Cluster, hide: Collection[Path]) -> None:
        """`hide` are folders that no environment variable of a worker may name."""
        self.cluster = cluster
        self.hide = tuple({path for folder in hide for path in (folder.absolute(), folder.resolve())})  # from anywhere
        self.running: list[Running] = []
        self.deaths = RetryOnce()
        self.places = 0

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome | None]:
        """Outcomes as they come, and None whenever a moment has passed; raises InputError when the cluster is lost."""
        waiting = True
        with _driver(self.cluster, self.hide) as pipe:
            while waiting or self.running:
                while waiting and len(self.running) < self.places:
                    task = next(tasks, None)
                    waiting = task is not None
                    if task is not None:
                        self._send(pipe, task)
                try:
                    for message in _received(pipe):
                        yield from self._take(pipe, message)
                except EOFError:
                    yield from self._lost()
                    raise
                yield None

    def _send(self, pipe: "Connection[Any, Any]", task: Task) -> None:
        self.running.append(Running(task, "ray", stage="on a node"))
        with suppress(BrokenPipeError, ConnectionResetError):  # noticed when the next message is awaited
            pipe.send(task)

    def _take(self, pipe: "Connection[Any, Any]", message: str | int | Outcome) -> Iterator[Outcome]:
        """The outcome that a message holds, if it holds a last one."""
        if isinstance(message, str):
            raise InputError(message)
        if isinstance(message, int):
            self.places = message
            return
        self.running = [each for each in self.running if each.task != message.task]
        if self.deaths.is_first(message):
            self._send(pipe, message.task)
        else:
            yield self.deaths.with_first_failure(message)

    def _lost(self) -> Iterator[Outcome]:
        while self.running:
            yield Outcome(self.running.pop().task, "ray", 0, LOST, "")


def _received(pipe: "Connection[Any, Any]") -> Iterator[str | int | Outcome]:
    """What has come, after a moment's wait for the first message; raises EOFError when the other side has ended."""
    moment = POLL_S
    try:
        while pipe.poll(moment):
            yield pipe.recv()
            moment = 0
    except (BrokenPipeError, ConnectionResetError) as error:
        raise EOFError from error


def refuse(device: str) -> None:
    """Raise InputError where Ray isn't installed, or the device is none that a cluster has."""
    if importlib.util.find_spec("ray") is None:
        raise InputError("--executor ray needs Ray: pip install 'weakseg-bench[ray]'")
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device is {device!r}; with --executor ray it must be auto, cpu or cuda")


def places(nodes: Nodes, cluster: Cluster, gpu: bool) -> int:
    """How many runs the nodes take at once."""
    return sum(_places(node, cluster, gpu) for node in nodes)


def _places(node: Mapping[str, Any], cluster: Cluster, gpu: bool) -> int:
    by_cpu = amount(node, "CPU") // cluster.threads
    return min(by_cpu, amount(node, "GPU") * max(1, cluster.workers)) if gpu else by_cpu


def refusal(nodes: Nodes, cluster: Cluster, gpu: bool) -> str:
    """Why these nodes can't do the runs; empty if they can."""
    if cluster.device == "cuda" and not gpu:
        return "no node of the Ray cluster has a GPU"
    if cluster.workers and not gpu:
        return "--workers is of runs per GPU with --executor ray; on CPUs a run takes as many as it has threads"
    if not places(nodes, cluster, gpu):
        return f"no node of the Ray cluster has {cluster.threads} CPUs" + (" and a GPU" if gpu else "")
    return ""


def amount(node: Mapping[str, Any], resource: str) -> int:
    """How much of a resource a node has."""
    return int(node["Resources"].get(resource, 0))


def _private() -> dict[str, str]:
    """Variables that keep other users of this machine out of a Ray that is started for one sweep."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def _driver(cluster: Cluster, hide: tuple[Path, ...]) -> Iterator["Connection[Any, Any]"]:
    """The pipe to a process connected to Ray; nothing of it is left in the end. An EOFError becomes an InputError."""
    ours, theirs = Pipe()
    with scratch() as folder, (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmark.train.ray.driver", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=clean_environment(hide) | {"RAY_USAGE_STATS_ENABLED": "0"} | ({} if cluster.address else _private()),
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # an interrupt is for this process alone, which then closes the pipe
        )
        theirs.close()
        try:
            with suppress(BrokenPipeError):  # noticed when an answer is awaited
                ours.send((cluster, hide))
            yield ours
        except EOFError as error:
            word = (folder / "output.txt").read_text(errors="replace").strip().rpartition("\n")[2]
            raise InputError(f"{LOST}; finished runs are kept, and the same command resumes. {word}".strip()) from error
        finally:
            ours.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a private Ray's processes, should any be left
            process.wait()
