"""Balanced partial cross-entropy: every class counts the same, however many of its pixels are labelled."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses.labels import possible


@dataclass
class BalancedPartialCrossEntropy(NetMethod):
    """A control of this project: partial cross-entropy as the mean over classes of each class's mean.

    Of ACDC's labelled pixels 60 % are background. This is the usual balancing by inverse frequency.
    """

    title: ClassVar[str] = "Balanced pCE"
    role: ClassVar[str] = "base"
    static: ClassVar[bool] = True

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, with the same weight for each class."""
        return balanced_cross_entropy(self.net(batch.image), batch.allowed)


def balanced_cross_entropy(logits: Tensor, allowed: Tensor) -> Tensor:
    """Mean over classes with labelled pixels of the mean of -log p over these pixels of the batch; 0 if there are none.

    logits (n, k, h, w), allowed (n, h, w) as sets. A pixel is labelled if it allows one class. Pixels that allow several
    classes, but not all, are left out.
    """
    sets = possible(allowed, logits.shape[1])
    labelled = sets & (sets.sum(1, keepdim=True) == 1)
    counts = labelled.sum((0, 2, 3))
    sums = -(F.log_softmax(logits, 1) * labelled).sum((0, 2, 3))
    return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
