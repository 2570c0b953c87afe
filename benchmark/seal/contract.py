"""What a method may import from this package: its budget, the weak labels it learns from, the scans it predicts, its log."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field

IGNORE = 255  # in label maps: more than one class is possible here
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


def everything(classes: int) -> int:
    """Return the set of all classes: what is known of an unlabelled pixel."""
    return (1 << classes) - 1


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
        self._scans = [WeakScan(_frozen(s.image), _frozen(s.allowed), s.spacing) for s in scans]
        for number, scan in enumerate(self._scans):
            slices, *plane = scan.allowed.shape
            if scan.image.shape != (slices, channels, *plane):
                raise ValueError(f"training scan {number}: image {scan.image.shape}, allowed {scan.allowed.shape}")
            if scan.allowed.min() < 1 or scan.allowed.max() > everything(classes):
                raise ValueError(f"training scan {number}: sets reach outside 1 to {everything(classes)}")

    def __len__(self) -> int:
        return len(self._scans)

    def __iter__(self) -> Iterator[WeakScan]:
        return iter(self._scans)

    def relabel(self, label: Callable[[WeakScan], np.ndarray]) -> "WeakData":
        """The same images with new label sets, those that `label` returns for each scan."""
        scans = [WeakScan(scan.image, label(scan), scan.spacing) for scan in self]
        return WeakData(scans, self.classes, self.channels)


def _frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


class Log(Protocol):
    """Where a method says how it is doing."""

    def __call__(self, step: int, /, **values: float) -> None:
        """Keep the values of a step; one that is not finite ends the run."""
