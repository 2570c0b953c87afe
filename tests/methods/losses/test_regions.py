import math

import pytest
import torch

from benchmark.methods.losses.regions import intensity_variance, mumford_shah
from tests.support.golden_vectors import Golden, families

LOSSES = [mumford_shah, intensity_variance]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", families("mumford_shah"))
def test_mumford_shah_equals_the_golden_one(name, dtype):
    golden = Golden(name)
    logits = golden["in_logits"].to(dtype).requires_grad_()
    loss = mumford_shah(logits.softmax(1), golden["in_image"])
    loss.backward()
    rtol = 1e-9 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(loss.detach(), golden["out_loss_mean_pixel_f64"], rtol=rtol, atol=0, check_dtype=False)
    torch.testing.assert_close(logits.grad, golden["out_grad_logits_mean_pixel_f64"], rtol=0, atol=1e-7, check_dtype=False)


@pytest.mark.parametrize("name", families("intensity_variance"))
def test_intensity_variance_equals_the_negative_of_the_golden_one(name):
    golden = Golden(name)
    logits = golden["in_logits"].requires_grad_()
    loss = intensity_variance(logits.softmax(1), golden["in_image"])
    loss.backward()
    torch.testing.assert_close(loss.detach(), -golden["out_loss"], rtol=0, atol=1e-6)
    torch.testing.assert_close(logits.grad, -golden["out_grad_logits"], rtol=0, atol=1e-7)


def slow_mumford_shah(probs, image):
    """The formula, pixel by pixel."""
    n, k, h, w = probs.shape
    total = 0.0
    for i in range(n):
        for c in range(k):
            p = probs[i, c]
            for channel in image[i]:
                mean = (p * channel).sum() / p.sum()
                total += sum(p[y, x] * (channel[y, x] - mean) ** 2 for y in range(h) for x in range(w))
            total += sum(abs(p[y + 1, x] - p[y, x]) for y in range(h - 1) for x in range(w))
            total += sum(abs(p[y, x + 1] - p[y, x]) for y in range(h) for x in range(w - 1))
    return total / (n * h * w)


def slow_intensity_variance(probs, image):
    """Each class and channel of each sample on its own."""
    within, between = [], []
    for p, channels in zip(probs, image, strict=True):
        for channel in channels:
            within += [(p_c * channel).std() for p_c in p]
            between.append(torch.stack([(p_c * channel).mean() for p_c in p]).std())
    return torch.stack(within).mean() - torch.stack(between).mean()


@pytest.mark.parametrize(
    ("loss", "slow"), [(mumford_shah, slow_mumford_shah), (intensity_variance, slow_intensity_variance)]
)
@pytest.mark.parametrize(("channels", "shape"), [(1, (4, 5)), (3, (3, 4)), (2, (1, 6))])
def test_each_equals_a_slow_loop(loss, slow, channels, shape):
    torch.manual_seed(0)
    probs = torch.randn(2, 3, *shape, dtype=torch.float64).softmax(1)
    image = torch.rand(2, channels, *shape, dtype=torch.float64)
    assert loss(probs, image).item() == pytest.approx(slow(probs, image).item(), rel=1e-9)


def two_halves(left):
    """Certain probabilities, the first class on the left, and an image that is dark there and bright on the right."""
    probs = torch.zeros(1, 2, 4, 8)
    probs[:, 0, :, :left] = probs[:, 1, :, left:] = 1
    image = torch.zeros(1, 1, 4, 8)
    image[..., 4:] = 1
    return probs, image


def test_mumford_shah_of_even_classes_is_the_length_of_their_boundary():
    """Each of both classes changes by 1 in four rows, of 32 pixels."""
    assert mumford_shah(*two_halves(4)).item() == pytest.approx(2 * 4 / 32)


def test_the_boundary_belongs_where_the_image_changes():
    assert mumford_shah(*two_halves(4)) < min(mumford_shah(*two_halves(left)) for left in (2, 3, 5, 6))


def test_intensity_variance_by_hand():
    """Signals are 0, and 1 in half of 32 pixels: deviations 0 and sqrt(8 / 31), means 0 and 1/2."""
    expected = (0 + math.sqrt(8 / 31)) / 2 - 0.5 / math.sqrt(2)
    assert intensity_variance(*two_halves(4)).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_classes_and_samples_may_be_reordered(loss):
    torch.manual_seed(0)
    probs, image = torch.randn(3, 4, 5, 6).softmax(1), torch.rand(3, 2, 5, 6)
    value = loss(probs, image)
    torch.testing.assert_close(loss(probs[:, [2, 0, 3, 1]], image), value)
    torch.testing.assert_close(loss(probs.flip(0), image.flip(0)), value)


@pytest.mark.parametrize("loss", LOSSES)
def test_twice_the_batch_is_as_strong(loss):
    torch.manual_seed(0)
    probs, image = torch.randn(2, 3, 5, 6).softmax(1), torch.rand(2, 1, 5, 6)
    torch.testing.assert_close(loss(probs.repeat(2, 1, 1, 1), image.repeat(2, 1, 1, 1)), loss(probs, image))


def test_channels_add_up_or_are_averaged():
    torch.manual_seed(0)
    probs, image = torch.full((1, 2, 5, 6), 0.5), torch.rand(1, 1, 5, 6)
    grey = image.repeat(1, 3, 1, 1)
    torch.testing.assert_close(mumford_shah(probs, grey), 3 * mumford_shah(probs, image))
    torch.testing.assert_close(intensity_variance(probs, grey), intensity_variance(probs, image))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("level", [0.0, 0.5])
@pytest.mark.parametrize("absent", [0.0, 1e2, 1e4])
def test_flat_images_and_absent_classes_have_a_finite_gradient(loss, level, absent):
    """At 1e4 the second class has a probability of exactly 0, at 1e2 one that single precision can hardly hold."""
    logits = torch.zeros(1, 3, 6, 6)
    logits[:, 1] = -absent
    logits.requires_grad_()
    value = loss(logits.softmax(1), torch.full((1, 1, 6, 6), level))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("absent", [20.0, 45.0, 90.0, 1e4])
def test_a_vanishing_class_has_a_finite_gradient(loss, absent):
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 6, 6)
    logits[:, 1] -= absent
    logits.requires_grad_()
    loss(logits.softmax(1), torch.rand(1, 1, 6, 6)).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() < 10


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_right(loss):
    torch.manual_seed(0)
    image = torch.rand(2, 2, 4, 5, dtype=torch.float64)
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z.softmax(1), image), logits)


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_single(loss):
    torch.manual_seed(0)
    probs, image = torch.randn(1, 2, 8, 8).softmax(1), torch.rand(1, 1, 8, 8)
    result = loss(probs.bfloat16(), image.bfloat16())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, loss(probs, image), rtol=0.05, atol=1e-3)
    exact = loss(probs, image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(probs, image), exact)
