"""Survey a data set: statistics of its scans, errors and warnings, and a contact sheet."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark import InputError
from benchmark.datasets.annotations import parse, parse_sites, resolve, to_labels
from benchmark.datasets.base import Dataset, Inventory, Scan, check_split, near_duplicates
from benchmark.datasets.forms import FORMS
from benchmark.datasets.plausibility import implausible
from benchmark.datasets.simulate import Annotator
from benchmark.images import TILE, as_picture, overlay, tile
from benchmark.plan import plugins
from benchmark.terminal import grid, show_splits

SIMULATED = tuple(parse(f"{name}:sim") for name, form in FORMS.items() if form.marks)
SAMPLE = 12  # scans for statistics of simulated annotations, and in a contact sheet


def check(name: str, data: Path, pictures: Path | None = None) -> int:
    """Read every scan; print statistics, warnings and errors; return 0 without errors, else 1.

    `pictures`: folder for a contact sheet.
    """
    dataset = plugins.open_data_set(name, data)
    survey, errors, scans = Inventory(dataset, {}), [], DatasetStatistics(dataset)
    owner = {scan: patient for patient, names in dataset.patients().items() for scan in names}
    for scan in owner:
        try:
            scans.add(survey.read(scan))
        except InputError as error:
            errors.append(str(error))
    splits, warnings = {}, [*duplicates(survey, owner), *implausible(dataset, survey.seen)]
    for split in dataset.splits():
        try:
            splits[split] = check_split(dataset, split)
            if not errors:
                warnings += survey.look(split).warnings
        except InputError as error:
            errors.append(str(error))
    errors = list(dict.fromkeys(errors))  # of folds, too few patients say the same
    console = Console()
    console.print(
        Text(f"{dataset.name}: {dataset.modality}, {dataset.channels} channels; {dataset.licence}"), soft_wrap=True
    )
    for line in dataset.reading():
        console.print(Text(line), soft_wrap=True)
    scans.show(len(dataset.patients()))
    show_splits(dataset, splits)
    for kind, texts in (("warning", warnings), ("error", errors)):
        for text in texts:
            console.print(Text(f"{kind}: {text}"), soft_wrap=True)
    console.print(Text(f"{len(errors)} errors, {len(warnings)} warnings"))
    if pictures and scans.sample:
        pictures.mkdir(parents=True, exist_ok=True)
        path = pictures / f"{dataset.name}.png"
        sheet(dataset, scans.sample).save(path)
        console.print(Text(f"pictures: {path}"), soft_wrap=True)
    return int(bool(errors))


def duplicates(survey: Inventory, owner: Mapping[str, str]) -> list[str]:
    """Return a warning for each pair of scans of different patients that are equal or nearly equal."""
    pairs = near_duplicates({name: seen.thumbnail for name, seen in survey.seen.items()})
    return [
        f"{one} and {other} "
        + ("hold identical pixels" if survey.seen[one].pixels == survey.seen[other].pixels else "are nearly equal")
        for one, other in pairs
        if owner[one] != owner[other]
    ]


class DatasetStatistics:
    """Counts of slices, sizes, spacings and labels in the scans of a data set."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.sample: list[Scan] = []  # the first scans with a mask
        self.slices: Counter[int] = Counter()
        self.sizes: Counter[str] = Counter()
        self.spacings: Counter[str] = Counter()
        self.truth = LabelStatistics(dataset)
        self.drawn: dict[str, LabelStatistics] = {}

    def add(self, scan: Scan) -> None:
        """Count a scan."""
        self.slices[len(scan.image)] += 1
        self.sizes["x".join(map(str, scan.image.shape[2:]))] += len(scan.image)
        self.spacings["unknown" if scan.spacing is None else " x ".join(f"{mm:.2f}" for mm in scan.spacing)] += 1
        if scan.mask is not None:
            self.truth.add(scan.mask, scan.mask)
            if len(self.sample) < SAMPLE:
                self.sample.append(scan)
        for name, allowed in scan.drawn.items():
            labels = to_labels(allowed, len(self.dataset.classes))
            self.drawn.setdefault(name, LabelStatistics(self.dataset)).add(labels, scan.mask)

    def simulated(self) -> dict[str, "LabelStatistics"]:
        """Return the statistics of simulated annotations of the sample."""
        found = {}
        for annotation in SIMULATED:
            annotator = Annotator(self.dataset, (), annotation, 0)
            statistics = found[f"{annotation} (on {len(self.sample)} scans)"] = LabelStatistics(self.dataset)
            for scan in self.sample:
                statistics.add(to_labels(annotator(scan), len(self.dataset.classes)), scan.mask)
        return found

    def show(self, patients: int) -> None:
        """Print counts, sizes, and the true and the labelled share of each class."""
        console, scans = Console(), self.slices.total()
        slices = f"{min(self.slices)} to {max(self.slices)} slices each" if self.slices else "nothing"
        kind = "patients" if self.dataset.patients_known else "groups (patients unknown)"
        console.print(Text(f"{scans} scans of {patients} {kind}, {slices}"))
        for what, counts in (("slices by size", self.sizes), ("scans by spacing, mm", self.spacings)):
            listed = ", ".join(f"{name}: {count}" for name, count in counts.most_common(8))
            more = f", and {len(counts) - 8} more" if len(counts) > 8 else ""
            console.print(Text(f"{what}: {listed}{more}"), soft_wrap=True)
        shown = grid("annotation", "", *self.dataset.classes)
        pixels, truth = max(1, int(self.truth.labelled.sum())), self.truth
        if truth.labelled.any():
            shown.add_row("mask", "share of pixels", *(f"{n / pixels:.2%}" for n in truth.labelled))
            shown.add_row("", "slices with it", *(f"{n}" for n in truth.slices))
        drawn = {name if ":" in name else f"{name}:drawn": found for name, found in self.drawn.items()}
        for name, statistics in (drawn | self.simulated()).items():
            statistics.rows(shown, name)
        console.print(shown)


class LabelStatistics:
    """Labelled pixels of each class, and the correct ones among them."""

    def __init__(self, dataset: Dataset) -> None:
        self.classes = len(dataset.classes)
        self.labelled, self.correct, self.true, self.slices = (np.zeros(self.classes, np.int64) for _ in range(4))

    def add(self, labels: np.ndarray, mask: np.ndarray | None) -> None:
        """Count label maps (slices, height, width); 255 is unlabelled."""
        for k in range(self.classes):
            labelled = labels == k
            self.labelled[k] += labelled.sum()
            self.slices[k] += labelled.any((1, 2)).sum()
            if mask is not None:
                self.correct[k] += (labelled & (mask == k)).sum()
                self.true[k] += (mask == k).sum()

    def rows(self, shown: Table, name: str) -> None:
        """Add rows to a table."""
        if self.true.any():
            shown.add_row(name, "of the class, labelled", *map(_share, self.correct, self.true))
            shown.add_row("", "of the labels, correct", *map(_share, self.correct, self.labelled))
        else:
            shown.add_row(name, "labelled pixels", *(f"{n}" for n in self.labelled))
        shown.add_row("", "slices with labels", *(f"{n}" for n in self.slices))


def _share(part: Any, whole: Any) -> str:
    return f"{part / whole:.2%}" if whole else "none"


def sheet(dataset: Dataset, scans: Iterable[Scan], annotations: Iterable[str] = (), seed: int = 0) -> Image.Image:
    """Return a contact sheet: a row per scan with its middle slice, with the mask, and with each annotation."""
    rows = []
    chosen = [parse_sites(text) for text in annotations]
    for scan in scans:
        middle = len(scan.image) // 2
        grey = as_picture(scan.image[middle])
        tiles = [grey] + ([] if scan.mask is None else [overlay(grey, scan.mask[middle], 0.45)])
        wanted = chosen or [resolve(name if ":" in name else f"{name}:drawn", scan.drawn, "") for name in sorted(scan.drawn)]
        if scan.mask is not None and not chosen:
            wanted += SIMULATED
        for annotation in wanted:
            allowed = Annotator(dataset, (), annotation, seed)(scan)[middle]
            tiles.append(overlay(grey, to_labels(allowed[None], len(dataset.classes))[0], 1.0))
        rows.append([tile(each) for each in tiles])
    width = max(map(len, rows))
    black = np.zeros((TILE, TILE, 3), np.uint8)
    return Image.fromarray(np.concatenate([np.concatenate(row + [black] * (width - len(row)), 1) for row in rows]))


def sample_sheet(dataset: Dataset, annotation: str, seed: int) -> Image.Image:
    """Return a contact sheet of the first scans, with one annotation."""
    names = [scan for scans in dataset.patients().values() for scan in scans][:SAMPLE]
    return sheet(dataset, map(dataset.load, names), [str(resolve(annotation, (), "a simulation"))], seed)
