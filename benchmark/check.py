"""What any method and any data set must do: plain functions, each of which raises where the contract is broken."""

import ast
import dataclasses
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from benchmark import plugins, tuning
from benchmark.datasets.weak import OPTIONS, from_labels, stream, weaken
from benchmark.jobs import Budget
from benchmark.sealed import TestScan, WeakData, WeakScan
from benchmark.worker import check_labels, seed_everything

BUDGET = Budget(steps=4, batch=2, size=32)
Check = Callable[["Candidate"], None]


class Broken(Exception):
    """The contract is broken; the message says how."""


@dataclass(frozen=True)
class Candidate:
    """A method under check."""

    plugin: plugins.Plugin
    cls: Any

    def fitted(self, data: WeakData, log: Callable[..., None] | None = None) -> Any:
        """A fresh instance, seeded as the worker seeds it, and trained."""
        method = self.cls()
        refit(method, data, log)
        return method


def refit(method: Any, data: WeakData, log: Callable[..., None] | None = None, budget: Budget = BUDGET) -> None:
    """Train, from the same seed whenever it is called."""
    seed_everything(0)
    method.fit(data, budget, log or (lambda step, /, **values: None))


def data_of(annotation: str, channels: int = 1, classes: int = 3, shapes: tuple[tuple[int, ...], ...] = ()) -> WeakData:
    """A few small scans of bright discs, weakly annotated; stacks and single slices, of odd sizes."""
    scans = []
    for number, shape in enumerate(shapes or ((3, 37, 29), (1, 40, 33), (2, 24, 48))):
        image, mask = discs(np.random.default_rng(number), shape, channels, classes)
        scans.append(WeakScan(image, annotated(mask, classes, annotation, str(number))))
    return WeakData(scans, classes, channels)


def annotated(mask: np.ndarray, classes: int, annotation: str, name: str) -> np.ndarray:
    """Sets of a scan; of `slices`, the first slice is labelled in full."""
    if annotation != "slices":
        return weaken(mask, classes, annotation, stream(0, name))
    allowed = np.full(mask.shape, (1 << classes) - 1, np.uint8)
    allowed[0] = 1 << mask[0]
    return allowed


def discs(rng: np.random.Generator, shape: tuple[int, ...], channels: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nested discs, the inner the brighter: image (s, c, h, w) and mask (s, h, w)."""
    slices, height, width = shape
    rows, columns = np.indices((height, width))
    mask = np.zeros(shape, np.uint8)
    for labels in mask:
        centre = rng.uniform(0.35, 0.65, 2) * (height, width)
        distance = np.hypot(rows - centre[0], columns - centre[1]) / min(height, width)
        for k in range(1, classes):
            labels[distance < 0.4 * (classes - k) / (classes - 1)] = k
    noise = rng.normal(0, 0.05, (slices, channels, height, width))
    return (mask[:, None] / classes + 0.15 + noise).clip(0, 1).astype(np.float32), mask


def held_out(channels: int = 1) -> list[TestScan]:
    """Scans to predict, of sizes that the training scans don't have."""
    return [TestScan(discs(np.random.default_rng(9), shape, channels, 3)[0]) for shape in ((2, 35, 31), (1, 50, 26))]


# ---------------------------------------------------------------------------------------------------------- of methods


def constructs_without_work(candidate: Candidate) -> None:
    """All options have defaults, and an instance holds its options and nothing else."""
    method = candidate.cls()
    extra = set(vars(method)) - {f.name for f in dataclasses.fields(method)}
    if extra:
        raise Broken(f"constructing it sets {', '.join(sorted(extra))}; work begins in fit")


def claims_known_annotations(candidate: Candidate) -> None:
    """`annotations` names formats that exist."""
    claimed = candidate.cls.annotations
    if not isinstance(claimed, tuple) or not claimed or set(claimed) - set(OPTIONS):
        raise Broken(f"annotations are {claimed!r}; they must be a tuple of {', '.join(OPTIONS)}")


def imports_no_data_set(candidate: Candidate) -> None:
    """Its file does not import data sets, where the truth is; the worker would refuse that."""
    path = candidate.plugin.file()
    for node in ast.walk(ast.parse(path.read_text())) if path else ():
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            if module.startswith(("benchmark.datasets", "datasets", "benchmark.runner", "benchmark.score")):
                raise Broken(f"it imports {module}, which a learner can't see")


def learns_from_all_that_it_claims(candidate: Candidate) -> None:
    """Every annotation, 1 and 3 channels, odd sizes, stacks and single slices: label maps of the native size."""
    for annotation, channels in product(candidate.cls.annotations, (1, 3)):
        method = candidate.fitted(data_of(annotation, channels))
        for scan in held_out(channels):
            try:
                check_labels(method.predict(scan), scan, 3)
            except ValueError as error:
                raise Broken(f"{annotation}, {channels} channels: {error}") from error


def bears_a_class_that_nobody_marked(candidate: Candidate) -> None:
    """Scans without a mark of some class, or without any mark, are data like others."""
    base = data_of(candidate.cls.annotations[0])
    candidate.fitted(base.relabel(lambda scan: np.where(scan.allowed == 4, 7, scan.allowed).astype(np.uint8)))
    candidate.fitted(base.relabel(lambda scan: from_labels(np.full(scan.allowed.shape, 255), 3, 255)))


def bears_a_single_slice(candidate: Candidate) -> None:
    """One training slice, fewer than a batch."""
    candidate.fitted(data_of(candidate.cls.annotations[0], shapes=((1, 33, 33),)))


def repeats_itself(candidate: Candidate) -> None:
    """One seed, one result: fresh or fitted again, in whatever order the scans are predicted."""
    data, scans = data_of(candidate.cls.annotations[0]), held_out()
    method = candidate.fitted(data)
    first = [method.predict(scan) for scan in scans]
    again = [method.predict(scan) for scan in reversed(scans)][::-1]
    if not all(map(np.array_equal, first, again)):
        raise Broken("predictions depend on the order of the scans")
    refit(method, data)
    if not all(map(np.array_equal, first, [method.predict(scan) for scan in scans])):
        raise Broken("fitting it again gives another result; fit must start afresh")


def keeps_its_options(candidate: Candidate) -> None:
    """Fitting does not change the options, which name the run."""
    method = candidate.cls()
    before = dataclasses.asdict(method)
    refit(method, data_of(candidate.cls.annotations[0]))
    changed = {name for name, value in dataclasses.asdict(method).items() if before[name] != value}
    if changed:
        raise Broken(f"fit changes its options {', '.join(sorted(changed))}")


def stays_within_its_budget(candidate: Candidate) -> None:
    """It logs steps below the budget's, and optimises no more often."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    taken, logged = [0], [0]
    hook = register_optimizer_step_pre_hook(lambda *_: taken.__setitem__(0, taken[0] + 1))
    try:
        candidate.fitted(data_of(candidate.cls.annotations[0]), lambda step, /, **_: logged.append(step))
    finally:
        hook.remove()
    if max(logged) >= BUDGET.steps or taken[0] > BUDGET.steps:
        raise Broken(f"it takes {taken[0]} steps and logs step {max(logged)}; the budget is {BUDGET.steps}")


def keeps_snapshots_without_a_trace(candidate: Candidate) -> None:
    """Keeping snapshots changes no prediction, and each can be restored and predicts."""
    data, scans = data_of(candidate.cls.annotations[0]), held_out()
    before = [candidate.fitted(data).predict(scan) for scan in scans]
    method, copies = candidate.cls(), []

    def copied() -> Any:
        state = type(method).state(method)
        copies.append(pickle.dumps(state))
        return state

    method.state = copied
    refit(method, data, budget=dataclasses.replace(BUDGET, snapshots=2))
    if copies != [pickle.dumps(state) for _, state in getattr(method, "snapshots", [])]:
        raise Broken("a snapshot is not what it was when it was kept; state must give a copy, and fit begin without any")
    if not all(map(np.array_equal, before, map(method.predict, scans))):
        raise Broken("keeping snapshots changes what it predicts at the end")
    for _, state in getattr(method, "snapshots", []):
        method.restore(state)
        first = [method.predict(scan) for scan in scans]
        method.restore(state)
        if not all(map(np.array_equal, first, map(method.predict, scans))):
            raise Broken("a snapshot restored twice predicts two things")


def declares_sound_ranges(candidate: Candidate) -> None:
    """At most three options have ranges to tune, and each range holds the published value."""
    found, method = tuning.ranges(candidate.cls), candidate.cls()
    for name, each in found.items():
        value = getattr(method, name)
        if value is not None and not each.low <= value <= each.high:
            raise Broken(f"{name} is {value}, outside its range from {each.low} to {each.high}")


METHOD_CHECKS: tuple[Check, ...] = (
    constructs_without_work,
    claims_known_annotations,
    imports_no_data_set,
    learns_from_all_that_it_claims,
    bears_a_class_that_nobody_marked,
    bears_a_single_slice,
    repeats_itself,
    keeps_its_options,
    stays_within_its_budget,
    keeps_snapshots_without_a_trace,
    declares_sound_ranges,
)


def faults(plugin: plugins.Plugin) -> Iterator[tuple[str, str]]:
    """Every check by name, with what is wrong (empty: nothing); a check that can't run has failed."""
    candidate = Candidate(plugin, plugin.load())
    for check in METHOD_CHECKS:
        try:
            check(candidate)
        except Broken as error:
            yield check.__name__, str(error)
        except Exception as error:  # whatever a method raises is its fault
            yield check.__name__, f"{type(error).__name__}: {error}"
        else:
            yield check.__name__, ""


def report_on(name: str) -> int:
    """Print the checks of a method or group and how many ran; 0 if all passed, else 1."""
    console, broken, count = Console(), 0, 0
    for member in plugins.groups().get(name, [name]):
        plugin = plugins.get("method", member)
        for check, fault in faults(plugin):
            count += 1
            broken += bool(fault)
            console.print(Text(f"{'FAILED' if fault else 'ok':7}{plugin.name}: {check.replace('_', ' ')}"), soft_wrap=True)
            if fault:
                console.print(Text(f"       {fault}"), soft_wrap=True)
    console.print(Text(f"{count} checks ran, {broken} failed"))
    return int(broken > 0)
