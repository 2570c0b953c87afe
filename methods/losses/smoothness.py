"""Losses on predictions alone, without the image: entropy and length of contours."""

import math

import torch.nn.functional as F
from torch import Tensor


def entropy(probs: Tensor) -> Tensor:
    """Mean over pixels of - sum_c p log(p + 1e-6) / log K: 0 when certain, 1 when all classes are alike.

    probs (n, k, h, w). Entropy minimisation (Grandvalet & Bengio, NeurIPS 2004) as WSL4MIS uses it, on all pixels.
    """
    return -(probs * (probs + 1e-6).log()).sum(1).mean() / math.log(probs.shape[1])


def total_variation(probs: Tensor) -> Tensor:
    """Length of soft contours: mean over pixels and foreground classes of opening minus erosion, both 3x3.

    probs (n, k, h, w), class 0 is background. WSL4MIS's term (after Javanmardi et al., 2016); its code drops the first
    sample of the batch where it means the background.
    """
    foreground = probs[:, 1:]
    eroded = -F.max_pool2d(-foreground, 3, stride=1, padding=1)
    return F.relu(F.max_pool2d(eroded, 3, stride=1, padding=1) - eroded).mean()
