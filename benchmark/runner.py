"""Run jobs: seal, hand to workers, score, and put each run into `results/` whole or not at all.

`results/runs/<dataset>/<annotation>/<method>/<split>-seed0-<hash8>/` holds `run.json`, `cases.csv`, `train.jsonl` and
`label*.npz`, or a `run.json` with the reason of a failure and `output.txt`. Where snapshots are kept, `snapshots.csv` and
`step*.npz` hold their scores and label maps. The same command again resumes a sweep.
"""

import csv
import dataclasses
import fcntl
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
from scipy import ndimage

from benchmark import InputError, __version__, sealed
from benchmark.comparable import read_record
from benchmark.datasets.base import Dataset, Scan
from benchmark.datasets.weak import Annotation, Annotator, parse, set_type
from benchmark.executors import Ended, Executor, Running, Task, scratch
from benchmark.grown import Grown
from benchmark.jobs import Job, Plan
from benchmark.metrics import Named
from benchmark.pictures import Keeper
from benchmark.score import evaluate

Cell = tuple[str, str, str, int, bool]  # data set, annotation, split, seed, held-out marks: a sealed folder is for these


Rows = list[dict[str, Any]]
Tables = dict[str, Rows]  # by the file that they go to


class Screen(Protocol):
    """Who watches a sweep."""

    def planned(self, states: Counter[str]) -> None:
        """How many jobs are in which state at the start."""

    def tick(self, running: list[Running]) -> None:
        """A moment has passed."""

    def ended(self, job: Job, state: str, reason: str, seconds: float) -> None:
        """A run is in its place."""


@dataclass(frozen=True)
class Place:
    """A results folder."""

    root: Path

    def folder(self, job: Job) -> Path:
        """Where a job's run lies."""
        return self.root / "runs" / job.folder

    def state(self, job: Job) -> str:
        """`done`, `failed`, `stale` (done by other code) or `planned`."""
        path = self.folder(job) / "run.json"
        if not path.is_file():
            return "planned"
        run = read_record(path)
        return "stale" if run["state"] == "done" and run["code"] != job.code else str(run["state"])

    def prepare(self) -> None:
        """Make the folder; raises InputError where it can't be written."""
        try:
            for part in ("runs", ".locks", ".staging"):
                (self.root / part).mkdir(parents=True, exist_ok=True)
            probe = self.root / ".staging" / f"probe-{_own()}"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise InputError(f"the results folder {self.root} can't be written: {error.strerror}") from error

    def remember(self, plan: Plan) -> None:
        """Keep the list of planned runs, in place of an older one, so that a report can show what is missing."""
        content = {"name": plan.name, "title": plan.title, "not_claimed": plan.not_claimed, "runs": plan.records()}
        if plan.against:
            path = Path(plan.against)
            content["against"] = str(path.resolve()) if (path / "runs").is_dir() else plan.against
        staged = self.root / ".staging" / f"plan-{_own()}"
        staged.write_text(json.dumps(content, indent=1) + "\n")
        staged.replace(self.root / "plan.json")

    def lock(self, job: Job) -> TextIO | None:
        """The job's lock, held until it is closed or this process ends; None if another runner has it."""
        file = (self.root / ".locks" / job.hash[:16]).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file

    def store(self, job: Job, run: dict[str, Any], files: Iterable[Path], tables: Tables) -> None:
        """Put a run into its place: whole or absent, whenever this process is killed."""
        staged = self.root / ".staging" / job.hash[:16]  # the job's lock guards it
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
        final = self.folder(job)
        final.parent.mkdir(parents=True, exist_ok=True)
        old = staged.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        staged.rename(final)
        shutil.rmtree(old, ignore_errors=True)


class Sweep:
    """One call of `run`: the jobs that are still to do, sealed folders while they are needed, and the outcome."""

    def __init__(self, plan: Plan, place: Place, executor: Executor, screen: Screen, rerun: str = "") -> None:
        """`rerun`: also do again what is `stale`, or `all`; failed runs are always tried again."""
        self.plan, self.place, self.executor, self.screen = plan, place, executor, screen
        self.again = {"": (), "stale": ("stale",), "all": ("stale", "done")}[rerun]
        self.states: Counter[str] = Counter()
        self.active: dict[Task, tuple[Job, TextIO]] = {}
        self.sealed: dict[Cell, tuple[Path, Labelled]] = {}
        self.grown = Grown(place.root)

    def run(self, jobs: Sequence[Job] | None = None) -> Counter[str]:
        """Do what is to do of the plan, or of these of its jobs; returns how many of them are in which state at the end."""
        self.place.prepare()
        self.place.remember(self.plan)
        before = [(job, self.place.state(job)) for job in (self.plan.jobs if jobs is None else jobs)]
        self.screen.planned(Counter(state for _, state in before))
        todo = [job for job, state in before if state in ("planned", "failed", *self.again)]
        self.states = Counter(state for _, state in before if state not in ("planned", "failed", *self.again))
        self.left = Counter(_cell(job) for job in todo)
        with scratch() as self.scratch:
            try:
                for event in self.executor.run(self._tasks(todo)):
                    if event is None:
                        self.screen.tick(self.executor.running)
                    else:
                        self._finish(event)
            finally:
                for _, lock in self.active.values():
                    lock.close()
        return self.states

    def _tasks(self, todo: list[Job]) -> Iterator[Task]:
        for number, job in enumerate(todo):
            lock = self.place.lock(job)
            if lock is None or self.place.state(job) in {"done", "stale"} - set(self.again):
                self._count(job, "elsewhere", "another runner has it", 0)
                if lock:
                    lock.close()
                continue
            out = self.scratch / f"run{number}"
            out.mkdir()
            request = {"plugin": dataclasses.asdict(job.plugin), "options": job.options, "seed": job.seed}
            (out / "job.json").write_text(json.dumps(request | {"budget": dataclasses.asdict(job.budget)}))
            try:
                folder = self._seal(job)
                self.grown.lend(job, folder, out)
            except OSError as error:
                raise InputError(
                    f"{self.scratch} can't be written: {error.strerror}; TMPDIR may name another temporary place"
                ) from error
            task = Task(job.name, out / "job.json", folder, out, job.budget.threads, job.budget.steps)
            self.active[task] = job, lock
            yield task

    def _seal(self, job: Job) -> Path:
        """The job's sealed folder, made when the first job needs it."""
        cell = _cell(job)
        if cell not in self.sealed:
            dataset = self.plan.datasets[job.dataset]
            split, classes = dataset.split(job.split), len(dataset.classes)
            folder = self.scratch / f"sealed{len(self.sealed)}-{os.urandom(3).hex()}"
            folder.mkdir()
            labelled = Labelled(dataset.classes)
            annotator = Annotator(dataset, split.train, parse(job.annotation), job.seed)

            def train() -> Iterator[sealed.WeakScan]:
                for scan in map(dataset.load, split.train):
                    allowed = annotator(scan)
                    labelled.add(allowed, scan.mask)
                    yield sealed.WeakScan(scan.image, allowed, scan.spacing)

            weak = {"train": train()}
            if cell[-1]:
                weak["val"] = held_out(dataset, split.val, parse(job.annotation), job.seed)
            test = (sealed.TestScan(scan.image, scan.spacing) for scan in self._test(job))
            sealed.seal(folder, weak, test, classes, dataset.channels)
            self.sealed[cell] = folder, labelled
        return self.sealed[cell][0]

    def _test(self, job: Job) -> Iterator[Scan]:
        """The test scans of a job; on the way, pictures of them are kept for reports."""
        dataset = self.plan.datasets[job.dataset]
        names = dataset.split(job.split).test
        keeper = Keeper(self.place.root, dataset, job)
        if not keeper.needed():
            yield from map(dataset.load, names)
            return
        annotate = _as_in_training(dataset, names, parse(job.annotation), job.seed)
        yield from keeper.keep((scan, annotate(scan)) for scan in map(dataset.load, names))

    def _finish(self, event: Ended) -> None:
        """Score a run that has ended, and store it."""
        job, lock = self.active.pop(event.task)
        reason, dataset, out = event.reason, self.plan.datasets[job.dataset], event.task.out
        split, record = dataset.split(job.split), self._record(job, event)
        tables: Tables = {}
        if not reason:
            try:
                tables = {"cases.csv": score_run(dataset, split.test, out)}
                record["scans"] = list(split.test)
                if _cell(job)[-1]:
                    record["val_scans"] = list(split.val)
                if kept_steps := record["worker"].pop("snapshots", None):
                    tables["snapshots.csv"], chosen = score_snapshots(dataset, split.test, split.val, kept_steps, out)
                    record |= chosen
            except ValueError as error:
                reason, tables = str(error), {}
        state = "failed" if reason else "done"
        run = {"state": state, "reason": reason, **record}
        kept = ("label*.npy", "step*.npy", "train.jsonl") if state == "done" else ("train.jsonl", "output.txt", "error.txt")
        files = [path for pattern in kept for path in sorted(out.glob(pattern))]
        try:
            self.place.store(job, run, files, tables)
            if state == "done":
                self.grown.take(job, event.task.sealed, out, event.processor)
        except OSError as error:
            raise InputError(f"{self.place.root} can't take more runs: {error.strerror}; those stored are whole") from error
        finally:
            lock.close()
        shutil.rmtree(event.task.out)
        self._count(job, state, reason, event.seconds)

    def _record(self, job: Job, event: Ended) -> dict[str, Any]:
        """What `run.json` says of a run beside its state."""
        outcome = event.task.out / "worker.json"
        dataset = self.plan.datasets[job.dataset]
        return {
            "identity": job.identity(),
            "hash": job.hash,
            "label": job.method,
            "common": dataclasses.asdict(job.common),
            "why_own_budget": job.reason,
            "code": job.code,
            "regions": list(dataset.regions),
            "patients_known": dataset.patients_known,
            "labelled_share": self.sealed[_cell(job)][1].shares(),
            "labelled_depth_px": self.sealed[_cell(job)][1].median_depths(),
            **self.sealed[_cell(job)][1].amount(),
            "wall_s": round(event.seconds, 3),
            "slot": event.device,
            **({"first_try": event.first_try} if event.first_try else {}),
            "worker": json.loads(outcome.read_text()) if outcome.is_file() else {},
            "version": __version__,
            "commit": commit(),
            "processor": event.processor,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _count(self, job: Job, state: str, reason: str, seconds: float) -> None:
        self.states[state] += 1
        self.screen.ended(job, state, reason, seconds)
        cell = _cell(job)
        self.left[cell] -= 1
        if self.left[cell] == 0 and cell in self.sealed:
            shutil.rmtree(self.sealed[cell][0])


class Labelled:
    """What the marks name, over the training scans: how much of each class, and how far inside it."""

    BIN = 0.1  # px, of depths

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.marked = np.zeros(len(classes), np.int64)
        self.total = np.zeros(len(classes), np.int64)
        self.named = np.zeros(len(classes), np.int64)  # whatever the truth there is
        self.slices, self.objects = 0, 0
        self.truth_known = True
        self.depths: list[Counter[int]] = [Counter() for _ in classes]

    def add(self, allowed: np.ndarray, mask: np.ndarray | None) -> None:
        """Count a scan; one without a mask makes the shares, depths and objects unknown."""
        marked = (allowed != (1 << len(self.classes)) - 1).any((1, 2))
        self.slices += int(marked.sum())
        self.truth_known &= mask is not None
        for k in range(len(self.classes)):
            marks = allowed == 1 << k
            self.named[k] += np.count_nonzero(marks)
            if mask is None:
                self.marked[k] += np.count_nonzero(marks)
                continue
            region = mask == k
            if k:
                self.objects += sum(ndimage.label(own, np.ones((3, 3)))[1] for own in region[marked])
            self.marked[k] += np.count_nonzero(marks & region)
            self.total[k] += np.count_nonzero(region)
            if not np.array_equal(marks, region):  # else all of it is labelled
                for mark, own in zip(marks & region, region, strict=True):
                    if mark.any() and not own.all():  # there is a boundary
                        depths = ndimage.distance_transform_edt(np.pad(own, 1, mode="edge"))[1:-1, 1:-1][mark]
                        self.depths[k].update(np.rint(depths / self.BIN).astype(int).tolist())

    def shares(self) -> dict[str, float | None]:
        """Labelled share by class name; None where the truth is not known or never holds the class."""
        return {
            name: round(int(marked) / int(total), 6) if total else None
            for name, marked, total in zip(self.classes, self.marked, self.total, strict=True)
        }

    def amount(self) -> dict[str, Any]:
        """Labelled pixels by class, slices that hold marks, and objects in these; None where the truth is not known."""
        return {
            "labelled_pixels": {name: int(count) for name, count in zip(self.classes, self.named, strict=True)},
            "labelled_slices": self.slices,
            "labelled_objects": self.objects if self.truth_known else None,
        }

    def median_depths(self) -> dict[str, float | None]:
        """Median distance, px, from marked pixels to their class's boundary; None where nothing or everything is marked."""
        return {name: self._median(depths) for name, depths in zip(self.classes, self.depths, strict=True)}

    def _median(self, depths: Counter[int]) -> float | None:
        left = depths.total() / 2
        for depth, count in sorted(depths.items()):
            left -= count
            if left <= 0:
                return round(depth * self.BIN, 1)
        return None


def held_out(dataset: Dataset, names: Iterable[str], annotation: Annotation, seed: int) -> Iterator[sealed.WeakScan]:
    """Held-out scans with marks as the training scans have; simulated where people drew none on them."""
    annotate = _as_in_training(dataset, names, annotation, seed)
    for scan in map(dataset.load, names):
        yield sealed.WeakScan(scan.image, annotate(scan), scan.spacing)


def _as_in_training(
    dataset: Dataset, names: Iterable[str], annotation: Annotation, seed: int
) -> Callable[[Scan], np.ndarray]:
    """What gives a scan the sets that a training scan would have; simulated where people drew none on it."""
    own = Annotator(dataset, names, annotation, seed)
    simulated = own
    if annotation.drawn:
        maker = "sim" if annotation.form == "scribble" else ""
        simulated = Annotator(dataset, names, replace(annotation, maker=maker), seed)

    def annotate(scan: Scan) -> np.ndarray:
        allowed = (own if annotation.drawn in scan.drawn else simulated)(scan)
        return allowed.astype(set_type(len(dataset.classes)))

    return annotate


def score_run(dataset: Dataset, names: Iterable[str], out: Path, own: Sequence[Named] = ()) -> Rows:
    """One row per test scan and region; raises ValueError where a label map is missing or is none.

    own: metrics beside those of the suite.
    """
    return _score(dataset, names, out, ["label"], own)["label"]


def score_snapshots(
    dataset: Dataset, test: Iterable[str], val: Iterable[str], kept: Iterable[Mapping[str, Any]], out: Path
) -> tuple[Rows, dict[str, Any]]:
    """Scores of every snapshot on test and held-out scans, and what each rule of selection would choose.

    kept: `step` and `weakval`, the loss on held-out marks, of each, the end of training first. Equals go to the later step;
    what is None (no marks, no region, no finite loss) is worse than anything.
    """
    steps = {each["step"]: each["weakval"] for each in kept}
    last = max(steps)
    stems = {("val", step): f"step{step:06d}-val" for step in steps}
    stems |= {("test", step): "label" if step == last else f"step{step:06d}-test" for step in steps}
    scored = {"val": _score(dataset, val, out, [stem for (part, _), stem in stems.items() if part == "val"])}
    scored["test"] = _score(dataset, test, out, [stem for (part, _), stem in stems.items() if part == "test"])
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


def write_cases(path: Path, rows: Rows) -> None:
    """Rows of scores as CSV, the first row's keys as header."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _label_map(stem: Path) -> np.ndarray:
    """Labels as a worker leaves them (.npy) or as they are stored (.npz)."""
    fresh, stored = stem.with_suffix(".npy"), stem.with_suffix(".npz")
    if fresh.is_file():
        return np.asarray(np.load(fresh, allow_pickle=False))
    if stored.is_file():
        return np.asarray(np.load(stored, allow_pickle=False)["labels"])
    raise ValueError(f"there is no {stored.name} or {fresh.name}, the label map of a test scan")


def _cell(job: Job) -> Cell:
    return job.dataset, job.annotation, job.split, job.seed, bool(job.budget.snapshots or job.budget.tune)


def _own() -> str:
    """A name that no other runner takes, be it on another machine."""
    return os.urandom(6).hex()


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
