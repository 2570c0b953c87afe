"""`dataset.json` of nnU-Net v2: labels, regions, channels, readers."""

import json

import nibabel as nib
import numpy as np
import pytest

from benchmark import InputError
from benchmark.datasets.base import Inventory
from benchmark.datasets.nnunet import NnUnet
from benchmark.score.external import Predictions, score
from benchmark.seal.export import export
from tests.tiny import volumes

FACTS = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1, "lesion": 2}, "file_ending": ".nii.gz"}


def opened(root, **changes):
    """A data set whose `dataset.json` has these entries; None removes one."""
    facts = {key: value for key, value in (FACTS | changes).items() if value is not None}
    (root / "dataset.json").write_text(json.dumps(facts))
    return NnUnet(root)


@pytest.mark.parametrize(
    ("labels", "classes", "regions"),
    [
        ({"background": 0, "a": 1, "b": 2}, ("background", "a", "b"), {"a": (1,), "b": (2,)}),
        ({"background": 0, "whole": [1, 2], "core": 2}, ("background", "class1", "core"), {"whole": (1, 2), "core": (2,)}),
        (
            {"background": 0, "ring": 1, "core": 2, "both": [1, 2]},
            ("background", "ring", "core"),
            {"ring": (1,), "core": (2,), "both": (1, 2)},
        ),
        (
            {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]},
            ("background", "class1", "class2", "enhancing"),
            {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)},
        ),
        ({"background": 0, "class1": [1, 2], "b": 2}, ("background", "class1_", "b"), {"class1": (1, 2), "b": (2,)}),
        ({"b": 2, "same": [2], "a": 1, "zero": 0}, ("zero", "a", "b"), {"b": (2,), "same": (2,), "a": (1,)}),
    ],
)
def test_every_name_but_the_background_is_a_region(tmp_path, labels, classes, regions):
    dataset = opened(tmp_path, labels=labels | {"ignore": 4})
    assert (dataset.classes, dataset.regions, dataset.ignore) == (classes, regions, 4)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps(FACTS), encoding="utf-8-sig")
    assert NnUnet(tmp_path).classes == ("background", "organ", "lesion")


def test_files_that_are_not_read_and_forms_that_are_none_are_named(tmp_path):
    root = volumes.nnunet(tmp_path / "raw")
    case = next((root / "imagesTs").iterdir())
    case.with_name("more_0000.nii.gz").write_bytes(case.read_bytes())
    (root / "imagesTr/c9_0000.nii").write_bytes(b"")
    assert NnUnet(root).reading() == [
        "not read in imagesTr/: c9_0000.nii (1)",
        "not read in imagesTs/: more_0000.nii.gz (1)",
    ]
    with pytest.raises(
        InputError, match=r"annotation: 'scribbles' is no form of drawn annotation \(the nearest is scribble\)"
    ):
        NnUnet(root, annotation="scribbles")


def test_a_case_that_is_labelled_throughout_has_marks_where_others_leave_pixels_open(tmp_path):
    root = volumes.nnunet(tmp_path / "raw")
    facts = json.loads((root / "dataset.json").read_text())
    facts["labels"]["ignore"] = 3
    (root / "dataset.json").write_text(json.dumps(facts))
    dense = NnUnet(root)
    train = dense.split(dense.splits()[0]).train
    assert not dense.load(train[0]).drawn  # an ignore value that no case holds
    for name in train[1:]:
        path = root / f"labelsTr/{name}.nii.gz"
        volume = nib.load(path)
        marks = np.asarray(volume.dataobj).copy()
        marks[::2] = 3
        nib.save(nib.Nifti1Image(marks, volume.affine), path)
    marked = NnUnet(root)
    whole, open_ = marked.load(train[0]), marked.load(train[1])
    assert np.array_equal(whole.drawn["scribble"], 1 << whole.mask)
    assert open_.mask is None
    assert not marked.load(marked.split("official").test[0]).drawn
    assert Inventory(marked, {}).look("official").drawn == ("scribble",)


def test_the_case_of_an_ending_does_not_matter(tmp_path):
    root = volumes.nnunet(tmp_path / "raw")
    before = NnUnet(root).load("case_000").image
    for path in [*root.rglob("case_000*.nii.gz")]:
        path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))
    assert np.array_equal(NnUnet(root).load("case_000").image, before)


def test_few_voxels_that_differ_from_the_background_keep_their_values(tmp_path):
    root = volumes.nnunet(tmp_path / "raw")
    path = next((root / "imagesTr").iterdir())
    volume = nib.load(path)
    sparse = np.zeros(volume.shape, np.int16)
    sparse[3, 4:8, 1] = 100, 200, 300, 400
    nib.save(nib.Nifti1Image(sparse, volume.affine), path)
    assert np.unique(NnUnet(root).load(path.name.removesuffix("_0000.nii.gz")).image[:, 0]).tolist() == [
        0,
        0.25,
        0.5,
        0.75,
        1,
    ]


def test_regions_and_plain_values_are_scored(tmp_path):
    root = volumes.nnunet(tmp_path / "raw")
    dataset = opened(root, labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2])
    (tmp_path / "net").mkdir()
    for path in (root / "labelsTs").iterdir():
        volumes.save(tmp_path / "net" / path.name, np.roll(dataset.load(path.name.removesuffix(".nii.gz")).mask, 1, 1))
    score(Predictions([str(tmp_path / "net")], f"nnunet:{root}"), tmp_path / "r", tmp_path)
    (cases,) = (tmp_path / "r").rglob("cases.csv")
    assert {line.split(",")[2] for line in cases.read_text().splitlines()} == {"region", "whole", "core"}


def test_an_export_of_regions_has_a_plain_label_for_each_value(tmp_path):
    root = volumes.nnunet(tmp_path / "raw")
    dataset = opened(root, labels={"background": 0, "whole": [1, 2], "core": 2})
    facts = json.loads((export(dataset, "full", "", tmp_path / "out") / "dataset.json").read_text())
    assert facts["labels"] == {"background": 0, "class1": 1, "core": 2, "ignore": 3}
    assert facts["channel_names"] == {"0": "CT"}


def test_channels_are_in_the_order_of_their_numbers(tmp_path):
    names = {str(number): f"C{number}" for number in reversed(range(12))}
    assert opened(tmp_path, channel_names=names).channel_names == tuple(f"C{number}" for number in range(12))


VERSION_1 = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "organ"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (VERSION_1 | {"channel_names": None, "file_ending": None}, "call modality channel_names, write labels as name: n"),
        ({"labels": VERSION_1["labels"]}, "version 1; for version 2 "),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "must be classes 0, 1, ... without a gap and with one name each"),
        ({"labels": {"background": 0, "a": 1, "b": [1, 3]}}, "without a gap"),
        ({"labels": {"background": [0], "a": 1}}, "must be classes 0, 1, "),
        ({"labels": {"background": 0, "a": 1, "ignore": 1}}, "at most an ignore, of another value"),
        ({"labels": {"background": 0, "a": [1, 2], "ignore": 2}}, "at most an ignore, of another value"),
        ({"labels": {"background": 0, "a": 1, "b": []}}, r"region b is \[\]; classes are 1 to 1"),
        ({"labels": {"background": 0, "a": 1, "b": [0, 1]}}, r"region b is \[0, 1\]; classes are 1 to 1"),
        ({"labels": {"background": 0, "a": 1, " ": [1]}}, "a class or region is called ' '"),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order": [1]}, "for a, b; it must hold one of"),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order": [1, 7]}, "for a, b; it must hold one of"),
        ({"channel_names": {"1": "T1", "2": "T2"}}, "channel_names has 1, 2; channels are 0, 1, ..."),
        ({"overwrite_image_reader_writer": "Tiff3DIO"}, "is 'Tiff3DIO'; files for SimpleITKIO, NibabelIO, "),
        ({"dataset": {"case": {"images": ["a"], "label": "b"}}}, "lists its files under dataset; put them into imagesTr"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_refused_with_what_would_be_right(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        opened(tmp_path, **changes)


@pytest.mark.parametrize("reader", [None, "None", "SimpleITKIO", "NibabelIO", "NibabelIOWithReorient"])
def test_readers_of_nifti_are_accepted(tmp_path, reader):
    (tmp_path / "dataset.json").write_text(json.dumps(FACTS | {"overwrite_image_reader_writer": reader}))
    assert NnUnet(tmp_path).channels == 1
