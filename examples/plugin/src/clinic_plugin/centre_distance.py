"""Centre distance: distance of a predicted region's centre from the true one."""

import numpy as np

from benchmark.score.metrics import Metric
from benchmark.score.surfaces import Spacing


class CentreDistance(Metric):
    """Distance between the centres of mass, in mm; in px if the spacing is unknown."""

    title = "centre distance"
    better = -1
    distance = True  # a miss has the scan's diagonal

    def measure(self, prediction: np.ndarray, truth: np.ndarray, spacing: Spacing) -> float:
        """Return the distance for masks (slices, height, width), not empty."""
        predicted, true = (np.argwhere(mask).mean(0) for mask in (prediction, truth))
        return float(np.linalg.norm((predicted - true) * (spacing or (1.0, 1.0, 1.0))))
