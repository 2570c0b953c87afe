"""What `python -m benchmark data` does: look through data sets, draw marks on them, and hand them to other programs."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import ndimage

from benchmark import InputError, __version__, plugins
from benchmark.datasets.base import Dataset, Scan, Survey, check_split, near_duplicates, refuse_name
from benchmark.datasets.weak import VERSION, Annotator, check_makeable, parse, resolve, to_labels
from benchmark.screen import grid, show_splits

UNLABELLED = 255
COLOURS = np.array(  # of classes in pictures (Okabe and Ito)
    [[240, 228, 66], [213, 94, 0], [0, 158, 115], [86, 180, 233], [204, 121, 167], [230, 159, 0], [0, 114, 178]],
    np.uint8,
)
SIMULATED = ("scribble:sim", "point", "block")
SAMPLE = 12  # scans that shares of simulated marks are measured on, and that a contact sheet shows
TILE = 160  # px


def check(name: str, data: Path, pictures: Path | None = None) -> int:
    """Read every scan, print what is there and all that is wrong; 0 if nothing is, else 1.

    With `pictures`, a folder, a contact sheet goes there.
    """
    dataset = plugins.open_data_set(name, data)
    survey, errors, scans = Survey(dataset, {}), [], Scans(dataset)
    owner = {scan: patient for patient, names in dataset.patients().items() for scan in names}
    for scan in owner:
        try:
            scans.add(survey.read(scan))
        except InputError as error:
            errors.append(str(error))
    splits, warnings = {}, twins(survey, owner)
    for split in dataset.splits():
        try:
            splits[split] = check_split(dataset, split)
            if not errors:
                warnings += survey.look(split).warnings
        except InputError as error:
            errors.append(str(error))
    console = Console()
    console.print(
        Text(f"{dataset.name}: {dataset.modality}, {dataset.channels} channels; {dataset.licence}"), soft_wrap=True
    )
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


def twins(survey: Survey, owner: Mapping[str, str]) -> list[str]:
    """Pairs of scans of different patients that are equal or nearly so."""
    pairs = near_duplicates({name: seen.thumbnail for name, seen in survey.seen.items()})
    return [
        f"{ours} and {theirs} "
        + ("hold identical pixels" if survey.seen[ours].pixels == survey.seen[theirs].pixels else "are nearly equal")
        for ours, theirs in pairs
        if owner[ours] != owner[theirs]
    ]


class Scans:
    """What was met in the scans of a data set."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.sample: list[Scan] = []  # the first scans with a mask
        self.slices: Counter[int] = Counter()
        self.sizes: Counter[str] = Counter()
        self.spacings: Counter[str] = Counter()
        self.truth = Marks(dataset)
        self.drawn: dict[str, Marks] = {}

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
            self.drawn.setdefault(name, Marks(self.dataset)).add(labels, scan.mask)

    def simulated(self) -> dict[str, "Marks"]:
        """Marks that would be drawn on the sample."""
        found = {}
        for form in SIMULATED:
            annotator = Annotator(self.dataset, (), parse(form), 0)
            marks = found[f"{form} (on {len(self.sample)} scans)"] = Marks(self.dataset)
            for scan in self.sample:
                marks.add(to_labels(annotator(scan), len(self.dataset.classes)), scan.mask)
        return found

    def show(self, patients: int) -> None:
        """Print counts, sizes, and how much of each class is there and is marked."""
        console, scans = Console(), self.slices.total()
        slices = f"{min(self.slices)} to {max(self.slices)} slices each" if self.slices else "nothing"
        kind = "patients" if self.dataset.patients_known else "groups (patients unknown)"
        console.print(Text(f"{scans} scans of {patients} {kind}, {slices}"))
        for what, counts in (("slices by size", self.sizes), ("scans by spacing, mm", self.spacings)):
            listed = ", ".join(f"{name}: {count}" for name, count in counts.most_common(8))
            more = f", and {len(counts) - 8} more" if len(counts) > 8 else ""
            console.print(Text(f"{what}: {listed}{more}"), soft_wrap=True)
        shown = grid("marks", "", *self.dataset.classes)
        pixels, truth = max(1, int(self.truth.named.sum())), self.truth
        if truth.named.any():
            shown.add_row("mask", "share of pixels", *(f"{n / pixels:.2%}" for n in truth.named))
            shown.add_row("", "slices that hold it", *(f"{n}" for n in truth.slices))
        for name, marks in ({n if ":" in n else f"{n}:drawn": m for n, m in self.drawn.items()} | self.simulated()).items():
            marks.rows(shown, name)
        console.print(shown)


class Marks:
    """How much of each class is marked, and how much of that is true."""

    def __init__(self, dataset: Dataset) -> None:
        self.classes = len(dataset.classes)
        self.named, self.right, self.there, self.slices = (np.zeros(self.classes, np.int64) for _ in range(4))

    def add(self, labels: np.ndarray, mask: np.ndarray | None) -> None:
        """Count label maps (slices, height, width) with 255 where nothing is marked."""
        for k in range(self.classes):
            mark = labels == k
            self.named[k] += mark.sum()
            self.slices[k] += mark.any((1, 2)).sum()
            if mask is not None:
                self.right[k] += (mark & (mask == k)).sum()
                self.there[k] += (mask == k).sum()

    def rows(self, shown: Table, name: str) -> None:
        """Add what there is to say to a table."""
        if self.there.any():
            shown.add_row(name, "of the class, marked", *map(_share, self.right, self.there))
            shown.add_row("", "of the marks, true", *map(_share, self.right, self.named))
        else:
            shown.add_row(name, "marked pixels", *(f"{n}" for n in self.named))
        shown.add_row("", "slices that hold marks", *(f"{n}" for n in self.slices))


def _share(part: Any, whole: Any) -> str:
    return f"{part / whole:.2%}" if whole else "none"


# ------------------------------------------------------------------------------------------------------- pictures


def sheet(dataset: Dataset, scans: Iterable[Scan], annotations: Iterable[str] = ()) -> Image.Image:
    """A contact sheet: a row per scan with its middle slice, the mask over it, and marks of each kind."""
    rows = []
    chosen = [parse(text) for text in annotations]
    for scan in scans:
        middle = len(scan.image) // 2
        grey = _picture(scan.image[middle])
        tiles = [grey] + ([] if scan.mask is None else [_over(grey, scan.mask[middle], 0.45)])
        wanted = chosen or [resolve(name if ":" in name else f"{name}:drawn", scan.drawn, "") for name in sorted(scan.drawn)]
        if scan.mask is not None and not chosen:
            wanted += [parse(form) for form in SIMULATED]
        for annotation in wanted:
            allowed = Annotator(dataset, (), annotation, 0)(scan)[middle]
            tiles.append(_over(grey, to_labels(allowed[None], len(dataset.classes))[0], 1.0))
        rows.append([_tile(tile) for tile in tiles])
    width = max(map(len, rows))
    black = np.zeros((TILE, TILE, 3), np.uint8)
    return Image.fromarray(np.concatenate([np.concatenate(row + [black] * (width - len(row)), 1) for row in rows]))


def _picture(image: np.ndarray) -> np.ndarray:
    """A slice (channels, h, w) in [0, 1] as (h, w, 3) bytes; of other than three channels, the first."""
    planes = image if len(image) == 3 else image[:1].repeat(3, 0)
    return np.rint(planes.transpose(1, 2, 0) * 255).astype(np.uint8)


def _over(picture: np.ndarray, labels: np.ndarray, opacity: float) -> np.ndarray:
    """Labels in colour over a picture; 255 lets it through, and so does background in a full mask."""
    shown = (labels != UNLABELLED) & ((labels > 0) | (opacity == 1))
    if opacity == 1:  # marks are thin: a pixel more makes them visible
        labels, shown = ndimage.grey_erosion(labels, 3), ndimage.binary_dilation(shown, iterations=1)
        shown &= labels != UNLABELLED
    colours = COLOURS[labels % len(COLOURS)]
    return np.where(shown[..., None], (1 - opacity) * picture + opacity * colours, picture).astype(np.uint8)


def _tile(picture: np.ndarray) -> np.ndarray:
    side = max(picture.shape[:2])
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - picture.shape[0]) // 2, (side - picture.shape[1]) // 2
    square[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return np.asarray(Image.fromarray(square).resize((TILE, TILE), Image.Resampling.BILINEAR))


# ---------------------------------------------------------------------------------------------- for other programs


def simulate(name: str, data: Path, text: str, out: Path, *, seed: int = 0, pictures: bool = False) -> int:
    """Write label maps of simulated marks for every scan, with a manifest; returns how many.

    PNG for single images, NIfTI for stacks; 255 is unlabelled. Raises InputError where a scan has no mask to draw on.
    """
    annotation = resolve(text, (), "a simulation")
    dataset = plugins.open_data_set(name, data)
    scans = [scan for names in dataset.patients().values() for scan in names]
    for scan in scans:
        refuse_name(scan, f"a scan of {dataset.name}")  # files are called so
    _empty_folder(out)
    flat = _is_flat(dataset, scans)
    annotator, files = Annotator(dataset, scans, annotation, seed), {}
    sample: list[Scan] = []
    for scan in map(dataset.load, scans):
        path = write_labels(out / scan.name, to_labels(annotator(scan), len(dataset.classes)), scan, flat=flat)
        files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        if pictures and len(sample) < SAMPLE:
            sample.append(scan)
    manifest = {
        "dataset": dataset.name,
        "annotation": str(annotation),
        "seed": seed,
        "simulator": VERSION,
        "weakseg-bench": __version__,
        "classes": list(dataset.classes),
        "unlabelled": UNLABELLED,
        "sha256": files,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    if pictures:
        sheet(dataset, sample, [str(annotation)]).save(out / "pictures.png")
    return len(files)


def export(name: str, data: Path, text: str, split: str, out: Path, *, seed: int = 0) -> Path:
    """Write a split in nnU-Net v2's raw layout: images with weak labels, and images to predict; returns the folder.

    The same marks as in a run with this seed. Pixels that more than one class is possible for get the `ignore` label.
    """
    dataset = plugins.open_data_set(name, data)
    survey = Survey(dataset, {})
    split = split or dataset.splits()[0]
    look, parts = survey.look(split), dataset.split(split)
    annotation = resolve(text, look.drawn, dataset.name)
    check_makeable(annotation, look, f"split {split} of {dataset.name}")
    annotator = Annotator(dataset, parts.train, annotation, seed)
    classes, flat = len(dataset.classes), _is_flat(dataset, (*parts.train, *parts.test))
    _empty_folder(out)
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (out / folder).mkdir()
    for scan in map(dataset.load, parts.train):
        write_images(out / "imagesTr" / scan.name, scan, flat=flat)
        write_labels(out / "labelsTr" / scan.name, to_labels(annotator(scan), classes, classes), scan, flat=flat)
    for scan in map(dataset.load, parts.test):
        write_images(out / "imagesTs" / scan.name, scan, flat=flat)
    rgb = flat and dataset.channels == 3
    facts = {
        "name": dataset.name,
        "description": f"{dataset.name}, split {split}, {annotation}, seed {seed}, by weakseg-bench {__version__}",
        "channel_names": {str(c): "RGB"[c] if rgb else f"channel {c}" for c in range(dataset.channels)},
        "labels": {label: k for k, label in enumerate(dataset.classes)} | {"ignore": classes},
        "numTraining": len(parts.train),
        "file_ending": ".png" if flat else ".nii.gz",
    }
    (out / "dataset.json").write_text(json.dumps(facts, indent=1) + "\n")
    return out


def _empty_folder(path: Path) -> None:
    """Make a folder; what lies there from before would mix with what is written, such as another split's test images."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is there and not empty; name a new folder")
    path.mkdir(parents=True, exist_ok=True)


def _is_flat(dataset: Dataset, scans: Iterable[str]) -> bool:
    """Whether all scans are single images, which become pictures; with a stack among them all become NIfTI."""
    return all(len(dataset.load(name).image) == 1 for name in scans)


def write_images(stem: Path, scan: Scan, *, flat: bool) -> None:
    """One scan's image in nnU-Net's way: a picture of 8 bits if `flat`, else NIfTI, a file per channel."""
    if flat:
        planes = np.rint(scan.image[0] * 255).astype(np.uint8)
        if len(planes) == 3:
            Image.fromarray(planes.transpose(1, 2, 0)).save(f"{stem}_0000.png")
        else:
            for c, plane in enumerate(planes):
                Image.fromarray(plane).save(f"{stem}_{c:04d}.png")
        return
    for c in range(scan.image.shape[1]):
        _save_nifti(Path(f"{stem}_{c:04d}.nii.gz"), scan.image[:, c], scan)


def write_labels(stem: Path, labels: np.ndarray, scan: Scan, *, flat: bool) -> Path:
    """One scan's label maps, as a picture or NIfTI; returns the path."""
    path = Path(f"{stem}.png" if flat else f"{stem}.nii.gz")
    if flat:
        Image.fromarray(labels[0]).save(path)
    else:
        _save_nifti(path, labels, scan)
    return path


def _save_nifti(path: Path, stack: np.ndarray, scan: Scan) -> None:
    """A stack (slices, rows, columns) with its spacing; 1 mm where that is unknown."""
    slices, rows, columns = scan.spacing or (1.0, 1.0, 1.0)
    volume = nib.Nifti1Image(stack.transpose(2, 1, 0), np.diag([columns, rows, slices, 1.0]))
    volume.header.set_xyzt_units("mm")
    nib.save(volume, path)
