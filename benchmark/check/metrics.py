"""Checks of metrics. A check raises Broken, or lets the metric's exception pass, if the contract is broken."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from benchmark.check.contract import Broken
from benchmark.plan.plugins import Plugin
from benchmark.score.evaluate import diagonal
from benchmark.score.metrics import Metric, facts_of, named

SHAPES = ((1, 9, 12), (4, 10, 8))
SPACING = (3.0, 0.5, 0.8)  # mm between slices, rows, columns
TOLERANCE = 1e-6  # relative, for rounding

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """A metric to check."""

    plugin: Plugin

    def open(self) -> Metric:
        """Return a new instance; raises InputError if one of its facts is missing or wrong."""
        return named(self.plugin).metric


def pairs(shape: tuple[int, ...]) -> Iterator[Pair]:
    """Yield predictions and truths, not empty: shifted, disjoint, of one voxel, of all voxels, random."""
    rng = np.random.default_rng(0)
    block = np.zeros(shape, bool)
    block[:, 2:5, 2:6] = True
    voxel, corner = np.zeros((2, *shape), bool)
    voxel[0, 3, 3], corner[-1, -1, -1] = True, True
    yield np.roll(block, 1, 1), block
    yield np.roll(block, (3, 2), (1, 2)), block
    yield voxel, block
    yield block, voxel
    yield corner, voxel
    yield np.ones(shape, bool), block
    yield block, np.ones(shape, bool)
    for share in (0.1, 0.5):
        yield rng.random(shape) < share, rng.random(shape) < share


def cases(metric: Metric) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[float, float, float] | None]]:
    """Yield every pair of masks, read-only: slice and stack, with and without spacing, where the metric is defined."""
    for shape, spacing in product(SHAPES, (SPACING, None)):
        if metric.distance and spacing is None and shape[0] > 1:
            continue
        for predicted, truth in pairs(shape):
            predicted.flags.writeable = truth.flags.writeable = False
            yield predicted, truth, spacing


def says_what_it_is(candidate: Candidate) -> None:
    """It states a title, a direction, bounds, and the value of a miss."""
    candidate.open()


def is_a_number_within_its_bounds(candidate: Candidate) -> None:
    """For any two masks that are not empty: finite, from `low` to `high`; it does not change the masks."""
    metric = candidate.open()
    facts = facts_of(metric)
    for predicted, truth, spacing in cases(metric):
        value = metric.measure(predicted, truth, spacing)
        if not np.isfinite(value) or not facts.low <= value <= facts.high:
            raise Broken(
                f"it returns {value} for {predicted.sum()} and {truth.sum()} voxels; it must be finite, "
                f"from {facts.low:g} to {facts.high:g}"
            )


def gives_a_perfect_prediction_the_best_value(candidate: Candidate) -> None:
    """A perfect prediction has the same value for all shapes, and no other has a better one."""
    metric = candidate.open()
    best = [metric.measure(truth, truth, spacing) for _, truth, spacing in cases(metric)]
    if max(best) - min(best) > TOLERANCE * max(1, abs(max(best))):
        raise Broken(f"perfect predictions get {min(best)} to {max(best)}; they must all get the same")
    for predicted, truth, spacing in cases(metric):
        value = metric.measure(predicted, truth, spacing)
        if metric.better * (value - best[0]) > TOLERANCE * max(1, abs(best[0])):
            raise Broken(f"a wrong prediction gets {value}; it must not be better than {best[0]}, of a perfect one")


def gives_a_miss_the_worst_value(candidate: Candidate) -> None:
    """A region that was not predicted has no better value than any prediction."""
    metric = candidate.open()
    for predicted, truth, spacing in cases(metric):
        value = metric.measure(predicted, truth, spacing)
        miss = diagonal(truth.shape, spacing) if metric.distance else metric.miss
        if metric.better * (miss - value) > TOLERANCE * max(1, abs(value)):
            raise Broken(f"a miss gets {miss}; it must not be better than {value}, of a prediction")


def repeats_itself(candidate: Candidate) -> None:
    """The same masks get the same value, in any order."""
    one, other = candidate.open(), candidate.open()
    values = [one.measure(*case) for case in cases(one)]
    in_reverse = [other.measure(*case) for case in reversed(list(cases(other)))]
    if values != in_reverse[::-1]:
        raise Broken("values depend on the order of the masks; they must not")


def is_invariant_to_flips(candidate: Candidate) -> None:
    """Masks that are flipped, or transposed together with their spacing, get the same value."""
    metric = candidate.open()
    for predicted, truth, spacing in cases(metric):
        value = metric.measure(predicted, truth, spacing)
        swapped = None if spacing is None else (spacing[0], spacing[2], spacing[1])
        transforms: list[tuple[str, Any, Any]] = [
            ("flipped up and down", lambda mask: mask[:, ::-1], spacing),
            ("flipped left and right", lambda mask: mask[:, :, ::-1], spacing),
            ("transposed", lambda mask: mask.transpose(0, 2, 1), swapped),
        ]
        for name, transform, new_spacing in transforms:
            again = metric.measure(transform(predicted), transform(truth), new_spacing)
            if abs(again - value) > TOLERANCE * max(1, abs(value)):
                raise Broken(f"it returns {value}, and {again} for masks {name}; spacing is (slices, rows, columns)")


METRIC_CHECKS: tuple[Callable[[Candidate], None], ...] = (
    says_what_it_is,
    is_a_number_within_its_bounds,
    gives_a_perfect_prediction_the_best_value,
    gives_a_miss_the_worst_value,
    repeats_itself,
    is_invariant_to_flips,
)
