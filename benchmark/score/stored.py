"""Score a run and its snapshots, and stored runs again."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import InputError
from benchmark.datasets.base import Dataset, Inventory, check_split, load_alone, site_names
from benchmark.datasets.summaries import remembered, state_of_files
from benchmark.inputs import read_npz
from benchmark.plan import plugins
from benchmark.plan.jobs import PROTOCOL
from benchmark.score.evaluate import evaluate
from benchmark.score.metrics import Named, records_of
from benchmark.score.metrics import named as named_metric
from benchmark.store import Rows, Tables, open_results, write_cases, write_json


def rescore(results: Path, data: Path, named: Iterable[str] = (), metrics: Iterable[str] = ()) -> int:
    """Score every run that is done again, from its label maps; return the number of runs.

    `named`: data sets that need a path, such as folder:PATH. `metrics`: names or .py files of plug-ins' metrics, in addition
    to the suite's; they replace those of an earlier call. Everything is read and scored before anything is
    written. Raises InputError if a data set is missing or has changed, a run has no label maps, or was run again meanwhile.
    """
    runs = done(results)
    sets, extra = DataSets(data, named), [named_metric(plugin) for plugin in plugins.metrics(metrics)]
    scored = {folder: _scored(folder, run, sets, extra) for folder, run in runs.items()}
    home = open_results(results)
    home.prepare()
    for folder, (tables, chosen) in scored.items():
        record = {name: value for name, value in runs[folder].items() if name not in ("folder", "metrics")} | chosen
        record |= {"reason": ""} | ({"metrics": records_of(extra)} if extra else {})
        repeated = InputError(f"{folder} was run again while it was scored; repeat the command")
        if (lock := home.lock(runs[folder]["hash"])) is None:
            raise repeated
        with lock:
            now = home.record(runs[folder]["folder"])
            if now is None or {"folder": runs[folder]["folder"], **now} != runs[folder]:
                raise repeated
            for name, rows in tables.items():
                staged = folder / f"{name}.{os.getpid()}"
                write_cases(staged, rows)
                staged.replace(folder / name)
            staged = folder / f"run.json.{os.getpid()}"
            write_json(staged, record)
            staged.replace(folder / "run.json")
    return len(scored)


def done(results: Path) -> dict[Path, dict[str, Any]]:
    """Return the records of the runs that are done, by folder; raises InputError if there are none."""
    home = open_results(results)
    found = {home.path(run["folder"]): run for run in home.records() if run["state"] == "done"}
    if not found:
        raise InputError(f"{results} holds no runs that are done")
    return found


class DataSets:
    """The data sets of the runs, each read once."""

    def __init__(self, data: Path, named: Iterable[str]) -> None:
        self.data = data
        self.inventories: dict[str, Inventory] = {}
        self.paths = {plugins.open_data_set(text, data).name: text for text in named}

    def inventory(self, identity: dict[str, Any]) -> Inventory:
        """Return the inventory of a run's data set."""
        name, options = identity["dataset"], identity["dataset_options"]
        key = json.dumps([name, options], sort_keys=True)
        if key not in self.inventories:
            other = options.get("test_on", "")
            found = options | ({"test_on": self._text(other)} if other else {})
            dataset = plugins.open_data_set(self._text(name.removesuffix(f"-to-{other}")), self.data, found)
            self.inventories[key] = Inventory(dataset, options)
        return self.inventories[key]

    def _text(self, name: str) -> str:
        """Return what the command line calls a data set."""
        text = self.paths.get(name, name)
        if text == name and name not in plugins.find("data set"):
            raise InputError(f"the runs need a data set {name!r}; give its folder: --datasets folder:PATH")
        return text


def unchanged(folder: Path, run: dict[str, Any], sets: DataSets) -> Dataset:
    """Return a run's data set; raises InputError if it, its split or the protocol has changed."""
    identity = run["identity"]
    if identity["protocol"] != PROTOCOL:
        raise InputError(f"{folder} has protocol {identity['protocol']}, and this version {PROTOCOL}; run it again")
    inventory = sets.inventory(identity)
    if inventory.look(identity["split"]).fingerprint != identity["data"]:
        raise InputError(f"{folder}: split {identity['split']} of {identity['dataset']} has changed; run it again")
    split = check_split(inventory.dataset, identity["split"])
    for name, scans in (("scans", split.test), *([("val_scans", split.val)] if run.get("snapshots") else [])):
        if run.get(name) != list(scans):
            raise InputError(f"{folder}/run.json is damaged: its {name} are not those of its split; run it again")
    return inventory.dataset


def changed(dataset: Dataset, options: Mapping[str, Any], split: str, data: str, files: str) -> bool:
    """Whether a split no longer has the fingerprint `data`; scans are read only if the state of its files is not `files`."""
    with suppress(OSError):  # a file is gone: reading says which
        if files == state_of_files(dataset):
            return False
    inventory = Inventory(dataset, options)
    with remembered([inventory]):
        return inventory.look(split).fingerprint != data


def _scored(folder: Path, run: dict[str, Any], sets: DataSets, extra: Sequence[Named]) -> tuple[Tables, dict[str, Any]]:
    """Return a run's tables, and the entries in `run.json` that belong to them."""
    dataset = unchanged(folder, run, sets)
    for path in (*folder.glob("label*.npz"), *folder.glob("step*.npz")):
        read_npz(path, "labels")  # its error names a damaged file
    try:
        tables, chosen = {"cases.csv": score_run(dataset, run["scans"], folder, extra)}, rules_of(dataset)
        if snapshots := run.get("snapshots"):
            scans = run["scans"], run["val_scans"]
            tables["snapshots.csv"], selected = score_snapshots(dataset, *scans, snapshots, folder, extra)
            chosen |= selected
        return tables, chosen
    except ValueError as error:
        raise InputError(f"{folder}: {error}") from error


def rules_of(dataset: Dataset) -> dict[str, Any]:
    """Return what `run.json` says of the rules of a data set by which scans are scored."""
    return {
        "regions": list(dataset.regions),
        "labels": {name: list(labels) for name, labels in dataset.regions.items()},
        "tolerance": dataset.tolerance,
    }


def scans_of(dataset: Dataset, names: Iterable[str]) -> dict[str, list[str]]:
    """Return what `run.json` says of the scored scans: names and, where they are from several sites, the sites' names."""
    scans, sites = list(names), site_names(dataset)
    return {"scans": scans} | ({"sites": [sites[scan] for scan in scans]} if sites else {})


def score_run(dataset: Dataset, names: Iterable[str], out: Path, extra: Sequence[Named] = ()) -> Rows:
    """Return a row per test scan and region; raises ValueError if a label map is missing or wrong.

    extra: metrics in addition to the suite's.
    """
    return _score(dataset, names, out, ["label"], extra)["label"]


def score_snapshots(
    dataset: Dataset,
    test: Iterable[str],
    val: Iterable[str],
    snapshots: Iterable[Mapping[str, Any]],
    out: Path,
    extra: Sequence[Named] = (),
) -> tuple[Rows, dict[str, Any]]:
    """Return the scores of every snapshot on test and held-out scans, and the step that each selection rule chooses.

    extra: metrics of plug-ins, in addition to the suite's; nothing is chosen by them.
    snapshots: `step` and `weakval` (the loss on held-out labels) of each, the last step first. Of equal values the later
    step is chosen; None (no labels, no region, no finite loss) is the worst value.
    """
    steps = {each["step"]: each["weakval"] for each in snapshots}
    last = max(steps)
    stems = {("val", step): f"step{step:06d}-val" for step in steps}
    stems |= {("test", step): "label" if step == last else f"step{step:06d}-test" for step in steps}
    scored = {"val": _score(dataset, val, out, [stem for (part, _), stem in stems.items() if part == "val"], extra)}
    scored["test"] = _score(dataset, test, out, [stem for (part, _), stem in stems.items() if part == "test"], extra)
    rows = [
        {"part": part, "step": step, **row} for (part, step), stem in sorted(stems.items()) for row in scored[part][stem]
    ]
    means = {(part, step): mean_dice(scored[part][stem]) for (part, step), stem in stems.items()}
    dice = {key: None if np.isnan(mean) else mean for key, mean in means.items()}
    scored_steps = [
        {"step": step, "weakval": steps[step], "val_dice": dice["val", step], "test_dice": dice["test", step]}
        for step in sorted(steps)
    ]
    selected = {"last": last}
    for rule, key, sign in (("weakval", "weakval", -1), ("val", "val_dice", 1), ("test", "test_dice", 1)):
        worth = {each["step"]: -np.inf if each[key] is None else sign * each[key] for each in scored_steps}
        selected[rule] = max(worth, key=lambda step: (worth[step], step))
    return rows, {"snapshots": scored_steps, "selected": selected}


def mean_dice(cases: Iterable[Mapping[str, Any]]) -> float:
    """Return the mean Dice over a scan's regions, then a patient's scans, then patients; NaN if no region has a score."""
    by_patient: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        if case["dice"] != "":
            by_patient.setdefault(case["patient"], {}).setdefault(case["scan"], []).append(float(case["dice"]))
    means = [np.mean([np.mean(regions) for regions in scans.values()]) for scans in by_patient.values()]
    return float(np.mean(means)) if means else np.nan


def _score(
    dataset: Dataset, names: Iterable[str], out: Path, stems: Iterable[str], extra: Sequence[Named] = ()
) -> dict[str, Rows]:
    """Return rows of scores by the stem of the label maps' names; every scan is loaded once."""
    rows: dict[str, Rows] = {stem: [] for stem in stems}
    for number, name in enumerate(names):
        scan = load_alone(dataset, name)
        if scan.mask is None:
            raise ValueError(f"scan {name} has no mask")
        where = {"scan": name, "patient": scan.patient}
        for stem, scored in rows.items():
            labels = _label_map(out / f"{stem}{number:04d}")
            if labels.dtype != np.uint8 or labels.max(initial=0) >= len(dataset.classes):
                raise ValueError(f"the label map {stem} of scan {number} holds {labels.dtype} up to {labels.max(initial=0)}")
            scores = evaluate(labels, scan.mask, dataset.regions, scan.spacing, tolerance=dataset.tolerance, extra=extra)
            for region, values in scores.items():
                row = {**where, "region": region, "unit": "mm" if scan.spacing else "px"}
                scored.append(row | {key: "" if np.isnan(value) else value for key, value in values.items()})
    return rows


def _label_map(stem: Path) -> np.ndarray:
    """Return the labels of a worker (.npy) or of a stored run (.npz)."""
    fresh, stored = stem.with_suffix(".npy"), stem.with_suffix(".npz")
    if fresh.is_file():
        return np.asarray(np.load(fresh, allow_pickle=False))
    if stored.is_file():
        return np.asarray(np.load(stored, allow_pickle=False)["labels"])
    raise ValueError(f"the label map {stored.name} (or {fresh.name}) is missing")
