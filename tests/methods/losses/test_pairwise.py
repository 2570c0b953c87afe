import math

import pytest
import torch

from benchmark.methods.losses import gated_crf
from benchmark.methods.losses.pairwise import half_window
from tests.support.golden_vectors import Golden, families


@pytest.mark.parametrize("name", families("gated_crf"))
def test_gated_crf_equals_the_golden_one(name):
    golden = Golden(name)
    logits = golden["in_logits"].requires_grad_()
    loss = gated_crf(logits.softmax(1), golden["in_image"], radius=int(golden["in_radius"]))
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["out_loss_inside_f64"], rtol=1e-5, atol=0, check_dtype=False)
    torch.testing.assert_close(logits.grad, golden["out_grad_logits"], rtol=0, atol=1e-6)


def slow_gated_crf(probs, image, sigma_xy, sigma_rgb, radius):
    """The formula, pixel by pixel."""
    n, _, h, w = probs.shape
    total = 0.0
    for i in range(n):
        for y in range(h):
            for x in range(w):
                for v in range(max(0, y - radius), min(h, y + radius + 1)):
                    for u in range(max(0, x - radius), min(w, x + radius + 1)):
                        if (v, u) != (y, x):
                            far = ((y - v) ** 2 + (x - u) ** 2) / sigma_xy**2
                            distance = float((image[i, :, y, x] - image[i, :, v, u]).square().sum()) / sigma_rgb**2
                            alike = (probs[i, :, y, x] * probs[i, :, v, u]).sum()
                            total += math.exp(-0.5 * (far + distance)) * (1 - alike)
    return total / (n * h * w)


@pytest.mark.parametrize(("channels", "radius", "shape"), [(1, 2, (5, 6)), (3, 1, (4, 4)), (1, 5, (3, 4)), (1, 3, (1, 7))])
def test_gated_crf_equals_a_slow_loop(channels, radius, shape):
    """Windows larger than the image included."""
    torch.manual_seed(0)
    probs = torch.randn(2, 3, *shape, dtype=torch.float64).softmax(1)
    image = torch.rand(2, channels, *shape, dtype=torch.float64)
    result = gated_crf(probs, image, sigma_xy=2.0, sigma_rgb=0.3, radius=radius)
    assert result.item() == pytest.approx(slow_gated_crf(probs, image, 2.0, 0.3, radius).item(), rel=1e-9)


def test_certain_and_equal_pixels_cost_nothing():
    probs = torch.zeros(1, 2, 6, 6)
    probs[:, 1] = 1
    assert gated_crf(probs, torch.rand(1, 1, 6, 6)).item() == pytest.approx(0, abs=1e-6)


def test_a_boundary_costs_more_inside_a_flat_area_than_along_an_edge():
    probs = torch.zeros(1, 2, 8, 8)
    probs[:, 0, :, :4] = probs[:, 1, :, 4:] = 1
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., 4:] = 1
    assert gated_crf(probs, edge) < 0.01 * gated_crf(probs, torch.zeros(1, 1, 8, 8))


def test_the_weight_scales():
    torch.manual_seed(0)
    probs, image = torch.rand(1, 2, 6, 6).softmax(1), torch.rand(1, 1, 6, 6)
    torch.testing.assert_close(gated_crf(probs, image, weight=3.0), 3 * gated_crf(probs, image))


def test_half_of_the_window_holds_one_of_each_pair():
    shifts = list(half_window(2))
    assert len(shifts) == 12
    assert {(-a, -b) for a, b in shifts}.isdisjoint(shifts)


def test_gradients_are_right():
    torch.manual_seed(0)
    image = torch.rand(1, 1, 4, 5, dtype=torch.float64)
    logits = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: gated_crf(z.softmax(1), image, sigma_rgb=0.5, radius=2), logits)


def test_half_precision_is_computed_in_single():
    torch.manual_seed(0)
    probs, image = torch.randn(1, 2, 8, 8).softmax(1), torch.rand(1, 1, 8, 8)
    result = gated_crf(probs.bfloat16(), image.bfloat16())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, gated_crf(probs, image), rtol=0.05, atol=0)
