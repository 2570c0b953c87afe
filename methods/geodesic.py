"""Geodesic propagation: a pixel gets the class of the nearest mark, by paths that avoid edges."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra

from benchmark.methods.losses.pairwise import half_window, overlap
from benchmark.methods.propagation import LabelPropagation
from benchmark.seal.contract import IGNORE, NotNegative


@dataclass
class Geodesic(LabelPropagation):
    """Nearest marks in the geodesic distance of Criminisi et al. (GeoS, ECCV 2008), then training on them; a control.

    The length of a path is the sum of sqrt(step^2 + contrast^2 change^2) over its steps between the eight neighbours,
    where `change` is the root mean square of the change of intensity over channels (without step^2, the distance of Wang
    et al., DeepIGeoS, TPAMI 2019). Dijkstra's algorithm finds the shortest paths exactly. Noise adds to the length of
    paths, so the image should have little.
    """

    title: ClassVar[str] = "Geodesic"
    static: ClassVar[bool] = True

    contrast: NotNegative = 255.0  # length in px, at network size, of a step from black to white; not from a paper

    def propagate(self, image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the class of the nearest mark of each pixel."""
        marks = np.flatnonzero(labels != IGNORE)
        lengths = step_lengths(image, self.contrast)
        _, _, nearest = dijkstra(lengths, directed=False, indices=marks, return_predecessors=True, min_only=True)
        return labels.ravel()[nearest].reshape(labels.shape)


def step_lengths(image: np.ndarray, contrast: float) -> csr_array:
    """Lengths of the steps between neighbours in an image (c, h, w), as a graph of its h * w pixels."""
    height, width = image.shape[1:]
    pixels = np.arange(height * width, dtype=np.int32).reshape(height, width)  # scipy below 1.15 needs int32
    starts, ends, lengths = [], [], []
    for down, right in half_window(1):
        here, there = overlap(torch.Size((height, width)), down, right)
        change = np.square(image[:, *here].astype(np.float64) - image[:, *there]).mean(0)
        starts.append(pixels[here].ravel())
        ends.append(pixels[there].ravel())
        lengths.append(np.sqrt(down**2 + right**2 + contrast**2 * change).ravel())
    where = (np.concatenate(starts), np.concatenate(ends))
    return coo_array((np.concatenate(lengths), where), shape=(pixels.size, pixels.size)).tocsr()
