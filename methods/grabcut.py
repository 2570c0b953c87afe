"""GrabCut: cut each class from the rest where intensities change, given how those of its marks are distributed."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from benchmark.methods.propagation import LabelPropagation
from benchmark.seal.contract import IGNORE


@dataclass
class GrabCut(LabelPropagation):
    """Cuts of Rother et al. (SIGGRAPH 2004) as OpenCV makes them, then training on them; a control.

    Each class but the background is cut from the rest on its own: its marks are certain, other marks are certainly the
    rest, and all else begins as what its nearest mark is. A pixel that several classes claim goes to the one of them
    whose marks are nearest; one that none claims is background. OpenCV takes colours of 8 bits: an image without three
    channels is taken as the grey of their mean.
    """

    rounds: int = 5  # of fitting Gaussian mixtures and cutting

    def propagate(self, image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
        """The class that claims each pixel."""
        colours = image if len(image) == 3 else image.mean(0, keepdims=True).repeat(3, 0)
        picture = np.ascontiguousarray((colours * 255).round().astype(np.uint8).transpose(1, 2, 0))
        marked = np.setdiff1d(labels, IGNORE)
        distances = np.stack([distance_transform_edt(labels != k) for k in marked])  # px to each class's marks
        nearest = marked[distances.argmin(0)]
        found, least = np.where(labels == IGNORE, 0, labels), np.full(labels.shape, np.inf)
        for k, distance in zip(marked, distances, strict=True):
            if k != 0:
                claimed = (distance < least) & cut(picture, labels, nearest, k, self.rounds)
                found[claimed], least[claimed] = k, distance[claimed]
        return found


def cut(picture: np.ndarray, labels: np.ndarray, guess: np.ndarray, k: int, rounds: int) -> np.ndarray:
    """Where class k is in a picture (h, w, 3): labels are certain, the guess (h, w) is where the cut begins elsewhere."""
    certain = np.where(labels == k, cv2.GC_FGD, cv2.GC_BGD)
    probable = np.where(guess == k, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    mask = np.where(labels == IGNORE, probable, certain).astype(np.uint8)
    cv2.setRNGSeed(0)  # the mixtures begin with random clusters
    rest, ours = np.zeros((1, 65)), np.zeros((1, 65))  # room for the mixtures
    cv2.grabCut(picture, mask, (0, 0, 0, 0), rest, ours, rounds, cv2.GC_INIT_WITH_MASK)  # changes the mask
    return (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
