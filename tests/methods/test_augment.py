import hashlib
import threading
import time
from collections import Counter

import numpy as np
import pytest

from benchmark.methods.augment import IGNORE, Augmentation, prefetch


@pytest.fixture
def numbered():
    """An image, sets and labels of which every pixel tells where it came from."""
    places = np.arange(32 * 32).reshape(32, 32)
    return places / places.size, (places % 7 + 1).astype(np.uint8), (places % 5).astype(np.uint8)


def turns(classes=3, steps=40, **how):
    augmentation = Augmentation(seed=0, classes=classes, **how)
    return [(augmentation, step) for step in range(steps)]


def drawn(numbered, steps, **how):
    """How often each symmetry of the square is drawn, or another rotation, and the mean share of empty corners."""
    image, counts, corners = numbered[0], Counter(), []
    names = {np.rot90(image, k).tobytes(): f"{k} turns" for k in range(4)}
    names |= {np.rot90(image.T, k).tobytes(): f"reflection {k}" for k in range(4)}
    for augmentation, step in turns(steps=steps, **how):
        augmented, sets = augmentation(step, 0, image[None], np.ones((32, 32), np.uint8))
        counts[names.get(augmented[0].tobytes(), "rotation")] += 1
        corners.append((sets == 7).mean())
    return {name: count / steps for name, count in counts.items()}, float(np.mean(corners))


def test_a_turn_is_a_function_of_seed_step_and_row(numbered):
    image, sets, _ = numbered
    image = image[None].astype(np.float32)

    def augmented(seed, step, row):
        return Augmentation(seed, 3)(step, row, image, sets)[0]

    assert np.array_equal(augmented(0, 5, 1), augmented(0, 5, 1))
    assert len({augmented(*place).tobytes() for place in [(0, 5, 1), (1, 5, 1), (0, 6, 1), (0, 5, 2)]}) > 1


def test_one_augmentation_can_be_asked_in_any_order(numbered):
    image, sets, _ = numbered
    image = image[None].astype(np.float32)
    augmentation = Augmentation(0, 3)
    forth = [augmentation(step, 0, image, sets)[0] for step in range(6)]
    back = [augmentation(step, 0, image, sets)[0] for step in reversed(range(6))][::-1]
    assert all(map(np.array_equal, forth, back))


@pytest.mark.parametrize(("kind", "least", "most"), [("turns45", 10, 30), ("wsl4mis", 20, 40), ("none", 39, 41)])
def test_image_sets_and_labels_stay_together(numbered, kind, least, most):
    """Most draws keep the grid: there every pixel is where its image says."""
    image, sets, labels = numbered
    exact = 0
    for augmentation, step in turns(kind=kind):
        augmented, augmented_sets = augmentation(step, 0, image[None].astype(np.float32), sets)
        rotated_labels = augmentation.memory(step, 0, labels)
        came_from = np.rint(augmented[0] * 1024).astype(int)
        if np.array_equal(np.sort(came_from.ravel()), np.arange(1024)):
            exact += 1
            assert np.array_equal(augmented_sets, sets.ravel()[came_from])
            assert np.array_equal(rotated_labels, labels.ravel()[came_from])
    assert least < exact < most


@pytest.mark.parametrize(("kind", "least", "most"), [("turns45", 10, 30), ("wsl4mis", 3, 20)])
def test_a_turn_invents_no_label_and_fills_with_nothing_known(kind, least, most):
    """New corners: image 0, all classes allowed, labels IGNORE, maps 0."""
    sets, labels = np.full((32, 32), 2, np.uint8), np.full((32, 32), 1, np.uint8)
    filled = 0
    for augmentation, step in turns(kind=kind):
        ones = np.ones((1, 32, 32), np.float32)
        image, augmented_sets = augmentation(step, 0, ones, sets)
        rotated_labels = augmentation.memory(step, 0, labels)
        assert set(np.unique(augmented_sets)) <= {2, 7}
        assert set(np.unique(rotated_labels)) <= {1, IGNORE}
        assert np.array_equal(augmented_sets == 7, rotated_labels == IGNORE)
        assert (image[0][augmented_sets == 7] < 1).all()
        filled += (augmented_sets == 7).any()
    assert least < filled < most


def test_float_maps_are_mixed_and_filled_with_zero():
    maps = np.ones((2, 32, 32), np.float16)
    lowest = []
    for augmentation, step in turns():
        image, _ = augmentation(step, 0, np.ones((1, 32, 32), np.float32), np.ones((32, 32), np.uint8))
        augmented = augmentation.memory(step, 0, maps)
        assert augmented.shape == (2, 32, 32)
        assert augmented.dtype == np.float16
        np.testing.assert_allclose(augmented[1], image[0], atol=0.02)  # OpenCV rounds the weights of several planes
        lowest.append(augmented.min())
    assert min(lowest) == 0


def test_sets_of_many_classes_keep_every_bit():
    sets = np.full((32, 32), 1 << 30, np.int32)
    for augmentation, step in turns(classes=31):
        _, augmented = augmentation(step, 0, np.zeros((1, 32, 32), np.float32), sets)
        assert set(np.unique(augmented)) <= {1 << 30, (1 << 31) - 1}


def test_all_eight_symmetries_occur_and_do_not_settle_the_rotation(numbered):
    """Whether a rotation follows is independent of the flip: each symmetry comes with and without one."""
    image = numbered[0][None].astype(np.float32)
    grid = {step: a(step, 0, image, numbered[1])[0] for a, step in turns(steps=120)}
    exact = {g.tobytes() for g in grid.values() if np.array_equal(np.sort(g.ravel()), np.sort(image.ravel()))}
    assert len(exact) == 8


REFLECTIONS = {f"reflection {k}" for k in range(4)}


def test_wsl4mis_reflects_half_of_the_images_and_rotates_a_quarter(numbered):
    """Its loader: a coin for one of four reflections, else a coin for a rotation; quarter turns alone never occur."""
    shares, corners = drawn(numbered, 4000, kind="wsl4mis")
    assert shares.keys() == REFLECTIONS | {"rotation", "0 turns"}
    assert [shares[name] for name in REFLECTIONS] == pytest.approx([1 / 8] * 4, abs=0.02)
    assert shares["rotation"] == pytest.approx(0.25 * 38 / 40, abs=0.03)  # less than a degree changes nothing at 32 px
    assert corners == pytest.approx(0.018, abs=0.004)


def test_wsl4mis_rotates_by_twenty_degrees_at_most_and_evenly():
    """The slope of a line that was level gives the angle."""
    angles, line = [], np.zeros((1, 257, 257), np.float32)
    line[0, 28, 128 - 60 : 128 + 61] = 1  # a level line, 100 px above the centre; nearest pixels keep it 0 or 1
    for augmentation, step in turns(steps=600, kind="wsl4mis"):
        augmented, sets = augmentation(step, 0, line, np.ones((257, 257), np.uint8))
        assert set(np.unique(augmented)) <= {0, 1}
        if (sets == 7).any():
            rows, columns = np.nonzero(augmented[0])
            angles.append(np.degrees(np.arctan(np.polyfit(columns, rows, 1)[0])))
    assert np.histogram(angles, [-20.5, -10, 0, 10, 20.5])[0].tolist() == pytest.approx([len(angles) / 4] * 4, rel=0.4)
    assert len(angles) > 120


@pytest.mark.parametrize("kind", ["turns45", "wsl4mis"])
def test_kept_axes_have_the_same_flips_and_no_other_rotation(numbered, kind):
    image, sets, _ = numbered
    image = image[None].astype(np.float32)
    shares, corners = drawn(numbered, 200, kind=kind, keep_axes=True)
    assert "rotation" not in shares
    assert corners == 0
    same = [
        np.array_equal(free(step, 0, image, sets)[0], kept(step, 0, image, sets)[0])
        for (free, step), (kept, _) in zip(turns(kind=kind), turns(kind=kind, keep_axes=True), strict=True)
    ]
    others = [(a(step, 0, image, np.ones_like(sets))[1] == 7).any() for a, step in turns(kind=kind)]
    assert 3 < sum(others) < 25
    assert sum(not equal and not other for equal, other in zip(same, others, strict=True)) <= 2  # angles of a few degrees


def test_none_leaves_everything_as_it_is(numbered):
    image, sets, labels = numbered
    maps = np.stack([image, 1 - image]).astype(np.float16)
    for augmentation, step in turns(kind="none", steps=10):
        same, same_sets = augmentation(step, 0, image[None].astype(np.float32), sets)
        assert np.array_equal(same[0], image.astype(np.float32))
        assert np.array_equal(same_sets, sets)
        assert np.array_equal(augmentation.memory(step, 0, labels), labels)
        assert np.array_equal(augmentation.memory(step, 0, maps), maps)


def test_the_default_is_what_it_was_before_there_were_others(numbered):
    """A digest from the code that had one augmentation only."""
    _, sets, labels = numbered
    digest = hashlib.sha256()
    for augmentation, step in turns(steps=60):
        digest.update(augmentation(step, step % 3, np.zeros((1, 32, 32), np.float32), sets)[1].tobytes())
        digest.update(augmentation.memory(step, step % 3, labels).tobytes())
    assert digest.hexdigest() == "c4f43bed4c5057929f9a7787ad021eb3105bc12776c4fc63082dc5bbe2c69c80"


def test_threads_make_what_one_would_in_the_same_order():
    """A place that takes longer holds nobody up, and does not lose its place."""

    def slowly(place):
        time.sleep(0.01 * (place % 3))
        return place, threading.get_ident()

    made = list(prefetch(slowly, range(30), threads=3))
    assert [place for place, _ in made] == list(range(30)) == [place for place, _ in prefetch(slowly, range(30), threads=0)]
    assert len({thread for _, thread in made}) == 3


def test_a_fault_in_a_thread_is_raised_where_its_result_is_used():
    used = []
    with pytest.raises(ZeroDivisionError):
        used.extend(prefetch(lambda place: 1 / (3 - place), range(9), threads=2))
    assert used == [1 / 3, 1 / 2, 1]


def test_threads_share_an_augmentation(numbered):
    image, sets, _ = numbered
    image = image[None].astype(np.float32)
    augmentation = Augmentation(0, 3)
    alone = [augmentation(step, 0, image, sets)[0] for step in range(60)]
    together = prefetch(lambda step: augmentation(step, 0, image, sets)[0], range(60), threads=3)
    assert all(map(np.array_equal, alone, together))
