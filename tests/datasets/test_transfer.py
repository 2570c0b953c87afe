"""A data set that is tested on another: whose scans are trained on, whose are scored, and what must agree."""

import json

import pytest

from benchmark import InputError
from benchmark.datasets import summaries
from benchmark.datasets.annotations import check_sites
from benchmark.datasets.base import Inventory, check_scan, check_split, hashed_sites, site_names
from benchmark.datasets.mscmr import Mscmr
from benchmark.plan import plugins
from benchmark.plan.jobs import make_plan
from benchmark.plan.presets import Request
from benchmark.report import runs
from benchmark.score.stored import rescore
from tests.support.sweeps import BUDGET, TINY, run_sweep
from tests.tiny import acdc, pictures, volumes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with tiny copies of two cardiac sets."""
    root = tmp_path_factory.mktemp("data")
    acdc.write(root)
    volumes.mscmr(root)
    return root


def transfer(data, trained="acdc", tested="mscmr"):
    return plugins.open_data_set(trained, data, {"test_on": tested})


@pytest.mark.parametrize(("trained", "tested"), [("acdc", "mscmr"), ("mscmr", "acdc")])
def test_training_scans_are_of_one_set_and_test_scans_of_the_other(data, trained, tested):
    both, one, other = transfer(data, trained, tested), *(plugins.open_data_set(n, data) for n in (trained, tested))
    for name in both.splits():
        split = check_split(both, name)
        assert (split.train, split.val) == (one.split(name).train, one.split(name).val)
        assert split.test == other.split(other.splits()[0]).test
    for scan, home in ((split.train[0], one), (split.test[0], other)):
        read = both.load(scan)
        check_scan(read, both)
        assert (read.image == home.load(scan).image).all()
        assert [x.tolist() for x in both.intensities(read)] == [x.tolist() for x in home.intensities(read)]
    assert both.name == f"{trained}-to-{tested}"
    assert both.drawn == ("scribble",)
    assert site_names(both) == {}  # the sites of one of them are not those of the other
    assert plugins.options_of_data(both) == {"test_on": tested}


def test_held_out_scans_are_those_of_the_set_for_training(data):
    assert transfer(data).find_split("strat5/0@val").test == plugins.open_data_set("acdc", data).split("strat5/0").val


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("mscrm", r"no data set 'mscrm' \(the nearest is mscmr\); there are acdc"),
        ("acdc", "test_on of acdc is acdc; it must be another data set"),
        ("folder", "'folder' must be folder:PATH, where PATH is its folder"),
        ("odoc", "is odoc, whose classes are background, cup, rim; they must be those of acdc, background, RV, MYO, LV"),
    ],
)
def test_another_set_that_can_not_be_tested_on_is_named(data, other, message):
    with pytest.raises(InputError, match=message):
        transfer(data, tested=other)


def test_sites_of_it_are_an_option_of_the_set_for_training(data):
    with pytest.raises(InputError, match=r"acdc-to-mscmr names none; --set acdc\.sites=2 makes them"):
        check_sites("scribble/point", transfer(data))
    check_sites("scribble/point", plugins.open_data_set("acdc", data, {"test_on": "mscmr", "sites": 2}))


def test_phantoms_at_sites_keep_their_looks_when_they_are_tested_on_another_set(tmp_path):
    pictures.write_pairs(tmp_path / "images", tmp_path / "masks", "abcd", 1, 2)
    (tmp_path / "dataset.toml").write_text('classes = ["background", "faz"]\n')
    options = {"sites": 3, "train": 4, "val": 0, "test": 2, "size": 32}
    alone = plugins.open_data_set("octa_phantom", tmp_path, options)
    both = plugins.open_data_set("octa_phantom", tmp_path, options | {"test_on": f"folder:{tmp_path}"})
    assert both.sites() == alone.sites() | hashed_sites("abcd", 3)
    for name in alone.split("default").train:
        assert (both.load(name).image == alone.load(name).image).all()


def test_channels_must_agree(data, monkeypatch):
    monkeypatch.setattr(Mscmr, "channels", 2)
    with pytest.raises(InputError, match="whose channels are 2; they must be those of acdc, 1"):
        transfer(data)


def test_a_patient_of_both_is_named(data, monkeypatch):
    both = transfer(data)
    monkeypatch.setattr(both.tested, "patients", lambda: {"patient001": ["x"]})
    with pytest.raises(InputError, match="acdc and mscmr both have patient001; names must differ"):
        both.patients()


def test_a_changed_file_of_either_set_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    acdc.write(tmp_path)
    volumes.mscmr(tmp_path)

    def read():
        inventory = Inventory(transfer(tmp_path), {})
        with summaries.remembered([inventory]):
            remembered = len(inventory.seen)
            inventory.look("strat5/0")
        return remembered

    assert [read() > 0, read() > 0] == [False, True]
    for name in ("acdc", "mscmr"):
        next(path for path in (tmp_path / name).rglob("*") if path.is_file()).touch()
        assert [read() > 0, read() > 0] == [False, True]


def test_it_is_trained_scored_scored_again_and_named_in_tables(data, tmp_path):
    request = {"methods": ["prior"], "datasets": ["acdc"], "annotations": ["scribble:drawn"], "splits": ["strat5/0"]}
    plan = make_plan(Request(**request, options=["acdc.test_on=mscmr"], budget=BUDGET, data=data))
    run_sweep(plan, tmp_path / "r")
    folder = next((tmp_path / "r/runs").glob("*/*/*/*"))
    run = json.loads((folder / "run.json").read_text())
    assert run["scans"] == list(plugins.open_data_set("mscmr", data).split("official").test)
    assert run["titles"]["data set"] == "ACDC to MSCMR"
    before = (folder / "cases.csv").read_bytes()
    (folder / "cases.csv").write_text("scan,dice\n")
    assert rescore(tmp_path / "r", data) == 1
    assert (folder / "cases.csv").read_bytes() == before
    assert list(runs.read(tmp_path / "r").about) == ["acdc-to-mscmr scribble:drawn"]


def test_a_data_set_in_a_folder_is_found_again_by_its_path_and_is_known_by_its_name(data, tmp_path):
    clinic = tmp_path / "first"
    pictures.write_pairs(clinic / "images", clinic / "masks", [f"eye{n}" for n in range(6)], 1, 2)
    (clinic / "dataset.toml").write_text('name = "clinic"\nclasses = ["background", "faz"]\n')
    request = {"methods": ["prior"], "datasets": ["octa_phantom"], "annotations": ["scribble"], "budget": BUDGET}
    for name in ("second", "third"):
        clinic = clinic.rename(tmp_path / name)
        plan = make_plan(Request(**request, options=[*TINY, f"octa_phantom.test_on=folder:{clinic}"], data=data))
        screen = run_sweep(plan, tmp_path / "r")
    assert not screen.lines  # nothing is run again
    with pytest.raises(InputError, match="the runs need a data set 'clinic'; give its folder"):
        rescore(tmp_path / "r", data)
    assert rescore(tmp_path / "r", data, [f"folder:{clinic}"]) == 1


def test_values_that_a_preset_gives_a_method_for_the_set_are_used(data, tmp_path):
    preset = tmp_path / "p.toml"
    preset.write_text(
        'methods = ["gated_crf"]\ndatasets = ["acdc"]\nannotations = ["scribble:drawn"]\nsplits = ["strat5/0"]\n'
        '[options.acdc]\ntest_on = "mscmr"\n[options.gated_crf.dataset.acdc]\nradius = 3\n[budget.dataset.acdc]\nsteps = 7\n'
    )
    (job,) = make_plan(Request(preset=str(preset), data=data)).jobs
    assert (job.options["radius"], job.budget.steps, job.dataset) == (3, 7, "acdc-to-mscmr")


@pytest.mark.slow
def test_real_cardiac_sets_agree_in_what_their_labels_mean(real_data):
    both = transfer(real_data)
    split = check_split(both, "strat5/0")
    assert {role: len(scans) for role, scans in split.roles().items()} == {"train": 140, "val": 20, "test": 15}
    for scan in (split.train[0], split.test[0]):
        check_scan(both.load(scan), both)
