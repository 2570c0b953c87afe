"""Training on a GPU whose host does nothing but say "again": schedule and data lie on the device, the step is a CUDA graph.

What changes from step to step is laid on the device as tables with a row for each step: rows of the batch, turns,
learning rates, and the method's `numbers`. A counter on the device says which row; the step itself advances it. So a step
asks nothing of the host, and replayed as a graph it computes what it computes without: the same kernels on the same random
numbers.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.methods.augment import Augmentation, prefetch
from benchmark.methods.batch import Batch, trainable, write_row
from benchmark.methods.turns import rotated_labels, rotated_maps, sources

AHEAD = 100  # steps whose turns are drawn at a time, while the steps before them are trained
WARM_UP = 3  # steps of a kind before its graph is captured: libraries initialise themselves


def train(method: Any, optimiser: torch.optim.Optimizer, augmentation: Augmentation, order: np.random.Generator) -> None:
    """Train a `static` method. On a GPU all of it runs in a stream of its own, as graphs are captured there."""
    if method.device.type != "cuda":
        Resident(method, optimiser, augmentation, order).train()
        return
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        Resident(method, optimiser, augmentation, order).train()
    torch.cuda.current_stream().wait_stream(stream)


class Resident:
    """The tables of a training, and its step."""

    graphs = True  # on a GPU; without them it gives the same, step by step

    def __init__(
        self, method: Any, optimiser: torch.optim.Optimizer, augmentation: Augmentation, order: np.random.Generator
    ) -> None:
        steps, batch, device = method.budget.steps, method.budget.batch, method.device
        self.method, self.optimiser, self.augmentation = method, optimiser, augmentation
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.rows = torch.from_numpy(np.stack(list(method.order(order)))).to(device)
        self.turns = torch.zeros(steps, batch, 2, 2, device=device)
        self.rates = torch.tensor([method.rate(step) for step in range(steps)], device=device)
        self.numbers = torch.tensor(method.schedule, device=device)
        self.losses = torch.zeros(steps, device=device)
        self.images = method.images.to(device)
        self.allowed = torch.from_numpy(method.allowed).to(device)
        self.memory: Tensor | None = None
        self.copied: tuple[Any, int] = None, 0  # the method's memory that `self.memory` is a copy of, and its version

    def train(self) -> None:
        """Take all steps of the budget; between them, all that the method does on the host."""
        method = self.method
        taken: dict[Hashable, int] = {}
        graphs: dict[Hashable, Callable[[], None]] = {}
        self._copy_memory()
        for step in self._drawn(method.budget.steps):
            kind = method.kind(step), self.memory is not None
            taken[kind] = taken.get(kind, 0) + 1
            if self.graphs and method.device.type == "cuda" and taken[kind] == WARM_UP + 1:
                graphs[kind] = self._captured(kind[0])
            graphs[kind]() if kind in graphs else self.step(kind[0])
            method.end_step(step, self.losses[step])
            self._copy_memory()

    def step(self, kind: Hashable) -> None:
        """Take the step that the counter names; all that it reads and writes lies on the device."""
        method, batch = self.method, self.batch(kind)
        for group in self.optimiser.param_groups:
            group["lr"].copy_(self._row(self.rates))
        with method.autocast():  # it ends with the step, so that no weights that it has cast outlive a graph
            loss = trainable(method.loss(batch, float("nan")))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        method.after_step(batch, float("nan"))
        write_row(self.losses, self.count, loss.detach())
        self.count += 1

    def batch(self, kind: Hashable) -> Batch:
        """Return the batch of the step that the counter names."""
        rows = self._row(self.rows)
        found = sources(self._row(self.turns), self.images.shape[-1], linear=self.augmentation.linear)
        image = rotated_maps(self.images.index_select(0, rows), found)
        allowed = rotated_labels(self.allowed.index_select(0, rows), found, self.augmentation.everything)
        memory = None
        if self.memory is not None:
            given = self.memory.index_select(0, rows)
            labels = given.dim() == 3
            memory = rotated_labels(given, found, self.augmentation.fill) if labels else rotated_maps(given, found)
        step = self.count.clone()  # what a method keeps of it must not change with the counter
        return Batch(image, allowed.int(), rows, memory, step, self._row(self.numbers), kind)

    def _row(self, table: Tensor) -> Tensor:
        return table.index_select(0, self.count[None])[0]

    def _drawn(self, steps: int) -> Iterator[int]:
        """Yield the steps; their turns are on the device by then."""

        def draw(start: int) -> np.ndarray:
            chunk = range(start, min(start + AHEAD, steps))
            turns = [[self.augmentation.turn(step, n) for n in range(self.turns.shape[1])] for step in chunk]
            return np.array(turns, np.float32)

        for start, turns in zip(
            range(0, steps, AHEAD), prefetch(draw, range(0, steps, AHEAD), int(self.count.is_cuda)), strict=True
        ):
            self.turns[start : start + len(turns)] = torch.from_numpy(turns)
            yield from range(start, start + len(turns))

    def _copy_memory(self) -> None:
        """Copy the method's memory to the device if it has changed; into the old copy, which graphs read."""
        memory = self.method.memory
        if memory is None or (memory is self.copied[0] and memory._version == self.copied[1]):
            return
        if memory is not self.copied[0]:
            self.method.checked_memory()
        self.copied = memory, memory._version
        self.memory = memory.to(self.count.device, copy=True) if self.memory is None else self.memory.copy_(memory)

    def _captured(self, kind: Hashable) -> Callable[[], None]:
        """Return the step as a graph; capturing it computes nothing."""
        graph = torch.cuda.CUDAGraph()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
            self.step(kind)
        return graph.replay
