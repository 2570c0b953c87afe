"""What any metric must do. A check raises Broken, or whatever the metric raises, where the contract is broken."""

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
SMALL = 1e-6  # relative

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """A metric under check."""

    plugin: Plugin

    def open(self) -> Metric:
        """A fresh instance; raises InputError where it doesn't say what it must."""
        return named(self.plugin).metric


def pairs(shape: tuple[int, ...]) -> Iterator[Pair]:
    """A prediction and the truth, neither empty: shifted, apart, of one voxel, everything, at random."""
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
    """Every pair of masks on a slice and a stack, with a spacing and without, where the metric is defined; read-only."""
    for shape, spacing in product(SHAPES, (SPACING, None)):
        if metric.distance and spacing is None and shape[0] > 1:
            continue
        for ours, truth in pairs(shape):
            ours.flags.writeable = truth.flags.writeable = False
            yield ours, truth, spacing


def says_what_it_is(candidate: Candidate) -> None:
    """It has a title, a direction, bounds, and the value of a miss."""
    candidate.open()


def is_a_number_within_its_bounds(candidate: Candidate) -> None:
    """For any two masks that hold something: finite, from `low` to `high`; the masks stay what they are."""
    metric = candidate.open()
    facts = facts_of(metric)
    for ours, truth, spacing in cases(metric):
        value = metric.measure(ours, truth, spacing)
        if not np.isfinite(value) or not facts.low <= value <= facts.high:
            raise Broken(
                f"it gives {value} for {ours.sum()} and {truth.sum()} voxels; it must be finite, "
                f"from {facts.low:g} to {facts.high:g}"
            )


def gives_a_perfect_prediction_the_best_value(candidate: Candidate) -> None:
    """The truth itself scores the same for all shapes, and nothing scores better."""
    metric = candidate.open()
    best = [metric.measure(truth, truth, spacing) for _, truth, spacing in cases(metric)]
    if max(best) - min(best) > SMALL * max(1, abs(max(best))):
        raise Broken(f"perfect predictions get from {min(best)} to {max(best)}")
    for ours, truth, spacing in cases(metric):
        value = metric.measure(ours, truth, spacing)
        if metric.better * (value - best[0]) > SMALL * max(1, abs(best[0])):
            raise Broken(f"a wrong prediction gets {value}, better than {best[0]} of a perfect one")


def gives_a_miss_the_worst_value(candidate: Candidate) -> None:
    """A region that wasn't predicted scores no better than anything that was."""
    metric = candidate.open()
    for ours, truth, spacing in cases(metric):
        value = metric.measure(ours, truth, spacing)
        miss = diagonal(truth.shape, spacing) if metric.distance else metric.miss
        if metric.better * (miss - value) > SMALL * max(1, abs(value)):
            raise Broken(f"a miss gets {miss}, better than {value} of a prediction")


def repeats_itself(candidate: Candidate) -> None:
    """The same masks get the same value, whatever was measured before."""
    one, other = candidate.open(), candidate.open()
    forth = [one.measure(*case) for case in cases(one)]
    back = [other.measure(*case) for case in reversed(list(cases(other)))][::-1]
    if forth != back:
        raise Broken("the same masks get other values in another order")


def is_invariant_to_flips(candidate: Candidate) -> None:
    """Masks that are flipped, or turned together with their spacing, get the same value."""
    metric = candidate.open()
    for ours, truth, spacing in cases(metric):
        value = metric.measure(ours, truth, spacing)
        swapped = None if spacing is None else (spacing[0], spacing[2], spacing[1])
        turned: list[tuple[str, Any, Any]] = [
            ("flipped up and down", lambda mask: mask[:, ::-1], spacing),
            ("flipped left and right", lambda mask: mask[:, :, ::-1], spacing),
            ("turned", lambda mask: mask.transpose(0, 2, 1), swapped),
        ]
        for how, turn, own in turned:
            again = metric.measure(turn(ours), turn(truth), own)
            if abs(again - value) > SMALL * max(1, abs(value)):
                raise Broken(f"it gives {value}, and {again} for the same masks {how}; spacing is (slices, rows, columns)")


METRIC_CHECKS: tuple[Callable[[Candidate], None], ...] = (
    says_what_it_is,
    is_a_number_within_its_bounds,
    gives_a_perfect_prediction_the_best_value,
    gives_a_miss_the_worst_value,
    repeats_itself,
    is_invariant_to_flips,
)
