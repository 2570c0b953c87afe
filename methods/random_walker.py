"""Random walker: a pixel gets the class of the mark that a walk which rarely crosses edges most likely meets first."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import laplacian
from scipy.sparse.linalg import splu

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

    Image (c, h, w), float64; labels (h, w), IGNORE where unmarked. One sparse factorisation is used for all classes
    (Grady's equation 10); the last class is 1 minus the sum of the others.
    """
    pixels = elimination_order(*labels.shape)
    unmarked = labels.ravel()[pixels] == IGNORE
    free, marks = pixels[unmarked], pixels[~unmarked]
    certain = np.setdiff1d(labels, IGNORE) == labels.ravel()[:, None]  # 1 at marks of the class, 0 elsewhere
    rows = graph_laplacian(image, beta)[free]
    factors = splu(
        rows[:, free].tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0, relax=1, panel_size=1,
        options={"SymmetricMode": True, "Equil": False},
    )  # fmt: skip
    found = certain.astype(np.float64)
    found[free, :-1] = factors.solve(-(rows[:, marks] @ found[marks, :-1]))
    found[free, -1] = 1 - found[free, :-1].sum(1)
    return found.T.reshape(-1, *labels.shape)


def graph_laplacian(image: np.ndarray, beta: float) -> csr_array:
    """Laplacian of the four-neighbour grid of an image (c, h, w), its weights normalised as scikit-image's."""
    pixels = np.arange(image[0].size, dtype=np.int32).reshape(image.shape[1:])  # splu needs int32 indices
    starts = np.concatenate([pixels[:-1].ravel(), pixels[:, :-1].ravel()])
    ends = np.concatenate([pixels[1:].ravel(), pixels[:, 1:].ravel()])
    change = np.concatenate([np.square(np.diff(image, axis=axis)).sum(0).ravel() for axis in (1, 2)])
    weights = np.exp(-beta * change / (10 * image.std() * np.sqrt(len(image)))) + 1e-10
    graph = coo_array((weights, (starts, ends)), shape=(pixels.size, pixels.size))
    return laplacian(graph.tocsr(), symmetrized=True).tocsr()


@cache
def elimination_order(height: int, width: int) -> np.ndarray:
    """The pixels of a grid in the order of nested dissection, which keeps its factors sparse (George, 1973)."""

    def dissect(pixels: np.ndarray) -> np.ndarray:
        if pixels.size <= 16:
            return pixels.ravel()
        if pixels.shape[0] < pixels.shape[1]:
            pixels = pixels.T
        middle = len(pixels) // 2
        return np.concatenate([dissect(pixels[:middle]), dissect(pixels[middle + 1 :]), pixels[middle]])

    return dissect(np.arange(height * width, dtype=np.int32).reshape(height, width))
