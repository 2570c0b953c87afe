"""A results folder: records of runs, the latest plan, pictures of test scans; a run is stored whole or not at all."""

import csv
import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from benchmark import InputError
from benchmark.inputs import is_there, read_json, read_npz

INSIDE = Path(__file__).parent / "reference"  # where a wheel has them
FOLDER = INSIDE if INSIDE.is_dir() else Path(__file__).parents[1] / "results/reference"
ALL = "reference"
Record = dict[str, Any]
Rows = list[dict[str, Any]]
Tables = dict[str, Rows]  # by the file that they go to
# what is read back: name -> type; ? after names that older runs, or runs of another kind, lack
STATES = ("done", "failed")
RULES = ("last", "weakval", "val", "test")
NUMBER = (int, float, type(None))
SHARES = ("labelled_share", "labelled_depth_px", "labelled_pixels")  # by class
LISTS = ("regions", "scans", "val_scans")
OURS = ("folder", "results", "stored")  # what is known of a run from where it lies, whatever it says
IDENTITY: dict[str, Any] = {
    **dict.fromkeys(("method", "dataset", "annotation", "split", "data"), str),
    **dict.fromkeys(("options", "dataset_options", "budget"), dict),
    **dict.fromkeys(("protocol", "simulator", "seed"), int),
}
PLANNED: dict[str, Any] = {"folder": str, "label": str, "identity": dict, "common": dict}
PLAN: dict[str, Any] = {"runs": list, "name?": str, "title?": str, "against?": str}
FIELDS: dict[str, Any] = {
    **dict.fromkeys(("state", "label", "code"), str),
    **dict.fromkeys(("identity", "common"), dict),
    **dict.fromkeys(("reason?", "why_own_budget?", "hash?", "finished?", "version?", "commit?"), str),
    **dict.fromkeys(("worker?", "selected?", *(f"{name}?" for name in SHARES)), dict),
    **dict.fromkeys(("snapshots?", *(f"{name}?" for name in LISTS)), list),
    **dict.fromkeys(("labelled_slices?", "labelled_objects?"), NUMBER),
    **{"external?": bool, "patients_known?": (bool, type(None))},
}
WORKER: dict[str, Any] = {
    **dict.fromkeys(("fit_s?", "spared_s?", "predict_s?", "parameters?", "memory_mib?", "device_memory_mib?"), NUMBER),
    "device?": str,
}
SNAPSHOT: dict[str, Any] = {"step": int, **dict.fromkeys(("weakval", "val_dice", "test_dice"), NUMBER)}


def stored(name: str) -> dict[str, Path]:
    """Results folders by name: `reference` is all that travel with the package, else one of these, or a folder's path."""
    there = within(FOLDER)
    if name == ALL:
        return there
    if name in there:
        return {name: there[name]}
    if is_there(Path(name) / "runs"):
        return {str(Path(name).resolve()): Path(name)}
    raise InputError(f"there are no stored runs {name!r}; there are {', '.join([ALL, *there])}, or give a results folder")


def within(folder: Path) -> dict[str, Path]:
    """The results folders in a folder, by name."""
    return {path.name: path for path in sorted(folder.glob("*")) if (path / "runs").is_dir()}


def records(folder: Path) -> Iterator[Record]:
    """What `run.json` says of each run in a results folder, with `folder`, where it lies below `runs`."""
    for path in sorted((folder / "runs").glob("*/*/*/*/run.json")):
        record = {name: value for name, value in read_record(path).items() if name not in OURS}
        yield record | {"folder": str(path.parent.relative_to(folder / "runs"))}


def read_record(path: Path) -> Record:
    """A run's `run.json`; raises InputError where it isn't what a run leaves, or where the run's files are links.

    A link could bring any file of its reader's machine into a report.
    """
    damaged = "remove that folder and run again"
    record = read_json(path, damaged)
    if problem := schema_error(record, FIELDS) or schema_error(record["identity"], IDENTITY) or _misfit_parts(record):
        raise InputError(f"{path} is damaged ({problem}); {damaged}")
    if links := [each.name for each in path.parent.iterdir() if each.is_symlink()]:
        raise InputError(f"{path.parent}: {links[0]} is a link; a run holds files of its own")
    return record


def read_plan(results: Path) -> dict[str, Any]:
    """The latest plan of a results folder; empty without one."""
    path = results / "plan.json"
    plan = read_json(path, "remove it, and plan again") if is_there(path) else {"runs": []}
    problem = schema_error(plan, PLAN)
    for run in plan["runs"] if not problem else ():
        problem = problem or schema_error(run, PLANNED) or schema_error(run["identity"], IDENTITY)
        if not problem and (Path(run["folder"]).is_absolute() or ".." in Path(run["folder"]).parts):
            problem = f"folder is {run['folder']!r:.60}, which leads out of it"
    if problem:
        raise InputError(f"{path} is damaged ({problem}); remove it, and plan again")
    return plan


def schema_error(record: Any, fields: Mapping[str, Any]) -> str:
    """What a record lacks or holds of another type; empty if it is sound. Names that end with ? may be missing."""
    if not isinstance(record, dict):
        return f"{str(record)[:40]!r} is no object"
    for field, kind in fields.items():
        name = field.removesuffix("?")
        if name not in record and name == field:
            return f"it has no {name}"
        value = record.get(name)
        if name in record and (not isinstance(value, kind) or (isinstance(value, bool) and kind is int)):
            return f"{name} is {value!r:.40}"
    return ""


def _misfit_parts(record: Record) -> str:
    """What is wrong in the parts of a run's record."""
    if record["state"] not in STATES:
        return f"state is {record['state']!r:.40}"
    parts = [("worker", record.get("worker", {}), WORKER)]
    parts += [("snapshots", each, SNAPSHOT) for each in record.get("snapshots", [])]
    parts += [("selected", record["selected"], dict.fromkeys(RULES, int))] if "selected" in record else []
    parts += [(name, own, dict.fromkeys(own, NUMBER)) for name in record if name in SHARES and (own := record[name])]
    for name, part, fields in parts:
        if problem := schema_error(part, fields):
            return f"{name}: {problem}"
    odd = [name for name in LISTS for each in record.get(name, []) if not isinstance(each, str)]
    return f"{odd[0]} holds what is no text" if odd else ""


@dataclass(frozen=True)
class ResultsFolder:
    """A results folder."""

    root: Path

    def record(self, folder: Path) -> Record | None:
        """The record of the run in that folder below `runs/`; None if there is none."""
        path = self.root / "runs" / folder / "run.json"
        return read_record(path) if path.is_file() else None

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
        """Write the latest plan, in place of an older one, so that a report can show what is missing."""
        staged = self.root / ".staging" / f"plan-{_unique_suffix()}"
        staged.write_text(json.dumps(plan, indent=1) + "\n")
        staged.replace(self.root / "plan.json")

    def lock(self, key: str) -> TextIO | None:
        """The lock of a job's hash, held until it is closed or this process ends; None if another process holds it."""
        file = (self.root / ".locks" / key[:16]).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file

    def store(self, folder: Path, run: Record, files: Iterable[Path], tables: Tables) -> None:
        """Put a run into its folder below `runs/`: whole or absent, whenever this process is killed."""
        staged = self.root / ".staging" / run["hash"][:16]  # the job's lock guards it
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        for path in files:
            if path.suffix == ".npy":
                np.savez_compressed(staged / f"{path.stem}.npz", labels=np.load(path, allow_pickle=False))
            else:
                shutil.copyfile(path, staged / path.name)
        for name, rows in tables.items():
            write_cases(staged / name, rows)
        (staged / "run.json").write_text(json.dumps(run, indent=1) + "\n")
        for path in staged.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        final = self.root / "runs" / folder
        final.parent.mkdir(parents=True, exist_ok=True)
        old = staged.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        staged.rename(final)
        shutil.rmtree(old, ignore_errors=True)


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


def write_cases(path: Path, rows: Rows) -> None:
    """Rows of scores as CSV, the first row's keys as header."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _unique_suffix() -> str:
    """A name that no other process uses, be it on another machine."""
    return os.urandom(6).hex()


BYTE = np.dtype(np.uint8)
AGAIN = "remove that folder; the next sweep makes the pictures again"
ABOUT = {"data": str, "scans": list, "classes": list, "redistribute": bool, "licence": str, "seed": int}


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
        about = read_json(path, AGAIN)
        if problem := schema_error(about, ABOUT):
            raise InputError(f"{path} is damaged ({problem}); {AGAIN}")
        return about

    def image(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (slices, height, width, 3) and mask (slices, height, width) of a test scan, uint8."""
        path = self.folder / f"{number:04d}.npz"
        planes, mask = read_npz(path, "image", "mask")
        if planes.ndim != 4 or mask.shape != (len(planes), *planes.shape[2:]) or {planes.dtype, mask.dtype} != {BYTE}:
            raise InputError(f"{path} is damaged (its image is {planes.shape}, its mask {mask.shape}); {AGAIN}")
        return np.moveaxis(planes if planes.shape[1] == 3 else planes[:, :1].repeat(3, 1), 1, -1), mask

    def marks(self, number: int, annotation: str) -> np.ndarray | None:
        """Labels (slices, height, width) with 255 where nothing is marked; None if none were kept."""
        path = self.folder / plain(annotation) / f"{number:04d}.npz"
        if not path.is_file():
            return None
        return read_npz(path, "marks")[0]


def plain(name: str) -> str:
    """A name as a folder may be called."""
    return re.sub(r"^\.+$|[^\w.@+=-]", "-", name)
