"""Methods that add a region term, balance the classes, or propagate the annotations before training."""

import math

import cv2
import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import random_walker

from benchmark.methods.base import IGNORE, Batch
from benchmark.methods.geodesic import Geodesic
from benchmark.methods.grabcut import GrabCut, cut
from benchmark.methods.losses import partial_cross_entropy, partial_dice
from benchmark.methods.losses.regions import intensity_variance
from benchmark.methods.pce_balanced import balanced_cross_entropy
from benchmark.methods.propagation import propagated_labels, propagated_sets
from benchmark.methods.random_walker import RandomWalker, probabilities
from benchmark.methods.resize import fit_sets
from benchmark.plan import plugins
from benchmark.seal.contract import Budget, WeakData, WeakScan
from tests.support.golden_vectors import Golden
from tests.support.losses import loss_at

PROPAGATION = [RandomWalker(), Geodesic(), GrabCut()]
every = pytest.mark.parametrize("method", PROPAGATION, ids=lambda method: type(method).__name__)


# -------------------------------------------------------------------------------------------------------- their losses


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return Batch(torch.rand(2, 1, 32, 32), torch.randint(1, 8, (2, 32, 32)).int(), torch.arange(2), None)


EXPECTED = {
    "intensity_variance": lambda z, b: (
        partial_cross_entropy(z, b.allowed) + 0.1 * math.exp(-5 / 4) * intensity_variance(z.softmax(1), b.image)
    ),
    "pce_balanced": lambda z, b: balanced_cross_entropy(z, b.allowed),
    "random_walker": lambda z, b: 0.5 * partial_cross_entropy(z, b.allowed) + 0.5 * partial_dice(z, b.allowed),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_loss_is_the_published_sum(name, batch):
    """Halfway through the budget, where the ramp is exp(-5/4)."""
    method = plugins.get("method", name).load()()
    torch.manual_seed(0)
    method.budget = Budget(size=32)
    method.build(1, 3, method.budget)
    method.net.eval()
    torch.testing.assert_close(loss_at(method, batch, 0.5), EXPECTED[name](method.net(batch.image), batch))


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    """Three pixels of class 0 at probability 1/2 and one of class 1 at 1/4: (log 2 + log 4) / 2."""
    logits = torch.tensor([[2.0, 2.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 2.0]]).log().reshape(1, 3, 1, 4)
    allowed = torch.tensor([[[1, 1, 1, 2]]])
    assert balanced_cross_entropy(logits, allowed).item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_pixels_of_several_classes_are_left_out_of_the_balance():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 1, 4)
    alone = balanced_cross_entropy(logits, torch.tensor([[[1, 2, 7, 7]]]))
    torch.testing.assert_close(balanced_cross_entropy(logits, torch.tensor([[[1, 2, 3, 6]]])), alone)


def test_labels_of_one_class_are_cross_entropy():
    torch.manual_seed(0)
    logits, allowed = torch.randn(2, 3, 4, 4), torch.full((2, 4, 4), 7)
    allowed[:, 1:3] = 4
    torch.testing.assert_close(balanced_cross_entropy(logits, allowed), partial_cross_entropy(logits, allowed))


def test_without_any_label_the_balanced_loss_is_zero_and_has_a_gradient():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = balanced_cross_entropy(logits, torch.full((2, 4, 4), 7))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


def test_classes_and_samples_may_be_reordered():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 5, 5), torch.randint(0, 3, (2, 5, 5))
    order = torch.tensor([2, 0, 1])
    value = balanced_cross_entropy(logits, 1 << labels)
    torch.testing.assert_close(balanced_cross_entropy(logits[:, order], 1 << order.argsort()[labels]), value)
    torch.testing.assert_close(balanced_cross_entropy(logits.flip(0), 1 << labels.flip(0)), value)


def test_gradients_of_the_balanced_loss_are_right():
    torch.manual_seed(0)
    allowed = torch.randint(1, 8, (1, 4, 4))
    logits = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: balanced_cross_entropy(z, allowed), logits)


# ------------------------------------------------------------------------------------------ all that propagate


def disc(channels=1, noise=0.01):
    """A bright disc in a noisy image, and labels of one pixel in it and one outside."""
    rows, columns = np.indices((40, 43))
    mask = np.hypot(rows - 22, columns - 18) < 11
    image = 0.2 + 0.5 * mask + np.random.default_rng(0).normal(0, noise, (channels, 40, 43))
    labels = np.full(mask.shape, IGNORE)
    labels[20, 16], labels[3, 40] = 1, 0
    return image.clip(0, 1).astype(np.float32), labels, mask


def dice(predicted, truth):
    return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())


@every
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_disc_is_found_from_two_dots(method, channels):
    image, labels, mask = disc(channels)
    assert dice(method.propagate(image, labels, 2) == 1, mask) > 0.95


@every
def test_two_discs_of_three_classes_are_separated(method):
    image, labels, mask = disc()
    image, mask = np.concatenate([image, 1.4 * image], 2), np.concatenate([mask, 2 * mask], 1)
    found = method.propagate(image, np.concatenate([labels, np.where(labels == 1, 2, labels)], 1), 3)
    for k in (1, 2):
        assert dice(found == k, mask == k) > 0.9


@every
def test_classes_may_have_gaps_in_their_numbers(method):
    """Class 5 of 9 is propagated as class 1 of 2 is."""
    image, labels, _ = disc()
    far = np.where(labels == 1, 5, labels)
    assert np.array_equal(method.propagate(image, far, 9) == 5, method.propagate(image, labels, 2) == 1)


@every
def test_marks_survive_and_nothing_stays_open(method):
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((24, 31)) < 0.1, rng.integers(0, 4, (24, 31)), IGNORE)
    found = method.propagate(rng.random((1, 24, 31), np.float32), labels.copy(), 4)
    assert np.array_equal(found[labels != IGNORE], labels[labels != IGNORE])
    assert set(np.unique(found)) <= {0, 1, 2, 3}


@every
def test_mirrored_slices_have_mirrored_labels(method):
    """As far as random clusters and ties allow."""
    image, labels, _ = disc()
    here, there = method.propagate(image, labels, 2), method.propagate(image[..., ::-1].copy(), labels[:, ::-1], 2)
    assert (here == there[:, ::-1]).mean() > 0.99


@every
def test_propagation_repeats_itself_whatever_was_drawn_before(method):
    rng = np.random.default_rng(0)
    image = rng.random((1, 24, 31), np.float32)
    labels = np.where(rng.random((24, 31)) < 0.1, rng.integers(0, 3, (24, 31)), IGNORE)
    first = method.propagate(image, labels, 3)
    cv2.randu(np.empty(5), 0, 1)
    assert np.array_equal(method.propagate(image, labels, 3), first)


@every
def test_a_flat_slice_keeps_its_marks(method):
    labels = np.full((12, 14), IGNORE)
    labels[2, 2], labels[9, 9] = 0, 1
    found = method.propagate(np.full((1, 12, 14), 0.5, np.float32), labels, 2)
    assert np.array_equal(found[labels != IGNORE], labels[labels != IGNORE])


@every
def test_the_smallest_slice_keeps_its_marks(method):
    found = method.propagate(np.array([[[0.1, 0.2, 0.9]]], np.float32), np.array([[0, IGNORE, 1]]), 2)
    assert found[0, [0, 2]].tolist() == [0, 1]


def forbidden(image, labels, classes):
    raise AssertionError("there is nothing to propagate")


@pytest.mark.parametrize(("marks", "rest"), [([0], 0), ([], IGNORE), ([2], IGNORE)])
def test_slices_without_two_classes_of_marks(marks, rest):
    """Background alone is background; no mark, or those of an object alone, leave the rest open."""
    labels = np.full((4, 4), IGNORE)
    labels[1, : len(marks)] = marks
    found = propagated_labels(np.zeros((1, 4, 4), np.float32), labels, 3, forbidden)
    assert (found == np.where(labels == IGNORE, rest, labels)).all()


def test_a_full_slice_is_left_as_it_is():
    labels = np.arange(16).reshape(4, 4) % 3
    assert np.array_equal(propagated_labels(np.zeros((1, 4, 4), np.float32), labels, 3, forbidden), labels)


def test_sets_are_cut_down_to_the_propagated_label_unless_they_rule_it_out():
    """Class 1 everywhere: open and {1, 2} become {1}, {0, 2} stays, labels stay."""
    allowed = np.array([[[1, 2, 7, 6, 5]]], np.uint8)
    found = propagated_sets(
        np.zeros((1, 1, 1, 5), np.float32), allowed, 3, lambda image, labels, classes: np.ones_like(labels)
    )
    assert found.tolist() == [[[1, 2, 2, 2, 5]]]
    assert found.dtype == np.uint8


def test_sets_of_many_classes():
    allowed = np.array([[[1 << 30, 1, (1 << 31) - 1]]], np.int64)
    found = propagated_sets(np.zeros((1, 1, 1, 3), np.float32), allowed, 31, lambda *_: np.full((1, 3), 30))
    assert found.tolist() == [[[1 << 30, 1, 1 << 30]]]


def learned(method, image, labels, size):
    """The image and the label sets that the network learns from, of a slice of two classes."""
    allowed = np.where(labels == IGNORE, 3, 1 << labels.clip(max=1)).astype(np.uint8)[None]
    data, method = WeakData([WeakScan(image[None], allowed.copy())], 2, len(image)), type(method)()
    method.fit(data, Budget(steps=1, batch=1, size=size), lambda step, /, **values: None)
    assert np.array_equal(next(iter(data)).allowed, allowed)  # the data that were given stay as they are
    return method.images[0].numpy(), method.allowed[0]


@every
def test_training_sees_the_propagated_labels(method):
    image, labels, mask = disc()
    image, labels = image[:, :40, :40], labels[:40, :40].copy()
    labels[3, 35] = 0
    _, allowed = learned(method, image, labels, 40)
    assert np.array_equal(allowed, 1 << method.propagate(image, labels, 2))
    assert dice(allowed == 2, mask[:40, :40]) > 0.95


@every
def test_annotations_are_propagated_at_network_size(method):
    """A slice of twice the size gives what its shrunk copy gives."""
    image, labels, _ = disc()
    image, labels = image[:, :40, :40].repeat(2, 1).repeat(2, 2), labels[:40, :40].repeat(2, 0).repeat(2, 1)
    labels[7, 70] = 0
    shrunk, allowed = learned(method, image, labels, 40)
    sets = fit_sets(np.where(labels == IGNORE, 3, 1 << labels.clip(max=1))[None], 40, 2)[0]
    expected = method.propagate(shrunk, np.where(sets == 3, IGNORE, sets - 1), 2)
    assert np.array_equal(allowed, 1 << expected)


@every
def test_padding_takes_no_part(method):
    """32 rows of 40: four rows of padding above and below stay open, the others are as without padding."""
    image, labels, _ = disc()
    image, labels = image[:, 8:, :40], labels[8:, :40].copy()
    labels[1, 38] = 0
    _, allowed = learned(method, image, labels, 40)
    assert np.array_equal(allowed[4:36], 1 << method.propagate(image, labels, 2))
    assert (allowed[:4] == 3).all()
    assert (allowed[36:] == 3).all()


# --------------------------------------------------------------------------------------------------- each of the three


@pytest.mark.slow
def test_the_walker_labels_acdc_as_the_published_code_does_but_for_missing_classes(real_data):
    """Counts of each class to three pixels: the golden ones come from images of more than 8 bits."""
    golden = Golden("random_walker").arrays
    for name, expected, seeds in zip(
        golden["in_slice_name"], golden["out_count_available"], golden["out_seed_count"], strict=True
    ):
        volume, number = str(name).split("_slice_")
        with h5py.File(real_data / f"acdc/ACDC_training_volumes/{volume}.h5") as file:
            image, marks = file["image"][int(number)], file["scribble"][int(number)].astype(int)
        assert np.bincount(marks.ravel(), minlength=5).tolist() == seeds.tolist()
        found = propagated_labels(image[None], np.where(marks == 4, IGNORE, marks), 4, RandomWalker().propagate)
        counts = np.bincount(found.ravel(), minlength=4)
        assert np.abs(counts - expected).max() <= 3


def walker_probabilities(image, labels, beta):
    """Dense Laplacian of the four-neighbour grid, solved for the probability to meet each class first."""
    height, width = labels.shape
    scaled = -1 + 2 * (image[0].astype(float) + 0.35) / 1.7
    laplacian = np.zeros((labels.size, labels.size))
    for y in range(height):
        for x in range(width):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < height and u < width:
                    weight = np.exp(-beta * (scaled[y, x] - scaled[v, u]) ** 2 / (10 * scaled.std())) + 1e-10
                    a, b = y * width + x, v * width + u
                    laplacian[[a, b], [b, a]] -= weight
                    laplacian[[a, b], [a, b]] += weight
    free, marks = np.flatnonzero(labels == IGNORE), np.flatnonzero(labels != IGNORE)
    certain = labels.ravel()[marks][:, None] == np.setdiff1d(labels, IGNORE)
    return free, np.linalg.solve(laplacian[np.ix_(free, free)], -laplacian[np.ix_(free, marks)] @ certain)


def test_the_walker_equals_a_dense_solution():
    rng = np.random.default_rng(0)
    image, labels = rng.random((1, 9, 11), np.float32), np.full((9, 11), IGNORE)
    labels[1, 1], labels[7, 2], labels[4, 8] = 0, 2, 3
    free, probabilities = walker_probabilities(image, labels, 100.0)
    expected = np.setdiff1d(labels, IGNORE)[probabilities.argmax(1)]
    clear = np.sort(probabilities, 1)[:, -1] - np.sort(probabilities, 1)[:, -2] > 1e-6
    assert clear.sum() > 80
    assert np.array_equal(RandomWalker().propagate(image, labels, 4).ravel()[free][clear], expected[clear])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(3, 24), st.integers(1, 3), st.sampled_from([10.0, 100.0]))
def test_the_walker_has_the_probabilities_of_scikit_image(seed, height, width, channels, beta):
    """Up to five classes with gaps in their numbers, at least two of them marked."""
    rng = np.random.default_rng(seed)
    image, classes = rng.random((channels, height, width)), np.array([0, 2, 3, 5, 8])
    labels = np.where(rng.random((height, width)) < rng.choice([0.02, 0.3]), rng.choice(classes, (height, width)), IGNORE)
    labels[0, 0], labels[0, 1], labels[-1, -1] = 2, IGNORE, 8
    marked = np.setdiff1d(labels, IGNORE)
    seeds = np.where(labels == IGNORE, 0, marked.searchsorted(labels) + 1)
    expected = random_walker(image, seeds, beta=beta, mode="bf", channel_axis=0, return_full_prob=True)
    found = probabilities(image, labels, beta)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    best = np.sort(expected, 0)
    clear = best[-1] - best[-2] > 1e-5
    assert np.array_equal(found.argmax(0)[clear], expected.argmax(0)[clear])


def test_the_walker_leaves_a_flat_slice_open():
    labels = np.full((6, 6), IGNORE)
    labels[1, 1], labels[4, 4] = 0, 1
    assert np.array_equal(RandomWalker().propagate(np.ones((1, 6, 6), np.float32), labels, 2), labels)


def geodesic_distance(image, marks, contrast):
    """Relaxed until nothing changes."""
    height, width = marks.shape
    distance = np.where(marks, 0, np.inf)
    for _ in range(marks.size):
        before = distance.copy()
        for y in range(height):
            for x in range(width):
                for v in range(max(0, y - 1), min(height, y + 2)):
                    for u in range(max(0, x - 1), min(width, x + 2)):
                        change = np.mean((image[:, y, x].astype(float) - image[:, v, u]) ** 2)
                        step = math.sqrt((y - v) ** 2 + (x - u) ** 2 + contrast**2 * change)
                        distance[y, x] = min(distance[y, x], distance[v, u] + step)
        if np.array_equal(distance, before):
            return distance
    raise AssertionError("a shortest path has no more steps than there are pixels")


@pytest.mark.parametrize("channels", [1, 3])
def test_geodesic_labels_equal_a_slow_loop(channels):
    rng = np.random.default_rng(0)
    image, labels = rng.random((channels, 7, 8), np.float32), np.full((7, 8), IGNORE)
    labels[1, 1], labels[5, 2], labels[3, 6], labels[6, 7] = 0, 2, 1, 0
    distances = np.stack([geodesic_distance(image, labels == k, 20.0) for k in range(3)])
    assert np.array_equal(Geodesic(contrast=20.0).propagate(image, labels, 3), distances.argmin(0))


def test_without_contrast_the_nearest_mark_in_the_plane_counts():
    labels = np.full((1, 9), IGNORE)
    labels[0, 0], labels[0, 7] = 0, 1
    image = np.random.default_rng(0).random((1, 1, 9), np.float32)
    assert Geodesic(contrast=0).propagate(image, labels, 2).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1]]


def test_a_grey_image_in_three_channels_is_as_far_as_in_one():
    image, labels, _ = disc(noise=0.05)
    assert np.array_equal(Geodesic().propagate(image.repeat(3, 0), labels, 2), Geodesic().propagate(image, labels, 2))


def test_what_several_classes_claim_goes_to_the_nearest_marks():
    """Two discs that look alike: each class claims both of them, as their cuts show."""
    image, labels, mask = disc()
    image, mask = np.concatenate([image, image], 2), np.concatenate([mask, 2 * mask], 1)
    labels = np.concatenate([labels, np.where(labels == 1, 2, labels)], 1)
    picture = (image * 255).astype(np.uint8).repeat(3, 0).transpose(1, 2, 0).copy()
    guess = np.where(mask > 0, 1, 0)
    assert dice(cut(picture, np.where(labels == 2, IGNORE, labels), guess, 1, 5), mask > 0) > 0.95
    for first, second in ((1, 2), (2, 1)):
        found = GrabCut().propagate(image, np.select([labels == 1, labels == 2], [first, second], labels), 3)
        assert dice(found == first, mask == 1) > 0.95
        assert dice(found == second, mask == 2) > 0.95


def test_what_no_class_claims_is_background():
    """Two objects of different brightness, and a far corner like neither of them."""
    image, labels, mask = disc()
    labels[5, 5] = 2
    image[:, 2:8, 2:8] = 0.95
    found = GrabCut().propagate(image, labels, 3)
    assert dice(found == 2, np.pad(np.ones((6, 6), bool), ((2, 32), (2, 35)))) > 0.9
    assert dice(found == 1, mask) > 0.95
    assert found[38, 2] == 0
