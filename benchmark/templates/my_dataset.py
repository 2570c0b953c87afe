"""My dataset: what it shows, and of whom."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.datasets.base import Dataset, Scan, Split, hashed_folds

CASES = {f"patient{number:02d}": [f"case{number:02d}"] for number in range(10)}  # patient -> names of its scans


@dataclass
class MyDataset(Dataset):
    """Bright discs, drawn where your files will be read; `python -m benchmark list` shows this line."""

    root: Path  # the folder of the set: --data FOLDER, and in it my_dataset/

    # Options: further fields with a default, such as `size: int = 64`; `--set my_dataset.size=32` changes one.

    name = "my_dataset"
    classes = ("background", "disc")  # of the labels 0, 1, ...
    regions = {"disc": (1,)}  # what is scored: a name, and the labels whose union it is
    channels = 1
    modality = "unknown"
    tolerance = 2.0  # of the NSD, mm (px where the spacing is unknown)
    patients_known = True  # False: every scan stands for a patient of its own, and tables say so
    redistribute = False  # True: reports may show pixels
    licence = "unknown"
    source = "unknown"  # where to get it
    citation = "unknown"
    # drawn = ("scribble",)  # annotations that people drew, if there are any

    def patients(self) -> dict[str, list[str]]:
        """Scan names by patient; list files here, and read none."""
        return CASES  # for files: {"patient1": ["scan1", "scan2"], ...}, sorted

    def splits(self) -> list[str]:
        """Names of the splits; the first is the default."""
        return [f"cv5/{fold}" for fold in range(5)]

    def split(self, name: str) -> Split:
        """Five folds by patient; for lists of your own: Split(train=(...), val=(...), test=(...)), of scan names."""
        return hashed_folds(self.patients(), 5)[int(name.rpartition("/")[2])]

    def load(self, name: str) -> Scan:
        """One scan: a stack of slices, or a photograph as a stack of one."""
        image, mask = _disc(int(name.removeprefix("case")))  # for files: read self.root / f"{name}.png", or the like
        return Scan(
            name=name,
            patient=next(patient for patient, names in self.patients().items() if name in names),
            image=image,  # float32 in [0, 1], (slices, channels, height, width), as it was acquired
            mask=mask,  # uint8 labels (slices, height, width)
            spacing=(1.0, 1.0, 1.0),  # mm between slices, rows, columns; None: unknown
            # drawn={"scribble": from_labels(labels, len(self.classes), 255)},  # 255: unlabelled;
            # from_labels is in benchmark.datasets.annotations
        )


def _disc(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A stand-in for your files: image (1, 1, 48, 48) and mask (1, 48, 48)."""
    rng = np.random.default_rng(number)
    rows, columns = np.indices((48, 48))
    centre = rng.uniform(18, 30, 2)
    mask = np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(8, 14)
    image = 0.3 + 0.4 * mask + rng.normal(0, 0.05, mask.shape)
    return image.clip(0, 1).astype(np.float32)[None, None], mask.astype(np.uint8)[None]
