"""The loss of a method for a batch that a test made."""

import torch
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod


def loss_at(method: NetMethod, batch: Batch, progress: float) -> Tensor:
    """The loss in the step of that progress, given what the training loop gives."""
    step = round(progress * method.budget.steps)
    batch.step, batch.numbers, batch.kind = torch.tensor(step), method.numbers(step), method.kind(step)
    return method.loss(batch, progress)
