import threading
import time

import numpy as np
import pytest

from benchmark.methods.augment import IGNORE, Augmentation, prefetch


@pytest.fixture
def numbered():
    """An image, sets and labels of which every pixel tells where it came from."""
    places = np.arange(32 * 32).reshape(32, 32)
    return places / places.size, (places % 7 + 1).astype(np.uint8), (places % 5).astype(np.uint8)


def turns(classes=3, steps=40):
    augmentation = Augmentation(seed=0, classes=classes)
    return [(augmentation, step) for step in range(steps)]


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


def test_image_sets_and_labels_stay_together(numbered):
    """Half the turns keep the grid: there every pixel is where its image says."""
    image, sets, labels = numbered
    exact = 0
    for augmentation, step in turns():
        augmented, augmented_sets = augmentation(step, 0, image[None].astype(np.float32), sets)
        turned_labels = augmentation.memory(step, 0, labels)
        came_from = np.rint(augmented[0] * 1024).astype(int)
        if np.array_equal(np.sort(came_from.ravel()), np.arange(1024)):
            exact += 1
            assert np.array_equal(augmented_sets, sets.ravel()[came_from])
            assert np.array_equal(turned_labels, labels.ravel()[came_from])
    assert 10 < exact < 30


def test_a_turn_invents_no_label_and_fills_with_nothing_known(numbered):
    """New corners: image 0, all classes allowed, labels IGNORE, maps 0."""
    sets, labels = np.full((32, 32), 2, np.uint8), np.full((32, 32), 1, np.uint8)
    filled = 0
    for augmentation, step in turns():
        ones = np.ones((1, 32, 32), np.float32)
        image, augmented_sets = augmentation(step, 0, ones, sets)
        turned_labels = augmentation.memory(step, 0, labels)
        assert set(np.unique(augmented_sets)) <= {2, 7}
        assert set(np.unique(turned_labels)) <= {1, IGNORE}
        assert np.array_equal(augmented_sets == 7, turned_labels == IGNORE)
        assert (image[0][augmented_sets == 7] < 1).all()
        filled += (augmented_sets == 7).any()
    assert 10 < filled < 30


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
