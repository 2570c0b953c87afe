"""Overlap and surface distances of label maps, by the protocol's rules.

What counts is decided by the truth alone, so that every method has the same n. A region that the truth lacks is left
out of every score and counted as a ghost if it was predicted. A region that was not predicted is a miss: overlaps are 0,
and distances are the scan's diagonal, the worst possible. Tested against medpy to 1e-9 and MONAI where those are defined.
"""

import math
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from benchmark.score.metrics import BUILT_IN, Named, Overlap, SurfaceMetric, Surfaces, Voxels
from benchmark.score.surfaces import Distances, Spacing, box_around, distances, distances_of_each

OVERLAPS = {name: each for name, each in BUILT_IN.items() if isinstance(each, Overlap)}
SURFACE_METRICS = {name: each for name, each in BUILT_IN.items() if isinstance(each, SurfaceMetric)}
SLICE_METRICS = {f"{name}@slice": each for name, each in SURFACE_METRICS.items() if each.per_slice}
METRICS = (*OVERLAPS, *SURFACE_METRICS, *SLICE_METRICS)  # columns of cases.csv
COUNTS = ("n_missed", "n_ghost", "n_absent")


def evaluate(
    prediction: np.ndarray,
    mask: np.ndarray,
    regions: Mapping[str, Sequence[int]],
    spacing: Spacing = None,
    *,
    tolerance: float | None = None,
    own: Sequence[Named] = (),
) -> dict[str, dict[str, float]]:
    """Scores of a stack of label maps: region -> metric -> value; NaN where a metric is not defined.

    prediction and mask: integers (slices, height, width); regions: name -> labels whose union is scored; spacing: mm
    between slices, rows and columns, or None if unknown; tolerance: of `nsd`, in the unit of the distances; own: metrics
    of the user's.

    Metrics are those of `metrics.BUILT_IN`. Distances are in mm on the whole stack; without a spacing they are in px and
    defined for single images only, and a stack has `hd95@slice` and `assd@slice`, means over the slices that hold the
    region. `n_missed`, `n_ghost` and `n_absent` are 0 or 1. Raises ValueError where shapes differ, or where a metric of
    the user's gives a value that is not finite.
    """
    if prediction.shape != mask.shape or mask.ndim != 3:
        raise ValueError(f"prediction {prediction.shape} and mask {mask.shape} must be equal stacks (slices, height, width)")
    apart = spacing is None and len(mask) > 1  # how far, is unknown
    worst = diagonal(mask.shape[1:] if apart else mask.shape, spacing)
    # numpy 2.2.0 and older crash where they compare other arrays with a label that their type can't hold
    whole = [np.ascontiguousarray(labels) for labels in (prediction, mask)]
    pair = whole
    if all(0 not in labels for labels in regions.values()):  # else the background is scored, too
        box = box_around((prediction != 0) | (mask != 0))
        pair = [np.ascontiguousarray(labels[box]) for labels in whole]
    scores = {}
    for name, region in regions.items():
        ours, truth = (union(labels, region) for labels in pair)
        scores[name] = _score(ours, truth, spacing, tolerance, worst)
        if own:
            ours, truth = (union(labels, region) for labels in whole)
            scores[name] |= {each.name: _own_score(each, ours, truth, spacing, worst) for each in own}
    return scores


def overlaps(ours: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores of two masks' voxels; the truth is not empty."""
    voxels = Voxels(*(int(np.count_nonzero(mask)) for mask in (ours & truth, ours, truth)))
    return {name: each.compute(voxels) for name, each in OVERLAPS.items()}


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
    defined = {name: each for name, each in SURFACE_METRICS.items() if tolerance is not None or not each.needs_tolerance}
    if not ours.any():
        return scores | {name: worst if each.distance else each.low for name, each in defined.items()}
    found = _surfaces(distances(ours, truth, spacing), tolerance)
    return scores | {name: each.compute(found) for name, each in defined.items()}


def _slice_scores(ours: np.ndarray, truth: np.ndarray, worst: float) -> dict[str, float]:
    """Means over the slices that hold the region; a slice in which it was missed costs the worst."""
    found, true = ours.any((1, 2)), truth.any((1, 2))
    both = found & true
    slices = [_surfaces(pair) for pair in distances_of_each(ours[both], truth[both])]
    missed = [worst] * int(np.count_nonzero(true & ~found))
    return {name: float(np.mean([each.compute(one) for one in slices] + missed)) for name, each in SLICE_METRICS.items()}


def _surfaces(pair: Distances, tolerance: float | None = None) -> Surfaces:
    return Surfaces(*pair, np.concatenate(pair), math.nan if tolerance is None else tolerance)


def _own_score(own: Named, ours: np.ndarray, truth: np.ndarray, spacing: Spacing, worst: float) -> float:
    """NaN where the truth is empty, or a distance is not defined."""
    metric = own.metric
    if not truth.any() or (metric.distance and spacing is None and len(truth) > 1):
        return math.nan
    if not ours.any():
        return worst if metric.distance else float(metric.miss)
    try:
        value = float(metric.measure(ours, truth, spacing))
    except Exception as error:  # whatever one's own code raises is a fault of the run's scores, not of the sweep
        raise ValueError(f"metric {own.name} raised {error!r}") from error
    if not math.isfinite(value):
        raise ValueError(f"metric {own.name} gave {value}; it must give a finite number where both masks hold something")
    return value
