"""Entropy minimisation: every pixel gets a confident prediction."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import entropy, partial_cross_entropy
from benchmark.seal.contract import Range


@dataclass
class EntropyMinimisation(NetMethod):
    """Partial cross-entropy plus the entropy of all predictions (Grandvalet & Bengio, NeurIPS 2004), as in WSL4MIS."""

    title: ClassVar[str] = "Entropy minimisation"
    static: ClassVar[bool] = True

    weight: Annotated[float, Range(0.01, 1.0)] = 0.1

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, and minimise the entropy of predictions."""
        logits = self.net(batch.image)
        return partial_cross_entropy(logits, batch.allowed) + self.weight * entropy(logits.softmax(1))
