"""Networks by name; a network gives logits, and its feature maps by stride."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)


class Features(NamedTuple):
    """What a network made of a batch."""

    logits: Tensor  # (n, classes, h, w)
    encoder: dict[int, Tensor]  # stride -> (n, c, h / stride, w / stride)
    decoder: dict[int, Tensor]


class UNet(nn.Module):
    """The 2-D U-Net that WSL4MIS and ProCNS share: 1,813,764 parameters at 1 channel and 4 classes.

    As their code runs it: the up-sampling is bilinear with aligned corners after a 1x1 convolution, although the
    published configuration asks for a transposed convolution.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        inputs = (channels, *WIDTHS[:-1])
        self.encoder = nn.ModuleList(map(_block, inputs, WIDTHS, DROPOUT))
        self.decoder = Decoder(classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, classes, h, w) of images (n, channels, h, w) of any size from 16 px."""
        return self.features(image).logits

    def features(self, image: Tensor) -> Features:
        """Logits, and the maps of both halves."""
        maps = [self.encoder[0](image)]
        for level in self.encoder[1:]:
            maps.append(level(F.max_pool2d(maps[-1], 2)))
        logits, decoded = self.decoder(maps)
        return Features(logits, {2**i: m for i, m in enumerate(maps)}, {2 ** (3 - i): m for i, m in enumerate(decoded)})


class Level(nn.Module):
    """One level up: narrow, enlarge, join with the encoder's map, and convolve."""

    def __init__(self, deep: int, skip: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(deep, skip, 1)
        self.join = _block(2 * skip, skip, 0)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """The joined map, of the skip's size."""
        x = F.interpolate(self.narrow(x), size=skip.shape[-2:], mode="bilinear", align_corners=True)
        return self.join(torch.cat([skip, x], 1))


class Decoder(nn.Module):
    """The way up, level by level, and the head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(map(Level, WIDTHS[:0:-1], WIDTHS[-2::-1]))
        self.head = nn.Conv2d(WIDTHS[0], classes, 3, padding=1)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the map of each level from the deepest up."""
        decoded: list[Tensor] = []
        for level, skip in zip(self.levels, maps[-2::-1], strict=True):
            decoded.append(level(decoded[-1] if decoded else maps[-1], skip))
        return self.head(decoded[-1]), decoded


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """Two convolutions, each with batch norm and leaky ReLU, and dropout between them."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(), nn.Dropout(dropout),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(),
    )  # fmt: skip


NETWORKS = {"unet": UNet}


def build(name: str, channels: int, classes: int) -> nn.Module:
    """The network of that name, freshly initialised; raises ValueError for an unknown name."""
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r}; there are {', '.join(NETWORKS)}")
    return NETWORKS[name](channels, classes)
