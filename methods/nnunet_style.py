"""nnU-Net's loss, deep supervision and intensity augmentation on the network of all methods."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.methods import networks
from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy
from benchmark.methods.losses.labels import possible
from benchmark.methods.scale import relative_size
from benchmark.seal.contract import Budget, Range

STRIDES = (2, 4)  # of the decoder's maps with a head of their own; the one at 8 has the weight 0 in nnU-Net
SMOOTH = 1e-5


@dataclass
class NNUNetStyle(NetMethod):
    """Partial cross-entropy minus soft Dice as in nnU-Net (Isensee et al., 2021; Gotkowski et al., arXiv 2403.12834).

    The loss of full, half and quarter resolution is weighted by 4/7, 2/7 and 1/7. Constants of nnUNetTrainer at 0e49508
    (2026-07-13). Budget, network, optimiser, geometry of augmentation and prediction are those of all methods: no patches,
    scaling, mirrored or overlapping predictions, no ensemble. Its optimiser is a budget: `optimiser=nesterov,
    momentum=0.99,weight_decay=3e-5`.
    """

    title: ClassVar[str] = "nnU-Net style"

    dice: Annotated[float, Range(0.1, 10.0)] = 1.0  # weight of the Dice
    deep: bool = True  # supervise the coarser maps of the decoder, too
    intensity: bool = True  # augment intensities

    needs: ClassVar[tuple[str, ...]] = ("decoder/2", "decoder/4")
    static: ClassVar[bool] = True
    extra: ClassVar[str] = "heads of two coarser maps"

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build the network, with a head for each further resolution."""
        super().build(channels, classes, budget)
        if self.deep:
            self.net = Deep(self.net, channels, classes, budget.size)

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels at all resolutions."""
        image = augmented(batch.image) if self.intensity else batch.image
        made = self.net.all(image) if self.deep else [self.net(image)]
        total, weights = torch.zeros((), device=image.device), 0.0
        for level, logits in enumerate(made):
            sets = F.interpolate(batch.allowed[:, None].double(), logits.shape[-2:], mode="nearest-exact")[:, 0].int()
            each = partial_cross_entropy(logits, sets) - self.dice * soft_dice(logits, sets)
            total, weights = total + 0.5**level * each, weights + 0.5**level
        return total / weights


class Deep(nn.Module):
    """A network with 1 x 1 heads on coarser maps of its decoder; it predicts with the main one."""

    def __init__(self, main: Any, channels: int, classes: int, size: int) -> None:
        super().__init__()
        self.main = main
        with torch.no_grad():
            maps = main.eval().features(torch.zeros(1, channels, size, size)).decoder
        main.train()
        self.heads = nn.ModuleList(nn.Conv2d(maps[stride].shape[1], classes, 1) for stride in STRIDES)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the main head."""
        logits: Tensor = self.main(image)
        return logits

    def features(self, image: Tensor) -> networks.Features:
        """Those of the main network."""
        made: networks.Features = self.main.features(image)
        return made

    def all(self, image: Tensor) -> list[Tensor]:
        """Logits (n, k, h / stride, w / stride) of all heads, the finest first."""
        made = self.main.features(image)
        return [
            made.logits,
            *(networks.as_logits(head(made.decoder[each])) for head, each in zip(self.heads, STRIDES, strict=True)),
        ]


def soft_dice(logits: Tensor, allowed: Tensor) -> Tensor:
    """Mean over foreground classes of (2 sum p t + s) / (sum p + sum t + s) over the labelled pixels of the batch.

    s = 1e-5; a pixel is labelled if its set (n, h, w) has one class. logits (n, k, h, w).
    """
    sets = possible(allowed, logits.shape[1])
    labelled = sets.sum(1, keepdim=True) == 1
    probs, target = (logits.softmax(1) * labelled)[:, 1:], (sets & labelled)[:, 1:].to(logits.dtype)
    overlap, sizes = (probs * target).sum((0, 2, 3)), (probs + target).sum((0, 2, 3))
    return ((2 * overlap + SMOOTH) / (sizes + SMOOTH)).mean()


# ---------------------------------------------------------------------------------------------------- intensities, in order


def augmented(image: Tensor) -> Tensor:
    """nnU-Net's noise, blur, brightness, contrast, low resolution and gammas, each for a random part of the images.

    They apply to each image with mean 0 and standard deviation 1, which is restored. Channels are changed alike; blur and
    low resolution spare each of them with probability 1/2. Low resolution is enlarged linearly.
    """
    mean, deviation = image.mean((1, 2, 3), keepdim=True), _deviation(image)
    x = (image - mean) / deviation
    x = _some(0.1, x + 0.1 * _uniform(x) * torch.randn_like(x), x)
    x = _some(0.2, blurred(x, (0.5 + 0.5 * _uniform(x)) * relative_size(x)), x, of_channels=0.5)
    x = _some(0.15, x * factor(x, 0.75, 1.25), x)
    x = _some(0.15, contrasted(x, factor(x, 0.75, 1.25)), x)
    x = _some(0.25, low_resolution(x, 0.5 + 0.5 * _uniform(x)), x, of_channels=0.5)
    x = _some(0.1, -gamma(-x, factor(x, 0.7, 1.5)), x)
    x = _some(0.3, gamma(x, factor(x, 0.7, 1.5)), x)
    return x * deviation + mean


def _uniform(x: Tensor) -> Tensor:
    return torch.rand(len(x), 1, 1, 1, device=x.device)


def _some(share: float, changed: Tensor, x: Tensor, of_channels: float = 1.0) -> Tensor:
    channels = torch.rand(*x.shape[:2], 1, 1, device=x.device) < of_channels
    return torch.where((_uniform(x) < share) & channels, changed, x)


def _deviation(x: Tensor) -> Tensor:
    return x.std((1, 2, 3), keepdim=True).clamp(min=1e-7)


def factor(x: Tensor, low: float, high: float) -> Tensor:
    """A factor per image, (n, 1, 1, 1): half of them uniform from low to 1, half from 1 to high."""
    part = _uniform(x)
    return torch.where(_uniform(x) < 0.5, low + (1 - low) * part, 1 + (high - 1) * part)


def contrasted(x: Tensor, by: Tensor) -> Tensor:
    """Multiply the distance from the mean, within the image's range."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return (mean + by * (x - mean)).clamp(x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True))


def gamma(x: Tensor, power: Tensor) -> Tensor:
    """Raise intensities, as shares of the range, to a power; mean and standard deviation stay."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    raised = ((x - low) / (high - low).clamp(min=1e-7)) ** power
    raised = (raised - raised.mean((1, 2, 3), keepdim=True)) / _deviation(raised)
    return raised * _deviation(x) + x.mean((1, 2, 3), keepdim=True)


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Convolve with a Gaussian of sigma px (n, 1, 1, 1), cut at 4 px, or more above 256 px; borders are repeated."""
    reach = max(4, math.ceil(4 * relative_size(x)))
    at = torch.arange(-reach, reach + 1, device=x.device)
    kernel = torch.exp(-0.5 * (at / sigma.view(-1, 1)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    n, c, h, w = x.shape
    kernel = kernel.repeat_interleave(c, 0).view(n * c, 1, 1, -1).to(x.dtype)
    flat = F.pad(x.reshape(1, n * c, h, w), [reach] * 4, mode="replicate")
    return F.conv2d(F.conv2d(flat, kernel, groups=n * c), kernel.mT, groups=n * c).view(n, c, h, w)


def low_resolution(x: Tensor, zoom: Tensor) -> Tensor:
    """Reduce by zoom (n, 1, 1, 1) to the nearest pixels, and enlarge again linearly; square images (n, c, h, h)."""
    size = x.shape[-1]
    place = (torch.arange(size, device=x.device) + 0.5) * zoom.view(-1, 1) - 0.5  # in the reduced image, (n, h)
    last = (size * zoom.view(-1, 1)).round().clamp(min=1) - 1
    before = place.floor()
    weight = (place - before).to(x.dtype)
    first, second = (
        (((each.clamp(min=0).minimum(last) + 0.5) / zoom.view(-1, 1)).floor().clamp(max=size - 1)).long()
        for each in (before, before + 1)
    )
    for axis, view in ((2, (-1, 1, size, 1)), (3, (-1, 1, 1, size))):
        one, two = (x.gather(axis, index.view(view).expand_as(x)) for index in (first, second))
        x = one + weight.view(view) * (two - one)
    return x
