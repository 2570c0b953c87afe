"""Geometry of NIfTI files: every reader gives a label map in the order in which its image is stored, or refuses."""

import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from benchmark import InputError
from benchmark.datasets.acdc import Acdc
from benchmark.datasets.base import Scan, check_scan
from benchmark.datasets.mscmr import Mscmr
from benchmark.datasets.nifti import Grid, grid_of, read_nifti, read_onto, write_nifti
from benchmark.datasets.nnunet import NnUnet
from benchmark.datasets.picture_files import Masks
from benchmark.plan.plugins import open_data_set
from benchmark.score.external import Predictions, read_map, score
from benchmark.seal.export import export
from tests.tiny import nested_discs, pictures, volumes

SHAPE = (6, 5, 4)  # columns, rows, slices
SIZES = (1.25, 1.5, 8.0)  # mm in that order
PLAIN = np.diag([*SIZES, 1.0])
MIRRORED = np.diag([-1.25, -1.5, 8.0, 1.0])  # as LPS
MIRRORED[:2, 3] = 1.25 * 5, 1.5 * 4
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)))
UNITS = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
LABELS = np.random.default_rng(0).integers(0, 4, SHAPE)
INTENSITIES = np.random.default_rng(1).integers(-1000, 3000, SHAPE).astype(np.int16)


def oblique() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 10], degrees=True).as_matrix() * SIZES
    affine[:3, 3] = -80, 33.3, 12
    return affine


def stored(volume: np.ndarray, affine: np.ndarray, orientation) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels at the same places, with axes in another order and perhaps mirrored."""
    order, mirrored = orientation
    volume, columns, origin = volume.transpose(order), affine[:, order], affine[:, 3].copy()
    for axis in np.flatnonzero(mirrored):
        volume = np.flip(volume, axis)
        origin += columns[:, axis] * (volume.shape[axis] - 1)
        columns[:, axis] *= -1
    return volume, np.column_stack([columns, origin])


def save(path: Path, volume: np.ndarray, affine: np.ndarray | None, unit: str = "mm") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = np.diag([*[1 / UNITS[unit]] * 3, 1.0])
    held = nib.Nifti1Image(volume, None if affine is None else scale @ affine)
    held.header.set_xyzt_units(unit)
    nib.save(held, path)
    return path


# ------------------------------------------------------------------------------------------------ every door


def into_nnunet(root, ending, image, label):
    facts = {"channel_names": {"0": "CT"}, "labels": {"a": 0, "b": 1, "c": 2, "d": 3}, "file_ending": ending}
    image(root / f"imagesTr/case_0000{ending}")
    (root / "dataset.json").write_text(json.dumps(facts))
    label(root / f"labelsTr/case{ending}")
    return NnUnet(root).load("case")


def into_acdc(root, ending, image, label):
    image(root / "patient001/patient001_frame01.nii.gz")
    label(root / f"patient001/patient001_frame01_gt{ending}")
    return Acdc(root).load("patient001_frame01")


def into_mscmr(root, ending, image, label):
    image(root / "val/images/subject1_DE.nii.gz")
    label(root / f"val/labels/subject1_DE_manual{ending}")
    for part in ("train", "TestSet"):
        (root / part / "images").mkdir(parents=True, exist_ok=True)
        (root / part / "labels").mkdir(exist_ok=True)
    return Mscmr(root).load("subject1_DE")


def into_score(root, ending, image, label):
    image(root / "image.nii.gz")
    stack, grid = read_nifti(root / "image.nii.gz")
    scan = Scan("case", "case", stack[:, None], None, grid.spacing, affine=grid.affine)
    label(root / f"case{ending}")
    return Scan(
        "case", "case", stack, read_map(root / f"case{ending}", scan, 4, Masks([])), grid.spacing, affine=grid.affine
    )


@pytest.mark.parametrize("door", [into_nnunet, into_acdc, into_mscmr, into_score])
@settings(max_examples=3, derandomize=True, database=None, deadline=None)
@given(
    affine=st.sampled_from([PLAIN, MIRRORED, oblique()]),
    as_stored=st.sampled_from(ORIENTATIONS),
    ending=st.sampled_from([".nii.gz", ".nii"]),
    units=st.tuples(st.sampled_from(list(UNITS)), st.sampled_from(list(UNITS))),
    kind=st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
)
def test_a_label_map_comes_back_whatever_its_orientation(tmp_path_factory, door, affine, as_stored, ending, units, kind):
    """In all 48 orientations, and in the order of the image, which is kept as it is stored."""
    root = tmp_path_factory.mktemp("door")
    volume, place = stored(INTENSITIES, affine, as_stored)
    truth, _ = stored(LABELS, affine, as_stored)
    for orientation in ORIENTATIONS:
        labels, other = stored(LABELS, affine, orientation)
        scan = door(
            root,
            ending,
            lambda path: path.exists() or save(path, volume, place, units[0]),
            lambda path, labels=labels, other=other: save(path, labels.astype(kind), other, units[1]),
        )
        assert np.array_equal(scan.mask, truth.transpose(2, 1, 0))
        assert scan.spacing == pytest.approx(tuple(SIZES[axis] for axis in as_stored[0])[::-1])
        np.testing.assert_allclose(scan.affine, place, atol=1e-4)


def grid(affine: np.ndarray | None = PLAIN, spacing: tuple[float, ...] | None = SIZES[::-1]) -> Grid:
    return Grid(SHAPE[::-1], spacing, affine)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (
            np.eye(4),
            r"a spacing of 1 x 1 x 1 mm .*, and its image 8 x 1.5 x 1.25: .*; write it with the affine of its image$",
        ),
        (np.diag([1250, 1500, 8000, 1]), "8000 x 1500 x 1250 mm .* wrong unit, or none"),
        (np.diag([1.25, 1.5, 8.5, 1]), "a spacing of 8.5 x 1.5 x 1.25 mm"),
        (PLAIN + np.outer([0, 1, 0, 0], [0, 0, 0, 1.5]), r"lies 1 voxels from its image: its origin is \(0, 1.5, 0\) mm"),
        (np.diag([-1.25, -1.5, 8, 1]), r"lies 5 voxels .*it is stored as LPS and its image as RAS"),
        (oblique(), r"lies .* voxels from its image.*; the files of a scan must have one geometry$"),
    ],
)
def test_labels_on_another_grid_are_refused(tmp_path, affine, message):
    path = save(tmp_path / "a.nii.gz", LABELS.astype(np.uint8), affine)
    with pytest.raises(InputError, match=rf"a.nii.gz .*{message}"):
        read_onto(path, grid())


def test_labels_whose_axes_are_permuted_without_a_word_are_refused(tmp_path):
    path = save(tmp_path / "a.nii.gz", LABELS.transpose(1, 0, 2).astype(np.uint8), PLAIN)
    with pytest.raises(InputError, match=r"shape \(4, 6, 5\) as \(slices, rows, columns\), .* its axes are transposed"):
        read_onto(path, grid())
    path = save(tmp_path / "b.nii.gz", LABELS.transpose(1, 0, 2).astype(np.uint8), MIRRORED)
    with pytest.raises(InputError, match=r"it is stored as LPS and its image as RAS\): its axes are transposed"):
        read_onto(path, grid())


def test_a_tenth_of_a_voxel_is_rounding(tmp_path):
    for shift, right in ((0.09, True), (0.11, False)):
        moved = PLAIN.copy()
        moved[0, 3] = shift * 1.25
        path = save(tmp_path / "a.nii", LABELS.astype(np.uint8), moved)
        if right:
            assert np.array_equal(read_onto(path, grid()), LABELS.transpose(2, 1, 0))
        else:
            with pytest.raises(InputError, match="lies 0.11 voxels"):
                read_onto(path, grid())


def test_a_file_that_states_no_orientation_is_stored_as_its_image(tmp_path):
    path = tmp_path / "a.nii"
    held = nib.Nifti1Image(LABELS.astype(np.uint8), None)
    held.header.set_zooms(SIZES)
    nib.save(held, path)
    assert read_nifti(path)[1].affine is None
    assert read_nifti(path)[1].spacing == SIZES[::-1]
    assert np.array_equal(read_onto(path, grid(MIRRORED)), LABELS.transpose(2, 1, 0))
    nib.save(nib.Nifti1Image(LABELS.astype(np.uint8), None), path)
    with pytest.raises(InputError, match="a spacing of 1 x 1 x 1 mm"):
        read_onto(path, grid(MIRRORED))


def test_an_image_without_geometry_has_that_of_its_export(tmp_path):
    """Labels of the exported image may be mirrored; those in another frame are as they are stored."""
    reordered, other = stored(LABELS, np.eye(4), ((1, 0, 2), (True, False, True)))
    path = save(tmp_path / "a.nii", reordered.astype(np.uint8), other)
    assert np.array_equal(read_onto(path, grid(None, None)), LABELS.transpose(2, 1, 0))
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(LABELS.transpose(2, 1, 0).astype(np.uint8)), path)
    assert read_nifti(path)[1].affine[0, 0] == -1  # what SimpleITK writes where nobody says anything
    assert np.array_equal(read_onto(path, grid(None, None)), LABELS.transpose(2, 1, 0))


# ------------------------------------------------------------------------------------------------ one header


def header(path: Path, sform=None, qform=None, **fields) -> Path:
    """A volume with these matrices, and then with these fields, which nibabel would not write."""
    held = nib.Nifti1Image(INTENSITIES, None)
    held.header.set_zooms(SIZES)
    if qform is not None:
        held.header.set_qform(qform, 1)
    if sform is not None:
        held.header.set_sform(sform, 2)
    content = bytearray(held.to_bytes())
    raw = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        raw[name] = value
    path.write_bytes(raw.binaryblock + content[348:])
    return path


def test_an_sform_without_the_voxel_size_is_replaced_by_the_qform(tmp_path):
    """The challenge's files of ACDC: nibabel's affine has 1 mm, and ITK's the right size."""
    path = header(tmp_path / "a.nii", np.diag([-1.0, -1.0, 1.0, 1.0]), np.diag([-1.25, -1.5, 8.0, 1.0]))
    assert nib.load(path).affine[2, 2] == 1
    _, found = read_nifti(path)
    assert found.spacing == SIZES[::-1]
    np.testing.assert_allclose(found.affine, np.diag([-1.25, -1.5, 8.0, 1.0]), atol=1e-6)
    assert SimpleITK.ReadImage(path).GetSpacing() == pytest.approx(SIZES)


def test_of_two_rotations_the_sform_is_used(tmp_path):
    rotated = PLAIN.copy()
    rotated[:3, :3] = Rotation.from_euler("z", 12, degrees=True).as_matrix() @ rotated[:3, :3]
    _, found = read_nifti(header(tmp_path / "a.nii", rotated, PLAIN))
    np.testing.assert_allclose(found.affine, rotated, atol=1e-6)


def test_the_size_of_a_voxel_is_read_from_the_sform_where_pixdim_lacks_it(tmp_path):
    _, found = read_nifti(header(tmp_path / "a.nii", PLAIN, pixdim=[1, 0, 0, 0, 0, 0, 0, 0]))
    assert found.spacing == pytest.approx(SIZES[::-1])


NAN = np.full((4, 4), np.nan)
SHEARED = PLAIN + np.outer([1, 0, 0, 0], [0, 0.3, 0, 0])
HEADERS = {
    "no size": (None, None, {"pixdim": [1, 1, 0, 1, 0, 0, 0, 0]}, r"states voxels of 1 x 0 x 1; write it again with its"),
    "no size, qform": (None, PLAIN, {"pixdim": [1, 0, 0, 0, 0, 0, 0, 0]}, "states voxels of 0 x 0 x 0"),
    "NaN as size": (None, None, {"pixdim": [1, np.nan, 1, 1, 0, 0, 0, 0]}, "states voxels of nan x 1 x 1"),
    "NaN": (PLAIN, None, {"srow_x": [np.nan, 0, 0, 0]}, "not at right angles, or that is not finite"),
    "singular": (PLAIN, None, {"srow_x": [0, 0, 0, 0]}, "not at right angles, or that is not finite"),
    "sheared": (SHEARED, None, {}, "not at right angles, or that is not finite"),
    "two sizes": (np.eye(4), None, {}, "voxels of 1.25 x 1.5 x 8 by its pixdim and 1 x 1 x 1 by its sform"),
    "two orientations": (PLAIN, MIRRORED, {}, "stored as LPS by its qform and as RAS by its sform"),
    "unknown unit": (PLAIN, None, {"xyzt_units": 5}, "the unit 5 in xyzt_units"),
}


@pytest.mark.parametrize("fault", HEADERS)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, fault):
    sform, qform, fields, message = HEADERS[fault]
    with pytest.raises(InputError, match=f"a.nii .*{message}"):
        read_nifti(header(tmp_path / "a.nii", sform, qform, **fields))


def test_one_channel_may_be_a_fourth_or_fifth_axis_and_several_may_not(tmp_path):
    for axes in ((1,), (1, 1)):
        save(tmp_path / "a.nii.gz", INTENSITIES.reshape(*SHAPE, *axes), PLAIN)
        assert np.array_equal(read_nifti(tmp_path / "a.nii.gz")[0], INTENSITIES.transpose(2, 1, 0))
    save(tmp_path / "a.nii.gz", np.stack([INTENSITIES] * 2, 3), PLAIN)
    with pytest.raises(InputError, match=r"shape \(6, 5, 4, 2\); a volume has three axes"):
        read_nifti(tmp_path / "a.nii.gz")


def test_a_slope_in_the_header_is_applied(tmp_path):
    content = bytearray(nib.Nifti1Image((2 * LABELS).astype(np.int16), PLAIN).to_bytes())
    content[112:120] = np.array([0.5, 0], "<f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(content)
    assert np.array_equal(read_onto(tmp_path / "a.nii", grid()), LABELS.transpose(2, 1, 0))


def test_an_affine_of_a_plug_in_must_have_an_inverse():
    class OneChannel:
        name, channels, classes = "mine", 1, ("background", "organ")

    for affine, right in ((PLAIN, True), (np.zeros((4, 4)), False), (NAN, False), (np.eye(3), False)):
        scan = Scan("a", "a", np.zeros((2, 1, 4, 4), np.float32), None, SIZES, affine=affine)
        if right:
            check_scan(scan, OneChannel())
        else:
            with pytest.raises(InputError, match="the affine is .*; it must be 4 x 4 numbers and have an inverse"):
                check_scan(scan, OneChannel())


# ------------------------------------------------------------------------------------------------ channels and exports


def organs(root: Path, affine: np.ndarray, orientation, unit: str = "mm") -> Path:
    """A set of nnU-Net's layout with two channels, and labels that are stored in another order than the images."""
    for number in range(5):
        part, case = ("Tr" if number < 3 else "Ts"), f"case_{number}"
        mask = np.stack([nested_discs(f"{case}{s}", (30, 34), 3) for s in range(4)]).transpose(2, 1, 0)
        image = np.random.default_rng(number).normal(mask * 400.0 - 300, 50).round().astype(np.int16)
        save(root / f"images{part}/{case}_0000.nii.gz", *stored(image, affine, orientation), unit)
        save(root / f"images{part}/{case}_0001.nii.gz", *stored(image + np.float32(0.5), affine, ORIENTATIONS[5]))
        save(root / f"labels{part}/{case}.nii.gz", *stored(mask, affine, ORIENTATIONS[11]))
    facts = {
        "channel_names": {"1": "ADC", "0": "CT"},
        "labels": {"background": 0, "organ": 1, "lesion": 2},
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(facts))
    return root


def test_channels_are_brought_into_the_order_of_the_first(tmp_path):
    dataset = NnUnet(organs(tmp_path, oblique(), ORIENTATIONS[20]))
    first, second = dataset.intensities(dataset.load("case_1"))
    assert first.dtype == np.int16
    assert np.array_equal(second, first + np.float32(0.5))
    assert dataset.channel_names == ("CT", "ADC")


def test_a_channel_on_another_grid_is_refused(tmp_path):
    root = organs(tmp_path, PLAIN, ORIENTATIONS[0])
    image = nib.load(root / "imagesTr/case_1_0001.nii.gz")
    save(root / "imagesTr/case_1_0001.nii.gz", np.asarray(image.dataobj), image.affine * [[2], [2], [2], [1]])
    with pytest.raises(InputError, match="case_1_0001.nii.gz has a spacing of 16 x 3 x 2.5 mm"):
        NnUnet(root).load("case_1")


def test_an_export_keeps_intensities_names_of_channels_and_geometry(tmp_path):
    root = organs(tmp_path / "organs", oblique(), ORIENTATIONS[20], "micron")
    out = export(open_data_set(f"nnunet:{root}", tmp_path), "full", "", tmp_path / "out")
    assert json.loads((out / "dataset.json").read_text())["channel_names"] == {"0": "CT", "1": "ADC"}
    before, after = NnUnet(root), NnUnet(out)
    scan, again = before.load("case_1"), after.load("case_1")
    np.testing.assert_allclose(again.affine, scan.affine, atol=1e-4)
    assert np.array_equal(again.mask, scan.mask)
    assert np.array_equal(again.image, scan.image)
    for one, other in zip(before.intensities(scan), after.intensities(again), strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    held = nib.load(out / "imagesTr/case_1_0000.nii.gz")
    assert held.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int64, np.uint64, np.float32, np.float64])
def test_every_type_of_intensities_is_written(tmp_path, kind):
    stack = np.abs(INTENSITIES).astype(kind).transpose(2, 1, 0)
    write_nifti(tmp_path / "a.nii.gz", stack, Scan("a", "a", stack[:, None], None, SIZES[::-1]))
    again, found = read_nifti(tmp_path / "a.nii.gz")
    assert again.dtype == kind
    assert np.array_equal(again, stack)
    assert found.spacing == SIZES[::-1]


def copied_by_itk(image: Path, labels: np.ndarray, out: Path) -> None:
    """Labels (slices, rows, columns) with the geometry of an image, as nnU-Net's SimpleITK writer does."""
    held = SimpleITK.GetImageFromArray(labels)
    held.CopyInformation(SimpleITK.ReadImage(image))
    SimpleITK.WriteImage(held, out)


def made_canonical(image: Path, labels: np.ndarray, out: Path) -> None:
    """The same by nibabel, after reordering the axes to RAS."""
    nib.save(nib.as_closest_canonical(nib.Nifti1Image(labels.transpose(2, 1, 0), nib.load(image).affine)), out)


@pytest.mark.parametrize("tool", [copied_by_itk, made_canonical])
@pytest.mark.parametrize("kind", ["RAS", "LPS", "oblique", "permuted", "micrometres", "not stated"])
def test_predictions_for_an_export_are_scored_in_their_place(tmp_path, tool, kind):
    orientation = {"LPS": ((0, 1, 2), (True, True, False)), "permuted": ((2, 0, 1), (True, False, False))}.get(kind)
    affine, unit = oblique() if kind == "oblique" else PLAIN, "micron" if kind == "micrometres" else "mm"
    root = organs(tmp_path / "organs", affine, orientation or ORIENTATIONS[0], unit)
    for path in root.rglob("*.nii.gz") if kind == "not stated" else ():
        held = nib.as_closest_canonical(nib.load(path))
        bare = nib.Nifti1Image(np.asarray(held.dataobj), None)
        bare.header.set_zooms(held.header.get_zooms())
        nib.save(bare, path)
    dataset = NnUnet(root)
    exported = export(dataset, "full", "", tmp_path / "export")
    (tmp_path / "net").mkdir()
    tests = dataset.split("official").test
    for scan in map(dataset.load, tests):
        labels = np.zeros_like(scan.mask) if scan.name == tests[0] else scan.mask  # one is wrong: all right would be a copy
        tool(exported / f"imagesTs/{scan.name}_0000.nii.gz", labels, tmp_path / f"net/{scan.name}.nii.gz")
    score(Predictions([str(tmp_path / "net")], f"nnunet:{root}"), tmp_path / "r", tmp_path)
    lines = [line.split(",") for line in next((tmp_path / "r").rglob("cases.csv")).read_text().splitlines()]
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert {row["dice"] for row in rows if row["scan"] == tests[0]} == {"0.0"}
    assert {row["dice"] for row in rows if row["scan"] != tests[0]} == {"1.0"}


def test_distances_in_micrometres_are_in_mm(tmp_path):
    """Predictions one row off, of 1.5 mm, once in the image's unit and once in mm."""
    root = organs(tmp_path / "organs", PLAIN, ORIENTATIONS[0], "micron")
    for unit in ("micron", "mm"):
        for path in (root / "labelsTs").iterdir():
            mask = NnUnet(root).load(path.name.removesuffix(".nii.gz")).mask
            save(tmp_path / unit / path.name, np.roll(mask, 1, 1).transpose(2, 1, 0), PLAIN, unit)
        score(Predictions([str(tmp_path / unit)], f"nnunet:{root}"), tmp_path / "r", tmp_path)
        (cases,) = (tmp_path / "r").glob(f"runs/*/*/{unit}/*/cases.csv")
        header, *lines = [line.split(",") for line in cases.read_text().splitlines()]
        assert {float(line[header.index("hd95")]) for line in lines} == {1.5}


def test_a_single_slice_with_geometry_is_exported_as_a_volume(tmp_path):
    root = volumes.nnunet(tmp_path / "raw")
    for path in root.rglob("*.nii.gz"):
        nib.save(nib.load(path).slicer[:, :, :1], path)
    out = export(open_data_set(f"nnunet:{root}", tmp_path), "full", "", tmp_path / "out")
    assert {path.name.partition(".")[2] for path in (out / "imagesTr").iterdir()} == {"nii.gz"}


def test_a_picture_has_no_grid_and_takes_predictions_as_they_are(tmp_path):
    dataset = open_data_set(f"folder:{pictures.folder(tmp_path / 'clinic')}", tmp_path)
    scan = dataset.load("p0_view0")
    assert grid_of(scan).affine is None
    for affine in (np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])):
        save(tmp_path / "p0_view0.nii.gz", scan.mask.transpose(2, 1, 0), affine)
        assert np.array_equal(read_map(tmp_path / "p0_view0.nii.gz", scan, 3, Masks([])), scan.mask)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_second_version_is_read_alike(tmp_path, order):
    header = nib.Nifti2Header(endianness=order)
    header.set_data_dtype(np.int16)
    header.set_xyzt_units("mm")
    nib.save(nib.Nifti2Image(INTENSITIES, PLAIN, header), tmp_path / "two.nii.gz")
    first, grid = read_nifti(save(tmp_path / "one.nii.gz", INTENSITIES, PLAIN))
    second, other = read_nifti(tmp_path / "two.nii.gz")
    assert np.array_equal(first, second)
    assert (grid.shape, grid.spacing) == (other.shape, other.spacing)
    assert np.array_equal(grid.affine, other.affine)


@pytest.mark.parametrize(
    ("written", "called", "message"),
    [
        ("a.nii", "b.nii.gz", r"is not compressed, .* call it \*.nii$"),
        ("a.nii.gz", "b.nii", r"is compressed, .* \*.nii.gz$"),
    ],
)
def test_a_name_that_is_wrong_about_compression_is_named(tmp_path, written, called, message):
    save(tmp_path / written, INTENSITIES, PLAIN).rename(tmp_path / called)
    with pytest.raises(InputError, match=message):
        read_nifti(tmp_path / called)


def test_a_broken_link_and_a_folder_are_not_called_truncated(tmp_path):
    (tmp_path / "a.nii").symlink_to(tmp_path / "gone.nii")
    (tmp_path / "b.nii").mkdir()
    with pytest.raises(InputError, match=r"a.nii can't be read: No such file or directory, at the end of a link$"):
        read_nifti(tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"b.nii can't be read: Is a directory$"):
        read_nifti(tmp_path / "b.nii")


def test_both_endings_for_one_scan_are_refused(tmp_path):
    root = volumes.acdc(tmp_path, patients=1) / "acdc"
    path = root / "patient001/patient001_frame01_gt.nii.gz"
    nib.save(nib.load(path), path.with_suffix(""))
    with pytest.raises(InputError, match="two files may not have the same name"):
        Acdc(root).load("patient001_frame01")
    path.unlink()
    assert Acdc(root).load("patient001_frame01").mask is not None
