"""HELPNet: three views of the image vote for a label by their entropies, and all of them learn it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import squared_dice
from benchmark.methods.views import Scale, cosine_distance, jigsaw, largest_components, marks_loss, one_hot
from benchmark.seal.contract import Budget, NotNegative, Positive, Range


@dataclass
class HELPNet(NetMethod):
    """Hierarchical perturbations and entropy-guided pseudo-labels (Medical Image Analysis 2025), constants of the code.

    Views: other brightness and contrast (c), a 2 x 2 jigsaw (2), and one whose quarters are jigsaws again (4). Loss:
    pCE_c + pCE_2 + 0.2 pCE_4 + 0.3 (1 - cos(p_2, p_c)) + 0.1 (1 - cos(p_4, p_c)) + labels * sum_v Dice(p_v, argmax of
    the mean p) + connected (1 - cos(mean p, its largest components)). Left out: the edges of a network that was trained
    on other data, and noise in a fifth of the batches.
    """

    title: ClassVar[str] = "HELPNet"

    scale: Scale = "labelled"  # pixels of which pCE is the mean; published: all
    labels: Annotated[float, Range(0.01, 1.0)] = 0.1  # weight of the Dice losses with the common label
    connected: NotNegative = 0.3  # weight of the agreement with the largest components; 0: without
    temperature: Positive = 0.4  # of the softmax over the views' negative entropies, in bits

    extra: ClassVar[str] = "passes of 3 views instead of 1"

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build the network, and report the scale."""
        if budget.size % 4:
            raise ValueError(f"helpnet cuts images into 4 x 4 tiles; the size is {budget.size}, and 4 must divide it")
        super().build(channels, classes, budget)
        self.report(scale=self.scale)

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the marks in all views, agree, and fit their common label."""
        image, allowed = batch.image, batch.allowed
        logits = [self.net(other_intensity(image))]
        for order in (torch.rand(4, device=image.device).argsort(), nested_order(image.device)):
            logits.append(jigsaw(self.net(jigsaw(image, order)), order.argsort()))
        clean, two, four = (each.softmax(1) for each in logits)
        pce = [marks_loss(each, allowed, self.scale) for each in logits]
        mean = common_probs([clean, two, four], self.temperature)
        label = one_hot(mean.detach().argmax(1), mean)
        loss = 0.3 * cosine_distance(two, clean).mean() + 0.1 * cosine_distance(four, clean).mean()
        loss = loss + self.labels * sum(squared_dice(probs, label) for probs in (clean, two, four))
        if self.connected:
            kept = one_hot(largest_components(mean.detach().argmax(1)), mean)
            loss = loss + self.connected * cosine_distance(mean, kept).mean()
        return pce[0] + pce[1] + 0.2 * pce[2] + loss


def other_intensity(image: Tensor) -> Tensor:
    """Multiply brightness by 0.3 to 1.7, then contrast about the middle by as much, per image (n, c, h, w).

    Both as shares of the image's own range, which is not left.
    """
    bright, contrast = 0.3 + 1.4 * torch.rand(2, len(image), 1, 1, 1, device=image.device)
    low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    share = (bright * (image - low) / (high - low).clamp(min=1e-7)).clamp(max=1)
    return low + (0.5 + contrast * (share - 0.5)).clamp(0, 1) * (high - low)


def nested_order(device: torch.device) -> Tensor:
    """An order of 4 x 4 tiles, int64 (16,): the quarters are rearranged, and the four tiles within each."""
    outer, inner = torch.rand(4, device=device).argsort(), torch.rand(4, 4, device=device).argsort(1)
    y, x = torch.meshgrid(torch.arange(4, device=device), torch.arange(4, device=device), indexing="ij")
    quarter, within = y // 2 * 2 + x // 2, y % 2 * 2 + x % 2
    tile, part = outer[quarter], inner[quarter, within]
    return ((tile // 2 * 2 + part // 2) * 4 + tile % 2 * 2 + part % 2).flatten()


def common_probs(probs: list[Tensor], temperature: float) -> Tensor:
    """The mean of the views' probabilities (n, k, h, w), each weighted per pixel by softmax(- entropy / temperature).

    Entropies are in bits; no gradient reaches the weights (paper, entropy-guided pseudo-label).
    """
    views = torch.stack(probs)
    known = views.detach()
    entropy = -(known * (known + 1e-10).log2()).sum(2, keepdim=True)
    return ((-entropy / temperature).softmax(0) * views).sum(0)
