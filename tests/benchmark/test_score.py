from pathlib import Path

import h5py
import medpy.metric.binary as medpy
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.score.evaluate import COUNTS, METRICS, diagonal, evaluate, overlaps
from benchmark.score.metrics import percentile95
from tests.benchmark.test_surfaces import blocks

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics.npz")
ONE = {"object": (1,)}


def square(rows, columns, shape=(20, 20)):
    mask = np.zeros((1, *shape), np.uint8)
    mask[0, slice(*rows), slice(*columns)] = 1
    return mask


@pytest.mark.parametrize("pair", range(int(GOLDEN["in_count"])))
def test_scores_equal_the_golden_ones(pair):
    predicted, truth = (GOLDEN[f"in_p{pair:02d}_{side}"].astype(bool) for side in ("prediction", "reference"))
    spacing = GOLDEN[f"in_p{pair:02d}_spacing"]
    if not (predicted.any() and truth.any()):
        return
    found = overlaps(predicted, truth)
    for name, key in [("dice", "dc"), ("iou", "jc"), ("precision", "precision"), ("recall", "recall")]:
        assert found[name] == pytest.approx(GOLDEN[f"out_{key}"][pair], abs=1e-9)
    if min(predicted.shape) > 1:
        if predicted.ndim == 2:
            predicted, truth, spacing = predicted[None], truth[None], (1.0, *spacing)
        found = evaluate(predicted.astype(np.uint8), truth.astype(np.uint8), ONE, spacing)["object"]
        for name in ("hd95", "hd95_max", "hd", "assd"):
            assert found[name] == pytest.approx(GOLDEN[f"out_{name}"][pair], abs=1e-9)


stacks = arrays(np.uint8, st.tuples(st.integers(2, 4), st.integers(2, 9), st.integers(2, 9)), elements=st.integers(0, 1))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), truth=stacks, spacing=st.tuples(*[st.floats(0.3, 10)] * 3))
def test_a_stack_with_spacing_is_scored_as_medpy_scores_it(data, truth, spacing):
    predicted = data.draw(arrays(np.uint8, truth.shape, elements=st.integers(0, 1)))
    assume(predicted.any() and truth.any())
    scores = evaluate(predicted, truth, ONE, spacing)["object"]
    assert scores["dice"] == pytest.approx(medpy.dc(predicted, truth), abs=1e-9)
    assert scores["hd95"] == pytest.approx(medpy.hd95(predicted, truth, spacing), abs=1e-9)
    assert scores["assd"] == pytest.approx(medpy.assd(predicted, truth, spacing), abs=1e-9)
    assert scores["hd"] == pytest.approx(medpy.hd(predicted, truth, spacing), abs=1e-9)
    assert scores["iou"] == pytest.approx(medpy.jc(predicted, truth), abs=1e-9)
    assert scores["precision"] == pytest.approx(medpy.precision(predicted, truth), abs=1e-9)
    assert scores["recall"] == pytest.approx(medpy.recall(predicted, truth), abs=1e-9)
    assert scores["rve"] == pytest.approx(medpy.ravd(predicted, truth), abs=1e-9)


@pytest.mark.parametrize("spacing", [0.1, 0.2, 0.4, 0.8, 1.6])
def test_a_distance_of_the_tolerance_is_within_it_also_in_spacings_of_32_bits(spacing):
    truth, predicted = np.zeros((2, 1, 40, 90), np.uint8)
    truth[0, 10:30, 40:80], predicted[0, 10:30, 40 - round(2 / spacing) : 80] = 1, 1
    held = (1.0, float(np.float32(spacing)), float(np.float32(spacing)))
    assert evaluate(predicted, truth, ONE, held, tolerance=2.0)["object"]["nsd"] == 1.0


def surface_points(mask, spacing):
    """Voxels with a neighbour outside the mask across a face, one after the other, in mm."""
    inside = {tuple(place) for place in np.argwhere(mask).tolist()}
    faces = [axis * sign for axis in np.eye(3, dtype=int) for sign in (1, -1)]
    edge = [place for place in inside if any(tuple((np.array(place) + face).tolist()) not in inside for face in faces)]
    return np.array(edge) * spacing


@settings(max_examples=60, deadline=None)
@given(data=st.data(), truth=stacks, spacing=st.tuples(*[st.floats(0.3, 10)] * 3), tolerance=st.floats(0, 10))
def test_distances_equal_brute_force_over_all_pairs_of_surface_voxels(data, truth, spacing, tolerance):
    predicted = data.draw(arrays(np.uint8, truth.shape, elements=st.integers(0, 1)))
    assume(predicted.any() and truth.any())
    one, other = surface_points(predicted, spacing), surface_points(truth, spacing)
    apart = np.linalg.norm(one[:, None] - other, axis=2)
    out, back = apart.min(1), apart.min(0)
    pooled = np.concatenate([out, back])
    assume(np.abs(pooled - tolerance).min() > 1e-4)
    scores = evaluate(predicted, truth, ONE, spacing, tolerance=tolerance)["object"]
    assert scores["hd95"] == pytest.approx(np.percentile(pooled, 95), abs=1e-9)
    assert scores["hd95_max"] == pytest.approx(max(np.percentile(out, 95), np.percentile(back, 95)), abs=1e-9)
    assert scores["hd"] == pytest.approx(pooled.max(), abs=1e-9)
    assert scores["assd"] == pytest.approx(pooled.mean(), abs=1e-9)
    assert scores["nsd"] == pytest.approx((pooled <= tolerance).mean(), abs=1e-9)


@pytest.fixture(scope="module")
def monai():
    """A second library for the same metrics; imported here, since it takes seconds."""
    import monai.metrics

    return monai.metrics


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI 1.6 warns of its own call
@settings(max_examples=60, deadline=None)
@given(data=st.data(), shape=st.sampled_from([(1, 45, 30), (6, 40, 30), (20, 20, 20)]))
def test_an_image_or_a_stack_is_scored_as_monai_scores_it(monai, data, shape):
    """MONAI takes the larger of the two directions' percentiles, and computes in single precision."""
    predicted, truth = data.draw(blocks(shape)), data.draw(blocks(shape))
    spacing = data.draw(st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 1.56, 3.0, 10.0])] * 3))
    scores = evaluate(predicted, truth, ONE, spacing, tolerance=2.345)["object"]
    axes = slice(1, None) if shape[0] == 1 else slice(None)
    pair = [torch.from_numpy(mask.reshape(1, 1, *shape[axes])) for mask in (predicted, truth)]
    given_ = {"include_background": True, "spacing": list(spacing[axes])}
    for name, found in {
        "hd95_max": monai.compute_hausdorff_distance(*pair, percentile=95, **given_),
        "hd": monai.compute_hausdorff_distance(*pair, **given_),
        "assd": monai.compute_average_surface_distance(*pair, symmetric=True, **given_),
        "nsd": monai.compute_surface_dice(*pair, class_thresholds=[2.345], **given_),
        "dice": monai.compute_dice(*pair),
        "iou": monai.compute_iou(*pair),
    }.items():
        assert scores[name] == pytest.approx(found.item(), abs=1e-3), name


@settings(max_examples=60, deadline=None)
@given(data=st.data(), shape=st.sampled_from([(6, 40, 30), (20, 20, 20)]), spacing=st.tuples(*[st.floats(0.3, 10)] * 3))
def test_near_and_far_blocks_are_scored_as_medpy_scores_them(data, shape, spacing):
    predicted, truth = data.draw(blocks(shape)), data.draw(blocks(shape))
    scores = evaluate(predicted, truth, ONE, spacing)["object"]
    assert scores["hd95"] == pytest.approx(medpy.hd95(predicted, truth, spacing), abs=1e-9)
    assert scores["assd"] == pytest.approx(medpy.assd(predicted, truth, spacing), abs=1e-9)
    assert scores["hd"] == pytest.approx(medpy.hd(predicted, truth, spacing), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), shape=st.tuples(st.integers(2, 4), st.integers(2, 30), st.integers(2, 30)))
def test_slices_are_scored_as_medpy_scores_each_and_averaged(data, shape):
    predicted, truth = data.draw(blocks(shape)), data.draw(blocks(shape))
    scores = evaluate(predicted, truth, ONE)["object"]
    for metric in ("hd95", "assd"):
        each = [
            getattr(medpy, metric)(o, t) if o.any() else np.hypot(*shape[1:])
            for o, t in zip(predicted, truth, strict=True)
            if t.any()
        ]
        assert scores[f"{metric}@slice"] == pytest.approx(np.mean(each), abs=1e-9)


@pytest.mark.slow
def test_a_real_volume_is_scored_as_medpy_scores_it(real_data):
    with h5py.File(real_data / "acdc" / "ACDC_training_volumes" / "patient001_frame01.h5") as file:
        truth = file["label"][()].astype(np.uint8)
    spacing, predicted = (10.0, 1.5625, 1.5625), np.roll(truth, (2, -1), (1, 2))
    scores = evaluate(predicted, truth, {"right": (1,), "heart": (1, 2, 3)}, spacing)
    for region, labels in {"right": [1], "heart": [1, 2, 3]}.items():
        pair = np.isin(predicted, labels), np.isin(truth, labels)
        assert scores[region]["dice"] == pytest.approx(medpy.dc(*pair), abs=1e-9)
        assert scores[region]["hd95"] == pytest.approx(medpy.hd95(*pair, spacing), abs=1e-9)
        assert scores[region]["assd"] == pytest.approx(medpy.assd(*pair, spacing), abs=1e-9)


@given(values=arrays(float, st.integers(1, 200), elements=st.floats(0, 1000)))
def test_the_percentile_is_numpys_to_the_last_bit(values):
    assert percentile95(values) == np.percentile(values, 95)


def test_a_far_spot_moves_the_largest_distance_and_not_the_95th_percentile():
    truth = square((10, 50), (10, 50), (100, 100))
    predicted = truth.copy()
    predicted[0, 90, 90] = 1
    scores = evaluate(predicted, truth, ONE, tolerance=2.0)["object"]
    assert scores["hd95"] == scores["hd95_max"] == 0
    assert scores["hd"] == pytest.approx(2**0.5 * 41)
    assert scores["nsd"] == pytest.approx(312 / 313)


def test_nsd_by_hand():
    """A square of 7 x 7 has 24 surface voxels; shifted by 3, the columns on either side are 3 apart."""
    truth = square((5, 12), (5, 12))
    predicted = np.roll(truth, 3, 2)
    near = evaluate(predicted, truth, ONE, tolerance=3.0)["object"]
    assert near["nsd"] == 1
    assert evaluate(predicted, truth, ONE, tolerance=0.0)["object"]["nsd"] == pytest.approx(16 / 48)
    assert np.isnan(evaluate(predicted, truth, ONE)["object"]["nsd"])
    assert near["rve"] == 0
    assert near["precision"] == near["recall"] == pytest.approx(4 / 7)
    assert near["iou"] == pytest.approx(4 / 10)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), shape=st.tuples(st.just(1), st.integers(2, 9), st.integers(2, 9)))
def test_an_image_is_scored_in_two_dimensions(data, shape):
    predicted, truth = (data.draw(arrays(np.uint8, shape, elements=st.integers(0, 1))) for _ in range(2))
    assume(predicted.any() and truth.any())
    scores = evaluate(predicted, truth, ONE)["object"]
    assert scores["hd95"] == pytest.approx(medpy.hd95(predicted[0], truth[0]), abs=1e-9)
    assert scores["assd"] == pytest.approx(medpy.assd(predicted[0], truth[0]), abs=1e-9)


@pytest.mark.parametrize("shift", [(3, 0), (0, 3)])
def test_a_shift_along_rows_costs_as_much_as_along_columns(shift):
    truth = square((5, 12), (5, 12))
    predicted = np.roll(truth, shift, axis=(1, 2))
    assert evaluate(predicted, truth, ONE)["object"]["hd95"] == 3


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


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("spacing", [None, (9.0, 2.0, 1.0)])
@pytest.mark.parametrize("predicted", [0, 1])
def test_a_region_that_the_truth_lacks_is_left_out_for_every_method(predicted, spacing, slices):
    nothing = np.zeros((slices, 8, 8), np.uint8)
    scores = evaluate(nothing + predicted, nothing, ONE, spacing, tolerance=1.0)["object"]
    assert np.isnan([scores[metric] for metric in METRICS]).all()
    assert (scores["n_missed"], scores["n_ghost"], scores["n_absent"]) == (0, predicted, 1)


def test_a_region_that_was_missed_in_a_volume_costs_the_diagonal_in_mm():
    truth = np.concatenate([square((5, 12), (5, 12), (30, 40))] * 3)
    scores = evaluate(truth * 0, truth, ONE, (40.0, 3.0, 1.0))["object"]
    assert [scores[name] for name in ("hd95", "hd95_max", "hd", "assd")] == [(120**2 + 90**2 + 40**2) ** 0.5] * 4
    assert np.isnan(scores["hd95@slice"])
    assert scores["n_missed"] == 1


def test_a_region_that_was_missed_in_all_slices_costs_the_slice_diagonal():
    truth = np.concatenate([square((5, 12), (5, 12), (30, 40))] * 2)
    scores = evaluate(truth * 0, truth, ONE)["object"]
    assert scores["hd95@slice"] == scores["hd95_max@slice"] == scores["assd@slice"] == 50
    assert scores["n_missed"] == 1


def test_every_region_has_every_score_as_a_plain_number():
    truth = np.concatenate([square((5, 12), (5, 12))] * 2)
    for spacing in (None, (9.0, 2.0, 1.0)):
        for prediction in (truth, truth * 0, np.roll(truth, 1, 2)):
            scores = evaluate(prediction, truth, {"object": (1,), "nothing": (2,)}, spacing, tolerance=1.0)
            for values in scores.values():
                assert tuple(values) == (*METRICS, *COUNTS)
                assert {type(value) for value in values.values()} <= {float, int}


def test_a_stack_without_spacing_has_no_distance_in_three_dimensions():
    truth = np.concatenate([square((5, 12), (5, 12)), square((5, 12), (5, 12)), np.zeros((1, 20, 20), np.uint8)])
    predicted = np.concatenate([np.roll(truth[:1], 2, 1), np.roll(truth[1:2], 4, 1), truth[:1]])
    scores = evaluate(predicted, truth, ONE)["object"]
    assert np.isnan([scores[name] for name in ("hd95", "hd95_max", "assd", "nsd")]).all()
    assert scores["hd95@slice"] == scores["hd95_max@slice"] == 3  # of 2 and 4; the slice without truth does not count


def test_a_slice_that_was_missed_costs_the_slice_diagonal():
    truth = np.concatenate([square((5, 12), (5, 12), (30, 40))] * 2)
    predicted = truth.copy()
    predicted[1] = 0
    scores = evaluate(predicted, truth, ONE, tolerance=2)["object"]
    assert scores["hd95@slice"] == scores["hd95_max@slice"] == 25
    assert (scores["nsd@slice"], scores["diagonal"]) == (0.5, 50)


def test_a_slice_has_the_larger_direction_and_the_share_within_the_tolerance():
    """Two slices, each with a distant pixel of 8 surface pixels: 7 distances of 0 there, 1 of 10; none missing on return."""
    truth = np.zeros((2, 20, 20), np.uint8)
    truth[:, 5:8, 5:8] = 1
    predicted = truth.copy()
    predicted[:, 5, 17] = 1
    scores = evaluate(predicted, truth, ONE, tolerance=2)["object"]
    assert scores["hd95_max@slice"] == pytest.approx(np.percentile([0] * 8 + [10], 95))
    assert scores["nsd@slice"] == pytest.approx(16 / 17)


def test_nested_regions_are_unions():
    mask = np.array([[[0, 1, 2, 2]] * 4], np.uint8)
    swapped = np.array([[[0, 2, 1, 2]] * 4], np.uint8)
    scores = evaluate(swapped, mask, {"cup": (1,), "disc": (1, 2)})
    assert scores["cup"]["dice"] == 0
    assert scores["disc"]["dice"] == 1


@settings(max_examples=60, deadline=None)
@given(data=st.data(), spacing=st.sampled_from([None, (9.0, 2.0, 1.0)]))
def test_a_union_of_labels_is_scored_as_a_label_of_its_own(data, spacing):
    """Labels up to 255; regions may overlap, name labels that nobody has, or hold the background."""
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9)))
    labels = st.sampled_from([0, 1, 2, 254, 255])
    predicted, truth = (data.draw(arrays(np.uint8, shape, elements=labels)) for _ in range(2))
    regions = {"disc": (1, 2), "cup": (1,), "last": (254, 255, 300), "other": (0, 2)}
    regions = {name: regions[name] for name in data.draw(st.sampled_from([("disc", "cup", "last"), tuple(regions)]))}
    scores = evaluate(predicted, truth, regions, spacing, tolerance=1.0)
    for name, union in regions.items():
        pair = (np.isin(predicted, union), np.isin(truth, union))
        alone = evaluate(*(mask.astype(np.uint8) for mask in pair), ONE, spacing, tolerance=1.0)["object"]
        assert scores[name] == pytest.approx(alone, abs=1e-9, nan_ok=True)


def read_only(mask):
    mask = mask.copy()
    mask.flags.writeable = False
    return mask


FORMS = {
    "booleans": lambda mask: mask.astype(bool),
    "signed": lambda mask: mask.astype(np.int64),
    "unsigned": lambda mask: mask.astype(np.uint64),
    "by columns": np.asfortranarray,
    "every other row": lambda mask: np.repeat(mask, 2, 1)[:, ::2],
    "read-only": read_only,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spacing", [None, (9.0, 2.0, 1.0)])
def test_the_form_of_an_array_does_not_matter(form, spacing):
    truth = np.concatenate([square((5, 12), (5, 12))] * 2)
    predicted = np.roll(truth, (2, 1), (1, 2))
    expected = evaluate(predicted, truth, ONE, spacing)["object"]
    change = FORMS[form]
    for pair in ((change(predicted), truth), (predicted, change(truth)), (change(predicted), change(truth))):
        assert evaluate(*pair, ONE, spacing)["object"] == pytest.approx(expected, nan_ok=True)


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
