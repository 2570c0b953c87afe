"""What Triton's kernels and the compiler put in the place of functions of methods, losses and networks.

On a CPU the losses compute as they do without. The kernels are in `kernels.py`, that of resizing is called in `resizing.py`.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.methods import networks
from benchmark.methods.losses import labels, pairwise
from benchmark.train.resizing import gathering, runs_triton

_agreement, _negative_logs = pairwise.Agreement.forward, labels.negative_logs


def replacements(kernels: str, backend: str) -> Iterator[AbstractContextManager[Any]]:
    """Yield what puts `triton` or `compiled` kernels in place; a backend of torch.compile."""
    yield patch.object(F, "interpolate", gathering)
    yield patch.object(pairwise.Agreement, "forward", staticmethod(agreement))
    yield patch.object(labels, "negative_logs", negative_logs)
    if kernels == "compiled":
        import torch._inductor.config as inductor  # takes seconds

        if hasattr(inductor, "deterministic"):  # no choices by timing that change sums; PyTorch 2.11 has it
            yield inductor.patch(deterministic=True)
        for cls, name in ((networks.Network, "forward"), (networks.Network, "features"), (networks.Dual, "both")):
            yield patch.object(cls, name, compiled(getattr(cls, name), backend))


def compiled(method: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """Return a network's method that is compiled in training; in evaluation it is as it was, as batches differ in size."""
    fast = torch.compile(method, backend=backend, dynamic=False)

    @functools.wraps(method)
    def called(net: Any, image: Tensor) -> Any:
        return fast(net, image) if net.training else method(net, image)

    return called


def agreement(
    ctx: Any, probs: Tensor, image: Tensor, centres: Tensor | None, kernel: pairwise.Kernel
) -> tuple[Tensor, Tensor]:
    """`Agreement.forward` in one kernel; the gradient is computed with the sums, as there."""
    if not runs_triton(probs):
        return _agreement(ctx, probs, image, centres, kernel)
    from benchmark.train import kernels

    total, mass, smoothed = kernels.agreement(probs, image.detach(), centres, *kernel)
    ctx.save_for_backward(smoothed)
    mass = mass.to(probs.dtype)
    ctx.mark_non_differentiable(mass)
    return total.to(probs.dtype), mass


def negative_logs(logits: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """`labels.negative_logs`, in a kernel each way; sums in single precision at least."""
    if not runs_triton(logits):
        return _negative_logs(logits, allowed)
    total, count = NegativeLogs.apply(logits, allowed)
    return total, count


class NegativeLogs(torch.autograd.Function):
    """Sum of minus the logs of the probability of allowed classes, and the number of pixels, which has no gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both sums: logits (n, k, h, w), allowed (n, h, w)."""
        from benchmark.train import kernels

        total, count = kernels.negative_logs(logits, allowed)
        ctx.save_for_backward(logits, allowed)
        count = count.long()
        ctx.mark_non_differentiable(count)
        return total.to(logits.dtype if logits.dtype == torch.float64 else torch.float32), count

    @staticmethod
    def backward(ctx: Any, slope: Tensor, _count: Tensor) -> tuple[Tensor, None]:
        """Compute the gradient from the logits again, which reads less than to store it."""
        from benchmark.train import kernels

        logits, allowed = ctx.saved_tensors
        return kernels.negative_logs_gradient(logits, allowed, slope), None
