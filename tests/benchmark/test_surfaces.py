from itertools import product

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from benchmark.score.surfaces import _offsets, box_around, distances, distances_of_each


def surface_voxels(mask):
    """Voxels with a neighbour outside the mask, or outside the image, across a face; one after the other."""
    inside = {tuple(place) for place in np.argwhere(mask).tolist()}
    faces = [sign * face for face in np.eye(mask.ndim, dtype=int) for sign in (1, -1)]
    return np.array([at for at in sorted(inside) if any(tuple((at + face).tolist()) not in inside for face in faces)])


def all_pairs(predicted, truth, spacing):
    """Distances of two surfaces from the table of all pairs of their voxels."""
    one, other = (surface_voxels(mask) * spacing for mask in (predicted, truth))
    table = np.linalg.norm(one[:, None] - other, axis=2)
    return table.min(1), table.min(0)


@st.composite
def blocks(draw, shape):
    """Some boxes in an image, down to threads and single voxels, at its border or not, near each other or far apart."""
    mask = np.zeros(shape, bool)
    for _ in range(draw(st.integers(1, 3))):
        first = [draw(st.integers(0, length - 1)) for length in shape]
        lengths = [draw(st.integers(1, 6)) for _ in shape]
        mask[tuple(slice(start, start + length) for start, length in zip(first, lengths, strict=True))] = True
    return mask


specks = st.lists(st.integers(2, 7), min_size=1, max_size=3).flatmap(
    lambda shape: st.tuples(*[arrays(bool, tuple(shape))] * 2)
)
scenes = st.sampled_from([(60,), (45, 30), (30, 45), (6, 40, 30), (20, 20, 20)]).flatmap(
    lambda shape: st.tuples(blocks(shape), blocks(shape))
)


@settings(max_examples=150, deadline=None)
@given(pair=specks | scenes, spacing=st.tuples(*[st.floats(0.2, 12)] * 3))
@example(pair=(np.eye(30, dtype=bool), np.eye(30, 30, 9, dtype=bool)), spacing=(12.0, 0.2, 1.0))  # few offsets are nearer
def test_distances_equal_the_table_of_all_pairs(pair, spacing):
    predicted, truth = pair
    assume(predicted.any() and truth.any())
    spacing = spacing[: predicted.ndim]
    for found, expected in zip(distances(predicted, truth, spacing), all_pairs(predicted, truth, spacing), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)  # and in the same order


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(blocks((9, 30)), blocks((9, 30))), min_size=1, max_size=4))
@example(pairs=[(np.eye(1, 30, 0, dtype=bool), np.eye(1, 30, 29, dtype=bool)), (np.ones((1, 30), bool),) * 2])
def test_every_pair_of_a_stack_is_measured_alone(pairs):
    """Also where the next pair has something much nearer, and where all pairs lie on one line."""
    stacks = (np.array(masks) for masks in zip(*pairs, strict=True))
    for found, (predicted, truth) in zip(distances_of_each(*stacks), pairs, strict=True):
        for predicted_found, alone in zip(found, distances(predicted, truth), strict=True):
            np.testing.assert_allclose(predicted_found, alone, rtol=0, atol=1e-9)


def test_a_near_and_a_far_voxel():
    """The one is found along the offsets, the other by the tree."""
    predicted, truth = np.zeros((2, 60, 60), bool)
    truth[2, 2] = predicted[5, 6] = predicted[32, 42] = True
    out, back = distances(predicted, truth)
    assert out.tolist() == [5, 50]
    assert back.tolist() == [5]


def test_thousands_of_voxels_equal_the_distance_transform(rng):
    """So many that they look in several pieces; no two touch, so that each is its own surface."""
    predicted, truth = np.zeros((2, 500, 300), bool)
    predicted[::2, ::2], truth[::2, ::2] = rng.random((2, 250, 150)) < [[[0.6]], [[0.01]]]
    assert predicted.sum() > 2**14
    out, back = distances(predicted, truth, (1.0, 1.3))
    np.testing.assert_allclose(out, ndimage.distance_transform_edt(~truth, (1.0, 1.3))[predicted], atol=1e-9)
    np.testing.assert_allclose(back, ndimage.distance_transform_edt(~predicted, (1.0, 1.3))[truth], atol=1e-9)


def test_a_mask_that_fills_the_image_has_its_border_as_surface():
    out, back = distances(np.ones((5, 5), bool), np.ones((5, 5), bool))
    assert len(out) == len(back) == 16
    assert not out.any()


def test_a_flat_mask_in_a_volume_is_all_surface():
    mask = np.zeros((4, 9, 9), bool)
    mask[1, 2:7, 2:7] = True
    assert len(distances(mask, mask)[0]) == 25


def test_axes_of_length_one_are_dropped_with_their_spacing():
    predicted, truth = np.zeros((2, 9, 1, 9), bool)
    predicted[2:7, :, 2:7] = truth[2:7, :, 4:9] = True
    out, _ = distances(predicted, truth, (1.0, 50.0, 3.0))
    assert len(out) == 16
    assert out.max() == 6


@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 1, 1)])
def test_an_image_of_one_voxel(shape):
    out, back = distances(np.ones(shape, bool), np.ones(shape, bool))
    assert out.tolist() == back.tolist() == [0]


@pytest.mark.parametrize("empty", [(0,), (1,), (0, 1)])
def test_an_empty_mask_has_no_distances(empty):
    masks = np.ones((2, 6, 6), bool)
    masks[list(empty)] = False
    with pytest.raises(ValueError, match="a mask is empty; the distance to it is not defined"):
        distances(*masks)


def test_no_pairs_have_no_distances():
    assert distances_of_each(*np.ones((2, 0, 6, 6), bool)) == []


@pytest.mark.parametrize("step", [(1.0,), (1.0, 1.0), (0.3, 2.0), (1.0, 1.0, 1.0), (10.0, 1.5, 1.5), (0.1, 9.0, 9.0)])
def test_the_offsets_come_nearest_first_and_none_is_missing(step):
    """In a cube twice as wide, no other offset is shorter than the last."""
    offsets, lengths, margin = _offsets(step)
    np.testing.assert_allclose(lengths, np.linalg.norm(offsets * step, axis=1))
    assert (np.diff(lengths) >= 0).all()
    assert (np.abs(offsets) <= margin).all()
    listed = {tuple(offset) for offset in offsets.tolist()}
    assert len(listed) == len(offsets) > 16
    others = [offset for offset in product(range(-18, 19), repeat=len(step)) if offset not in listed]
    assert np.linalg.norm(np.array(others) * step, axis=1).min() >= lengths[-1] - 1e-9


def test_the_box_around_a_mask_is_one_voxel_wider_within_the_image():
    mask = np.zeros((1, 10, 10), bool)
    mask[0, 0:3, 5:8] = True
    around = mask[box_around(mask)]
    assert around.shape == (1, 4, 5)
    assert around.sum() == mask.sum()
    assert not np.zeros((3, 4), bool)[box_around(np.zeros((3, 4), bool))].any()
