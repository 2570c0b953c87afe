import csv

import pandas as pd
import pytest

from benchmark import InputError
from benchmark.report.published import COLUMNS, COMPARISON_COLUMNS, compare, read
from benchmark.store import RULES

ROW = {
    "paper": "Doe, 2020", "link": "https://doi.org/10.1/1", "table": "Table 1", "dataset": "acdc", "split": "five folds",
    "family": "wsl4mis", "annotation": "scribble:drawn", "supervision": "weak", "method": "PCE", "here": "pce",
    "region": "RV", "metric": "dice", "definition": "of volumes", "mean": "0.625", "std": "0.16", "unit": "",
    "patients": "100", "seeds": "1", "steps": "60000", "size": "256", "selection": "last step", "comparable": "yes",
    "why": "same protocol", "source": "the paper",
}  # fmt: skip
CELL = {
    "column": "acdc scribble:drawn", "dataset": "acdc", "annotation": "scribble:drawn", "family": "wsl4mis", "steps": 60000,
    "size": 256, "method": "pce", "region": "RV", "metric": "dice", "unit": "", "mean": 0.7, "low": 0.6, "high": 0.8,
    "sd_seeds": float("nan"), "patients": 99, "seeds": 1, "own_budget": "", "external": False, "runs": 1, "planned": 1,
    "unlearned": 0, "stale": 0,
}  # fmt: skip
HD95 = {"metric": "hd95", "mean": "9.8", "unit": "mm"}


def regions(printed, *values, **changes):
    """Rows of RV, MYO and LV, and of their mean."""
    named = zip(("RV", "MYO", "LV", "mean"), (*values, printed), strict=True)
    return [changes | {"region": region, "mean": mean} for region, mean in named]


@pytest.fixture
def table(tmp_path):
    """Writes rows that differ from ROW so; gives what `read` makes of the folder."""

    def write(*changes, name="doe.csv", columns=COLUMNS):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(ROW | change for change in changes)
        return read(tmp_path)

    return write


def compared(table, cell=(), **change):
    """Return the one line of the comparison of a number and a cell."""
    (line,) = compare(pd.DataFrame([CELL | dict(cell)]), table(change)).to_dict("records")
    return line


# ------------------------------------------------------------------------------------------------------------ reading


def test_numbers_are_read_as_numbers_and_the_rest_as_text(table):
    (line,) = table({}).to_dict("records")
    assert line == ROW | {"mean": 0.625, "std": 0.16, "patients": 100, "seeds": 1, "steps": 60000, "size": 256}


def test_what_is_not_known_may_be_left_empty(table):
    names = ["std", "patients", "seeds", "steps", "size"]
    line = table(dict.fromkeys([*names, "link", "family", "here"], "")).iloc[0]
    assert line[names].isna().all()
    assert line.here == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": " "}, "source: String should have at least 1 character (got ' ')"),
        ({"link": "10.1/1"}, "link: String should match pattern '^(https://.*)?$' (got '10.1/1')"),
        ({"comparable": "maybe"}, "comparable: Input should be 'yes', 'partly' or 'no' (got 'maybe')"),
        ({"dataset": "acdd"}, "dataset is 'acdd'; it must be one of acdc, "),
        ({"region": "aorta"}, "region is 'aorta'; it must be one of RV, MYO, LV, mean"),
        ({"here": "pcee"}, "here is 'pcee'; it must be one of "),
        ({"metric": "dsc"}, "metric is 'dsc'; it must be one of dice, "),
        ({"metric": "hd95@slice", "unit": "px"}, "metric is 'hd95@slice'; it must be one of"),
        ({"unit": "mm"}, "unit of dice is 'mm'; it must be empty"),
        ({"metric": "rve", "unit": "mm"}, "unit of rve is 'mm'; it must be empty"),
        ({"unit": "cm"}, "unit: Input should be '', 'mm', 'px', "),
        (HD95 | {"unit": ""}, "unit of hd95 is ''; it must be mm or px"),
        ({"annotation": "lasso"}, "no annotation 'lasso'; there are scribble, full, "),
        ({"annotation": "scribble"}, "annotation is 'scribble'; say who made it"),
        ({"annotation": "point:sim"}, "annotation 'point:sim' must be written point"),
        ({"supervision": "some"}, "supervision: String should match pattern '^(weak|full|semi .*)$' (got 'some')"),
        ({"supervision": "full"}, "supervision is 'full' of scribble:drawn"),
        ({"annotation": "full"}, "supervision is 'weak' of full"),
        ({"annotation": "full", "supervision": "semi 10 %"}, "here is 'pce'; nothing here is trained on a few dense masks"),
        ({"mean": "0.6 (0.1)"}, "mean: Input should be a valid decimal (got '0.6 (0.1)')"),
        ({"mean": "nan"}, "mean: Input should be a finite number (got 'nan')"),
        ({"mean": "62.5"}, "mean is 62.5; dice is from 0 to 1 (87.2 % is 0.872)"),
        (HD95 | {"mean": "-1"}, "mean is -1; hd95 is from 0 to inf"),
        ({"std": "-0.1"}, "std: Input should be greater than or equal to 0 (got '-0.1')"),
        ({"seeds": "0"}, "seeds: Input should be greater than or equal to 1 (got '0')"),
        ({"patients": "1.5"}, "patients: Input should be a valid integer"),
    ],
)  # fmt: skip
def test_a_row_that_can_not_be_right_is_named_by_file_and_line(table, change, message):
    with pytest.raises(InputError) as error:
        table({"region": "LV"}, change)
    assert f"doe.csv, line 3: {message}" in str(error.value)


def test_a_missing_column_is_named_by_file(table):
    with pytest.raises(InputError, match="doe.csv, line 1: the columns must be paper,link,"):
        table({}, columns=COLUMNS[1:])


def test_a_comma_without_quotes_is_found(table, tmp_path):
    table({})
    path = tmp_path / "doe.csv"
    path.write_text(path.read_text().replace('"Doe, 2020"', "Doe, 2020"))
    with pytest.raises(InputError, match="doe.csv, line 2: it must have 24 fields"):
        read(tmp_path)


def test_numbers_of_several_files_are_read_together(table):
    table({}, name="a.csv")
    assert list(table({"paper": "Roe, 2021"}, name="b.csv").paper) == ["Doe, 2020", "Roe, 2021"]


def test_hours_are_not_scores(table, tmp_path):
    (tmp_path / "annotation_cost.csv").write_text("annotation,seconds\nfull,239.7\n")
    assert len(table({})) == 1


def test_an_empty_folder_has_no_numbers(tmp_path):
    assert list(read(tmp_path).columns) == list(COLUMNS)
    assert compare(pd.DataFrame([CELL]), read(tmp_path)).empty


@pytest.mark.parametrize(("selection", "verdict"), [("test", "no"), ("val", "partly"), ("weakval", "partly")])
def test_a_snapshot_that_was_chosen_is_not_the_published_last_step(table, selection, verdict):
    (line,) = compare(pd.DataFrame([CELL]), table({"comparable": "partly"}), selection).to_dict("records")
    assert line["comparable"] == verdict
    assert f"model selection here: {RULES[selection]}" in line["why"]


@pytest.mark.parametrize("change", [{}, {"mean": "0.7"}, {"here": "", "split": "another", "definition": "another"}])
def test_a_number_that_is_there_twice_is_named_with_both_places(table, change):
    with pytest.raises(InputError, match=r"doe.csv, line 3: this number is there already, in .*doe.csv, line 2$"):
        table({}, change)


@pytest.mark.parametrize("change", [{"table": "Table 2"}, {"region": "LV"}, {"method": "X"}, {"dataset": "mscmr"}, HD95])
def test_another_table_region_method_data_set_or_metric_is_another_number(table, change):
    assert len(table({}, change)) == 2


def test_a_printed_mean_must_be_that_of_its_regions(table):
    with pytest.raises(InputError, match="doe.csv, line 5: the mean is 0.703, that of its regions 0.7$"):
        table(*regions("0.703", "0.600", "0.700", "0.800"))


@pytest.mark.parametrize("mean", ["0.699", "0.701"])
def test_a_printed_mean_may_be_rounded(table, mean):
    assert len(table(*regions(mean, "0.600", "0.700", "0.800"))) == 4


def test_a_mean_of_distances_may_be_rounded_where_they_are(table):
    assert len(table(*regions("10.1", "9.0", "10.0", "11.0", **HD95))) == 4
    with pytest.raises(InputError, match="the mean is 10.2, that of its regions 10$"):
        table(*regions("10.2", "9.0", "10.0", "11.0", **HD95))


def test_the_mean_of_regions_that_are_not_all_printed_is_not_checked(table):
    assert len(table(*regions("0.9", "0.600", "0.700", "0.800")[1:])) == 3


# ---------------------------------------------------------------------------------------------------- comparing


def test_a_number_is_compared_with_the_cell_of_its_method(table):
    line = compared(table)
    assert {name: line[name] for name in ("method", "here", "published_mean", "published_std", "mean", "low", "high")} == {
        "method": "PCE", "here": "pce", "published_mean": 0.625, "published_std": 0.16, "mean": 0.7, "low": 0.6, "high": 0.8,
    }  # fmt: skip
    assert (line["patients"], line["seeds"], line["source"]) == (99, 1, "the paper")
    assert (line["comparable"], line["why"]) == ("yes", "same protocol")


@pytest.mark.parametrize(
    ("cell", "change", "verdict", "reason"),
    [
        ({"steps": 300}, {}, "no", "300 steps against 60,000"),
        ({"steps": 1}, {}, "no", "1 step against 60,000"),
        ({"size": 128}, {}, "no", "128 px against 256"),
        ({"patients": 20}, {}, "no", "20 patients against 100"),
        ({"seeds": 3}, {}, "partly", "3 seeds against 1"),
        ({"planned": 3}, {}, "partly", "1 of 3 runs"),
        ({}, {"seeds": "5"}, "partly", "1 seed against 5"),
        ({"family": "strat5"}, {}, "partly", "splits are strat5 here, published five folds"),
        ({}, {"family": ""}, "partly", "splits are wsl4mis here, published five folds"),
        ({"runs": 3, "planned": 3, "unlearned": 2}, {}, "partly", "2 of 3 runs failed to learn"),
        ({"stale": 1}, {}, "partly", "1 of 1 runs were made by other code"),
        ({"own_budget": "its paper's"}, {}, "partly", "the row is not trained like the others (its paper's)"),
        (
            *({"own_budget": "its paper's", "steps": 300}, {}, "no"),
            "the row is not trained like the others (its paper's); 300 steps against 60,000",
        ),
        ({"steps": None}, {}, "partly", "steps unknown"),
        ({}, {"size": ""}, "partly", "size unknown"),
        ({"metric": "hd95", "unit": "px per slice"}, HD95, "no", "in px per slice here, published in mm"),
    ],
)
def test_what_differs_on_our_side_makes_a_number_less_comparable(table, cell, change, verdict, reason):
    line = compared(table, cell, **change)
    assert (line["comparable"], line["why"]) == (verdict, f"{reason}; same protocol")


def test_the_worst_of_several_reasons_counts_and_all_are_said(table):
    line = compared(table, {"family": "strat5", "steps": 300, "seeds": 3}, comparable="partly")
    assert line["comparable"] == "no"
    assert line["why"] == (
        "300 steps against 60,000; splits are strat5 here, published five folds; 3 seeds against 1; same protocol"
    )


def test_a_number_that_the_file_calls_incomparable_stays_so(table):
    assert compared(table, {"seeds": 3}, comparable="no")["comparable"] == "no"


def test_patients_that_we_count_as_one_do_not_matter(table):
    assert "patients" not in compared(table, {"patients": 99})["why"]


@pytest.mark.parametrize("cell", [{"method": "dmpls"}, {"region": "LV"}, {"metric": "iou"}, {"mean": None}])
def test_a_number_without_a_cell_has_a_line_all_the_same(table, cell):
    line = compared(table, cell)
    assert pd.isna(line["mean"])
    assert (line["here"], line["comparable"], line["why"]) == ("pce", "no", "pce has no number here; same protocol")


def test_a_method_that_we_do_not_have_is_said(table):
    line = compared(table, here="")
    assert line["why"] == "no method here is known to be this one; same protocol"


def test_external_predictions_are_not_compared_with_papers(table):
    assert pd.isna(compared(table, {"external": True})["mean"])


@pytest.mark.parametrize("cell", [{"dataset": "mscmr"}, {"annotation": "scribble:sim"}, {"annotation": "full"}])
def test_numbers_on_other_data_or_annotations_are_left_out(table, cell):
    found = compare(pd.DataFrame([CELL | cell]), table({}))
    assert found.empty
    assert list(found.columns) == list(COMPARISON_COLUMNS)


def test_full_masks_are_compared_with_full_masks_and_semi_supervised_numbers_with_nothing(table):
    full = {"annotation": "full", "method": "FullSup"}
    numbers = table(full | {"supervision": "full"}, full | {"supervision": "semi 10 %", "here": ""})
    found = compare(pd.DataFrame([CELL | {"annotation": "full"}]), numbers)
    assert list(found["mean"]) == [0.7]


def test_each_of_the_rows_that_differ_in_options_is_compared(table):
    cells = [CELL | {"method": "pce (a=1)"}, CELL | {"method": "pce (a=2)", "mean": 0.6}]
    assert compare(pd.DataFrame(cells), table({}))[["here", "mean"]].values.tolist() == [
        ["pce (a=1)", 0.7],
        ["pce (a=2)", 0.6],
    ]


def test_every_column_of_a_report_has_its_own_lines(table):
    cells = [CELL, CELL | {"column": "other", "steps": 300}]
    found = compare(pd.DataFrame(cells), table({}))
    assert found[["column", "comparable"]].values.tolist() == [["acdc scribble:drawn", "yes"], ["other", "no"]]
