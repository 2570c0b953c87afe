"""On a GPU: losses and gradients as on the CPU, methods that learn the same there, and runs that can be made again."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.check import data_of, refit
from benchmark.check.methods import Candidate, agrees_with_the_cpu_on_a_gpu
from benchmark.datasets.forms import learnt
from benchmark.methods.losses import gated_crf, partial_cross_entropy
from benchmark.methods.resident import Resident
from benchmark.plan import plugins
from benchmark.seal.contract import Budget
from benchmark.train.numerics import repeatable
from benchmark.train.worker import seed_everything
from tests.methods.losses.test_all import LOSSES
from tests.support import kernels as compare
from tests.support.kernels import LARGEST

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
METHODS = {name: plugins.get("method", name) for name in sorted(plugins.groups()["all"])}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("side", [24, 96])  # the dense CRF filters small images exactly, large ones on a grid
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_those_of_the_cpu(name, side, dtype):
    torch.manual_seed(0)
    logits, image = torch.randn(2, 3, side, side, dtype=dtype), torch.rand(2, 1, side, side, dtype=dtype)
    allowed = torch.randint(1, 8, (2, side, side)).int()
    found = {}
    for device in ("cpu", "cuda"):
        z = logits.to(device, copy=True).requires_grad_()
        loss = LOSSES[name](z, image.to(device), allowed.to(device))
        loss.backward()
        found[device] = loss.detach().cpu(), z.grad.cpu()
    for on_gpu, on_cpu in zip(found["cuda"], found["cpu"], strict=True):
        assert (on_gpu - on_cpu).norm() <= (1e-9 if dtype == torch.float64 else 1e-4) * on_cpu.norm()


@pytest.mark.parametrize("name", METHODS)
def test_methods_learn_there_what_they_learn_on_the_cpu(name):
    agrees_with_the_cpu_on_a_gpu(Candidate(METHODS[name], METHODS[name].load()))


@pytest.mark.filterwarnings("ignore:.*deterministic")  # as in a worker, where they go to its log
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", METHODS)
def test_a_second_training_gives_the_same_labels(name, precision):
    cls = METHODS[name].load()
    annotation = "scribble" if "scribble" in (known := learnt(cls.annotations)) else known[0]
    data, budget = data_of(annotation, shapes=((12, 64, 64),)), Budget(steps=30, batch=4, size=64, precision=precision)
    labels = []
    for _ in range(2):
        method = cls()
        with repeatable():
            refit(method, data, budget=budget)
        labels.append(np.concatenate([method.predict(scan) for scan in data]))
    assert np.array_equal(*labels)


STATIC = [name for name in METHODS if vars(METHODS[name].load()).get("static")]


@pytest.mark.filterwarnings("ignore:.*deterministic")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", STATIC)
def test_a_graph_learns_to_the_bit_what_its_steps_learn_one_by_one(monkeypatch, name, precision):
    cls = METHODS[name].load()
    annotation = "scribble" if "scribble" in (known := learnt(cls.annotations)) else known[0]
    data, budget = data_of(annotation, shapes=((12, 64, 64),)), Budget(steps=40, batch=4, size=64, precision=precision)
    weights, logs, captured = [], [], []
    capture = Resident._captured
    monkeypatch.setattr(Resident, "_captured", lambda self, kind: captured.append(kind) or capture(self, kind))
    for graphs in (True, False):
        monkeypatch.setattr(Resident, "graphs", graphs)
        method, log = cls(), []
        with repeatable():
            refit(method, data, lambda step, /, log=log, **values: log.append((step, values)), budget)
        weights.append(method.net.state_dict())
        logs.append(log)
    assert captured
    assert logs[0] == logs[1]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize("dtype", LARGEST, ids=str)
def test_kernels_in_triton_are_the_plain_functions(dtype):
    found = [compare.resizing(how, align, 3, dtype, 0, "cuda") for how in compare.RESIZINGS for align in (False, True)]
    found += [compare.cross_entropy(classes, (32, 33), dtype, 3.0, 0, "cuda") for classes in (2, 4, 16)]
    if dtype != torch.bfloat16:
        found += [compare.agreement(case, dtype, 0, "cuda") for case in compare.PAIRS]
    assert max(map(max, found)) < LARGEST[dtype]


def test_kernels_in_triton_give_the_same_bits_again():
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        logits, image = torch.randn(4, 4, 96, 96, device="cuda", requires_grad=True), torch.rand(4, 1, 96, 96, device="cuda")
        allowed = torch.randint(1, 16, (4, 96, 96), device="cuda")
        with repeatable("triton"):
            probs = F.interpolate(logits, scale_factor=0.5, mode="bilinear", align_corners=True).softmax(1)
            loss = gated_crf(probs, image[..., ::2, ::2]) + partial_cross_entropy(logits, allowed)
            loss.backward()
        found.append(torch.cat([loss.detach()[None], logits.grad.flatten()]))
    assert torch.equal(*found)


@pytest.mark.filterwarnings("ignore")  # the compiler's, too
@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        *((name, "triton") for name in ("pce", "gated_crf", "procns", "dense_crf", "tree_energy")),
        *((name, "compiled") for name in ("pce", "procns", "dmpls", "mean_teacher")),
    ],
)
def test_a_second_training_with_these_kernels_gives_the_same_labels(name, kernels):
    data, budget = data_of("scribble", shapes=((12, 64, 64),)), Budget(steps=30, batch=4, size=64, precision="bf16")
    labels = []
    for _ in range(2):
        method = METHODS[name].load()()
        with repeatable(kernels):
            refit(method, data, budget=budget)
        labels.append(np.concatenate([method.predict(scan) for scan in data]))
    assert np.array_equal(*labels)


def test_fp32_is_not_rounded_to_19_bits():
    seed_everything(0)
    image, weight = torch.randn(2, 64, 32, 32), torch.randn(64, 64, 3, 3)
    exact = torch.nn.functional.conv2d(image.double(), weight.double())
    found = torch.nn.functional.conv2d(image.cuda(), weight.cuda()).cpu().double()
    assert (found - exact).norm() <= 1e-5 * exact.norm()  # TF32 gives 3e-4
