"""The closed share of the gap to full masks, hours of annotation, and columns that differ in density or noise alone."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmark.report import runs, statistics, summary, supervision
from benchmark.score.metrics import BUILT_IN
from tests.benchmark.report.test_rows import HEADER, record

PATIENTS = {"a": 0.0, "b": 0.1, "c": 0.02, "d": -0.1}  # how much easier each is


@pytest.fixture
def results(tmp_path):
    """Writes runs and reads them; a run is (label, annotation, seed, {patient: dice} or None if missing, changes)."""

    def write(*given):
        plan = []
        for number, (label, annotation, seed, dice, changes) in enumerate(given):
            more = {key: changes[key] for key in ("labelled_slices", "labelled_objects") if key in changes}
            rest = {key: value for key, value in changes.items() if key not in more}
            run = record(label, seed=seed, annotation=annotation, **rest) | more
            if dice is None:
                plan.append({key: run[key] for key in ("identity", "label", "common")} | {"folder": f"gone{number}"})
                continue
            folder = tmp_path / "runs/d/a" / label / f"run{number}"
            folder.mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps(run))
            lines = [f"{name},{name},faz,px,{value},1.0,1.0,,,0,0,0" for name, value in dice.items()]
            (folder / "cases.csv").write_text(HEADER + "\n".join(lines) + "\n")
        (tmp_path / "plan.json").write_text(json.dumps({"name": "n", "title": "t", "runs": plan}))
        return runs.read(tmp_path)

    return write


def around(mean):
    return {name: round(mean + easier, 6) for name, easier in PATIENTS.items()}


def gap(results, marks, full, annotation="scribble:sim"):
    """Gaps of runs with one seed: label -> {patient: dice} on marks and on full masks."""
    runs = [(label, annotation, 0, dice, {}) for label, dice in marks.items()]
    return supervision.gaps(results(*runs, *((label, "full", 0, dice, {}) for label, dice in full.items())))


def test_halfway_between_the_best_of_three_and_full_masks_is_a_share_of_one_half(results):
    marks = {"pce": around(0.5), "pce_dice": around(0.6), "entropy": around(0.7)}
    frame = gap(results, marks, {"pce_dice": around(0.8), "entropy": around(0.9)}).set_index("method")
    assert set(frame.base) == {"pce_dice"}
    assert frame.share.to_dict() == pytest.approx({"pce": -0.5, "pce_dice": 0, "entropy": 0.5})
    line = frame.loc["entropy"]
    assert (line.low, line.high, line.gap) == pytest.approx((0.5, 0.5, 0.2))  # patients differ, but alike for all
    assert (line.patients, line.seeds, line.reason) == (4, 1, "")


def test_the_interval_takes_all_three_from_the_same_draws_of_patients_and_seeds(results):
    rng = np.random.default_rng(3)
    values = {name: mean + 0.03 * rng.standard_normal((2, 5)) for name, mean in (("m", 0.6), ("b", 0.5), ("f", 0.8))}
    runs = []
    for name, label, annotation in (("b", "pce", "point"), ("m", "entropy", "point"), ("f", "pce_dice", "full")):
        runs += [(label, annotation, s, {f"p{i}": values[name][s, i] for i in range(5)}, {}) for s in (0, 1)]
    line = supervision.gaps(results(*runs)).set_index("method").loc["entropy"]
    seeds, patients = statistics._draws(2, 5)
    shares = []
    for of_seed, of_patient in zip(seeds, patients, strict=True):
        weight = np.outer(of_seed, of_patient)
        means = {name: (weight * own).sum() / weight.sum() for name, own in values.items()}
        shares.append((means["m"] - means["b"]) / (means["f"] - means["b"]))
    assert (line.low, line.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))
    means = {name: own.mean() for name, own in values.items()}
    assert line.share == pytest.approx((means["m"] - means["b"]) / (means["f"] - means["b"]))


def test_columns_are_aligned_by_the_names_of_patients(results):
    marks = {"pce": around(0.5), "entropy": around(0.6) | {"a": 0.9}}
    full = dict(reversed(around(0.7).items())) | {"zz": 0.1}  # other order, one more
    del full["a"]
    line = gap(results, marks, {"pce_dice": full}).set_index("method").loc["entropy"]
    assert (line.share, line.low, line.high, line.patients) == pytest.approx((0.5, 0.5, 0.5, 3))


def test_where_the_interval_of_the_gap_includes_0_there_is_no_share(results):
    full = {"a": 0.9, "b": 0.2, "c": 0.7, "d": 0.6}
    frame = gap(results, {"pce": around(0.5), "entropy": around(0.6)}, {"pce_dice": full})
    assert frame.share.isna().all()
    assert set(frame.reason) == {"the gap's interval includes 0"}
    assert (frame.gap_low < 0).all()
    assert (frame.gap_high > 0).all()


def test_full_masks_that_are_worse_give_no_share(results):
    frame = gap(results, {"pce": around(0.7)}, {"pce_dice": around(0.5)})
    assert set(frame.reason) == {"full masks are worse than the base"}


def test_one_patient_gives_no_share(results):
    frame = gap(results, {"pce": {"a": 0.5}}, {"pce_dice": {"a": 0.9}})
    assert frame.share.isna().all()
    assert set(frame.reason) == {"the gap has no interval with one patient"}


def test_rows_with_gaps_have_no_share_and_are_not_a_base(results):
    runs = [
        ("pce", "point", 0, around(0.5), {}),
        ("pce_dice", "point", 0, around(0.6), {}),
        ("pce_dice", "point", 1, None, {}),
    ]
    runs += [("pce", "point", 1, around(0.5), {}), *(("pce_dice", "full", s, around(0.9), {}) for s in (0, 1))]
    frame = supervision.gaps(results(*runs)).set_index("method")
    assert frame.reason.to_dict() == {"pce": "", "pce_dice": "1 of 2 runs done"}
    assert set(frame.base) == {"pce"}


def test_without_a_base_or_a_full_row_the_reason_says_so(results):
    assert set(gap(results, {"entropy": around(0.5)}, {"pce_dice": around(0.9)}).reason) == {
        "no complete row of pce, pce_balanced, pce_dice"
    }


def test_full_masks_with_another_budget_are_not_the_upper_end(results):
    runs = [("pce", "point", 0, around(0.5), {}), ("pce_dice", "full", 0, around(0.9), {"common": {"steps": 9}})]
    assert supervision.gaps(results(*runs)).empty


def test_snapshots_do_not_part_columns(results):
    runs = [
        ("pce", "point", 0, around(0.5), {}),
        ("pce_dice", "full", 0, around(0.9), {"common": {"steps": 5, "snapshots": 3}}),
    ]
    assert supervision.gaps(results(*runs)).share.tolist() == [0]


COUNTED = {"labelled_slices": 180, "labelled_objects": 360}


def hours(results, **annotations):
    """Hours of annotations, each with what its runs say of the amount."""
    runs = [("pce", name, 0, around(0.5), counted) for name, counted in annotations.items()]
    return supervision.hours(results(*runs)).set_index("annotation")


def test_hours_are_published_seconds_times_what_is_labelled(results):
    forms = ("tags", "point", "scribble:drawn", "full", "box")
    frame = hours(results, **dict.fromkeys(forms, COUNTED), **{"slices:3": COUNTED | {"labelled_slices": 30}})
    assert frame.low.to_dict() == pytest.approx(
        {"tags": 1.0, "point": 1.105, "scribble:drawn": 1.745, "full": 11.985, "box": 0.7, "slices:3": 1.9975}
    )
    assert frame.high.to_dict() == pytest.approx(frame.low.to_dict() | {"box": 3.5})  # 7 to 35 s per object
    assert set(frame.reason) == {""}


def test_what_has_no_published_cost_has_no_hours_and_a_reason(results):
    frame = hours(results, **dict.fromkeys(("block", "point@0.5", "scribble:sim+noise=0.1"), COUNTED), point={}, box={})
    assert frame.low.isna().all()
    assert frame.reason.to_dict() == {
        "block": "no hours are published of block",
        "point@0.5": "no hours are published of marks with a density or with options",
        "scribble:sim+noise=0.1": "no hours are published of marks with a density or with options",
        "point": "the runs do not say how many slices are labelled",
        "box": "the runs do not say how many objects are labelled",
    }


def test_levels_are_columns_that_differ_in_nothing_else(results):
    names = ("scribble:sim", "scribble:sim@0.5", "scribble:sim@0.25", "scribble:sim+noise=0.1", "point@0.5", "full", "box")
    runs = [("pce", name, 0, around(0.5), {}) for name in names]
    read = results(*runs, ("pce", "scribble:sim@0.1", 0, around(0.5), {"common": {"steps": 9}}))
    density, noise = (supervision.levels(read, what) for what in ("density", "noise"))
    assert density.level.tolist() == [0.25, 0.5, 1.0]
    assert noise.level.tolist() == [0.0, 0.1]
    assert set(density.annotation) == set(noise.annotation) == {"scribble:sim"}


@pytest.mark.parametrize("metric", [*BUILT_IN])
def test_values_by_patient_are_those_of_the_tables(metric):
    rng = np.random.default_rng(0)
    lines = [
        {"column": "c", "row": row, "seed": seed, "patient": patient, "scan": f"{patient}{scan}", "region": region}
        for row in ("x", "y") for seed in (0, 1) for patient in "pq" for scan in range(2) for region in ("r", "s")
    ]  # fmt: skip
    cases = pd.DataFrame(lines).reindex(columns=runs.CASE_COLUMNS)
    cases[[*runs.METRICS]] = rng.random((len(cases), len(runs.METRICS)))
    cases[[*runs.COUNTS]] = 0
    cases.loc[3, [*runs.METRICS]] = np.nan
    cases.loc[5, "n_missed"] = 1
    found = supervision.by_patient(cases, metric)["c"]
    for row, wanted in summary.arrays(cases)["c", summary.MEAN, metric].items():
        np.testing.assert_allclose(found[row].to_numpy(), wanted)
