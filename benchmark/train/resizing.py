"""Bilinear resizing whose gradient is deterministic on a GPU: PyTorch's forward, and two products or a gather backward.

PyTorch's own deterministic resizing sorts indices; on an H200 it took as long as the rest of a step of the U-Net.
"""

import os
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_interpolate = F.interpolate


def interpolate(input: Tensor, *args: Any, **how: Any) -> Tensor:  # noqa: A002
    """PyTorch's `interpolate`; of bilinear resizing the gradient is deterministic, and equal to within rounding."""
    return _resize(Resized, input, *args, **how)


def gathering(input: Tensor, *args: Any, **how: Any) -> Tensor:  # noqa: A002
    """The same; the gradient is a gather, in Triton on a GPU, and can be compiled."""
    return _resize(Gathered, input, *args, **how)


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
        down, across = _matrices(shape, size, scale, aligned, slope)
        dtype = down.dtype
        with torch.autocast(slope.device.type, enabled=False):
            channels_last = slope.to(dtype).permute(0, 2, 3, 1)
            n, _, _, c = channels_last.shape
            columns = across @ channels_last  # (n, h', w, c)
            rows = down @ columns.flatten(2)
        return rows.view(n, len(down), len(across), c).permute(0, 3, 1, 2).to(slope.dtype), None, None, None


class Gathered(Resized):
    """The same; in the gradient each pixel sums, in a fixed order, what resized pixels took of it."""

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        """Call the operation that a compiler leaves as it is."""
        (height, width), _, scale, aligned = ctx.arguments
        return resize_gradient(slope, height, width, aligned, *(scale or (None, None))), None, None, None


@torch.library.custom_op("weakseg::resize_gradient", mutates_args=())
def resize_gradient(
    slope: Tensor, height: int, width: int, aligned: bool, scale_y: float | None, scale_x: float | None
) -> Tensor:
    """Gradient (n, c, height, width), channels last, of maps that were resized to those of `slope`; by a scale, or None.

    On a CPU by PyTorch.
    """
    n, c, *big = slope.shape
    if not runs_triton(slope):
        found = torch.ops.aten.upsample_bilinear2d_backward(slope, big, [n, c, height, width], aligned, scale_y, scale_x)
        return _empty(slope, height, width).copy_(found)
    from benchmark.train import kernels

    scale = None if scale_y is None else [scale_y, scale_x]
    down, across = _matrices((height, width), None if scale else big, scale, aligned, slope)
    return kernels.resize_gradient(slope, down, across)


@resize_gradient.register_fake
def _(slope: Tensor, height: int, width: int, aligned: bool, scale_y: float | None, scale_x: float | None) -> Tensor:
    return _empty(slope, height, width)


def runs_triton(tensor: Tensor) -> bool:
    """Whether Triton can compute with a tensor: on a GPU, and anywhere by its interpreter."""
    return tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"


def _resize(
    function: type[Resized],
    input: Tensor,  # noqa: A002
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    if mode != "bilinear" or input.dim() != 4 or antialias or recompute_scale_factor:
        return _interpolate(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    resized: Tensor = function.apply(input, _pair(size), _pair(scale_factor), bool(align_corners))
    return resized


def _matrices(shape: Any, size: Any, scale: Any, aligned: bool, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of rows (h, h') and of columns (w, w') for a gradient, in single precision at least."""
    dtype = slope.dtype if slope.dtype.itemsize >= 4 else torch.float32
    down, across = (_matrix(shape[i], size and size[i], scale and scale[i], aligned, slope.device, dtype) for i in (0, 1))
    return down, across


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


def _empty(slope: Tensor, height: int, width: int) -> Tensor:
    """Maps of that size (n, c, height, width), channels last, to be filled."""
    shape = (*slope.shape[:2], height, width)
    return torch.empty(shape, dtype=slope.dtype, device=slope.device, memory_format=torch.channels_last)
