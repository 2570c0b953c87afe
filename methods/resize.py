"""Resizing between native size and the network's square, by one of two rules of the budget.

`pad`: pad to a square, then resize; predictions are resized and cropped. `squash`: take the nearest pixels of the image as
it is, so that its aspect ratio is lost, as WSL4MIS does; predictions return by the nearest pixel too.
"""

from functools import reduce
from typing import Literal, TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.seal.contract import everything

Rule = Literal["pad", "squash"]
Planes = TypeVar("Planes", np.ndarray, Tensor)


def to_network_size(image: np.ndarray, size: int, rule: Rule = "pad") -> np.ndarray:
    """Planes (..., h, w) as (..., size, size): padded with 0 to a square, then shrunk by area or enlarged linearly.

    With `squash`, the nearest pixels.
    """
    if rule == "squash":
        return _squashed(image, size, size)
    padded = _square(image, 0)
    side = padded.shape[-1]
    if side == size:
        return padded
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    planes = [cv2.resize(plane, (size, size), interpolation=how) for plane in padded.reshape(-1, side, side)]
    return np.stack(planes).reshape(*image.shape[:-2], size, size)


def fit_sets(sets: np.ndarray, size: int, classes: int, rule: Rule = "pad") -> np.ndarray:
    """Resize label sets (s, h, w) to (s, size, size), so that no mark is lost and each cell allows a class of its pixels.

    A box loses the cells that it fills in part: background is there, too, and they allow it alone. Padding allows all
    classes. A cell of several source pixels gets their intersection if that is the set of one of them (so a class that is
    present stays allowed), else the most frequent of their sets; on a tie it allows all. With `squash` a cell has the set of
    the nearest pixel, so marks of larger images may be lost, as published.
    """
    if rule == "squash":
        return _squashed(sets, size, size)
    unknown = everything(classes)
    padded = _square(sets, unknown)
    side = padded.shape[-1]
    if side <= size:
        pick = (np.arange(size) * 2 + 1) * side // (2 * size)  # the source pixel under each cell's centre
        return padded[:, pick][:, :, pick]
    cell = (np.arange(side) * 2 + 1) * size // (2 * side)  # the cell that holds each source pixel's centre
    starts, ends = (np.searchsorted(cell, np.arange(size), end) for end in ("left", "right"))
    places = [np.minimum(starts + k, ends - 1) for k in range((ends - starts).max())]  # each pixel of a cell, some twice
    common = _reduced(np.bitwise_and, padded, places)
    sound = _reduced(np.logical_or, padded == common[:, cell][:, :, cell], places)
    if not sound.all():
        plane, row, column = np.nonzero(~sound)
        inside = [starts + k < ends for k in range(len(places))]
        pixels = [
            np.where(down[row] & across[column], padded[plane, rows[row], columns[column]], unknown)
            for rows, down in zip(places, inside, strict=True)
            for columns, across in zip(places, inside, strict=True)
        ]  # of the cells that are not sound
        common[plane, row, column] = _most_frequent(np.stack(pixels), unknown)
    return common


def _reduced(operation: np.ufunc, planes: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """Reduce the pixels of each cell, which are at these rows and columns, by an idempotent operation."""
    rows = reduce(operation, (planes[:, place] for place in places))
    return reduce(operation, (rows[:, :, place] for place in places))


def _most_frequent(sets: np.ndarray, unknown: int) -> np.ndarray:
    """Return of each column the most frequent value that is not `unknown`; on a tie, `unknown`."""
    values = np.setdiff1d(sets, unknown)
    counts = np.stack([np.count_nonzero(sets == value, axis=0) for value in values])
    tie = (counts == counts.max(0)).sum(0) > 1
    return np.where(tie, unknown, values[counts.argmax(0)])


def to_native_size(maps: Tensor, height: int, width: int, rule: Rule = "pad") -> Tensor:
    """Maps (n, k, size, size) as (n, k, height, width): resized linearly to the padded square, then cropped.

    With `squash`, the nearest pixels, so the class of a pixel is that of one pixel of the network's output.
    """
    if rule == "squash":
        return _squashed(maps, height, width)
    side = max(height, width)
    if maps.shape[-1] != side:
        maps = F.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)
    top, left = (side - height) // 2, (side - width) // 2
    return maps[..., top : top + height, left : left + width]


def inside(height: int, width: int, size: int, rule: Rule = "pad") -> tuple[slice, slice]:
    """Rows and columns of the network's square that hold only image, no padding."""
    if rule == "squash":
        return slice(0, size), slice(0, size)
    side = max(height, width)
    starts = [(side - extent) // 2 for extent in (height, width)]
    rows, columns = (
        slice(-(-start * size // side), (start + extent) * size // side)
        for start, extent in zip(starts, (height, width), strict=True)
    )
    return rows, columns


def to_network(image: np.ndarray, size: int, rule: Rule = "pad") -> Tensor:
    """Resize a scan's image (s, c, h, w) to network size."""
    return torch.tensor(np.ascontiguousarray(to_network_size(image, size, rule)))  # a copy: the scan's array is read-only


def _squashed(planes: Planes, height: int, width: int) -> Planes:
    """Planes (..., h, w) as (..., height, width) by the nearest pixels; first and last ones meet, as in scipy's `zoom`."""
    rows, columns = (
        np.floor(np.linspace(0, old - 1, new) + 0.5).astype(int)
        for old, new in zip(planes.shape[-2:], (height, width), strict=True)
    )
    return planes[..., rows[:, None], columns]


def _square(planes: np.ndarray, fill: int) -> np.ndarray:
    """Pad planes on both sides to a square."""
    height, width = planes.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    padding = [(0, 0)] * (planes.ndim - 2) + [(top, side - height - top), (left, side - width - left)]
    return np.pad(planes, padding, constant_values=fill) if height != width else planes
