"""The script that measures on a GPU, rehearsed on whatever is here, and the small copies of data that go with it."""

import json

import h5py
import numpy as np
import pytest

from tests import gpu_measure
from tests.support import gpu_data


def kept(out):
    return [json.loads(line) for line in (out / "gpu.jsonl").read_text().splitlines()]


def test_a_part_that_fails_says_so_and_alone_is_tried_again(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(gpu_measure, "convs", lambda say: tried.append("convs") or 1 / 0)
    monkeypatch.setattr(gpu_measure, "equal", lambda say: tried.append("equal") or say(figure=3))
    for _ in range(2):
        gpu_measure.main(str(tmp_path), "about", "convs", "equal")
    assert tried == ["convs", "equal", "convs"]
    lines = kept(tmp_path)
    assert [line["ended"] for line in lines if "ended" in line] == ["about", "equal"]
    assert ["ZeroDivisionError" in line["failed"] for line in lines if "failed" in line] == [True, True]
    assert sum("figure" in line for line in lines) == 1


def test_an_unknown_part_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="there is no part speed; there are about, convs"):
        gpu_measure.main(str(tmp_path), "speed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_part_can_be_rehearsed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_measure, "SMALL", True)
    gpu_measure.main(str(tmp_path))
    lines = kept(tmp_path)
    assert [line for line in lines if "failed" in line] == []
    assert [line["ended"] for line in lines if "ended" in line] == list(gpu_measure.PARTS)
    assert all(line["losses_equal"] and line["weights_equal"] for line in lines if "losses_equal" in line)


def test_a_small_copy_keeps_every_mark_and_the_shape_of_the_slices(tmp_path):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, (2, 40, 30)).astype(np.uint8)
    scribble = np.full((2, 40, 30), 4, np.uint16)
    scribble[0, 5, 7], scribble[1, 33, 20] = 2, 0
    path = tmp_path / "data/acdc/ACDC_training_volumes/patient001_frame01.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as made:
        for name, array in (("image", rng.random((2, 40, 30), np.float32)), ("label", label), ("scribble", scribble)):
            made[name] = array
    gpu_data.main(tmp_path / "data", tmp_path / "small", 20)
    with h5py.File(tmp_path / "small" / path.relative_to(tmp_path / "data")) as made:
        image, small, marks = (made[name][:] for name in ("image", "label", "scribble"))
    assert image.shape == small.shape == marks.shape == (2, 20, 15)
    assert np.array_equal(image * 256, np.round(image * 256))
    assert [(marks[n] == k).sum() for n, k in ((0, 2), (1, 0))] == [1, 1]
    assert (marks == 4).sum() == marks.size - 2
    assert marks[0, 2, 3] == 2
    assert np.isin(small, label).all()
