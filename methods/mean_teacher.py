"""Mean teacher: consistency with a noisy teacher, the running average of the network's weights."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod, ramp
from benchmark.methods.losses import partial_cross_entropy
from benchmark.seal.contract import Budget, NotNegative, Range, Share


@dataclass
class MeanTeacher(NetMethod):
    """Partial cross-entropy plus the squared distance to a noisy teacher (Tarvainen & Valpola, NeurIPS 2017).

    Constants of WSL4MIS's semi-supervised script. Here every slice is partly labelled, so all pixels are compared. The
    published teacher starts with other random weights, which the first step replaces by the student's; here it starts as
    a copy of the student.
    """

    title: ClassVar[str] = "Mean teacher"

    weight: Annotated[float, Range(0.01, 1.0)] = 0.1  # reached at the end of the ramp, which is the whole budget
    decay: Share = 0.99
    noise: NotNegative = 0.1  # standard deviation, clipped at twice its value

    static: ClassVar[bool] = True
    extra: ClassVar[str] = "a teacher, 1 more forward pass"

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build a network, and a copy of it as the teacher, without gradients."""
        super().build(channels, classes, budget)
        self.teacher = deepcopy(self.net).requires_grad_(requires_grad=False)

    def numbers(self, step: int) -> tuple[float, ...]:
        """The weight of the distance, and the student's share of the teacher's weights."""
        return self.weight * ramp(step / self.budget.steps), 1 - min(1 - 1 / (step + 1), self.decay)

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, and agree with the teacher."""
        logits = self.net(batch.image)
        with torch.no_grad():
            target = self.teacher(self.noisy(batch.image)).softmax(1)
        distance = (logits.softmax(1) - target).square().mean()
        return partial_cross_entropy(logits, batch.allowed) + batch.numbers[0] * distance

    def noisy(self, image: Tensor) -> Tensor:
        """Add noise to an image, as input of the teacher."""
        return image + (self.noise * torch.randn_like(image)).clamp(-2 * self.noise, 2 * self.noise)

    @torch.no_grad()
    def after_step(self, batch: Batch, progress: float) -> None:
        """Update the weights of the teacher; its batch statistics come from its own forward passes."""
        for teacher, student in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
            teacher.lerp_(student, batch.numbers[1])
