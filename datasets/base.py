"""What a data set is: scans with dense masks, grouped by patient, and named splits of them."""

import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmark import InputError
from benchmark.inputs import nearest
from benchmark.seal.contract import everything

SPLITS = Path(__file__).parent / "splits"
ROLES = ("train", "val", "test")
MOST_CLASSES = 31  # that a set holds
LEAST_MM, MOST_MM = 1e-6, 1e6  # between two pixels; microscopes have the least
HELD_OUT = "@val"  # after the name of a split: its held-out scans are scored, and no test scan is read
LOADING = threading.Lock()  # held while a sweep reads a scan
LONGEST_NAME = 150  # bytes; file systems allow 255, and endings are added to names


@dataclass(frozen=True, eq=False)
class Scan:
    """One image as it was acquired: a volume of slices, or a stack of one."""

    name: str
    patient: str  # all scans of a patient are in the same part of a split
    image: np.ndarray  # float32 in [0, 1], (slices, channels, height, width), native resolution
    mask: np.ndarray | None  # uint8 (slices, height, width), 0 is background; None: only drawn annotations exist
    spacing: tuple[float, float, float] | None = None  # mm between slices, rows, columns; None: unknown
    drawn: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))  # `allowed` maps, by format
    affine: np.ndarray | None = None  # 4 x 4, of NIfTI's kind: (column, row, slice, 1) -> mm; None: unknown

    def __post_init__(self) -> None:
        """Turn numbers of NumPy, as headers of files hold them, into Python's."""
        if self.spacing is not None:
            plain = tuple(mm.item() if isinstance(mm, np.generic) else mm for mm in self.spacing)
            object.__setattr__(self, "spacing", plain)


@dataclass(frozen=True)
class Split:
    """Names of the scans for training, for selection and for testing."""

    train: tuple[str, ...]
    val: tuple[str, ...]  # may be empty; never used for training
    test: tuple[str, ...]

    def roles(self) -> dict[str, tuple[str, ...]]:
        """The three lists by the name of their role."""
        return {role: getattr(self, role) for role in ROLES}


class OnDemand(Mapping[str, np.ndarray]):
    """Drawn annotations by name, each made when it is first asked for.

    `origins`: by name, text of all that determines the annotation but the image. It stands for the annotation in the
    digest of a scan, so that reading and checking a scan makes none.
    """

    def __init__(self, makers: Mapping[str, Callable[[], np.ndarray]], origins: Mapping[str, str]) -> None:
        self.makers = {name: cache(make) for name, make in makers.items()}
        self.origins = origins

    def __getitem__(self, name: str) -> np.ndarray:
        return self.makers[name]()

    def __contains__(self, name: object) -> bool:  # without making it
        return name in self.makers

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


class Dataset(ABC):
    """A set of scans; concrete ones are dataclasses whose first field is `root` and whose other fields are options."""

    name: str  # on the command line
    title: str = ""  # in figures and LaTeX tables; a subclass doesn't inherit it
    root: Path
    classes: tuple[str, ...]  # classes[0] is background
    regions: Mapping[str, tuple[int, ...]]  # regions that are scored: name -> union of classes
    channels: int
    modality: str
    tolerance: float  # of the normalised surface Dice, mm (px where spacing is unknown)
    patients_known: bool
    redistribute: bool  # whether pixels may be shown on published pages
    licence: str
    source: str  # where to get it
    citation: str
    channel_names: tuple[str, ...] = ()  # what the channels are, such as T2 and ADC; empty: unknown
    drawn: tuple[str, ...] = ()  # names of annotations that people drew, on some scans or on all
    usual_form: str = "scribble"  # of annotation: the one that its task is published with
    by_path: bool = False  # the folder is given as `NAME:PATH`; else it has the name of the set
    cut: int = 0  # option `sites` of all sets: the number of sites that patients are dealt to; 0: as the files say
    sites_in_names: bool = False  # whether the names of scans settle their sites; else fingerprints hold these

    @abstractmethod
    def patients(self) -> dict[str, list[str]]:
        """Return scan names by patient, without reading pixels."""

    @abstractmethod
    def load(self, name: str) -> Scan:
        """Read one scan; raises InputError if its files can't be used."""

    def intensities(self, scan: Scan) -> list[np.ndarray]:
        """Return the channels of an image, (slices, height, width) each, as its files hold them, before any scaling."""
        return list(scan.image.swapaxes(0, 1))

    @abstractmethod
    def splits(self) -> list[str]:
        """Return the names of the splits; the first is the default."""

    @abstractmethod
    def split(self, name: str) -> Split:
        """Return the scans of a split; its parts are disjoint by patient."""

    def reading(self) -> list[str]:
        """Return lines that say how the scans so far were read, where their files don't settle it."""
        return []

    def sites(self) -> dict[str, str]:
        """Return the name of the site that each patient is from, without reading pixels; empty: all are from one.

        A set that names sites returns `super().sites() or {...}`: the option `sites` goes first.
        """
        return hashed_sites(self.patients(), self.cut) if self.cut else {}

    @property
    def parts(self) -> "tuple[Dataset, ...]":
        """Return the data sets that this one is made of: itself alone, unless it is tested on another."""
        return (self,)

    def find_split(self, name: str) -> Split:
        """Return a split; of `NAME@val` the held-out scans are scored, so that settings are not chosen on test scans."""
        split = self.split(name.removesuffix(HELD_OUT))
        return Split(split.train, (), split.val) if name.endswith(HELD_OUT) else split


def load_alone(dataset: Dataset, name: str) -> Scan:
    """Read one scan while no other thread does: readers need not be safe for threads. A sweep scores beside sealing."""
    with LOADING:
        return dataset.load(name)


def read_split(dataset: str, name: str) -> dict[str, list[str]]:
    """Read the patients by role from the file of a split such as `strat5/0`; its SHA-256 must be the recorded one."""
    folder = SPLITS / dataset
    path = folder / f"{name.replace('/', '-')}.txt"
    sums = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines()]
    recorded = {name: digest for digest, name in sums}
    if hashlib.sha256(path.read_bytes()).hexdigest() != recorded[path.name]:
        raise InputError(f"{path} was changed: its SHA-256 is not the one in {folder / 'SHA256SUMS'}")
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    return {role: [patient for r, patient in lines if r == role] for role in ROLES}


def stored_split(dataset: str, name: str, existing: Iterable[str], root: Path) -> dict[str, tuple[str, ...]]:
    """Read a stored split: patients (or scans, if each is one patient) by role; all must be `existing`, in `root`."""
    roles = read_split(dataset, name)
    missing = sorted({each for role in roles.values() for each in role} - set(existing))
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(f"split {name} of {dataset} needs {', '.join(missing[:5])}{more}, which {root} lacks")
    return {role: tuple(patients) for role, patients in roles.items()}


class UserDataset(Dataset):
    """A data set that the user gives as a path; what its files don't say is unknown."""

    by_path = True
    classes: tuple[str, ...] = ("background", "...")
    regions = {}
    channels = 0
    modality = "yours"
    tolerance = 2.0
    redistribute = False
    licence = source = citation = "yours"

    def set_name(self, name: str) -> None:
        """Set a name that is valid in file names, and check classes and regions; raises InputError if they are not valid."""
        self.name = re.sub(r"^\W|[^\w.-]", "_", name) or "_"
        check_name(self.name, f"the data set in {self.root}")
        for each in (*self.classes, *self.regions):
            if not each.strip() or not each.isprintable():
                raise InputError(
                    f"{self.root}: a class or region is called {each!r}; a name consists of printable characters"
                )
        if len(set(self.classes)) < len(self.classes) or not 2 <= len(self.classes) <= MOST_CLASSES:
            raise InputError(f"{self.root}: classes are {', '.join(self.classes)}; there must be 2 to {MOST_CLASSES} names")
        for region, labels in self.regions.items():
            if region == "mean":  # of all regions, in reports
                raise InputError(f"{self.root}: a region is called mean, as the mean over regions is; give it another name")
            if not labels or not set(labels) <= set(range(1, len(self.classes))):
                raise InputError(f"{self.root}: region {region} is {list(labels)}; classes are 1 to {len(self.classes) - 1}")


def hashed_folds(patients: Mapping[str, list[str]], count: int) -> list[Split]:
    """Make folds by patient for sets without own splits: each patient is tested once, an eighth of the rest is held out.

    A hash of the patients' names settles the folds, so they do not depend on the order in which scans are read.
    """
    order = sorted(patients, key=lambda patient: hashlib.sha256(patient.encode()).digest())
    if len(order) < count:
        raise InputError(f"there are {len(order)} patients, too few for {count} folds; bring more, or name your own splits")
    folds = []
    for fold in range(count):
        test = order[fold::count]
        rest = [patient for patient in order if patient not in set(test)]
        val = rest[fold::count][: len(rest) // 8]
        parts = ([p for p in rest if p not in set(val)], val, test)
        folds.append(Split(*(tuple(scan for patient in part for scan in patients[patient]) for part in parts)))
    return folds


def hashed_sites(patients: Iterable[str], count: int) -> dict[str, str]:
    """Deal patients to sites of equal size, to within one, by a hash of their names that is not that of `hashed_folds`."""
    order = sorted(patients, key=lambda patient: hashlib.sha256(f"site {patient}".encode()).digest())
    if len(order) < count:
        raise InputError(f"there are {len(order)} patients, too few for {count} sites")
    return {patient: f"site{place % count + 1:0{len(str(count))}d}" for place, patient in enumerate(order)}


def site_names(dataset: Dataset) -> dict[str, str]:
    """Return the name of the site of each scan; empty where all are from one."""
    patients, sites = dataset.patients(), dataset.sites()
    if len(set(sites.values())) < 2:
        return {}
    if missing := sorted(patients.keys() ^ sites.keys()):
        raise InputError(f"{dataset.name}: patient {missing[0]} is missing in patients() or sites(); both name each patient")
    return {scan: sites[patient] for patient, scans in patients.items() for scan in scans}


def site_numbers(dataset: Dataset) -> dict[str, int]:
    """Return the number of the site of each scan, from 0 in the sorted order of names; empty where all are from one."""
    names = site_names(dataset)
    order = {site: number for number, site in enumerate(sorted(set(names.values())))}
    return {scan: order[site] for scan, site in names.items()}


def check_name(name: str, what: str) -> None:
    """Raise InputError for a name that is not valid as a file name or that would lead to another folder."""
    odd = not name or name.startswith(".") or not name.isprintable() or bool(set(name) & set("/\\"))
    if odd or len(name.encode()) > LONGEST_NAME:
        raise InputError(
            f"{what} is called {name[:60]!r}; a name consists of printable characters without / and \\, does not "
            f"begin with a dot, and has at most {LONGEST_NAME} bytes"
        )


def set_type(classes: int) -> np.dtype:
    """Return the integer type that holds sets of so many classes."""
    if not 2 <= classes <= MOST_CLASSES:
        raise InputError(f"there are {classes} classes; a label set holds 2 to {MOST_CLASSES}")
    return np.dtype(np.uint8 if classes <= 8 else np.int32)


def label_map(array: np.ndarray, what: str) -> np.ndarray:
    """Convert an array to uint8 labels; raises InputError if a value is not a whole number from 0 to 255."""
    if array.dtype.kind not in "biuf" or not array.size:
        raise InputError(f"{what} holds {array.dtype} in shape {array.shape}; labels are whole numbers from 0 to 255")
    with np.errstate(invalid="ignore"):  # NaN, which is reported below
        labels = array.astype(np.uint8)
    if not np.array_equal(labels, array):
        wrong = np.unique(array[labels != array])[:5].tolist()
        raise InputError(f"{what} holds {wrong}; labels are whole numbers from 0 to 255")
    return labels


def check_split(dataset: Dataset, name: str) -> Split:
    """Check that a split is disjoint by patient and has training and test scans, and return it."""
    known = dataset.splits()
    if named := next((each for each in known if each.endswith(HELD_OUT)), ""):
        raise InputError(
            f"a split of {dataset.name} is called {named}, which means the held-out scans of "
            f"{named.removesuffix(HELD_OUT)}; give it another name"
        )
    if name.removesuffix(HELD_OUT) not in known:
        raise InputError(f"{dataset.name} has no split {name!r}{nearest(name, known)}; it has {', '.join(known)}")
    for part in name.split("/"):
        check_name(part, f"a split of {dataset.name}")
    split = dataset.find_split(name)
    owner = {scan: patient for patient, scans in dataset.patients().items() for scan in scans}
    first: dict[str, str] = {}  # patient -> the role of its first scan
    for role, scans in split.roles().items():
        if twice := [scan for scan in dict.fromkeys(scans) if scans.count(scan) > 1]:
            raise InputError(
                f"split {name} of {dataset.name} names {twice[0]} more than once in {role}; name each scan once"
            )
        for scan in scans:
            if scan not in owner:
                check_name(scan, f"a scan of split {name}")
                raise InputError(f"split {name} of {dataset.name} names {scan}, which is not in {dataset.root}")
            if first.setdefault(owner[scan], role) != role:
                raise InputError(
                    f"split {name} of {dataset.name} has patient {owner[scan]} in {first[owner[scan]]} and in {role}; "
                    "a patient belongs to one part"
                )
    for role in ("train", "test"):
        if not split.roles()[role]:
            what = "held-out" if role == "test" and name.endswith(HELD_OUT) else role
            raise InputError(f"split {name} of {dataset.name} has no {what} scans")
    return split


def check_scan(scan: Scan, dataset: Dataset) -> None:
    """Raise InputError unless the scan is as `Scan` and its data set declare."""

    def wrong(what: str) -> InputError:
        return InputError(f"{dataset.name}, scan {scan.name}: {what}")

    check_name(scan.name, f"a scan of {dataset.name}")
    check_name(scan.patient, f"a patient of {dataset.name}")
    image, classes = scan.image, len(dataset.classes)
    drawn = [(f"drawn {form}", allowed, set_type(classes)) for form, allowed in _at_hand(scan.drawn).items()]
    for what, array, kind in [("image", image, np.dtype(np.float32)), ("mask", scan.mask, np.dtype(np.uint8)), *drawn]:
        if array is not None and array.dtype != kind:
            raise wrong(f"the {what} is {array.dtype}; it must be {kind}")
    if image.ndim != 4 or image.shape[1] != dataset.channels or 0 in image.shape:
        raise wrong(f"the image has shape {image.shape}; it must be (slices, {dataset.channels} channels, height, width)")
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
    for form, allowed in _at_hand(scan.drawn).items():
        if allowed.shape != shape:
            raise wrong(f"the drawn {form} has shape {allowed.shape} and the image {shape}; they must be equal")
        if allowed.min() < 1 or allowed.max() > everything(classes):
            raise wrong(f"the drawn {form} holds sets outside 1 to {everything(classes)}")
    if scan.spacing is not None and not all(LEAST_MM <= mm <= MOST_MM for mm in scan.spacing):
        raise wrong(f"the spacing is {scan.spacing} mm; it must be positive, and from {LEAST_MM:g} to {MOST_MM:g}")
    if scan.affine is not None and not _has_inverse(scan.affine):
        raise wrong(f"the affine is {np.asarray(scan.affine).tolist()}; it must be 4 x 4 numbers and have an inverse")


def _has_inverse(affine: np.ndarray) -> bool:
    return np.shape(affine) == (4, 4) and bool(np.isfinite(affine).all()) and np.linalg.det(affine) != 0


def check_root(dataset: Dataset) -> None:
    """Raise InputError if the folder of a data set is missing."""
    if not dataset.root.is_dir():
        get = f"get {dataset.name} from {dataset.source}"
        raise InputError(f"there is no folder {dataset.root}; {get}, or name the folder that holds it with --data")


def _at_hand(drawn: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return the drawn annotations that were read; those that are made on demand are right by their code."""
    return {} if isinstance(drawn, OnDemand) else drawn


@dataclass(frozen=True)
class SplitSummary:
    """Facts about the scans of a split."""

    fingerprint: str  # SHA-256 of all its scans
    drawn: tuple[str, ...]  # drawn annotations that every training scan has
    maskless: str  # a training scan without a dense mask; empty if there is none
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ScanSummary:
    """Facts about a scan that was read; its pixels are not kept."""

    everything: str  # digest of the scan
    pixels: str  # digest of the image
    drawn: list[str]
    thumbnail: np.ndarray
    size: int  # px, of all slices
    span: float  # of the intensities, without the highest and the lowest thousandth
    labels: list[int]  # pixels of each class in the mask; empty without one
    rim: list[int]  # of these, those in the outermost rows and columns of a slice
    marks: dict[str, list[list[int]]]  # by drawn annotation and class: labelled pixels, and those that the mask contradicts

    @property
    def masked(self) -> bool:
        """Whether there is a dense mask."""
        return bool(self.labels)


class Inventory:
    """Reads and checks every scan of a data set's splits once, and keeps a summary of each."""

    def __init__(self, dataset: Dataset, options: Mapping[str, object]) -> None:
        self.dataset = dataset
        self.options = options
        self.seen: dict[str, ScanSummary] = {}
        self.looked: dict[str, ScanSummary] = {}  # those of the splits that were summarised

    def look(self, name: str) -> SplitSummary:
        """Summarise a split; raises InputError for scans that can't be used, and for identical pixels in two parts."""
        split = check_split(self.dataset, name)
        roles = {scan: role for role, scans in split.roles().items() for scan in scans}
        for scan, role in roles.items():
            if scan not in self.seen:
                self.read(scan)
            if role != "train" and not self.seen[scan].masked:
                raise InputError(f"{self.dataset.name}, scan {scan}: there is no mask, and a {role} scan needs one")
        seen = self.seen
        self.looked |= {scan: seen[scan] for scan in roles}
        first: dict[str, str] = {}  # digest of pixels -> the first scan with them
        for scan, role in roles.items():
            earlier = first.setdefault(seen[scan].pixels, scan)
            if roles[earlier] != role:
                raise InputError(
                    f"split {name} of {self.dataset.name}: {earlier} in {roles[earlier]} and {scan} in {role} "
                    "hold identical pixels; they belong to one part"
                )
        sites = {} if self.dataset.sites_in_names else site_names(self.dataset)
        of_site = {scan: f" {site}" for scan, site in sites.items()}
        total = "".join(f"{role} {seen[scan].everything}{of_site.get(scan, '')}\n" for scan, role in roles.items())
        drawn = [name for name in seen[split.train[0]].drawn if all(name in seen[scan].drawn for scan in split.train)]
        maskless = next((scan for scan in split.train if not seen[scan].masked), "")
        where = f"split {name} of {self.dataset.name}"
        warnings = [
            f"{where}: {one} in {roles[one]} nearly equals {other} in {roles[other]}"
            for one, other in near_duplicates({scan: seen[scan].thumbnail for scan in roles})
            if roles[one] != roles[other]
        ]
        warnings += [f"{where}: {text}" for text in (*self._untaught(split), *self._partly_drawn(split))]
        return SplitSummary(hashlib.sha256(total.encode()).hexdigest(), tuple(drawn), maskless, tuple(warnings))

    def _untaught(self, split: Split) -> Iterator[str]:
        """Say which classes are in the masks of other scans of a split, and in no training mask."""
        train = [self.seen[scan].labels for scan in split.train]
        others = [self.seen[scan].labels for scan in (*split.val, *split.test)]
        if all(train):
            present = zip(self.dataset.classes, np.sum(train, 0), np.sum(others, 0), strict=True)
            if absent := [name for name, taught, asked in present if asked and not taught]:
                yield f"no training mask holds {', '.join(absent)}, so it can't be learnt; other masks do"

    def _partly_drawn(self, split: Split) -> Iterator[str]:
        """Say which drawn annotations are not used, as some training scans have none."""
        count = Counter(form for scan in split.train for form in self.seen[scan].drawn)
        for form, number in count.items():
            if number < len(split.train):
                yield f"{number} of {len(split.train)} training scans have a drawn {form}; it is used only if all have one"

    def read(self, name: str) -> Scan:
        """Load and check a scan, and keep its summary."""
        scan = self.dataset.load(name)
        check_scan(scan, self.dataset)
        self.seen[name] = summarise(scan, len(self.dataset.classes))
        return scan


def summarise(scan: Scan, classes: int) -> ScanSummary:
    """Return the summary of a scan."""
    mask, labels, rim = scan.mask, [], []
    if mask is not None:
        labels, inner = _counts(mask, classes), _counts(mask[:, 1:-1, 1:-1], classes)
        rim = [whole - part for whole, part in zip(labels, inner, strict=True)]
    marks = {}
    for name, allowed in _at_hand(scan.drawn).items():
        named = [allowed == 1 << k for k in range(classes)]
        wrong = [0 if mask is None else _count(one & (mask != k)) for k, one in enumerate(named)]
        marks[name] = [list(map(_count, named)), wrong]
    return ScanSummary(
        everything=digest(scan),
        pixels=_array_digest(scan.image),
        drawn=list(scan.drawn),
        thumbnail=thumbnail(scan.image),
        size=scan.image[:, 0].size,
        span=_span(scan.image),
        labels=labels,
        rim=rim,
        marks=marks,
    )


def _counts(labels: np.ndarray, classes: int) -> list[int]:
    return [_count(labels == k) for k in range(classes)]


def _count(chosen: np.ndarray) -> int:
    return int(np.count_nonzero(chosen))


SAMPLED = 128  # px: of each slice as many rows and columns at most have their intensities sorted


def _span(image: np.ndarray) -> float:
    """Return the difference of the percentiles 0.1 and 99.9 of an image's evenly spaced pixels."""
    down, across = (-(-n // SAMPLED) for n in image.shape[2:])
    low, high = np.percentile(image[:, :, ::down, ::across], (0.1, 99.9))
    return float(high - low)


THUMBNAIL = 16  # px
ALIKE = 0.995  # correlation of thumbnails; Kvasir-SEG's known pairs have 0.9999 and more, the next pair 0.975


def thumbnail(image: np.ndarray) -> np.ndarray:
    """The middle slice of an image (slices, channels, h, w), averaged to a small square of zero mean and unit norm."""
    plane = image[len(image) // 2].mean(0, dtype=np.float64)
    starts = [np.linspace(0, n, THUMBNAIL, endpoint=False).astype(int) for n in plane.shape]
    if min(plane.shape) < THUMBNAIL:
        return np.zeros(THUMBNAIL**2)  # too small to compare
    sums = np.add.reduceat(np.add.reduceat(plane, starts[0], 0), starts[1], 1)
    height, width = (np.diff([*s, n]) for s, n in zip(starts, plane.shape, strict=True))
    small = (sums / np.outer(height, width)).ravel()
    small -= small.mean()
    return small / max(np.linalg.norm(small), 1e-12)


def near_duplicates(thumbnails: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
    """Pairs of scans that look alike, by the correlation of their thumbnails."""
    names = list(thumbnails)
    if not names:
        return []
    table = np.stack([thumbnails[name] for name in names])
    rows, columns = np.nonzero(np.triu(table @ table.T > ALIKE, 1))
    return [(names[i], names[j]) for i, j in zip(rows, columns, strict=True)]


def digest(scan: Scan) -> str:
    """SHA-256 of all contents of a scan that can change a score: pixels, mask, spacing and drawn annotations."""
    origins = scan.drawn.origins if isinstance(scan.drawn, OnDemand) else {}
    parts = {"image": _array_digest(scan.image), "mask": None if scan.mask is None else _array_digest(scan.mask)}
    parts |= {f"drawn {name}": origins.get(name) or _array_digest(scan.drawn[name]) for name in sorted(scan.drawn)}
    return hashlib.sha256(repr((scan.name, scan.patient, scan.spacing, parts)).encode()).hexdigest()


def _array_digest(array: np.ndarray) -> str:
    total = hashlib.sha256(repr((array.shape, array.dtype.str)).encode())
    total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
