"""Stored runs are scored again: the same scores from the same label maps, or a sentence and nothing changed."""

import dataclasses
import json

import pytest

from benchmark import InputError
from benchmark.plan.jobs import make_plan
from benchmark.plan.presets import Request
from benchmark.report import runs
from benchmark.score import stored
from benchmark.score.stored import rescore
from tests.support.sweeps import BUDGET, run_sweep, small_plan
from tests.tiny import pictures


@pytest.fixture
def results(tmp_path):
    run_sweep(small_plan(["prior", "pce"]), tmp_path / "r")
    return tmp_path / "r"


def cases(results):
    return {path.parent.parent.name: path for path in sorted(results.glob("runs/*/*/*/*/cases.csv"))}


def test_the_same_scores_come_of_the_same_label_maps(results, tmp_path):
    before = {name: path.read_bytes() for name, path in cases(results).items()}
    for path in cases(results).values():
        path.write_text("scan,dice\n")  # as an older version wrote it
    assert rescore(results, tmp_path) == 2
    assert {name: path.read_bytes() for name, path in cases(results).items()} == before
    assert {path.name for path in cases(results)["pce"].parent.iterdir() if "cases" in path.name} == {"cases.csv"}


def changed(path, **values):
    run = json.loads(path.read_text())
    run["identity"] |= values
    path.write_text(json.dumps(run))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "another"}, "split default of octa_phantom has changed; run it again"),
        ({"protocol": 0}, "has protocol 0, and this version 1; run it again"),
        ({"dataset": "clinic"}, "the runs need a data set 'clinic'; give its folder: --datasets folder:PATH"),
    ],
)
def test_what_can_not_be_scored_is_said_and_nothing_is_changed(results, tmp_path, values, message):
    changed(cases(results)["prior"].with_name("run.json"), **values)
    for path in cases(results).values():
        path.write_text("old")
    with pytest.raises(InputError, match=message):
        rescore(results, tmp_path)
    assert {path.read_text() for path in cases(results).values()} == {"old"}


def test_a_run_without_label_maps_is_named(results, tmp_path):
    next(cases(results)["prior"].parent.glob("label0000.npz")).unlink()
    with pytest.raises(InputError, match="prior.*the label map label0000.npz .* is missing"):
        rescore(results, tmp_path)


def test_a_run_that_was_repeated_meanwhile_keeps_its_new_scores(results, tmp_path, monkeypatch):
    (path,) = list(results.glob("runs/*/*/*/*/run.json"))[:1]
    real = stored.score_run

    def slowly(*given):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"finished": "2999-01-01T00:00:00+00:00"}))
        return real(*given)

    monkeypatch.setattr(stored, "score_run", slowly)
    with pytest.raises(InputError, match="was run again while it was scored; repeat the command"):
        rescore(results, tmp_path)
    assert json.loads(path.read_text())["finished"].startswith("2999")


def test_no_runs_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no runs that are done"):
        rescore(tmp_path, tmp_path)


def test_a_folder_of_ones_own_is_found_by_its_path(tmp_path):
    folder = pictures.folder(tmp_path / "clinic")
    request = Request(methods=["prior"], datasets=[f"folder:{folder}"], annotations=["point"], budget=["size=32"])
    run_sweep(make_plan(request), tmp_path / "r")
    with pytest.raises(InputError, match="need a data set 'clinic'"):
        rescore(tmp_path / "r", tmp_path)
    assert rescore(tmp_path / "r", tmp_path, [f"folder:{folder}"]) == 1


def test_runs_of_two_rules_are_not_mixed_until_all_are_scored_by_one(tmp_path):
    folder = pictures.folder(tmp_path / "clinic")
    request = Request(methods=["prior"], datasets=[f"folder:{folder}"], annotations=["point"], budget=["size=32"])
    run_sweep(make_plan(dataclasses.replace(request, seeds=[0])), tmp_path / "r")
    facts = (folder / "dataset.toml").read_text()
    (folder / "dataset.toml").write_text(f"tolerance = 7.0\n{facts}")
    run_sweep(make_plan(dataclasses.replace(request, seeds=[0, 1])), tmp_path / "r")
    with pytest.raises(InputError, match=r"by different rules: tolerance is \S+ in .* and \S+ in .*; score all by one"):
        runs.read(tmp_path / "r")
    assert rescore(tmp_path / "r", tmp_path, [f"folder:{folder}"]) == 2
    assert runs.read(tmp_path / "r").runs.seed.tolist() == [0, 1]
    assert {
        json.loads(path.with_name("run.json").read_text())["tolerance"] for path in (tmp_path / "r").rglob("cases.csv")
    } == {7}


def test_a_run_names_the_sites_of_its_scans_which_reports_read_and_which_scoring_again_keeps(tmp_path):
    options = [f"octa_phantom.{each}" for each in ("size=32", "train=4", "val=1", "test=3", "sites=2")]
    run_sweep(
        small_plan(["pce"], options=options, annotations=["full/point"], budget=[*BUDGET, "snapshots=2"]), tmp_path / "r"
    )
    (path,) = cases(tmp_path / "r").values()
    record, before = json.loads(path.with_name("run.json").read_text()), path.read_bytes()
    assert record["scans"] == ["phantom0005", "phantom0006", "phantom0007"]
    assert record["sites"] == ["site2", "site1", "site2"]
    assert b"site" not in before
    assert rescore(tmp_path / "r", tmp_path) == 1
    assert path.read_bytes() == before
    assert json.loads(path.with_name("run.json").read_text())["sites"] == record["sites"]
    read = runs.read(tmp_path / "r")
    assert read.cases.site.tolist() == ["site2", "site1", "site2"]
    assert set(read.snapshot_cases.groupby("scan").site.first()) == {"site1", "site2"}
