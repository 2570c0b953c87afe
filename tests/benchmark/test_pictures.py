"""Pictures of test scans, kept by a sweep for reports."""

import errno
import json
import os
import shutil

import numpy as np
import pytest

from benchmark import InputError
from benchmark.report import runs as report_runs
from benchmark.report.figures import cases
from benchmark.seal.marks import PictureWriter, SealKey
from benchmark.store import CasePictures, ResultsFolder
from tests.support.sweeps import TINY, run_sweep, small_plan


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two methods on the tiny phantom, with points and with full masks."""
    results = tmp_path_factory.mktemp("results")
    plan = small_plan(["pce", "prior"], annotations=["point", "full"])
    run_sweep(plan, results)
    return plan, results


def test_a_sweep_keeps_image_truth_and_marks_of_every_test_scan(swept):
    plan, results = swept
    dataset, kept = plan.datasets["octa_phantom"], CasePictures.of(results, "octa_phantom", "default")
    for number, name in enumerate(dataset.split("default").test):
        scan = dataset.load(name)
        image, mask = kept.image(number)
        np.testing.assert_array_equal(mask, scan.mask)
        np.testing.assert_array_equal(image[..., 0], np.rint(scan.image[:, 0] * 255))
        assert image.shape == (1, 32, 32, 3)
        marks = kept.marks(number, "point", 0)
        marked = marks != 255
        assert 0 < marked.sum() < marked.size / 4
        np.testing.assert_array_equal(marks[marked], scan.mask[marked])
        np.testing.assert_array_equal(kept.marks(number, "full", 0), scan.mask)
        assert kept.marks(number, "block", 0) is None
    about = kept.about()
    assert about["data"] == plan.jobs[0].data
    assert about["scans"] == list(dataset.split("default").test)
    assert about["classes"] == ["background", "faz"]


def test_pictures_of_other_data_are_replaced(swept, tmp_path):
    plan, made = swept
    results = shutil.copytree(made, tmp_path / "results")
    old = CasePictures.of(results, "octa_phantom", "default").about()["data"]
    other = small_plan(["prior"], options=[*TINY, "octa_phantom.test=3"])
    run_sweep(other, results)
    kept = CasePictures.of(results, "octa_phantom", "default")
    assert kept.about()["data"] == other.jobs[0].data != old
    assert len(kept.about()["scans"]) == 3
    read = report_runs.read(results)
    found = cases.gallery(read, ResultsFolder(results))
    assert [len(own) for own in found.columns.values()] == [3]
    assert "octa_phantom full: pictures are of other data" in found.left_out
    run_sweep(plan, results, rerun="all")
    assert CasePictures.of(results, "octa_phantom", "default").about()["data"] == old


def test_a_case_shows_the_marks_of_its_own_seed(tmp_path):
    for seed in (1, 0):  # the seed shown, the lowest, is sealed last
        run_sweep(small_plan(["prior"], annotations=["point"], seeds=[seed]), tmp_path)
    kept = CasePictures.of(tmp_path, "octa_phantom", "default")
    (column,) = cases.gallery(report_runs.read(tmp_path), ResultsFolder(tmp_path)).columns.values()
    for case in (pick() for pick in column):
        number = kept.about()["scans"].index(case.scan)
        zero, one = (kept.marks(number, "point", seed)[0] for seed in (0, 1))
        np.testing.assert_array_equal(case.marks, zero)
        assert not np.array_equal(zero, one)


def test_pictures_that_are_there_are_not_made_again(swept):
    plan, results = swept
    before = {path: path.stat().st_mtime_ns for path in (results / "pictures").rglob("*")}
    run_sweep(plan, results, rerun="all")
    assert before == {path: path.stat().st_mtime_ns for path in (results / "pictures").rglob("*")}


def test_a_full_disk_is_said_and_leaves_nothing_half_made(swept, tmp_path, monkeypatch):
    plan, _ = swept
    job, dataset = plan.jobs[0], plan.datasets["octa_phantom"]
    pictures = writer(tmp_path, plan, job)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(InputError, match="can't be written .*No space left"):
        list(pictures.write_missing(dataset.split("default").test))
    assert not pictures.exist()
    assert not list((tmp_path / ".staging").iterdir())


def test_of_two_runners_the_first_one_makes_the_pictures(swept, tmp_path):
    plan, _ = swept
    names = plan.datasets["octa_phantom"].split("default").test
    slow, fast = (writer(tmp_path, plan, job) for job in plan.jobs[:2])
    steps = slow.write_missing(names)
    next(steps)
    assert len(list(fast.write_missing(names))) == len(names)
    assert not fast.exist()
    assert len(list(steps)) == len(names) - 1
    assert fast.exist()


def test_of_two_annotations_at_once_both_have_pictures(swept, tmp_path):
    plan, _ = swept
    names = plan.datasets["octa_phantom"].split("default").test
    one, other = (writer(tmp_path, plan, job) for job in (plan.jobs[0], plan.jobs[-1]))
    assert one.marks != other.marks
    steps = one.write_missing(names)
    next(steps)
    list(other.write_missing(names))
    list(steps)
    assert other.exist()


def writer(results, plan, job):
    """Of the pictures of a job's test scans."""
    key = SealKey(job.dataset, job.annotation, job.split, job.seed, held_out=False)
    place = ResultsFolder(results)
    place.prepare()
    return PictureWriter(place, plan.datasets[job.dataset], key, job.data)


# ------------------------------------------------------------------------------------------------------ as cases


def test_a_case_shows_what_every_row_made_of_a_scan(swept):
    plan, results = swept
    found = cases.gallery(report_runs.read(results), ResultsFolder(results))
    assert found.left_out == []
    assert set(found.columns) == {"octa_phantom point", "octa_phantom full"}
    assert len(list(found.cases())) == 4
    case = found.columns["octa_phantom point"][0]()
    run = results / "runs" / plan.jobs[0].folder
    with np.load(run / f"label{json.loads((run / 'run.json').read_text())['scans'].index(case.scan):04d}.npz") as held:
        np.testing.assert_array_equal(case.predictions["pce"], held["labels"][0])
    assert set(case.predictions) == {"pce", "prior"} == set(case.scores)
    assert (case.classes, case.slice, case.slices, case.seed) == (("background", "faz"), 0, 1, 0)
    truth, predicted = case.truth == 1, case.predictions["pce"] == 1
    assert case.scores["pce"]["dice"] == pytest.approx(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()))
    assert case.hashes["pce"] == plan.jobs[0].hash


def pickled(path):
    with path.open("wb") as file:
        np.savez(file, labels=np.array([Trap()], object))


def misshapen(path):
    np.savez_compressed(path, labels=np.zeros((3, 4, 4), np.uint8))


@pytest.mark.parametrize("spoil", [pickled, misshapen, lambda path: path.write_bytes(b"PK")])
def test_a_spoilt_label_map_is_named_and_runs_nothing(swept, tmp_path, spoil):
    plan, results = swept
    shutil.copytree(results, tmp_path / "results")
    for path in (tmp_path / "results" / "runs" / plan.jobs[0].folder).glob("label*.npz"):
        spoil(path)
    with pytest.raises(InputError, match=r"label000\d.npz"):
        list(cases.gallery(report_runs.read(tmp_path / "results"), ResultsFolder(tmp_path / "results")).cases())


class Trap:
    """Unpickled, it would fail the test."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


def test_cases_come_from_the_worst_to_the_best(swept):
    _, results = swept
    for column in cases.gallery(report_runs.read(results), ResultsFolder(results)).columns.values():
        means = [np.mean([score["dice"] for score in pick().scores.values()]) for pick in column]
        assert means == sorted(means)


def test_examples_are_the_best_the_median_and_the_worst():
    picks = [lambda number=number: number for number in range(7)]
    assert cases.Gallery({"c": picks}).examples() == {"c": [6, 3, 0]}
    assert cases.Gallery({"c": picks[:1]}).examples() == {"c": [0]}
    assert cases.Gallery({"c": picks[:2]}).examples() == {"c": [1, 0]}


def test_a_page_shows_no_more_than_its_limit_with_both_ends_of_every_column():
    picks = [lambda number=number: number for number in range(500)]
    shown = list(cases.Gallery({"a": picks, "b": picks[:30]}).cases())
    assert len(shown) == cases.LIMIT // 2 + 30
    assert (shown[0], shown[cases.LIMIT // 2 - 1], shown[-1]) == (0, 499, 29)


def test_pixels_that_may_not_be_redistributed_are_shown_only_when_asked_for(swept, tmp_path):
    _, results = swept
    path = CasePictures.of(results, "octa_phantom", "default").folder / "about.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"redistribute": False}))
    try:
        read = report_runs.read(results)
        shut = cases.gallery(read, ResultsFolder(results))
        assert shut.columns == {}
        assert "may not be redistributed; report --embed-images" in shut.left_out[0]
        assert len(cases.gallery(read, ResultsFolder(results), embed=True).columns) == 2
    finally:
        path.write_text(before)


def test_without_pictures_the_gallery_says_so(swept, tmp_path):
    _, results = swept
    read = report_runs.read(results)
    said = cases.gallery(read, ResultsFolder(tmp_path)).left_out
    assert "octa_phantom point: no pictures; a sweep makes them when it trains" in said


def test_the_slice_with_most_truth_is_shown():
    masks = np.zeros((4, 3, 3), np.uint8)
    assert cases._fullest(masks) == 2
    masks[1, 0, 0] = masks[3, :2] = 1
    assert cases._fullest(masks) == 3


def test_names_can_not_leave_the_folder(tmp_path):
    assert CasePictures.of(tmp_path, "../../x", "a/b") == CasePictures(tmp_path / "pictures" / "..-..-x" / "a-b")
