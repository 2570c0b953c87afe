"""Base class of methods that propagate the annotations of the training slices once, and then train on the result."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from benchmark.methods.pce_dice import PartialCrossEntropyDice
from benchmark.methods.resize import inside
from benchmark.seal.contract import IGNORE, Budget, Log, WeakData, WeakScan

PARTS = 20  # of the scans, after each of which progress is logged
Propagate = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass
class LabelPropagation(PartialCrossEntropyDice):
    """`pce_dice` on propagated labels.

    Annotations are propagated at network size, before the first step, which uses no step of the budget. The padding
    to a square is left out of the propagation and stays unlabelled.
    """

    extra: ClassVar[str] = "labels propagated once, before training"

    def begin(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Propagate the annotations of each scan, and train on the result."""
        self.scans, self.propagated = len(data), 0
        super().begin(data, budget, log)

    @abstractmethod
    def propagate(self, image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
        """Propagate labels (h, w) of two classes or more, IGNORE elsewhere, over an image (c, h, w) in [0, 1]."""

    def prepare(self, scan: WeakScan, classes: int, size: int) -> tuple[Tensor, np.ndarray]:
        """Return a training scan at network size, with propagated annotations."""
        image, sets = super().prepare(scan, classes, size)
        height, width = scan.image.shape[-2:]
        rows, columns = inside(height, width, size, self.budget.resize)
        sets[:, rows, columns] = self.narrow(image[..., rows, columns].numpy(), sets[:, rows, columns], classes)
        self.propagated += 1
        if PARTS * self.propagated // self.scans > PARTS * (self.propagated - 1) // self.scans:
            self.log(0, propagated=round(self.propagated / self.scans, 3))
        return image, sets

    def narrow(self, images: np.ndarray, sets: np.ndarray, classes: int) -> np.ndarray:
        """Reduce label sets (s, h, w) of images (s, c, h, w) to what is propagated."""
        return propagated_sets(images, sets, classes, self.propagate)


def propagated_sets(images: np.ndarray, sets: np.ndarray, classes: int, propagate: Propagate) -> np.ndarray:
    """Reduce label sets (s, h, w) of images (s, c, h, w) to the propagated labels; a set without its label stays."""
    single = sets & (sets - 1) == 0
    labels = np.where(single, np.log2(sets, dtype=np.float64).round(), IGNORE).astype(np.int64)
    found = np.stack([propagated_labels(*slices, classes, propagate) for slices in zip(images, labels, strict=True)])
    common = np.where(found == IGNORE, sets, sets & 1 << found.clip(max=classes - 1))
    return np.where(common == 0, sets, common).astype(sets.dtype)


def propagated_labels(image: np.ndarray, labels: np.ndarray, classes: int, propagate: Propagate) -> np.ndarray:
    """Propagate the labels (h, w) of a slice if two classes or more are marked and some pixels are unlabelled.

    A slice where only background is marked becomes background. A slice without marks, or with marks of one other class
    only, stays as it is: nothing would bound that class.
    """
    marked = np.setdiff1d(labels, IGNORE)
    if marked.tolist() == [0]:
        return np.zeros_like(labels)
    if len(marked) < 2 or (labels != IGNORE).all():
        return labels
    return propagate(image, labels, classes)
