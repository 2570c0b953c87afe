"""What any method must do. A check raises Broken, or whatever the method raises, where the contract is broken."""

import ast
import dataclasses
import json
import os
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmark.check import watch
from benchmark.check.contract import Broken, NotApplicable
from benchmark.check.discs import data_of, discs, held_out
from benchmark.datasets.forms import FORMS, learnt
from benchmark.plan import plugins, trials
from benchmark.seal import folder as sealed
from benchmark.seal.contract import Budget, TestScan, WeakData, everything
from benchmark.train.local import Local, Task
from benchmark.train.worker import check_labels, seed_everything

BUDGET = Budget(steps=4, batch=2, size=32)
ENOUGH = Budget(steps=40, batch=4, size=32)  # to learn bright discs
SEEDS = (0, 1, 2)


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

    def data(self, **wanted: Any) -> WeakData:
        """Small scans with the first annotation that it learns from."""
        return data_of(learnt(self.cls.annotations)[0], **wanted)


def refit(
    method: Any, data: WeakData, log: Callable[..., None] | None = None, budget: Budget = BUDGET, seed: int = 0
) -> None:
    """Train, from the same seed whenever it is called."""
    seed_everything(seed)
    method.fit(data, budget, log or (lambda step, /, **values: None))


def constructs_without_work(candidate: Candidate) -> None:
    """All options have defaults, and an instance holds its options and nothing else."""
    method = candidate.cls()
    extra = set(vars(method)) - {f.name for f in dataclasses.fields(method)}
    if extra:
        raise Broken(f"constructing it sets {', '.join(sorted(extra))}; work begins in fit")


def claims_known_annotations(candidate: Candidate) -> None:
    """`annotations` is "labels", "sets", or a tuple of forms that exist."""
    claim = candidate.cls.annotations
    if not isinstance(claim, str | tuple) or not learnt(claim) or set(learnt(claim)) - set(FORMS):
        raise Broken(f'annotations are {claim!r}; they must be "labels", "sets", or a tuple of {", ".join(FORMS)}')


def declares_a_known_role(candidate: Candidate) -> None:
    """`role`, where the class has one, is one that reports know."""
    role = plugins.role(candidate.cls)
    if role and role not in plugins.ROLES:
        raise Broken(f"its role is {role!r}; it must be {', '.join(plugins.ROLES)}, or nothing")


def imports_no_data_set(candidate: Candidate) -> None:
    """Of this package its file imports benchmark.methods and benchmark.seal.contract alone, never what knows the truth."""
    path = candidate.plugin.file()
    for node in ast.walk(ast.parse(path.read_text())) if path else ():
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            ours = module.partition(".")[0] in ("benchmark", "datasets")
            if ours and not re.match(r"benchmark(\.methods\b.*|\.seal\.contract)?$", module):
                raise Broken(f"it imports {module}; a method may import benchmark.methods and benchmark.seal.contract")


def learns_from_all_that_it_claims(candidate: Candidate) -> None:
    """Every annotation, 1 and 3 channels, odd sizes, stacks and single slices: label maps of the native size."""
    for annotation, channels in product(learnt(candidate.cls.annotations), (1, 3)):
        method = candidate.fitted(data_of(annotation, channels))
        for scan in held_out(channels):
            try:
                check_labels(method.predict(scan), scan, 3)
            except ValueError as error:
                raise Broken(f"{annotation}, {channels} channels: {error}") from error


def handles_unannotated_class(candidate: Candidate) -> None:
    """Scans without a mark of some class, or without any mark, are data like others."""
    base = candidate.data()
    candidate.fitted(base.relabel(lambda scan: np.where(scan.allowed == 4, 7, scan.allowed).astype(np.uint8)))
    candidate.fitted(base.relabel(lambda scan: np.full_like(scan.allowed, everything(3))))


def handles_single_slice(candidate: Candidate) -> None:
    """One training slice, fewer than a batch."""
    candidate.fitted(candidate.data(shapes=((1, 33, 33),)))


def repeats_itself(candidate: Candidate) -> None:
    """One seed, one result: fresh or fitted again, in whatever order the scans are predicted."""
    data, scans = candidate.data(), held_out()
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
    refit(method, candidate.data())
    changed = {name for name, value in dataclasses.asdict(method).items() if before[name] != value}
    if changed:
        raise Broken(f"fit changes its options {', '.join(sorted(changed))}")


def stays_within_its_budget(candidate: Candidate) -> None:
    """It logs steps below the budget's, and optimises no more often."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    taken, logged = [0], [0]
    hook = register_optimizer_step_pre_hook(lambda *_: taken.__setitem__(0, taken[0] + 1))
    try:
        candidate.fitted(candidate.data(), lambda step, /, **_: logged.append(step))
    finally:
        hook.remove()
    if max(logged) >= BUDGET.steps or taken[0] > BUDGET.steps:
        raise Broken(f"it takes {taken[0]} steps and logs step {max(logged)}; the budget is {BUDGET.steps}")


def keeps_snapshots_without_a_trace(candidate: Candidate) -> None:
    """Keeping snapshots changes no prediction, and each can be restored and predicts."""
    data, scans = candidate.data(), held_out()
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
    found, method = trials.ranges(candidate.cls), candidate.cls()
    for name, each in found.items():
        value = getattr(method, name)
        if value is not None and not each.low <= value <= each.high:
            raise Broken(f"{name} is {value}, outside its range from {each.low} to {each.high}")


def is_blind_to_truth(candidate: Candidate) -> None:
    """It reads no file but those it is given, and other masks within its reach change no label map."""
    labels = []
    with TemporaryDirectory() as folder:
        given, own = Path(folder, "sealed"), candidate.plugin.file()
        given.mkdir()
        data = candidate.data()
        sealed.seal(given, {"train": data}, held_out(), data.classes, data.channels)
        packaged = [own.parent] if own and candidate.plugin.module != str(own) else []  # not the folder that mine.py is in
        for brightness in (0, 1):
            with _masks_within_reach(Path(folder, f"user{brightness}"), brightness), watch.reading() as read:
                method = candidate.fitted(sealed.open_train(given))
                labels.append([method.predict(scan) for scan in sealed.open_test(given)])
            if strange := watch.unexpected_reads(read, [given, *packaged]):
                raise Broken(f"it reads {strange[0]}; a method is handed images and weak labels, and reads nothing else")
    if not all(map(np.array_equal, *labels)):
        raise Broken("other masks in the data folder change what it predicts")


@contextmanager
def _masks_within_reach(folder: Path, value: int) -> Iterator[None]:
    """A working folder with data and results in it, all masks of one value, and BENCHMARK_DATA that names it."""
    before = os.environ.get("BENCHMARK_DATA")
    for part in ("data/masks", "results/masks"):
        (folder / part).mkdir(parents=True)
        np.save(folder / part / "scan.npy", np.full((3, 32, 32), value, np.uint8))
        Image.fromarray(np.full((32, 32), value, np.uint8)).save(folder / part / "scan.png")
    os.environ["BENCHMARK_DATA"] = str(folder / "data")
    try:
        with chdir(folder):
            yield
    finally:
        del os.environ["BENCHMARK_DATA"]
        if before is not None:
            os.environ["BENCHMARK_DATA"] = before


def learns(candidate: Candidate) -> None:
    """After a few steps, with one of three seeds, it labels more pixels of bright discs rightly than one class would."""
    data = candidate.data(classes=2, shapes=((6, 32, 32),) * 2)
    image, mask = discs(np.random.default_rng(7), (8, 32, 32), 1, 2)
    constant = max(float((mask == k).mean()) for k in range(2))
    best = 0.0
    for seed in SEEDS:
        method = candidate.cls()
        refit(method, data, budget=ENOUGH, seed=seed)
        best = max(best, float((method.predict(TestScan(image)) == mask).mean()))
        if best > constant:
            return
    raise Broken(
        f"after {ENOUGH.steps} steps it labels {best:.0%} of the pixels of bright discs rightly; one class everywhere gets "
        f"{constant:.0%}"
    )


def gradients_reach_every_parameter(candidate: Candidate) -> None:
    """Each trainable parameter of `net` gets a finite gradient that isn't all zero in some step."""
    import torch
    from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

    reached: dict[int, torch.nn.Parameter] = {}  # held, so that no other takes its id

    def look(optimiser: Optimizer, *_: Any) -> None:
        for parameter in (p for group in optimiser.param_groups for p in group["params"] if p.grad is not None):
            if not parameter.grad.isfinite().all():
                raise Broken(f"a gradient of shape {tuple(parameter.shape)} is not finite")
            if parameter.grad.any():
                reached[id(parameter)] = parameter

    hook = register_optimizer_step_pre_hook(look)
    try:
        net = getattr(candidate.fitted(candidate.data()), "net", None)
    finally:
        hook.remove()
    if not isinstance(net, torch.nn.Module):
        raise NotApplicable("it has no network in self.net")
    left = [name for name, p in net.named_parameters() if p.requires_grad and id(p) not in reached]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        raise Broken(f"{', '.join(left[:3])}{more} never get a gradient; freeze what is not to be trained")


def agrees_with_the_cpu_on_a_gpu(candidate: Candidate) -> None:
    """Trained by worker processes on a GPU and on the CPU, it predicts nearly the same."""
    import torch

    if not torch.cuda.is_available():
        raise NotApplicable("no GPU")
    agree(candidate, "cuda:0", "cpu")


def agree(candidate: Candidate, ours: str, theirs: str, least: float = 0.9) -> None:
    """Raise Broken unless two devices, after training, give the same label to so large a share of the pixels.

    Not to all: rounding and random numbers are a device's own.
    """
    data = candidate.data(classes=2, shapes=((6, 32, 32),) * 2)
    test = [TestScan(discs(np.random.default_rng(7), (8, 32, 32), 1, 2)[0])]
    labels = []
    with TemporaryDirectory() as folder:
        given = Path(folder, "sealed")
        given.mkdir()
        sealed.seal(given, {"train": data}, test, 2, 1)
        for number, device in enumerate((ours, theirs)):
            labels.append(_by_a_worker(candidate.plugin, device, given, Path(folder, str(number))))
    same = float((labels[0] == labels[1]).mean())
    if same < least:
        raise Broken(f"{ours} and {theirs} give the same label to {same:.0%} of the pixels; {least:.0%} is the least")


def _by_a_worker(plugin: plugins.Plugin, device: str, given: Path, out: Path) -> np.ndarray:
    """The labels of the first test scan, by a worker process on that device."""
    out.mkdir()
    job = {"plugin": dataclasses.asdict(plugin), "options": {}, "seed": 0, "budget": dataclasses.asdict(ENOUGH)}
    (out / "job.json").write_text(json.dumps(job))
    task = Task(plugin.name, out / "job.json", given, out, ENOUGH.threads, ENOUGH.steps)
    ended = next(event for event in Local([device], 1, None, []).run(iter([task])) if event is not None)
    if ended.reason:
        raise Broken(f"on {device}: {ended.reason}")
    return np.asarray(np.load(out / "label0000.npy", allow_pickle=False))


METHOD_CHECKS: tuple[Callable[[Candidate], None], ...] = (
    constructs_without_work,
    claims_known_annotations,
    declares_a_known_role,
    imports_no_data_set,
    is_blind_to_truth,
    learns_from_all_that_it_claims,
    handles_unannotated_class,
    handles_single_slice,
    repeats_itself,
    keeps_its_options,
    stays_within_its_budget,
    keeps_snapshots_without_a_trace,
    gradients_reach_every_parameter,
    learns,
    declares_sound_ranges,
    agrees_with_the_cpu_on_a_gpu,
)
