"""Deterministic kernels on a GPU, and which they are.

PyTorch's cross-entropy of images has no deterministic version: it warns. Resizing is in `resizing.py`.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.train.resizing import interpolate

_cross_entropy = F.cross_entropy


@contextmanager
def repeatable(kernels: str = "torch", backend: str = "inductor") -> Iterator[None]:
    """Context manager: deterministic GPU kernels; `F.interpolate` and `F.cross_entropy` are those of this suite.

    kernels: those of a budget. Other than `torch` also replace functions of losses and networks, and without a GPU, too,
    where they compute as PyTorch does. `backend` compiles networks. It patches functions. A mode of PyTorch would intercept
    every call, which doubled the time of a gated CRF.
    """
    if kernels == "torch" and not torch.cuda.is_available():
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(patch.object(F, "interpolate", interpolate))
        stack.enter_context(patch.object(F, "cross_entropy", cross_entropy))
        if kernels != "torch":
            from benchmark.train import fused

            for replacement in fused.replacements(kernels, backend):
                stack.enter_context(replacement)
        yield


def cross_entropy(
    input: Tensor,  # noqa: A002
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """PyTorch's `cross_entropy` to within rounding; deterministic for logits (n, k, h, w) and unweighted labels."""
    other = weight is not None or label_smoothing or size_average is not None or reduce is not None
    if input.dim() != 4 or target.is_floating_point() or other:
        return _cross_entropy(input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing)
    classes = torch.arange(input.shape[1], device=input.device).view(1, -1, 1, 1)
    with torch.autocast(input.device.type, enabled=False):
        log_probs = F.log_softmax(input.float() if input.dtype.itemsize < 4 else input, 1)
    labelled = target != ignore_index
    losses = -log_probs.where(target[:, None] == classes, 0).sum(1).where(labelled, 0)
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / labelled.sum()}[reduction]
