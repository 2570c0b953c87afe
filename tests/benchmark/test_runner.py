"""A sweep: whole runs, failures, resuming, locks, and the same from worker processes as in the test's own."""

import csv
import errno
import json
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark import InputError
from benchmark.plan import plugins
from benchmark.plan.jobs import state
from benchmark.report import runs as report_runs
from benchmark.score.evaluate import evaluate
from benchmark.seal import folder as sealed
from benchmark.seal import marks
from benchmark.seal.marks import AnnotationStatistics
from benchmark.store import ResultsFolder
from benchmark.train import sweep as sweeps
from benchmark.train.sweep import Sweep
from tests.support.processes import alive
from tests.support.sweeps import TINY, InProcess, Recorder, processes, run_sweep, small_plan, write_method
from tests.tiny import pictures


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two methods run once; what the tests below look at."""
    results = tmp_path_factory.mktemp("results")
    plan = small_plan(["pce", "prior"])
    return plan, results, run_sweep(plan, results)


def test_every_job_becomes_a_whole_folder(finished):
    plan, results, screen = finished
    assert sorted(screen.lines) == [("pce", "done", ""), ("prior", "done", "")]
    for job in plan.jobs:
        folder = results / "runs" / job.folder
        names = {path.name for path in folder.iterdir()}
        assert names == {"run.json", "cases.csv", "train.jsonl", "label0000.npz", "label0001.npz"}
    assert not list((results / ".staging").iterdir())


def test_the_stored_scores_are_those_of_the_stored_label_maps(finished):
    plan, results, _ = finished
    dataset = plan.datasets["octa_phantom"]
    folder = results / "runs" / plan.jobs[0].folder
    run = json.loads((folder / "run.json").read_text())
    rows = list(csv.DictReader((folder / "cases.csv").read_text().splitlines()))
    assert [row["scan"] for row in rows] == run["scans"] == list(dataset.split("default").test)
    for number, row in enumerate(rows):
        labels = np.load(folder / f"label{number:04d}.npz")["labels"]
        scores = evaluate(labels, dataset.load(row["scan"]).mask, dataset.regions)["faz"]
        assert float(row["dice"]) == scores["dice"]
        assert float(row["hd95"]) == scores["hd95"]
        assert int(row["n_missed"]) == scores["n_missed"]


def test_a_run_says_what_it_rests_on(finished):
    plan, results, _ = finished
    run = json.loads(((results / "runs" / plan.jobs[0].folder) / "run.json").read_text())
    assert run["identity"] == plan.jobs[0].identity()
    assert run["worker"]["parameters"] == 1813474
    assert run["worker"]["fit_s"] > 0
    assert run["worker"]["torch"]
    assert 0 < run["labelled_share"]["faz"] < 0.5
    assert 1 < run["labelled_depth_px"]["faz"] < 30
    assert run["code"] == plan.jobs[0].code


def test_what_a_method_states_is_stored_with_its_note(tmp_path, finished):
    fit = (
        "self.report(fired=True, share=0.25); self.report(fired=False, of='a'); type(self).notes = {'fired': 'f', 'x': 'x'}"
    )
    plan = small_plan([write_method(tmp_path, "states", fit)])
    run_sweep(plan, tmp_path / "results")
    worker = ResultsFolder(tmp_path / "results").record(plan.jobs[0].folder)["worker"]
    assert worker["facts"] == {"fired": False, "share": 0.25, "of": "a"}
    assert worker["notes"] == {"fired": "f"}
    plan, results, _ = finished
    assert "facts" not in ResultsFolder(results).record(plan.jobs[0].folder)["worker"]


@pytest.mark.parametrize("value", ["float('nan')", "[1]", "'a' * 101", "None"])
def test_a_fact_that_can_not_be_stored_ends_the_run(tmp_path, value):
    plan = small_plan([write_method(tmp_path, "states", f"self.report(share={value})")])
    ((_, state, reason),) = run_sweep(plan, tmp_path / "results").lines
    assert state == "failed"
    assert reason.endswith("a fact is a finite number, yes or no, or a short text")


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        (
            "self.facts = {'losses': [1.0]}",
            "TypeError: the fact losses is [1.0]; a fact is a finite number, yes or no, or a",
        ),
        ("log('epoch 1', loss=1.0)", "TypeError: log was given 'epoch 1' as step; it must be a whole number from 0"),
        ("log(-1, loss=1.0)", "TypeError: log was given -1 as step; it must be a whole number from 0"),
    ],
)
def test_what_can_not_be_stored_fails_its_run_and_no_other(tmp_path, fit, said):
    run_sweep(small_plan([write_method(tmp_path, "states", fit), "prior"]), tmp_path / "r")
    read = report_runs.read(tmp_path / "r").runs.set_index("row")
    assert read.state.to_dict() == {"states": "failed", "prior": "done"}
    assert read.reason["states"].startswith(said)


def test_other_arrays_that_a_method_writes_are_not_taken_for_label_maps(tmp_path):
    fit = "np.save('steps.npy', np.array([{}], object)); np.save('labels.npy', np.array([{}], object))"
    plan = small_plan([write_method(tmp_path, "writes", fit)])
    assert run_sweep(plan, tmp_path / "r", executor=processes()).lines == [("writes", "done", "")]


def test_a_file_that_an_option_names_is_found_from_the_worker(tmp_path, monkeypatch):
    method = Path(write_method(tmp_path, "reads", "assert open(self.where).read() == 'it'"))
    method.write_text(method.read_text().replace("    where:", "    files = ('where',)\n\n    where:"))
    (tmp_path / "beside.txt").write_text("it")
    monkeypatch.chdir(tmp_path)
    plan = small_plan([str(method)], options=[*TINY, "reads.where=beside.txt"])
    assert run_sweep(plan, tmp_path / "r", executor=processes()).lines == [("reads", "done", "")]


def test_training_time_is_of_training_alone(finished):
    """The prior counts marks on two images; importing torch, which takes a second or more, is not included."""
    plan, results, _ = finished
    worker = json.loads(((results / "runs" / plan.jobs[1].folder) / "run.json").read_text())["worker"]
    assert worker["fit_s"] < 0.5


def test_the_same_command_again_runs_nothing(finished):
    plan, results, _ = finished
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*.npz")}
    screen = run_sweep(plan, results)
    assert screen.lines == []
    assert screen.states == {"done": 2}
    assert before == {path: path.stat().st_mtime_ns for path in results.rglob("*.npz")}


@pytest.mark.parametrize("executor", [InProcess(), processes()], ids=["here", "in-processes"])
def test_the_same_job_gives_the_same_bytes(finished, tmp_path, executor):
    """From worker processes, too: the other tests may do without them."""
    plan, results, _ = finished
    assert sorted(run_sweep(plan, tmp_path, executor=executor).lines) == [("pce", "done", ""), ("prior", "done", "")]
    for job in plan.jobs:
        one, two = ((root / "runs" / job.folder) for root in (results, tmp_path))
        assert (one / "cases.csv").read_bytes() == (two / "cases.csv").read_bytes()
        for path in one.glob("*.npz"):
            assert np.array_equal(np.load(path)["labels"], np.load(two / path.name)["labels"])


FAULTS = {
    "raises": ("raise RuntimeError('no idea\\nbut advice')", "", "RuntimeError: no idea$"),
    "diverges": ("log(0, loss=float('nan'))", "", "FloatingPointError: loss is nan at step 0"),
    "misshapes": ("pass", "return np.zeros((1, 2, 2), np.uint8)", "it must return uint8 \\(1, 32, 32\\)"),
    "floats": ("pass", "return scan.image[:, 0]", "predict returned float32"),
    "invents": ("pass", "return np.full((1, 32, 32), 7, np.uint8)", "label 7; labels must be 0 to 1"),
    "writes": ("next(iter(data)).image[:] = 0", "", "ValueError: assignment destination is read-only"),
    "quits": ("sys.exit(0)", "", "SystemExit: 0"),
}
OF_PROCESSES = {
    "exits": ("os._exit(3)", "", "it ended with status 3"),
    "is_killed": ("os.kill(os.getpid(), signal.SIGKILL)", "", r"it was killed by SIGKILL, twice \(out of memory\?\)"),
}


@pytest.mark.parametrize(
    ("faults", "executor"),
    [
        pytest.param(FAULTS, InProcess(), id="here"),
        pytest.param(OF_PROCESSES, processes(), id="in-processes", marks=pytest.mark.slow),
    ],
)
def test_a_failure_is_kept_with_its_reason_and_the_sweep_goes_on(tmp_path, faults, executor):
    """All kinds of faults in one sweep, a sound method last."""
    methods = [write_method(tmp_path, name, *filter(None, bodies[:2])) for name, bodies in faults.items()]
    plan, results = small_plan([*methods, "prior"]), tmp_path / "results"
    screen = run_sweep(plan, results, executor=executor)
    assert ("prior", "done", "") in screen.lines
    for job in plan.jobs[:-1]:
        run = json.loads(((results / "runs" / job.folder) / "run.json").read_text())
        assert run["state"] == "failed"
        assert re.search(faults[job.method][2], run["reason"]), (job.method, run["reason"])
        assert not (results / "runs" / job.folder / "cases.csv").exists()
        assert (results / "runs" / job.folder / "output.txt").exists()
    if "raises" in faults:
        assert "raises.py" in (results / "runs" / plan.jobs[0].folder / "error.txt").read_text()
    again = ResultsFolder(results)
    assert {state(again, job) for job in plan.jobs[:-1]} == {"failed"}
    assert state(again, plan.jobs[-1]) == "done"


def test_a_run_that_takes_too_long_has_failed(tmp_path):
    plan = small_plan([write_method(tmp_path, "hangs", "time.sleep(1000)")])
    assert run_sweep(plan, tmp_path / "r", executor=processes(timeout_s=0.5)).lines == [
        ("hangs", "failed", "it ran longer than 0.5 s")
    ]


def test_a_failed_run_is_tried_again(tmp_path):
    flag = tmp_path / "flag"
    method = write_method(tmp_path, "moody", "assert os.path.exists(self.where)", "return np.zeros((1, 32, 32), np.uint8)")
    plan = small_plan([method], options=[*TINY, f"moody.where='{flag}'"])
    assert run_sweep(plan, tmp_path / "r").lines[0][1] == "failed"
    flag.write_text("")
    assert run_sweep(plan, tmp_path / "r").lines == [("moody", "done", "")]


def test_a_worker_ends_with_all_that_it_started(tmp_path):
    written, executor = tmp_path / "pid", processes()
    body = f"child = subprocess.Popen(['sleep', '300']); open({str(written)!r}, 'w').write(str(child.pid))"
    method = write_method(tmp_path, "parent", f"{body}\n        time.sleep(300)")

    class Impatient(Recorder):
        """Ends the time that a worker has once its child runs."""

        def tick(self, running):
            if written.exists() and written.read_text():
                executor.timeout_s = 0

    Sweep(small_plan([method]), ResultsFolder(tmp_path / "r"), executor, Impatient()).run()
    assert not alive(int(written.read_text()))


def test_stale_runs_are_seen_and_run_again_when_asked(tmp_path):
    path = write_method(tmp_path, "mine", "pass", "return np.zeros((1, 32, 32), np.uint8)")
    results = tmp_path / "r"
    run_sweep(small_plan([path]), results)
    Path(path).write_text(Path(path).read_text().replace("np.zeros", "np.ones"))
    plugins.read_again()
    plan = small_plan([path])
    assert state(ResultsFolder(results), plan.jobs[0]) == "stale"
    assert run_sweep(plan, results).lines == []
    assert report_runs.read(results).runs.stale.tolist() == [True]
    assert run_sweep(plan, results, rerun="stale").lines == [("mine", "done", "")]
    assert state(ResultsFolder(results), plan.jobs[0]) == "done"
    assert report_runs.read(results).runs.stale.tolist() == [False]
    assert run_sweep(plan, results, rerun="all").lines == [("mine", "done", "")]


def test_a_method_that_is_edited_after_it_is_planned_is_not_trained(tmp_path):
    edited, worded = (
        write_method(tmp_path, name, "pass", "return np.zeros((1, 32, 32), np.uint8)") for name in ("edited", "worded")
    )
    plan = small_plan([edited, worded])
    Path(edited).write_text(Path(edited).read_text().replace("np.zeros", "np.ones"))
    Path(worded).write_text(Path(worded).read_text() + "# one more comment\n")
    screen = run_sweep(plan, tmp_path / "r", executor=processes())
    reason = f"{edited} was edited after this run was planned; repeat the command"
    assert sorted(screen.lines) == [("edited", "failed", reason), ("worded", "done", "")]
    assert run_sweep(small_plan([edited, worded]), tmp_path / "r").lines == [("edited", "done", "")]


def test_a_repeat_that_fails_keeps_the_stored_run(tmp_path):
    gone = tmp_path / "gone"
    fit = f"import pathlib; assert not pathlib.Path({str(gone)!r}).exists(), 'no luck'"
    results = ResultsFolder(tmp_path / "r")
    plan = small_plan([write_method(tmp_path, "mine", fit, "return np.zeros((1, 32, 32), np.uint8)")])
    run_sweep(plan, results.root)
    before = {file: file.read_bytes() for file in results.path(plan.jobs[0].folder).iterdir()}
    gone.touch()
    (name, outcome, reason), *_ = run_sweep(plan, results.root, rerun="all").lines
    assert (name, outcome) == ("mine", "failed")
    assert "no luck" in reason
    assert reason.endswith("; the stored run is kept")
    assert {file: file.read_bytes() for file in results.path(plan.jobs[0].folder).iterdir()} == before


def test_a_job_that_another_runner_holds_is_left_alone(tmp_path):
    plan, place = small_plan(["prior"]), ResultsFolder(tmp_path)
    place.prepare()
    with place.lock(plan.jobs[0].hash):
        assert run_sweep(plan, tmp_path).lines == [("prior", "elsewhere", "another process runs it")]
    assert state(place, plan.jobs[0]) == "planned"


def test_a_damaged_record_is_named(finished, tmp_path):
    plan, place = finished[0], ResultsFolder(tmp_path)
    folder = place.root / "runs" / plan.jobs[0].folder
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"state": "do')
    with pytest.raises(InputError, match="run.json is damaged .*remove that folder"):
        state(place, plan.jobs[0])


def test_a_results_folder_that_can_not_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="results folder .*file can't be written: Not a directory"):
        ResultsFolder(tmp_path / "file").prepare()


def test_a_scratch_folder_of_a_killed_runner_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    old = tmp_path / "weakseg-bench-old"
    old.mkdir()
    (old / "lock").write_text("")
    os.utime(old, (0, 0))
    run_sweep(small_plan(["prior"]), tmp_path / "r")
    assert list(tmp_path.glob("weakseg-bench-*")) == []


class SlowWorker(InProcess):
    """Waits until a run is scored, and for so many polls before each further task; keeps what is sealed at each."""

    def __init__(self, polls):
        super().__init__()
        self.polls, self.sealed = polls, []

    def run(self, tasks):
        for outcome in super().run(tasks):
            yield outcome
            for *_, scored in self.unscored:
                scored.exception()
            for _ in range(self.polls):
                yield None
                self.sealed.append(sorted(path.parent for path in self.scratch.glob("sealed*/index.json")))


def sealed_ahead(results, polls=9):
    """Three seeds of a method, so three sealed folders, on an executor that waits."""
    executor = SlowWorker(polls)
    sweep = Sweep(small_plan(["prior"], seeds=[0, 1, 2]), ResultsFolder(results), executor, Recorder())

    class Screen(Recorder):
        def tick(self, running):
            executor.scratch = sweep.scratch

    executor.unscored = sweep.unscored
    sweep.screen = Screen()
    return sweep, executor


def test_the_next_folder_is_sealed_while_a_worker_trains_and_no_further_one(tmp_path):
    sweep, executor = sealed_ahead(tmp_path / "ahead")
    assert sweep.run() == {"done": 3}
    first, _, last = (executor.sealed[start : start + 9] for start in (0, 9, 18))
    assert [len(folders) for folders in first] == [0, 0, 0, 0, 1, 1, 1, 1, 1]  # two training and two test scans
    assert last == [[]] * 9
    run_sweep(sweep.plan, tmp_path / "plain")
    for job in sweep.plan.jobs:
        ahead, plain = (tmp_path / where / "runs" / job.folder for where in ("ahead", "plain"))
        assert (ahead / "cases.csv").read_text() == (plain / "cases.csv").read_text()
        records = [json.loads((folder / "run.json").read_text()) for folder in (ahead, plain)]
        assert records[0]["labelled_share"] == records[1]["labelled_share"] != {}


def test_a_folder_that_is_begun_is_completed_when_a_task_needs_it(tmp_path):
    sweep, executor = sealed_ahead(tmp_path, polls=2)
    assert sweep.run() == {"done": 3}
    assert executor.sealed == [[]] * 6


def test_without_room_for_two_folders_each_is_sealed_when_it_is_needed(tmp_path, monkeypatch):
    sweep, executor = sealed_ahead(tmp_path)
    real, calls = sealed._append, []

    def append(*given):
        calls.append(given)
        if len(calls) == 10:  # of the second folder, whose first file comes after six arrays
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*given)

    monkeypatch.setattr(sealed, "_append", append)
    assert sweep.run() == {"done": 3}
    assert executor.sealed == [[]] * 27


def test_a_scan_that_can_not_be_read_ahead_is_read_when_it_is_needed(tmp_path, monkeypatch):
    sweep, _ = sealed_ahead(tmp_path)
    real, calls = sealed._append, []

    def append(*given):
        calls.append(given)
        if len(calls) == 10:
            raise InputError("a share does not answer")
        real(*given)

    monkeypatch.setattr(sealed, "_append", append)
    assert sweep.run() == {"done": 3}


def test_a_scan_that_can_not_be_read_when_it_is_needed_fails_its_runs_and_no_other(tmp_path, monkeypatch):
    plan = small_plan(["prior", "pce"], seeds=[0, 1, 2])
    real = marks.seal_split

    def seal_split(folder, dataset, key, *given):
        if key.seed == 1:
            yield
            raise InputError("s5.png can't be read")
        yield from real(folder, dataset, key, *given)

    monkeypatch.setattr(sweeps, "seal_split", seal_split)
    lines = run_sweep(plan, tmp_path / "r").lines
    assert Counter(line[1:] for line in lines) == {("done", ""): 4, ("failed", "s5.png can't be read"): 2}
    monkeypatch.undo()
    assert [state for _, state, _ in run_sweep(plan, tmp_path / "r").lines] == ["done"] * 2


def test_data_that_are_changed_after_the_plan_fail_their_runs(tmp_path):
    folder = pictures.folder(tmp_path / "set")
    (folder / "link").symlink_to("nowhere")
    plan = small_plan(["prior"], datasets=[f"folder:{folder}"], options=[], seeds=[0, 1])
    changed = sorted((folder / "masks").iterdir())[0]
    kept = changed.read_bytes()
    mask = np.array(Image.open(changed))
    mask[:4] = 1 - mask[:4]
    Image.fromarray(mask).save(changed)
    reason = "the data of clinic were changed after this run was planned; repeat the command"
    assert run_sweep(plan, tmp_path / "r").lines == [("prior", "failed", reason)] * 2
    changed.write_bytes(kept)
    assert run_sweep(plan, tmp_path / "r").lines == [("prior", "done", "")] * 2  # another time of the file, the same pixels


def test_a_worker_that_could_not_write_its_outcome_fails_its_run_and_no_other(tmp_path):
    class Torn(InProcess):
        def run(self, tasks):
            for number, outcome in enumerate(super().run(tasks)):
                if number == 0:
                    (outcome.task.out / "worker.json").write_text("")
                    outcome = replace(outcome, reason="it ended with status 1")
                yield outcome

    lines = run_sweep(small_plan(["prior"], seeds=[0, 1]), tmp_path / "r", executor=Torn()).lines
    assert lines == [("prior", "failed", "it ended with status 1"), ("prior", "done", "")]


def test_a_disk_that_is_full_when_a_folder_is_needed_ends_the_sweep(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sealed, "_append", full)
    with pytest.raises(InputError, match="can't be written: No space left on device; set TMPDIR"):
        sealed_ahead(tmp_path)[0].run()


METRIC = '''"""Waits before a run is scored."""
import time
from pathlib import Path
from benchmark.score.metrics import Metric

class Slow(Metric):
    """For a test."""

    title = "slow"
    better = 1
    low, high, miss = 0.0, 1.0, 0.0

    def measure(self, prediction, truth, spacing):
        """Return 1."""
        {body}
        return 1.0
'''


def slow_metric(folder, body):
    """A metric with this body; returns its path."""
    (folder / "slow.py").write_text(METRIC.format(body=body))
    return str(folder / "slow.py")


def test_a_free_slot_gets_the_next_task_while_a_run_is_scored(tmp_path):
    """The score of the first run waits for the second to learn."""
    flag = tmp_path / "flag"
    wait = f"end = time.monotonic() + 20\n        while not Path({str(flag)!r}).exists(): assert time.monotonic() < end"
    second = write_method(tmp_path, "second", f"open({str(flag)!r}, 'w').close()", "return np.zeros((1, 32, 32), np.uint8)")
    plan = small_plan(["prior", second], metrics=[slow_metric(tmp_path, wait)])
    assert run_sweep(plan, tmp_path / "r", executor=InProcess()).lines == [("prior", "done", ""), ("second", "done", "")]


def test_few_runs_wait_to_be_scored(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.train.sweep.UNSCORED", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    note = (
        "time.sleep(0.2)\n"
        f"        ended = len(list(Path({str(tmp_path)!r}).glob('weakseg-bench-*/run*/worker.json')))\n"
        f"        with open({str(tmp_path / 'ended')!r}, 'a') as file: print(ended, file=file)"
    )
    plan = small_plan(["prior"], seeds=[0, 1, 2, 3], metrics=[slow_metric(tmp_path, note)])
    assert len(run_sweep(plan, tmp_path / "r", executor=InProcess()).lines) == 4
    assert max(map(int, (tmp_path / "ended").read_text().split())) == 2


def test_an_interrupt_loses_no_run_that_has_ended(tmp_path):
    class Interrupted(Recorder):
        def tick(self, running):
            raise KeyboardInterrupt

    class Polled(InProcess):
        def run(self, tasks):
            for outcome in super().run(tasks):
                yield outcome
                yield None

    plan, place = small_plan(["prior"], seeds=[0, 1], metrics=[slow_metric(tmp_path, "time.sleep(0.3)")]), tmp_path / "r"
    with pytest.raises(KeyboardInterrupt):
        Sweep(plan, ResultsFolder(place), Polled(), Interrupted()).run()
    assert [state(ResultsFolder(place), job) for job in plan.jobs] == ["done", "planned"]
    with ResultsFolder(place).lock(plan.jobs[0].hash) as lock:
        assert lock


def test_shares_are_of_true_pixels():
    labelled = AnnotationStatistics(("background", "object", "never"))
    labelled.add(np.array([[[1, 7, 2, 7, 1]]]), np.array([[[0, 0, 1, 1, 1]]]))
    assert labelled.shares() == {"background": 0.5, "object": 0.333333, "never": None}


def test_depths_are_distances_of_marks_to_the_boundary_of_their_class():
    """The image's border is none; a class that is labelled throughout has no depth worth a word."""
    labelled = AnnotationStatistics(("background", "object"))
    mask = np.array([[[0, 0, 0, 0, 1, 1, 1, 1]]])
    labelled.add(np.array([[[1, 3, 1, 3, 3, 3, 3, 2]]]), mask)
    assert labelled.median_depths() == {"background": 2.0, "object": 4.0}
    full = AnnotationStatistics(("background", "object"))
    full.add(1 << mask, mask)
    assert full.median_depths() == {"background": None, "object": None}
