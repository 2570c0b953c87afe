"""Pack results folders into a few compressed tables that read alike, and unpack them again."""

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark import InputError
from benchmark.store import (
    CASES,
    KEY,
    LOGS,
    RUNS,
    SNAPSHOTS,
    SUMS,
    TEXTS,
    Pack,
    PackedFolder,
    Record,
    ResultsFolder,
    is_packed,
    open_results,
    planned_by,
    within,
    write_cases,
    write_json,
)


def pack(results: Path, out: Path, every: int = 1) -> int:
    """Pack a results folder, or all in a folder, each run once; returns how many runs.

    `every`: of the log's lines that hold a loss, keep every so-manyth, and the last. Label maps, pictures and what failed
    runs wrote are left out. The same runs give the same bytes (with the same zlib).
    """
    if is_packed(out):
        raise InputError(f"{out} is packed already; remove its files, or give another folder")
    if (out / "runs").is_dir():
        raise InputError(f"{out} is a results folder; give another folder")
    folders = within(results) or {results.resolve().name: open_results(results)}
    runs: dict[str, _Unpacked] = {}
    sets = {}
    for name, folder in folders.items():
        stored = {record["folder"]: _unpacked(folder, record, every) for record in folder.records()}
        for table in (CASES, SNAPSHOTS):
            folder.table(table, [run for run, held in stored.items() if table in held.tables])  # raises if one is damaged
        for run, held in stored.items():
            known = runs.setdefault(run[-KEY:], held)
            if (known.folder, known.record, known.tables) != (held.folder, held.record, held.tables):
                raise InputError(f"{folder.path(run)} differs from {known.home.path(known.folder)}; remove one of the two")
            runs[run[-KEY:]] = max(known, held, key=lambda each: len(each.log))
        sets[f"sets/{name}.json"] = _set(folder.plan(), stored)
    if not runs:
        raise InputError(f"{results} holds no runs to pack")
    _write_packed(out, dict(sorted(runs.items(), key=lambda each: each[1].place)), sets)
    return len(runs)


@dataclass(frozen=True)
class _Unpacked:
    """A run before it is packed."""

    home: ResultsFolder
    folder: str
    record: Record
    tables: dict[str, list[list[str]]]  # lines of cells by file, their heading first
    log: list[str]

    @property
    def place(self) -> tuple[str, str, str]:
        """Sorts runs on the same scans together, which compresses best."""
        identity = self.record["identity"]
        return identity["dataset"], identity["split"], self.folder


def _unpacked(folder: ResultsFolder, record: Record, every: int) -> _Unpacked:
    run = record["folder"]
    tables = {}
    for name in (CASES, SNAPSHOTS):
        if (path := folder.path(run) / name).is_file():
            with path.open(newline="") as file:
                tables[name] = list(csv.reader(file))
    own = {name: value for name, value in record.items() if name != "folder"}
    return _Unpacked(folder, run, own, tables, _thinned(folder.log(run), every))


def _thinned(log: Sequence[str], every: int) -> list[str]:
    losses = [number for number, line in enumerate(log) if '"loss"' in line]
    dropped = set(losses) - {*losses[::every], *losses[-1:]}
    return [line for number, line in enumerate(log) if number not in dropped]


def _set(plan: Record, stored: Mapping[str, _Unpacked]) -> Record:
    """What `sets/<name>.json` says: the plan, with the keys of runs that are stored in place of these, and other runs."""
    runs, others = [], dict.fromkeys(stored)
    for planned in plan["runs"]:
        held = stored.get(planned["folder"])
        as_planned = held and planned_by(held.folder, held.record) == planned
        runs.append(planned["folder"][-KEY:] if as_planned else planned)
        if as_planned:
            others.pop(planned["folder"], None)
    about = {name: value for name, value in plan.items() if name != "runs"}
    return {"plan": about, "runs": runs, "others": [run[-KEY:] for run in others]}


def _write_packed(out: Path, runs: Mapping[str, _Unpacked], sets: Mapping[str, Record]) -> None:
    """Write the files of a packed folder, the checksums last."""
    lines = [
        {"folder": held.folder, "tables": {name: rows[0] for name, rows in held.tables.items()}, "run": held.record}
        for held in runs.values()
    ]
    files = {RUNS: _compressed("".join(json.dumps(line) + "\n" for line in lines))}
    logs = [f'{{"run": "{key}", {line[1:]}\n' for key, held in runs.items() for line in held.log]
    files[LOGS] = _compressed("".join(logs))
    for name in (CASES, SNAPSHOTS):
        files[f"{name}.gz"] = _compressed(_joined(runs, name))
    files |= {name: (json.dumps(held, indent=1) + "\n").encode() for name, held in sets.items()}
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    files[SUMS] = "".join(sums).encode()
    with _staged(out) as staged:
        for name, content in files.items():
            (staged / name).parent.mkdir(exist_ok=True)
            (staged / name).write_bytes(content)
        for name in files:
            (out / name).parent.mkdir(exist_ok=True)
            (staged / name).replace(out / name)


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Make a folder, and in it a temporary one to write into, so that no half of what is written can look whole."""
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".packing-", dir=out) as staged:
        yield Path(staged)


def _joined(runs: Mapping[str, _Unpacked], name: str) -> str:
    """One table of all runs, with the run's key in front; empty where a run lacks a column."""
    tables = {key: held.tables[name] for key, held in runs.items() if name in held.tables}
    columns = list(dict.fromkeys(column for heading, *_ in tables.values() for column in heading)) or [*TEXTS]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["run", *columns], restval="", lineterminator="\n")
    writer.writeheader()
    for key, (heading, *rows) in tables.items():
        writer.writerows({"run": key, **dict(zip(heading, row, strict=True))} for row in rows)
    return text.getvalue()


def _compressed(text: str) -> bytes:
    held = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, held, mtime=0) as file:  # no name and no time in it
        file.write(text.encode())
    return held.getvalue()


def unpack(packed: Path, out: Path) -> int:
    """Write `out/<set>/` for each set of a packed folder, or for one set, as results folders; returns how many runs."""
    folders: dict[str, PackedFolder] = {}
    for name, folder in (within(packed) or {packed.name: open_results(packed)}).items():
        if not isinstance(folder, PackedFolder):
            raise InputError(f"{folder.root} is not a packed folder of runs")
        if (out / name).exists():
            raise InputError(f"{out / name} is there already; remove it, or give another folder")
        folders[name] = folder
    count = 0
    with _staged(out) as staged:
        for name, folder in folders.items():
            for record in folder.records():
                _write_unpacked(ResultsFolder(staged / name), folder.pack, record)
                count += 1
            write_json(staged / name / "plan.json", folder.plan())
        for name in folders:
            (staged / name).replace(out / name)
    return count


def _write_unpacked(target: ResultsFolder, pack: Pack, record: Record) -> None:
    """Write the files of one run."""
    run = record.pop("folder")
    path, key = target.path(run), run[-KEY:]
    path.mkdir(parents=True)
    write_json(path / "run.json", record)
    for name, columns in pack.runs[key]["tables"].items():
        write_cases(path / name, [{column: row[column] for column in columns} for row in pack.rows[name][key]])
    if log := pack.logs.get(key):
        (path / "train.jsonl").write_text("".join(f"{line}\n" for line in log))
