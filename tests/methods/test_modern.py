"""The methods of the group `modern`: every term by hand or by a slow loop, and every option."""

import math
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.methods import cyclemix, helpnet, nnunet_style, sdt_net, shapepu, views
from benchmark.methods.base import Batch
from benchmark.methods.losses import partial_cross_entropy, partial_dice, squared_dice
from benchmark.methods.turns import rotated_labels, rotated_maps, sources
from benchmark.plan import plugins
from benchmark.seal.contract import Budget
from tests.support.losses import loss_at, scenes

CPU = torch.device("cpu")


@pytest.fixture
def batch():
    torch.manual_seed(0)
    sets = torch.tensor([1, 2, 4, 7, 7, 7, 7])[torch.randint(7, (2, 32, 32))]
    return Batch(torch.rand(2, 1, 32, 32), sets.int(), torch.arange(2), None)


def built(name, batch, steps=100, **options):
    """A method with its network, ready for `loss`; in evaluation mode, so that two passes agree."""
    method = plugins.configure(plugins.get("method", name).load(), options)
    torch.manual_seed(0)
    method.budget, method.rng, method.device = Budget(steps=steps, size=32), np.random.default_rng(0), CPU
    method.channels, method.classes, method.allowed, method.facts = 1, 3, batch.allowed.numpy(), {}
    method.log = lambda step, /, **values: None
    method.build(1, 3, method.budget)
    for net in method._modules().values():
        net.eval()
    return method


def learnt(name, steps, *, precision="fp32", **options):
    method, log = plugins.configure(plugins.get("method", name).load(), options), []
    torch.manual_seed(0)
    budget = Budget(steps=steps, batch=2, size=32, precision=precision)
    method.fit(scenes(), budget, lambda step, /, **values: log.append({"step": step} | values))
    return method, log


NAMES = plugins.groups()["modern"]


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_in_half_precision_have_finite_losses(name):
    _, log = learnt(name, 2, precision="bf16")
    losses = [line["loss"] for line in log if "loss" in line]
    assert len(losses) == 2
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_marks_has_a_finite_loss_and_gradient(name, batch):
    batch.allowed = torch.full_like(batch.allowed, 7)
    method = built(name, batch)
    loss = loss_at(method, batch, 0.5)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad.isfinite().all() for p in method.net.parameters() if p.grad is not None)


# -------------------------------------------------------------------------------------------------------------- views


def test_a_jigsaw_and_its_inverse_give_back_the_maps():
    maps, order = torch.rand(2, 3, 6, 9), torch.randperm(9)
    made = views.jigsaw(maps, order)
    for i in range(9):
        (y, x), (v, u) = divmod(i, 3), divmod(int(order[i]), 3)
        assert torch.equal(
            made[:, :, 2 * y : 2 * y + 2, 3 * x : 3 * x + 3], maps[:, :, 2 * v : 2 * v + 2, 3 * u : 3 * u + 3]
        )
    assert torch.equal(views.jigsaw(made, order.argsort()), maps)


def test_flips_are_the_four_of_a_square_and_their_own_inverse():
    torch.manual_seed(0)
    maps, matrices = torch.rand(40, 1, 5, 5), views.flips(40, CPU)
    found = sources(matrices, 5, linear=False)
    made = rotated_maps(maps, found)
    kinds = [[], [2], [3], [2, 3]]
    seen = [
        next(i for i, axes in enumerate(kinds) if torch.equal(m, o.flip([a - 1 for a in axes])))
        for m, o in zip(made, maps, strict=True)
    ]
    assert set(seen) == {0, 1, 2, 3}
    assert torch.equal(rotated_maps(made, found), maps)


def test_the_transpose_of_a_rotation_turns_back():
    torch.manual_seed(0)
    matrices = views.rotations(50, CPU)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(2).expand(50, 2, 2))
    assert (matrices[:, 0, 0].min(), matrices[:, 0, 0].max()) < (-0.9, 1)  # all around
    smooth = torch.linspace(0, 1, 33)[None, None, None].expand(50, 1, 33, 33)
    back = rotated_maps(rotated_maps(smooth, sources(matrices, 33, linear=False)), sources(matrices.mT, 33, linear=False))
    torch.testing.assert_close(back[..., 12:21, 12:21], smooth[..., 12:21, 12:21], rtol=0, atol=2 / 32)


def test_a_hole_is_a_square_that_borders_may_cut():
    torch.manual_seed(0)
    made = views.holes(200, 12, 4, CPU)
    areas = made.sum((1, 2))
    assert areas.max() == 16
    assert areas.min() < 16
    for each in made:
        rows, columns = each.any(1), each.any(0)
        assert torch.equal(each, rows[:, None] & columns)
        assert 2 <= rows.sum() <= 4  # the centre is in the image
        assert rows.nonzero().diff(dim=0).eq(1).all()


def test_only_sure_pixels_have_one_class():
    probs = torch.tensor([[0.6, 0.2, 0.2], [0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]).T.view(1, 3, 1, 3)
    assert views.sure_sets(probs, 0.5).tolist() == [[[1, 7, 4]]]
    assert views.sure_sets(probs, 0.65).tolist() == [[[7, 7, 4]]]


def test_of_the_foreground_the_largest_component_and_in_it_of_each_class():
    labels = torch.tensor([[[1, 1, 0, 2], [2, 1, 0, 2], [2, 1, 0, 0], [0, 1, 2, 0]], [[0] * 4] * 4])
    kept = [[[1, 1, 0, 0], [2, 1, 0, 0], [2, 1, 0, 0], [0, 1, 0, 0]], [[0] * 4] * 4]
    assert views.largest_components(labels).tolist() == kept


def test_the_mean_over_all_pixels_is_that_over_labelled_ones_times_their_share(batch):
    logits = torch.randn(2, 3, 32, 32)
    share = float((batch.allowed != 7).double().mean())
    over_all, labelled = (views.marks_loss(logits, batch.allowed, scale) for scale in ("all", "labelled"))
    torch.testing.assert_close(labelled, partial_cross_entropy(logits, batch.allowed))
    assert (over_all / labelled).item() == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("buffers", [False, True])
def test_a_teacher_follows_with_or_without_batch_statistics(buffers):
    net = torch.nn.BatchNorm1d(1)
    teacher = views.teacher_of(net)
    with torch.no_grad():
        net.weight.fill_(3)
        net.running_mean.fill_(4)
        net.num_batches_tracked.fill_(9)
    views.follow(teacher, net, torch.tensor(0.25, dtype=torch.float64), buffers=buffers)
    assert (teacher.weight.item(), teacher.running_mean.item()) == (1.5, 1 if buffers else 0)
    assert (teacher.num_batches_tracked.item(), teacher.weight.requires_grad) == (0, False)


# --------------------------------------------------------------------------------------------------------- ScribbleVS


def halves(logits, sets):
    return (partial_cross_entropy(logits, sets) + partial_dice(logits, sets)) / 2


@pytest.mark.parametrize("teacher_is_worse", [False, True])
def test_the_better_fit_of_the_marks_teaches(teacher_is_worse, batch):
    method = built("scribblevs", batch)
    with torch.no_grad():
        method.teacher.decoder.head.weight.mul_(10)
        good = partial_cross_entropy(method.teacher(batch.image), batch.allowed)
        own = partial_cross_entropy(method.net(batch.image), batch.allowed)
        if (good > own) != teacher_is_worse:
            method.net, method.teacher = method.teacher.requires_grad_(), method.net
    logits, taught = method.net(batch.image), method.teacher(batch.image)
    used = logits if partial_cross_entropy(logits, batch.allowed) <= partial_cross_entropy(taught, batch.allowed) else taught
    assert (used is logits) == teacher_is_worse
    most, label = used.softmax(1).max(1)
    method.tau = float(most.detach().median())
    sets = torch.where(most > method.tau, 1 << label, 7).int()
    expected = partial_cross_entropy(logits, batch.allowed) + halves(logits, sets)
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)
    assert float(method.taught) == (not teacher_is_worse)


def test_with_equal_fits_the_network_teaches_itself(batch):
    method = built("scribblevs", batch)
    loss_at(method, batch, 0.5)
    assert float(method.taught) == 0


def test_without_sure_labels_scribblevs_is_partial_cross_entropy(batch):
    method = built("scribblevs", batch, tau=1.0)
    torch.testing.assert_close(loss_at(method, batch, 0.9), partial_cross_entropy(method.net(batch.image), batch.allowed))


def test_the_labels_of_scribblevs_rise_in_a_fifth_of_the_budget(batch):
    method = built("scribblevs", batch, weight=3.0)
    assert [method.numbers(step)[0] for step in (0, 10, 20, 99)] == pytest.approx(
        [3 * math.exp(-5), 3 * math.exp(-1.25), 3, 3]
    )
    assert [method.numbers(step)[1] for step in (0, 1, 99)] == pytest.approx([1, 0.5, 0.01])
    assert built("scribblevs", batch, ramp=0.0).numbers(0)[0] == 1


def test_the_network_shrinks_after_the_teacher_has_moved(batch):
    method = built("scribblevs", batch, shrink=0.25)
    weight, statistics = next(method.net.parameters()), next(b for b in method.net.buffers() if b.is_floating_point())
    with torch.no_grad():
        weight.fill_(4)
        statistics.fill_(8)
    batch.numbers = method.numbers(0)
    method.after_step(batch, 0)
    assert (weight.flatten()[0].item(), statistics[0].item()) == (3, 6)
    assert next(method.teacher.parameters()).flatten()[0].item() == 4
    assert next(b for b in method.teacher.buffers() if b.is_floating_point())[0].item() == 8


def test_the_share_of_the_teacher_is_a_fact():
    method, _ = learnt("scribblevs", 3)
    assert method.facts["teacher"] in (0, 0.3333, 0.6667, 1)


# ------------------------------------------------------------------------------------------------------------ SDT-Net


def test_the_feature_distance_equals_a_loop():
    torch.manual_seed(0)
    one, other = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    cosines = [float((a * b).sum() / (a.norm() * b.norm())) for a, b in zip(one, other, strict=True)]
    absolute = np.abs(one.numpy() - other.numpy()).sum() / one.numel()
    assert sdt_net.feature_distance(one, other).item() == pytest.approx((absolute + 1 - sum(cosines) / 3) / 2)


def test_sdt_net_is_the_published_sum_with_the_better_teacher(batch):
    method = built("sdt_net", batch, tau=0.35)
    own, both = method.net.features(batch.image), [t.features(batch.image) for t in (method.first, method.second)]
    fits = [partial_cross_entropy(made.logits, batch.allowed) for made in both]
    best = both[0] if fits[0] < fits[1] else both[1]
    most, label = best.logits.softmax(1).max(1)
    sets = torch.where(most > 0.35, 1 << label, 7).int()
    apart = sdt_net.feature_distance(best.encoder[16], own.encoder[16])
    apart = apart + sdt_net.feature_distance(best.decoder[1], own.decoder[1])
    expected = partial_cross_entropy(own.logits, batch.allowed) + halves(own.logits, sets) + 0.5 * apart
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)
    assert method.used.tolist() == [float(best is both[0]), float(best is both[1])]


def test_of_equal_teachers_the_second_is_used(batch):
    method = built("sdt_net", batch)
    method.first.load_state_dict(method.second.state_dict())
    loss_at(method, batch, 0.5)
    assert method.used.tolist() == [0, 1]


@pytest.mark.parametrize(("move", "moved"), [("used", (False, True)), ("both", (True, True))])
def test_only_the_used_teacher_moves_unless_both_shall(move, moved, batch):
    method = built("sdt_net", batch, move=move)
    weights = [next(net.parameters()) for net in (method.net, method.first, method.second)]
    with torch.no_grad():
        for weight, value in zip(weights, (2.0, 1.0, 1.0), strict=True):
            weight.fill_(value)
    method.after_step(batch, 0)
    assert [w.flatten()[0].item() for w in weights[1:]] == pytest.approx([1.01 if each else 1 for each in moved])


def test_the_network_begins_as_the_second_teacher_and_the_first_is_another(batch):
    method = built("sdt_net", batch)
    net, first, second = (next(each.parameters()) for each in (method.net, method.first, method.second))
    assert torch.equal(net, second)
    assert not torch.equal(net, first)


def test_the_shares_of_the_teachers_are_logged_and_facts():
    method, log = learnt("sdt_net", 4)
    assert method.facts["first"] + method.facts["second"] == 1
    assert log[-1] == {"step": 3} | method.facts or {"step": 3} | method.facts in log


# ------------------------------------------------------------------------------------------------------------ ShapePU


def shares_by_a_loop(probs, given):
    """Expectation maximisation as a loop over pixels: probs (pixels, k), given (k,)."""
    found, change = list(given), 1.0
    while change >= 1e-3:
        sums = [0.0] * len(given)
        for p in probs:
            w = [found[k] * p[k] / given[k] for k in range(len(given))]
            sums = [s + each / sum(w) for s, each in zip(sums, w, strict=True)]
        new = [s / len(probs) for s in sums]
        change, found = sum(abs(a - b) for a, b in zip(new, found, strict=True)), new
    return found


def calibrated(share, given, count=4000):
    """Posteriors of a network that learnt with the share `given` of class 1, of pixels whose share is another one."""
    rng = np.random.default_rng(0)
    value = rng.normal(np.where(rng.random(count) < share, 1, -1), 1)
    odds = given / (1 - given) * np.exp(2 * value)  # of unit normals about 1 and -1
    one = odds / (1 + odds)
    return np.stack([1 - one, one], 1)


def test_the_share_of_a_class_is_found_among_unlabelled_pixels():
    """Labelled: 40 % of class 1; unlabelled: 3 %. Over the labelled pixels, as published, the answer is 41 %."""
    labelled, unlabelled = calibrated(0.4, 0.4, 2500), calibrated(0.03, 0.4, 7500)
    probs = torch.from_numpy(np.concatenate([labelled, unlabelled])).T.reshape(1, 2, 100, 100)
    allowed = torch.full((1, 100, 100), 3, dtype=torch.int32)
    allowed.view(-1)[:1000], allowed.view(-1)[1000:2500] = 2, 1
    found = shapepu.class_shares(probs, allowed, allowed == 3)
    np.testing.assert_allclose(found, shares_by_a_loop(unlabelled, [0.6, 0.4]), atol=1e-9)
    assert found[1].item() == pytest.approx(0.03, abs=0.015)
    assert shapepu.class_shares(probs, allowed, allowed != 3)[1].item() == pytest.approx(0.41, abs=0.03)


def test_a_class_without_marks_has_no_share_and_excludes_nothing():
    probs = torch.full((1, 3, 2, 2), 1 / 3)
    allowed = torch.tensor([[[1, 2], [7, 7]]], dtype=torch.int32)
    shares = shapepu.class_shares(probs, allowed, allowed == 7)
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.5, 0]))
    assert not (shapepu.exclusions(torch.rand(1, 3, 2, 2), allowed, shares) & 4 == 0).any()


def test_pixels_below_the_quantile_cannot_be_of_the_class():
    """Of ten unlabelled pixels and a share of 0.3: the 7th smallest is the limit, and the six below it are excluded."""
    probs = torch.zeros(1, 2, 1, 12)
    probs[0, 1, 0] = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.0, 0.05])
    allowed = torch.tensor([[[3] * 10 + [1, 2]]], dtype=torch.int32)
    assert shapepu.exclusions(probs, allowed, torch.tensor([0.7, 0.3])).tolist() == [[[1] * 6 + [3] * 6]]
    probs[0, 1, 0, :10] = 0.5  # none is below an equal one
    assert shapepu.exclusions(probs, allowed, torch.tensor([0.7, 0.3])).tolist() == [[[3] * 12]]


def test_views_of_shapepu_are_as_exact_in_half_precision(batch):
    method, turned = built("shapepu", batch), []

    def recorded(turns, size, *, linear):
        turned.append(turns)
        return sources(turns, size, linear=linear)

    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(shapepu, "sources", recorded)
        loss_at(method, batch, 0.0)
    there, back = turned
    product = there.double() @ back.double()
    torch.testing.assert_close(product, torch.eye(2).double().expand(2, 2, 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", ["all", "labelled"])
@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_shapepu_is_the_published_sum(progress, scale, batch):
    method = built("shapepu", batch, scale=scale)
    torch.manual_seed(5)
    hole = views.holes(2, 32, 5, CPU)
    rotation, flipped = views.rotations(2, CPU), views.flips(2, CPU)
    assert (torch.linalg.det(flipped) < 0).all()  # one flip, which does not commute with a rotation
    there = sources(rotation @ flipped, 32, linear=False)
    logits = method.net(batch.image)
    view = method.net(rotated_maps(batch.image * ~hole[:, None], there))
    sets = rotated_labels(batch.allowed.where(~hole, 7), there, 7)
    back = rotated_maps(view.softmax(1), sources((rotation @ flipped).inverse(), 32, linear=False))
    seen = (
        rotated_maps(torch.ones(2, 1, 32, 32), sources((rotation @ flipped).inverse(), 32, linear=False))[:, 0] > 0
    ) & ~hole
    cosine = (logits.softmax(1) * back).sum(1) / (logits.softmax(1).norm(dim=1) * back.norm(dim=1)).clamp(min=1e-8)
    apart = ((1 - cosine) * seen).sum() / seen.numel()
    expected = views.marks_loss(logits, batch.allowed, scale) + views.marks_loss(view, sets, scale) + 0.05 * apart
    if progress:
        probs = logits.detach().softmax(1)
        shares = shapepu.class_shares(probs, batch.allowed, batch.allowed == 7)
        expected = expected + partial_cross_entropy(logits, shapepu.exclusions(probs, batch.allowed, shares))
    torch.manual_seed(5)
    method.net.train = lambda mode=True: method.net  # `probs` leaves it in training mode
    torch.testing.assert_close(loss_at(method, batch, progress), expected)
    assert method.facts == {"scale": scale}


def test_as_published_holes_are_background_and_shares_those_of_the_marks(batch, monkeypatch):
    asked, seen = [], []
    monkeypatch.setattr(shapepu, "class_shares", lambda p, a, of: asked.append(of) or torch.tensor([0.5, 0.2, 0.3]))
    monkeypatch.setattr(shapepu, "rotated_labels", lambda sets, *given: seen.append((sets, given[1])) or sets)
    for reference, estimate in ((True, "unlabelled"), (False, "labelled"), (False, "unlabelled")):
        method = built("shapepu", batch, reference=reference, estimate=estimate, scale="all")
        assert torch.isfinite(loss_at(method, batch, 0.5))
        assert method.facts == {"scale": "labelled" if reference else "all"}
    assert [bool((of == (batch.allowed != 7)).all()) for of in asked] == [True, True, False]
    assert [fill for _, fill in seen] == [1, 7, 7]
    assert all((sets != batch.allowed).any() for sets, _ in seen)


def test_as_published_the_first_prediction_stands_for_all(batch):
    method = built("shapepu", batch, reference=True)
    probs, view = torch.rand(2, 2, 3, 32, 32).softmax(2)
    one, hole = torch.eye(2).expand(2, 2, 2), torch.zeros(2, 32, 32, dtype=torch.bool)
    expected = views.cosine_distance(probs, view[:1].expand_as(view)).mean()
    torch.testing.assert_close(method._distance(probs, view, one, one, hole), expected)
    mended = built("shapepu", batch)._distance(probs, view, one, one, hole)
    torch.testing.assert_close(mended, views.cosine_distance(probs, view).mean())


# ----------------------------------------------------------------------------------------------------------- CycleMix


def energy(m, own, other, share, smooth=1.2, prior=0.2):
    """The cost of the shares m (b, b) of the first image, by loops."""
    b = len(m)
    chance = {0: (1 - share) ** 2, 0.5: 2 * share * (1 - share), 1: share**2}
    total = 0.0
    for y, x in np.ndindex(b, b):
        total += (1 - m[y, x]) * own[y, x] + m[y, x] * other[y, x] - prior / b**2 * math.log(chance[m[y, x]] + 1e-8)
        for v, u in ((y + 1, x), (y, x + 1)):
            if v < b and u < b:
                total += smooth / (16 * b) * (m[y, x] - m[v, u]) ** 2
    return total


@pytest.mark.parametrize(("share", "smooth", "prior"), [(0.5, 1.2, 0.2), (0.2, 1.2, 0.2), (0.7, 8.0, 0.2), (0.5, 1.2, -5.0)])
def test_the_cut_is_the_best_of_all_81_masks(share, smooth, prior):
    rng = np.random.default_rng(1)
    own, other = rng.dirichlet([0.5] * 4, (2, 6)).reshape(2, 6, 2, 2)
    found = cyclemix.block_shares(own, other, share, smooth, prior)
    for i in range(6):
        masks = [np.array(m).reshape(2, 2) for m in product((0, 0.5, 1), repeat=4)]
        best = min(energy(m, own[i], other[i], share, smooth, prior) for m in masks)
        assert energy(found[i], own[i], other[i], share, smooth, prior) == pytest.approx(best, abs=1e-5)


def test_the_more_salient_blocks_are_kept():
    own = np.zeros((1, 4, 4))
    own[0, :2] = 1 / 8
    other = own[:, ::-1].copy()
    assert cyclemix.block_shares(own, other, 0.5)[0].tolist() == [[1] * 4] * 2 + [[0] * 4] * 2


def test_sets_of_a_mix():
    mask = torch.tensor([[[1, 0, 0.5]]])
    one, two = torch.tensor([[[1, 1, 1]]]), torch.tensor([[[2, 2, 2]]])
    assert cyclemix.mixed_sets(mask, one, two).tolist() == [[[1, 2, 3]]]


def test_the_box_of_a_cut_has_the_area_of_the_other_image():
    mask = cyclemix.box_mask(np.random.default_rng(0), 5, 20, 0.75)
    assert (mask == 0).sum((1, 2, 3)).tolist() == [100] * 5
    assert cyclemix.box_mask(np.random.default_rng(0), 1, 20, 1.0).min() == 1


@pytest.mark.parametrize("options", [{}, {"mix": "cut"}, {"connected": 0.0}, {"scale": "all", "mixed": 0.3}])
def test_cyclemix_is_the_published_sum(options, batch):
    method = built("cyclemix", batch, **options)
    for seed in range(20):
        method.rng = np.random.default_rng(seed)
        other = torch.from_numpy(method.rng.permutation(2))
        mask = method._mask(batch, other)
        if 0 < mask.mean() < 1 and other[0] == 1:
            break
    assert 0 < mask.mean() < 1
    torch.manual_seed(3)
    hole, rotation = views.holes(2, 32, 5, CPU), views.rotations(2, CPU)
    there, back = sources(rotation, 32, linear=False), sources(rotation.mT, 32, linear=False)
    image = (mask * batch.image + (1 - mask) * batch.image[other]) * ~hole[:, None]
    sets = cyclemix.mixed_sets(mask[:, 0], batch.allowed, batch.allowed[other]).where(~hole, 7)
    logits, view, scale = method.net(batch.image), method.net(rotated_maps(image, there)), method.scale
    seen, probs = rotated_maps(view.softmax(1), back), logits.softmax(1)
    inside = (rotated_maps(torch.ones(2, 1, 32, 32), back)[:, 0] > 0) & ~hole
    target = mask * probs + (1 - mask) * probs[other]
    apart = ((1 - F.cosine_similarity(seen, target)) * inside).sum() / inside.numel()
    expected = views.marks_loss(logits, batch.allowed, scale) + method.mixed * apart
    expected = expected + views.marks_loss(view, rotated_labels(sets, there, 7), scale)
    kept = F.one_hot(views.largest_components(probs.argmax(1)), 3).permute(0, 3, 1, 2).float()
    expected = expected + method.connected * (1 - F.cosine_similarity(probs, kept)).mean()
    torch.manual_seed(3)
    method.rng = np.random.default_rng(seed)
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)


# ------------------------------------------------------------------------------------------------------------ HELPNet


def test_the_surer_view_weighs_more():
    """Entropies of (1/2, 1/2) and (1, 0): 1 bit and 0; weights 1 to exp(1 / 0.4)."""
    half, sure = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1), torch.tensor([1.0, 0]).view(1, 2, 1, 1)
    weight = 1 / (1 + math.exp(2.5))
    mean = helpnet.common_probs([half, sure], 0.4).flatten().tolist()
    assert mean == pytest.approx([0.5 * weight + 1 - weight, 0.5 * weight], abs=1e-6)


def test_no_gradient_reaches_the_weights_of_the_views():
    one, other = torch.rand(2, 1, 3, 2, 2, dtype=torch.float64).softmax(2)
    one.requires_grad_()
    (found,) = torch.autograd.grad(helpnet.common_probs([one, other], 0.4)[:, 0].sum(), one)
    entropy = [-(p * (p + 1e-10).log2()).sum(1) for p in (one.detach(), other)]
    weight = (-entropy[0] / 0.4).exp() / ((-entropy[0] / 0.4).exp() + (-entropy[1] / 0.4).exp())
    torch.testing.assert_close(found[:, 0], weight)
    assert (found[:, 1:] == 0).all()


def test_quarters_move_and_tiles_move_within_them():
    torch.manual_seed(0)
    order = helpnet.nested_order(CPU)
    assert sorted(order.tolist()) == list(range(16))
    quarters = [
        [(i // 4) // 2 * 2 + (i % 4) // 2 for i in part]
        for part in views.jigsaw(order.view(1, 1, 4, 4), torch.arange(4))
        .view(2, 2, 2, 2)
        .permute(0, 2, 1, 3)
        .reshape(4, 4)
        .tolist()
    ]
    assert sorted(q[0] for q in quarters) == [0, 1, 2, 3]
    assert all(len(set(q)) == 1 for q in quarters)


def test_other_intensities_are_those_of_a_loop_over_pixels_within_the_range_of_the_image():
    torch.manual_seed(0)
    image = torch.rand(60, 2, 4, 4) * 3 - 1
    torch.manual_seed(1)
    made = helpnet.other_intensity(image)
    torch.manual_seed(1)
    factors = 0.3 + 1.4 * torch.rand(2, 60)
    assert 0.3 < factors.min() < 0.5
    assert 1.5 < factors.max() < 1.7
    for own, other, bright, contrast in zip(image, made, *factors.tolist(), strict=True):
        low, high = own.min().item(), own.max().item()
        for value, changed in zip(own.flatten().tolist(), other.flatten().tolist(), strict=True):
            grey = min(255, bright * (value - low) / (high - low) * 255)
            grey = min(255, max(0, grey + (contrast - 1) * (grey - 127.5)))
            assert changed == pytest.approx(grey / 255 * (high - low) + low, abs=1e-5)
    flat = torch.full((1, 1, 4, 4), 0.3)
    torch.testing.assert_close(helpnet.other_intensity(flat), flat)


@pytest.mark.parametrize("options", [{}, {"connected": 0.0}, {"scale": "all", "labels": 0.7, "temperature": 1.0}])
def test_helpnet_is_the_published_sum(options, batch):
    method = built("helpnet", batch, **options)
    torch.manual_seed(3)
    logits = [method.net(helpnet.other_intensity(batch.image))]
    for order in (torch.rand(4).argsort(), helpnet.nested_order(CPU)):
        logits.append(views.jigsaw(method.net(views.jigsaw(batch.image, order)), order.argsort()))
    c, two, four = (z.softmax(1) for z in logits)
    mean = helpnet.common_probs([c, two, four], method.temperature)
    q = F.one_hot(mean.argmax(1), 3).permute(0, 3, 1, 2).float()
    kept = F.one_hot(views.largest_components(mean.argmax(1)), 3).permute(0, 3, 1, 2).float()
    marks = [views.marks_loss(z, batch.allowed, method.scale) for z in logits]
    rest = 0.3 * (1 - F.cosine_similarity(two, c)).mean() + 0.1 * (1 - F.cosine_similarity(four, c)).mean()
    rest = rest + method.labels * (squared_dice(c, q) + squared_dice(two, q) + squared_dice(four, q))
    rest = rest + method.connected * (1 - F.cosine_similarity(mean, kept)).mean()
    expected = marks[0] + marks[1] + 0.2 * marks[2] + rest
    torch.manual_seed(3)
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)


def test_helpnet_needs_sizes_that_4_divides(batch):
    method = plugins.get("method", "helpnet").load()()
    with pytest.raises(ValueError, match="4 must divide it"):
        method.build(1, 3, Budget(size=34))


# ------------------------------------------------------------------------------------------------------- nnU-Net style


def test_the_soft_dice_equals_a_loop():
    torch.manual_seed(0)
    logits, sets = torch.randn(2, 3, 4, 4), torch.tensor([1, 2, 4, 7, 6])[torch.randint(5, (2, 4, 4))].int()
    p, scores = logits.softmax(1).numpy(), []
    for k in (1, 2):
        overlap = predicted = marked = 0.0
        for i, y, x in np.ndindex(2, 4, 4):
            if sets[i, y, x] in (1, 2, 4):
                overlap += p[i, k, y, x] * (sets[i, y, x] == 1 << k).item()
                predicted, marked = predicted + p[i, k, y, x], marked + (sets[i, y, x] == 1 << k).item()
        scores.append((2 * overlap + 1e-5) / (predicted + marked + 1e-5))
    assert nnunet_style.soft_dice(logits, sets).item() == pytest.approx(sum(scores) / 2, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"deep": False}, {"dice": 0.3}])
def test_nnunet_style_is_the_published_sum(options, batch):
    method = built("nnunet_style", batch, intensity=False, **options)
    made = method.net.all(batch.image) if method.deep else [method.net(batch.image)]
    assert [z.shape[-1] for z in made] == [32, 16, 8][: len(made)]
    weights, expected = [4 / 7, 2 / 7, 1 / 7] if method.deep else [1], 0
    for z, weight in zip(made, weights, strict=True):
        step = 32 // z.shape[-1]
        sets = batch.allowed[:, step // 2 :: step, step // 2 :: step]  # the pixel right of and below the middle of each cell
        one = F.cross_entropy(z, torch.tensor([9, 0, 1, 9, 2, 9, 9, 9])[sets], ignore_index=9)
        expected = expected + weight * (one - method.dice * nnunet_style.soft_dice(z, sets))
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)
    torch.testing.assert_close(method.net(batch.image), made[0])


def test_nnunet_style_has_a_finite_loss_with_31_classes():
    made = torch.randn(1, 31, 4, 4, generator=torch.Generator().manual_seed(0))
    sets = torch.full((1, 4, 4), (1 << 31) - 1, dtype=torch.int32)
    sets[0, 0, 0] = 1 << 30
    method = nnunet_style.NNUNetStyle(deep=False, intensity=False)
    method.net = lambda image: made
    found = method.loss(Batch(torch.zeros(1, 1, 4, 4), sets, torch.arange(1), None), 0.0)
    expected = -made[0, :, 0, 0].log_softmax(0)[30] - nnunet_style.soft_dice(made, sets)
    torch.testing.assert_close(found, expected)


def test_intensities_are_augmented_unless_they_shall_not(batch):
    method = built("nnunet_style", batch, intensity=True)
    assert len({loss_at(method, batch, 0.5).item() for _ in range(6)}) > 1
    method = built("nnunet_style", batch, intensity=False)
    assert len({loss_at(method, batch, 0.5).item() for _ in range(3)}) == 1


def test_each_change_has_its_share_of_the_images():
    """Noise .1, brightness .15, contrast .15, low resolution .25 / 2, gammas .1 and .3; the blur is none at 16 px."""
    torch.manual_seed(0)
    image = torch.rand(1500, 1, 16, 16)
    same = (nnunet_style.augmented(image) - image).abs().amax((1, 2, 3)) < 1e-5
    expected = math.prod(1 - each for each in (0.1, 0.15, 0.15, 0.125, 0.1, 0.3))
    assert same.double().mean().item() == pytest.approx(expected, abs=0.04)


def test_factors_are_as_often_below_1_as_above():
    torch.manual_seed(0)
    factors = nnunet_style.factor(torch.zeros(4000, 1, 1, 1), 0.7, 1.5).flatten()
    assert (factors < 1).double().mean().item() == pytest.approx(0.5, abs=0.04)
    assert 0.7 <= factors.min() < 0.71
    assert 1.49 < factors.max() <= 1.5


def test_gamma_keeps_mean_and_deviation_and_is_a_power_of_the_range():
    torch.manual_seed(0)
    x = torch.randn(2, 1, 8, 8)
    made = nnunet_style.gamma(x, torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
    torch.testing.assert_close(made[0], x[0])
    torch.testing.assert_close(made.mean((1, 2, 3)), x.mean((1, 2, 3)))
    torch.testing.assert_close(made.std((1, 2, 3)), x.std((1, 2, 3)))
    share = (x[1] - x[1].min()) / (x[1].max() - x[1].min())
    assert np.corrcoef(made[1].flatten(), share.square().flatten())[0, 1] == pytest.approx(1, abs=1e-6)


def test_contrast_stays_in_the_range():
    x = torch.tensor([0.0, 1, 2, 3, 4]).view(1, 1, 1, 5)
    assert nnunet_style.contrasted(x, torch.full((1, 1, 1, 1), 0.5)).flatten().tolist() == [1, 1.5, 2, 2.5, 3]
    assert nnunet_style.contrasted(x, torch.full((1, 1, 1, 1), 3.0)).flatten().tolist() == [0, 0, 2, 4, 4]


def test_blurring_a_point_gives_a_gaussian_per_image():
    x = torch.zeros(2, 2, 11, 11)
    x[:, :, 5, 5] = 1
    made = nnunet_style.blurred(x, torch.tensor([0.5, 1.0]).view(2, 1, 1, 1))
    for each, sigma in zip(made, (0.5, 1.0), strict=True):
        line = np.exp(-0.5 * (np.arange(-4, 5) / sigma) ** 2)
        np.testing.assert_allclose(each[1, 1:10, 1:10], np.outer(line, line) / line.sum() ** 2, atol=1e-6)


def test_a_large_image_is_blurred_as_far_as_asked():
    x = torch.zeros(1, 1, 1024, 1024)
    x[..., 512, 512] = 1
    line = nnunet_style.blurred(x, torch.full((1, 1, 1, 1), 4.0))[0, 0].sum(0)
    assert (line * (torch.arange(1024) - 512) ** 2).sum().sqrt().item() == pytest.approx(4, rel=0.01)


def test_low_resolution_is_the_identity_at_1_and_pixels_of_two_at_half():
    x = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    assert torch.equal(nnunet_style.low_resolution(x, torch.ones(1, 1, 1, 1)), x)
    half = nnunet_style.low_resolution(x, torch.full((1, 1, 1, 1), 0.5))[0, 0, 0]
    kept = [1, 3, 5, 7, 9, 11, 13, 15]  # the pixel right of the middle of two
    expected = np.interp((np.arange(16) + 0.5) / 2 - 0.5, np.arange(8), kept)
    np.testing.assert_allclose(half, expected, atol=1e-5)
