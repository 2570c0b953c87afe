"""Views of a batch and their inverses, and what methods with views and teachers share.

All is drawn and computed on the device of the batch, so that a step can be a CUDA graph; `largest_components` is the
exception. What a view does not show is open: all classes are allowed there. Rotations are those of `turns`.
"""

import math
from copy import deepcopy
from typing import Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from benchmark.methods.losses.labels import negative_logs
from benchmark.seal.contract import everything

Module = TypeVar("Module", bound=nn.Module)
Scale = Literal["all", "labelled"]  # of which pixels partial cross-entropy is the mean

# ------------------------------------------------------------------------------------------------------------- geometry


def rotations(count: int, device: torch.device) -> Tensor:
    """Rotations by uniformly random angles, as matrices (count, 2, 2) for `turns.sources`; the inverse is the transpose."""
    angle = 2 * math.pi * torch.rand(count, device=device)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


def flips(count: int, device: torch.device) -> Tensor:
    """No flip, either flip, or both, each with probability 1/4, as matrices (count, 2, 2); each is its own inverse."""
    return torch.diag_embed((torch.rand(count, 2, device=device) < 0.5) * -2.0 + 1.0)


def holes(count: int, size: int, side: int, device: torch.device) -> Tensor:
    """A square hole per image, bool (count, size, size), true inside; its centre is any pixel, so borders may cut it."""
    line = torch.arange(size, device=device)
    start = (torch.rand(2, count, 1, device=device) * size).floor() - side // 2
    inside = (line >= start) & (line < start + side)
    return inside[0, :, :, None] & inside[1, :, None]


def jigsaw(maps: Tensor, order: Tensor) -> Tensor:
    """Rearrange the k x k tiles of maps (n, c, h, w): tile i of the result is tile order[i]; order int64 (k k,).

    The inverse is the jigsaw with `order.argsort()`. k must divide h and w.
    """
    n, c, h, w = maps.shape
    k = math.isqrt(len(order))
    tiles = maps.reshape(n, c, k, h // k, k, w // k).permute(0, 2, 4, 1, 3, 5).flatten(1, 2).index_select(1, order)
    return tiles.view(n, k, k, c, h // k, w // k).permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)


# --------------------------------------------------------------------------------------------------- labels and distances


def sure_sets(probs: Tensor, tau: float) -> Tensor:
    """The most probable class as a set, int32 (n, h, w), where its probability (n, k, h, w) is above tau, else all."""
    most, label = probs.max(1)
    return torch.where(most > tau, 1 << label.int(), everything(probs.shape[1]))


def one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """Labels (n, h, w) as maps of the shape and type of `like` (n, k, h, w)."""
    return (labels[:, None] == torch.arange(like.shape[1], device=like.device).view(1, -1, 1, 1)).to(like.dtype)


def cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """1 minus the cosine of the vectors over classes, (n, h, w), of maps (n, k, h, w)."""
    return 1 - F.cosine_similarity(one, other, dim=1)


def largest_components(labels: Tensor) -> Tensor:
    """Keep the largest component of the foreground, and within it that of each class; int64 (n, h, w), 0 elsewhere.

    Components are 4-connected. Computed on the CPU.
    """
    kept = np.zeros(labels.shape, np.int64)
    for own, left in zip(labels.cpu().numpy(), kept, strict=True):
        inside = np.where(_largest(own > 0), own, 0)
        for k in np.setdiff1d(inside, 0):
            left[_largest(inside == k)] = k
    return torch.from_numpy(kept).to(labels.device)


def _largest(mask: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(mask)
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1 if count else mask


# ------------------------------------------------------------------------------------- the mean of partial cross-entropy


def marks_loss(logits: Tensor, allowed: Tensor, scale: Scale) -> Tensor:
    """Partial cross-entropy as the mean over all pixels, where unlabelled ones count 0, or over the labelled ones."""
    total, count = negative_logs(logits, allowed)
    return total / (allowed.numel() if scale == "all" else count.clamp(min=1))


# -------------------------------------------------------------------------------------------------------------- teachers


def teacher_of(net: Module) -> Module:
    """Return a copy without gradients."""
    return deepcopy(net).requires_grad_(requires_grad=False)


@torch.no_grad()
def follow(teacher: nn.Module, net: nn.Module, share: float | Tensor, *, buffers: bool = False) -> None:
    """Move a teacher's weights, and with `buffers` its batch statistics, towards the network's by a share from 0 to 1."""
    pairs: list[tuple[Tensor, Tensor]] = [*zip(teacher.parameters(), net.parameters(), strict=True)]
    pairs += zip(teacher.buffers(), net.buffers(), strict=True) if buffers else []
    for own, student in pairs:
        if own.is_floating_point():  # counts of batches are not
            own.lerp_(student, share.to(own.dtype) if isinstance(share, Tensor) else share)
