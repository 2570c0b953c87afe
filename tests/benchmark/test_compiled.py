"""Networks that are compiled for training learn what they learn without; what is traced is run by PyTorch's own code."""

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.backends.debugging import aot_eager

from benchmark.check import data_of, refit
from benchmark.methods import networks
from benchmark.plan import plugins
from benchmark.seal.contract import Budget
from benchmark.train.local import worker_environment
from benchmark.train.numerics import repeatable

STEPS = 3
CALLS = {"pce": STEPS, "procns": STEPS, "dmpls": STEPS, "mean_teacher": 2 * STEPS}  # of networks, in training


@pytest.fixture
def calls(monkeypatch):
    """The calls of compiled code so far, by graph; networks are narrow and without dropout."""
    torch._dynamo.reset()
    monkeypatch.setattr(networks, "WIDTHS", (4, 4, 4, 4))
    monkeypatch.setattr(networks, "DROPOUT", (0.0,) * 4)
    monkeypatch.setattr(F, "dropout2d", lambda maps, *_: maps)
    noted: list[object] = []
    yield noted
    torch._dynamo.reset()


def noting(noted):
    """A backend of torch.compile that notes each call."""

    def backend(graph, inputs):
        compiled = aot_eager(graph, inputs)

        def call(*inputs):
            noted.append(graph)
            return compiled(*inputs)

        return call

    return backend


def learn(name, context):
    """The losses of a method's steps, and the predictions of the first scan."""
    losses, method = [], plugins.get("method", name).load()()
    data = data_of("scribble", shapes=((2, 32, 32), (2, 32, 32)))
    with context:
        refit(
            method, data, lambda step, /, **values: losses.append(values.get("loss")), Budget(steps=STEPS, batch=2, size=32)
        )
        labels = method.predict(next(iter(data)))
    return torch.tensor([loss for loss in losses if loss is not None]), labels


@pytest.mark.parametrize("name", [pytest.param("pce", marks=pytest.mark.slow), *list(CALLS)[1:]])
def test_a_compiled_network_learns_what_it_learns_without(calls, name):
    found, labels = learn(name, repeatable("compiled", noting(calls)))
    made = len(calls)
    wanted, _ = learn(name, repeatable())
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert labels.shape == (2, 32, 32)
    assert (made, len(calls)) == (CALLS[name], CALLS[name])  # teachers, too; nothing outside the context


def test_the_u_net_is_one_graph_and_has_the_gradient_of_the_plain_one(calls):
    torch.manual_seed(0)
    net, image = networks.build("unet", 1, 3).double(), torch.rand(2, 1, 24, 16, dtype=torch.float64)
    found = []
    with repeatable("triton"):
        for call in (net, torch.compile(net, fullgraph=True, dynamic=False, backend=noting(calls))):
            net.zero_grad()
            call(image).square().mean().backward()
            found.append(torch.cat([weight.grad.flatten() for weight in net.parameters()]))
    assert len(calls) == 1
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


def test_the_compiler_makes_no_choice_by_timing():
    config = pytest.importorskip("torch._inductor.config")
    if not hasattr(config, "deterministic"):
        pytest.skip("this PyTorch has no setting for a deterministic compiler")
    with config.patch(deterministic=False), repeatable("compiled"):
        assert config.deterministic


def test_without_a_gpu_the_losses_are_those_of_torch_to_the_bit(calls):
    assert torch.equal(learn("gated_crf", repeatable("triton"))[0], learn("gated_crf", repeatable())[0])


def test_a_worker_gets_the_folder_of_compiled_code(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/somewhere")
    assert worker_environment("cuda:0", 1, [])["TORCHINDUCTOR_CACHE_DIR"] == "/somewhere"
