"""What every public loss must do, and slow loops from the formula for those that only labels and probabilities enter."""

import math

import pytest
import torch

from benchmark.methods import losses
from benchmark.methods.losses.labels import possible

LOSSES = {
    "partial_cross_entropy": lambda z, image, allowed: losses.partial_cross_entropy(z, allowed),
    "partial_dice": lambda z, image, allowed: losses.partial_dice(z, allowed),
    "entropy": lambda z, image, allowed: losses.entropy(z.softmax(1)),
    "total_variation": lambda z, image, allowed: losses.total_variation(z.softmax(1)),
    "mumford_shah": lambda z, image, allowed: losses.mumford_shah(z.softmax(1), image),
    "intensity_variance": lambda z, image, allowed: losses.intensity_variance(z.softmax(1), image),
    "gated_crf": lambda z, image, allowed: losses.gated_crf(z.softmax(1), image),
    "dense_crf": lambda z, image, allowed: losses.dense_crf(z.softmax(1), image),
    "tree_energy": lambda z, image, allowed: losses.tree_energy(z.softmax(1), image, None, allowed == 7),
    "box_projection": lambda z, image, allowed: losses.box_projection(z.softmax(1), losses.boxes_of(allowed, 3)),
    "box_bags": lambda z, image, allowed: losses.box_bags(z.softmax(1), losses.boxes_of(allowed, 3)),
    "colour_pairs": lambda z, image, allowed: losses.colour_pairs(z.softmax(1), image, losses.boxes_of(allowed, 3)),
    "image_bags": lambda z, image, allowed: losses.image_bags(z.softmax(1), allowed.bitwise_or(1), 5.0),
    "prsa": lambda z, image, allowed: (
        losses.prsa(
            z, image, allowed.long() // 2, allowed == 7, image.repeat(1, 4, 1, 1)[..., ::8, ::8], image[..., ::2, ::2]
        ).loss
    ),
}


@pytest.fixture
def case():
    torch.manual_seed(0)
    return torch.randn(2, 3, 16, 24), torch.rand(2, 1, 16, 24), torch.randint(1, 8, (2, 16, 24)).int()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_single_numbers_in_single_precision_under_autocast(name, case):
    """Half-precision logits lose digits on the way in, and nothing more."""
    logits, image, allowed = case
    logits = logits.bfloat16().float()
    exact = LOSSES[name](logits, image, allowed)
    with torch.autocast("cpu", torch.bfloat16):
        found = LOSSES[name](logits.bfloat16(), image, allowed)
    assert found.shape == ()
    torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_samples_does_not_matter(name, case):
    torch.testing.assert_close(LOSSES[name](*(part.flip(0) for part in case)), LOSSES[name](*case), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_black_image_and_certain_predictions_have_finite_gradients(name, case):
    _, image, allowed = case
    logits = torch.zeros(2, 3, 16, 24)
    logits[:, 0] = 40
    logits.requires_grad_()
    loss = LOSSES[name](logits, torch.zeros_like(image), allowed)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_doubles_stay_doubles(name, case):
    logits, image, allowed = case
    loss = LOSSES[name](logits.double(), image.double(), allowed)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss.float(), LOSSES[name](logits, image, allowed), rtol=1e-4, atol=1e-5)


def pixels(logits, allowed):
    """Probabilities and allowed classes of each pixel, one after the other."""
    probs, sets = logits.softmax(1), possible(allowed, logits.shape[1])
    for n in range(len(logits)):
        for y in range(logits.shape[2]):
            for x in range(logits.shape[3]):
                yield probs[n, :, y, x].tolist(), [k for k in range(logits.shape[1]) if sets[n, k, y, x]]


def test_partial_cross_entropy_equals_a_slow_loop(case):
    logits, _, allowed = case
    terms = [-math.log(sum(p[k] for k in known)) for p, known in pixels(logits, allowed) if len(known) < 3]
    assert losses.partial_cross_entropy(logits, allowed).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_partial_dice_equals_a_slow_loop(case):
    logits, _, allowed = case
    labelled = [(p, known[0]) for p, known in pixels(logits, allowed) if len(known) == 1]
    dice = []
    for k in range(3):
        overlap = sum(p[k] for p, label in labelled if label == k)
        sizes = sum(p[k] ** 2 + (label == k) for p, label in labelled)
        dice.append(1 - (2 * overlap + 1e-5) / (sizes + 1e-5))
    assert losses.partial_dice(logits, allowed).item() == pytest.approx(sum(dice) / 3, rel=1e-5)


def test_entropy_equals_a_slow_loop(case):
    logits, _, allowed = case
    terms = [-sum(q * math.log(q + 1e-6) for q in p) / math.log(3) for p, _ in pixels(logits, allowed)]
    assert losses.entropy(logits.softmax(1)).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
