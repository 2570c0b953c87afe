"""Losses of boxes and tags: boxes are tight, neighbours of similar colour are alike, and what is tagged is somewhere."""

from typing import NamedTuple

import torch
from scipy import ndimage
from skimage.color import rgb2lab
from torch import Tensor

from benchmark.methods.losses.labels import EPSILON, everywhere, possible
from benchmark.methods.losses.pairwise import half_window, overlap

FLOOR = 1e-6  # added to what a logarithm is computed of


class Boxes(NamedTuple):
    """The boxes of a batch with m of them; background has none."""

    inside: Tensor  # bool (n, k, h, w): within a box of the class
    outside: Tensor  # bool (n, k, h, w): the class is impossible; false for background
    image: Tensor  # int64 (m,): the image of each box
    label: Tensor  # int64 (m,): its class
    part: Tensor  # bool (m, h, w): its pixels


def boxes_of(allowed: Tensor, classes: int) -> Boxes:
    """Find the boxes in label sets (n, h, w): the connected parts (4-connected) of where each class is possible.

    Overlapping or touching boxes of one class are one part, their union. A class that is possible at every pixel of an
    image has no box there: an image without annotation looks the same. Parts are found on the CPU.
    """
    sets = possible(allowed, classes)
    foreground = torch.arange(classes, device=allowed.device).view(1, -1, 1, 1) > 0
    inside = sets & foreground & ~everywhere(allowed, classes)[..., None, None]
    found = []
    for image, label in inside.flatten(2).any(2).nonzero().tolist():
        parts, count = ndimage.label(inside[image, label].cpu().numpy())
        found += [(image, label, torch.from_numpy(parts == number)) for number in range(1, count + 1)]
    number = torch.tensor([each[:2] for each in found], dtype=torch.int64, device=allowed.device).view(-1, 2)
    part = torch.stack([each[2] for each in found]) if found else torch.zeros(0, *allowed.shape[1:], dtype=torch.bool)
    return Boxes(inside, ~sets & foreground, number[:, 0], number[:, 1], part.to(allowed.device))


def box_projection(probs: Tensor, boxes: Boxes) -> Tensor:
    """Dice loss of the projections on both axes: mean over boxes of D(max_x q, max_x b) + D(max_y q, max_y b); 0 if none.

    q is the class's probability outside its other boxes, probs (n, k, h, w); b the box; D(q, b) = 1 - (2 sum q b + e) /
    (sum q^2 + sum b^2 + e), e = 1e-5. Tian et al., BoxInst, CVPR 2021, equation 2, of semantic instead of instance maps.
    """
    q, mine = probs[boxes.image, boxes.label], boxes.inside[boxes.image, boxes.label]
    q = q.masked_fill(mine & ~boxes.part, 0)
    total = probs.new_zeros(())
    for axis in (1, 2):
        line, target = q.amax(axis), boxes.part.any(axis).to(q.dtype)
        sizes = line.square().sum(1) + target.square().sum(1)
        total = total + (1 - (2 * (line * target).sum(1) + EPSILON) / (sizes + EPSILON)).sum()
    return total / max(len(q), 1) + 0 * probs.sum()


def box_bags(probs: Tensor, boxes: Boxes) -> Tensor:
    """Mean of -log max q over rows and columns of each box, and of -log(1 - max q) over those of what is outside; 0 if none.

    The maximum is over the pixels of the line that are in the box, or that are outside all boxes of the class; lines
    without such pixels are left out. probs (n, k, h, w). Hsu et al., NeurIPS 2019, equation 2, with all lines outside as
    negative bags as in Wang & Xia, 2021.
    """
    bags = [0 * probs.sum()[None]]
    q = probs[boxes.image, boxes.label]
    for axis in (1, 2):
        lines = boxes.part.any(axis)
        bags.append(-(q.masked_fill(~boxes.part, 0).amax(axis)[lines] + FLOOR).log())
        lines = boxes.outside.any(axis + 1)
        bags.append(-(1 + FLOOR - probs.masked_fill(~boxes.outside, 0).amax(axis + 1)[lines]).log())
    every = torch.cat(bags)
    return every.sum() / max(len(every) - 1, 1)


def colour_pairs(probs: Tensor, image: Tensor, boxes: Boxes, *, similarity: float = 0.3, dilation: int = 2) -> Tensor:
    """Mean of -log(q_i q_j + (1 - q_i)(1 - q_j)) over pairs of similar colour, one pixel or both in a box; 0 if none.

    Pairs are those of a pixel and its eight neighbours `dilation` px away, each once for every class whose box they meet.
    Similar: exp(-|c_i - c_j| / 2) >= similarity, c in CIE LAB. probs (n, k, h, w), image (n, c, h, w) in [0, 1]: sRGB if
    c is 3, else the mean of its channels is the lightness L / 100. Tian et al., BoxInst, CVPR 2021, equations 5 and 6.
    """
    colour = lab(image).to(probs.dtype)
    total, count = 0 * probs.sum(), torch.zeros((), dtype=torch.int64, device=probs.device)
    for down, right in half_window(1):
        near, far = (
            (slice(None), slice(None), *where) for where in overlap(probs.shape[-2:], dilation * down, dilation * right)
        )
        alike = (-(colour[near] - colour[far]).norm(dim=1, keepdim=True) / 2).exp() >= similarity
        pairs = alike & (boxes.inside[near] | boxes.inside[far])
        agreement = probs[near] * probs[far] + (1 - probs[near]) * (1 - probs[far])
        total = total - ((agreement + FLOOR).log() * pairs).sum()
        count = count + pairs.sum()
    return total / count.clamp(min=1)


def image_bags(probs: Tensor, allowed: Tensor, r: float = 0.0) -> Tensor:
    """Mean of -log m over the classes that are possible at every pixel of an image, and over images; 0 if there is none.

    m: the maximum of the class's probability over the image, or with r > 0 its smooth form log(mean(exp(r p))) / r. Pixels
    that allow all classes, such as padding, are left out, unless all pixels do. probs (n, k, h, w), allowed (n, h, w) as
    sets. Pathak et al., ICLR workshop 2015; Pinheiro & Collobert, CVPR 2015.
    """
    present = everywhere(allowed, probs.shape[1])
    inside = ~possible(allowed, probs.shape[1]).all(1) | present.all(1)[:, None, None]
    flat = probs.masked_fill(~inside[:, None], -torch.inf).flatten(2)
    count = inside.sum((1, 2))[:, None].to(torch.promote_types(probs.dtype, torch.float32))
    most = ((r * flat).logsumexp(2) - count.log()) / r if r else flat.amax(2)
    return -((most + FLOOR).log() * present).sum() / present.sum().clamp(min=1)


def lab(image: Tensor) -> Tensor:
    """CIE LAB, (n, 3, h, w), of sRGB images (n, 3, h, w) in [0, 1]; L alone, (n, 1, h, w), of others. Made on the CPU."""
    if image.shape[1] != 3:
        return 100 * image.mean(1, keepdim=True)
    return torch.from_numpy(rgb2lab(image.detach().cpu().numpy(), channel_axis=1)).to(image.device)
