"""Score label maps that were made elsewhere (nnU-Net, a challenge's teams), and keep them beside runs, marked external.

Everything is read, checked and scored before anything is stored. How the label maps were made is not known here: they
have no budget of ours, and a run's folder of theirs holds `run.json`, `cases.csv` and `label*.npz`.
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
from benchmark.datasets.annotations import resolve
from benchmark.datasets.base import Dataset, Inventory, Scan, check_split, label_map
from benchmark.datasets.files import Spacing, by_stem, read_labels, read_nifti
from benchmark.datasets.simulate import VERSION
from benchmark.plan import plugins
from benchmark.plan.jobs import Job
from benchmark.plan.plugins import NAME, Plugin
from benchmark.score.stored import mean_dice, score_run
from benchmark.seal.contract import Budget
from benchmark.store import Record, ResultsFolder, commit, open_results

NIFTI = (".nii.gz", ".nii")
ENDINGS = (*NIFTI, ".png", ".tif", ".tiff", ".bmp")  # not JPEG, which doesn't keep labels
SAME_SPACING = 0.01  # relative; headers round


@dataclass(frozen=True)
class Predictions:
    """What the command line says of label maps that were made elsewhere."""

    folders: Sequence[str]  # paths, or patterns of such
    dataset: str  # NAME or NAME:PATH
    split: str = ""  # or a family of splits; the data set's first if empty
    name: str = ""  # of the row; the folder's if empty
    annotation: str = ""  # that they were trained on; empty: not said
    seed: int = 0


class External(Job):
    """What stands for label maps that were made elsewhere where others have a job: it has no budget."""

    def identity(self) -> dict[str, Any]:
        """A job's, without a budget."""
        return super().identity() | {"budget": {}}

    @property
    def folder(self) -> Path:
        """Where the run lies below `runs/`; in `external/` where nobody said what it was trained on."""
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
    """Check, score and store; return a line per folder, and warnings. Raises InputError for the first fault."""
    dataset = plugins.open_data_set(predictions.dataset, data)
    folders, splits = _folders(predictions, dataset), _splits(predictions.split, dataset)
    tests = list(dict.fromkeys(name for split in splits for name in check_split(dataset, split).test))
    maps = {name: _maps(folder, tests) for name, folder in folders.items()}
    _refuse_links(maps, dataset)
    folder = open_results(results)
    runs = folder.records()
    with TemporaryDirectory() as scratch:
        scored = _scored(predictions, maps, dataset, splits, Path(scratch))
        for each in scored:
            _refuse_taken(each.job, folder, runs)
        _store(scored, dataset, folder)
    lines = []
    for name, found in maps.items():
        cases = [case for each in scored if each.job.method == name for case in each.cases]
        strays = len(found.keys() - set(tests))
        lines.append(
            f"{name}: {predictions.split or splits[0]}, {len(tests)} scans, mean Dice {mean_dice(cases):.3f}"
            + (f"; {strays} label maps are of no test scan and were left out" if strays else "")
        )
    lines += [f"stored in {parent}" for parent in dict.fromkeys(folder.path(each.job.folder).parent for each in scored)]
    return [*lines, f"they stand in the report: python -m benchmark report --results {results}"], list(_identical(scored))


# ------------------------------------------------------------------------------------------- what was asked for


def _folders(predictions: Predictions, dataset: Dataset) -> dict[str, Path]:
    """The folders by the name of their row."""
    found: dict[str, Path] = {}
    paths = [path for text in predictions.folders for path in _expanded(text)]
    if predictions.name and len(paths) > 1:
        raise InputError(f"--name is {predictions.name!r} for {len(paths)} folders; several are called as their folders are")
    for path in paths:
        if not path.is_dir():
            raise InputError(f"there is no folder {path}; --predictions names one that holds a label map per test scan")
        name = predictions.name or path.resolve().name
        if path.resolve().is_relative_to(dataset.root.resolve()):
            raise InputError(
                f"{path} lies in {dataset.root}, the data set itself, whose files are the truth; "
                "predictions must lie elsewhere"
            )
        if not NAME.fullmatch(name):
            raise InputError(
                f"{name!r} can't name predictions; names are letters, digits, _, ., + and -: choose one with --name"
            )
        if name in plugins.find("method"):
            raise InputError(f"{name!r} is a method of ours, and its rows are runs of it; choose another name with --name")
        if name in found:
            raise InputError(f"{found[name]} and {path} would both be called {name!r}; score them one by one, with --name")
        found[name] = path
    return found


def _expanded(text: str) -> list[Path]:
    """The folder that is named, or those that match a pattern, by a shell's rules."""
    if Path(text).exists() or not set(text) & set("*?["):
        return [Path(text)]
    folders = [path for path in map(Path, sorted(glob(text))) if path.is_dir()]  # noqa: PTH207  # Path's also matches .hidden
    if not folders:
        raise InputError(f"no folder matches {text!r}")
    return folders


def _splits(wanted: str, dataset: Dataset) -> list[str]:
    """The split of that name, or all of that family; the first if none is named."""
    there = dataset.splits()
    chosen = [split for split in there if wanted in (split, split.partition("/")[0])] if wanted else there[:1]
    if not chosen:
        raise InputError(f"{dataset.name} has no split {wanted!r}; it has {', '.join(there)}")
    return chosen


def _maps(folder: Path, tests: Sequence[str]) -> dict[str, Path]:
    """The label maps of a folder by name, all that are needed among them."""
    found = by_stem(folder, ENDINGS)
    right = f"a label map is called as its scan is, such as {tests[0]}.nii.gz or {tests[0]}.png ({', '.join(ENDINGS)})"
    if not found:
        raise InputError(f"{folder} holds no label maps; {right}")
    if missing := [name for name in tests if name not in found]:
        more = ", ..." if len(missing) > 5 else ""
        other = next((path.name for name, path in found.items() if name not in tests), "")
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(tests)} test scans: {', '.join(missing[:5])}{more}; {right}"
            + (f", and no test scan's is {other}" if other else "")
        )
    return found


def _refuse_links(maps: Mapping[str, Mapping[str, Path]], dataset: Dataset) -> None:
    """Raise InputError where a label map is a link into the data set."""
    truth = dataset.root.resolve()
    for path in (path for found in maps.values() for path in found.values()):
        if path.is_symlink() and path.resolve().is_relative_to(truth):
            raise InputError(
                f"{path} is a link into {dataset.root}, the data set itself; predictions are files of their own"
            )


def _refuse_taken(job: External, folder: ResultsFolder, runs: Sequence[Record]) -> None:
    """Raise InputError where a row of the same name is of something else."""
    for run in (run for run in runs if Path(run["folder"]).parts[2] == job.method):
        path = folder.path(run["folder"])
        if not run.get("external"):
            raise InputError(f"{path} is a run of ours that is called {job.method!r}; choose another name with --name")
        theirs, ours = run["identity"], job.identity()
        same = all(theirs[key] == ours[key] for key in ("dataset", "split", "seed"))
        if same and bool(theirs["annotation"]) != bool(ours["annotation"]):  # else they would share a cell of the tables
            said, here = (each["annotation"] or "not said" for each in (theirs, ours))
            raise InputError(
                f"{path} holds {job.method!r} for {job.split} with the annotation {said}, and here it is {here}; "
                "remove that folder, or choose another name with --name"
            )


# ------------------------------------------------------------------------------------------------- label maps


def _scored(
    predictions: Predictions, maps: Mapping[str, Mapping[str, Path]], dataset: Dataset, splits: Sequence[str], scratch: Path
) -> list[Scored]:
    """Every folder's label maps for every split, checked, scored, and written to `scratch` as runs keep them."""
    options = {name: value for name, value in plugins.options_of(dataset).items() if name != "root"}
    survey, annotation = Inventory(dataset, options), predictions.annotation
    scored: list[Scored] = []
    for split in splits:
        look, tests = survey.look(split), dataset.split(split).test
        for name, found in maps.items():
            job = External(
                method=name,
                plugin=Plugin("method", name, ""),
                options={},
                dataset=dataset.name,
                dataset_options=options,
                annotation=str(resolve(annotation, look.drawn, dataset.name)) if annotation else "",
                split=split,
                seed=predictions.seed,
                budget=Budget(),  # its identity has none
                common=Budget(),
                reason="",
                data=look.fingerprint,
                code="",
                revision=None,
                simulator=VERSION,
            )
            out = scratch / f"{len(scored)}"
            out.mkdir()
            digest = _keep(found, tests, dataset, out)
            scored.append(Scored(job, out, digest, tests, score_run(dataset, tests, out)))
    return scored


def _keep(found: Mapping[str, Path], names: Sequence[str], dataset: Dataset, out: Path) -> str:
    """Write a split's label maps as a run keeps them; returns their SHA-256. Raises InputError where they are the truth."""
    total, copied = hashlib.sha256(), True
    for number, name in enumerate(names):
        scan = dataset.load(name)
        labels = read_map(found[name], scan, len(dataset.classes))
        np.savez_compressed(out / f"label{number:04d}.npz", labels=labels)
        total.update(f"{name} {labels.shape}\n".encode())
        total.update(labels.tobytes())
        copied = copied and scan.mask is not None and np.array_equal(labels, scan.mask)
    if copied:
        raise InputError(
            f"{found[names[0]].parent} equals the masks of all {len(names)} test scans: it is the truth, no prediction, and "
            "a score of it would say nothing"
        )
    return total.hexdigest()


def read_map(path: Path, scan: Scan, classes: int) -> np.ndarray:
    """A label map as uint8 (slices, rows, columns); raises InputError unless it fits its scan and holds known labels."""
    array, spacing = _read(path)
    slices, _, *plane = scan.image.shape
    if array.shape != (slices, *plane):
        right = (
            "its axes are transposed; NIfTI files hold (columns, rows, slices), and pictures (rows, columns)"
            if sorted(array.shape) == sorted((slices, *plane))
            else "a label map has the size of the scan as it was exported"
        )
        raise InputError(
            f"{path} has shape {array.shape} as (slices, rows, columns), and its scan {(slices, *plane)}: {right}"
        )
    if spacing and scan.spacing and not np.allclose(spacing, scan.spacing, rtol=SAME_SPACING, atol=0):
        theirs, ours = (" x ".join(f"{mm:.4g}" for mm in each) for each in (spacing, scan.spacing))
        raise InputError(
            f"{path} has a spacing of {theirs} mm (slices, rows, columns), and its scan {ours}: "
            "its axes are swapped or it was resampled; a label map keeps its image's geometry"
        )
    with np.errstate(invalid="ignore"):  # NaN, which is named next
        labels = label_map(array, str(path))
    values = np.unique(labels)
    if classes == 2 and 255 in values and set(values) <= {0, 255}:
        return labels // 255
    if unknown := [int(label) for label in values if label >= classes]:
        also = ", or 0 and 255" if classes == 2 else ""
        raise InputError(f"{path} holds unknown labels {unknown[:5]}; it may hold 0 to {classes - 1}{also}")
    return labels


def _read(path: Path) -> tuple[np.ndarray, Spacing | None]:
    """What a file holds as (slices, rows, columns), and the spacing that its header gives."""
    if not path.name.lower().endswith(NIFTI):
        return read_labels(path)[None], None
    array, spacing = read_nifti(path)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path} holds {array.dtype}; labels are whole numbers")
    return array, spacing


# ----------------------------------------------------------------------------------------------- what is kept


def _store(scored: Sequence[Scored], dataset: Dataset, folder: ResultsFolder) -> None:
    """Put every run into its place; none of them where another process is at one."""
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
                raise InputError(f"{folder.root} can't take more runs: {error.strerror}; those stored are whole") from error


def _record(scored: Scored, dataset: Dataset) -> dict[str, Any]:
    """What `run.json` says: as of a run, with nothing on how it was trained."""
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
        "regions": list(dataset.regions),
        "patients_known": dataset.patients_known,
        "labelled_share": {},
        "labelled_depth_px": {},
        "labelled_pixels": {},
        "labelled_slices": None,
        "labelled_objects": None,
        "version": __version__,
        "commit": commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "scans": list(scored.scans),
    }


def _identical(scored: Sequence[Scored]) -> list[str]:
    """Rows of one split whose label maps are the same."""
    rows = defaultdict(list)
    for each in scored:
        rows[each.job.split, each.sha256].append(each.job.method)
    return [
        f"{' and '.join(names)} have identical label maps for {split}" for (split, _), names in rows.items() if names[1:]
    ]
