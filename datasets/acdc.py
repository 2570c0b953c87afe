"""ACDC: cine cardiac MR of 100 patients at end-diastole and end-systole, with scribbles that people drew."""

import csv
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark import InputError
from benchmark.datasets.annotations import from_labels
from benchmark.datasets.base import ROLES, Dataset, Scan, Split, check_root, label_map, stored_split
from benchmark.datasets.files import Spacing, as_float, by_stem, read_hdf5, scaled
from benchmark.datasets.nifti import NIFTI, read_nifti, read_onto

UNLABELLED = 4  # in the files' scribbles
ONE_PATIENT = {"patient076": "patient074"}  # the same pixels with different labels: one part of a split must hold both
GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")  # pathologies, in blocks of 20 patients
FRAME = r"patient(\d{3})_frame\d{2}"


@dataclass
class Acdc(Dataset):
    """WSL4MIS's HDF5 volumes (`ACDC_training_volumes/*.h5`), or the challenge's NIfTI (`patientPPP/`).

    The HDF5 files have no spacing; it is read from `spacing.csv`, which `python -m benchmark data spacing acdc` writes.
    Intensities of the NIfTI are clipped at the 99th percentile of the volume and scaled to [0, 1], as WSL4MIS did; the
    scribbles are `patientPPP_frameFF_scribble.nii.gz` in the folders of the images.

    Patients 74 and 76 have the same images and count as one patient, so there are 99. The splits `strat5/0..4` are
    stratified by pathology, which stands for the site. The splits `wsl4mis/0..4` are the published contiguous folds: each
    tests on one pathology that is not in its training part.
    """

    root: Path

    name = "acdc"
    title = "ACDC"
    classes = ("background", "RV", "MYO", "LV")
    regions = {"RV": (1,), "MYO": (2,), "LV": (3,)}
    channels = 1
    modality = "cardiac MR"
    tolerance = 2.0
    patients_known = True
    redistribute = False
    licence = "research use"
    source = "https://github.com/HiLab-git/WSL4MIS, data/ACDC: ACDC_training_volumes/ into acdc/"
    citation = "Bernard et al., TMI 2018 (images); Valvano et al., TMI 2021 (scribbles); Luo et al., MICCAI 2022 (files)"
    drawn = ("scribble",)
    sites_in_names = True

    def patients(self) -> dict[str, list[str]]:
        """Return the two frames of each patient; frame numbers differ between patients."""
        found = defaultdict(list)
        for name in self._files:
            found[_patient(name)].append(name)
        return dict(found)

    def sites(self) -> dict[str, str]:
        """Return the pathology of each patient: the groups differ as sites do."""
        return super().sites() or {patient: _group(patient) for patient in self.patients()}

    def splits(self) -> list[str]:
        """Return the folds of `strat5` and of `wsl4mis`."""
        return [f"{family}/{fold}" for family in ("strat5", "wsl4mis") for fold in range(5)]

    def split(self, name: str) -> Split:
        """Read a stored split of patients, as scans."""
        scans = defaultdict(list)
        for scan in self._files:
            scans[scan.split("_")[0]].append(scan)
        roles = stored_split(self.name, name, scans, self.root)
        return Split(*(tuple(scan for patient in roles[role] for scan in scans[patient]) for role in ROLES))

    def load(self, name: str) -> Scan:
        """Read a volume with its mask and, if there are any, its scribbles."""
        path, affine = self._files[name], None
        if path.suffix == ".h5":
            arrays, spacing = read_hdf5(path, ("image", "label", "scribble")), self._spacing(name)
            image = as_float(arrays["image"])
        else:
            volume, grid = read_nifti(path)
            image, spacing, affine = scaled(volume, 0, 99), grid.spacing, grid.affine
            there = by_stem(path.parent, NIFTI)
            if f"{name}_gt" not in there:
                raise InputError(f"{path} has no {name}_gt.nii.gz in its folder")
            paths = {"label": there[f"{name}_gt"], "scribble": there.get(f"{name}_scribble")}
            arrays = {key: read_onto(found, grid) for key, found in paths.items() if found}
        mask, drawn = label_map(arrays["label"], f"{path}, label"), {}
        if "scribble" in arrays:
            try:
                marks = label_map(arrays["scribble"], "values")
                drawn["scribble"] = from_labels(marks, len(self.classes), UNLABELLED)
            except InputError as error:
                raise InputError(f"{path}, scribble: {error}") from error
        return Scan(name, _patient(name), image[:, None], mask, spacing, drawn, affine)

    def intensities(self, scan: Scan) -> list[np.ndarray]:
        """Return the intensities of the challenge's NIfTI, or those of WSL4MIS's files."""
        path = self._files[scan.name]
        return super().intensities(scan) if path.suffix == ".h5" else [read_nifti(path)[0]]

    @cached_property
    def _files(self) -> dict[str, Path]:
        check_root(self)
        folder = self.root / "ACDC_training_volumes"
        paths = by_stem(folder, (".h5",)) if folder.is_dir() else self._nifti()
        if not paths:
            raise InputError(
                f"{self.root} holds neither ACDC_training_volumes/patientPPP_frameFF.h5 nor "
                f"patientPPP/patientPPP_frameFF.nii.gz; get them from {self.source}"
            )
        odd = [stem for stem in paths if not re.fullmatch(FRAME, stem)]
        if odd:
            raise InputError(f"{paths[odd[0]]} is not a file of this data set; files are named patientPPP_frameFF")
        return paths

    def _nifti(self) -> dict[str, Path]:
        """Find the files of the challenge; the pathology of each patient must be the one that the splits assume."""
        found: dict[str, Path] = {}
        for folder in sorted(self.root.glob("patient[0-9][0-9][0-9]")):
            info = folder / "Info.cfg"
            group = re.search(r"^Group:\s*(\w+)", info.read_text(errors="replace"), re.M) if info.is_file() else None
            expected = _group(folder.name)
            if group and group[1] != expected:
                raise InputError(f"{info} says {group[1]}; patients come in blocks of 20, and {folder.name} is {expected}")
            found |= {n: p for n, p in by_stem(folder, NIFTI).items() if re.fullmatch(FRAME, n)}
        return found

    @cached_property
    def _spacings(self) -> dict[str, Spacing]:
        """Spacing of each scan from `spacing.csv`, mm."""
        path = self.root / "spacing.csv"
        if not path.is_file():
            return {}
        with path.open(newline="", encoding="utf-8-sig") as file:
            try:
                return {
                    line["scan"].strip(): (float(line["slices"]), float(line["rows"]), float(line["columns"]))
                    for line in csv.DictReader(file)
                }
            except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
                raise InputError(f"{path}: {error!r}; it needs scan, slices, rows and columns, in mm") from error

    def _spacing(self, scan: str) -> Spacing | None:
        """Return the spacing of a scan; None if no scan's is known. Raises InputError if only that of others is."""
        if self._spacings and scan not in self._spacings:
            raise InputError(f"{self.root / 'spacing.csv'} has no line for {scan}; it needs one for each scan")
        return self._spacings.get(scan)


def write_spacing(nifti: Path, root: Path) -> Path:
    """Write `spacing.csv` for WSL4MIS's volumes from the headers of the challenge's NIfTI files; return its path."""
    files = Acdc(root=nifti)._nifti()
    if not files:
        raise InputError(f"{nifti} holds no patientPPP/patientPPP_frameFF.nii.gz")
    path = root / "spacing.csv"
    sizes = {name: read_nifti(file)[1].spacing or () for name, file in files.items()}
    lines = [",".join([name, *(f"{value:.6g}" for value in spacing)]) for name, spacing in sizes.items()]
    path.write_text("\n".join(["scan,slices,rows,columns", *lines]) + "\n")
    return path


def _group(patient: str) -> str:
    """Return the pathology of a patient by the number."""
    return GROUPS[(int(patient[-3:]) - 1) // 20 % len(GROUPS)]


def _patient(scan: str) -> str:
    """Return the patient of a scan."""
    number = scan.split("_")[0]
    return ONE_PATIENT.get(number, number)
