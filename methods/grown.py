"""What methods share that grow the marks on the training slices, once, and train the common network on the result."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmark.methods.augment import IGNORE
from benchmark.methods.pce_dice import PartialCrossEntropyDice
from benchmark.seal.contract import Budget, Log, WeakData, WeakScan

Grow = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass
class Grown(PartialCrossEntropyDice):
    """`pce_dice` on grown labels; growing happens at native size, before the first step, and takes none of the budget."""

    @abstractmethod
    def grow(self, image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
        """Labels (h, w) of a slice: image (c, h, w) in [0, 1]; labels (h, w) of two classes or more, IGNORE elsewhere."""

    def fit(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Grow the marks, then train."""
        grown = data.relabel(lambda scan: grown_sets(scan, data.classes, self.grow), cache=True)
        super().fit(grown, budget, log)


def grown_sets(scan: WeakScan, classes: int, grow: Grow) -> np.ndarray:
    """The sets (slices, h, w) of a scan cut down to the grown labels; where a set rules its label out, it stays."""
    single = scan.allowed & (scan.allowed - 1) == 0
    labels = np.where(single, np.log2(scan.allowed, dtype=np.float64).round(), IGNORE).astype(np.int64)
    grown = np.stack([grown_labels(*slices, classes, grow) for slices in zip(scan.image, labels, strict=True)])
    common = np.where(grown == IGNORE, scan.allowed, scan.allowed & 1 << grown.clip(max=classes - 1))
    return np.where(common == 0, scan.allowed, common).astype(scan.allowed.dtype)


def grown_labels(image: np.ndarray, labels: np.ndarray, classes: int, grow: Grow) -> np.ndarray:
    """Labels (h, w) of a slice, by `grow` where there is something to grow.

    A slice whose only marks are background is background. One without marks, or with those of one other class alone,
    which nothing bounds, stays as it is.
    """
    marked = np.setdiff1d(labels, IGNORE)
    if marked.tolist() == [0]:
        return np.zeros_like(labels)
    if len(marked) < 2 or (labels != IGNORE).all():
        return labels
    return grow(image, labels, classes)
