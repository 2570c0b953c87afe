"""CycleMix: the prediction of a mixed image is the mix of the predictions, and objects are connected."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from scipy.sparse import csgraph
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.scale import relative_size
from benchmark.methods.turns import rotated_labels, rotated_maps, sources
from benchmark.methods.views import (
    Scale,
    cosine_distance,
    holes,
    largest_components,
    marks_loss,
    one_hot,
    rotations,
)
from benchmark.seal.contract import Budget, NotNegative, Range, everything

GRIDS = (2, 4, 8, 16)  # blocks along a side, one of them per batch
UNIT = 10**6  # costs of a cut are integers in this unit
NEVER = 2**30


@dataclass
class CycleMix(NetMethod):
    """Mix augmentation with cycle consistency (Zhang & Zhuang, CVPR 2022), constants of the authors' code.

    Loss: pCE(x) + pCE(x') + mixed mean(1 - cos(p(x'), m p(x) + (1 - m) p(x_pi))) + connected mean(1 - cos(p(x), q)). x' is
    m x + (1 - m) x_pi with a hole, rotated by any angle; m keeps the blocks of each image that are more salient (Puzzle
    Mix); q: largest components of argmax p(x), for data sets with one object per class and slice, else `connected=0`.
    Left out: moving blocks within an image (there the marks do not move with them), noise in a fifth of the batches, and
    the smoothness that depends on the image. Here m is the exact minimum, and holes and corners are open.
    """

    title: ClassVar[str] = "CycleMix"

    scale: Scale = "labelled"  # pixels of which pCE is the mean; published: all
    mixed: Annotated[float, Range(0.01, 1.0)] = 0.1  # weight of the consistency with the mix
    connected: NotNegative = 0.1  # weight of the agreement with the largest components; 0: without

    extra: ClassVar[str] = "a backward pass for saliency, a pass of mixed images, graph cuts on the CPU"
    mix: Literal["puzzle", "cut"] = "puzzle"  # cut: m is 0 in a box, as in CutMix, and no saliency is needed

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build the network, and report the scale."""
        super().build(channels, classes, budget)
        self.report(scale=self.scale)

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the marks of images and mixed images, agree with the mix, and keep objects connected."""
        image, size, everywhere = batch.image, batch.image.shape[-1], everything(self.classes)
        other = torch.from_numpy(self.rng.permutation(len(image))).to(image.device)
        mask = self._mask(batch, other)
        hole = holes(len(image), size, round(32 * relative_size(image, 212)), image.device)
        rotation = rotations(len(image), image.device)
        there, back = sources(rotation, size, linear=False), sources(rotation.mT, size, linear=False)
        made = (mask * image + (1 - mask) * image[other]) * ~hole[:, None]
        sets = torch.where(hole, everywhere, mixed_sets(mask[:, 0], batch.allowed, batch.allowed[other]))
        logits, view = self.net(image), self.net(rotated_maps(made, there))
        probs, seen = logits.softmax(1), rotated_maps(view.softmax(1), back)
        visible = (seen.detach().sum(1) > 0) & ~hole
        distance = (cosine_distance(seen, mask * probs + (1 - mask) * probs[other]) * visible).mean()
        loss = marks_loss(logits, batch.allowed, self.scale)
        loss = loss + marks_loss(view, rotated_labels(sets, there, everywhere), self.scale)
        loss = loss + self.mixed * distance
        if not self.connected:
            return loss
        labels = one_hot(largest_components(logits.detach().argmax(1)), probs)
        return loss + self.connected * cosine_distance(probs, labels).mean()

    def _mask(self, batch: Batch, other: Tensor) -> Tensor:
        """The share of each image in each pixel of its mix with another one, (n, 1, h, w)."""
        size, share = batch.image.shape[-1], float(self.rng.beta(0.5, 0.5))
        if self.mix == "cut":
            return box_mask(self.rng, len(batch.image), size, share).to(batch.image)
        image, grid = batch.image.detach().requires_grad_(), int(self.rng.choice(GRIDS))
        marks = marks_loss(self.net(image), batch.allowed, "labelled")
        (gradient,) = torch.autograd.grad(marks, image)
        salient = F.adaptive_avg_pool2d(gradient.float().square().mean(1).sqrt()[:, None], grid)[:, 0]
        salient = (salient / salient.sum((1, 2), keepdim=True).clamp(min=1e-30)).cpu()
        shares = block_shares(salient.numpy(), salient[other.cpu()].numpy(), share)
        return F.interpolate(torch.from_numpy(shares).to(batch.image)[:, None], size=(size, size))


def mixed_sets(mask: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Sets (n, h, w) of the image that alone is there; where both are mixed, all classes that either allows.

    mask (n, h, w): the share of the first image.
    """
    return torch.where(mask == 1, own, torch.where(mask == 0, other, own | other))


def box_mask(rng: np.random.Generator, count: int, size: int, share: float) -> Tensor:
    """1 but in a box of 1 - share of the area at a random place (Yun et al., ICCV 2019), float (count, 1, size, size)."""
    mask, side = torch.ones(count, 1, size, size), round(size * (1 - share) ** 0.5)
    for each, (top, left) in zip(mask, rng.integers(0, size - side + 1, (count, 2)), strict=True):
        each[:, top : top + side, left : left + side] = 0
    return mask


def block_shares(own: np.ndarray, other: np.ndarray, share: float, smooth: float = 1.2, prior: float = 0.2) -> np.ndarray:
    """The share m of the first image in each block, 0, 1/2 or 1, float (n, b, b): the exact minimum of

    sum_blocks (1 - m) own + m other - prior / b^2 log Binomial(2 m; 2, share) + smooth / 16 b sum_neighbours (m - m')^2

    for saliencies (n, b, b) whose sum over the blocks of an image is 1 (Kim et al., ICML 2020; Puzzle Mix). A minimal cut:
    a block has two nodes, one per step from 0 to 1/2 and from 1/2 to 1, as costs are convex in m - m' (Ishikawa, 2003).
    """
    n, b, _ = own.shape
    binomial = -np.log(np.array([(1 - share) ** 2, 2 * share * (1 - share), share**2]) + 1e-8) * prior / b**2
    half = np.array([0, 0.5, 1])
    costs = (1 - half) * own[..., None] + half * other[..., None] + binomial
    costs = np.round(UNIT * (costs - costs.min(-1, keepdims=True))).astype(np.int64)
    low, high = np.arange(2 * n * b * b).reshape(2, n, b, b)  # is m at least 1/2, at least 1?
    source, sink = 2 * n * b * b, 2 * n * b * b + 1
    edges = [(source, low, costs[..., 0]), (low, high, costs[..., 1]), (high, sink, costs[..., 2]), (high, low, NEVER)]
    quarter = round(UNIT * smooth / (16 * b) / 4)
    for here, there in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])):
        for one, two in ((here, there), (there, here)):
            edges += [(low[one], low[two], quarter), (high[one], high[two], quarter), (high[one], low[two], 2 * quarter)]
    return _cut(edges, source, sink)[: 2 * n * b * b].reshape(2, n, b, b).mean(0)


def _cut(edges: list[tuple[np.ndarray | int, np.ndarray | int, np.ndarray | int]], source: int, sink: int) -> np.ndarray:
    """Which nodes are on the source's side of a minimal cut, 0 or 1; edges are (from, to, capacity) as arrays."""
    flat = [[each.ravel() for each in np.broadcast_arrays(*edge)] for edge in edges]
    start, end, capacity = (np.concatenate(part) for part in zip(*flat, strict=True))
    graph = sparse.coo_array((capacity.astype(np.int32), (start, end)), (sink + 1, sink + 1)).tocsr()
    left = graph - csgraph.maximum_flow(graph, source, sink).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    side = np.zeros(sink + 1)
    side[csgraph.breadth_first_order(left, source, return_predecessors=False)] = 1
    return side
