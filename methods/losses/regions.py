"""Intensity priors: each class should be a region of even intensity."""

import torch
from torch import Tensor


def mumford_shah(probs: Tensor, image: Tensor, *, contours: float = 1.0) -> Tensor:
    """Spread of intensities within classes plus length of contours, 1 / (n h w) times

    sum_c sum_a p_ac |I_a - mu_c|^2 + contours sum_c sum_a (|p_ac - p_below,c| + |p_ac - p_right,c|), where
    mu_c = sum_a p_ac I_a / sum_a p_ac and `contours` is the weight of their length.

    probs (n, k, h, w), image (n, c, h, w), squares summed over its channels, one mu for each sample and channel. No
    gradient reaches the image. Kim & Ye, TIP 2020; WSL4MIS's code exchanges the roles of p and I, is a sum instead
    of a mean over pixels, and gives NaN for a black image.
    """
    probs, image = _single(probs, image)
    with torch.no_grad():  # mu minimises the sum, so that its own gradient adds nothing
        shares = probs[:, :, None]
        mass = shares.sum((-2, -1), keepdim=True).clamp(min=1e-12)
        means = (shares * image[:, None]).sum((-2, -1), keepdim=True) / mass  # (n, k, c, 1, 1)
        spread = (image[:, None] - means).square().sum(2)
    length = probs.diff(dim=-2).abs().sum() + probs.diff(dim=-1).abs().sum()
    return ((probs * spread).sum() + contours * length) / probs[:, 0].numel()


def intensity_variance(probs: Tensor, image: Tensor) -> Tensor:
    """Spread within classes minus spread between them: mean_c std_a(p_ac I_a) - std_c(mean_a p_ac I_a).

    Standard deviations are unbiased; means over samples and channels of probs (n, k, h, w) and image (n, c, h, w). No
    gradient reaches the image. WSL4MIS's version of Luo et al. (WORD, MedIA 2022), whose own term is that of
    `mumford_shah`. The code of WSL4MIS minimises the negative of this, which is the opposite of its aim.
    """
    probs, image = _single(probs, image)
    signal = probs[:, :, None] * image[:, None]  # (n, k, c, h, w)
    within = _deviation(signal.var((-2, -1)))
    between = _deviation(signal.mean((-2, -1)).var(1))
    return within.mean() - between.mean()


def _single(probs: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Convert both to single precision at least."""
    probs = probs.float() if probs.dtype.itemsize < 4 else probs
    return probs, image.detach().to(probs.dtype)


def _deviation(variance: Tensor) -> Tensor:
    """Square root, with a gradient of 0 instead of infinity at 0."""
    some = variance > 0
    return torch.where(some, variance, 1).sqrt() * some
