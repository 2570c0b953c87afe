"""Federated training: sites that keep their scans, each with a network, and what they exchange."""

import importlib.util
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np

from benchmark.methods.base import Method
from benchmark.methods.sites import SITES, Site, network_method
from benchmark.seal.contract import Budget, Log, Range, TestScan, WeakData, WeakScan

ALONE = ("local", "pooled")  # strategies without exchange
SHARED = ("pooled", "fedavg", "fedprox")  # those that end with one network for all sites, if nothing stays at a site


@dataclass
class Federated(Method):
    """A network method at each site; in rounds, the sites' weights are averaged (McMahan et al., AISTATS 2017).

    `base` is any method of this suite that trains a network, with its defaults. Each site has its scans, optimiser, random
    numbers, memories and teachers; entries of the state dict of `net` alone are exchanged, by Flower's messages. The steps
    of the budget are those of all sites together, so that all strategies see as many images.

    `local` exchanges nothing; `pooled` is the base itself on the scans of all sites; the others are in `sites`.
    """

    title: ClassVar[str] = "Federated"
    annotations: ClassVar[str] = "sets"  # as the default base; a plan leaves out what the base can't learn from
    methods: ClassVar[tuple[str, ...]] = ("base",)
    extra: ClassVar[str] = "a network per site; fedala, fedicra: passes over the slices to blend weights"

    base: str = "pce"  # a method of this suite that trains a network
    strategy: Literal["local", "pooled", "fedavg", "fedprox", "fedbn", "fedper", "fedala", "fedicra"] = "fedavg"
    local_steps: int = 10  # of a site, between two exchanges
    mu: Annotated[float, Range(0.0001, 1.0)] = 0.001  # of fedprox
    alpha: Annotated[float, Range(0.1, 10.0)] = 1.0  # of fedicra: weight of the contrast of the sites' gates
    weighting: Literal["images", "batches"] = "images"  # a site's share in the mean: its slices, or its batches of a pass
    statistics: Literal["mean", "own"] = "mean"  # of batch norm: averaged like weights, or kept at the site
    blend: float = 1.0  # of fedala, fedicra: share of the slices that a pass of blending looks at

    def __post_init__(self) -> None:
        """Check the base, the numbers, and that there is Flower."""
        network_method(self.base)
        if self.local_steps < 1 or self.mu < 0 or not 0 < self.blend <= 1:
            raise ValueError("local_steps must be 1 or more, mu 0 or more, and blend above 0 and at most 1")
        if self.strategy == "fedicra" and self.local_steps < 2:
            raise ValueError("local_steps is 1; fedicra needs 2 or more, as the last layers and the others take turns")
        if self.strategy not in ALONE and importlib.util.find_spec("flwr") is None:
            raise ValueError("Flower is not installed; pip install 'weakseg-bench[federated]' installs it")

    def fit(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Train all sites, and exchange weights."""
        self.facts, self.sites = {}, dict[int, Site]()
        scans: dict[int, list[WeakScan]] = {}
        for scan in data:
            scans.setdefault(0 if self.strategy == "pooled" else scan.site, []).append(scan)
        if budget.steps < len(scans):
            raise ValueError(f"a budget of {budget.steps} steps is too small for {len(scans)} sites; each needs a step")
        for place, number in enumerate(sorted(scans)):
            own = replace(budget, steps=share(budget.steps, len(scans), place), snapshots=0)
            of_site = WeakData(scans[number], data.classes, data.channels)
            self.sites[number] = SITES[self.strategy](self, of_site, own, partial(self._log, log, number), place, len(scans))
        rounds, sent = self._alone() if self.strategy in ALONE else self._in_rounds()
        sites = list(self.sites.values())
        self.net = sites[0].method.net
        self.report(
            sites=len(sites), rounds=rounds, bytes_sent=sent, updates=sites[0].done,
            images_seen=budget.batch * sum(site.done for site in sites), images_blended=sum(site.blended for site in sites),
        )  # fmt: skip
        facts = [site.method.facts for site in sites]  # what a table notes holds if it holds at all sites
        self.report(**{name: all(own.get(name) for own in facts) for name in sites[0].method.notes if name in facts[0]})

    def left_out(self, budget: Budget, sites: int = 1) -> str:
        """Say what of the base a budget leaves no time for, at the one of so many sites that has the fewest steps."""
        steps = budget.steps if self.strategy == "pooled" else share(budget.steps, sites, sites - 1)
        return network_method(self.base)().left_out(replace(budget, steps=max(1, steps)))

    def predict(self, scan: TestScan) -> np.ndarray:
        """The labels by the network of the scan's site."""
        return self._of(scan.site).method.predict(scan)

    def marks_loss(self, scan: WeakScan, classes: int) -> float:
        """The loss on a held-out scan's marks, of the network of its site."""
        return self._of(scan.site).method.marks_loss(scan, classes)

    def _alone(self) -> tuple[int, int]:
        for site in self.sites.values():
            site.train_alone()
        return 0, 0

    def _in_rounds(self) -> tuple[int, int]:
        """Train in rounds, the last of which only brings the mean to the sites; return their number, and the bytes sent."""
        from benchmark.methods.flower import exchange

        for site in self.sites.values():
            site.begin()
        first = next(iter(self.sites.values()))
        rounds = rounds_of(first.budget.steps, self.local_steps)  # no site has more steps than the first
        return rounds, exchange(self.sites, rounds, self.mu if self.strategy == "fedprox" else 0.0)

    def _log(self, log: Log, number: int, step: int, /, **values: float) -> None:
        """Log a step of a site, counted with the steps of the others so far."""
        log(step + sum(site.done for other, site in self.sites.items() if other != number), **values)

    def _of(self, number: int) -> Site:
        if number in self.sites:
            return self.sites[number]
        if self.strategy in SHARED and (self.statistics == "mean" or self.strategy == "pooled"):
            return next(iter(self.sites.values()))
        raise ValueError(f"{self.strategy} has no network for site {number}: no training scan is from there; it needs one")


def share(steps: int, sites: int, place: int) -> int:
    """The steps of a site: equal shares; what is left over is one step more for each of the first sites."""
    return steps // sites + (place < steps % sites)


def rounds_of(steps: int, local_steps: int) -> int:
    """The rounds of a site with so many steps, and one more, which brings the last mean."""
    return math.ceil(steps / local_steps) + 1
