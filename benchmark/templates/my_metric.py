"""My metric: what it says of a prediction, in a sentence."""

import numpy as np

from benchmark.score.metrics import Metric
from benchmark.score.surfaces import Spacing


class MyMetric(Metric):
    """How alike two volumes are, wherever they lie: 1 - |difference| / sum; name the paper here."""

    title = "My metric"  # in tables
    better = 1  # 1: more is better; -1: less is
    low, high = 0.0, 1.0  # between which values it lies; leave out what has no bound
    miss = 0.0  # the worst value: of a region that was not predicted at all
    # distance = True  # instead of low, high and miss: in mm; a miss costs the scan's diagonal

    def measure(self, prediction: np.ndarray, truth: np.ndarray, spacing: Spacing) -> float:
        """Its value for one region of one scan: masks (slices, height, width), bool, neither of them empty.

        spacing: mm between slices, rows and columns; None where it is unknown. A region that the truth lacks is left out
        and never comes here.
        """
        ours, true = int(prediction.sum()), int(truth.sum())
        return 1 - abs(ours - true) / (ours + true)
