"""Location prior: the class that is marked most often around each position of the frame; images are not used."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from benchmark.methods.base import Method
from benchmark.methods.boxes import boxed_sites, filled
from benchmark.methods.resize import fit_sets, to_native_size
from benchmark.seal.contract import Budget, Log, Positive, TestScan, WeakData


@dataclass
class Prior(Method):
    """A control of this project: the most frequent class among the training marks around each position.

    A box is a mark of its class at every pixel in it.
    """

    title: ClassVar[str] = "Location prior"
    annotations: ClassVar[tuple[str, ...]] = ("full", "scribble", "point", "block", "box", "slices")
    role: ClassVar[str] = "location prior"
    spread: Positive = 0.05  # standard deviation of the smoothing, as a share of the frame

    def fit(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Count the marks of each class at each position of the network's square, and smooth the counts."""
        self.budget = budget
        boxed = boxed_sites(data)
        counts = np.zeros((data.classes, budget.size, budget.size))
        for scan in data:
            sets = filled(scan.allowed, data.classes) if scan.site in boxed else scan.allowed
            sets = fit_sets(sets, budget.size, data.classes, budget.resize)
            for k in range(data.classes):
                counts[k] += (sets == 1 << k).sum(0)
        everywhere = counts.sum((1, 2), keepdims=True) / max(counts.sum(), 1)
        sigma = self.spread * budget.size
        near = np.stack([gaussian_filter(count, sigma, mode="constant", truncate=6) for count in counts])
        shares = near + 1e-9 * everywhere  # far from all marks: the overall shares of the classes
        self.shares = torch.from_numpy(shares / shares.sum(0).clip(min=1e-300)).float()
        log(budget.steps - 1, marks=float(counts.sum()))

    def predict(self, scan: TestScan) -> np.ndarray:
        """Return the same map for every slice, resized to the scan."""
        slices, _, height, width = scan.image.shape
        labels = to_native_size(self.shares[None], height, width, self.budget.resize).argmax(1).to(torch.uint8)
        return labels.numpy().repeat(slices, 0)
