"""bf16 without instructions for it: the same rounding, in both directions, and only where it is asked for and missing."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from benchmark import plugins, worker
from benchmark.bf16 import InFloat32, precision
from benchmark.methods.networks import build

ULP = 2.0**-8  # of bf16, relative: sums in another order may round to the neighbour


def halved(tensor):
    """A tensor rounded to bf16, in double precision."""
    return tensor.detach().bfloat16().double()


@pytest.mark.parametrize(
    ("function", "image", "weight", "options"),
    [
        (F.conv2d, (2, 3, 9, 8), (4, 3, 3, 3), {"padding": 1, "stride": 2}),
        (F.conv_transpose2d, (2, 3, 5, 4), (3, 4, 2, 2), {"stride": 2}),
        (F.conv1d, (2, 3, 9), (4, 3, 3), {}),
        (F.linear, (2, 7, 3), (4, 3), {}),
    ],
)
def test_rounds_operands_and_results_alone(function, image, weight, options):
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(shape, generator=generator, requires_grad=True) for shape in (image, weight, (4,))]
    with torch.autocast("cpu", torch.bfloat16), InFloat32():
        result = function(leaves[0], leaves[1], bias=leaves[2], **options)
    assert result.dtype == torch.bfloat16
    slope = torch.randn(result.shape, generator=generator).bfloat16()
    result.backward(slope)

    exact = [halved(leaf).requires_grad_() for leaf in leaves]
    expected = function(exact[0], exact[1], bias=exact[2], **options)
    expected.backward(slope.double())
    torch.testing.assert_close(result.double(), halved(expected), rtol=ULP, atol=1e-6)
    for leaf, twin in zip(leaves, exact, strict=True):
        assert leaf.grad.dtype == torch.float32
        torch.testing.assert_close(leaf.grad.double(), halved(twin.grad), rtol=ULP, atol=1e-6)


def test_a_network_is_as_far_from_fp32_as_with_own_convolutions():
    def gradient(*contexts):
        torch.manual_seed(0)
        net, image = build("unet", 1, 3), torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
        for context in contexts:
            context.__enter__()
        loss = net(image).float().square().mean()
        for context in reversed(contexts):
            context.__exit__(None, None, None)
        loss.backward()
        return torch.cat([p.grad.flatten() for p in net.parameters()])

    full = gradient()
    own = gradient(torch.autocast("cpu", torch.bfloat16))
    ours = gradient(torch.autocast("cpu", torch.bfloat16), InFloat32())
    far = (own - full).norm() / full.norm()
    assert 0 < (ours - full).norm() / full.norm() < 1.5 * far < 0.3


def test_outside_of_autocast_nothing_changes():
    image, weight = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3)
    with InFloat32():
        assert torch.equal(F.conv2d(image, weight), torch.conv2d(image, weight))
        assert F.conv2d(image, weight).dtype == torch.float32
        with torch.autocast("cpu", torch.bfloat16):
            assert F.conv2d(image.double(), weight.double()).dtype == torch.float64  # which autocast leaves alone


@pytest.mark.parametrize(
    ("name", "supported", "gpu", "emulated"),
    [
        ("bf16", False, False, True),
        ("bf16", True, False, False),
        ("bf16", False, True, False),
        ("fp32", False, False, False),
    ],
)
def test_only_where_it_is_asked_for_and_missing(monkeypatch, name, supported, gpu, emulated):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert isinstance(precision(name), TorchFunctionMode) == emulated


@pytest.mark.parametrize(("name", "emulated"), [("bf16", True), ("fp32", False)])
def test_a_worker_trains_in_it(monkeypatch, tmp_path, name, emulated):
    class Stop(Exception):
        """It has been looked at."""

    def fit(*_):
        with torch.autocast("cpu", torch.bfloat16):
            result = F.linear(torch.ones(1, 1, requires_grad=True), torch.ones(1, 1))
        raise Stop("ToCopyBackward" in type(result.grad_fn).__name__)  # what it was rounded by

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(worker, "fit", fit)
    plugin = dataclasses.asdict(plugins.get("method", "pce"))
    job = {"plugin": plugin, "options": {}, "seed": 0, "budget": {"precision": name}}
    with pytest.raises(Stop) as stopped:
        worker.work(job, tmp_path, tmp_path)
    assert stopped.value.args == (emulated,)
