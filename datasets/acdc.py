"""ACDC: cine cardiac MR of 100 patients at end-diastole and end-systole, with scribbles that people drew."""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from benchmark import InputError
from benchmark.datasets.base import ROLES, Dataset, Scan, Split, label_map, read_split
from benchmark.datasets.weak import from_labels

UNLABELLED = 4  # in the files' scribbles
ONE_PATIENT = {"patient076": "patient074"}  # both frames hold the same pixels, with other labels: never to be split


@dataclass
class Acdc(Dataset):
    """WSL4MIS's HDF5 volumes: `image` in [0, 1], `label`, and the `scribble` of Valvano et al.; no spacing.

    Patients 74 and 76 have the same images; they count as one patient, so there are 99.

    The splits `strat5/0..4` are stratified by pathology; `wsl4mis/0..4` are the published contiguous folds, each
    of which tests one pathology that it never trained on.
    """

    root: Path

    name = "acdc"
    classes = ("background", "RV", "MYO", "LV")
    regions = {"RV": (1,), "MYO": (2,), "LV": (3,)}
    channels = 1
    modality = "cardiac MR"
    tolerance = 2.0
    patients_known = True
    redistribute = False
    licence = "research use"
    source = "https://github.com/HiLab-git/WSL4MIS, data/ACDC (ACDC_training_volumes)"
    citation = (
        "Bernard et al., TMI 2018 (images); Valvano et al., TMI 2021 (scribbles); Luo et al., MICCAI 2022 (files)"
    )
    drawn = ("scribble",)

    def patients(self) -> dict[str, list[str]]:
        """Two frames of each patient; frame numbers differ between patients."""
        found = defaultdict(list)
        for name in self._files:
            found[_patient(name)].append(name)
        return dict(found)

    def splits(self) -> list[str]:
        """Both families of folds."""
        return [f"{family}/{fold}" for family in ("strat5", "wsl4mis") for fold in range(5)]

    def split(self, name: str) -> Split:
        """A stored split of patients, as scans."""
        scans = defaultdict(list)
        for scan in self._files:
            scans[scan.split("_")[0]].append(scan)
        roles = read_split(self.name, name)
        missing = sorted({patient for role in roles.values() for patient in role} - set(scans))
        if missing:
            raise InputError(f"split {name} of acdc needs {', '.join(missing)}, which {self.root} lacks")
        return Split(*(tuple(scan for patient in roles[role] for scan in scans[patient]) for role in ROLES))

    def load(self, name: str) -> Scan:
        """A volume with its mask and its scribbles."""
        path = self._files[name]
        try:
            with h5py.File(path) as file:
                missing = {"image", "label", "scribble"} - set(file)
                if missing:
                    raise InputError(
                        f"{path} lacks {', '.join(sorted(missing))}; an ACDC volume holds image, label and scribble"
                    )
                image, labels, scribble = (file[key][()] for key in ("image", "label", "scribble"))
        except OSError as error:
            raise InputError(f"{path} can't be read ({error}); it may be truncated: copy it again") from error
        mask, marks = label_map(labels, f"{path}, label"), label_map(scribble, f"{path}, scribble")
        try:
            drawn = from_labels(marks, len(self.classes), UNLABELLED)
        except InputError as error:
            raise InputError(f"{path}, scribble: {error}") from error
        return Scan(name, _patient(name), image.astype(np.float32)[:, None], mask, None, {"scribble": drawn})

    @cached_property
    def _files(self) -> dict[str, Path]:
        folder = self.root / "ACDC_training_volumes"
        paths = {path.stem: path for path in sorted(folder.glob("*.h5"))}
        if not paths:
            raise InputError(f"{folder} holds no patientPPP_frameFF.h5; get them from {self.source}")
        odd = [stem for stem in paths if not re.fullmatch(r"patient\d{3}_frame\d{2}", stem)]
        if odd:
            raise InputError(f"{folder} holds {odd[0]}.h5; files are named patientPPP_frameFF.h5")
        return paths


def _patient(scan: str) -> str:
    """Whose scan it is."""
    number = scan.split("_")[0]
    return ONE_PATIENT.get(number, number)
