"""A run on another machine: the job that is sent there, the worker there, and the outcome that is sent back.

A remote job contains its files, and names neither data set nor scan; the sealed folder is sent once for all its jobs.
Masks and scores never leave the runner's machine.
"""

import json
import platform
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.plan import plugins
from benchmark.train.local import POLL_S, Outcome, Task, Worker, kill, outcome, scratch, start

Sealed = Mapping[str, np.ndarray]  # a sealed folder's files, uint8


@dataclass(frozen=True)
class RemoteJob:
    """A job as it is sent to a node."""

    job: dict[str, Any]  # JOB
    files: dict[str, bytes]  # content by path in the job: a method's file, encoder weights
    code: str  # fingerprint of the code that the node must have
    threads: int
    gpu: bool
    timeout_s: float | None
    hide: tuple[Path, ...]


@dataclass(frozen=True)
class RemoteOutcome:
    """An outcome as it is sent back, with the worker's files, compressed."""

    device: str
    seconds: float
    reason: str
    processor: str
    died: bool
    files: dict[str, bytes]

    def unpack(self, task: Task) -> Outcome:
        """Return the outcome, and write the files as a worker on this machine would."""
        for name, content in self.files.items():
            (task.out / name).write_bytes(zlib.decompress(content))
        return Outcome(task, self.device, self.seconds, self.reason, self.processor, self.died)


def pack(task: Task, gpu: bool, timeout_s: float | None, hide: tuple[Path, ...]) -> RemoteJob:
    """Return a task as a remote job; InputError if the method was edited after it was planned."""
    job = json.loads(task.job.read_text())
    plugins.read_again()  # this process lives as long as the sweep
    plugins.check_unedited(plugins.Plugin(**job["plugin"]), job)
    module, weights = job["plugin"]["module"], job["budget"]["weights"]
    files = {name: Path(name).read_bytes() for name in (module if module.endswith(".py") else "", weights) if name}
    return RemoteJob(job, files, _code(job), task.threads, gpu, timeout_s, hide)


def read_sealed(folder: Path) -> Sealed:
    """Return the files of a sealed folder."""
    return {path.name: np.fromfile(path, np.uint8) for path in sorted(folder.iterdir())}


def run_on_node(remote: RemoteJob, sealed: Sealed) -> RemoteOutcome:
    """Unpack the job, run a worker, and collect its files; runs on a node."""
    with scratch() as folder:
        task = _unpack(remote, sealed, folder)
        if _code(json.loads(task.job.read_text())) != remote.code:
            reason = f"node {platform.node()} has other code than the sending machine; install the same version on both"
            return RemoteOutcome(platform.node(), 0, reason, "", died=False, files={})
        ended = _wait(start(task, "cuda:0" if remote.gpu else "cpu", remote.hide), remote.timeout_s)
        paths = [path for path in task.out.iterdir() if path.is_file() and path != task.job]
        files = {path.name: zlib.compress(path.read_bytes(), level=1) for path in paths}
    device = f"{platform.node()} {ended.device}"
    return RemoteOutcome(device, ended.seconds, ended.reason, ended.processor, ended.died, files)


def _wait(worker: Worker, timeout_s: float | None) -> Outcome:
    """Wait for the worker's outcome; an interrupt kills it."""
    try:
        while (ended := outcome(worker, timeout_s)) is None:
            time.sleep(POLL_S)
    except BaseException:
        kill(worker)
        raise
    return ended


def _unpack(remote: RemoteJob, sealed: Sealed, folder: Path) -> Task:
    """Write the job's files on the node; return its task."""
    out, sealed_folder = folder / "run", folder / "sealed"
    out.mkdir()
    sealed_folder.mkdir()
    for name, content in sealed.items():
        content.tofile(sealed_folder / name)
        (sealed_folder / name).chmod(0o444)
    paths = {name: folder / f"file{number}" / Path(name).name for number, name in enumerate(remote.files)}
    for name, path in paths.items():
        path.parent.mkdir()
        path.write_bytes(remote.files[name])
    module, weights = remote.job["plugin"]["module"], remote.job["budget"]["weights"]
    plugin = remote.job["plugin"] | {"module": str(paths.get(module, module))}
    budget = remote.job["budget"] | {"weights": str(paths.get(weights, weights))}
    job = remote.job | {"plugin": plugin, "budget": budget, "files": {}}  # run_on_node compares the code
    (out / "job.json").write_text(json.dumps(job))
    return Task("", out / "job.json", sealed_folder, out, remote.threads, 0)


def _code(job: Mapping[str, Any]) -> str:
    """Return the fingerprint of a worker's code: the method, the modules of `methods/` that it imports, the worker."""
    parts = map(
        plugins.source_of,
        ("benchmark.train.worker", "benchmark.seal.folder", "benchmark.seal.contract", "benchmark.plan.trials"),
    )
    return plugins.code(plugins.Plugin(**job["plugin"]), job["options"], *parts)
