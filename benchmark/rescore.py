"""Score stored runs again, with the metrics of this version; nothing is trained."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmark import InputError, plugins
from benchmark.datasets.base import Survey
from benchmark.jobs import PROTOCOL
from benchmark.runner import Tables, score_run, score_snapshots, write_cases


def rescore(results: Path, data: Path, named: Iterable[str] = ()) -> int:
    """Write the scores of every run that is done anew, from its label maps; returns how many.

    `named`: data sets that only a path finds, such as folder:PATH. All is read and scored before anything is written;
    raises InputError where a data set is not at hand or was changed since, or a run holds no label maps.
    """
    runs = {path.parent: json.loads(path.read_text()) for path in sorted((results / "runs").glob("*/*/*/*/run.json"))}
    runs = {folder: run for folder, run in runs.items() if run["state"] == "done"}
    if not runs:
        raise InputError(f"{results / 'runs'} holds no runs that are done")
    sets = _DataSets(data, named)
    scored = {folder: _scored(folder, run, sets) for folder, run in runs.items()}
    for folder, (tables, chosen) in scored.items():
        for name, rows in tables.items():
            staged = folder / f"{name}.{os.getpid()}"
            write_cases(staged, rows)
            staged.replace(folder / name)
        if chosen:
            staged = folder / f"run.json.{os.getpid()}"
            staged.write_text(json.dumps(runs[folder] | chosen, indent=1) + "\n")
            staged.replace(folder / "run.json")
    return len(scored)


class _DataSets:
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


def _scored(folder: Path, run: dict[str, Any], sets: _DataSets) -> tuple[Tables, dict[str, Any]]:
    """A run's tables, and what it selects of its snapshots."""
    identity = run["identity"]
    if identity["protocol"] != PROTOCOL:
        raise InputError(f"{folder} is of protocol {identity['protocol']}; this version has {PROTOCOL}")
    survey = sets.survey(identity)
    if survey.look(identity["split"]).fingerprint != identity["data"]:
        raise InputError(f"{folder}: split {identity['split']} of {identity['dataset']} was changed since; run it again")
    try:
        tables, chosen = {"cases.csv": score_run(survey.dataset, run["scans"], folder)}, dict[str, Any]()
        if kept := run.get("snapshots"):
            scans = run["scans"], run["val_scans"]
            tables["snapshots.csv"], chosen = score_snapshots(survey.dataset, *scans, kept, folder)
        return tables, chosen
    except ValueError as error:
        raise InputError(f"{folder}: {error}") from error
