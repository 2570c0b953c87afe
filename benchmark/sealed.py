"""What crosses to the learner: images and weak labels of the training scans, images of the test scans, and no more.

A sealed folder holds `index.json` and three flat arrays that are memory-mapped read-only and shared by every job of
one split, annotation and seed: `train-image`, `train-allowed` and `test-image`. Where a snapshot or a trial is to be
selected, there are `val-image` and `val-allowed`: weak labels of held-out patients. Scans are numbered; nothing is named.
"""

import json
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Spacing = tuple[float, float, float] | None  # mm between slices, rows, columns
GROWN = "grown*.npz"  # in a worker's folder: sets that were grown from marks, one file per training scan


@dataclass(frozen=True, eq=False)
class WeakScan:
    """A training scan as the learner sees it; the arrays are read-only."""

    image: np.ndarray  # float32 in [0, 1], (slices, channels, height, width), native resolution
    allowed: np.ndarray  # integers (slices, height, width); bit k: class k is possible here
    spacing: Spacing = None


@dataclass(frozen=True, eq=False)
class TestScan:
    """A scan to predict; the array is read-only."""

    __test__ = False  # for pytest: not a test case

    image: np.ndarray  # float32 in [0, 1], (slices, channels, height, width), native resolution
    spacing: Spacing = None


class WeakData:
    """The training scans of a job, in a fixed order."""

    def __init__(self, scans: Iterable[WeakScan], classes: int, channels: int) -> None:
        """Raises ValueError where an image and its weak labels do not fit together."""
        self.classes = classes
        self.channels = channels
        self.grown: Path | None = None  # folder of sets that were grown before, and for those that are grown now
        self.spared_s = 0.0  # what growing those took that were there
        self._scans = [WeakScan(_frozen(s.image), _frozen(s.allowed), s.spacing) for s in scans]
        for number, scan in enumerate(self._scans):
            slices, *plane = scan.allowed.shape
            if scan.image.shape != (slices, channels, *plane):
                raise ValueError(f"training scan {number}: image {scan.image.shape}, allowed {scan.allowed.shape}")
            if scan.allowed.min() < 1 or scan.allowed.max() >= 1 << classes:
                raise ValueError(f"training scan {number}: sets reach outside 1 to {(1 << classes) - 1}")

    def __len__(self) -> int:
        return len(self._scans)

    def __iter__(self) -> Iterator[WeakScan]:
        return iter(self._scans)

    def relabel(self, label: Callable[[WeakScan], np.ndarray], *, lasting: bool = False) -> "WeakData":
        """The same images with new sets, as `label` makes them of each scan.

        `lasting` says that these are a function of the scan and of the method's options alone, whatever the seed and the
        budget; a later run may then get them without making them. A method has one such call in `fit`.
        """
        folder, self.grown = (self.grown, None) if lasting else (None, self.grown)
        sets = [
            label(scan) if folder is None else self._grow(folder / grown_file(n), scan, label) for n, scan in enumerate(self)
        ]
        return WeakData(map(WeakScan, (s.image for s in self), sets, (s.spacing for s in self)), self.classes, self.channels)

    def _grow(self, path: Path, scan: WeakScan, label: Callable[[WeakScan], np.ndarray]) -> np.ndarray:
        """The sets of a scan as they lie there; else they are made, and kept unless they are what they were."""
        if path.is_file():
            allowed, seconds = read_grown(path)
            self.spared_s += seconds
            return allowed
        start = time.perf_counter()
        allowed = label(scan)
        if not np.array_equal(allowed, scan.allowed):
            np.savez_compressed(path, allowed=allowed, seconds=time.perf_counter() - start)
        return allowed


def grown_file(number: int) -> str:
    """What the grown sets of a training scan are called in a worker's folder."""
    return f"grown{number:04d}.npz"


def read_grown(path: Path) -> tuple[np.ndarray, float]:
    """Sets that were grown, and the seconds that it took; raises ValueError for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return kept["allowed"], float(kept["seconds"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} can't be read ({error}); remove .grown from the results folder") from error


def number_of(path: Path) -> int:
    """The number of the training scan that a file of grown sets belongs to."""
    return int(path.stem.removeprefix("grown"))


def seal(
    folder: Path, weak: Mapping[str, Iterable[WeakScan]], test: Iterable[TestScan], classes: int, channels: int
) -> None:
    """Write a sealed folder; `weak` holds `train`, perhaps `val`. The scans are consumed one by one, never held together."""
    index: dict[str, Any] = {"classes": classes, "channels": channels}
    for part, scans in weak.items():
        index[part] = []
        with (folder / f"{part}-image").open("wb") as images, (folder / f"{part}-allowed").open("wb") as sets:
            for scan in scans:
                index[part].append({"shape": scan.image.shape, "spacing": scan.spacing})
                index[f"{part}-sets"] = scan.allowed.dtype.str
                _append(images, scan.image)
                _append(sets, scan.allowed)
    with (folder / "test-image").open("wb") as images:
        index["test"] = []
        for held in test:
            index["test"].append({"shape": held.image.shape, "spacing": held.spacing})
            _append(images, held.image)
    (folder / "index.json").write_text(json.dumps(index))
    for path in folder.iterdir():
        path.chmod(0o444)


def classes(folder: Path) -> int:
    """How many classes there are."""
    return int(json.loads((folder / "index.json").read_text())["classes"])


def open_train(folder: Path) -> WeakData:
    """The training side of a sealed folder."""
    return _open_weak(folder, "train")


def open_val(folder: Path) -> WeakData | None:
    """The held-out side, if it was sealed; the worker opens it after `fit` has returned."""
    return _open_weak(folder, "val") if (folder / "val-image").is_file() else None


def open_test(folder: Path) -> list[TestScan]:
    """The test side of a sealed folder; the worker opens it after `fit` has returned."""
    index = json.loads((folder / "index.json").read_text())
    images = _arrays(folder / "test-image", "<f4", [scan["shape"] for scan in index["test"]])
    return [TestScan(image, _spacing(scan)) for image, scan in zip(images, index["test"], strict=True)]


def _open_weak(folder: Path, part: str) -> WeakData:
    index = json.loads((folder / "index.json").read_text())
    shapes = [scan["shape"] for scan in index[part]]
    images = _arrays(folder / f"{part}-image", "<f4", shapes)
    allowed = _arrays(folder / f"{part}-allowed", index[f"{part}-sets"], [(s, h, w) for s, _, h, w in shapes])
    spacings = [_spacing(scan) for scan in index[part]]
    return WeakData(map(WeakScan, images, allowed, spacings), index["classes"], index["channels"])


def _append(file: Any, array: np.ndarray) -> None:
    file.write(np.ascontiguousarray(array).data)


def _arrays(path: Path, dtype: str, shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Views into one read-only memory map."""
    flat = np.memmap(path, dtype=dtype, mode="r")
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def _spacing(scan: dict[str, Any]) -> Spacing:
    return None if scan["spacing"] is None else tuple(scan["spacing"])


def _frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
