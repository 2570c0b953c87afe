"""ProCNS against the golden vectors and the acceptance checks of its specification, part by part and as a whole."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.methods.augment import IGNORE
from benchmark.methods.base import Batch
from benchmark.methods.losses import affinity, partial_cross_entropy, prsa
from benchmark.methods.procns import (
    BANDWIDTH,
    BETWEEN,
    SETTINGS,
    ProCNS,
    _ends,
    averagings,
    fires,
    first_fit,
    fit_curve,
    mask_noise,
    smooth,
    soft_dice,
    soft_labels,
    train_dice,
)
from benchmark.methods.pseudo_labels import running_average
from benchmark.plan import plugins
from benchmark.seal.contract import Budget
from tests.support.golden_vectors import Golden, families
from tests.support.losses import loss_at, scenes

# ----------------------------------------------------------------------------------------------- smoothing and curves


def searched_bandwidth(values):
    """The published search: the best of 50 by the log-likelihood of five folds under a Gaussian kernel density."""
    folds = np.array_split(np.arange(len(values)), 5)

    def likelihood(h):
        total = 0.0
        for fold in folds:
            rest = np.delete(values, fold)
            spacing = -0.5 * ((values[fold, None] - rest) / h) ** 2
            total += (np.log(np.exp(spacing).mean(1)) - np.log(h * math.sqrt(2 * math.pi))).sum()
        return total

    return max(np.logspace(-0.3, 0, 50), key=likelihood)


@pytest.mark.parametrize("name", families("anpm_lwlr"))
def test_smoothing_equals_the_published_loop(name):
    golden = Golden(name).arrays
    found = smooth(golden["in_x"], golden["in_y"], float(golden["out_bandwidth"]))
    np.testing.assert_allclose(found, golden["out_smoothed"], rtol=0, atol=1e-9)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=40), st.floats(0.3, 4), st.floats(0.02, 1))
@settings(max_examples=60, deadline=None)
def test_smoothing_equals_a_loop_from_the_formula(values, bandwidth, spacing):
    x, y = np.arange(len(values)) * spacing, np.array(values)
    bandwidth = max(bandwidth, 0.6 * spacing)
    expected = []
    for at in x:
        w = np.diag(np.exp(-((x - at) ** 2) / (2 * bandwidth**2)))
        line = np.stack([np.ones_like(x), x - at], 1)
        expected.append(np.linalg.solve(line.T @ w @ line, line.T @ w @ y)[0])
    np.testing.assert_allclose(smooth(x, y, bandwidth), expected, rtol=0, atol=1e-6)


def test_points_without_neighbours_are_left_as_they_are():
    """The published code meets a singular matrix there."""
    x, y = np.arange(0, 500, 5.0), np.random.default_rng(0).random(100)
    np.testing.assert_array_equal(smooth(x, y, 0.1), y)


def test_long_histories_are_smoothed_window_by_window():
    x, y = np.linspace(0, 2000, 2000), np.random.default_rng(0).random(2000)
    np.testing.assert_allclose(
        smooth(x, y, BANDWIDTH)[990:1010], smooth(x[900:1100], y[900:1100], BANDWIDTH)[90:110], atol=1e-12
    )


def test_the_published_search_finds_the_smallest_bandwidth_for_dice_values():
    """So a constant takes its place; on values of a wider range the same search ends elsewhere, as the golden one did."""
    wide = Golden("anpm_lwlr_wide").arrays
    assert searched_bandwidth(wide["in_y"]) == pytest.approx(float(wide["out_bandwidth"]))
    for name in families("anpm_update"):
        assert np.unique(Golden(name).arrays["out_bandwidth"]) == pytest.approx([BANDWIDTH])
    rng = np.random.default_rng(0)
    for _ in range(20):
        rising = np.clip(1 - rng.random() * np.exp(-np.arange(120) / rng.uniform(1, 200)) + rng.normal(0, 0.1, 120), 0, 1)
        assert searched_bandwidth(rising) == pytest.approx(BANDWIDTH)


def test_the_fit_equals_the_published_one():
    golden = Golden("anpm_fit").arrays
    x = golden["in_x"]
    for y, determined, expected, fitted in zip(
        golden["in_y"], golden["out_parameters_determined"], golden["out_abc"], golden["out_fitted"], strict=True
    ):
        a, b, c = fit_curve(x, y)
        np.testing.assert_allclose(a * (1 - np.exp(-(x**b) / c)), fitted, rtol=0, atol=1e-3)
        if determined:
            np.testing.assert_allclose((a, b, c), expected, rtol=1e-3)


@pytest.mark.parametrize("name", families("anpm_update"))
def test_classes_fire_when_the_published_code_declares_them(name):
    golden = Golden(name).arrays
    per_epoch = int(golden["in_batches_per_epoch"])
    for curve, declared, margins in zip(golden["in_curves"], golden["out_declared"], golden["out_margin"], strict=True):
        for epoch, row, margin in zip(golden["in_epochs"], declared, margins, strict=True):
            for r, expected, room in zip(golden["in_r"], row, margin, strict=True):
                if room > 1e-3 or math.isnan(room):
                    assert (
                        fires(curve, batches_per_epoch=per_epoch, epoch=int(epoch), r=float(r), reference=True) == expected
                    )


def first(curve, per_epoch, last, r, **reference):
    return next((e for e in range(2, last + 1) if fires(curve, batches_per_epoch=per_epoch, epoch=e, r=r, **reference)), -1)


@pytest.mark.parametrize("name", families("anpm_update"))
def test_the_first_epoch_that_fires_in_either_unit(name):
    golden = Golden(name).arrays
    per_epoch, last = int(golden["in_batches_per_epoch"]), int(golden["in_scan_last"])
    compared = 0
    for number, curve in enumerate(golden["in_curves"]):
        for column, r in enumerate(golden["in_r"].tolist()):
            if golden["out_first_declared_margin"][number, column] < 1e-3:
                continue
            expected = golden["out_first_declared_epoch"][number, column]
            if expected != -2:
                assert first(curve, per_epoch, last, r, reference=True) == expected
                compared += 1
            expected = golden["out_first_declared_epoch_x_in_epochs"][number, column]
            if expected != -2:
                assert first(curve, per_epoch, last, r) == expected
                compared += 1
    assert compared > 10


@pytest.mark.parametrize(
    ("low", "high", "tau", "iterations", "epochs"),
    [(0.93, 0.93, 1, {3}, {2, 3, 4}), (0.9, 0.97, 200, {16}, {12}), (0.7, 0.95, 100, {20}, {9}), (0.3, 0.95, 100, {-1}, {7}),
     (0, 0.95, 300, {-1}, {17})],
)  # fmt: skip
def test_the_specification_s_table_of_triggers(low, high, tau, iterations, epochs):
    curve = high - (high - low) * np.exp(-np.arange(22 * 59) / tau)
    assert first(curve, 59, 20, 0.95, reference=True) in iterations
    assert first(curve, 59, 20, 0.95) in epochs


def test_only_the_epochs_so_far_count():
    curve = np.full(600, 0.93)
    longer = np.concatenate([curve, np.random.default_rng(0).random(600)])
    for epoch in range(2, 9):
        same = [fires(c, batches_per_epoch=60, epoch=epoch) for c in (curve[: 60 * (epoch + 1)], longer)]
        assert same[0] == same[1]


def test_a_curve_that_can_not_be_fitted_does_not_fire():
    assert not fires(np.full(60, np.nan), batches_per_epoch=20, epoch=2)


# ------------------------------------------------------------------------------------------------------------- masking


def toys():
    golden = Golden("anpm_mask").arrays
    return [name[3:6] for name in golden.files if name.endswith("_pseudo_label")]


@pytest.mark.parametrize("ignore", ["classes", IGNORE])
@pytest.mark.parametrize("toy", toys())
def test_masking_equals_the_published_one(toy, ignore):
    golden = Golden("anpm_mask").arrays
    part = {key.split(f"{toy}_")[1]: golden[key] for key in golden.files if f"_{toy}_" in key}
    classes = int(part["num_classes"])
    ignore = classes if ignore == "classes" else ignore
    pseudo = np.where(part["pseudo_label"] == classes, ignore, part["pseudo_label"])
    found = mask_noise(
        pseudo, part["predicted_class"], part["confidence"], part["updated_classes"].tolist(),
        float(part["confidence_threshold"]), ignore,
    )  # fmt: skip
    if part["is_none"]:
        assert found is None
    else:
        np.testing.assert_array_equal(found, np.where(part["new_label"] == classes, ignore, part["new_label"]))


def test_masking_leaves_its_input_alone():
    pseudo = np.array([[0, 1], [1, 1]])
    found = mask_noise(pseudo, np.array([[0, 0], [1, 1]]), np.ones((2, 2)), [1], 0.5, IGNORE)
    assert found.tolist() == [[0, IGNORE], [1, 1]]
    assert pseudo.tolist() == [[0, 1], [1, 1]]


def test_the_training_dice_equals_the_published_count():
    golden = Golden("train_dice")
    classes = int(golden["in_num_classes"])
    found = train_dice(golden["in_prediction"], golden.labels("in_pseudo_label", classes), classes)
    torch.testing.assert_close(found, golden["out_dice"], rtol=0, atol=1e-12)


def test_the_running_average_equals_the_published_one():
    """Also as it is kept, in half precision: the labels are the same."""
    golden = Golden("ema_label")
    average, kept = torch.zeros_like(golden["in_probs"][0]), torch.zeros_like(golden["in_probs"][0]).half()
    for probs, label in zip(golden["in_probs"], golden["out_label"], strict=True):
        average = running_average(average, probs, float(golden["in_alpha"]))
        kept = running_average(kept.float(), probs, float(golden["in_alpha"])).half()
        assert torch.equal(average.argmax(0), label)
        assert torch.equal(kept.argmax(0), label)
    torch.testing.assert_close(average, golden["out_average"][-1], rtol=0, atol=1e-6)


# --------------------------------------------------------------------------------------------------------- soft labels


@pytest.mark.parametrize("name", families("soft_target"))
def test_soft_labels_equal_the_published_ones(name):
    golden = Golden(name)
    torch.testing.assert_close(soft_labels(golden["in_refined_logits"]), golden["out_soft_target"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", families("boundary"))
def test_the_soft_dice_equals_the_published_boundary_term(name):
    golden = Golden(name)
    logits = golden["in_logits"].requires_grad_()
    loss = soft_dice(logits, soft_labels(golden["in_refined_logits"]), golden["in_noisy_mask"] > 0)
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["out_loss"], rtol=0, atol=1e-6)
    torch.testing.assert_close(logits.grad, golden["out_grad_logits"], rtol=0, atol=1e-7)


def test_nothing_masked_has_a_soft_dice_of_exactly_zero():
    logits = torch.randn(2, 3, 8, 8)
    assert soft_dice(logits, soft_labels(logits), torch.zeros(2, 8, 8, dtype=torch.bool)).item() == 0


# ----------------------------------------------------------------------------------------------------------- the whole


class Recorder:
    """A log that remembers."""

    def __init__(self):
        self.lines = []

    def __call__(self, step, /, **values):
        self.lines.append({"step": step} | values)

    def values(self, name):
        return [line[name] for line in self.lines if name in line]


def learnt(budget=None, **options):
    method, log = ProCNS(**options), Recorder()
    torch.manual_seed(0)
    method.fit(scenes(6), budget or Budget(steps=60, batch=3, size=32), log)
    return method, log


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return Batch(torch.rand(2, 1, 32, 32), torch.randint(1, 8, (2, 32, 32)).int(), torch.arange(2), None)


@pytest.fixture
def second(batch):
    """A batch of the second phase, some of whose pseudo-labels are masked."""
    memory = torch.randint(0, 4, (2, 32, 32))
    batch.memory = torch.where(memory == 3, IGNORE, memory).to(torch.uint8)
    return batch


def built(**options):
    """With its network, ready for `loss`; dropout is off, so that two passes agree, and windows are as published."""
    method = plugins.configure(ProCNS, {"window": "pixels"} | options)
    torch.manual_seed(0)
    method.channels, method.classes, method.device = 1, 3, torch.device("cpu")
    method.budget = Budget(steps=10, size=32)
    method.build(1, 3, method.budget)
    method.net.eval()
    return method


def pairs(method, batch, labels, encoder=True, decoder=True, image=None):
    features = method.net.features(batch.image)
    maps = features.encoder[8] if encoder else None, features.decoder[2] if decoder else None
    image = batch.image if image is None else image
    return features.logits, maps, prsa(features.logits, image, labels, batch.labels == IGNORE, *maps)


def test_the_first_phase_is_partial_cross_entropy_and_a_tenth_of_prsa(batch):
    method = built()
    logits, _, found = pairs(method, batch, batch.labels)
    expected = partial_cross_entropy(logits, batch.allowed) + 0.1 * found.loss
    torch.testing.assert_close(loss_at(method, batch, 0.1), expected)


def test_the_second_phase_is_the_published_sum(second):
    method = built()
    labels = second.memory.long()
    logits, _, found = pairs(method, second, labels)
    expected = (
        partial_cross_entropy(logits, second.allowed)
        + 0.1 * found.loss
        + 0.5 * F.cross_entropy(logits, labels, ignore_index=IGNORE)
        + 0.01 * soft_dice(logits, soft_labels(found.refined), labels == IGNORE)
    )
    torch.testing.assert_close(loss_at(method, second, 0.9), expected)
    assert torch.equal(method.dice[7], train_dice(logits.argmax(1), labels, 3))
    assert not method.dice[:7].any()


def test_ablations_leave_their_term_out(second):
    labels = second.memory.long()
    method = built(prsa_weight=0)
    logits, maps, _ = pairs(method, second, labels)
    base = partial_cross_entropy(logits, second.allowed) + 0.5 * F.cross_entropy(logits, labels, ignore_index=IGNORE)
    soft = soft_dice(logits, soft_labels(affinity(*maps, labels, logits) * logits), labels == IGNORE)
    torch.testing.assert_close(loss_at(method, second, 0.9), base + 0.01 * soft)
    torch.testing.assert_close(loss_at(built(prsa_weight=0, soft_labels=False), second, 0.9), base)
    for prototypes, encoder, decoder in [("batch", True, False), ("sample", False, True)]:
        method = built(soft_labels=False, prototypes=prototypes)
        _, _, found = pairs(method, second, labels, encoder, decoder)
        torch.testing.assert_close(loss_at(method, second, 0.9), base + 0.1 * found.loss)


def test_everything_masked_does_not_divide_by_zero(second):
    second.memory = torch.full_like(second.memory, IGNORE)
    assert torch.isfinite(loss_at(built(), second, 0.9))


def test_grey_counts_three_times_in_the_faz_setting(batch):
    method = built(setting="FAZ-point")
    logits, _, found = pairs(method, batch, batch.labels, image=batch.image.repeat(1, 3, 1, 1))
    torch.testing.assert_close(loss_at(method, batch, 0.1), partial_cross_entropy(logits, batch.allowed) + 0.1 * found.loss)


def test_settings_hold_the_published_shares():
    steps = 30000
    for name, first_phase, threshold in [
        ("FAZ-point", 5900, 0.5),
        ("ODOC-scribble", 26400, 0.3),
        ("Polyp-block", 3750, 0.5),
    ]:
        method = built(setting=name)
        method.build(1, 3, Budget(steps=steps, size=32))
        assert (method.boundary, method.threshold) == (first_phase, threshold)
    assert set(SETTINGS) == {"", "FAZ-point", "ODOC-scribble", "Polyp-block"}
    method = ProCNS(setting="FAZ-point", phase_one=0.5)
    assert method.times(Budget(steps=steps))[1] == 15000


def test_a_short_run_averages_and_the_last_time_where_the_phase_ends():
    """An epoch of 60 steps is an eighth of a step: an average is made after each step, and as if it were eight epochs."""
    method, log = learnt(phase_one=0.2, anpm=False)
    assert method.boundary == 12
    assert [line["step"] for line in log.lines if set(line) == {"step", "changed"}] == [10, 11]  # the first has no rival
    assert method.facts == {"averagings": 3}
    assert log.values("second_phase") == [12]
    assert len(method.dice) == 48
    assert (method.dice[:, 0] > 0).all()
    method, _ = learnt(Budget(steps=4, batch=3, size=32), phase_one=0.25)
    assert method.calibrated is not None
    assert len(method.dice) == 3
    assert method.facts == {"averagings": 1, "anpm_fired": False}


def test_a_first_phase_alone_keeps_no_pseudo_labels():
    method, _ = learnt(Budget(steps=8, batch=3, size=32), phase_one=1.0)
    assert method.memory is None
    assert not len(method.dice)
    assert not method.facts


# ------------------------------------------------------------------------------------------------ time, as a share

EPOCH = 59 / 30000


def averaged(predictions, at, newest):
    """The running average of predictions (steps, ...) after those steps."""
    average = np.zeros_like(predictions[0])
    for step in at:
        average = newest * predictions[step - 1] + (1 - newest) * average
    return average


@pytest.mark.parametrize("steps", [1000, 30000])
def test_the_average_is_that_of_every_published_epoch(steps):
    """All but the oldest 0.9 %, which are left out."""
    rng, epoch, boundary = np.random.default_rng(0), EPOCH * steps, steps // 5
    predictions = rng.random((boundary, 50))
    found = averaged(predictions, *averagings(boundary, epoch, 0.2, passes=30))
    every = [boundary - int(j * epoch + 1e-9) for j in reversed(range(int(boundary / epoch)))]
    assert 100 <= len(every) <= 102
    np.testing.assert_allclose(found, averaged(predictions, every, 0.2), rtol=0, atol=0.015)
    assert len(averagings(boundary, epoch, 0.2, passes=30)[0]) == 21


def test_the_averagings_depend_on_the_images_only_where_passes_are_few():
    few, several = (averagings(200, 1.97, 0.2, 200 * 8 / images) for images in (21, 70))
    assert few == several
    acdc, newest = averagings(200, 1.97, 0.2, 200 * 8 / 1330)
    assert acdc == [161, 171, 181, 191, 200]
    assert newest == pytest.approx(1 - 0.8**5)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.99, 1.0])
@pytest.mark.parametrize("epoch", [0.02, 0.6, 500 * EPOCH, 1.25, 59, 75])
@pytest.mark.parametrize("boundary", [1, 2, 38, 100, 3750])
def test_there_is_always_an_averaging_and_never_two_after_one_step(alpha, epoch, boundary):
    at, newest = averagings(boundary, epoch, alpha, passes=1.5)
    assert at == sorted(set(at))
    assert at[0] >= 1
    assert at[-1] == boundary
    assert 0 < newest <= 1


@pytest.mark.parametrize(
    ("epoch", "length", "step"),
    [(59, 24000, 177), (75, 52500, 225), (5.9, 2400, 60), (1.97, 800, 60), (1.1, 60, 45), (0.98, 400, 60), (0.6, 240, 60)],
)
def test_curves_are_fitted_from_three_epochs_and_enough_steps_on(epoch, length, step):
    assert first_fit(epoch, length) == step


def fires_at(steps, tau, seed=0, until=1.0):
    """The share of the second phase after which a class with such a training Dice fires; tau in published epochs."""
    length, epoch = round(0.8 * steps), EPOCH * steps
    rng = np.random.default_rng(seed)
    curve = 0.95 * (1 - np.exp(-np.arange(length) / epoch / tau)) + rng.normal(0, 0.02, length)
    for done in range(first_fit(epoch, length), round(until * length)):
        at = int(done / epoch + 1e-9) - 1
        if _ends(done, max(epoch, BETWEEN)) and fires(curve, batches_per_epoch=epoch, epoch=at):
            return done / length
    return math.nan


@pytest.mark.parametrize("tau", [20, 50])
def test_a_class_fires_at_the_same_share_of_500_1000_and_3000_steps(tau):
    """Where its curve has dropped to a twentieth of its slope: after 3 tau epochs of 407."""
    for steps in (500, 1000, 3000):
        assert fires_at(steps, tau) == pytest.approx(3 * tau / 407, abs=0.05)


def test_a_class_does_not_fire_before_it_has_learnt():
    """tau is a time constant of 300 steps of 1000, as a curve of a few points fired at a Dice of 0.04."""
    assert all(math.isnan(fires_at(1000, 300 / (1000 * EPOCH), seed, until=0.2)) for seed in range(3))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_run_of_500_steps_fits_curves_while_it_lasts(setting):
    method = ProCNS(setting=setting)
    assert method.left_out(Budget(steps=500)) == ""
    epoch, boundary = method.times(Budget(steps=500))
    assert boundary + first_fit(epoch, 500 - boundary) < 500


def test_a_budget_that_leaves_noise_suppression_out_is_told():
    said = ProCNS(setting="ODOC-scribble").left_out(Budget(steps=300))
    assert said == "300 steps leave noise suppression out: the second phase has 36 and it needs 46"
    assert ProCNS().left_out(Budget(steps=300)) == ""
    assert not ProCNS(anpm=False).left_out(Budget(steps=20))
    assert not ProCNS(phase_one=1).left_out(Budget(steps=20))


@pytest.mark.parametrize(("images", "maskings"), [(21, 305), (400, 16), (1330, 8)])
def test_noise_is_masked_once_a_pass_but_at_least_eight_times(images, maskings):
    method = built()
    method.budget, method.images, method.fired = Budget(steps=1000, batch=8), range(images), [1]
    method.epoch, method.boundary = method.times(method.budget)
    done = []
    method.log, method._slices = (lambda *_, **__: None), list
    method._fit_curves, method._mask = (lambda _: {}), (lambda _: done.append(1) or {"masked_1": 0.0})
    for step in range(method.boundary, 1000):
        method.between_steps(step + 1)
    assert len(done) == pytest.approx(maskings, abs=1)


@pytest.mark.slow
def test_noise_is_perceived_masked_and_logged():
    method, log = learnt(Budget(steps=120, batch=3, size=32))
    assert method.fired == [1]
    assert method.facts["anpm_fired"] is True
    assert method.facts["masked"] == pytest.approx(float((method.memory == IGNORE).double().mean()), abs=1e-4)
    (epoch,) = log.values("fired_1")
    assert epoch >= 2
    assert log.values("masked_1")
    assert all(0 <= share <= 1 for share in log.values("masked_0") + log.values("masked_1") + log.values("changed"))
    assert len(log.values("curve_1_a")) >= 1
    assert set(np.unique(method.memory)) <= {0, 1, IGNORE}
    plain, log = learnt(Budget(steps=120, batch=3, size=32), anpm=False)
    assert not plain.fired
    assert torch.equal(plain.memory, plain.calibrated)
    assert not log.values("masked_1")


def test_masks_of_an_image_are_undone_where_too_little_would_be_left():
    """The label of the first phase comes back."""
    method, _ = learnt(Budget(steps=20, batch=3, size=32))
    method.fired, method.memory = [1], torch.full_like(method.memory, IGNORE)
    method._mask(method._slices())
    assert torch.equal(method.memory, method.calibrated)


def test_the_learning_rate_is_poly_and_as_published_by_request():
    golden = Golden("poly_lr_offset").arrays
    method, budget = built(setting="FAZ-point", reference=True), Budget(steps=30000, size=32)
    method.budget = budget
    method.build(1, 3, budget)
    found = [method.rate(int(step)) for step in golden["in_iteration"]]
    np.testing.assert_allclose(found, golden["out_lr_used_in_step"], rtol=1e-12)
    assert method.rate(1) == pytest.approx(0.011754, abs=1e-6)
    method.reference = False
    assert method.rate(15000) == pytest.approx(0.01 * 0.5**0.9)


def test_rotated_corners_are_unlabelled_or_by_option_background():
    method, _ = learnt(Budget(steps=8, batch=3, size=32))
    assert method.memory_fill == IGNORE
    method, _ = learnt(Budget(steps=8, batch=3, size=32), reference=True)
    assert method.memory_fill == 0
    method, _ = learnt(Budget(steps=8, batch=3, size=32), reference=True, setting="FAZ-point")
    assert method.memory_fill == IGNORE
