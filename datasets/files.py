"""Lists of files, and a reader of HDF5 files; an InputError names a file that can't be read.

Files may come from anyone: nothing in them is executed, other files that they name are not opened, and their declared size
is checked before memory is allocated.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np

from benchmark import InputError
from benchmark.datasets.base import check_name
from benchmark.inputs import check_size, named_errors

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
Spacing = tuple[float, float, float]


def by_stem(folder: Path, endings: Sequence[str] = PICTURES) -> dict[str, Path]:
    """List the files of a folder by name without ending, sorted; raises InputError if two have the same name."""
    found: dict[str, Path] = {}
    for path in entries(folder):
        ending = next((e for e in endings if path.name.lower().endswith(e)), None)
        if ending is None or path.name.startswith("."):
            continue
        stem = path.name[: -len(ending)]
        check_name(stem, f"a file in {folder}")
        if stem in found:
            raise InputError(f"{folder} holds {found[stem].name} and {path.name}; two files may not have the same name")
        found[stem] = path
    return found


def entries(folder: Path) -> list[Path]:
    """List a folder, sorted; empty if there is none. Raises InputError if it can't be read."""
    with named_errors(folder):
        return sorted(folder.iterdir()) if folder.is_dir() else []


def pairs(images: Path, masks: Path, endings: Sequence[str] = PICTURES) -> dict[str, tuple[Path, Path]]:
    """Pair images and masks of the same name; raises InputError if one has no partner, or if there are none."""
    pictures, labels = by_stem(images, endings), by_stem(masks, endings)
    if not pictures:
        others = sorted({path.suffix for path in images.glob("*.*")})
        raise InputError(f"{images} holds no images ({', '.join(endings)}){', but ' * bool(others)}{', '.join(others)}")
    for stem in sorted(pictures.keys() ^ labels.keys()):
        there, missing = (images, masks) if stem in pictures else (masks, images)
        for other in labels if stem in pictures else pictures:
            if unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", stem):
                raise InputError(f"{there / stem} and its partner look alike, but are {stem!a} and {other!a}; rename one")
        raise InputError(f"{there / stem} has no partner in {missing}; an image and its mask have the same name")
    return {stem: (pictures[stem], labels[stem]) for stem in pictures}


def unread(read: Iterable[Path]) -> list[str]:
    """Say what else is in the folders of the files that are read; hidden files are left out."""
    folders: dict[Path, set[Path]] = {}
    for path in read:
        folders.setdefault(path.parent, set()).add(path)
    lines = []
    for folder, known in folders.items():
        if others := sorted(path.name for path in folder.glob("[!.]*") if path not in known):
            more = ", ..." if len(others) > 3 else ""
            lines.append(f"not read in {folder.name}/: {', '.join(others[:3])}{more} ({len(others)})")
    return lines


def read_hdf5(path: Path, needed: Iterable[str], wanted: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Read arrays of an HDF5 file: all in `needed`, and those in `wanted` that it has."""
    with named_errors(path), h5py.File(path) as file:
        there = list(file)
        if missing := sorted(set(needed) - set(there)):
            raise InputError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(there) or 'nothing'}")
        return {key: _array(file, key, path) for key in (*needed, *wanted) if key in there}


def as_float(array: np.ndarray) -> np.ndarray:
    """Convert an array to float32; a value out of range becomes infinite, which `check_scan` reports."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def scaled(volume: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Scale intensities between two percentiles of the volume to [0, 1], as float32; values outside are clipped."""
    values = as_float(volume)
    if not np.isfinite(values).all():
        return values  # `check_scan` reports it
    bottom, top = np.percentile(volume, [low, high])
    if bottom == top:  # few voxels differ from the background
        bottom, top = values.min(), values.max()
    return ((values - bottom) / ((top - bottom) or 1)).clip(0, 1).astype(np.float32)


def _array(file: h5py.File, key: str, path: Path) -> np.ndarray:
    """Read one array of an HDF5 file; it may not be stored in another file."""
    link = file.get(key, getlink=True)
    held = file[key] if isinstance(link, h5py.HardLink) else None
    if not isinstance(held, h5py.Dataset) or held.external or held.is_virtual:
        raise InputError(f"{path}, {key} is not an array of this file; links and arrays in other files are not followed")
    check_size(path, held.shape, held.dtype)
    return np.asarray(held[()])
