"""Geodesic propagation: a pixel gets the class of the mark that is nearest along paths that avoid edges."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra

from benchmark.methods.losses.pairwise import half_window, overlap
from benchmark.methods.propagation import LabelPropagation
from benchmark.seal.contract import IGNORE


@dataclass
class Geodesic(LabelPropagation):
    """Nearest marks in the geodesic distance of Criminisi et al. (GeoS, ECCV 2008), then training on them; a control.

    The length of a path is the sum of sqrt(step^2 + contrast^2 change^2) over its steps between the eight neighbours,
    `change` being the root mean square of the change of intensity over channels (alone, the distance of Wang et al.,
    DeepIGeoS, TPAMI 2019); Dijkstra's algorithm finds the shortest ones exactly. Noise adds up along paths, so the image
    should have little.
    """

    contrast: float = 255.0  # px of the network's image that a step from black to white counts for. No paper's value

    def propagate(self, image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
        """The class of the nearest mark of each pixel."""
        marks = np.flatnonzero(labels != IGNORE)
        lengths = step_lengths(image, self.contrast)
        _, _, nearest = dijkstra(lengths, directed=False, indices=marks, return_predecessors=True, min_only=True)
        return labels.ravel()[nearest].reshape(labels.shape)


def step_lengths(image: np.ndarray, contrast: float) -> csr_array:
    """Lengths of the steps between neighbours in an image (c, h, w), as a graph of its h * w pixels."""
    height, width = image.shape[1:]
    pixels = np.arange(height * width, dtype=np.int32).reshape(height, width)  # scipy below 1.15 takes no larger ones
    starts, ends, lengths = [], [], []
    for down, right in half_window(1):
        here, there = overlap(torch.Size((height, width)), down, right)
        change = np.square(image[:, *here].astype(np.float64) - image[:, *there]).mean(0)
        starts.append(pixels[here].ravel())
        ends.append(pixels[there].ravel())
        lengths.append(np.sqrt(down**2 + right**2 + contrast**2 * change).ravel())
    where = (np.concatenate(starts), np.concatenate(ends))
    return coo_array((np.concatenate(lengths), where), shape=(pixels.size, pixels.size)).tocsr()
