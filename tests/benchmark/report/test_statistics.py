import numpy as np
import pandas as pd
import pytest

from benchmark.report.statistics import interval, patient_values, summarise
from benchmark.score import COUNTS, METRICS


def case(value, *, seed=0, patient="p1", scan="s1", region="r1", **more):
    line = dict.fromkeys(METRICS, np.nan) | dict.fromkeys(COUNTS, 0)
    where = {"column": "c", "row": "m", "seed": seed, "patient": patient, "scan": scan, "region": region, "unit": "mm"}
    return {**line, **where, "dice": value, "hd95": value, "assd": value, **more}


def run(state="done", *, row="m", seed=0, split="s/0", column="c"):
    return {"folder": f"{row}{seed}{split}", "column": column, "row": row, "split": split, "seed": seed, "state": state,
            "reason": "", "stale": False, "own_budget": ""}  # fmt: skip


def cell(cases, runs, metric="dice"):
    summary = summarise(pd.DataFrame(cases), pd.DataFrame(runs))
    return summary[summary.metric == metric].iloc[0]


def test_regions_are_averaged_first_then_scans_then_patients():
    """p1 has scans of mean 0.4 and 0.8, so 0.6; p2 has 0.2; the mean is 0.4, not the mean of the five cases."""
    cases = [
        case(0.3, region="r1"), case(0.5, region="r2"), case(0.8, scan="s2"),
        case(0.2, patient="p2", scan="s3"), case(np.nan, patient="p2", scan="s3", region="r2"),
    ]  # fmt: skip
    values = patient_values(pd.DataFrame(cases), "dice")
    assert values["value"].tolist() == pytest.approx([0.6, 0.2])
    assert cell(cases, [run()])["mean"] == pytest.approx(0.4)


def test_the_mean_is_over_seeds_and_patients_and_the_spread_over_seeds():
    cases = [
        case(v, seed=s, patient=p) for (s, p), v in {(0, "a"): 0.1, (0, "b"): 0.3, (1, "a"): 0.5, (1, "b"): 0.7}.items()
    ]
    found = cell(cases, [run(), run(seed=1)])
    assert found["mean"] == pytest.approx(0.4)
    assert found["sd_seeds"] == pytest.approx(np.std([0.2, 0.6], ddof=1))
    assert (found["patients"], found["seeds"]) == (2, 2)


def test_folds_are_pooled():
    cases = [case(0.2, patient="a"), case(0.6, patient="b")]
    found = cell(cases, [run(split="s/0"), run(split="s/1")])
    assert (found["patients"], found["mean"], found["runs"], found["planned"]) == (2, pytest.approx(0.4), 2, 2)


def test_a_failed_run_leaves_no_average_over_the_survivors():
    found = cell([case(0.9)], [run(), run("failed", seed=1)])
    assert np.isnan(found["mean"])
    assert (found["failed"], found["runs"], found["planned"]) == (1, 1, 2)


def test_what_other_methods_have_and_this_one_lacks_is_counted_as_planned():
    summary = summarise(
        pd.DataFrame([case(0.9), case(0.8, row="other"), case(0.8, row="other", seed=1)]),
        pd.DataFrame([run(), run(row="other"), run(row="other", seed=1)]),
    )
    mine = summary[(summary.method == "m") & (summary.metric == "dice")].iloc[0]
    assert (mine["runs"], mine["planned"]) == (1, 2)


def test_distances_per_slice_stand_in_where_there_is_no_spacing():
    cases = [case(0.9, hd95=np.nan, unit="px", **{"hd95@slice": 4.0})]
    found = cell(cases, [run()], "hd95")
    assert (found["mean"], found["unit"]) == (4.0, "px per slice")


def test_distances_in_different_units_have_no_mean():
    found = cell([case(1.0, patient="a"), case(2.0, patient="b", unit="px")], [run()], "hd95")
    assert np.isnan(found["mean"])
    assert found["unit"] == "mm and px"


def test_misses_and_ghosts_are_counted():
    found = cell([case(0.0, n_missed=1), case(0.5, patient="b", n_ghost=1)], [run()], "hd95")
    assert (found["missed"], found["ghosts"]) == (1, 1)


def test_an_interval_holds_the_mean_and_narrows_with_more_patients():
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.7, 0.1, (3, 10)), rng.normal(0.7, 0.1, (3, 1000))
    for values in (few, many):
        low, high = interval(values)
        assert low < values.mean() < high
    assert np.diff(interval(many)) < np.diff(interval(few)) / 3


def test_an_interval_by_hand():
    """One seed, two patients with 0 and 1: resampled means are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4."""
    assert interval(np.array([[0.0, 1.0]])) == (0, 1)
    assert interval(np.array([[0.5, 0.5]])) == (0.5, 0.5)


def test_a_seed_effect_widens_the_interval():
    """All patients of a seed move together: nested resampling would hide that."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (3, 200))
    moved = noise + np.array([[-0.1], [0.0], [0.1]])
    assert np.diff(interval(moved)) > 5 * np.diff(interval(noise))


def test_missing_values_are_left_out_of_the_resampled_means():
    values = np.array([[0.2, np.nan, 0.4], [0.2, 0.9, np.nan]])
    low, high = interval(values)
    assert 0.2 <= low < np.nanmean(values) < high <= 0.9


def test_one_patient_has_no_interval():
    assert np.isnan(interval(np.array([[0.5], [0.6]]))).all()


def test_the_interval_is_the_same_every_time():
    values = np.random.default_rng(1).random((2, 30))
    assert interval(values) == interval(values)


def coverage(draw, repeats=300):
    hits = 0
    for number in range(repeats):
        low, high = interval(draw(np.random.default_rng(number)), seed=number)
        hits += low <= 0 <= high
    return hits / repeats


def test_the_interval_covers_at_about_its_rate_over_patients():
    assert 0.90 <= coverage(lambda rng: rng.normal(0, 1, (1, 40))) <= 0.98
