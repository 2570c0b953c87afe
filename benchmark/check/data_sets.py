"""Checks of data sets. A check raises Broken, or lets the data set's exception pass, if the contract is broken."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark.check.contract import Broken
from benchmark.datasets.annotations import check_drawn, parse
from benchmark.datasets.base import Dataset, Inventory, check_scan, check_split, digest
from benchmark.datasets.simulate import Annotator
from benchmark.plan import plugins
from benchmark.seal.contract import WeakData, WeakScan

TEXTS = ("name", "modality", "licence", "source", "citation")
REPEATED = 4  # scans that are loaded more than once


@dataclass(frozen=True)
class Candidate:
    """A data set to check: the text that named it, and the folder of the data sets."""

    text: str
    data: Path

    def open(self) -> Dataset:
        """Return a new instance."""
        return plugins.open_data_set(self.text, self.data)


def describes_itself(candidate: Candidate) -> None:
    """Its facts are stated: texts, classes with the background first, regions made of them, channels, tolerance."""
    dataset = candidate.open()
    missing = [name for name in TEXTS if not isinstance(getattr(dataset, name, None), str) or not getattr(dataset, name)]
    missing += [name for name in ("patients_known", "redistribute") if not isinstance(getattr(dataset, name, None), bool)]
    if missing:
        raise Broken(f"it has no {', '.join(missing)}; a data set must state each")
    classes, regions = dataset.classes, dataset.regions
    if not isinstance(classes, tuple) or len(set(classes)) < max(2, len(classes)):
        raise Broken(f"classes are {classes!r}; they must be a tuple of different names, the background first")
    if not isinstance(regions, Mapping) or not regions:
        raise Broken(f"regions are {regions!r}; they must map at least one name to its classes")
    for region, labels in regions.items():
        if not labels or not set(labels) <= set(range(len(classes))):
            raise Broken(f"region {region} is {tuple(labels)}; it must be of classes 0 to {len(classes) - 1}")
    if not dataset.channels > 0 or not dataset.tolerance > 0:
        raise Broken(f"channels are {dataset.channels} and the tolerance is {dataset.tolerance}; both must be above 0")


def lists_every_scan_once(candidate: Candidate) -> None:
    """`patients` returns lists of scan names; each scan is in one of them."""
    patients = candidate.open().patients()
    scans = [scan for names in patients.values() for scan in names]
    if not scans:
        raise Broken("patients() lists no scan; it must list at least one")
    if twice := sorted({scan for scan in scans if scans.count(scan) > 1}):
        raise Broken(f"patients() lists {twice[0]} more than once; it must list each scan once")


def splits_by_patient(candidate: Candidate) -> None:
    """There is a split, and each has training and test scans, of different patients."""
    dataset = candidate.open()
    splits = dataset.splits()
    if not splits or len(set(splits)) < len(splits):
        raise Broken(f"splits() returns {splits}; it must return different names, the default first")
    for split in splits:
        check_split(dataset, split)


def loads_what_it_promises(candidate: Candidate) -> None:
    """Every scan: float32 in [0, 1], uint8 labels of known classes, one size, positive spacing, declared annotations."""
    dataset = candidate.open()
    for form in dataset.drawn:
        check_drawn(form, f"{dataset.name}, drawn")
    for patient, names in dataset.patients().items():
        for name in names:
            scan = dataset.load(name)
            if (scan.name, scan.patient) != (name, patient):
                raise Broken(f"load({name!r}) returns {scan.name!r} of {scan.patient!r}; it must be of {patient!r}")
            check_scan(scan, dataset)
            if undeclared := set(scan.drawn) - set(dataset.drawn):
                raise Broken(f"scan {name} has drawn {', '.join(sorted(undeclared))}, missing in `drawn`: {dataset.drawn}")


def can_be_tested(candidate: Candidate) -> None:
    """In every split, held-out and test scans have masks, and no two parts have identical pixels."""
    survey = Inventory(candidate.open(), {})
    for split in survey.dataset.splits():
        survey.look(split)


def repeats_itself(candidate: Candidate) -> None:
    """A new instance lists the same scans and splits; a scan is the same each time, in any order of loading."""
    one, other = candidate.open(), candidate.open()
    if one.patients() != other.patients():
        raise Broken("patients() differs from one instance to the next; it must be the same")
    if [one.split(name) for name in one.splits()] != [other.split(name) for name in other.splits()]:
        raise Broken("splits differ from one instance to the next; they must be the same")
    names = [scan for scans in one.patients().values() for scan in scans][:REPEATED]
    first = {name: digest(one.load(name)) for name in names}
    for name in [*reversed(names), *reversed(names)]:
        if digest(other.load(name)) != first[name]:
            raise Broken(f"load({name!r}) depends on time or order; it must always return the same scan")


def reaches_a_learner(candidate: Candidate) -> None:
    """Training scans can be annotated by simulation; the truth is always allowed, and the shapes match."""
    dataset = candidate.open()
    train = dataset.split(dataset.splits()[0]).train[:REPEATED]
    annotator = Annotator(dataset, train, parse("scribble:sim"), 0)
    for scan in map(dataset.load, train):
        if scan.mask is None:
            continue
        allowed = annotator(scan)
        WeakData([WeakScan(scan.image, allowed, scan.spacing)], len(dataset.classes), dataset.channels)
        if not (allowed >> scan.mask & 1).all():
            raise Broken(f"scan {scan.name}: simulated annotations exclude the truth")


DATA_SET_CHECKS: tuple[Callable[[Candidate], None], ...] = (
    describes_itself,
    lists_every_scan_once,
    splits_by_patient,
    loads_what_it_promises,
    can_be_tested,
    repeats_itself,
    reaches_a_learner,
)
