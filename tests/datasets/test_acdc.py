from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from benchmark import InputError
from benchmark.datasets.acdc import Acdc
from benchmark.datasets.annotations import parse
from benchmark.datasets.base import Inventory, check_scan, check_split, site_names, site_numbers
from benchmark.datasets.simulate import Annotator
from tests.tiny import acdc as tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("data")) / "acdc"


@pytest.fixture(params=["tiny", pytest.param("real", marks=pytest.mark.slow)])
def dataset(request):
    if request.param == "tiny":
        return Acdc(request.getfixturevalue("folder"))
    return Acdc(request.getfixturevalue("real_data") / "acdc")


def test_every_split_is_whole(dataset):
    for name in dataset.splits():
        split = check_split(dataset, name)
        assert len(split.train + split.test + split.val) == 200
        assert len(split.test) == 40


def test_stratified_folds_test_every_patient_once_and_four_of_each_pathology(dataset):
    seen = Counter()
    for fold in range(5):
        tested = {int(scan[7:10]) for scan in dataset.split(f"strat5/{fold}").test}
        seen.update(tested)
        assert Counter((number - 1) // 20 for number in tested) == dict.fromkeys(range(5), 4)
    assert set(seen.values()) == {1}
    assert len(seen) == 100


def test_two_numbers_with_one_set_of_images_are_one_patient(dataset):
    assert len(dataset.patients()) == 99
    assert len(dataset.patients()["patient074"]) == 4


def test_no_pixels_are_in_two_parts_of_a_split(dataset):
    survey = Inventory(dataset, {})
    assert len({survey.look(split).fingerprint for split in dataset.splits()}) == 10


def test_published_folds_are_contiguous_and_have_no_selection_part(dataset):
    split = dataset.split("wsl4mis/1")
    assert {name[:10] for name in split.test} == {f"patient{n:03d}" for n in range(21, 41)}
    assert split.val == ()


def test_a_volume_holds_its_image_mask_and_scribble(dataset):
    scan = dataset.load(dataset.patients()["patient001"][0])
    check_scan(scan, dataset)
    assert scan.image.dtype == np.float32
    assert set(np.unique(scan.mask)) == {0, 1, 2, 3}
    assert set(np.unique(scan.drawn["scribble"])) == {1, 2, 4, 8, 15}
    assert scan.spacing is None


def test_drawn_scribbles_agree_with_the_mask(dataset):
    agree = labelled = 0
    for patient in ("patient001", "patient050"):
        for name in dataset.patients()[patient]:
            scan = dataset.load(name)
            marks = scan.drawn["scribble"]
            labelled += np.count_nonzero(marks != 15)
            agree += np.count_nonzero((marks != 15) & (marks >> scan.mask & 1))
    assert agree / labelled > 0.999


def test_a_missing_folder_says_where_to_get_the_files(tmp_path):
    with pytest.raises(InputError, match="there is no folder .*acdc; get acdc from https"):
        Acdc(tmp_path / "acdc").patients()
    with pytest.raises(InputError, match="holds neither .*patientPPP_frameFF.h5 nor .*get them from https"):
        Acdc(tmp_path).patients()


def test_missing_patients_are_named(tmp_path):
    few = Acdc(tiny.write(tmp_path, patients=3) / "acdc")
    with pytest.raises(InputError, match="needs patient004"):
        few.split("strat5/0")


@pytest.fixture
def small(tmp_path):
    return tiny.write(tmp_path, patients=1)


def test_a_truncated_file_is_named(small):
    path = small / "acdc/ACDC_training_volumes/patient001_frame01.h5"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match="patient001_frame01.h5 can't be read.*truncated"):
        Acdc(small / "acdc").load("patient001_frame01")


def test_a_file_without_a_scribble_is_named(small):
    import h5py

    with h5py.File(small / "acdc/ACDC_training_volumes/patient001_frame01.h5", "r+") as file:
        del file["scribble"]
    with pytest.raises(InputError, match="lacks scribble"):
        Acdc(small / "acdc").load("patient001_frame01")


def test_an_unknown_scribble_value_is_named(small):
    tiny.change(small, "patient001_frame01", scribble=np.full((2, 32, 28), 9, np.uint16))
    with pytest.raises(InputError, match=r"scribble: unknown labels \[9\]"):
        Acdc(small / "acdc").load("patient001_frame01")


def test_a_label_beyond_a_byte_is_not_wrapped(small):
    tiny.change(small, "patient001_frame01", label=np.full((2, 32, 28), 257, np.int32))
    with pytest.raises(InputError, match=r"label holds \[257\]"):
        Acdc(small / "acdc").load("patient001_frame01")


def test_a_foreign_file_name_is_refused(small):
    folder = small / "acdc/ACDC_training_volumes"
    (folder / "patient001_frame01.h5").rename(folder / "case7.h5")
    with pytest.raises(InputError, match="case7.h5 is not a file of this data set; files are named"):
        Acdc(small / "acdc").patients()


@pytest.mark.slow
def test_simulated_scribbles_are_like_those_that_people_drew(real_data):
    """Labelled share of each class and median distance of the marks to its boundary, within a factor of 1.5."""
    dataset = Acdc(real_data / "acdc")
    kinds = {"drawn": parse("scribble:drawn"), "simulated": parse("scribble:sim")}
    marked, total = {kind: np.zeros(4) for kind in kinds}, np.zeros(4)
    depths = {kind: [[] for _ in range(4)] for kind in kinds}
    for name in [scan for scans in dataset.patients().values() for scan in scans][::10]:
        scan = dataset.load(name)
        sets = {kind: Annotator(dataset, (), annotation, 0)(scan) for kind, annotation in kinds.items()}
        for number, labels in enumerate(scan.mask):
            for k in np.unique(labels):
                region = labels == k
                depth = ndimage.distance_transform_edt(np.pad(region, 1, constant_values=bool(k == 0)))[1:-1, 1:-1]
                total[k] += region.sum()
                for kind in kinds:
                    mark = (sets[kind][number] == 1 << k) & region
                    marked[kind][k] += mark.sum()
                    depths[kind][k] += depth[mark].tolist() if not region.all() else []
    shares = marked["simulated"] / marked["drawn"]
    medians = np.array([np.median(s) / np.median(d) for s, d in zip(depths["simulated"], depths["drawn"], strict=True)])
    assert (marked["drawn"] / total)[1:] == pytest.approx([0.10, 0.14, 0.10], abs=0.02)
    for ratios in (shares, medians):
        assert (ratios < 1.5).all()
        assert (ratios > 1 / 1.5).all()


def test_its_sites_are_the_pathologies_in_blocks_of_twenty_patients(dataset):
    sites = site_names(dataset)
    assert Counter(sites.values()) == dict.fromkeys(("DCM", "HCM", "MINF", "NOR", "RV"), 40)
    assert [sites[next(n for n in sites if n.startswith(f"patient{k:03d}"))] for k in (1, 20, 21, 60, 74, 76, 100)] == [
        "DCM", "DCM", "HCM", "MINF", "NOR", "NOR", "RV"
    ]  # fmt: skip
    assert site_numbers(dataset)[dataset.split("wsl4mis/4").test[0]] == 4


def test_the_fingerprint_of_its_splits_does_not_hold_its_sites_which_names_settle(folder, monkeypatch):
    before = Inventory(Acdc(folder), {}).look("strat5/0").fingerprint
    monkeypatch.setattr(Acdc, "sites", lambda self: {})
    assert Inventory(Acdc(folder), {}).look("strat5/0").fingerprint == before
