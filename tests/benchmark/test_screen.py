import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.terminal import Watcher, last_line
from benchmark.train.local import Running, Task
from tests.support.sweeps import small_plan


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
    assert text.getvalue() == (
        "3 runs: 2 done, 1 planned\n"
        "failed    prior · octa_phantom · scribble:sim · default · seed 0 (1:01): no luck\n"
    )  # fmt: skip


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
