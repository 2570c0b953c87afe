"""Dice and surface distances of label maps, by the protocol's rules.

What counts is decided by the truth alone, so that every method has the same n. A region that the truth lacks is left
out of every score and counted as a ghost if it was predicted. A region that was not predicted is a miss: Dice 0, and
distances of the scan's diagonal, the worst possible. Tested against medpy to 1e-9 where that is defined.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

METRICS = ("dice", "hd95", "assd", "hd95@slice", "assd@slice")
COUNTS = ("n_missed", "n_ghost", "n_absent")
Spacing = Sequence[float] | None


def evaluate(
    prediction: np.ndarray, mask: np.ndarray, regions: Mapping[str, Sequence[int]], spacing: Spacing = None
) -> dict[str, dict[str, float]]:
    """Scores of a stack of label maps: region -> metric -> value; NaN where a metric is not defined.

    prediction and mask: integers (slices, height, width); regions: name -> labels whose union is scored; spacing: mm
    between slices, rows and columns, or None if unknown. `hd95` (95th percentile of the pooled distances of both
    surfaces, as medpy's) and `assd` (their mean) are in mm on the whole stack; without a spacing they are in px and
    defined for single images only, and a stack has `hd95@slice` and `assd@slice`, means over the slices that hold the
    region. `n_missed`, `n_ghost` and `n_absent` are 0 or 1. Raises ValueError where shapes differ.
    """
    if prediction.shape != mask.shape or mask.ndim != 3:
        raise ValueError(f"prediction {prediction.shape} and mask {mask.shape} must be equal stacks (slices, height, width)")
    return {name: _score(np.isin(prediction, labels), np.isin(mask, labels), spacing) for name, labels in regions.items()}


def dice(ours: np.ndarray, truth: np.ndarray) -> float:
    """Twice the overlap over the sum of sizes; NaN when both are empty."""
    total = int(ours.sum()) + int(truth.sum())
    return 2 * int((ours & truth).sum()) / total if total else np.nan


def distances(ours: np.ndarray, truth: np.ndarray, spacing: Spacing = None) -> np.ndarray:
    """From every surface voxel of either mask to the nearest of the other, pooled; neither may be empty.

    A surface voxel has a neighbour outside the mask across one of its faces, or touches the image's border. Axes of
    length one are dropped. Units of `spacing`, voxels without.
    """
    step = np.ones(ours.ndim) if spacing is None else np.asarray(spacing, float)
    step = step[[length > 1 for length in ours.shape]]
    ours, truth = np.squeeze(ours), np.squeeze(truth)
    box = ndimage.find_objects((ours | truth).astype(np.uint8))[0]
    ours, truth = _surface(ours[box]) * step, _surface(truth[box]) * step
    if step.size == 0:  # a single voxel
        return np.zeros(2)
    return np.concatenate([KDTree(truth).query(ours)[0], KDTree(ours).query(truth)[0]])


def diagonal(shape: Sequence[int], spacing: Spacing = None) -> float:
    """The largest distance that an image of this shape has room for; axes of length one don't count."""
    step = [1.0] * len(shape) if spacing is None else spacing
    return float(np.linalg.norm([n * s for n, s in zip(shape, step, strict=True) if n > 1]))


def _score(ours: np.ndarray, truth: np.ndarray, spacing: Spacing) -> dict[str, float]:
    scores = dict.fromkeys(METRICS, np.nan) | dict.fromkeys(COUNTS, 0)
    if not truth.any():
        return scores | {"n_absent": 1, "n_ghost": int(ours.any())}
    scores["dice"] = dice(ours, truth)
    scores["n_missed"] = int(not ours.any())
    if spacing is not None or len(truth) == 1:
        scores["hd95"], scores["assd"] = _hd95_and_assd(ours, truth, spacing)
    else:
        each = [_hd95_and_assd(o, t, None) for o, t in zip(ours, truth, strict=True) if t.any()]
        scores["hd95@slice"], scores["assd@slice"] = np.mean(each, axis=0)
    return scores


def _hd95_and_assd(ours: np.ndarray, truth: np.ndarray, spacing: Spacing) -> tuple[float, float]:
    if not ours.any():
        worst = diagonal(truth.shape, spacing)
        return worst, worst
    found = distances(ours, truth, spacing)
    return float(np.percentile(found, 95)), float(found.mean())


def _surface(mask: np.ndarray) -> np.ndarray:
    """Coordinates (n, axes) of the surface voxels."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))
