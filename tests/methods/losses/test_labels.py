import math

import pytest
import torch

from benchmark.methods.losses import partial_cross_entropy, partial_dice
from tests.support.golden_vectors import Golden, families


@pytest.mark.parametrize("name", families("partial_ce"))
def test_partial_cross_entropy_equals_the_golden_one(name):
    golden = Golden(name)
    logits = golden["in_logits"].requires_grad_()
    loss = partial_cross_entropy(logits, golden.allowed("in_label", logits.shape[1]))
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["out_loss"], rtol=0, atol=1e-6, check_dtype=False)
    torch.testing.assert_close(logits.grad, golden["out_grad_logits"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", families("dice_"))
def test_partial_dice_equals_the_golden_one(name):
    golden = Golden(name)
    logits = golden["in_logits"].requires_grad_()
    loss = partial_dice(logits, golden.allowed("in_label", logits.shape[1]))
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["out_loss_partial_f64"], rtol=0, atol=1e-6, check_dtype=False)
    torch.testing.assert_close(logits.grad, golden["out_grad_logits_partial_f64"], rtol=0, atol=1e-7, check_dtype=False)


def test_a_set_of_classes_shares_their_probability():
    """Three classes of probability 1/2, 1/4, 1/4; {1, 2} is allowed: -log(1/2)."""
    logits = torch.tensor([2.0, 1.0, 1.0]).log().reshape(1, 3, 1, 1)
    assert partial_cross_entropy(logits, torch.tensor([[[6]]])).item() == pytest.approx(math.log(2))


def test_cross_entropy_by_hand_over_pixels_that_say_something():
    """Of two pixels one is open; the other has probability 1/4 for its class."""
    logits = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log().T.reshape(1, 2, 1, 2)
    assert partial_cross_entropy(logits, torch.tensor([[[2, 3]]])).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("loss", [partial_cross_entropy, partial_dice])
def test_without_any_label_the_loss_is_zero_and_has_a_gradient(loss):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((2, 4, 4), 7))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", [partial_cross_entropy, partial_dice])
def test_classes_and_samples_may_be_reordered(loss):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 5, 5), torch.randint(0, 4, (2, 5, 5))
    order = torch.tensor([2, 0, 1])

    def sets(labels):
        return torch.where(labels == 3, 7, 1 << labels.clamp(max=2))

    renamed = torch.where(labels == 3, 3, order.argsort()[labels.clamp(max=2)])
    value = loss(logits, sets(labels))
    torch.testing.assert_close(loss(logits[:, order], sets(renamed)), value)
    torch.testing.assert_close(loss(logits.flip(0), sets(labels).flip(0)), value)


@pytest.mark.parametrize("loss", [partial_cross_entropy, partial_dice])
def test_gradients_are_right(loss):
    torch.manual_seed(0)
    allowed = torch.randint(1, 8, (1, 4, 4))
    logits = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z, allowed), logits)


def test_sets_of_many_classes():
    logits = torch.zeros(1, 31, 1, 1)
    allowed = torch.tensor([[[1 << 30]]], dtype=torch.int32)
    assert partial_cross_entropy(logits, allowed).item() == pytest.approx(math.log(31))
