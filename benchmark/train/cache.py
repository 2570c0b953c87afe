"""Cache of propagated label sets, `results/.propagated/`.

A worker writes the sets that it propagated into its own folder; the sweep alone copies them into the cache, and restores
them for later runs of the same code with the same options on the very same scans and annotations. A worker gets those of
its own training scans and no others, so it learns nothing that it could not have computed.
"""

import hashlib
import json
import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path

from benchmark.plan.jobs import Job
from benchmark.seal.contract import PROPAGATED, number_of, propagated_file
from benchmark.seal.folder import open_train
from benchmark.train.local import processor

LIBRARIES = ("numpy", "scipy", "scikit-image", "opencv-python-headless")  # whose code may propagate labels


class PropagationCache:
    """Propagated label sets below a results folder: one folder per key, one file per scan."""

    def __init__(self, results: Path) -> None:
        self.root = results / ".propagated"

    def restore(self, job: Job, sealed_folder: Path, out: Path) -> None:
        """Copy the cached sets of a job's training scans into its worker's folder."""
        folder = self.root / _key(job, processor())
        if folder.is_dir():
            for number, name in enumerate(_names(sealed_folder)):
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, out / propagated_file(number))

    def save(self, job: Job, sealed_folder: Path, out: Path, on: str) -> None:
        """Cache what a run on that processor propagated; a file is whole or absent, and the first one stays."""
        left = sorted(out.glob(PROPAGATED))
        if not left or job.budget.tune:  # then options were tried that the job does not name
            return
        names, folder = _names(sealed_folder), self.root / _key(job, on)
        folder.mkdir(parents=True, exist_ok=True)
        for path in left:
            target = folder / names[number_of(path)]
            if not target.is_file():
                staged = target.with_suffix(f".{job.hash[:16]}")  # this run's own
                shutil.copyfile(path, staged)
                staged.replace(target)


def _key(job: Job, on: str) -> str:
    """Cache key: method code, options, library versions, processor."""
    parts = [job.code, dict(job.options), {name: version(name) for name in LIBRARIES}, on]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _names(sealed_folder: Path) -> list[str]:
    """What the sets of each training scan are called: after its image, marks and spacing."""
    names = []
    data = open_train(sealed_folder)
    for scan in data:
        digest = hashlib.sha256(repr((data.classes, scan.image.shape, scan.allowed.dtype.str, scan.spacing)).encode())
        digest.update(scan.image.data)
        digest.update(scan.allowed.data)
        names.append(f"{digest.hexdigest()[:32]}.npz")
    return names
