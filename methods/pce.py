"""Partial cross-entropy: fit the labelled pixels, and nothing else."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy


@dataclass
class PartialCrossEntropy(NetMethod):
    """Cross-entropy on the labelled pixels (Tang et al., CVPR 2018): the field's baseline.

    Of boxes and tags it learns which classes a pixel can't have; background everywhere satisfies both.
    """

    title: ClassVar[str] = "pCE"
    annotations: ClassVar[str] = "sets"
    role: ClassVar[str] = "base"
    static: ClassVar[bool] = True

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels."""
        return partial_cross_entropy(self.net(batch.image), batch.allowed)
