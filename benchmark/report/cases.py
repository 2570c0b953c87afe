"""Cases as pictures: a slice of a test scan with its marks, its truth and what each row made of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Case:
    """One test scan of one column, at the slice that holds most of the truth."""

    column: str
    dataset: str
    annotation: str
    scan: str
    patient: str
    split: str
    seed: int  # of the marks and of the runs whose predictions these are
    classes: tuple[str, ...]
    slice: int  # which one is shown
    slices: int  # of how many
    image: np.ndarray  # uint8 (h, w, 3)
    truth: np.ndarray  # uint8 (h, w)
    marks: np.ndarray  # uint8 (h, w), 255 where nothing is marked: what a training scan like this would have
    predictions: Mapping[str, np.ndarray]  # row -> uint8 (h, w)
    scores: Mapping[str, Mapping[str, float]]  # row -> {"dice": ..., "hd95": ...} of the whole scan, mean over regions
    hashes: Mapping[str, str]  # row -> of its run
