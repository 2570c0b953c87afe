"""Summaries of scans that were read, kept from one plan to the next until a file of the data set changes.

For each data set, its folder and options there is a file with digests and thumbnails of images, and numbers of labelled
pixels, but no mask, in the folder `BENCHMARK_CACHE`, or else `weakseg-bench` in the user's folder of caches. It counts as
long as every file below the data set's folder has the same size and times, and the code that reads them and summarises
them is the same. Where it can't be read or written, scans are read anew.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import inputs
from benchmark.datasets.base import Dataset, Inventory, ScanSummary
from benchmark.seal import contract

CODE = (*sorted(Path(__file__).parent.glob("*.py")), Path(inputs.__file__), Path(contract.__file__))
READERS = ("numpy", "scipy", "pillow", "nibabel", "h5py")  # a new version may decode a file differently
SUITE = f"{__package__}."  # modules of this suite's data sets


@contextmanager
def remembered(inventories: Iterable[Inventory]) -> Iterator[None]:
    """Give inventories the summaries of unchanged scans, and keep those that the block adds.

    Data sets of plug-ins are read anew each time: nobody knows which files and modules they use.
    """
    known = []
    for inventory in inventories:
        if all(type(part).__module__.startswith(SUITE) for part in inventory.dataset.parts):
            with suppress(OSError, RuntimeError):  # the latter: without a home
                known.append((inventory, files := state_of_files(inventory.dataset), _read(_place(inventory), files)))
    for inventory, _, found in known:
        inventory.seen.update(found)
    yield
    for inventory, files, found in known:
        if inventory.seen.keys() > found.keys():
            with suppress(OSError):
                _write(_place(inventory), files, inventory.seen)


def _place(inventory: Inventory) -> Path:
    """Return the file of a data set's summaries."""
    dataset = inventory.dataset
    which = repr((type(dataset).__qualname__, str(dataset.root.resolve()), sorted(inventory.options.items())))
    general = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("BENCHMARK_CACHE") or general / "weakseg-bench")
    return folder / f"{dataset.name}-{hashlib.sha256(which.encode()).hexdigest()[:16]}.json"


def state_of_files(dataset: Dataset) -> str:
    """Return a digest of the files below a data set's folder (names, sizes, times) and of the code that reads them."""
    total = hashlib.sha256(repr([version(name) for name in READERS]).encode())
    for path in CODE:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    seen = set()  # folders, as links may lead in a circle
    walks = (os.walk(part.root, followlinks=True) for part in dataset.parts)
    for place, below, names in chain.from_iterable(walks):
        folder = Path(place)
        about = folder.stat()
        if (about.st_dev, about.st_ino) in seen:
            below.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        below.sort()
        for name in sorted(names):
            about = (folder / name).stat()
            total.update(repr((place, name, about.st_size, about.st_mtime_ns, about.st_ctime_ns)).encode())
    return total.hexdigest()


def _read(path: Path, state: str) -> dict[str, ScanSummary]:
    """Return the summaries in a file; none if it is missing, damaged or of another state."""
    with suppress(OSError, ValueError):
        digest, _, text = path.read_text().partition("\n")
        if digest == hashlib.sha256((state + text).encode()).hexdigest():
            return {name: _unpacked(**values) for name, values in json.loads(text).items()}
    return {}


def _unpacked(thumbnail: str, **others: Any) -> ScanSummary:
    return ScanSummary(thumbnail=np.frombuffer(bytes.fromhex(thumbnail)), **others)


def _write(path: Path, state: str, summaries: Mapping[str, ScanSummary]) -> None:
    """Write summaries to a file, whole or not at all; its first line is a digest of the state and of the other lines."""
    text = json.dumps({name: vars(one) | {"thumbnail": one.thumbnail.tobytes().hex()} for name, one in summaries.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(f".{os.urandom(6).hex()}")
    try:
        staged.write_text(hashlib.sha256((state + text).encode()).hexdigest() + "\n" + text)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
