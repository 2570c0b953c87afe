"""Sweeps and results from Python."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmark
from benchmark import InputError, api, store
from benchmark.train import local
from tests.support.sweeps import InProcess

TINY = {"octa_phantom": {"size": 32, "train": 2, "val": 0, "test": 2}}
BUDGET = {"steps": 2, "batch": 2, "size": 32}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Two methods and two seeds on a tiny phantom."""
    monkeypatch.setattr(local, "Local", InProcess)
    given = {"datasets": ["octa_phantom"], "seeds": [0, 1], "budget": BUDGET, "options": TINY | {"pce_dice": {}}}
    return benchmark.run(methods=["prior", "pce"], results=tmp_path / "results", data=tmp_path, **given)


def test_a_sweep_gives_its_runs_cases_and_summary_as_frames(made):
    assert sorted(zip(made.runs.row, made.runs.seed, made.runs.state, strict=True)) == [
        (row, seed, "done") for row in ("pce", "prior") for seed in (0, 1)
    ]
    assert len(made.cases) == 4 * 2
    with pytest.raises(InputError, match=r"metrics is 'dice'; it must be a list, such as \['dice'\]"):
        made.summary("dice")
    with pytest.raises(InputError, match=r"no metric 'dicee' \(the nearest is dice\); the runs were scored with dice, "):
        made.summary(["dicee"])
    line = made.summary(["dice"]).set_index(["method", "region", "metric"]).loc["pce", "mean", "dice"]
    own = made.cases[made.cases.row == "pce"]
    assert line["mean"] == pytest.approx(own.groupby("seed").dice.mean().mean())
    assert line.seeds == 2


def test_what_is_stored_is_loaded_again_by_its_folder_or_its_name(made, tmp_path):
    again = benchmark.load(tmp_path / "results")
    assert again.cases.dice.tolist() == made.cases.dice.tolist()
    stored = benchmark.load("smoke")
    packed = Path(store.FOLDER) / "smoke"
    assert benchmark.load(os.path.relpath(packed)).cases.dice.equals(stored.cases.dice)
    with pytest.raises(InputError, match="reference holds .* results folders; load one of .*smoke"):
        benchmark.load("reference")
    assert {column.split()[0] for column in stored.runs.column} == {"octa_phantom"}
    assert not np.isnan(stored.cases.dice).all()


def test_options_of_a_method_arrive_as_they_are_given(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "Local", InProcess)
    made = benchmark.run(
        methods=["total_variation"], datasets=["octa_phantom"], budget=BUDGET, results=tmp_path / "r", data=tmp_path,
        options=TINY | {"total_variation": {"weight": 0.25}},
    )  # fmt: skip
    assert '"weight": 0.25' in made.runs.options[0]


def test_what_is_wrong_is_an_error_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="no method 'pcee'"):
        benchmark.run(methods=["pcee"], datasets=["octa_phantom"], results=tmp_path)
    with pytest.raises(InputError, match="rerun is 'some'; it must be stale or all"):
        benchmark.run(methods=["prior"], datasets=["octa_phantom"], options=TINY, rerun="some", results=tmp_path)
    for value, what in ((None, "is None; leave it out for its default"), ({1}, "is a set; give text, a number")):
        with pytest.raises(InputError, match=f"pce_dice.a {what}"):
            benchmark.run(
                methods=["pce_dice"], datasets=["octa_phantom"], options={"pce_dice": {"a": value}}, results=tmp_path
            )
    for flags, said in (
        ({"methods": "prior"}, r"methods is 'prior'; give a list, such as \['prior'\]"),
        ({"seeds": 3}, r"seeds is 3; give a list, such as \[3\]"),
        ({"budget": "short"}, "budget is 'short'; give its fields"),
        ({"workers": -1}, "workers is -1 and timeout_s is 0; neither may be below 0"),
    ):
        with pytest.raises(InputError, match=said):
            benchmark.run(
                **{"methods": ["prior"], "datasets": ["octa_phantom"], "options": TINY, "results": tmp_path} | flags
            )
    with pytest.raises(InputError, match="no stored runs 'nothing'"):
        benchmark.load("nothing")


def test_values_may_be_paths_and_of_numpy():
    assert api._assignment("a.b", Path("c/d")) == 'a.b="c/d"'
    assert api._assignment("a.b", [np.int64(3), np.float32(0.5)]) == "a.b=[3, 0.5]"
    assert api._assignment("a.b", "\N{GRINNING FACE}") == 'a.b="\N{GRINNING FACE}"'  # TOML has no surrogates


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, benchmark; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)), benchmark.run.__name__)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split("]")[0] == "["
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        benchmark.walk  # noqa: B018


def test_kernels_of_a_gpu_are_refused_where_runs_may_go_to_a_cpu(tmp_path):
    for device in ("auto", "cpu") if not torch.cuda.is_available() else ("cpu",):
        with pytest.raises(InputError, match="kernels is compiled, which needs a GPU"):
            benchmark.run(methods=["pce"], datasets=["octa_phantom"], budget={"kernels": "compiled"}, device=device,
                          results=tmp_path / "r")  # fmt: skip
    assert not (tmp_path / "r").exists()
    assert [api.may_use_cpu(device, "ray") for device in ("auto", "cpu", "cuda")] == [True, True, False]


def test_the_command_line_makes_the_same_executor():
    assert isinstance(api.local_executor("cpu")(1, 1, None, []), local.Local)
