"""Bilinear resizing on a GPU whose gradient is the same each time, and no slower than one whose sums come as they like.

PyTorch's own gradient adds in an order that changes from run to run, or, where it is asked for the same each time, by
sorted indices: on an H200 that was most of a step of the U-Net.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


def repeatable() -> AbstractContextManager[Any]:
    """What a run is made in; it changes something where there is a GPU alone."""
    return Repeatable() if torch.cuda.is_available() else nullcontext()


class Repeatable(TorchFunctionMode):
    """Within it, `F.interpolate(mode="bilinear")` has PyTorch's values, and its gradient as two products of matrices."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function, or this one in its place."""
        named = kwargs or {}
        ours = function is F.interpolate and named.get("mode") == "bilinear" and len(args) == 1
        if not ours or named.get("antialias") or named.get("recompute_scale_factor") or args[0].dim() != 4:
            return function(*args, **named)
        size, scale = (named.get(key) for key in ("size", "scale_factor"))
        return Resized.apply(args[0], _pair(size), _pair(scale), bool(named.get("align_corners")))


class Resized(torch.autograd.Function):
    """Maps (n, c, h, w) resized to a size (h', w'), or by a scale."""

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
    resized = _resized(unit, size and [side, size], scale and [1.0, scale], aligned)
    return resized[0, 0].contiguous()


def _resized(maps: Tensor, size: Any, scale: Any, aligned: bool) -> Tensor:
    return torch.ops.aten.upsample_bilinear2d.vec(maps, size, aligned, scale)


def _pair(value: Any) -> Any:
    """One value for both axes, or one each."""
    return list(value) if isinstance(value, (tuple, list, torch.Size)) else value and [value, value]
