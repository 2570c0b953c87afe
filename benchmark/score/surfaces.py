"""Exact distances between the surfaces of two masks, fast if the masks nearly agree.

Both masks are in one flat array, each with a margin of empty voxels, so the offset to another voxel is one number. From
each surface voxel, a list of offsets is tried, nearest first: the first one that is on the other surface is the nearest
voxel. The few voxels without a hit in the list are looked up in a KD-tree.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise, product

import numpy as np
from scipy.spatial import KDTree

REACH = 9  # voxels along the finest axis, at most
BLOCKS = (0, 1, 16, 64, 256)  # the list is tried in blocks: the same voxel, its neighbours, two wider ones
PIECE = 2**14  # voxels at a time: 2**14 x 192 indices are 25 MB

Spacing = Sequence[float] | None
Distances = tuple[np.ndarray, np.ndarray]


def distances(predicted: np.ndarray, truth: np.ndarray, spacing: Spacing = None) -> Distances:
    """Return the distance from each surface voxel of a mask to the nearest of the other, both ways; no mask may be empty.

    A surface voxel has a neighbour outside the mask across one of its faces, or is at the image's border. Axes of length
    one are dropped. Masks: bool of any rank. Unit: that of `spacing`, else voxels. Order: that of `np.argwhere`.
    """
    return distances_of_each(predicted[None], truth[None], spacing)[0]


def distances_of_each(predicted: np.ndarray, truth: np.ndarray, spacing: Spacing = None) -> list[Distances]:
    """Return `distances` of every pair in two stacks of masks (pairs, *axes); raises ValueError if a mask is empty."""
    if not len(predicted):
        return []
    axes = [axis for axis, length in enumerate(predicted.shape[1:], 1) if length > 1] or [1]  # a single voxel keeps one
    step = tuple(1.0 if spacing is None else float(spacing[axis - 1]) for axis in axes)
    predicted, truth = (stack.reshape(len(stack), *(stack.shape[axis] for axis in axes)) for stack in (predicted, truth))
    box = (slice(None), *box_around((predicted | truth).any(0)))
    offsets, lengths, margin = _offsets(step)
    masks = _with_margin(predicted[box], truth[box], margin)
    strides = masks.strides[2:]  # bytes, and a voxel is one
    surface = _surface(masks.ravel(), strides)
    places = np.flatnonzero(surface)
    counts = np.bincount(places // masks[0, 0].size, minlength=2 * len(predicted))
    if not counts.all():
        raise ValueError("a mask is empty; the distance to it is not defined")
    found = _near(surface, places, offsets @ strides, lengths)
    far = np.flatnonzero(np.isinf(found))
    if far.size:
        found[far] = _by_tree(places, far, masks.shape, step)
    parts = np.split(found, counts.cumsum()[:-1])
    return list(zip(parts[: len(predicted)], parts[len(predicted) :], strict=True))


def box_around(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the bounding box of the mask, enlarged by one voxel on each side within the image.

    So an axis of the box has length one only if the image's has.
    """
    box: list[slice] = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        first, last = (int(inside[0]), int(inside[-1])) if inside.size else (0, 0)
        box.append(slice(max(0, first - 1), last + 2))
        mask = mask[(slice(None),) * axis + (box[-1],)]
    return tuple(box)


def _with_margin(predicted: np.ndarray, truth: np.ndarray, margin: tuple[int, ...]) -> np.ndarray:
    """Return both stacks as an array (2, pairs, *axes), each mask with a margin of empty voxels."""
    lengths = (length + 2 * empty for length, empty in zip(predicted.shape[1:], margin, strict=True))
    masks = np.zeros((2, len(predicted), *lengths), bool)
    inner = (slice(None), *(slice(empty, -empty) for empty in margin))
    masks[0][inner], masks[1][inner] = predicted, truth
    return masks


def _surface(masks: np.ndarray, strides: Sequence[int]) -> np.ndarray:
    """Return the voxels with an empty neighbour across a face; flat, like the masks."""
    core = masks.copy()
    for stride in strides:
        core[stride:] &= masks[:-stride]
        core[:-stride] &= masks[stride:]
    return masks > core


def _near(surface: np.ndarray, places: np.ndarray, shifts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the distance from each surface voxel to the other surface; infinite if the list has no hit."""
    half = surface.size // 2
    across = np.where(places < half, places + half, places - half)  # the same voxel of the other mask
    found = np.full(places.size, np.inf)
    ends = sorted({min(end, lengths.size) for end in BLOCKS})
    for begin in range(0, places.size, PIECE):
        left = np.arange(begin, min(begin + PIECE, places.size))
        for start, stop in pairwise(ends):
            hits = surface.take(across[left, None] + shifts[start:stop])
            first = hits.argmax(1)
            hit = hits[np.arange(left.size), first]
            found[left[hit]] = lengths[start + first[hit]]
            left = left[~hit]
    return found


def _by_tree(places: np.ndarray, far: np.ndarray, shape: Sequence[int], step: tuple[float, ...]) -> np.ndarray:
    """Return the distance to the other surface, for the voxels `far` among `places`."""
    gap = float(np.dot(shape[2:], step))  # between pairs: larger than any distance within one
    points = np.stack(np.unravel_index(places, shape)[1:], 1) * (gap, *step)
    half = np.searchsorted(places, np.prod(shape) // 2)
    found = np.empty(far.size)
    for seeking, others in ((far < half, points[half:]), (far >= half, points[:half])):
        if seeking.any():
            tree = KDTree(others, leafsize=32, balanced_tree=False, compact_nodes=False)  # faster to build, as fast to query
            found[seeking] = tree.query(points[far[seeking]])[0]
    return found


@lru_cache
def _offsets(step: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return all offsets (n, axes) up to some distance, nearest first; their lengths (n,); the margin that they need."""
    grid = np.array(list(product(range(-REACH, REACH + 1), repeat=len(step))))
    lengths = np.sqrt(np.square(grid * step).sum(1))
    order = np.argsort(lengths, kind="stable")[: BLOCKS[-1]]
    order = order[lengths[order] < (REACH + 1) * min(step)]  # whatever is outside the grid is at least that far
    margin = np.abs(grid[order]).max(0).clip(1)  # one, for the surface
    return grid[order], lengths[order], tuple(margin.tolist())
