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


@pytest.mark.parametrize("phantom", PHANTOMS)
def test_of_three_sites_the_first_looks_as_without_sites_and_the_others_have_looks_of_their_own(phantom):
    alone, cut = phantom(Path(), size=64), phantom(Path(), size=64)
    cut.cut = 3
    for number in range(3):
        usual, scan = (each.load(f"phantom{number:04d}") for each in (alone, cut))
        assert np.array_equal(usual.image, scan.image) == (number == 0)
        assert np.array_equal(usual.mask, scan.mask)
    assert scan.image.dtype == np.float32
    assert list(cut.sites().values())[:4] == ["site1", "site2", "site3", "site1"]


def test_wider_vessels_darken_a_fundus_and_a_brighter_look_is_brighter():
    dataset, rngs = FundusPhantom(Path(), size=64), [np.random.default_rng(0) for _ in range(2)]
    usual, wide = (dataset.draw(rng, 64, fine)[0] for rng, fine in zip(rngs, (1.0, 2.0), strict=True))
    assert wide.mean() < usual.mean()
    dataset.cut = 2
    bright = dataset.load("phantom0001").image.mean()
    dataset.cut = 0
    assert bright > dataset.load("phantom0001").image.mean()


def test_phantoms_have_no_more_sites_than_looks():
    dataset = OctaPhantom(Path(), size=32)
    dataset.cut = 6
    with pytest.raises(InputError, match="octa_phantom: sites is 6; phantoms have 1 to 5 looks"):
        dataset.sites()
    with pytest.raises(InputError, match="sites is 6"):
        dataset.load("phantom0005")
