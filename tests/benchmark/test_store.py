"""Results on disk: live and packed folders hold the same, and what is damaged is named in one sentence."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmark import InputError, packing, store
from benchmark.__main__ import app
from benchmark.packing import pack, unpack
from benchmark.score.stored import rescore
from benchmark.store import ResultsFolder, open_results, within
from tests.support.sweeps import run_sweep, small_plan

ROW = {"scan": "007", "patient": "NA", "region": "faz", "unit": "px", "dice": 1 / 3, "hd95": "", "n_missed": 0}
LOSSES = [{"step": step, "seconds": 0.1, "loss": 1 / (step + 1)} for step in range(5)]
LOG = [*LOSSES[:3], {"step": 2, "seconds": 0.2, "changed": 0.5}, *LOSSES[3:]]


def record(method="pce", seed=0, **changes):
    identity = {
        "protocol": 1, "method": method, "options": {}, "dataset": "d", "dataset_options": {}, "annotation": "point",
        "simulator": 1, "split": "default", "seed": seed, "budget": {"steps": 5}, "data": "x",
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    return {"state": "done", "identity": identity, "hash": digest, "label": method, "common": {}, "code": "c", **changes}


def folder_of(run):
    return f"d/point/{run['label']}/default-seed{run['identity']['seed']}-{run['hash'][:8]}"


def add(results, run, rows=(ROW,), log=LOG, snapshots=()):
    """Store a run with a label map, and put it into the plan."""
    results.prepare()
    scratch = results.root / ".staging/out"
    scratch.mkdir()
    np.save(scratch / "label0000.npy", np.ones((1, 2, 3), np.uint8))
    (scratch / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    tables = {"cases.csv": list(rows)} | ({"snapshots.csv": list(snapshots)} if snapshots else {})
    results.store(folder_of(run), run, [scratch / "label0000.npy", scratch / "train.jsonl"], tables)
    for path in scratch.iterdir():
        path.unlink()
    scratch.rmdir()
    planned = {"folder": folder_of(run), **{name: run[name] for name in ("label", "identity", "common")}}
    plan = {"name": "n", "title": "A title"} | results.plan()
    results.write_plan(plan | {"runs": [*plan["runs"], planned]})
    return folder_of(run)


@pytest.fixture
def live(tmp_path):
    """Two runs, one scored by an older version, one with snapshots; and a run that was planned and isn't there."""
    results = ResultsFolder(tmp_path / "live/mine")
    add(results, record(seed=0), [ROW | {"nsd": 0.25}, ROW | {"region": "a, b", "nsd": "nan"}])
    add(results, record("prior"), log=(), snapshots=[{"part": part, "step": 5, **ROW} for part in ("val", "test")])
    gone = record(seed=9)
    planned = {"folder": folder_of(gone), **{name: gone[name] for name in ("label", "identity", "common")}}
    results.write_plan(results.plan() | {"runs": [*results.plan()["runs"], planned]})
    return results


def test_a_metric_may_begin_as_a_count_does_and_be_undefined(tmp_path):
    results = ResultsFolder(tmp_path / "r")
    add(results, record(), [ROW | {"n_parts": 2.5}, ROW | {"scan": "008", "n_parts": ""}])
    assert results.cases([folder_of(record())])["n_parts"].isna().tolist() == [False, True]


@pytest.fixture
def packed(live, tmp_path):
    pack(live.root, tmp_path / "packed")
    return tmp_path / "packed"


def content(folder):
    """What lies in a folder, by name; label maps and what writers need apart."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".npz")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if ".locks" not in path.parts}


# ------------------------------------------------------------------------------------------------------- live folders


def test_a_stored_run_is_read_back(live):
    first, second = live.records()
    assert first == record() | {"folder": folder_of(record())}
    assert live.record(second["folder"]) == record("prior")
    assert live.record("d/point/pce/elsewhere") is None
    assert live.label_map(first["folder"], 0).tolist() == [[[1] * 3] * 2]
    assert [json.loads(line) for line in live.log(first["folder"])] == LOG


def test_scores_of_several_runs_are_one_frame(live):
    """Names stay as they are written, an empty value is undefined, and so is what an older run was not scored with."""
    runs = [run["folder"] for run in live.records()]
    cases = live.cases(reversed(runs)).set_index("run")
    assert cases.scan.tolist() == ["007"] * 3
    assert cases.dice.tolist() == [1 / 3] * 3
    assert cases.hd95.isna().all()
    assert cases.nsd[runs[0]].fillna(-1).tolist() == [0.25, -1]
    assert pd.isna(cases.nsd[runs[1]])
    assert live.snapshots(runs[1:]).part.tolist() == ["val", "test"]
    assert live.cases([]).empty


def test_a_run_replaces_an_older_one_whole(live):
    folder = add(live, record("prior"), log=[])
    assert not live.has_snapshots(folder)
    assert not list((live.root / ".staging").iterdir()), "nothing is left behind"


def test_a_lock_is_one_runners_until_it_is_closed(live):
    held = live.lock("ab" * 32)
    assert live.lock("ab" * 32) is None
    held.close()
    again = live.lock("ab" * 32)
    assert again is not None
    again.close()


def test_a_folder_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the results folder .*file/results can't be written: Not a directory"):
        ResultsFolder(tmp_path / "file/results").prepare()


# ------------------------------------------------------------------------------------------------------ what is damaged


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": "running"}, r"\(state is 'running', and should be 'done' or 'failed'\)"),
        ({"label": None}, r"\(label is None, and should be a valid string\)"),
        ({"revision": "2"}, r"\(revision is '2', and should be a valid integer\)"),
        ({"role": 5}, r"\(role is 5, and should be a valid string\)"),
        ({"worker": {"facts": {"a": [1]}}}, r"\(worker.facts.a.bool is \[1\], and should be a valid boolean\)"),
        ({"worker": {"fit_s": "x"}}, r"\(worker.fit_s is 'x', and should be a valid number\)"),
        ({"labelled_share": {"a": "b"}}, r"\(labelled_share.a is 'b', and should be a valid number\)"),
        ({"scans": ["a", 5]}, r"\(scans.1 is 5, and should be a valid string\)"),
        ({"snapshots": [{"step": 1}]}, r"\(it has no snapshots.0.weakval\)"),
        ({"selected": {"last": 1}}, r"\(it has no selected.weakval\)"),
        ({"identity": {}}, r"\(it has no identity.protocol\)"),
        ({"identity": record()["identity"] | {"seed": True}}, r"\(identity.seed is True, and should be a valid integer\)"),
    ],
)
def test_a_field_that_does_not_fit_is_named_with_what_it_should_be(live, change, said):
    path = live.path(folder_of(record())) / "run.json"
    store.write_json(path, record() | change)
    with pytest.raises(InputError, match=rf"^\S*/run.json is damaged {said}; remove that folder and run again$"):
        live.records()


def test_fields_of_other_versions_are_let_through(live):
    path = live.path(folder_of(record())) / "run.json"
    store.write_json(path, record(revision=3, role="base", something=[1], worker={"spared_s": 1, "fit_s": 2}))
    assert live.records()[0]["something"] == [1]


def test_a_method_of_ones_own_has_no_revision(live):
    store.write_json(live.path(folder_of(record())) / "run.json", record(revision=None))
    assert live.records()[0]["revision"] is None


@pytest.mark.parametrize("text", ["", "{", "[1]", "5", "\xff"])
def test_a_record_that_is_not_an_object_is_refused(live, text):
    path = live.path(folder_of(record())) / "run.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="run.json is damaged .*; remove that folder and run again"):
        live.records()


@pytest.mark.parametrize("name", ["cases.csv", "run.json", "label0000.npz"])
def test_a_link_among_the_files_of_a_run_is_refused(live, tmp_path, name):
    path = live.path(folder_of(record())) / name
    path.rename(tmp_path / name)
    path.symlink_to(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is a link; a run holds files of its own"):
        live.records()


@pytest.mark.parametrize("folder", ["../../elsewhere", "/etc"])
def test_a_plan_that_leads_out_of_the_results_is_refused(live, folder):
    plan = live.plan()
    plan["runs"][0]["folder"] = folder
    live.write_plan(plan)
    with pytest.raises(InputError, match="plan.json is damaged .runs.0.folder is '.*', which leads out of the results"):
        live.plan()


@pytest.mark.parametrize(
    ("old", "new"),
    [("faz", "faz,1,2,3"), ("scan,", "s,"), ('"a, b"', '"a\nb"'), (str(1 / 3), "inf"), (str(1 / 3), "x"), (",0,", ",,")],
)
def test_scores_that_can_not_be_are_refused_with_the_name_of_their_run(live, old, new):
    runs = [run["folder"] for run in live.records()]
    path = live.path(runs[0]) / "cases.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=f"cases.csv in .*{runs[0]} is damaged .*; remove that folder and run again"):
        live.cases(runs)


@pytest.mark.parametrize("array", [np.array([{}]), None])
def test_a_label_map_that_is_not_one_is_refused(live, array):
    run = folder_of(record())
    path = live.path(run) / "label0000.npz"
    path.write_bytes(b"x") if array is None else np.savez_compressed(path, labels=array)
    with pytest.raises(InputError, match="label0000.npz (can't be read|holds object)"):
        live.label_map(run, 0)


# ------------------------------------------------------------------------------------------------------ packed folders


def test_what_is_packed_comes_back_byte_for_byte(live, packed, tmp_path):
    assert unpack(packed, tmp_path / "back") == 2
    there, back = content(live.root), content(tmp_path / "back/mine")
    assert there.pop(f"runs/{folder_of(record('prior'))}/train.jsonl") == b"", "a log without a line is left out"
    assert there == back


def test_a_packed_folder_reads_as_the_live_one(live, packed):
    there = open_results(packed / "mine")
    runs = [run["folder"] for run in live.records()]
    assert there.records() == live.records()
    assert there.plan() == live.plan()
    assert [there.log(run) for run in runs] == [live.log(run) for run in runs]
    assert [each.has_label_maps(runs[0]) for each in (live, there)] == [True, False]
    assert [there.has_snapshots(run) for run in runs] == [live.has_snapshots(run) for run in runs]
    for read in (ResultsFolder.cases, ResultsFolder.snapshots):
        own = runs if read is ResultsFolder.cases else runs[1:]
        first, second = (read(each, own).sort_values("run", kind="stable") for each in (live, there))
        columns = [name for name in first if second[name].notna().any()]
        assert second[columns].astype(str).values.tolist() == first[columns].astype(str).values.tolist()


def test_the_same_runs_give_the_same_bytes_wherever_they_lie(live, packed, tmp_path):
    unpack(packed, tmp_path / "elsewhere")
    pack(tmp_path / "elsewhere", tmp_path / "again")
    assert content(packed) == content(tmp_path / "again")
    assert all(data[4:8] == bytes(4) for name, data in content(packed).items() if name.endswith(".gz")), "no time in them"


def test_a_set_names_its_runs_by_key_and_says_what_is_missing(live, tmp_path):
    live.write_plan(live.plan() | {"runs": live.plan()["runs"][1:]})
    pack(live.root, tmp_path / "packed")
    held = json.loads((tmp_path / "packed/sets/mine.json").read_text())
    assert held["plan"] == {"name": "n", "title": "A title"}
    assert held["runs"] == [record("prior")["hash"][:8], live.plan()["runs"][-1]]
    assert held["others"] == [record()["hash"][:8]]
    assert len(open_results(tmp_path / "packed/mine").records()) == 2


def test_a_run_of_two_sets_is_packed_once_with_the_fuller_log(live, tmp_path):
    other = ResultsFolder(live.root.parent / "other")
    run = add(other, record(), [ROW | {"nsd": 0.25}, ROW | {"region": "a, b", "nsd": "nan"}], LOG[::2])
    assert pack(live.root.parent, tmp_path / "packed") == 2
    sets = within(tmp_path / "packed")
    assert list(sets) == ["mine", "other"]
    assert [each["folder"] for each in sets["other"].records()] == [run]
    assert sets["other"].log(run) == live.log(run)


def test_two_runs_of_one_name_that_differ_are_refused(live, tmp_path):
    add(ResultsFolder(live.root.parent / "other"), record(code="another"))
    with pytest.raises(InputError, match="other/runs/.* differs from .*mine/runs/.*; remove one of the two"):
        pack(live.root.parent, tmp_path / "packed")


def test_every_second_loss_is_kept_and_the_last_and_all_else(live, tmp_path):
    """Of the losses of five steps those of 0, 2 and 4; of four 0, 2 and 3."""
    add(live, record("prior"), log=LOSSES[:4])
    pack(live.root, tmp_path / "packed", every=2)
    there = open_results(tmp_path / "packed/mine")
    logs = {run["label"]: [json.loads(line) for line in there.log(run["folder"])] for run in there.records()}
    assert logs == {"pce": [LOG[0], LOG[2], LOG[3], LOG[5]], "prior": [LOSSES[0], LOSSES[2], LOSSES[3]]}


def test_a_sweep_goes_on_where_packed_runs_were_unpacked(tmp_path):
    """So new runs are added to the reference."""
    run_sweep(small_plan(["prior"]), tmp_path / "live")
    pack(tmp_path / "live", tmp_path / "packed")
    unpack(tmp_path / "packed", tmp_path / "again")
    screen = run_sweep(small_plan(["prior", "pce"]), tmp_path / "again/live")
    assert [method for method, *_ in screen.lines] == ["pce"]
    assert pack(tmp_path / "again", tmp_path / "more") == 2


@pytest.mark.parametrize("name", ["runs.jsonl.gz", "cases.csv.gz", "sets/mine.json"])
def test_a_packed_file_with_another_checksum_is_refused(packed, name):
    path = packed / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(InputError, match=rf"{name} is damaged \(its SHA-256 is \w+... and SHA256SUMS says \w+...\); get"):
        open_results(packed / "mine").cases([run["folder"] for run in open_results(packed / "mine").records()])


def test_a_packed_file_that_is_missing_is_named(packed):
    (packed / "logs.jsonl.gz").unlink()
    with pytest.raises(InputError, match="logs.jsonl.gz can't be read: No such file"):
        open_results(packed / "mine").log(folder_of(record()))


def test_a_packed_run_that_leads_out_of_the_results_is_refused(packed, tmp_path):
    line = {"folder": "../../x/pce/default-seed0-12345678", "tables": {}, "run": record()}
    (packed / "runs.jsonl.gz").write_bytes(packing._compressed(json.dumps(line) + "\n"))
    sums = (packed / "SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256((packed / "runs.jsonl.gz").read_bytes()).hexdigest()
    sums = [f"{digest}  runs.jsonl.gz" if line.endswith("runs.jsonl.gz") else line for line in sums]
    (packed / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    with pytest.raises(InputError, match="line 1 of .*runs.jsonl.gz is damaged .folder is .*, which leads out"):
        unpack(packed, tmp_path / "back")


@pytest.mark.parametrize(
    "use", [lambda there: there.prepare(), lambda there: there.path("x"), lambda there: there.label_map("x", 0)]
)
def test_a_packed_run_can_not_be_changed_and_has_no_label_maps(packed, use):
    with pytest.raises(InputError, match="mine is packed: its runs can't be changed and have no label maps; to get folders"):
        use(open_results(packed / "mine"))


def test_a_set_of_a_packed_folder_must_be_named(packed):
    with pytest.raises(InputError, match="is a packed folder of several sets of runs; name one of them: .*packed/mine$"):
        open_results(packed)


def test_what_can_not_be_packed_or_unpacked_is_refused(live, packed, tmp_path):
    with pytest.raises(InputError, match="packed is packed already; remove its files, or give another folder"):
        pack(live.root, packed)
    with pytest.raises(InputError, match="packed/mine is packed"):
        pack(packed, tmp_path / "twice")
    with pytest.raises(InputError, match="nothing holds no runs to pack"):
        pack(tmp_path / "nothing", tmp_path / "new")
    with pytest.raises(InputError, match="live/mine is not a packed folder of runs"):
        unpack(live.root, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    unpack(packed, tmp_path / "new")
    with pytest.raises(InputError, match="new/mine is there already; remove it, or give another folder"):
        unpack(packed, tmp_path / "new")
    with pytest.raises(InputError, match="live/mine is a results folder; give another folder"):
        pack(live.root, live.root)


@pytest.mark.parametrize("does", ["pack", "unpack"])
def test_what_is_interrupted_leaves_nothing_that_looks_whole(live, packed, tmp_path, monkeypatch, does):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.packing._joined" if does == "pack" else "benchmark.packing.write_cases", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(live.root, tmp_path / "new") if does == "pack" else unpack(packed, tmp_path / "new")
    assert not (tmp_path / "new").exists() or not list((tmp_path / "new").iterdir())


def test_folders_are_found_by_their_path(live, packed, tmp_path):
    assert within(live.root.parent) == {"mine": live}
    assert within(live.root) == {}
    assert within(tmp_path / "nothing") == {}
    assert open_results(live.root) == live
    assert open_results(tmp_path / "new") == ResultsFolder(tmp_path / "new")
    assert isinstance(open_results(Path(packed / "mine")), store.PackedFolder)


def test_stored_runs_are_named_by_a_folder_a_packed_folder_or_one_of_its_sets(live, packed):
    assert store.stored(str(live.root)) == {str(live.root): live}
    assert list(store.stored(str(packed))) == list(store.stored(str(packed / "mine"))) == [str(packed / "mine")]
    with pytest.raises(InputError, match="there are no stored runs '.*yours'; there are reference, "):
        store.stored(str(packed / "yours"))


def test_packing_and_unpacking_are_commands(live, tmp_path):
    def call(*words):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.output

    packed, out = tmp_path / "packed", tmp_path / "out"
    assert call("pack", "--results", live.root, "--out", packed, "--every", 3) == f"2 runs packed in {packed}\n"
    assert call("unpack", "--results", packed, "--out", out) == f"2 runs unpacked in {out}\n"
    kept = ResultsFolder(out / "mine").log(folder_of(record()))
    assert [json.loads(line) for line in kept] == [LOSSES[0], LOG[3], *LOSSES[3:]]


def test_packed_runs_are_neither_scored_nor_added_to(packed, tmp_path):
    with pytest.raises(InputError, match="mine is packed: its runs can't be changed and have no label maps"):
        rescore(packed / "mine", tmp_path)
    result = CliRunner().invoke(app, ["run", "--results", str(packed / "mine"), "--dry-run"])
    assert "mine is packed: its runs can't be changed" in str(result.exception)
