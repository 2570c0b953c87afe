"""My dataset: its images and its patients, in a sentence."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.datasets.base import Dataset, Scan, Split, hashed_folds

CASES = {f"patient{number:02d}": [f"case{number:02d}"] for number in range(10)}  # patient -> names of its scans


@dataclass
class MyDataset(Dataset):
    """Bright discs, in place of your files; `python -m benchmark list` shows this line."""

    root: Path  # the data set's folder: my_dataset/ in --data FOLDER

    # Options: further fields with a default, such as `size: int = 64`; `--set my_dataset.size=32` changes one.

    name = "my_dataset"
    classes = ("background", "disc")  # of the labels 0, 1, ...
    regions = {"disc": (1,)}  # scored regions: a name, and the labels whose union it is
    channels = 1
    modality = "unknown"
    tolerance = 2.0  # of the NSD, mm (px where the spacing is unknown)
    patients_known = True  # False: every scan counts as a patient, and tables say so
    redistribute = False  # True: reports may show pixels
    licence = "unknown"
    source = "unknown"  # where to get it
    citation = "unknown"
    # drawn = ("scribble",)  # annotations by people, if there are any

    def patients(self) -> dict[str, list[str]]:
        """Return scan names by patient; list files here, but don't read them."""
        return CASES  # for files: {"patient1": ["scan1", "scan2"], ...}, sorted

    def splits(self) -> list[str]:
        """Return the names of the splits; the first is the default."""
        return [f"cv5/{fold}" for fold in range(5)]

    def split(self, name: str) -> Split:
        """Return a fold by patient; for your own lists: Split(train=(...), val=(...), test=(...)), of scan names."""
        return hashed_folds(self.patients(), 5)[int(name.rpartition("/")[2])]

    def load(self, name: str) -> Scan:
        """Return a scan: a stack of slices, or a single image as a stack of one."""
        image, mask = _disc(int(name.removeprefix("case")))  # for files: read self.root / f"{name}.png"
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
    """Return an image (1, 1, 48, 48) and its mask (1, 48, 48), in place of your files."""
    rng = np.random.default_rng(number)
    rows, columns = np.indices((48, 48))
    centre = rng.uniform(18, 30, 2)
    mask = np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(8, 14)
    image = 0.3 + 0.4 * mask + rng.normal(0, 0.05, mask.shape)
    return image.clip(0, 1).astype(np.float32)[None, None], mask.astype(np.uint8)[None]
