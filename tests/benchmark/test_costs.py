"""Estimates of what a sweep will cost, from stored runs or from three timed steps."""

import dataclasses
import re
from pathlib import Path

import pytest

from benchmark import terminal
from benchmark.plan.costs import Costs, Estimate, by_stored
from benchmark.plan.plugins import get
from benchmark.train import local
from benchmark.train.timing import time_steps
from tests.support.sweeps import TINY, InProcess, small_plan, write_method


@pytest.fixture(scope="module")
def job():
    """500 steps of 8 x 64 px."""
    return small_plan(["pce"], budget=["steps=500", "batch=8", "size=64"]).jobs[0]


def stored(job, fit_s, *, wall_s=None, device="cpu", trials=0, state="done", **changes):
    """The record of a run of a job's kind."""
    identity = job.identity() | {name: value for name, value in changes.items() if name != "budget"}
    identity["budget"] = job.identity()["budget"] | changes.get("budget", {})
    worker = {"fit_s": fit_s, "device": device} | ({"trials": [{}] * trials} if trials else {})
    return {"state": state, "identity": identity, "worker": worker, "wall_s": wall_s or fit_s + 7}


def test_a_run_of_the_same_budget_costs_what_it_cost(job):
    records = [stored(job, 100.0), stored(job, 110.0), stored(job, 150.0)]
    assert by_stored(job, {"results": records}, gpu=False) == Estimate(117.0, "3 runs in results")


def test_seconds_are_proportional_to_steps_batch_and_area(job):
    other = stored(job, 30.0, budget={"steps": 100, "batch": 4, "size": 128})
    found = by_stored(job, {"results": [other]}, gpu=False)
    assert found == Estimate(
        30 / 100 * 500 * (8 * 64 * 64) / (4 * 128 * 128) + 7, "1 run in results, scaled from 4 x 128 px"
    )


def test_methods_that_ran_in_both_shapes_tell_how_a_step_grows(job):
    """Small batches take longer than their pixels say."""
    others = [("gated_crf", 10.0, 30.0), ("dmpls", 20.0, 80.0), ("procns", 10.0, 20.0)]
    records = [stored(job, 8.0, budget={"size": 32})]
    for name, small, large in others:
        records += [stored(job, small, method=name, budget={"size": 32}), stored(job, large, method=name)]
    found = by_stored(job, {"results": records}, gpu=False)
    assert found == Estimate(8.0 * 3 + 7, "1 run in results, scaled from 8 x 32 px")
    for other in ({"device": "NVIDIA H200"}, {"budget": {"threads": 2}}):
        records.append(stored(job, 900.0, method="dmpls", **other))
    assert by_stored(job, {"results": records}, gpu=False) == found


def test_a_budget_of_as_many_pixels_in_another_shape_is_scaled_too(job):
    found = by_stored(job, {"results": [stored(job, 50.0, budget={"batch": 2, "size": 128})]}, gpu=False)
    assert found == Estimate(57.0, "1 run in results, scaled from 2 x 128 px")


@pytest.mark.parametrize(
    "further",
    [
        {"budget": {"size": 256}},
        {"dataset": "faz"},
        {"options": {"weight": 1}},
    ],
)
def test_the_runs_that_are_most_alike_count(job, further):
    records = [stored(job, 900.0, **further), stored(job, 100.0)]
    assert by_stored(job, {"results": records}, gpu=False).seconds == 107


def test_runs_with_other_options_say_so(job):
    """A strategy of federated learning can cost eight times another."""
    found = by_stored(job, {"results": [stored(job, 100.0, options={"weight": 1})]}, gpu=False)
    assert found == Estimate(107.0, "1 run in results, with other options")


def test_runs_of_this_folder_count_before_the_reference(job):
    sources = {"results": [stored(job, 90.0, budget={"batch": 4})], "the stored reference": [stored(job, 100.0)]}
    assert by_stored(job, sources, gpu=False).source == "1 run in results, scaled from 4 x 64 px"
    assert by_stored(job, sources | {"results": []}, gpu=False).source == "1 run in the stored reference"


@pytest.mark.parametrize(
    "record",
    [
        {"device": "NVIDIA H200"},
        {"state": "failed"},
        {"method": "gated_crf"},
        {"budget": {"network": "smp:Unet/resnet18"}},
        {"budget": {"precision": "bf16"}},
        {"budget": {"threads": 4}},
        {"budget": {"kernels": "triton"}},
    ],
)
def test_other_devices_methods_networks_threads_and_kernels_tell_nothing(job, record):
    assert by_stored(job, {"results": [stored(job, 100.0, **record)]}, gpu=False) is None


def test_runs_on_a_gpu_tell_the_costs_on_a_gpu(job):
    records = [stored(job, 100.0), stored(job, 10.0, device="NVIDIA H200")]
    assert by_stored(job, {"results": records}, gpu=True).seconds == 17


def test_predictions_of_another_program_tell_nothing(job):
    record = stored(job, 100.0)
    del record["wall_s"], record["worker"]
    assert by_stored(job, {"results": [record]}, gpu=False) is None


def test_trials_are_trained_one_after_the_other(job):
    alone = dataclasses.replace(job, budget=dataclasses.replace(job.budget, tune=3))
    assert by_stored(alone, {"results": [stored(job, 100.0)]}, gpu=False).seconds == 107  # pce has nothing to tune
    job = dataclasses.replace(job, plugin=get("method", "entropy"), method="entropy", options={"weight": 0.1})
    tuned = dataclasses.replace(job, budget=alone.budget)
    assert by_stored(tuned, {"results": [stored(job, 100.0)]}, gpu=False).seconds == 407
    assert by_stored(job, {"results": [stored(tuned, 400.0, trials=4)]}, gpu=False).seconds == 107


def test_a_method_that_took_no_time_says_nothing_of_how_steps_grow(job):
    small, large = ({"batch": 2, "size": size} for size in (32, 64))
    none = dataclasses.replace(job, plugin=dataclasses.replace(job.plugin, name="none"), method="none")
    records = [stored(none, 0.0, budget=small), stored(none, 0.0, budget=large), stored(job, 100.0, budget=small)]
    found = by_stored(dataclasses.replace(job, budget=dataclasses.replace(job.budget, **large)), {"r": records}, gpu=False)
    assert found.seconds == pytest.approx(407)


def test_hours_are_of_cores_and_the_longest_run_bounds_the_wait(job):
    threaded = dataclasses.replace(job, budget=dataclasses.replace(job.budget, threads=2))
    costs = Costs([threaded, threaded, job], [Estimate(3600, ""), Estimate(900, ""), "ValueError"], at_once=4, gpu=False)
    assert costs.unit == "core-hours"
    assert costs.hours("pce") == 2.5
    assert costs.wall_s() == 3600
    assert dataclasses.replace(costs, at_once=1).wall_s() == 4500
    assert dataclasses.replace(costs, gpu=True).hours("pce") == 1.25


def test_a_file_that_an_option_names_is_found_where_steps_are_timed(tmp_path, monkeypatch):
    method = Path(
        write_method(tmp_path, "reads", "open(self.where); log(2, loss=1.0)", "return np.zeros((2, 32, 32), np.uint8)")
    )
    method.write_text(method.read_text().replace("    where:", "    files = ('where',)\n\n    where:"))
    (tmp_path / "beside.txt").write_text("it")
    monkeypatch.chdir(tmp_path)
    (job,) = small_plan([str(method)], options=[*TINY, "reads.where=beside.txt"]).jobs
    (found,) = time_steps([(job, 2, 1)], ["cpu"])
    assert isinstance(found, Estimate), found


def test_three_steps_are_timed_and_of_a_method_that_fails_it_is_said_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(local, "Local", InProcess)
    log = "for step in range(3):\n            log(step, loss=1.0)\n            time.sleep(0.1)"
    slow = write_method(tmp_path, "slow", log, "return np.zeros((len(scan.image), 32, 32), np.uint8)")
    broken = write_method(tmp_path, "broken", "raise ValueError('no')")
    jobs = small_plan([slow, broken], budget=["steps=100", "batch=8", "size=32"]).jobs
    found, unknown = time_steps([(job, 2, 1) for job in jobs], ["cpu"])
    assert found.source == "3 timed steps, scaled from 4 x 32 px"
    assert 20 <= found.seconds < 40  # 100 steps of 0.1 s, twice as long for twice the batch
    assert unknown == "ValueError: no"
    terminal.show_costs(Costs(jobs, [found, unknown], at_once=1, gpu=False))
    said = capsys.readouterr().out
    assert re.search(r"broken +1 +nothing: three steps fail: ValueError: no\n", said)
    assert re.search("about .* core-hours", said)
