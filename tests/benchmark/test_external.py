"""External label maps: scored and stored like those of runs, or an error and nothing stored."""

import fcntl
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark import InputError
from benchmark.__main__ import main
from benchmark.plan import plugins
from benchmark.plan.plugins import open_data_set
from benchmark.report import runs as report_runs
from benchmark.score.evaluate import evaluate
from benchmark.score.external import Predictions, score
from benchmark.score.stored import mean_dice, rescore
from benchmark.seal.export import export, write_labels
from tests.support.sweeps import run_sweep, small_plan, write_method
from tests.tiny import pictures, volumes


def network(exported: Path, out: Path, cuts: tuple[float, ...] = (0.35, 0.6)) -> Path:
    """A "network" that cuts grey values, and writes as nnU-Net does: the image's name and geometry, and files of its own."""
    out.mkdir(parents=True)
    for path in (exported / "imagesTs").iterdir():
        name = path.name.replace("_0000", "")
        if path.suffix == ".png":
            image = np.asarray(Image.open(path).convert("L")) / 255
            Image.fromarray(np.digitize(image, cuts).astype(np.uint8)).save(out / name)
        else:
            volume = nib.load(path)
            labels = np.digitize(np.asarray(volume.dataobj) / volumes.BRIGHTEST, cuts).astype(np.uint8)
            nib.save(nib.Nifti1Image(labels, volume.affine), out / name)
    for name in ("dataset.json", "plans.json", "predict_from_raw_data_args.json", "case.npz", "case.pkl", ".hidden.png"):
        (out / name).write_text("{}")
    return out


@pytest.fixture
def stacks(tmp_path):
    """A set of volumes in nnU-Net's layout, with 3 to test on: how it is named, and predictions for it."""
    name = f"nnunet:{volumes.nnunet(tmp_path / 'organs')}"
    return name, network(
        export(open_data_set(name, tmp_path), "full", "", tmp_path / "export"), tmp_path / "teams" / "nnunet"
    )


@pytest.fixture(scope="module")
def own_runs(tmp_path_factory):
    """A results folder with a run of `prior`."""
    results = tmp_path_factory.mktemp("stored")
    run_sweep(small_plan(["prior"]), results)
    return results


@pytest.fixture
def photos(tmp_path):
    """A folder of pictures of six patients, in five folds: how it is named, and predictions for all of them."""
    name, out = f"folder:{pictures.folder(tmp_path / 'clinic')}", tmp_path / "teams" / "threshold"
    for fold in range(5):
        network(
            export(open_data_set(name, tmp_path), "point", f"cv5/{fold}", tmp_path / f"export{fold}"),
            tmp_path / f"out{fold}",
        )
        shutil.copytree(tmp_path / f"out{fold}", out, dirs_exist_ok=True)
    return name, out


def stored(results: Path) -> list[Path]:
    return sorted(path.parent for path in results.glob("runs/*/*/*/*/run.json"))


def by_hand(dataset, split: str, labels_of) -> pd.DataFrame:
    """What `cases.csv` should hold of overlaps and of HD95."""
    lines = []
    for scan in map(dataset.load, dataset.split(split).test):
        scores = evaluate(labels_of(scan.name), scan.mask, dataset.regions, scan.spacing, tolerance=dataset.tolerance)
        lines += [{"scan": scan.name, "patient": scan.patient, "region": region} | s for region, s in scores.items()]
    return pd.DataFrame(lines)


def same_cases(folder: Path, expected: pd.DataFrame) -> bool:
    found = pd.read_csv(folder / "cases.csv")
    pd.testing.assert_frame_equal(found[list(expected)], expected, check_dtype=False)
    return 0.1 < found.dice.mean() < 1  # the network is no good, and better than nothing


@pytest.mark.slow
def test_an_exported_split_of_acdc_comes_back_scored_as_by_hand(tmp_path):
    root = volumes.acdc(tmp_path / "data")
    exported = export(open_data_set("acdc", root), "scribble", "strat5/0", tmp_path / "export")
    out = network(exported, tmp_path / "nnunet", (0.35, 0.5, 0.65))
    score(Predictions([str(out)], "acdc", "strat5/0", annotation="scribble"), tmp_path / "r", root)
    (folder,) = stored(tmp_path / "r")
    assert folder.parent == tmp_path / "r/runs/acdc/scribble-drawn/nnunet"
    assert folder.name.startswith("strat5-0-seed0-")

    def labels_of(name: str) -> np.ndarray:
        return np.asarray(nib.load(out / f"{name}.nii.gz").dataobj).transpose(2, 1, 0)

    expected = by_hand(plugins.open_data_set("acdc", root), "strat5/0", labels_of)
    assert len(expected) == 40 * 3
    assert same_cases(folder, expected)
    assert (pd.read_csv(folder / "cases.csv").unit == "mm").all()


@pytest.mark.parametrize("ending", [".png", ".nii.gz", ".nii", ".tif", ".bmp", ".PNG"])
def test_single_images_come_back_as_pictures_or_as_volumes_of_one_slice(photos, tmp_path, ending):
    name, out = photos
    dataset = plugins.open_data_set(name, tmp_path)
    maps = {path.stem: np.asarray(Image.open(path)) for path in out.glob("[!.]*.png")}
    for stem, labels in maps.items():
        (out / f"{stem}.png").unlink()
        if "nii" in ending:
            write_labels(out / f"{stem}", labels[None], dataset.load(stem), flat=False)
            if ending == ".nii":
                nib.save(nib.load(out / f"{stem}.nii.gz"), out / f"{stem}.nii")
                (out / f"{stem}.nii.gz").unlink()
        else:
            Image.fromarray(labels).save(out / f"{stem}{ending}")
    score(Predictions([str(out)], name), tmp_path / "r", tmp_path)
    (folder,) = stored(tmp_path / "r")
    assert same_cases(folder, by_hand(dataset, "cv5/0", lambda scan: maps[scan][None]))


def test_a_phantom_comes_back_and_its_two_classes_may_be_0_and_255(tmp_path):
    exported = export(open_data_set("octa_phantom", tmp_path / "data"), "scribble", "", tmp_path / "export")
    bright = network(exported, tmp_path / "bright", (0.5,))
    dataset = plugins.open_data_set("octa_phantom", tmp_path / "data")
    maps = {path.stem: 1 - np.asarray(Image.open(path)) for path in bright.glob("[!.]*.png")}  # what is sought is dark
    for name, labels in maps.items():
        Image.fromarray(labels * np.uint8(255)).save(bright / f"{name}.png")
    score(Predictions([str(bright)], "octa_phantom"), tmp_path / "r", tmp_path / "data")
    (folder,) = stored(tmp_path / "r")
    assert same_cases(folder, by_hand(dataset, "default", lambda name: maps[name][None]))


def test_run_json_says_what_was_scored_and_nothing_of_this_machine(stacks, tmp_path):
    name, out = stacks
    score(Predictions([str(out)], name, seed=3), tmp_path / "r", tmp_path)
    (folder,) = stored(tmp_path / "r")
    text = (folder / "run.json").read_text()
    run = json.loads(text)
    assert str(tmp_path) not in text
    assert (run["state"], run["external"], run["label"], run["common"], run["code"]) == ("done", True, "nnunet", {}, "")
    assert {key: run["identity"][key] for key in ("method", "options", "annotation", "split", "seed", "budget")} == {
        "method": "nnunet", "options": {}, "annotation": "", "split": "official", "seed": 3, "budget": {}}  # fmt: skip
    assert folder == tmp_path / "r/runs/organs/external/nnunet" / f"official-seed3-{run['hash'][:8]}"
    assert {path.name for path in folder.iterdir()} == {
        "run.json", "cases.csv", "label0000.npz", "label0001.npz", "label0002.npz"}  # fmt: skip


def test_its_identity_has_the_fields_of_a_run(stacks, own_runs, tmp_path):
    """So that a report may put both into one table."""
    shutil.copytree(own_runs, tmp_path / "r")
    score(Predictions([str(stacks[1])], stacks[0]), tmp_path / "r", tmp_path)
    run, external = (json.loads((folder / "run.json").read_text()) for folder in stored(tmp_path / "r"))
    assert list(run["identity"]) == list(external["identity"])
    assert set(run) - set(external) == {"wall_s", "slot", "worker", "processor", "revision", "role", "extra", "titles"}


def test_the_digest_of_the_predictions_can_be_made_of_the_stored_label_maps(stacks, tmp_path):
    score(Predictions([str(stacks[1])], stacks[0]), tmp_path / "r", tmp_path)
    (folder,) = stored(tmp_path / "r")
    run, text = json.loads((folder / "run.json").read_text()), b""
    for number, scan in enumerate(run["scans"]):
        labels = np.load(folder / f"label{number:04d}.npz")["labels"]
        text += f"{scan} {labels.shape}\n".encode() + labels.tobytes()
    assert run["predictions_sha256"] == hashlib.sha256(text).hexdigest()


def test_a_family_of_splits_is_a_run_for_each_fold(photos, tmp_path):
    name, out = photos
    lines, _ = score(Predictions([str(out)], name, "cv5"), tmp_path / "r", tmp_path)
    folders = stored(tmp_path / "r")
    assert [json.loads((f / "run.json").read_text())["identity"]["split"] for f in folders] == [f"cv5/{k}" for k in range(5)]
    cases = pd.concat([pd.read_csv(folder / "cases.csv") for folder in folders])
    assert cases.scan.nunique() == 12
    mean = cases.groupby("patient").dice.mean().mean()
    assert f"threshold: cv5, 12 scans, mean Dice {mean:.3f}" in lines


def test_mean_dice_is_taken_over_regions_then_scans_then_patients():
    cases = [
        {"patient": "p", "scan": "a", "dice": 1.0},
        {"patient": "p", "scan": "a", "dice": 0.0},
        {"patient": "p", "scan": "b", "dice": 1.0},
        {"patient": "p", "scan": "b", "dice": ""},  # the truth lacks the region
        {"patient": "q", "scan": "c", "dice": 0.25},
    ]
    assert mean_dice(cases) == (0.75 + 0.25) / 2


def test_other_files_are_ignored_and_other_label_maps_are_counted(stacks, tmp_path):
    name, out = stacks
    for extra in ("case_000", "case_001"):  # training scans
        shutil.copy(out / "case_007.nii.gz", out / f"{extra}.nii.gz")
    (counted, stored_in, report), _ = score(Predictions([str(out)], name), tmp_path / "r", tmp_path)
    assert "3 scans, mean Dice 0." in counted
    assert counted.endswith("; 2 label maps belong to other scans and were left out")
    assert stored_in == f"stored in {tmp_path / 'r/runs/organs/external/nnunet'}"
    assert report.endswith(f"python -m benchmark report --results {tmp_path / 'r'}")


def test_scoring_again_replaces_the_run(stacks, tmp_path):
    name, out = stacks
    score(Predictions([str(out)], name), tmp_path / "r", tmp_path)
    before = {path.name: path.read_bytes() for path in stored(tmp_path / "r")[0].iterdir()}
    volume = nib.load(out / "case_008.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros_like(np.asarray(volume.dataobj)), volume.affine), out / "case_008.nii.gz")
    score(Predictions([str(out)], name), tmp_path / "r", tmp_path)
    (folder,) = stored(tmp_path / "r")
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {key for key in before if before[key] != after[key]} == {"run.json", "cases.csv", "label0001.npz"}
    assert list((tmp_path / "r/.staging").iterdir()) == []


def test_a_stored_run_is_scored_again_like_our_own(stacks, tmp_path):
    name, out = stacks
    score(Predictions([str(out)], name), tmp_path / "r", tmp_path)
    cases = stored(tmp_path / "r")[0] / "cases.csv"
    before = cases.read_bytes()
    cases.write_text("scan,dice\n")
    assert rescore(tmp_path / "r", tmp_path, [name]) == 1
    assert cases.read_bytes() == before


def test_a_report_reads_it_as_external(stacks, tmp_path):
    score(Predictions([str(stacks[1])], stacks[0]), tmp_path / "r", tmp_path)
    read = report_runs.read(tmp_path / "r")
    assert read.set_aside == []
    assert read.runs[["row", "state", "external", "stale"]].to_numpy().tolist() == [["nnunet", "done", True, False]]
    assert len(read.cases) == 3 * 2


def test_no_method_is_trained_beside_predictions_of_its_name(stacks, tmp_path):
    score(Predictions([str(stacks[1])], stacks[0]), tmp_path / "r", tmp_path)
    plan = small_plan([write_method(tmp_path, "nnunet", "pass", "return np.zeros((1, 32, 32), np.uint8)")])
    with pytest.raises(InputError, match="has predictions of other code called 'nnunet'; give the method another name"):
        run_sweep(plan, tmp_path / "r")
    assert run_sweep(small_plan(["prior"]), tmp_path / "r").lines == [("prior", "done", "")]


def test_teams_with_the_same_label_maps_are_a_warning(stacks, tmp_path):
    name, out = stacks
    shutil.copytree(out, out.with_name("copycat"))
    _, warnings = score(Predictions([str(out), str(out.with_name("copycat"))], name), tmp_path / "r", tmp_path)
    assert warnings == ["nnunet and copycat have identical label maps for official"]
    assert len(stored(tmp_path / "r")) == 2


def test_nothing_is_stored_where_one_of_many_folders_is_wrong(stacks, tmp_path):
    name, out = stacks
    shutil.copytree(out, out.with_name("second"))
    (out.with_name("second") / "case_009.nii.gz").unlink()
    with pytest.raises(InputError, match="second lacks 1 of 3 test scans: case_009"):
        score(Predictions([str(out), str(out.with_name("second"))], name), tmp_path / "r", tmp_path)
    assert not (tmp_path / "r").exists()


def test_a_run_that_another_process_is_storing_stops_all(stacks, tmp_path):
    name, out = stacks
    shutil.copytree(out, out.with_name("second"))
    score(Predictions([str(out.with_name("second"))], name), tmp_path / "r", tmp_path)
    (lock,) = (tmp_path / "r/.locks").iterdir()
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is storing second"):
            score(Predictions([str(out), str(out.with_name("second"))], name), tmp_path / "r", tmp_path)
    assert [folder.parent.name for folder in stored(tmp_path / "r")] == ["second"]


# ------------------------------------------------------------------------------------------------ what is refused


def rewritten(change, spacing=None):
    """A fault in the second test volume: its array (columns, rows, slices) changed, perhaps with other zooms."""

    def plant(out: Path) -> None:
        volume = nib.load(out / "case_008.nii.gz")
        affine = volume.affine if spacing is None else np.diag([*spacing, 1.0])
        nib.save(nib.Nifti1Image(change(np.asarray(volume.dataobj)), affine), out / "case_008.nii.gz")

    return plant


def with_value(value, dtype=np.float32):
    def change(array):
        array = array.astype(dtype)
        array[0, 0, 0] = value
        return array

    return change


def coloured(array):
    return np.zeros(array.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])


def as_pictures(out):
    for path in out.glob("*.nii.gz"):
        Image.fromarray(np.zeros((30, 34), np.uint8)).save(out / f"{path.name.removesuffix('.nii.gz')}.png")
        path.unlink()


def emptied(out):
    for path in out.glob("*.nii.gz"):
        path.unlink()


def as_images_are_called(out):
    for path in out.glob("*.nii.gz"):
        path.rename(out / path.name.replace(".", "_0000.", 1))


def damaged(out):
    raw = bytearray((out / "case_008.nii.gz").read_bytes())
    raw[20:40] = bytes(b ^ 0xFF for b in raw[20:40])
    (out / "case_008.nii.gz").write_bytes(raw)


def truth(out):
    for path in (out.parents[1] / "organs/labelsTs").iterdir():
        shutil.copy(path, out)


FAULTS = {
    "missing": (lambda o: (o / "case_008.nii.gz").unlink(),
                r"nnunet lacks 1 of 3 test scans: case_008; .* such as case_007.nii.gz or case_007.png"),
    "names of images": (as_images_are_called,
                        r"lacks 3 of 3 test scans: case_007, case_008, .*case_007_0000.nii.gz is not a test scan's"),
    "empty folder": (emptied, "nnunet holds no label maps; a label map has its scan's name"),
    "two for one scan": (lambda o: shutil.copy(o / "case_008.nii.gz", o / "case_008.nii"),
                         "nnunet holds case_008.nii and case_008.nii.gz; two files may not have the same name"),
    "network's size": (rewritten(lambda a: np.zeros((64, 64, 3), np.uint8)),
                       r"case_008.nii.gz has shape \(3, 64, 64\) .* its image \(3, 30, 34\): .* size of its image"),
    "transposed": (rewritten(lambda a: a.transpose(1, 0, 2)),
                   r"case_008.nii.gz has shape \(3, 34, 30\) .* its image \(3, 30, 34\): its axes are transposed"),
    "pictures of stacks": (as_pictures, r"case_007.png has shape \(1, 30, 34\) .* its image \(3, 30, 34\)"),
    "flat": (rewritten(lambda a: a[..., 0]), r"case_008.nii.gz has shape \(34, 30\); a volume has three axes"),
    "resampled": (rewritten(lambda a: a, (1.25, 1.25, 8)),
                  r"case_008.nii.gz has a spacing of 8 x 1.25 x 1.25 mm .* its image 8 x 1.5 x 1.25: its axes are swapped"),
    "unknown label": (rewritten(with_value(7, np.uint8)), r"case_008.nii.gz holds unknown labels \[7\]; .* 0 to 2$"),
    "255 of three classes": (rewritten(with_value(255, np.uint8)), r"unknown labels \[255\]; it may hold 0 to 2$"),
    "fractions": (rewritten(with_value(0.5)), r"case_008.nii.gz holds \[0.5\]; labels are whole numbers"),
    "negative": (rewritten(with_value(-1, np.int16)), r"case_008.nii.gz holds \[-1\]; labels are whole numbers"),
    "NaN": (rewritten(with_value(np.nan)), r"case_008.nii.gz holds \[nan\]; labels are whole numbers"),
    "colours": (rewritten(coloured), r"case_008.nii.gz holds .*'R'.*; it must hold intensities or labels, as numbers"),
    "truncated": (lambda o: os.truncate(o / "case_008.nii.gz", 200), "case_008.nii.gz can't be read .*truncated: copy it"),
    "of no bytes": (lambda o: os.truncate(o / "case_008.nii.gz", 0), "case_008.nii.gz can't be read .*truncated: copy it"),
    "damaged": (damaged, "case_008.nii.gz can't be read .*truncated: copy it"),
    "text": (lambda o: ((o / "case_008.nii.gz").unlink(), (o / "case_008.nii").write_text("hello")),
             "case_008.nii can't be read"),
    "the truth": (truth, "nnunet equals the masks of all 3 test scans: it is the truth; give"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_label_maps_that_are_wrong_are_named_and_nothing_is_stored(stacks, tmp_path, fault):
    name, out = stacks
    plant, message = FAULTS[fault]
    plant(out)
    with pytest.raises(InputError, match=message):
        score(Predictions([str(out)], name), tmp_path / "r", tmp_path)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("mode", "message"), [("F", r".tif holds \[0.5.*; labels are whole numbers"), ("RGB", ".tif is a coloured mask")]
)
def test_pictures_of_fractions_or_colours_are_refused(photos, tmp_path, mode, message):
    name, out = photos
    for path in out.glob("[!.]*.png"):
        grey = Image.open(path)
        picture = (
            grey.convert("F").point(lambda value: value * 1 + 0.5)
            if mode == "F"
            else Image.merge("RGB", [grey, grey, Image.new("L", grey.size)])
        )
        picture.save(path.with_suffix(".tif"))
        path.unlink()
    with pytest.raises(InputError, match=message):
        score(Predictions([str(out)], name), tmp_path / "r", tmp_path)


def test_a_spacing_within_a_hundredth_is_the_scans_own(stacks, tmp_path):
    name, out = stacks
    rewritten(lambda a: a, (1.2501, 1.4999, 8.01))(out)
    score(Predictions([str(out)], name), tmp_path / "r", tmp_path)
    assert len(stored(tmp_path / "r")) == 1


def test_more_than_five_missing_scans_are_counted(tmp_path):
    pictures.odoc(tmp_path / "data")
    (tmp_path / "nnunet").mkdir()
    Image.new("L", (40, 36)).save(tmp_path / "nnunet/some.png")
    with pytest.raises(InputError, match=r"lacks (\d+) of \1 test scans: test_\w+(, test_\w+){4}, \.\.\.; "):
        score(Predictions([str(tmp_path / "nnunet")], "odoc"), tmp_path / "r", tmp_path / "data")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folders": ["nowhere"]}, "there is no folder nowhere; --predictions must be a folder with a label map per"),
        ({"folders": ["teams/nnunet/dataset.json"]}, "there is no folder teams/nnunet/dataset.json"),
        ({"folders": ["teams/x*"]}, r"no folder matches 'teams/x\*'"),
        ({"folders": ["organs/labelsTs"]}, "organs/labelsTs is inside .*organs, the data set itself, whose files are the"),
        ({"folders": ["teams/nnunet", "teams/other"], "name": "stored"}, "--name is 'stored' for 2 folders"),
        ({"folders": ["teams/nnunet", "teams/nnunet"]}, "teams/nnunet and teams/nnunet have the same name, 'nnunet'"),
        ({"folders": ["teams/nnunet"], "name": "my net"}, "'my net' can't name predictions; names are letters"),
        ({"folders": ["teams/nnunet"], "name": "procns"}, "'procns' is a method of the benchmark; choose another name"),
        ({"folders": ["teams/nnunet"], "split": "strat5"}, "organs has no split 'strat5'; it has official"),
        ({"folders": ["teams/nnunet"], "annotation": "marks"}, "no annotation 'marks'"),
        ({"folders": ["teams/nnunet"], "annotation": "point:drawn"}, "organs has no drawn annotations, not point:drawn"),
        ({"folders": ["teams/nnunet"], "dataset": "organs"}, "no data set 'organs'"),
    ],
)
def test_words_that_are_wrong_are_named_and_nothing_is_stored(stacks, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    Path("teams/other").mkdir()
    with pytest.raises(InputError, match=message):
        score(Predictions(**{"dataset": stacks[0], **changes}), Path("r"), Path("data"))
    assert not Path("r").exists()


def test_a_name_of_stored_runs_is_refused(stacks, own_runs, tmp_path):
    """A method of one's own has a name too, as have variants."""
    shutil.copytree(own_runs, tmp_path / "r")
    (folder,) = stored(tmp_path / "r")
    folder.parent.rename(folder.parents[1] / "mine")
    with pytest.raises(InputError, match="is a trained run called 'mine'; choose another name with --name"):
        score(Predictions([str(stacks[1])], stacks[0], name="mine"), tmp_path / "r", tmp_path)
    (folder.parents[1] / "mine" / folder.name / "run.json").write_text("{")
    with pytest.raises(InputError, match="run.json is damaged .*; remove that folder"):
        score(Predictions([str(stacks[1])], stacks[0], name="mine"), tmp_path / "r", tmp_path)


def test_one_name_with_and_without_an_annotation_would_share_a_cell_and_is_refused(stacks, tmp_path):
    name, out = stacks
    score(Predictions([str(out)], name), tmp_path / "r", tmp_path)
    with pytest.raises(InputError, match="'nnunet' for official with the annotation unknown, and now it is full"):
        score(Predictions([str(out)], name, annotation="full"), tmp_path / "r", tmp_path)
    score(Predictions([str(out)], name, name="nnunet_full", annotation="full"), tmp_path / "r", tmp_path)
    score(Predictions([str(out)], name, name="nnunet_full", annotation="scribble"), tmp_path / "r", tmp_path)
    assert [folder.parts[-3] for folder in stored(tmp_path / "r")] == ["external", "full", "scribble-sim"]


# ------------------------------------------------------------------------------------------------ the command line


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["benchmark", "score", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    "words",
    [
        ["--predictions", "teams/*"],  # quoted
        ["--predictions", "teams/nnunet", "teams/other"],  # as a shell expands it
        ["--predictions", "teams/nnunet", "--predictions", "teams/other"],
    ],
)
def test_several_folders_are_named_by_a_pattern_by_what_a_shell_makes_of_it_or_one_by_one(command, stacks, words):
    shutil.copytree("teams/nnunet", "teams/other")
    Path("teams/.cache").mkdir()
    Path("teams/readme.txt").write_text("no team")
    status, shown, errors = command(*words, "--datasets", stacks[0], "--annotations", "full")
    assert (status, errors) == (0, "")
    assert {folder.parts[-4:-1] for folder in stored(Path("results"))} == {
        ("organs", "full", "nnunet"), ("organs", "full", "other")}  # fmt: skip
    assert shown.count("official, 3 scans, mean Dice 0.") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--predictions", "teams/nnunet"], "--datasets is ''; with --predictions it must be one data set"),
        (["--predictions", "teams/nnunet", "--datasets", "acdc,faz"], "--datasets is 'acdc,faz'; with --predictions"),
        (["--split", "strat5"], "--split, --name, --annotations and --seed describe predictions; add --predictions"),
        (["--predictions", "teams/nnunet", "--seed", "-1"], "Invalid value for '--seed'"),
    ],
)
def test_flags_that_do_not_fit_are_a_sentence_and_status_2(command, words, message):
    status, _, errors = command(*words)
    assert status == 2
    assert message in errors
