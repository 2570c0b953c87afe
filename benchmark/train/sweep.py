"""Run jobs: seal, train in workers, score, and store each run in `results/` completely or not at all.

`results/runs/<dataset>/<annotation>/<method>/<split>-seed0-<hash8>/` holds `run.json`, `cases.csv`, `train.jsonl` and
`label*.npz`, or a `run.json` with the reason of a failure and `output.txt`. With snapshots, `snapshots.csv` and
`step*.npz` hold their scores and label maps. A repeated command resumes the sweep.
"""

import dataclasses
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

from benchmark import InputError, __version__
from benchmark.plan import plugins
from benchmark.plan.jobs import AGAIN, Job, Plan, state
from benchmark.score.evaluate import MetricError
from benchmark.score.metrics import named, records_of
from benchmark.score.stored import changed, rules_of, scans_of, score_run, score_snapshots
from benchmark.seal.marks import AnnotationStatistics, PictureWriter, SealKey, seal_split
from benchmark.store import ResultsFolder, Tables, commit
from benchmark.train.local import Executor, Outcome, Running, Task, scratch

UNSCORED = 4  # runs that have ended and are not stored yet, at most: their label maps are in the scratch folder


class Screen(Protocol):
    """Progress callbacks of a sweep."""

    def planned(self, states: Counter[str]) -> None:
        """Called at the start, with the number of jobs in each state."""

    def tick(self, running: list[Running]) -> None:
        """Called after each wait."""

    def ended(self, job: Job, state: str, reason: str, seconds: float) -> None:
        """Called when a run is stored."""


@dataclass
class Sealed:
    """A sealed folder of this sweep, whole when `steps` has ended; each step seals a scan."""

    folder: Path
    statistics: AnnotationStatistics
    steps: Generator[None]
    used: bool = False  # by a task


class Sweep:
    """One call of `run`: its remaining jobs, the sealed folders in use, and the states of its runs."""

    def __init__(self, plan: Plan, results: ResultsFolder, executor: Executor, screen: Screen, rerun: str = "") -> None:
        """`rerun`: also repeat `stale` runs, or `all`; failed runs are always repeated."""
        self.plan, self.results, self.executor, self.screen = plan, results, executor, screen
        self.metrics = [named(plugin) for plugin in plan.metrics]
        self.again = AGAIN[rerun]
        self.states: Counter[str] = Counter()
        self.active: dict[Task, tuple[Job, TextIO]] = {}
        self.unscored: deque[tuple[Job, float, Future[tuple[str, str]]]] = deque()
        self.sealed: dict[SealKey, Sealed] = {}
        self.waiting: deque[Job] = deque()
        self.room_ahead = True  # for the next sealed folder, while others are in use

    def run(self, jobs: Sequence[Job] | None = None) -> Counter[str]:
        """Run the remaining jobs of the plan, or of `jobs`; return the number of them in each state at the end."""
        self.results.prepare()
        scored = {record["label"] for record in self.results.records() if record.get("external")}
        if taken := sorted(scored & {job.method for job in self.plan.jobs}):
            raise InputError(
                f"{self.results.root} has predictions of other code called {taken[0]!r}; give the method another name, or "
                "the runs another folder"
            )
        self.results.write_plan(self.plan.content())
        before = [(job, state(self.results, job)) for job in (self.plan.jobs if jobs is None else jobs)]
        self.screen.planned(Counter("planned" if state in self.again else state for _, state in before))
        todo = [job for job, state in before if state in ("planned", "failed", *self.again)]
        self.states = Counter(state for _, state in before if state not in ("planned", "failed", *self.again))
        self.left = Counter(_seal_key(job) for job in todo)
        self.waiting.extend(todo)
        # One thread, since a run is scored in less time than it is trained; the block ends when all are stored, also at an
        # interrupt
        with scratch() as self.scratch, ThreadPoolExecutor(1) as self.scorer:
            try:
                for event in self.executor.run(self._tasks()):
                    if event is None:
                        self.screen.tick(self.executor.running)
                        self._seal_ahead()
                    else:
                        job, lock = self.active.pop(event.task)
                        self.unscored.append((job, event.seconds, self.scorer.submit(self._finish, job, lock, event)))
                    self._count_scored(UNSCORED)
                self._count_scored(0)
            finally:
                for sealed in self.sealed.values():
                    sealed.steps.close()
                for _, lock in self.active.values():
                    lock.close()
        return self.states

    def _tasks(self) -> Iterator[Task]:
        for number in range(len(self.waiting)):
            job = self.waiting.popleft()
            lock = self.results.lock(job.hash)
            if lock is None or state(self.results, job) in {"done", "stale"} - set(self.again):
                self._count(job, "elsewhere", "another process runs it", 0)
                if lock:
                    lock.close()
                continue
            out = self.scratch / f"run{number}"
            try:
                out.mkdir()
                (out / "job.json").write_text(json.dumps(request_of(job)))
                sealed = self._sealed(job)
                task = Task(job.name, out / "job.json", sealed.folder, out, job.budget.threads, job.budget.steps)
                deque(sealed.steps, maxlen=0)  # those that are left
            except InputError as error:  # a scan can't be read any more; runs on other data may do
                lock.close()
                self._drop(job)
                self._count(job, "failed", str(error), 0)
                continue
            except BaseException as error:
                lock.close()
                if not isinstance(error, OSError):
                    raise
                raise InputError(
                    f"{self.scratch} can't be written: {error.strerror}; set TMPDIR to another temporary folder"
                ) from error
            sealed.used, self.active[task] = True, (job, lock)
            yield task

    def _sealed(self, job: Job) -> Sealed:
        """Return the job's sealed folder; if this job is the first that needs it, it is still to be written."""
        key = _seal_key(job)
        if key not in self.sealed:
            folder = self.scratch / f"sealed{len(self.sealed)}-{os.urandom(3).hex()}"
            folder.mkdir()
            dataset = self.plan.datasets[job.dataset]
            pictures, statistics = PictureWriter(self.results, dataset, key, job.data), AnnotationStatistics(dataset.classes)
            self.sealed[key] = Sealed(folder, statistics, seal_split(folder, dataset, key, pictures, statistics))
        return self.sealed[key]

    def _seal_ahead(self) -> None:
        """Seal one more scan of the next folder that no task has used, so that no worker waits for it."""
        unused = (job for job in self.waiting if not ((found := self.sealed.get(_seal_key(job))) and found.used))
        job = next(unused, None)
        if job is None or not self.room_ahead:
            return
        try:
            next(self._sealed(job).steps, None)
        except (OSError, InputError):  # no room, or a scan can't be read just now: it is written when it is needed
            self.room_ahead = False
            self._drop(job)

    def _drop(self, job: Job) -> None:
        """Remove a sealed folder that is not whole."""
        if begun := self.sealed.pop(_seal_key(job), None):
            begun.steps.close()
            shutil.rmtree(begun.folder)

    def _count_scored(self, most: int) -> None:
        """Count the runs that are stored; wait until at most so many are not. Raises what went wrong with a run."""
        while self.unscored and (len(self.unscored) > most or self.unscored[0][-1].done()):
            job, seconds, scored = self.unscored.popleft()
            self._count(job, *scored.result(), seconds)

    def _finish(self, job: Job, lock: TextIO, event: Outcome) -> tuple[str, str]:
        """Score and store a run that has ended, and remove what its worker wrote."""
        with lock:
            state, reason = self._store(job, event)
        shutil.rmtree(event.task.out)
        return state, reason

    def _store(self, job: Job, event: Outcome) -> tuple[str, str]:
        """Score a run and store it; return its state and why it failed, or what it was not scored with."""
        reason, record = event.reason, self._record(job, event)
        tables: Tables = {}
        warning = ""
        if not reason:
            try:
                tables, warning = self._score(job, record, event.task.out)
                dataset, before = self.plan.datasets[job.dataset], self.plan.files.get(job.dataset, "")
                if changed(dataset, job.dataset_options, job.split, job.data, before):
                    reason = f"the data of {job.dataset} were changed after this run was planned; repeat the command"
            except ValueError as error:
                reason = str(error)
        outcome = "failed" if reason else "done"
        if reason and (stored := self.results.record(job.folder)) and stored["state"] == "done":
            return outcome, f"{reason}; the stored run is kept"
        run = {"state": outcome, "reason": reason or warning, **record}
        failed, done = ("train.jsonl", "output.txt", "error.txt"), ("label[0-9]*.npy", "step[0-9]*-*.npy", "train.jsonl")
        files = [path for pattern in (failed if reason else done) for path in sorted(event.task.out.glob(pattern))]
        try:
            self.results.store(job.folder, run, files, tables)
        except OSError as error:
            raise InputError(f"{self.results.root} can't be written: {error.strerror}; stored runs are complete") from error
        return outcome, reason or warning

    def _score(self, job: Job, record: dict[str, Any], out: Path) -> tuple[Tables, str]:
        """Return the tables of a run, and what is left out of them; add what belongs to them to the record.

        A metric of a plug-in that fails is left out: the label maps are stored, and can be scored again.
        """
        dataset, metrics, faults = self.plan.datasets[job.dataset], self.metrics, list[str]()
        split = dataset.find_split(job.split)
        snapshots = record["worker"].pop("snapshots", None)
        while True:
            try:
                tables: Tables = {"cases.csv": score_run(dataset, split.test, out, metrics)}
                if snapshots:
                    scans = split.test, split.val
                    rows, chosen = score_snapshots(dataset, *scans, snapshots, out, metrics)
                    tables = {**tables, "snapshots.csv": rows}
                    record.update(chosen)
                break
            except MetricError as error:
                metrics = [each for each in metrics if each != error.named]
                faults.append(str(error))
        record.update(scans_of(dataset, split.test))
        if metrics:
            record["metrics"] = records_of(metrics)
        if _seal_key(job).held_out:
            record["val_scans"] = list(split.val)
        said = f"not scored with all metrics: {'; '.join(faults)}; mend it, then python -m benchmark score --metrics FILE"
        return tables, said if faults else ""

    def _record(self, job: Job, event: Outcome) -> dict[str, Any]:
        """Return the content of `run.json`, without the run's state."""
        said: dict[str, Any] = {}
        with suppress(OSError, ValueError):  # a worker that fails may not have written it, or not all
            said = json.loads((event.task.out / "worker.json").read_text())
        dataset, statistics = self.plan.datasets[job.dataset], self.sealed[_seal_key(job)].statistics
        return {
            "identity": job.identity(),
            "hash": job.hash,
            "label": job.method,
            "role": job.role,
            "extra": job.extra,
            "titles": {"method": job.title, "data set": plugins.title_of_data(dataset)},
            "common": dataclasses.asdict(job.common),
            "why_own_budget": job.reason,
            "code": job.code,
            "revision": job.revision,
            **rules_of(dataset),
            "patients_known": dataset.patients_known,
            "labelled_share": statistics.shares(),
            "labelled_depth_px": statistics.median_depths(),
            **statistics.amount(),
            "wall_s": round(event.seconds, 3),
            "slot": event.device,
            **({"first_try": event.first_try} if event.first_try else {}),
            "worker": said,
            "version": __version__,
            "commit": commit(),
            "processor": event.processor,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _count(self, job: Job, state: str, reason: str, seconds: float) -> None:
        self.states[state] += 1
        self.screen.ended(job, state, reason, seconds)
        key = _seal_key(job)
        self.left[key] -= 1
        if self.left[key] == 0 and key in self.sealed:
            self.sealed[key].steps.close()
            shutil.rmtree(self.sealed[key].folder)


def request_of(job: Job) -> dict[str, Any]:
    """Return the content of `job.json`. A worker has another working folder, so paths of files are whole."""
    options = {
        name: str(Path(value).resolve()) if value and name in job.files else value for name, value in job.options.items()
    }
    budget = dataclasses.asdict(job.budget)
    if job.budget.weights:
        budget["weights"] = str(Path(job.budget.weights).resolve())
    request = {"plugin": dataclasses.asdict(job.plugin), "options": options, "seed": job.seed, "budget": budget}
    return request | {"code": job.code, "files": plugins.digests(job.plugin, job.options)}


def _seal_key(job: Job) -> SealKey:
    held_out = bool(job.budget.snapshots or job.budget.tune)
    return SealKey(job.dataset, job.annotation, job.split, job.seed, held_out)
