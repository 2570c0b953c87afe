"""The registry of metrics: what each is and how it is computed, and the interface of one's own.

A metric of the suite is one entry of BUILT_IN. `score.py` counts voxels and measures distances once for all of them, and
keeps the protocol's rules for empty masks, for one's own metrics too.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark import InputError

if TYPE_CHECKING:  # `list` answers without numpy
    import numpy as np

    from benchmark.plan.plugins import Plugin
    from benchmark.score.surfaces import Spacing


@dataclass(frozen=True)
class Facts:
    """What a report must know of a metric."""

    title: str
    better: int  # 1: more is better, -1: less is, 0: neither
    low: float = 0.0  # between which values it lies
    high: float = 1.0
    distance: bool = False  # in mm, or px where the spacing is unknown


@dataclass(frozen=True)
class Voxels:
    """How many voxels of a region are in both masks, in the prediction, and in the truth, which is not empty."""

    both: int
    predicted: int
    true: int


@dataclass(frozen=True)
class Surfaces:
    """Distances from each surface voxel of one mask to the other surface; neither mask is empty."""

    out: "np.ndarray"  # from the prediction's surface
    back: "np.ndarray"  # from the truth's surface
    pooled: "np.ndarray"  # both
    tolerance: float  # in the unit of the distances


@dataclass(frozen=True, kw_only=True)
class Overlap(Facts):
    """A metric of the voxels."""

    definition: str  # for the documentation; P and T are the predicted and the true voxels
    compute: Callable[[Voxels], float]


@dataclass(frozen=True, kw_only=True)
class SurfaceMetric(Facts):
    """A metric of the distances between two surfaces; a miss costs the scan's diagonal if it is a distance, else `low`."""

    definition: str
    compute: Callable[[Surfaces], float]
    per_slice: bool = False  # whether stacks without spacing have its mean over slices
    needs_tolerance: bool = False


def _distance(title: str, definition: str, compute: Callable[[Surfaces], float], per_slice: bool = False) -> SurfaceMetric:
    return SurfaceMetric(
        title, -1, high=math.inf, distance=True, definition=definition, compute=compute, per_slice=per_slice
    )


def percentile95(values: "np.ndarray") -> float:
    """`np.percentile(values, 95)` to the last bit, without its overhead."""
    place = 0.95 * (values.size - 1)
    below, share = int(place), place % 1
    above = min(below + 1, values.size - 1)
    values = values.copy()
    values.partition((below, above))
    low, high = values[below], values[above]
    return float(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share))


BUILT_IN: dict[str, Facts] = {  # in the order of a report
    "dice": Overlap("Dice", 1, definition="2 |P ∩ T| / (|P| + |T|)", compute=lambda n: 2 * n.both / (n.predicted + n.true)),
    "hd95": _distance(
        "HD95",
        "95th percentile of the distances of both directions, **pooled**",
        lambda found: percentile95(found.pooled),
        per_slice=True,
    ),
    "hd95_found": Facts("HD95 of found", -1, high=math.inf, distance=True),  # made by the report, of the cases of all rows
    "hd95_max": _distance(
        "HD95 (max)",
        "the larger of the two directions' 95th percentiles",
        lambda found: max(percentile95(found.out), percentile95(found.back)),
    ),
    "hd": _distance("HD", "the largest distance", lambda found: float(found.pooled.max())),
    "assd": _distance("ASSD", "mean of the pooled distances", lambda found: float(found.pooled.mean()), per_slice=True),
    "nsd": SurfaceMetric(
        "NSD",
        1,
        definition="share of the pooled distances that are within the tolerance",
        compute=lambda found: float((found.pooled <= found.tolerance).mean()),
        needs_tolerance=True,
    ),
    "iou": Overlap("IoU", 1, definition="|P ∩ T| / |P ∪ T|", compute=lambda n: n.both / (n.predicted + n.true - n.both)),
    "precision": Overlap(
        "precision", 1, definition="|P ∩ T| / |P|", compute=lambda n: n.both / n.predicted if n.predicted else 0.0
    ),
    "recall": Overlap("recall", 1, definition="|P ∩ T| / |T|", compute=lambda n: n.both / n.true),
    "rve": Overlap(
        "volume error",
        0,
        low=-1.0,
        high=math.inf,
        definition="(|P| − |T|) / |T|: relative volume error",
        compute=lambda n: (n.predicted - n.true) / n.true,
    ),
}
COLUMNS = (  # of frames that scores lie in
    *("folder", "column", "row", "role", "method", "run", "part", "step", "split", "seed", "selection", "scan", "patient"),
    *("region", "unit", "n_missed", "n_ghost", "n_absent"),
)
TAKEN = (*BUILT_IN, *COLUMNS)  # names that no other metric may have


class Metric(ABC):
    """A score of one region of a scan; a plug-in's class has a `title`, and no options."""

    title: str  # in tables
    better: int  # 1: more is better; -1: less is
    low: float = -math.inf  # between which values it lies; intervals are cut off there
    high: float = math.inf
    miss: float = math.nan  # the value of a region that was not predicted; a distance needs none
    distance: bool = False  # a miss costs the scan's diagonal; stacks of unknown spacing have none

    @abstractmethod
    def measure(self, prediction: "np.ndarray", truth: "np.ndarray", spacing: "Spacing") -> float:
        """Its value for two masks, bool (slices, height, width), neither of them empty; spacing: mm, or None if unknown."""


@dataclass(frozen=True)
class Named:
    """A metric of one's own, ready to score: its name in tables and files, and what it was made of."""

    name: str
    metric: Metric
    code: str  # SHA-256 of its file

    def record(self) -> dict[str, Any]:
        """What a run keeps of it: its facts and its code; a bound that there isn't is None."""
        facts = facts_of(self.metric)
        bounds = {key: value if math.isfinite(value) else None for key, value in (("low", facts.low), ("high", facts.high))}
        return {"title": facts.title, "better": facts.better, **bounds, "distance": facts.distance, "code": self.code}


def named(plugin: "Plugin") -> Named:
    """The metric of a plug-in; raises InputError where its name is taken, or it doesn't say what it must."""
    if plugin.name in TAKEN:
        raise InputError(f"the metric name {plugin.name!r} of {plugin.module} is taken: scores have a column of that name")
    metric: Metric = plugin.load()()
    for name, kinds in (("title", str), ("better", int), ("low", (int, float)), ("high", (int, float)), ("distance", bool)):
        if not isinstance(getattr(metric, name, None), kinds):
            raise InputError(f"metric {plugin.name!r} must say its {name}: title, better, low, high, distance and miss")
    if metric.better not in (1, -1):
        raise InputError(f"metric {plugin.name!r}: better is {metric.better}; it must be 1 (more is better) or -1 (less is)")
    if not metric.distance and not (math.isfinite(metric.miss) and metric.low <= metric.miss <= metric.high):
        raise InputError(
            f"metric {plugin.name!r}: miss is {metric.miss}; it must be the worst value from low to high that a region "
            "gets which was not predicted"
        )
    path = plugin.file()
    return Named(plugin.name, metric, hashlib.sha256(path.read_bytes()).hexdigest() if path else "")


def records_of(own: Iterable[Named]) -> dict[str, Any]:
    """What a run keeps of all of them, by name."""
    return {each.name: each.record() for each in own}


def facts_of(metric: Metric) -> Facts:
    """What a report must know of it."""
    low, high = (0.0, math.inf) if metric.distance else (metric.low, metric.high)
    return Facts(metric.title, metric.better, low, high, metric.distance)


def read_facts(record: Any, where: str) -> Facts:
    """The facts that a run keeps of a metric of its user's; raises InputError where these are none."""
    try:
        low, high = (record[key] for key in ("low", "high"))
        facts = Facts(
            str(record["title"]),
            {1: 1, -1: -1}[record["better"]],
            -math.inf if low is None else float(low),
            math.inf if high is None else float(high),
            bool(record["distance"]),
        )
        str(record["code"])
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{where} is damaged (of its metrics: {error!r}); score all runs again") from error
    return facts
