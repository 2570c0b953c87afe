"""The page: what it says without a browser, and what it does in one (headless Chromium, where there is one)."""

import base64
import hashlib
import io
import json
import re
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.images import COLOURS
from benchmark.plan.plugins import PRIOR
from benchmark.report import front, page
from benchmark.report import runs as report_runs
from benchmark.report.figures.cases import Case
from benchmark.report.figures.style import FigureData, SavedFigure
from benchmark.report.summary import PAIR_COLUMNS, summarise
from benchmark.report.tables import Table
from benchmark.store import ResultsFolder
from tests.benchmark.report.test_rows import HEADER, record
from tests.support import golden_tables

HOSTILE = "<script>alert(1)</script>_50%_$x$"
MADE = {"version": "0.1", "commit": "abc", "processor": "a processor", "finished": "2026-01-01T00:00:00+00:00"}
SVG = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="900pt" height="90pt"
 viewBox="0 0 900 90">
 <metadata><rdf>http://purl.org</rdf></metadata>
 <defs><clipPath id="p1"><rect width="800" height="80"/></clipPath><path id="m1" d="M0 0h9v9z"/></defs>
 <!-- url(#p1) -->
 <g id="figure_1" clip-path="url(#p1)"><use xlink:href="#m1" x="5" y="5" style="fill: #0072b2"/></g>
 <text x="9" y="50">id="p1" url(#p1)</text>
</svg>"""


def runs(folder, *records):
    """A results folder with these runs; every run that is done has one patient."""
    for number, run in enumerate(records):
        place = folder / "runs" / "d" / "a" / f"m{number}" / "r"
        place.mkdir(parents=True)
        (place / "run.json").write_text(json.dumps(run))
        if run["state"] == "done":
            (place / "cases.csv").write_text(HEADER + "s0,p0,faz,mm,0.5,9.0,1.0,,,0,0,0\n")
    return folder


def case(patient="p0", scan="s0", column="octa_phantom scribble:sim", **changes):
    """A square in the middle, marked by a line, and what two methods made of it."""
    truth = np.zeros((40, 60), np.uint8)
    truth[10:30, 20:40] = 1
    marks = np.full_like(truth, 255)
    marks[20, 24:36], marks[2] = 1, 0
    dataset, _, annotation = column.partition(" ")
    whole = {
        "column": column, "dataset": dataset, "annotation": annotation, "scan": scan, "patient": patient,
        "split": "default", "seed": 0, "classes": ("background", "faz"), "slice": 2, "slices": 7,
        "image": np.repeat(truth[..., None] * 100 + 50, 3, 2), "truth": truth, "marks": marks,
        "predictions": {"pce": np.roll(truth, 3, 0), HOSTILE: np.roll(truth, 9, 1)},
        "scores": {"pce": {"dice": 0.85, "hd95_max": 3.0}, HOSTILE: {"dice": 0.55, "hd95_max": float("nan")}},
        "hashes": {"pce": "a" * 64, HOSTILE: "b" * 64},
    }  # fmt: skip
    return Case(**whole | changes)


MAIN = Table("table", "T", pd.DataFrame(), ["a note"])  # of which a page shows the notes alone


def source_of(results):
    """What the page is made of."""
    read = report_runs.read(results)
    return FigureData(read, summarise(read), ResultsFolder(results))


def rendered(folder, *records, made=(), **content):
    """The page of these runs."""
    source = source_of(runs(folder / "results", *(records or [record()])))
    return page.render(source, [MAIN, *made], folder, page.Content(**content))


def embedded(text):
    """What the script of the page reads."""
    return json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)[1])


def pixels(uri):
    """A data URI's picture, (h, w, 4)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))


# ----------------------------------------------------------------------------------------------- without a browser


def test_the_policy_lets_only_the_pages_own_script_run(tmp_path):
    text = rendered(tmp_path)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}';" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not re.search(r"\son\w+=", text)


def test_names_are_harmless_wherever_they_stand(tmp_path):
    failed = record(HOSTILE, state="failed", reason=HOSTILE, seed=1)
    table = Table("table", HOSTILE, pd.DataFrame({HOSTILE: [HOSTILE]}, index=pd.Index([HOSTILE], name=HOSTILE)), [HOSTILE])
    (tmp_path / "f.svg").write_text(SVG)
    hostile = case(HOSTILE, HOSTILE, f"{HOSTILE} {HOSTILE}", classes=(HOSTILE, HOSTILE), split=HOSTILE)
    text = rendered(
        tmp_path,
        record(HOSTILE),
        failed,
        made=[table],
        drawn=[SavedFigure("f", HOSTILE, HOSTILE, ())],
        cases=[hostile],
        left_out=[HOSTILE],
    )
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert text.count("<script") == text.count("</script") == 2
    assert embedded(text)["cases"][0]["patient"] == HOSTILE
    assert "<script>alert" not in page.site(HOSTILE, {HOSTILE: front.opening(source_of(tmp_path / "results"))})


def test_ids_of_two_figures_never_meet(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.svg").write_text(SVG)
    text = rendered(tmp_path, drawn=[SavedFigure("one", "One", "first", ()), SavedFigure("two", "Two", "second", ())])
    assert max(Counter(re.findall(r'\sid="([^"]*)"', text)).values()) == 1
    for number in (0, 1):
        assert f'clip-path="url(#drawing{number}-p1)"' in text
        assert f'xlink:href="#drawing{number}-m1"' in text
    assert text.count('>id="p1" url(#p1)</text>') == 2, "what a figure says stays as it is"
    assert "purl.org" not in text


def test_a_column_is_sorted_by_numbers_where_every_cell_leads_with_one_or_is_a_gap():
    cells = pd.DataFrame(
        {
            "Dice": ["0.5 ± 0.1°", "**0.9** [0.8, 1]", "1 of 2 failed", "not run"],
            "change": ["−0.25", "+1e-3", "n/a", "none"],
            "hash": ["12ab", "ab12", "", "3"],
        },
        index=pd.Index(["3d", "b", "c", "d"], name="method"),
    )
    lines = page._table(Table("t", "T", cells, []))["lines"]
    assert lines[1][1][0][0] == "<b>0.9</b> <small>[0.8,\u00a01]</small>"
    assert [[value for _, value in values] for _, values in lines] == [
        [0.5, -0.25, None],
        [0.9, 0.001, None],
        [None, None, None],
        [None, None, None],
    ]


def test_a_thin_stroke_survives_in_the_thumbnail(tmp_path):
    marks = np.full((999, 700), 255, np.uint8)
    marks[500, 100:600] = 1
    marks[333, 50] = 0  # a point of background
    (shown,) = embedded(rendered(tmp_path, cases=[case_of_size(999, 700, marks=marks)]))["cases"]
    layer = pixels(shown["layers"]["marks"])
    assert layer.shape[:2] == (192, 135)
    line = (layer == [*COLOURS[1], 255]).all(-1)
    assert set(line.sum(0)[20:115]) == {1}, "no gap in the line"
    assert (layer == [*COLOURS[0], 255]).all(-1).sum() == 1
    assert set(np.unique(layer[..., 3])) == {0, 255}


def case_of_size(height, width, **changes):
    labels = np.zeros((height, width), np.uint8)
    labels[height // 4 : height // 2, width // 4 : width // 2] = 1
    return case(
        image=np.zeros((height, width, 3), np.uint8),
        truth=labels,
        **{"marks": labels, "predictions": {"pce": labels}} | changes,
    )


def test_truth_is_an_outline_and_a_prediction_a_fill_that_lets_the_image_through(tmp_path):
    (shown,) = embedded(rendered(tmp_path, cases=[case()]))["cases"]
    truth, filled = pixels(shown["layers"]["truth"]), pixels(shown["rows"][0]["picture"])
    assert (truth[..., 3] == 255).sum() == 4 * 20 - 4
    assert truth[20, 30, 3] == 0
    assert (filled[..., 3] > 0).sum() == 20 * 20
    assert filled[25, 30].tolist() == [*COLOURS[1], page.SEEN_THROUGH]
    assert pixels(shown["layers"]["image"]).shape == (40, 60, 4)


def test_a_class_beyond_the_last_colour_takes_the_first_again(tmp_path):
    labels = np.full((4, 4), len(COLOURS) + 1, np.uint8)
    (shown,) = embedded(rendered(tmp_path, cases=[case_of_size(4, 4, predictions={"pce": labels})]))["cases"]
    assert pixels(shown["rows"][0]["picture"])[0, 0].tolist() == [*COLOURS[1], page.SEEN_THROUGH]


def test_cases_beyond_a_limit_are_counted_by_column(tmp_path, monkeypatch):
    cases = [case(f"p{n}", column=column) for column in ("d one", "d two") for n in range(3)]
    monkeypatch.setattr(page, "MOST_CASES", 2)
    text = rendered(tmp_path / "number", cases=iter(cases))
    assert len(embedded(text)["cases"]) == 2
    assert "2 shown, 4 left out (1 of d one, 3 of d two)" in text
    monkeypatch.setattr(page, "MOST_CASES", 200)
    size = page._bytes(page._picture(cases[0]))
    monkeypatch.setattr(page, "MOST_BYTES", 5 * size)
    assert "5 shown, 1 left out (1 of d two)" in rendered(tmp_path / "size", cases=iter(cases))


def test_a_patient_with_several_scans_is_named_with_the_scan(tmp_path):
    cases = [case("p0", "s0"), case("p0", "s1"), case("p1", "s2"), case("p2", "s3"), case("p2", "s3", seed=1)]
    names = [each["name"] for each in embedded(rendered(tmp_path, cases=cases))["cases"]]
    assert names == ["p0, s0", "p0, s1", "p1", "p2, s3 (default, seed 0)", "p2, s3 (default, seed 1)"]


def test_columns_that_share_data_and_annotation_have_different_names(tmp_path):
    cases = [case(), case(column="d point"), case(column="d point (steps=9)", annotation="point")]
    formats = [each["format"] for each in embedded(rendered(tmp_path, cases=cases))["cases"]]
    assert formats == ["simulated scribbles", "d point", "d point (steps=9)"]


def test_an_undefined_score_is_not_a_number(tmp_path):
    shown = embedded(rendered(tmp_path, cases=[case()]))["cases"][0]
    assert [row["hd95_max"] for row in shown["rows"]] == [3.0, None]
    assert shown["unit"] == "mm"


def test_without_cases_the_page_says_why(tmp_path):
    assert "<code>results/pictures/</code> is absent" in rendered(tmp_path / "a")
    text = rendered(tmp_path / "b", left_out=["faz point: pixels may not be redistributed"])
    assert "pixels may not be redistributed" in text
    assert "is absent" not in text


def test_of_what_a_failed_run_wrote_the_end_is_shown_and_the_cut_stated(tmp_path):
    results = runs(tmp_path / "results", record(), record("pce_dice", state="failed", reason="ValueError: <b>"))
    (results / "runs/d/a/m1/r/error.txt").write_text("BEGIN" + "x" * (page.TAIL - 3) + "END")
    (results / "runs/d/a/m1/r/output.txt").write_bytes(b"\xff <i>printed</i>")
    text = page.render(source_of(results), [MAIN], tmp_path)
    assert "d/a/m1/r: ValueError: &lt;b&gt;" in text
    assert "The last 8,000 characters; 5 before them are cut." in text
    assert "BEGIN" not in text
    assert "xEND</pre>" in text
    assert "\ufffd &lt;i&gt;printed&lt;/i&gt;</pre>" in text


def test_environments_are_listed_with_the_number_of_their_runs(tmp_path):
    worker = {"device": "cpu", "python": "3.11", "torch": "2.6", "numpy": "2.1", "fit_s": 1.0}
    made = [record(seed=seed) | MADE | {"worker": worker} for seed in (0, 1)]
    other = record("pce_dice") | MADE | {"worker": worker | {"device": "a GPU"}}
    elsewhere = record("second") | MADE | {"external": True, "common": {}}
    failed = record("entropy", state="failed") | MADE | {"worker": {"device": "another"}}
    results = runs(tmp_path / "results", *made, other, elsewhere, failed)
    cells = page._environments(page._records(report_runs.read(results), ResultsFolder(results)).values()).cells
    assert cells.runs.tolist() == [2, 1, 1]
    assert cells.device.tolist() == ["cpu", "a GPU", "made elsewhere"]
    assert set(cells.commit) == {"abc"}


def test_an_old_run_that_says_nothing_of_its_machine_is_listed_as_such(tmp_path):
    assert rendered(tmp_path).count(f">{page.UNKNOWN}</td>") == len(page.MADE_WITH) - 1


def test_the_protocol_names_everything_that_a_columns_runs_share(tmp_path):
    text = rendered(
        tmp_path, record(common={"steps": 5, "network": "unet"}), record(seed=1, common={"steps": 5, "network": "unet"})
    )
    for name, value in {
        "budget": "steps 5; network unet", "labelled share": "faz 0.1", "labelled pixels": page.UNKNOWN,
        "patients known": "yes", "seeds": "0, 1", "regions": "faz", "patients scored": "1",
    }.items():  # fmt: skip
        assert f"<dt>{name}</dt><dd>{value}</dd>" in text


def test_a_page_counts_each_of_a_thousand_runs(tmp_path):
    one = runs(tmp_path / "one", record() | MADE)
    source = source_of(one)
    of_one = source.read.runs
    many = pd.concat([of_one.assign(folder=f"d/a/m{n}/r", state="done") for n in range(1000)], ignore_index=True)
    for n in range(1, 1000):
        (one / f"runs/d/a/m{n}/r").mkdir(parents=True)
        shutil.copy(one / "runs/d/a/m0/r/run.json", one / f"runs/d/a/m{n}/r/run.json")
    text = page.render(replace(source, read=replace(source.read, runs=many)), [MAIN], tmp_path)
    assert "All 1000 runs" in text


def test_the_same_content_gives_the_same_bytes(tmp_path):
    one, two = (rendered(tmp_path / name, cases=[case()]) for name in "ab")
    assert one == two


def cells_of(text):
    """Of the matrix: column heads, and of each row its name and its cells as (class, text)."""
    table = re.search(r'<table class="matrix".*?</table>', text, re.DOTALL)[0]
    heads = re.findall(r'<th scope="col"[^>]*><span>(.*?)</span>', table)
    rows = {}
    for line in re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL):
        cells = re.findall(r'<td class="(\w+)"[^>]*>(.*?)</td>', line, re.DOTALL)
        rows[re.search("<span>(.*?)</span>", line)[1]] = [
            (kind, re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", held)).strip()) for kind, held in cells
        ]
    return heads, rows


def test_the_matrix_has_a_cell_for_each_row_and_column_with_the_mean_of_the_cases(tmp_path):
    records = [record(), record("prior"), record(annotation="point"), record("gone"), record("sad", state="failed")]
    results = runs(tmp_path / "results", *records)
    shutil.rmtree(results / "runs/d/a/m3")
    line = "s0,p0,faz,mm,0.8,9.0,1.0,,,0,0,0\ns1,p1,faz,mm,0.4,9.0,1.0,,,0,0,0\ns2,p2,faz,mm,0.75,9.0,1.0,,,0,0,0\n"
    (results / "runs/d/a/m0/r/cases.csv").write_text(HEADER + line)
    plan = [{"folder": "g", **{key: records[3][key] for key in ("identity", "label", "common")}}]
    (results / "plan.json").write_text(json.dumps({"name": "n", "title": "", "runs": plan}))
    text = page.render(source_of(results), [MAIN], tmp_path)
    heads, rows = cells_of(text)
    assert heads == ["octa_phantom scribble:sim", "octa_phantom point"]
    assert rows == {
        "prior": [("mean", "0.500 1 of 3 patients stale"), ("none", "–")],
        "pce": [("mean", "0.650 stale"), ("mean", "0.500 stale")],
        "gone": [("missing", "not run"), ("none", "–")],
        "sad": [("failed", "1 of 1 failed"), ("none", "–")],
    }
    assert '<span class="missing">not run</span>' in text, "in the table, too, it looks otherwise than"
    assert '<span class="none">n/a</span>' in text
    assert "Hatched: planned, but not run." in text
    assert "Nothing is called best" in text
    lines = re.findall(r'<path d="M([\d.]+) 5H([\d.]+)"/><path class="dot" d="M([\d.]+) 5h0"/>', text)
    assert len(lines) == 1, "a single patient has no interval"
    low, high, mean = map(float, lines[0])
    assert (low, high) == (front.LEFT, front.RIGHT), "it has the scale for itself"
    assert low < mean < high


def test_the_print_in_a_cell_is_read_on_every_colour():
    """Contrast as WCAG 2 defines it, of #111 as page.css has it."""

    def luminance(colour):
        red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    assert ".matrix .mean { color: #111; }" in (page.TEMPLATES / "page.css").read_text()
    for colour in (front.PALE, front.STRONG):
        assert (luminance(colour) + 0.05) / (luminance((17, 17, 17)) + 0.05) > 7


def test_one_table_is_switched_between_all_metrics_and_the_rest_is_folded(tmp_path):
    text = rendered(tmp_path, metrics=["nsd", "dice", "hd95"], made=[Table("more", "More", pd.DataFrame(), [])])
    switch = re.findall(r'<input type="radio" name="metric" id="(\w+)"( checked)?><label for="\1">(.*?)</label>', text)
    assert switch == [("show0", " checked", "NSD"), ("show1", "", "Dice"), ("show2", "", "HD95 (pooled, mm)")]
    assert re.findall(r'<div class="metric" id="(\w+)">', text) == ["of0", "of1", "of2"]
    assert "#show0:checked ~ #of0, #show1:checked ~ #of1, #show2:checked ~ #of2 { display: block }" in text
    parts = re.findall(r'<details class="part" id="([\w-]+)"([^>]*)>', text)
    assert [name for name, _ in parts] == ["cases", "table-more", "failures", "environment", "protocol", "runs"]
    assert not any(more for _, more in parts)
    assert "<section" not in text.replace('<section id="results">', "")


def test_cases_are_shown_in_which_methods_differ_most():
    def shown(dataset, **dice):
        rows = [{"name": name, "dice": abs(value), "empty": value <= 0} for name, value in dice.items()]
        return {"dataset": dataset, "column": dataset, "scan": str(dice), "rows": rows}

    cases = [
        shown("a", prior=0.1, one=0.8, two=0.7),  # the prior does not count
        shown("a", one=0.9, two=0.6),
        shown("a", one=0.9, two=0.0),  # nor does a row that predicts nothing
        shown("b", one=0.5, two=0.49, three=-0.3),
        shown("c", one=0.5),
    ]
    assert front.interesting(cases, {"prior": PRIOR}) == [1, 3, 0]
    assert front.interesting(cases[4:], {}) == [0]
    assert front.interesting([], {}) == []


def test_three_cases_stand_beside_the_matrix(tmp_path):
    cases = [case(f"p{n}", f"s{n}", scores={"pce": {"dice": 0.5 + n / 10}, "no": {"dice": 0.5}}) for n in range(5)]
    text = rendered(
        tmp_path, record(), record(HOSTILE), cases=[replace(each, predictions=cases[0].predictions) for each in cases]
    )
    heads = re.findall(r'<a href="#cases" data-case="(\d)">(.*?)</a>', text)
    assert heads == [(str(n), f"p{n}") for n in embedded(text)["open"]], "there is one column, which needs no name here"
    assert len(heads) == 3
    for number, _ in heads:
        one = embedded(text)["cases"][int(number)]
        assert f".image{number} {{ background-image: url({one['layers']['image']}) }}" in text
        assert text.count(f'<img src="{one["layers"]["filled"]}"') == text.count(f'<img src="{one["rows"][0]["picture"]}"')
        assert text.count(f'class="tile image{number}"') == 4  # image, truth and two methods


# -------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    paths = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    path = next(filter(None, paths), None)
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


METHODS = ("pce", HOSTILE, "gated_crf", *(f"method_with_a_name_{n}" for n in range(9)))
FORMS = [(data, form) for data in ("octa_phantom", "acdc") for form in ("scribble:sim", "point", "block")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of twelve methods in six columns with all there is, hostile names among it."""
    folder = tmp_path_factory.mktemp("page")
    failed = {"state": "failed", "reason": "FloatingPointError: loss is nan"}
    records = [
        record(label, dataset=data, annotation=form, **(failed if label == "gated_crf" and form == "block" else {})) | MADE
        for data, form in FORMS
        for label in METHODS
    ]
    results = runs(folder / "results", *records)
    for error in results.glob("runs/d/a/m*/r"):
        if not (error / "cases.csv").exists():
            (error / "error.txt").write_text("Traceback\n" + "a very long line " * 40)
    (folder / "f.svg").write_text(SVG)
    columns = pd.MultiIndex.from_product(
        [["octa_phantom scribble:sim", "acdc a long name of a column"], ["Dice", "HD95 (mm)"]]
    )
    cells = [
        ["0.5 ± 0.1 [0.400, 0.600]", "10.0 (2 missed)", "0.1", "not run"],
        ["**0.9** [0.8, 1.0]", "9.0", "0.1", "3.0"],
        ["1 of 2 failed", "none", "0.2", "1.0"],
        ["0.7°", "100.0", "0.1", "2.0"],
    ]
    index = pd.Index(["pce", HOSTILE, "gated_crf", "a_very_long_name_of_a_method_with_options (weight=0.1)"], name="method")
    table = Table("wide", "A wide one", pd.DataFrame(cells, index=index, columns=columns), ["a note"])
    cases = [
        *(case(f"p{n}", f"s{n}") for n in range(3)),
        case("p1", "s1", "octa_phantom point"),
        case("q0", "t0", "acdc scribble:sim"),
        case("q0", "t1", "acdc scribble:sim", predictions={"pce": np.zeros((40, 60), np.uint8)}),
    ]
    cases[1] = replace(cases[1], scores={"pce": {"dice": 0.9, "hd95_max": 3.0}, HOSTILE: {"dice": 0.2}})
    shown = [SavedFigure("f", "A figure", "what it shows", ())]
    content = page.Content(shown, cases, ["faz point: left out"], links={"All reports": "../index.html", "this": ""})
    (folder / "index.html").write_text(page.render(source_of(results), [MAIN, table], folder, content))
    return folder / "index.html"


@pytest.fixture
def opened(chromium, written):
    """Opens the page; afterwards nothing may have gone wrong, and nothing been asked of any network."""
    wrong = []
    contexts = []

    def visit(width=1400, *, unfolded=True, **how):
        context = chromium.new_context(viewport={"width": width, "height": 900}, **how)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: wrong.append(message.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
        tab.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
        tab.goto(written.as_uri())
        if unfolded:
            for summary in tab.locator(".part > summary").all():
                summary.click()
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def first_cells(tab):
    return tab.locator("#table-wide tbody tr:visible th").all_inner_texts()


LONG = "a_very_long_name_of_a_method_with_options (weight=0.1)"


def test_a_table_is_filtered_by_text_whatever_its_case(opened):
    tab = opened()
    table = tab.locator("#table-wide")
    assert table.locator("output").inner_text() == "4 of 4 rows"
    table.get_by_label("Filter").fill("GATED")
    assert first_cells(tab) == ["gated_crf"]
    assert table.locator("output").inner_text() == "1 of 4 rows"
    assert table.locator("output").get_attribute("aria-live") == "polite"
    table.get_by_label("Filter").fill("<script>")
    assert first_cells(tab) == [HOSTILE]
    failures = tab.locator("#failures")
    failures.get_by_label("Filter").fill("floatingpointerror")
    assert failures.locator("output").inner_text() == "2 of 2 rows"
    table.get_by_label("Filter").fill("nothing has this")
    assert first_cells(tab) == []
    table.get_by_label("Filter").fill("")
    assert len(first_cells(tab)) == 4


def test_a_head_sorts_up_then_down_then_back_with_gaps_last(opened):
    tab = opened()
    head = tab.locator("#table-wide th.sorts").nth(1)
    original = first_cells(tab)
    head.get_by_role("button", name="Dice").click()
    assert first_cells(tab) == ["pce", LONG, HOSTILE, "gated_crf"]
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert first_cells(tab) == [HOSTILE, LONG, "pce", "gated_crf"]
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    assert first_cells(tab) == original
    assert head.get_attribute("aria-sort") is None


def test_numbers_are_sorted_as_numbers_and_equals_stay_in_order(opened):
    tab = opened()
    heads = tab.locator("#table-wide th.sorts")
    heads.nth(2).get_by_role("button").click()  # 9 before 10 before 100
    assert first_cells(tab) == [HOSTILE, "pce", LONG, "gated_crf"]
    heads.nth(3).get_by_role("button").click()
    assert first_cells(tab) == ["pce", HOSTILE, LONG, "gated_crf"]
    heads.nth(3).get_by_role("button").click()
    assert first_cells(tab) == ["gated_crf", "pce", HOSTILE, LONG]
    assert tab.locator("#table-wide th[aria-sort]").count() == 1


def test_a_head_sorts_by_keyboard_and_names_as_text(opened):
    tab = opened()
    tab.locator("#table-wide th.sorts button").first.focus()
    tab.keyboard.press("Enter")
    assert first_cells(tab) == [HOSTILE, LONG, "gated_crf", "pce"]
    tab.keyboard.press("Enter")
    assert first_cells(tab) == ["pce", "gated_crf", LONG, HOSTILE]


def chosen(tab, name):
    return tab.locator(f"select[name={name}]").evaluate("select => select.selectedOptions[0].text")


def offered(tab, name):
    return tab.locator(f"select[name={name}] option").all_inner_texts()


def test_cases_open_on_an_interesting_one_and_each_choice_settles_what_the_next_offers(opened):
    tab = opened()
    assert (chosen(tab, "dataset"), chosen(tab, "column"), chosen(tab, "case")) == (
        "OCTA phantom",
        "simulated scribbles",
        "p1",
    )
    assert offered(tab, "dataset") == ["OCTA phantom", "ACDC"]
    assert offered(tab, "column") == ["simulated scribbles", "points"]
    assert offered(tab, "case") == ["p0", "p1", "p2"]
    tab.get_by_label("Format").select_option("points")
    assert chosen(tab, "case") == "p1"
    tab.get_by_label("Data set").select_option("ACDC")
    assert offered(tab, "case") == ["q0, t0", "q0, t1"]
    assert names_of(tab) == ["Image", "Marks", "Truth", "pce", HOSTILE]
    tab.get_by_label("Patient").select_option("q0, t1")
    assert names_of(tab) == ["Image", "Marks", "Truth", "pce"]


def names_of(tab):
    return tab.locator(".tiles strong").all_inner_texts()


def test_a_case_above_leads_to_its_pictures(opened):
    tab = opened(unfolded=False)
    assert not tab.locator(".tiles").is_visible()
    tab.get_by_role("link", name="ACDC, simulated scribbles: q0, t0").click()
    assert tab.locator(".tiles").is_visible()
    assert (chosen(tab, "dataset"), chosen(tab, "case")) == ("ACDC", "q0, t0")


def test_cases_are_chosen_by_keyboard(opened):
    tab = opened()
    tab.get_by_label("Data set").focus()
    seen = []
    for _ in range(5):
        seen.append(tab.evaluate("document.activeElement.name"))
        tab.keyboard.press("Tab")
    assert seen == ["dataset", "column", "case", "previous", "next"]
    tab.get_by_label("Patient").focus()
    tab.keyboard.press("ArrowDown")
    assert "Patient p2, scan s2, slice 3 of 7" in tab.locator(".said").inner_text()
    tab.get_by_label("image", exact=True).focus()
    tab.keyboard.press("Space")
    assert layers_of(tab, "pce") == ["prediction", "truth"]


def test_previous_and_next_step_through_the_patients_and_round_the_end(opened):
    tab = opened()
    following, before = (tab.get_by_role("button", name=f"{name} patient") for name in ("Next", "Previous"))
    following.click()
    assert (chosen(tab, "case"), tab.locator(".steps .place").inner_text()) == ("p2", "3 of 3")
    following.click()
    assert (chosen(tab, "case"), tab.locator(".steps .place").inner_text()) == ("p0", "1 of 3")
    before.click()
    assert chosen(tab, "case") == "p2"


def tile_of(tab, name):
    return tab.locator(".tiles figure").filter(has=tab.get_by_text(name, exact=True))


def layers_of(tab, name):
    return tile_of(tab, name).locator("img").evaluate_all("images => images.map(image => image.dataset.layer)")


def test_layers_are_switched_on_and_off_one_by_one(opened):
    tab = opened()
    labels = {"image": "image", "prediction": "prediction (filled)", "truth": "truth (outlined)", "marks": "marks (solid)"}
    assert [layers_of(tab, name) for name in ("Image", "Marks", "Truth")] == [
        ["image"],
        ["image", "marks"],
        ["image", "filled"],
    ]
    tab.get_by_label(labels["marks"], exact=True).check()
    for name, label in labels.items():
        tab.get_by_label(label, exact=True).uncheck()
        tab.get_by_role("button", name="Next").click()  # it stays off on the next case
        assert layers_of(tab, "pce") == layers_of(tab, HOSTILE) == [each for each in labels if each != name]
        tab.get_by_label(label, exact=True).check()
    widths = "images => Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))"
    assert set(tab.locator(".stage img").evaluate_all(widths)) == {60}


def test_the_browser_shows_what_every_method_made_of_a_case_side_by_side(opened):
    tab = opened()
    shown = embedded(tab.content())["cases"][1]
    for row in shown["rows"]:
        assert tile_of(tab, row["name"]).locator("img[data-layer=prediction]").get_attribute("src") == row["picture"]
    texts = [each.split("\n")[1] for each in tab.locator(".tiles figcaption").all_inner_texts()[3:]]
    assert texts == ["Dice 0.900, HD95 (max) 3.0", "Dice 0.200, HD95 (max) not defined"]
    tops = {tile.bounding_box()["y"] for tile in tab.locator(".stage").all()}
    assert len(tops) == 1, "five fit beside each other"
    assert [entry.strip() for entry in tab.locator(".legend li").all_inner_texts()] == ["background (marks only)", "faz"]
    colour = tab.locator(".legend i").nth(1).evaluate("swatch => getComputedStyle(swatch).backgroundColor")
    assert colour == "rgb({}, {}, {})".format(*COLOURS[1])


def test_the_cursor_on_one_picture_is_seen_at_the_same_place_of_all(opened):
    tab = opened()
    lines = """stages => stages.map(stage => [["::before", "top"], ["::after", "left"]]
        .map(([which, side]) => parseFloat(getComputedStyle(stage, which)[side]) / stage.clientWidth))"""
    stage = tab.locator(".stage").nth(3)
    side = stage.bounding_box()["width"]
    stage.hover(position={"x": side / 4, "y": side / 2})
    for across in tab.locator(".stage").evaluate_all(lines):
        assert across == pytest.approx([0.5, 0.25], abs=0.02)
    tab.locator("h1").hover()
    assert tab.locator(".pointed").count() == 0


def test_the_table_of_any_metric_is_chosen_with_and_without_scripts(opened):
    for scripted in (True, False):
        tab = opened(unfolded=False, java_script_enabled=scripted)
        table = tab.locator(".metric")
        assert [each.is_visible() for each in table.all()] == [True, False, False]
        tab.get_by_role("radio", name="HD95 (max").check()
        assert [each.is_visible() for each in table.all()] == [False, True, False]


def test_twelve_methods_and_six_columns_fit_and_the_page_is_short(opened):
    tab = opened(unfolded=False)
    assert tab.evaluate("document.body.scrollHeight") < 6000
    for box in tab.locator(".wide:visible").all():
        assert box.evaluate("box => box.scrollWidth <= box.clientWidth"), box.inner_text()
        assert box.locator("tbody tr").count() == 12
        assert box.bounding_box()["width"] <= 1248
    assert tab.locator(".wide:visible").count() == 2
    assert tab.locator(".tile:visible").count() == 3 * 2 + 3 * 2  # image, truth and two methods of three cases


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_is_wider_than_the_window(opened, width):
    tab = opened(width)
    tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert tab.locator(".stage").first.bounding_box()["width"] > 130


def test_on_a_phone_the_first_column_stays_in_sight_and_leaves_room(opened):
    tab = opened(360)
    box = tab.locator("#table-wide .wide")
    box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    first, last = (tab.locator(f"#table-wide tbody tr:last-child {cell}").bounding_box() for cell in ("th", "td:last-child"))
    assert 0 <= first["x"] < 20
    assert first["width"] < 180
    assert last["x"] >= first["x"] + first["width"] - 1
    assert last["x"] + last["width"] <= 360


def test_without_scripts_the_tables_figures_and_failures_are_there(opened):
    tab = opened(java_script_enabled=False)
    assert "10.0\u00a0(2 missed)" in tab.locator("#table-wide").inner_text().replace(" (", "\u00a0(")
    assert tab.locator("#figures svg").is_visible()
    assert "loss is nan" in tab.locator("#failures").inner_text()
    assert not tab.locator(".filter").first.is_visible()
    assert not tab.locator(".browser").is_visible()
    assert tab.get_by_text("Choosing cases needs JavaScript.").is_visible()


def test_a_page_of_a_site_leads_back_to_the_others(opened):
    links = opened(unfolded=False).locator("nav a")
    assert [(link.inner_text(), link.get_attribute("href")) for link in links.all()] == [
        ("All reports", "../index.html"), ("this", "")
    ]  # fmt: skip
    assert links.nth(1).get_attribute("aria-current") == "page"


def test_below_the_matrix_is_how_many_pairs_the_verdicts_tell_apart(tmp_path):
    source = source_of(golden_tables.results(tmp_path))
    by_pair = {
        (line.column, *sorted((line.method, line.against))): line.verdict for line in source.summary.pairs.itertuples()
    }
    apart = sum(verdict in ("better", "worse") for verdict in by_pair.values())
    assert 0 < apart < len(by_pair)
    columns = len({column for column, *_ in by_pair})
    said = front.opening(source)["legend"][-1]
    assert said == f"Of {len(by_pair)} pairs of methods in {columns} columns together, {apart} are told apart."
    both = [("c", "a", "b", "alike"), ("c", "b", "a", "alike"), ("c", "a", "d", "better"), ("c", "d", "a", "worse")]
    few = pd.DataFrame([(next(iter(source.read.about)), *line[1:]) for line in both], columns=PAIR_COLUMNS)
    said = front.opening(replace(source, summary=replace(source.summary, pairs=few)))["legend"][-1]
    assert said == "Of 2 pairs of methods, 1 are told apart, and 1 are alike."
    of_distance = front.opening(replace(source, metric="hd95_max"))["legend"]
    assert not any("pairs of methods" in line for line in of_distance)
