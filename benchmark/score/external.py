"""Score label maps of other programs (nnU-Net, a challenge's teams), and store them as runs that are marked external.

Everything is read, checked and scored before anything is stored. The training is unknown, so an external run has no budget;
its folder holds `run.json`, `cases.csv` and `label*.npz`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmark import InputError, __version__
from benchmark.datasets.annotations import check_sites, resolve
from benchmark.datasets.base import Dataset, Inventory, Scan, check_split, label_map
from benchmark.datasets.files import by_stem
from benchmark.datasets.forms import VERSION
from benchmark.datasets.nifti import NIFTI, check_shape, grid_of, read_onto
from benchmark.datasets.picture_files import Masks, two_valued
from benchmark.inputs import nearest
from benchmark.plan import plugins
from benchmark.plan.compare import family
from benchmark.plan.jobs import Job
from benchmark.plan.plugins import NAME, Plugin
from benchmark.score.stored import mean_dice, rules_of, scans_of, score_run
from benchmark.seal.contract import Budget
from benchmark.store import Record, ResultsFolder, commit, open_results

ENDINGS = (*NIFTI, ".png", ".tif", ".tiff", ".bmp")  # not JPEG, which changes labels


@dataclass(frozen=True)
class Predictions:
    """Options of the command line for external label maps."""

    folders: Sequence[str]  # paths or patterns
    dataset: str  # NAME or NAME:PATH
    split: str = ""  # or a family of splits; the data set's first if empty
    name: str = ""  # of the row; the folder's if empty
    annotation: str = ""  # that their model was trained on; empty: unknown
    seed: int = 0


class External(Job):
    """The job of external label maps: it has no budget."""

    def identity(self) -> dict[str, Any]:
        """Return a job's identity, without a budget."""
        return super().identity() | {"budget": {}}

    @property
    def folder(self) -> Path:
        """The run's folder below `runs/`; it is in `external/` if the annotation is unknown."""
        dataset, *rest = super().folder.parts
        return Path(dataset, *rest) if self.annotation else Path(dataset, "external", *rest)


@dataclass(frozen=True)
class Scored:
    """A folder's label maps for one split, ready to be stored."""

    job: External
    maps: Path  # folder with label0000.npz, ...
    sha256: str  # of the label maps: for each scan its name, shape and labels
    scans: tuple[str, ...]
    cases: list[dict[str, Any]]


def score(predictions: Predictions, results: Path, data: Path) -> tuple[list[str], list[str]]:
    """Check, score and store; return a line of text per folder, and warnings. Raises InputError for the first fault."""
    dataset = plugins.open_data_set(predictions.dataset, data)
    folders, splits = _folders(predictions, dataset), _splits(predictions.split, dataset)
    tests = list(dict.fromkeys(name for split in splits for name in check_split(dataset, split).test))
    maps = {name: _maps(folder, tests) for name, folder in folders.items()}
    _check_links(maps, dataset)
    folder = open_results(results)
    runs = folder.records()
    with TemporaryDirectory() as scratch:
        scored = _scored(predictions, maps, dataset, splits, Path(scratch))
        for each in scored:
            _check_name(each.job, folder, runs)
        _store(scored, dataset, folder)
    lines = []
    for name, found in maps.items():
        cases = [case for each in scored if each.job.method == name for case in each.cases]
        unused = len(found.keys() - set(tests))
        lines.append(
            f"{name}: {predictions.split or splits[0]}, {len(tests)} scans, mean Dice {mean_dice(cases):.3f}"
            + (f"; {unused} label maps belong to other scans and were left out" if unused else "")
        )
    lines += [f"stored in {parent}" for parent in dict.fromkeys(folder.path(each.job.folder).parent for each in scored)]
    return [*lines, f"to see them in a report: python -m benchmark report --results {results}"], list(_identical(scored))


# ------------------------------------------------------------------------------------------- options


def _folders(predictions: Predictions, dataset: Dataset) -> dict[str, Path]:
    """Return the folders by the name of their row."""
    found: dict[str, Path] = {}
    paths = [path for text in predictions.folders for path in _expanded(text)]
    if predictions.name and len(paths) > 1:
        raise InputError(f"--name is {predictions.name!r} for {len(paths)} folders; leave it out to use the folders' names")
    for path in paths:
        if not path.is_dir():
            raise InputError(f"there is no folder {path}; --predictions must be a folder with a label map per test scan")
        name = predictions.name or path.resolve().name
        if path.resolve().is_relative_to(dataset.root.resolve()):
            raise InputError(
                f"{path} is inside {dataset.root}, the data set itself, whose files are the truth; "
                "predictions must be elsewhere"
            )
        if not NAME.fullmatch(name):
            raise InputError(
                f"{name!r} can't name predictions; names are letters, digits, _, ., + and -: choose one with --name"
            )
        if name in plugins.find("method"):
            raise InputError(f"{name!r} is a method of the benchmark; choose another name with --name")
        if name in found:
            raise InputError(f"{found[name]} and {path} have the same name, {name!r}; score them one by one, with --name")
        found[name] = path
    return found


def _expanded(text: str) -> list[Path]:
    """Return the folder of that path, or those that match a shell pattern."""
    if Path(text).exists() or not set(text) & set("*?["):
        return [Path(text)]
    folders = [path for path in map(Path, sorted(glob(text))) if path.is_dir()]  # noqa: PTH207  # Path's also matches .hidden
    if not folders:
        raise InputError(f"no folder matches {text!r}")
    return folders


def _splits(wanted: str, dataset: Dataset) -> list[str]:
    """Return the split of that name, or all of that family; the first if `wanted` is empty."""
    known = dataset.splits()
    chosen = [split for split in known if wanted in (split, family(split))] if wanted else known[:1]
    if not chosen:
        raise InputError(f"{dataset.name} has no split {wanted!r}{nearest(wanted, known)}; it has {', '.join(known)}")
    return chosen


def _maps(folder: Path, tests: Sequence[str]) -> dict[str, Path]:
    """Return the label maps of a folder by name; raises InputError if one of a test scan is missing."""
    found = by_stem(folder, ENDINGS)
    right = f"a label map has its scan's name, such as {tests[0]}.nii.gz or {tests[0]}.png ({', '.join(ENDINGS)})"
    if not found:
        raise InputError(f"{folder} holds no label maps; {right}")
    if missing := [name for name in tests if name not in found]:
        more = ", ..." if len(missing) > 5 else ""
        other = next((path.name for name, path in found.items() if name not in tests), "")
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(tests)} test scans: {', '.join(missing[:5])}{more}; {right}"
            + (f", and {other} is not a test scan's" if other else "")
        )
    return found


def _check_links(maps: Mapping[str, Mapping[str, Path]], dataset: Dataset) -> None:
    """Check that no label map is a link into the data set."""
    truth = dataset.root.resolve()
    for path in (path for found in maps.values() for path in found.values()):
        if path.is_symlink() and path.resolve().is_relative_to(truth):
            raise InputError(f"{path} is a link into {dataset.root}, the data set itself; predictions must be other files")


def _check_name(job: External, folder: ResultsFolder, runs: Sequence[Record]) -> None:
    """Check that stored runs of the same name are external, too, and agree on whether the annotation is known."""
    for run in (run for run in runs if Path(run["folder"]).parts[2] == job.method):
        path = folder.path(run["folder"])
        if not run.get("external"):
            raise InputError(f"{path} is a trained run called {job.method!r}; choose another name with --name")
        old, new = run["identity"], job.identity()
        same = all(old[key] == new[key] for key in ("dataset", "split", "seed"))
        if same and bool(old["annotation"]) != bool(new["annotation"]):  # else they would share a cell of the tables
            before, now = (each["annotation"] or "unknown" for each in (old, new))
            raise InputError(
                f"{path} holds {job.method!r} for {job.split} with the annotation {before}, and now it is {now}; "
                "remove that folder, or choose another name with --name"
            )


# ------------------------------------------------------------------------------------------------- label maps


def _scored(
    predictions: Predictions, maps: Mapping[str, Mapping[str, Path]], dataset: Dataset, splits: Sequence[str], scratch: Path
) -> list[Scored]:
    """Check and score every folder's label maps for every split, and write them to `scratch` in a run's format."""
    options, annotation = plugins.options_of_data(dataset), predictions.annotation
    survey = Inventory(dataset, options)
    check_sites(annotation, dataset)
    scored: list[Scored] = []
    for split in splits:
        look, tests = survey.look(split), dataset.find_split(split).test
        marks = resolve(annotation, look.drawn, dataset.name) if annotation else None
        for name, found in maps.items():
            job = External(
                method=name,
                plugin=Plugin("method", name, ""),
                options={},
                dataset=dataset.name,
                dataset_options=options,
                annotation=str(marks or ""),
                split=split,
                seed=predictions.seed,
                budget=Budget(),  # not part of its identity
                common=Budget(),
                reason="",
                data=look.fingerprint,
                code="",
                revision=None,
                simulator=marks.version if marks else VERSION,
            )
            out = scratch / f"{len(scored)}"
            out.mkdir()
            digest = _write(found, tests, dataset, out)
            scored.append(Scored(job, out, digest, tests, score_run(dataset, tests, out)))
    return scored


def _write(found: Mapping[str, Path], names: Sequence[str], dataset: Dataset, out: Path) -> str:
    """Write a split's label maps in a run's format; return their SHA-256. Raises InputError if they equal the truth."""
    total, copied = hashlib.sha256(), True
    pictures = Masks((found[name] for name in names if not _is_nifti(found[name])), exact=True)
    for number, name in enumerate(names):
        scan = dataset.load(name)
        labels = read_map(found[name], scan, len(dataset.classes), pictures)
        np.savez_compressed(out / f"label{number:04d}.npz", labels=labels)
        total.update(f"{name} {labels.shape}\n".encode())
        total.update(labels.tobytes())
        copied = copied and scan.mask is not None and np.array_equal(labels, scan.mask)
    if copied:
        raise InputError(
            f"{found[names[0]].parent} equals the masks of all {len(names)} test scans: it is the truth; "
            "give the folder of the predictions"
        )
    return total.hexdigest()


def read_map(path: Path, scan: Scan, classes: int, pictures: Masks) -> np.ndarray:
    """Return a label map as uint8 (slices, rows, columns); raises InputError if its geometry or labels are wrong."""
    grid = grid_of(scan)
    array = read_onto(path, grid) if _is_nifti(path) else pictures.read(path)
    check_shape(path, array.shape, grid.shape)
    with np.errstate(invalid="ignore"):  # NaN, which is reported next
        labels = two_valued(label_map(array, str(path)), classes)
    if unknown := [int(label) for label in np.unique(labels) if label >= classes]:
        also = ", or 0 and 255" if classes == 2 else ""
        raise InputError(f"{path} holds unknown labels {unknown[:5]}; it may hold 0 to {classes - 1}{also}")
    return labels


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI)


# ----------------------------------------------------------------------------------------------- storing


def _store(scored: Sequence[Scored], dataset: Dataset, folder: ResultsFolder) -> None:
    """Store all runs; none of them if another process is storing one."""
    folder.prepare()
    with ExitStack() as stack:
        for each in scored:
            lock = folder.lock(each.job.hash)
            if lock is None:
                raise InputError(f"another process is storing {each.job.name}; try again when it has ended")
            stack.enter_context(lock)
        for each in scored:
            try:
                folder.store(
                    each.job.folder, _record(each, dataset), sorted(each.maps.glob("label*.npz")), {"cases.csv": each.cases}
                )
            except OSError as error:
                raise InputError(f"{folder.root} can't be written: {error.strerror}; stored runs are complete") from error


def _record(scored: Scored, dataset: Dataset) -> dict[str, Any]:
    """Return the content of `run.json`, without facts about the training."""
    return {
        "state": "done",
        "reason": "",
        "external": True,
        "identity": scored.job.identity(),
        "hash": scored.job.hash,
        "label": scored.job.method,
        "predictions_sha256": scored.sha256,
        "common": {},
        "why_own_budget": "",
        "code": "",
        **rules_of(dataset),
        "patients_known": dataset.patients_known,
        "labelled_share": {},
        "labelled_depth_px": {},
        "labelled_pixels": {},
        "labelled_slices": None,
        "labelled_objects": None,
        "version": __version__,
        "commit": commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **scans_of(dataset, scored.scans),
    }


def _identical(scored: Sequence[Scored]) -> list[str]:
    """Return a warning for each group of rows with the same label maps on a split."""
    rows = defaultdict(list)
    for each in scored:
        rows[each.job.split, each.sha256].append(each.job.method)
    return [
        f"{' and '.join(names)} have identical label maps for {split}" for (split, _), names in rows.items() if names[1:]
    ]
