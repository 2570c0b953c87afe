"""GrabCut: cut each class from the rest by the intensities of its marks and the edges of the image."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from scipy import ndimage
from torch import Tensor

from benchmark.methods.boxes import boxed_sites
from benchmark.methods.propagation import LabelPropagation
from benchmark.seal.contract import IGNORE, Budget, Count, Log, Share, WeakData, WeakScan


@dataclass
class GrabCut(LabelPropagation):
    """Cuts of Rother et al. (SIGGRAPH 2004) as OpenCV makes them, then training on them; a control.

    Each foreground class is cut from the rest separately. Its marks are fixed as foreground, other marks as the rest, and
    an unlabelled pixel starts with the class of its nearest mark. A pixel in the cuts of several classes gets the one
    with the nearest mark; a pixel in none is background. OpenCV needs colours of 8 bits: an image without three channels
    is converted to grey, the mean of its channels.

    Of boxes: outside is fixed as the rest, inside starts as the class, as published; the middle of each box is fixed as
    the class, as in Khoreva et al. (CVPR 2017), since small or faint objects vanish otherwise. Where cuts of several
    classes meet, the class whose boxes are smaller in the slice has the pixel.
    """

    title: ClassVar[str] = "GrabCut"
    annotations: ClassVar[tuple[str, ...]] = ("full", "scribble", "point", "block", "box", "slices")
    static: ClassVar[bool] = True

    rounds: Count = 5  # of fitting the Gaussian mixtures and cutting
    core: Share = 0.2  # share of the area of a box, in its middle, that is fixed as its class; 0: none (Rother et al.)

    def begin(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Train on the cuts."""
        self.boxed = boxed_sites(data)
        super().begin(data, budget, log)

    def prepare(self, scan: WeakScan, classes: int, size: int) -> tuple[Tensor, np.ndarray]:
        """Return a training scan at network size, with its cuts, of boxes or of marks."""
        self.boxes = scan.site in self.boxed
        return super().prepare(scan, classes, size)

    def narrow(self, images: np.ndarray, sets: np.ndarray, classes: int) -> np.ndarray:
        """Reduce label sets (s, h, w) of images (s, c, h, w) to the cuts.

        Where a box fills its slice, what no cut takes stays as it is.
        """
        if not self.boxes:
            return super().narrow(images, sets, classes)
        cuts = [cut_boxes(image, own, classes, self.rounds, self.core) for image, own in zip(images, sets, strict=True)]
        filled = np.bitwise_and.reduce(sets, (1, 2), keepdims=True) > 1  # a class is possible everywhere
        return np.where(filled & np.equal(cuts, 0), sets, np.left_shift(1, cuts)).astype(sets.dtype)

    def propagate(self, image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the class of the cut that contains each pixel."""
        picture = picture_of(image)
        marked = np.setdiff1d(labels, IGNORE)
        distances = np.stack([ndimage.distance_transform_edt(labels != k) for k in marked])  # px to each class's marks
        nearest = marked[distances.argmin(0)]
        found, least = np.where(labels == IGNORE, 0, labels), np.full(labels.shape, np.inf)
        for k, distance in zip(marked, distances, strict=True):
            if k != 0:
                inside = (distance < least) & cut(picture, labels, nearest, k, self.rounds)
                found[inside], least[inside] = k, distance[inside]
        return found


def cut_boxes(image: np.ndarray, sets: np.ndarray, classes: int, rounds: int, core: float) -> np.ndarray:
    """Labels (h, w) of an image (c, h, w): each class is cut out within its boxes, those of the largest area first."""
    picture, found = picture_of(image), np.zeros(sets.shape, np.int64)
    boxes = {k: sets >> k & 1 == 1 for k in range(1, classes)}
    for k, inside in sorted(boxes.items(), key=lambda each: -each[1].sum()):
        if inside.any() and not inside.all():  # a cut needs pixels of both sides
            fixed = np.where(middles(inside, core), k, np.where(inside, IGNORE, 0))
            found[cut(picture, fixed, np.where(inside, k, 0), k, rounds)] = k
    return found


def middles(inside: np.ndarray, share: float) -> np.ndarray:
    """The middle of each box, with this share of its area, bool (h, w); boxes are the parts of a mask (h, w)."""
    middle = np.zeros_like(inside)
    for box in ndimage.find_objects(ndimage.label(inside)[0]) if share else ():
        sides = [side.stop - side.start for side in box]
        margins = [min(round(side * (1 - share**0.5) / 2), (side - 1) // 2) for side in sides]
        middle[tuple(slice(s.start + m, s.stop - m) for s, m in zip(box, margins, strict=True))] = True
    return middle & inside


def picture_of(image: np.ndarray) -> np.ndarray:
    """Colours of 8 bits, (h, w, 3), of an image (c, h, w) in [0, 1]; grey unless there are three channels."""
    colours = image if len(image) == 3 else image.mean(0, keepdims=True).repeat(3, 0)
    return np.ascontiguousarray((colours * 255).round().astype(np.uint8).transpose(1, 2, 0))


def cut(picture: np.ndarray, labels: np.ndarray, guess: np.ndarray, k: int, rounds: int) -> np.ndarray:
    """Segment class k in a picture (h, w, 3): labels are fixed; elsewhere `guess` (h, w) initialises the cut."""
    certain = np.where(labels == k, cv2.GC_FGD, cv2.GC_BGD)
    probable = np.where(guess == k, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    mask = np.where(labels == IGNORE, probable, certain).astype(np.uint8, order="C")
    cv2.setRNGSeed(0)  # the mixtures start from random clusters
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))  # OpenCV stores the mixtures here
    cv2.grabCut(picture, mask, (0, 0, 0, 0), background, foreground, rounds, cv2.GC_INIT_WITH_MASK)  # changes the mask
    return (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
