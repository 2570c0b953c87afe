"""Dense CRF: pixels of similar colour get the same label, at any distance."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import dense_crf, partial_cross_entropy
from benchmark.methods.scale import relative_size
from benchmark.seal.contract import Positive, PositiveShare, Range

PUBLISHED = 513  # px, the crops of the paper's code


@dataclass
class DenseCRF(NetMethod):
    """Partial cross-entropy plus the energy of a fully connected CRF (Tang et al., ECCV 2018), with its constants.

    The constants belong to the published 513 px. The energy is a sum over pairs of pixels: with the same constants it is
    a thousandth at 64 px. Here sigma_xy covers the same anatomy at every size, and the weight keeps the energy. The
    published lattice filter gives about half of the exact sum used here, so the same weight acts about twice as
    strongly. ProCNS's baseline sums over labelled pixels only, with a weight of 0.1; here the sum is over all pixels, and
    with 0.1 every pixel would get the same class.
    """

    title: ClassVar[str] = "Dense CRF"
    static: ClassVar[bool] = True

    weight: Annotated[float, Range(2e-10, 2e-8)] = 2e-9  # at the published size, 513 px
    sigma_xy: Positive = 100.0  # px, likewise
    sigma_rgb: Positive = 15.0  # of three channels in 0 to 255
    scale: PositiveShare = 0.5  # of the image on which the energy is computed

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, and give pixels of similar colour the same class."""
        logits, s = self.net(batch.image), relative_size(batch.image, PUBLISHED)
        sigma_rgb = self.sigma_rgb * math.sqrt(batch.image.shape[1] / 3)  # a grey image counts as three equal channels
        energy = dense_crf(logits.softmax(1), batch.image, sigma_xy=self.sigma_xy * s, sigma_rgb=sigma_rgb, scale=self.scale)
        return partial_cross_entropy(logits, batch.allowed) + self.weight / s**4 * energy
