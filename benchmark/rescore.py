"""Score stored runs again, with the metrics of this version; nothing is trained."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmark import InputError, comparable, plugins
from benchmark.datasets.base import Dataset, Survey, check_split
from benchmark.datasets.files import read_npz
from benchmark.jobs import PROTOCOL
from benchmark.metrics import Named
from benchmark.metrics import named as named_metric
from benchmark.runner import Tables, score_run, score_snapshots, write_cases


def rescore(results: Path, data: Path, named: Iterable[str] = (), metrics: Iterable[str] = ()) -> int:
    """Write the scores of every run that is done anew, from its label maps; returns how many.

    `named`: data sets that only a path finds, such as folder:PATH. `metrics`: names or .py files of metrics beside the
    suite's; those of an earlier call that are not among them are taken out, and snapshots have the suite's alone. All is
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
            record |= {"metrics": {each.name: each.record() for each in own}} if own else {}
            staged.write_text(json.dumps(record, indent=1) + "\n")
            staged.replace(folder / "run.json")
    return len(scored)


def done(results: Path) -> dict[Path, dict[str, Any]]:
    """The records of the runs that are done, by folder; raises InputError if there are none."""
    found = {results / "runs" / run["folder"]: run for run in comparable.records(results) if run["state"] == "done"}
    if not found:
        raise InputError(f"{results / 'runs'} holds no runs that are done")
    return found


class DataSets:
    """The data sets of the runs, each looked through once."""

    def __init__(self, data: Path, named: Iterable[str]) -> None:
        self.data = data
        self.surveys: dict[str, Survey] = {}
        self.paths = {plugins.open_data_set(text, data).name: text for text in named}

    def survey(self, identity: dict[str, Any]) -> Survey:
        """Of the data set of a run, with its options."""
        name, options = identity["dataset"], identity["dataset_options"]
        key = json.dumps([name, options], sort_keys=True)
        if key not in self.surveys:
            text = self.paths.get(name, name)
            if text == name and name not in plugins.find("data set"):
                raise InputError(f"the runs need a data set {name!r}; say where it is, with --datasets folder:PATH")
            self.surveys[key] = Survey(plugins.open_data_set(text, self.data, options), options)
        return self.surveys[key]


def unchanged(folder: Path, run: dict[str, Any], sets: DataSets) -> Dataset:
    """The data set of a run; raises InputError where it, its split or the protocol was changed since."""
    identity = run["identity"]
    if identity["protocol"] != PROTOCOL:
        raise InputError(f"{folder} is of protocol {identity['protocol']}; this version has {PROTOCOL}")
    survey = sets.survey(identity)
    if survey.look(identity["split"]).fingerprint != identity["data"]:
        raise InputError(f"{folder}: split {identity['split']} of {identity['dataset']} was changed since; run it again")
    split = check_split(survey.dataset, identity["split"])
    for name, scans in (("scans", split.test), *([("val_scans", split.val)] if run.get("snapshots") else [])):
        if run.get(name) != list(scans):
            raise InputError(f"{folder}/run.json is damaged: its {name} are not those of its split; run it again")
    return survey.dataset


def _scored(folder: Path, run: dict[str, Any], sets: DataSets, own: Sequence[Named]) -> tuple[Tables, dict[str, Any]]:
    """A run's tables, and what it selects of its snapshots."""
    dataset = unchanged(folder, run, sets)
    for path in (*folder.glob("label*.npz"), *folder.glob("step*.npz")):
        read_npz(path, "labels")  # names a file that is damaged, or holds objects
    try:
        tables, chosen = {"cases.csv": score_run(dataset, run["scans"], folder, own)}, dict[str, Any]()
        if kept := run.get("snapshots"):
            scans = run["scans"], run["val_scans"]
            tables["snapshots.csv"], chosen = score_snapshots(dataset, *scans, kept, folder)
        return tables, chosen
    except ValueError as error:
        raise InputError(f"{folder}: {error}") from error
