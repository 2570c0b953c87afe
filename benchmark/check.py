"""What any method and any data set must do: plain functions, each of which raises where the contract is broken."""

import ast
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from benchmark import InputError, plugins
from benchmark.datasets.base import Dataset, check_scan, check_split
from benchmark.datasets.weak import ANNOTATIONS, form, from_labels, stream, weaken
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


def refit(method: Any, data: WeakData, log: Callable[..., None] | None = None) -> None:
    """Train, from the same seed whenever it is called."""
    seed_everything(0)
    method.fit(data, BUDGET, log or (lambda step, /, **values: None))


def data_of(annotation: str, channels: int = 1, classes: int = 3, shapes: tuple[tuple[int, ...], ...] = ()) -> WeakData:
    """A few small scans of bright discs, weakly annotated; stacks and single slices, of odd sizes."""
    scans = []
    for number, shape in enumerate(shapes or ((3, 37, 29), (1, 40, 33), (2, 24, 48))):
        image, mask = discs(np.random.default_rng(number), shape, channels, classes)
        scans.append(WeakScan(image, weaken(mask, classes, annotation, stream(0, str(number)))))
    return WeakData(scans, classes, channels)


def discs(
    rng: np.random.Generator, shape: tuple[int, ...], channels: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
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
    known = {form(annotation) for annotation in ANNOTATIONS}
    strange = set(candidate.cls.annotations) - known
    if strange or not candidate.cls.annotations:
        raise Broken(f"annotations are {candidate.cls.annotations}; they may be {', '.join(sorted(known))}")


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
    for annotation in ANNOTATIONS:
        if form(annotation) in candidate.cls.annotations and not annotation.endswith(":drawn"):
            for channels in (1, 3):
                method = candidate.fitted(data_of(annotation, channels))
                for scan in held_out(channels):
                    try:
                        check_labels(method.predict(scan), scan, 3)
                    except ValueError as error:
                        raise Broken(f"{annotation}, {channels} channels: {error}") from error


def bears_a_class_that_nobody_marked(candidate: Candidate) -> None:
    """Scans without a mark of some class, or without any mark, are data like others."""
    base = data_of(_any(candidate))
    candidate.fitted(base.relabel(lambda scan: np.where(scan.allowed == 4, 7, scan.allowed).astype(np.uint8)))
    candidate.fitted(base.relabel(lambda scan: from_labels(np.full(scan.allowed.shape, 255), 3, 255)))


def bears_a_single_slice(candidate: Candidate) -> None:
    """One training slice, fewer than a batch."""
    candidate.fitted(data_of(_any(candidate), shapes=((1, 33, 33),)))


def repeats_itself(candidate: Candidate) -> None:
    """One seed, one result: fresh or fitted again, in whatever order the scans are predicted."""
    data, scans = data_of(_any(candidate)), held_out()
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
    refit(method, data_of(_any(candidate)))
    changed = {name for name, value in dataclasses.asdict(method).items() if before[name] != value}
    if changed:
        raise Broken(f"fit changes its options {', '.join(sorted(changed))}")


def stays_within_its_budget(candidate: Candidate) -> None:
    """It logs steps below the budget's, and optimises no more often."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    taken, logged = [0], [0]
    hook = register_optimizer_step_pre_hook(lambda *_: taken.__setitem__(0, taken[0] + 1))
    try:
        candidate.fitted(data_of(_any(candidate)), lambda step, /, **_: logged.append(step))
    finally:
        hook.remove()
    if max(logged) >= BUDGET.steps or taken[0] > BUDGET.steps:
        raise Broken(f"it takes {taken[0]} steps and logs step {max(logged)}; the budget is {BUDGET.steps}")


def _any(candidate: Candidate) -> str:
    """An annotation that the method learns from."""
    return next(a for a in ANNOTATIONS if form(a) in candidate.cls.annotations and not a.endswith(":drawn"))


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
            console.print(
                Text(f"{'FAILED' if fault else 'ok':7}{plugin.name}: {check.replace('_', ' ')}"), soft_wrap=True
            )
            if fault:
                console.print(Text(f"       {fault}"), soft_wrap=True)
    console.print(Text(f"{count} checks ran, {broken} failed"))
    return int(broken > 0)


# -------------------------------------------------------------------------------------------------------- of data sets


def report_on_data(name: str, data: Path) -> int:
    """Read every scan, print what is there and each thing that is wrong; 0 if nothing is, else 1."""
    plugin = plugins.get("data set", name)
    dataset: Dataset = plugins.configure(plugin.load(), {}, root=data / plugin.name)
    console, wrong = Console(), []
    patients = dataset.patients()
    sizes: dict[str, int] = {}
    counts = np.zeros(len(dataset.classes), np.int64)
    marked = {annotation: np.zeros(len(dataset.classes), np.int64) for annotation in dataset.drawn}
    scans = [scan for names in patients.values() for scan in names]
    for scan_name in scans:
        try:
            scan = dataset.load(scan_name)
            check_scan(scan, dataset)
        except InputError as error:
            wrong.append(str(error))
            continue
        size = "x".join(map(str, scan.image.shape[2:]))
        sizes[size] = sizes.get(size, 0) + len(scan.image)
        if scan.mask is not None:
            counts += np.bincount(scan.mask.ravel(), minlength=len(counts))
            for annotation, allowed in scan.drawn.items():
                marked[annotation] += [
                    np.count_nonzero((allowed == 1 << k) & (scan.mask == k)) for k in range(len(counts))
                ]
    for split in dataset.splits():
        try:
            check_split(dataset, split)
        except InputError as error:
            wrong.append(str(error))
    console.print(
        Text(f"{len(scans)} scans of {len(patients)} patients, {dataset.channels} channels, {dataset.modality}")
    )
    common = sorted(sizes.items(), key=lambda item: -item[1])
    console.print(Text(f"slices by size: {', '.join(f'{size}: {count}' for size, count in common[:8])}"))
    for k, label in enumerate(dataset.classes):
        shares = [f"{counts[k] / max(1, counts.sum()):.2%} of pixels"]
        shares += [f"{form}:drawn marks {values[k] / max(1, counts[k]):.2%} of it" for form, values in marked.items()]
        console.print(Text(f"class {k} {label}: {', '.join(shares)}"))
    for fault in wrong:
        console.print(Text(f"error: {fault}"), soft_wrap=True)
    console.print(Text(f"{len(wrong)} errors"))
    return int(bool(wrong))
