import io
from collections import Counter
from pathlib import Path

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


def test_the_last_whole_line_of_a_log_counts(tmp_path):
    log = tmp_path / "train.jsonl"
    assert last_line(log) == {}
    log.write_text('{"step": 1}')
    assert last_line(log) == {}
    log.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert last_line(log) == {"step": 2}
