"""What a method may import from this package: its budget, the weak labels it learns from, the scans it predicts, its log."""

import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field

Count = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Budget:
    """What every method may spend, and on which network; equal for all unless a preset says so openly."""

    steps: Count = 30000
    batch: Count = 12
    size: Annotated[int, Field(ge=16, le=2**15)] = 256  # px, height and width of what the network sees
    network: str = "unet"  # or smp:ARCHITECTURE/ENCODER
    weights: str = ""  # file of encoder weights; from scratch without
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    momentum: Share = 0.9
    weight_decay: Share = 1e-4
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: Count = 1
    snapshots: Annotated[int, Field(ge=0)] = 0  # weights kept at so many evenly spaced steps, to select from
    tune: Annotated[int, Field(ge=0)] = 0  # random trials of each method's options, beside the published values

    def __post_init__(self) -> None:
        """Refuse what batch normalisation can't work with: one value per channel at the deepest level."""
        if self.batch * (self.size // 16) ** 2 < 2:
            raise ValueError(f"a batch of {self.batch} at size {self.size} is too small; size must be at least 32")


@dataclass(frozen=True)
class Range:
    """Beside a field, `weight: Annotated[float, Range(0.01, 1.0)] = 0.1`: where its values are drawn from, log-uniformly."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse what has no logarithm."""
        if not 0 < self.low < self.high:
            raise ValueError(f"a range from {self.low} to {self.high} must rise, and start above 0")

    def draw(self, rng: np.random.Generator) -> float:
        """A value of the range."""
        return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))


Spacing = tuple[float, float, float] | None  # mm between slices, rows, columns


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
        self.cache: Path | None = None  # folder of cached label sets
        self.cached_s = 0.0  # what computing those took
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

    def relabel(self, label: Callable[[WeakScan], np.ndarray], *, cache: bool = False) -> "WeakData":
        """The same images with new sets, as `label` makes them of each scan.

        `cache` says that these are a function of the scan and of the method's options alone, whatever the seed and the
        budget; a later run may then get them without making them. A method has one such call in `fit`.
        """
        folder, self.cache = (self.cache, None) if cache else (None, self.cache)
        sets = [
            label(scan) if folder is None else self._cached(folder / propagated_file(n), scan, label)
            for n, scan in enumerate(self)
        ]
        return WeakData(map(WeakScan, (s.image for s in self), sets, (s.spacing for s in self)), self.classes, self.channels)

    def _cached(self, path: Path, scan: WeakScan, label: Callable[[WeakScan], np.ndarray]) -> np.ndarray:
        """Cached label sets of a scan, computed and stored on a miss."""
        if path.is_file():
            allowed, seconds = read_propagated(path)
            self.cached_s += seconds
            return allowed
        start = time.perf_counter()
        allowed = label(scan)
        if not np.array_equal(allowed, scan.allowed):
            np.savez_compressed(path, allowed=allowed, seconds=time.perf_counter() - start)
        return allowed


def _frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


class Log(Protocol):
    """Where a method says how it is doing."""

    def __call__(self, step: int, /, **values: float) -> None:
        """Keep the values of a step; one that is not finite ends the run."""


PROPAGATED = "propagated*.npz"  # in a worker's folder: cached label sets, one file per training scan


def propagated_file(number: int) -> str:
    """Name of the file of a training scan's propagated label sets in a worker's folder."""
    return f"propagated{number:04d}.npz"


def read_propagated(path: Path) -> tuple[np.ndarray, float]:
    """Propagated label sets, and the seconds that they took; raises ValueError for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return kept["allowed"], float(kept["seconds"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} can't be read ({error}); remove .propagated from the results folder") from error


def number_of(path: Path) -> int:
    """The number of the training scan that such a file belongs to."""
    return int(path.stem.removeprefix("propagated"))
