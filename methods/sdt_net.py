"""SDT-Net: of two teachers, the one that fits the marks better gives labels and features, and alone is updated."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.methods import networks
from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy, partial_dice
from benchmark.methods.views import follow, sure_sets, teacher_of
from benchmark.seal.contract import Budget, Range, Share

LEVELS = (("encoder", 16), ("decoder", 1))


@dataclass
class SDTNet(NetMethod):
    """Dynamic teacher switching, sure labels, hierarchical consistency (arXiv 2601.14563), constants of the authors' code.

    As there, the network starts as a copy of the second teacher, nothing is ramped up, and only the teacher in use moves,
    so one teacher soon is the only one ever used again; the facts `first` and `second` are the shares of steps of each.
    Every sample's Dice is masked by its own labels (there by those of all samples).
    """

    title: ClassVar[str] = "SDT-Net"

    weight: Annotated[float, Range(0.05, 5.0)] = 0.5  # of cross-entropy plus Dice with the teacher's labels
    alignment: Annotated[float, Range(0.05, 5.0)] = 0.5  # of the distance of features, per level
    tau: Share = 0.5  # probability above which a prediction is a label
    decay: Share = 0.99
    move: Literal["used", "both"] = "used"  # which teachers are updated in a step

    needs: ClassVar[tuple[str, ...]] = ("encoder/16", "decoder/1")
    static: ClassVar[bool] = True
    extra: ClassVar[str] = "two teachers, 2 more forward passes"

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build a network, a teacher with other weights, and one with the same."""
        super().build(channels, classes, budget)
        self.first = teacher_of(networks.build(budget.network, channels, classes, budget.weights))
        self.second = teacher_of(self.net)
        self.used = torch.zeros(2, device=self.device)  # steps of each teacher
        self.firsts = torch.zeros((), dtype=torch.bool, device=self.device)  # whether the first teaches in this step

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the marks, and the labels and features of the better teacher."""
        own = self.net.features(batch.image)
        with torch.no_grad():
            both = [teacher.features(batch.image) for teacher in (self.first, self.second)]
            one, other = (partial_cross_entropy(made.logits, batch.allowed) for made in both)
            self.firsts.copy_(one < other)
            self.used += torch.stack([self.firsts, ~self.firsts])
            sets = sure_sets(torch.where(self.firsts, both[0].logits, both[1].logits).softmax(1), self.tau)
        distance = torch.zeros_like(one)
        for half, stride in LEVELS:
            mine, first, second = (getattr(made, half)[stride] for made in (own, *both))
            distance = distance + feature_distance(torch.where(self.firsts, first, second), mine)
        labels = partial_cross_entropy(own.logits, sets) + partial_dice(own.logits, sets)
        return partial_cross_entropy(own.logits, batch.allowed) + self.weight * labels + self.alignment * distance

    def after_step(self, batch: Batch, progress: float) -> None:
        """Update the teacher that was used, or both."""
        both = self.move == "both"
        follow(self.first, self.net, (1 - self.decay) * (torch.ones_like(self.firsts) if both else self.firsts))
        follow(self.second, self.net, (1 - self.decay) * (torch.ones_like(self.firsts) if both else ~self.firsts))

    def between_steps(self, done: int) -> None:
        """At the end, log and report the share of steps in which each teacher was used."""
        if done == self.budget.steps:
            first, second = (round(float(count) / done, 4) for count in self.used)
            self.log(done - 1, first=first, second=second)
            self.report(first=first, second=second)


def feature_distance(one: Tensor, other: Tensor) -> Tensor:
    """Half the mean absolute difference plus 1 minus the mean cosine over samples, of maps (n, c, h, w)."""
    cosine = F.cosine_similarity(one.flatten(1), other.flatten(1)).mean()
    return ((one - other).abs().mean() + 1 - cosine) / 2
