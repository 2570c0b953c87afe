"""The service that shares a GPU is started, found by workers and ended; its program is a script here."""

import os
import sys
import time
from pathlib import Path

import pytest

from benchmark.train.local import Local, Task, kill, start
from benchmark.train.mps import CONTROL, shared_gpus

NOTE = 'echo "$*|$(cat)|$CUDA_MPS_PIPE_DIRECTORY|$CUDA_MPS_LOG_DIRECTORY|$CUDA_VISIBLE_DEVICES" >> {note}\n'


@pytest.fixture
def control(tmp_path, monkeypatch):
    """A control program that notes its arguments, its input and its variables; gives a function that reads the notes."""
    note, program = tmp_path / "notes", tmp_path / "bin" / CONTROL
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + NOTE.format(note=note))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    return lambda: note.read_text().splitlines() if note.exists() else []


def test_the_service_runs_during_the_block_in_folders_of_its_own(control, tmp_path):
    with shared_gpus(tmp_path, ["cuda:0"], 2) as variables:
        assert variables == {
            "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "pipe"),
            "CUDA_MPS_LOG_DIRECTORY": str(tmp_path / "log"),
        }
        assert all(Path(path).is_dir() for path in variables.values())
        assert control() == [f"-d||{tmp_path}/pipe|{tmp_path}/log|"]
    assert control()[1:] == [f"|quit|{tmp_path}/pipe|{tmp_path}/log|"]


@pytest.mark.parametrize(("devices", "per_device"), [(["cpu"], 4), (["cuda:0", "cuda:1"], 1)])
def test_it_is_not_started_where_no_gpu_is_shared(control, tmp_path, devices, per_device):
    with shared_gpus(tmp_path, devices, per_device) as variables:
        assert variables == {}
    assert control() == []


def test_a_service_that_does_not_start_is_said_and_done_without(control, tmp_path, capsys):
    (tmp_path / "bin" / CONTROL).write_text("#!/bin/sh\nexit 1\n")
    with shared_gpus(tmp_path, ["cuda:0"], 2) as variables:
        assert variables == {}
    assert capsys.readouterr().err.count("MPS does not start") == 1


def test_an_executor_runs_it_and_ends_it(control):
    executor = Local(["cuda:0"], 2, None, [])
    assert list(executor.run(iter([]))) == [None]
    assert [line.split("|")[:2] for line in control()] == [["-d", ""], ["", "quit"]]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_finds_the_service_by_its_variables(tmp_path):
    task = Task("a run", tmp_path / "job.json", tmp_path, tmp_path, 1, 1)
    worker = start(task, "cpu", [], None, {"CUDA_MPS_PIPE_DIRECTORY": "/somewhere"})
    worker_environment = Path(f"/proc/{worker.process.pid}/environ")
    deadline = time.monotonic() + 30
    while not (environment := worker_environment.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.01)  # it is empty until the program has begun
    kill(worker)
    assert b"CUDA_MPS_PIPE_DIRECTORY=/somewhere" in environment.split(b"\0")
