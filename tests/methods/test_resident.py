import copy
from dataclasses import dataclass
from typing import ClassVar

import albumentations as A
import cv2
import numpy as np
import pytest
import torch

from benchmark.check import data_of
from benchmark.datasets.forms import learnt
from benchmark.methods import resident
from benchmark.methods.augment import Augmentation, _pipeline
from benchmark.methods.base import optimiser_of
from benchmark.methods.batch import write_row
from benchmark.methods.losses import partial_cross_entropy
from benchmark.methods.pce import PartialCrossEntropy
from benchmark.methods.turns import rotated_labels, rotated_maps, sources
from benchmark.plan import plugins
from benchmark.seal.contract import IGNORE, Budget
from benchmark.train.worker import seed_everything

STATIC = [name for name in sorted(plugins.groups()["all"]) if vars(plugins.get("method", name).load()).get("static")]
KINDS = [("turns45", False), ("turns45", True), ("wsl4mis", False), ("wsl4mis", True), ("none", False)]


NEAR = 1e-4 if int(cv2.__version__.split(".")[0]) >= 5 else 0.04  # OpenCV 4 rounds coordinates to 1/32 px


class OnTheDevice(Augmentation):
    """The augmentation by the operations of a GPU, image by image."""

    def _sources(self, step, row, size):
        return sources(torch.tensor(self.turn(step, row)[None], dtype=torch.float32), size, linear=self.linear)

    def __call__(self, step, row, image, allowed):
        found = self._sources(step, row, image.shape[-1])
        labels = rotated_labels(torch.tensor(allowed)[None], found, self.everything)
        return rotated_maps(torch.tensor(image)[None], found)[0].numpy(), labels[0].numpy()

    def memory(self, step, row, memory):
        found, given = self._sources(step, row, memory.shape[-1]), torch.tensor(memory)[None]
        return (rotated_maps(given, found) if memory.ndim == 3 else rotated_labels(given, found, self.fill))[0].numpy()


def of_kind(kind, keep_axes, seed=0, fill=IGNORE, device=False):
    return (OnTheDevice if device else Augmentation)(seed, 3, fill, kind, keep_axes=keep_axes)


@pytest.mark.parametrize(("kind", "keep_axes"), KINDS[:4])
def test_a_turn_is_what_albumentations_does_to_points(kind, keep_axes):
    pipeline = A.Compose(
        _pipeline(kind, keep_axes=keep_axes).transforms, keypoint_params=A.KeypointParams("xy", remove_invisible=False)
    )
    augmentation = of_kind(kind, keep_axes, seed=5)
    augmentation._seeded(0, 0)
    augmentation._local.pipeline = pipeline
    for step in range(200):
        turn = augmentation.turn(step, 1)
        for transform, seed in augmentation._seeded(step, 1):
            transform.set_random_seed(seed)
        points = np.asarray(
            pipeline(image=np.zeros((65, 65, 1), np.uint8), keypoints=[(32, 32), (42, 32), (32, 42)])["keypoints"]
        )
        there = (points[1:, :2] - points[0, :2]).T / 10  # columns: where x and y of the image go
        assert turn @ there == pytest.approx(np.eye(2), abs=1e-5)


@pytest.mark.parametrize("size", [32, 49])
@pytest.mark.parametrize(("kind", "keep_axes"), KINDS)
def test_the_device_augments_as_albumentations_does(kind, keep_axes, size):
    rng = np.random.default_rng(size)
    image, allowed = rng.random((3, size, size), np.float32), rng.integers(1, 8, (size, size)).astype(np.uint8)
    labels = rng.choice([0, 1, 2, IGNORE], (size, size)).astype(np.uint8)
    here, there = of_kind(kind, keep_axes), of_kind(kind, keep_axes, device=True)
    differing = []
    for step in range(60):
        exact = np.array_equal(abs(here.turn(step, 0)) > 0.5, abs(here.turn(step, 0)))  # no rotation by an angle
        pairs = [*zip(here(step, 0, image, allowed), there(step, 0, image, allowed), strict=True)]
        pairs += [
            (here.memory(step, 0, given), there.memory(step, 0, given)) for given in (labels, image.astype(np.float16))
        ]
        for one, other in pairs:
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert not exact or np.array_equal(one, other)
        if here.linear:
            assert abs(pairs[0][0] - pairs[0][1]).max() < NEAR
        differing += [(one != other).mean() for one, other in pairs[1:3]]
    assert np.mean(differing) < 2e-4  # a rotated pixel between two others may take either


def trained(name, trainer):
    """Weights and log of a method whose loop is replaced."""
    cls = plugins.get("method", name).load()
    forms, method, log = learnt(cls.annotations), cls(), []

    def train(augmentation, order):
        turned = OnTheDevice(
            augmentation.seed, 3, augmentation.fill, augmentation.kind, keep_axes=augmentation.keep_axes
        )  # fmt: skip
        trainer(method, turned, order)

    method._train = train
    seed_everything(3)
    data = data_of("scribble" if "scribble" in forms else forms[0], shapes=((4, 32, 32), (3, 30, 34)))
    method.fit(data, Budget(steps=8, batch=2, size=32), lambda step, /, **values: log.append((step, values)))
    return method, log


def by_the_loop(method, augmentation, order):
    type(method)._train(method, augmentation, order)


def by_tables(method, augmentation, order):
    optimiser = optimiser_of(method.net, method.budget)
    for group in optimiser.param_groups:
        group["lr"] = torch.tensor(group["lr"])
    resident.train(method, optimiser, augmentation, order)


@pytest.mark.parametrize("name", STATIC)
def test_a_training_from_tables_equals_the_loop_to_the_bit(name):
    one, log = trained(name, by_the_loop)
    other, again = trained(name, by_tables)
    assert log == again
    weights = [method.net.state_dict() for method in (one, other)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_the_fused_optimisers_train_as_the_others_do():
    for optimiser in ("sgd", "nesterov", "adamw"):
        nets, given = [torch.nn.Linear(5, 3)], Budget(optimiser=optimiser, lr=0.1)
        nets.append(copy.deepcopy(nets[0]))
        steppers = [optimiser_of(nets[0], given), optimiser_of(nets[1], given, torch.device("cpu"))]
        inputs = torch.rand(6, 4, 5)
        for net, stepper in zip(nets, steppers, strict=True):
            for batch in inputs:
                stepper.zero_grad(set_to_none=True)
                net(batch).square().sum().backward()
                stepper.step()
        assert torch.allclose(nets[0].weight, nets[1].weight, rtol=1e-4, atol=1e-6), optimiser


def test_a_memory_that_is_set_before_the_training_is_in_the_first_step(monkeypatch):
    seen = []

    def build(self, channels, classes, budget):
        super(PartialCrossEntropy, self).build(channels, classes, budget)
        self.memory = torch.zeros(len(self.images), budget.size, budget.size, dtype=torch.uint8)

    def loss(self, batch, progress):
        seen.append(batch.memory is not None)
        return partial_cross_entropy(self.net(batch.image), batch.allowed)

    monkeypatch.setattr(PartialCrossEntropy, "build", build)
    monkeypatch.setattr(PartialCrossEntropy, "loss", loss)
    for trainer in (by_the_loop, by_tables):
        trained("pce", trainer)
    assert seen == [True] * 16


def test_the_memory_follows_the_method_into_the_same_copy():
    method, _ = trained("pce", lambda method, *given: setattr(method, "given", given))
    made = resident.Resident(method, optimiser_of(method.net, method.budget, method.device), *method.given)
    made._copy_memory()
    assert made.memory is None
    method.memory = torch.zeros(7, 32, 32, dtype=torch.uint8)
    made._copy_memory()
    first = made.memory
    method.memory[2] = 1
    made._copy_memory()
    assert made.memory is first
    assert torch.equal(first, method.memory)
    method.memory = torch.full_like(method.memory, 2)
    made._copy_memory()
    assert made.memory is first
    assert torch.equal(first, method.memory)


def test_a_subclass_is_not_static_unless_it_says_so():
    @dataclass
    class Own(PartialCrossEntropy):
        pass

    @dataclass
    class Said(PartialCrossEntropy):
        static: ClassVar[bool] = True

    assert [bool(vars(cls).get("static")) for cls in (PartialCrossEntropy, Own, Said)] == [True, False, True]


def test_a_row_is_written_where_there_is_one():
    table = torch.zeros(3, 2, dtype=torch.float64)
    for row in (1, 5, -1):
        write_row(table, torch.tensor(row), torch.tensor([1.0, 2.0]))
    assert table.tolist() == [[0, 0], [1, 2], [0, 0]]
