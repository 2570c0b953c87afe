import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.plan.costs import Costs, Estimate
from benchmark.plan.jobs import make_plan
from benchmark.plan.presets import Request
from benchmark.terminal import Watcher, last_line, show_brief
from benchmark.train.local import Running, Task
from tests.support.sweeps import BUDGET, TINY, small_plan
from tests.tiny import pictures


def watched(terminal):
    text = io.StringIO()
    return text, Console(file=text, force_terminal=terminal, width=120, highlight=False)


def test_outside_a_terminal_every_run_is_a_line():
    text, console = watched(terminal=False)
    job = small_plan(["prior"]).jobs[0]
    with Watcher(console) as watcher:
        watcher.planned(Counter(planned=1, done=2))
        watcher.tick([])
        watcher.ended(job, "failed", "no luck", 61.2)
    assert text.getvalue() == ("failed    prior · octa_phantom · scribble:sim · default · seed 0 (1:01): no luck\n")


def test_propagating_labels_shows_its_progress(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"step": 0, "seconds": 9.0, "propagated": 0.35}\n')
    text, console = watched(terminal=True)
    with Watcher(console) as watcher:
        watcher.planned(Counter(planned=1))
        watcher.tick([Running(Task("walker", Path(), Path(), tmp_path, threads=1, steps=100), "cpu")])
        watcher.live.refresh()
    assert "labels 35%" in text.getvalue()
    assert "1/100" not in text.getvalue()


@pytest.mark.parametrize(("flags", "lines"), [({}, 2), ({"quiet": True}, 1), ({"quiet": True, "verbose": True}, 2)])
def test_a_quiet_screen_has_only_what_failed(flags, lines):
    text, console = watched(terminal=False)
    job = small_plan(["prior"]).jobs[0]
    with Watcher(console, **flags) as watcher:
        watcher.ended(job, "done", "", 1)
        watcher.ended(job, "failed", "no luck", 1)
    assert len(text.getvalue().splitlines()) == lines


@pytest.mark.parametrize(("verbose", "shown"), [(False, False), (True, True)])
def test_a_terminal_has_lines_of_done_runs_only_if_asked(verbose, shown):
    text, console = watched(terminal=True)
    job = small_plan(["prior"]).jobs[0]
    with Watcher(console, verbose=verbose) as watcher:
        watcher.ended(job, "done", "", 1)
    assert (job.name in text.getvalue()) is shown


def test_an_interrupt_says_what_is_kept():
    text, console = watched(terminal=False)
    job = small_plan(["prior"]).jobs[0]
    watcher = Watcher(console, quiet=True)
    watcher.planned(Counter(planned=5, done=2, stale=1, failed=1))
    watcher.ended(job, "done", "", 1)
    watcher.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert text.getvalue() == "stopped; 4 of 9 runs done and kept; the same command goes on\n"
    text, console = watched(terminal=False)
    Watcher(console, quiet=True, rerun="all").__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert text.getvalue() == "stopped; 0 runs repeated, the others are as before; the same command repeats all\n"


def test_the_plan_is_five_lines(capsys, tmp_path):
    flags = {"annotations": ["scribble:sim", "point"], "seeds": [0, 1], "methods": ["prior", "pce"]}
    plan = make_plan(Request(datasets=["octa_phantom"], options=TINY, budget=BUDGET, **flags))
    states = [(job, "done" if job.seed else "planned") for job in plan.jobs]
    todo = [job for job, state in states if state == "planned"]
    estimates = [Estimate(1800.0, "runs") if job.method == "pce" else None for job in todo]
    show_brief(plan, states, Costs(todo, estimates, 2, gpu=False), tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "methods   prior, pce; seeds 0, 1",
        "data      octa_phantom scribble:sim, point",
        "splits    octa_phantom default",
        "runs      4 done, 4 planned; about 1 core-hours for 2 of 4 runs, 30 min with 2 at once",
        f"results   {tmp_path}",
    ]


def test_the_plan_says_which_splits_are_left_out(capsys, tmp_path):
    plan = make_plan(Request(datasets=[f"folder:{pictures.folder(tmp_path)}"], methods=["prior"], annotations=["point"]))
    show_brief(plan, [(job, "planned") for job in plan.jobs], Costs(plan.jobs, [None], 2, gpu=False), tmp_path)
    shown = capsys.readouterr().out
    assert " cv5/0 (1 of 5; all: --splits cv5)" in shown
    assert "costs unknown, --dry-run times the first steps" in shown


def test_in_a_terminal_running_jobs_show_step_loss_and_time_left(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"step": 24, "seconds": 10.0, "loss": 0.1234}\n{"step": 3')
    task = Task("pce · octa", Path(), Path(), tmp_path, threads=1, steps=100)
    text, console = watched(terminal=True)
    with Watcher(console) as watcher:
        watcher.planned(Counter(planned=1))
        watcher.tick([Running(task, "cuda:0")])
        watcher.live.refresh()
    shown = text.getvalue()
    for word in ("pce · octa", "cuda:0", "25/100", "0.1234", "0:30", "0 of 1 ended, 0 failed"):
        assert word in shown


@pytest.mark.parametrize(
    ("seconds", "elsewhere", "words"),
    [(1000, 0, "about 39 min left"), (9000, 1, "about 4 h 10 min left")],
)
def test_the_time_left_is_told_by_the_share_that_is_done(tmp_path, seconds, elsewhere, words):
    """One run and half of another are done in so many seconds, so the rest of five, 3.5 or 2.5, takes as long for each."""
    (tmp_path / "train.jsonl").write_text('{"step": 49, "seconds": 10.0, "loss": 0.1}\n')
    task = Task("pce", Path(), Path(), tmp_path, threads=1, steps=100)
    text, console = watched(terminal=True)
    job = small_plan(["prior"]).jobs[0]
    with Watcher(console) as watcher:
        watcher.planned(Counter(planned=5))
        watcher.start -= seconds
        watcher.tick([])
        watcher.live.refresh()
        assert "min left" not in text.getvalue()
        watcher.ended(job, "done", "", 1)
        for _ in range(elsewhere):
            watcher.ended(job, "elsewhere", "", 0)
        watcher.tick([Running(task, "cpu")])
        watcher.live.refresh()
    assert words in text.getvalue()


def test_the_last_whole_line_of_a_log_counts(tmp_path):
    log = tmp_path / "train.jsonl"
    assert last_line(log) == {}
    log.write_text('{"step": 1}')
    assert last_line(log) == {}
    log.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert last_line(log) == {"step": 2}
