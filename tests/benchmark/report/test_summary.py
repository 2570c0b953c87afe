import json

import numpy as np
import pandas as pd
import pytest

from benchmark import InputError, report
from benchmark.plan.plugins import PRIOR
from benchmark.report import supervision, tables
from benchmark.report.ablations import _varied, ablations
from benchmark.report.explain import explained
from benchmark.report.figures.cases import scan_scores
from benchmark.report.figures.scores import paired
from benchmark.report.figures.style import FigureData
from benchmark.report.runs import CASE_COLUMNS, ROLES, RUN_COLUMNS, Rows
from benchmark.report.summary import MEAN, Options, Summary, arrays, default_reference, patients, summarise, unlearned
from benchmark.score.evaluate import COUNTS, METRICS
from benchmark.score.stored import mean_dice
from benchmark.store import RULES

ABOUT = {
    "dataset": "d", "annotation": "point", "family": "s", "budget": {"steps": 5, "size": 32}, "labelled_share": {},
    "labelled_depth_px": {}, "regions": ["r1"], "patients_known": True,
}  # fmt: skip


def case(value, *, row="m", seed=0, patient="p1", scan=None, region="r1", split="s/0", **more):
    line = dict.fromkeys(METRICS, np.nan) | dict.fromkeys(COUNTS, 0)
    where = {
        "folder": "f",
        "column": "c",
        "row": row,
        "role": ROLES.get(row, ""),
        "split": split,
        "seed": seed,
        "scan": scan or patient,
        "patient": patient,
    }
    return {
        **line,
        **where,
        "region": region,
        "unit": "mm",
        "dice": value,
        "hd95": value,
        "hd95_max": value,
        "assd": value,
        **more,
    }


def run(state="done", *, row="m", seed=0, split="s/0", **more):
    return {"folder": f"{row}{seed}{split}", "column": "c", "row": row, "split": split, "seed": seed, "state": state,
            "reason": "", "role": ROLES.get(row, ""), "method": row, "stale": False, "own_budget": "",
            "steps": None, "size": None, "external": False, **more}  # fmt: skip


def summary(cases, runs, snapshot_cases=None, **about):
    frame = pd.DataFrame(cases, columns=CASE_COLUMNS)
    return summarise(Rows("n", "t", pd.DataFrame(runs), frame, {"c": ABOUT | about}, [], "last", snapshot_cases))


def cell(cases, runs, metric="dice", region=MEAN, row="m"):
    cells = summary(cases, runs).cells
    return cells[(cells.metric == metric) & (cells.region == region) & (cells.method == row)].iloc[0]


def shown(found):
    """A cell as text."""
    return tables.cell(next(pd.DataFrame([found]).itertuples()))


def many(row, mean, *, count=12, seeds=(0, 1, 2), seed=0, spread=0.01):
    """Cases of one method: patients that are hard for all, and noise of its own."""
    hard = np.random.default_rng(99).normal(0, 0.1, count)
    noise = np.random.default_rng(seed).normal(0, spread, (len(seeds), count))
    return [
        case(mean + hard[p] + noise[s, p], row=row, seed=s, patient=f"p{p:02d}")
        for s in range(len(seeds))
        for p in range(count)
    ]


def in_pixels(cases):
    """The same, with distances that are a hundred times as large."""
    return [line | {"hd95_max": 100 * line["hd95_max"]} for line in cases]


def runs_of(*rows, seeds=(0, 1, 2)):
    return [run(row=row, seed=seed) for row in rows for seed in seeds]


def test_regions_are_averaged_first_then_scans_then_patients():
    """p1 has scans of mean 0.4 and 0.8, so 0.6; p2 has 0.2; the mean is 0.4, not the mean of the five cases."""
    cases = [
        case(0.3, scan="s1"), case(0.5, scan="s1", region="r2"), case(0.8, scan="s2"),
        case(0.2, patient="p2", scan="s3"), case(np.nan, patient="p2", scan="s3", region="r2"),
    ]  # fmt: skip
    values = patients(pd.DataFrame(cases)).query("region == @MEAN").set_index("patient").dice
    assert values.to_dict() == pytest.approx({"p1": 0.6, "p2": 0.2})
    assert cell(cases, [run()])["mean"] == pytest.approx(0.4)


def test_all_means_have_the_same_order():
    """Those of tables, of the gap and of learning curves, and those by which cases are ordered."""
    rng = np.random.default_rng(5)
    cases = [
        case(np.nan if rng.random() < 0.2 else round(rng.random(), 3), patient=f"p{p}", scan=f"p{p}s{s}", region=region)
        for p in range(4)
        for s in range(1 + p % 3)
        for region in ("r1", "r2", "r3")[: 1 + p]
    ]
    frame = pd.DataFrame(cases, columns=CASE_COLUMNS)
    by_patient = patients(frame).query("region == @MEAN").set_index("patient").dice
    written = [{**line, "dice": "" if np.isnan(line["dice"]) else line["dice"]} for line in cases]
    assert mean_dice(written) == pytest.approx(by_patient.mean())
    assert supervision.by_patient(frame)["c"]["m"].loc[0].to_dict() == pytest.approx(by_patient.to_dict(), nan_ok=True)
    by_scan = scan_scores(frame).dice.groupby(lambda key: key[0][:2]).mean()
    assert by_scan.to_dict() == pytest.approx(by_patient.to_dict(), nan_ok=True)


def test_a_region_of_its_own_is_averaged_over_scans_and_patients():
    cases = [case(0.3, scan="s1"), case(0.5, scan="s1", region="r2"), case(0.7, scan="s2"), case(0.1, patient="p2")]
    assert cell(cases, [run()], region="r1")["mean"] == pytest.approx((0.5 + 0.1) / 2)


def test_values_of_all_rows_are_aligned_by_patient_and_seed():
    cases = [case(0.1, patient="b"), case(0.2, patient="a", seed=1), case(0.3, row="n", patient="a"), case(0.4, patient="a")]
    found = arrays(pd.DataFrame(cases))["c", MEAN, "dice"]
    np.testing.assert_array_equal(found["m"], [[0.4, 0.1], [0.2, np.nan]])
    np.testing.assert_array_equal(found["n"], [[0.3, np.nan], [np.nan, np.nan]])


def test_the_mean_is_over_seeds_and_patients_and_the_spread_over_seeds():
    cases = [
        case(v, seed=s, patient=p) for (s, p), v in {(0, "a"): 0.1, (0, "b"): 0.3, (1, "a"): 0.5, (1, "b"): 0.7}.items()
    ]
    found = cell(cases, [run(), run(seed=1)])
    assert found["mean"] == pytest.approx(0.4)
    assert found["sd_seeds"] == pytest.approx(np.std([0.2, 0.6], ddof=1))
    assert (found["patients"], found["seeds"]) == (2, 2)


def test_folds_are_pooled():
    cases = [case(0.2, patient="a"), case(0.6, patient="b", split="s/1")]
    found = cell(cases, [run(split="s/0"), run(split="s/1")])
    assert (found["patients"], found["mean"], found["runs"], found["planned"]) == (2, pytest.approx(0.4), 2, 2)


def test_a_fold_with_more_seeds_counts_no_more():
    """Of one patient in three seeds, and of another in the first of these."""
    cases = [*(case(0.3, patient="a", seed=seed) for seed in range(3)), case(0.5, patient="b", split="s/1")]
    runs = [*runs_of("m"), run(split="s/1")]
    found = cell(cases, runs)
    assert (found["mean"], found["seeds"], found["per_seed"]) == (pytest.approx(0.4), 1, "0.400")
    (said,) = report._unbalanced(pd.DataFrame(runs))
    assert said.startswith("c: folds have different seeds (m). Each patient counts once")
    assert not [*report._unbalanced(pd.DataFrame([*runs, *(run(split="s/1", seed=seed) for seed in (1, 2))]))]


def test_a_failed_run_leaves_no_average_over_the_survivors():
    found = cell([case(0.9)], [run(), run("failed", seed=1)])
    assert np.isnan(found["mean"])
    assert (found["failed"], found["runs"], found["planned"]) == (1, 1, 2)


def test_what_other_methods_have_and_this_one_lacks_is_counted_as_planned():
    cases = [case(0.9), case(0.8, row="other"), case(0.8, row="other", seed=1)]
    mine = cell(cases, [run(), run(row="other"), run(row="other", seed=1)])
    assert (mine["runs"], mine["planned"]) == (1, 2)


def test_predictions_from_elsewhere_lack_no_run_and_are_never_best():
    cases = [*many("m", 0.5), *many("k", 0.4, seed=3), *many("n", 0.6, seed=1), *many("second", 0.8, seeds=(0,), seed=2)]
    made = [*runs_of("m", "k", "n"), run(row="second", external=True)]
    cells = summary(cases, made).cells.query("metric == 'dice' and region == @MEAN").set_index("method")
    assert (cells.runs["second"], cells.planned["second"]) == (1, 1)
    assert cells.place.to_dict() == {"m": "", "k": "", "n": "best", "second": ""}


def test_a_row_with_a_part_of_the_patients_says_so():
    """As predictions from elsewhere on one fold of two."""
    cases = [case(0.5, patient=p, split=f"s/{fold}") for fold, p in enumerate("ab")] + [case(0.9, row="e", patient="a")]
    runs = [run(split="s/0"), run(split="s/1"), run(row="e", external=True)]
    assert shown(cell(cases, runs, row="e")) == "0.900 (1 of 2 patients)"
    assert "patients" not in shown(cell(cases, runs))
    (said,) = (line for line in report._exceptions(summary(cases, runs).cells, summary(cases, runs)) if "1 of 2" in line)
    assert said.startswith("c: e has 1 of 2 patients")


def test_distances_per_slice_stand_in_where_there_is_no_spacing():
    cases = [case(0.9, hd95=np.nan, unit="px", **{"hd95@slice": 4.0})]
    found = cell(cases, [run()], "hd95")
    assert (found["mean"], found["unit"]) == (4.0, "px per slice")


def test_distances_in_different_units_have_no_mean():
    found = cell([case(1.0, patient="a"), case(2.0, patient="b", unit="px")], [run()], "hd95")
    assert np.isnan(found["mean"])
    assert found["unit"] == "mm and px"


def test_distances_on_stacks_and_on_single_slices_are_of_two_kinds():
    sliced = case(0.9, hd95=np.nan, unit="px", patient="b", **{"hd95@slice": 4.0})
    found = cell([case(1.0, unit="px"), sliced], [run()], "hd95")
    assert np.isnan(found["mean"])
    assert found["unit"] == "px and px per slice"
    absent = case(np.nan, hd95=np.nan, unit="px", n_absent=1)
    assert cell([absent, sliced], [run()], "hd95")["unit"] == "px per slice"


def test_rows_with_distances_in_two_units_are_not_compared_by_them():
    cases = [line for row in ("pce", "m") for line in many(row, 0.5, seed=len(row))]
    runs = runs_of("pce", "m")
    assert set(summary(cases, runs).tests.metric) == {"dice", "hd95_max"}
    mixed = [line | {"unit": ("mm", "px")[n % 2]} for n, line in enumerate(cases)]
    assert set(summary(mixed, runs).tests.metric) == {"dice"}


def test_zero_has_no_minus_sign():
    found = cell([case(0.5, rve=-0.0001, patient="a"), case(0.5, rve=-0.0002, patient="b")], [run()], "rve")
    assert shown(found).startswith("0.000 [")
    assert "-0.000" not in shown(found)


def test_an_order_of_ties_has_no_agreement():
    order = pd.DataFrame([{"column": "c", "other": "d", "tau": np.nan, "low": np.nan, "high": np.nan, "methods": 3}])
    assert tables.agreement_table(Summary(*[pd.DataFrame()] * 3, order, *[pd.DataFrame()] * 2)).iloc[0, -1] == "not defined"


def test_misses_ghosts_and_absences_are_counted():
    cases = [case(0.0, n_missed=1), case(0.5, patient="b", n_ghost=1), case(np.nan, patient="c", n_absent=1)]
    found = cell(cases, [run()], "hd95")
    assert (found["missed"], found["ghosts"], found["absent"]) == (1, 1, 1)


def test_hd95_of_found_is_of_each_row_over_what_it_found_with_the_number_and_ranks_nobody():
    cases = [
        case(2.0, patient="a"), case(4.0, patient="b"), case(9.0, patient="c"),
        case(6.0, patient="a", row="n"), case(50.0, patient="b", row="n", n_missed=1), case(8.0, patient="c", row="n"),
    ]  # fmt: skip
    made = [run(), run(row="n")]
    assert cell(cases, made, "hd95_found")["mean"] == 5
    one = cell(cases, made, "hd95_found", row="n")
    assert (one["mean"], one["cases"] - one["absent"] - one["missed"], one["place"]) == (7, 2, "")
    assert shown(one).endswith("(median 7.0, 2 of 3)")


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_a_verdict_on_a_row_that_failed_to_learn_is_that_of_its_interval(seed):
    """One run of `bad` is below the location prior, so its differences are of these runs, and those of others over seeds."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.1, 15)

    def drawn(of_patients, of_seeds):
        noise = rng.normal(0, of_patients, 15) + rng.normal(0, of_seeds, (2, 1)) + rng.normal(0, 0.03, (2, 15))
        return 0.6 + hard + noise

    values = {row: drawn(0.04, 0.02) for row in ("pce_dice", "a", "b", "c", "e")}
    values |= {"prior": np.tile(0.45 + hard, (2, 1)), "bad": drawn(0.12, 0)}
    values["bad"][0] -= values["bad"][0].mean() - 0.44
    cases = [
        case(own[s, p], row=row, seed=s, patient=f"p{p:02d}")
        for row, own in values.items()
        for s in (0, 1)
        for p in range(15)
    ]
    tests = summary(cases, runs_of(*values, seeds=(0, 1))).tests
    tests = tests[tests.metric == "dice"].set_index("method")
    assert (tests.over == "patients and seeds").any()
    bad = tests.loc["bad"]
    assert bad.over == "patients"
    assert (bad.in_these_runs in ("better", "worse")) == (bad.low > 0 or bad.high < 0)


def test_a_row_without_a_seed_of_the_reference_is_not_compared_with_it():
    cases = [
        *many("pce_dice", 0.5),
        *many("m", 0.6, seed=1),
        *(line | {"row": "else", "seed": 7} for line in many("m", 0.7, seeds=(0,), seed=2)),
    ]
    runs = [*runs_of("pce_dice", "m"), run(row="else", seed=7, external=True)]
    found = summary(cases, runs)
    assert found.tests.method.unique().tolist() == ["m"]
    cells = found.cells.drop_duplicates("method").set_index("method")
    assert cells.steps.isna().to_dict() == {"pce_dice": False, "m": False, "else": True}


def test_runs_that_are_missing_are_why_there_is_no_verdict():
    runs = [
        run(row=row, seed=seed, state="missing" if seed == 2 else "done") for row in ("pce_dice", "n") for seed in range(3)
    ]
    cases = [*many("pce_dice", 0.5, seeds=(0, 1)), *many("n", 0.6, seeds=(0, 1), seed=1)]
    read = Rows("n", "t", pd.DataFrame(runs), pd.DataFrame(cases, columns=CASE_COLUMNS), {"c": ABOUT}, [])
    found = summarise(read)
    cells = found.cells[found.cells.patients.notna()]
    assert "(fewer than two rows have all runs)" in report._about("c", read, "", cells, found)


def test_the_figure_of_differences_has_the_verdict_of_the_table_where_seeds_are_too_few():
    cases, runs = [*many("pce_dice", 0.5), *many("n", 0.6, seed=1)], runs_of("pce_dice", "n")
    runs = [dict.fromkeys(RUN_COLUMNS, "") | line for line in runs]
    read = Rows("n", "t", pd.DataFrame(runs), pd.DataFrame(cases, columns=CASE_COLUMNS), {"c": ABOUT}, [])
    found = summarise(read)
    assert found.tests.in_these_runs.tolist()[0] == "better"
    figure = paired(FigureData(read, found, None, "dice"))
    assert list(figure.legend) == ["better"]
    assert "over patients, given these runs" in figure.caption


def test_a_missing_run_of_the_base_is_no_other_budget():
    runs = [run(row=row, seed=seed, own_budget="its own") for row in ("pce", "w") for seed in range(2)]
    runs[0] |= {"state": "missing", "own_budget": ""}
    runs = [line | {"method": "pce", "options": json.dumps({"x": int(line["row"] == "w")})} for line in runs]
    ((_, _, changed),) = _varied(pd.DataFrame(runs))
    assert changed == {"pce": "", "w": "x=1 (0)"}


def test_nothing_is_compared_by_hd95_of_found():
    """Neither in tests nor in parts of a method, in the steps of a verdict and in the figure of differences."""
    metric, runs = ["hd95_found"], runs_of("pce_dice", "n")
    runs[3:] = [line | {"method": "pce_dice", "options": '{"a": 1}'} for line in runs[3:]]
    runs = [{"options": "{}"} | line for line in runs]
    cases = pd.DataFrame([*many("pce_dice", 0.5), *many("n", 0.6, seed=1)], columns=CASE_COLUMNS)
    read = Rows("n", "t", pd.DataFrame(runs), cases, {"c": ABOUT}, [])
    found = summarise(read, metrics=metric)
    assert found.tests.empty
    assert ablations(read, found, metric).verdict.isna().all()
    assert len(ablations(read, found, metric)) == 2
    key = "c", MEAN, "hd95_found"
    assert explained(found.comparing, key, ("pce_dice", "n")).endswith(
        "nothing is compared by it, as rows found different cases"
    )
    assert paired(FigureData(read, found, None, metric[0])) is None


def test_a_false_region_is_counted_per_case_that_lacks_the_region():
    """Of three scans one has the region; it was predicted in one of the other two."""
    cases = [case(0.9, patient="a"), *(case(np.nan, patient=p, n_absent=1, n_ghost=g) for p, g in (("b", 1), ("c", 0)))]
    found = cell(cases, [run()], "false_regions")
    assert (found["mean"], found["patients"]) == (0.5, 2)
    assert shown(found).endswith("(1 of 2)")


def test_a_distance_has_its_median_beside_its_mean():
    cases = [case(v, patient=p) for p, v in (("a", 1.0), ("b", 2.0), ("c", 9.0))]
    found = cell(cases, [run()], "hd95_max")
    assert (found["mean"], found["median"]) == (4, 2)
    assert "median 2.0" in shown(found)
    assert "median" not in shown(cell(cases, [run()]))


def test_a_column_is_uninformative_by_each_metric_and_marks_nobody_there():
    """The method beats the prior in Dice, and is equal to it in NSD."""
    values = [line for n, row in enumerate(("m", "k", "l")) for line in many(row, 0.5 - n / 10, seed=n)]
    values += many("prior", 0.1, seed=5)
    equal = np.random.default_rng(5).normal(0.5, 0.1, len(values))
    cases = [{**line, "nsd": value} for line, value in zip(values, equal, strict=True)]
    found = summary(cases, runs_of("m", "k", "l", "prior"))
    assert found.columns.uninformative[0] == "hd95_max, nsd"
    places = found.cells[found.cells.region == MEAN].set_index(["metric", "method"]).place
    assert (places["dice", "m"], places["nsd", "m"], places["nsd", "prior"]) == ("best", "", "")


def test_an_interval_stays_within_what_the_metric_can_be():
    found = cell([case(0.01, patient="a"), case(0.99, patient="b")], [run()])
    assert 0 < found["low"] < 0.5 < found["high"] < 1


def test_the_best_is_marked_where_its_lead_holds_and_those_that_may_be_best_elsewhere():
    """Two rows are equal: with little noise they are alike, with more they are not told apart."""
    made = runs_of("m", "n", "o")
    for spread, place in ((0.01, "alike"), (0.05, "open")):
        cases = [
            line
            for row, mean in (("m", 0.3), ("n", 0.6), ("o", 0.6))
            for line in many(row, mean, seed=ord(row), spread=spread)
        ]
        places = {row: cell(cases, made, row=row)["place"] for row in "mno"}
        assert places == {"m": "", "n": place, "o": place}
    cases = in_pixels([*many("m", 0.5), *many("n", 0.6, seed=1), *many("o", 0.55, seed=2)])
    assert cell(cases, made, row="n")["place"] == "best"
    assert cell(cases, made, "hd95_max", row="m")["place"] == "best"  # less is better


@pytest.mark.parametrize("mean", [0.5, 0.6])
def test_nothing_is_bold_or_alike_where_rows_and_seeds_are_too_few_to_cover_other_seeds(mean):
    """Two rows with three seeds: better or alike in these runs. The same rows with five seeds have marks."""
    for seeds, places in (((0, 1, 2), {"open"}), (range(5), {"best"} if mean == 0.5 else {"alike"})):
        cases = [*many("m", mean, seeds=seeds), *many("n", 0.6, seed=1, seeds=seeds)]
        found = summary(cases, runs_of("m", "n", seeds=seeds))
        cells = found.cells.query("metric == 'dice' and region == @MEAN")
        assert set(cells.place) - {""} == places
        said = found.comparing.worded(("c", MEAN, "dice"), ("n", "m"))
        assert said == ("better" if mean == 0.5 else "alike") + " in these runs" * (len(seeds) == 3)
        assert (found.ranks.better.sum(), found.ranks.alike.sum()) == (
            (0, 0) if len(seeds) == 3 else (1, 0) if mean == 0.5 else (0, 2)
        )


def test_rows_with_missing_runs_are_neither_best_nor_ranked():
    cases = [*many("m", 0.5), *many("n", 0.6, seed=1, seeds=(0, 1))]
    found = summary(cases, [*runs_of("m"), *runs_of("n", seeds=(0, 1))])
    assert set(found.cells.place.dropna()) <= {""}
    assert found.ranks.empty


def test_the_reference_is_full_recipe_pce_unless_another_is_named():
    seeds = range(5)
    cases = in_pixels([*many("pce_dice", 0.5, seeds=seeds), *many("n", 0.6, seed=1, seeds=seeds)])
    made = runs_of("pce_dice", "n", seeds=seeds)
    tests = summary(cases, made).tests.set_index(["metric", "method"])
    line = tests.loc["dice", "n"]
    assert (line.reference, line.verdict, line.tests, line.wins) == ("pce_dice", "better", 1, 12)
    assert line.difference == pytest.approx(0.1, abs=0.01)
    assert line.p_holm == pytest.approx(2 / 2**12)
    assert tests.loc["hd95_max", "n"].verdict == "worse"
    read = Rows("n", "t", pd.DataFrame(made), pd.DataFrame(cases, columns=CASE_COLUMNS), {"c": ABOUT}, [])
    assert set(summarise(read, Options("n")).tests.method) == {"pce_dice"}
    read.check_reference("n")
    with pytest.raises(InputError, match="no run is of the reference 'x'; there are pce_dice, n"):
        read.check_reference("x")


def test_a_column_where_nobody_beats_the_prior_is_uninformative_and_leaves_the_ranks():
    same = [*many("m", 0.5), *many("prior", 0.5, seed=1), *many("n", 0.5, seed=2)]
    made = runs_of("m", "prior", "n")
    found = summary(same, made)
    assert found.columns.informative.tolist() == ["no"]
    assert found.ranks.empty
    better = [*same[:36], *many("prior", 0.3, seed=1), *many("n", 0.5, seed=2)]
    found = summary(better, made)
    assert found.columns.informative.tolist() == ["yes"]
    assert found.ranks.method.tolist()[2] == "prior"
    without = summary([*same[:36], *same[72:]], runs_of("m", "n"))
    assert without.columns.informative.tolist() == ["unknown"]


def test_whose_location_prior_it_is_does_not_matter():
    """A prior of one's own, and two at once: a column is informative where a method beats both."""
    mine = [{**line, "role": PRIOR} for line in many("mine", 0.5, seed=1)]
    own = [{**line, "role": PRIOR} for line in runs_of("mine")]
    cases = [*many("m", 0.5), *many("n", 0.5, seed=2), *many("prior", 0.3, seed=3)]
    made = runs_of("m", "n", "prior")
    assert summary(cases, made).columns.informative.tolist() == ["yes"]
    assert summary([*cases, *mine], [*made, *own]).columns.informative.tolist() == ["no"]
    assert summary([*cases[:72], *mine], [*made[:6], *own]).columns.informative.tolist() == ["no"]


def test_a_method_stands_before_its_variants_and_full_supervision_before_a_base():
    made = runs_of("wide", "pce", "m", "pce_dice", "pce_balanced", seeds=(0,))
    made[0] |= {"method": "pce_dice", "role": ROLES["pce_dice"]}
    frame = pd.DataFrame(made)
    roles = Rows("n", "t", frame, pd.DataFrame(), {}, []).roles
    assert list(roles) == ["pce", "pce_dice", "pce_balanced", "wide"]
    chosen = [default_reference(rows, roles) for rows in (["wide", "pce_dice"], ["wide", "pce"], ["pce_balanced"], ["m"])]
    assert chosen == ["pce_dice", "wide", "pce_balanced", ""]


def test_columns_of_one_data_set_are_asked_whether_they_order_methods_alike():
    """Of three methods that both have, without the prior; columns of another data set are not compared."""
    order = {"m": 0.5, "n": 0.6, "o": 0.7, "prior": 0.2}
    columns = {"c": ABOUT, "simulated": ABOUT, "few": ABOUT, "elsewhere": ABOUT | {"dataset": "e"}}
    cases, made = [], []
    for column in columns:
        for row in list(order)[: 2 if column == "few" else 4]:
            mean = -order[row] if column == "simulated" else order[row]
            cases += [{**line, "column": column} for line in many(row, mean)]
            made += [{**line, "column": column} for line in runs_of(row)]
    frame = pd.DataFrame(cases, columns=CASE_COLUMNS)
    found = summarise(Rows("n", "t", pd.DataFrame(made), frame, columns, [])).agreement
    assert found.to_dict("records") == [
        {"column": "c", "other": "simulated", "tau": -1, "low": -1, "high": -1, "methods": 3}
    ]


def test_the_detectable_difference_rests_on_the_spread_of_paired_differences():
    narrow = summary([*many("pce", 0.5), *many("n", 0.5, seed=1)], runs_of("pce", "n")).columns.detectable[0]
    wide = summary([*many("pce", 0.5, spread=0.1), *many("n", 0.5, seed=1, spread=0.1)], runs_of("pce", "n")).columns
    assert 0 < 5 * narrow < wide.detectable[0]


def test_the_leak_delta_is_what_choosing_on_the_test_set_gains():
    last = many("m", 0.5)
    rules = {"last": 0.0, "weakval": 0.01, "val": 0.02, "test": 0.05}
    snapshot_cases = [
        {**line, "dice": line["dice"] + gain, "selection": rule} for rule, gain in rules.items() for line in last
    ]
    found = summary(last, runs_of("m"), pd.DataFrame(snapshot_cases)).leaks.iloc[0]
    assert (found.leak, found.leak_low, found.leak_high) == pytest.approx((0.05, 0.05, 0.05))
    assert (found.of_weakval, found.of_val) == pytest.approx((0.01, 0.02))
    assert found["test"] - found["last"] == pytest.approx(0.05)


def test_leaks_are_no_averages_over_the_survivors():
    """A row with a failed run has no number, and one that lacks a run says so."""
    cases = [*many("m", 0.5), *many("fails", 0.8, seeds=(0, 1)), *many("lacks", 0.9, seeds=(0,))]
    runs = [*runs_of("m"), *runs_of("fails", "lacks", seeds=(0, 1)), run("failed", row="fails", seed=2)]
    runs[-2] |= {"state": "missing"}
    kept = pd.DataFrame([{**line, "selection": rule} for line in cases for rule in RULES])
    found = summary(cases, runs, kept)
    assert found.leaks.set_index("method").leak.isna().to_dict() == {"fails": True, "lacks": False, "m": False}
    assert found.leaks.set_index("method").seeds.dropna().to_dict() == {"lacks": 1, "m": 3}
    shown = tables.leak_table(found).set_index("method")["last"]
    assert (shown["fails"], shown["lacks"][5:], shown["m"][5:]) == ("1 of 3 failed", " (1 of 3 runs)", "")


def test_runs_without_snapshots_show_no_leak():
    assert summary(many("m", 0.5), runs_of("m")).leaks.empty


def test_only_failures_make_cells_without_numbers():
    found = summary([], [run("failed")])
    assert found.cells["mean"].isna().all()
    assert found.tests.empty


def test_a_difference_stays_within_what_it_can_be():
    """Two seeds that disagree say little; but no Dice is more than 1 above another."""
    rng = np.random.default_rng(0)
    cases = [
        case(float(rng.random() < share), row=row, seed=seed, patient=f"p{p}")
        for row, share in (("pce_dice", 0.2), ("m", 0.8))
        for seed in range(2)
        for p in range(6)
    ]
    line = summary(cases, runs_of("pce_dice", "m", seeds=(0, 1))).tests.set_index("metric").loc["dice"]
    assert -1 < line.low < line.difference < line.high < 1


def test_no_distance_exceeds_the_mean_diagonal():
    """As it was stored, or, of runs scored before it was, as the missed regions of other rows tell it."""
    values = np.array([1.0, 2, 1, 2, 1, 136])
    for diagonal in (136.0, np.nan):
        cases = [case(v, patient=f"p{p}", diagonal=diagonal, n_missed=int(v == 136)) for p, v in enumerate(values)]
        cases += [case(136.0, row="n", patient=f"p{p}", diagonal=diagonal, n_missed=1) for p in range(6)]
        found = cell(cases, runs_of("m", "n", seeds=(0,)), "hd95_max")
        t_interval = values.mean() + 2.57 * values.std(ddof=1) / 6**0.5
        assert 0 < found["low"] < values.mean() < found["high"] < 136
        assert t_interval < 136


def test_the_bound_of_a_distance_is_of_the_patients_of_its_row():
    """Of the fold of large scans alone, where it missed most; the other row has small ones, too."""
    cases = [case(9.0, row="n", patient=f"p{p}", diagonal=1000.0 if p < 6 else 10.0, split=f"s/{p // 6}") for p in range(12)]
    cases += [case(1000.0 if p else 900.0, patient=f"p{p}", diagonal=1000.0) for p in range(6)]
    runs = [run(), run("missing", split="s/1"), run(row="n"), run(row="n", split="s/1")]
    found = cell(cases, runs, "hd95_max")
    assert 0 < found["low"] < found["mean"] < found["high"] < 1000


def test_a_run_failed_to_learn_if_it_is_not_above_the_prior_or_never_predicts_a_region():
    """Seed 0 is at 0.6, seed 1 below the prior of its seed, seed 2 misses a region in both scans, seed 3 in one."""
    cases = []
    for seed, (dice, prior, missed) in enumerate([(0.6, 0.5, 0), (0.4, 0.5, 0), (0.6, 0.5, 2), (0.6, 0.5, 1)]):
        for p in range(2):
            cases.append(case(dice, seed=seed, patient=f"p{p}", n_missed=int(p < missed)))
            cases.append(case(prior, row="prior", seed=seed, patient=f"p{p}"))
    runs = pd.DataFrame(runs_of("m", "prior", seeds=range(4)))
    read = Rows("n", "t", runs, pd.DataFrame(cases, columns=CASE_COLUMNS), {"c": ABOUT}, [])
    assert unlearned(read).to_dict() == unlearned(read.only(["m"])).to_dict() == {("c", "m"): 2}  # also without the prior
    found = cell(cases, runs_of("m", "prior", seeds=range(4)))
    assert shown(found).endswith("2 of 4 failed to learn)")


def test_with_fewer_than_five_seeds_a_cell_has_the_mean_of_each_and_with_more_their_spread():
    few = shown(
        cell(
            [case(0.5 + 0.1 * s + p / 100, seed=s, patient=f"p{p}") for s in range(2) for p in range(2)],
            runs_of("m", seeds=(0, 1)),
        )
    )
    assert few.startswith("0.555 [")
    assert few.endswith("(0.505/0.605)")
    found = cell(many("m", 0.5, seeds=range(5)), runs_of("m", seeds=range(5)))
    assert found["over"] == "patients and seeds"
    assert shown(found).startswith(f"{found['mean']:.3f} ± {found['sd_seeds']:.3f} [")


def test_a_row_with_one_bad_seed_is_worse_in_these_runs_and_has_no_mark():
    """It learned in all three seeds, but its seeds vary so much that nothing can be said of others."""
    rows = {"m": 0.7, "n": 0.7, "o": 0.69, "p": 0.3}
    cases = [line for row, mean in rows.items() for line in many(row, mean, seed=ord(row), spread=0.05)]
    bad = [{**line, "row": "bad", "dice": line["dice"] - (0.05, 0.1, 0.5)[line["seed"]]} for line in many("m", 0.7, seed=9)]
    found = summary([*cases, *bad], runs_of(*rows, "bad"))
    assert found.comparing.worded(("c", MEAN, "dice"), ("bad", "m")) == "not told apart, worse in these runs"
    places = found.cells[(found.cells.metric == "dice") & (found.cells.region == MEAN)].set_index("method").place
    assert (places["m"], places["n"], places["bad"]) == ("open", "open", "")


def test_a_margin_decides_what_is_alike():
    seeds = range(5)
    cases = [*many("pce_dice", 0.5, seeds=seeds), *many("n", 0.53, seed=1, seeds=seeds)]
    read = Rows(
        "n",
        "t",
        pd.DataFrame(runs_of("pce_dice", "n", seeds=seeds)),
        pd.DataFrame(cases, columns=CASE_COLUMNS),
        {"c": ABOUT},
        [],
    )
    outcomes = [summarise(read, Options(margins=(share, 2))).tests.verdict[0] for share in (0.02, 0.05)]
    assert outcomes == ["better", "alike"]


def test_one_seed_or_five_patients_give_no_verdict_no_place_no_rank_and_no_power():
    for more in ({"seeds": (0,)}, {"count": 5}):
        cases = [*many("pce_dice", 0.5, **more), *many("n", 0.9, seed=1, **more)]
        found = summary(cases, runs_of("pce_dice", "n", seeds=more.get("seeds", (0, 1, 2))))
        assert set(found.tests.verdict) == {""}
        assert set(found.cells.place.dropna()) == {""}
        assert found.ranks.empty
        assert found.columns.detectable.isna().all()


def test_cells_of_a_site_are_means_over_its_own_patients_with_its_own_best():
    dice = {
        "a": {"p1": (0.2, 0.4), "p2": (0.4, 0.6), "p3": (0.9, 0.7)},
        "b": {"p1": (0.6, 0.6), "p2": (0.8, 0.8), "p3": (0.1, 0.1)},
    }
    where = {"p1": "north", "p2": "north", "p3": "south"}
    cases = [
        case(value, row=row, seed=seed, patient=patient, site=where[patient])
        for row, of_row in dice.items()
        for patient, values in of_row.items()
        for seed, value in enumerate(values)
    ]
    runs = [run(row=row, seed=seed) for row in "ab" for seed in (0, 1)]
    found = summary(cases, runs).sites
    found = found[(found.metric == "dice") & (found.region == MEAN)].set_index(["site", "method"])
    means = {("north", "a"): 0.4, ("north", "b"): 0.7, ("south", "a"): 0.8, ("south", "b"): 0.1}
    assert found["mean"].to_dict() == pytest.approx(means)
    assert found.per_seed["north", "a"] == "0.300/0.500"
    assert found.patients.to_dict() == {("north", "a"): 2, ("north", "b"): 2, ("south", "a"): 1, ("south", "b"): 1}
    assert summary([each | {"site": None} for each in cases], runs).sites.empty


def test_a_run_that_learned_did_so_at_each_site():
    """At site b it misses its one patient in one seed; of the whole run that is one case in four."""
    cases = [
        case(0.0 if (seed, patient) == (0, "p3") else 0.8, row="m", seed=seed, patient=patient, n_missed=int(
            (seed, patient) == (0, "p3")), site="b" if patient == "p3" else "a")
        for seed in (0, 1) for patient in ("p0", "p1", "p2", "p3")
    ]  # fmt: skip
    runs = [run(row="m", seed=seed) for seed in (0, 1)]
    assert summary(cases, runs).sites.unlearned.max() == 0


def test_a_row_with_a_failed_run_has_no_mean_at_any_site():
    cases = [case(0.5, patient="p1", site="north"), case(0.5, row="b", patient="p1", site="north")]
    found = summary(cases, [run(), run("failed", seed=1), run(row="b"), run(row="b", seed=1, state="missing")]).sites
    found = found[(found.metric == "dice") & (found.region == MEAN)].set_index("method")
    assert np.isnan(found["mean"]["m"])
    assert found["mean"]["b"] == 0.5
