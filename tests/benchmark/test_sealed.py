import numpy as np
import pytest

from benchmark.seal.contract import TestScan, WeakData, WeakScan
from benchmark.seal.folder import open_test, open_train, open_val, seal


@pytest.fixture
def scans(rng):
    shapes = [(2, 3, 5, 4), (1, 3, 6, 6)]
    return [
        WeakScan(rng.random(shape, np.float32), rng.integers(1, 8, (shape[0], *shape[2:])).astype(np.uint8), spacing, site)
        for shape, spacing, site in zip(shapes, [None, (9.0, 1.5, 1.25)], [2, 0], strict=True)
    ]


def test_what_was_sealed_comes_back_bit_by_bit(tmp_path, scans):
    held = [TestScan(scan.image[..., ::-1], scan.spacing, scan.site) for scan in scans]
    seal(tmp_path, {"train": scans}, held, 3, 3)
    train, test = open_train(tmp_path), open_test(tmp_path)
    assert (train.classes, train.channels, len(train)) == (3, 3, 2)
    for first, second in zip(train, scans, strict=True):
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.allowed, second.allowed)
        assert (first.spacing, first.site) == (second.spacing, second.site)
    for first, second in zip(test, held, strict=True):
        assert np.array_equal(first.image, second.image)
        assert (first.spacing, first.site) == (second.spacing, second.site)


def test_a_learner_can_not_write_into_sealed_arrays(tmp_path, scans):
    seal(tmp_path, {"train": scans}, [], 3, 3)
    for scan in [*open_train(tmp_path), *WeakData(scans, 3, 3)]:
        for array in (scan.image, scan.allowed):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


def test_sealed_arrays_are_maps_of_files_so_that_workers_share_their_memory(tmp_path, scans):
    seal(tmp_path, {"train": scans, "val": scans}, [TestScan(scan.image) for scan in scans], 3, 3)
    weak = [array for part in (open_train, open_val) for scan in part(tmp_path) for array in (scan.image, scan.allowed)]
    for array in [*weak, *(scan.image for scan in open_test(tmp_path))]:
        assert isinstance(array, np.memmap)
        assert array.mode == "r"


def test_a_sealed_folder_names_nothing(tmp_path, scans):
    seal(tmp_path, {"train": scans}, [TestScan(scans[0].image)], 3, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "index.json",
        "test-image",
        "train-allowed",
        "train-image",
    ]
    assert not any(path.stat().st_mode & 0o222 for path in tmp_path.iterdir())


def test_the_index_has_the_number_of_a_site_unless_it_is_the_first(tmp_path, scans):
    seal(tmp_path, {"train": scans}, [TestScan(scans[1].image)], 3, 3)
    assert (tmp_path / "index.json").read_text() == (
        '{"classes": 3, "channels": 3, "train": [{"shape": [2, 3, 5, 4], "spacing": null, "site": 2}, '
        '{"shape": [1, 3, 6, 6], "spacing": [9.0, 1.5, 1.25]}], "train-sets": "|u1", '
        '"test": [{"shape": [1, 3, 6, 6], "spacing": null}]}'
    )


def test_wide_sets_keep_their_type(tmp_path):
    sets = np.full((1, 4, 4), 1 << 20, np.int32)
    seal(tmp_path, {"train": [WeakScan(np.zeros((1, 1, 4, 4), np.float32), sets)]}, [], 21, 1)
    assert next(iter(open_train(tmp_path))).allowed.dtype == np.int32


def test_held_out_marks_may_be_of_another_integer_type(tmp_path, scans):
    held_out = [WeakScan(scan.image, scan.allowed.astype(np.int32)) for scan in scans]
    seal(tmp_path, {"train": scans, "val": held_out}, [], 3, 3)
    for part in (open_train(tmp_path), open_val(tmp_path)):
        for first, second in zip(part, scans, strict=True):
            np.testing.assert_array_equal(first.allowed, second.allowed)


def test_relabelling_keeps_images_and_sites(scans):
    data = WeakData(scans, 3, 3).relabel(lambda scan: np.full_like(scan.allowed, 7))
    assert all((scan.allowed == 7).all() for scan in data)
    assert np.array_equal(next(iter(data)).image, scans[0].image)
    assert [scan.site for scan in data] == [2, 0]


@pytest.mark.parametrize(
    ("image", "allowed"),
    [((1, 1, 4, 4), (1, 4, 5)), ((1, 2, 4, 4), (1, 4, 4))],
)
def test_shapes_that_do_not_fit_are_refused(image, allowed):
    with pytest.raises(ValueError, match="training scan 0: image"):
        WeakData([WeakScan(np.zeros(image, np.float32), np.ones(allowed, np.uint8))], 2, 1)


@pytest.mark.parametrize("value", [0, 4])
def test_values_that_are_not_sets_are_refused(value):
    with pytest.raises(ValueError, match="allowed must be from 1 to 3"):
        WeakData([WeakScan(np.zeros((1, 1, 4, 4), np.float32), np.full((1, 4, 4), value, np.uint8))], 2, 1)
