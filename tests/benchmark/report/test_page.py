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
from benchmark.report import page
from benchmark.report import runs as report_runs
from benchmark.report.figures.cases import Case
from benchmark.report.figures.style import SavedFigure
from benchmark.report.tables import Table
from benchmark.store import ResultsFolder
from tests.benchmark.report.test_rows import HEADER, record

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


def rendered(folder, *records, made=(), **content):
    """The page of these runs."""
    results = runs(folder / "results", *(records or [record()]))
    return page.render(report_runs.read(results), made, folder, page.Content(results=ResultsFolder(results), **content))


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
    assert formats == ["scribble:sim", "d point", "d point (steps=9)"]


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
    text = page.render(report_runs.read(results), [], tmp_path, page.Content(results=ResultsFolder(results)))
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
    read = report_runs.read(one)
    many = pd.concat([read.runs.assign(folder=f"d/a/m{n}/r", state="done") for n in range(1000)], ignore_index=True)
    for n in range(1, 1000):
        (one / f"runs/d/a/m{n}/r").mkdir(parents=True)
        shutil.copy(one / "runs/d/a/m0/r/run.json", one / f"runs/d/a/m{n}/r/run.json")
    text = page.render(replace(read, runs=many), [], tmp_path, page.Content(results=ResultsFolder(one)))
    assert "All 1000 runs" in text


def test_the_same_content_gives_the_same_bytes(tmp_path):
    one, two = (rendered(tmp_path / name, cases=[case()]) for name in "ab")
    assert one == two


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


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page with all there is, hostile names among it."""
    folder = tmp_path_factory.mktemp("page")
    failed = record("gated_crf", state="failed", reason="FloatingPointError: loss is nan") | MADE
    results = runs(folder / "results", record() | MADE, record(HOSTILE) | MADE, failed)
    (results / "runs/d/a/m2/r/error.txt").write_text("Traceback\n" + "a very long line " * 40)
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
    table = Table("table", "T", pd.DataFrame(cells, index=index, columns=columns), ["a note"])
    cases = [
        *(case(f"p{n}", f"s{n}") for n in range(3)),
        case("p1", "s1", "octa_phantom point"),
        case("q0", "t0", "acdc scribble:drawn"),
        case("q0", "t1", "acdc scribble:drawn", predictions={"pce": np.zeros((40, 60), np.uint8)}),
    ]
    shown = [SavedFigure("f", "A figure", "what it shows", ())]
    content = page.Content(shown, cases, ["faz point: left out"], ResultsFolder(results))
    (folder / "index.html").write_text(page.render(report_runs.read(results), [table], folder, content))
    return folder / "index.html"


@pytest.fixture
def opened(chromium, written):
    """Opens the page; afterwards nothing may have gone wrong, and nothing been asked of any network."""
    wrong = []
    contexts = []

    def visit(width=1400, **how):
        context = chromium.new_context(viewport={"width": width, "height": 900}, **how)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: wrong.append(message.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
        tab.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
        tab.goto(written.as_uri())
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def first_cells(tab):
    return tab.locator("#table-table tbody tr:visible th").all_inner_texts()


LONG = "a_very_long_name_of_a_method_with_options (weight=0.1)"


def test_a_table_is_filtered_by_text_whatever_its_case(opened):
    tab = opened()
    table = tab.locator("#table-table")
    assert table.locator("output").inner_text() == "4 of 4 rows"
    table.get_by_label("Filter").fill("GATED")
    assert first_cells(tab) == ["gated_crf"]
    assert table.locator("output").inner_text() == "1 of 4 rows"
    assert table.locator("output").get_attribute("aria-live") == "polite"
    table.get_by_label("Filter").fill("<script>")
    assert first_cells(tab) == [HOSTILE]
    failures = tab.locator("#failures")
    failures.get_by_label("Filter").fill("floatingpointerror")
    assert failures.locator("output").inner_text() == "1 of 1 rows"
    table.get_by_label("Filter").fill("nothing has this")
    assert first_cells(tab) == []
    table.get_by_label("Filter").fill("")
    assert len(first_cells(tab)) == 4


def test_a_head_sorts_up_then_down_then_back_with_gaps_last(opened):
    tab = opened()
    head = tab.locator("#table-table th.sorts").nth(1)
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
    heads = tab.locator("#table-table th.sorts")
    heads.nth(2).get_by_role("button").click()  # 9 before 10 before 100
    assert first_cells(tab) == [HOSTILE, "pce", LONG, "gated_crf"]
    heads.nth(3).get_by_role("button").click()
    assert first_cells(tab) == ["pce", HOSTILE, LONG, "gated_crf"]
    heads.nth(3).get_by_role("button").click()
    assert first_cells(tab) == ["gated_crf", "pce", HOSTILE, LONG]
    assert tab.locator("#table-table th[aria-sort]").count() == 1


def test_a_head_sorts_by_keyboard_and_names_as_text(opened):
    tab = opened()
    tab.locator("#table-table th.sorts button").first.focus()
    tab.keyboard.press("Enter")
    assert first_cells(tab) == [HOSTILE, LONG, "gated_crf", "pce"]
    tab.keyboard.press("Enter")
    assert first_cells(tab) == ["pce", "gated_crf", LONG, HOSTILE]


def chosen(tab, name):
    return tab.locator(f"select[name={name}]").evaluate("select => select.selectedOptions[0].text")


def offered(tab, name):
    return tab.locator(f"select[name={name}] option").all_inner_texts()


def test_each_choice_of_a_case_settles_what_the_next_offers(opened):
    tab = opened()
    assert offered(tab, "dataset") == ["octa_phantom", "acdc"]
    assert offered(tab, "column") == ["scribble:sim", "point"]
    assert offered(tab, "case") == ["p0", "p1", "p2"]
    assert offered(tab, "row") == ["pce", HOSTILE]
    tab.get_by_label("Patient").select_option("p1")
    tab.get_by_label("Method").select_option(HOSTILE)
    tab.get_by_label("Format").select_option("point")
    assert (chosen(tab, "case"), chosen(tab, "row")) == ("p1", HOSTILE)
    assert f"{HOSTILE}: Dice 0.550, HD95 (max) not defined." in tab.locator(".said").inner_text()
    tab.get_by_label("Data set").select_option("acdc")
    assert offered(tab, "case") == ["q0, t0", "q0, t1"]
    tab.get_by_label("Patient").select_option("q0, t1")
    assert offered(tab, "row") == ["pce"]


def test_cases_are_chosen_by_keyboard(opened):
    tab = opened()
    tab.get_by_label("Data set").focus()
    seen = []
    for _ in range(6):
        seen.append(tab.evaluate("document.activeElement.name"))
        tab.keyboard.press("Tab")
    assert seen == ["dataset", "column", "case", "row", "previous", "next"]
    tab.get_by_label("Patient").focus()
    tab.keyboard.press("ArrowDown")
    assert "Patient p1, scan s1, slice 3 of 7" in tab.locator(".said").inner_text()
    tab.get_by_label("Method").focus()
    tab.keyboard.press("ArrowDown")
    assert tab.locator(".scores tr[aria-current] th").inner_text() == HOSTILE
    tab.get_by_label("image", exact=True).focus()
    tab.keyboard.press("Space")
    assert not tab.locator("img[data-layer=image]").is_visible()


def test_previous_and_next_step_through_the_patients_and_round_the_end(opened):
    tab = opened()
    following, before = (tab.get_by_role("button", name=f"{name} patient") for name in ("Next", "Previous"))
    following.click()
    assert (chosen(tab, "case"), tab.locator(".place").inner_text()) == ("p1", "2 of 3")
    before.click()
    before.click()
    assert (chosen(tab, "case"), tab.locator(".place").inner_text()) == ("p2", "3 of 3")
    following.click()
    assert chosen(tab, "case") == "p0"


def test_layers_are_switched_on_and_off_one_by_one(opened):
    tab = opened()
    names = {"image": "image", "prediction": "prediction (filled)", "truth": "truth (outlined)", "marks": "marks (solid)"}
    layers = {name: tab.locator(f"img[data-layer={name}]") for name in names}
    assert all(layer.is_visible() for layer in layers.values())
    assert all(layer.evaluate("image => image.decode().then(() => image.naturalWidth)") == 60 for layer in layers.values())
    for name, label in names.items():
        tab.get_by_label(label, exact=True).uncheck()
        assert [other for other, layer in layers.items() if not layer.is_visible()] == [name]
        tab.get_by_role("button", name="Next").click()
        assert not layers[name].is_visible(), "it stays off on the next case"
        tab.get_by_label(label, exact=True).check()
        assert layers[name].is_visible()


def test_the_browser_shows_the_prediction_of_the_chosen_method_and_all_scores(opened):
    tab = opened()
    shown = embedded(tab.content())["cases"][0]
    for row in shown["rows"]:
        tab.get_by_label("Method").select_option(row["name"])
        assert tab.locator("img[data-layer=prediction]").get_attribute("src") == row["picture"]
    lines = [line.locator("th, td").all_text_contents() for line in tab.locator(".scores tbody tr").all()]
    assert lines == [["pce", "0.850", "3.0", "aaaaaaaa"], [HOSTILE, "0.550", "not defined", "bbbbbbbb"]]
    assert tab.locator(".scores thead").inner_text().split("\t")[2] == "HD95 (max, mm)"
    assert [entry.strip() for entry in tab.locator(".legend li").all_inner_texts()] == ["background (marks only)", "faz"]
    colour = tab.locator(".legend i").nth(1).evaluate("swatch => getComputedStyle(swatch).backgroundColor")
    assert colour == "rgb({}, {}, {})".format(*COLOURS[1])


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_is_wider_than_the_window(opened, width):
    tab = opened(width)
    tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert tab.locator(".stage").bounding_box()["width"] > 0.5 * min(width, 640)


def test_on_a_phone_the_first_column_stays_in_sight_and_leaves_room(opened):
    tab = opened(360)
    box = tab.locator("#table-table .wide")
    box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    first, last = (
        tab.locator(f"#table-table tbody tr:last-child {cell}").bounding_box() for cell in ("th", "td:last-child")
    )
    assert 0 <= first["x"] < 20
    assert first["width"] < 180
    assert last["x"] >= first["x"] + first["width"] - 1
    assert last["x"] + last["width"] <= 360


def test_without_scripts_the_tables_figures_and_failures_are_there(opened):
    tab = opened(java_script_enabled=False)
    assert "10.0 (2 missed)" in tab.locator("#table-table").inner_text()
    assert tab.locator("#figures svg").is_visible()
    assert "loss is nan" in tab.locator("#failures").inner_text()
    assert not tab.locator(".filter").first.is_visible()
    assert not tab.locator(".browser").is_visible()
    assert tab.get_by_text("Choosing cases needs JavaScript.").is_visible()


def test_links_at_the_top_lead_to_sections_that_are_there(opened):
    tab = opened()
    targets = [link.get_attribute("href") for link in tab.locator("nav a").all()]
    assert {"#table-table", "#figures", "#cases", "#failures", "#environment", "#protocol", "#runs"} == set(targets)
    assert all(tab.locator(target).is_visible() for target in targets)
