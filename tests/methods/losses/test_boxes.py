"""Losses of boxes and tags: every term by hand or as a slow loop over lines and pairs."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from benchmark.methods.losses import box_bags, box_projection, boxes_of, colour_pairs, image_bags

BOXES = (  # image, class, rows, columns; those of one class don't touch each other
    (0, 1, slice(1, 4), slice(0, 3)),
    (0, 1, slice(6, 8), slice(2, 7)),
    (0, 2, slice(2, 7), slice(1, 6)),
    (1, 2, slice(0, 2), slice(5, 8)),
)


def drawn(boxes=BOXES, images=3, size=8):
    """Label sets of three classes; the last image is empty."""
    allowed = torch.ones(images, size, size, dtype=torch.int32)
    for image, label, rows, columns in boxes:
        allowed[image, rows, columns] |= 1 << label
    return allowed


def case(seed=0, channels=1):
    torch.manual_seed(seed)
    return torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.rand(3, channels, 8, 8, dtype=torch.float64), drawn()


def test_each_box_is_a_part_of_its_class():
    found = boxes_of(drawn(), 3)
    assert sorted(zip(found.image.tolist(), found.label.tolist(), strict=True)) == sorted(box[:2] for box in BOXES)
    for image, label, part in zip(found.image, found.label, found.part, strict=True):
        ys, xs = part.nonzero().T
        assert (int(image), int(label), slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1)) in BOXES
        assert part.sum() == len(ys.unique()) * len(xs.unique())
    inside = torch.zeros(3, 3, 8, 8, dtype=torch.bool)
    for image, label, rows, columns in BOXES:
        inside[image, label, rows, columns] = True
    assert torch.equal(found.inside, inside)
    assert torch.equal(found.outside[:, 1:], ~inside[:, 1:])
    assert not found.outside[:, 0].any()


def test_boxes_that_overlap_are_their_union_and_those_that_touch_at_a_corner_are_two():
    overlapping = drawn([(0, 1, slice(0, 3), slice(0, 3)), (0, 1, slice(2, 5), slice(2, 6))], 1)
    corner = drawn([(0, 1, slice(0, 3), slice(0, 3)), (0, 1, slice(3, 5), slice(3, 6))], 1)
    assert boxes_of(overlapping, 3).part.sum((1, 2)).tolist() == [9 + 12 - 1]
    assert boxes_of(corner, 3).part.sum((1, 2)).tolist() == [9, 6]


def test_an_image_without_annotation_has_no_box_and_nothing_outside():
    found = boxes_of(torch.full((2, 4, 4), 7), 3)
    assert len(found.part) == 0
    assert not found.inside.any()
    assert not found.outside.any()


def lines(rows, columns):
    """The pixels of each row and each column of a box."""
    rows, columns = range(8)[rows], range(8)[columns]
    yield from ([(y, x) for x in columns] for y in rows)
    yield from ([(y, x) for y in rows] for x in columns)


def is_in(image, label, y, x):
    return any((i, k) == (image, label) and y in range(8)[r] and x in range(8)[c] for i, k, r, c in BOXES)


@pytest.mark.parametrize("seed", range(3))
def test_the_projection_equals_a_slow_loop(seed):
    logits, _, allowed = case(seed)
    q, losses = logits.softmax(1).tolist(), []
    for image, label, rows, columns in BOXES:
        own = [[y in range(8)[rows] and x in range(8)[columns] for x in range(8)] for y in range(8)]
        seen = [
            [0.0 if is_in(image, label, y, x) and not own[y][x] else q[image][label][y][x] for x in range(8)]
            for y in range(8)
        ]
        loss = 0.0
        for target, made in ((own, seen), (zip(*own, strict=True), zip(*seen, strict=True))):
            pairs = [(max(line), float(any(mine))) for line, mine in zip(made, target, strict=True)]
            overlap, sizes = sum(a * b for a, b in pairs), sum(a * a + b * b for a, b in pairs)
            loss += 1 - (2 * overlap + 1e-5) / (sizes + 1e-5)
        losses.append(loss)
    found = box_projection(logits.softmax(1), boxes_of(allowed, 3))
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_bags_equal_a_slow_loop(seed):
    logits, _, allowed = case(seed)
    q, bags = logits.softmax(1).tolist(), []
    for image, label, rows, columns in BOXES:
        for line in lines(rows, columns):
            bags.append(-math.log(max(q[image][label][y][x] for y, x in line) + 1e-6))
    for image, label in product(range(3), (1, 2)):
        for line in lines(slice(None), slice(None)):
            if outside := [q[image][label][y][x] for y, x in line if not is_in(image, label, y, x)]:
                bags.append(-math.log(1 + 1e-6 - max(outside)))
    found = box_bags(logits.softmax(1), boxes_of(allowed, 3))
    assert found.item() == pytest.approx(sum(bags) / len(bags), rel=1e-9)


@pytest.mark.parametrize(
    ("seed", "channels", "similarity", "dilation"), [(0, 1, 1e-9, 2), (1, 3, 1e-14, 2), (2, 1, 1e-5, 1)]
)
def test_the_pairs_equal_a_slow_loop(seed, channels, similarity, dilation):
    logits, image, allowed = case(seed, channels)
    q, terms, left_out = logits.softmax(1).tolist(), [], 0
    colours = rgb2lab(image.numpy(), channel_axis=1) if channels == 3 else 100 * image.numpy()
    steps = [(dilation, -dilation), (dilation, 0), (dilation, dilation), (0, dilation)]
    for n, label, y, x, (down, right) in product(range(3), (1, 2), range(8), range(8), steps):
        v, u = y + down, x + right
        if not (v < 8 and 0 <= u < 8) or not (is_in(n, label, y, x) or is_in(n, label, v, u)):
            continue
        if math.exp(-float(np.linalg.norm(colours[n, :, y, x] - colours[n, :, v, u])) / 2) < similarity:
            left_out += 1
            continue
        a, b = q[n][label][y][x], q[n][label][v][u]
        terms.append(-math.log(a * b + (1 - a) * (1 - b) + 1e-6))
    assert min(left_out, len(terms)) > 50
    found = colour_pairs(logits.softmax(1), image, boxes_of(allowed, 3), similarity=similarity, dilation=dilation)
    assert found.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


@pytest.mark.parametrize("r", [0.0, 5.0])
def test_the_bags_of_images_equal_a_slow_loop(r):
    logits, *_ = case(2)
    allowed = torch.tensor([3, 1, 7])[:, None, None].repeat(1, 8, 8)
    allowed[0, :2, :2] = 7  # the corners of a rotation
    logits[0, 1, 0, 0] = 9.0  # which is of no image
    probs, terms = logits.softmax(1), []
    for image, label in ((0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2)):
        own = probs[image, label][(allowed[image] != 7) | (image == 2)].tolist()  # all classes of the third are tagged
        m = math.log(sum(math.exp(r * p) for p in own) / len(own)) / r if r else max(own)
        terms.append(-math.log(m + 1e-6))
    assert image_bags(probs, allowed, r).item() == pytest.approx(sum(terms) / 6, rel=1e-9)


def test_a_box_that_is_filled_is_tight():
    probs = torch.zeros(1, 3, 8, 8)
    probs[:, 0] = 1
    probs[0, :, 2:5, 3:7] = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    boxes = boxes_of(drawn([(0, 1, slice(2, 5), slice(3, 7))], 1), 3)
    image = torch.rand(1, 1, 8, 8)
    assert box_projection(probs, boxes).item() == pytest.approx(0, abs=1e-6)
    assert box_bags(probs, boxes).item() == pytest.approx(0, abs=1e-5)
    assert colour_pairs(probs, torch.zeros_like(image), boxes).item() > 1  # its border is between equal colours
    probs[0, :, 2, 3:7] = torch.tensor([1.0, 0.0, 0.0])[:, None]  # a row is empty: 2 of 3 rows, 4 of 4 columns
    assert box_projection(probs, boxes).item() == pytest.approx(1 - 4 / 5, abs=1e-5)
    assert box_bags(probs, boxes).item() == pytest.approx(-math.log(1e-6) / (7 + 32), rel=1e-4)


LOSSES = {
    "projection": lambda z, image, boxes: box_projection(z.softmax(1), boxes),
    "bags": lambda z, image, boxes: box_bags(z.softmax(1), boxes),
    "pairs": lambda z, image, boxes: colour_pairs(z.softmax(1), image, boxes, similarity=1e-9),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(2))
def test_gradients_are_right(name, seed):
    logits, image, allowed = case(seed)
    boxes = boxes_of(allowed, 3)
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, image, boxes), logits.requires_grad_())


@pytest.mark.parametrize("r", [0.0, 5.0])
def test_gradients_of_the_bags_of_images_are_right(r):
    allowed = torch.tensor([3, 1, 7])[:, None, None].repeat(1, 8, 8)
    assert torch.autograd.gradcheck(lambda z: image_bags(z.softmax(1), allowed, r), case()[0].requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_without_annotation_the_loss_is_zero_and_has_a_gradient(name):
    logits, image, _ = case()
    loss = LOSSES[name](logits.requires_grad_(), image, boxes_of(torch.full((3, 8, 8), 7), 3))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
