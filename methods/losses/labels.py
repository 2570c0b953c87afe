"""Losses on the annotated pixels: partial cross-entropy and Dice."""

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5


def possible(allowed: Tensor, classes: int) -> Tensor:
    """Convert label sets (n, h, w) to booleans (n, classes, h, w)."""
    bits = torch.arange(classes, device=allowed.device, dtype=torch.int32)
    return (allowed.to(torch.int32)[:, None] >> bits[:, None, None] & 1).bool()


def everywhere(allowed: Tensor, classes: int) -> Tensor:
    """Classes that are possible at every pixel of an image, bool (n, classes): of tags, those that are tagged."""
    return possible(allowed, classes).flatten(2).all(2)


def partial_cross_entropy(logits: Tensor, allowed: Tensor) -> Tensor:
    """Minus the log of the probability of the allowed classes, averaged over pixels that do not allow all; 0 if none.

    logits (n, k, h, w); allowed (n, h, w), integers whose bit c says that class c is possible. Where one class is
    possible this is cross-entropy; the average is over such pixels of the whole batch (Tang et al., CVPR 2018).
    """
    total, count = negative_logs(logits, allowed)
    return total / count.clamp(min=1)


def negative_logs(logits: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of minus the logs of the probability of the allowed classes, and the number of pixels that don't allow all."""
    sets = possible(allowed, logits.shape[1])
    informative = ~sets.all(1)
    log_probs = F.log_softmax(logits, 1).masked_fill(~sets, -torch.inf)
    return -(torch.logsumexp(log_probs, 1) * informative).sum(), informative.sum()


def partial_dice(logits: Tensor, allowed: Tensor) -> Tensor:
    """Soft Dice loss over the labelled pixels, those that allow one class; 0 if there is none.

    mean over classes of 1 - (2 sum p t + e) / (sum p^2 + sum t^2 + e), e = 1e-5, sums over the labelled pixels of the
    whole batch, background included; logits (n, k, h, w), allowed (n, h, w) as sets. WSL4MIS's Dice (Luo et al.,
    MICCAI 2022) with every sample masked by its own labels (the published code mixes the samples' masks).
    """
    sets = possible(allowed, logits.shape[1])
    labelled = sets.sum(1, keepdim=True) == 1
    return squared_dice(logits.softmax(1) * labelled, (sets & labelled).to(logits.dtype))


def squared_dice(probs: Tensor, target: Tensor) -> Tensor:
    """Mean over classes of the Dice loss with squared denominators, sums over the batch; both (n, k, h, w)."""
    space = (0, 2, 3)
    overlap = (probs * target).sum(space)
    sizes = probs.square().sum(space) + target.square().sum(space)
    return (1 - (2 * overlap + EPSILON) / (sizes + EPSILON)).mean()
