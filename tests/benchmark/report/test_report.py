"""What is written: tables, figure and page, over runs with gaps, failures, hostile names and a single patient."""

import html
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from benchmark import InputError, report
from benchmark.report import ReportOptions, published, runs, tables
from benchmark.report.summary import Options, summarise
from benchmark.report.tables import Table
from benchmark.store import ResultsFolder
from tests.benchmark.report.test_rows import HEADER, record
from tests.benchmark.report.test_tables import check_tabulars
from tests.support.sweeps import notes_of

HOSTILE = "<script>alert(1)</script>_50%_$x$"


@pytest.fixture
def results(tmp_path):
    """Two methods over four patients, a failed run, a hostile name, and a method that was planned and never ran."""
    runs = [
        *(record("pce", seed=seed) for seed in (0, 1)),
        record("gated_crf", seed=0),
        record("gated_crf", seed=1, state="failed", reason="FloatingPointError: loss is nan at step 7"),
        record(HOSTILE, seed=0),
    ]
    for number, run in enumerate(runs):
        folder = tmp_path / "results" / "runs" / "d" / "a" / f"m{number}" / "r"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(run))
        if run["state"] == "done":
            lines = [f"s{n},p{n},faz,px,{0.5 + 0.1 * n},{9 - n},1.0,,,{int(n == 3)},0,0" for n in range(4)]
            (folder / "cases.csv").write_text(HEADER + "\n".join(lines) + "\n")
    gone = {"folder": "x", **{key: record("gone")[key] for key in ("identity", "label", "common")}}
    (tmp_path / "results/plan.json").write_text(json.dumps({"name": "mine", "title": "A title", "runs": [gone]}))
    return tmp_path / "results"


TEXTS = ReportOptions(formats=["md", "tex", "csv", "html"])  # with figures inside the page alone


def main_table(results, metrics=tables.HEADLINE):
    read = runs.read(results)
    return tables.main_table(summarise(read).cells, metrics)


@pytest.mark.parametrize("rows", [slice(2), [0, 1, 2, 3, 3], [0, 1, 2, 2]])
def test_scores_that_are_not_one_for_each_scan_and_region_are_refused(results, rows):
    folder = results / "runs/d/a/m0/r"
    run = json.loads((folder / "run.json").read_text()) | {"scans": ["s0", "s1", "s2", "s3"], "regions": ["faz"]}
    (folder / "run.json").write_text(json.dumps(run))
    assert len(runs.read(results).cases)
    lines = np.array((folder / "cases.csv").read_text().splitlines()[1:])[rows]
    (folder / "cases.csv").write_text(HEADER + "".join(f"{line}\n" for line in lines))
    with pytest.raises(InputError, match=f"cases.csv of d/a/m0/r holds {len(lines)} scores, and not one for each of the 4"):
        runs.read(results)


def test_cells_show_intervals_misses_gaps_and_failures(results):
    table = main_table(results, ["dice", "hd95"])
    column = "octa_phantom scribble:sim"
    assert table[column, "Dice"]["pce"].startswith("0.650 [0.429, 0.821] (0.650/0.650")
    assert table[column, "HD95 (pooled, px)"]["pce"].endswith("2 missed, stale)")
    assert table[column, "Dice"]["gated_crf"] == "1 of 2 failed"
    assert table[column, "Dice"]["gone"] == "not run"
    assert table[column, "Dice"][HOSTILE].endswith("(1 of 2 runs)")


def test_a_metric_that_runs_were_scored_without_is_not_available(results):
    """Records of runs from before HD95 (max) and NSD were stored per slice."""
    table = main_table(results)
    shown = {table["octa_phantom scribble:sim", heading]["pce"] for heading in ("HD95 (max, px)", "NSD")}
    assert shown == {"n/a"}


def test_a_report_is_a_folder_of_tables_a_figure_and_a_page(results, tmp_path):
    folder = report.write(results, tmp_path / "reports")
    assert folder == tmp_path / "reports" / "mine"
    names = {path.name for path in folder.iterdir()}
    drawn = {f"{name}.{kind}" for name in ("matrix", "intervals", "paired") for kind in ("pdf", "png", "svg")}
    texts = {f"{name}.{kind}" for name in ("table", "notes") for kind in ("md", "tex")}
    assert names == {"table.csv", "patients.csv", "columns.csv", "runs.csv", "index.html", *texts, *drawn}
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["mine"]
    numbers = pd.read_csv(folder / "table.csv")
    line = numbers[(numbers.method == "pce") & (numbers.metric == "dice")].iloc[0]
    assert line["mean"] == pytest.approx(0.65)
    assert line["low"] < 0.65 < line["high"]


def test_the_same_runs_give_the_same_bytes(results, tmp_path):
    one, two = (report.write(results, tmp_path / name, TEXTS) for name in ("a", "b"))
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_each_of_several_results_folders_gets_a_report(results, tmp_path):
    both, out = tmp_path / "both", tmp_path / "out"
    for name in ("first", "second"):
        shutil.copytree(results, both / name)  # their plans have one name
    (out / "both").mkdir(parents=True)
    (out / "both/README.md").write_text("what they show")
    assert report.write(both, out, ReportOptions(formats=["md"])) == out / "both"
    alone = report.write(both / "second", tmp_path / "alone", ReportOptions(formats=["md"]))
    assert alone.name == "mine"
    assert (out / "both/second/table.md").read_bytes() == (alone / "table.md").read_bytes()
    assert sorted(path.name for path in (out / "both").iterdir()) == ["README.md", "first", "second"]
    with pytest.raises(InputError, match="^--only speaks of 'acdc'"):
        report.write(both, out, ReportOptions(only=["acdc"]))
    with pytest.raises(InputError, match="^no run is of the reference 'acdc'"):
        report.write(both, out, ReportOptions(compared=Options(reference="acdc")))


def test_of_several_results_folders_those_without_what_is_asked_for_are_left_out(results, tmp_path, capsys):
    both = tmp_path / "both"
    for name in ("first", "second"):
        shutil.copytree(results, both / name)
    shutil.rmtree(both / "first/runs/d/a/m2")  # of gated_crf, also the failed one
    shutil.rmtree(both / "first/runs/d/a/m3")
    for options in ({"only": ["gated_crf"]}, {"compared": Options(reference="gated_crf")}):
        out = report.write(
            both, tmp_path / str(len(options)) / next(iter(options)), ReportOptions(formats=["md"], **options)
        )
        assert [path.name for path in out.iterdir()] == ["second"]
        assert capsys.readouterr().err == "no report on first: no run there is of what is asked for\n"
    assert "first" not in report.explain(both, ("pce", "gated_crf"), ReportOptions(only=["gated_crf", "pce"]))


def test_an_older_report_is_replaced(results, tmp_path):
    options = ReportOptions(formats=["md"])
    (report.write(results, tmp_path, options) / "left-over.md").write_text("")
    assert not (report.write(results, tmp_path, options) / "left-over.md").exists()


@pytest.mark.parametrize("held", ["runs/a/run.json", "plan.json", "method.py", "tuned/notes.txt", ""])
def test_what_is_no_report_is_not_replaced(results, tmp_path, held):
    place = tmp_path / "mine" / held if held else tmp_path / "mine"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("")
    with pytest.raises(InputError, match="mine is no report, as it holds|mine is a file; a report needs a folder"):
        report.write(results, tmp_path, TEXTS)
    assert place.is_file()


def test_a_report_that_another_process_writes_meanwhile_stays_whole(results, tmp_path, monkeypatch):
    options, ours, started = ReportOptions(formats=["md"]), report._write, []

    def interrupted(*given):
        written = ours(*given)
        if not started:
            started.append(True)
            report.write(results, tmp_path / "out", options)
        return written

    monkeypatch.setattr(report, "_write", interrupted)
    folder = report.write(results, tmp_path / "out", options)
    assert started
    assert (folder / "table.md").is_file()
    assert list((tmp_path / "out").iterdir()) == [folder]


def test_folders_that_take_one_place_at_once_are_each_put_there(tmp_path):
    def put(number):
        for turn in range(100):
            staged = tmp_path / f"{number}-{turn}" / "new"
            staged.mkdir(parents=True)
            (staged / "file").touch()
            report._put_in_place(staged, tmp_path / "place")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(4)))
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["file"]


def test_latex_is_balanced_and_escaped(results):
    check_tabulars(tables.latex(Table("table", "50 % of it", main_table(results), ["95 % of_it"])))


def test_every_table_has_as_many_cells_in_a_line_as_columns(tmp_path):
    """In LaTeX and in Markdown: the main table, differences to the reference, and ranks."""
    for number, label in enumerate(("prior", "pce_dice", "pce")):
        for seed in (0, 1):
            folder = tmp_path / "results/runs/d/a" / label / f"r{seed}"
            folder.mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps(record(label, seed=seed)))
            lines = [f"s{n},p{n},faz,px,{0.5 + 0.01 * n * number},{9 - n},1.0,,,0,0,0" for n in range(9)]
            (folder / "cases.csv").write_text(HEADER + "\n".join(lines) + "\n")
    written = report.write(tmp_path / "results", tmp_path / "reports", ReportOptions(formats=["md", "tex"]))
    for name in ("table", "tests", "ranks"):
        check_tabulars((written / f"{name}.tex").read_text())
        table = [line for line in (written / f"{name}.md").read_text().splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in table}) == 1


def test_names_are_harmless_in_the_page(results, tmp_path):
    page = (report.write(results, tmp_path, ReportOptions(formats=["html"])) / "index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http://" not in re.sub(r'xmlns[^"]*"[^"]*"|rdf[^"]*"[^"]*"', "", page.replace("http://www.w3.org", ""))


def test_the_page_names_failures_with_their_reason(results, tmp_path):
    page = (report.write(results, tmp_path, ReportOptions(formats=["html"])) / "index.html").read_text()
    assert "loss is nan at step 7" in page
    assert "missing" in page
    assert "A title" in page


def test_long_notes_are_in_a_file_of_their_own(results, tmp_path):
    out = report.write(results, tmp_path, TEXTS)
    notes = (out / "notes.md").read_text()
    assert notes.startswith("# Notes to the tables\n\n## A title\n\n- Each number is the mean over patients and seeds")
    assert "n/a: not planned" in notes
    sentences = re.split(r"[.:;]\s", re.sub(r"Budget: .*", "", notes))
    assert max(len(each.split()) for each in sentences) < 40
    for name in ("table.md", "table.tex"):
        text = (out / name).read_text()
        assert "Mean [95" in text
        assert "medpy" not in text
        assert "failed to learn if" not in text
    assert "[notes](notes.md)" in (out / "table.md").read_text()
    shown = re.sub(
        r"<script.*?</script>|<style.*?</style>|<svg.*?</svg>", "", (out / "index.html").read_text(), flags=re.DOTALL
    )
    assert "`" not in shown + notes


def test_reports_that_share_a_site_lead_to_each_other(results, tmp_path):
    both = tmp_path / "my <b>results"
    for name in ("first", "sec <i>ond"):
        shutil.copytree(results, both / name)
    plan = json.loads((both / "first/plan.json").read_text()) | {"title": "Title <b>"}
    (both / "first/plan.json").write_text(json.dumps(plan))
    out = report.write(both, tmp_path / "out", ReportOptions(formats=["html"], site=True))
    assert out == tmp_path / "out"
    whole = (out / "index.html").read_text()
    assert "<b>" not in re.sub(r"<td[^>]*><b>", "", whole)
    assert "Title &lt;b&gt;" in whole
    assert whole.count('<table class="matrix"') == whole.count('class="sentence"') == 2
    assert re.search('class="sentence">4 methods on OCTA phantom with simulated scribbles: 4 patients, 2 seeds', whole)
    for page in (out / "index.html", out / "first/index.html", out / "sec <i>ond/index.html"):
        text = page.read_text()
        links = [html.unescape(link) for link in re.findall(r'<a href="([^"#]+)"', text)]
        assert len(links) == 2
        assert all((page.parent / unquote(link)).resolve().is_file() for link in links), links
        targets = re.findall(r'<a href="#([^"]+)"', text)
        assert all(f'id="{target}"' in text for target in targets)
    alone = report.write(both / "first", tmp_path / "alone", ReportOptions(formats=["html"], site=True))
    assert [path.name for path in sorted(alone.iterdir())] == ["index.html", "mine"]
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/index.html").write_text("<title>My group</title>")
    with pytest.raises(InputError, match="theirs/index.html is not a page of this suite; give --site another folder"):
        report.write(both, tmp_path / "theirs", ReportOptions(formats=["html"], site=True))
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["index.html"]
    report.write(both, out, ReportOptions(formats=["html"], site=True))  # again
    with pytest.raises(InputError, match="--format must contain html"):
        ReportOptions(formats=["md"], site=True)


def test_notes_say_what_a_reader_must_know(results):
    read = runs.read(results)
    said = " ".join(report.notes(read, summarise(read)))
    assert "n = 4 patients, 2 seeds" in said
    assert "two seeds are too few for a paper" in said
    assert "Labelled, at median depth: faz 10.00% at 3.5 px" in said
    assert "the last step" in said
    assert "Stale" in said


def written(folder, **scores):
    """A results folder with two seeds of rows of patients: label -> (dice, hd95, hd95_max) of each."""
    header = HEADER.replace("assd,", "hd95_max,", 1)
    for label, values in scores.items():
        for seed in (0, 1):
            place = folder / "runs/d/a" / label / f"r{seed}"
            place.mkdir(parents=True)
            (place / "run.json").write_text(json.dumps(record(label, seed=seed)))
            lines = [f"s{n},p{n},faz,px,{dice},{hd95},{larger},,,0,0,0" for n, (dice, hd95, larger) in enumerate(values)]
            (place / "cases.csv").write_text(header + "\n".join(lines) + "\n")
    return folder


def test_where_the_other_hd95_has_another_top_group_a_note_says_so(tmp_path):
    """By the pooled distance `pce` leads by 10 px, by the larger one `entropy` does."""
    same = {"pce": [(0.5, 30, 90)] * 9, "entropy": [(0.5, 40 + n / 9, 80 + n / 9) for n in range(9)]}
    said = " ".join(notes_of(written(tmp_path / "one", **same)))
    assert "as medpy computes it, the top group were pce." in said
    same["entropy"] = [(0.5, 40 + n / 9, 100 + n / 9) for n in range(9)]
    assert "the top group were" not in " ".join(notes_of(written(tmp_path / "two", **same)))


def test_without_an_attainable_p_the_table_says_that_there_is_no_test(tmp_path):
    rows_of = {"pce": [(0.5, 3, 3)] * 4, "entropy": [(0.6 + n / 100, 4, 4) for n in range(4)]}
    folder = report.write(written(tmp_path, **rows_of), tmp_path / "reports", ReportOptions(formats=["md"]))
    assert "; the smallest attainable p is 0.125, before the correction." in (folder / "notes.md").read_text()
    assert "| no test " in (folder / "tests.md").read_text()


def test_a_column_in_which_nobody_beats_the_prior_is_called_uninformative(tmp_path):
    rows_of = {"prior": [(0.5, 3, 3)] * 9, "pce": [(0.4 + 0.2 * (n % 2), 3 + n % 3, 3 + n % 3) for n in range(9)]}
    said = " ".join(notes_of(written(tmp_path, **rows_of)))
    assert "Uninformative in Dice, HD95 (max): no method beats the location prior" in said
    assert "No column is informative, so there are no ranks." in said


def test_published_numbers_are_compared_in_their_column(tmp_path):
    """Cells as a run on ACDC with drawn scribbles would make them, and the numbers that the project keeps."""
    cells = summarise(runs.read(written(tmp_path, pce=[(0.5, 3, 3)] * 9))).cells
    first = cells.assign(dataset="acdc", annotation="scribble:drawn", column="acdc scribble:drawn", family="strat5")
    table = tables.published_table(published.compare(first, published.read()))
    assert set(table.index) == {"acdc scribble:drawn"}
    line = table[(table.method == "pCE") & (table.region == "mean") & (table.metric == "Dice")].iloc[0]
    assert (line.published, line.here) == ("0.686 ± 0.137", "0.500")
    assert line.comparable.startswith("no: ")
    other = table[(table.method == "RW") & (table.region == "LV") & (table.metric == "Dice")].iloc[0]
    assert other.here == ""


def test_a_pair_is_explained_step_by_step(tmp_path):
    """Differences 0.08, 0.1 and 0.12, three times: mean 0.1, deviation 0.0173, so an error of 0.0058."""
    rows_of = {"pce": [(0.5, 3, 3)] * 9, "entropy": [(0.6 + 0.02 * (n % 3 - 1), 4, 4) for n in range(9)]}
    text = report.explain(written(tmp_path, **rows_of), ("entropy", "pce"), ReportOptions(metrics=("dice",)))
    assert "Dice: entropy minus pce" in text
    assert "+0.1000, over 9 patients" in text
    assert "standard error  0.00577" in text
    assert "0.01732 / sqrt(9)" in text
    assert "in 100% of pairs" in text
    assert "better in these runs (margin 0.02, over patients)" in text
    with pytest.raises(InputError, match="no run is of 'nobody'; there are entropy, pce"):
        report.explain(tmp_path, ("nobody", "pce"))
    with pytest.raises(InputError, match="--metric is 'dise'"):
        report.explain(tmp_path, ("entropy", "pce"), ReportOptions(metrics=("dise",)))


@pytest.mark.parametrize("text", ["0.02", "a,b", "-1,2", "0.02,2,3", "nan,2"])
def test_margins_are_two_numbers(text):
    with pytest.raises(InputError, match="it must be two numbers"):
        report.margins(text)
    assert report.margins("0.05,3") == (0.05, 3)


def test_only_failures_still_make_a_report(tmp_path):
    folder = tmp_path / "results/runs/d/a/m/r"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record(state="failed", reason="no luck")))
    page = (report.write(tmp_path / "results", tmp_path, TEXTS) / "index.html").read_text()
    assert "no luck" in page


def test_a_single_patient_has_a_mean_and_no_interval(tmp_path):
    folder = tmp_path / "results/runs/d/a/m/r"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record()))
    (folder / "cases.csv").write_text(HEADER + "s,p,faz,px,0.5,1.0,1.0,,,0,0,0\n")
    table = main_table(tmp_path / "results")
    assert table.iloc[0, 0] == "0.500 (stale)"
    assert report.write(tmp_path / "results", tmp_path, TEXTS).is_dir()


def test_what_runs_state_is_in_the_notes_and_in_the_list_of_runs(results, tmp_path):
    folder = results / "runs/d/a/m0/r"
    assert "facts" not in pd.read_csv(report.write(results, tmp_path, TEXTS) / "runs.csv")
    worker = {"facts": {"fired": False}, "notes": {"fired": "noise & 50% was suppressed"}}
    (folder / "run.json").write_text(json.dumps(record("pce") | {"worker": worker}))
    out = report.write(results, tmp_path, TEXTS)
    note = "noise & 50% was suppressed in 0 of 1 run of octa_phantom scribble:sim."
    assert f"- pce: {note}" in (out / "notes.md").read_text()
    assert r"noise \& 50\% was suppressed" in (out / "notes.tex").read_text()
    on_page = "noise &amp; 50% was suppressed in 0 of 1 run of OCTA phantom, simulated scribbles."
    assert on_page in (out / "index.html").read_text()
    assert '{"fired": false}' in pd.read_csv(out / "runs.csv").facts.tolist()


def test_a_log_without_the_start_of_its_curves_is_drawn_without_them(results, tmp_path):
    log = [{"step": 8, "changed": 0.2}]
    log += [{"step": 9, "dice_1": 0.5, "curve_1_a": 0.9, "curve_1_b": 1.0, "curve_1_c": 2.0, "changed": 0.1}]
    (results / "runs/d/a/m2/r/train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    assert (report.write(results, tmp_path / "out", ReportOptions(formats=["svg"])) / "pseudo_labels.svg").is_file()


def test_pseudo_labels_are_shown_where_a_run_logged_them(results, tmp_path):
    folder = results / "runs/d/a/m2/r"
    log = [
        {"step": 1, "loss": 1.0},
        {"step": 3, "changed": 0.2},
        {"step": 4, "second_phase": 5},
        {"step": 8, "dice_1": 0.5, "curve_1_a": 0.9, "curve_1_b": 1.0, "curve_1_c": 2.0, "masked_1": 0.1},
        {"step": 11, "dice_1": 0.8, "curve_1_a": 0.9, "curve_1_b": 1.0, "curve_1_c": 3.0, "fired_1": 2, "changed": 0.1,
         "masked_0": 0.0, "masked_1": 0.25},
    ]  # fmt: skip
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    for path in results.rglob("run.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"labelled_share": {"background": 0.1, "fovea": 0.2}}))
    assert runs.pseudo_label_run(runs.read(results), ResultsFolder(results)) == ("d/a/m2/r", log)
    folder = report.write(results, tmp_path, report.ReportOptions(formats=["svg", "html"]))
    svg = (folder / "pseudo_labels.svg").read_text()
    for word in ("Gated CRF on OCTA phantom", "a class fires", "masked share", "fovea"):
        assert word in svg
    assert "class 1" not in svg
    assert "Pseudo-labels of one run" in (folder / "index.html").read_text()


@pytest.mark.parametrize("line", ['{"loss": ', '{"loss": 1}', '["loss"]', '{"step": "a", "loss": 2}'])
def test_a_damaged_log_is_named(results, tmp_path, line):
    (results / "runs/d/a/m2/r/train.jsonl").write_text(f"{line}\n")
    with pytest.raises(InputError, match=r"m2/r/train.jsonl is damaged .*remove that folder"):
        report.write(results, tmp_path / "a")


@pytest.mark.parametrize(
    ("formats", "suffixes"),
    [(["md"], {".md"}), (["csv", "tex"], {".csv", ".tex"}), (["html"], {".html"}), (["png", "html"], {".png", ".html"})],
)
def test_only_the_formats_asked_for_are_written(results, tmp_path, formats, suffixes):
    folder = report.write(results, tmp_path, ReportOptions(formats=formats))
    assert {path.suffix for path in folder.iterdir()} == suffixes
    if "html" in formats:
        assert "<svg" in (folder / "index.html").read_text()


def test_other_metrics_stand_in_tables_and_tests(results, tmp_path):
    folder = report.write(results, tmp_path, ReportOptions(metrics=["assd", "nsd"], formats=["md", "csv"]))
    head = (folder / "table.md").read_text().splitlines()[2]
    assert "ASSD (px)" in head
    assert "NSD" in head
    assert "Dice |" not in head


def test_only_some_rows_are_shown(results, tmp_path):
    """They are told from a location prior that is not shown, too; here it is as good as they are."""
    shutil.rmtree(results / "runs/d/a")
    for method, slope in (("pce", 0), ("prior", 0), ("dmpls", 0.02), ("gated_crf", 0.03)):
        for seed in (0, 1):
            folder = results / f"runs/d/a/{method}/r{seed}"
            folder.mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps(record(method, seed=seed)))
            lines = [f"s{n},p{n},faz,px,{0.4 + slope * n},{9 + n},1.0,,,0,0,0\n" for n in range(12)]
            (folder / "cases.csv").write_text(HEADER + "".join(lines))
    folder = report.write(results, tmp_path, ReportOptions(only=["pce", "dmpls", "gated_crf"], formats=["csv", "md"]))
    assert set(pd.read_csv(folder / "table.csv").method) == {"pce", "dmpls", "gated_crf"}
    assert "2 of 2 failed to learn" in (folder / "table.md").read_text()
    assert "whether the column is informative. " in (folder / "notes.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["doc"]}, "--format is 'doc'; it must be md, tex"),
        ({"selection": "best"}, "--selection is 'best' .*; it must be last, weakval"),
    ],
)
def test_a_report_of_what_there_is_not_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        ReportOptions(**options)


def test_a_metric_that_the_runs_were_not_scored_with_is_refused(results, tmp_path):
    with pytest.raises(InputError, match="--metric is 'dise' .the nearest is dice.; .*hd95.*score --metrics FILE"):
        report.write(results, tmp_path, ReportOptions(metrics=["dise"]))
