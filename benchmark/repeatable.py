"""On a GPU, what PyTorch adds up in an order that changes from run to run: here in one that does not.

Asked for the same sums each time, PyTorch resizes by sorted indices, which on an H200 took as long as all else in a step
of the U-Net, and has no cross-entropy of images at all: it warns.
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
    """In it, bilinear `F.interpolate` and `F.cross_entropy` of images are PyTorch's but for rounding, the same each time."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function, or one in its place."""
        named = kwargs or {}
        if function is F.interpolate and named.get("mode") == "bilinear" and not named.get("antialias"):
            size, scale = named.get("size"), named.get("scale_factor")
            if args[0].dim() == 4 and not named.get("recompute_scale_factor"):
                return Resized.apply(args[0], _pair(size), _pair(scale), bool(named.get("align_corners")))
        if function is F.cross_entropy and args[0].dim() == 4 and not args[1].is_floating_point():
            plain = named.get("weight") is None and not named.get("label_smoothing")
            if plain:
                return _cross_entropy(*args[:2], named.get("ignore_index", -100), named.get("reduction", "mean"))
        return function(*args, **named)


def _cross_entropy(logits: Tensor, labels: Tensor, ignore: int, reduction: str) -> Tensor:
    """Of logits (n, k, h, w) and labels (n, h, w)."""
    classes = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    with torch.autocast(logits.device.type, enabled=False):
        log_probs = F.log_softmax(logits.float() if logits.dtype.itemsize < 4 else logits, 1)
    told = labels != ignore
    losses = -log_probs.where(labels[:, None] == classes, 0).sum(1).where(told, 0)
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
    return torch.ops.aten.upsample_bilinear2d.vec(maps, size, aligned, scale)  # type: ignore[no-any-return]


def _pair(value: Any) -> Any:
    """One value for both axes, or one each."""
    return list(value) if isinstance(value, tuple | list | torch.Size) else value and [value, value]
