"""Methods that learn from predictions of their own: the published values, and who teaches whom when."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark import InputError
from benchmark.methods.augment import IGNORE
from benchmark.methods.base import Batch, ramp
from benchmark.methods.dmpls import mixed_dice, mixed_label, shares
from benchmark.methods.dmsps import DMSPS, largest_parts, mixed_cross_entropy, sure_labels
from benchmark.methods.losses import partial_cross_entropy, squared_dice
from benchmark.methods.pseudo_labels import as_sets, where_open
from benchmark.methods.scribble2label import Scribble2Label, confident_labels
from benchmark.methods.ustm import masked_distance, threshold, uncertainty
from benchmark.plan import plugins
from benchmark.seal.contract import Budget
from tests.support.golden_vectors import Golden, families
from tests.support.losses import loss_at, scenes
from tests.support.sweeps import TINY, small_plan

ZOO = ("dmpls", "dmsps", "scribble2label", "ustm")


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return Batch(torch.rand(2, 1, 32, 32), torch.randint(1, 8, (2, 32, 32)).int(), torch.arange(2), None)


@pytest.fixture
def memory():
    labels = np.random.default_rng(0).choice([0, 1, 2, IGNORE], (2, 32, 32))
    return torch.from_numpy(labels.astype(np.uint8))


def built(name, steps=100, **options):
    """A method with its network, ready for `loss`; dropout is off, so that two passes agree."""
    method = plugins.configure(plugins.get("method", name).load(), options)
    torch.manual_seed(0)
    method.budget, method.rng = Budget(steps=steps, size=32), np.random.default_rng(0)
    method.channels, method.classes, method.device = 1, 3, torch.device("cpu")
    method.build(1, 3, method.budget)
    if hasattr(getattr(method.net, "auxiliary", None), "head"):  # the decoders of a fresh network say much the same
        with torch.no_grad():
            method.net.auxiliary.head.weight.mul_(-5)
    method.net.eval()
    return method


def learnt(name, steps, *, data=None, precision="fp32", **options):
    """A method trained for some steps, and what it logged."""
    method, log = plugins.configure(plugins.get("method", name).load(), options), []
    torch.manual_seed(0)
    budget = Budget(steps=steps, batch=2, size=32, precision=precision)
    method.fit(data or scenes(), budget, lambda step, /, **values: log.append({"step": step} | values))
    return method, log


def logged(log, name):
    return {line["step"]: line[name] for line in log if name in line}


# -------------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ZOO)
def test_four_steps_are_enough_for_a_finite_loss(name, precision):
    _, log = learnt(name, 4, precision=precision)
    losses = logged(log, "loss")
    assert list(losses) == [0, 1, 2, 3]
    assert np.isfinite(list(losses.values())).all()


@pytest.mark.parametrize("name", ZOO)
def test_marks_of_many_classes_fit_too(name):
    """Sets of more than eight classes are stored in wider integers."""
    learnt(name, 2, data=scenes(2, dtype=np.uint16))


@pytest.mark.parametrize("name", ZOO)
def test_a_batch_without_marks_does_not_fail(name, batch):
    batch.allowed, batch.memory = torch.full_like(batch.allowed, 7), torch.full((2, 32, 32), IGNORE, dtype=torch.uint8)
    loss = loss_at(built(name), batch, 0.5)
    assert loss.shape == ()
    assert torch.isfinite(loss)


# -------------------------------------------------------------------------------------------------------------- DMPLS


@pytest.mark.parametrize("name", families("dmpls"))
def test_the_mixed_label_and_its_dice_equal_the_published_ones(name):
    golden = Golden(name)
    main, auxiliary = (golden[f"in_logits_{part}"].requires_grad_() for part in ("main", "aux"))
    beta = float(golden["in_beta"])
    assert torch.equal(mixed_label(main.softmax(1), auxiliary.softmax(1), shares(beta)), golden["out_mixed_label"])
    loss = mixed_dice(main.softmax(1), auxiliary.softmax(1), shares(beta))
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["out_loss"], rtol=0, atol=1e-6)
    torch.testing.assert_close(main.grad, golden["out_grad_logits_main"], rtol=0, atol=1e-7)
    torch.testing.assert_close(auxiliary.grad, golden["out_grad_logits_aux"], rtol=0, atol=1e-7)


def test_dmpls_is_the_published_sum(batch):
    method = built("dmpls")
    main, auxiliary = method.net.both(batch.image)
    beta = np.random.default_rng(5).random()
    mixed = (beta * main.softmax(1) + (1 - beta) * auxiliary.softmax(1)).argmax(1)
    one_hot = torch.stack([mixed == k for k in range(3)], 1).float()
    expected = 0.5 * (partial_cross_entropy(main, batch.allowed) + partial_cross_entropy(auxiliary, batch.allowed))
    expected = expected + 0.25 * (squared_dice(main.softmax(1), one_hot) + squared_dice(auxiliary.softmax(1), one_hot))
    method.rng = np.random.default_rng(5)
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)


def test_dmpls_may_have_a_second_network(batch):
    """One of another kind, a transformer: both see the whole image, both learn, and the first predicts."""
    method = built("dmpls", branch="smp:Unet/tu-pvt_v2_b0")
    main, auxiliary = method.net.both(batch.image)
    torch.testing.assert_close(method.probs(batch.image), main.softmax(1))
    method.net.eval()
    assert sum(weight.numel() for weight in method.net.auxiliary.parameters()) == 5_637_011
    expected = 0.5 * (partial_cross_entropy(main, batch.allowed) + partial_cross_entropy(auxiliary, batch.allowed))
    expected = expected + 0.5 * mixed_dice(main.softmax(1), auxiliary.softmax(1), shares(np.random.default_rng(0).random()))
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)
    loss_at(method, batch, 0.5).backward()
    without = {name for name, weight in method.net.named_parameters() if weight.grad is None}
    assert not without


def test_a_second_network_that_cannot_take_the_size_is_refused_by_the_plan():
    options = [*TINY, "dmpls.branch=smp:FPN/resnet18"]
    assert small_plan(["dmpls"], options=options, budget=["size=64"]).jobs
    with pytest.raises(InputError, match="'smp:FPN/resnet18' can't be trained on a batch of 12 with images of 50 px"):
        small_plan(["dmpls"], options=options, budget=["size=50"])


@pytest.mark.parametrize("name", ["dmpls", "dmsps"])
def test_the_main_decoder_predicts_and_both_learn(name, batch):
    method = built(name)
    method.device = torch.device("cpu")
    main, auxiliary = method.net.both(batch.image)
    assert not torch.allclose(main, auxiliary)
    torch.testing.assert_close(method.probs(batch.image), main.softmax(1))
    loss_at(method, batch, 0.5).backward()
    assert all(p.grad is not None for p in method.net.parameters())


@pytest.mark.parametrize("name", ["dmpls", "dmsps"])
def test_each_batch_is_mixed_anew(name, batch):
    method = built(name)
    assert loss_at(method, batch, 0.5).item() != loss_at(method, batch, 0.5).item()


# -------------------------------------------------------------------------------------------------------------- DMSPS


def mixed_by_hand(p, other, a, double):
    """The soft cross-entropy as a loop over pixels and classes, float64 (n, k, h, w)."""
    total, (n, k, h, w) = 0.0, p.shape
    for i, y, x in np.ndindex(n, h, w):
        q = a * p[i, :, y, x] + (1 - a) * other[i, :, y, x]
        for own in (p[i, :, y, x], other[i, :, y, x]):
            logs = np.log(np.exp(own) / np.exp(own).sum()) if double else np.log(own)
            total -= sum(q[c] * logs[c] for c in range(k)) / 2
    return total / (n * h * w)


@pytest.mark.parametrize("double", [False, True])
def test_the_soft_cross_entropy_equals_a_loop_from_the_formula(double):
    torch.manual_seed(0)
    main, auxiliary = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    expected = mixed_by_hand(main.softmax(1).numpy(), auxiliary.softmax(1).numpy(), 0.3, double)
    assert mixed_cross_entropy(main, auxiliary, shares(0.3), double=double).item() == pytest.approx(expected, rel=1e-12)


def test_the_published_double_softmax_has_the_floor_that_was_seen_in_its_logs():
    """- ln(e / (e + 3)) = 0.744 with four classes, however right and sure the predictions are."""
    sure = torch.zeros(1, 4, 2, 2)
    sure[:, 1] = 50
    half = shares(0.5)
    assert mixed_cross_entropy(sure, sure, half, double=True).item() == pytest.approx(-math.log(math.e / (math.e + 3)))
    assert mixed_cross_entropy(sure, sure, half).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("double", [False, True])
def test_no_gradient_reaches_the_mix(double):
    """The gradient is the one with the mix as a constant."""
    torch.manual_seed(0)
    main, auxiliary = (torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    (found,) = torch.autograd.grad(mixed_cross_entropy(main, auxiliary, shares(0.3), double=double), main)
    q = 0.3 * main.detach().softmax(1) + 0.7 * auxiliary.detach().softmax(1)
    entered = main.softmax(1) if double else main
    (expected,) = torch.autograd.grad(-(q * entered.log_softmax(1)).sum(1).mean() / 2, main)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("classes", [2, 4])
def test_near_uniform_predictions_a_double_softmax_pulls_by_the_number_of_classes_less(classes):
    torch.manual_seed(0)
    target = torch.randn(1, classes, 3, 3, dtype=torch.float64)

    def pull(double):
        z = torch.zeros_like(target, requires_grad=True)
        (gradient,) = torch.autograd.grad(mixed_cross_entropy(z, target, shares(0.0), double=double), z)
        return gradient

    torch.testing.assert_close(classes * pull(double=True), pull(double=False))


def test_only_the_double_softmax_sharpens_predictions_that_agree():
    z = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1).requires_grad_()
    (single,) = torch.autograd.grad(mixed_cross_entropy(z, z, shares(0.4)), z)
    (double,) = torch.autograd.grad(mixed_cross_entropy(z, z, shares(0.4), double=True), z)
    torch.testing.assert_close(single, torch.zeros_like(single))
    assert double[0, 0].item() < 0 < double[0, 1].item()


@pytest.mark.parametrize(
    ("options", "weight"), [({}, 8 / 3), ({"double_softmax": True}, 8), ({"weight": 0.7, "double_softmax": True}, 0.7)]
)
def test_dmsps_is_the_sum_of_its_paper_and_by_request_of_its_code(options, weight, batch):
    method = built("dmsps", **options)
    main, auxiliary = method.net.both(batch.image)
    a = np.random.default_rng(5).random()
    q = a * main.softmax(1) + (1 - a) * auxiliary.softmax(1)
    expected = 0
    for logits in (main, auxiliary):
        entered = logits.softmax(1) if "double_softmax" in options else logits
        soft = -(q * entered.log_softmax(1)).sum(1).mean()
        expected = expected + 0.5 * partial_cross_entropy(logits, batch.allowed) + weight * 0.5 * soft
    method.rng = np.random.default_rng(5)
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)


def test_in_the_second_stage_expanded_labels_count_like_marks(batch, memory):
    method = built("dmsps", weight=0.0)
    batch.memory = memory
    sets = torch.where(memory == IGNORE, batch.allowed, torch.tensor([1, 2, 4])[memory.long() % IGNORE]).int()
    main, auxiliary = method.net.both(batch.image)
    expected = 0.5 * (partial_cross_entropy(main, sets) + partial_cross_entropy(auxiliary, sets))
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)


def test_labels_come_from_sure_predictions_only():
    """Two classes at 0.99 have a normalised entropy of 0.081, at 0.98 of 0.141."""
    probs = torch.tensor([[0.99, 0.01], [0.02, 0.98], [0.01, 0.99], [0.5, 0.5]]).T.reshape(1, 2, 2, 2)
    assert sure_labels(probs, 0.1).tolist() == [[[0, IGNORE], [1, IGNORE]]]
    assert sure_labels(probs, 0.2).tolist() == [[[0, 1], [1, IGNORE]]]


def test_of_each_class_the_largest_part_in_each_slice_is_kept():
    labels = np.array([[[1, 0, 1, 1], [0, 0, 1, 1], [2, 255, 0, 2]], [[1, 1, 255, 1], [255] * 4, [0] * 4]], np.uint8)
    kept = largest_parts(labels).tolist()
    assert kept == [[[255, 0, 1, 1], [0, 0, 1, 1], [2, 255, 255, 255]], [[1, 1, 255, 255], [255] * 4, [0] * 4]]


def test_the_second_stage_begins_with_labels_that_both_decoders_are_sure_of():
    method, log = learnt("dmsps", 40, uncertainty=0.9)
    assert list(logged(log, "expanded")) == [19]
    assert logged(log, "expanded")[19] > 0.1
    assert method.facts["expanded"] == pytest.approx(logged(log, "expanded")[19], abs=1e-4)
    labelled = method.memory != IGNORE
    marked = torch.from_numpy(method.allowed) != 3
    assert labelled.any()
    assert not (labelled & marked).any()
    none, log = learnt("dmsps", 4, uncertainty=0.0)
    assert logged(log, "expanded") == {1: 0}
    assert (none.memory == IGNORE).all()


def test_expanded_labels_are_those_of_the_network_as_it_stands():
    """In evaluation mode, so that neither dropout nor the auxiliary decoder's lost channels play a part."""
    method, _ = learnt("dmsps", 4, uncertainty=0.7)
    with torch.no_grad():
        for decoder in (method.net.main.decoder, method.net.auxiliary):
            decoder.head.weight.mul_(1000)  # so that it is sure of something
            decoder.head.bias.zero_()
    found = method._expanded()
    assert method.net.training
    method.net.eval()
    with torch.no_grad():
        mean = sum(logits.softmax(1) for logits in method.net.both(method.images)) / 2
    sure = sure_labels(mean, 0.7)
    labels = torch.from_numpy(largest_parts(sure.numpy()))
    assert not torch.equal(labels, sure)
    unmarked = torch.from_numpy(method.allowed == 3)
    assert torch.equal(found, torch.where(unmarked, labels, IGNORE))
    assert (found != IGNORE).any()


@pytest.mark.parametrize(
    ("steps", "share", "ends"), [(4, 0.5, [1]), (2, 0.5, [0]), (1, 0.5, []), (4, 1.0, []), (4, 0.0, [0])]
)
def test_the_stages_share_the_budget(steps, share, ends):
    method, log = learnt("dmsps", steps, first_stage=share)
    assert list(logged(log, "expanded")) == ends
    assert (method.memory is not None) == bool(ends)


def test_the_learning_rate_starts_anew_with_the_second_stage():
    method = DMSPS()
    method.budget = Budget(steps=100, size=32)
    method.build(1, 3, method.budget)
    assert [method.rate(step) for step in (0, 50)] == [0.01, 0.01]
    assert [method.rate(step) for step in (25, 75)] == pytest.approx([0.01 * 0.5**0.9] * 2)


# --------------------------------------------------------------------------------------------------------------- USTM


@pytest.mark.parametrize("kind", ["ln2", "lnK"])
@pytest.mark.parametrize("name", families("ustm"))
def test_the_masked_distance_equals_the_published_one(name, kind):
    golden = Golden(name)
    logits, turns = golden["in_student_logits"].requires_grad_(), int(golden["in_quarter_turns"])
    count = logits.shape[1] if kind == "lnK" else 2
    below = threshold(float(golden["in_iteration"] / golden["in_max_iterations"]), count)
    entropy = uncertainty(golden["in_teacher_logits_passes"].softmax(2).mean(0))
    loss = masked_distance(
        torch.rot90(logits, turns, (2, 3)).softmax(1), golden["in_teacher_logits"].softmax(1), entropy < below, count
    )
    loss.backward()
    torch.testing.assert_close(entropy, golden["out_uncertainty"], rtol=0, atol=1e-5)
    assert below == pytest.approx(float(golden[f"out_threshold_{kind}"]), rel=1e-6)
    assert torch.equal(entropy < below, golden[f"out_mask_{kind}"].bool())
    torch.testing.assert_close(loss.detach(), golden[f"out_loss_{kind}"], rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(logits.grad, golden[f"out_grad_student_logits_{kind}"], rtol=0, atol=1e-7)


def test_the_ramps_are_the_published_ones():
    """The published weight rises every 1000 steps; the one here equals it at each of these steps."""
    golden = Golden("ramps").arrays
    last = int(golden["in_max_iterations"])
    at = golden["in_iteration"].tolist()
    np.testing.assert_allclose([threshold(t / last) for t in at], golden["out_ustm_threshold_ln2"], rtol=0, atol=1e-12)
    stairs = [ramp(t // 1000 * 1000 / last) for t in at]
    np.testing.assert_allclose(stairs, golden["out_ustm_weight"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("by_classes", [False, True])
def test_ustm_is_the_published_sum(by_classes, batch):
    method, seed = built("ustm", by_classes=by_classes), 7
    for module in (*method.net.modules(), *method.teacher.modules()):
        module.train(not isinstance(module, torch.nn.Dropout))  # batch statistics make pixels differ
    turns = int(np.random.default_rng(seed).integers(4))
    assert turns != 0
    torch.manual_seed(seed)
    rotated, softmaxes = torch.rot90(batch.image, turns, (2, 3)), []
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.add_(0.3 * torch.randn_like(p))
    torch.manual_seed(seed)
    with torch.no_grad():
        for _ in range(9):
            noise = (0.1 * torch.randn_like(rotated)).clamp(-0.2, 0.2)
            softmaxes.append(method.teacher(rotated + noise).softmax(1))
    target, mean = softmaxes[0], sum(softmaxes[1:]) / 8
    entropy, count = -(mean * (mean + 1e-6).log()).sum(1), 3 if by_classes else 2
    mask = entropy < (0.75 + 0.25 * math.exp(-5 * 0.4**2)) * math.log(count)
    assert mask.any()
    assert not mask.all()
    logits = method.net(batch.image)
    squares = (torch.rot90(logits, turns, (2, 3)).softmax(1) - target).square().sum(1)
    expected = partial_cross_entropy(logits, batch.allowed) + math.exp(-5 * 0.4**2) * squares[mask].sum() / (
        count * mask.sum()
    )
    method.turns[60] = turns
    torch.manual_seed(seed)
    torch.testing.assert_close(loss_at(method, batch, 0.6), expected)


def test_nobody_sure_is_a_distance_of_exactly_zero():
    probs, target = torch.rand(2, 2, 3, 8, 8).softmax(2)
    assert masked_distance(probs, target, torch.zeros(2, 8, 8, dtype=torch.bool)).item() == 0


def test_the_masked_distance_has_the_gradient_of_its_formula():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True), torch.rand(2, 3, 4, 4).double()
    mask = torch.rand(2, 4, 4) < 0.5
    assert torch.autograd.gradcheck(lambda z: masked_distance(z.softmax(1), target, mask), logits)


# ----------------------------------------------------------------------------------------------------- Scribble2Label


def test_pixels_above_the_confidence_get_their_class():
    average = torch.tensor([[0.81, 0.1, 0.5, 0.0], [0.19, 0.9, 0.5, 0.0]])[None, :, None]
    assert confident_labels(average, 0.8).tolist() == [[[0, 1, IGNORE, IGNORE]]]


def test_labels_stay_where_the_marks_leave_a_choice():
    labels = torch.tensor([[[1, 1, 1, 1, IGNORE, IGNORE]]], dtype=torch.uint8)
    allowed = torch.tensor([[[7, 6, 5, 2, 7, 1]]], dtype=torch.int32)
    assert where_open(labels, allowed).tolist() == [[[1, 1, IGNORE, IGNORE, IGNORE, IGNORE]]]


def test_labels_as_sets():
    labels = torch.tensor([[[0, 2, IGNORE, IGNORE]]], dtype=torch.uint8)
    assert as_sets(labels, torch.tensor([[[7, 7, 6, 7]]], dtype=torch.int32)).tolist() == [[[1, 4, 6, 7]]]


def test_scribble2label_is_the_published_sum(batch, memory):
    method = built("scribble2label")
    logits = method.net(batch.image)
    marks = partial_cross_entropy(logits, batch.allowed)
    torch.testing.assert_close(loss_at(method, batch, 0.5), marks)
    batch.memory = memory
    torch.testing.assert_close(loss_at(method, batch, 0.09), marks)
    expected = marks + 0.5 * F.cross_entropy(logits, memory.long(), ignore_index=IGNORE)
    torch.testing.assert_close(loss_at(method, batch, 0.1), expected)
    batch.memory = torch.full_like(memory, IGNORE)
    torch.testing.assert_close(loss_at(method, batch, 0.5), marks)


def refreshed(rounds, **options):
    """A method that has not learnt, after some refreshes that all see the same predictions."""
    method, log = learnt("scribble2label", 1, **options)
    with torch.no_grad():
        method.net.decoder.head.weight.mul_(2000)  # so that it is sure of something
    for done in range(rounds):
        method.budget = Budget(steps=100, size=32)
        method.after_pass(method._slices(), (done + 1) / 100)
    return method, log


@pytest.mark.parametrize("rounds", [1, 5])
def test_the_average_starts_from_zeros_and_is_compared_as_if_it_had_not(rounds):
    """After m equal predictions p it is (1 - 0.8^m) p, and the labels are those of p."""
    method, _ = refreshed(rounds, confidence=0.7)
    probs = torch.cat([method.probs(image) for _, image in method._slices()])
    assert method.average.dtype == torch.float16
    torch.testing.assert_close(method.average.float(), (1 - 0.8**rounds) * probs, rtol=0, atol=2e-3)
    margin = (probs.max(1).values - 0.7).abs() > 5e-3
    expected = where_open(confident_labels(probs, 0.7), torch.from_numpy(method.allowed).int())
    assert torch.equal(method.memory[margin], expected[margin])
    assert (expected != IGNORE).any()


def test_one_of_fewer_refreshes_has_the_weight_of_those_that_it_stands_for():
    """24 refreshes: each counts as 100 / 24 of a hundred, so that the average forgets at the same share of the steps."""
    method, _ = learnt("scribble2label", 1)
    method.budget = Budget(steps=8, batch=len(method.images), size=32)
    assert method.passes == 24
    for _ in range(2):
        method.after_pass(method._slices(), 0.5)
    probs = torch.cat([method.probs(image) for _, image in method._slices()])
    torch.testing.assert_close(method.average.float(), (1 - 0.8 ** (2 * 100 / 24)) * probs, rtol=0, atol=2e-3)
    expected = where_open(confident_labels(probs, 0.8), torch.from_numpy(method.allowed).int())
    margin = (probs.max(1).values - 0.8).abs() > 5e-3
    assert torch.equal(method.memory[margin], expected[margin])
    assert method.facts == {"confident": round(float((method.memory != IGNORE).double().mean()), 4)}


def test_predictions_are_averaged_in_evaluation_mode():
    """Else they would change the batch statistics, and differ from one refresh to the next."""
    method, _ = refreshed(0)
    before = {name: value.clone() for name, value in method.net.state_dict().items()}
    method.budget = Budget(steps=100, size=32)
    method.after_pass(method._slices(), 0.5)
    assert all(torch.equal(value, before[name]) for name, value in method.net.state_dict().items())
    assert method.net.training


def test_a_short_run_refreshes_after_each_step_and_a_long_one_a_hundred_times():
    _, log = learnt("scribble2label", 4)
    assert list(logged(log, "confident")) == [0, 1, 2]  # what the last step teaches, nobody would look at
    method = Scribble2Label()
    method.budget, method.images = Budget(steps=30000, batch=12, size=32), range(1512)
    assert sum(map(method._pass_ends, range(30000))) == 100


@pytest.mark.parametrize(("slices", "refreshes"), [(99, 72), (1512, 4), (10**5, 2)])
def test_refreshing_takes_no_longer_than_training_where_that_is_short(slices, refreshes):
    """Looking at a slice takes a third of learning from it; one refresh that is used there always is."""
    method = Scribble2Label()
    method.budget, method.images = Budget(steps=300, batch=8, size=32), range(slices)
    assert sum(map(method._pass_ends, range(300))) == refreshes


def test_confident_pixels_are_unmarked_and_grow():
    method, log = learnt("scribble2label", 60, confidence=0.7)
    shares = logged(log, "confident")
    assert shares[58] > shares[0]
    assert shares[58] > 0.3
    labelled = method.memory != IGNORE
    assert not (labelled & torch.from_numpy(method.allowed != 3)).any()
