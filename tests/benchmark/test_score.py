from pathlib import Path

import medpy.metric.binary as medpy
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.score import diagonal, evaluate, overlaps

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics.npz")
ONE = {"object": (1,)}


def square(rows, columns, shape=(20, 20)):
    mask = np.zeros((1, *shape), np.uint8)
    mask[0, slice(*rows), slice(*columns)] = 1
    return mask


@pytest.mark.parametrize("pair", range(int(GOLDEN["in_count"])))
def test_scores_equal_the_golden_ones(pair):
    ours, truth = (GOLDEN[f"in_p{pair:02d}_{side}"].astype(bool) for side in ("prediction", "reference"))
    spacing = GOLDEN[f"in_p{pair:02d}_spacing"]
    if not (ours.any() and truth.any()):
        return
    found = overlaps(ours, truth)
    for name, key in [("dice", "dc"), ("iou", "jc"), ("precision", "precision"), ("recall", "recall")]:
        assert found[name] == pytest.approx(GOLDEN[f"out_{key}"][pair], abs=1e-9)
    if min(ours.shape) > 1:
        if ours.ndim == 2:
            ours, truth, spacing = ours[None], truth[None], (1.0, *spacing)
        found = evaluate(ours.astype(np.uint8), truth.astype(np.uint8), ONE, spacing)["object"]
        for name in ("hd95", "hd95_max", "hd", "assd"):
            assert found[name] == pytest.approx(GOLDEN[f"out_{name}"][pair], abs=1e-9)


stacks = arrays(np.uint8, st.tuples(st.integers(2, 4), st.integers(2, 9), st.integers(2, 9)), elements=st.integers(0, 1))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), truth=stacks, spacing=st.tuples(*[st.floats(0.3, 10)] * 3))
def test_a_stack_with_spacing_is_scored_as_medpy_scores_it(data, truth, spacing):
    ours = data.draw(arrays(np.uint8, truth.shape, elements=st.integers(0, 1)))
    assume(ours.any() and truth.any())
    scores = evaluate(ours, truth, ONE, spacing)["object"]
    assert scores["dice"] == pytest.approx(medpy.dc(ours, truth), abs=1e-9)
    assert scores["hd95"] == pytest.approx(medpy.hd95(ours, truth, spacing), abs=1e-9)
    assert scores["assd"] == pytest.approx(medpy.assd(ours, truth, spacing), abs=1e-9)
    assert scores["hd"] == pytest.approx(medpy.hd(ours, truth, spacing), abs=1e-9)
    assert scores["iou"] == pytest.approx(medpy.jc(ours, truth), abs=1e-9)
    assert scores["precision"] == pytest.approx(medpy.precision(ours, truth), abs=1e-9)
    assert scores["recall"] == pytest.approx(medpy.recall(ours, truth), abs=1e-9)
    assert scores["rve"] == pytest.approx(medpy.ravd(ours, truth), abs=1e-9)


def surface_points(mask, spacing):
    """Voxels with a neighbour outside the mask across a face, one after the other, in mm."""
    inside = {tuple(place) for place in np.argwhere(mask).tolist()}
    faces = [axis * sign for axis in np.eye(3, dtype=int) for sign in (1, -1)]
    edge = [place for place in inside if any(tuple((np.array(place) + face).tolist()) not in inside for face in faces)]
    return np.array(edge) * spacing


@settings(max_examples=60, deadline=None)
@given(data=st.data(), truth=stacks, spacing=st.tuples(*[st.floats(0.3, 10)] * 3), tolerance=st.floats(0, 10))
def test_distances_equal_brute_force_over_all_pairs_of_surface_voxels(data, truth, spacing, tolerance):
    ours = data.draw(arrays(np.uint8, truth.shape, elements=st.integers(0, 1)))
    assume(ours.any() and truth.any())
    one, other = surface_points(ours, spacing), surface_points(truth, spacing)
    apart = np.linalg.norm(one[:, None] - other, axis=2)
    out, back = apart.min(1), apart.min(0)
    pooled = np.concatenate([out, back])
    assume(np.abs(pooled - tolerance).min() > 1e-9)
    scores = evaluate(ours, truth, ONE, spacing, tolerance=tolerance)["object"]
    assert scores["hd95"] == pytest.approx(np.percentile(pooled, 95), abs=1e-9)
    assert scores["hd95_max"] == pytest.approx(max(np.percentile(out, 95), np.percentile(back, 95)), abs=1e-9)
    assert scores["hd"] == pytest.approx(pooled.max(), abs=1e-9)
    assert scores["assd"] == pytest.approx(pooled.mean(), abs=1e-9)
    assert scores["nsd"] == pytest.approx((pooled <= tolerance).mean(), abs=1e-9)


def test_a_far_spot_moves_the_largest_distance_and_not_the_95th_percentile():
    truth = square((10, 50), (10, 50), (100, 100))
    ours = truth.copy()
    ours[0, 90, 90] = 1
    scores = evaluate(ours, truth, ONE, tolerance=2.0)["object"]
    assert scores["hd95"] == scores["hd95_max"] == 0
    assert scores["hd"] == pytest.approx(2**0.5 * 41)
    assert scores["nsd"] == pytest.approx(312 / 313)


def test_nsd_by_hand():
    """A square of 7 x 7 has 24 surface voxels; shifted by 3, the columns on either side are 3 apart."""
    truth = square((5, 12), (5, 12))
    ours = np.roll(truth, 3, 2)
    near = evaluate(ours, truth, ONE, tolerance=3.0)["object"]
    assert near["nsd"] == 1
    assert evaluate(ours, truth, ONE, tolerance=0.0)["object"]["nsd"] == pytest.approx(16 / 48)
    assert np.isnan(evaluate(ours, truth, ONE)["object"]["nsd"])
    assert near["rve"] == 0
    assert near["precision"] == near["recall"] == pytest.approx(4 / 7)
    assert near["iou"] == pytest.approx(4 / 10)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), shape=st.tuples(st.just(1), st.integers(2, 9), st.integers(2, 9)))
def test_an_image_is_scored_in_two_dimensions(data, shape):
    ours, truth = (data.draw(arrays(np.uint8, shape, elements=st.integers(0, 1))) for _ in range(2))
    assume(ours.any() and truth.any())
    scores = evaluate(ours, truth, ONE)["object"]
    assert scores["hd95"] == pytest.approx(medpy.hd95(ours[0], truth[0]), abs=1e-9)
    assert scores["assd"] == pytest.approx(medpy.assd(ours[0], truth[0]), abs=1e-9)


@pytest.mark.parametrize("shift", [(3, 0), (0, 3)])
def test_a_shift_along_rows_costs_as_much_as_along_columns(shift):
    truth = square((5, 12), (5, 12))
    ours = np.roll(truth, shift, axis=(1, 2))
    assert evaluate(ours, truth, ONE)["object"]["hd95"] == 3


def test_rows_and_columns_have_their_own_spacing():
    truth = square((5, 12), (5, 12))
    down, right = np.roll(truth, 3, 1), np.roll(truth, 3, 2)
    assert evaluate(down, truth, ONE, (9.0, 2.0, 1.0))["object"]["hd95"] == 6
    assert evaluate(right, truth, ONE, (9.0, 2.0, 1.0))["object"]["hd95"] == 3


def test_a_region_that_was_not_found_costs_the_diagonal_and_is_counted():
    truth = square((5, 12), (5, 12), shape=(30, 40))
    scores = evaluate(np.zeros_like(truth), truth, ONE)["object"]
    assert [scores[name] for name in ("dice", "iou", "precision", "recall", "rve")] == [0, 0, 0, 0, -1]
    assert [scores[name] for name in ("hd95", "hd95_max", "hd", "assd")] == [50] * 4
    assert evaluate(np.zeros_like(truth), truth, ONE, tolerance=1.0)["object"]["nsd"] == 0
    assert (scores["n_missed"], scores["n_ghost"], scores["n_absent"]) == (1, 0, 0)


@pytest.mark.parametrize("predicted", [0, 1])
def test_a_region_that_the_truth_lacks_is_left_out_for_every_method(predicted):
    nothing = np.zeros((1, 8, 8), np.uint8)
    scores = evaluate(nothing + predicted, nothing, ONE)["object"]
    assert np.isnan([scores[metric] for metric in ("dice", "hd95", "assd")]).all()
    assert (scores["n_missed"], scores["n_ghost"], scores["n_absent"]) == (0, predicted, 1)


def test_a_stack_without_spacing_has_no_distance_in_three_dimensions():
    truth = np.concatenate([square((5, 12), (5, 12)), square((5, 12), (5, 12)), np.zeros((1, 20, 20), np.uint8)])
    ours = np.concatenate([np.roll(truth[:1], 2, 1), np.roll(truth[1:2], 4, 1), truth[:1]])
    scores = evaluate(ours, truth, ONE)["object"]
    assert np.isnan(scores["hd95"])
    assert np.isnan(scores["assd"])
    assert scores["hd95@slice"] == 3  # of 2 and 4; the slice without truth does not count


def test_a_slice_that_was_missed_costs_the_slice_diagonal():
    truth = np.concatenate([square((5, 12), (5, 12), (30, 40))] * 2)
    ours = truth.copy()
    ours[1] = 0
    assert evaluate(ours, truth, ONE)["object"]["hd95@slice"] == 25


def test_nested_regions_are_unions():
    mask = np.array([[[0, 1, 2, 2]] * 4], np.uint8)
    swapped = np.array([[[0, 2, 1, 2]] * 4], np.uint8)
    scores = evaluate(swapped, mask, {"cup": (1,), "disc": (1, 2)})
    assert scores["cup"]["dice"] == 0
    assert scores["disc"]["dice"] == 1


def test_single_voxels():
    one, other = np.zeros((2, 1, 6, 8), np.uint8)
    one[0, 1, 1] = other[0, 4, 5] = 1
    assert evaluate(one, other, ONE)["object"]["hd95"] == 5
    assert evaluate(one, one, ONE)["object"]["hd95"] == 0
    assert evaluate(*np.ones((2, 1, 1, 1), np.uint8), ONE)["object"]["hd95"] == 0


def test_an_empty_method_ranks_last_in_distance():
    truth = square((5, 12), (5, 12))
    worst_guess = square((0, 1), (0, 1)) + square((19, 20), (19, 20))
    assert evaluate(truth * 0, truth, ONE)["object"]["hd95"] > evaluate(worst_guess, truth, ONE)["object"]["hd95"]


def test_the_diagonal_leaves_out_axes_of_length_one():
    assert diagonal((1, 3, 4)) == 5
    assert diagonal((2, 3, 4), (0.5, 1.0, 1.0)) == pytest.approx(26**0.5)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="must be equal stacks"):
        evaluate(np.zeros((1, 4, 4), int), np.zeros((1, 4, 5), int), ONE)
