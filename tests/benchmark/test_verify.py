"""Stored scores are those that medpy gives for the label maps, and one that somebody changed is found."""

import csv
import math
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmark import InputError
from benchmark.__main__ import app
from benchmark.score.evaluate import evaluate
from benchmark.score.verify import METRICS, by_medpy, verify
from tests.support.sweeps import run_sweep, small_plan

ALL = 2 * 2  # runs and test scans; the phantom has one region


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run_sweep(small_plan(["prior", "pce"]), folder)
    return folder


@pytest.fixture
def results(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "results")


def change(results, **values):
    """Write other values into the first case of a run; returns what names that case."""
    path = next(results.glob("runs/*/*/prior/*/cases.csv"))
    with path.open(newline="") as file:
        first, *others = csv.DictReader(file)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerows([first | values, *others])
    return f"scan {first['scan']}, region {first['region']} in {path}"


def score(results, share="1"):
    return CliRunner().invoke(app, ["score", "--verify", share, "--results", str(results), "--data", str(results)])


def test_stored_scores_are_medpys(results, tmp_path):
    found = verify(results, tmp_path, 1)
    assert set(found) == set(METRICS)
    assert {each.cases for each in found.values()} <= {ALL}
    assert max(each.largest for each in found.values()) < 1e-9


def test_the_command_prints_a_line_per_metric(results):
    done = score(results)
    assert done.exit_code == 0, done.output
    assert [line.split(" cases, largest difference ")[0] for line in done.output.splitlines()] == [
        f"{metric}: {ALL}" for metric in METRICS
    ]


@pytest.mark.parametrize("values", [{"dice": "0.25"}, {"hd95": "1.00001"}, {"assd": ""}])
def test_a_value_that_somebody_changed_is_found(results, values):
    case = change(results, **values)
    done = score(results)
    assert done.exit_code == 1
    (metric,) = values
    assert f"{metric} of {case} differs from medpy's" in done.output


def test_a_case_that_is_not_there_is_found(results, tmp_path):
    case = change(results, scan="another")
    found = verify(results, tmp_path, 1)["dice"]
    assert (found.largest, found.where) == (math.inf, case)


def test_a_share_is_drawn_and_the_same_each_time(results, tmp_path):
    assert verify(results, tmp_path, 0.5) == verify(results, tmp_path, 0.5)
    assert verify(results, tmp_path, 0.5)["dice"].cases == ALL / 2
    assert verify(results, tmp_path, 0.001)["dice"].cases == 1


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_that_is_none_is_refused(results, tmp_path, share):
    with pytest.raises(InputError, match=f"--verify is {share:g}; it must be a share"):
        verify(results, tmp_path, share)


def test_runs_without_label_maps_are_said(results, tmp_path):
    for path in results.rglob("label*.npz"):
        path.unlink()
    with pytest.raises(InputError, match="no run in .* has label maps"):
        verify(results, tmp_path, 1)


def test_scores_that_can_not_be_read_are_named(results, tmp_path):
    change(results, dice="a lot")
    with pytest.raises(InputError, match="cases.csv is damaged .*'a lot'"):
        verify(results, tmp_path, 1)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((1, 12, 9), None), ((1, 12, 9), (7.0, 0.5, 2.0)), ((4, 12, 9), (7, 0.5, 2))]
)
def test_images_and_stacks_are_given_to_medpy_as_the_protocol_takes_them(shape, spacing):
    truth, predicted = (np.random.default_rng(0).random((2, *shape)) < 0.8).astype(np.uint8)
    found = evaluate(predicted, truth, {"object": (1,)}, spacing)["object"]
    assert by_medpy(predicted > 0, truth > 0, spacing) == pytest.approx(
        {metric: found[metric] for metric in METRICS}, abs=1e-9
    )


def test_a_stack_without_spacing_has_no_distance_to_compare():
    assert "hd95" not in by_medpy(*np.ones((2, 3, 4, 4), bool), None)
