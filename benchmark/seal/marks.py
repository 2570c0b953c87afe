"""Annotate and seal a split: weak labels of its training scans, statistics of them, pictures of its test scans.

`results/pictures/<dataset>/<split>/` holds `about.json`, `0000.npz` (a test scan's `image` and `mask`, 8 bits) and, for
each annotation and seed, `<annotation>-seed0/0000.npz` (its `marks`). Reports show them; methods get no path to them.
"""

import errno
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmark import InputError
from benchmark.datasets.annotations import Annotation, Mixed, of_sites, parse_sites, to_labels
from benchmark.datasets.base import Dataset, Scan, load_alone, set_type, site_numbers
from benchmark.datasets.simulate import Annotator
from benchmark.images import UNLABELLED
from benchmark.seal import folder as sealed
from benchmark.seal.contract import TestScan, WeakScan, everything
from benchmark.store import CasePictures, ResultsFolder, marks_name


@dataclass(frozen=True)
class SealKey:
    """Key of a sealed folder; all jobs with the same key share it."""

    dataset: str
    annotation: str
    split: str
    seed: int
    held_out: bool  # whether it has weak labels of held-out scans


def seal_split(
    folder: Path, dataset: Dataset, key: SealKey, pictures: "PictureWriter", statistics: "AnnotationStatistics"
) -> Generator[None]:
    """Write the sealed folder of a split, and missing pictures of its test scans; count its annotations.

    Yields after each scan, so that a runner can do something else meanwhile.
    """
    split, annotation, sites = dataset.find_split(key.split), parse_sites(key.annotation), site_numbers(dataset)
    annotate = Annotator(dataset, split.train, annotation, key.seed)
    load = partial(load_alone, dataset)

    def train() -> Iterator[WeakScan]:
        for scan in map(load, split.train):
            allowed = annotate(scan)
            statistics.add(allowed, scan.mask)
            yield WeakScan(scan.image, allowed, scan.spacing, sites.get(scan.name, 0))

    weak = {"train": train()}
    if key.held_out:
        annotate_val = _held_out_annotator(dataset, split.val, annotation, key.seed)
        weak["val"] = (
            WeakScan(scan.image, annotate_val(scan), scan.spacing, sites.get(scan.name, 0)) for scan in map(load, split.val)
        )
    written = pictures.write_missing(split.test)
    test = (TestScan(scan.image, scan.spacing, sites.get(scan.name, 0)) for scan in written)
    yield from sealed.seal_by_scan(folder, weak, test, len(dataset.classes), dataset.channels)


class PictureWriter:
    """Write pictures of a split's test scans while these are sealed; existing pictures of the same data stay."""

    def __init__(self, results: ResultsFolder, dataset: Dataset, key: SealKey, data: str) -> None:
        """data: the split's fingerprint."""
        self.results, self.dataset, self.key, self.data = results, dataset, key, data
        self.marks = marks_name(key.annotation, key.seed)
        self.pictures = CasePictures.of(results.root, key.dataset, key.split)
        self.name = hashlib.sha256(repr((key.dataset, key.split, self.marks)).encode()).hexdigest()[:16]
        self.staged = results.root / ".staging" / f"pictures-{self.name}"

    def exist(self) -> bool:
        """Return whether the pictures of these data and marks exist."""
        return self.pictures.about().get("data") == self.data and (self.pictures.folder / self.marks).is_dir()

    def write_missing(self, names: Sequence[str]) -> Iterator[Scan]:
        """Yield the test scans, and write their pictures unless they exist or another process does so.

        Raises InputError on a full disk.
        """
        load = partial(load_alone, self.dataset)
        with self.results.lock(self.name) or nullcontext() as lock:
            if lock is None or self.exist():
                yield from map(load, names)
                return
            annotate = _held_out_annotator(self.dataset, names, parse_sites(self.key.annotation), self.key.seed)
            shutil.rmtree(self.staged, ignore_errors=True)
            try:
                (self.staged / self.marks).mkdir(parents=True)
                for number, scan in enumerate(map(load, names)):
                    self._write(number, scan, annotate(scan))
                    yield scan
                self._publish(names)
            except OSError as error:
                raise InputError(f"pictures can't be written to {self.staged}: {error.strerror}") from error
            finally:
                shutil.rmtree(self.staged, ignore_errors=True)

    def _write(self, number: int, scan: Scan, allowed: np.ndarray) -> None:
        assert scan.mask is not None  # test scans have one: check_split
        image = np.rint(scan.image * 255).astype(np.uint8)
        np.savez_compressed(self.staged / f"{number:04d}.npz", image=image, mask=scan.mask)
        labels = to_labels(allowed, len(self.dataset.classes), UNLABELLED)
        np.savez_compressed(self.staged / self.marks / f"{number:04d}.npz", marks=labels)

    def _publish(self, names: Sequence[str]) -> None:
        """Move the pictures into place; pictures of other data are replaced, other marks of the same data stay."""
        folder = self.pictures.folder
        if self.pictures.about().get("data") == self.data:
            with _ignore_if_exists():
                (self.staged / self.marks).rename(folder / self.marks)
            return
        about = {
            "data": self.data,
            "scans": names,
            "classes": list(self.dataset.classes),
            "redistribute": self.dataset.redistribute,
            "licence": self.dataset.licence,
        }
        (self.staged / "about.json").write_text(json.dumps(about, indent=1) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _ignore_if_exists():
            self.staged.rename(folder)


@contextmanager
def _ignore_if_exists() -> Iterator[None]:
    """Ignore that another process has made the folder meanwhile."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


class AnnotationStatistics:
    """Labelled pixels of each class in the training scans, and their distances from the class's boundary."""

    BIN = 0.1  # px, of depths

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.marked = np.zeros(len(classes), np.int64)
        self.total = np.zeros(len(classes), np.int64)
        self.named = np.zeros(len(classes), np.int64)  # also where the truth is another class
        self.slices, self.objects = 0, 0
        self.truth_known = True
        self.depths: list[Counter[int]] = [Counter() for _ in classes]

    def add(self, allowed: np.ndarray, mask: np.ndarray | None) -> None:
        """Count a scan; without its mask, shares, depths and objects are unknown."""
        marked = (allowed != everything(len(self.classes))).any((1, 2))
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
                self.objects += sum(cv2.connectedComponents(plane)[0] - 1 for plane in region[marked].view(np.uint8))
            self.marked[k] += np.count_nonzero(marks & region)
            self.total[k] += np.count_nonzero(region)
            if not np.array_equal(marks, region):  # else all of it is labelled
                for mark, plane in zip(marks & region, region, strict=True):
                    if mark.any() and not plane.all():  # it has a boundary
                        self.depths[k].update(np.rint(_depths(plane, mark) / self.BIN).astype(int).tolist())

    def shares(self) -> dict[str, float | None]:
        """Return the labelled share of each class; None if the truth is unknown or never holds the class."""
        return {
            name: round(int(marked) / int(total), 6) if total else None
            for name, marked, total in zip(self.classes, self.marked, self.total, strict=True)
        }

    def amount(self) -> dict[str, Any]:
        """Return labelled pixels by class, labelled slices, and objects in these slices (None if the truth is unknown)."""
        return {
            "labelled_pixels": {name: int(count) for name, count in zip(self.classes, self.named, strict=True)},
            "labelled_slices": self.slices,
            "labelled_objects": self.objects if self.truth_known else None,
        }

    def median_depths(self) -> dict[str, float | None]:
        """Return by class the median distance of labelled pixels from its boundary, px; None without any."""
        return {name: self._median(depths) for name, depths in zip(self.classes, self.depths, strict=True)}

    def _median(self, depths: Counter[int]) -> float | None:
        left = depths.total() / 2
        for depth, count in sorted(depths.items()):
            left -= count
            if left <= 0:
                return round(depth * self.BIN, 1)
        return None


def _depths(region: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return for each mark in a region (h, w) its distance from the nearest pixel outside, px."""
    distances = cv2.distanceTransform(region.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[marks]
    return np.sqrt(np.rint(distances.astype(np.float64) ** 2))  # squares are whole numbers: exact, from 32-bit floats


def _held_out_annotator(
    dataset: Dataset, names: Iterable[str], annotation: Annotation | Mixed, seed: int
) -> Callable[[Scan], np.ndarray]:
    """Return a function that annotates a scan as a training scan; simulated if people drew nothing on it."""
    given = Annotator(dataset, names, annotation, seed)
    simulated = given
    if any(part.drawn for part in annotation.parts):
        undrawn = (replace(part, maker="sim" if part.form == "scribble" else "") for part in annotation.parts)
        simulated = Annotator(dataset, names, of_sites(undrawn), seed)

    def annotate(scan: Scan) -> np.ndarray:
        allowed = (given if given.of(scan.name).drawn in scan.drawn else simulated)(scan)
        return allowed.astype(set_type(len(dataset.classes)))

    return annotate
