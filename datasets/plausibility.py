"""Judge whether the files of a data set mean what they are read as: small checks of the summaries of its scans.

Each check yields warnings. Its threshold is far from what the six real data sets of this suite hold, and its message says
what was found, as a data set may be right and unusual. docs/reference/data-check.md lists the checks.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np

from benchmark.datasets.base import Dataset, ScanSummary
from benchmark.datasets.forms import FORMS

Scans = Mapping[str, ScanSummary]

LEAST_SPAN = 0.1  # of [0, 1]: 26 of 256 grey values; the flattest image of the six real sets spans 0.53
MOST_EMPTY = 0.5  # of the masks: in sets with few objects, some masks are empty; in the six real sets none is
OUTSIDE = 0.9  # of a mask's rim: objects are framed whole; in the six real sets none is on more than 0.34 of a rim
MOST_EXCHANGED = 0.1  # of the masks: some close-ups show more of the object than of its surroundings
LEAST_OPEN = 0.01  # of a scan: marks are drawn to save work; those of the real sets leave 0.8 or more open
MOST_WRONG = 0.05  # of the marks of a class: of people's scribbles on ACDC 0.0004 at most
LEAST_MARKS = 100  # px of a class, from which on the share of wrong ones says something
SHOWN = 3  # names in a message


def implausible(dataset: Dataset, scans: Scans) -> list[str]:
    """Return what is probably wrong with these scans of a data set, a sentence each."""
    in_order = dict(sorted(scans.items()))
    return [f"{dataset.name}: {text}" for check in CHECKS for text in check(dataset, in_order)]


def flat_intensities(_: Dataset, scans: Scans) -> Iterator[str]:
    """The intensities of an image span a tenth of their range or more."""
    if flat := [name for name, scan in scans.items() if scan.span < LEAST_SPAN]:
        widest = max(scans[name].span for name in flat)
        yield (
            f"intensities of {_some(flat, scans)} span at most {widest:.2g} of the range from 0 to 1, so a network sees "
            "one grey; do the files use fewer bits than they have?"
        )


def constant_masks(_: Dataset, scans: Scans) -> Iterator[str]:
    """No mask is one object everywhere, and at most half of the masks are background everywhere."""
    masked = _masked(scans)
    if full := [name for name, scan in masked.items() if scan.size in scan.labels[1:]]:
        yield f"the mask is one object everywhere in {_some(full, masked)}; a mask needs background around its objects"
    empty = [name for name, scan in masked.items() if scan.labels[0] == scan.size]
    if len(empty) > MOST_EMPTY * len(masked):
        yield f"the mask is background everywhere in {_some(empty, masked)}; are objects marked in another channel or file?"


def absent_classes(dataset: Dataset, scans: Scans) -> Iterator[str]:
    """Each class is in a mask."""
    masked = _masked(scans).values()
    present = _sum(scan.labels for scan in masked) if masked else dataset.classes
    if absent := [name for name, there in zip(dataset.classes, present, strict=True) if not there]:
        yield f"no mask holds {', '.join(absent)}; a class that is never present can't be learnt or scored"


def exchanged_classes(dataset: Dataset, scans: Scans) -> Iterator[str]:
    """Background surrounds the objects: no other class has most of the pixels and nearly all of the rim."""
    masked = _masked(scans)
    found = defaultdict(list)
    for name, scan in masked.items():
        k = int(np.argmax(scan.rim))
        if k and scan.rim[k] > OUTSIDE * sum(scan.rim) and scan.size > scan.labels[k] > scan.size / 2:
            found[k].append(name)
    for k, names in found.items():
        if len(names) > MOST_EXCHANGED * len(masked):
            yield (
                f"{dataset.classes[k]} surrounds everything else in the masks of {_some(names, masked)}; "
                f"are {dataset.classes[0]} and {dataset.classes[k]} exchanged?"
            )


def unlikely_marks(dataset: Dataset, scans: Scans) -> Iterator[str]:
    """Drawn marks leave pixels open, name each class that is present, and agree with the mask."""
    for form in dict.fromkeys(name for scan in scans.values() for name in scan.marks):
        drawn = {name: scan for name, scan in scans.items() if form in scan.marks}
        if _labels(form):
            yield from _closed(form, drawn)
            yield from _unnamed(dataset, form, drawn)
        yield from _contradicting(dataset, form, _masked(drawn))


def _closed(form: str, drawn: Scans) -> Iterator[str]:
    closed = [name for name, scan in drawn.items() if scan.size - sum(scan.marks[form][0]) < LEAST_OPEN * scan.size]
    if closed and form != "full":
        yield (
            f"the drawn {form} labels every pixel of {_some(closed, drawn)}; pixels without a mark must have the value for "
            "unlabelled, not 0"
        )


def _unnamed(dataset: Dataset, form: str, drawn: Scans) -> Iterator[str]:
    named = _sum(scan.marks[form][0] for scan in drawn.values())
    masked = _masked(drawn)
    present = _sum(scan.labels for scan in masked.values()) if masked else np.ones_like(named)
    if missing := [name for name, marks, there in zip(dataset.classes, named, present, strict=True) if there and not marks]:
        yield f"the drawn {form} never marks {', '.join(missing)}; a class without marks can't be learnt"


def _contradicting(dataset: Dataset, form: str, masked: Scans) -> Iterator[str]:
    if not masked:
        return
    named, wrong = (_sum(scan.marks[form][part] for scan in masked.values()) for part in (0, 1))
    for name, marks, others in zip(dataset.classes, named, wrong, strict=True):
        if marks >= LEAST_MARKS and others > MOST_WRONG * marks:
            yield f"the mask contradicts {others / marks:.1%} of the pixels that the drawn {form} marks as {name}"


def alike_names(dataset: Dataset, scans: Scans) -> Iterator[str]:
    """Names of scans, patients and classes differ in more than case and Unicode form."""
    patients = {patient for patient, names in dataset.patients().items() if not scans.keys().isdisjoint(names)}
    for what, names in (("scans", scans), ("patients", patients - scans.keys()), ("classes", dataset.classes)):
        alike = defaultdict(list)
        for name in sorted(names):
            alike[unicodedata.normalize("NFKC", name).casefold()].append(name)
        if same := [" and ".join(map(ascii, group)) for group in alike.values() if len(group) > 1]:
            yield f"names of {what} differ only in case or Unicode form: {_listed(same)}; are they the same?"


CHECKS: tuple[Callable[[Dataset, Scans], Iterator[str]], ...] = (
    flat_intensities,
    constant_masks,
    absent_classes,
    exchanged_classes,
    unlikely_marks,
    alike_names,
)


def _masked(scans: Scans) -> dict[str, ScanSummary]:
    return {name: scan for name, scan in scans.items() if scan.masked}


def _labels(form: str) -> bool:
    """Whether a drawn annotation consists of labels, not of sets of classes; one of another name than the forms' does."""
    known = FORMS.get(form.partition(":")[0])
    return known is None or known.gives == "labels"


def _sum(counts: Iterable[list[int]]) -> np.ndarray:
    return np.sum(list(counts), axis=0)


def _some(names: Collection[str], of: Collection[str]) -> str:
    """Say how many of the scans these are, and name the first."""
    return f"{len(names)} of {len(of)} scans ({_listed(names)})"


def _listed(names: Collection[str]) -> str:
    return ", ".join([*list(names)[:SHOWN], *(["..."] if len(names) > SHOWN else [])])
