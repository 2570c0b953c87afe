"""Augmentation of a whole batch on its device: flips, quarter turns and rotations as one gather.

albumentations draws what is done (`Augmentation.turn`), as a matrix for each image. Flips and quarter turns equal those of
albumentations to the bit. Rotated images of 1 or 3 channels differ by 1e-4 at most with OpenCV 5 (intensities in [0, 1]);
OpenCV 4 rounds coordinates to 1/32 px, as OpenCV 5 does for 2 channels. One label in 10,000 is its neighbour's.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Sources(NamedTuple):
    """Which pixels of the image make up each augmented pixel; pixel h w stands for what lies outside of the image."""

    nearest: Tensor  # int64 (n, h w)
    corners: Tensor  # int64 (n, m, h w): the four around it, or the nearest one
    weights: Tensor  # float32 (n, m, h w)


def sources(turns: Tensor, size: int, *, linear: bool) -> Sources:
    """Return the sources for matrices (n, 2, 2) of `Augmentation.turn` and square images of that size."""
    middle = (size - 1) / 2
    line = torch.arange(size, device=turns.device, dtype=torch.float32) - middle
    y, x = torch.meshgrid(line, line, indexing="ij")
    column, row = (part[:, 0, None, None] * x + part[:, 1, None, None] * y + middle for part in turns.unbind(1))
    nearest = _pixels((row + 0.5).floor(), (column + 0.5).floor(), size)
    if not linear:
        return Sources(nearest, nearest[:, None], torch.ones_like(nearest[:, None], dtype=torch.float32))
    top, left = row.floor(), column.floor()
    down, right = row - top, column - left
    corners = [_pixels(top + i, left + j, size) for i in (0, 1) for j in (0, 1)]
    weights = [v * h for v in (1 - down, down) for h in (1 - right, right)]
    return Sources(nearest, torch.stack(corners, 1), torch.stack(weights, 1).flatten(2))


def _pixels(row: Tensor, column: Tensor, size: int) -> Tensor:
    """Numbers (n, h w) of the pixels at whole rows and columns (n, h, w)."""
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    return torch.where(inside, row * size + column, size * size).long().flatten(1)


def rotated_maps(maps: Tensor, found: Sources) -> Tensor:
    """Augment maps (n, c, h, w); what lies outside is 0."""
    padded = torch.cat([maps.flatten(2), maps.new_zeros(*maps.shape[:2], 1)], 2)
    rotated = torch.zeros_like(maps).flatten(2)
    for pixel, weight in zip(found.corners.unbind(1), found.weights.unbind(1), strict=True):
        rotated = rotated + padded.gather(2, pixel[:, None].expand(-1, maps.shape[1], -1)) * weight[:, None].to(maps.dtype)
    return rotated.view_as(maps)


def rotated_labels(labels: Tensor, found: Sources, fill: int) -> Tensor:
    """Augment integers (n, h, w) by the nearest pixel; what lies outside is `fill`."""
    padded = torch.cat([labels.flatten(1), labels.new_full((len(labels), 1), fill)], 1)
    return padded.gather(1, found.nearest).view_as(labels)
