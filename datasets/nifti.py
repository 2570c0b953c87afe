"""NIfTI volumes and their geometry: one reader for images, labels and predictions.

An array stays in the order in which its image is stored; labels and predictions are brought into that order.
"""

import gzip
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from benchmark import InputError
from benchmark.datasets.base import Scan
from benchmark.datasets.files import Spacing
from benchmark.inputs import check_size, named_errors

NIFTI = (".nii.gz", ".nii")
NIFTI_1, NIFTI_2 = 348, 540  # bytes of a header, which begins with this number
MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by the unit's code in `xyzt_units`: unknown, metre, millimetre, micrometre
SAME_SPACING = 0.01  # relative tolerance, as headers round
SAME_PLACE = 0.1  # voxels between the corners of two equal grids, as headers round
STORED = [[0, 1], [1, 1], [2, 1]]  # nibabel's orientation of axes that are neither permuted nor mirrored
RIGHT_ANGLE = 0.01  # cosine between two axes; distances in mm need right angles


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a volume lie."""

    shape: tuple[int, ...]  # slices, rows, columns
    spacing: Spacing | None  # mm between slices, rows, columns; None: unknown
    affine: np.ndarray | None  # (column, row, slice, 1) -> mm to the right, to the front, upwards; None: not stated

    @property
    def frame(self) -> np.ndarray:
        """The affine; one with the spacing alone where it is not stated, 1 mm where that is unknown."""
        return np.diag([*(self.spacing or (1.0, 1.0, 1.0))[::-1], 1.0]) if self.affine is None else self.affine


def grid_of(scan: Scan) -> Grid:
    """Return where the voxels of a scan lie."""
    return Grid((len(scan.image), *scan.image.shape[2:]), scan.spacing, scan.affine)


def read_nifti(path: Path) -> tuple[np.ndarray, Grid]:
    """Read a volume as (slices, rows, columns), in the order of SimpleITK's arrays, and its grid."""
    with named_errors(path):
        volume = _kind(path).from_filename(path)
        check_size(path, volume.shape, volume.get_data_dtype())
        with volume.file_map["image"].get_prepare_fileobj("rb") as file:
            stated = volume.header_class.from_fileobj(file, check=False)  # nibabel writes 1 for sizes of 0
        spacing, affine = _geometry(path, volume.header, np.abs(stated["pixdim"][1:4]).astype(float))
        array = np.asarray(volume.dataobj)
    if array.ndim > 3 and set(array.shape[3:]) == {1}:
        array = array.reshape(array.shape[:3])
    if array.ndim != 3:
        raise InputError(f"{path} has shape {array.shape}; a volume has three axes")
    stack = np.ascontiguousarray(array.transpose(2, 1, 0))
    return stack, Grid(stack.shape, spacing, affine)


def read_onto(path: Path, image: Grid) -> np.ndarray:
    """Read labels or a further channel as (slices, rows, columns) in the order in which the image is stored.

    Axes that are stored mirrored or permuted are brought into that order. Raises InputError for another grid.
    """
    array, own = read_nifti(path)
    array, grid = _reordered(array, own, image)
    _check_grid(path, own, grid, image)
    return np.ascontiguousarray(array)


def check_shape(path: Path, shape: tuple[int, ...], expected: tuple[int, ...], names: str = "") -> None:
    """Raise InputError unless labels have the shape (slices, rows, columns) of their image."""
    if shape != expected:
        right = (
            "its axes are transposed; NIfTI files hold (columns, rows, slices), and pictures (rows, columns)"
            if sorted(shape) == sorted(expected)
            else "a label map must have the size of its image"
        )
        raise InputError(f"{path} has shape {shape} as (slices, rows, columns), and its image {expected}{names}: {right}")


def write_nifti(path: Path, stack: np.ndarray, scan: Scan) -> None:
    """Write a stack (slices, rows, columns) of a scan in the scan's geometry, in mm; it keeps its type."""
    volume = nib.Nifti1Image(stack.transpose(2, 1, 0), grid_of(scan).frame, dtype=stack.dtype)
    volume.header.set_xyzt_units("mm")
    nib.save(volume, path)


def _kind(path: Path) -> type[nib.Nifti1Image]:
    """Return the class of a file of NIfTI-1 or NIfTI-2; raises InputError if its name says the wrong thing of gzip."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        size = file.read(4)
    sizes = {int.from_bytes(size, "little"), int.from_bytes(size, "big")} & {NIFTI_1, NIFTI_2}
    if sizes and packed != path.name.lower().endswith(".gz"):
        packing, name = ("compressed", NIFTI[0]) if packed else ("not compressed", NIFTI[1])
        raise InputError(f"{path} is {packing}, but its name says otherwise; call it *{name}")
    return nib.Nifti2Image if NIFTI_2 in sizes else nib.Nifti1Image


def _geometry(path: Path, header: nib.Nifti1Header, sizes: np.ndarray) -> tuple[Spacing, np.ndarray | None]:
    """Return spacing and affine in mm; `sizes` are those of `pixdim`.

    The affine is the sform, else the qform. The qform is also used if the sform has no right angles or other sizes than
    `pixdim`: the sform of ACDC's files often says 1 mm, and that of a template's space is not in mm of the patient.
    """
    if (unit := int(header["xyzt_units"]) % 8) not in MM:
        raise InputError(f"{path} has the unit {unit} in xyzt_units; 0 to 3 are unknown, metre, millimetre and micrometre")
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    known = bool((np.isfinite(sizes) & (sizes > 0)).all())
    fits = sform is not None and _is_rigid(sform) and np.allclose(voxel_sizes(sform), sizes, rtol=SAME_SPACING)
    affine = qform if sform is None or (known and qform is not None and not fits) else sform
    if not known and sform is None:
        raise InputError(f"{path} states voxels of {_times(sizes)}; write it again with its voxel size")
    if affine is not None and not _is_rigid(affine):
        raise InputError(
            f"{path} states an affine whose axes are not at right angles, or that is not finite: {affine[:3].tolist()}; "
            "write it again with a voxel size and three directions"
        )
    if sform is not None and affine is sform and known and not fits:
        raise InputError(
            f"{path} has voxels of {_times(sizes)} by its pixdim and {_times(voxel_sizes(sform))} by its sform (columns, "
            "rows, slices); write it again with one voxel size"
        )
    if fits and qform is not None and not np.array_equal(io_orientation(np.linalg.inv(qform) @ sform), STORED):
        raise InputError(
            f"{path} is stored as {_codes(qform)} by its qform and as {_codes(sform)} by its sform; write it again with one "
            "orientation"
        )
    columns, rows, slices = (float(size) * MM[unit] for size in (sizes if known else voxel_sizes(affine)))
    return (slices, rows, columns), None if affine is None else np.diag([MM[unit]] * 3 + [1.0]) @ affine


def _is_rigid(affine: np.ndarray) -> bool:
    """Return whether the axes have a length and are at right angles."""
    sizes = voxel_sizes(affine)
    if not np.isfinite(affine).all() or sizes.min() <= 0:
        return False
    axes = affine[:3, :3] / sizes
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= RIGHT_ANGLE)


def _reordered(stack: np.ndarray, own: Grid, image: Grid) -> tuple[np.ndarray, Grid]:
    """Return a stack with its axes in the order and directions of an image, and its grid then."""
    if own.affine is None:
        return stack, own
    orientation = io_orientation(np.linalg.inv(image.frame) @ own.affine)
    affine = own.affine @ inv_ornt_aff(orientation, own.shape[::-1])
    reordered = apply_orientation(stack.transpose(2, 1, 0), orientation).transpose(2, 1, 0)
    columns, rows, slices = voxel_sizes(affine)
    grid = Grid(reordered.shape, (slices, rows, columns), affine)
    if image.affine is None and (grid.shape != image.shape or _distance(grid, image) > SAME_PLACE):
        return stack, replace(own, affine=None)  # there is nothing to compare it with
    return reordered, grid


def _check_grid(path: Path, own: Grid, grid: Grid, image: Grid) -> None:
    """Raise InputError unless `grid` is the image's; `own` is the same as it is stored."""
    codes = [_codes(own.frame), _codes(image.frame)]
    named = grid.affine is not None and codes[0] != codes[1]
    names = f" (it is stored as {codes[0]} and its image as {codes[1]})" if named else ""
    check_shape(path, grid.shape, image.shape, names)
    bare = own.affine is not None and np.array_equal(own.affine, np.eye(4))  # what programs write if nobody states one
    right = "write it with the affine of its image" if bare else "the files of a scan must have one geometry"
    if grid.spacing and image.spacing and not np.allclose(grid.spacing, image.spacing, rtol=SAME_SPACING, atol=0):
        ratios = np.divide(grid.spacing, image.spacing)
        wrong_unit = np.allclose(ratios, 1000.0 ** np.rint(np.log(ratios[0]) / np.log(1000)), rtol=SAME_SPACING)
        why = "one of the headers has a wrong unit, or none" if wrong_unit else "its axes are swapped or it was resampled"
        raise InputError(
            f"{path} has a spacing of {_times(grid.spacing)} mm (slices, rows, columns), and its image "
            f"{_times(image.spacing)}{names}: {why}; {right}"
        )
    if grid.affine is not None and (distance := _distance(grid, image)) > SAME_PLACE:
        raise InputError(
            f"{path} lies {distance:.3g} voxels from its image{names}: its origin is {_origin(own)} mm and its image's "
            f"{_origin(image)}; {right}"
        )


def _distance(grid: Grid, image: Grid) -> float:
    """Return how far a corner of a grid lies from the image's, in voxels of the image."""
    corners = np.array(list(product(*((0, size - 1) for size in image.shape[::-1]))))
    return float(np.abs(apply_affine(np.linalg.inv(image.frame) @ grid.frame, corners) - corners).max())


def _codes(affine: np.ndarray) -> str:
    """Return where columns, rows and slices lead, such as LPS: to the left, to the back, upwards."""
    return "".join(nib.aff2axcodes(affine))


def _times(sizes: Iterable[float]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)


def _origin(grid: Grid) -> str:
    return f"({', '.join(f'{mm:.4g}' for mm in grid.frame[:3, 3])})"
