"""Figures: which are drawn, what stands in their files, and that nothing in names or numbers breaks them."""

import hashlib
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchmark import InputError, report, store
from benchmark.images import COLOURS
from benchmark.report import figures, front, runs
from benchmark.report.figures import cost, curves, overview, sites, style
from benchmark.report.figures.cases import Case
from benchmark.report.figures.montage import ERRORS, TILE, _errors, _marked, montage
from benchmark.report.figures.scores import intervals
from benchmark.report.figures.style import FigureData
from benchmark.report.summary import summarise
from benchmark.store import ResultsFolder
from tests.benchmark.report.test_rows import HEADER, record

HOSTILE = "<script>alert(1)</script>_50%_$x$ \x07字"  # with a sign that can't be printed and one that the font lacks
EVERY = ["matrix", "ranks", "intervals", "paired", "gap", "hours", "density", "noise", "cost"]
EVERY += ["learning_curves", "pseudo_labels"]
FORMATS = {"scribble:sim": 0.6, "scribble:sim@0.5": 0.5, "scribble:sim+noise=0.1": 0.55, "box": 0.62, "full": 0.9}
METHODS = {"prior": -0.3, "pce_dice": 0.0, "entropy": 0.02, HOSTILE: 0.05}
LOG = [
    {"step": 0, "seconds": 0.1, "loss": 1.0},
    {"step": 5, "seconds": 0.3, "loss": 0.7, "changed": 0.2, "dice_1": 0.4},
    {"step": 9, "seconds": 0.5, "loss": 0.5, "changed": 0.1, "dice_1": 0.5},
]


def write(root, run, dice, log=()):
    """A run below `root` with the Dice of its patients."""
    name = f"{run['label']} {run['identity']['annotation']} {run['identity']['seed']}"
    run["hash"] = hashlib.sha256(name.encode()).hexdigest()
    folder = root / "runs/d/a" / run["hash"][:8] / "r"
    folder.mkdir(parents=True)
    if run.get("selected"):
        (folder / "snapshots.csv").write_text("part,step," + HEADER + "test,9,s,p0,faz,px,0.5,1.0,1.0,,,0,0,0\n")
    (folder / "run.json").write_text(json.dumps(run))
    lines = [f"s{n},p{n},faz,px,{value},{9 - 8 * value},1.0,,,0,0,0" for n, value in enumerate(dice)]
    (folder / "cases.csv").write_text(HEADER + "\n".join(lines) + "\n")
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


def source(root, metric="dice"):
    read = runs.read(root)
    return FigureData(read, summarise(read), ResultsFolder(root), metric)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Four methods on five forms of marks, two seeds, six patients; one run kept snapshots."""
    root, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    for annotation, mean in FORMATS.items():
        for label, better in METHODS.items():
            for seed in (0, 1):
                run = record(label, seed=seed, annotation=annotation) | {"labelled_slices": 180, "labelled_objects": 360}
                run["worker"] = {"fit_s": 10.0 + 5 * len(label), "device": "cpu" if seed else "cuda"}
                if label == "entropy" and annotation == "box":
                    run["snapshots"] = [
                        {"step": step, "weakval": 0.5, "val_dice": 0.5, "test_dice": step / 10} for step in (5, 9)
                    ]
                    run["selected"] = dict.fromkeys(store.RULES, 9)
                write(root, run, mean + better + 0.02 * rng.standard_normal(6), LOG if label != "prior" else ())
    return root


@pytest.fixture(scope="module")
def drawn(many, tmp_path_factory):
    """Their figures as SVG, and the folder that they are in."""
    folder = tmp_path_factory.mktemp("drawn")
    return figures.draw(source(many), folder, ["svg"]), folder


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Two methods on one form of marks."""
    root = tmp_path_factory.mktemp("few")
    for label, dice in (("pce_dice", [0.5, 0.6, 0.7]), (HOSTILE, [0.4, 0.6, 0.6])):
        write(root, record(label), dice)
    return root


@pytest.fixture(scope="module")
def in_every_kind(few, tmp_path_factory):
    """Their figures in every kind, and the folder that they are in."""
    folder = tmp_path_factory.mktemp("kinds")
    return figures.draw(source(few), folder), folder


def test_every_figure_that_the_runs_make_is_drawn_in_order_and_in_the_kinds_that_are_asked_for(drawn, in_every_kind):
    assert [each.name for each in drawn[0]] == EVERY
    assert {path.name for path in drawn[1].iterdir()} == {f"{name}.svg" for name in EVERY}
    names = [each.name for each in in_every_kind[0]]
    assert names == ["matrix", "intervals", "paired"]
    assert {path.name for path in in_every_kind[1].iterdir()} == {f"{name}.{kind}" for name in names for kind in style.KINDS}


def test_text_is_text_and_names_are_harmless(drawn, in_every_kind):
    _, folder = drawn
    for name in EVERY[:-1]:
        svg = (folder / f"{name}.svg").read_text()
        ElementTree.fromstring(svg)  # well-formed
        assert "<script" not in svg, name
        assert "&lt;script&gt;alert(1)" in svg, name
    for path in in_every_kind[1].glob("*.pdf"):
        assert b"/FontFile2" in path.read_bytes(), path.name
        assert b"/Type3" not in path.read_bytes(), path.name
    shown = re.sub(r"<!--.*?-->", "", (folder / "cost.svg").read_text(), flags=re.DOTALL)
    assert "_50%_$x$ ?字</text>" in shown  # no formula


@pytest.mark.parametrize(
    ("runs", "before", "kinds"),
    [("few", "in_every_kind", style.KINDS), pytest.param("many", "drawn", ["svg"], marks=pytest.mark.slow)],
)
def test_the_same_runs_give_the_same_bytes(request, tmp_path, runs, before, kinds):
    figures.draw(source(request.getfixturevalue(runs)), tmp_path, kinds)
    for path in request.getfixturevalue(before)[1].iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def keywords(folder, name):
    """What the SVG of a figure says of itself."""
    svg = re.search(r"<dc:subject>(.*?)</dc:subject>", (folder / f"{name}.svg").read_text(), re.DOTALL)
    return re.sub(r"<.*?>", "", svg[1]).strip()


def test_every_kind_holds_the_hashes_of_its_runs(in_every_kind, few):
    _, folder = in_every_kind
    hashes = sorted(json.loads(path.read_text())["hash"][:8] for path in few.rglob("run.json"))
    pdf = re.search(rb"/Keywords \((.*?)\)", (folder / "intervals.pdf").read_bytes(), re.DOTALL)
    with Image.open(folder / "intervals.png") as image:
        assert image.text["Keywords"] == pdf[1].decode() == keywords(folder, "intervals") == "runs: " + " ".join(hashes)


def test_the_hashes_of_all_runs_are_in_the_metadata_and_their_digest_in_the_picture(drawn, many):
    made, folder = drawn
    hashes = sorted(json.loads(path.read_text())["hash"] for path in many.rglob("run.json"))
    assert len(hashes) == 40
    assert made[0].hashes == tuple(hashes)
    assert keywords(folder, "intervals") == "runs: " + " ".join(each[:8] for each in hashes)
    digest = hashlib.sha256("".join(f"{each}\n" for each in hashes).encode()).hexdigest()[:12]
    line = f"n = 6 patients, 2 seeds; 40 runs, digest {digest} (all hashes in the file's metadata)"
    assert made[0].caption.endswith(f" {line}.")
    assert line.partition(" (")[0] in (folder / "intervals.svg").read_text()


def test_of_few_runs_the_picture_names_every_hash(drawn, many):
    made, folder = drawn
    of_first = next(each for each in made if each.name == "pseudo_labels")
    line = f"n = 6 patients, 1 seed; 1 run: {of_first.hashes[0][:8]}"
    assert line in (folder / "pseudo_labels.svg").read_text()
    assert of_first.caption.endswith(f"{line}.")
    assert keywords(folder, "pseudo_labels") == f"runs: {of_first.hashes[0][:8]}"


def test_a_figure_holds_only_the_runs_that_are_in_it(drawn, many):
    made, _ = drawn
    runs = [json.loads(path.read_text()) for path in many.rglob("run.json")]

    def wanted(*annotations, methods=METHODS):
        return tuple(sorted(r["hash"] for r in runs if r["identity"]["annotation"] in annotations and r["label"] in methods))

    by_name = {each.name: each.hashes for each in made}
    line = wanted("full", methods=["pce_dice"])
    assert by_name["density"] == tuple(sorted([*wanted("scribble:sim", "scribble:sim@0.5"), *line]))
    assert by_name["noise"] == tuple(sorted([*wanted("scribble:sim", "scribble:sim+noise=0.1"), *line]))
    assert by_name["hours"] == wanted("scribble:sim", "box", "full")
    weakly = [name for name in FORMATS if name != "full"]
    assert by_name["gap"] == tuple(sorted([*wanted(*weakly), *wanted("full", methods=["pce_dice"])]))
    assert by_name["cost"] == wanted(*FORMATS, methods=[name for name in METHODS if name != "prior"])
    assert by_name["learning_curves"] == wanted(*FORMATS, methods=[name for name in METHODS if name != "prior"])


def test_captions_say_what_a_reader_must_know(drawn):
    captions = {each.name: each.caption for each in drawn[0]}
    assert "not on medical images" in captions["hours"]
    assert "since no hours are published of marks with a density" in captions["hours"]
    assert "Times on cpu, cuda. Not comparable, since from different devices, in all columns." in captions["cost"]
    assert "The prior, which trains no network, is left out." in captions["cost"]
    assert "moving mean over 3 of 60 places" in captions["learning_curves"]
    assert "what nobody may select by" in captions["learning_curves"]


def test_a_method_has_the_same_look_whatever_else_is_shown(many, few):
    assert source(many).styles["pce_dice"] == source(few).styles["pce_dice"]
    assert source(many).styles[HOSTILE] != source(many).styles["entropy"]


@pytest.mark.slow
def test_figures_print_titles(many, tmp_path):
    read = runs.read(many)
    shown = FigureData(read.titled(), summarise(read).titled(read.titles), ResultsFolder(many))
    [made] = [each for each in figures.draw(shown, tmp_path, ["svg"]) if each.name == "intervals"]
    svg = (tmp_path / "intervals.svg").read_text()
    assert ">pCE + Dice<" in svg
    assert "OCTA phantom, boxes" in svg
    assert "pce_dice" not in svg + made.caption
    assert shown.styles["pCE + Dice"] == source(many).styles["pce_dice"]


@pytest.mark.slow
def test_rows_stand_in_the_order_of_their_scores(many):
    assert style.by_score(source(many), source(many).cells)[::3] == [HOSTILE, "prior"]
    assert style.by_score(source(many, "hd95"), source(many, "hd95").cells)[::3] == [HOSTILE, "prior"]


def test_full_masks_with_one_row_are_a_line_and_no_panel(tmp_path):
    for label, annotation, mean in (("pce", "point", 0.5), ("entropy", "point", 0.6), ("pce_dice", "full", 0.9)):
        write(tmp_path, record(label, annotation=annotation), [mean - 0.1, mean, mean + 0.1])
    (tmp_path / "report").mkdir()
    data = source(tmp_path)
    spec = intervals(data)
    [panel] = spec.figure.axes
    assert data.full["octa_phantom point"]["mean"] == pytest.approx(0.9)
    assert [line.get_xdata()[0] for line in panel.lines if line.get_linestyle() == "--"] == [pytest.approx(0.9)]
    assert "pce_dice on full masks" in spec.legend
    [panel] = overview.matrix(data).figure.axes
    assert [each.get_text() for each in panel.get_yticklabels()][-1] == style.FULL_ROW
    assert [each.get_text() for each in panel.texts[0::2]] == ["0.600", "0.500", "0.900"]
    assert front.opening(data)["columns"] == ["octa_phantom point"]
    assert front.opening(data)["rows"][-1][0] == style.FULL_ROW


def test_a_matrix_holds_number_and_verdict_of_every_cell(many):
    [panel] = overview.matrix(source(many)).figure.axes
    texts = [each.get_text() for each in panel.texts]
    assert len(texts) == 2 * len(METHODS) * len(FORMATS)
    assert texts.count("ref") == len(FORMATS)
    assert texts.count("−") == 0  # three rows with two seeds say nothing of other seeds
    assert sorted(texts[0::2])[-1] == f"{source(many).cells['mean'].max():.3f}"


def test_a_matrix_has_a_sign_where_a_verdict_covers_other_seeds(tmp_path):
    rng = np.random.default_rng(0)
    for label, mean in (("pce_dice", 0.6), ("pce", 0.59), ("entropy", 0.61), ("prior", 0.3)):
        for seed in range(3):
            write(tmp_path, record(label, seed=seed), mean + 0.02 * rng.standard_normal(8))
    [panel] = overview.matrix(source(tmp_path)).figure.axes
    assert [each.get_text() for each in panel.texts].count("−") == 1


def test_a_matrix_holds_columns_and_rows_of_which_no_run_is_done(tmp_path):
    """Full masks that did not run, and a method whose runs all failed."""
    for label, mean in (("pce", 0.5), ("entropy", 0.6)):
        write(tmp_path, record(label, annotation="point"), [mean - 0.1, mean, mean + 0.1])
    write(tmp_path, record("procns", annotation="point", state="failed"), [])
    gone = {key: record("pce_dice", annotation="full")[key] for key in ("identity", "label", "common")} | {"folder": "f"}
    (tmp_path / "plan.json").write_text(json.dumps({"name": "n", "title": "t", "runs": [gone]}))
    [panel] = overview.matrix(source(tmp_path)).figure.axes
    texts = [each.get_text() for each in panel.texts[0::2]]
    assert [each.get_text() for each in panel.get_yticklabels()] == ["entropy", "pce", "pce_dice", "procns"]
    assert sorted(texts) == ["0.500", "0.600", "failed", "not run", *["–"] * 4]


def test_one_row_alone_has_no_matrix(tmp_path):
    write(tmp_path, record("pce"), [0.5, 0.6])
    assert overview.matrix(source(tmp_path)) is None


def test_bars_join_all_rows_that_no_column_tells_apart():
    """Also e with a, b and c, though d is between them."""
    told = pd.DataFrame(
        [("d", "a", "better", 0), ("a", "d", "worse", 0), ("b", "c", "not told apart", 0), ("e", "d", "worse", 1)],
        columns=["method", "against", "verdict", "column"],
    )
    told.loc[len(told)] = ("d", "e", "better", 1)
    assert overview._joined(["a", "b", "c", "d", "e"], told) == [[0, 1, 2, 4], [1, 2, 3]]
    assert overview._joined(["a", "b", "c"], told.iloc[:0]) == [[0, 1, 2]]
    assert overview._lanes([[0, 1, 2], [1, 2, 3], [4, 5]]) == [0, 1, 0]


def test_numbers_of_near_points_do_not_cover_each_other():
    figure = Figure((3.6, 2.6))
    panel = figure.subplots()
    x, y = pd.Series(np.geomspace(10, 12, 25)), pd.Series(np.linspace(0.80, 0.82, 25))
    panel.plot([1, *x, 100], [0.5, *y, 0.9], "o")
    panel.set_xscale("log")
    cost._numbered(panel, x, y, [str(number) for number in range(25)])
    places = [panel.transAxes.inverted().transform(panel.transData.transform(at)) for at in zip(x, y, strict=True)]
    places = np.array(places) * cost.SIZE + [each.xyann for each in panel.texts]
    apart = [np.abs((one - other) / cost.GAP).max() for k, one in enumerate(places) for other in places[:k]]
    assert min(apart) > 0.7


def test_flat_lines_are_no_figure_of_pseudo_labels(tmp_path):
    flat = [{"step": step, "changed": 0.0, "dice_1": 0.0} for step in (3, 6, 9)]
    write(tmp_path, record("procns"), [0.5, 0.6], flat)
    assert curves.pseudo_labels(source(tmp_path)) is None


def test_names_of_methods_stand_once_in_each_row_of_panels(drawn):
    svg = (drawn[1] / "intervals.svg").read_text()
    assert svg.count(">entropy<") == 2  # five columns, four in a row


def test_other_metrics_are_drawn_with_their_unit(few, in_every_kind, tmp_path):
    made = figures.draw(source(few, "hd95"), tmp_path, ["svg"])
    assert [each.name for each in made] == [each.name for each in in_every_kind[0]]
    assert "(pooled, px), lower is better" in made[0].caption
    assert "(pooled, px) (n = 3)" in (tmp_path / "intervals.svg").read_text()


def test_a_metric_that_was_not_scored_has_no_figures_of_scores(many, tmp_path):
    made = figures.draw(source(many, "nsd"), tmp_path, ["svg"])
    assert [each.name for each in made] == ["ranks", "gap", "learning_curves", "pseudo_labels"]  # ranks and gap are of Dice


def test_without_anything_to_show_no_file_is_written(tmp_path):
    folder = tmp_path / "runs/d/a/m/r"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record(state="failed", reason="no luck")))
    (tmp_path / "report").mkdir()
    assert figures.draw(source(tmp_path), tmp_path / "report") == []
    assert list((tmp_path / "report").iterdir()) == []


def test_one_patient_one_seed_and_undefined_values_are_drawn(tmp_path):
    for annotation in FORMATS:
        for label, dice in (("pce_dice", [0.5, np.nan]), ("entropy", [0.6, np.nan]), ("prior", [np.nan, np.nan])):
            write(tmp_path, record(label, annotation=annotation) | {"labelled_slices": 9, "labelled_objects": 9}, dice)
    (tmp_path / "report").mkdir()
    made = figures.draw(source(tmp_path), tmp_path / "report", ["svg"])
    assert [each.name for each in made] == ["matrix", "intervals", "paired", "hours", "density", "noise"]


def test_a_column_whose_gap_may_be_none_is_named_below_the_figure(tmp_path):
    for annotation, dice in (("point", [0.5, 0.6, 0.4]), ("box", [0.6, 0.3, 0.5]), ("full", [0.7, 0.8, 0.6])):
        for label in ("pce_dice", "entropy"):
            write(tmp_path, record(label, annotation=annotation), dice)
    wide = [0.9, 0.1, 0.85]
    write(tmp_path, record("pce", annotation="box"), wide)
    (tmp_path / "report").mkdir()
    caption = {each.name: each.caption for each in figures.draw(source(tmp_path), tmp_path / "report", ["svg"])}["gap"]
    assert "No share for octa_phantom box: the gap's interval includes 0 (gap 0.083 [" in caption
    assert "octa_phantom point" not in caption


def test_sixty_methods_have_different_styles():
    styles = [(look["color"], look["marker"]) for look in map(style.look, range(60))]
    assert len(set(styles)) == 60
    assert len({look[0] for look in styles[:7]}) == len({look[1] for look in styles[:7]}) == 7


def test_a_curve_is_the_mean_over_runs_on_one_grid_and_reads_few_lines(tmp_path):
    for name, start in (("one", 1.0), ("two", 3.0)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        lines = [{"step": step, "loss": start - step / 1000} for step in range(1000)] + [{"step": 999, "confident": 1.0}]
        (tmp_path / "runs" / name / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    runs = pd.DataFrame({"column": "c", "row": "r", "folder": ["one", "two"]})
    steps, values = curves.losses_of(runs, ResultsFolder(tmp_path))["c", "r"]
    assert len(steps) == curves.LINES
    assert (steps[0], steps[-1]) == (1, 1000)
    inner = slice(1, -1)  # at an end, the moving mean has one side
    np.testing.assert_allclose(values[inner], 2 - (steps[inner] - 1) / 1000)


# ------------------------------------------------------------------------------------------------------------ montage


def case(dice=0.5, methods=("prior", "pce_dice", "entropy"), size=64):
    """A case with a square of truth; each method is off by one column more than the one before."""
    truth = np.zeros((size, size), np.uint8)
    truth[16:32, 16:32] = 1
    marks = np.full_like(truth, 255)
    marks[20, 18:28] = 1
    return Case(
        column="acdc point", dataset="acdc", annotation="point", scan=f"scan {dice}", patient="p", split="a", seed=0,
        classes=("background", "LV_$x$"), slice=2, slices=9, image=np.full((size, size, 3), 90, np.uint8), truth=truth,
        marks=marks, predictions={name: np.roll(truth, n, 1) for n, name in enumerate(methods)},
        scores={name: {"dice": dice - n / 100, "hd95_max": 1.0} for n, name in enumerate(methods)},
        hashes={name: f"{n:064x}" for n, name in enumerate(methods)},
    )  # fmt: skip


def test_a_montage_shows_best_median_and_worst_and_says_by_which_rule(tmp_path):
    [made] = montage({"acdc point": [case(dice) for dice in (0.9, 0.8, 0.7, 0.6, 0.5)]}, runs.ROLES, tmp_path, ["svg"])
    svg = (tmp_path / "montage.svg").read_text()
    for text in ("best", "scan 0.9", "median", "scan 0.7", "worst", "scan 0.5", "slice 3 of 9", "Dice 0.680", "LV_$x$"):
        assert text in svg, text
    assert "scan 0.8" not in svg
    assert "by the mean Dice of a scan over all methods, not by hand" in made.caption
    assert made.caption.endswith(f"n = 3 scans, 1 seed; 3 runs: {' '.join(['0' * 8] * 3)}.")
    assert made.hashes == tuple(f"{n:064x}" for n in range(3))


def test_each_column_with_cases_has_a_montage_of_the_same_bytes(tmp_path):
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        made = montage({"none": [], "few": [case(0.9), case(0.1)], "one": [case()]}, runs.ROLES, folder, ["svg"])
        assert [each.name for each in made] == ["montage", "montage2"]
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_of_many_methods_the_best_stay_with_prior_and_reference_and_the_caption_names_the_others(tmp_path):
    methods = [f"m{n}" for n in range(11)] + ["pce_dice", HOSTILE, "prior"]  # from the best to the worst
    [made] = montage({"c": [case(methods=methods)]}, runs.ROLES, tmp_path, ["svg"])
    assert f"Not shown: m9, m10, {HOSTILE}." in made.caption
    svg = (tmp_path / "montage.svg").read_text()
    assert all(f">{name}<" in svg for name in (*methods[:9], "pce_dice", "prior"))
    assert ">m9<" not in svg


def test_a_method_without_a_score_or_a_prediction_leaves_a_gap(tmp_path):
    one = case(methods=("pce_dice", "entropy"))
    two = replace(one, predictions={"pce_dice": one.truth}, scores={"pce_dice": {"dice": np.nan, "hd95_max": np.nan}})
    assert montage({"c": [one, two]}, runs.ROLES, tmp_path, ["svg"])
    assert "no Dice" in (tmp_path / "montage.svg").read_text()


def test_a_thin_stroke_survives_a_smaller_picture():
    marks = np.full((1000, 500), 255, np.uint8)
    marks[:, 250] = 1
    shown = _marked(np.zeros((TILE, TILE, 3), np.uint8), marks)
    assert (shown == COLOURS[1]).all(2).sum() == TILE


def test_errors_are_coloured_by_their_kind():
    side = TILE
    truth, labels = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    truth[0, :6] = [1, 1, 1, 0, 0, 255]
    labels[0, :6] = [1, 0, 2, 1, 0, 1]
    picture = _errors(np.full((side, side, 3), 255, np.uint8), labels, truth)[0, :6]
    kinds = {tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)): name for name, colour in ERRORS.items()}
    assert [kinds.get(tuple(map(int, pixel)), "") for pixel in picture] == [
        *("", "false negative", "wrong class", "false positive", "", "")
    ]


# -------------------------------------------------------------------------------------------------------- one's own

OWN = """
from matplotlib.figure import Figure
from benchmark.report.figures.style import FigureSpec

def mine(data):
    return FigureSpec("NAME", "Mine", "A caption.", Figure((2, 2)), data.origin(data.read.runs))

def nothing(data):
    return None

FIGURES = (nothing, mine)
"""


@pytest.fixture
def reported(tmp_path):
    """A report on one run, with the figures of a file."""
    write(tmp_path / "results", record("pce"), [0.5])

    def made(text):
        path = tmp_path / f"own{hashlib.sha256(text.encode()).hexdigest()[:8]}.py"
        path.write_text(text)
        options = report.ReportOptions(formats=["svg", "html"], figures=[str(path)])
        return report.write(tmp_path / "results", tmp_path / "reports", options)

    return made


def test_a_figure_of_ones_own_is_drawn_and_stands_in_the_page(reported):
    folder = reported(OWN.replace("NAME", "mine"))
    assert (folder / "mine.svg").is_file()
    assert "A caption. " in (folder / "index.html").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("NAME", "intervals"), "the figure name 'intervals' of mine is taken"),
        (OWN.replace("NAME", "../mine"), "the figure name '../mine' of mine is taken, or can't name a file"),
        (OWN.replace("return None", "return 3"), "the figure nothing gives int; it must be a function"),
        (OWN.replace("return None", "return 1 / 0"), "the figure nothing of"),
        ("FIGURES = ()", "must list its figures, as FIGURES ="),
        ("import nowhere_at_all", "doesn't import"),
    ],
)
def test_a_file_of_figures_that_can_not_be_drawn_is_refused(reported, text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        reported(text)


def test_a_file_of_figures_that_is_not_there_is_refused_before_anything_is_read():
    with pytest.raises(InputError, match=r"there is no file nowhere\.py"):
        report.ReportOptions(figures=["nowhere.py"])


def test_a_report_shows_each_method_at_each_site_where_runs_name_sites(tmp_path, few):
    """By hand: at `east` patients 0 and 2, so (0.2 + 0.4) / 2; at `west` patient 1."""
    dice = {"local": (0.2, 0.9, 0.4), "fedavg": (0.6, 0.5, 0.8)}
    for label, values in dice.items():
        places = {"scans": ["s0", "s1", "s2"], "sites": ["east", "west", "east"]}
        write(tmp_path, record(label, annotation="point/box") | places, values)
    data = source(tmp_path)
    spec = sites.sites(data)
    (panel,) = spec.figure.axes
    heights = {label: line.get_ydata().tolist() for label, line in zip(spec.legend, panel.lines, strict=True)}
    assert heights == {"local": pytest.approx([0.3, 0.9]), "fedavg": pytest.approx([0.7, 0.5])}
    assert [label.get_text() for label in panel.get_xticklabels()] == ["east\nn = 2", "west\nn = 1"]
    report.write(tmp_path, tmp_path / "reports", report.ReportOptions(formats=("md", "csv")))
    (text,) = (tmp_path / "reports").rglob("sites.md")
    assert re.search(r"\| east Dice +\|.*\| west Dice +\|", text.read_text())
    assert re.search(r"^\| fedavg +\| 0\.700 .*\| 0\.500", text.read_text(), re.M)
    frame = pd.read_csv(text.with_suffix(".csv"))
    assert sorted(frame[(frame.metric == "dice") & (frame.region == "mean")]["mean"]) == pytest.approx([0.3, 0.5, 0.7, 0.9])
    assert sites.sites(source(few)) is None
