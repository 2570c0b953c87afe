import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from benchmark.datasets.forms import ANNOTATIONS
from benchmark.datasets.simulate import stream, weaken
from benchmark.methods.resize import fit_sets, inside, to_native_size, to_network_size
from benchmark.seal.contract import everything


def by_hand(sets, size, classes):
    """The rule of `fit_sets` for one square slice that shrinks, cell by cell."""
    side, unknown = len(sets), everything(classes)
    out = np.empty((size, size), int)
    for row in range(size):
        for column in range(size):
            cell = [
                int(sets[i, j])
                for i in range(side)
                for j in range(side)
                if int((i + 0.5) * size / side) == row and int((j + 0.5) * size / side) == column
            ]
            common = np.bitwise_and.reduce(cell)
            marks = [s for s in cell if s != unknown]
            votes = sorted({(marks.count(s), s) for s in marks}, reverse=True)
            if common in cell:
                out[row, column] = common
            else:
                out[row, column] = unknown if len(votes) > 1 and votes[0][0] == votes[1][0] else votes[0][1]
    return out


@settings(max_examples=80, deadline=None)
@given(sets=arrays(np.uint8, (1, 12, 12), elements=st.sampled_from([1, 2, 4, 3, 5, 7])), size=st.sampled_from([5, 7, 12]))
def test_shrunk_sets_follow_the_rule(sets, size):
    assert np.array_equal(fit_sets(sets, size, 3)[0], by_hand(sets[0], size, 3))


@settings(max_examples=30, deadline=None)
@given(sets=arrays(np.int32, (3, 13, 13), elements=st.sampled_from([1, 512, 513, 6, 2**10 - 1])), size=st.integers(2, 13))
def test_sets_of_ten_classes_in_several_slices_follow_the_rule(sets, size):
    fitted = fit_sets(sets, size, 10)
    assert fitted.dtype == np.int32
    assert np.array_equal(fitted, [by_hand(plane, size, 10) for plane in sets])


@pytest.mark.parametrize("annotation", [a for a in ANNOTATIONS if a not in ("scribble:drawn", "slices:k")])
@settings(max_examples=40, deadline=None)
@given(
    mask=arrays(np.uint8, st.tuples(st.just(1), st.integers(3, 30), st.integers(3, 30)), elements=st.integers(0, 2)),
    size=st.integers(2, 40),
)
def test_a_class_that_is_really_in_a_cell_stays_allowed(annotation, mask, size):
    sets = fit_sets(weaken(mask, 3, annotation, stream(0, "scan")), size, 3)
    assert (sets & fit_sets_present(mask, size)).all()


def fit_sets_present(mask, size):
    """The classes that occur in each cell (all of them in padding)."""
    height, width = mask.shape[1:]
    side = max(height, width)
    padded = np.full((side, side), 7)
    top, left = (side - height) // 2, (side - width) // 2
    padded[top : top + height, left : left + width] = 1 << mask[0].astype(int)
    present = np.zeros((size, size), int)
    for i in range(side):
        for j in range(side):
            present[int((i + 0.5) * size / side), int((j + 0.5) * size / side)] |= padded[i, j]
    for i in range(size):
        for j in range(size):
            if present[i, j] == 0:
                present[i, j] = padded[int((i + 0.5) * side / size), int((j + 0.5) * side / size)]
    return present


def test_touching_boxes_of_two_classes_do_not_become_background():
    """Neighbours {0,1} and {0,2}: their intersection {0} need not be true of either pixel."""
    assert fit_sets(np.array([[[3, 3], [5, 5]]], np.uint8), 1, 3)[0, 0, 0] == everything(3)


@pytest.mark.parametrize("size", [3, 17, 64, 100])
def test_a_single_mark_survives(size):
    sets = np.full((1, 64, 50), 3, np.uint8)
    sets[0, 37, 11] = 2
    assert (fit_sets(sets, size, 2) == 2).any()


def test_padding_is_black_and_says_nothing():
    image = to_network_size(np.ones((1, 2, 4, 8), np.float32), 8)
    assert image.shape == (1, 2, 8, 8)
    assert image[0, 0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert fit_sets(np.ones((1, 4, 8), np.uint8), 8, 3)[0, :, 0].tolist() == [7, 7, 1, 1, 1, 1, 7, 7]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(8, 40))
def test_inside_is_where_no_padding_reaches(height, width, size):
    """Shrunk by area, a white image is white exactly there."""
    side = max(height, width)
    rows, columns = inside(height, width, size)
    white = np.zeros((size, size), bool)
    white[rows, columns] = True
    if size <= side:
        found = to_network_size(np.ones((1, 1, height, width), np.float32), size)[0, 0]
        assert np.array_equal(found > 1 - 1e-5, white)
    if size >= side:
        assert white.sum() >= (height * size // side - 1) * (width * size // side - 1)
        assert (fit_sets(np.ones((1, height, width), np.uint8), size, 2)[0][white] == 1).all()


@pytest.mark.parametrize(
    ("height", "width", "size"), [(20, 33, 16), (9, 5, 32), (16, 16, 16), (428, 512, 256), (154, 224, 256)]
)
def test_squashing_takes_the_pixels_that_scipy_zooms_to(height, width, size):
    """Image, sets and label maps alike, as in WSL4MIS; `nearest`, as `constant` can lose the last row to rounding."""
    places = np.arange(height * width).reshape(1, 1, height, width)
    there = ndimage.zoom(places[0, 0], (size / height, size / width), order=0, mode="nearest")
    assert np.array_equal(to_network_size(places, size, "squash")[0, 0], there)
    assert np.array_equal(fit_sets(places[0], size, 20, "squash")[0], there)
    back = ndimage.zoom(there, (height / size, width / size), order=0, mode="nearest")
    assert np.array_equal(to_native_size(torch.from_numpy(there[None, None]), height, width, "squash")[0, 0], back)
    assert inside(height, width, size, "squash") == (slice(0, size), slice(0, size))


def test_an_image_smaller_than_the_square_loses_nothing_when_squashed():
    labels = np.random.default_rng(0).integers(0, 4, (1, 1, 154, 224))
    square = torch.from_numpy(to_network_size(labels, 256, "squash"))
    assert np.array_equal(to_native_size(square, 154, 224, "squash"), labels)


def test_shrinking_an_image_averages():
    image = np.zeros((1, 1, 4, 4), np.float32)
    image[0, 0, :2, :2] = [[0, 1], [1, 0]]
    assert to_network_size(image, 2)[0, 0].tolist() == [[0.5, 0], [0, 0]]


@pytest.mark.parametrize(("height", "width", "size"), [(20, 33, 16), (9, 5, 32), (16, 16, 16)])
def test_maps_return_to_the_native_size(height, width, size):
    """A smooth map goes there and back with little loss."""
    ramp = np.linspace(0, 1, width, dtype=np.float32) * np.ones((1, 1, height, 1), np.float32)
    back = to_native_size(torch.from_numpy(np.ascontiguousarray(to_network_size(ramp, size))), height, width)
    assert back.shape == (1, 1, height, width)
    inner = (slice(2, -2), slice(3, -3)) if min(height, width) > 7 else (slice(3, -3), slice(1, -1))
    assert np.abs(back.numpy() - ramp)[0, 0][inner].max() < 0.12
