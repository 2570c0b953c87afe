"""Smooth: partial cross-entropy, and similar predictions of neighbouring pixels."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy
from benchmark.seal.contract import Range


@dataclass
class Smooth(NetMethod):
    """Partial cross-entropy plus the mean squared difference of neighbouring probabilities."""

    weight: Annotated[float, Range(0.1, 10.0)] = 1.0  # of the difference

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Return the loss of a batch."""
        logits = self.net(batch.image)
        return partial_cross_entropy(logits, batch.allowed) + self.weight * squared_difference(logits.softmax(1))


def squared_difference(probs: Tensor) -> Tensor:
    """Mean squared difference of probabilities (n, k, h, w) of a pixel and its neighbours, below plus to the right."""
    return (probs.diff(dim=2) ** 2).mean() + (probs.diff(dim=3) ** 2).mean()
