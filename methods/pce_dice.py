"""Partial cross-entropy and partial Dice: fit the labelled pixels, each class as much as the others."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy, partial_dice


@dataclass
class PartialCrossEntropyDice(NetMethod):
    """The mean of both losses on the labelled pixels (Luo et al., MICCAI 2022); on full masks, the usual supervised loss."""

    title: ClassVar[str] = "pCE + Dice"
    role: ClassVar[str] = "supervised"
    static: ClassVar[bool] = True

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels."""
        logits = self.net(batch.image)
        return (partial_cross_entropy(logits, batch.allowed) + partial_dice(logits, batch.allowed)) / 2
