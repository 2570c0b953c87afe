"""Gated CRF: neighbouring pixels of similar colour get the same label."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import gated_crf, partial_cross_entropy
from benchmark.methods.scale import relative_size, scaled_window
from benchmark.seal.contract import Count, Positive, Range


@dataclass
class GatedCRF(NetMethod):
    """Partial cross-entropy plus a local Potts energy (Obukhov et al., 2019), with the constants of WSL4MIS.

    The constants belong to the published 256 px. At other sizes the window covers the same anatomy and its weight keeps
    its energy, unless `window` is "pixels". ProCNS's baseline of that name uses AdamW with the learning rate of SGD; here
    the optimiser is that of all methods.
    """

    title: ClassVar[str] = "Gated CRF"
    static: ClassVar[bool] = True

    weight: Annotated[float, Range(0.01, 1.0)] = 0.1
    sigma_xy: Positive = 6.0  # px at the published size, 256
    sigma_rgb: Positive = 0.1  # of intensities in [0, 1]
    radius: Count = 5  # px, likewise
    window: Literal["anatomy", "pixels"] = "anatomy"  # what it keeps at other sizes: the anatomy it covers, or its px

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, and give neighbours of similar colour the same class."""
        logits = self.net(batch.image)
        s = relative_size(batch.image) if self.window == "anatomy" else 1.0
        sigma_xy, radius, factor = scaled_window(self.sigma_xy, self.radius, s)
        energy = gated_crf(
            logits.softmax(1), batch.image, sigma_xy=sigma_xy, sigma_rgb=self.sigma_rgb, radius=radius, weight=factor
        )
        return partial_cross_entropy(logits, batch.allowed) + self.weight * energy
