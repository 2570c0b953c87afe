"""A batch as losses see it."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmark.seal.contract import IGNORE


@dataclass
class Batch:
    """Augmented training slices with their label sets."""

    image: Tensor  # float32 (n, c, h, w)
    allowed: Tensor  # int32 (n, h, w); bit k: class k is possible here
    index: Tensor  # int64 (n,): which training slice each row is
    memory: Tensor | None  # the method's memory of these slices, augmented like the image
    step: Tensor = field(default_factory=lambda: torch.tensor(0))  # int64 (), on the device
    numbers: Any = ()  # what the method's `numbers` gave for the step; of a static method on a GPU a tensor, float32 (m,)
    kind: Hashable = None  # what the method's `kind` gave for the step

    @property
    def open(self) -> Tensor:
        """Where more than one class is allowed, bool (n, h, w)."""
        return self.allowed & (self.allowed - 1) != 0

    @property
    def labels(self) -> Tensor:
        """The label sets as labels, int64 (n, h, w), with IGNORE where more than one class is allowed."""
        return torch.where(self.open, IGNORE, self.allowed.double().log2().long())


@torch.no_grad()
def write_row(table: Tensor, row: Tensor, values: Tensor) -> None:
    """Write values (...) into a row, int64 (), of a table (rows, ...); nothing if there is no such row.

    Unlike an assignment, this waits for no value of the device, and is deterministic there without a sort.
    """
    rows = torch.arange(len(table), device=table.device).view(-1, *[1] * values.dim())
    torch.where(rows == row, values.to(table.dtype), table, out=table)


def trainable(loss: Any) -> Tensor:
    """Return the loss of a step; raises TypeError if a network can't be trained by it."""
    if isinstance(loss, Tensor) and not loss.dim() and loss.requires_grad:
        return loss
    what = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"{type(loss).__name__}"
    without = " without a gradient" if isinstance(loss, Tensor) and not loss.requires_grad else ""
    raise TypeError(f"loss returned {what}{without}; it must return one number as a tensor (), with its gradient")
