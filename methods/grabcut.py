"""GrabCut: cut each class from the rest by the intensities of its marks and the edges of the image."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from benchmark.methods.propagation import LabelPropagation
from benchmark.seal.contract import IGNORE


@dataclass
class GrabCut(LabelPropagation):
    """Cuts of Rother et al. (SIGGRAPH 2004) as OpenCV makes them, then training on them; a control.

    Each foreground class is cut from the rest separately. Its marks are fixed as foreground, other marks as the rest, and
    an unlabelled pixel starts with the class of its nearest mark. A pixel in the cuts of several classes gets the one
    with the nearest mark; a pixel in none is background. OpenCV needs colours of 8 bits: an image without three channels
    is converted to grey, the mean of its channels.
    """

    static: ClassVar[bool] = True

    rounds: int = 5  # of fitting the Gaussian mixtures and cutting

    def propagate(self, image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the class of the cut that contains each pixel."""
        colours = image if len(image) == 3 else image.mean(0, keepdims=True).repeat(3, 0)
        picture = np.ascontiguousarray((colours * 255).round().astype(np.uint8).transpose(1, 2, 0))
        marked = np.setdiff1d(labels, IGNORE)
        distances = np.stack([distance_transform_edt(labels != k) for k in marked])  # px to each class's marks
        nearest = marked[distances.argmin(0)]
        found, least = np.where(labels == IGNORE, 0, labels), np.full(labels.shape, np.inf)
        for k, distance in zip(marked, distances, strict=True):
            if k != 0:
                inside = (distance < least) & cut(picture, labels, nearest, k, self.rounds)
                found[inside], least[inside] = k, distance[inside]
        return found


def cut(picture: np.ndarray, labels: np.ndarray, guess: np.ndarray, k: int, rounds: int) -> np.ndarray:
    """Segment class k in a picture (h, w, 3): labels are fixed; elsewhere `guess` (h, w) initialises the cut."""
    certain = np.where(labels == k, cv2.GC_FGD, cv2.GC_BGD)
    probable = np.where(guess == k, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    mask = np.where(labels == IGNORE, probable, certain).astype(np.uint8)
    cv2.setRNGSeed(0)  # the mixtures start from random clusters
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))  # OpenCV stores the mixtures here
    cv2.grabCut(picture, mask, (0, 0, 0, 0), background, foreground, rounds, cv2.GC_INIT_WITH_MASK)  # changes the mask
    return (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
