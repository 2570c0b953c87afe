"""The methods of boxes and tags: every term by hand, what they make of the sets, and that every form has learners."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.check import data_of
from benchmark.datasets.forms import FORMS, learnt
from benchmark.methods import boxes, cam, grabcut
from benchmark.methods.base import IGNORE, Batch
from benchmark.methods.losses import (
    box_bags,
    box_projection,
    boxes_of,
    colour_pairs,
    image_bags,
    partial_cross_entropy,
    tree_energy,
)
from benchmark.plan import plugins
from benchmark.seal.contract import Budget, TestScan, WeakData, WeakScan
from tests.support.losses import loss_at

TAGS = torch.tensor([3, 1])[:, None, None].repeat(1, 32, 32).int()  # background and class 1; background


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_three_methods_that_learn_from_it(form):
    methods = {name: plugin.load() for name, plugin in plugins.find("method").items()}
    found = [
        name for name, cls in methods.items() if form in learnt(cls.annotations) and plugins.role(cls) != "location prior"
    ]
    assert len(found) >= 3, f"{form} has {found}"


def batch_of(allowed):
    torch.manual_seed(0)
    return Batch(torch.rand(len(allowed), 1, 32, 32), allowed, torch.arange(len(allowed)), None)


def boxed():
    allowed = torch.ones(2, 32, 32, dtype=torch.int32)
    allowed[0, 4:20, 6:28] |= 2
    allowed[0, 8:14, 8:20] |= 4
    allowed[0, 24:30, 2:9] |= 4
    return allowed


def built(name, allowed, steps=100, **options):
    method = plugins.configure(plugins.get("method", name).load(), options)
    torch.manual_seed(0)
    method.budget, method.device, method.channels, method.classes = Budget(steps=steps, size=32), torch.device("cpu"), 1, 3
    method.allowed = allowed.numpy()
    method.build(1, 3, method.budget)
    for net in method._modules().values():
        net.eval()
    return method


def fitted(name, data, steps=4, **options):
    method, log = plugins.configure(plugins.get("method", name).load(), options), []
    torch.manual_seed(0)
    method.fit(data, Budget(steps=steps, batch=2, size=32), lambda step, /, **values: log.append({"step": step} | values))
    return method, log


@pytest.mark.parametrize("name", ["box_mil", "tag_mil", "cam", "box_as_mask"])
def test_two_steps_in_half_precision_have_finite_losses(name):
    method, log = plugins.get("method", name).load()(), []
    budget = Budget(steps=2, batch=2, size=32, precision="bf16")
    method.fit(data_of(learnt(method.annotations)[0]), budget, lambda step, /, **values: log.append(values))
    assert all(math.isfinite(values["loss"]) for values in log if "loss" in values)


# ------------------------------------------------------------------------------------------------------------ box_mil


@pytest.mark.parametrize(("projection", "tight"), [("boxinst", box_projection), ("mil", box_bags)])
def test_box_mil_is_the_sum_of_its_terms(projection, tight):
    batch = batch_of(boxed())
    method = built("box_mil", batch.allowed, projection=projection, pairwise=3.0, similarity=0.01, dilation=3)
    logits = method.net(batch.image)
    probs, found = logits.softmax(1), boxes_of(batch.allowed, 3)
    pairs = colour_pairs(probs, batch.image, found, similarity=0.01, dilation=3)
    assert pairs > 0
    expected = partial_cross_entropy(logits, batch.allowed) + tight(probs, found) + 3 * pairs
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)


def test_the_weight_of_the_pairs_rises_in_a_ninth_of_the_budget():
    method = built("box_mil", boxed(), pairwise=2.0)
    assert [method.numbers(step)[0] for step in (0, 5, 11, 50)] == pytest.approx([0, 2 * 5 / 11, 2, 2])
    assert built("box_mil", boxed(), warm=0.0).numbers(0) == (1.0,)


def test_padding_is_background_and_not_in_a_box():
    sets = np.ones((1, 16, 32), np.uint8)
    sets[0, :6, 4:9] = 3
    method, _ = fitted("box_mil", WeakData([WeakScan(np.zeros((1, 1, 16, 32), np.float32), sets)], 2, 1), steps=1)
    expected = np.ones((1, 32, 32), np.uint8)
    expected[0, 8:14, 4:9] = 3
    assert np.array_equal(method.allowed, expected)


def test_padding_makes_no_box_of_a_slice_without_annotation():
    sets = np.full((2, 16, 32), 7, np.uint8)
    sets[0] = 1
    sets[0, :6, 4:9] = 3
    method = built("box_mil", boxed())
    _, made = method.prepare(WeakScan(np.zeros((2, 1, 16, 32), np.float32), sets), 3, 32)
    assert (made[1] == 7).all()
    assert (made[0, :8] == 1).all()


# ------------------------------------------------------------------------------------------------- boxes as labels


def test_a_filled_box_has_its_class_and_of_two_the_smaller_one():
    sets = np.ones((2, 6, 6), np.uint8)
    sets[0, 1:5, 1:5] |= 2
    sets[0, 2:4, 2:6] |= 4
    sets[1] = 7  # no annotation
    expected = np.ones((2, 6, 6), np.uint8)
    expected[0, 1:5, 1:5] = 2
    expected[0, 2:4, 2:6] = 4
    expected[1] = 7
    assert np.array_equal(boxes.filled(sets, 3), expected)


def test_a_box_of_the_whole_slice_is_filled():
    sets = np.full((1, 4, 4), 3, np.uint8)
    sets[0, 0, 0] |= 4
    expected = np.full((1, 4, 4), 2)
    expected[0, 0, 0] = 4
    assert np.array_equal(boxes.filled(sets, 3), expected)


@pytest.mark.parametrize(("form", "only"), [("box", True), ("tags", True), ("scribble", False), ("full", False)])
def test_where_background_is_possible_everywhere_there_are_only_boxes(form, only):
    assert boxes.boxed_sites(data_of(form)) == ({0} if only else set())


def at_sites(*data):
    """These data, each at a site of its own."""
    scans = [WeakScan(scan.image, scan.allowed, site=site) for site, own in enumerate(data) for scan in own]
    return WeakData(scans, data[0].classes, data[0].channels)


def test_with_a_form_for_each_site_grabcut_and_the_prior_learn_of_each_as_of_it_alone():
    """A scribbled scan without an object, whose strokes enclose a region, looks like a box, but its site does not."""
    marks, drawn = (data_of(form, shapes=((2, 32, 32),), classes=2) for form in ("scribble", "box"))
    empty = np.ones((2, 32, 32), np.uint8)
    empty[:, 8:20, 8:20] = 3
    marks = WeakData([*marks, WeakScan(next(iter(marks)).image, empty)], 2, 1)
    both, alone = at_sites(marks, drawn), [at_sites(marks), at_sites(drawn)]
    cuts, *own = (fitted("grabcut", data, steps=1)[0].allowed for data in (both, *alone))
    assert np.array_equal(cuts, np.concatenate(own))
    assert (cuts[2:4] == 1).all()
    assert {1, 2} <= set(np.unique(cuts[4:]))
    counts = [fitted("prior", data)[1][0]["marks"] for data in (both, *alone)]
    assert counts[0] == sum(counts[1:])
    assert counts[2] == 2 * 32 * 32


def test_the_control_trains_on_filled_boxes():
    data = data_of("box", shapes=((2, 32, 32),))
    method, _ = fitted("box_as_mask", data, steps=1)
    scan = next(iter(data))
    assert np.array_equal(method.allowed, boxes.filled(scan.allowed, 3))
    assert not np.array_equal(method.allowed, scan.allowed)


def test_the_prior_of_boxes_is_where_most_of_them_lie():
    sets = np.ones((3, 32, 32), np.uint8)
    sets[:2, 8:24, 8:24] = 3
    sets[2, 8:24, 16:30] = 3
    method, _ = fitted("prior", WeakData([WeakScan(np.zeros((3, 1, 32, 32), np.float32), sets)], 2, 1), spread=0.001)
    expected = np.zeros((32, 32))
    expected[8:24, 8:24] = 1
    assert np.array_equal(method.predict(TestScan(np.zeros((1, 1, 32, 32), np.float32)))[0], expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_grabcut_finds_discs_in_their_boxes(channels):
    """Two discs of class 1 and, in one of them, a disc of class 2; boxes as they are simulated."""
    y, x = np.mgrid[:64, :64]
    one = (np.hypot(y - 16, x - 16) < 12) | (np.hypot(y - 44, x - 42) < 16)
    labels = np.where(np.hypot(y - 44, x - 42) < 8, 2, one)
    image = np.random.default_rng(0).normal(np.array([0.2, 0.5, 0.8])[labels], 0.02, (channels, 64, 64)).clip(0, 1)
    sets = np.ones((64, 64), np.int64)
    for label, rows, columns in (
        (1, slice(5, 28), slice(5, 28)),
        (1, slice(29, 60), slice(27, 58)),
        (2, slice(37, 52), slice(35, 50)),
    ):
        sets[rows, columns] |= 1 << label
    found = grabcut.cut_boxes(image.astype(np.float32), sets, 3, 5, 0.2)
    for k in (1, 2):
        assert 2 * ((found == k) & (labels == k)).sum() / ((found == k).sum() + (labels == k).sum()) > 0.97
    assert not found[sets == 1].any()


def test_the_middle_of_a_box_has_its_share_of_the_area():
    inside = np.zeros((40, 40), bool)
    inside[2:22, 5:35] = True
    inside[30:40, 0:10] = True
    expected = np.zeros_like(inside)
    expected[7:17, 13:27] = True  # half of each side: margins of 5 and 7.5, which is rounded to 8
    expected[32:38, 2:8] = True
    assert np.array_equal(grabcut.middles(inside, 0.25), expected)
    assert not grabcut.middles(inside, 0).any()


@pytest.mark.parametrize("sides", [(1, 1), (2, 2), (2, 9), (3, 2), (5, 4)])
def test_every_box_has_a_middle(sides):
    inside = np.zeros((12, 12), bool)
    inside[1 : 1 + sides[0], 2 : 2 + sides[1]] = True
    middle = grabcut.middles(inside, 0.2)
    assert middle.any()
    assert not (middle & ~inside).any()


def test_grabcut_trains_on_cuts_of_boxes_and_leaves_slices_without_annotation_open():
    data = data_of("box", shapes=((2, 32, 32),), classes=2)
    scan = next(iter(data))
    sets = scan.allowed.copy()
    sets[1] = 3
    method, _ = fitted("grabcut", WeakData([WeakScan(scan.image, sets)], 2, 1), steps=1)
    assert set(np.unique(method.allowed[0])) == {1, 2}
    assert (method.allowed[0] & sets[0] != 0).all()
    assert (method.allowed[1] == 3).all()


def test_a_box_that_fills_its_slice_is_not_cut_and_not_background():
    method = grabcut.GrabCut()
    method.boxes, images = True, np.random.default_rng(0).random((2, 1, 32, 32), np.float32)
    sets = np.full((2, 32, 32), 3, np.uint8)
    sets[0, 8:20, 8:20] = 7
    made = method.narrow(images, sets, 3)
    assert {4} <= set(np.unique(made[0])) <= {3, 4, 7}
    assert np.array_equal(made[1], sets[1])


# --------------------------------------------------------------------------------------------------------------- tags


@pytest.mark.parametrize("pool", [0.0, 5.0])
def test_tag_mil_is_the_sum_of_its_terms(pool):
    batch = batch_of(TAGS)
    method = built("tag_mil", TAGS, weight=2.0, pool=pool)
    logits = method.net(batch.image)
    expected = partial_cross_entropy(logits, TAGS) + 2 * image_bags(logits.softmax(1), TAGS, pool)
    torch.testing.assert_close(loss_at(method, batch, 0.5), expected)


@pytest.mark.parametrize("pool", [0.0, 5.0])
def test_the_first_stage_classifies_images(pool):
    batch = batch_of(TAGS)
    batch.allowed = TAGS.clone()
    batch.allowed[:, :3, :3] = 7  # the corners of a rotation
    method = built("cam", TAGS, pool=pool)
    maps = method.net.classifier(method.net.net.features(batch.image).encoder[16])
    assert maps.shape == (2, 2, 2, 2)
    scores = [
        [math.log(sum(math.exp(pool * v) for v in own) / 4) / pool if pool else sum(own) / 4 for own in image]
        for image in maps.flatten(2).tolist()
    ]
    terms = [
        math.log(1 + math.exp(-v if tag else v))
        for v, tag in zip([*scores[0], *scores[1]], (True, False, False, False), strict=True)
    ]
    assert loss_at(method, batch, 0.2).item() == pytest.approx(sum(terms) / 4, rel=1e-4)


def test_the_second_stage_is_tree_energy_on_the_seeds():
    batch = batch_of(TAGS)
    batch.memory = torch.full((2, 32, 32), IGNORE, dtype=torch.uint8)
    batch.memory[0, :10], batch.memory[0, 20:] = 1, 0
    sets = TAGS.clone()
    sets[0, :10], sets[0, 20:] = 2, 1
    method = built("cam", TAGS)
    logits, embedding = method.net.both(batch.image)
    energy = tree_energy(logits.softmax(1), batch.image, embedding, sets == 3)
    assert energy > 0
    torch.testing.assert_close(loss_at(method, batch, 0.7), partial_cross_entropy(logits, sets) + 0.1 * energy)


def test_seeds_by_hand():
    """Class 1 is tagged, class 2 only in the second image; 2 to 6 is scaled to 0 to 1."""
    maps = torch.tensor([[[[2.0, 2.3, 3.0, 4.1, 6.0]], [[9.0, 0.0, 0.0, 9.0, 9.0]]]]).repeat(2, 1, 1, 1)
    tags = torch.tensor([[True, False], [True, True]])
    found = cam.seeds_of(maps, tags, 0.5, 0.1)
    assert found.tolist() == [[[0, 0, IGNORE, 1, 1]], [[2, 0, IGNORE, 2, 1]]]


def test_an_image_without_a_tag_has_background_seeds_alone():
    assert not cam.seeds_of(torch.rand(1, 2, 4, 4), torch.zeros(1, 2, dtype=torch.bool), 0.5, 0.1).any()


def test_a_flat_map_has_no_seed_of_its_class():
    assert not cam.seeds_of(torch.full((1, 1, 4, 4), 3.0), torch.ones(1, 1, dtype=torch.bool), 0.5, 0.1).any()


def test_between_the_stages_seeds_are_made_of_the_training_slices():
    data = data_of("tags", shapes=((4, 32, 32),))
    method, log = fitted("cam", data, steps=6)
    assert method.boundary == 3
    assert [line["step"] for line in log if "seeds" in line] == [2]
    assert method.facts["tags_differ"] is True
    assert method.facts["seeds"] == pytest.approx(float((method.memory != IGNORE).double().mean()), abs=1e-4)
    assert (method.memory[1::2] == IGNORE).all()  # empty slices: their tags say all
    for own in method.memory[::2]:
        assert {1, 2} & set(own.unique().tolist())
    assert [method.rate(step) for step in range(3)] == [method.rate(step) for step in range(3, 6)]


def test_seeds_lie_in_the_image_and_the_padding_does_not_scale_them():
    data = data_of("tags", shapes=((4, 24, 32), (2, 32, 20)))
    method = plugins.get("method", "cam").load()()
    maps = method.maps
    method.maps = lambda image: (
        maps(image) + 1e6 * F.interpolate((image == 0).float(), maps(image).shape[-2:])
    )  # padding is 0
    budget = Budget(steps=2, batch=2, size=32)
    method.begin(data, budget, lambda step, /, **values: None)
    memory = method._seeds()
    padding = (method.images == 0).all(2, keepdim=True).expand_as(method.images) | (method.images == 0).all(3, keepdim=True)
    assert padding.any()
    assert (memory[padding[:, 0]] == IGNORE).all()
    for own in memory[::2]:
        assert {1, 2} & set(own.unique().tolist())


def test_cam_reports_tags_that_are_all_the_same():
    data = data_of("box", shapes=((2, 32, 32),)).relabel(lambda scan: np.full_like(scan.allowed, 7))
    assert fitted("cam", data, steps=2)[0].facts["tags_differ"] is False


def test_pce_of_tags_excludes_what_is_not_tagged():
    logits = torch.zeros(2, 3, 4, 4)
    expected = (16 * math.log(3 / 2) + 16 * math.log(3)) / 32
    assert partial_cross_entropy(logits, TAGS[:, :4, :4]).item() == pytest.approx(expected)
