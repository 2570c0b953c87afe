"""What README claims is so; tests/test_docs.py runs its commands, and follows its links."""

import re

import pandas as pd
import pytest

from benchmark import plugins
from docs import facts
from tests.support.pages import README, ROOT, SET_UP

TEXT = README.read_text()
METHODS, DATA_SETS = plugins.find("method"), plugins.find("data set")


def cells(name):
    """The cells of the only row of that name."""
    (row,) = re.findall(rf"^\| \[`{name}(?::PATH)?`\].*", TEXT, re.M)
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_it_is_short():
    assert len(TEXT.splitlines()) < 200


def test_there_are_two_commands_from_nothing_each_of_one_line():
    lines = [line for line in TEXT.splitlines() if line.startswith(SET_UP)]
    assert len(lines) == 2
    assert lines[0].endswith("-m benchmark run")
    assert "pytest" in lines[1]


def test_ci_finds_the_test_command_with_all_that_the_tests_need():
    after = TEXT.partition("<!-- tests -->")[2]
    assert "'.[test,ray,docs]'" in next(line for line in after.splitlines() if line.startswith(SET_UP))


def test_the_tables_name_all_methods_and_data_sets_and_no_others():
    named = re.findall(r"^\| \[`(\w+)(?::PATH)?`\]", TEXT, re.M)
    assert sorted(named) == sorted([*METHODS, *DATA_SETS])


@pytest.mark.parametrize("name", METHODS)
def test_a_method_s_row_says_what_its_code_says(name):
    own, _, _, learns_from, _, page = cells(name)
    assert f"(methods/{name}.py)" in own
    assert learns_from == ", ".join(plugins.describe(METHODS[name])["annotations"])
    assert f"(docs/methods/{name}.md)" in page


@pytest.mark.parametrize("name", METHODS)
def test_a_method_s_paper_and_year_are_those_of_its_code_and_its_page(name):
    _, paper, year, *_ = cells(name)
    code, page = (ROOT / path for path in (f"methods/{name}.py", f"docs/methods/{name}.md"))
    if not year:
        assert paper == "a control of ours"
        assert not re.search(r"\(.*\b(19|20)\d\d\)", plugins.describe(METHODS[name])["paper"])
        return
    assert year in page.read_text()
    for part in re.split(r",| & | et al\.", paper):
        assert part.strip() in code.read_text() + page.read_text(), part


def test_a_method_stands_below_its_group():
    group, found = "", {}
    for line in TEXT.splitlines():
        group = heading[1] if (heading := re.match(r"\| \*\*(\w+)\*\*", line)) else group
        if (row := re.match(r"\| \[`(\w+)`\]\(methods", line)) and group:
            found.setdefault(group, []).append(row[1])
    assert found == {name: plugins.groups()[name] for name in ("losses", "teachers", "controls")}


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_data_set_s_row_says_what_its_code_says(name):
    own, modality, classes, drawn, splits, pixels, page = cells(name)
    about, cls = plugins.describe(DATA_SETS[name]), DATA_SETS[name].load()
    assert f"(datasets/{DATA_SETS[name].file().name})" in own
    assert modality == about["modality"]
    assert pixels == ("yes" if about["redistribute"] else "no")
    if not about["by_path"]:
        assert classes == ", ".join(about["classes"][1:])
        assert drawn == facts.codes(about["drawn"])
        assert splits == facts.families(facts.splits(cls))
    assert f"{{dataset}} {name}\n" in (ROOT / re.search(r"\((.*)\)", page)[1]).read_text()


def test_the_headline_table_is_that_of_the_reference_report():
    cells = pd.read_csv(ROOT / "reports/reference/reference-core/table.csv")
    cells = cells[(cells.metric == "dice") & (cells.region == "mean")]
    heading, _, *lines = TEXT.partition("<!-- reference -->\n")[2].partition("\n\n")[0].splitlines()
    columns = [column.strip(" `") for column in heading.strip("|").split("|")[1:]]
    assert columns == [column for column in dict.fromkeys(cells.column) if not column.endswith(" full")]
    assert len(lines) == cells.method[cells.column.isin(columns)].nunique()
    for line in lines:
        method, *shown = (cell.strip(" `") for cell in line.strip("|").split("|"))
        own = cells[cells.method == method].set_index("column")
        for column, text in zip(columns, shown, strict=True):
            if column not in own.index:  # not run yet
                assert text == "n/a"
                continue
            mean, low, high, place = own.loc[column, ["mean", "low", "high", "place"]]
            star = "°" if place == "tied" else ""
            number = f"**{mean:.2f}**" if place == "best" else f"{mean:.2f}{star}"
            assert text == f"{number} [{low:.2f}, {high:.2f}]", (method, column)
