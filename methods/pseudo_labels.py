"""Pseudo-labels that several methods share: running averages, and labels as sets."""

import torch
from torch import Tensor

from benchmark.seal.contract import IGNORE


def running_average(average: Tensor, probs: Tensor, alpha: float) -> Tensor:
    """A step of an average that starts from zeros: after m equal predictions p it is (1 - (1 - alpha)^m) p."""
    return alpha * probs + (1 - alpha) * average


def as_sets(labels: Tensor, otherwise: Tensor) -> Tensor:
    """Labels (n, h, w) as sets, int32 (n, h, w); where they are IGNORE, the sets `otherwise`."""
    return torch.where(labels == IGNORE, otherwise, 1 << labels.int().clamp(max=30))


def where_open(labels: Tensor, allowed: Tensor) -> Tensor:
    """Labels, uint8 (n, h, w), where the marks, int32 (n, h, w), allow them and not them alone; else IGNORE."""
    own = 1 << labels.int().clamp(max=30)
    return torch.where((allowed & own != 0) & (allowed != own), labels, IGNORE)
