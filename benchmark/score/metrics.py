"""The registry of metrics, and the interface of metrics of plug-ins.

A metric of the suite is an entry of BUILT_IN. `evaluate.py` counts voxels and measures distances once for all metrics, and
applies the protocol's rules for empty masks, also to metrics of plug-ins.
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
    """Facts about a metric, for reports."""

    title: str
    better: int  # 1: more is better, -1: less is, 0: neither
    low: float = 0.0  # least value
    high: float = 1.0
    distance: bool = False  # in mm, or px if the spacing is unknown

    def heading(self, unit: str = "") -> str:
        """Return its title with a unit: `ASSD (mm)`, `HD95 (max, mm)`."""
        if not unit:
            return self.title
        return f"{self.title[:-1]}, {unit})" if self.title.endswith(")") else f"{self.title} ({unit})"


@dataclass(frozen=True)
class Voxels:
    """Numbers of voxels in both masks, in the prediction, and in the truth, which is not empty."""

    both: int
    predicted: int
    true: int


@dataclass(frozen=True)
class Surfaces:
    """Distances from each surface voxel of a mask to the surface of the other; neither mask is empty."""

    out: "np.ndarray"  # from the prediction's surface
    back: "np.ndarray"  # from the truth's surface
    pooled: "np.ndarray"  # both
    tolerance: float  # in the unit of the distances


@dataclass(frozen=True, kw_only=True)
class Overlap(Facts):
    """A metric computed of numbers of voxels."""

    definition: str  # for the documentation; P and T are the predicted and the true voxels
    compute: Callable[[Voxels], float]


@dataclass(frozen=True, kw_only=True)
class SurfaceMetric(Facts):
    """A metric computed of surface distances; a miss has the scan's diagonal if it is a distance, else `low`."""

    definition: str
    compute: Callable[[Surfaces], float]
    per_slice: bool = False  # stacks without spacing have its mean over slices
    needs_tolerance: bool = False


def _distance(title: str, definition: str, compute: Callable[[Surfaces], float], per_slice: bool = False) -> SurfaceMetric:
    return SurfaceMetric(
        title, -1, high=math.inf, distance=True, definition=definition, compute=compute, per_slice=per_slice
    )


def percentile95(values: "np.ndarray") -> float:
    """Return `np.percentile(values, 95)`, equal bit for bit, without its overhead."""
    place = 0.95 * (values.size - 1)
    below, share = int(place), place % 1
    above = min(below + 1, values.size - 1)
    values = values.copy()
    values.partition((below, above))
    low, high = values[below], values[above]
    return float(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share))


BUILT_IN: dict[str, Facts] = {  # in the order of a report
    "dice": Overlap("Dice", 1, definition="2 |P ∩ T| / (|P| + |T|)", compute=lambda n: 2 * n.both / (n.predicted + n.true)),
    "false_regions": Facts("false regions", -1),  # these two are computed by the report
    "hd95_max": _distance(
        "HD95 (max)",
        "the larger of the two directions' 95th percentiles",
        lambda found: max(percentile95(found.out), percentile95(found.back)),
        per_slice=True,
    ),
    "hd95_found": Facts("HD95 of found", -1, high=math.inf, distance=True),
    "nsd": SurfaceMetric(
        "NSD",
        1,
        definition="share of the pooled distances that are within the tolerance",
        compute=lambda found: float((found.pooled <= found.tolerance * (1 + 1e-6)).mean()),  # spacings are float32
        per_slice=True,
        needs_tolerance=True,
    ),
    "hd95": _distance(
        "HD95 (pooled)",
        "95th percentile of the distances of both directions, **pooled**",
        lambda found: percentile95(found.pooled),
        per_slice=True,
    ),
    "hd": _distance("HD", "the largest distance", lambda found: float(found.pooled.max())),
    "assd": _distance("ASSD", "mean of the pooled distances", lambda found: float(found.pooled.mean()), per_slice=True),
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
COLUMNS = (  # of tables of scores
    *("folder", "column", "row", "role", "method", "run", "part", "step", "split", "seed", "selection", "scan", "patient"),
    *("region", "unit", "diagonal", "n_missed", "n_ghost", "n_absent", "number", "site", "home"),
)
TAKEN = (*BUILT_IN, *COLUMNS)  # names that a plug-in's metric may not have


class Metric(ABC):
    """A score of one region of a scan; a plug-in's class has a `title`, and no options."""

    title: str  # in tables
    better: int  # 1: more is better; -1: less is
    low: float = -math.inf  # least value; intervals are clipped to these bounds
    high: float = math.inf
    miss: float = math.nan  # value of a region that was not predicted; not for distances
    distance: bool = False  # a miss has the scan's diagonal; stacks without spacing have no value

    @abstractmethod
    def measure(self, prediction: "np.ndarray", truth: "np.ndarray", spacing: "Spacing") -> float:
        """Return its value for two masks, bool (slices, height, width), not empty; spacing: mm, or None if unknown."""


@dataclass(frozen=True)
class Named:
    """A metric of a plug-in, with its name in tables and files."""

    name: str
    metric: Metric
    code: str  # SHA-256 of its file

    def record(self) -> dict[str, Any]:
        """Return the metric's entry in `run.json`: facts and code; an infinite bound is None."""
        facts = facts_of(self.metric)
        bounds = {key: value if math.isfinite(value) else None for key, value in (("low", facts.low), ("high", facts.high))}
        return {"title": facts.title, "better": facts.better, **bounds, "distance": facts.distance, "code": self.code}


def named(plugin: "Plugin") -> Named:
    """Return the metric of a plug-in; raises InputError if its name is taken, or a fact is missing or wrong."""
    if plugin.name in TAKEN:
        raise InputError(f"the metric name {plugin.name!r} of {plugin.module} is taken: scores have a column of that name")
    metric: Metric = plugin.load()()
    for name, kinds in (("title", str), ("better", int), ("low", (int, float)), ("high", (int, float)), ("distance", bool)):
        if not isinstance(getattr(metric, name, None), kinds):
            facts = "title, better, low, high, distance and miss"
            raise InputError(f"metric {plugin.name!r} has no valid {name}; it must have {facts}")
    if taken := [name for name, facts in BUILT_IN.items() if facts.title == metric.title and name != plugin.name]:
        raise InputError(f"metric {plugin.name!r} has the title {metric.title!r} of {taken[0]}; give it another")
    if metric.better not in (1, -1):
        raise InputError(f"metric {plugin.name!r}: better is {metric.better}; it must be 1 (more is better) or -1 (less is)")
    if not metric.distance and not (math.isfinite(metric.miss) and metric.low <= metric.miss <= metric.high):
        raise InputError(
            f"metric {plugin.name!r}: miss is {metric.miss}; it must be from low to high: the value of a region that was "
            "not predicted"
        )
    path = plugin.file()
    return Named(plugin.name, metric, hashlib.sha256(path.read_bytes()).hexdigest() if path else "")


def records_of(own: Iterable[Named]) -> dict[str, Any]:
    """What a run keeps of all of them, by name."""
    return {each.name: each.record() for each in own}


def facts_of(metric: Metric) -> Facts:
    """Return the facts about a metric of a plug-in."""
    low, high = (0.0, math.inf) if metric.distance else (metric.low, metric.high)
    return Facts(metric.title, metric.better, low, high, metric.distance)


def read_facts(record: Any, where: str) -> Facts:
    """Return the facts about a metric from its entry in `run.json`; raises InputError if that is damaged."""
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
        raise InputError(f"{where} is damaged (its metrics: {error!r}); score all runs again") from error
    return facts
