"""Write annotations and images for other programs: label maps of simulated annotations, and nnU-Net's raw layout."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmark import InputError, __version__
from benchmark.datasets.annotations import check_simulable, check_sites, resolve, to_labels
from benchmark.datasets.base import Dataset, Inventory, Scan, check_name, check_scan
from benchmark.datasets.nifti import write_nifti
from benchmark.datasets.simulate import Annotator
from benchmark.images import UNLABELLED


def simulate(dataset: Dataset, text: str, out: Path, *, seed: int = 0) -> int:
    """Write label maps of simulated annotations of every scan, and a manifest; return the number of label maps.

    PNG for single images, NIfTI for stacks; 255 is unlabelled. Raises InputError if a scan has no mask to draw on.
    """
    annotation = resolve(text, (), "a simulation")
    check_sites(text, dataset)
    scans = [scan for names in dataset.patients().values() for scan in names]
    for name in scans:
        check_name(name, f"a scan of {dataset.name}")  # it becomes a file's name
    flat = _is_flat(dataset, scans)
    _empty_folder(out)
    annotator, files = Annotator(dataset, scans, annotation, seed), {}
    for scan in map(dataset.load, scans):
        path = write_labels(out / scan.name, to_labels(annotator(scan), len(dataset.classes)), scan, flat=flat)
        files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = {
        "dataset": dataset.name,
        "annotation": str(annotation),
        "seed": seed,
        "simulator": annotation.version,
        "weakseg-bench": __version__,
        "classes": list(dataset.classes),
        "unlabelled": UNLABELLED,
        "sha256": files,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return len(files)


def export(dataset: Dataset, text: str, split: str, out: Path, *, seed: int = 0) -> Path:
    """Write a split in nnU-Net v2's raw layout: images with weak labels, and images to predict; return the folder.

    Annotations are those of a run with this seed. Pixels with more than one possible class get the `ignore` label.
    """
    survey = Inventory(dataset, {})
    split = split or dataset.splits()[0]
    resolve(text, dataset.drawn, dataset.name)  # before any scan is read
    check_sites(text, dataset)
    if "ignore" in dataset.classes:
        raise InputError(f"{dataset.name} has a class called ignore, nnU-Net's word for unlabelled pixels; rename the class")
    look, parts = survey.look(split), dataset.split(split)
    annotation = resolve(text, look.drawn, dataset.name)
    check_simulable(annotation, look, f"split {split} of {dataset.name}")
    annotator = Annotator(dataset, parts.train, annotation, seed)
    classes, flat = len(dataset.classes), _is_flat(dataset, (*parts.train, *parts.test))
    _empty_folder(out)
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (out / folder).mkdir()
    for scan in map(dataset.load, parts.train):
        write_images(out / "imagesTr" / scan.name, scan, dataset, flat=flat)
        write_labels(out / "labelsTr" / scan.name, to_labels(annotator(scan), classes, classes), scan, flat=flat)
    for scan in map(dataset.load, parts.test):
        write_images(out / "imagesTs" / scan.name, scan, dataset, flat=flat)
    names = dataset.channel_names or (
        "RGB" if flat and dataset.channels == 3 else [f"channel {c}" for c in range(dataset.channels)]
    )
    facts = {
        "name": dataset.name,
        "description": f"{dataset.name}, split {split}, {annotation}, seed {seed}, by weakseg-bench {__version__}",
        "channel_names": {str(c): name for c, name in enumerate(names)},
        "labels": {label: k for k, label in enumerate(dataset.classes)} | {"ignore": classes},
        "numTraining": len(parts.train),
        "file_ending": ".png" if flat else ".nii.gz",
    }
    (out / "dataset.json").write_text(json.dumps(facts, indent=1) + "\n")
    return out


def _empty_folder(path: Path) -> None:
    """Make a folder; raises InputError if it holds files, such as another split's test images."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists and is not empty; name a new folder")
    path.mkdir(parents=True, exist_ok=True)


def _is_flat(dataset: Dataset, scans: Iterable[str]) -> bool:
    """Check all scans; return whether they are single images without geometry, to be written as pictures, not as NIfTI."""
    flat = True
    for scan in map(dataset.load, scans):
        check_scan(scan, dataset)
        flat = flat and len(scan.image) == 1 and scan.affine is None and scan.spacing is None
    return flat


def write_images(stem: Path, scan: Scan, dataset: Dataset, *, flat: bool) -> None:
    """Write a scan's image with its own intensities, in nnU-Net's layout: as pictures if `flat`, else as NIfTI.

    A picture has 8 or 16 bits, and three channels are one picture in colour. Intensities of another type are written in 8
    bits, between the black and white that methods see.
    """
    channels = dataset.intensities(scan)
    if not flat:
        for c, channel in enumerate(channels):
            write_nifti(Path(f"{stem}_{c:04d}.nii.gz"), channel, scan)
        return
    seen = np.rint(scan.image[0] * 255).astype(np.uint8)
    planes = [own[0] if own.dtype in (np.uint8, np.uint16) else seen[c] for c, own in enumerate(channels)]
    pictures = [np.dstack(planes[::-1])] if len(planes) == 3 else planes  # OpenCV's colours are blue, green, red
    for c, picture in enumerate(pictures):
        Path(f"{stem}_{c:04d}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def write_labels(stem: Path, labels: np.ndarray, scan: Scan, *, flat: bool) -> Path:
    """Write a scan's label maps, as a picture or NIfTI; return the path."""
    path = Path(f"{stem}.png" if flat else f"{stem}.nii.gz")
    if flat:
        Image.fromarray(labels[0]).save(path)
    else:
        write_nifti(path, labels, scan)
    return path
