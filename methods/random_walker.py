"""Random walker: a pixel gets the class of the mark that a walk which rarely crosses edges most likely meets first."""

from dataclasses import dataclass
from itertools import product
from typing import Annotated, ClassVar

import numpy as np
from scipy.linalg import solveh_banded

from benchmark.methods.propagation import LabelPropagation
from benchmark.seal.contract import IGNORE, Range


@dataclass
class RandomWalker(LabelPropagation):
    """Grady's random walker (TPAMI 2006) as pseudo-labels, as in WSL4MIS: 0.5 (cross-entropy + Dice) on them.

    A slice is solved with the classes that are marked in it (see `propagated_labels`); the published code makes a slice
    background if any class is not marked. Empty corners of a rotation are background there and unlabelled here. The
    distance of two colours is over all channels.
    """

    title: ClassVar[str] = "Random walker"
    static: ClassVar[bool] = True

    beta: Annotated[float, Range(10.0, 1000.0)] = 100.0  # edge sensitivity

    def propagate(self, image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the most likely class of each pixel; labels of a slice of one intensity stay as they are."""
        if image.min() == image.max():
            return labels
        scaled = (image.astype(np.float64) + 0.35) / 1.7 * 2 - 1  # the published window: -0.35 to 1.35 becomes -1 to 1
        return np.setdiff1d(labels, IGNORE)[probabilities(scaled, labels, self.beta).argmax(0)]


def probabilities(image: np.ndarray, labels: np.ndarray, beta: float) -> np.ndarray:
    """Probabilities (k, h, w) that a walk meets a mark of each of the k marked classes, in their order, first.

    Image (c, h, w), float64; labels (h, w), IGNORE where unmarked. One factorisation is used for all classes (Grady's
    equation 10); the last class is 1 minus the sum of the others. The pixels are a chessboard: all neighbours of a white
    pixel are black, so the white ones are eliminated first. The black ones, row by row, then have a band matrix.
    """
    height, width = labels.shape
    if width > height:  # the band is as wide as a row
        return probabilities(image.swapaxes(1, 2), labels.T, beta).swapaxes(1, 2)
    weights = edge_weights(image, beta)
    marks = np.pad(labels.astype(np.int64), 2, constant_values=-1)  # two steps lead nowhere else; all below is flat
    white = np.indices(marks.shape).sum(0).ravel() % 2 == 1
    marks, free = marks.ravel(), marks.ravel() == IGNORE
    degree = np.sum(list(weights.values()), axis=0)
    share = np.divide(1, degree, out=np.zeros(marks.shape), where=free & white)

    def inflow(values: np.ndarray) -> np.ndarray:
        return sum(weight * np.roll(values, -step, 1) for step, weight in weights.items())

    black = np.flatnonzero(free & ~white)
    number = np.full(marks.shape, -1)
    number[black] = np.arange(len(black))
    band = np.zeros((len(black), width + 2)).T  # row i: the entries i below the diagonal
    band[0] = degree[black]
    for first, second in product(weights, repeat=2):  # by way of a white pixel
        below = number[black + first + second] - number[black]
        entries = weights[first][black] * (share * weights[second])[black + first]
        there = (number[black + first + second] >= 0) & (below >= 0)
        band[below[there], number[black][there]] -= entries[there]
    found = (marks == np.setdiff1d(labels, IGNORE)[:-1, None]).astype(np.float64)
    known = inflow(found + share * inflow(found))[:, black]
    if black.size:
        found[:, black] = solveh_banded(band, known.T, overwrite_ab=True, lower=True, check_finite=False).T
    found += share * inflow(found)
    found = np.concatenate([found, 1 - found.sum(0, keepdims=True)])
    return found.reshape(-1, height + 4, width + 4)[:, 2:-2, 2:-2]


def edge_weights(image: np.ndarray, beta: float) -> dict[int, np.ndarray]:
    """Weights of the edges of the four-neighbour grid of an image (c, h, w), normalised as scikit-image's.

    By the step from a pixel to its neighbour, in the flat image with two pixels around it, to which no edge leads.
    """
    scale = 10 * image.std() * np.sqrt(len(image))
    change = [np.square(np.diff(image, axis=axis)).sum(0) for axis in (1, 2)]
    down, right = (np.exp(-beta * each / scale) + 1e-10 for each in change)
    row = image.shape[2] + 4
    down, right = np.pad(down, ((2, 3), (2, 2))).ravel(), np.pad(right, ((2, 2), (2, 3))).ravel()
    return {row: down, -row: np.roll(down, row), 1: right, -1: np.roll(right, 1)}
