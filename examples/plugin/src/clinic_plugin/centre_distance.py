"""Centre distance: how far the centre of a prediction is from the true one."""

import numpy as np

from benchmark.score.metrics import Metric
from benchmark.score.surfaces import Spacing


class CentreDistance(Metric):
    """The distance between the centres of mass, in mm; px where the spacing is unknown."""

    title = "centre distance"
    better = -1
    distance = True  # a miss costs the scan's diagonal

    def measure(self, prediction: np.ndarray, truth: np.ndarray, spacing: Spacing) -> float:
        """Masks (slices, height, width), neither of them empty."""
        ours, true = (np.argwhere(mask).mean(0) for mask in (prediction, truth))
        return float(np.linalg.norm((ours - true) * (spacing or (1.0, 1.0, 1.0))))
