"""Total variation: prefer short boundaries."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy, total_variation
from benchmark.methods.scale import relative_size
from benchmark.seal.contract import Range


@dataclass
class TotalVariation(NetMethod):
    """Partial cross-entropy plus the length of predicted contours (Javanmardi et al., 2016), as in WSL4MIS.

    The share of pixels on contours decreases as the network's size increases: the weight belongs to the published 256 px,
    and is multiplied by size / 256.
    """

    title: ClassVar[str] = "Total variation"
    static: ClassVar[bool] = True

    weight: Annotated[float, Range(0.001, 0.1)] = 0.01  # at the published size, 256 px

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, and keep contours short."""
        logits = self.net(batch.image)
        length = relative_size(batch.image) * total_variation(logits.softmax(1))
        return partial_cross_entropy(logits, batch.allowed) + self.weight * length
