"""What label sets say of boxes, for methods that need one label per pixel."""

import numpy as np

from benchmark.seal.contract import WeakData, everything


def boxed_sites(data: WeakData) -> set[int]:
    """The sites where background is possible at every pixel: there boxes are all that says where the classes are.

    A scan alone doesn't tell: of two classes, one where strokes enclose an unlabelled region may look like a box.
    """
    return {scan.site for scan in data} - {scan.site for scan in data if not (scan.allowed & 1).all()}


def filled(sets: np.ndarray, classes: int) -> np.ndarray:
    """Label sets (s, h, w) in which each box is filled with its class, as if it were the mask; background elsewhere.

    Where boxes of several classes overlap, the class whose boxes are smaller in this slice has the pixel. A slice in which
    all is possible everywhere has no annotation, and stays so.
    """
    inside = np.stack([sets >> k & 1 for k in range(classes)]).astype(bool)
    areas = inside.sum((2, 3))
    areas[0] = sets[0].size + 1
    label = np.where(inside, areas[..., None, None], areas[0].max() + 1).argmin(0)
    unknown = (sets == everything(classes)).all((1, 2), keepdims=True)
    return np.where(unknown, sets, 1 << label).astype(sets.dtype)
