"""A run on another machine: what is sent there, the worker at work there, and what is sent back.

A parcel holds a job (which names no data set and no scan) and the files that it names; the sealed folder travels beside it,
once for all its jobs. Masks and scores never leave the runner's machine.
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
    """What goes to a node for one run."""

    job: dict[str, Any]  # JOB
    files: dict[str, bytes]  # those that the job names, by what it calls them: a method's file, encoder weights
    code: str  # fingerprint of the code that the node must have
    threads: int
    gpu: bool
    timeout_s: float | None
    hide: tuple[Path, ...]


@dataclass(frozen=True)
class RemoteOutcome:
    """What comes back: how the worker ended, and the files that it left, compressed."""

    device: str
    seconds: float
    reason: str
    processor: str
    died: bool
    files: dict[str, bytes]

    def unpack(self, task: Task) -> Outcome:
        """The outcome, with the files where a worker on this machine would have left them."""
        for name, content in self.files.items():
            (task.out / name).write_bytes(zlib.decompress(content))
        return Outcome(task, self.device, self.seconds, self.reason, self.processor, self.died)


def pack(task: Task, gpu: bool, timeout_s: float | None, hide: tuple[Path, ...]) -> RemoteJob:
    """The parcel of a task."""
    job = json.loads(task.job.read_text())
    named = [name for name in _named(job) if name]
    files = {name: Path(name).read_bytes() for name in named}
    return RemoteJob(job, files, _code(job), task.threads, gpu, timeout_s, hide)


def read_sealed(folder: Path) -> Sealed:
    """A sealed folder as it is sent."""
    return {path.name: np.fromfile(path, np.uint8) for path in sorted(folder.iterdir())}


def run_on_node(parcel: RemoteJob, sealed: Sealed) -> RemoteOutcome:
    """Unpack, run the worker as it would run on the runner's machine, and collect what it leaves; this happens on a node."""
    with scratch() as folder:
        task = _unpack(parcel, sealed, folder)
        if _code(json.loads(task.job.read_text())) != parcel.code:
            reason = f"node {platform.node()} has other code than the machine that sent this; install the same there"
            return RemoteOutcome(platform.node(), 0, reason, "", died=False, files={})
        ended = _attend(start(task, "cuda:0" if parcel.gpu else "cpu", parcel.hide), parcel.timeout_s)
        left = [path for path in task.out.iterdir() if path.is_file() and path != task.job]
        files = {path.name: zlib.compress(path.read_bytes(), level=1) for path in left}
    device = f"{platform.node()} {ended.device}"
    return RemoteOutcome(device, ended.seconds, ended.reason, ended.processor, ended.died, files)


def _attend(worker: Worker, timeout_s: float | None) -> Outcome:
    """How the worker ends; an interrupt ends it, too."""
    try:
        while (ended := outcome(worker, timeout_s)) is None:
            time.sleep(POLL_S)
    except BaseException:
        kill(worker)
        raise
    return ended


def _unpack(parcel: RemoteJob, sealed: Sealed, folder: Path) -> Task:
    """The task as the node sees it."""
    out, where = folder / "run", folder / "sealed"
    for made in (out, where):
        made.mkdir()
    for name, content in sealed.items():
        content.tofile(where / name)
        (where / name).chmod(0o444)
    moved = {name: folder / f"file{number}" / Path(name).name for number, name in enumerate(parcel.files)}
    for name, path in moved.items():
        path.parent.mkdir()
        path.write_bytes(parcel.files[name])
    (out / "job.json").write_text(json.dumps(_renamed(parcel.job, moved)))
    return Task("", out / "job.json", where, out, parcel.threads, 0)


def _named(job: Mapping[str, Any]) -> tuple[str, str]:
    """The files that a job names: its method's, unless it is a module, and its encoder's weights; empty without one."""
    module = job["plugin"]["module"]
    return module if module.endswith(".py") else "", job["budget"]["weights"]


def _renamed(job: dict[str, Any], moved: Mapping[str, Path]) -> dict[str, Any]:
    """The job with its files where they are now."""
    module, weights = job["plugin"]["module"], job["budget"]["weights"]
    plugin = job["plugin"] | {"module": str(moved.get(module, module))}
    return job | {"plugin": plugin, "budget": job["budget"] | {"weights": str(moved.get(weights, weights))}}


def _code(job: Mapping[str, Any]) -> str:
    """Fingerprint of what runs in a worker: the method, what it imports of `methods/`, and the worker itself."""
    parts = map(
        plugins.source_of,
        ("benchmark.train.worker", "benchmark.seal.folder", "benchmark.seal.contract", "benchmark.plan.trials"),
    )
    return plugins.fingerprint(plugins.Plugin(**job["plugin"]), *parts)
