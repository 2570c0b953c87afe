"""bf16 on processors without instructions for it, where PyTorch's own convolutions take ten times as long as in fp32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


def precision(name: str) -> AbstractContextManager[Any]:
    """What a run in this precision is made in; it changes something for `bf16` on such a processor alone."""
    if name != "bf16" or torch.cuda.is_available():
        return nullcontext()
    supported = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return nullcontext() if supported else InFloat32()


class InFloat32(TorchFunctionMode):
    """Within `torch.autocast("cpu", torch.bfloat16)`, convolutions and linear maps in the arithmetic of fp32.

    What such instructions compute: operands are rounded to bf16, products are summed in float32 and the sum is rounded to
    bf16, in both directions. By their definition equal but for the order of the sums; not compared with them on one machine.
    """

    functions = frozenset({F.conv1d, F.conv2d, F.conv_transpose2d, F.linear})

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function on rounded operands, or as it is."""
        named = kwargs or {}
        tensors = [value for value in (*args, *named.values()) if isinstance(value, Tensor)]
        alike = all(tensor.dtype in (torch.float32, torch.bfloat16) for tensor in tensors)  # autocast leaves others alone
        if function not in self.functions or not alike or not torch.is_autocast_enabled("cpu"):
            return function(*args, **named)
        with torch.autocast("cpu", enabled=False):
            return function(*map(_rounded, args), **{name: _rounded(value) for name, value in named.items()}).bfloat16()


def _rounded(value: Any) -> Any:
    """A tensor rounded to bf16, as float32; anything else as it is."""
    return value.bfloat16().float() if isinstance(value, Tensor) else value
