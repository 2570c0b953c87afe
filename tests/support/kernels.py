"""Triton's kernels beside the float64 functions that they replace: relative errors of values and gradients.

On a GPU they run as they are; on a CPU by Triton's interpreter, in a process that is told so (TRITON_INTERPRET=1).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.methods.losses import partial_cross_entropy, prsa
from benchmark.methods.losses.pairwise import Agreement, Kernel
from benchmark.train.numerics import repeatable
from benchmark.train.resizing import runs_triton

# classes, channels, centres or none, radius, shape
PAIRS = [(1, 1, True, 2, (4, 5)), (2, 1, False, 3, (2, 3)), (4, 3, False, 2, (9, 11)), (5, 2, True, 1, (1, 40)),
         (16, 1, True, 1, (17, 6))]  # fmt: skip
LARGEST = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 0.01}  # errors; the interpreter cuts bf16 off
RESIZINGS: list[dict[str, Any]] = [
    *({"size": size} for size in ((16, 22), (9, 9), (3, 5), (1, 1), (8, 11))),
    *({"scale_factor": scale} for scale in (0.5, (2.0, 1.7), 3.3)),
]


def resizing(how: dict[str, Any], align: bool, channels: int, dtype: torch.dtype, seed: int, device: str) -> list[float]:
    """Errors of resized maps of 8 x 11 pixels and of their gradient."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, channels, 8, 11, generator=generator).to(dtype)
    slope = torch.randn(F.interpolate(maps, **how).shape, generator=generator).to(dtype)

    def resized(maps: Tensor) -> list[Tensor]:
        return [F.interpolate(maps, **how, mode="bilinear", align_corners=align)]

    return _errors(resized, maps, slope, device)


def agreement(case: tuple[int, int, bool, int, tuple[int, int]], dtype: torch.dtype, seed: int, device: str) -> list[float]:
    """Errors of the sums over pairs, and of the gradient; a case is classes, channels, centres or none, radius, shape."""
    classes, channels, centres, radius, shape = case
    generator = torch.Generator().manual_seed(seed)
    probs = torch.randn(2, classes, *shape, generator=generator).softmax(1).to(dtype)
    image = torch.rand(2, channels, *shape, generator=generator).to(dtype)
    weight = torch.rand(2, 1, *shape, generator=generator).to(dtype) if centres else None

    def sums(probs: Tensor) -> tuple[Tensor, Tensor]:
        given = [each if each is None else each.to(probs) for each in (image, weight)]
        return Agreement.apply(probs, *given, Kernel(3.0, 0.3, radius))

    return _errors(sums, probs, torch.tensor(0.7), device)


def cross_entropy(
    classes: int, shape: tuple[int, int], dtype: torch.dtype, scale: float, seed: int, device: str
) -> list[float]:
    """Errors of the partial cross-entropy and of its gradient; a third of the pixels allows all classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(2, classes, *shape, generator=generator)).to(dtype)
    allowed = torch.randint(1, 1 << classes, (2, *shape), generator=generator)
    allowed = torch.where(torch.rand(2, *shape, generator=generator) < 1 / 3, (1 << classes) - 1, allowed).int()

    def loss(logits: Tensor) -> list[Tensor]:
        return [partial_cross_entropy(logits, allowed.to(logits.device))]

    return _errors(loss, logits, torch.tensor(0.7), device)


def refined(seed: int, device: str) -> list[float]:
    """Errors of PRSA in float64, in which some pixels are centres, and of its gradient."""
    generator = torch.Generator().manual_seed(seed)
    logits, image = (torch.randn(2, c, 5, 8, generator=generator, dtype=torch.float64) for c in (3, 1))
    labels, features = torch.randint(0, 4, (2, 5, 8), generator=generator), torch.randn(2, 5, 2, 4, generator=generator)
    labels[labels == 3] = 255

    def loss(logits: Tensor) -> list[Tensor]:
        given = [each.to(logits.device) for each in (image.sigmoid(), labels, labels == 255, features.double())]
        return [prsa(logits, *given, None, radius=2).loss]

    return _errors(loss, logits, torch.tensor(0.7), device)


def _errors(function: Callable[[Tensor], Any], leaf: Tensor, slope: Tensor, device: str) -> list[float]:
    """Errors of all values and of the gradient of the first, relative to those of the plain function in float64."""
    plain = leaf.double().requires_grad_()
    wanted = function(plain)
    (gradient,) = torch.autograd.grad(wanted[0], plain, slope.double().expand_as(wanted[0]))
    own = leaf.to(device).requires_grad_()
    assert runs_triton(own), "give a GPU, or TRITON_INTERPRET=1"
    with repeatable("triton"):
        found = function(own)
        given = slope.to(found[0]).expand_as(found[0])
        found = [*found, *torch.autograd.grad(found[0], own, given)]
    return [_error(*each) for each in zip(found, [*wanted, gradient], strict=True)]


def _error(first: Tensor, second: Tensor) -> float:
    return float((first.detach().cpu().double() - second.detach()).norm() / second.detach().norm().clamp(min=1e-30))
