"""ProCNS's PRSA: a pairwise energy of predictions that class prototypes have refined (Liu et al., JBHI 2024)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.methods.losses.pairwise import Agreement, Kernel

FLOOR = 1e-5  # of the energy


class Prsa(NamedTuple):
    """The loss (0-d), and the refined logits (n, k, h, w) from which it is computed."""

    loss: Tensor
    refined: Tensor


def prsa(
    logits: Tensor,
    image: Tensor,
    labels: Tensor,
    pair_mask: Tensor,
    encoder: Tensor | None,
    decoder: Tensor | None,
    *,
    nearest: bool = False,
    sigma_xy: float = 6.0,
    sigma_rgb: float = 0.1,
    radius: int = 5,
) -> Prsa:
    """Prototype-based regional spatial affinity: (sum k - sum_{a in U} sum_k q_k(a) sum_b k_ab q_k(b)) / (K |U|).

    q = softmax(A * logits), A the affinity of each pixel's features to the prototypes of `labels` (n, h, w; 255 where
    unlabelled); U is `pair_mask` (n, h, w); image (n, c, h, w); features of the network get no gradient; one of them
    may be None, and its prototypes are then left out. The sum of k is over all pixels and, as published, counts neighbours
    outside the image as black pixels at the origin: both only add a constant. 0 if U is empty (the published code divides
    by zero). `nearest`: as in `batch_prototypes`.
    """
    refined = affinity(encoder, decoder, labels, logits, nearest=nearest) * logits
    kernel = Kernel(sigma_xy, sigma_rgb, radius)
    centres = pair_mask[:, None].to(refined.dtype)
    agreement, mass = Agreement.apply(refined.softmax(1), image, centres, kernel)
    energy = (mass + _mass_outside(image, kernel) - agreement).clamp(min=FLOOR)
    count = centres.sum()
    loss = energy / (logits.shape[1] * count.clamp(min=1)) * (count > 0)
    return Prsa(loss, refined)


@torch.no_grad()
def affinity(
    encoder: Tensor | None, decoder: Tensor | None, labels: Tensor, like: Tensor, *, nearest: bool = False
) -> Tensor:
    """Clipped cosine of each pixel's features with each class's prototype, as shares of their sum, shaped as `like`.

    A class without a label has a zero prototype and affinity 0.
    """
    with torch.autocast(like.device.type, enabled=False):  # sums over many pixels need single precision
        given = [maps.float() if maps.dtype.itemsize < 4 else maps for maps in (encoder, decoder) if maps is not None]
        parts = []
        if encoder is not None:
            parts.append(batch_prototypes(given[0], labels, like.shape[1], nearest=nearest).expand(len(like), -1, -1))
        if decoder is not None:
            parts.append(sample_prototypes(given[-1], labels, like.shape[1], nearest=nearest))
        unit = F.normalize(torch.cat(parts, 2), dim=2).split([maps.shape[1] for maps in given], 2)  # (n, k, c) of each
        shares = torch.empty_like(like, dtype=unit[0].dtype)
        # on a CPU one sample at a time, as the enlarged features need most memory; a GPU is faster on all at once
        for part in [slice(n, n + 1) for n in range(len(like))] if like.device.type == "cpu" else [slice(None)]:
            product, squares = torch.zeros_like(shares[part]), torch.zeros_like(shares[part, 0])
            for maps, prototypes in zip(given, unit, strict=True):
                enlarged = F.interpolate(maps[part], size=like.shape[-2:], mode="bilinear", align_corners=False)
                product += torch.einsum("nkc,nchw->nkhw", prototypes[part], enlarged)
                squares += enlarged.square().sum(1)
            cosine = (product / squares.sqrt().clamp(min=1e-12)[:, None]).clamp(min=0)  # to divide last saves a pass
            shares[part] = cosine / cosine.sum(1, keepdim=True).clamp(min=1e-10)
    return shares


def batch_prototypes(features: Tensor, labels: Tensor, classes: int, *, nearest: bool = False) -> Tensor:
    """Mean features of each class over the whole batch (1, k, c); an absent class has zeros, 255 belongs to no class.

    A cell of the map counts for a class by the share of its pixels in labels (n, h, w) that the class has. So a mark of one
    pixel counts, and dense labels count as on the published grid in the mean over the grid's places. `nearest`: that grid,
    which takes one pixel of each cell, its first.
    """
    total, count = (part.sum(0, keepdim=True) for part in _sums(features, labels, classes, nearest))
    return total / torch.where(count > 0, count, 1)


def sample_prototypes(features: Tensor, labels: Tensor, classes: int, *, nearest: bool = False) -> Tensor:
    """Mean features of each class of each sample (n, k, c); otherwise as `batch_prototypes`."""
    total, count = _sums(features, labels, classes, nearest)
    return total / torch.where(count > 0, count, 1)


def _sums(features: Tensor, labels: Tensor, classes: int, nearest: bool) -> tuple[Tensor, Tensor]:
    """Sum of the features of each sample's cells of each class (n, k, c), and the number of these (n, k, 1)."""
    if nearest:
        rows, columns = (
            torch.arange(small, device=labels.device) * large // small
            for small, large in zip(features.shape[-2:], labels.shape[-2:], strict=True)
        )
        labels = labels[:, rows][:, :, columns]
    member = torch.stack([labels == k for k in range(classes)], 1).to(features.dtype)
    if not nearest:
        height, width = features.shape[-2:]
        member = F.adaptive_avg_pool2d(member, (height, width))
    return torch.einsum("nkhw,nchw->nkc", member, features), member.sum((2, 3))[..., None]


def _mass_outside(image: Tensor, kernel: Kernel) -> Tensor:
    """Sum of k over neighbours outside the image, which count as black pixels at the origin."""
    height, width = image.shape[-2:]
    y, x = (torch.arange(n, device=image.device, dtype=torch.float64) for n in (height, width))
    inside = [(i.clamp(max=kernel.radius) + (len(i) - 1 - i).clamp(max=kernel.radius) + 1) for i in (y, x)]
    outside = (2 * kernel.radius + 1) ** 2 - inside[0][:, None] * inside[1]
    far = (y[:, None] ** 2 + x**2) / kernel.sigma_xy**2 + image.double().square().sum(1) / kernel.sigma_rgb**2
    return (outside * (-0.5 * far).exp()).sum().to(image.dtype)
