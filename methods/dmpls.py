"""DMPLS: hard pseudo-labels from a random mix of two decoders, which both learn."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from benchmark.methods import networks
from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy, squared_dice
from benchmark.seal.contract import Budget, Range

Parts = tuple[float, float] | Tensor  # shares of the main and the auxiliary decoder


@dataclass
class DMPLS(NetMethod):
    """Dynamically mixed pseudo-labels (Luo et al., MICCAI 2022), with the constants of WSL4MIS; the main decoder predicts.

    The mixed label is used on every pixel, marked ones included, from the first step on. The published Dice has the same
    value, but needs memory quadratic in the batch size.

    With `branch` a second network takes the place of the second decoder, such as one with a transformer as encoder. That
    is the pseudo-label of ScribFormer (Li et al., TMI 2024) and close to S2ME (MICCAI 2023), without their networks and
    further terms.
    """

    title: ClassVar[str] = "DMPLS"

    weight: Annotated[float, Range(0.05, 5.0)] = 0.5  # of the mixed label
    branch: str = ""  # a second network, such as smp:Unet/tu-pvt_v2_b0; not in the paper

    networks: ClassVar[tuple[str, ...]] = ("branch",)
    static: ClassVar[bool] = True
    extra: ClassVar[str] = "a second decoder, or network"

    def __post_init__(self) -> None:
        """Check the name of the second network."""
        if self.branch:
            with torch.device("meta"):
                networks.build(self.branch, 3, 2)

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build a network with two decoders, or two networks."""
        if self.branch:
            main = networks.build(budget.network, channels, classes, budget.weights)
            self.net = networks.Pair(main, networks.build(self.branch, channels, classes))
        else:
            self.net = networks.build_dual(budget.network, channels, classes, budget.weights)

    def numbers(self, step: int) -> tuple[float, ...]:
        """The share of each decoder in the mixed label, at random."""
        return shares(self.rng.random())

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the marks and the mixed label with both decoders."""
        main, auxiliary = self.net.both(batch.image)
        marks = (partial_cross_entropy(main, batch.allowed) + partial_cross_entropy(auxiliary, batch.allowed)) / 2
        return marks + self.weight * mixed_dice(main.softmax(1), auxiliary.softmax(1), batch.numbers)


def shares(main: float) -> tuple[float, float]:
    """The share of the main decoder and that of the auxiliary one."""
    return main, 1 - main


def mixed_label(main: Tensor, auxiliary: Tensor, parts: Parts) -> Tensor:
    """The most probable class, int64 (n, h, w), of both probabilities (n, k, h, w), each by its share."""
    return (parts[0] * main + parts[1] * auxiliary).argmax(1)


def mixed_dice(main: Tensor, auxiliary: Tensor, parts: Parts) -> Tensor:
    """Mean of both predictions' Dice losses with their mixed label: squared denominators, all classes, over the batch."""
    classes = torch.arange(main.shape[1], device=main.device).view(1, -1, 1, 1)
    label = (mixed_label(main, auxiliary, parts)[:, None] == classes).to(main.dtype)
    return (squared_dice(main, label) + squared_dice(auxiliary, label)) / 2
