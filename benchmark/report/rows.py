"""Runs as rows: what lies in `results/`, what was planned and is missing, and what may be compared with what.

A *column* of the tables is one data set with one annotation, one family of splits, one simulator version and one common
budget; runs of different columns are never averaged. A *row* is a method's label, with its options where these differ.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark import InputError, plugins
from benchmark.jobs import PROTOCOL

RUN_COLUMNS = ["folder", "column", "row", "split", "seed", "state", "reason", "stale", "own_budget"]


@dataclass(frozen=True)
class Rows:
    """Everything a report is made of."""

    name: str
    title: str
    runs: pd.DataFrame  # RUN_COLUMNS; state is done, failed or missing
    cases: pd.DataFrame  # folder, column, row, split, seed, scan, patient, region, unit, metrics, counts
    about: dict[str, dict[str, Any]]  # column -> budget, labelled share, regions, patients_known
    set_aside: list[str]  # runs that no table shows, and why


def read(results: Path) -> Rows:
    """Every run below `results/runs`, and the gaps in the latest plan; raises InputError if there is none."""
    plan = json.loads((results / "plan.json").read_text()) if (results / "plan.json").is_file() else {"runs": []}
    found = {str(path.parent.relative_to(results / "runs")): path for path in (results / "runs").glob("*/*/*/*/run.json")}
    records = [{"folder": folder, **_read(path)} for folder, path in sorted(found.items())]
    records += [{**run, "state": "missing"} for run in plan["runs"] if run["folder"] not in found]
    if not any(record["state"] != "missing" for record in records):
        raise InputError(f"{results / 'runs'} holds no runs; make some with: python -m benchmark run --results {results}")
    order = {label: place for place, label in enumerate(dict.fromkeys(run["label"] for run in plan["runs"]))}
    records.sort(key=lambda record: (order.get(record["label"], len(order)), record["folder"]))  # as they were asked for
    records, set_aside = _comparable(records)
    columns, rows = _column_names(records), _row_names(records)
    runs = pd.DataFrame(
        [
            {
                "folder": record["folder"],
                "column": columns[_column(record)],
                "row": rows[_row(record)],
                "split": record["identity"]["split"],
                "seed": record["identity"]["seed"],
                "state": record["state"],
                "reason": record.get("reason", ""),
                "stale": _is_stale(record),
                "own_budget": record.get("why_own_budget", ""),
            }
            for record in records
        ],
        columns=RUN_COLUMNS,
    )
    done = runs[runs.state == "done"]
    cases = [
        pd.read_csv(results / "runs" / run["folder"] / "cases.csv").assign(**run)
        for run in done[["folder", "column", "row", "split", "seed"]].to_dict("records")
    ]
    about = {columns[_column(record)]: _about(record) for record in records if record["state"] != "missing"}
    about = {**{name: {} for name in columns.values()}, **about}
    frame = pd.concat(cases, ignore_index=True) if cases else pd.DataFrame()
    return Rows(plan.get("name", "report"), plan.get("title", ""), runs, frame, about, set_aside)


def pseudo_label_run(read: Rows, results: Path) -> tuple[str, list[dict[str, float]]] | None:
    """The first run that logged how its pseudo-labels changed, and its log; of each row, only the first run is looked at."""
    for folder in read.runs[read.runs.state == "done"].drop_duplicates("row").folder:
        path = results / "runs" / folder / "train.jsonl"
        if path.is_file() and '"changed"' in (text := path.read_text()):
            return folder, [json.loads(line) for line in text.splitlines()]
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); remove that folder and run again") from error


def _comparable(records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The runs that may share a table: of today's protocol and, for each split, of the newest state of the data."""
    kept, aside = [], []
    newest: dict[tuple[str, str], tuple[str, str]] = {}  # column, split -> when, fingerprint of the data
    for record in records:
        key, when = (_column(record), record["identity"]["split"]), record.get("finished", "")
        newest[key] = max(newest.get(key, ("", "")), (when, record["identity"]["data"]))
    for record in records:
        identity = record["identity"]
        if identity["protocol"] != PROTOCOL:
            aside.append(f"{record['folder']}: protocol {identity['protocol']}; this version has {PROTOCOL}")
        elif newest[_column(record), identity["split"]][1] != identity["data"]:
            aside.append(f"{record['folder']}: the data were changed since")
        else:
            kept.append(record)
    return kept, aside


def _column(record: dict[str, Any]) -> str:
    """What must be equal in runs that are compared, as text."""
    identity = record["identity"]
    parts = [identity[key] for key in ("dataset", "annotation", "dataset_options", "simulator")]
    return json.dumps([*parts, _family(identity["split"]), record["common"]])


def _family(split: str) -> str:
    return split.partition("/")[0]


def _row(record: dict[str, Any]) -> tuple[str, str]:
    return record["label"], json.dumps(record["identity"]["options"], sort_keys=True)


def _column_names(records: list[dict[str, Any]]) -> dict[str, str]:
    """A short name for each column: data set and annotation, and whatever tells it from others with the same two."""
    details = {}
    for record in records:
        identity = record["identity"]
        rest = {**identity["dataset_options"], "simulator": identity["simulator"], **record["common"]}
        rest["splits"] = _family(identity["split"])
        details[_column(record)] = (f"{identity['dataset']} {identity['annotation']}", rest)
    return _distinct(details)


def _row_names(records: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """A short name for each row: the label, and the options in which rows of one label differ."""
    return _distinct({_row(record): (record["label"], record["identity"]["options"]) for record in records})


def _distinct(details: dict[Any, tuple[str, dict[str, Any]]]) -> dict[Any, str]:
    names = {}
    for key, (short, rest) in details.items():
        others = [other for name, other in details.values() if name == short]
        telling = [f"{field}={value}" for field, value in rest.items() if any(other.get(field) != value for other in others)]
        names[key] = f"{short} ({', '.join(telling)})" if telling else short
    return names


def _is_stale(record: dict[str, Any]) -> bool:
    """Whether a method of this version would now be trained by other code."""
    from benchmark.datasets import weak

    if record["state"] != "done":
        return False
    try:
        plugin = plugins.get("method", record["identity"]["method"])
    except InputError:  # a plug-in that is not at hand
        return False
    return bool(record["code"] != plugins.fingerprint(plugin, *weak.sources(weak.parse(record["identity"]["annotation"]))))


def _about(record: dict[str, Any]) -> dict[str, Any]:
    kept = {key: record[key] for key in ("labelled_share", "regions", "patients_known")}
    return {"budget": record["common"], "labelled_depth_px": record.get("labelled_depth_px", {}), **kept}
