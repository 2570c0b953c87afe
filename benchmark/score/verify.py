"""Compare a random share of the stored scores with medpy's, another implementation of the same metrics."""

import csv
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import medpy.metric.binary as medpy
import numpy as np

from benchmark import InputError
from benchmark.datasets.base import Dataset
from benchmark.inputs import read_npz
from benchmark.score.evaluate import union
from benchmark.score.stored import DataSets, done, unchanged
from benchmark.score.surfaces import Spacing

LARGEST = 1e-6  # largest difference that rounding explains
OF_VOXELS = {"dice": medpy.dc, "iou": medpy.jc, "precision": medpy.precision, "recall": medpy.recall, "rve": medpy.ravd}
OF_SURFACES = {"hd95": medpy.hd95, "hd": medpy.hd, "assd": medpy.assd}  # medpy pools both directions in hd95 and assd
METRICS = (*OF_VOXELS, *OF_SURFACES)


@dataclass(frozen=True)
class Difference:
    """Difference between the stored values of a metric and medpy's."""

    cases: int
    largest: float  # infinite if a value is not stored
    where: str  # the case of the largest


def verify(results: Path, data: Path, share: float, named: Iterable[str] = ()) -> dict[str, Difference]:
    """Return the difference between stored scores and medpy's on a share of the cases, by metric.

    A case is a region of a test scan in a run that has its label maps. The names of the runs seed the random choice. Cases
    with an empty mask are left out, as medpy does not define them, and so are distances on stacks without a spacing.
    `named`: data sets that need a path. Raises InputError if nothing can be compared, a data set is missing or has changed,
    or a file of a run is damaged.
    """
    if not 0 < share <= 1:
        raise InputError(f"--verify is {share:g}; it must be a share of the cases, above 0 and at most 1, such as 0.05")
    sets = DataSets(data, named)
    runs = {folder: run for folder, run in done(results).items() if (folder / "label0000.npz").is_file()}
    datasets = {folder: unchanged(folder, run, sets) for folder, run in runs.items()}
    cases = [
        (folder, number, region)
        for folder, run in runs.items()
        for number in range(len(run["scans"]))
        for region in datasets[folder].regions
    ]
    if not cases:
        raise InputError(f"no run in {results / 'runs'} has label maps; without them nothing can be scored again")
    generator = random.Random(" ".join(folder.name for folder in runs))  # the names end with the runs' hashes
    drawn = sorted(generator.sample(cases, max(1, round(share * len(cases)))))
    found: dict[str, list[tuple[float, str]]] = {metric: [] for metric in METRICS}
    for folder, chosen in groupby(drawn, itemgetter(0)):
        for metric, difference, where in _differences(folder, runs[folder], datasets[folder], chosen):
            found[metric].append((difference, where))
    if not found["dice"]:
        raise InputError(f"a mask is empty in each of the {len(drawn)} cases that were drawn; take a larger share")
    return {metric: Difference(len(each), *max(each)) for metric, each in found.items() if each}


def _differences(
    folder: Path, run: dict[str, Any], dataset: Dataset, drawn: Iterable[tuple[Path, int, str]]
) -> Iterator[tuple[str, float, str]]:
    """Yield metric, difference and case of every value of the drawn cases of a run."""
    stored = _stored(folder / "cases.csv")
    for number, regions in groupby(drawn, itemgetter(1)):
        scan, path = dataset.load(run["scans"][number]), folder / f"label{number:04d}.npz"
        (labels,) = read_npz(path, "labels")
        if scan.mask is None or labels.shape != scan.mask.shape:
            raise InputError(f"{path} has shape {labels.shape}, which differs from scan {scan.name}'s; run it again")
        for _, _, region in regions:
            predicted, truth = (union(each, dataset.regions[region]) for each in (labels, scan.mask))
            if predicted.any() and truth.any():
                scores = stored.get((scan.name, region), {})
                for metric, value in by_medpy(predicted, truth, scan.spacing).items():
                    difference = abs(scores.get(metric, math.nan) - value)
                    where = f"scan {scan.name}, region {region} in {folder / 'cases.csv'}"
                    yield metric, math.inf if math.isnan(difference) else difference, where


def by_medpy(predicted: np.ndarray, truth: np.ndarray, spacing: Spacing) -> dict[str, float]:
    """Return medpy's scores of two masks (slices, height, width), not empty; axes of length one are dropped."""
    scores = {metric: float(score(predicted, truth)) for metric, score in OF_VOXELS.items()}
    if spacing is None and len(truth) > 1:
        return scores
    step = None if spacing is None else [mm for mm, length in zip(spacing, truth.shape, strict=True) if length > 1]
    masks = predicted.squeeze(), truth.squeeze()
    return scores | {metric: float(score(*masks, step)) for metric, score in OF_SURFACES.items()}


def _stored(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Return the scores in a run's cases.csv by scan and region; NaN if none is stored."""
    try:
        with path.open(newline="") as file:
            return {
                (row["scan"], row["region"]): {metric: float(row[metric] or "nan") for metric in METRICS}
                for row in csv.DictReader(file)
            }
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is damaged ({error!r}); score the runs again: python -m benchmark score") from error
