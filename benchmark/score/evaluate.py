"""Overlap and surface distances of label maps, by the protocol's rules.

What counts is decided by the truth alone, so that every method has the same n. A region that the truth lacks is left
out of every score and counted as a ghost if it was predicted. A region that was not predicted is a miss: overlaps are 0,
and distances are the scan's diagonal, the worst possible. Tested against medpy to 1e-9 and MONAI where those are defined.
"""

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from benchmark.score.surfaces import Spacing, box_around, distances, distances_of_each

OVERLAPS = ("dice", "iou", "precision", "recall", "rve")
DISTANCES = ("hd95", "hd95_max", "hd", "assd", "nsd")
METRICS = (*OVERLAPS, *DISTANCES, "hd95@slice", "assd@slice")
COUNTS = ("n_missed", "n_ghost", "n_absent")


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
    apart = spacing is None and len(mask) > 1  # how far, is unknown
    worst = diagonal(mask.shape[1:] if apart else mask.shape, spacing)
    if all(0 not in labels for labels in regions.values()):  # else the background is scored, too
        box = box_around((prediction != 0) | (mask != 0))
        prediction, mask = prediction[box], mask[box]
    # numpy 2.2.0 and older crash where they compare other arrays with a label that their type can't hold
    prediction, mask = np.ascontiguousarray(prediction), np.ascontiguousarray(mask)
    return {
        name: _score(union(prediction, labels), union(mask, labels), spacing, tolerance, worst)
        for name, labels in regions.items()
    }


def overlaps(ours: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores of two masks' voxels; the truth is not empty."""
    common, size, true = (int(np.count_nonzero(voxels)) for voxels in (ours & truth, ours, truth))
    return {
        "dice": 2 * common / (size + true),
        "iou": common / (size + true - common),
        "precision": common / size if size else 0.0,
        "recall": common / true,
        "rve": (size - true) / true,
    }


def diagonal(shape: Sequence[int], spacing: Spacing = None) -> float:
    """The largest distance that an image of this shape has room for; axes of length one don't count."""
    step = [1.0] * len(shape) if spacing is None else spacing
    return float(np.linalg.norm([n * s for n, s in zip(shape, step, strict=True) if n > 1]))


def union(labels: np.ndarray, region: Sequence[int]) -> np.ndarray:
    """Where the label map holds one of the region's labels."""
    return reduce(np.logical_or, [labels == label for label in region], np.zeros(labels.shape, bool))


def _score(ours: np.ndarray, truth: np.ndarray, spacing: Spacing, tolerance: float | None, worst: float) -> dict[str, float]:
    scores = dict.fromkeys(METRICS, np.nan) | dict.fromkeys(COUNTS, 0)
    if not truth.any():
        return scores | {"n_absent": 1, "n_ghost": int(ours.any())}
    scores |= overlaps(ours, truth) | {"n_missed": int(not ours.any())}
    if spacing is None and len(truth) > 1:
        return scores | _slice_scores(ours, truth, worst)
    if not ours.any():
        return scores | dict.fromkeys(DISTANCES, worst) | {"nsd": np.nan if tolerance is None else 0.0}
    return scores | _surface_scores(ours, truth, spacing, tolerance)


def _surface_scores(ours: np.ndarray, truth: np.ndarray, spacing: Spacing, tolerance: float | None) -> dict[str, float]:
    out, back = distances(ours, truth, spacing)
    pooled = np.concatenate([out, back])
    return {
        "hd95": _percentile95(pooled),
        "hd95_max": max(_percentile95(out), _percentile95(back)),
        "hd": float(pooled.max()),
        "assd": float(pooled.mean()),
        "nsd": np.nan if tolerance is None else float((pooled <= tolerance).mean()),
    }


def _slice_scores(ours: np.ndarray, truth: np.ndarray, worst: float) -> dict[str, float]:
    """Means over the slices that hold the region; a slice in which it was missed costs the worst."""
    found, true = ours.any((1, 2)), truth.any((1, 2))
    both = found & true
    pooled = [np.concatenate(pair) for pair in distances_of_each(ours[both], truth[both])]
    missed = [worst] * int(np.count_nonzero(true & ~found))
    return {
        "hd95@slice": float(np.mean([_percentile95(each) for each in pooled] + missed)),
        "assd@slice": float(np.mean([each.mean() for each in pooled] + missed)),
    }


def _percentile95(values: np.ndarray) -> float:
    """`np.percentile(values, 95)` to the last bit, without its overhead."""
    place = 0.95 * (values.size - 1)
    below, share = int(place), place % 1
    above = min(below + 1, values.size - 1)
    low, high = np.partition(values, (below, above))[[below, above]]
    return float(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share))
