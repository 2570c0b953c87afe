"""Clinic: a folder of NumPy files, one per scan, each with `image`, `mask` and `spacing`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark import InputError
from benchmark.datasets.base import Dataset, Scan, Split


@dataclass
class Clinic(Dataset):
    """Files are `PATIENT_VISIT.npz`; the last fifth of the patients is the test part."""

    root: Path

    name = "clinic"
    classes = ("background", "lesion")
    regions = {"lesion": (1,)}
    channels = 1
    modality = "ultrasound"
    tolerance = 1.0  # mm
    patients_known = True
    redistribute = True
    licence = "Apache-2.0"
    source = "python -m clinic_plugin.make"
    citation = "none: synthetic"

    def patients(self) -> dict[str, list[str]]:
        """Return visits by patient, from the files' names."""
        names = sorted(path.stem for path in self.root.glob("*_*.npz"))
        if not names:
            raise InputError(f"{self.root} holds no scans; make some with: python -m clinic_plugin.make {self.root}")
        patients: dict[str, list[str]] = {}
        for name in names:
            patients.setdefault(name.partition("_")[0], []).append(name)
        return patients

    def splits(self) -> list[str]:
        """Return the only split."""
        return ["default"]

    def split(self, name: str) -> Split:
        """Split by patient: the last fifth is the test part."""
        visits = list(self.patients().values())
        cut = len(visits) - max(1, len(visits) // 5)
        train, test = (tuple(scan for scans in part for scan in scans) for part in (visits[:cut], visits[cut:]))
        return Split(train, (), test)

    def load(self, name: str) -> Scan:
        """Return a visit; raises InputError if its file is missing or incomplete."""
        path = self.root / f"{name}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                image, mask, spacing = file["image"], file["mask"], file["spacing"]
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} can't be read: {error}") from error
        slices, rows, columns = (float(mm) for mm in spacing)
        return Scan(name, name.partition("_")[0], image[:, None], mask, (slices, rows, columns))
