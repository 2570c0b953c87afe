"""Results on disk: what a run leaves, read from a folder of runs or from a packed one, and how either is written.

A live folder holds `plan.json` and, for each run, `runs/<dataset>/<annotation>/<method>/<split>-seed0-<hash8>/` with
`run.json`, `cases.csv`, `train.jsonl` and `label*.npz`; or `run.json` with the reason of a failure and `output.txt`. Where
snapshots are kept, `snapshots.csv` and `step*.npz` hold their scores and label maps. A packed folder holds the runs of
several such folders, each run once and without label maps, in four compressed tables, and a small file for each folder.
"""

import csv
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from benchmark import InputError
from benchmark.inputs import is_there, nearest, read_json, read_npz

INSIDE = Path(__file__).parent / "reference"  # where a wheel has them
FOLDER = INSIDE if INSIDE.is_dir() else Path(__file__).parents[1] / "results/reference"
ALL = "reference"
Record = dict[str, Any]
Rows = list[dict[str, Any]]
Tables = Mapping[str, Rows]  # rows by the file that holds them

AGAIN = "remove that folder and run again"
ADDED = ("folder", "results", "stored")  # said of a run by where it lies, never by its record
CASES, SNAPSHOTS = "cases.csv", "snapshots.csv"
RUNS, LOGS, SUMS = "runs.jsonl.gz", "logs.jsonl.gz", "SHA256SUMS"  # of a packed folder
KEY = 8  # digits of a run's hash, which end its folder's name; in packed tables they stand for the run
TEXTS = ("scan", "patient", "region", "unit")  # whatever they look like: patient 007 is not 7


# ----------------------------------------------------------------------------------------------------- what is valid


class Sound(BaseModel):
    """Fields and their types; others may be there too."""

    model_config = ConfigDict(strict=True)


class Identity(Sound):
    """What settles a run's numbers."""

    protocol: int
    method: str
    options: dict[str, Any]
    dataset: str
    dataset_options: dict[str, Any]
    annotation: str
    simulator: int
    split: str
    seed: int
    budget: dict[str, Any]
    data: str


class Worker(Sound):
    """What the learner's process reports."""

    fit_s: float | None = None
    predict_s: float | None = None
    parameters: float | None = None
    memory_mib: float | None = None
    device_memory_mib: float | None = None
    device: str = ""
    facts: dict[str, bool | int | float | str] = {}  # that the method stated
    notes: dict[str, str] = {}  # what tables say of its yes-or-no facts


class Snapshot(Sound):
    """The scores of a step that rules choose by."""

    step: int
    weakval: float | None
    val_dice: float | None
    test_dice: float | None


class Selected(Sound):
    """The step that each rule of selection chose; the description says which snapshot that is."""

    last: int = Field(description="the last step")
    weakval: int = Field(
        description="the snapshot with the smallest partial loss on the marks of held-out training patients"
    )
    val: int = Field(description="the snapshot with the best Dice on dense masks of held-out patients")
    test: int = Field(description="the snapshot with the best Dice on the test set, an oracle that nobody has")


RULES = {rule: field.description for rule, field in Selected.model_fields.items()}


class Run(Sound):
    """`run.json`; fields with a value here are missing in older runs, or in those of another kind."""

    state: Literal["done", "failed"]
    label: str
    code: str
    identity: Identity
    common: dict[str, Any]
    reason: str = ""
    why_own_budget: str = ""
    hash: str = ""
    finished: str = ""
    version: str = ""
    commit: str = ""
    role: str = ""
    extra: str | None = None  # what the method needs beyond a pass of the network per step
    titles: dict[Literal["method", "data set"], str] = {}  # in figures and LaTeX tables
    revision: int | None = None  # None: of a method that names none
    external: bool = False
    patients_known: bool | None = None
    worker: Worker = Worker()
    regions: list[str] = []
    labels: dict[str, list[int]] | None = None  # of each region
    tolerance: float | None = None  # of the surface Dice
    scans: list[str] = []
    sites: list[str] = []  # of these scans; empty where all are from one
    val_scans: list[str] = []
    snapshots: list[Snapshot] = []
    selected: Selected | None = None
    labelled_share: dict[str, float | None] = {}
    labelled_depth_px: dict[str, float | None] = {}
    labelled_pixels: dict[str, float | None] = {}
    labelled_slices: float | None = None
    labelled_objects: float | None = None


def _inside(folder: str) -> str:
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise ValueError("which leads out of the results")
    return folder


class Planned(Sound):
    """A run that was asked for."""

    folder: Annotated[str, AfterValidator(_inside)]
    label: str
    identity: Identity
    common: dict[str, Any]


class Plan(Sound):
    """`plan.json`."""

    runs: list[Planned]
    name: str = ""
    title: str = ""
    against: str = ""


class PackedRun(Sound):
    """A line of `runs.jsonl.gz`."""

    folder: Annotated[str, AfterValidator(_inside)]
    tables: dict[str, list[str]]  # the columns of each of its tables
    run: Run


def check(held: Record, schema: type[Sound], where: object, advice: str) -> Record:
    """Return what fits a schema; raises InputError that names the file, the field and what it should be."""
    try:
        schema.model_validate(held)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            problem = f"it has no {field}"
        else:
            said = first["msg"].removeprefix("Value error, ").replace("Input should be", "and should be")
            problem = f"{field or 'what it holds'} is {first['input']!r:.60}, {said}"
        raise InputError(f"{where} is damaged ({problem}); {advice}") from error
    return held


# ---------------------------------------------------------------------------------------------------- a live folder


@dataclass(frozen=True)
class ResultsFolder:
    """Runs, their scores and their plan. A run is named by its folder below `runs/`."""

    root: Path

    def path(self, run: str | Path) -> Path:
        """Where a run's files lie."""
        return self.root / "runs" / run

    def records(self) -> list[Record]:
        """What `run.json` says of each run, with its name as `folder`."""
        paths = sorted((self.root / "runs").glob("*/*/*/*/run.json"))
        return [_read_record(path) | {"folder": path.parent.relative_to(self.root / "runs").as_posix()} for path in paths]

    def record(self, run: str | Path) -> Record | None:
        """What `run.json` says of one run; None if it isn't there."""
        path = self.path(run) / "run.json"
        return _read_record(path) if path.is_file() else None

    def plan(self) -> dict[str, Any]:
        """The latest plan; without runs if there is none."""
        path = self.root / "plan.json"
        if not path.is_file():
            return {"runs": []}
        return check(read_json(path, again := "remove it, and plan again"), Plan, path, again)

    def cases(self, runs: Iterable[str]) -> pd.DataFrame:
        """Scores of runs by scan and region, as `run` the run's name; what older runs were not scored with is NaN."""
        return self.table(CASES, runs)

    def snapshots(self, runs: Iterable[str]) -> pd.DataFrame:
        """The same of the snapshots of runs, with `part` (val or test) and `step`."""
        return self.table(SNAPSHOTS, runs)

    def has_snapshots(self, run: str) -> bool:
        """Whether the scores of a run's snapshots are there."""
        return (self.path(run) / SNAPSHOTS).is_file()

    def log(self, run: str) -> list[str]:
        """The lines of a run's training log, JSON objects; none without a log."""
        path = self.path(run) / "train.jsonl"
        return _text(path, path).split("\n")[:-1] if path.is_file() else []

    def output(self, run: str) -> dict[str, str]:
        """What a failed run wrote, by the name of its file."""
        paths = [self.path(run) / name for name in ("error.txt", "output.txt")]
        return {path.name: path.read_text(errors="replace") for path in paths if path.is_file()}

    def label_map(self, run: str, number: int) -> np.ndarray:
        """The predicted labels of a test scan, uint8 (slices, height, width)."""
        return read_npz(self.path(run) / f"label{number:04d}.npz", "labels")[0]

    def has_label_maps(self, run: str) -> bool:
        """Whether a run's predictions are there."""
        return (self.path(run) / "label0000.npz").is_file()

    def table(self, name: str, runs: Iterable[str]) -> pd.DataFrame:
        """One file of every run. Files with the same heading are parsed at once, in a third of the time."""
        bodies: dict[str, dict[str, str]] = {}  # by heading and run
        for run in runs:
            heading, _, body = _text(self.path(run) / name, f"{name} in {self.path(run)}").partition("\n")
            bodies.setdefault(heading, {})[run] = body.rstrip("\n") + "\n"
        parts = [pd.DataFrame(columns=["run", *TEXTS])]
        for heading, own in bodies.items():
            try:
                part = _parsed(f"{heading}\n{''.join(own.values())}")
            except ValueError:
                self._refuse_damaged(name, heading, own)
                raise
            counts = [body.count("\n") for body in own.values()]
            parts.append(part.assign(run=np.repeat(list(own), counts)))
        return pd.concat(parts[1:] or parts, ignore_index=True)

    def _refuse_damaged(self, name: str, heading: str, bodies: Mapping[str, str]) -> None:
        """Raise InputError that names the run whose scores can't be parsed."""
        for run, body in bodies.items():
            try:
                _parsed(f"{heading}\n{body}")
            except ValueError as error:
                said = " ".join(str(error).split())
                raise InputError(f"{name} in {self.path(run)} is damaged ({said}); {AGAIN}") from error

    # -------------------------------------------------------------------------------------------------- writing

    def prepare(self) -> None:
        """Make the folder; raises InputError where it can't be written."""
        try:
            for part in ("runs", ".locks", ".staging"):
                (self.root / part).mkdir(parents=True, exist_ok=True)
            probe = self.root / ".staging" / f"probe-{_unique_suffix()}"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise InputError(f"the results folder {self.root} can't be written: {error.strerror}") from error

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Write the latest plan in place of an older one, so that a report can show what is missing."""
        staged = self.root / ".staging" / f"plan-{_unique_suffix()}"
        staged.write_text(json.dumps(plan, indent=1) + "\n")
        staged.replace(self.root / "plan.json")

    def lock(self, key: str) -> TextIO | None:
        """The lock of the run with that hash, held until it is closed or this process ends; None if another has it."""
        file = (self.root / ".locks" / key[:16]).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file

    def store(self, run: str | Path, record: Record, files: Iterable[Path], tables: Tables) -> None:
        """Put a run into its place: whole or absent, whenever this process is killed."""
        staged = self.root / ".staging" / record["hash"][:16]  # the run's lock guards it
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        for path in files:
            if path.suffix == ".npy":
                np.savez_compressed(staged / f"{path.stem}.npz", labels=np.load(path, allow_pickle=False))
            else:
                shutil.copyfile(path, staged / path.name)
        for name, rows in tables.items():
            write_cases(staged / name, rows)
        write_json(staged / "run.json", record)
        for path in staged.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        final = self.path(run)
        final.parent.mkdir(parents=True, exist_ok=True)
        old = staged.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        staged.rename(final)
        shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, held: Mapping[str, Any]) -> None:
    """Write an object as the files of this project have it."""
    path.write_text(json.dumps(held, indent=1) + "\n")


def write_cases(path: Path, rows: Rows) -> None:
    """Write rows of scores as CSV below a line with their names."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _read_record(path: Path) -> Record:
    """A run's `run.json`. Its files may not be links, which could bring any file of their reader's into a report."""
    record = check(read_json(path, AGAIN), Run, path, AGAIN)
    if links := [each.name for each in path.parent.iterdir() if each.is_symlink()]:
        raise InputError(f"{path.parent}: {links[0]} is a link; a run holds files of its own")
    return {name: value for name, value in record.items() if name not in ADDED}


def _text(path: Path, what: object) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{what} is damaged ({error}); {AGAIN}") from error


def _parsed(text: str) -> pd.DataFrame:
    """Scores as they are written; raises ValueError where a value isn't what its column holds."""
    heading = text[: text.index("\n")].split(",")
    counts = [name for name in heading if re.fullmatch("step|n_(missed|ghost|absent)", name)]
    others = [name for name in heading if name not in ("run", "part", *TEXTS, *counts)]
    types = {**dict.fromkeys(("run", "part"), "category"), **dict.fromkeys(TEXTS, str), **dict.fromkeys(others, float)}
    undefined = {name: ["", "nan"] for name in others}
    table = pd.read_csv(io.StringIO(text), dtype=types, keep_default_na=False, na_values=undefined)
    if len(table) != text.count("\n") - 1:
        raise ValueError("a row is not one line")
    if missing := [name for name in TEXTS if name not in table]:
        raise ValueError(f"it has no {missing[0]}")
    if odd := [name for name in (*others, *counts) if table[name].dtype.kind not in "iuf" or np.isinf(table[name]).any()]:
        raise ValueError(f"{odd[0]} is not a number somewhere")
    return table


def commit() -> str:
    """The checkout's commit, with `+` where files were changed; empty outside a checkout."""
    folder = Path(__file__).parents[1]
    if not (folder / ".git").exists():
        return ""
    git = ["git", "-C", str(folder)]
    with suppress(OSError, subprocess.CalledProcessError):
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True).stdout
        return head + ("+" if changed.strip() else "")
    return ""


def _unique_suffix() -> str:
    """A name that no other runner takes, be it on another machine."""
    return os.urandom(6).hex()


# --------------------------------------------------------------------------------------------------- a packed folder


@dataclass(frozen=True)
class Pack:
    """The files of a packed folder, each read once and compared with its checksum."""

    root: Path

    @cached_property
    def sums(self) -> dict[str, str]:
        """SHA-256 of the files by name."""
        lines = (line.split("  ", 1) for line in _text(self.root / SUMS, self.root / SUMS).splitlines())
        return {name: digest for digest, name in lines}

    @property
    def sets(self) -> list[str]:
        """The names of the sets of runs."""
        return sorted(path.stem for path in (self.root / "sets").glob("*.json"))

    @cached_property
    def runs(self) -> dict[str, Record]:
        """What a PackedRun says of each, by key."""
        lines = [json.loads(line) for line in self.text(RUNS).splitlines()]
        for number, line in enumerate(lines, 1):
            check(line, PackedRun, f"line {number} of {self.root / RUNS}", "pack the runs again")
        return {line["folder"][-KEY:]: line for line in lines}

    @cached_property
    def cases(self) -> pd.DataFrame:
        """Scores of all runs, with the run's key as `run`."""
        return _parsed(self.text(CASES + ".gz"))

    @cached_property
    def snapshots(self) -> pd.DataFrame:
        """Scores of all snapshots, with the run's key as `run`."""
        return _parsed(self.text(SNAPSHOTS + ".gz"))

    @cached_property
    def logs(self) -> dict[str, list[str]]:
        """The lines of the training logs by the run's key."""
        start = len('{"run": "') + KEY
        found: dict[str, list[str]] = {}
        for line in self.text(LOGS).splitlines():
            found.setdefault(line[start - KEY : start], []).append("{" + line[start + len('", ') :])
        return found

    @cached_property
    def rows(self) -> dict[str, dict[str, Rows]]:
        """The cells of both tables, as they are written, by file and the run's key."""
        found: dict[str, dict[str, Rows]] = {CASES: {}, SNAPSHOTS: {}}
        for name, by_run in found.items():
            for row in csv.DictReader(io.StringIO(self.text(f"{name}.gz"))):
                by_run.setdefault(row["run"], []).append(row)
        return found

    def text(self, name: str) -> str:
        """What a file holds, unpacked; raises InputError where its checksum is another."""
        path = self.root / name
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} can't be read: {error.strerror}") from error
        if (found := hashlib.sha256(raw).hexdigest()) != self.sums.get(name):
            said = f"its SHA-256 is {found[:12]}... and {SUMS} says {self.sums.get(name, 'none')[:12]}..."
            raise InputError(f"{path} is damaged ({said}); get the packed folder again")
        return (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()


@dataclass(frozen=True)
class PackedFolder(ResultsFolder):
    """A set of runs in a packed folder; it is only read, and has no label maps."""

    pack: Pack

    def path(self, run: str | Path) -> Path:
        """Raise InputError: a packed run has no folder."""
        raise InputError(
            f"{self.root} is packed: its runs can't be changed and have no label maps; to get folders: "
            f"python -m benchmark unpack --results {self.root} --out FOLDER"
        )

    def prepare(self) -> None:
        """Raise InputError: nothing is written into a packed folder."""
        self.path("")

    def records(self) -> list[Record]:
        """What `run.json` says of each run, with its name as `folder`."""
        lines = sorted((self.pack.runs[key] for key in self._keys), key=lambda line: line["folder"].split("/"))
        return [line["run"] | {"folder": line["folder"]} for line in lines]

    def plan(self) -> dict[str, Any]:
        """The plan that the runs were made by."""
        lines = [self.pack.runs[each] if isinstance(each, str) else each for each in self._set["runs"]]
        return {
            **self._set["plan"],
            "runs": [planned_by(each["folder"], each["run"]) if "run" in each else each for each in lines],
        }

    def has_snapshots(self, run: str) -> bool:
        """Whether the scores of a run's snapshots are there."""
        return SNAPSHOTS in self.pack.runs[run[-KEY:]]["tables"]

    def has_label_maps(self, run: str) -> bool:
        """Return False: these are not packed."""
        return False

    def log(self, run: str) -> list[str]:
        """The lines of a run's training log, JSON objects; none without a log."""
        return self.pack.logs.get(run[-KEY:], [])

    def output(self, run: str) -> dict[str, str]:
        """Nothing: what failed runs wrote is not packed."""
        return {}

    def table(self, name: str, runs: Iterable[str]) -> pd.DataFrame:
        """`cases.csv` or `snapshots.csv` of every run."""
        names = {run[-KEY:]: run for run in runs}
        table = self.pack.cases if name == CASES else self.pack.snapshots
        table = table[table.run.isin(names)]
        return table.assign(run=table.run.astype(str).map(names))

    @cached_property
    def _set(self) -> dict[str, Any]:
        held: dict[str, Any] = json.loads(self.pack.text(f"sets/{self.root.name}.json"))
        return held

    @property
    def _keys(self) -> list[str]:
        return [each for each in self._set["runs"] if isinstance(each, str)] + self._set["others"]


def planned_by(folder: str, record: Record) -> Record:
    """What a plan says of a run, read off its record."""
    return {"folder": folder, **{name: record[name] for name in ("label", "identity", "common")}}


# ------------------------------------------------------------------------------------------------ folders by their path


def open_results(path: Path) -> ResultsFolder:
    """The results folder at a path, there or still to be made, or one set of a packed folder: `results/reference/smoke`."""
    if is_packed(path):
        names = ", ".join(str(path / name) for name in Pack(path).sets)
        raise InputError(f"{path} is a packed folder of several sets of runs; name one of them: {names}")
    if is_packed(path.parent) and path.name in (pack := Pack(path.parent)).sets:
        return PackedFolder(path, pack)
    return ResultsFolder(path)


def within(path: Path) -> dict[str, ResultsFolder]:
    """The results folders in a folder, or the sets of a packed one, by name; none where the path itself is one."""
    if is_packed(path):
        pack = Pack(path)
        return {name: PackedFolder(path / name, pack) for name in pack.sets}
    if (path / "runs").is_dir():
        return {}
    return {each.name: ResultsFolder(each) for each in sorted(path.glob("*")) if (each / "runs").is_dir()}


def stored(name: str) -> dict[str, ResultsFolder]:
    """Stored runs by name: `reference` is all that travel with the package, else one of these, or a folder's path."""
    there = within(FOLDER)
    if name == ALL:
        return there
    if name in there:
        return {name: there[name]}
    path = Path(name)
    if is_there(path / "runs") or is_there(path.parent / "sets" / f"{path.name}.json"):
        return {str(path.resolve()): open_results(path)}
    if is_there(path / RUNS):
        return {str((path / each).resolve()): folder for each, folder in within(path).items()}
    known = [ALL, *there]
    there_are = f"there are {', '.join(known)}, or give a results folder"
    raise InputError(f"there are no stored runs {name!r}{nearest(name, known)}; {there_are}")


def is_packed(path: Path) -> bool:
    """Whether a folder is a packed one."""
    return (path / RUNS).is_file()


# -------------------------------------------------------------------------------------------------- pictures

BYTE = np.dtype(np.uint8)
PICTURES_AGAIN = "remove that folder; the next sweep makes the pictures again"


class About(Sound):
    """`about.json` of pictures."""

    data: str  # fingerprint of the split
    scans: list[str]
    classes: list[str]
    redistribute: bool
    licence: str


@dataclass(frozen=True)
class CasePictures:
    """Pictures of the test scans of one split of one data set."""

    folder: Path

    @classmethod
    def of(cls, results: Path, dataset: str, split: str) -> "CasePictures":
        """Those of a results folder, whether or not they exist."""
        return cls(results / "pictures" / plain(dataset) / plain(split))

    def about(self) -> dict[str, Any]:
        """What `about.json` says: data (their fingerprint), scans, classes, redistribute, licence; empty without one."""
        path = self.folder / "about.json"
        if not path.is_file():
            return {}
        return check(read_json(path, PICTURES_AGAIN), About, path, PICTURES_AGAIN)

    def image(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (slices, height, width, 3) and mask (slices, height, width) of a test scan, uint8."""
        path = self.folder / f"{number:04d}.npz"
        planes, mask = read_npz(path, "image", "mask")
        if planes.ndim != 4 or mask.shape != (len(planes), *planes.shape[2:]) or {planes.dtype, mask.dtype} != {BYTE}:
            raise InputError(f"{path} is damaged (its image is {planes.shape}, its mask {mask.shape}); {PICTURES_AGAIN}")
        return np.moveaxis(planes if planes.shape[1] == 3 else planes[:, :1].repeat(3, 1), 1, -1), mask

    def marks(self, number: int, annotation: str, seed: int) -> np.ndarray | None:
        """Labels (slices, height, width) with 255 where nothing is marked; None if none were kept of this seed."""
        path = self.folder / marks_name(annotation, seed) / f"{number:04d}.npz"
        if not path.is_file():
            return None
        return read_npz(path, "marks")[0]


def marks_name(annotation: str, seed: int) -> str:
    """The folder of marks beside the pictures: simulated ones differ from seed to seed."""
    return plain(f"{annotation}-seed{seed}")


def plain(name: str) -> str:
    """A name as a folder may be called."""
    return re.sub(r"^\.+$|[^\w.@+=-]", "-", name)
