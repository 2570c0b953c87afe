"""Checks of methods. A check raises Broken, or lets the method's exception pass, if the contract is broken."""

import ast
import dataclasses
import json
import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
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
STATIC_BUDGET = Budget(steps=24, batch=2, size=32)  # enough for some steps of each kind
LEARNING_BUDGET = Budget(steps=40, batch=4, size=32)  # enough for bright discs
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Candidate:
    """A method to check."""

    plugin: plugins.Plugin
    cls: Any

    def fitted(self, data: WeakData, log: Callable[..., None] | None = None) -> Any:
        """Return a new instance, seeded as in a worker, and trained."""
        method = self.cls()
        refit(method, data, log)
        return method

    def data(self, **wanted: Any) -> WeakData:
        """Return small scans with the method's first annotation."""
        return data_of(learnt(self.cls.annotations)[0], **wanted)


def refit(
    method: Any, data: WeakData, log: Callable[..., None] | None = None, budget: Budget = BUDGET, seed: int = 0
) -> None:
    """Train the method, always from the same seed."""
    seed_everything(seed)
    method.fit(data, budget, log or (lambda step, /, **values: None))


def constructs_without_work(candidate: Candidate) -> None:
    """All options have defaults within their bounds, and a new instance has no other attributes."""
    method = candidate.cls()
    plugins.configure(candidate.cls, plugins.options_of(method))
    extra = set(vars(method)) - {f.name for f in dataclasses.fields(method)}
    if extra:
        raise Broken(f"constructing it sets {', '.join(sorted(extra))}; only fit may do so")


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


def needs_maps_that_exist(candidate: Candidate) -> None:
    """`needs`, where the class has one, names maps that the default network makes."""
    from benchmark.methods.networks import lacks

    for cls in plugins.learners(candidate.cls()):
        needs = plugins.needs(cls)
        if missing := lacks("unet", needs, 1, 64, 2) if needs else ():
            raise Broken(f"it needs {' and '.join(missing)}, which the network unet does not make")


def imports_no_data_set(candidate: Candidate) -> None:
    """Its file imports only benchmark.methods and benchmark.seal.contract of this package, not the data sets."""
    path = candidate.plugin.file()
    for node in ast.walk(ast.parse(path.read_text())) if path else ():
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            internal = module.partition(".")[0] in ("benchmark", "datasets")
            if internal and not re.match(r"benchmark(\.methods\b.*|\.seal\.contract)?$", module):
                raise Broken(f"it imports {module}; a method may import benchmark.methods and benchmark.seal.contract")


def learns_from_all_that_it_claims(candidate: Candidate) -> None:
    """It predicts label maps of native size: every annotation, 1 and 3 channels, uneven sizes, stacks and single slices."""
    for annotation, channels in product(learnt(candidate.cls.annotations), (1, 3)):
        method = candidate.fitted(data_of(annotation, channels))
        for scan in held_out(channels):
            try:
                check_labels(method.predict(scan), scan, 3)
            except ValueError as error:
                raise Broken(f"{annotation}, {channels} channels: {error}") from error


def handles_unannotated_class(candidate: Candidate) -> None:
    """It learns from scans without an annotation of some class, or without any annotation."""
    base = candidate.data()
    candidate.fitted(base.relabel(lambda scan: np.where(scan.allowed == 4, 7, scan.allowed).astype(np.uint8)))
    candidate.fitted(base.relabel(lambda scan: np.full_like(scan.allowed, everything(3))))


def handles_single_slice(candidate: Candidate) -> None:
    """It learns from one training slice, fewer than a batch."""
    candidate.fitted(candidate.data(shapes=((1, 33, 33),)))


def repeats_itself(candidate: Candidate) -> None:
    """The same seed gives the same result: when fitted again, and in any order of the scans."""
    data, scans = candidate.data(), held_out()
    method = candidate.fitted(data)
    first, state = [method.predict(scan) for scan in scans], state_of(method)
    again = [method.predict(scan) for scan in reversed(scans)][::-1]
    if not all(map(np.array_equal, first, again)):
        raise Broken("predictions depend on the order of the scans; they must not")
    refit(method, data)
    if not all(map(np.array_equal, first, [method.predict(scan) for scan in scans])) or state != state_of(method):
        raise Broken(
            "fitting it again with the same seed gives another result; fit must reset its state, and seed what it draws from"
        )


def state_of(method: Any) -> bytes:
    """What a method predicts from, if it says so: after a few steps different weights predict the same labels."""
    try:
        return _bytes(type(method).state(method))
    except NotImplementedError:
        return b""


def _bytes(value: Any) -> bytes:
    """The values of a state; those of a pickle depend on which objects are shared."""
    import torch

    if isinstance(value, Mapping):
        return b"".join(repr(key).encode() + _bytes(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return b"".join(map(_bytes, value))
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return value.tobytes() if isinstance(value, np.ndarray) else pickle.dumps(value)


def spells_its_functions(candidate: Candidate) -> None:
    """No function has nearly the name of one that the training calls, such as `after_steps` for `after_step`."""
    from benchmark.methods.base import NetMethod

    known = {name for name in dir(NetMethod) if callable(getattr(NetMethod, name)) and not name.startswith("_")}
    _, *parents = candidate.cls.__mro__
    for name, value in vars(candidate.cls).items():
        meant = get_close_matches(name, known, 1, 0.85)
        if callable(value) and meant and not any(name in vars(parent) for parent in parents):
            raise Broken(f"it defines {name}, which nothing calls; did you mean {meant[0]}?")


def keeps_its_options(candidate: Candidate) -> None:
    """`fit` does not change the options, which are part of the run's identity."""
    method = candidate.cls()
    before = dataclasses.asdict(method)
    refit(method, candidate.data())
    changed = {name for name, value in dataclasses.asdict(method).items() if before[name] != value}
    if changed:
        raise Broken(f"fit changes its options {', '.join(sorted(changed))}; it must leave them unchanged")


def stays_within_its_budget(candidate: Candidate) -> None:
    """It takes no more optimiser steps than the budget has, and logs steps below that number.

    Steps of the optimisers in `self.optimisers` don't count: they use the batches that the network is trained on.
    """
    from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

    stepped: list[Optimizer] = []
    logged = [0]
    hook = register_optimizer_step_pre_hook(lambda optimiser, *_: stepped.append(optimiser))
    try:
        method = candidate.fitted(candidate.data(), lambda step, /, **_: logged.append(step))
    finally:
        hook.remove()
    further = {id(optimiser) for optimiser in getattr(method, "optimisers", [])}
    steps = sum(id(optimiser) not in further for optimiser in stepped)
    if max(logged) >= BUDGET.steps or steps > BUDGET.steps:
        raise Broken(f"it takes {steps} steps and logs step {max(logged)}; the budget is {BUDGET.steps}")


def is_unchanged_by_snapshots(candidate: Candidate) -> None:
    """Snapshots don't change its predictions, and each can be restored to predict."""
    data, scans = candidate.data(), held_out()
    without = candidate.fitted(data)
    before, weights = [without.predict(scan) for scan in scans], state_of(without)
    method, copies = candidate.cls(), []

    def copied() -> Any:
        state = type(method).state(method)
        copies.append(pickle.dumps(state))
        return state

    method.state = copied
    refit(method, data, budget=dataclasses.replace(BUDGET, snapshots=2))
    if copies != [pickle.dumps(state) for _, state in getattr(method, "snapshots", [])]:
        raise Broken("a snapshot has changed since it was taken; state must return a copy, and fit start without snapshots")
    if not all(map(np.array_equal, before, map(method.predict, scans))) or weights != state_of(method):
        raise Broken("snapshots change what it has learnt at the end; they must not")
    for _, state in getattr(method, "snapshots", []):
        method.restore(state)
        first = [method.predict(scan) for scan in scans]
        method.restore(state)
        if not all(map(np.array_equal, first, map(method.predict, scans))):
            raise Broken("a snapshot that is restored twice gives two predictions; it must give one")


def declares_sound_ranges(candidate: Candidate) -> None:
    """At most three options have ranges to tune, and each range contains the published value."""
    found, method = trials.ranges(candidate.cls), candidate.cls()
    for name, each in found.items():
        value = getattr(method, name)
        if value is not None and not each.low <= value <= each.high:
            raise Broken(f"{name} is {value}; it must be in its range, {each.low} to {each.high}")


def is_blind_to_truth(candidate: Candidate) -> None:
    """It reads no other file than the sealed ones, and its predictions don't depend on masks in the data folder."""
    labels, states = [], []
    with TemporaryDirectory() as folder:
        given, source = Path(folder, "sealed"), candidate.plugin.file()
        given.mkdir()
        data = candidate.data()
        sealed.seal(given, {"train": data}, held_out(), data.classes, data.channels)
        packaged = [source.parent] if source and candidate.plugin.module != str(source) else []  # not the folder of mine.py
        for brightness in (0, 1):
            with _masks_in_data_folder(Path(folder, f"user{brightness}"), brightness), watch.reading() as read:
                method = candidate.fitted(sealed.open_train(given))
                labels.append([method.predict(scan) for scan in sealed.open_test(given)])
                states.append(state_of(method))
            if unexpected := watch.unexpected_reads(read, [given, *packaged]):
                raise Broken(f"it reads {unexpected[0]}; a method may read no files, only the arrays that it gets")
    if not all(map(np.array_equal, *labels)) or states[0] != states[1]:
        raise Broken("masks in the data folder change what it learns; it must not read them")


@contextmanager
def _masks_in_data_folder(folder: Path, value: int) -> Iterator[None]:
    """Change to a working folder with masks of one value in data/ and results/; BENCHMARK_DATA names it."""
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
    """After a few steps, with one of three seeds, it labels bright discs more accurately than a constant class."""
    data = candidate.data(classes=2, shapes=((6, 32, 32),) * 2)
    image, mask = discs(np.random.default_rng(7), (8, 32, 32), 1, 2)
    constant = max(float((mask == k).mean()) for k in range(2))
    best = 0.0
    for seed in SEEDS:
        method = candidate.cls()
        refit(method, data, budget=LEARNING_BUDGET, seed=seed)
        best = max(best, float((method.predict(TestScan(image)) == mask).mean()))
        if best > constant:
            return
    raise Broken(
        f"after {LEARNING_BUDGET.steps} steps it labels {best:.0%} of the pixels of bright discs correctly; it must be more "
        f"than with one class everywhere, {constant:.0%}"
    )


def gradients_reach_every_parameter(candidate: Candidate) -> None:
    """Each trainable parameter of `net` gets a finite, non-zero gradient in some step."""
    import torch
    from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

    reached: dict[int, torch.nn.Parameter] = {}  # kept alive, so that its id stays unique

    def record(optimiser: Optimizer, *_: Any) -> None:
        for parameter in (p for group in optimiser.param_groups for p in group["params"] if p.grad is not None):
            if not parameter.grad.isfinite().all():
                raise Broken(f"a gradient of shape {tuple(parameter.shape)} is not finite")
            if parameter.grad.any():
                reached[id(parameter)] = parameter

    hook = register_optimizer_step_pre_hook(record)
    try:
        net = getattr(candidate.fitted(candidate.data()), "net", None)
    finally:
        hook.remove()
    if not isinstance(net, torch.nn.Module):
        raise NotApplicable("it has no network in self.net")
    left = [name for name, p in net.named_parameters() if p.requires_grad and id(p) not in reached]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        raise Broken(f"{', '.join(left[:3])}{more} never get a gradient; freeze parameters that are not trained")


def is_static_if_it_says_so(candidate: Candidate) -> None:
    """With `static`, a step asks nothing of the host, and steps of a kind are the same operations: see `capture`."""
    if not vars(candidate.cls).get("static"):
        raise NotApplicable("it does not say that it is static")
    from benchmark.check.capture import Watched
    from benchmark.methods.base import optimiser_of

    method, budget = candidate.cls(), STATIC_BUDGET

    def watched(*given: Any) -> None:
        Watched(method, optimiser_of(method.net, budget, method.device), *given).train()

    method._train = watched
    refit(method, candidate.data(), budget=budget)


def agrees_with_the_cpu_on_a_gpu(candidate: Candidate) -> None:
    """Trained by worker processes on a GPU and on the CPU, it gives nearly the same predictions."""
    import torch

    if not torch.cuda.is_available():
        raise NotApplicable("no GPU")
    agree(candidate, "cuda:0", "cpu")


def agree(candidate: Candidate, one: str, other: str, least: float = 0.9) -> None:
    """Check that, after training on two devices, at least this share of the pixels gets the same label.

    It is below 1 because rounding and random numbers depend on the device.
    """
    data = candidate.data(classes=2, shapes=((6, 32, 32),) * 2)
    test = [TestScan(discs(np.random.default_rng(7), (8, 32, 32), 1, 2)[0])]
    labels = []
    with TemporaryDirectory() as folder:
        given = Path(folder, "sealed")
        given.mkdir()
        sealed.seal(given, {"train": data}, test, 2, 1)
        for number, device in enumerate((one, other)):
            labels.append(_by_a_worker(candidate.plugin, device, given, Path(folder, str(number))))
    same = float((labels[0] == labels[1]).mean())
    if same < least:
        raise Broken(f"{one} and {other} give the same label to {same:.0%} of the pixels; it must be {least:.0%} or more")


def _by_a_worker(plugin: plugins.Plugin, device: str, given: Path, out: Path) -> np.ndarray:
    """Return the labels of the first test scan, by a worker process on that device."""
    out.mkdir()
    job = {"plugin": dataclasses.asdict(plugin), "options": {}, "seed": 0, "budget": dataclasses.asdict(LEARNING_BUDGET)}
    (out / "job.json").write_text(json.dumps(job))
    task = Task(plugin.name, out / "job.json", given, out, LEARNING_BUDGET.threads, LEARNING_BUDGET.steps)
    ended = next(event for event in Local([device], 1, None, []).run(iter([task])) if event is not None)
    if ended.reason:
        raise Broken(f"on {device}: {ended.reason}")
    return np.asarray(np.load(out / "label0000.npy", allow_pickle=False))


METHOD_CHECKS: tuple[Callable[[Candidate], None], ...] = (
    constructs_without_work,
    spells_its_functions,
    claims_known_annotations,
    declares_a_known_role,
    needs_maps_that_exist,
    imports_no_data_set,
    is_blind_to_truth,
    learns_from_all_that_it_claims,
    handles_unannotated_class,
    handles_single_slice,
    repeats_itself,
    keeps_its_options,
    stays_within_its_budget,
    is_unchanged_by_snapshots,
    gradients_reach_every_parameter,
    learns,
    declares_sound_ranges,
    is_static_if_it_says_so,
    agrees_with_the_cpu_on_a_gpu,
)
