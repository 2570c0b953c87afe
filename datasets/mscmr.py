"""MS-CMRSeg: late-gadolinium-enhancement cardiac MR, with scribbles on the training subjects."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark import InputError
from benchmark.datasets.annotations import from_labels
from benchmark.datasets.base import Dataset, Scan, Split, check_root, label_map, stored_split
from benchmark.datasets.files import by_stem, scaled
from benchmark.datasets.nifti import NIFTI, read_nifti, read_onto

UNLABELLED = 4  # in the files' scribbles
FOLDERS = {"train": "train", "val": "val", "test": "TestSet"}
ENDINGS = {"train": "_scribble", "val": "_manual", "test": "_manual"}


@dataclass
class Mscmr(Dataset):
    """CycleMix's layout: `{train,val,TestSet}/{images,labels}/subjectN_DE*.nii.gz`, spacing in the headers.

    The 25 training subjects of the official split have scribbles and no dense mask, so neither simulated annotations
    nor `full` supervision are possible. `dense20/0..4` are folds of the 20 subjects that have dense masks.
    """

    root: Path

    name = "mscmr"
    title = "MSCMR"
    classes = ("background", "RV", "MYO", "LV")
    regions = {"RV": (1,), "MYO": (2,), "LV": (3,)}
    channels = 1
    modality = "cardiac MR (LGE)"
    tolerance = 2.0
    patients_known = True
    redistribute = False
    licence = "research use"
    source = "https://github.com/BWGZK/CycleMix, MSCMR_dataset: train/, val/ and TestSet/ into mscmr/"
    citation = "Zhuang, TPAMI 2019; scribbles: Zhang & Zhuang, CVPR 2022"
    drawn = ("scribble",)

    def patients(self) -> dict[str, list[str]]:
        """Return one scan per subject."""
        return {name: [name] for name in self._files}

    def splits(self) -> list[str]:
        """Return the official split, and folds of the subjects with dense masks."""
        return ["official", *(f"dense20/{fold}" for fold in range(5))]

    def split(self, name: str) -> Split:
        """Return the official split, which is by folder, or read a stored one."""
        if name == "official":
            return Split(*(tuple(n for n, (part, *_) in self._files.items() if part == role) for role in FOLDERS))
        return Split(**stored_split(self.name, name, self._files, self.root))

    def load(self, name: str) -> Scan:
        """Read a volume with its dense mask or, in the official training part, its scribbles."""
        part, picture, marks = self._files[name]
        volume, grid = read_nifti(picture)
        labels = label_map(read_onto(marks, grid), str(marks))
        image = scaled(volume)[:, None]
        if part != "train":
            return Scan(name, name, image, labels, grid.spacing, affine=grid.affine)
        try:
            drawn = from_labels(labels, len(self.classes), UNLABELLED)
        except InputError as error:
            raise InputError(f"{marks}: {error}") from error
        return Scan(name, name, image, None, grid.spacing, {"scribble": drawn}, grid.affine)

    def intensities(self, scan: Scan) -> list[np.ndarray]:
        """Return the intensities of the file."""
        return [read_nifti(self._files[scan.name][1])[0]]

    @cached_property
    def _files(self) -> dict[str, tuple[str, Path, Path]]:
        check_root(self)
        found = {}
        for part, folder in FOLDERS.items():
            images = by_stem(self.root / folder / "images", NIFTI)
            labels = by_stem(self.root / folder / "labels", NIFTI)
            for stem, path in images.items():
                if stem + ENDINGS[part] not in labels:
                    raise InputError(f"{path} has no {stem}{ENDINGS[part]}.nii.gz in {self.root / folder / 'labels'}")
                found[stem] = part, path, labels.pop(stem + ENDINGS[part])
            for path in labels.values():
                raise InputError(f"{path} has no image in {self.root / folder / 'images'}; an image is subjectN_DE.nii.gz")
        if not found:
            raise InputError(f"{self.root} does not hold train/images/subjectN_DE.nii.gz; get them from {self.source}")
        return found
