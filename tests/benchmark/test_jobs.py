import dataclasses
import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import replace

import pytest
import torch

from benchmark import InputError
from benchmark.datasets.phantom import OctaPhantom
from benchmark.methods import networks
from benchmark.plan import compare, plugins, presets
from benchmark.plan.jobs import make_plan, state
from benchmark.plan.presets import PHANTOMS, PRESETS, Request, Settings, apply_flags, read_preset
from benchmark.seal.contract import LATER, Budget
from benchmark.store import ResultsFolder
from tests.tiny import pictures

SMALL = ["octa_phantom.size=32", "octa_phantom.train=2", "octa_phantom.val=1", "octa_phantom.test=2"]


def request(**changes):
    given = {"methods": ["pce", "gated_crf"], "datasets": ["octa_phantom"], "options": SMALL, **changes}
    return Request(**given)


def preset_file(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_plan_is_every_method_on_every_split_and_seed():
    plan = make_plan(request(seeds=[0, 1], annotations=["scribble", "point"]))
    assert len(plan.jobs) == 2 * 2 * 2
    assert [job.method for job in plan.jobs[:2]] == [
        "pce",
        "gated_crf",
    ]  # jobs that share a sealed folder are neighbours


def test_a_run_beside_two_common_budgets_is_one_job_and_in_both_columns(tmp_path):
    text = """
        methods = ["prior", "pce"]
        datasets = ["octa_phantom"]
        [budget]
        batch = 2
        [budget.method.prior]
        steps = 3
        reason = "it trains nothing"
        [[parts]]
        budget.steps = 2
        [[parts]]
        budget.steps = 4
    """
    plan = make_plan(Request(preset=preset_file(tmp_path, textwrap.dedent(text)), options=SMALL))
    assert Counter(job.method for job in plan.jobs) == {"prior": 1, "pce": 2}
    planned = Counter((run["label"], run["common"]["steps"]) for run in plan.records())
    assert planned == {("prior", 2): 1, ("prior", 4): 1, ("pce", 2): 1, ("pce", 4): 1}


def test_a_flag_names_no_method_of_a_variant_that_is_not_in_this_run(tmp_path):
    text = 'datasets = ["octa_phantom"]\nmethods = ["pce"]\n[variants.soft]\nmethod = "dmpls"\nweight = 1.0\n'
    preset = preset_file(tmp_path, text)
    with pytest.raises(InputError, match="--set names 'dmpls', which is not in this run"):
        make_plan(Request(preset=preset, options=[*SMALL, "dmpls.weight=0.5"]))
    make_plan(Request(preset=preset, methods=["soft"], options=[*SMALL, "dmpls.weight=0.5"]))


def test_a_file_that_an_option_names_is_read_again_for_each_plan(tmp_path):
    path = tmp_path / "weights.txt"
    found = []
    for text in ("one", "other"):
        path.write_text(text)
        (job,) = make_plan(request(methods=["sam"], annotations=["point"], options=[*SMALL, f"sam.weights={path}"])).jobs
        found.append(job.hash)
    assert found[0] != found[1]


def test_a_run_of_other_classes_is_stale(tmp_path):
    (job,) = make_plan(request(methods=["prior"])).jobs
    results, shares = ResultsFolder(tmp_path), dict.fromkeys(job.classes, 0.1)
    for stored, expected in ((shares, "done"), ({}, "done"), (shares | {"more": 0.1}, "stale")):
        folder = results.path(str(job.folder))
        folder.mkdir(parents=True, exist_ok=True)
        run = {"state": "done", "label": "prior", "identity": job.identity(), "common": {}, "code": job.code}
        run |= {"hash": job.hash, "revision": job.revision}
        (folder / "run.json").write_text(json.dumps(run | {"labelled_share": stored}))
        assert state(ResultsFolder(tmp_path), job) == expected


def test_a_bare_scribble_is_resolved_and_its_maker_is_in_the_folder():
    (job,) = make_plan(request(methods=["pce"])).jobs
    assert job.annotation == "scribble:sim"
    assert str(job.folder).startswith("octa_phantom/scribble-sim/pce/default-seed0-")
    assert job.identity()["annotation"] == "scribble:sim"


def test_groups_are_resolved_and_nothing_runs_twice():
    labels = [job.method for job in make_plan(request(methods=["pce", "baselines"])).jobs]
    assert labels[0] == "pce"
    assert len(labels) == len(set(labels)) == len(plugins.groups()["baselines"])


def test_a_plan_warns_of_what_a_budget_leaves_out_once_for_a_row():
    plan = make_plan(
        request(methods=["pce", "procns"], seeds=[0, 1], annotations=["point", "scribble"], budget=["steps=50"])
    )
    said = "procns: 50 steps leave noise suppression out: the second phase has 40 and it needs 46"
    assert plan.warnings == [said]
    assert not make_plan(request(methods=["procns"], budget=["steps=500"])).warnings


def test_without_flags_it_is_the_demo():
    demo = read_preset("demo")
    assert len(demo.methods) == 5
    plan = make_plan(Request(options=["octa_phantom.train=1", "fundus_phantom.train=1"]))
    assert {job.method for job in plan.jobs} == set(demo.methods)
    assert set(plan.datasets) == set(demo.datasets)


@pytest.mark.parametrize("name", [path.stem for path in PRESETS.glob("*.toml")])
def test_every_preset_reads(name):
    assert read_preset(name).title


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["pcee"]}, r"no method 'pcee' \(the nearest is pce\); there are .*pce, pce_balanced"),
        ({"methods": ["baslines"]}, r"no method 'baslines' \(the nearest is baselines\)"),
        ({"datasets": ["ACDCC"]}, r"no data set 'ACDCC' \(the nearest is acdc\); there are acdc"),
        ({"annotations": ["doodle"]}, "no annotation 'doodle'; there are scribble, full"),
        ({"annotations": ["scrible:sim"]}, r"no annotation 'scrible:sim' \(the nearest is scribble\); there are"),
        ({"annotations": ["point+bakground=2"]}, r"point has no 'bakground' \(the nearest is background\); it has where"),
        ({"annotations": ["scribble:drawn"]}, "octa_phantom has no drawn annotations"),
        ({"splits": ["strat5"]}, "octa_phantom has no split strat5; it has default"),
        ({"splits": ["defalt"]}, r"octa_phantom has no split defalt \(the nearest is default\); it has default"),
        ({"splits": ["default", "nope"]}, "no data set of this run has a split 'nope'; there is default of octa_phantom"),
        ({"methods": ["box_mil"]}, "nothing to run: none of the methods learns from these annotations"),
        ({"preset": "nope"}, "no preset 'nope'; there are .*demo"),
        ({"preset": "smok"}, r"no preset 'smok' \(the nearest is smoke\); there are .*demo"),
        ({"metrics": ["dise"]}, "no metric 'dise'"),
        ({"against": "referense"}, r"no stored runs 'referense' \(the nearest is reference\)"),
        ({"budget": ["stepps=3"]}, r"budget has no 'stepps' \(the nearest is steps\); it has steps, batch"),
        ({"budget": ["steps=0"]}, "budget: steps: .*greater than or equal to 1"),
        ({"budget": ["steps=lots"]}, "budget: steps: .*integer.*'lots'"),
        ({"budget": ["steps"]}, "'steps' is not a budget; give published, short, laptop, and fields as NAME=VALUE"),
        (
            {"budget": ["kernels=triton"], "on_cpu": lambda: True},
            "kernels is triton, which needs a GPU; give --device cuda, or",
        ),
        ({"options": ["weight"]}, "--set is 'weight'; it must be METHOD.NAME=VALUE"),
        ({"budget": ["steps=true"]}, "budget: steps: .*valid integer"),
        ({"budget": ["momentum=1"]}, "budget: momentum: .*less than 1"),
        ({"budget": ["network=vnet"]}, "no network 'vnet'; there are unet and smp:"),
        (
            {"methods": ["procns"], "budget": ["network=smp:FPN/resnet18"]},
            "procns needs decoder/2, which smp:FPN",
        ),
        ({"budget": ["network=smp:FPN/resnet18", "size=50"]}, "can't be trained on a batch of 12 with images of 50 px"),
        (
            {"budget": ["network=smp:DeepLabV3Plus/resnet18", "batch=1", "size=64"]},
            "can't be trained on a batch of 1 with images of 64 px .*more than 1 value per channel",
        ),
        ({"budget": ["network=smp:Unet/resnet18", "weights=nowhere.pth"]}, "weights is nowhere.pth; it must be a file"),
        ({"budget": ["batch=1", "size=16"]}, "a batch of 1 at size 16 is too small"),
        (
            {"options": ["gated_crf.wieght=1"]},
            r"GatedCRF has no 'wieght' \(the nearest is weight\); it has weight, sigma_xy",
        ),
        ({"options": ["weight=1"]}, "--set names 'weight'; it must be METHOD.NAME=VALUE"),
        ({"options": ["entropy.weight=1"]}, "'entropy', which is not in this run; it has pce, gated_crf, octa_phantom"),
        ({"options": ["octa_phantom.size=8"]}, "size is 8; it must be at least 32"),
        ({"methods": []}, "name methods with --methods; there are losses, teachers, "),
        ({"methods": ["nowhere.py"]}, "there is no file nowhere.py"),
        ({"seeds": [-1]}, "the command line: seeds.0: .*greater than or equal to 0"),
        ({"seeds": [2**32]}, "the command line: seeds.0: .*less than 4294967296"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(change, message):
    with pytest.raises(InputError, match=message):
        make_plan(request(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"annotations": ["scribble:drawn"]},
        {"splits": ["nope"]},
        {"methods": ["procns"], "budget": ["network=smp:FPN/resnet18"]},
        {"budget": ["network=smp:DeepLabV3Plus/resnet18", "batch=1", "size=64"]},
        {"budget": ["snapshots=1"], "options": [*SMALL[:2], "octa_phantom.val=0"]},
        {"against": "nope"},
    ],
)
def test_what_is_wrong_is_said_before_a_scan_is_read(change, monkeypatch):
    monkeypatch.setattr(OctaPhantom, "load", None)
    with pytest.raises(InputError):
        make_plan(request(**change))


def test_a_wrong_annotation_is_said_before_torch_is_imported(tmp_path):
    """Both a word that is none and marks that the data set never has."""
    script = """if True:
        import sys
        from benchmark import InputError, __main__
        for annotation in ("scrible", "scribble:drawn"):
            sys.argv = ["benchmark", "run", "--methods", "pce", "--datasets", "polyp", "--annotations", annotation]
            try:
                __main__.app(standalone_mode=False)
            except InputError as error:
                print(error)
        assert "torch" not in sys.modules"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no annotation 'scrible'" in done.stdout
    assert "polyp has point:gaze, not scribble:drawn" in done.stdout


@pytest.mark.parametrize("flags", [{"budget": ["stepps=3"]}, {"options": ["gated_crf.wieght=1"]}])
def test_what_is_mistyped_is_said_before_data_are_read_or_missed(flags, tmp_path):
    with pytest.raises(InputError, match="has no '(stepps|wieght)'"):
        make_plan(Request(methods=["gated_crf"], datasets=["polyp"], data=tmp_path, **flags))


def test_values_of_flags_are_toml_or_text():
    (job,) = make_plan(request(methods=["gated_crf"], options=[*SMALL, "gated_crf.weight=0.5", "gated_crf.radius=3"])).jobs
    assert job.options == {"weight": 0.5, "sigma_xy": 6.0, "sigma_rgb": 0.1, "radius": 3, "window": "anatomy"}


SMALL_PHANTOMS = [f"{name}.{field}" for name in PHANTOMS for field in ("size=32", "train=2", "val=0", "test=2")]


def test_methods_alone_are_compared_on_phantoms_where_no_data_are_found(tmp_path):
    plan = make_plan(Request(methods=["procns", "pce"], options=SMALL_PHANTOMS, data=tmp_path / "none"))
    forms = {(job.dataset, job.annotation) for job in plan.jobs}
    assert forms == {("octa_phantom", "point"), ("fundus_phantom", "scribble:sim"), ("polyp_phantom", "block")}
    assert {job.budget for job in plan.jobs} == {presets.BUDGETS["laptop"]}
    assert "phantoms are used; for yours: --data FOLDER" in plan.notes[0]


def test_methods_alone_are_compared_on_the_data_that_are_found(tmp_path):
    pictures.faz(tmp_path)
    plan = make_plan(Request(methods=["procns", "pce"], data=tmp_path))
    assert {(job.dataset, job.annotation) for job in plan.jobs} == {("faz", "point")}
    assert {job.budget for job in plan.jobs} == {presets.BUDGETS["short"]}
    assert {job.options["setting"] for job in plan.jobs if job.method == "procns"} == {"FAZ-point"}
    assert plan.notes[0].startswith(f"data sets found in {tmp_path}: faz; the budget is short")
    plan = make_plan(Request(methods=["pce"], data=tmp_path, annotations=["block"], budget=["steps=5"]))
    assert {(job.annotation, job.budget.steps, job.budget.lr) for job in plan.jobs} == {("block", 5, 0.03)}


def test_a_budget_has_a_name(tmp_path):
    def budget_of(**given):
        (job,) = make_plan(request(methods=["pce"], options=SMALL, **given)).jobs
        return job.budget

    assert budget_of(budget=["short"]) == presets.BUDGETS["short"]
    assert budget_of(budget=["steps=7", "short", "threads=2"]) == replace(presets.BUDGETS["short"], steps=7, threads=2)
    preset = preset_file(
        tmp_path, 'budget = { name = "short", network = "smp:Unet/resnet18", size = 64 }\nannotations = ["block"]'
    )
    named = replace(presets.BUDGETS["short"], network="smp:Unet/resnet18", size=64)
    assert budget_of(preset=preset) == named
    assert budget_of(preset=preset, budget=["published"]) == Budget(network="smp:Unet/resnet18")
    wrong = preset_file(tmp_path, 'budget = { name = "shrt" }')
    with pytest.raises(InputError, match=r"'shrt' is not a budget \(the nearest is short\); give published, short"):
        budget_of(preset=wrong)
    with pytest.raises(InputError, match=r"\['short'\] is not a budget.*; give published, short"):
        budget_of(preset=preset_file(tmp_path, 'budget = { name = ["short"] }'))


def test_held_out_scans_can_be_scored_in_place_of_test_scans():
    options = [*SMALL[:2], "octa_phantom.val=3", SMALL[3]]
    (test,), (held_out,) = (
        make_plan(request(methods=["pce"], options=options, splits=[s])).jobs for s in ("default", "default@val")
    )
    dataset = make_plan(request(methods=["pce"], options=options)).datasets["octa_phantom"]
    split, chosen = dataset.split("default"), dataset.find_split(held_out.split)
    assert (chosen.train, chosen.val, chosen.test) == (split.train, (), split.val)
    assert compare.column({"identity": test.identity(), "common": {}}) != compare.column(
        {"identity": held_out.identity(), "common": {}}
    )
    with pytest.raises(InputError, match="split default@val of octa_phantom has no held-out scans"):
        make_plan(request(methods=["pce"], options=[*SMALL[:2], "octa_phantom.val=0"], splits=["default@val"]))


def test_a_flag_names_held_out_scans_of_a_preset_s_split(tmp_path):
    preset = preset_file(tmp_path, 'datasets = ["octa_phantom"]\nmethods = ["pce"]\n[[parts]]\nsplits = ["default"]')
    (part,) = apply_flags(Request(preset=preset, splits=["default@val"])).parts
    assert part.splits == ["default@val"]
    fold = preset_file(tmp_path, 'datasets = ["acdc"]\nmethods = ["pce"]\n[[parts]]\nsplits = ["strat5/0"]')
    (part,) = apply_flags(Request(preset=fold, splits=["strat5/0@val"])).parts
    assert part.splits == ["strat5/0@val"]


def test_folds_of_held_out_scans_are_a_family():
    assert compare.family("strat5/0@val") == compare.family("strat5@val") == "strat5@val"


def test_flags_set_options_of_data_sets_that_a_path_names(tmp_path):
    from tests.tiny import volumes

    volumes.nnunet(tmp_path / "Dataset001_Mine", ignore=True)
    given = request(datasets=[f"nnunet:{tmp_path / 'Dataset001_Mine'}"], options=["nnunet.annotation=point"])
    assert {str(job.annotation) for job in make_plan(replace(given, annotations=["point"])).jobs} == {"point:drawn"}


def test_a_method_that_does_not_claim_an_annotation_is_not_applicable(tmp_path):
    path = tmp_path / "points_only.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom benchmark.methods.base import Method\n"
        "@dataclass\nclass P(Method):\n    annotations = ('point',)\n"
        "    def fit(self, data, budget, log): ...\n    def predict(self, scan): ...\n"
    )
    plan = make_plan(request(methods=["pce", str(path)]))
    assert [job.method for job in plan.jobs] == ["pce"]
    assert plan.not_claimed == [("points_only", "scribble:sim")]


PRESET = """
title = "Mine"
methods = ["pce", "soft", "gated_crf"]
datasets = ["octa_phantom", "fundus_phantom"]
[budget]
steps = 10
size = 32
[budget.dataset.fundus_phantom]
size = 48
[budget.method.pce]
lr = 0.03
reason = "its paper trains so"
[options.gated_crf]
radius = 3
[options.gated_crf.dataset.fundus_phantom]
radius = 4
[variants.soft]
method = "gated_crf"
weight = 0.01
"""


def jobs_of(plan):
    return {(job.method, job.dataset): job for job in plan.jobs}


def test_a_preset_sets_budgets_options_and_variants(tmp_path):
    plan = make_plan(Request(preset=preset_file(tmp_path, PRESET)))
    jobs = jobs_of(plan)
    assert plan.title == "Mine"
    assert plan.name == "mine"
    assert jobs["gated_crf", "octa_phantom"].options["radius"] == 3
    assert jobs["gated_crf", "fundus_phantom"].options["radius"] == 4
    assert jobs["gated_crf", "fundus_phantom"].budget.size == 48
    soft = jobs["soft", "fundus_phantom"]
    assert (soft.plugin.name, soft.options["weight"], soft.options["radius"]) == ("gated_crf", 0.01, 4)
    pce = jobs["pce", "octa_phantom"]
    assert (pce.budget.lr, pce.common.lr, pce.reason) == (0.03, 0.01, "its paper trains so")
    assert jobs["gated_crf", "octa_phantom"].reason == ""


def test_a_method_that_keeps_axes_says_what_differs_in_its_augmentation(tmp_path):
    """Its row gets a dagger; without augmentation nothing differs."""
    path = tmp_path / "boxes.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom benchmark.methods.base import NetMethod\n"
        "@dataclass\nclass Boxes(NetMethod):\n    keeps_axes = True\n    def loss(self, batch, progress): ...\n"
    )
    why = "no rotations other than quarter turns, as its loss needs the image's axes"
    for kind, reason in (("turns45", why), ("wsl4mis", why), ("none", "")):
        plan = make_plan(request(methods=["pce", str(path)], budget=[f"augmentation={kind}"]))
        assert {job.method: job.reason for job in plan.jobs} == {"pce": "", "boxes": reason}
        assert len({json.dumps(job.identity()["budget"]) for job in plan.jobs}) == 1


def rows_of(name, **flags):
    """The settings of a preset, and its rows by their labels."""
    asked = Request(preset=name, **flags)
    preset = apply_flags(asked)
    settings = Settings(preset, asked)
    return settings, {row.label: row for part in preset.parts for row in settings.rows(part.methods)}


def test_the_preset_of_wsl4mis_trains_as_its_scripts_do():
    settings, rows = rows_of("wsl4mis-acdc")
    rows |= rows_of("wsl4mis-acdc", methods=["pce_dice"])[1]
    budgets = {label: settings.budget(row, "acdc", {}) for label, row in rows.items()}
    for budget, common, _ in budgets.values():
        assert (budget.augmentation, budget.resize, budget.steps, budget.size) == ("wsl4mis", "squash", 60000, 256)
        assert common.lr == 0.01
    assert {label: budget.lr for label, (budget, *_) in budgets.items() if budget.lr != 0.01} == {
        "pce": 0.03,
        "pce_dice": 0.03,
    }
    assert {label for label, (_, _, reason) in budgets.items() if reason} == {"pce", "pce_dice"}


def test_the_preset_of_procns_has_the_published_code_beside_the_method():
    settings, rows = rows_of("procns-tasks")
    own, published = (settings.options(rows[label], "odoc") for label in ("procns", "procns-reference"))
    assert {name for name in own if own[name] != published[name]} == {"reference"}
    assert (own["setting"], published["reference"]) == ("ODOC-scribble", True)


def test_flags_win_over_everything_in_a_preset(tmp_path):
    plan = make_plan(
        Request(
            preset=preset_file(tmp_path, PRESET),
            budget=["size=64", "lr=0.1"],
            options=["gated_crf.radius=1"],
            seeds=[7],
        )
    )
    for job in plan.jobs:
        assert (job.budget.size, job.budget.lr, job.common.lr, job.seed, job.reason) == (64, 0.1, 0.1, 7, "")
        assert job.options.get("radius", 1) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "mine.toml is not a TOML file"),
        ("titel = 'x'", "mine.toml has no 'titel' .the nearest is title.; it has name, title, methods"),
        ("seeds = [-1]", "mine.toml: seeds.0: "),
        ('name = "../x"', "mine.toml: name: "),
        (PRESET.replace('"soft"', '".."').replace("variants.soft", 'variants.".."'), "'..' can't name a method"),
        ("seeds = []", "mine.toml: seeds is empty; name something, or leave it out"),
        (PRESET + "[[parts]]\nannotations = []", "mine.toml: annotations is empty"),
        (PRESET + "[variants.many]\nmethod = 'losses'", "variants.many.method is the group losses; a variant is of one"),
        (PRESET + "[options.pce.dataset.octa_phanto]\nx = 1", r"options of pce name 'octa_phanto', .*nearest is octa_ph"),
        (PRESET + "[options.nope]\nx = 1", "the preset names 'nope', which is not a method"),
        (PRESET.replace("reason", "momentum").replace('"its paper trains so"', "0.5"), "must say why, as `reason`"),
    ],
)
def test_a_broken_preset_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        make_plan(Request(preset=preset_file(tmp_path, text)))


def test_rows_whose_runs_are_equal_are_refused(tmp_path):
    variants = {"thin": 'method = "pce"', "other": 'method = "gated_crf"\nweight = 0.5'}
    tables = "".join(f"[variants.{name}]\n{text}\n" for name, text in variants.items())
    preset = preset_file(tmp_path, f"datasets = ['octa_phantom']\n{tables}")
    assert len(make_plan(Request(preset=preset, methods=["thin", "other", "gated_crf"], options=SMALL)).jobs) == 3
    with pytest.raises(InputError, match="pce and thin have the same options and so equal runs; leave one out"):
        make_plan(Request(preset=preset, methods=["pce", "thin"], options=SMALL))


@pytest.fixture(scope="module")
def job():
    return make_plan(request(methods=["gated_crf"])).jobs[0]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"split": "other"},
        {"annotation": "point"},
        {"dataset": "other"},
        {"data": "other"},
        {"simulator": 99},
        {"options": {"weight": 9.0}},
        {"dataset_options": {}},
        *({"budget": Budget(**{name: value})} for name, value in
          {"steps": 7, "batch": 7, "size": 64, "lr": 0.5, "momentum": 0.5, "weight_decay": 0.5, "threads": 2}.items()),
        {"budget": Budget(precision="bf16")},
    ],
    ids=str,
)  # fmt: skip
def test_what_settles_the_number_is_in_the_identity(job, change):
    assert replace(job, **change).hash != job.hash


def test_what_does_not_settle_it_is_not(job):
    assert replace(job, code="other", reason="other", common=Budget(steps=1)).hash == job.hash


def test_every_field_of_the_budget_is_in_the_identity(job):
    assert set(job.identity()["budget"]) == {f.name for f in dataclasses.fields(Budget)} - set(LATER)
    changed = {"snapshots": 2, "tune": 1, "optimiser": "adamw", "schedule": "cosine", "warmup": 0.1}
    changed |= {"augmentation": "none", "resize": "squash", "kernels": "triton"}
    other = dataclasses.replace(job, budget=dataclasses.replace(job.budget, **changed))
    assert set(other.identity()["budget"]) == {f.name for f in dataclasses.fields(Budget)}
    json.dumps(job.identity())


def test_a_newer_option_of_a_method_is_in_the_identity_unless_it_has_the_value_of_older_runs(job):
    """Of federated, which has stored runs without `statistics`."""
    federated = plugins.get("method", "federated")
    of = {value: replace(job, plugin=federated, options={"mu": 0.1, "statistics": value}) for value in ("mean", "own")}
    assert of["mean"].identity()["options"] == {"mu": 0.1}
    assert of["own"].identity()["options"] == {"mu": 0.1, "statistics": "own"}


def test_the_hash_of_a_job_that_selects_nothing_is_what_it_was_before_there_was_selection(job):
    """Worked out by the version without `snapshots` and `tune`: stored runs stay who they are."""
    budget = Budget(steps=2, batch=2, size=32)
    known = replace(job, plugin=plugins.get("method", "pce"), options={}, dataset="d", dataset_options={}, budget=budget)
    known = replace(known, annotation="point", split="default", seed=0, data="", simulator=2)
    assert known.hash == "bb8cf936d6bd3157cf2dfebdf62d80a03870350d4e9b1d3cbc9b5a29a789c4b9"
    assert replace(known, budget=replace(budget, snapshots=2)).hash != known.hash
    assert replace(known, budget=replace(budget, tune=2)).hash != known.hash


@pytest.mark.parametrize("name", ["snapshots", "tune"])
def test_no_method_selects_on_terms_of_its_own(tmp_path, name):
    text = PRESET.replace("lr = 0.03", f"{name} = 2")
    with pytest.raises(InputError, match=f"gives pce another {name}; it must be the same for all methods"):
        make_plan(Request(preset=preset_file(tmp_path, text)))


def test_other_pixels_are_another_job():
    one, two = (make_plan(request(methods=["pce"], options=[*SMALL[:-1], f"octa_phantom.test={n}"])).jobs[0] for n in (1, 2))
    assert one.data != two.data


def test_encoder_weights_count_by_their_content(tmp_path):
    """Not by their path: the same file elsewhere is the same run."""
    encoder = networks.build("smp:Unet/resnet18", 3, 2).encoder
    torch.save(encoder.state_dict(), tmp_path / "a.pth")
    shutil.copy(tmp_path / "a.pth", tmp_path / "b.pth")
    torch.save({k: v * 2 for k, v in encoder.state_dict().items()}, tmp_path / "c.pth")
    one, same, other = (
        make_plan(request(budget=["network=smp:Unet/resnet18", f"weights={tmp_path / name}.pth"])).jobs[0]
        for name in ("a", "b", "c")
    )
    assert one.hash == same.hash != other.hash


PARTS = """
methods = ["pce", "gated_crf", "prior"]
seeds = [0, 1]

[[parts]]
datasets = ["octa_phantom"]
annotations = ["point"]

[[parts]]
datasets = ["fundus_phantom"]
annotations = ["scribble:sim"]

[[parts]]
methods = ["pce_dice"]
datasets = ["octa_phantom", "fundus_phantom"]
annotations = ["full"]
"""


def parts_of(tmp_path, **flags):
    """How many jobs there are of each method, data set and annotation."""
    flags.setdefault("options", [])
    plan = make_plan(Request(preset=preset_file(tmp_path, PARTS), **flags))
    return Counter((job.method, job.dataset, job.annotation) for job in plan.jobs)


def test_each_part_of_a_preset_has_its_own_data_and_annotations(tmp_path):
    """What a part does not say is what the preset says of all."""
    expected = {(method, *where): 2 for method in ("pce", "gated_crf", "prior") for where in [
        ("octa_phantom", "point"), ("fundus_phantom", "scribble:sim")]}  # fmt: skip
    full = {("pce_dice", dataset, "full"): 2 for dataset in ("octa_phantom", "fundus_phantom")}
    assert parts_of(tmp_path) == {**expected, **full}


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        ({"datasets": ["fundus_phantom"], "methods": ["pce"]}, {("pce", "fundus_phantom", "scribble:sim"): 2}),
        ({"annotations": ["scribble"], "methods": ["prior"]}, {("prior", "fundus_phantom", "scribble:sim"): 2}),
        ({"annotations": ["full"], "seeds": [4], "datasets": ["octa_phantom"]}, {("pce_dice", "octa_phantom", "full"): 1}),
        ({"methods": ["entropy"], "datasets": ["octa_phantom"]}, {("entropy", "octa_phantom", "point"): 2}),
    ],
)
def test_flags_cut_parts_down_and_replace_what_all_share(tmp_path, flags, left):
    assert parts_of(tmp_path, **flags) == left


def test_flags_that_no_part_meets_are_refused(tmp_path):
    with pytest.raises(
        InputError, match="mine has octa_phantom with scribble; its parts have octa_phantom with point; fundus_"
    ):
        parts_of(tmp_path, datasets=["octa_phantom"], annotations=["scribble"])


def test_splits_of_data_sets_that_a_flag_leaves_out_are_no_mistake(tmp_path):
    text = 'methods = ["prior"]\ndatasets = ["octa_phantom", "folder:x"]\nsplits = ["default", "cv5"]\n'
    preset = preset_file(tmp_path, text)
    (job,) = make_plan(Request(preset=preset, datasets=["octa_phantom"])).jobs
    assert job.split == "default"
    with pytest.raises(InputError, match="no data set of this run has a split 'cv5'"):
        make_plan(Request(preset=preset, datasets=["octa_phantom"], splits=["default", "cv5"]))


def test_an_option_that_a_record_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "placed.py"
    lines = [
        "from pathlib import Path",
        "from dataclasses import dataclass",
        "from benchmark.methods.pce import PartialCrossEntropy",
    ]
    lines += ["@dataclass", "class Placed(PartialCrossEntropy):", "    where: Path = Path('x')"]
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match="option where of placed is a PosixPath; an option is text, a number"):
        make_plan(Request(methods=[str(path)], datasets=["octa_phantom"]))


@pytest.mark.parametrize("name", ["folder", "clinic"])
def test_settings_of_a_folder_are_by_its_kind_or_by_its_name(tmp_path, name):
    folder = pictures.folder(tmp_path / "mine")
    text = f"[budget.dataset.{name}]\nsteps = 7\n[options.entropy.dataset.{name}]\nweight = 3.0\n"
    given = {"datasets": [f"folder:{folder}"], "methods": ["entropy"], "annotations": ["scribble"]}
    preset = preset_file(tmp_path, text)
    job, *_ = make_plan(Request(preset=preset, options=[f"{name}.sites=2"], **given)).jobs
    assert (job.budget.steps, job.options["weight"], job.dataset_options["sites"]) == (7, 3.0, 2)
    with pytest.raises(InputError, match="nonsense"):
        make_plan(Request(preset=preset, options=[f"{name}.nonsense=2"], **given))


def test_a_family_names_its_folds_and_a_fold_its_family(tmp_path):
    text = 'methods = ["prior"]\n[[parts]]\ndatasets = ["folder:x"]\nsplits = ["{}"]\n'
    for stated, named, kept in (("cv5", "cv5/1", ["cv5/1"]), ("cv5/1", "cv5", ["cv5/1"]), ("cv5", "cv5", ["cv5"])):
        preset = apply_flags(Request(preset=preset_file(tmp_path, text.format(stated)), splits=[named]))
        assert preset.parts[0].splits == kept


BUDGETS = """
methods = ["pce", "prior"]
datasets = ["octa_phantom"]

[budget]
steps = 4
size = 32
dataset.octa_phantom = {batch = 1}
method.prior = {size = 64, reason = "so"}

[[parts]]

[[parts]]
budget = {steps = 8, batch = 3, size = 48}
"""


def test_a_part_may_have_another_budget(tmp_path):
    """It wins over the preset's and the data set's; a method's own and the flags win over it."""
    preset = preset_file(tmp_path, BUDGETS)

    def budgets(**flags):
        jobs = make_plan(Request(preset=preset, options=SMALL, **flags)).jobs
        return [(job.method, job.budget.steps, job.budget.batch, job.budget.size, job.common.size) for job in jobs]

    assert budgets() == [("pce", 4, 1, 32, 32), ("prior", 4, 1, 64, 32), ("pce", 8, 3, 48, 48), ("prior", 8, 3, 64, 48)]
    assert budgets(methods=["pce"], budget=["steps=5", "batch=2", "size=16"]) == [("pce", 5, 2, 16, 16)]


def test_the_budget_of_a_part_can_say_nothing_else(tmp_path):
    text = BUDGETS.replace("{steps = 8, ", "{step = 8, ")
    with pytest.raises(InputError, match="budget has no 'step'"):
        make_plan(Request(preset=preset_file(tmp_path, text), options=SMALL))


def test_a_job_that_two_parts_name_is_run_once(tmp_path):
    text = 'methods = ["prior"]\ndatasets = ["octa_phantom"]\n[[parts]]\nseeds = [0, 1]\n[[parts]]\nseeds = [1, 2]\n'
    assert len(make_plan(Request(preset=preset_file(tmp_path, text))).jobs) == 3


def test_fields_that_older_budgets_lack_change_no_identity_at_their_default():
    def job(*budget):
        return make_plan(request(methods=["pce"], budget=list(budget))).jobs[0]

    assert job("steps=2").hash == job("steps=2", "optimiser=sgd", "schedule=poly", "warmup=0.0").hash
    other = job("steps=2", "optimiser=nesterov", "warmup=0.1")
    assert other.hash != job("steps=2").hash
    assert other.identity()["budget"] == job("steps=2").identity()["budget"] | {"optimiser": "nesterov", "warmup": 0.1}


def test_sites_are_options_of_any_data_set_and_leave_the_identity_of_one_without_them_as_it_was():
    (usual,) = make_plan(request(methods=["pce"])).jobs
    assert usual.identity()["dataset_options"] == {"size": 32, "train": 2, "val": 1, "test": 2}
    (job,) = make_plan(request(methods=["pce"], options=[*SMALL, "octa_phantom.sites=2"])).jobs
    assert job.identity()["dataset_options"] == {"size": 32, "train": 2, "val": 1, "test": 2, "sites": 2}
    assert job.data != usual.data
    with pytest.raises(InputError, match="sites of octa_phantom is 'two'; it must be a whole number from 1"):
        make_plan(request(options=[*SMALL, "octa_phantom.sites=two"]))


def test_a_method_learns_from_a_form_for_each_site_if_it_learns_from_each():
    mixed = {"options": [*SMALL, "octa_phantom.sites=2"], "annotations": ["scribble/box"]}
    plan = make_plan(request(**mixed))
    assert [(job.method, job.annotation) for job in plan.jobs] == [("pce", "scribble:sim/box")]
    assert plan.not_claimed == [("gated_crf", "scribble:sim/box")]
    assert plan.jobs[0].folder.parts[1] == "scribble-sim-box"
    with pytest.raises(InputError, match="'scribble/box' is for 2 sites, and octa_phantom names none"):
        make_plan(request(annotations=["scribble/box"]))


def test_a_form_that_is_drawn_on_some_splits_and_simulated_on_others_is_told(tmp_path):
    folder = pictures.folder(tmp_path / "clinic")
    next(iter(sorted((folder / "weak/point").iterdir()))).unlink()
    plan = make_plan(Request(methods=["prior"], datasets=[f"folder:{folder}"], annotations=["point"], splits=["cv5"]))
    (said,) = (line for line in plan.warnings if "drawn marks" in line)
    assert re.fullmatch(
        r"clinic: point is point(:drawn)? on cv5/\d and point(:drawn)? on cv5/\d, "
        "as some training scans have no drawn marks; name the one that you mean",
        said,
    )
