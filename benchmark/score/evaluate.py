"""Overlap and surface distances of label maps, by the protocol's rules.

The truth alone decides which regions are scored, so every method has the same n. A region that is absent from the truth
has no score; if it was predicted, it counts as a false region (`n_ghost`). A region that was not predicted is a miss: its
overlaps are 0 and its distances are the scan's diagonal, the worst value. Tested against medpy (to 1e-9) and MONAI.
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
METRICS = (*OVERLAPS, *SURFACE_METRICS, *SLICE_METRICS, "diagonal")  # columns of cases.csv
COUNTS = ("n_missed", "n_ghost", "n_absent")


def evaluate(
    prediction: np.ndarray,
    mask: np.ndarray,
    regions: Mapping[str, Sequence[int]],
    spacing: Spacing = None,
    *,
    tolerance: float | None = None,
    extra: Sequence[Named] = (),
) -> dict[str, dict[str, float]]:
    """Return the scores of a stack of label maps: region -> metric -> value; NaN if a metric is not defined.

    prediction and mask: integers (slices, height, width); regions: name -> labels whose union is scored; spacing: mm
    between slices, rows and columns, or None if unknown; tolerance: of `nsd`, in the unit of the distances; extra: metrics
    in addition to `metrics.BUILT_IN`.

    Distances are in mm, on the stack. Without a spacing they are in px and defined for single images only; a stack has
    SLICE_METRICS, such as `hd95_max@slice`, the means over the slices that hold the region. `diagonal` is the largest
    possible distance. `n_missed`, `n_ghost` and `n_absent` are 0 or 1. Raises ValueError if the shapes differ, or if a
    metric in `extra` returns a value that is not finite.
    """
    if prediction.shape != mask.shape or mask.ndim != 3:
        raise ValueError(f"prediction {prediction.shape} and mask {mask.shape} must be equal stacks (slices, height, width)")
    per_slice = spacing is None and len(mask) > 1  # the distance between slices is unknown
    worst = diagonal(mask.shape[1:] if per_slice else mask.shape, spacing)
    # numpy 2.2.0 and older crash where they compare other arrays with a label that their type can't hold
    maps = [np.ascontiguousarray(labels) for labels in (prediction, mask)]
    cropped = maps
    if all(0 not in labels for labels in regions.values()):  # else the background is scored, too
        box = box_around((prediction != 0) | (mask != 0))
        cropped = [np.ascontiguousarray(labels[box]) for labels in maps]
    scores = {}
    for name, region in regions.items():
        predicted, truth = (union(labels, region) for labels in cropped)
        scores[name] = _score(predicted, truth, spacing, tolerance, worst)
        if extra:
            predicted, truth = (union(labels, region) for labels in maps)
            scores[name] |= {each.name: _extra_score(each, predicted, truth, spacing, worst) for each in extra}
    return scores


def overlaps(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the overlap scores of two masks; the truth is not empty."""
    voxels = Voxels(*(int(np.count_nonzero(mask)) for mask in (predicted & truth, predicted, truth)))
    return {name: each.compute(voxels) for name, each in OVERLAPS.items()}


def diagonal(shape: Sequence[int], spacing: Spacing = None) -> float:
    """Return the diagonal of an image, the largest possible distance; axes of length one don't count."""
    step = [1.0] * len(shape) if spacing is None else spacing
    return float(np.linalg.norm([n * s for n, s in zip(shape, step, strict=True) if n > 1]))


def union(labels: np.ndarray, region: Sequence[int]) -> np.ndarray:
    """Return the mask of a region: the union of its labels."""
    return reduce(np.logical_or, [labels == label for label in region], np.zeros(labels.shape, bool))


def _score(
    predicted: np.ndarray, truth: np.ndarray, spacing: Spacing, tolerance: float | None, worst: float
) -> dict[str, float]:
    scores = dict.fromkeys(METRICS, np.nan) | dict.fromkeys(COUNTS, 0)
    if not truth.any():
        return scores | {"n_absent": 1, "n_ghost": int(predicted.any())}
    scores |= overlaps(predicted, truth) | {"diagonal": worst, "n_missed": int(not predicted.any())}
    per_slice = spacing is None and len(truth) > 1
    metrics = SLICE_METRICS if per_slice else SURFACE_METRICS
    metrics = {name: each for name, each in metrics.items() if tolerance is not None or not each.needs_tolerance}
    missing = {name: worst if each.distance else each.low for name, each in metrics.items()}
    if not predicted.any():
        return scores | missing
    if not per_slice:
        found = _surfaces(distances(predicted, truth, spacing), tolerance)
        return scores | {name: each.compute(found) for name, each in metrics.items()}
    in_slice, true = predicted.any((1, 2)), truth.any((1, 2))
    both, missed = in_slice & true, int(np.count_nonzero(true & ~in_slice))
    slices = [_surfaces(pair, tolerance) for pair in distances_of_each(predicted[both], truth[both])]
    values = {name: [each.compute(one) for one in slices] + [missing[name]] * missed for name, each in metrics.items()}
    return scores | {name: float(np.mean(own)) for name, own in values.items()}  # over the slices that hold the region


def _surfaces(pair: Distances, tolerance: float | None) -> Surfaces:
    return Surfaces(*pair, np.concatenate(pair), math.nan if tolerance is None else tolerance)


class MetricError(ValueError):
    """A metric of a plug-in raised an error, or returned no valid value."""

    def __init__(self, named: Named, what: str) -> None:
        super().__init__(f"metric {named.name} {what}")
        self.named = named


def _extra_score(named: Named, predicted: np.ndarray, truth: np.ndarray, spacing: Spacing, worst: float) -> float:
    """Return the value of an extra metric; NaN if the truth is empty, or a distance is not defined. Raises MetricError."""
    metric = named.metric
    if not truth.any() or (metric.distance and spacing is None and len(truth) > 1):
        return math.nan
    if not predicted.any():
        return worst if metric.distance else float(metric.miss)
    try:
        value = float(metric.measure(predicted, truth, spacing))
    except Exception as error:  # a fault of the plug-in, not of the sweep
        raise MetricError(named, f"raised {error!r}") from error
    if not math.isfinite(value):
        raise MetricError(named, f"returned {value}; it must be finite for two masks that are not empty")
    if not metric.distance and not metric.low <= value <= metric.high:
        raise MetricError(named, f"returned {value:g}; its low and high are {metric.low:g} and {metric.high:g}")
    return value
