"""Read runs into tables: stored runs, planned runs that are missing, and which runs may be compared.

A *column* of the tables is one data set with one annotation, one family of splits, one simulator version and one common
budget; runs of different columns are never averaged. A *row* is a method's label, with its options and the budget of its
own if these differ within a column; those that differ only between columns, such as settings for one data set, do not
split a row. External predictions have no budget of this suite: they are in every column of their data, labelled external.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark import InputError, store
from benchmark.inputs import nearest
from benchmark.plan import compare, plugins
from benchmark.plan.compare import column as column_of
from benchmark.plan.compare import family, own_budget
from benchmark.plan.jobs import PROTOCOL
from benchmark.plan.plugins import BASE, PRIOR, SUPERVISED
from benchmark.plan.revisions import is_stale
from benchmark.report import names
from benchmark.score.evaluate import COUNTS, METRICS
from benchmark.score.metrics import BUILT_IN, Facts, read_facts
from benchmark.store import AGAIN, RULES, Record, ResultsFolder

TRACKS = ("equal", "tuned")
COST_FIELDS = ("fit_s", "predict_s", "parameters", "memory_mib", "device_memory_mib", "device")  # as a worker reports them
RUN_COLUMNS = [
    *("folder", "column", "row", "role", "split", "seed", "state", "reason", "stale", "own_budget", "external"),
    *("steps", "size"),  # of its own budget; an external run has none
    *("hash", "method", "options", "data", "stored", *COST_FIELDS),  # options as JSON; data: the split's fingerprint
    "extra",  # what the method needs beyond a pass of the network per step
    *("facts", "notes"),  # as JSON: what the method stated, and what tables say of it; empty without
]
CASE_COLUMNS = [
    "folder",
    "column",
    "row",
    "role",
    "split",
    "seed",
    "scan",
    "patient",
    "site",
    "region",
    "unit",
    *METRICS,
    *COUNTS,
]
# of methods whose runs don't say it, as those from before 2026-11-28; nothing else in reports knows a method by its name
ROLES = {"prior": PRIOR, "pce": BASE, "pce_balanced": BASE, "pce_dice": SUPERVISED}

Placed = tuple[Record, str, str]  # a run with its column and row
Read = Callable[[ResultsFolder, Iterable[str]], pd.DataFrame]  # scores of runs in a folder


class NotThere(InputError):
    """No run is of what is asked for."""


@dataclass(frozen=True)
class Rows:
    """All data of a report."""

    name: str
    title: str
    runs: pd.DataFrame  # RUN_COLUMNS; state is done, failed or missing
    cases: pd.DataFrame  # CASE_COLUMNS
    about: dict[str, dict[str, Any]]  # column -> data set, annotation, budget, labelled share, regions, ...
    set_aside: list[str]  # runs that no table shows, and why
    selection: str = "last"  # which snapshot of each run was scored
    snapshot_cases: pd.DataFrame | None = None  # CASE_COLUMNS and `selection`, of the runs that stored snapshots
    metrics: Mapping[str, Facts] = field(default_factory=lambda: BUILT_IN)  # the suite's, and those of its user
    titles: names.Titles = field(default_factory=dict)
    controls: pd.DataFrame = field(
        default_factory=pd.DataFrame
    )  # of the columns: cases of location priors that aren't shown

    @cached_property
    def roles(self) -> dict[str, str]:
        """The role of each row that has one, the methods themselves before their variants."""
        known = self.runs[self.runs.role != ""].drop_duplicates("row")
        ordered = known.assign(variant=known.row != known.method).sort_values("variant", kind="stable")
        return dict(zip(ordered.row, ordered.role, strict=True))

    def named(self, *roles: str) -> str:
        """Names of the methods with one of these roles: those of this project, and others in these runs."""
        known = ROLES | dict(zip(self.runs.method, self.runs.role, strict=True))
        return ", ".join(method for method, role in known.items() if role in roles)

    def titled(self) -> "Rows":
        """The same with the names of figures and LaTeX tables."""
        return replace(
            self,
            runs=names.titled(self.runs, self.titles),
            cases=names.titled(self.cases, self.titles),
            about={self.titles.get(("column", column), column): about for column, about in self.about.items()},
            snapshot_cases=None if self.snapshot_cases is None else names.titled(self.snapshot_cases, self.titles),
            controls=names.titled(self.controls, self.titles),
        )

    def track(self, name: str) -> "Rows":
        """Keep only the columns of one track: methods with the published values, or with values chosen by trials."""
        columns = [column for column, about in self.about.items() if _track(about["budget"]) == name]
        return self._restricted(columns, list(dict.fromkeys(self.runs.row)))

    def only(self, names: Collection[str]) -> "Rows":
        """Keep only these methods, data sets, annotations or columns; raises NotThere for any other name.

        Names of one kind are alternatives; names of different kinds must all hold.
        """
        wanted = set(names)
        labels = {row: {row, row.partition(" (")[0]} for row in dict.fromkeys(self.runs.row)}
        kinds = [
            {c: kind(c, about) for c, about in self.about.items()} for kind in (_of_dataset, _of_annotation, _of_column)
        ]
        asked = [kind for kind in kinds if any(called & wanted for called in kind.values())]
        known = dict.fromkeys(name for kind in (labels, *kinds) for called in kind.values() for name in sorted(called))
        if unknown := [name for name in names if name not in known]:
            near = nearest(unknown[0], known)
            raise NotThere(f"--only speaks of {unknown[0]!r}, which no run has{near}; there are {', '.join(known)}")
        columns = [column for column in self.about if all(kind[column] & wanted for kind in asked)]
        left = self._restricted(columns, [row for row, called in labels.items() if called & wanted] or list(labels))
        if left.runs.empty:
            raise NotThere(f"--only {','.join(names)}: no run is of all of these")
        return left

    def check_reference(self, name: str) -> None:
        """Raise NotThere unless there is a row of this name, or none is asked for."""
        known = list(dict.fromkeys(self.runs.row))
        if name and name not in known:
            raise NotThere(f"no run is of the reference {name!r}{nearest(name, known)}; there are {', '.join(known)}")

    def of(self, folders: Collection[str]) -> "Rows":
        """Keep only the runs in these folders of the results, and stored runs that they are compared with."""
        own = self.runs[self.runs.folder.isin(folders)]
        kept = set(folders) | set(self.runs.folder[self.runs.stored != ""])
        runs, cases = (frame[frame.folder.isin(kept)] for frame in (self.runs, self.cases))
        rows = replace(self, runs=runs, cases=cases, snapshot_cases=None)
        return rows._restricted(set(own.column), set(runs.row))

    def _restricted(self, columns: Collection[str], rows: Collection[str]) -> "Rows":
        """Keep only these columns and rows."""

        def own(frame: pd.DataFrame) -> pd.DataFrame:
            return frame[frame.column.isin(columns) & frame.row.isin(rows)]

        left_out = self.cases[(self.cases.role == PRIOR) & ~self.cases.row.isin(rows)]
        controls = pd.concat([self.controls, left_out])
        return replace(
            self,
            runs=own(self.runs),
            cases=own(self.cases),
            about={column: self.about[column] for column in columns},
            snapshot_cases=None if self.snapshot_cases is None else own(self.snapshot_cases),
            controls=controls[controls.column.isin(columns)],
        )


def read(results: Path, selection: str = "last") -> Rows:
    """Read every run in the results folder at a path, and the gaps in its plan; see `read_folder`."""
    return read_folder(store.open_results(results), selection)


def read_folder(results: ResultsFolder, selection: str = "last") -> Rows:
    """Read every run in a results folder, and the gaps in its latest plan; raises InputError if there is none.

    `selection` other than `last` takes each run's scores from the snapshot that this rule chose; runs without snapshots
    are then set aside.
    """
    plan = results.plan()
    records = [record | {"results": results} for record in results.records()]
    found = {record["folder"]: record for record in records}
    for run in plan["runs"]:
        if run["folder"] not in found:
            records.append({**run, "state": "missing"})
        elif column_of(run) != column_of(own := found[run["folder"]]):  # of a budget of its own, planned beside another one
            records.append({**own, "common": run["common"]})
    if not any(record["state"] != "missing" for record in records):
        raise InputError(f"{results.root} holds no runs; make some with: python -m benchmark run --results {results.root}")
    labels = [run["label"] for run in plan["runs"]]
    if plan.get("against"):
        mine = {(column_of(record), _row(record)) for record in records if record["state"] != "missing"}
        for name, folder in store.stored(plan["against"]).items():
            known = _comparable_runs(plan["runs"], name, folder)
            records += [record for record in known if (column_of(record), _row(record)) not in mine]
            labels += [run["label"] for run in folder.plan()["runs"]]
    as_planned = _as_planned(labels, [column_of(run) for run in plan["runs"]])
    records.sort(key=as_planned)
    placed, set_aside = _placed(records)
    if not placed:
        raise InputError(f"no run in {results.root} can be shown: {set_aside[0]}; run it again")
    if selection != "last":
        set_aside += [f"{r['folder']}: it kept no snapshots to select from" for r, _ in placed if _without_choice(r)]
        placed = [(record, column) for record, column in placed if not _without_choice(record)]
        if not placed:
            raise InputError(f"no run in {results.root} kept snapshots to select from; run with --budget snapshots=10")
    placed = _deduplicate(placed)
    columns, rows = _column_names(placed), _row_names(placed)
    runs = pd.DataFrame(
        [_run(record) | {"column": columns[column], "row": rows[_row(record)]} for record, column in placed],
        columns=RUN_COLUMNS,
    )
    done = [(record, columns[column], rows[_row(record)]) for record, column in placed if record["state"] == "done"]
    runs[[*COST_FIELDS[:-1]]] = runs[[*COST_FIELDS[:-1]]].astype(float)
    info = {columns[column]: _about(record) for record, column in sorted(placed, key=lambda each: _completeness(each[0]))}
    about = {columns[column]: info[columns[column]] for _, column in sorted(placed, key=lambda each: as_planned(each[0])[1])}
    own = _own_metrics(record for record, _, _ in done)
    _check_rules(done)
    chosen = _chosen([each for each in done if _has_choice(each[0])], own)
    if selection == "last":
        cases = _scores(done, ResultsFolder.cases)
        _check_whole(cases, done)
        cases = cases.reindex(columns=[*CASE_COLUMNS, *own])
    else:
        assert chosen is not None  # runs without a choice are set aside
        cases = chosen[chosen.selection == selection].reindex(columns=[*CASE_COLUMNS, *own]).reset_index(drop=True)
    name, title = plan.get("name", "report"), plan.get("title", "")
    titles = names.titles((record, columns[column], rows[_row(record)]) for record, column in placed)
    return Rows(name, title, runs, cases, about, set_aside, selection, chosen, {**BUILT_IN, **own}, titles)


def _of_dataset(_: str, about: dict[str, Any]) -> set[str]:
    return {about["dataset"]}


def _of_annotation(_: str, about: dict[str, Any]) -> set[str]:
    """An annotation's name, and its form: `scribble:sim@0.5` is also `scribble`; of sites, `box/point+n=2` `box/point`."""
    return {about["annotation"], re.sub("[:@+][^/]*", "", about["annotation"])}


def _of_column(column: str, _: dict[str, Any]) -> set[str]:
    return {column}


def pseudo_label_run(read: Rows, results: ResultsFolder) -> tuple[str, list[dict[str, float]]] | None:
    """Return the first run on weak labels that logged changes of its pseudo-labels, and its log; one run per row is read."""
    weak = [column for column, about in read.about.items() if about["annotation"] != "full"]
    done = read.runs[(read.runs.state == "done") & read.runs.column.isin(weak)]
    for folder in done.drop_duplicates("row").folder:
        lines = results.log(folder)
        if any('"changed"' in line for line in lines):
            return folder, [_logged(folder, line) for line in lines]
    return None


def _logged(run: str, line: str) -> dict[str, float]:
    """Parse a line of a training log."""
    try:
        held: dict[str, float] = json.loads(line)
        float(sum(held.values()))  # fails unless all are numbers
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{run}/train.jsonl is damaged ({error}); {AGAIN}") from error
    return held


def _as_planned(labels: Iterable[str], columns: Iterable[str]) -> Callable[[Record], tuple[int, int, str]]:
    """Sort runs by method, then by column, in the order of the plan; runs in no plan are last."""
    methods, places = list(dict.fromkeys(labels)), list(dict.fromkeys(columns))

    def place(record: Record) -> tuple[int, int, str]:
        label, column = record["label"], column_of(record)
        return (
            methods.index(label) if label in methods else len(methods),
            places.index(column) if column in places else len(places),
            record["folder"],
        )

    return place


def _comparable_runs(planned: list[Record], name: str, folder: ResultsFolder) -> list[Record]:
    """Stored runs that may be compared with planned ones, patient by patient, with or without snapshots."""
    keys = {compare.key(run) for run in planned}
    found = [record for record in folder.records() if compare.key(record) in keys and record["state"] == "done"]
    for record in found:
        if not folder.has_snapshots(record["folder"]):
            record.pop("selected", None)
    return [record | {"results": folder, "stored": name} for record in found]


def _chosen(done: Sequence[Placed], own: Iterable[str]) -> pd.DataFrame | None:
    """Return the scores of the snapshot that each rule chose; None if no run stored snapshots."""
    if not done:
        return None
    scores = _scores(done, ResultsFolder.snapshots)
    scores = scores[scores.part == "test"]
    parts = []
    for rule in RULES:
        steps = np.array([record["selected"][rule] for record, _, _ in done])
        parts.append(scores[scores.step == steps[scores.number]].assign(selection=rule))
    return pd.concat(parts, ignore_index=True).reindex(columns=[*CASE_COLUMNS, *own, "selection"])


def _scores(done: Sequence[Placed], read: Read) -> pd.DataFrame:
    """Scores of every run, in the order of `done`, and as `number` its place in `done`."""
    names = ("number", "home", "run", "folder", "column", "row", "role", "split", "seed")
    homes = list(dict.fromkeys(record["results"] for record, _, _ in done))
    facts = pd.DataFrame(
        [
            (number, homes.index(r["results"]), r["folder"], r["folder"], column, row, _role(r), *_split_and_seed(r))
            for number, (r, column, row) in enumerate(done)
        ],
        columns=names,
    )
    parts = [read(folder, facts.run[facts.home == home].unique()).assign(home=home) for home, folder in enumerate(homes)]
    if not parts:
        return facts
    table = facts.merge(pd.concat(parts, ignore_index=True), on=["home", "run"])
    known = ((number, record) for number, (record, _, _) in enumerate(done) if "sites" in record)
    sites = {(n, scan): site for n, r in known for scan, site in zip(r["scans"], r["sites"], strict=False)}
    return table.assign(site=[sites.get(key) for key in zip(table.number, table.scan, strict=True)]) if sites else table


def _check_whole(cases: pd.DataFrame, done: Sequence[Placed]) -> None:
    """Raise InputError if a run has no score of a scan and region, or two."""
    found = {number: list(zip(own.scan, own.region, strict=True)) for number, own in cases.groupby("number", sort=False)}
    for number, (record, _, _) in enumerate(done):
        wanted = set(product(record.get("scans", ()), record.get("regions", ())))
        have = found.get(number, [])
        if wanted and (len(have) != len(wanted) or set(have) != wanted):
            raise InputError(
                f"cases.csv of {record['folder']} holds {len(have)} scores, and not one for each of the {len(wanted)} scans "
                f"and regions of its run.json; {AGAIN}"
            )


def _split_and_seed(record: Record) -> tuple[str, int]:
    return record["identity"]["split"], record["identity"]["seed"]


def _own_metrics(records: Iterable[Record]) -> dict[str, Facts]:
    """Return the user's metrics with which runs were scored; raises InputError if two metrics have the same name."""
    facts, codes = dict[str, Facts](), dict[str, str]()
    for record in records:
        for name, held in record.get("metrics", {}).items():
            facts[name] = read_facts(held, f"{record['folder']}/run.json")
            if codes.setdefault(name, held["code"]) != held["code"]:
                raise InputError(
                    f"the runs were scored with two versions of the metric {name}; score all with one: "
                    "python -m benchmark score --metrics FILE"
                )
    titles = dict[str, str]()
    for name, own in facts.items():
        if (first := titles.setdefault(own.title, name)) != name:
            raise InputError(
                f"the metrics {first} and {name} have one title, {own.title!r}; change one, and score again: "
                "python -m benchmark score --metrics FILE"
            )
    return facts


def _check_rules(done: Iterable[Placed]) -> None:
    """Raise InputError if runs of a column were scored for other regions or with another tolerance."""
    rules: dict[tuple[str, str], tuple[str, Any]] = {}  # column, rule -> the first run that says it, and what it says
    for record, column, _ in done:
        for rule in ("regions", "labels", "tolerance"):
            if (own := record.get(rule)) is None:  # a run of an older version
                continue
            first, known = rules.setdefault((column, rule), (record["folder"], own))
            if known != own:
                raise InputError(
                    f"runs of {column} were scored by different rules: {rule} is {known} in {first} and {own} in "
                    f"{record['folder']}; score all by one: python -m benchmark score"
                )


def _without_choice(record: Record) -> bool:
    return record["state"] == "done" and not _has_choice(record)


def _has_choice(record: Record) -> bool:
    """Whether a run kept snapshots to choose from; a single one is the last step."""
    return bool(record.get("selected")) and record["common"].get("snapshots") != 1


def _run(record: Record) -> Record:
    spent = {name: record.get("worker", {}).get(name) for name in COST_FIELDS}
    if spent["device"] == "cpu":  # seconds of different processors can't be compared
        spent["device"] = record.get("processor", "cpu")
    return {
        "folder": record["folder"],
        "role": _role(record),
        "extra": _extra(record),
        "split": record["identity"]["split"],
        "seed": record["identity"]["seed"],
        "state": record["state"],
        "reason": record.get("reason", ""),
        "stale": _is_stale(record),
        "own_budget": record.get("why_own_budget", ""),
        "external": bool(record.get("external", False)),
        **{name: record["identity"]["budget"].get(name) for name in ("steps", "size")},
        "hash": record.get("hash", ""),
        "stored": record.get("stored", ""),  # the name of the reference with this run
        "method": record["identity"]["method"],
        "data": record["identity"]["data"],
        "options": json.dumps(record["identity"]["options"], sort_keys=True),
        **spent,
        **{name: json.dumps(held) if (held := record.get("worker", {}).get(name)) else "" for name in ("facts", "notes")},
    }


def _placed(records: list[Record]) -> tuple[list[tuple[Record, str]], list[str]]:
    """Each run with its column, an external one with every column of its data; and those that no table may show, and why.

    Of one column, only runs on the newest state of a split's data are comparable, and only those of today's protocol.
    """
    placed, aside = [], []
    newest: dict[tuple[str, str], tuple[str, str]] = {}  # column, split -> when, fingerprint of the data
    homes: dict[str, Record] = {}  # column -> one of our own runs in it
    for record in (record for record in records if not record.get("external")):
        key = column_of(record), record["identity"]["split"]
        when = "planned" if record["state"] == "missing" else record.get("finished", "")  # later than any date
        newest[key] = max(newest.get(key, ("", "")), (when, record["identity"]["data"]))
        homes.setdefault(key[0], record)
    for record in records:
        identity = record["identity"]
        if identity["protocol"] != PROTOCOL:
            aside.append(f"{record['folder']}: protocol {identity['protocol']}; this version has {PROTOCOL}")
            continue
        columns = [column_of(record)]
        if record.get("external"):
            columns = [column for column, other in homes.items() if _belongs(record, other)] or columns
        for column in columns:
            if newest.get((column, identity["split"]), ("", identity["data"]))[1] == identity["data"]:
                placed.append((record, column))
            else:
                aside.append(f"{record['folder']}: the data were changed since")
    return placed, aside


def _deduplicate(placed: list[tuple[Record, str]]) -> list[tuple[Record, str]]:
    """Keep one run for each row, split and seed of a column: of several, one that stored snapshots, else the newest."""

    def worth(record: Record) -> tuple[int, bool, str]:
        state = ("missing", "failed", "done").index(record["state"])
        return state, bool(record.get("selected")), record.get("finished", "")

    best: dict[tuple[Any, ...], tuple[Record, str]] = {}
    for record, column in placed:
        key = column, _row(record), record["identity"]["split"], record["identity"]["seed"], bool(record.get("external"))
        if key not in best or worth(record) > worth(best[key][0]):
            best[key] = record, column
    return list(best.values())


def _belongs(external: Record, run: Record) -> bool:
    """Whether external predictions have the data, the splits and (if it is known) the annotation of a run."""
    given, identity = external["identity"], run["identity"]
    return (
        all(given[key] == identity[key] for key in ("dataset", "dataset_options"))
        and family(given["split"]) == family(identity["split"])
        and given["annotation"] in ("", identity["annotation"])
    )


def _track(budget: dict[str, Any]) -> str:
    return "tuned" if budget.get("tune") else "equal"


def _role(record: Record) -> str:
    return str(record.get("role", ROLES.get(record["identity"]["method"], "")))


def _extra(record: Record) -> str:
    """What a method needs beyond a pass of the network; of runs that don't say it, what this project's method says today."""
    known = plugins.find("method").get(record["identity"]["method"])
    return str(record.get("extra") or (plugins.describe(known).get("extra", "") if known else ""))


def _row(record: Record) -> tuple[str, ...]:
    return record["label"], json.dumps(_telling(record), sort_keys=True), json.dumps(own_budget(record), sort_keys=True)


def _telling(record: Record) -> dict[str, Any]:
    """The method and its options."""
    return {"method": record["identity"]["method"], **record["identity"]["options"]}


def _column_names(placed: Iterable[tuple[Record, str]]) -> dict[str, str]:
    """Name each column: data set and annotation, and what distinguishes it from others with the same two."""
    details = {}
    for _, column in placed:
        dataset, annotation, options, simulator, family, budget = json.loads(column)
        rest = {**options, "simulator": simulator, **budget, "splits": family}
        details[column] = (f"{dataset} {annotation or 'external'}", rest)
    return _distinct(details)


def _row_names(placed: Sequence[tuple[Record, str]]) -> dict[tuple[str, ...], str]:
    """Name each row: its label, and the method, options and budget in which rows of one label differ within a column."""
    kinds = Counter((label, column) for (label, *_), column in {(_row(record), column) for record, column in placed})
    several = {label for (label, _), count in kinds.items() if count > 1}
    telling = {_row(record): _telling(record) | own_budget(record) for record, _ in placed}
    return _distinct({row: (row[0], own if row[0] in several else {}) for row, own in telling.items()})


def _distinct(details: dict[Any, tuple[str, dict[str, Any]]]) -> dict[Any, str]:
    names = {}
    for key, (short, rest) in details.items():
        others = [other for name, other in details.values() if name == short]
        telling = [f"{field}={value}" for field, value in rest.items() if any(other.get(field) != value for other in others)]
        names[key] = f"{short} ({', '.join(telling)})" if telling else short
    return names


def _is_stale(record: Record) -> bool:
    """Whether a method of this version may give other numbers now; not if it is a plug-in that is not at hand."""
    if record.get("external") or record["state"] == "missing":
        return False
    return is_stale(record, _code_now(record["identity"]) or record["code"])


def _code_now(identity: Mapping[str, Any]) -> str:
    """The fingerprint of a method's code; empty for a plug-in that is not at hand."""
    known = plugins.at_hand("method", identity["method"])
    try:
        return plugins.code(known, identity["options"]) if known else ""
    except InputError:  # also where its file is gone
        return ""


def _completeness(record: Record) -> tuple[bool, bool]:
    """Sort key: the number of facts that a run states about its column."""
    return record["state"] != "missing", not record.get("external")


def _about(record: Record) -> dict[str, Any]:
    identity = record["identity"]
    of_data = {
        "dataset": identity["dataset"],
        "dataset_options": identity["dataset_options"],
        "annotation": identity["annotation"],
        "family": family(identity["split"]),
    }
    facts = {key: record.get(key, default) for key, default in ABOUT.items()}
    return {**of_data, "budget": record["common"], **facts}


ABOUT: dict[str, Any] = {
    "labelled_share": {},
    "labelled_depth_px": {},
    "labelled_pixels": {},  # by class, over the training scans of one run
    "labelled_slices": None,  # training slices with an annotation
    "labelled_objects": None,  # connected components of foreground classes in these slices
    "regions": [],
    "patients_known": None,
}
