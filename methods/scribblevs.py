"""ScribbleVS: sure labels of the teacher or of the network itself, whichever fits the marks better."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod, ramp
from benchmark.methods.losses import partial_cross_entropy, partial_dice
from benchmark.methods.views import follow, sure_sets, teacher_of
from benchmark.seal.contract import Budget, Range, Share


@dataclass
class ScribbleVS(NetMethod):
    """Regional pseudo-labels with dynamic competition (Wang et al., arXiv 2411.10237), constants of the authors' code.

    Loss: pCE + weight r(t) / 2 (CE + Dice) with the label argmax p, where max p > tau. p is the teacher's, if it has the
    smaller pCE on the batch, else the network's own. Deviations from the code: every sample's Dice is masked by its own
    labels (there by those of all samples); the ramp increases with every step (there every 300).
    """

    title: ClassVar[str] = "ScribbleVS"

    weight: Annotated[float, Range(0.1, 10.0)] = 1.0  # of the sure labels, after the ramp
    tau: Share = 0.5  # probability above which a prediction is a label
    ramp: Share = 0.2  # share of the steps; published: 12,000 of 60,000
    decay: Share = 0.99  # of the teacher, weights and batch statistics
    shrink: Share = 0.0  # share by which the network's weights and statistics shrink in each step; 2e-4 in the code

    static: ClassVar[bool] = True
    extra: ClassVar[str] = "a teacher, 1 more forward pass"

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build a network, and a copy of it as the teacher."""
        super().build(channels, classes, budget)
        self.teacher = teacher_of(self.net)
        self.taught = torch.zeros((), device=self.device)  # steps in which the teacher gave the labels

    def numbers(self, step: int) -> tuple[float, ...]:
        """The weight of the labels, and the network's share of the teacher's weights."""
        done = step / self.budget.steps / self.ramp if self.ramp else 1.0
        return self.weight * ramp(done), 1 - min(1 - 1 / (step + 1), self.decay)

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the marks, and the sure labels of the better of both networks."""
        logits = self.net(batch.image)
        with torch.no_grad():
            taught = self.teacher(batch.image)
        marks = partial_cross_entropy(logits, batch.allowed)
        better = marks.detach() > partial_cross_entropy(taught, batch.allowed)
        self.taught += better
        sets = sure_sets(torch.where(better, taught, logits.detach()).softmax(1), self.tau)
        return marks + batch.numbers[0] * (partial_cross_entropy(logits, sets) + partial_dice(logits, sets)) / 2

    @torch.no_grad()
    def after_step(self, batch: Batch, progress: float) -> None:
        """Update the teacher, then shrink the network."""
        follow(self.teacher, self.net, batch.numbers[1], buffers=True)
        if self.shrink:
            for own in (*self.net.parameters(), *self.net.buffers()):
                own.mul_(1 - self.shrink) if own.is_floating_point() else None

    def between_steps(self, done: int) -> None:
        """At the end, report in which share of the steps the teacher gave the labels."""
        if done == self.budget.steps:
            self.report(teacher=round(float(self.taught) / done, 4))
