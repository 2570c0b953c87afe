"""What a metric is: the facts that a report needs of any, and the interface of one's own.

The metrics that come with this suite are made in `score.py`. One's own is a plug-in: `score --metrics mine.py` adds it to
stored runs. The protocol's rules for empty masks are kept here, not by the metric.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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


def _distance(title: str) -> Facts:
    return Facts(title, -1, high=math.inf, distance=True)


BUILT_IN = {
    "dice": Facts("Dice", 1),
    "hd95": _distance("HD95"),
    "hd95_found": _distance("HD95 of found"),
    "hd95_max": _distance("HD95 (max)"),
    "hd": _distance("HD"),
    "assd": _distance("ASSD"),
    "nsd": Facts("NSD", 1),
    "iou": Facts("IoU", 1),
    "precision": Facts("precision", 1),
    "recall": Facts("recall", 1),
    "rve": Facts("volume error", 0, low=-1.0, high=math.inf),
}
COLUMNS = (  # of frames that scores lie in
    *("folder", "column", "row", "method", "run", "part", "step", "split", "seed", "selection", "scan", "patient"),
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
    """The metric of a plug-in; raises InputError where it doesn't say what it must."""
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


def measure(
    own: Sequence[Named],
    prediction: "np.ndarray",
    mask: "np.ndarray",
    regions: Mapping[str, Sequence[int]],
    spacing: "Spacing",
) -> dict[str, dict[str, float]]:
    """Scores of a stack in metrics of one's own: region -> name -> value, by the rules of `score.evaluate` for empty masks.

    Raises ValueError where a metric gives what is no finite number.
    """
    from benchmark.score.evaluate import union

    found = {}
    for region, labels in regions.items():
        ours, truth = union(prediction, labels), union(mask, labels)
        found[region] = {each.name: _value(each, ours, truth, spacing) for each in own}
    return found


def _value(own: Named, ours: "np.ndarray", truth: "np.ndarray", spacing: "Spacing") -> float:
    """NaN where the truth is empty, or a distance is not defined."""
    from benchmark.score.evaluate import diagonal

    metric = own.metric
    if not truth.any() or (metric.distance and spacing is None and len(truth) > 1):
        return math.nan
    if not ours.any():
        return diagonal(truth.shape, spacing) if metric.distance else float(metric.miss)
    value = float(metric.measure(ours, truth, spacing))
    if not math.isfinite(value):
        raise ValueError(f"metric {own.name} gave {value}; it must give a finite number where both masks hold something")
    return value
