"""Distances between the surfaces of two masks: exact, and fast where the masks nearly agree, as they mostly do.

Both masks lie in one flat array, each in a margin of empty voxels, so that a step to another voxel is one number added to
an index. Every surface voxel looks for the other surface along a list of offsets, nearest first: the first hit is the
nearest voxel. The few that hit nothing within the list ask a KD-tree.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise, product

import numpy as np
from scipy.spatial import KDTree

REACH = 9  # voxels along the finest axis, at most
BLOCKS = (0, 1, 16, 64, 256)  # where the list is cut: the same voxel, its neighbours, two steps further out
PIECE = 2**14  # voxels that look at a time: 2**14 x 192 indices are 25 MB

Spacing = Sequence[float] | None
Distances = tuple[np.ndarray, np.ndarray]


def distances(ours: np.ndarray, truth: np.ndarray, spacing: Spacing = None) -> Distances:
    """From every surface voxel of one mask to the nearest of the other, and back; neither mask may be empty.

    A surface voxel has a neighbour outside the mask across one of its faces, or touches the image's border. Axes of
    length one are dropped. Masks are booleans of any rank; units of `spacing`, voxels without; order of `np.argwhere`.
    """
    return distances_of_each(ours[None], truth[None], spacing)[0]


def distances_of_each(ours: np.ndarray, truth: np.ndarray, spacing: Spacing = None) -> list[Distances]:
    """`distances` of every pair in two stacks of masks (pairs, *axes), at once; ValueError where a mask is empty."""
    if not len(ours):
        return []
    axes = [axis for axis, length in enumerate(ours.shape[1:], 1) if length > 1] or [1]  # a single voxel keeps one
    step = tuple(1.0 if spacing is None else float(spacing[axis - 1]) for axis in axes)
    ours, truth = (stack.reshape(len(stack), *(stack.shape[axis] for axis in axes)) for stack in (ours, truth))
    box = (slice(None), *box_around((ours | truth).any(0)))
    offsets, lengths, margin = _offsets(step)
    masks = _with_margin(ours[box], truth[box], margin)
    strides = masks.strides[2:]  # bytes, and a voxel is one
    surface = _surface(masks.ravel(), strides)
    places = np.flatnonzero(surface)
    counts = np.bincount(places // masks[0, 0].size, minlength=2 * len(ours))
    if not counts.all():
        raise ValueError("there is no distance to an empty mask")
    found = _near(surface, places, offsets @ strides, lengths)
    far = np.flatnonzero(np.isinf(found))
    if far.size:
        found[far] = _by_tree(places, far, masks.shape, step)
    parts = np.split(found, counts.cumsum()[:-1])
    return list(zip(parts[: len(ours)], parts[len(ours) :], strict=True))


def box_around(mask: np.ndarray) -> tuple[slice, ...]:
    """The box that holds the mask and, within the image, one voxel more on each side.

    Thanks to that voxel an axis of the box has length one only where the image's own has.
    """
    box: list[slice] = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        first, last = (int(inside[0]), int(inside[-1])) if inside.size else (0, 0)
        box.append(slice(max(0, first - 1), last + 2))
        mask = mask[(slice(None),) * axis + (box[-1],)]
    return tuple(box)


def _with_margin(ours: np.ndarray, truth: np.ndarray, margin: tuple[int, ...]) -> np.ndarray:
    """Both stacks as one array (2, pairs, *axes), each mask in its margin of empty voxels."""
    lengths = (length + 2 * empty for length, empty in zip(ours.shape[1:], margin, strict=True))
    masks = np.zeros((2, len(ours), *lengths), bool)
    inner = (slice(None), *(slice(empty, -empty) for empty in margin))
    masks[0][inner], masks[1][inner] = ours, truth
    return masks


def _surface(masks: np.ndarray, strides: Sequence[int]) -> np.ndarray:
    """The voxels with an empty neighbour across a face; flat, as the masks are."""
    core = masks.copy()
    for stride in strides:
        core[stride:] &= masks[:-stride]
        core[:-stride] &= masks[stride:]
    return masks > core


def _near(surface: np.ndarray, places: np.ndarray, shifts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """From every place on a surface to the nearest on the other one; infinite where none is within the list."""
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
    """From the far ones among all places to the nearest on the other surface."""
    apart = float(np.dot(shape[2:], step))  # between pairs: further than anything within one
    points = np.stack(np.unravel_index(places, shape)[1:], 1) * (apart, *step)
    half = np.searchsorted(places, np.prod(shape) // 2)
    found = np.empty(far.size)
    for seeking, others in ((far < half, points[half:]), (far >= half, points[:half])):
        if seeking.any():
            tree = KDTree(others, leafsize=32, balanced_tree=False, compact_nodes=False)  # made faster, as fast to ask
            found[seeking] = tree.query(points[far[seeking]])[0]
    return found


@lru_cache
def _offsets(step: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Offsets (n, axes), nearest first and none left out up to the last; their lengths (n,); the margin they need."""
    grid = np.array(list(product(range(-REACH, REACH + 1), repeat=len(step))))
    lengths = np.sqrt(np.square(grid * step).sum(1))
    order = np.argsort(lengths, kind="stable")[: BLOCKS[-1]]
    order = order[lengths[order] < (REACH + 1) * min(step)]  # whatever is outside the grid is at least that far
    margin = np.abs(grid[order]).max(0).clip(1)  # one, for the surface
    return grid[order], lengths[order], tuple(margin.tolist())
