"""Reading images, masks, volumes and HDF5; what can't be read is named in an InputError."""

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from PIL import Image, UnidentifiedImageError

from benchmark import InputError
from benchmark.datasets.base import label_map

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
Spacing = tuple[float, float, float]


def by_stem(folder: Path, endings: Sequence[str] = PICTURES) -> dict[str, Path]:
    """The files of a folder by their name without its ending, in order; raises InputError where two share a name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        ending = next((e for e in endings if path.name.lower().endswith(e)), None)
        if ending is None or path.name.startswith("."):
            continue
        stem = path.name[: -len(ending)]
        if stem in found:
            raise InputError(f"{folder} holds {found[stem].name} and {path.name}; a name may be there once")
        found[stem] = path
    return found


def pairs(images: Path, masks: Path, endings: Sequence[str] = PICTURES) -> dict[str, tuple[Path, Path]]:
    """Images and masks of one name; raises InputError where either lacks the other, or there are none."""
    ours, theirs = by_stem(images, endings), by_stem(masks, endings)
    if not ours:
        raise InputError(f"{images} holds no images ({', '.join(endings)})")
    for stem in ours.keys() ^ theirs.keys():
        there, missing = (images, masks) if stem in ours else (masks, images)
        raise InputError(f"{there / stem} has no partner in {missing}; an image and its mask have one name")
    return {stem: (ours[stem], theirs[stem]) for stem in ours}


def read_image(path: Path, channels: int) -> np.ndarray:
    """A picture as float32 (channels, height, width) in [0, 1]; grey, RGB, palettes and 16 bits are understood."""
    picture = _opened(path)
    if picture.mode.startswith("I") or picture.mode == "F":
        array = np.asarray(picture)
        if array.min() < 0 or array.max() > 65535:
            raise InputError(f"{path} holds intensities from {array.min()} to {array.max()}; 8 or 16 bits are understood")
        planes = array[None].astype(np.float32) / np.float32(65535)
    else:
        grey = picture.mode in ("L", "LA", "1")
        array = np.asarray(picture.convert("L" if grey else "RGB"), np.float32) / 255
        planes = array[None] if grey else array.transpose(2, 0, 1)
    if len(planes) == channels:
        return np.ascontiguousarray(planes)
    if channels == 3 and len(planes) == 1:
        return planes.repeat(3, 0)
    if channels == 1 and np.ptp(planes, axis=0).max() == 0:  # grey, stored as colour
        return planes[:1].copy()
    raise InputError(f"{path} has {len(planes)} channels; this data set has {channels}")


def read_labels(path: Path, colours: Sequence[Sequence[int]] = (), threshold: int | None = None) -> np.ndarray:
    """A mask as uint8 (height, width): its values or palette indices, classes by colour, or 1 above a threshold."""
    picture = _opened(path)
    if colours:
        array = np.asarray(picture.convert("RGB"))
        labels = np.full(array.shape[:2], 255, np.uint8)
        for k, colour in enumerate(colours):
            labels[(array == np.asarray(colour)).all(-1)] = k
        if (unknown := array[labels == 255]).size:
            listed = np.unique(unknown, axis=0)[:3].tolist()
            raise InputError(f"{path} holds colours {listed} that the table of colours lacks")
        return labels
    if picture.mode == "P":
        return np.asarray(picture)
    numbers = picture.mode in ("L", "1", "F") or picture.mode.startswith("I")
    array = np.asarray(picture if numbers else picture.convert("RGB"))
    if array.ndim == 3:
        if np.ptp(array, axis=2).max():
            raise InputError(f"{path} is a coloured mask; a table of colours must say which class each colour is")
        array = array[..., 0]
    return (array > threshold).astype(np.uint8) if threshold is not None else label_map(array, str(path))


UNREADABLE = (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)  # of nibabel


def read_nifti(path: Path) -> tuple[np.ndarray, Spacing]:
    """A volume as (slices, rows, columns), in the order of SimpleITK's arrays, and its spacing in mm in that order."""
    try:
        volume = nib.Nifti1Image.from_filename(path)
        array = np.asarray(volume.dataobj)
    except UNREADABLE as error:
        raise InputError(f"{path} can't be read ({error}); it may be truncated: copy it again") from error
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise InputError(f"{path} has shape {array.shape}; a volume has three axes")
    columns, rows, slices = (float(zoom) for zoom in volume.header.get_zooms()[:3])
    return np.ascontiguousarray(array.transpose(2, 1, 0)), (slices, rows, columns)


def read_hdf5(path: Path, needed: Iterable[str], wanted: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of an HDF5 file: those needed, and those of the wanted that are there."""
    try:
        with h5py.File(path) as file:
            if missing := sorted(set(needed) - set(file)):
                raise InputError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(file) or 'nothing'}")
            return {key: file[key][()] for key in (*needed, *wanted) if key in file}
    except OSError as error:
        raise InputError(f"{path} can't be read ({error}); it may be truncated: copy it again") from error


def scaled(volume: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """A volume's intensities between two of its percentiles, as float32 from 0 to 1."""
    if not np.isfinite(volume).all():
        return volume.astype(np.float32)  # `check_scan` names it
    bottom, top = np.percentile(volume, [low, high])
    return ((volume.astype(np.float32) - bottom) / max(top - bottom, 1e-6)).clip(0, 1).astype(np.float32)


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}); it may be truncated: copy it again") from error
    return picture
