"""Intensity variance: even intensities within a class, different ones between classes."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod, ramp
from benchmark.methods.losses import intensity_variance, partial_cross_entropy
from benchmark.seal.contract import Range


@dataclass
class IntensityVariance(NetMethod):
    """Partial cross-entropy plus the intensity term of WSL4MIS (after Luo et al., WORD, MedIA 2022).

    The published code has the sign of the term reversed. Its published ramp takes 30,000 steps, the default budget there,
    and changes every 150 steps. Here the ramp takes the whole budget and changes with every step.
    """

    title: ClassVar[str] = "Intensity variance"

    weight: Annotated[float, Range(0.01, 1.0)] = 0.1  # reached at the end of the ramp

    static: ClassVar[bool] = True

    def numbers(self, step: int) -> tuple[float, ...]:
        """The weight at this step of the ramp."""
        return (self.weight * ramp(step / self.budget.steps),)

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, and separate the intensities of the classes."""
        logits = self.net(batch.image)
        term = intensity_variance(logits.softmax(1), batch.image)
        return partial_cross_entropy(logits, batch.allowed) + batch.numbers[0] * term
