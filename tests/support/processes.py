"""Looking at processes."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], Any], seconds: float = 90) -> Any:
    """The first true value of a condition that is asked again and again."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.1)
    return found


def workers_of(pid: int) -> list[int]:
    """Worker processes of a runner: those that it has started, and those that its helper has forked."""
    found = children(pid)
    helpers = [child for child, command in found.items() if "benchmark.train.forks" in command]
    return [
        *(child for child, command in found.items() if "benchmark.train.worker" in command),
        *(child for helper in helpers for child in children(helper)),
    ]


def children(pid: int) -> dict[int, str]:
    """Command lines of a process's children."""
    shown = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return {int(number): command for number, _, command in (line.strip().partition(" ") for line in shown.splitlines())}
