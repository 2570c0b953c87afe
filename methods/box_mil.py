"""Box MIL: every row and column of a box contains its class, and pixels of similar colour have the same class."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import box_bags, box_projection, boxes_of, colour_pairs, partial_cross_entropy
from benchmark.methods.resize import inside
from benchmark.seal.contract import Count, Range, Share, WeakScan, everything


@dataclass
class BoxMIL(NetMethod):
    """Projections or bags of boxes, and similar colours (Tian et al., BoxInst, CVPR 2021; Hsu et al., NeurIPS 2019).

    Loss: pCE of the sets + tightness + pairwise w(t) pairs. w rises linearly from 0 to 1 in the share `warm` of the steps.
    The tightness is BoxInst's Dice of the projections (`boxinst`) or Hsu's bags of rows and columns (`mil`). Deviations:
    maps are semantic, with a softmax, so pCE adds that background is outside the boxes; pairs are compared at network
    size (BoxInst: at a quarter), each once (its code counts a pair in a box twice), and `mil` has the same pairs (Hsu: a
    squared distance); padding is background, but in slices without annotation. There are no rotations but quarter turns, as
    boxes have axes.
    """

    title: ClassVar[str] = "Box MIL"
    annotations: ClassVar[tuple[str, ...]] = ("box",)
    keeps_axes: ClassVar[bool] = True
    extra: ClassVar[str] = "parts and colours of boxes, on the CPU"

    projection: Literal["boxinst", "mil"] = "boxinst"  # the tightness
    pairwise: Annotated[float, Range(0.1, 10.0)] = 1.0  # weight of the pairs; 0: none
    similarity: Share = 0.3  # exp(-distance / 2) of colours in LAB from which on a pair is alike
    dilation: Count = 2  # px between the pixels of a pair
    warm: Share = 0.11  # share of the steps in which the weight of the pairs rises; published: 10,000 of 90,000

    def prepare(self, scan: WeakScan, classes: int, size: int) -> tuple[Tensor, np.ndarray]:
        """Return a training scan at network size; the padding is background, unless nothing is known of the slice."""
        image, sets = super().prepare(scan, classes, size)
        height, width = scan.image.shape[-2:]
        rows, columns = inside(height, width, size, self.budget.resize)
        padded = np.ones_like(sets)
        padded[:, rows, columns] = sets[:, rows, columns]
        padded[(scan.allowed == everything(classes)).all((1, 2))] = everything(classes)
        return image, padded

    def numbers(self, step: int) -> tuple[float, ...]:
        """The weight of the pairs."""
        return (self.pairwise * min(1.0, step / self.budget.steps / self.warm if self.warm else 1.0),)

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the sets, the boxes and the colours."""
        logits = self.net(batch.image)
        probs, boxes = logits.softmax(1), boxes_of(batch.allowed, self.classes)
        tight = (box_projection if self.projection == "boxinst" else box_bags)(probs, boxes)
        pairs = colour_pairs(probs, batch.image, boxes, similarity=self.similarity, dilation=self.dilation)
        return partial_cross_entropy(logits, batch.allowed) + tight + batch.numbers[0] * pairs
