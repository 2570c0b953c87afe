"""Facts of the table of speeds; the measuring itself is `tox -e speed`."""

import json

import pytest

from tests import speed_table
from tests.speed_table import Key


def measured(group, how, seconds, **extra):
    """One test of a run, as pytest-benchmark writes it."""
    return {"group": group, "params": {"how": how}, "stats": {"min": seconds}, "extra_info": {"load": 1.0, **extra}}


RUN = [
    measured("a", "naive", 2.0, peak_mib=100.0),
    measured("a", "ours", 0.5, peak_mib=10.0),
    measured("b", "pce", 4.0),
    measured("b", "other", 6.0),
]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script with files of its own; called with a run and arguments."""
    files = {gpu: (tmp_path / f"ratios{gpu}.csv", tmp_path / "reports" / f"speed{gpu}.md") for gpu in (False, True)}
    monkeypatch.setattr(speed_table, "FILES", files)
    monkeypatch.setattr(speed_table, "ceilings", lambda: "100 GFLOP/s")
    monkeypatch.setattr(speed_table, "gpu_ceilings", lambda: "67 TFLOP/s")
    machine = {
        "cpu": {"brand_raw": "A processor", "count": 2, "flags": ["avx2"]},
        **{"machine": "x86_64", "system": "Linux", "release": "6", "python_version": "3.11"},
    }

    def call(benchmarks, *arguments):
        run = {
            "machine_info": {**machine, "python_version": "3.11"},
            "datetime": "2026-01-02T03:04:05",
            "benchmarks": benchmarks,
        }
        (tmp_path / "run.json").write_text(json.dumps(run))
        return speed_table.main([str(tmp_path / "run.json"), *arguments])

    call.folder, call.kept = tmp_path, files[False][0]
    return call


def test_a_ratio_is_that_to_the_first_of_the_group():
    ratios = speed_table.ratios(speed_table.costs_of(RUN))
    assert ratios[Key("a", "ours", "time")] == 0.25
    assert ratios[Key("a", "ours", "memory")] == 0.1
    assert ratios[Key("b", "other", "time")] == 1.5


def test_a_group_without_its_baseline_has_no_ratio():
    assert not speed_table.ratios(speed_table.costs_of(RUN[1:2]))


@pytest.mark.parametrize(("seconds", "status"), [(0.5, 0), (0.74, 0), (0.76, 1)])
def test_a_ratio_half_as_large_again_as_committed_is_a_regression(script, capsys, seconds, status):
    assert script(RUN, "--keep") == 0
    assert script([RUN[0], measured("a", "ours", seconds, peak_mib=10.0)]) == status
    assert ("the time of 'ours' is 0.38 of the baseline's; committed was 0.25" in capsys.readouterr().out) == bool(status)


def test_what_costs_next_to_nothing_may_cost_twice_that(script):
    script([RUN[2], measured("b", "other", 0.008)], "--keep")
    assert script([RUN[2], measured("b", "other", 0.015)]) == 0
    assert script([RUN[2], measured("b", "other", 0.032)]) == 1


def test_a_slower_machine_is_no_regression(script):
    script(RUN, "--keep")
    assert script([{**one, "stats": {"min": 7 * one["stats"]["min"]}} for one in RUN]) == 0


def test_keeping_one_group_leaves_the_others(script):
    script(RUN, "--keep")
    script([RUN[2], measured("b", "other", 8.0)], "--keep")
    assert speed_table.committed(script.kept)[Key("a", "ours", "time")] == 0.25
    assert speed_table.committed(script.kept)[Key("b", "other", "time")] == 2


def test_the_report_says_what_was_measured_where(script):
    script(RUN, "--keep")
    script(RUN[:2])
    text = (script.folder / "reports" / "speedFalse.md").read_text()
    assert "A processor, 2 cores" in text
    assert "| ours, time | 500 ms | 0.25 (4 times less) | 0.25 |" in text
    assert "| ours, memory | 10.0 MiB | 0.1 (10 times less) | 0.1 |" in text
    assert "- not measured in this run: b: other, time" in text


def test_a_gpu_is_named_and_has_ratios_of_its_own(script):
    script(RUN, "--keep")
    script([measured("a", "naive", 0.2, gpu="H100"), measured("a", "ours", 0.1, gpu="H100")], "--keep")
    text = (script.folder / "reports" / "speedTrue.md").read_text()
    assert "one H100, times by the clock" in text
    assert "at most, measured here after the tests: 67 TFLOP/s" in text
    assert "| ours, time | 100 ms | 0.5 (2 times less) | 0.5 |" in text
    assert "not measured" not in text
    assert speed_table.committed(script.kept)[Key("a", "ours", "time")] == 0.25


def test_the_ratios_that_are_committed_are_of_groups_with_a_baseline():
    kept = speed_table.committed(speed_table.FILES[False][0])
    first = {(key.group, key.measure): ratio for key, ratio in reversed(kept.items())}
    assert len(first) > 10
    assert set(first.values()) == {1}
