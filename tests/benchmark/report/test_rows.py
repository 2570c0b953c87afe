import json
import shutil

import pandas as pd
import pytest

from benchmark import InputError, report, store
from benchmark.__main__ import _split
from benchmark.plan import plugins
from benchmark.plan.jobs import PROTOCOL
from benchmark.report import runs as report_runs
from benchmark.report import tables
from benchmark.report.summary import summarise

HEADER = "scan,patient,region,unit,dice,hd95,assd,hd95@slice,assd@slice,n_missed,n_ghost,n_absent\n"


def record(label="pce", seed=0, state="done", **changes):
    identity = {
        "protocol": PROTOCOL, "method": label, "options": {}, "dataset": "octa_phantom", "dataset_options": {},
        "annotation": "scribble:sim", "simulator": 1, "split": "default", "seed": seed, "budget": {"steps": 5},
        "data": "x",
    }  # fmt: skip
    common = changes.pop("common", {"steps": 5})
    more = {key: changes.pop(key) for key in ("finished", "label", "reason", "extra") if key in changes}
    return {
        "state": state, "reason": "", "identity": identity | changes, "label": label, "common": common, "code": "c",
        "why_own_budget": "", "regions": ["faz"], "patients_known": True, "labelled_share": {"faz": 0.1},
        "labelled_depth_px": {"faz": 3.5}, **more,
    }  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """Writes runs; gives what `read` makes of them."""

    def write(*records, plan=()):
        for number, run in enumerate(records):
            folder = tmp_path / "runs" / "d" / "a" / run["label"] / f"run{number}"
            folder.mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps(run))
            if run["state"] == "done":
                (folder / "cases.csv").write_text(HEADER + "s,p,faz,px,0.5,1.0,1.0,,,0,0,0\n")
            if "selected" in run:
                (folder / "snapshots.csv").write_text("part,step," + HEADER + "test,5,s,p,faz,px,0.5,1.0,1.0,,,0,0,0\n")
        (tmp_path / "plan.json").write_text(json.dumps({"name": "n", "title": "t", "runs": list(plan)}))
        return report_runs.read(tmp_path)

    return write


def test_runs_of_different_budgets_are_different_columns(results):
    read = results(record(), record(common={"steps": 9}))
    assert sorted(read.runs.column) == ["octa_phantom scribble:sim (steps=5)", "octa_phantom scribble:sim (steps=9)"]


def test_two_methods_with_one_label_are_two_rows(results):
    """As of a variant that was another method's before; what a method is called does not make it the same."""
    read = results(*(record("ours", seed, method=method) for method, seed in (("pce", 0), ("pce", 1), ("prior", 0))))
    assert read.runs.groupby("row").size().to_dict() == {"ours (method=pce)": 2, "ours (method=prior)": 1}


def test_of_two_runs_that_differ_in_snapshots_alone_one_counts(results):
    kept = {"selected": dict.fromkeys(store.RULES, 5)}
    plain, keeping = record(), record(common={"steps": 5, "snapshots": 3}) | kept
    assert results(plain, keeping, record(seed=1)).runs.folder.tolist() == ["d/a/pce/run1", "d/a/pce/run2"]


def test_stored_runs_stand_in_for_no_run_of_ones_own(results, tmp_path, monkeypatch):
    """Neither for one that failed nor, as they kept snapshots, for one that is done; only for a row that was not run."""
    stored = tmp_path / "stored"
    for number, (label, seed) in enumerate([("pce", 0), ("pce", 1), ("prior", 0), ("prior", 1)]):
        folder = stored / f"runs/d/a/{label}/{number}"
        folder.mkdir(parents=True)
        kept = {"selected": dict.fromkeys(store.RULES, 5), "common": {"steps": 5, "snapshots": 3}}
        (folder / "run.json").write_text(json.dumps(record(label, seed) | kept))
        (folder / "cases.csv").write_text(HEADER + "s,p,faz,px,0.1,1.0,1.0,,,0,0,0\n")
        (folder / "snapshots.csv").write_text("part,step," + HEADER + "test,5,s,p,faz,px,0.1,1.0,1.0,,,0,0,0\n")
    monkeypatch.setattr(store, "stored", lambda name: {"stored": store.ResultsFolder(stored)})
    planned = [
        {key: record(label, seed)[key] for key in ("identity", "label", "common")} | {"folder": f"{label}{seed}"}
        for label in ("pce", "prior")
        for seed in (0, 1)
    ]
    results(record("pce", 0), record("pce", 1, state="failed"))
    (tmp_path / "plan.json").write_text(json.dumps({"name": "n", "title": "t", "runs": planned, "against": "stored"}))
    shutil.rmtree(tmp_path / "runs/d/a/prior", ignore_errors=True)
    read = report_runs.read(tmp_path)
    found = read.runs.set_index(["row", "seed"])
    assert found.stored.to_dict() == {("pce", 0): "", ("pce", 1): "", ("prior", 0): "stored", ("prior", 1): "stored"}
    assert found.state["pce", 1] == "failed"
    assert read.cases[read.cases.row == "pce"].dice.tolist() == [0.5]


def test_a_single_snapshot_is_the_last_step_and_no_choice(results, tmp_path):
    read = results(record(common={"steps": 5, "snapshots": 1}) | {"selected": dict.fromkeys(store.RULES, 5)})
    assert read.snapshot_cases is None
    assert len(read.cases) == 1
    with pytest.raises(InputError, match="kept snapshots to select from"):
        report_runs.read(tmp_path, "val")


def test_a_method_with_a_budget_of_its_own_stays_in_the_column(results):
    read = results(record(), record("other", budget={"steps": 9}))
    assert set(read.runs.column) == {"octa_phantom scribble:sim"}
    cells = summarise(read).cells
    assert cells.drop_duplicates("method").set_index("method").steps.to_dict() == {"pce": 5, "other": 9}


def test_a_run_of_a_budget_of_its_own_is_in_each_column_that_is_planned_beside_it(results):
    """Its numbers stay the same when the others get more steps, so it is not trained again."""
    own = record("own", budget={"steps": 9})
    again = {"identity": own["identity"], "label": "own", "common": {"steps": 7}, "folder": "d/a/own/run1"}
    read = results(record(), own, record(common={"steps": 7}, budget={"steps": 7}), plan=[again])
    assert read.runs.groupby("column").row.apply(sorted).to_dict() == {
        "octa_phantom scribble:sim (steps=5)": ["own", "pce"],
        "octa_phantom scribble:sim (steps=7)": ["own", "pce"],
    }
    assert read.cases.groupby("column").size().tolist() == [2, 2]


def test_runs_with_another_budget_of_their_own_are_another_row(results):
    """As of a preset that gave the method more steps, which a later one doesn't; a missing run belongs to its own."""
    older = [record(seed=seed, budget={"steps": 9}) | {"why_own_budget": "its paper's"} for seed in (1, 2)]
    gone = {key: record(seed=0, budget={"steps": 9})[key] for key in ("identity", "label", "common")} | {"folder": "f"}
    read = results(record("prior"), *older, record(seed=1), record(seed=2), plan=[gone])
    assert read.runs.groupby("row").size().to_dict() == {"pce": 2, "pce (steps=9)": 3, "prior": 1}
    lines = summarise(read).cells.drop_duplicates("method").set_index("method")
    assert lines.own_budget.to_dict() == {"pce": "", "pce (steps=9)": "its paper's", "prior": ""}


def test_another_budget_in_one_column_alone_leaves_one_row(results):
    read = results(record(budget={"steps": 9}), record(dataset="other"))
    assert read.runs.row.tolist() == ["pce", "pce"]


def test_a_dagger_in_one_column_marks_the_whole_row_and_every_reason_names_its_columns(results):
    why = {"one": "steps of one", "other": "steps of other", "third": ""}
    cells = summarise(results(*(record(dataset=dataset) | {"why_own_budget": text} for dataset, text in why.items()))).cells
    table = tables.main_table(cells, ["dice"])
    assert table.index.tolist() == ["pce†"]
    assert not table.eq("n/a").any(axis=None)
    assert report._own_budgets(cells) == [
        "† pce is not trained like the others in one scribble:sim: steps of one.",
        "† pce is not trained like the others in other scribble:sim: steps of other.",
    ]


def test_a_row_with_another_budget_is_ranked_and_the_notes_say_so(results, tmp_path):
    made = [record(row, seed) for row in ("pce", "own") for seed in (0, 1)]
    made = [run | {"why_own_budget": "its paper's" if run["label"] == "own" else ""} for run in made]
    results(*made)
    for path in tmp_path.rglob("cases.csv"):
        more = 0.2 * ("own" in str(path))
        lines = [f"s{n},p{n},faz,px,{0.5 + more * (1 + n % 3 / 10)},1.0,1.0,,,0,0,0" for n in range(8)]
        path.write_text(HEADER + "\n".join(lines) + "\n")
    found = summarise(report_runs.read(tmp_path))
    assert set(found.ranks.method) == {"pce", "own"}
    assert "trained here and whose runs are all there, also those with another budget (†)" in report._rank_notes(found)[0]


@pytest.mark.parametrize("change", [{"simulator": 2}, {"dataset_options": {"size": 9}}, {"split": "strat5/0"}])
def test_what_can_not_be_compared_is_another_column(results, change):
    assert results(record(), record(**change)).runs.column.nunique() == 2


def test_folds_of_one_family_share_a_column(results):
    assert results(record(split="strat5/0"), record(split="strat5/1")).runs.column.nunique() == 1


def test_rows_of_one_label_are_named_by_the_options_that_differ(results):
    read = results(record(options={"a": 1, "b": 2}), record(options={"a": 1, "b": 3}))
    assert sorted(read.runs.row) == ["pce (b=2)", "pce (b=3)"]


def test_options_that_differ_from_column_to_column_alone_leave_one_row(results):
    read = results(record(options={"a": 1, "b": 3}), record(options={"a": 0, "b": 3}, dataset="other"))
    assert read.runs.row.tolist() == ["pce", "pce"]
    (said,) = report._options_by_column(read.runs)
    assert said == "pce has options by column: octa_phantom scribble:sim: a=1; other scribble:sim: a=0."


def test_options_that_differ_within_one_column_name_rows_in_all(results):
    read = results(*(record(options={"a": a}, dataset=dataset) for a, dataset in ((1, "one"), (2, "other"), (3, "other"))))
    assert set(read.runs.row) == {"pce (a=1)", "pce (a=2)", "pce (a=3)"}
    assert not report._options_by_column(read.runs)


NOTED = {"notes": {"fired": "noise was suppressed"}}


def stated(fired, **changes):
    """A run of a method that states whether it fired."""
    return record("net", **changes) | {"worker": {"facts": {"fired": fired, "share": 0.5}, **NOTED}}


def test_a_fact_that_does_not_hold_in_all_runs_of_a_column_is_noted(results):
    read = results(
        stated(True), stated(False, seed=1), stated(False, seed=2), record("pce"),
        stated(True, dataset="other"), stated(False, dataset="third"),
    )  # fmt: skip
    assert report._stated(read.runs) == [
        "net: noise was suppressed in 1 of 3 runs of octa_phantom scribble:sim, 0 of 1 run of third scribble:sim."
    ]
    assert json.loads(read.runs.facts[read.runs.row == "net"].iloc[0]) == {"fired": True, "share": 0.5}
    assert set(read.runs.facts[read.runs.row == "pce"]) == {""}


def test_a_fact_that_holds_in_all_runs_is_not_noted(results):
    assert not report._stated(results(stated(True), record("net", seed=1)).runs)
    assert not report._stated(results(record()).runs)


def test_planned_runs_that_are_not_there_are_missing(results):
    missing = record("gone")
    read = results(record(), plan=[{key: missing[key] for key in ("identity", "label", "common")} | {"folder": "f"}])
    assert read.runs.set_index("row").state.to_dict() == {"pce": "done", "gone": "missing"}


def test_rows_come_in_the_order_of_the_plan(results):
    plan = [{"folder": "f", **{key: record(label)[key] for key in ("identity", "label", "common")}} for label in ("z", "a")]
    assert list(dict.fromkeys(results(record("a"), record("z"), record("m"), plan=plan).runs.row)) == ["z", "a", "m"]


def test_of_two_states_of_the_data_the_newer_counts(results):
    old, new = record(data="old", finished="2026-01-01"), record("other", data="new", finished="2026-02-01")
    read = results(old, new)
    assert read.runs.row.tolist() == ["other"]
    assert read.set_aside == ["d/a/pce/run0: the data were changed since"]


def test_what_is_planned_on_other_data_counts_although_it_has_not_run(results):
    planned = record("gone", data="new")
    plan = [{"folder": "f", **{key: planned[key] for key in ("identity", "label", "common")}}]
    read = results(record(data="old", finished="2026-01-01"), plan=plan)
    assert read.runs[["row", "state"]].to_numpy().tolist() == [["gone", "missing"]]
    assert read.set_aside == ["d/a/pce/run0: the data were changed since"]


def test_runs_of_another_protocol_are_set_aside(results):
    read = results(record(), record("other", protocol=0))
    assert read.runs.row.tolist() == ["pce"]
    assert "protocol 0" in read.set_aside[0]


def test_runs_of_another_protocol_alone_are_an_error(results):
    with pytest.raises(InputError, match=r"can be shown: d/a/pce/run0: protocol 0; this version has \d+; run it again"):
        results(record(protocol=0))


def test_a_run_of_other_code_is_stale(results):
    assert results(record()).runs.stale.all()  # its code is "c"


def test_a_plugin_that_is_not_at_hand_is_not_called_stale(results):
    assert not results(record("somebody_elses")).runs.stale.any()


def test_no_runs_is_an_error_that_says_how_to_make_some(results):
    with pytest.raises(InputError, match="holds no runs; make some with: python -m benchmark run"):
        results()


def test_a_damaged_record_is_named(results, tmp_path):
    results(record())
    (tmp_path / "runs/d/a/pce/run0/run.json").write_text("{")
    with pytest.raises(InputError, match="run0/run.json is damaged"):
        report_runs.read(tmp_path)


@pytest.fixture
def several(results):
    """Two methods, one of them with two values of an option, on two data sets with two annotations."""
    return results(
        *(
            record(label, dataset=dataset, annotation=annotation, options=options)
            for label, options in (("pce", {}), ("entropy", {"weight": 1}), ("entropy", {"weight": 2}))
            for dataset in ("faz", "odoc")
            for annotation in ("point", "scribble:sim@0.5")
        )
    )


@pytest.mark.parametrize(
    ("names", "rows_left", "columns_left"),
    [
        (["pce"], ["pce"], 4),
        (["entropy"], ["entropy (weight=1)", "entropy (weight=2)"], 4),
        (["entropy (weight=2)"], ["entropy (weight=2)"], 4),
        (["faz"], ["entropy (weight=1)", "entropy (weight=2)", "pce"], 2),
        (["faz", "scribble"], ["entropy (weight=1)", "entropy (weight=2)", "pce"], 1),
        (["faz", "odoc", "point", "pce"], ["pce"], 2),
        (["odoc point"], ["entropy (weight=1)", "entropy (weight=2)", "pce"], 1),
    ],
)
def test_only_some_methods_data_sets_or_annotations(several, names, rows_left, columns_left):
    left = several.only(names)
    assert sorted(set(left.runs.row)) == rows_left
    assert len(left.about) == len(set(left.runs.column)) == len(set(left.cases.column)) == columns_left


def test_commas_within_a_column_do_not_end_its_name():
    assert _split(["pce,fold scribble:sim (steps=2, batch=2)", "odoc"]) == [
        "pce",
        "fold scribble:sim (steps=2, batch=2)",
        "odoc",
    ]


def test_only_what_is_there(several):
    with pytest.raises(InputError, match=r"--only speaks of 'gatedcrf', which no run has; there are .*pce.*odoc.*scribble"):
        several.only(["gatedcrf"])
    with pytest.raises(InputError, match="no run is of all of these"):
        several.only(["faz", "odoc point"])


def test_names_stay_as_they_are_written(results, tmp_path):
    """007 is not 7, and NA is a name."""
    results(record())
    path = next(tmp_path.rglob("cases.csv"))
    path.write_text(HEADER + "007,NA,faz,px,0.5,1.0,1.0,,,0,0,0\n")
    case = report_runs.read(tmp_path).cases.iloc[0]
    assert (case.scan, case.patient, case.dice) == ("007", "NA", 0.5)


def test_runs_that_were_scored_with_other_metrics_stand_in_one_frame(results, tmp_path):
    results(record("pce"), record("prior"))
    path = next((tmp_path / "runs/d/a/prior").rglob("cases.csv"))
    path.write_text("scan,patient,region,unit,dice,nsd,n_missed,n_ghost,n_absent\ns,p,faz,px,0.4,0.9,0,0,0\n")
    cases = report_runs.read(tmp_path).cases.set_index("row")
    assert (cases.dice["pce"], cases.dice["prior"], cases.nsd["prior"]) == (0.5, 0.4, 0.9)
    assert pd.isna(cases.nsd["pce"])
    assert pd.isna(cases.hd95["prior"])


def test_a_name_over_two_lines_is_refused(results, tmp_path):
    results(record())
    next(tmp_path.rglob("cases.csv")).write_text(HEADER + '"s\n1",p,faz,px,0.5,1.0,1.0,,,0,0,0\n')
    with pytest.raises(InputError, match="cases.csv in .* is damaged"):
        report_runs.read(tmp_path)


def test_only_a_row_that_a_column_does_not_have_is_refused(results):
    read = results(record("pce", dataset="faz"), record("prior", dataset="odoc"))
    with pytest.raises(InputError, match="--only pce,odoc: no run is of all of these"):
        read.only(["pce", "odoc"])


def test_what_ran_without_a_gpu_ran_on_a_processor(results):
    """Seconds of one are not those of another, so tables name it; older runs don't say which it was."""
    worker = {"worker": {"device": "cpu"}}
    gpu = {"worker": {"device": "H100"}, "processor": "EPYC (avx2)"}
    read = results(record() | worker | {"processor": "EPYC (avx2)"}, record(seed=1) | worker, record(seed=2) | gpu)
    assert dict(zip(read.runs.seed, read.runs.device, strict=True)) == {0: "EPYC (avx2)", 1: "cpu", 2: "H100"}


def test_runs_that_do_not_say_what_a_method_needs_have_what_it_says_today(results):
    read = results(record("mean_teacher", 0), record("mean_teacher", 1, extra="two teachers"), record("someone", 0))
    assert dict(zip(read.runs.method + read.runs.seed.astype(str), read.runs.extra, strict=True)) == {
        "mean_teacher0": "a teacher, 1 more forward pass",
        "mean_teacher1": "two teachers",
        "someone0": "",
    }


def test_titles_of_methods_data_sets_and_forms(results):
    said = record("mine") | {"titles": {"method": "Mine", "data set": "OCTA phantom"}}
    twice = [record(label, dataset="acdc") | {"titles": {"method": "Same", "data set": "ACDC"}} for label in ("one", "two")]
    variant = record("procns-flat", method="procns", annotation="point@0.5+noise=0.1")
    read = results(record("pce_dice"), said, *twice, variant, record("plain", dataset="own", annotation="slices:5"))
    assert list(dict.fromkeys(read.titled().runs.row)) == ["Mine", "one", "pCE + Dice", "plain", "procns-flat", "two"]
    assert sorted(read.titled().about) == [
        *("ACDC, simulated scribbles", "OCTA phantom, points (density 0.5, noise 0.1)", "OCTA phantom, simulated scribbles"),
        "own, 5 full slices",
    ]


def test_a_variant_that_is_called_as_a_title_is_another_row(results):
    read = results(record("procns"), record("ProCNS", method="procns", options={"anpm": False}))
    assert sorted(read.titled().runs.row) == ["ProCNS", "procns"]


@pytest.mark.parametrize("kind", ["method", "data set"])
def test_each_of_the_suite_has_a_title_of_its_own(kind):
    about = [plugins.describe(each) | {"by_path": each.name in ("folder", "nnunet")} for each in plugins.find(kind).values()]
    titles = [each.get("title") for each in about if not each["by_path"]]
    assert all(titles)
    assert len(set(titles)) == len(titles)


def test_two_metrics_of_one_title_are_an_error(results):
    held = {"title": "share", "better": 1, "low": 0, "high": 1, "distance": False, "code": "c"}
    with pytest.raises(InputError, match="the metrics one and two have one title, 'share'; change one"):
        results(record() | {"metrics": {"one": held, "two": held}})
