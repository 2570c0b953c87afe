"""Resizing and cross-entropy of our own: PyTorch's values and gradients, whatever the size, the type and the layout."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.plan import plugins
from benchmark.seal.contract import Budget, TestScan, WeakScan
from benchmark.seal.folder import seal
from benchmark.train.numerics import cross_entropy, interpolate, repeatable
from benchmark.train.worker import work


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(
    "how", [{"size": (16, 22)}, {"size": 9}, {"size": (3, 5)}, {"scale_factor": 0.5}, {"scale_factor": (2.0, 1.7)}], ids=str
)
def test_values_and_gradients_are_pytorchs(how, align, layout):
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 8, 11, dtype=torch.float64).to(memory_format=layout)
    found = []
    for resize in (F.interpolate, interpolate):
        leaf = maps.clone().requires_grad_()
        resized = resize(leaf, **how, mode="bilinear", align_corners=align)
        slope = torch.randn(resized.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        resized.backward(slope.to(memory_format=layout))
        found.append((resized.detach(), leaf.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-12, atol=1e-12)


def test_half_precision_is_rounded_once():
    torch.manual_seed(0)
    maps, slope = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 16, 16).bfloat16()
    leaf, exact = maps.bfloat16().requires_grad_(), maps.bfloat16().double().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        interpolate(leaf, size=(16, 16), mode="bilinear", align_corners=True).backward(slope)
    F.interpolate(exact, size=(16, 16), mode="bilinear", align_corners=True).backward(slope.double())
    assert leaf.grad.dtype == torch.bfloat16
    torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=2**-8, atol=1e-6)


def test_other_modes_are_left_alone():
    maps = torch.rand(1, 2, 4, 4)
    for how in ({"size": (8, 8), "mode": "nearest"}, {"size": (2, 2), "mode": "bilinear", "antialias": True}):
        assert torch.equal(interpolate(maps, **how), F.interpolate(maps, **how))
    assert torch.equal(interpolate(maps[0], size=8, mode="linear"), F.interpolate(maps[0], size=8, mode="linear"))


@pytest.mark.parametrize("ignore", [-100, 255])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_is_pytorchs(reduction, ignore):
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[0, :2] = ignore
    found = []
    for fit in (F.cross_entropy, cross_entropy):
        logits = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
        loss = fit(logits, labels, ignore_index=ignore, reduction=reduction)
        loss.sum().backward()
        found.append((loss.detach(), logits.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_cross_entropy_with_weights_or_soft_labels_is_left_alone():
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    for target, named in ((labels, {"weight": torch.rand(3)}), (labels, {"label_smoothing": 0.1}), (logits.softmax(1), {})):
        assert torch.equal(cross_entropy(logits, target, **named), F.cross_entropy(logits, target, **named))


@pytest.mark.parametrize("gpu", [False, True])
def test_they_take_the_place_of_pytorchs_on_a_gpu_alone(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    second = F.interpolate, F.cross_entropy
    with repeatable():
        assert (F.interpolate, F.cross_entropy) == ((interpolate, cross_entropy) if gpu else second)
    assert (F.interpolate, F.cross_entropy) == second


SPY = """
import numpy as np
import torch.nn.functional as F
from benchmark.methods.base import Method
class Spy(Method):
    def fit(self, data, budget, log):
        self.report(resizing=F.interpolate.__name__)
        log(0, loss=0.0)
    def predict(self, scan):
        return np.zeros((len(scan.image), *scan.image.shape[2:]), np.uint8)
"""


def test_a_worker_puts_the_kernels_of_the_budget_in_place(tmp_path):
    (tmp_path / "spy.py").write_text(SPY)
    image, allowed = np.zeros((1, 1, 16, 16), np.float32), np.ones((1, 16, 16), np.uint8)
    (tmp_path / "sealed").mkdir()
    seal(tmp_path / "sealed", {"train": [WeakScan(image, allowed)]}, [TestScan(image)], 2, 1)
    plugin = dataclasses.asdict(plugins.get("method", str(tmp_path / "spy.py")))
    job = {"plugin": plugin, "options": {}, "seed": 0, "budget": dataclasses.asdict(Budget(kernels="triton"))}
    assert work(job, tmp_path / "sealed", tmp_path)["facts"] == {"resizing": "gathering"}
