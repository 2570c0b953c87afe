"""Scores of a run and of its snapshots, and of stored runs again."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import InputError
from benchmark.datasets.base import Dataset, Inventory, check_split
from benchmark.inputs import read_npz
from benchmark.plan import plugins
from benchmark.plan.jobs import PROTOCOL
from benchmark.score.evaluate import evaluate
from benchmark.score.metrics import Named, records_of
from benchmark.score.metrics import named as named_metric
from benchmark.store import Rows, Tables, open_results, write_cases, write_json


def rescore(results: Path, data: Path, named: Iterable[str] = (), metrics: Iterable[str] = ()) -> int:
    """Write the scores of every run that is done anew, from its label maps; returns how many.

    `named`: data sets that only a path finds, such as folder:PATH. `metrics`: names or .py files of metrics beside the
    suite's; those of an earlier call that are not among them are taken out. All is
    read and scored before anything is written; raises InputError where a data set is not at hand or was changed since, or
    a run holds no label maps.
    """
    runs = done(results)
    sets, own = DataSets(data, named), [named_metric(plugins.get("metric", text)) for text in metrics]
    scored = {folder: _scored(folder, run, sets, own) for folder, run in runs.items()}
    for folder, (tables, chosen) in scored.items():
        for name, rows in tables.items():
            staged = folder / f"{name}.{os.getpid()}"
            write_cases(staged, rows)
            staged.replace(folder / name)
        if chosen or own or "metrics" in runs[folder]:
            staged = folder / f"run.json.{os.getpid()}"
            record = {name: value for name, value in runs[folder].items() if name not in ("folder", "metrics")} | chosen
            record |= {"metrics": records_of(own)} if own else {}
            write_json(staged, record)
            staged.replace(folder / "run.json")
    return len(scored)


def done(results: Path) -> dict[Path, dict[str, Any]]:
    """The records of the runs that are done, by folder; raises InputError if there are none."""
    home = open_results(results)
    found = {home.path(run["folder"]): run for run in home.records() if run["state"] == "done"}
    if not found:
        raise InputError(f"{results} holds no runs that are done")
    return found


class DataSets:
    """The data sets of the runs, each looked through once."""

    def __init__(self, data: Path, named: Iterable[str]) -> None:
        self.data = data
        self.inventories: dict[str, Inventory] = {}
        self.paths = {plugins.open_data_set(text, data).name: text for text in named}

    def inventory(self, identity: dict[str, Any]) -> Inventory:
        """Of the data set of a run, with its options."""
        name, options = identity["dataset"], identity["dataset_options"]
        key = json.dumps([name, options], sort_keys=True)
        if key not in self.inventories:
            text = self.paths.get(name, name)
            if text == name and name not in plugins.find("data set"):
                raise InputError(f"the runs need a data set {name!r}; say where it is, with --datasets folder:PATH")
            self.inventories[key] = Inventory(plugins.open_data_set(text, self.data, options), options)
        return self.inventories[key]


def unchanged(folder: Path, run: dict[str, Any], sets: DataSets) -> Dataset:
    """The data set of a run; raises InputError where it, its split or the protocol was changed since."""
    identity = run["identity"]
    if identity["protocol"] != PROTOCOL:
        raise InputError(f"{folder} is of protocol {identity['protocol']}; this version has {PROTOCOL}")
    inventory = sets.inventory(identity)
    if inventory.look(identity["split"]).fingerprint != identity["data"]:
        raise InputError(f"{folder}: split {identity['split']} of {identity['dataset']} was changed since; run it again")
    split = check_split(inventory.dataset, identity["split"])
    for name, scans in (("scans", split.test), *([("val_scans", split.val)] if run.get("snapshots") else [])):
        if run.get(name) != list(scans):
            raise InputError(f"{folder}/run.json is damaged: its {name} are not those of its split; run it again")
    return inventory.dataset


def _scored(folder: Path, run: dict[str, Any], sets: DataSets, own: Sequence[Named]) -> tuple[Tables, dict[str, Any]]:
    """A run's tables, and what it selects of its snapshots."""
    dataset = unchanged(folder, run, sets)
    for path in (*folder.glob("label*.npz"), *folder.glob("step*.npz")):
        read_npz(path, "labels")  # names a file that is damaged, or holds objects
    try:
        tables, chosen = {"cases.csv": score_run(dataset, run["scans"], folder, own)}, dict[str, Any]()
        if kept := run.get("snapshots"):
            scans = run["scans"], run["val_scans"]
            tables["snapshots.csv"], chosen = score_snapshots(dataset, *scans, kept, folder, own)
        return tables, chosen
    except ValueError as error:
        raise InputError(f"{folder}: {error}") from error


def score_run(dataset: Dataset, names: Iterable[str], out: Path, own: Sequence[Named] = ()) -> Rows:
    """One row per test scan and region; raises ValueError where a label map is missing or is none.

    own: metrics beside those of the suite.
    """
    return _score(dataset, names, out, ["label"], own)["label"]


def score_snapshots(
    dataset: Dataset,
    test: Iterable[str],
    val: Iterable[str],
    kept: Iterable[Mapping[str, Any]],
    out: Path,
    own: Sequence[Named] = (),
) -> tuple[Rows, dict[str, Any]]:
    """Scores of every snapshot on test and held-out scans, and what each rule of selection would choose.

    own: metrics beside those of the suite, by which nothing is chosen.
    kept: `step` and `weakval`, the loss on held-out marks, of each, the end of training first. Equals go to the later step;
    what is None (no marks, no region, no finite loss) is worse than anything.
    """
    steps = {each["step"]: each["weakval"] for each in kept}
    last = max(steps)
    stems = {("val", step): f"step{step:06d}-val" for step in steps}
    stems |= {("test", step): "label" if step == last else f"step{step:06d}-test" for step in steps}
    scored = {"val": _score(dataset, val, out, [stem for (part, _), stem in stems.items() if part == "val"], own)}
    scored["test"] = _score(dataset, test, out, [stem for (part, _), stem in stems.items() if part == "test"], own)
    rows = [
        {"part": part, "step": step, **row} for (part, step), stem in sorted(stems.items()) for row in scored[part][stem]
    ]
    dice = {key: _none_if_nan(mean_dice(scored[key[0]][stem])) for key, stem in stems.items()}
    snapshots = [
        {"step": step, "weakval": steps[step], "val_dice": dice["val", step], "test_dice": dice["test", step]}
        for step in sorted(steps)
    ]
    selected = {"last": last}
    for rule, key, sign in (("weakval", "weakval", -1), ("val", "val_dice", 1), ("test", "test_dice", 1)):
        worth = {each["step"]: -np.inf if each[key] is None else sign * each[key] for each in snapshots}
        selected[rule] = max(worth, key=lambda step: (worth[step], step))
    return rows, {"snapshots": snapshots, "selected": selected}


def mean_dice(cases: Iterable[Mapping[str, Any]]) -> float:
    """Dice in the protocol's order: over a scan's regions, a patient's scans, patients; NaN where all truth is empty."""
    by_patient: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        if case["dice"] != "":
            by_patient.setdefault(case["patient"], {}).setdefault(case["scan"], []).append(float(case["dice"]))
    means = [np.mean([np.mean(regions) for regions in scans.values()]) for scans in by_patient.values()]
    return float(np.mean(means)) if means else np.nan


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def _score(
    dataset: Dataset, names: Iterable[str], out: Path, stems: Iterable[str], own_metrics: Sequence[Named] = ()
) -> dict[str, Rows]:
    """Rows of scores by stem of the label maps' names; every scan is loaded once."""
    rows: dict[str, Rows] = {stem: [] for stem in stems}
    for number, name in enumerate(names):
        scan = dataset.load(name)
        if scan.mask is None:
            raise ValueError(f"scan {name} has no mask")
        where = {"scan": name, "patient": scan.patient}
        for stem, own in rows.items():
            labels = _label_map(out / f"{stem}{number:04d}")
            if labels.dtype != np.uint8 or labels.max(initial=0) >= len(dataset.classes):
                raise ValueError(f"the label map {stem} of scan {number} holds {labels.dtype} up to {labels.max(initial=0)}")
            scores = evaluate(labels, scan.mask, dataset.regions, scan.spacing, tolerance=dataset.tolerance, own=own_metrics)
            for region, values in scores.items():
                row = {**where, "region": region, "unit": "mm" if scan.spacing else "px"}
                own.append(row | {key: "" if np.isnan(value) else value for key, value in values.items()})
    return rows


def _label_map(stem: Path) -> np.ndarray:
    """Labels as a worker leaves them (.npy) or as they are stored (.npz)."""
    fresh, stored = stem.with_suffix(".npy"), stem.with_suffix(".npz")
    if fresh.is_file():
        return np.asarray(np.load(fresh, allow_pickle=False))
    if stored.is_file():
        return np.asarray(np.load(stored, allow_pickle=False)["labels"])
    raise ValueError(f"there is no {stored.name} or {fresh.name}, the label map of a test scan")
