"""The process that is connected to Ray: `python -m benchmark.train.ray.driver PIPE`, started by `client`.

It gets a `Cluster` and then tasks. Its answers are the number of slots, outcomes, or a sentence that says why there is no
cluster. It ends with its tasks when the pipe closes.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError

from benchmark import InputError
from benchmark.train.local import POLL_S, Outcome, Task, cores
from benchmark.train.ray import bundle as bundles
from benchmark.train.ray.client import GRACE_S, Cluster, Nodes, amount, cluster_fault, slots

NODES_S = 2  # between counts of the slots


def main(number: str) -> None:
    """Serve until the pipe closes."""
    pipe: Connection[Any, Any] = Connection(int(number))
    cluster, hide = pipe.recv()
    try:
        connect(cluster)
    except Exception as error:  # of any type: there is no cluster
        where = f"Ray can't be reached at {cluster.address}" if cluster.address else "Ray doesn't start"
        hint = "; if it needs a token, set RAY_AUTH_MODE=token" if "RAY_AUTH_MODE" not in os.environ else ""
        pipe.send(f"{where}: {' '.join(str(error).split())}{hint}")
        return
    driver = Driver(cluster, hide)
    try:
        driver.serve(pipe)
    finally:
        driver.end()


def connect(cluster: Cluster) -> None:
    """Join the cluster, or start a private one with its files in the working folder, which ends with this process."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if cluster.address:
        ray.init(address=cluster.address, **quiet)
        return
    ray.init(
        address="local",
        num_cpus=max(cores(), cluster.threads),
        include_dashboard=False,
        _temp_dir=str(Path.cwd()),
        **quiet,
    )


class Driver:
    """Tasks on the cluster, and the sealed folders that are stored there for them."""

    def __init__(self, cluster: Cluster, hide: tuple[Path, ...]) -> None:
        self.cluster, self.hide = cluster, hide
        self.gpu = cluster.device != "cpu" and any(amount(node, "GPU") for node in _alive())
        # one run per process; the executor retries, as it reports the reason
        self.work = ray.remote(max_calls=1, max_retries=0)(bundles.run_on_node)
        self.pending: dict[Any, tuple[Task, float]] = {}
        self.sealed: dict[Path, Any] = {}
        self.refused: list[Outcome] = []  # of tasks that were not sent

    def serve(self, pipe: "Connection[Any, Any]") -> None:
        """Pass on tasks and outcomes until the pipe closes."""
        if reason := cluster_fault(_alive(), self.cluster, self.gpu):
            pipe.send(reason)
            return
        sent, counted = 0, -float("inf")
        with suppress(EOFError, BrokenPipeError, ConnectionResetError):
            while True:
                if time.monotonic() - counted > NODES_S:
                    counted, free = time.monotonic(), slots(_alive(), self.cluster, self.gpu)
                    if free != sent:
                        sent = free
                        pipe.send(sent)
                if pipe.poll(POLL_S):
                    self._submit(pipe.recv())
                for ended in self._ended():
                    pipe.send(ended)

    def end(self) -> None:
        """Cancel the running tasks, so that nodes clean up, and leave the cluster."""
        for reference in self.pending:
            ray.cancel(reference)
        if self.pending:
            ray.wait(list(self.pending), num_returns=len(self.pending), timeout=GRACE_S / 2)
        ray.shutdown()

    def _submit(self, task: Task) -> None:
        for folder in [folder for folder in self.sealed if not folder.exists()]:
            del self.sealed[folder]  # its jobs are done
        if task.sealed not in self.sealed:
            self.sealed[task.sealed] = ray.put(bundles.read_sealed(task.sealed))
        try:
            packed = bundles.pack(task, self.gpu, self.cluster.timeout_s, self.hide)
        except (InputError, OSError) as error:  # edited, or gone
            self.refused.append(Outcome(task, "ray", 0, str(error), ""))
            return
        share = 1 / max(1, self.cluster.workers) if self.gpu else 0
        reference = self.work.options(num_cpus=task.threads, num_gpus=share).remote(packed, self.sealed[task.sealed])
        self.pending[reference] = task, time.monotonic()

    def _ended(self) -> Iterator[Outcome]:
        while self.refused:
            yield self.refused.pop()
        if not self.pending:
            return
        done, _ = ray.wait(list(self.pending), num_returns=len(self.pending), timeout=0)
        for reference in done:
            task, start = self.pending.pop(reference)
            try:
                yield ray.get(reference).unpack(task)
            except RayTaskError as error:
                yield Outcome(task, "ray", time.monotonic() - start, f"on the node: {error.cause!r}", "")
            except RayError as error:
                yield Outcome(task, "ray", time.monotonic() - start, death(error), "", died=True)


def death(error: RayError) -> str:
    """Return why a task has no outcome."""
    if isinstance(error, NodeDiedError):
        return "its node died"
    if isinstance(error, OutOfMemoryError):
        return "Ray ended it because its node ran out of memory"
    return f"its process on the node died ({type(error).__name__})"


def _alive() -> Nodes:
    return [node for node in ray.nodes() if node["Alive"]]


if __name__ == "__main__":
    main(*sys.argv[1:])
