"""What a data set is: scans with dense masks, grouped by patient, and named splits of them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmark import InputError

SPLITS = Path(__file__).parent / "splits"
ROLES = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Scan:
    """One image as it was acquired: a volume of slices, or a stack of one."""

    name: str
    patient: str  # scans of one patient never straddle a split
    image: np.ndarray  # float32 in [0, 1], (slices, channels, height, width), native resolution
    mask: np.ndarray | None  # uint8 (slices, height, width), 0 is background; None: only drawn annotations exist
    spacing: tuple[float, float, float] | None = None  # mm between slices, rows, columns; None: unknown
    drawn: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))  # `allowed` maps, by format


@dataclass(frozen=True)
class Split:
    """Names of the scans to train on, to select on and to test on."""

    train: tuple[str, ...]
    val: tuple[str, ...]  # may be empty; never trained on
    test: tuple[str, ...]

    def roles(self) -> dict[str, tuple[str, ...]]:
        """The three lists by the name of their role."""
        return {role: getattr(self, role) for role in ROLES}


class Dataset(ABC):
    """A set of scans; concrete ones are dataclasses whose first field is `root` and whose other fields are options."""

    name: str  # how the command line calls it
    root: Path
    classes: tuple[str, ...]  # classes[0] is background
    regions: Mapping[str, tuple[int, ...]]  # what is scored: name -> union of classes
    channels: int
    modality: str
    tolerance: float  # of the normalised surface Dice, mm (px where spacing is unknown)
    patients_known: bool
    redistribute: bool  # may pixels enter published pages?
    licence: str
    source: str  # where to get it
    citation: str
    drawn: tuple[str, ...] = ()  # formats that people drew on every training scan

    @abstractmethod
    def patients(self) -> dict[str, list[str]]:
        """Scan names by patient; reads no pixels."""

    @abstractmethod
    def load(self, name: str) -> Scan:
        """One scan; raises InputError when its files can't be used."""

    @abstractmethod
    def splits(self) -> list[str]:
        """Names of the splits; the first is the default."""

    @abstractmethod
    def split(self, name: str) -> Split:
        """The scans of a split; disjoint by patient."""


def read_split(dataset: str, name: str) -> dict[str, list[str]]:
    """Patients by role, from the stored file of a split such as `strat5/0`; its SHA-256 must be the recorded one."""
    folder = SPLITS / dataset
    path = folder / f"{name.replace('/', '-')}.txt"
    sums = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines()]
    recorded = {name: digest for digest, name in sums}
    if hashlib.sha256(path.read_bytes()).hexdigest() != recorded[path.name]:
        raise InputError(f"{path} was changed: its SHA-256 is not the one in {folder / 'SHA256SUMS'}")
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    return {role: [patient for r, patient in lines if r == role] for role in ROLES}


def label_map(array: np.ndarray, what: str) -> np.ndarray:
    """The array as uint8 labels; raises InputError where a value is no whole number from 0 to 255."""
    labels = array.astype(np.uint8)
    if not np.array_equal(labels, array):
        wrong = np.unique(array[labels != array])[:5].tolist()
        raise InputError(f"{what} holds {wrong}; labels are whole numbers from 0 to 255")
    return labels


def check_split(dataset: Dataset, name: str) -> Split:
    """The split, if its parts are disjoint by patient and it has something to train on and to test on."""
    if name not in dataset.splits():
        raise InputError(f"{dataset.name} has no split {name!r}; it has {', '.join(dataset.splits())}")
    split = dataset.split(name)
    owner = {scan: patient for patient, scans in dataset.patients().items() for scan in scans}
    first: dict[str, str] = {}  # patient -> the role it was met in
    for role, scans in split.roles().items():
        for scan in scans:
            if scan not in owner:
                raise InputError(f"split {name} of {dataset.name} names {scan}, which is not in {dataset.root}")
            if first.setdefault(owner[scan], role) != role:
                raise InputError(
                    f"split {name} of {dataset.name} has patient {owner[scan]} in {first[owner[scan]]} and in {role}; "
                    "a patient belongs to one part"
                )
    for role in ("train", "test"):
        if not split.roles()[role]:
            raise InputError(f"split {name} of {dataset.name} has no {role} scans")
    return split


def check_scan(scan: Scan, dataset: Dataset) -> None:
    """Raise InputError unless the scan keeps every promise of `Scan` and of its data set."""

    def wrong(what: str) -> InputError:
        return InputError(f"{dataset.name}, scan {scan.name}: {what}")

    image, classes = scan.image, len(dataset.classes)
    if image.ndim != 4 or image.shape[1] != dataset.channels or 0 in image.shape:
        raise wrong(
            f"the image has shape {image.shape}; it must be (slices, {dataset.channels} channels, height, width)"
        )
    if not np.isfinite(image).all():
        raise wrong(f"the image holds {np.count_nonzero(~np.isfinite(image))} NaN or infinite pixels")
    if image.min() < 0 or image.max() > 1:
        raise wrong(f"intensities reach from {image.min():g} to {image.max():g}; they must lie in [0, 1]")
    shape = (image.shape[0], *image.shape[2:])
    if scan.mask is not None:
        if scan.mask.shape != shape:
            raise wrong(f"the mask has shape {scan.mask.shape} and the image {shape}; they must be equal")
        if scan.mask.max() >= classes:
            unknown = [int(label) for label in np.unique(scan.mask) if label >= classes]
            raise wrong(f"the mask holds unknown labels {unknown}; it may hold 0 to {classes - 1}")
    for form, allowed in scan.drawn.items():
        if allowed.shape != shape:
            raise wrong(f"the drawn {form} has shape {allowed.shape} and the image {shape}; they must be equal")
        if allowed.min() < 1 or allowed.max() >= 1 << classes:
            raise wrong(f"the drawn {form} holds sets outside 1 to {(1 << classes) - 1}")
    if scan.spacing is not None and not (np.isfinite(scan.spacing).all() and min(scan.spacing) > 0):
        raise wrong(f"the spacing is {scan.spacing} mm; it must be positive")


class Survey:
    """A data set that was looked through: every scan of a split is read and checked once."""

    def __init__(self, dataset: Dataset, options: Mapping[str, object]) -> None:
        self.dataset = dataset
        self.options = options
        self.seen: dict[str, tuple[str, str, bool]] = {}  # scan -> digest, digest of the pixels, has a mask

    def fingerprint(self, split: str, annotation: str) -> str:
        """SHA-256 of all that a split holds; raises InputError if anything in it can't be used for the annotation."""
        parts = check_split(self.dataset, split)
        total = hashlib.sha256()
        first: dict[str, tuple[str, str]] = {}  # pixels -> the scan and role they were met in
        for role, names in parts.roles().items():
            for name in names:
                everything, pixels, masked = self._look(name, role)
                if role == "train" and not masked and not annotation.endswith(":drawn"):
                    raise InputError(
                        f"{self.dataset.name}, scan {name}: there is no dense mask to make {annotation} of; "
                        f"it has {', '.join(f'{form}:drawn' for form in self.dataset.drawn)}"
                    )
                twin, twin_role = first.setdefault(pixels, (name, role))
                if twin_role != role:
                    raise InputError(
                        f"split {split} of {self.dataset.name}: scans {twin} in {twin_role} and {name} in {role} "
                        "hold identical pixels"
                    )
                total.update(f"{role} {everything}\n".encode())
        return total.hexdigest()

    def _look(self, name: str, role: str) -> tuple[str, str, bool]:
        if name not in self.seen:
            scan = self.dataset.load(name)
            check_scan(scan, self.dataset)
            self.seen[name] = (digest(scan), _array_digest(scan.image), scan.mask is not None)
        if role != "train" and not self.seen[name][2]:
            raise InputError(f"{self.dataset.name}, scan {name}: there is no mask, and a {role} scan needs one")
        return self.seen[name]


def digest(scan: Scan) -> str:
    """SHA-256 of everything in a scan that settles a number: pixels, mask, spacing and drawn marks."""
    arrays = {
        "image": scan.image,
        "mask": scan.mask,
        **{f"drawn {name}": scan.drawn[name] for name in sorted(scan.drawn)},
    }
    parts = {name: None if array is None else _array_digest(array) for name, array in arrays.items()}
    return hashlib.sha256(repr((scan.name, scan.patient, scan.spacing, parts)).encode()).hexdigest()


def _array_digest(array: np.ndarray) -> str:
    total = hashlib.sha256(repr((array.shape, array.dtype.str)).encode())
    total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
