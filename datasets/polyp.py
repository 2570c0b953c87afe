"""Polyps in colonoscopy (Kvasir-SEG), with the fixation points of a reader's gaze."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark import InputError
from benchmark.datasets.base import OnDemand, set_type
from benchmark.datasets.files import pairs
from benchmark.datasets.pictures import Pictures
from benchmark.seal.contract import everything

VERSION = 1  # of `gaze`: a change in what it makes of the same fixations is a new version
BACKGROUND_DOTS = 6
DOT = 3  # px, radius of a mark
AWAY = 0.25  # of the image's diagonal: least distance of background dots from all fixations


@dataclass
class Polyp(Pictures):
    """Kvasir-SEG: `Kvasir-SEG/{images,masks}/*.jpg` and, if there, `gaze_fixations.csv`; or ProCNS's HDF5 files.

    `point:gaze` are the points where a reader looked, without removal of noise. Patients are not known. `dedup` is the
    split `random` without near-duplicate images.
    """

    name = "polyp"
    title = "Polyp"
    classes = ("background", "polyp")
    regions = {"polyp": (1,)}
    channels = 3
    modality = "endoscopy"
    usual_form = "block"
    tolerance = 2.0
    redistribute = False
    licence = "academic and research use"
    source = "https://datasets.simula.no/kvasir-seg: Kvasir-SEG/ into polyp/"
    citation = "Jha et al., MMM 2020; gaze: Zhong et al., MICCAI 2024; HDF5 files: Liu et al., JBHI 2024"
    drawn = ("point:gaze",)
    threshold = 127  # the masks are JPEG

    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        folder = self.root / "Kvasir-SEG" if (self.root / "Kvasir-SEG").is_dir() else self.root
        return pairs(folder / "images", folder / "masks")

    def _own_splits(self) -> list[str]:
        return ["dedup", "random"]

    def _drawn(self, name: str, image: np.ndarray) -> Mapping[str, np.ndarray]:
        if name not in self._fixations:
            return {}
        fixations = self._fixations[name]
        return OnDemand(
            {"point:gaze": lambda: gaze(image, np.array(fixations), len(self.classes))},
            {"point:gaze": repr((VERSION, fixations))},
        )

    @cached_property
    def _fixations(self) -> dict[str, list[tuple[float, float]]]:
        """Fixation points (row, column), as shares of the image's size, by image."""
        path = self.root / "gaze_fixations.csv"
        found = defaultdict(list)
        if path.is_file():
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                try:
                    for line in reader:
                        place = float(line["CURRENT_FIX_Y"]), float(line["CURRENT_FIX_X"])
                        found[line["IMAGE"].rpartition(".")[0]].append(place)
                except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
                    raise InputError(
                        f"{path}, line {reader.line_num}: {error!r}; it needs IMAGE, CURRENT_FIX_X and _Y"
                    ) from error
        places = np.array([place for own in found.values() for place in own])
        if len(places) and ((places < 0) | (places > 1)).any(1).mean() > 0.5:
            raise InputError(f"{path}: most fixations lie outside the images; CURRENT_FIX_X and _Y are shares, from 0 to 1")
        return dict(found)


def gaze(image: np.ndarray, fixations: np.ndarray, classes: int) -> np.ndarray:
    """Make label sets (1, h, w): class 1 at fixations, and background dots in bright areas far from them.

    image (channels, h, w); fixations (n, 2), row and column in 0..1. Background dots depend only on fixations and image:
    each is the bright pixel that is farthest from all fixations and from the previous dots.
    """
    height, width = image.shape[1:]
    allowed = np.full((1, height, width), everything(classes), set_type(classes))
    points = fixations[((fixations >= 0) & (fixations <= 1)).all(1)] * (height - 1, width - 1)
    if not len(points):
        return allowed
    nearest = _distance(points, height, width)
    free = np.where((image.mean(0) > 0.1) & (nearest > AWAY * np.hypot(height, width)), nearest, 0)
    for _ in range(BACKGROUND_DOTS):
        if not free.any():
            break
        y, x = np.unravel_index(free.argmax(), free.shape)
        distance = _distance(np.array([[y, x]]), height, width)
        allowed[0][distance <= DOT] = 1
        free = np.minimum(free, distance)
    allowed[0][nearest <= DOT] = 2
    return allowed


def _distance(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Distance (px) of each pixel (h, w) from the nearest of points (n, 2); in place, as loading spends most time here."""
    down, across = (np.square(np.arange(n) - at[:, None]) for n, at in ((height, points[:, 0]), (width, points[:, 1])))
    least, square = np.full((height, width), np.inf), np.empty((height, width))
    for rows, columns in zip(down, across, strict=True):
        np.minimum(least, np.add(rows[:, None], columns, out=square), out=least)
    return np.sqrt(least)
