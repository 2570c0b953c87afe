"""Smooth: fit the marks, and give neighbours the same class."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy
from benchmark.seal.contract import Range


@dataclass
class Smooth(NetMethod):
    """Partial cross-entropy plus the mean squared step between neighbouring probabilities."""

    weight: Annotated[float, Range(0.1, 10.0)] = 1.0  # of the steps

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, and keep steps small."""
        logits = self.net(batch.image)
        return partial_cross_entropy(logits, batch.allowed) + self.weight * steps(logits.softmax(1))


def steps(probs: Tensor) -> Tensor:
    """The mean squared difference of probabilities (n, k, h, w) between a pixel and the next, down and to the right."""
    return (probs.diff(dim=2) ** 2).mean() + (probs.diff(dim=3) ** 2).mean()
