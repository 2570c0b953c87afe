"""Filters along minimum spanning trees: pixels joined by a path without an edge should have the same label.

In torch, on any device; on the CPU scipy builds the trees, which is four times faster. The work of a filter is linear in
the number of pixels, and the number of its steps is the logarithm of the depth of the tree.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor
from torch.autograd.function import once_differentiable

EDGE_BITS = 22  # a float32 cost and an edge's number fit the 53 bits of a float64: images up to 1448 px squared


def tree_energy(probs: Tensor, image: Tensor, features: Tensor | None, unlabelled: Tensor, *, sigma: float = 0.02) -> Tensor:
    """Distance to the probabilities filtered along trees: sum over unlabelled pixels and classes |p - q| / #unlabelled.

    q = p filtered along the image's tree (similarity exp(-d^2 / sigma)), then along the features' (exp(-d^2)). probs
    (n, k, h, w), image (n, c, h, w) in [0, 1], features (n, d, h', w'), enlarged bilinearly, or None, unlabelled bool
    (n, h, w); 0 if nothing is unlabelled. Gradients reach the probabilities, also through q, and the features, but
    neither the image nor the choice of a tree. Liang et al., CVPR 2022; grey is one channel (published: three).
    """
    probs = probs.float() if probs.dtype.itemsize < 4 else probs
    smooth = tree_filter(probs, image.detach().to(probs.dtype), sigma)
    if features is not None:
        features = features.to(probs.dtype)
        if features.shape[-2:] != probs.shape[-2:]:
            features = F.interpolate(features, size=probs.shape[-2:], mode="bilinear", align_corners=False)
        smooth = tree_filter(smooth, features, 1.0)
    distance = (probs - smooth).abs().sum(1)
    return torch.where(unlabelled, distance, 0).sum() / unlabelled.sum().clamp(min=1)


def tree_filter(signal: Tensor, embedding: Tensor, sigma: float) -> Tensor:
    """Weighted mean of the whole image at each pixel: sum_j S_ij x_j / sum_j S_ij (Song et al., NeurIPS 2019).

    S_ij = exp(-sum of |f_a - f_b|^2 / sigma over the path from i to j in the spanning tree of the embedding f). signal
    (n, k, h, w), embedding (n, d, h, w).
    """
    n, k, h, w = signal.shape
    parent = spanning_trees(embedding)
    nodes = embedding.transpose(0, 1).flatten(1)
    squared = (nodes - nodes.index_select(1, parent)).square().sum(0)
    is_root = parent == torch.arange(len(parent), device=parent.device)
    similarity = (-squared / sigma).exp().masked_fill(is_root, 0)
    x = signal.transpose(0, 1).reshape(k, -1)
    sums = TreeSum.apply(torch.cat([x, torch.ones_like(x[:1])]), similarity, parent)
    return (sums[:-1] / sums[-1]).view(k, n, h, w).transpose(0, 1)


class TreeSum(torch.autograd.Function):
    """sum_j S_ij x_j over the tree of node i, S_ij the product of the similarities on the path between i and j."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, similarity: Tensor, parent: Tensor) -> Tensor:
        """Sums (k, nodes) of x (k, nodes); similarity (nodes,) to the parent (nodes,), 0 for roots, their own parents."""
        ctx.reduction = reduction = CyclicReduction.of(parent, similarity)
        up, out = reduction.sums(x.index_select(1, reduction.order))
        ctx.save_for_backward(up, out)
        return out.index_select(1, reduction.place)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """S is symmetric; the gradient of a similarity is the product of the sums below and above it, in both directions."""
        (up, out), reduction = ctx.saved_tensors, ctx.reduction
        grad_up, grad_out = reduction.sums(grad.index_select(1, reduction.order))
        grad_x, grad_similarity = grad_out.index_select(1, reduction.place), None
        if ctx.needs_input_grad[1]:
            far, w = reduction.far[0], reduction.weight[0]
            above, grad_above = out.index_select(1, far) - w * up, grad_out.index_select(1, far) - w * grad_up
            grad_similarity = (grad_up * above + up * grad_above).sum(0).index_select(0, reduction.place)
        return grad_x, grad_similarity, None


class CyclicReduction(NamedTuple):
    """Nodes in an order in which, for each j, those whose depth is a multiple of 2^j come first: level j.

    At level j, the ancestor 2^j steps above a node at an odd multiple is at an even multiple, and vice versa. Substituting
    the equation of its ancestor, each even node depends on an even node only: these form the tree of level j + 1. This is
    cyclic reduction on trees.
    """

    order: Tensor  # (nodes,): the node at each position
    place: Tensor  # (nodes,): the position of each node
    far: list[Tensor]  # for each level, the positions of the ancestors
    weight: list[Tensor]  # for each level, the product of similarities on the path to the ancestor

    @classmethod
    def of(cls, parent: Tensor, similarity: Tensor) -> "CyclicReduction":
        """Build the reduction of trees; it waits for the device once, for the sizes of the levels."""
        depth = _depth(parent)
        power = torch.where(depth == 0, len(parent), depth & -depth)  # the largest power of two that divides the depth
        order = power.argsort(descending=True, stable=True)
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        powers = 2 ** torch.arange(1, len(parent).bit_length(), device=parent.device)
        sizes = torch.searchsorted(-power.index_select(0, order), -powers, right=True).tolist()
        far = [place.index_select(0, parent.index_select(0, order))]
        weight = [similarity.index_select(0, order)]
        for size in dict.fromkeys(sizes):  # two levels have the same size only if just the roots remain
            near = far[-1][:size]
            weight.append(weight[-1][:size] * weight[-1].index_select(0, near))
            far.append(far[-1].index_select(0, near))
        return cls(order, place, far, weight)

    def sums(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of x (k, nodes) in this order: sums over the subtree below each node, and over its whole tree."""
        up = self._up(x.clone())
        return up, self._down((1 - self.weight[0].square()) * up)

    def _levels(self) -> list[tuple[slice, slice, Tensor, Tensor]]:
        """For each level: positions that are also on the next level, those that are not, ancestors, weights."""
        sizes = [*map(len, self.far), 0]
        return [
            (slice(0, nxt), slice(nxt, size), far, weight)
            for size, nxt, far, weight in zip(sizes, sizes[1:], self.far, self.weight, strict=False)
        ]

    def _down(self, x: Tensor) -> Tensor:
        """y_i = x_i + w_i y_parent, in place."""
        levels = self._levels()
        for both, _, far, w in levels:
            x[:, both].addcmul_(w[both], x.index_select(1, far[both]))
        for _, last, far, w in reversed(levels):
            x[:, last].addcmul_(w[last], x.index_select(1, far[last]))
        return x

    def _up(self, x: Tensor) -> Tensor:
        """y_i = x_i + sum over its children of w_c y_c, in place: the transpose of `_down`, step by step."""
        levels = self._levels()
        for _, last, far, w in levels:
            x.index_add_(1, far[last], w[last] * x[:, last])
        for both, _, far, w in reversed(levels):
            x.index_add_(1, far[both], w[both] * x[:, both])
        return x


def spanning_trees(embedding: Tensor) -> Tensor:
    """Minimum spanning trees of images' 4-neighbour grids, edges costing |f_a - f_b|^2: the parent (n h w,) of each node.

    embedding (n, d, h, w); nodes are the pixels of all images in order, and each image's first is its root and its own
    parent. Of equal edges the first is cheaper, vertical before horizontal, as in the published code. That code adds
    1 to every cost, which can change a tree only by rounding.
    """
    n, _, h, w = embedding.shape
    with torch.no_grad():
        down = (embedding[:, :, 1:] - embedding[:, :, :-1]).square().sum(1)
        right = (embedding[..., 1:] - embedding[..., :-1]).square().sum(1)
        cost = torch.cat([down.flatten(1), right.flatten(1)], 1).float()
        if cost.shape[1] >> EDGE_BITS:
            raise ValueError(f"images of {h} x {w} px are too large for a spanning tree; the largest square has 1448 px")
        number = torch.arange(1, cost.shape[1] + 1, device=cost.device)
        key = (cost.view(torch.int32).long() << EDGE_BITS) + number  # bits of floats from 0 up are ordered as they are
        parent = _trees_by_scipy(key, h, w) if key.device.type == "cpu" else rooted(boruvka(key, h, w), h, w)
        return (parent + h * w * torch.arange(n, device=parent.device)[:, None]).flatten()


def _trees_by_scipy(key: Tensor, h: int, w: int) -> Tensor:
    """Parents (n, h w) in the minimum spanning trees of edges with keys (n, edges)."""
    order, ends, starts = _rows(h, w)
    parents = np.zeros((len(key), h * w), np.int64)
    for row, costs in zip(parents, key.double().numpy(), strict=True):
        graph = csr_array((costs[order], ends, starts), shape=(h * w, h * w))
        row[1:] = breadth_first_order(minimum_spanning_tree(graph), 0, directed=False)[1][1:]
    return torch.from_numpy(parents)


def edges(h: int, w: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Both ends of the edges of a grid, int64 (edges,): first the vertical ones, row by row."""
    pixel = torch.arange(h * w, device=device).view(h, w)
    near, far = (pixel[:-1], pixel[:, :-1]), (pixel[1:], pixel[:, 1:])
    return torch.cat([end.flatten() for end in near]), torch.cat([end.flatten() for end in far])


@lru_cache
def _rows(h: int, w: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The edges of a grid as a sparse matrix by rows: their order, columns, and where each row starts."""
    near, far = (end.numpy().astype(np.int32) for end in edges(h, w))
    order = np.lexsort((far, near))
    return order, far[order], np.searchsorted(near[order], np.arange(h * w + 1)).astype(np.int32)


def boruvka(key: Tensor, h: int, w: int) -> Tensor:
    """Find which edges (n, edges) are in the minimum spanning trees; keys are distinct and end in the edge's number + 1.

    In each round every component adds its cheapest outgoing edge. The number of rounds is the most that can be needed, so
    that nothing waits for the device.
    """
    n, count = key.shape
    near, far = edges(h, w, key.device)
    none, node = torch.iinfo(torch.int64).max, torch.arange(h * w, device=key.device).expand(n, -1)
    component, chosen = node, torch.zeros(n, count + 1, dtype=torch.bool, device=key.device)  # 0: no edge
    left = h * w
    while left > 1:
        one, other = component[:, near], component[:, far]
        leaving = torch.where(one == other, none, key)
        cheapest = torch.full_like(component, none)
        cheapest = cheapest.scatter_reduce(1, one, leaving, "amin").scatter_reduce(1, other, leaving, "amin")
        alone = cheapest == none
        edge = torch.where(alone, 0, cheapest & (1 << EDGE_BITS) - 1)
        chosen.scatter_(1, edge, True)
        index = (edge - 1).clamp(min=0)
        beyond = torch.where(alone, node, one.gather(1, index) + other.gather(1, index) - node)
        mutual = beyond.gather(1, beyond) == node
        head = torch.where(mutual & (node < beyond), node, beyond)  # for a mutual edge, the first is head
        for _ in range(left.bit_length()):
            head = head.gather(1, head)
        component = head.gather(1, component)
        left //= 2
    return chosen[:, 1:]


def rooted(tree: Tensor, h: int, w: int) -> Tensor:
    """Parents (n, h w) in spanning trees, given as edges (n, edges); pixel 0 is the root and its own parent.

    An Euler tour of the tree passes each edge twice, first away from the root; list ranking finds which direction is first.
    """
    n, device, pixel = len(tree), tree.device, torch.arange(h * w, device=tree.device)
    down, right = tree[:, : (h - 1) * w].view(n, h - 1, w), tree[:, (h - 1) * w :].view(n, h, w - 1)
    there = tree.new_zeros(n, h, w, 4)  # arcs out of a pixel: up, right, down, left
    there[:, 1:, :, 0], there[:, :, :-1, 1], there[:, :-1, :, 2], there[:, :, 1:, 3] = down, right, down, right
    there = there.view(n, -1)
    head = (pixel[:, None] + torch.tensor([-w, 1, w, -1], device=device)).clamp(0, h * w - 1)
    way, early = torch.arange(4, device=device), torch.arange(4, 0, -1, device=device)
    turns = (head[..., None] * 4 + (way[:, None] + 3 + way) % 4).view(-1, 4)  # next arcs, clockwise; the reverse is last
    pick = (there[:, turns] * early).argmax(2, keepdim=True)
    follow = turns.expand(n, -1, -1).gather(2, pick).squeeze(2)
    start = (there[:, :4] * early).argmax(1, keepdim=True)
    stop = ~there | (follow == start)
    follow, ahead = torch.where(stop, torch.arange(4 * h * w, device=device), follow), (~stop).long()
    for _ in range((2 * h * w).bit_length()):
        ahead, follow = ahead + ahead.gather(1, follow), follow.gather(1, follow)
    homeward = there & (ahead < ahead[:, turns[:, 3]])  # later in the tour than its reverse; the root has none
    pick = homeward.view(n, -1, 4).long().argmax(2, keepdim=True)
    return head.expand(n, -1, -1).gather(2, pick).squeeze(2)


def _depth(parent: Tensor) -> Tensor:
    """Number of edges between each node and its root."""
    up = parent
    depth = (up != torch.arange(len(up), device=up.device)).long()
    for _ in range(len(parent).bit_length()):
        depth, up = depth + depth.index_select(0, up), up.index_select(0, up)
    return depth
