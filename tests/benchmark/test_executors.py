"""Where runs are done: devices and environments, second tries, shards, and the way to another machine and back."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import benchmark
from benchmark import InputError, api
from benchmark.__main__ import main
from benchmark.plan.jobs import select_shard, state
from benchmark.seal import contract
from benchmark.seal import folder as sealed
from benchmark.seal.contract import Budget
from benchmark.store import ResultsFolder
from benchmark.train import local
from benchmark.train.local import (
    Outcome,
    RetryOnce,
    Task,
    Worker,
    clean_environment,
    devices,
    outcome,
    processor,
    worker_environment,
)
from benchmark.train.ray import bundle as bundles
from benchmark.train.ray.client import Cluster, Ray, cluster_fault, slots
from benchmark.train.sweep import Sweep
from tests.support.sweeps import BUDGET, TINY, InProcess, Recorder, run_sweep, small_plan, write_method


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
    monkeypatch.setenv("TOOLS", f"{tmp_path}/data_tools")
    environment = worker_environment("cpu", 1, [tmp_path / "data"])
    assert "NOTE" not in environment
    assert "BENCHMARK_DATA" not in environment
    assert environment["OTHER"] == "kept"
    assert environment["TOOLS"] == f"{tmp_path}/data_tools"


def test_of_a_set_that_is_tested_on_another_both_folders_are_hidden(tmp_path):
    class Stop(Exception):
        pass

    def make(*given):
        raise Stop(given[-1])

    plan = small_plan(["prior"])
    parts = [SimpleNamespace(root=tmp_path / name) for name in ("trained", "tested")]
    other = dataclasses.replace(plan, datasets={"both": SimpleNamespace(root=parts[0].root, parts=parts)})
    with pytest.raises(Stop) as stopped:
        api.execute(other, tmp_path / "r", make)
    assert stopped.value.args[0] == [tmp_path / "r", tmp_path / "trained", tmp_path / "tested"]


def test_runs_are_spread_over_devices(monkeypatch):
    executor, taken = local.Local(["cuda:0", "cuda:1"], 2, None, []), []
    busy = SimpleNamespace(start=0.0, task=None, process=SimpleNamespace(poll=lambda: None))
    monkeypatch.setattr(executor, "_start", lambda task, device: taken.append(device) or busy)
    next(executor._run(iter(range(3))))
    assert taken[:2] == ["cuda:0", "cuda:1"]
    assert len(taken) == 3


def test_a_hidden_folder_that_holds_the_interpreter_does_not_take_it_away():
    assert "PATH" in worker_environment("cpu", 1, [Path("/")])


def mixed_plan(seeds):
    """Three methods on so many sealed folders."""
    return small_plan(["pce", "prior", "entropy"], seeds=list(range(seeds)))


@pytest.mark.parametrize(("seeds", "parts"), [(1, 2), (2, 2), (4, 3), (5, 4), (2, 9)])
def test_shards_hold_every_run_once_and_equally_many_of_every_method(seeds, parts):
    jobs = mixed_plan(seeds).jobs
    dealt = [select_shard(jobs, f"{number}/{parts}") for number in range(1, parts + 1)]
    assert sorted(job.hash for part in dealt for job in part) == sorted(job.hash for job in jobs)
    for method in ("pce", "prior", "entropy"):
        counts = [sum(job.method == method for job in part) for part in dealt]
        assert max(counts) - min(counts) <= 1


def test_a_shard_has_whole_sealed_folders_where_they_divide_evenly():
    jobs = mixed_plan(4).jobs
    assert [job.seed for job in select_shard(jobs, "1/2")] == [0, 0, 0, 2, 2, 2]
    assert [job.seed for job in select_shard(jobs, "2/2")] == [1, 1, 1, 3, 3, 3]


@pytest.mark.parametrize("which", ["0/4", "5/4", "x", "1", "1/0", "-1/2", "1/2/3", ""])
def test_what_is_not_a_shard_is_refused(which):
    with pytest.raises(InputError, match="it must be I/N with I from 1 to N, such as 2/8"):
        select_shard([], which)


def test_shards_share_a_results_folder_whose_plan_is_whole(tmp_path):
    plan, place = small_plan(["pce", "prior"]), ResultsFolder(tmp_path)
    for number in (1, 2):
        screen = Recorder()
        states = Sweep(plan, place, InProcess(), screen).run(select_shard(plan.jobs, f"{number}/2"))
        assert states == {"done": 1}
        assert len(json.loads((tmp_path / "plan.json").read_text())["runs"]) == 2
    assert [state(place, job) for job in plan.jobs] == ["done", "done"]


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """`run` of two methods on a tiny phantom, in this process and an empty folder; gives status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "Local", InProcess)
    tiny = ["--datasets", "octa_phantom", "--budget", ",".join(BUDGET), *(p for o in TINY for p in ("--set", o))]

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["benchmark", "run", "--methods", "prior,pce", *tiny, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "3/2"], "--shard is '3/2'; it must be I/N"),
        (["--executor", "slurm"], "--executor is 'slurm'; it must be local or ray"),
        (["--address", "host:1"], "--address names a Ray cluster; it needs --executor ray"),
    ],
)
def test_a_wrong_flag_is_said_before_the_data_are_read(run, words, message):
    status, shown, errors = run(*words)
    assert (status, shown) == (2, "")
    assert message in errors


def test_a_dry_run_of_a_shard_shows_its_runs_alone(run):
    _, shown, _ = run("--shard", "2/2", "--dry-run")
    assert "prior/default" in shown
    assert "pce/default" not in shown
    assert "1 run\n" in shown


def test_a_shard_writes_no_report_and_says_what_does(run, tmp_path):
    status, shown, _ = run("--shard", "2/2")
    assert status == 0
    assert shown.splitlines()[-2:] == [
        "shard 2/2: 1 done",
        "after the last shard: python -m benchmark report --results results --reports reports",
    ]
    assert not (tmp_path / "reports").exists()


def test_a_shard_with_a_failed_run_is_status_1(run, tmp_path):
    method = write_method(tmp_path, "unlucky", "raise RuntimeError('no luck')")
    assert run("--methods", method, "--shard", "1/1")[0] == 1


def died(out, reason):
    task = Task("a run", out / "job.json", out, out, 1, 1)
    return Outcome(task, "cpu", 1.0, reason, "a processor", died=True)


@pytest.mark.parametrize(
    ("ends", "reason", "died"),
    [
        ("exit 3", "it ended with status 3", False),
        ("exit 0", "it ended without writing worker.json", False),
        ("kill -9 $$", "it was killed by SIGKILL", True),
        ("kill -40 $$", "it was killed by signal 40", True),
        ("echo 'ValueError: no idea' > reason.txt; exit 1", "ValueError: no idea", False),
    ],
)
def test_how_a_worker_ended_is_said(tmp_path, ends, reason, died):
    task = Task("a run", tmp_path / "job.json", tmp_path, tmp_path, 1, 1)
    process = subprocess.Popen(["sh", "-c", ends], cwd=tmp_path, start_new_session=True)
    process.wait()
    ended = outcome(Worker(task, "cpu", process=process), timeout_s=None)
    assert (ended.reason, ended.died) == (reason, died)


def test_a_worker_that_ended_before_anybody_looked_is_not_late(tmp_path):
    task = Task("a run", tmp_path / "job.json", tmp_path, tmp_path, 1, 1)
    (tmp_path / "worker.json").write_text("{}")
    process = subprocess.Popen(["true"], cwd=tmp_path, start_new_session=True)
    process.wait()
    assert outcome(Worker(task, "cpu", process=process, start=time.monotonic() - 100), timeout_s=6).reason == ""


def test_a_worker_that_dies_is_tried_once_more_and_a_second_death_is_reported(tmp_path):
    retries = RetryOnce()
    for name in ("job.json", "train.jsonl"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder").mkdir()
    assert retries.is_first(died(tmp_path, "it was killed by SIGSEGV"))
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]
    second = died(tmp_path, "its node died")
    assert not retries.is_first(second)
    assert retries.with_first_failure(second).reason == "it was killed by SIGSEGV, then its node died"


def test_a_run_that_raised_an_error_or_was_late_is_not_tried_again(tmp_path):
    task = Task("a run", tmp_path / "job.json", tmp_path, tmp_path, 1, 1)
    assert not RetryOnce().is_first(Outcome(task, "cpu", 1.0, "it ran longer than 1 s", "a processor"))


def test_a_worker_is_not_part_of_a_ray_cluster(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert "RAY_AUTH_TOKEN" not in worker_environment("cpu", 1, [])
    assert clean_environment([])["RAY_AUTH_TOKEN"] == "secret"


def test_folders_to_hide_are_named_so_that_a_node_understands_them(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Ray(Cluster("", "cpu", 0, 1, None), [Path("data")]).hide == (tmp_path / "data",)


NODES = [{"Resources": {"CPU": 8.0, "GPU": 2.0}}, {"Resources": {"CPU": 3.0}}]


@pytest.mark.parametrize(
    ("device", "workers", "threads", "number"),
    [("cpu", 0, 1, 11), ("cpu", 0, 2, 5), ("cpu", 0, 4, 2), ("cuda", 0, 1, 2), ("cuda", 3, 1, 6), ("cuda", 3, 2, 4)],
)
def test_a_node_takes_as_many_runs_as_it_has_cpus_and_shares_of_gpus(device, workers, threads, number):
    cluster = Cluster("", device, workers, threads, None)
    assert slots(NODES, cluster, gpu=device == "cuda") == number
    assert cluster_fault(NODES, cluster, gpu=device == "cuda") == ""


@pytest.mark.parametrize(
    ("device", "workers", "threads", "reason"),
    [
        ("cuda", 0, 1, "no node of the Ray cluster has a GPU"),
        ("cpu", 2, 1, "--workers is the number of runs per GPU"),
        ("cpu", 0, 9, "no node of the Ray cluster has 9 CPUs"),
    ],
)
def test_a_cluster_that_can_not_do_the_runs_is_refused(device, workers, threads, reason):
    assert cluster_fault(NODES, Cluster("", device, workers, threads, None), gpu=False).startswith(reason)


class ByPost:
    """Every task as a bundle, one after the other, as a node would do it; keeps what crossed."""

    running: list = []

    def __init__(self, timeout_s=120):
        self.timeout_s, self.crossed = timeout_s, []

    def run(self, tasks):
        for task in tasks:
            bundle = bundles.pack(task, False, self.timeout_s, ())
            self.crossed.append(pickle.dumps((bundle, bundles.read_sealed(task.sealed))))
            yield bundles.run_on_node(*pickle.loads(self.crossed[-1])).unpack(task)


def by_post(plan, results, timeout_s=120):
    screen, executor = Recorder(), ByPost(timeout_s)
    Sweep(plan, ResultsFolder(results), executor, screen).run()
    return screen.lines, executor.crossed


@pytest.fixture(scope="module")
def posted(tmp_path_factory):
    """A sweep by bundle: its plan and folder, what the screen was shown, and what crossed."""
    root = tmp_path_factory.mktemp("posted")
    mine = write_method(root, "mine", "log(0, loss=1.0)", "return (scan.image[:, 0] > 0.4).astype(np.uint8)")
    plan = small_plan([mine, write_method(root, "raises", "raise RuntimeError('no idea')")])
    return plan, root, *by_post(plan, root / "there")


def test_a_run_by_bundle_is_the_run_made_here(posted):
    plan, root, lines, crossed = posted
    run_sweep(plan, root / "here")
    assert lines[0] == ("mine", "done", "")
    here, there = (root / name / "runs" / plan.jobs[0].folder for name in ("here", "there"))
    assert {path.name for path in here.iterdir()} == {path.name for path in there.iterdir()}
    assert (here / "cases.csv").read_bytes() == (there / "cases.csv").read_bytes()
    for path in here.glob("*.npz"):
        assert np.array_equal(np.load(path)["labels"], np.load(there / path.name)["labels"])
    for secret in (b"octa_phantom", b"scribble", str(root / "there").encode()):
        assert not any(secret in bundle for bundle in crossed)


def test_no_dense_mask_crosses_to_a_node(posted):
    plan, _, _, (crossed, *_) = posted
    _, arrays = pickle.loads(crossed)
    assert sorted(arrays) == ["index.json", "test-image", "train-allowed", "train-image"]
    dataset = plan.datasets["octa_phantom"]
    for name in (*dataset.split("default").train, *dataset.split("default").test):
        assert dataset.load(name).mask.tobytes() not in crossed


def test_a_failure_at_a_node_comes_back_with_its_traceback(posted):
    plan, root, lines, _ = posted
    assert lines[1] == ("raises", "failed", "RuntimeError: no idea")
    assert "raises.py" in (root / "there" / "runs" / plan.jobs[1].folder / "error.txt").read_text()


def test_a_run_at_a_node_that_takes_too_long_has_failed(tmp_path):
    plan = small_plan([write_method(tmp_path, "hangs", "time.sleep(1000)")])
    assert by_post(plan, tmp_path / "r", timeout_s=2)[0] == [("hangs", "failed", "it ran longer than 2 s")]


def test_a_node_with_other_code_does_no_run(posted):
    bundle, arrays = pickle.loads(posted[3][0])
    (name, content), *_ = bundle.files.items()
    other = dataclasses.replace(bundle, files={name: content.replace(b"0.4", b"0.5")})
    assert "has other code than the sending machine" in bundles.run_on_node(other, arrays).reason


@pytest.mark.slow
def test_encoder_weights_travel_with_the_run(tmp_path):
    folder, out, weights = tmp_path / "sealed", tmp_path / "out", tmp_path / "encoder.pth"
    for made in (folder, out):
        made.mkdir()
    weights.write_text("these weights")
    scan = contract.WeakScan(np.zeros((1, 1, 32, 32), np.float32), np.full((1, 32, 32), 3, np.uint8))
    sealed.seal(folder, {"train": [scan]}, [contract.TestScan(scan.image)], 2, 1)
    body = "os.remove(self.where); raise RuntimeError(open(budget.weights).read())"  # the original can't be what is read
    plugin = {"kind": "method", "name": "reads", "module": write_method(tmp_path, "reads", body), "cls": ""}
    budget = dataclasses.asdict(Budget(size=32, network="smp:unet/resnet18", weights=str(weights)))
    job = {"plugin": plugin, "options": {"where": str(weights)}, "seed": 0, "budget": budget}
    (out / "job.json").write_text(json.dumps(job))
    bundle = bundles.pack(Task("a run", out / "job.json", folder, out, 1, 1), False, 120, ())
    assert bundles.run_on_node(bundle, bundles.read_sealed(folder)).reason == "RuntimeError: these weights"


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (
            "model name\t: AMD EPYC\nflags\t\t: sse avx2 avx512f avx512_bf16\nmodel name\t: another\n",
            "AMD EPYC (avx512_bf16)",
        ),
        ("model name\t: AMD EPYC\nflags\t\t: sse avx2x\n", "AMD EPYC"),
        ("processor\t: 0\nFeatures\t: asimd\n", os.uname().machine),
    ],
)
def test_a_processor_is_named_with_its_widest_vectors(monkeypatch, told, name):
    """A virtual machine's name says nothing of them, and scores depend on them."""
    monkeypatch.setattr(Path, "read_text", lambda _: told)
    assert processor() == name
