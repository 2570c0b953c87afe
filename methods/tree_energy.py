"""Tree energy: unlabelled pixels follow the minimum spanning tree of the image."""

import copy
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy, tree_energy
from benchmark.methods.networks import Features
from benchmark.seal.contract import Budget, Positive, Range


@dataclass
class TreeEnergy(NetMethod):
    """Partial cross-entropy plus the tree energy of unlabelled pixels (Liang et al., CVPR 2022), constants as in ProCNS.

    There is a tree of the image and one of an embedding from a second head, which learns from the energy only. A grey
    image is one channel here; the published loader repeats it to three, which equals a third of sigma.
    """

    title: ClassVar[str] = "Tree energy"

    needs: ClassVar[tuple[str, ...]] = ("decoder/4",)
    extra: ClassVar[str] = "a second head, trees on the CPU"

    weight: Annotated[float, Range(0.01, 1.0)] = 0.1
    sigma: Positive = 0.02  # of squared intensities in [0, 1], for similarity along the image's tree

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """A network with a second head."""
        super().build(channels, classes, budget)
        self.net = TwoHeads(self.net, maps_of(self.net, channels, budget.size).decoder[4].shape[1], classes)

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, and let unlabelled pixels follow the trees."""
        logits, embedding = self.net.both(batch.image)
        energy = tree_energy(logits.softmax(1), batch.image, embedding, batch.open, sigma=self.sigma)
        return partial_cross_entropy(logits, batch.allowed) + self.weight * energy


def maps_of(net: nn.Module, channels: int, size: int) -> Features:
    """Shapes of a network's maps, as tensors without values."""
    probe: Any = copy.deepcopy(net).to("meta").eval()
    made: Features = probe.features(torch.empty(1, channels, size, size, device="meta"))
    return made


class TwoHeads(nn.Module):
    """A network with a second head: an embedding, with a channel per class, of the decoder's map of stride 4."""

    def __init__(self, net: Any, width: int, classes: int) -> None:
        super().__init__()
        self.net = net
        self.head = nn.Sequential(
            nn.Conv2d(width, 512, 3, padding=1), nn.BatchNorm2d(512), nn.ReLU(), nn.Dropout2d(0.1),
            nn.Conv2d(512, classes, 1, bias=False),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, classes, h, w) of the network."""
        logits: Tensor = self.net(image)
        return logits

    def both(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and the embedding (n, classes, h / 4, w / 4)."""
        features = self.net.features(image)
        return features.logits, self.head(features.decoder[4])
