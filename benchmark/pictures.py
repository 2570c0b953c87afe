"""Test scans as 8-bit pictures, for display only: image, truth, and the marks that weak labels would have there.

`results/pictures/<dataset>/<split>/` holds `about.json`, `0000.npz` (a test scan's `image` and `mask`) and, for each
annotation, `<annotation>/0000.npz` (its `marks`). Reports show them; no method is handed a path to them.
"""

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import InputError, comparable
from benchmark.datasets.base import Dataset, Scan
from benchmark.datasets.files import read_npz
from benchmark.datasets.weak import to_labels
from benchmark.jobs import Job, plain

UNLABELLED = 255
BYTE = np.dtype(np.uint8)
AGAIN = "remove that folder; the next sweep makes the pictures again"
ABOUT = {"data": str, "scans": list, "classes": list, "redistribute": bool, "licence": str, "seed": int}


@dataclass(frozen=True)
class Album:
    """The pictures of one split of one data set."""

    folder: Path

    def about(self) -> dict[str, Any]:
        """What `about.json` says: data (their fingerprint), scans, classes, redistribute, licence; empty without one."""
        path = self.folder / "about.json"
        if not path.is_file():
            return {}
        about = comparable.read_json(path, AGAIN)
        if problem := comparable.misfit(about, ABOUT):
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


def album(results: Path, dataset: str, split: str) -> Album:
    """Where the pictures of a split lie, or would."""
    return Album(results / "pictures" / plain(dataset) / plain(split))


class Keeper:
    """Keeps pictures of a job's test scans while these are sealed; what is there of the same data stays."""

    def __init__(self, results: Path, dataset: Dataset, job: Job) -> None:
        """`results`: the folder that holds `runs/`."""
        self.dataset, self.job, self.album = dataset, job, album(results, job.dataset, job.split)
        self.staged = results / ".staging" / f"pictures-{job.hash[:16]}"  # the job's lock guards it

    def needed(self) -> bool:
        """Whether pictures of these data, with marks of the job's annotation, are not there yet."""
        marks = self.album.folder / plain(self.job.annotation)
        return self.album.about().get("data") != self.job.data or not marks.is_dir()

    def keep(self, scans: Iterator[tuple[Scan, np.ndarray]]) -> Iterator[Scan]:
        """The same scans, each (with the sets that its marks would be) kept on the way; raises InputError on a full disk."""
        marks, names = self.staged / plain(self.job.annotation), []
        shutil.rmtree(self.staged, ignore_errors=True)
        try:
            marks.mkdir(parents=True)
            for number, (scan, allowed) in enumerate(scans):
                self._write(number, scan, allowed)
                names.append(scan.name)
                yield scan
            self._place(names)
        except OSError as error:
            raise InputError(f"{self.staged} can't take pictures: {error.strerror}") from error
        finally:
            shutil.rmtree(self.staged, ignore_errors=True)

    def _write(self, number: int, scan: Scan, allowed: np.ndarray) -> None:
        assert scan.mask is not None  # test scans have one: check_split
        image = np.rint(scan.image * 255).astype(np.uint8)
        np.savez_compressed(self.staged / f"{number:04d}.npz", image=image, mask=scan.mask)
        labels = to_labels(allowed, len(self.dataset.classes), UNLABELLED)
        np.savez_compressed(self.staged / plain(self.job.annotation) / f"{number:04d}.npz", marks=labels)

    def _place(self, names: list[str]) -> None:
        """Put the pictures in place of those of other data, or add the marks to those of the same."""
        folder = self.album.folder
        if self.album.about().get("data") == self.job.data:
            marks = folder / plain(self.job.annotation)
            with _unless_another_was_first():
                (self.staged / marks.name).rename(marks)
            return
        about = {
            "data": self.job.data,
            "scans": names,
            "classes": list(self.dataset.classes),
            "redistribute": self.dataset.redistribute,
            "licence": self.dataset.licence,
            "seed": self.job.seed,
        }
        (self.staged / "about.json").write_text(json.dumps(about, indent=1) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _unless_another_was_first():
            self.staged.rename(folder)


@contextmanager
def _unless_another_was_first() -> Iterator[None]:
    """Lets a folder stay that another runner put in place meanwhile."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
