"""Terms act on the same anatomy as strongly at every network size."""

import math

import numpy as np
import pytest
import torch

from benchmark.methods.base import Batch
from benchmark.methods.losses import dense_crf, gated_crf, mumford_shah, partial_cross_entropy, prsa, total_variation
from benchmark.methods.procns import ProCNS
from benchmark.methods.scale import kernel_mass, scaled_window
from benchmark.plan import plugins
from benchmark.seal.contract import IGNORE, Budget
from tests.support.losses import loss_at

SIZES = (64, 96, 128, 192, 384)
TERMS = ("gated_crf", "dense_crf", "mumford_shah", "total_variation", "entropy", "intensity_variance")


class Logits(torch.nn.Module):
    """A "network" that returns given logits."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits.requires_grad_()

    def forward(self, image):
        return self.logits


def drawn(size, blur=0.03, certain=False):
    """Grey image (1, 1, size, size) of two nested shapes, and their logits (1, 3, size, size), with contours of that width.

    Or certain logits on an image of one grey.
    """
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    angle, centre = torch.atan2(y + 0.03, x - 0.05), torch.hypot(y + 0.03, x - 0.05)
    outer, inner = 0.25 * (1 + 0.15 * torch.cos(3 * angle)) - centre, 0.11 - centre
    image = 0.1 * torch.sin(5 * x) * torch.cos(4 * y) + 0.35 * (outer / 0.012).sigmoid() + 0.15 * (inner / 0.012).sigmoid()
    logits = torch.stack([0 * x, 4 * (outer / blur / 4).clamp(-1, 1), 6 * (inner / blur / 4).clamp(-1, 1)])
    image, logits = (0 * image, 1e6 * logits) if certain else (image, logits)
    return 0.3 + image[None, None].float(), logits[None].float()


def pull(name, size, blur=0.03, certain=False, **options):
    """The method's term, and the L1 norm of its gradient by the logits."""
    method = plugins.configure(plugins.get("method", name).load(), options)
    image, logits = drawn(size, blur, certain)
    method.net = Logits(logits)
    method.budget = Budget(steps=2)
    loss = loss_at(method, Batch(image, torch.full((1, size, size), 7), torch.arange(1), None), 0.5)
    loss.backward()
    return np.array([loss.item(), method.net.logits.grad.abs().sum().item()])


@pytest.mark.parametrize("blur", [0.08, 0.005])
@pytest.mark.parametrize("name", TERMS)
def test_a_term_pulls_as_hard_at_every_size(name, blur):
    """Nothing is labelled, so the loss is the term. Contours are as wide as 8 % and half a percent of the image."""
    there = pull(name, 256, blur)
    for size in SIZES:
        np.testing.assert_allclose(pull(name, size, blur) / there, 1, atol=0.09, err_msg=str(size))


def test_contours_of_certain_predictions_cost_as_much_at_every_size_to_a_quarter():
    """The side of the window is rounded to 3, 5, 5, 9 and 17 px. In pixels, it is 2.7 times as much of an image of 96 px."""
    there = pull("gated_crf", 256, certain=True)[0]
    assert [pull("gated_crf", size, certain=True)[0] / there for size in SIZES] == pytest.approx([1] * 5, abs=0.25)
    assert pull("gated_crf", 96, certain=True, window="pixels")[0] / there == pytest.approx(2.7, abs=0.2)


def test_the_window_s_side_is_scaled_and_its_mass_made_up_for():
    sigma, radius, factor = scaled_window(6.0, 5, 96 / 256)
    assert (sigma, radius) == (2.25, 2)  # 11 px * 0.375 = 4.1 px: 5 px
    near = sum(math.exp(-(a * a + b * b) / 2 / 36) for a in range(-5, 6) for b in range(-5, 6) if (a, b) != (0, 0))
    new = sum(math.exp(-(a * a + b * b) / 2 / 2.25**2) for a in range(-2, 3) for b in range(-2, 3) if (a, b) != (0, 0))
    assert kernel_mass(6.0, 5) == pytest.approx(near)
    assert factor == pytest.approx(near / new)


def test_a_window_has_at_least_the_eight_neighbours():
    assert scaled_window(6.0, 5, 0.01)[:2] == (1.0, 1)


@pytest.mark.parametrize(
    ("name", "size", "term"),
    [
        ("gated_crf", 256, lambda p, i: 0.1 * gated_crf(p, i)),
        ("dense_crf", 513, lambda p, i: 2e-9 * dense_crf(p, i, sigma_rgb=15 / 3**0.5)),
        ("mumford_shah", 256, lambda p, i: 1e-6 * 12 * 256**2 * mumford_shah(p, i)),
        ("total_variation", 256, lambda p, i: 0.01 * total_variation(p)),
    ],
)
def test_at_the_published_size_the_loss_is_the_published_sum(name, size, term):
    image, logits = drawn(size)
    method = plugins.get("method", name).load()()
    method.net = Logits(logits)
    batch = Batch(image, torch.where(image[:, 0] > 0.6, 2, 7), torch.arange(1), None)
    assert torch.equal(
        method.loss(batch, 0.5), partial_cross_entropy(logits, batch.allowed) + term(logits.softmax(1), image)
    )


@pytest.mark.parametrize(
    ("options", "radius", "sigma"),
    [
        ({}, 2, 3.0),
        ({"window": "pixels"}, 5, 6.0),
        ({"setting": "FAZ-point"}, 2, 3.0),
        ({"setting": "ODOC-scribble"}, 1, 2.0),
        ({"setting": "Polyp-block"}, 1, 2.0),
    ],
)
def test_prsa_covers_the_anatomy_of_its_published_task(options, radius, sigma):
    """At 128 px: half of 256 px, a third of 384 px."""
    torch.manual_seed(0)
    method = plugins.configure(ProCNS, options)
    method.budget, method.device = Budget(size=128), torch.device("cpu")
    method.build(1, 3, method.budget)
    method.net.eval()
    image = drawn(128)[0]
    batch = Batch(image, torch.where(image[:, 0] > 0.6, 2, 7).int(), torch.arange(1), None)
    features = method.net.features(image)
    pairs = prsa(
        features.logits, image, batch.labels, batch.labels == IGNORE, features.encoder[8], features.decoder[2],
        sigma_xy=sigma, sigma_rgb=method.sigma, radius=radius,
    )  # fmt: skip
    factor = kernel_mass(6.0, 5) / kernel_mass(sigma, radius)
    expected = partial_cross_entropy(features.logits, batch.allowed) + 0.1 * factor * pairs.loss
    torch.testing.assert_close(loss_at(method, batch, 0.1), expected)
