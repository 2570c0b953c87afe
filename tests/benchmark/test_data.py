"""`python -m benchmark data`: faults that are planted are named; marks and exports are what a run would use."""

import json
import os
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from benchmark import InputError
from benchmark.check.survey import check
from benchmark.datasets.annotations import parse, to_labels
from benchmark.datasets.base import Inventory
from benchmark.datasets.simulate import Annotator
from benchmark.plan import plugins
from benchmark.plan.jobs import make_plan
from benchmark.plan.plugins import open_data_set
from benchmark.plan.presets import Request
from benchmark.seal.export import export, simulate
from tests.tiny import acdc as tiny_acdc
from tests.tiny import pictures, volumes


def first(root, pattern):
    return min(root.rglob(pattern))


def draw(path, change):
    """Change the pixels of a picture."""
    array = np.array(Image.open(path))
    Image.fromarray(change(array)).save(path)


def set_pixel(array, value):
    array[0, 0] = value
    return array


def rewrite(path, **arrays):
    with h5py.File(path, "r+") as file:
        for key, array in arrays.items():
            del file[key]
            if array is not None:
                file[key] = array


def copy(root, source, target):
    first(root, target).write_bytes(first(root, source).read_bytes())


def two_patients_in_one(root):
    """A folder whose pattern for patients joins images of a train and a test list."""
    (root / "dataset.toml").write_text("patient = '^(p)'\n[splits.mine]\ntrain = ['p0_view0']\ntest = ['p1_view0']\n")


def boxes_without_an_outside(root):
    """Boxes of two classes, with 255 outside, as all other marks have it."""
    (root / "dataset.toml").unlink()
    (root / "weak/point").rename(root / "weak/box")
    for folder, outside in (("masks", 0), ("weak/box", 255)):
        for path in (root / folder).iterdir():
            draw(path, lambda labels, outside=outside: np.where(labels == 1, 1, outside).astype(np.uint8))


FAULTS = {
    "wrong label": ("odoc", lambda r: draw(first(r, "masks/*.png"), lambda a: set_pixel(a, 7)), r"unknown labels \[7\]"),
    "another shape": ("odoc", lambda r: draw(first(r, "masks/*.png"), lambda a: a[:-2]), r"mask has shape \(1, 34, 40\)"),
    "no mask": ("nerve_us", lambda r: first(r, "train/masks/*.png").unlink(), "has no partner in .*masks"),
    "no image": ("nerve_us", lambda r: first(r, "train/images/*.png").unlink(), "has no partner in .*images"),
    "truncated picture": ("odoc", lambda r: os.truncate(first(r, "images/*.png"), 300), "can't be read .*truncated"),
    "a text file": ("odoc", lambda r: first(r, "images/*.png").write_text("hello"), "can't be read"),
    "empty picture": ("odoc", lambda r: os.truncate(first(r, "images/*.png"), 0), "is an empty file; copy it again"),
    "truncated HDF5": ("faz, HDF5", lambda r: os.truncate(first(r, "train/1.h5"), 900), "1.h5 can't be read"),
    "NaN": ("faz, HDF5", lambda r: rewrite(first(r, "train/1.h5"), image=np.full(pictures.SHAPE, np.nan)), "1440 NaN"),
    "no array": ("faz, HDF5", lambda r: rewrite(first(r, "train/1.h5"), mask=None), "1.h5 lacks mask"),
    "marks of another shape": ("faz, HDF5", lambda r: rewrite(first(r, "train/1.h5"), block=np.zeros((4, 4), np.uint8)),
                               r"drawn block has shape \(1, 4, 4\)"),
    "unknown marks": ("faz, HDF5", lambda r: rewrite(first(r, "train/1.h5"), block=np.full(pictures.SHAPE, 9, np.uint8)),
                      r"1.h5, block: unknown labels \[9\]"),
    "a copy across a split": ("odoc", lambda r: copy(r, "train/images/*.png", "test/images/*.png"), "identical pixels"),
    "two patients in one": ("folder", two_patients_in_one, "patient p in train and in test"),
    "an unknown scan in a split": ("folder", lambda r: (r / "dataset.toml").write_text(
        "[splits.mine]\ntrain = ['nobody']\ntest = ['p1_view0']\n"), "names nobody, which is not in"),
    "marks without an image": ("folder", lambda r: first(r, "weak/point/p0_view0.png").rename(r / "weak/point/p9.png"),
                              "p9.png has no image in .*images"),
    "a volume without labels": ("nnunet", lambda r: first(r, "labelsTr/*.gz").unlink(), "labelsTr has no label of case"),
    "labels without a volume": ("mscmr", lambda r: first(r, "train/images/*.gz").unlink(), "scribble.nii.gz has no image"),
    "no folder": ("mscmr", lambda r: (r / "mscmr").rename(r / "elsewhere"), "there is no folder .*mscmr; get mscmr from"),
    "truncated NIfTI": ("mscmr", lambda r: os.truncate(first(r, "train/images/*.gz"), 700), "can't be read"),
    "no scribble": ("mscmr", lambda r: first(r, "train/labels/*.gz").unlink(), "has no subject50_DE_scribble.nii.gz"),
    "labels of another volume": ("nnunet", lambda r: volumes.save(r / "labelsTr/case_000.nii.gz", np.zeros((2, 30, 34))),
                                 r"has shape \(2, 30, 34\)"),
    "a missing channel": ("nnunet", lambda r: first(r, "imagesTr/*.gz").unlink(), "has no image"),
    "a DICOM file": ("odoc", lambda r: first(r, "images/*.png").write_bytes(bytes(128) + b"DICM"), "is a DICOM file; save"),
    "an odd TIFF": ("odoc", lambda r: first(r, "images/*.png").write_bytes(b"II*\0" + bytes(99)), "TIFF of an unusual kind"),
    "a box without its outside": ("folder", boxes_without_an_outside, "p0_view0.png: a box is marked, and no pixel outside"),
    "a flat volume": ("nnunet", lambda r: nib.save(nib.Nifti1Image(np.zeros((4, 4)), np.eye(4)), first(r, "imagesTr/*.gz")),
                      "a volume has three axes"),
}  # fmt: skip
WRITERS = {
    "odoc": pictures.odoc,
    "nerve_us": pictures.nerve_us,
    "faz, HDF5": lambda root: pictures.hdf5(root, "faz", 1, 2),
    "folder": pictures.folder,
    "mscmr": volumes.mscmr,
    "nnunet": volumes.nnunet,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault, tmp_path, capsys):
    """As an error of the report with status 1, or at once where not even the scans can be listed."""
    kind, plant, message = FAULTS[fault]
    WRITERS[kind](tmp_path)
    plant(tmp_path)
    name = kind.partition(",")[0]
    try:
        status = check(f"{name}:{tmp_path}" if name in ("folder", "nnunet") else name, tmp_path)
        said = capsys.readouterr().out
        assert status == 1
        assert "error: " in said
    except InputError as error:
        said = str(error)
    import re

    assert re.search(message, said), said


def test_equal_images_of_one_part_are_a_warning(tmp_path, capsys):
    pictures.hdf5(tmp_path, "odoc", 3, 3)
    copy(tmp_path, "train/1.h5", "train/2.h5")
    assert check("odoc", tmp_path) == 0
    assert "train_1 and train_2 hold identical pixels" in capsys.readouterr().out


def test_what_is_implausible_is_said_by_data_check_and_by_a_plan(tmp_path, capsys):
    """Marks on 0, the habit of many tools; and the summaries that a plan keeps say the same again."""
    root = pictures.folder(tmp_path / "clinic")
    for path in (root / "weak/point").iterdir():
        draw(path, lambda marks: np.where(marks == 255, 0, marks))
    assert check(f"folder:{root}", tmp_path) == 0
    shown = capsys.readouterr().out
    said = [line.removeprefix("warning: ") for line in shown.splitlines() if line.startswith("warning: clinic")]
    assert [text.split(" of ")[0] for text in said] == [
        "clinic: the drawn point labels every pixel",
        "clinic: the mask contradicts " + said[1].split()[4],
    ]
    assert f"0 errors, {len(said)} warnings" in shown
    for _ in range(2):
        plan = make_plan(Request(methods=["pce"], datasets=[f"folder:{root}"], annotations=["point"], splits=["cv5"]))
        assert plan.warnings == said


def test_marks_that_some_images_lack_and_classes_that_no_training_mask_holds_are_said(tmp_path, capsys):
    root = pictures.folder(tmp_path / "clinic")
    (root / "weak/point/p3_view0.png").unlink()
    for path in (root / "masks").glob("p[0-3]*.png"):
        draw(path, lambda mask: np.minimum(mask, 1))
    names = {part: [f"p{n}_view{v}" for n in own for v in (0, 1)] for part, own in (("train", range(4)), ("test", (4, 5)))}
    toml = root / "dataset.toml"
    toml.write_text(f"{toml.read_text()}[splits.mine]\ntrain = {names['train']}\ntest = {names['test']}\n")
    said = [
        "split mine of clinic: no training mask holds core, so it can't be learnt; other masks do",
        "split mine of clinic: 7 of 8 training scans have a drawn point; it is used only if all have one",
    ]
    assert check(f"folder:{root}", tmp_path) == 0
    shown = capsys.readouterr().out
    assert [line.removeprefix("warning: ") for line in shown.splitlines() if line.startswith("warning: split")] == said
    plan = make_plan(Request(methods=["pce"], datasets=[f"folder:{root}"], annotations=["point"]))
    assert [text for text in plan.warnings if text.startswith("split")] == said


def test_too_few_patients_for_folds_are_said_once(tmp_path, capsys):
    root = pictures.folder(tmp_path / "clinic")
    for path in [p for n in (2, 3, 4, 5) for p in root.rglob(f"p{n}_*.png")]:
        path.unlink()
    assert check(f"folder:{root}", tmp_path) == 1
    assert (
        capsys.readouterr().out.count("there are 2 patients, too few for 5 folds; bring more, or name your own splits") == 1
    )


def test_the_table_holds_shares_and_agreement(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    tiny_acdc.write(tmp_path)
    assert check("acdc", tmp_path) == 0
    shown = capsys.readouterr().out
    for word in ("200 scans of 99 patients", "32x28: 400", "unknown: 200", "share of pixels", "scribble:drawn",
                 "of the labels, correct  100.00%", "strat5/0", "scribble:sim (on 12 scans)"):  # fmt: skip
        assert word in shown


def test_a_contact_sheet_shows_image_mask_and_marks(tmp_path, capsys):
    pictures.odoc(tmp_path)
    assert check("odoc", tmp_path, tmp_path / "reports") == 0
    picture = Image.open(tmp_path / "reports/odoc.png")
    assert picture.size == (5 * 160, 12 * 160)
    array = np.asarray(picture)
    assert len(np.unique(array.reshape(-1, 3), axis=0)) > 100


# ------------------------------------------------------------------------------------------------ simulate


def test_simulated_marks_are_written_with_a_manifest(tmp_path):
    root = volumes.acdc(tmp_path / "data", patients=2)
    dataset = plugins.open_data_set("acdc", root)
    out = tmp_path / "out"
    assert simulate(open_data_set("acdc", root), "scribble:sim@0.5", out, seed=3) == 4
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["annotation"] == "scribble:sim@0.5"
    assert (manifest["seed"], manifest["unlabelled"], len(manifest["sha256"])) == (3, 255, 4)
    volume = nib.load(out / "patient001_frame01.nii.gz")
    assert volume.header.get_zooms() == pytest.approx((1.25, 1.5, 8.0))
    labels = np.asarray(volume.dataobj).transpose(2, 1, 0)
    expected = Annotator(dataset, (), parse("scribble:sim@0.5"), 3)(dataset.load("patient001_frame01"))
    assert np.array_equal(labels, to_labels(expected, 4))


def test_marks_of_single_images_are_png(tmp_path):
    pictures.odoc(tmp_path)
    simulate(open_data_set("odoc", tmp_path), "block", tmp_path / "out")
    labels = np.asarray(Image.open(tmp_path / "out" / "train_drishtiGS_002.png"))
    assert set(np.unique(labels)) == {0, 1, 2, 255}


@pytest.mark.parametrize("form", ["scribble", "full", "box"])
def test_marks_are_not_made_of_masks_that_are_wrong(tmp_path, form):
    """Not even of one in the middle, after others: nothing is written."""
    pictures.odoc(tmp_path)
    draw(sorted(tmp_path.rglob("masks/*.png"))[7], lambda mask: mask[:-1])
    with pytest.raises(InputError, match=r"the mask has shape \(1, 35, 40\) and the image"):
        simulate(open_data_set("odoc", tmp_path), form, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_marks_can_not_be_made_without_masks(tmp_path):
    volumes.mscmr(tmp_path)
    with pytest.raises(InputError, match="has no dense mask to make point of"):
        simulate(open_data_set("mscmr", tmp_path), "point", tmp_path / "out")


# ------------------------------------------------------------------------------------------------ export


def test_an_export_is_a_raw_data_set_of_nnunet_with_the_marks_of_a_run(tmp_path):
    """It reads back through our own adapter: same images, same marks, spacing kept, nothing of the test labels."""
    root = volumes.acdc(tmp_path / "data")
    dataset = plugins.open_data_set("acdc", root)
    out = export(open_data_set("acdc", root), "scribble", "strat5/2", tmp_path / "Dataset001_acdc", seed=1)
    split = dataset.split("strat5/2")
    assert {p.name for p in out.iterdir()} == {"imagesTr", "labelsTr", "imagesTs", "dataset.json"}
    assert {p.name.removesuffix("_0000.nii.gz") for p in (out / "imagesTs").iterdir()} == set(split.test)
    assert {p.name.removesuffix(".nii.gz") for p in (out / "labelsTr").iterdir()} == set(split.train)
    again = plugins.open_data_set(f"nnunet:{out}", tmp_path)
    assert again.classes == dataset.classes
    first, second = dataset.load(split.train[0]), again.load(split.train[0])
    assert np.array_equal(second.drawn["scribble"], first.drawn["scribble"])
    assert second.spacing == pytest.approx(first.spacing)
    assert np.corrcoef(first.image.ravel(), second.image.ravel())[0, 1] > 0.999


def test_single_images_are_exported_as_png(tmp_path):
    pictures.odoc(tmp_path)
    out = export(open_data_set("odoc", tmp_path), "point", "", tmp_path / "out")
    facts = json.loads((out / "dataset.json").read_text())
    assert facts["file_ending"] == ".png"
    assert facts["labels"] == {"background": 0, "cup": 1, "rim": 2, "ignore": 3}
    assert list(facts["channel_names"].values()) == ["R", "G", "B"]
    assert facts["numTraining"] == 50
    again = plugins.open_data_set(f"nnunet:{out}", tmp_path)
    scan = again.load("train_drishtiGS_002")
    assert scan.image.shape == (1, 3, *pictures.SHAPE)
    assert set(np.unique(scan.drawn["scribble"])) == {1, 2, 4, 7}


def test_single_slices_of_scanner_units_keep_their_intensities(tmp_path):
    """NIfTI of one slice without geometry, whose values need more than 8 bits, below 0 too."""
    root = volumes.nnunet(tmp_path / "raw")
    for path in root.rglob("*.nii.gz"):
        plane = np.asarray(nib.load(path).dataobj)[:, :, :1]
        nib.save(nib.Nifti1Image(plane - 100 * ("images" in path.parent.name), None), path)
    dataset = open_data_set(f"nnunet:{root}", tmp_path)
    out = export(dataset, "scribble", "", tmp_path / "out")
    again = open_data_set(f"nnunet:{out}", tmp_path)
    for name in dataset.split(dataset.splits()[0]).train:
        assert np.abs(again.load(name).image - dataset.load(name).image).max() < 0.02


def test_a_class_called_ignore_is_not_exported(tmp_path):
    pictures.odoc(tmp_path)
    dataset = open_data_set("odoc", tmp_path)
    dataset.classes = ("background", "ignore", "rim")
    with pytest.raises(InputError, match="odoc has a class called ignore, nnU-Net's word for unlabelled pixels"):
        export(dataset, "point", "", tmp_path / "out")


def test_full_supervision_is_refused_where_there_are_no_masks(tmp_path):
    volumes.mscmr(tmp_path)
    with pytest.raises(InputError, match="subject50_DE has no dense mask to make full of; there is scribble:drawn"):
        export(open_data_set("mscmr", tmp_path), "full", "official", tmp_path / "out")
    assert Inventory(plugins.open_data_set("mscmr", tmp_path), {}).look("dense20/0").maskless == ""


def test_nothing_of_the_real_data_is_in_the_repository():
    root = Path(__file__).parents[2]
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)  # environments, caches of tests
        packed = path.parent == root / "results/reference" and path.name.endswith(
            (".csv.gz", ".jsonl.gz")
        )  # scores, as text
        if path.suffix in (".h5", ".hdf5", ".gz", ".nii", ".jpg") and not hidden and not packed:
            raise AssertionError(path)


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    """Another split's images would mix with this one's."""
    pictures.odoc(tmp_path)
    export(open_data_set("odoc", tmp_path), "point", "official", tmp_path / "out")
    with pytest.raises(InputError, match="not empty"):
        export(open_data_set("odoc", tmp_path), "point", "val10", tmp_path / "out")
    with pytest.raises(InputError, match="not empty"):
        simulate(open_data_set("odoc", tmp_path), "point", tmp_path / "out")


def test_a_volume_of_one_slice_is_a_volume_among_others(tmp_path):
    root = volumes.nnunet(tmp_path / "raw")
    for name in ("imagesTr", "labelsTr"):
        path = sorted((root / name).iterdir())[0]
        volume = nib.load(path)
        nib.save(volume.slicer[:, :, :1], path)
    out = export(open_data_set(f"nnunet:{root}", tmp_path), "scribble", "", tmp_path / "out")
    assert {path.name.split(".", 1)[1] for path in (out / "imagesTr").iterdir()} == {"nii.gz"}
