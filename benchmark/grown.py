"""What methods grew from marks before they trained, kept so that later runs need not grow it again: `results/.grown/`.

A worker leaves the sets that it grew in its own folder; the runner alone puts them into `.grown/`, and lends them to later
runs of the same code with the same options that train on the very same scans and marks. A worker is handed those of its own
training scans and no others, so it learns nothing that it could not have grown.
"""

import hashlib
import json
import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path

from benchmark import sealed
from benchmark.executors import processor
from benchmark.jobs import Job

LIBRARIES = ("numpy", "scipy", "scikit-image", "opencv-python-headless")  # that may grow things


class Grown:
    """Sets that were grown, below a results folder: one folder per maker, one file per scan."""

    def __init__(self, results: Path) -> None:
        self.root = results / ".grown"

    def lend(self, job: Job, sealed_folder: Path, out: Path) -> None:
        """Put into a worker's folder what is there of its training scans."""
        folder = self.root / _maker(job, processor())
        if folder.is_dir():
            for number, name in enumerate(_names(sealed_folder)):
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, out / sealed.grown_file(number))

    def take(self, job: Job, sealed_folder: Path, out: Path, on: str) -> None:
        """Keep what a run on that processor grew; a file is whole or absent, and the first one stays."""
        left = sorted(out.glob(sealed.GROWN))
        if not left or job.budget.tune:  # then options were tried that the job does not name
            return
        names, folder = _names(sealed_folder), self.root / _maker(job, on)
        folder.mkdir(parents=True, exist_ok=True)
        for path in left:
            target = folder / names[sealed.number_of(path)]
            if not target.is_file():
                staged = target.with_suffix(f".{job.hash[:16]}")  # this run's own
                shutil.copyfile(path, staged)
                staged.replace(target)


def _maker(job: Job, on: str) -> str:
    """Who grows: method's code, options, libraries and processor."""
    told = [job.code, dict(job.options), {name: version(name) for name in LIBRARIES}, on]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _names(sealed_folder: Path) -> list[str]:
    """What the sets of each training scan are called: after its image, marks and spacing."""
    names = []
    data = sealed.open_train(sealed_folder)
    for scan in data:
        digest = hashlib.sha256(repr((data.classes, scan.image.shape, scan.allowed.dtype.str, scan.spacing)).encode())
        digest.update(scan.image.data)
        digest.update(scan.allowed.data)
        names.append(f"{digest.hexdigest()[:32]}.npz")
    return names
