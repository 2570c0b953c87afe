from pathlib import Path

import numpy as np
import pytest

from benchmark import InputError
from benchmark.datasets.base import check_scan, check_split, digest
from benchmark.datasets.phantom import FundusPhantom, OctaPhantom, PolypPhantom, TexturePhantom

PHANTOMS = [OctaPhantom, FundusPhantom, PolypPhantom, TexturePhantom]


@pytest.mark.parametrize("phantom", PHANTOMS)
def test_scans_keep_the_promises_of_a_data_set(phantom):
    dataset = phantom(Path(), size=64, train=3, val=1, test=2)
    split = check_split(dataset, "default")
    assert [len(part) for part in (split.train, split.val, split.test)] == [3, 1, 2]
    for name in split.train + split.test:
        scan = dataset.load(name)
        check_scan(scan, dataset)
        assert set(np.unique(scan.mask)) == set(range(len(dataset.classes)))


@pytest.mark.parametrize("phantom", PHANTOMS)
def test_a_scan_is_a_function_of_its_name(phantom):
    one, two = (phantom(Path(), size=64, train=n, test=1) for n in (2, 5))
    assert digest(one.load("phantom0001")) == digest(two.load("phantom0001"))
    assert digest(one.load("phantom0001")) != digest(one.load("phantom0000"))


def test_no_validation_images_is_an_empty_part():
    assert OctaPhantom(Path(), size=32, train=2, val=0, test=1).split("default").val == ()


def test_texture_tells_nothing_by_intensity():
    """Median over images: the difference of mean intensity is small compared with its spread."""
    dataset = TexturePhantom(Path(), size=128)
    gaps = []
    for number in range(12):
        scan = dataset.load(f"phantom{number:04d}")
        inside, outside = scan.image[0, 0][scan.mask[0] == 1], scan.image[0, 0][scan.mask[0] == 0]
        gaps.append((inside.mean() - outside.mean()) / scan.image.std())
    assert abs(np.median(gaps)) < 0.25


def test_sizes_and_counts_that_make_no_phantom_are_refused():
    with pytest.raises(InputError, match="at least 32"):
        OctaPhantom(Path(), size=8)
    with pytest.raises(InputError, match="at least 1"):
        OctaPhantom(Path(), test=0)
