"""Check without a GPU that a step of a method can be captured as a CUDA graph, which repeats operations and nothing else.

So steps of one kind must be the same operations with the same Python numbers, and none may wait for a value of the device or
copy one there. PyTorch's dispatcher shows operations on any device; conversions to Python are seen as calls of functions.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from benchmark.check.contract import Broken
from benchmark.methods.resident import WARM_UP, Resident

WAITING = {
    *("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal"),
    *("_unique2", "unique_dim", "unique_consecutive", "repeat_interleave"),
}
CONVERSIONS = {
    *(torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.__bool__),
    *(torch.Tensor.__float__, torch.Tensor.__int__, torch.Tensor.__index__, torch.Tensor.__array__),
    *(torch.tensor, torch.as_tensor, torch.from_numpy),
}


class Watched(Resident):
    """A training whose steps are compared with earlier ones of their kind; raises Broken."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: dict[Any, list[tuple[str, str]]] = {}  # the operations of a step of each kind
        self.taken: dict[Any, int] = {}

    def step(self, kind: Any) -> None:
        """Take a step, and compare its operations with those of the one before of its kind."""
        key, number = (kind, self.memory is not None), int(self.count)
        self.taken[key] = self.taken.get(key, 0) + 1
        with operations() as (done, paused):
            update, self.optimiser.step = self.optimiser.step, paused(self.optimiser.step)  # type: ignore[method-assign]
            super().step(kind)
            self.optimiser.step = update  # type: ignore[method-assign]
        if self.taken[key] <= WARM_UP:
            return
        _compare(self.seen.get(key, done), done, number)
        self.seen[key] = done


def _compare(before: list[tuple[str, str]], now: list[tuple[str, str]], number: int) -> None:
    for old, new in zip(before, now, strict=False):
        if old != new:
            raise Broken(
                f"step {number} computes {' '.join(new)} where an earlier step of its kind computed {' '.join(old)}; what "
                "changes from step to step belongs to numbers, or to kind"
            )
    if len(before) != len(now):
        raise Broken(f"step {number} has {len(now)} operations, and an earlier step of its kind {len(before)}; see kind")


@contextmanager
def operations() -> Iterator[tuple[list[tuple[str, str]], Callable[[Any], Any]]]:
    """Yield a list that gets each operation of the block with its arguments, and a wrapper that leaves a function out.

    Raises Broken where an operation waits for the device.
    """
    watching = [True]
    done: list[tuple[str, str]] = []

    def paused(function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            watching[0] = False
            try:
                return function(*arguments, **named)
            finally:
                watching[0] = True

        return call

    class Dispatched(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = function.overloadpacket.__name__
            if watching[0]:
                if name in WAITING or (name.startswith("index") and _by_truth(args)):
                    raise _waits(name)
                done.append((name, str(tree_map(_described, (args, kwargs)))))
            return function(*args, **(kwargs or {}))

    class Called(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if watching[0] and function in CONVERSIONS:
                raise _waits(function.__name__)
            return function(*args, **(kwargs or {}))

    with Called(), Dispatched():
        yield done, paused


def _by_truth(args: Any) -> bool:
    """Whether an indexing operation has a mask, so that the size of its result is a value of the device."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices)


def _described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return value if isinstance(value, bool | int | float | str | None) else type(value).__name__


def _waits(name: str) -> Broken:
    """The error of an operation that waits, with the place in a method's file where it is called."""
    places = [frame for frame in traceback.extract_stack() if Path(frame.filename).parent.name != "check"]
    own = [f for f in places if "torch" not in Path(f.filename).parts and "contextlib" not in f.filename]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return Broken(f"{name}{place} waits for a value of the device or copies one there; a step that is static may not")
