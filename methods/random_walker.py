"""Random walker: a pixel gets the class of the mark that a random walk from it, shy of edges, most likely meets first."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from skimage.segmentation import random_walker

from benchmark.methods.augment import IGNORE
from benchmark.methods.grown import Grown
from benchmark.seal.contract import Range


@dataclass
class RandomWalker(Grown):
    """Grady's random walker (TPAMI 2006) as pseudo-labels, as in WSL4MIS: 0.5 (cross-entropy + Dice) on them.

    About 0.25 s for a slice of 256 px, once per run. Every slice is walked with the classes that it has marks of (see
    `grown_labels`); the published code labels a slice background if any class has no mark. Corners that a turn leaves
    open are background there, unlabelled here. Channels are compared together.
    """

    beta: Annotated[float, Range(10.0, 1000.0)] = 100.0  # how shy of edges

    def grow(self, image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
        """The most likely class of each pixel; a slice of one intensity stays as it is."""
        if image.min() == image.max():
            return labels
        marked, marks = np.unique(labels, return_inverse=True)
        seeds = np.where(labels == IGNORE, 0, marks + 1)
        scaled = (image + 0.35) / 1.7 * 2 - 1  # the published window, which takes -0.35 to 1.35 to -1 to 1
        return marked[random_walker(scaled, seeds, beta=self.beta, mode="bf", channel_axis=0) - 1]
