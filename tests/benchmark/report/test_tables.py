"""Tables as files: those that a person has read, and LaTeX that a real LaTeX takes."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import report
from benchmark.plan import plugins
from benchmark.report import latex, published, runs, tables
from benchmark.report.ablations import COLUMNS as ABLATION_COLUMNS
from benchmark.report.ablations import ablations
from benchmark.report.costs import costs, notes
from benchmark.report.summary import MEAN, TEST_COLUMNS, Summary, summarise
from benchmark.report.tables import Table
from benchmark.score.metrics import BUILT_IN
from tests.benchmark.report.test_rows import HEADER, record
from tests.support import golden_tables

HOSTILE = r"a_b%c$d#e&f{g}h\i~j^k<l>m|n µé²–α🙂 --x [y]"
PAGE = r"""\documentclass[a4paper]{article}
\usepackage[margin=2cm]{geometry}\usepackage{array,booktabs,graphicx}
\let\scaled\resizebox\renewcommand{\resizebox}[3]{\typeout{scaled: \the\wd0, \the\linewidth}\scaled{#1}{#2}{#3}}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """The files of today, by name."""
    folder = tmp_path_factory.mktemp("golden")
    return {path.name: path for path in golden_tables.write(folder)}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    return runs.read(golden_tables.results(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def summary(read):
    return summarise(read)


def test_tables_are_those_that_a_person_has_read(golden):
    """Texts by the byte, numbers to nine digits; see golden_tables.py for how to write them anew."""
    kept = {path.name: path for path in golden_tables.GOLDEN.iterdir()}
    assert set(golden) == set(kept)
    for name, path in kept.items():
        if path.suffix == ".csv":
            pd.testing.assert_frame_equal(pd.read_csv(golden[name]), pd.read_csv(path), rtol=1e-9)
        else:
            assert golden[name].read_bytes() == path.read_bytes(), name


def mean(lists):
    """Of lists of numbers, by a plain loop: first of each, then of those."""
    return sum(sum(numbers) / len(numbers) for numbers in lists) / len(lists)


def test_golden_means_are_those_of_a_slow_loop():
    """Over regions, patients and seeds; the first patient has no right ventricle, the fifth one was missed once."""
    table = pd.read_csv(golden_tables.GOLDEN / "table.csv")
    flat = golden_tables.DICE["view-flat"]
    patients = [[flat[0]], *([dice, dice - 0.1] for dice in flat[1:])]
    better = [[x + 0.01 for x in own] for own in patients]
    better[4][1] = 0  # missed in seed 1, which is 0.01 better
    wanted = {"dice": (mean(patients) + mean(better)) / 3}
    wanted["dice"] += mean([[x - 0.01 for x in own] for own in patients]) / 3
    distances = [[40 * (1 - x) for x in own] for own in patients]
    wanted["hd95_max"] = mean(distances) + (120 - 40 * (1 - (flat[4] + 0.01 - 0.1))) / 2 / 8 / 3
    first = table[(table.column == "hearts scribble:sim") & (table.method == "view-flat") & (table.region == MEAN)]
    for metric, value in wanted.items():
        assert first[first.metric == metric]["mean"].item() == pytest.approx(value, abs=1e-9), metric
    assert first[first.metric == "hd95_max"].missed.item() == 1


# ------------------------------------------------------------------------------------------------- ablations and costs


def test_an_ablation_names_the_options_that_differ_and_their_base_first(read, summary):
    frame = ablations(read, summary)
    eyes = frame[(frame.column == "eyes scribble:sim") & (frame.metric == "dice")]
    assert eyes.method.tolist() == ["view", "view-flat"]
    assert eyes.changed.tolist() == ["", "round=false (true), another budget"]
    assert eyes.difference.iloc[1] == pytest.approx(
        -0.00875
    )  # of eight patients: -0.01, 0, -0.01, 0.01, -0.04, -0.01, 0 and -0.01
    assert eyes.verdict.iloc[1] == "not told apart"


def test_where_the_base_failed_or_a_run_is_missing_there_is_no_difference(read, summary):
    frame = ablations(read, summary).set_index("column")
    assert frame.loc[["hearts point", "eyes point"]].difference.isna().all()
    shown = tables.ablation_table(frame.reset_index())
    assert set(shown.loc["hearts point"].query("method == 'view'")["mean"]) == {"1 of 3 failed"}


def results_of(folder, *labels, **more):
    """Runs of three patients, one for each label."""
    for label, number in zip(labels, range(len(labels)), strict=True):
        place = folder / "runs/d/a" / f"m{number}" / "r"
        place.mkdir(parents=True)
        (place / "run.json").write_text(json.dumps(record(label, **more)))
        lines = [f"s{n},p{n},faz,px,{0.5 + 0.1 * n},{9 - n},1.0,,,0,0,0" for n in range(3)]
        (place / "cases.csv").write_text(HEADER + "\n".join(lines) + "\n")
    return runs.read(folder)


def test_rows_of_a_plugin_without_one_of_its_name_make_no_ablation(tmp_path):
    found = results_of(tmp_path, "with", "without", method="somebody_elses")
    assert ablations(found, summarise(found)).empty


def test_costs_are_means_of_seconds_and_the_largest_sizes(read):
    line = costs(read).set_index(["column", "method"]).loc["hearts point", "pce_dice"]
    assert (line.runs, line.parameters, line.memory_mib, line.device_memory_mib) == (3, 1_813_474, 1_202, 2_048)
    assert (line.fit_s, line.fit_s_sd) == (100, 10)  # 90, 100 and 110
    assert line.device == "NVIDIA H100 80GB HBM3, cpu"
    assert line.labelled_pixels == 44_400


def test_rows_from_elsewhere_and_runs_that_do_not_say_cost_nothing(read, tmp_path):
    assert "outside" not in set(costs(read).method)
    assert costs(results_of(tmp_path, "pce")).empty


def test_seeds_whose_rows_ran_on_several_kinds_of_device_are_named(read, summary):
    own = read.runs[(read.runs.column == "eyes point") & read.runs.device.notna()]
    last = own.seed.max()
    place = own.index[own.seed == last][0]
    other = read.runs.assign(device=read.runs.device.mask(read.runs.index == place, "another"))
    said = [line for line in report.notes(replace(read, runs=other), summary) if "kinds of device" in line]
    assert len(said) == 1
    assert said[0].startswith(f"eyes point: runs of seed {last} were made on several kinds of device.")
    everywhere = read.runs.assign(device="one")
    assert not any("kinds of device" in line for line in report.notes(replace(read, runs=everywhere), summary))


def test_times_of_several_devices_and_of_trials_are_called_so(read):
    said = " ".join(notes(read, costs(read)))
    assert "hearts point: runs on NVIDIA H100 80GB HBM3 and cpu; their times can't be compared." in said
    assert "eyes point: runs on" not in said
    assert "trials" not in said
    read.about["eyes point"]["budget"]["tune"] = 4
    try:
        assert "eyes point: training seconds are of all trials" in " ".join(notes(read, costs(read)))
    finally:
        del read.about["eyes point"]["budget"]["tune"]


@pytest.mark.parametrize("metric", BUILT_IN)
def test_every_metric_has_a_heading_and_distances_their_unit(summary, metric):
    headings = dict(reversed(tables.main_table(summary.cells, [metric]).columns))
    name = BUILT_IN[metric].title
    joined = f"{name.rstrip(')')}, " if name.endswith(")") else f"{name} ("
    pixels, millimetres = (f"{joined}px)", f"{joined}mm)") if BUILT_IN[metric].distance else (name, name)
    assert headings["eyes point"] == pixels
    assert headings["hearts point"] == millimetres


def test_hd95_of_found_regions_is_shown_where_a_region_was_missed(summary):
    headings = tables.main_table(summary.cells, ["hd95_max"]).columns.tolist()
    assert [column for column, heading in headings if heading.startswith("HD95 of found")] == ["hearts scribble:sim"]


def test_false_regions_are_shown_where_a_region_is_absent_from_a_scan(summary):
    headings = tables.main_table(summary.cells, ["dice"]).columns.tolist()
    assert [column for column, heading in headings if heading == "false regions"] == ["hearts scribble:sim", "hearts point"]


def test_a_name_neither_ends_a_cell_of_markdown_nor_makes_a_tag():
    text = tables.markdown(pd.DataFrame({"x|y": ["a|b"]}, index=pd.Index(["<b>\nc"], name="method")))
    assert text.splitlines()[0] == r"| method   | x\|y   |"
    assert text.splitlines()[2] == r"| &lt;b> c | a\|b   |"


def test_a_metric_that_there_is_not_is_an_error():
    with pytest.raises(ValueError, match=r"no metric dicee \(the nearest is dice\); there are dice, false_regions"):
        tables.main_table(normal_cells(), ["dicee"])


# --------------------------------------------------------------------------------------------------------------- LaTeX


def check_tabulars(text):
    """Braces balance, nothing special is left as it is, and every line of a tabular has as many cells as it has columns."""
    plain = re.sub(r"\\[\\{}]", "", text)
    assert plain.count("{") == plain.count("}")
    body = text[text.index("\n") :]
    for sign in "%#~":
        assert not re.search(rf"(?<!\\){sign}", body), sign
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\begin{") >= 1
    for formats, inside in re.findall(r"\\begin\{tabular\}(.*)\n((?:.*\n)*?)\\end\{tabular\}", text):
        columns = len(re.sub(r">\{[^}]*\}p\{[^}]*\}", "p", formats[1:-1]))
        for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
            assert inside.count(rule) == 1
        for line in inside.splitlines():
            if line.endswith(r"\\"):
                spanned = sum(int(count) - 1 for count in re.findall(r"\\multicolumn\{(\d+)\}", line))
                assert len(re.findall(r"(?<!\\)&", line)) + spanned == columns - 1, line


def normal_names():
    return list(plugins.find("method"))[:20]


def normal_cells():
    """Six columns, twenty methods, and what a finished sweep has in a cell."""
    columns = [(data, label) for data in ("acdc", "mscmr", "chaos") for label in ("scribble:drawn", "scribble:sim")]
    rng = np.random.default_rng(0)
    lines = []
    for dataset, annotation in columns:
        for method in normal_names():
            for metric in ("dice", "hd95_max", "hd95_found"):
                value = rng.uniform(0.5, 0.9) if metric == "dice" else rng.uniform(5, 40)
                spread = value / 30
                lines.append(
                    {"column": f"{dataset} {annotation}", "dataset": dataset, "annotation": annotation, "family": "strat5",
                     "steps": 60000, "size": 256, "method": method, "region": MEAN, "metric": metric,
                     "unit": "" if metric == "dice" else "mm", "mean": value, "low": value - spread, "high": value + spread,
                     "median": value,
                     "sd_seeds": spread, "patients": 100, "seeds": 3, "place": "open", "over": "patients",
                     "per_seed": "0.710/0.720/0.690",
                     "unlearned": 0, "missed": 12, "ghosts": 0,
                     "cases": 60, "absent": 0, "role": "", "runs": 15, "planned": 15, "failed": 0, "stale": 0,
                     "own_budget": "", "external": False, "tested": 9, "testable": 9}
                )  # fmt: skip
    return pd.DataFrame(lines)


def normal_tables():
    """The tables of a large sweep."""
    cells = normal_cells()
    tested = cells[cells.metric != "hd95_found"]
    differing = {
        "difference": tested["mean"] / -9,
        "low": tested.low / -9,
        "high": tested.high / -9,
        "verdict": "better",
        "over": "patients",
        "in_these_runs": "better",
        "per_seed": "+0.100/+0.200/+0.300",
        "superiority": 0.9,
    }
    more = {"p": 1e-5, "p_holm": 3.21e-5, "least_p": 1e-9, "median": -0.1, "rank_biserial": -0.98, "tests": 20}
    counts = {"wins": 100, "ties": 0, "losses": 12, "reference": "pce_dice"}
    columns = cells.column.unique()
    alike = pd.DataFrame({"column": columns, "other": columns[::-1], "tau": -1.0, "low": -1.0, "high": 1.0, "methods": 20})
    summary = Summary(
        cells, tested.assign(**differing, **more, **counts)[TEST_COLUMNS], pd.DataFrame(), alike, *[pd.DataFrame()] * 2
    )
    varied = tested.assign(plugin="procns", changed="prsa_weight=0.0 (0.1), soft_labels=false (true)", place="")
    named = differing | {"seeds": differing["per_seed"]}
    varied = varied.assign(**{name: named[name.removeprefix("difference_")] for name in ABLATION_COLUMNS[2:]})
    spent = cells[cells.metric == "dice"].assign(
        extra="a teacher", parameters=1_813_474, fit_s=12_345.6, fit_s_sd=678.9, predict_s=123.4,
        memory_mib=12_345, device_memory_mib=23_456,
        device="NVIDIA H100 80GB HBM3, NVIDIA H200", labelled_pixels=123_456_789,
    )  # fmt: skip
    return [
        Table("table", "A sweep", tables.main_table(cells), ["95 % of_it"]),
        Table("tests", "Differences", tables.test_table(summary), []),
        Table("agreement", "Agreement", tables.agreement_table(summary), []),
        Table("ablations", "Parts", tables.ablation_table(varied), []),
        Table("costs", "Costs", tables.cost_table(spent), []),
        Table("published", "Published", tables.published_table(published.compare(cells, published.read())), []),
    ]


def hostile_tables(folder):
    """The tables of a report in which every name is the worst."""
    found = results_of(folder / "results", "pce", HOSTILE, "[start", "*star", method="view")
    (folder / "results/plan.json").write_text(json.dumps({"name": "h", "title": HOSTILE + "\nline", "runs": []}))
    assert HOSTILE in set(found.runs.row)
    written = report.write(folder / "results", folder / "reports", report.ReportOptions(formats=["tex"]))
    return [path.read_text() for path in sorted(written.glob("*.tex"))]


def typeset(texts, folder):
    """Every text in one document; the log of pdflatex, which must not fail."""
    for number, text in enumerate(texts):
        (folder / f"t{number}.tex").write_text(text)
    body = "\n".join(rf"\input{{t{number}.tex}}\clearpage" for number in range(len(texts)))
    (folder / "page.tex").write_text(PAGE % body)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    log = (folder / "page.log").read_text(errors="replace")
    assert done.returncode == 0, log[-3000:]
    return log


needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex on PATH")


@needs_latex
def test_latex_takes_every_table_and_none_is_wider_or_longer_than_the_page_or_too_small_to_read(tmp_path):
    made = [tables.latex(table) for table in normal_tables()]
    made += [path.read_text() for path in sorted(golden_tables.GOLDEN.glob("*.tex"))]
    log = typeset(made, tmp_path)
    assert "Overfull" not in log
    scales = [float(line) / float(table) for table, line in re.findall(r"scaled: ([\d.]+)pt, ([\d.]+)pt", log)]
    assert 5 / 7 < min(scales) < 1  # intervals have 7 pt, before that


@needs_latex
def test_latex_takes_the_worst_names(tmp_path):
    typeset(hostile_tables(tmp_path), tmp_path)


@needs_latex
def test_latex_takes_every_sign(tmp_path):
    typeset([latex.escape(" ".join(map(chr, range(0x2300))))], tmp_path)


@pytest.mark.parametrize("path", sorted(golden_tables.GOLDEN.glob("*.tex")), ids=lambda path: path.stem)
def test_golden_latex_is_well_formed(path):
    (check_notes if path.stem == "notes" else check_tabulars)(path.read_text())


def check_notes(text):
    """Every paragraph is a sentence or some, without marks of Markdown; braces balance."""
    assert text.count("{") == text.count("}")
    assert not set(text) & set("`*")
    lines = [line for line in text.splitlines() if line and not line.startswith(r"\paragraph{")]
    assert all(line.startswith(r"\par ") and line.endswith(".") for line in lines), lines


def test_latex_of_a_large_sweep_and_of_the_worst_names_is_well_formed(tmp_path):
    for text in [*map(tables.latex, normal_tables()), *hostile_tables(tmp_path)]:
        if not text.startswith(r"\paragraph"):
            check_tabulars(text)


@given(st.text())
def test_whatever_a_name_is_its_latex_is_printable_and_balanced(text):
    made = latex.escape(text)
    assert made.isprintable()
    plain = re.sub(r"\\[\\{}]", "", made)
    depth = [plain[:end].count("{") - plain[:end].count("}") for end in range(len(plain) + 1)]
    assert min(depth) == depth[-1] == 0
    assert not re.search(r"(?<!\\)[%#&]", made)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("a_b 5 % {x}", r"a\_b 5 \% \{x\}"),
        ("**0.9 ± 0.1**°", r"\textbf{0.9 $\pm$ 0.1}$^\circ$"),
        ("`prior` apart", r"\texttt{prior} apart"),
        ("--rerun", r"-{}-rerun"),
        ("µé²–α", r"$\mu$é$^2$–$\alpha$"),
        ("č e\u0301 ą 🙂", r"č é \texttt{U+0105} \texttt{U+1F642}"),
        ("two\nlines", "two lines"),
    ],
)
def test_latex_typesets_what_a_text_means(text, made):
    assert latex.escape(text) == made


def test_a_line_never_begins_with_what_the_line_before_would_take_for_its_option():
    cells = pd.DataFrame({"Overlap [%]": ["1", "2"]}, index=pd.Index(["[a]", "*b"], name="method"))
    text = latex.typeset(cells, "t", [])
    assert "\n{}[a] & 1 " in text
    assert "\n{}*b & 2 " in text
    assert r"\\ {}[\%]" in text


def test_columns_of_one_data_set_stay_together_and_every_part_names_the_methods():
    cells = normal_cells()
    text = tables.latex(Table("table", "A sweep", tables.main_table(cells[cells.metric != "hd95_found"]), []))
    parts = re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, re.DOTALL)
    assert len(parts) == 6
    for part in parts:
        assert part.count("multicolumn{2}") == 1
        assert part.count(normal_names()[-1].replace("_", r"\_")) == 1


def test_columns_of_one_data_set_that_are_too_wide_go_on_in_another_tabular():
    heads = pd.MultiIndex.from_product([["acdc"], [f"metric{number}" for number in range(9)]])
    text = latex.typeset(pd.DataFrame("0.810 ± 0.010 [0.775, 0.849]", pd.Index(["a"], name="method"), heads), "t", [])
    check_tabulars(text)
    assert re.findall(r"multicolumn\{(\d)\}", text) == ["4", "4"]
    assert text.count("metric8") == 1


def test_a_long_table_goes_on_in_another_tabular_under_the_same_heading():
    cells = pd.DataFrame({"x": ["1"] * 100, "data": ["a"] * 90 + ["b"] * 10}).set_index("data")
    text = latex.typeset(cells, "t", [])
    check_tabulars(text)
    assert [len(re.findall("^1 ", part, re.MULTILINE)) for part in text.split("bigskip")] == [44, 45, 11]
    assert text.count(r"\textit{a}") == 3
    assert text.count(r"\textit{b}") == 1


def test_what_a_federated_method_sends_is_in_the_table_of_costs_and_other_facts_are_not(tmp_path):
    stated = [
        ("pce", {"averagings": 5}),
        ("fedavg", {"rounds": 12, "bytes_sent": 2**20}),
        ("fedavg", {"rounds": 12, "bytes_sent": 2**21}),
    ]
    for seed, (label, facts) in enumerate(stated):
        place = tmp_path / "runs/d/a" / f"m{seed}" / "r"
        place.mkdir(parents=True)
        worker = {"fit_s": 9.0, "device": "cpu", "facts": facts}
        (place / "run.json").write_text(json.dumps(record(label, seed) | {"worker": worker}))
        (place / "cases.csv").write_text(HEADER + "s0,p0,faz,px,0.5,9,1.0,,,0,0,0\n")
        shown = tables.cost_table(costs(runs.read(tmp_path))).set_index("method")
        assert ("rounds" in shown) == ("sent (MiB)" in shown) == (seed > 0)
    assert shown.loc["fedavg", ["rounds", "sent (MiB)"]].tolist() == ["12", "1.5"]
    assert shown.loc["pce", ["rounds", "sent (MiB)"]].tolist() == ["", ""]
    assert "averagings" not in shown
