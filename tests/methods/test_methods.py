"""Facts of single methods; what all methods share is checked for every one of them by benchmark.check."""

import numpy as np
import pytest
import torch

from benchmark.methods.base import Batch, ramp
from benchmark.methods.losses import entropy, intensity_variance, partial_cross_entropy, partial_dice
from benchmark.methods.mean_teacher import MeanTeacher
from benchmark.methods.prior import Prior
from benchmark.plan import plugins
from benchmark.seal.contract import Budget, TestScan, WeakData, WeakScan
from tests.support.losses import loss_at


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return Batch(torch.rand(2, 1, 32, 32), torch.randint(1, 8, (2, 32, 32)).int(), torch.arange(2), None)


def built(name, **options):
    """A method with its network, ready for `loss`; dropout is off, so that two passes agree."""
    method = plugins.configure(plugins.get("method", name).load(), options)
    torch.manual_seed(0)
    method.rng = np.random.default_rng(0)
    method.budget = Budget(steps=100, size=32)
    method.build(1, 3, method.budget)
    method.net.eval()
    return method


EXPECTED = {
    "pce": lambda z, b: partial_cross_entropy(z, b.allowed),
    "pce_dice": lambda z, b: 0.5 * partial_cross_entropy(z, b.allowed) + 0.5 * partial_dice(z, b.allowed),
    "entropy": lambda z, b: partial_cross_entropy(z, b.allowed) + 0.1 * entropy(z.softmax(1)),
    "intensity_variance": lambda z, b: (
        partial_cross_entropy(z, b.allowed) + 0.1 * ramp(0.5) * intensity_variance(z.softmax(1), b.image)
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_loss_is_the_published_sum(name, batch):
    method = built(name)
    torch.testing.assert_close(loss_at(method, batch, 0.5), EXPECTED[name](method.net(batch.image), batch))


@pytest.mark.parametrize("name", ["mean_teacher", "ustm"])
def test_the_teacher_is_the_average_of_the_student(name, batch):
    """After the first step it is the student; then it keeps half, two thirds, ... up to 99 %."""
    method = built(name)
    student, teacher = next(method.net.parameters()), next(method.teacher.parameters())
    with torch.no_grad():
        for step, (value, expected) in enumerate([(3.0, 3.0), (5.0, 4.0), (7.0, 5.0)]):
            student.fill_(value)
            batch.numbers = method.numbers(step)
            method.after_step(batch, 0.0)
            assert teacher.flatten()[0].item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["mean_teacher", "ustm"])
def test_no_gradient_reaches_the_teacher(name, batch):
    method = built(name)
    loss_at(method, batch, 0.9).backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(p.grad is not None for p in method.net.parameters())


def test_agreement_with_the_teacher_counts_more_and_more(batch):
    """With a teacher of other weights the loss increases with progress; the term of the labels is constant."""
    method = built("mean_teacher")
    assert isinstance(method, MeanTeacher)
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.mul_(3)
    method.teacher.eval()
    early, late = (loss_at(method, batch, progress).item() for progress in (0.0, 1.0))
    assert late > early


def test_the_prior_never_looks_at_an_image():
    rng = np.random.default_rng(0)
    allowed = np.full((3, 24, 24), 3, np.uint8)
    allowed[:, 10:14, 10:14], allowed[:, 2:22, 2], allowed[:, 2:22, 21] = 2, 1, 1
    predictions = []
    for _ in range(2):
        data = WeakData([WeakScan(rng.random((3, 1, 24, 24), np.float32), allowed)], 2, 1)
        method = Prior()
        method.fit(data, Budget(steps=1, size=24), lambda step, /, **values: None)
        predictions.append(method.predict(TestScan(rng.random((2, 1, 24, 24), np.float32))))
    assert np.array_equal(*predictions)
    assert predictions[0][:, 12, 12].all()
    assert not predictions[0][:, 12, 2].any()


def test_the_prior_has_an_answer_where_nobody_marked_anything():
    allowed = np.full((1, 64, 64), 3, np.uint8)
    allowed[0, 0, 0], allowed[0, 1, 0:2] = 2, 1
    method = Prior()
    data = WeakData([WeakScan(np.zeros((1, 1, 64, 64), np.float32), allowed)], 2, 1)
    method.fit(data, Budget(steps=1, size=64), lambda step, /, **values: None)
    assert method.predict(TestScan(np.zeros((1, 1, 64, 64), np.float32)))[0, 63, 63] == 0


def test_every_group_names_methods_that_exist():
    for names in plugins.groups().values():
        assert set(names) <= set(plugins.find("method"))
