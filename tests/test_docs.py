"""Every command of README and docs works as its page says, generated text is up to date, and the site has no warnings."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import product

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmark import store
from benchmark.__main__ import app
from benchmark.packing import unpack
from benchmark.plan import plugins
from benchmark.plan.presets import PRESETS, read_preset
from benchmark.report import runs as report_runs
from benchmark.report.summary import summarise
from benchmark.score.evaluate import OVERLAPS, SURFACE_METRICS
from docs import facts
from tests.support.pages import PAGES, ROOT, blocks, run
from tests.support.sweeps import BUDGET, run_sweep, small_plan

DEMO = "python -m benchmark run --budget steps=20\n"  # a tenth of its steps: the command is tested, and not what is learnt
BLOCKS = [
    replace(block, commands=block.commands.replace("python -m benchmark run\n", DEMO))
    for page in PAGES
    for block in blocks(page)
]


# -------------------------------------------------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder in which the demo was run, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    block = next(block for block in BLOCKS if block.commands.endswith(DEMO))
    return folder, run(block, folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An empty folder for each page."""
    return {page: tmp_path_factory.mktemp(page.stem) for page in PAGES}


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_of_commands_does_what_its_page_says(block, folders, request):
    folder = folders[block.page]
    if DEMO in block.commands and not (folder / "results").exists():
        shutil.copytree(request.getfixturevalue("demo")[0] / "results", folder / "results")  # the same command resumes
    run(block, folder)


@pytest.mark.slow
def test_the_demo_ends_with_a_table_and_a_report(demo):
    folder, printed = demo
    assert printed.rstrip().endswith("report: reports/demo")
    assert (folder / "reports/demo/index.html").is_file()
    assert len(list((folder / "results/runs").rglob("cases.csv"))) == 10


# ------------------------------------------------------------------------------------------------------------ the site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built once; warnings are errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", folder / "trees"]
    done = subprocess.run([*command, ROOT / "docs", folder / "html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.mark.slow
def test_the_site_asks_no_other_server_for_anything(site):
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|img|link|iframe|source)\b[^>]*>", page.read_text()):
            assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag), (page, tag)


@pytest.mark.slow
def test_formulas_are_in_the_page_as_mathml(site):
    assert "<math" in (site / "methods/gated_crf.html").read_text()


@pytest.mark.slow
def test_a_link_to_a_file_of_the_repository_gives_that_file(site):
    linked = re.findall(r'href="\.\./(_downloads/[^"]*/pce\.py)"', (site / "methods/pce.html").read_text())
    assert linked
    assert (site / linked[0]).read_text() == (ROOT / "methods/pce.py").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link, anchor in re.findall(r"\]\((?!http|#|/)([^)#\s]+)#?([^)\s]*)", page.read_text()):
        assert (page.parent / link).exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)", (page.parent / link).read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                link,
                anchor,
            )


# -------------------------------------------------------------------------------------------------- what is generated


def test_the_committed_text_is_what_the_code_and_the_stored_runs_give():
    differing = [str(page.relative_to(ROOT)) for page in PAGES if facts.generated(page) != page.read_text()]
    assert not differing, "run `python -m docs.facts`"


def test_every_block_has_its_place():
    """No block is unused, and each method and each data set has a page."""
    found = {named for page in PAGES for named in re.findall(r"^<!-- generated: (.*) -->$", page.read_text(), re.M)}
    expected = {f"method {name}" for name in plugins.find("method")} | {
        f"dataset {name}" for name in plugins.find("data set")
    }
    assert {name for name in found if name.startswith(("method ", "dataset "))} == expected
    assert {name.partition(" ")[0] for name in found} == set(facts.BLOCKS)


def test_links_are_relative_to_the_page(tmp_path):
    (tmp_path / "page.md").write_text("<!-- generated: method pce -->\n<!-- end -->\n")
    (link,) = re.findall(r"\| Source \| \[`methods/pce.py`\]\((.*)\)", facts.generated(tmp_path / "page.md"))
    assert (tmp_path / link).resolve() == ROOT / "methods/pce.py"


def rows_of(markdown):
    """First cells of a table's rows, without the code's backticks."""
    return [line.split("|")[1].strip().strip("`") for line in markdown.splitlines() if line.startswith("| `")]


def test_an_option_has_its_default_its_range_and_the_comment_of_its_line():
    assert "| `weight` | `0.5` | 0.05 to 5 | of the mixed label |" in facts.method("dmpls")


def test_options_of_bases_are_there_too():
    assert {"weight", "samples", "decay"} <= set(rows_of(facts.method("ustm")))


def test_the_reference_result_is_the_mean_over_patients_and_seeds_of_the_stored_cases():
    """In the smoke runs a patient has one scan, and a scan one region."""
    smoke = store.stored("smoke")["smoke"]
    runs = [record["folder"] for record in smoke.records() if record["label"] == "pce"]
    cases = smoke.cases(runs)
    line = next(line for line in facts.method("pce").splitlines() if line.startswith("| `smoke`"))
    assert f"| {cases.dice.mean():.3f} [" in line
    assert f"| {cases.hd95_max.mean():.1f} [" in line
    assert f"| {len(runs)}" in line


@pytest.fixture
def one_changed(tmp_path, monkeypatch):
    """The smoke runs, of which those of `prior` were made by code that nobody knows."""
    unpack(store.FOLDER, tmp_path)
    for path in tmp_path.glob("smoke/runs/*/*/prior/*/run.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"code": "f" * 64}))
    monkeypatch.setattr(store, "stored", lambda _: {"copy": store.ResultsFolder(tmp_path / "smoke")})
    facts.stored_cells.cache_clear()
    yield
    facts.stored_cells.cache_clear()


@pytest.mark.parametrize(("name", "stale"), [("pce", False), ("prior", True)])
def test_runs_of_code_that_is_not_known_to_give_the_same_numbers_are_called_stale(name, stale, one_changed):
    line = next(line for line in facts.method(name).splitlines() if line.startswith("| `copy`"))
    assert (", stale" in line) == stale
    assert (facts.STALE in facts.method(name)) == stale


def test_the_table_of_the_readme_ends_with_full_masks_and_says_how_many_patients_and_seeds(tmp_path, monkeypatch):
    cells = [
        ("heart scribble", "pce", 0.5, "", 1),
        ("heart scribble", "mine", 0.7, "best", 3),
        ("heart full", "pce_dice", 0.8, "best", 1),
        ("heart slices:3", "pce_dice", 0.6, "best", 1),
        ("heart scribble", "lead", 0.7, "open", 3),
        ("eye point", "mine", 0.4, "", 3),
    ]
    frame = pd.DataFrame(cells, columns=["column", "method", "mean", "place", "seeds"])
    frame = frame.assign(dataset=frame.column.str.split().str[0], region="mean", metric="dice", patients=20)
    frame = frame.assign(low=frame["mean"] - 0.1, high=frame["mean"] + 0.1, runs=3, unlearned=[2, 0, 0, 0, 0, 0])
    (tmp_path / "reference-core").mkdir()
    frame.to_csv(tmp_path / "reference-core/table.csv")
    monkeypatch.setattr(facts, "REPORTS", tmp_path)
    whole = facts.reference().splitlines()
    assert whole == [
        "| method | `heart scribble` | `eye point` |",
        "| --- | --- | --- |",
        "| `pce` | 0.50 [0.40, 0.60] | n/a |",
        "| `mine` | **0.70** [0.60, 0.80] | 0.40 [0.30, 0.50] |",
        "| `lead` | 0.70° [0.60, 0.80] | n/a |",
        "| full masks, as many hours as marks, `pce_dice` | 0.60 [0.50, 0.70] | n/a |",
        "| full masks, `pce_dice` | 0.80 [0.70, 0.90] | n/a |",
        "",
        "`heart scribble`: 20 test patients or images, 1 to 3 seeds; 2 of 3 runs of `pce` failed to learn. "
        "`eye point`: 20 test patients or images, 3 seeds; no verdict.",
    ]
    assert facts.reference("shared").splitlines() == [
        line for line in whole if not line.startswith(("| `pce`", "| full masks, as"))
    ]


def test_a_column_in_which_no_row_is_marked_has_no_verdict():
    cells = pd.DataFrame({"place": ["best", ""], "seeds": [3, 3], "patients": [20, 20], "unlearned": 0})
    assert facts._size(cells) == "20 test patients or images, 3 seeds"
    assert facts._size(cells.assign(place="", seeds=1)) == "20 test patients or images, 1 seed; no verdict"


def test_high_and_low_methods_of_the_page_are_those_of_the_stored_runs():
    """Every method of the column but `prior` is in one of the lists, and verdicts tell the lists apart as the page says."""
    page = (ROOT / "docs/howto/which-method.md").read_text()
    cells = pd.read_csv(facts.REPORTS / "reference-core/table.csv")
    cells = cells[(cells.metric == "dice") & (cells.region == "mean") & (cells.column == "acdc scribble:drawn")]
    cells = cells.set_index("method")
    high, between, low = (
        re.findall(r"`(\w+)`", re.search(rf"^- \*\*{word}\*\*: (.*)", page, re.M)[1]) for word in ("High", "Between", "Low")
    )
    assert sorted([*high, *between, *low, "prior"]) == sorted(cells.index)
    read = report_runs.read_folder(store.stored("reference-core")["reference-core"])
    pairs = summarise(read.only(["acdc scribble:drawn"])).pairs
    better = set(pairs[pairs.verdict == "better"][["method", "against"]].itertuples(index=False, name=None))
    assert {*product(high, low), *product(between, low)} <= better
    assert set(product(high, between)) - better == {("procns", "scribblevs"), ("tree_energy", "scribblevs")}
    assert set(cells.seeds) == {3}  # with more, the page has to say what is known


def test_a_method_is_in_the_first_group_that_has_it_and_every_group_is_described():
    grouped = facts.grouped()
    assert sorted(name for names in grouped.values() for name in names) == sorted(plugins.find("method"))
    assert grouped["all"] == ["procns"]
    assert "prior" in grouped["controls"]
    assert grouped.keys() == facts.GROUPS.keys()


def test_a_method_without_stored_runs_has_none_yet():
    assert facts.reference_result("nobody") == "None yet."


def test_a_data_set_says_of_what_a_region_is_the_union():
    assert "| Regions that are scored | cup, disc (= cup + rim) |" in facts.data_set("odoc")


def test_folds_of_one_family_are_one():
    assert "| Splits | `strat5/0` to `strat5/4`, `wsl4mis/0` to `wsl4mis/4` |" in facts.data_set("acdc")


def test_every_metric_has_its_definition_and_range():
    assert rows_of(facts.metrics()) == [*OVERLAPS, *SURFACE_METRICS]
    assert "| `rve` | (\\|P\\| − \\|T\\|) / \\|T\\|: relative volume error | −1 upwards | near 0 |" in facts.metrics()


def test_every_preset_has_its_row():
    named = dict.fromkeys(re.findall(r"^\| \[`([\w-]+)`", facts.presets(), re.M))
    assert list(named) == sorted(path.stem for path in PRESETS.glob("*.toml"))


def test_every_data_set_of_a_preset_in_parts_is_in_its_rows():
    rows = [line for line in facts.presets().splitlines() if "[`reference-core`]" in line]
    parts = read_preset("reference-core").parts
    assert all(f"| `{part.datasets[0]}`" in row for part, row in zip(parts, rows, strict=True))


@pytest.mark.parametrize("command", re.findall(r"^#+ `python -m benchmark([\w ]*)`", facts.commands(), re.M))
def test_every_flag_of_help_is_in_the_reference(command):
    help_text = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}).stdout
    section = facts.commands().split(f"`python -m benchmark{command}`\n")[1].partition("\n#")[0]
    shown = re.findall(r"--[a-z][\w-]*", "\n".join(re.findall(r"^\W*(--\S+)", help_text, re.M)))
    assert set(shown) - {"--help"} == set(re.findall(r"^\| `(--[\w-]+)", section, re.M))


# ------------------------------------------------------------------------------------------------ the results' format


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run that kept snapshots and tried values."""
    results = tmp_path_factory.mktemp("stored")
    options = [f"octa_phantom.{part}" for part in ("size=32", "train=2", "val=1", "test=2")]
    plan = small_plan(["pce", "entropy"], options=options, budget=[*BUDGET, "snapshots=2", "tune=1"])
    run_sweep(plan, results)
    return next((results / "runs").rglob("entropy/*"))


def section(heading):
    """Names in the first cells of the table below a heading of the page."""
    text = (ROOT / "docs/reference/results-format.md").read_text().split(f"# {heading}\n")[1].partition("\n#")[0]
    first = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return set(re.findall(r"`([^`]+)`", " ".join(first)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cases.csv", "snapshots.csv"])
def test_the_page_names_exactly_the_columns_of_scores(name, stored):
    more = {"part", "step"} if name == "snapshots.csv" else set()
    assert set((stored / name).read_text().partition("\n")[0].split(",")) == section("cases.csv") | more


@pytest.mark.slow
@pytest.mark.parametrize("part", ["run.json", "identity", "worker"])
def test_the_page_names_every_field_of_a_run(part, stored):
    run_json = json.loads((stored / "run.json").read_text())
    written = set(run_json if part == "run.json" else run_json[part])
    sometimes = {"first_try", "external", "predictions_sha256", "metrics", "sites", "spared_s"}
    assert written <= section(part)
    assert section(part) - written <= sometimes


def test_the_page_on_presets_names_every_key():
    page = (ROOT / "docs/reference/presets.md").read_text()
    for name in rows_of(facts.options_of("benchmark.plan.presets.Preset")):
        assert re.search(rf"^\| `{name}[`.]", page, re.M), name
