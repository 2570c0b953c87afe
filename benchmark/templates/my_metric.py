"""My metric: what it measures, in a sentence."""

import numpy as np

from benchmark.score.metrics import Metric
from benchmark.score.surfaces import Spacing


class MyMetric(Metric):
    """Similarity of two volumes, 1 - |difference| / sum, whatever their places; name the paper here."""

    title = "My metric"  # in tables
    better = 1  # 1: more is better; -1: less is
    low, high = 0.0, 1.0  # bounds of its values; leave out one that doesn't exist
    miss = 0.0  # value of a region that was not predicted: the worst
    # distance = True  # instead of low, high and miss: in mm; a miss has the scan's diagonal

    def measure(self, prediction: np.ndarray, truth: np.ndarray, spacing: Spacing) -> float:
        """Return its value for a region of a scan: masks (slices, height, width), bool, not empty.

        spacing: mm between slices, rows and columns; None if unknown. It is not called for a region that is absent from the
        truth.
        """
        predicted, true = int(prediction.sum()), int(truth.sum())
        return 1 - abs(predicted - true) / (predicted + true)
