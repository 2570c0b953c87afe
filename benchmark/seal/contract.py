"""The interface of methods, which may import it: budget, training scans with weak labels, test scans, log."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field

IGNORE = 255  # in label maps: more than one class is possible here
# Types of numbers with bounds, also for the options of methods: `decay: Share = 0.99`
Count = Annotated[int, Field(ge=1, le=10**9, strict=True)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Budget:
    """The network and the amount of training; equal for all methods unless a preset states an exception and its reason."""

    steps: Count = 30000
    batch: Count = 12
    size: Annotated[int, Field(ge=16, le=2**15, strict=True)] = 256  # px, height and width of the network's input
    network: str = "unet"  # or smp:ARCHITECTURE/ENCODER
    weights: str = ""  # file of encoder weights; empty: random initial weights
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 1e-4
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: Count = 1
    snapshots: Annotated[int, Field(ge=0)] = 0  # number of evenly spaced steps whose weights are stored, to select from
    optimiser: Literal["sgd", "nesterov", "adamw"] = "sgd"  # nesterov: SGD with Nesterov momentum
    schedule: Literal["poly", "cosine"] = "poly"  # of the learning rate, after the warm-up
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the steps in which the rate rises linearly to lr
    augmentation: Literal["turns45", "wsl4mis", "none"] = "turns45"  # of training images and their labels
    resize: Literal["pad", "squash"] = "pad"  # to the network's square: with black borders, or without the aspect ratio
    tune: Annotated[int, Field(ge=0)] = 0  # random trials of each method's options, in addition to the published values
    kernels: Literal["torch", "triton", "compiled"] = "torch"  # of a GPU; compiled: Triton's, and the network compiled

    def __post_init__(self) -> None:
        """Check that batch normalisation gets more than one value per channel at the deepest level."""
        if self.batch * (self.size // 16) ** 2 < 2:
            raise ValueError(f"a batch of {self.batch} at size {self.size} is too small; size must be at least 32")


# Fields that were added later: left out of identities and columns at their default, so that older runs stay comparable.
LATER = {
    **{"snapshots": 0, "tune": 0, "optimiser": "sgd", "schedule": "poly", "warmup": 0.0},
    **{"augmentation": "turns45", "resize": "pad", "kernels": "torch"},
}


@dataclass(frozen=True)
class Range:
    """Log-uniform distribution of an option for tuning: `weight: Annotated[float, Range(0.01, 1.0)] = 0.1`.

    The option is a number from 0, also when it is set by hand.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Check that the bounds are positive and rise."""
        if not 0 < self.low < self.high:
            raise ValueError(f"the range is {self.low} to {self.high}; it must rise, and start above 0")

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a value."""
        return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))


def everything(classes: int) -> int:
    """Return the set of all classes: what is known of an unlabelled pixel."""
    return (1 << classes) - 1


Spacing = tuple[float, float, float] | None  # mm between slices, rows, columns


@dataclass(frozen=True, eq=False)
class WeakScan:
    """A training scan; the arrays are read-only."""

    image: np.ndarray  # float32 in [0, 1], (slices, channels, height, width), native resolution
    allowed: np.ndarray  # integers (slices, height, width); bit k: class k is possible here
    spacing: Spacing = None
    site: int = 0  # where it is from: number in the order of the sites' names


@dataclass(frozen=True, eq=False)
class TestScan:
    """A scan to predict; the array is read-only."""

    __test__ = False  # for pytest: not a test case

    image: np.ndarray  # float32 in [0, 1], (slices, channels, height, width), native resolution
    spacing: Spacing = None
    site: int = 0  # as of a training scan; a site may have no training scans


class WeakData:
    """The training scans of a job, in a fixed order."""

    def __init__(self, scans: Iterable[WeakScan], classes: int, channels: int) -> None:
        """Check the shapes of images and label sets, and the classes in the sets; raises ValueError."""
        self.classes = classes
        self.channels = channels
        self._scans = [WeakScan(_read_only(s.image), _read_only(s.allowed), s.spacing, s.site) for s in scans]
        for number, scan in enumerate(self._scans):
            slices, *plane = scan.allowed.shape
            if scan.image.shape != (slices, channels, *plane):
                raise ValueError(
                    f"training scan {number}: image {scan.image.shape} doesn't match allowed {scan.allowed.shape}"
                )
            if scan.allowed.min() < 1 or scan.allowed.max() > everything(classes):
                raise ValueError(f"training scan {number}: allowed must be from 1 to {everything(classes)}")

    def __len__(self) -> int:
        return len(self._scans)

    def __iter__(self) -> Iterator[WeakScan]:
        return iter(self._scans)

    def relabel(self, label: Callable[[WeakScan], np.ndarray]) -> "WeakData":
        """Return the same images with new label sets: `label(scan)` of each scan."""
        scans = [WeakScan(scan.image, label(scan), scan.spacing, scan.site) for scan in self]
        return WeakData(scans, self.classes, self.channels)


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


class Log(Protocol):
    """Training log of a method."""

    def __call__(self, step: int, /, **values: float) -> None:
        """Log the values of a step; a value that is not finite ends the run."""
