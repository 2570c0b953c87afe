"""The interface of a method, and the one training loop that networks share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.methods import networks, resident
from benchmark.methods.augment import Augmentation, prefetch
from benchmark.methods.batch import Batch, trainable
from benchmark.methods.resize import fit_sets, to_native_size, to_network
from benchmark.seal.contract import IGNORE, Budget, Log, Range, TestScan, WeakData, WeakScan, everything

# Threads that augment the next batches: a GPU would wait for a batch, a CPU has no idle core. One thread, since two that
# set up albumentations at the same time can leave all warnings as errors (augment.py).
PREFETCH_THREADS = {"cpu": 0, "cuda": 1}

__all__ = ["IGNORE", "Batch", "Budget", "Log", "Method", "NetMethod", "Range", "TestScan", "WeakData", "poly"]


@dataclass
class Method(ABC):
    """Something that learns from weak labels and predicts label maps.

    Its dataclass fields are its hyper-parameters, with the paper's values as defaults. Nothing is computed before `fit`,
    and each call of `fit` starts from scratch. A method runs in its own process, which holds no dense mask.
    """

    annotations: ClassVar[str | tuple[str, ...]] = "labels"  # what it learns from: labels, any "sets", or a tuple of forms
    # What a report takes it for: "location prior" looks at no image, "base" does nothing but fit the annotations, and
    # "supervised" is a base that stands for full supervision on full masks. A subclass doesn't inherit it.
    role: ClassVar[str] = ""
    extra: ClassVar[str] = (
        ""  # what it needs beyond a pass of the budget's network per step, such as "a teacher"; for tables
    )
    title: ClassVar[str] = ""  # its name in figures and LaTeX tables, such as "Mean teacher"; a subclass doesn't inherit it
    files: ClassVar[tuple[str, ...]] = ()  # options that name a file, whose content decides results
    methods: ClassVar[tuple[str, ...]] = ()  # options that name another method, whose code decides results
    networks: ClassVar[tuple[str, ...]] = ()  # options that name a further network, or are empty
    outside: ClassVar[str] = ""  # what it knows from outside the training data, such as other weights; tables mark its rows
    # Yes-or-no facts that tables mention where they did not hold in all runs of a row: {"fired": "noise was suppressed"}.
    notes: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def fit(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Train on weak labels, with at most `budget.steps` steps in all."""

    @abstractmethod
    def predict(self, scan: TestScan) -> np.ndarray:
        """Return labels, uint8 (slices, height, width), of an image (slices, channels, height, width), at native size."""

    def left_out(self, budget: Budget) -> str:
        """Say what of the method this budget leaves no time for, to warn before training; empty: nothing."""
        return ""

    def report(self, **facts: bool | float | str) -> None:
        """State facts of this run, such as `anpm_fired=True`: finite numbers, yes or no, or up to 100 characters of text.

        They are stored with the run; a later value replaces an earlier one. Raises ValueError for anything else.
        """
        facts = {name: value.item() if isinstance(value, np.generic) else value for name, value in facts.items()}
        for name, value in facts.items():
            short = len(value) <= 100 if isinstance(value, str) else isinstance(value, int | float) and math.isfinite(value)
            if not short:
                raise ValueError(f"{name} is {value!r:.100}; a fact is a finite number, yes or no, or a short text")
        self.facts: dict[str, bool | float | str] = {**getattr(self, "facts", {}), **facts}

    def keep(self, done: int, budget: Budget) -> None:
        """Keep a snapshot if one is due after `done` steps; the last step needs none, as the method itself is that state."""
        if done in {round(i * budget.steps / budget.snapshots) for i in range(1, budget.snapshots)}:
            earlier = [kept for kept in getattr(self, "snapshots", []) if kept[0] < done]
            self.snapshots: list[tuple[int, Any]] = [*earlier, (done, self.state())]

    def state(self) -> Any:
        """Return a copy of what `predict` needs. A method that never calls `keep` has one snapshot: the end of training."""
        raise NotImplementedError(f"{type(self).__name__} calls keep, so it must have state and restore")

    def restore(self, state: Any) -> None:
        """Load a state that `state` returned, so that `predict` uses it."""
        raise NotImplementedError(f"{type(self).__name__} calls keep, so it must have state and restore")

    def marks_loss(self, scan: WeakScan, classes: int) -> float:
        """Loss on the marks of a held-out scan: share of marked pixels predicted outside their set; NaN without marks."""
        labels = self.predict(TestScan(scan.image, scan.spacing, scan.site))
        marked = scan.allowed != everything(classes)
        return float((scan.allowed[marked] >> labels[marked] & 1 == 0).mean()) if marked.any() else math.nan


@dataclass
class NetMethod(Method):
    """A network trained by gradient descent, with the optimiser, schedule and number of steps of the budget.

    Most methods define `loss` and nothing else. `self.budget`, `self.channels`, `self.classes`,
    `self.log(step, name=value)`, `self.rng` and `self.device` are set before `build`. `self.memory`, if a method sets it,
    is a CPU tensor with a row per training slice: integers (slices, h, w) with IGNORE, or float16 (slices, k, h, w). The
    empty corners of a rotated label map are filled with `self.memory_fill`: IGNORE, unless `build` sets another value.

    `build` may append optimisers of other modules than `self.net`, such as a discriminator's, to `self.optimisers`. The
    loop multiplies their learning rates by the schedule's share of the budget's rate; the method takes their steps, in
    `after_step`, on the batch that was trained on. It may also append functions of a batch to `self.terms`, which are added
    to the loss.

    `fit` is `begin` and all `steps`. What a method does with the data before training belongs to `begin`, so that a training
    can go step by step, as that of `federated` does.

    A `static` method is faster on a GPU (`resident`). Its `loss` and `after_step` are the same operations with the same
    Python numbers in every step of a `kind`, so they don't use `progress`: what changes is in `batch.numbers`,
    `batch.kind` and `batch.step`. They read no value back to Python. `python -m benchmark check` verifies this on any
    machine. A subclass doesn't inherit `static`.
    """

    needs: ClassVar[tuple[str, ...]] = ()  # feature maps that the network must have, by stride, such as "encoder/8"
    keeps_axes: ClassVar[bool] = False  # whether its loss needs rows and columns: no rotations but quarter turns
    static: ClassVar[bool] = False  # whether a step can be captured as a CUDA graph; see above
    passes: ClassVar[int | None] = None  # how often `after_pass` runs, evenly spaced; None: after each pass over the data

    @abstractmethod
    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Return the loss of a batch, 0-d; `progress` goes from 0 to 1 (exclusive) over the budget."""

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Set `self.net`, and other modules if needed. All are moved to the device; the loop trains `self.net` only."""
        self.net: Any = networks.build(budget.network, channels, classes, budget.weights)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return scheduled(self.budget, step, self.budget.steps)

    def numbers(self, step: int) -> tuple[float, ...]:
        """Return numbers that change from step to step, such as a ramp; called for each step in order, before the first."""
        return ()

    def kind(self, step: int) -> Hashable:
        """Return what else decides which operations a step has, such as whether a warm-up is over."""
        return None

    def after_step(self, batch: Batch, progress: float) -> None:
        """Do what is needed after each step, such as updating a teacher."""

    def between_steps(self, done: int) -> None:
        """Do what is needed at some moments, after `done` steps, such as ending a phase; of a `static` method, too."""

    def after_pass(self, slices: Iterator[tuple[Tensor, Tensor]], progress: float) -> None:
        """Do what is needed after a pass; `slices` yields batches (index, image), not augmented, images on the device."""

    def prepare(self, scan: WeakScan, classes: int, size: int) -> tuple[Tensor, np.ndarray]:
        """Return a training scan at network size: image (s, c, size, size) and label sets (s, size, size)."""
        rule = self.budget.resize
        return to_network(scan.image, size, rule), fit_sets(scan.allowed, size, classes, rule)

    def fit(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Build and train the network; the seed of the process (torch.initial_seed) seeds batch order and augmentation."""
        self.begin(data, budget, log)
        self._train(*self.draws)

    def begin(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Build the network, and prepare all that `steps` needs."""
        seed = torch.initial_seed() % 2**63
        self.budget, self.log, self.rng = budget, log, np.random.default_rng([seed, 1])
        self.channels, self.classes = data.channels, data.classes
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.memory: Tensor | None = None
        self.memory_fill = IGNORE
        self.optimisers: list[torch.optim.Optimizer] = []
        self.terms: list[Callable[[Batch], Tensor]] = []
        self.snapshots, self.facts = [], {}
        images, sets = zip(*(self.prepare(scan, data.classes, budget.size) for scan in data), strict=True)
        self.images, self.allowed = torch.cat(images), np.concatenate(sets)
        if self.allowed.min() < 1 or self.allowed.max() > everything(data.classes):
            known = everything(data.classes)
            raise ValueError(f"prepare returns label sets outside 1 to {known}; a set needs a class, and no other bits")
        self.build(data.channels, data.classes, budget)
        for module in self._modules().values():
            module.to(self.device).to(memory_format=torch.channels_last)  # a fifth faster on CPUs; images follow the weights
        augmented = Augmentation(seed, data.classes, self.memory_fill, budget.augmentation, keep_axes=self.keeps_axes)
        self.draws = augmented, np.random.default_rng(seed)  # of augmentation, and of the order of the slices
        self.schedule = [self.numbers(step) for step in range(budget.steps)]
        self.net.train()

    def predict(self, scan: TestScan) -> np.ndarray:
        """The most probable class of each pixel, slice by slice."""
        height, width = scan.image.shape[-2:]
        labels = []
        for image in to_network(scan.image, self.budget.size, self.budget.resize).split(self.budget.batch):
            probs = to_native_size(self.probs(image.to(self.device)), height, width, self.budget.resize)
            if not probs.isfinite().all():
                raise FloatingPointError("the network predicts numbers that are not finite; its training has diverged")
            labels.append(probs.argmax(1).to(torch.uint8).cpu())
        return torch.cat(labels).numpy()

    @torch.no_grad()
    def probs(self, image: Tensor) -> Tensor:
        """Class probabilities (n, k, h, w) of images on the device, float32."""
        self.net.eval()
        with self.autocast():
            logits = self.net(image)
        self.net.train()
        return logits.float().softmax(1)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """The weights of every module, on the CPU."""
        return {
            name: {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
            for name, module in self._modules().items()
        }

    def restore(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Load weights that `state` returned."""
        for name, weights in state.items():  # modules that were added later keep their weights
            getattr(self, name).load_state_dict(weights)

    def marks_loss(self, scan: WeakScan, classes: int) -> float:
        """Partial cross-entropy on a held-out scan's marks, at native size; NaN without marks."""
        height, width = scan.image.shape[-2:]
        total, count, bits = 0.0, 0, torch.tensor([1 << k for k in range(classes)]).view(1, -1, 1, 1)
        parts = np.split(scan.allowed.astype(np.int64), range(self.budget.batch, len(scan.allowed), self.budget.batch))
        images = to_network(scan.image, self.budget.size, self.budget.resize).split(self.budget.batch)
        for image, part in zip(images, parts, strict=True):
            maps, sets = self.probs(image.to(self.device)), torch.from_numpy(part)
            probs = to_native_size(maps, height, width, self.budget.resize).cpu().double()
            inside = (probs * (sets[:, None] & bits != 0)).sum(1)[sets != everything(classes)]
            total, count = total - float(inside.clamp_min(1e-12).log().sum()), count + inside.numel()
        return total / count if count else math.nan

    def _modules(self) -> dict[str, nn.Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, nn.Module)}

    def _train(self, augmentation: Augmentation, order: np.random.Generator) -> None:
        if self.device.type == "cuda" and vars(type(self)).get("static") and not (self.optimisers or self.terms):
            resident.train(self, optimiser_of(self.net, self.budget, self.device), augmentation, order)
            return
        self.draws = augmentation, order
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[int]:
        """Train what `begin` has prepared, and yield the number of steps so far after each."""
        budget, (augmentation, order) = self.budget, self.draws
        optimiser = optimiser_of(self.net, budget)
        further = [(group, group["lr"] / budget.lr) for each in self.optimisers for group in each.param_groups]
        own = {id(weight) for group in optimiser.param_groups for weight in group["params"]}
        if own & {id(weight) for group, _ in further for weight in group["params"]}:
            raise ValueError("self.optimisers holds weights of self.net, which the budget's optimiser trains")
        for step, batch in enumerate(self._batches(augmentation, order, PREFETCH_THREADS[self.device.type])):
            progress = step / budget.steps
            for group, factor in [*((group, 1) for group in optimiser.param_groups), *further]:
                group["lr"] = factor * self.rate(step)
            with self.autocast():
                loss = trainable(self.loss(batch, progress))
                for term in self.terms:
                    loss = loss + term(batch)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            self.after_step(batch, progress)
            self.end_step(step, loss)
            yield step + 1

    def end_step(self, step: int, loss: Tensor) -> None:
        """Do what is due between this step and the next."""
        steps = self.budget.steps
        self.between_steps(step + 1)
        if step % max(1, steps // 100) == 0 or step == steps - 1:  # reading the loss waits for the device
            self.log(step, loss=float(loss.detach()))
        if self._pass_ends(step):
            self.after_pass(self._slices(), (step + 1) / steps)
        self.keep(step + 1, self.budget)

    def order(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield the rows of each step's batch: pass after pass in random order, never a partial batch.

        If fewer than half of the slices have marks, half of each batch are slices with marks, as in the scripts for a few
        labelled scans of Luo et al. (WSL4MIS). Not where sets alone are known, such as tags: no class is marked there.
        """
        groups = [(np.arange(len(self.images)), self.budget.batch)]
        bare = (self.allowed == everything(self.classes)).all((1, 2))
        if 2 * bare.sum() > len(bare) and set(1 << np.arange(self.classes)) <= {*np.unique(self.allowed[~bare])}:
            half = self.budget.batch // 2
            groups = [(np.flatnonzero(~bare), self.budget.batch - half), (np.flatnonzero(bare), half)]
        waiting = [np.empty(0, np.int64) for _ in groups]
        for _ in range(self.budget.steps):
            for number, (rows, count) in enumerate(groups):
                while len(waiting[number]) < count:
                    waiting[number] = np.concatenate([waiting[number], rows[rng.permutation(len(rows))]])
            yield np.concatenate([left[:count] for left, (_, count) in zip(waiting, groups, strict=True)])
            waiting = [left[count:] for left, (_, count) in zip(waiting, groups, strict=True)]

    def _batches(self, augmentation: Augmentation, order: np.random.Generator, threads: int) -> Iterator[Batch]:
        """Yield each step's batch. A method's memory is read at its step; all else may be augmented before."""

        def load_batch(item: tuple[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            step, rows = item
            pairs = [augmentation(step, n, self.images[row].numpy(), self.allowed[row]) for n, row in enumerate(rows)]
            return np.stack([image for image, _ in pairs]), np.stack([sets for _, sets in pairs], dtype=np.int32), rows

        known = None
        for step, (image, allowed, rows) in enumerate(prefetch(load_batch, enumerate(self.order(order)), threads)):
            memory = None
            if self.memory is not None:
                known = self.memory if known is self.memory else self.checked_memory()
                of_rows = [augmentation.memory(step, n, self.memory[row].numpy()) for n, row in enumerate(rows)]
                memory = self._to_device(np.stack(of_rows))
            given = self._to_device(image), self._to_device(allowed), self._to_device(rows), memory
            yield Batch(*given, torch.tensor(step, device=self.device), self.schedule[step], self.kind(step))

    def checked_memory(self) -> Tensor:
        """Return the memory; raises ValueError if it can't be augmented like the images."""
        memory = self.memory
        assert memory is not None
        if memory.is_floating_point():
            fits = memory.dim() == 4
        else:
            fits = memory.dim() == 3 and int(memory.min()) >= 0 and int(memory.max()) <= IGNORE
        if not fits or len(memory) != len(self.images):
            raise ValueError(
                f"self.memory is {memory.dtype} {tuple(memory.shape)}; it must have a row for each of {len(self.images)} "
                f"training slices: integers from 0 to {IGNORE} (slices, h, w), or floats (slices, k, h, w)"
            )
        return memory

    def _to_device(self, array: np.ndarray) -> Tensor:
        """Copy an array to the device, without waiting until it arrives."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def _pass_ends(self, step: int) -> bool:
        """Whether this step completes a pass, or one of `passes` equal shares of the budget."""
        done, total = (self.budget.batch, len(self.images)) if self.passes is None else (self.passes, self.budget.steps)
        return (step + 1) * done // total > step * done // total

    def _slices(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.arange(len(self.images)).split(self.budget.batch):
            yield index, self.images[index].to(self.device)

    def autocast(self) -> torch.autocast:
        """The budget's precision, as a context; weights cast without gradients are not kept for a pass that needs them."""
        keep, bf16 = torch.is_grad_enabled(), self.budget.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bf16, cache_enabled=keep)


def optimiser_of(net: nn.Module, budget: Budget, device: torch.device | None = None) -> torch.optim.Optimizer:
    """The budget's optimiser of a network's weights; AdamW has its own decay rates (0.9, 0.999) of averages.

    With a device the learning rate lies there, for steps that ask nothing of the host.
    """
    given: dict[str, Any] = {"lr": budget.lr, "weight_decay": budget.weight_decay}
    if device is not None:
        given |= {"lr": torch.tensor(budget.lr, device=device), "fused": True}
    if budget.optimiser == "adamw":
        return torch.optim.AdamW(net.parameters(), **given, capturable=device is not None and device.type == "cuda")
    return torch.optim.SGD(net.parameters(), **given, momentum=budget.momentum, nesterov=budget.optimiser == "nesterov")


def scheduled(budget: Budget, step: int, steps: int) -> float:
    """The learning rate of a step of so many: a linear warm-up to `lr`, then poly or cosine over the steps that are left."""
    warmup = round(budget.warmup * steps)
    if step < warmup:
        return budget.lr * (step + 1) / warmup
    decay = {"poly": poly, "cosine": cosine}[budget.schedule]
    return decay(budget.lr, step - warmup, steps - warmup)


def cosine(base: float, step: int, steps: int) -> float:
    """Half a cosine from `base` to 0 (Loshchilov & Hutter, ICLR 2017, without restarts)."""
    return base * (1 + math.cos(math.pi * step / steps)) / 2


def poly(base: float, step: int, steps: int) -> float:
    """The field's learning rate: base * (1 - step / steps)^0.9."""
    return base * (1 - step / steps) ** 0.9


def ramp(progress: float) -> float:
    """The field's ramp-up of a weight over the whole budget: exp(-5 (1 - progress)^2) (Laine & Aila, ICLR 2017)."""
    return math.exp(-5 * (1 - min(max(progress, 0.0), 1.0)) ** 2)
