"""Uncertainty-aware mean teacher: consistency with a rotated teacher where its entropy is low."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from benchmark.methods.base import Batch, ramp
from benchmark.methods.losses import partial_cross_entropy
from benchmark.methods.mean_teacher import MeanTeacher
from benchmark.seal.contract import Budget, Count, Range


@dataclass
class USTM(MeanTeacher):
    """Partial cross-entropy plus the masked squared distance to a teacher (Liu et al., Pattern Recognition 2022).

    The teacher is that of `mean_teacher`, and stays in training mode. It sees the image rotated by a random multiple of
    90 degrees; the student sees the original image, and its logits are rotated. Constants of WSL4MIS. Its ln 2 and 2 are
    for two classes, and mask more than intended if there are more; they are kept as published (see `by_classes`). The
    published weight increases in 60 steps of 1000 iterations, here with every iteration. The published code computes two
    noisy passes per batch, here each is a batch of its own.
    """

    title: ClassVar[str] = "USTM"

    weight: Annotated[float, Range(0.1, 10.0)] = 1.0  # reached at the end of the ramp, which is the whole budget
    samples: Count = 8  # noisy passes of the teacher, from which its uncertainty is estimated
    by_classes: bool = False  # use ln K and K instead of the ln 2 and 2 of the published code

    static: ClassVar[bool] = True
    extra: ClassVar[str] = "a teacher, 9 more forward passes"

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build both networks, and draw how the teacher's image is rotated in each step."""
        super().build(channels, classes, budget)
        self.count = classes if self.by_classes else 2
        self.turns = [int(self.rng.integers(4)) for _ in range(budget.steps)]

    def numbers(self, step: int) -> tuple[float, ...]:
        """Those of the mean teacher, and the entropy below which a pixel is used."""
        return *super().numbers(step), threshold(step / self.budget.steps, self.count)

    def kind(self, step: int) -> int:
        """The number of quarter turns."""
        return self.turns[step]

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, and agree with the teacher where its entropy is low."""
        logits = self.net(batch.image)
        turns: Any = batch.kind
        image = torch.rot90(batch.image, turns, (2, 3))
        with torch.no_grad():
            target = self.teacher(self.noisy(image)).softmax(1)
            mean = torch.stack([self.teacher(self.noisy(image)).softmax(1) for _ in range(self.samples)]).mean(0)
            sure = uncertainty(mean) < batch.numbers[2]
        rotated = torch.rot90(logits, turns, (2, 3)).softmax(1)
        distance = masked_distance(rotated, target, sure, self.count)
        return partial_cross_entropy(logits, batch.allowed) + batch.numbers[0] * distance


def uncertainty(probs: Tensor) -> Tensor:
    """Entropy (n, h, w) of probabilities (n, k, h, w): - sum_c p log(p + 1e-6), from 0 to log k."""
    return -(probs * (probs + 1e-6).log()).sum(1)


def threshold(progress: float, count: int = 2) -> float:
    """The entropy below which a pixel of the teacher is used: from three quarters of ln(count) to all of it."""
    return (0.75 + 0.25 * ramp(progress)) * math.log(count)


def masked_distance(probs: Tensor, target: Tensor, sure: Tensor, divisor: int = 2) -> Tensor:
    """Squared distance of probabilities (n, k, h, w), averaged over the sure pixels (n, h, w) and `divisor`; 0 if none.

    sum_i m_i |p_i - t_i|^2 / (divisor sum_i m_i + 1e-16): |.|^2 sums over classes.
    """
    return ((probs - target).square().sum(1) * sure).sum() / (divisor * sure.sum() + 1e-16)
