"""Resizing between native size and the network's square, by one of two rules of the budget.

`pad`: pad to a square, then resize; predictions are resized and cropped. `squash`: take the nearest pixels of the image as
it is, so that its aspect ratio is lost, as WSL4MIS does; predictions return by the nearest pixel too.
"""

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
    """Resize label sets (s, h, w) to (s, size, size), so that no mark is lost and no set excludes the true class.

    Padding allows all classes. A cell of several source pixels gets their intersection if that is the set of one of
    them (so a class that is present stays allowed), else the most frequent of their sets; on a tie it allows all. With
    `squash` a cell has the set of the nearest pixel, so marks of larger images may be lost, as published.
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
    starts = np.searchsorted(cell, np.arange(size))

    def gather(reduce: np.ufunc, planes: np.ndarray) -> np.ndarray:
        return reduce.reduceat(reduce.reduceat(planes, starts, axis=1), starts, axis=2)

    common = gather(np.bitwise_and, padded)
    sound = gather(np.logical_or, padded == common[:, cell][:, :, cell])
    values = np.setdiff1d(padded, unknown)
    if sound.all() or values.size == 0:
        return common
    counts = np.stack([gather(np.add, (padded == value).astype(np.int32)) for value in values])
    most = counts.max(0)
    tie = (counts == most).sum(0) > 1
    return np.where(sound, common, np.where(tie, unknown, values[counts.argmax(0)])).astype(sets.dtype)


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
    return torch.tensor(to_network_size(image, size, rule))  # a copy: the scan's array is read-only


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
