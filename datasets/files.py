"""Readers of images, masks and HDF5 files; an InputError names a file that can't be read.

Files may come from anyone: nothing in them is executed, other files that they name are not opened, and their declared size
is checked before memory is allocated.
"""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from benchmark import InputError
from benchmark.datasets.base import check_name, label_map
from benchmark.inputs import check_size, named_errors

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # names in Pillow
Spacing = tuple[float, float, float]


def by_stem(folder: Path, endings: Sequence[str] = PICTURES) -> dict[str, Path]:
    """List the files of a folder by name without ending, sorted; raises InputError if two have the same name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        ending = next((e for e in endings if path.name.lower().endswith(e)), None)
        if ending is None or path.name.startswith("."):
            continue
        stem = path.name[: -len(ending)]
        check_name(stem, f"a file in {folder}")
        if stem in found:
            raise InputError(f"{folder} holds {found[stem].name} and {path.name}; two files may not have the same name")
        found[stem] = path
    return found


def pairs(images: Path, masks: Path, endings: Sequence[str] = PICTURES) -> dict[str, tuple[Path, Path]]:
    """Pair images and masks of the same name; raises InputError if one has no partner, or if there are none."""
    pictures, labels = by_stem(images, endings), by_stem(masks, endings)
    if not pictures:
        raise InputError(f"{images} holds no images ({', '.join(endings)})")
    for stem in pictures.keys() ^ labels.keys():
        there, missing = (images, masks) if stem in pictures else (masks, images)
        raise InputError(f"{there / stem} has no partner in {missing}; an image and its mask have the same name")
    return {stem: (pictures[stem], labels[stem]) for stem in pictures}


def read_image(path: Path, channels: int) -> np.ndarray:
    """Read a picture as float32 (channels, height, width) in [0, 1]; it may be grey, RGB, with a palette, or of 16 bits."""
    picture = _opened(path)
    if _holds_numbers(picture):
        array = np.asarray(picture)
        if not (array.min() >= 0 and array.max() <= 65535):
            raise InputError(f"{path} holds intensities from {array.min()} to {array.max()}; 8 or 16 bits can be read")
        planes = array[None].astype(np.float32) / np.float32(65535)
    else:
        grey = picture.mode in ("L", "LA", "1")
        array = np.asarray(_converted(picture, "L" if grey else "RGB", path), np.float32) / 255
        planes = array[None] if grey else array.transpose(2, 0, 1)
    if len(planes) == channels:
        return np.ascontiguousarray(planes)
    if channels == 3 and len(planes) == 1:
        return planes.repeat(3, 0)
    if channels == 1 and np.ptp(planes, axis=0).max() == 0:  # grey, stored as colour
        return planes[:1].copy()
    raise InputError(f"{path} has {len(planes)} channels; this data set has {channels}")


def read_labels(path: Path, colours: Sequence[Sequence[int]] = (), threshold: int | None = None) -> np.ndarray:
    """Read a mask as uint8 (height, width): its values or palette indices, classes by colour, or 1 above a threshold."""
    picture = _opened(path)
    if colours:
        array = np.asarray(_converted(picture, "RGB", path))
        labels = np.full(array.shape[:2], 255, np.uint8)
        for k, colour in enumerate(colours):
            labels[(array == np.asarray(colour)).all(-1)] = k
        if (unknown := array[labels == 255]).size:
            listed = np.unique(unknown, axis=0)[:3].tolist()
            raise InputError(f"{path} holds colours {listed} that the table of colours lacks")
        return labels
    if picture.mode == "P":
        return np.asarray(picture)
    numbers = picture.mode in ("L", "1") or _holds_numbers(picture)
    array = np.asarray(picture if numbers else _converted(picture, "RGB", path))
    if array.ndim == 3:
        if np.ptp(array, axis=2).max():
            raise InputError(f"{path} is a coloured mask; a table of colours must say which class each colour is")
        array = array[..., 0]
    return (array > threshold).astype(np.uint8) if threshold is not None else label_map(array, str(path))


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
    return ((values - bottom) / max(top - bottom, 1e-6)).clip(0, 1).astype(np.float32)


def _opened(path: Path) -> Image.Image:
    """Open the first picture of a file, which must have one of `FORMATS`, whatever its name."""
    with named_errors(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata, which is not read here
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # from 89 million pixels on
        with Image.open(path, formats=FORMATS) as picture:
            picture.load()
    return picture


def _converted(picture: Image.Image, mode: str, path: Path) -> Image.Image:
    with named_errors(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about transparency, which is dropped
        return picture.convert(mode)


def _holds_numbers(picture: Image.Image) -> bool:
    """Whether the values of a picture are integers of more than 8 bits, or fractions."""
    return picture.mode.startswith("I") or picture.mode == "F"


def _array(file: h5py.File, key: str, path: Path) -> np.ndarray:
    """Read one array of an HDF5 file; it may not be stored in another file."""
    link = file.get(key, getlink=True)
    held = file[key] if isinstance(link, h5py.HardLink) else None
    if not isinstance(held, h5py.Dataset) or held.external or held.is_virtual:
        raise InputError(f"{path}, {key} is not an array of this file; links and arrays in other files are not followed")
    check_size(path, held.shape, held.dtype)
    return np.asarray(held[()])
