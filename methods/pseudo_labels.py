"""Functions for pseudo-labels that several methods use: a running average, and labels as label sets."""

import torch
from torch import Tensor

from benchmark.seal.contract import IGNORE


def running_average(average: Tensor, probs: Tensor, alpha: float) -> Tensor:
    """One update of a running average that starts from zeros: after m equal predictions p it is (1 - (1 - alpha)^m) p."""
    return alpha * probs + (1 - alpha) * average


def as_sets(labels: Tensor, otherwise: Tensor) -> Tensor:
    """Convert labels (n, h, w) to label sets, int32 (n, h, w); where a label is IGNORE, use the set in `otherwise`."""
    return torch.where(labels == IGNORE, otherwise, 1 << labels.int().clamp(max=30))


def where_open(labels: Tensor, allowed: Tensor) -> Tensor:
    """Keep labels, uint8 (n, h, w), where the sets, int32 (n, h, w), allow them and another class; IGNORE elsewhere."""
    own = 1 << labels.int().clamp(max=30)
    return torch.where((allowed & own != 0) & (allowed != own), labels, IGNORE)
