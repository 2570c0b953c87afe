"""The loss of a method for a batch that a test made, and small scenes to train on."""

import numpy as np
import torch
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.seal.contract import WeakData, WeakScan


def loss_at(method: NetMethod, batch: Batch, progress: float) -> Tensor:
    """The loss in the step of that progress, given what the training loop gives."""
    step = round(progress * method.budget.steps)
    batch.step, batch.numbers, batch.kind = torch.tensor(step), method.numbers(step), method.kind(step)
    return method.loss(batch, progress)


def scenes(count: int = 4, size: int = 32, dtype: type = np.uint8) -> WeakData:
    """Images with a bright disc each, of which a few pixels are labelled."""
    rng, scans = np.random.default_rng(0), []
    y, x = np.mgrid[:size, :size]
    for _ in range(count):
        inside = (y - rng.uniform(10, 22)) ** 2 + (x - rng.uniform(10, 22)) ** 2 < 49
        image = (0.2 + 0.6 * inside + rng.normal(0, 0.05, inside.shape)).clip(0, 1).astype(np.float32)
        allowed = np.where(rng.random(inside.shape) < 0.05, np.where(inside, 2, 1), 3).astype(dtype)
        scans.append(WeakScan(image[None, None], allowed[None]))
    return WeakData(scans, 2, 1)
