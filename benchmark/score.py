"""Overlap and surface distances of label maps, by the protocol's rules.

What counts is decided by the truth alone, so that every method has the same n. A region that the truth lacks is left
out of every score and counted as a ghost if it was predicted. A region that was not predicted is a miss: overlaps are 0,
and distances are the scan's diagonal, the worst possible. Tested against medpy to 1e-9 where that is defined.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

OVERLAPS = ("dice", "iou", "precision", "recall", "rve")
DISTANCES = ("hd95", "hd95_max", "hd", "assd", "nsd")
METRICS = (*OVERLAPS, *DISTANCES, "hd95@slice", "assd@slice")
COUNTS = ("n_missed", "n_ghost", "n_absent")
Spacing = Sequence[float] | None


def evaluate(
    prediction: np.ndarray,
    mask: np.ndarray,
    regions: Mapping[str, Sequence[int]],
    spacing: Spacing = None,
    *,
    tolerance: float | None = None,
) -> dict[str, dict[str, float]]:
    """Scores of a stack of label maps: region -> metric -> value; NaN where a metric is not defined.

    prediction and mask: integers (slices, height, width); regions: name -> labels whose union is scored; spacing: mm
    between slices, rows and columns, or None if unknown; tolerance: of `nsd`, in the unit of the distances.

    Of voxels: `dice`, `iou`, `precision`, `recall`, and `rve`, the volume's error as a share of the true volume, negative
    where too little was predicted. Of the distances from each surface voxel to the other surface: `hd95` (95th percentile
    of both directions pooled, as medpy's), `hd95_max` (the larger of the two directions' percentiles), `hd` (the largest),
    `assd` (the pooled mean), `nsd` (the share within the tolerance). Distances are in mm on the whole stack; without a
    spacing they are in px and defined for single images only, and a stack has `hd95@slice` and `assd@slice`, means over the
    slices that hold the region. `n_missed`, `n_ghost` and `n_absent` are 0 or 1. Raises ValueError where shapes differ.
    """
    if prediction.shape != mask.shape or mask.ndim != 3:
        raise ValueError(f"prediction {prediction.shape} and mask {mask.shape} must be equal stacks (slices, height, width)")
    return {
        name: _score(np.isin(prediction, labels), np.isin(mask, labels), spacing, tolerance)
        for name, labels in regions.items()
    }


def overlaps(ours: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores of two masks' voxels; the truth is not empty."""
    common, size, true = int((ours & truth).sum()), int(ours.sum()), int(truth.sum())
    return {
        "dice": 2 * common / (size + true),
        "iou": common / (size + true - common),
        "precision": common / size if size else 0.0,
        "recall": common / true,
        "rve": (size - true) / true,
    }


def distances(ours: np.ndarray, truth: np.ndarray, spacing: Spacing = None) -> tuple[np.ndarray, np.ndarray]:
    """From every surface voxel of one mask to the nearest of the other, and back; neither mask may be empty.

    A surface voxel has a neighbour outside the mask across one of its faces, or touches the image's border. Axes of
    length one are dropped. Units of `spacing`, voxels without.
    """
    step = np.ones(ours.ndim) if spacing is None else np.asarray(spacing, float)
    step = step[[length > 1 for length in ours.shape]]
    ours, truth = np.squeeze(ours), np.squeeze(truth)
    box = ndimage.find_objects((ours | truth).astype(np.uint8))[0]
    ours, truth = _surface(ours[box]) * step, _surface(truth[box]) * step
    if step.size == 0:  # a single voxel
        return np.zeros(1), np.zeros(1)
    return KDTree(truth).query(ours)[0], KDTree(ours).query(truth)[0]


def diagonal(shape: Sequence[int], spacing: Spacing = None) -> float:
    """The largest distance that an image of this shape has room for; axes of length one don't count."""
    step = [1.0] * len(shape) if spacing is None else spacing
    return float(np.linalg.norm([n * s for n, s in zip(shape, step, strict=True) if n > 1]))


def _score(ours: np.ndarray, truth: np.ndarray, spacing: Spacing, tolerance: float | None) -> dict[str, float]:
    scores = dict.fromkeys(METRICS, np.nan) | dict.fromkeys(COUNTS, 0)
    if not truth.any():
        return scores | {"n_absent": 1, "n_ghost": int(ours.any())}
    scores |= overlaps(ours, truth) | {"n_missed": int(not ours.any())}
    if spacing is not None or len(truth) == 1:
        return scores | _surface_scores(ours, truth, spacing, tolerance)
    each = [_surface_scores(o, t, None, None) for o, t in zip(ours, truth, strict=True) if t.any()]
    return scores | {f"{name}@slice": float(np.mean([found[name] for found in each])) for name in ("hd95", "assd")}


def _surface_scores(ours: np.ndarray, truth: np.ndarray, spacing: Spacing, tolerance: float | None) -> dict[str, float]:
    known = tolerance is not None
    if not ours.any():
        return dict.fromkeys(DISTANCES, diagonal(truth.shape, spacing)) | {"nsd": 0.0 if known else np.nan}
    out, back = distances(ours, truth, spacing)
    pooled = np.concatenate([out, back])
    return {
        "hd95": float(np.percentile(pooled, 95)),
        "hd95_max": float(max(np.percentile(out, 95), np.percentile(back, 95))),
        "hd": float(pooled.max()),
        "assd": float(pooled.mean()),
        "nsd": float((pooled <= tolerance).mean()) if known else np.nan,
    }


def _surface(mask: np.ndarray) -> np.ndarray:
    """Coordinates (n, axes) of the surface voxels."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))
