from pathlib import Path

import pytest
import torch

import benchmark
from benchmark import InputError
from benchmark.executors import devices, worker_environment


def test_auto_takes_a_gpu_where_there_is_one():
    assert devices("cpu") == ["cpu"]
    assert devices("auto") == ([f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"])


@pytest.mark.parametrize("wanted", ["cuda:99", "tpu", "cuda:x"])
def test_a_device_that_is_not_there_is_refused(wanted):
    with pytest.raises(InputError, match=f"no device '{wanted}'; there are cpu"):
        devices(wanted)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(InputError, match="no device 'cuda'; there are cpu$"):
        devices("cuda")


def test_a_worker_sees_its_own_device_alone(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert worker_environment("cuda:1", 1, [])["CUDA_VISIBLE_DEVICES"] == "1"
    assert worker_environment("cpu", 1, [])["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert worker_environment("cuda:1", 1, [])["CUDA_VISIBLE_DEVICES"] == "7"


def test_threads_are_set_and_the_package_is_found():
    environment = worker_environment("cpu", 3, [])
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"
    assert str(Path(benchmark.__file__).parents[1]) in environment["PYTHONPATH"].split(":")


def test_variables_that_name_a_hidden_folder_are_removed(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCHMARK_DATA", "/anywhere")
    monkeypatch.setenv("NOTE", f"see {tmp_path}/data/acdc")
    monkeypatch.setenv("OTHER", "kept")
    environment = worker_environment("cpu", 1, [tmp_path / "data"])
    assert "NOTE" not in environment
    assert "BENCHMARK_DATA" not in environment
    assert environment["OTHER"] == "kept"


def test_a_hidden_folder_that_holds_the_interpreter_does_not_take_it_away():
    assert "PATH" in worker_environment("cpu", 1, [Path("/")])
