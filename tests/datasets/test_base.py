from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark import InputError
from benchmark.datasets.base import (
    SPLITS,
    Inventory,
    Scan,
    Split,
    check_scan,
    check_split,
    digest,
    hashed_folds,
    hashed_sites,
    label_map,
    near_duplicates,
    read_split,
    site_names,
    site_numbers,
    thumbnail,
)
from benchmark.datasets.phantom import FundusPhantom


@pytest.fixture
def dataset():
    return FundusPhantom(Path(), size=32, train=2, val=1, test=1)


@pytest.fixture
def scan(dataset):
    return dataset.load("phantom0000")


def spoil(array, value):
    array = array.copy()
    array.flat[5] = value
    return array


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda s: replace(s, image=spoil(s.image, np.nan)), "1 NaN or infinite"),
        (lambda s: replace(s, image=spoil(s.image, np.inf)), "1 NaN or infinite"),
        (lambda s: replace(s, image=s.image * 255), r"must lie in \[0, 1\]"),
        (lambda s: replace(s, image=s.image[:, :1]), "3 channels"),
        (lambda s: replace(s, image=s.image[0]), "3 channels"),
        (lambda s: replace(s, mask=s.mask[:, :-1]), r"mask has shape \(1, 31, 32\) and the image \(1, 32, 32\)"),
        (lambda s: replace(s, mask=spoil(s.mask, 3)), r"unknown labels \[3\]; it may hold 0 to 2"),
        (lambda s: replace(s, drawn={"scribble": s.mask[:, 1:] + 1}), "drawn scribble has shape"),
        (lambda s: replace(s, drawn={"scribble": s.mask * 0}), "outside 1 to 7"),
        (lambda s: replace(s, image=s.image.astype(float)), "the image is float64; it must be float32"),
        (lambda s: replace(s, mask=s.mask.astype(float)), "the mask is float64; it must be uint8"),
        (lambda s: replace(s, drawn={"scribble": 1 + s.mask.astype(int)}), "the drawn scribble is int64; it must be uint8"),
        (lambda s: replace(s, spacing=(1.0, 0.0, 1.0)), "must be positive"),
    ],
)
def test_a_broken_scan_is_refused_by_name(dataset, scan, fault, message):
    check_scan(scan, dataset)
    with pytest.raises(InputError, match=f"fundus_phantom, scan phantom0000: .*{message}"):
        check_scan(fault(scan), dataset)


def test_numbers_of_a_header_are_plain_numbers(scan):
    """As nibabel gives them; a sealed folder writes them as JSON."""
    header = replace(scan, spacing=tuple(np.float32([8, 1.5, 1.25])))
    assert header.spacing == (8, 1.5, 1.25)
    assert {type(mm) for mm in header.spacing} == {float}
    assert digest(header) == digest(replace(scan, spacing=(8.0, 1.5, 1.25)))


def test_a_training_scan_may_lack_a_mask(dataset, scan):
    check_scan(replace(scan, mask=None), dataset)


def test_the_digest_sees_every_part(scan):
    others = [
        replace(scan, image=spoil(scan.image, 0.123)),
        replace(scan, mask=spoil(scan.mask, 1 - scan.mask.flat[5] % 2)),
        replace(scan, spacing=(1.0, 1.0, 1.0)),
        replace(scan, drawn={"scribble": scan.mask + 1}),
        replace(scan, patient="other"),
    ]
    assert len({digest(s) for s in [scan, *others]}) == 6


class Overlapping(FundusPhantom):
    parts = Split(("a1", "b1"), (), ("a2",))

    def patients(self):
        return {"a": ["a1", "a2"], "b": ["b1"]}

    def split(self, name):
        return self.parts


def test_a_scan_that_is_named_twice_is_an_error():
    dataset = Overlapping(Path())
    dataset.parts = Split(("a1", "a2", "a1"), (), ("b1",))
    with pytest.raises(InputError, match="split default of .* names a1 more than once in train; name each scan once"):
        check_split(dataset, "default")


def test_a_patient_in_two_parts_is_an_error():
    with pytest.raises(InputError, match="patient a in train and in test"):
        check_split(Overlapping(Path()), "default")


def test_a_part_that_must_not_be_empty_is_an_error():
    dataset = Overlapping(Path())
    dataset.parts = Split(("a1",), (), ())
    with pytest.raises(InputError, match="no test scans"):
        check_split(dataset, "default")


def test_a_scan_that_is_not_there_is_an_error():
    dataset = Overlapping(Path())
    dataset.parts = Split(("a1",), (), ("c1",))
    with pytest.raises(InputError, match="names c1"):
        check_split(dataset, "default")


def test_an_unknown_split_is_refused_with_those_that_exist(dataset):
    with pytest.raises(InputError, match="no split 'strat9'; it has default"):
        check_split(dataset, "strat9")


def test_a_split_that_is_called_as_held_out_scans_are_is_refused(dataset, monkeypatch):
    monkeypatch.setattr(dataset, "splits", lambda: ["a", "a@val"])
    with pytest.raises(InputError, match="called a@val, which means the held-out scans of a; give it another name"):
        check_split(dataset, "a@val")


@pytest.mark.parametrize("path", sorted(SPLITS.glob("*/*.txt")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_stored_split_is_as_recorded_and_disjoint(path):
    roles = read_split(path.parent.name, path.stem)
    names = [patient for part in roles.values() for patient in part]
    assert len(names) == len(set(names)) > 0


def test_a_changed_split_file_is_refused(monkeypatch, tmp_path):
    folder = tmp_path / "acdc"
    folder.mkdir()
    (folder / "SHA256SUMS").write_text((SPLITS / "acdc" / "SHA256SUMS").read_text())
    (folder / "strat5-0.txt").write_text((SPLITS / "acdc" / "strat5-0.txt").read_text() + "test patient003\n")
    monkeypatch.setattr("benchmark.datasets.base.SPLITS", tmp_path)
    with pytest.raises(InputError, match="was changed"):
        read_split("acdc", "strat5/0")


def test_labels_that_do_not_fit_are_refused():
    assert label_map(np.array([0.0, 3.0]), "x").dtype == np.uint8
    for wrong in (np.array([0.5]), np.array([256]), np.array([-1]), np.array([np.nan])):
        with np.errstate(invalid="ignore"), pytest.raises(InputError, match="whole numbers from 0 to 255"):
            label_map(wrong, "x")


def test_a_scan_is_immutable(scan):
    with pytest.raises(AttributeError):
        scan.mask = None
    assert isinstance(scan, Scan)


class Copying(FundusPhantom):
    """Its second scan is a copy of the first, perhaps a little brighter."""

    gain = 1.0

    def load(self, name):
        scan = super().load("phantom0000" if name == "phantom0003" else name)
        image = scan.image * (self.gain if name == "phantom0003" else 1)
        return replace(scan, name=name, patient=name, image=image)


def test_identical_pixels_in_two_parts_are_an_error():
    with pytest.raises(InputError, match="phantom0000 in train and phantom0003 in test hold identical pixels"):
        Inventory(Copying(Path(), size=32, train=2, val=1, test=1), {}).look("default")


def test_nearly_equal_images_in_two_parts_are_a_warning():
    dataset = Copying(Path(), size=32, train=2, val=1, test=1)
    dataset.gain = 0.97
    (warning,) = Inventory(dataset, {}).look("default").warnings
    assert warning == "split default of fundus_phantom: phantom0000 in train nearly equals phantom0003 in test"


def test_a_survey_reads_every_scan_once(dataset):
    survey = Inventory(dataset, {})
    first = survey.look("default")
    seen = dict(survey.seen)
    assert survey.look("default") == first
    assert all(survey.seen[name] is seen[name] for name in seen)


def test_the_look_of_a_split_changes_with_any_scan(dataset):
    other = FundusPhantom(Path(), size=32, train=1, val=2, test=1)
    assert Inventory(dataset, {}).look("default").fingerprint != Inventory(other, {}).look("default").fingerprint


def test_different_images_are_not_near_duplicates(dataset):
    names = [f"phantom{n:04d}" for n in range(4)]
    assert near_duplicates({name: thumbnail(dataset.load(name).image) for name in names}) == []
    assert near_duplicates({}) == []


def test_images_too_small_to_compare_are_not_near_duplicates():
    tiny = np.ones((1, 1, 8, 8), np.float32)
    assert near_duplicates({"a": thumbnail(tiny), "b": thumbnail(tiny)}) == []


def test_folds_by_hash_test_every_patient_once_and_keep_patients_whole():
    patients = {f"p{n}": [f"p{n}a", f"p{n}b"] for n in range(21)}
    folds = hashed_folds(patients, 5)
    tested = [scan for fold in folds for scan in fold.test]
    assert sorted(tested) == sorted(scan for scans in patients.values() for scan in scans)
    for fold in folds:
        parts = [{scan[:-1] for scan in part} for part in (fold.train, fold.val, fold.test)]
        assert len(set.union(*parts)) == sum(map(len, parts))
        assert len(parts[1]) == 2
    assert folds == hashed_folds(dict(reversed(patients.items())), 5)
    with pytest.raises(InputError, match="too few for 5 folds"):
        hashed_folds({"a": ["a"]}, 5)


def test_patients_are_dealt_to_sites_of_equal_size_which_are_not_the_folds():
    patients = {f"p{number}": [f"p{number}_a", f"p{number}_b"] for number in range(20)}
    sites = hashed_sites(patients, 5)
    assert Counter(sites.values()) == dict.fromkeys(("site1", "site2", "site3", "site4", "site5"), 4)
    assert sites == hashed_sites([*patients][::-1], 5)
    for fold in hashed_folds(patients, 5):
        assert len({sites[name.split("_")[0]] for name in fold.test}) > 1
    assert set(hashed_sites(patients, 10).values()) == {f"site{number:02d}" for number in range(1, 11)}
    with pytest.raises(InputError, match="there are 20 patients, too few for 21 sites"):
        hashed_sites(patients, 21)


def test_sites_are_numbered_by_their_names_and_one_site_is_none(dataset, monkeypatch):
    assert site_numbers(dataset) == {}
    names = dict(zip(dataset.patients(), ("b", "a", "b", "c"), strict=True))
    monkeypatch.setattr(FundusPhantom, "sites", lambda self: names)
    assert list(site_numbers(dataset).values()) == [1, 0, 1, 2]
    monkeypatch.setattr(FundusPhantom, "sites", lambda self: dict.fromkeys(names, "a"))
    assert site_names(dataset) == {}
    monkeypatch.setattr(FundusPhantom, "sites", lambda self: {"phantom0000": "a", "phantom0001": "b"})
    with pytest.raises(InputError, match=r"patient phantom0002 is missing in patients\(\) or sites\(\)"):
        site_names(dataset)


def test_other_sites_of_the_same_scans_are_another_fingerprint(dataset, monkeypatch):
    seen = {Inventory(dataset, {}).look("default").fingerprint}
    for sites in ("abab", "abba"):
        names = dict(zip(dataset.patients(), sites, strict=True))
        monkeypatch.setattr(FundusPhantom, "sites", lambda self, names=names: names)
        seen.add(Inventory(dataset, {}).look("default").fingerprint)
    assert len(seen) == 3
