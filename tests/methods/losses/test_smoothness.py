import math

import pytest
import torch

from benchmark.methods.losses import entropy, total_variation
from tests.support.golden_vectors import Golden, families


@pytest.mark.parametrize("name", families("entropy"))
def test_entropy_equals_the_golden_one(name):
    golden = Golden(name)
    logits = golden["in_logits"].requires_grad_()
    loss = entropy(logits.softmax(1))
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["out_loss"], rtol=1e-5, atol=0, check_dtype=False)
    torch.testing.assert_close(logits.grad, golden["out_grad_logits"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", families("tv_"))
def test_total_variation_equals_the_golden_one(name):
    golden = Golden(name)
    logits = golden["in_logits"].requires_grad_()
    loss = total_variation(logits.softmax(1))
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["out_loss_foreground"], rtol=1e-5, atol=0, check_dtype=False)
    torch.testing.assert_close(logits.grad, golden["out_grad_logits_foreground"], rtol=0, atol=1e-7)


def test_entropy_is_one_for_alike_classes_and_zero_for_certain_ones():
    assert entropy(torch.full((1, 4, 2, 2), 0.25)).item() == pytest.approx(1, abs=1e-4)
    assert entropy(torch.eye(4).reshape(1, 4, 2, 2)).item() == pytest.approx(0, abs=1e-4)


def test_entropy_by_hand():
    probs = torch.tensor([0.9, 0.1]).reshape(1, 2, 1, 1)
    by_hand = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    assert entropy(probs).item() == pytest.approx(by_hand, abs=1e-5)


def slow_total_variation(probs):
    """Opening minus erosion with loops over pixels and their 3x3 windows."""
    n, k, h, w = probs.shape
    total = 0.0
    for i in range(n):
        for c in range(1, k):

            def window(plane, y, x):
                return plane[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]

            eroded = torch.tensor([[window(probs[i, c], y, x).min() for x in range(w)] for y in range(h)])
            opened = torch.tensor([[window(eroded, y, x).max() for x in range(w)] for y in range(h)])
            total += (opened - eroded).clamp(min=0).sum()
    return total / (n * (k - 1) * h * w)


def test_total_variation_equals_a_slow_loop():
    torch.manual_seed(0)
    probs = torch.randn(2, 3, 6, 5).softmax(1)
    torch.testing.assert_close(total_variation(probs), slow_total_variation(probs))


def test_a_flat_prediction_has_no_variation():
    assert total_variation(torch.full((1, 2, 6, 6), 0.5)).item() == 0


@pytest.mark.parametrize("loss", [entropy, total_variation])
def test_gradients_are_right(loss):
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z.softmax(1)), logits)
