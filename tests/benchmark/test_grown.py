"""What was grown once is lent to later runs that would grow the very same, and to no others."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmark import plugins, sealed
from benchmark.check import data_of
from benchmark.executors import processor
from benchmark.grown import Grown
from benchmark.runner import Place, Sweep
from benchmark.sealed import GROWN, TestScan, WeakData, WeakScan
from benchmark.worker import fit
from tests.benchmark.test_executors import ByPost
from tests.support.sweeps import BUDGET, TINY, InProcess, Recorder, small_plan


def job_of(method, *options):
    return small_plan([method], options=[*TINY, *options]).jobs[0]


def sealed_in(folder, data):
    folder.mkdir()
    sealed.seal(folder, {"train": data}, [TestScan(scan.image) for scan in data], data.classes, data.channels)
    return folder


@pytest.fixture
def folder(tmp_path):
    return sealed_in(tmp_path / "sealed", data_of("scribble"))


def grow(folder, out, method="random_walker", seed=0):
    """What a worker leaves that grew the marks of a sealed folder."""
    out.mkdir(exist_ok=True)
    job = job_of(method)
    _, outcome = fit(job.plugin, job.options, job.budget, seed, folder, out)
    return {path.name: np.load(path)["allowed"] for path in sorted(out.glob(GROWN))}, outcome


GROWERS = [name for name in plugins.find("method") if hasattr(plugins.get("method", name).load(), "grow")]


@pytest.mark.parametrize("name", GROWERS)
def test_what_is_grown_does_not_depend_on_the_seed(folder, tmp_path, name):
    first, _ = grow(folder, tmp_path / "first", name, seed=0)
    other, _ = grow(folder, tmp_path / "other", name, seed=1)
    assert len(first) == len(sealed.open_train(folder))
    assert all(np.array_equal(first[scan], other[scan]) for scan in first)


def test_a_later_run_gets_what_was_grown_and_trains_on_it(folder, tmp_path, monkeypatch):
    """The same weights, without growing anything; the seconds that it was spared count as its own."""
    job, kept = job_of("random_walker"), Grown(tmp_path)
    first, spent = grow(folder, tmp_path / "first")
    kept.take(job, folder, tmp_path / "first", processor())
    (tmp_path / "second").mkdir()
    kept.lend(job, folder, tmp_path / "second")
    monkeypatch.setattr("benchmark.methods.random_walker.random_walker", None)
    again, less = grow(folder, tmp_path / "second")
    assert all(np.array_equal(first[scan], again[scan]) for scan in first)
    assert "spared_s" not in spent
    assert 0 < less["spared_s"] < less["fit_s"]
    lines = [(tmp_path / run / "train.jsonl").read_text().splitlines() for run in ("first", "second")]
    losses = [[json.loads(line)["loss"] for line in of_run] for of_run in lines]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "other", ["options", "code", "processor", "marks", "image", "classes"], ids=lambda what: f"other-{what}"
)
def test_nothing_is_lent_to_what_would_grow_otherwise(folder, tmp_path, other):
    job, kept = job_of("random_walker"), Grown(tmp_path)
    grow(folder, tmp_path / "first")
    kept.take(job, folder, tmp_path / "first", "another" if other == "processor" else processor())
    if other == "options":
        job = job_of("random_walker", "random_walker.beta=90.0")
    if other == "code":
        job = replace(job, code="other")
    data = data_of("scribble")
    if other == "marks":
        folder = sealed_in(tmp_path / "other", data_of("point"))
    if other == "image":
        scans = [WeakScan(scan.image * np.float32(0.5), scan.allowed) for scan in data]
        folder = sealed_in(tmp_path / "other", WeakData(scans, data.classes, data.channels))
    if other == "classes":
        folder = sealed_in(tmp_path / "other", WeakData(data, 4, data.channels))
    (tmp_path / "second").mkdir()
    kept.lend(job, folder, tmp_path / "second")
    assert list((tmp_path / "second").iterdir()) == []


def test_what_trials_grew_is_not_kept(folder, tmp_path):
    """They try options that the job does not name."""
    job, out = job_of("random_walker"), tmp_path / "run"
    out.mkdir()
    tuned = replace(job.budget, tune=1)
    with pytest.raises(ValueError, match="no held-out scan"):
        fit(job.plugin, job.options, tuned, 0, folder, out)
    assert list(out.glob(GROWN)) == []


def test_sets_that_stay_as_they_were_take_no_room(tmp_path):
    folder = sealed_in(tmp_path / "full", data_of("full"))
    assert grow(folder, tmp_path / "run")[0] == {}


def test_sets_are_grown_once_in_a_fit(tmp_path):
    """A second lasting call is another function, of which nothing is known."""
    data = data_of("scribble")
    data.grown = tmp_path
    data.relabel(lambda scan: np.full_like(scan.allowed, 1), lasting=True)
    assert next(iter(data.relabel(lambda scan: np.full_like(scan.allowed, 2), lasting=True))).allowed.max() == 2


def test_a_damaged_file_is_an_error_and_no_label(folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / sealed.grown_file(0)).write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"grown0000.npz.*remove \.grown"):
        grow(folder, tmp_path / "run")


@pytest.mark.parametrize("by", [InProcess(), pytest.param(ByPost(), marks=pytest.mark.slow)], ids=["here", "parcel"])
def test_a_sweep_takes_what_an_earlier_one_grew_from_the_same_marks(tmp_path, by):
    """Another budget: the marks are the same."""
    results, spared = tmp_path / "results", []
    for budget in (BUDGET, ["steps=3", *BUDGET[1:]]):
        plan = small_plan(["random_walker"], budget=budget)
        assert Sweep(plan, Place(results), by, Recorder()).run() == {"done": 1}
        run = json.loads((Place(results).folder(plan.jobs[0]) / "run.json").read_text())
        spared.append(run["worker"].get("spared_s", 0))
        assert not list(Place(results).folder(plan.jobs[0]).glob(GROWN))
    assert spared[0] == 0 < spared[1]
