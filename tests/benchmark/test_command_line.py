"""The command line: what a person types and what a person got wrong."""

import errno
import json
import os
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from benchmark.__main__ import main
from benchmark.datasets.base import SPLITS
from benchmark.plan import plugins
from benchmark.plan.presets import PHANTOMS
from benchmark.train import local
from tests.support.sweeps import BUDGET, TINY, InProcess, write_method
from tests.tiny import acdc as tiny
from tests.tiny import pictures, volumes

PROCESSES = local.Local
TINY_FLAGS = ["--datasets", "octa_phantom", "--budget", ",".join(BUDGET), *(p for o in TINY for p in ("--set", o))]


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run a command in this process, in an empty folder; gives status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "Local", InProcess)
    monkeypatch.delenv("BENCHMARK_DATA", raising=False)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return call


@pytest.mark.parametrize("words", [["--help"], ["list"], ["run", "--help"], ["--version"]])
def test_help_and_list_import_nothing_heavy(words):
    code = (
        "import sys; sys.argv = ['benchmark', *sys.argv[1:]]\nfrom benchmark.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'albumentations', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "\\[" not in done.stdout


def test_list_shows_every_method_data_set_group_and_preset(run):
    status, shown, _ = run("list")
    assert status == 0
    for word in ("procns", "gated_crf", "acdc", "texture_phantom", "baselines:", "demo", "Obukhov", "scribble:sim"):
        assert word in shown


def test_a_dry_run_prints_the_jobs_and_writes_nothing(run, tmp_path):
    status, shown, _ = run("run", "--methods", "pce,prior", *TINY_FLAGS, "--dry-run")
    assert status == 0
    assert shown.count("planned") == 2
    assert "octa_phantom/scribble-sim/prior/default-seed0-" in shown
    assert "steps=2" in shown
    assert "core-hours" in shown
    assert "stored reference, scaled from" in shown
    assert shown.splitlines()[-1].startswith("about 0.0")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_refuses_a_place_where_no_report_can_be_written(run, tmp_path):
    (tmp_path / "mine/report").mkdir(parents=True)
    (tmp_path / "mine/report/notes.txt").touch()
    status, _, errors = run("run", "--methods", "prior", *TINY_FLAGS, "--reports", "mine", "--dry-run")
    assert status != 0
    assert "mine/report is no report, as it holds notes.txt; give another folder for reports" in errors


def test_what_no_part_of_a_preset_has_is_named_with_what_there_is(run):
    _, _, errors = run("run", "--preset", "reference-core", "--datasets", "odoc", "--annotations", "scribbles", "--dry-run")
    said = " ".join(errors.split())
    assert "no part of the preset reference-core has the annotations scribbles; there are scribble:drawn, block, " in said
    flags = ["--datasets", "odoc", "--annotations", "point", "--seeds", "1", "--dry-run"]
    _, _, errors = run("run", "--preset", "reference-core", *flags)
    assert "no part of the preset reference-core has odoc with point; its parts have" in " ".join(errors.split())


def test_a_run_ends_with_a_table_and_the_path_of_a_report(run, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "Local", PROCESSES)
    status, shown, _ = run("run", "--methods", "prior", *TINY_FLAGS)
    assert status == 0
    lines = shown.splitlines()
    assert [line.split()[0] for line in lines if line.split()[0] in ("methods", "data", "splits", "runs", "results")]
    assert lines[-4].split() == ["octa_phantom", "scribble:sim"]
    assert re.fullmatch(r"prior +0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] *", lines[-3])
    assert lines[-2].startswith("Dice with 95% intervals over patients, given these runs")
    assert lines[-1] == "report: reports/report"
    assert {path.name for path in (tmp_path / "reports/report").iterdir()} >= {"index.html", "table.md", "table.tex"}
    status, shown, _ = run("report")
    assert (status, shown) == (0, "report: reports/report\n")


def test_a_repeated_flag_adds_to_the_first(run):
    budgets = ["--budget", "steps=4,size=64", "--budget", "batch=2"]
    flags = ["--datasets", "octa_phantom", *budgets, "--seeds", "0", "--seeds", "3", "--dry-run"]
    status, shown, _ = run("run", "--methods", "prior,pce", "--methods", "pce_dice", *flags)
    assert status == 0
    assert "steps=4 batch=2 size=64" in shown
    rows = [line.split()[0] for line in shown.splitlines() if line.startswith("octa_phantom/")]
    assert [(row.split("/")[2], row.split("-seed")[1][0]) for row in rows] == [
        (method, seed) for seed in "03" for method in ("prior", "pce", "pce_dice")
    ]


def test_the_end_shows_what_this_command_ran_best_first_and_full_masks_below(run):
    quietly = run("run", "--methods", "prior", *TINY_FLAGS, "--annotations", "block", "--quiet")
    assert quietly[:2] == (0, "report: reports/report\n")
    _, shown, _ = run("run", "--methods", "pce,prior", *TINY_FLAGS, "--annotations", "point,full")
    rows = [line.split() for line in shown.splitlines()[-6:-3]]
    assert rows[0] == ["octa_phantom", "point"]  # and no block, which an earlier command ran
    assert float(rows[1][1].strip("*°≈")) >= float(rows[2][1].strip("*°≈"))
    assert {row[0] for row in rows[1:]} == {"pce", "prior"}
    assert shown.splitlines()[-3].startswith("full masks")


def test_a_report_of_a_part_in_another_metric_and_format(run, tmp_path):
    assert run("run", "--methods", "prior,pce", *TINY_FLAGS)[0] == 0
    status, *_ = run("report", "--only", "prior", "--metric", "nsd,assd", "--format", "md,html", "--reports", "paper")
    assert status == 0
    written = {path.name for path in (tmp_path / "paper/report").iterdir()}
    assert {"table.md", "index.html"} <= written
    assert {name.rpartition(".")[2] for name in written} == {"md", "html"}
    table = (tmp_path / "paper/report/table.md").read_text()
    assert "NSD" in table
    assert "| pce" not in table
    page = (tmp_path / "paper/report/index.html").read_text()
    assert "data:image/jpeg;base64" in page  # pictures of the phantom, which may be shown


def test_my_method_is_compared_with_runs_in_another_folder(run, tmp_path):
    assert run("run", "--methods", "prior", *TINY_FLAGS, "--results", "earlier")[0] == 0
    (tmp_path / "plugins").mkdir()
    mine = write_method(tmp_path / "plugins", "mine", "pass", "return np.zeros((1, 32, 32), np.uint8)")
    status, shown, _ = run("run", "--methods", mine, *TINY_FLAGS, "--against", "earlier", "--results", "now")
    assert status == 0
    assert "; not trained here: prior (of " in shown
    assert {path.parts[-3] for path in (tmp_path / "now/runs").rglob("run.json")} == {"mine"}
    table = (tmp_path / "reports/report/table.md").read_text()
    assert "| mine" in table
    assert "| prior" in table


def test_stored_runs_are_scored_again(run, tmp_path):
    assert run("run", "--methods", "prior", *TINY_FLAGS)[0] == 0
    status, shown, _ = run("score")
    assert (status, shown) == (0, "1 runs scored\n")
    assert run("score", "--results", tmp_path / "nowhere")[0] == 2


def test_a_failed_run_is_status_1_and_stands_in_the_report(run, tmp_path):
    (tmp_path / "plugins").mkdir()
    method = write_method(tmp_path / "plugins", "unlucky", "raise RuntimeError('no luck')")
    status, shown, _ = run("run", "--methods", f"{method},prior", *TINY_FLAGS)
    assert status == 1
    assert "1 of 1 failed" in shown
    assert "no luck" in (tmp_path / "reports/report/index.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--methods", "nope", *TINY_FLAGS], "no method 'nope'"),
        (["run", "--methods", "pce", "--datasets", "nope"], "no data set 'nope'"),
        (["run", "--methods", "pce", "--annotations", "nope", *TINY_FLAGS], "no annotation 'nope'"),
        (["run", "--methods", "pce", "--splits", "nope", *TINY_FLAGS], "no split nope"),
        (["run", "--preset", "nope"], "no preset 'nope'"),
        (["run", "--methods", "pce", "--set", "pce.x=1", *TINY_FLAGS], "PartialCrossEntropy has no 'x'"),
        (["run", "--methods", "gated_crf", "--set", "gated_crf.weight=0.1,gated_crf.radius=3", *TINY_FLAGS],
         "--set gated_crf.weight=0.1,gated_crf.radius=3 states several options; give --set once for each"),
        (["run", "--methods", "pce", "--seeds", "a", *TINY_FLAGS], "--seeds is 'a'; it must be whole numbers"),
        (["run", "--methods", "", *TINY_FLAGS], "--methods is empty; name something, or leave it out"),
        (["run", "--methods", "pce", "--seeds", ",", *TINY_FLAGS], "--seeds is ','; it must be whole numbers"),
        (["run", "--methods", "pce", "--reports", "/dev/null", *TINY_FLAGS], "/dev/null is a file; a report needs a folder"),
        (["run", "--methods", "pce", "--rerun", "some", *TINY_FLAGS], "--rerun is 'some'; it must be stale or all"),
        (["run", "--methods", "pce", "--device", "cuda:77", *TINY_FLAGS], "no device 'cuda:77'"),
        (["run", "--methods", "pce", "--results", "/dev/null/x", *TINY_FLAGS], "results folder /dev/null/x can't be"),
        (["run", "--methods", "pce", "--datasets", "acdc", "--data", "nowhere"], "there is no folder nowhere/acdc; get"),
        (["run", "--methods", "pce", "--against", "nobody", *TINY_FLAGS], "there are no stored runs 'nobody'"),
        (["report"], "results holds no runs"),
        (["score", "--predictions", "x", "--datasets", "acdc", "--metrics", "y.py"], "--metrics scores stored runs"),
        (["new", "pce.py"], "there is a method 'pce'; choose another name"),
        (["report", "--format", "doc"], "--format is 'doc'; it must be md, tex"),
        (["check", "nope"], "there is no plug-in 'nope'"),
        (["data", "splits", "nope"], "no data set 'nope'"),
        (["data", "check", "acdc"], "there is no folder data/acdc; get acdc from"),
        (["run", "--nonsense"], "No such option"),
        (["nonsense"], "No such command"),
    ],
)  # fmt: skip
def test_a_mistake_ends_with_a_sentence_and_status_2(run, words, message):
    status, shown, errors = run(*words)
    assert status == 2
    assert message in errors
    assert "Traceback" not in errors + shown
    if "No such" not in message:
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1


def broken(label):
    """A way to spoil the first volume."""
    first = "patient001_frame01"
    shape = (2, 32, 28)
    return {
        "an empty folder": lambda data: [path.unlink() for path in data.rglob("*.h5")],
        "a missing patient": lambda data: [path.unlink() for path in data.rglob("patient050*.h5")],
        "a truncated file": lambda data: os.truncate(next(data.rglob(f"{first}.h5")), 700),
        "unknown labels": lambda data: tiny.change(data, first, label=np.full(shape, 5, np.uint8)),
        "shapes that differ": lambda data: tiny.change(data, first, label=np.zeros((2, 32, 27), np.uint8)),
        "a scribble of another shape": lambda data: tiny.change(data, first, scribble=np.zeros((1, 32, 28), np.uint16)),
        "NaN": lambda data: tiny.change(data, first, image=np.full(shape, np.nan, np.float32)),
        "infinity": lambda data: tiny.change(data, first, image=np.full(shape, np.inf, np.float32)),
        "not an image": lambda data: tiny.change(data, first, image=np.zeros((32, 28), np.float32)),
        "a missing array": lambda data: h5py.File(next(data.rglob(f"{first}.h5")), "r+").pop("scribble"),
        "not HDF5": lambda data: next(data.rglob(f"{first}.h5")).write_bytes(b"hello"),
        "a copy in train and test": lambda data: next(data.rglob("patient003_frame01.h5")).write_bytes(
            next(data.rglob("patient002_frame09.h5")).read_bytes()
        ),
    }[label]


@pytest.mark.parametrize("flag", ["--results", "--reports"])
def test_a_path_that_no_file_system_takes_is_named(run, flag):
    """Whatever the system refuses, the person sees of which file, and why."""
    status, _, err = run("run", "--methods", "prior", *TINY_FLAGS, flag, "x" * 300)
    assert (status, err.count("\n")) == (2, 1)
    assert "xxx" in err
    assert "File name too long" in err


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("an empty folder", "patientPPP/patientPPP_frameFF.nii.gz; get them from https://"),
        ("a missing patient", "needs patient050"),
        ("a truncated file", "patient001_frame01.h5 can't be read"),
        ("unknown labels", "patient001_frame01: the mask holds unknown labels [5]; it may hold 0 to 3"),
        ("shapes that differ", "the mask has shape (2, 32, 27) and the image (2, 32, 28)"),
        ("a scribble of another shape", "the drawn scribble has shape (1, 32, 28)"),
        ("NaN", "the image holds 1792 NaN or infinite pixels"),
        ("infinity", "the image holds 1792 NaN or infinite pixels"),
        ("not an image", "the image has shape"),
        ("a missing array", "lacks scribble"),
        ("not HDF5", "patient001_frame01.h5 can't be read"),
        ("a copy in train and test", "hold identical pixels"),
    ],
)
def test_broken_data_end_with_a_sentence_before_anything_is_trained(run, tmp_path, fault, message):
    data = tiny.write(tmp_path / "data")
    broken(fault)(data)
    status, _, errors = run("run", "--methods", "prior", "--datasets", "acdc", "--data", data)
    assert status == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_data_check_reports_every_fault(run, tmp_path):
    data = tiny.write(tmp_path / "data")
    status, shown, _ = run("data", "check", "acdc", "--data", data)
    assert status == 0
    assert "200 scans of 99 patients" in shown
    assert "scribble:drawn" in shown
    broken("NaN")(data)
    tiny.change(data, "patient002_frame09", label=np.full((2, 32, 28), 9, np.uint8))
    status, shown, _ = run("data", "check", "acdc", "--data", data)
    assert status == 1
    assert "2 errors, 0 warnings" in shown


def test_data_splits_shows_the_parts(run, tmp_path):
    status, shown, _ = run("data", "splits", "acdc", "--data", tiny.write(tmp_path / "data"))
    assert status == 0
    lines = [line.split() for line in shown.splitlines()]
    assert ["strat5/0", "140,", "70", "20,", "9", "40,", "20"] in lines  # patients 74 and 76 are one
    assert ["wsl4mis/3", "160,", "80", "0,", "0", "40,", "19"] in lines


def test_a_full_disk_ends_with_a_sentence(run, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("benchmark.packing.pack", full)
    status, _, errors = run("pack", "--out", "x")
    assert status == 2
    assert errors == "error: there is no room (No space left on device); runs that are stored are whole\n"


def test_data_simulate_and_export_write_folders(run, tmp_path):
    data = pictures.hdf5(tmp_path / "data", "odoc", 3, 3)
    status, shown, _ = run(
        "data", "simulate", "odoc", "--annotation", "block", "--out", "marks", "--data", data, "--pictures"
    )
    assert (status, shown) == (0, "9 label maps in marks\n")
    run("data", "simulate", "odoc", "--annotation", "block", "--out", "m", "--data", data, "--pictures", "--seed", "5")
    assert (tmp_path / "marks/pictures.png").read_bytes() != (tmp_path / "m/pictures.png").read_bytes()
    status, shown, _ = run("data", "export", "odoc", "--annotations", "point", "--out", "Dataset001", "--data", data)
    assert (status, shown) == (0, "exported to Dataset001\n")
    assert run("data", "export", "odoc", "--layout", "other", "--out", "x", "--data", data)[0] == 2


def test_data_spacing_is_for_acdc(run, tmp_path):
    data = volumes.acdc(tmp_path / "data", patients=1)
    (tmp_path / "h5/acdc").mkdir(parents=True)
    status, _, _ = run("data", "spacing", "acdc", "--nifti", data / "acdc", "--data", tmp_path / "h5")
    assert status == 0
    assert (tmp_path / "h5/acdc/spacing.csv").read_text().splitlines()[1] == "patient001_frame01,8,1.5,1.25"
    assert run("data", "spacing", "faz", "--nifti", data)[0] == 2


def test_a_run_on_a_folder_of_ones_own(run, tmp_path):
    """Data of a user by path: drawn points are used, and the name of the set is in the results."""
    folder = pictures.folder(tmp_path / "clinic")
    words = ["run", "--methods", "prior", "--datasets", f"folder:{folder}", "--annotations", "point", "--budget", "size=32"]
    status, _, errors = run(*words)
    assert status == 0, errors
    assert list(tmp_path.glob("results/runs/clinic/point-drawn/prior/cv5-0-seed0-*/cases.csv"))


def test_what_has_no_masks_refuses_full_supervision_before_training(run, tmp_path):
    data = volumes.mscmr(tmp_path / "data")
    status, _, errors = run("run", "--methods", "prior", "--datasets", "mscmr", "--annotations", "full", "--data", data)
    assert status == 2
    assert "split official of mscmr: subject50_DE has no dense mask to make full of; there is scribble:drawn" in errors


def test_near_duplicates_are_warned_of_before_a_run(run, tmp_path):
    data = pictures.polyp(tmp_path / "data")
    random = (SPLITS / "polyp/random.txt").read_text().splitlines()
    one, two = (next(line.split()[1] for line in random if line.startswith(role)) for role in ("train", "test"))
    image = Image.open(data / f"polyp/Kvasir-SEG/images/{one}.jpg").point(lambda v: min(255, v + 1))
    image.save(data / f"polyp/Kvasir-SEG/images/{two}.jpg", quality=100)
    words = ["--datasets", "polyp", "--splits", "random", "--data", data, "--dry-run"]
    status, shown, _ = run("run", "--methods", "prior", *words)
    assert status == 0
    assert f"warning: split random of polyp: {one} in train nearly equals {two} in test" in shown.replace("\n", "")


def test_check_says_how_many_checks_ran(run):
    status, shown, _ = run("check", "prior")
    assert status == 0
    assert shown.splitlines()[-1].startswith("16 checks ran, 0 failed" if "no GPU" in shown else "17 checks ran, 0 failed")


@pytest.mark.slow
def test_the_command_of_the_readme_compares_procns_with_every_baseline_on_phantoms(run, tmp_path):
    """As it is typed, with few steps on small images."""
    small = [f"--set={name}.{field}" for name in PHANTOMS for field in ("size=32", "train=2", "val=0", "test=2")]
    status, shown, errors = run("run", "--methods", "procns,baselines", "--budget", "steps=2,batch=2,size=32", *small)
    assert status == 0, errors + shown
    assert "there is no folder data, so phantoms are used" in errors + shown
    table = (tmp_path / "reports/report/table.md").read_text()
    for column in ("octa_phantom point", "fundus_phantom scribble:sim", "polyp_phantom block"):
        assert f"{column} Dice" in table
        assert f"{column} HD95 (max" in table
    rows = re.findall(r"^\| *`?(\w+)`? *\|", table, re.M)
    assert {"procns", *plugins.groups()["baselines"]} <= set(rows)
    assert {path.suffix for path in (tmp_path / "reports/report").rglob("*")} >= {".tex", ".csv", ".html", ".pdf", ".png"}


@pytest.mark.slow
def test_real_volumes_from_the_command_of_the_readme(run, real_data, tmp_path):
    """The command that users have, on ACDC's drawn scribbles, with few steps."""
    status, shown, errors = run(
        "run", "--methods", "procns,pce,prior", "--datasets", "acdc", "--annotations", "scribble",
        "--data", real_data, "--budget", "steps=4,size=64,batch=4",
    )  # fmt: skip
    assert status == 0, errors + shown
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/runs/*/*/*/*/run.json")]
    assert len(records) == 3
    assert {len(record["scans"]) for record in records} == {40}
    assert records[0]["labelled_share"]["background"] == pytest.approx(0.0066, abs=0.0005)
    table = (tmp_path / "reports/report/table.md").read_text()
    assert "acdc scribble:drawn HD95 (max, px per slice)" in table
    assert "n = 20 patients" in (tmp_path / "reports/report/notes.md").read_text()
