"""Deterministic resizing and cross-entropy on a GPU.

PyTorch's own deterministic resizing sorts indices; on an H200 it took as long as the rest of a step of the U-Net. Its
cross-entropy of images has no deterministic version: it warns.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

_interpolate, _cross_entropy = F.interpolate, F.cross_entropy


@contextmanager
def repeatable() -> Iterator[None]:
    """Context manager: deterministic GPU kernels; `F.interpolate` and `F.cross_entropy` are those of this file.

    It patches the functions. A mode of PyTorch would intercept every call, which doubled the time of a gated CRF.
    """
    if not torch.cuda.is_available():
        yield
        return
    with patch.object(F, "interpolate", interpolate), patch.object(F, "cross_entropy", cross_entropy):
        yield


def interpolate(
    input: Tensor,  # noqa: A002
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """PyTorch's `interpolate`; of bilinear resizing the gradient is deterministic, and equal to within rounding."""
    if mode != "bilinear" or input.dim() != 4 or antialias or recompute_scale_factor:
        return _interpolate(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    resized: Tensor = Resized.apply(input, _pair(size), _pair(scale_factor), bool(align_corners))
    return resized


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


class Resized(torch.autograd.Function):
    """Bilinear resizing of maps (n, c, h, w) to a size (h', w'), or by a scale; its gradient is two matrix products."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, size: list[int] | None, scale: list[float] | None, aligned: bool) -> Tensor:
        """Resize by PyTorch's kernel."""
        ctx.arguments = maps.shape[-2:], size, scale, aligned
        return _resized(maps, size, scale, aligned)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        """Return V G H', as resizing is linear in rows (V) and columns (H); in single precision at least, channels last."""
        shape, size, scale, aligned = ctx.arguments
        dtype = slope.dtype if slope.dtype.itemsize >= 4 else torch.float32
        down, across = (
            _matrix(shape[axis], size and size[axis], scale and scale[axis], aligned, slope.device, dtype) for axis in (0, 1)
        )
        with torch.autocast(slope.device.type, enabled=False):
            channels_last = slope.to(dtype).permute(0, 2, 3, 1)
            n, _, _, c = channels_last.shape
            columns = across @ channels_last  # (n, h', w, c)
            rows = down @ columns.flatten(2)
        return rows.view(n, *shape, c).permute(0, 3, 1, 2).to(slope.dtype), None, None, None


@lru_cache
def _matrix(
    side: int, size: int | None, scale: float | None, aligned: bool, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Weights (side, resized side) of each pixel in each resized pixel."""
    unit = torch.eye(side, device=device, dtype=dtype)[None, None]
    return _resized(unit, size and [side, size], scale and [1.0, scale], aligned)[0, 0]


def _resized(maps: Tensor, size: Any, scale: Any, aligned: bool) -> Tensor:
    return torch.ops.aten.upsample_bilinear2d.vec(maps, size, aligned, scale)


def _pair(value: Any) -> Any:
    """Return one value per axis, of one for both or of a pair."""
    return list(value) if isinstance(value, tuple | list | torch.Size) else value and [value, value]
