"""On a GPU, what PyTorch adds up in an order that changes from run to run: here in one that does not.

Asked for the same sums each time, PyTorch resizes by sorted indices, which on an H200 took as long as all else in a step
of the U-Net, and has no cross-entropy of images at all: it warns.
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
    """What a run is made in; where there is a GPU, bilinear `F.interpolate` and `F.cross_entropy` of images are ours.

    In their place, not in a mode of PyTorch's, which would look at every call: that doubled the time of a gated CRF.
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
    """PyTorch's values, and of bilinear resizing its gradient but for rounding."""
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
    """PyTorch's but for rounding: of images (n, k, h, w) and labels (n, h, w) that weigh alike."""
    odd = weight is not None or label_smoothing or size_average is not None or reduce is not None
    if input.dim() != 4 or target.is_floating_point() or odd:
        return _cross_entropy(input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing)
    classes = torch.arange(input.shape[1], device=input.device).view(1, -1, 1, 1)
    with torch.autocast(input.device.type, enabled=False):
        log_probs = F.log_softmax(input.float() if input.dtype.itemsize < 4 else input, 1)
    told = target != ignore_index
    losses = -log_probs.where(target[:, None] == classes, 0).sum(1).where(told, 0)
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / told.sum()}[reduction]


class Resized(torch.autograd.Function):
    """Maps (n, c, h, w) resized to a size (h', w'), or by a scale; the gradient is two products of matrices."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, size: list[int] | None, scale: list[float] | None, aligned: bool) -> Tensor:
        """PyTorch's own."""
        ctx.what = maps.shape[-2:], size, scale, aligned
        return _resized(maps, size, scale, aligned)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        """Resizing is linear in rows and in columns: V G H', in single precision at least, and channels stay last."""
        shape, size, scale, aligned = ctx.what
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
    """(side, resized side): what each resized pixel takes of each pixel."""
    unit = torch.eye(side, device=device, dtype=dtype)[None, None]
    return _resized(unit, size and [side, size], scale and [1.0, scale], aligned)[0, 0]


def _resized(maps: Tensor, size: Any, scale: Any, aligned: bool) -> Tensor:
    return torch.ops.aten.upsample_bilinear2d.vec(maps, size, aligned, scale)


def _pair(value: Any) -> Any:
    """One value for both axes, or one each."""
    return list(value) if isinstance(value, tuple | list | torch.Size) else value and [value, value]
