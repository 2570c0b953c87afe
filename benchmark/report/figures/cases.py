"""Cases as pictures: a slice of a test scan with its annotation, its truth and the prediction of each row.

Which cases are shown depends only on their scores. The order is that of the mean Dice over
the rows of a column, at the seed shown.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from benchmark import InputError
from benchmark.images import UNLABELLED
from benchmark.report.runs import Rows
from benchmark.store import CasePictures, ResultsFolder

LIMIT = 200  # cases on a page, over all columns


@dataclass(frozen=True, eq=False)
class Case:
    """One test scan of one column, at the slice that holds most of the truth."""

    column: str
    dataset: str
    annotation: str
    scan: str
    patient: str
    split: str
    seed: int  # of the annotation and of the runs of these predictions
    classes: tuple[str, ...]
    slice: int  # which one is shown
    slices: int  # of how many
    image: np.ndarray  # uint8 (h, w, 3)
    truth: np.ndarray  # uint8 (h, w)
    marks: np.ndarray  # uint8 (h, w), 255 where unlabelled; the annotation that this scan would have in training
    predictions: Mapping[str, np.ndarray]  # row -> uint8 (h, w)
    scores: Mapping[str, Mapping[str, float]]  # row -> {"dice": ..., "hd95_max": ...} of the whole scan, mean over regions
    hashes: Mapping[str, str]  # row -> of its run


@dataclass(frozen=True)
class Gallery:
    """The cases with pictures, which are read on demand."""

    columns: Mapping[str, list[Callable[[], Case]]] = field(default_factory=dict)  # from the worst case to the best
    left_out: list[str] = field(default_factory=list)  # columns without pictures, and why

    def cases(self) -> Iterator[Case]:
        """Return at most LIMIT cases: the same number of each column, evenly spaced from the worst to the best."""
        for ordered in self.columns.values():
            shown = np.linspace(0, len(ordered) - 1, min(len(ordered), max(1, LIMIT // len(self.columns))))
            yield from (ordered[place]() for place in np.unique(np.rint(shown).astype(int)))

    def examples(self) -> dict[str, list[Case]]:
        """Of each column the best, the median and the worst case; fewer where there are fewer."""
        return {
            column: [ordered[place]() for place in dict.fromkeys((len(ordered) - 1, (len(ordered) - 1) // 2, 0))]
            for column, ordered in self.columns.items()
        }


def gallery(read: Rows, results: ResultsFolder, *, embed: bool = False) -> Gallery:
    """The cases of which there are pictures and label maps; of sets that may not be redistributed only with `embed`."""
    found: dict[str, list[Callable[[], Case]]] = {}
    left_out: list[str] = []
    for column in read.about:
        of_column = _ColumnCases(read, results, column)
        if reason := of_column.problem(embed=embed):
            left_out.append(f"{column}: {reason}")
        elif ordered := of_column.ordered():
            found[column] = ordered
        else:
            left_out.append(f"{column}: no run of the seed shown kept label maps")
    return Gallery(found, left_out)


class _ColumnCases:
    """The cases of one column at its first seed."""

    def __init__(self, read: Rows, results: ResultsFolder, column: str) -> None:
        self.read, self.results, self.column, self.about = read, results, column, read.about[column]
        runs = read.runs[(read.runs.column == column) & (read.runs.state == "done")]
        trained = runs[~runs.external.astype(bool)]
        self.seed = int((trained if len(trained) else runs).seed.min()) if len(runs) else 0
        self.runs = runs[runs.seed == self.seed]
        splits = self.runs.split.unique()
        self.pictures = {split: CasePictures.of(results.root, self.about["dataset"], split) for split in splits}

    def problem(self, *, embed: bool) -> str:
        """Return the reason why there are no pictures; empty if there are."""
        known = {split: each.about() for split, each in self.pictures.items()}
        if self.read.selection != "last":
            return "pictures are of the last step, which is not what was selected"
        if not any(known.values()):
            return "no pictures; a sweep makes them when it trains"
        if not any(known[run.split].get("data") == run.data for run in self.runs.itertuples()):
            return "pictures are of other data"
        if any(about and not about["redistribute"] for about in known.values()) and not embed:
            return "pixels of this data set may not be redistributed; report --embed-images puts them in"
        return ""

    def ordered(self) -> list[Callable[[], Case]]:
        """Return the cases from the worst to the best, each read on demand."""
        found = []
        for split, own in self.runs.groupby("split", observed=True, sort=False):
            about = self.pictures[str(split)].about()
            shown = own[own.data == about.get("data")].drop_duplicates("row").set_index("row")
            rows = {str(row): run.folder for row, run in shown.iterrows() if self.results.has_label_maps(run.folder)}
            if not rows:
                continue
            hashes = {row: str(shown.hash[row]) for row in rows}
            scores = scan_scores(self.read.cases[self.read.cases.folder.isin(list(rows.values()))])
            order = scores.dice.groupby(level="scan", observed=True).mean()
            for number, scan in enumerate(about["scans"]):
                worth = order.get(scan, np.nan)
                pick = _LazyCase(self, str(split), number, scan, rows, hashes, scores)
                found.append((-1.0 if np.isnan(worth) else float(worth), str(split), number, pick))
        return [pick for *_, pick in sorted(found, key=lambda each: each[:3])]


def scan_scores(cases: pd.DataFrame) -> pd.DataFrame:
    """Dice and HD95 by scan and run, mean over regions, and the scan's patient."""
    known = cases.assign(hd95_max=cases["hd95_max"].fillna(cases["hd95_max@slice"]))
    return known.groupby(["scan", "folder"], observed=True).agg(
        dice=("dice", "mean"), hd95_max=("hd95_max", "mean"), patient=("patient", "first")
    )


@dataclass(frozen=True, eq=False)
class _LazyCase:
    """A case before its pictures are read."""

    of_column: _ColumnCases
    split: str
    number: int
    scan: str
    rows: Mapping[str, str]  # row -> folder
    hashes: Mapping[str, str]
    scores: pd.DataFrame

    def __call__(self) -> Case:
        of_column, folder = self.of_column, self.of_column.pictures[self.split]
        about, known = of_column.about, folder.about()
        images, masks = folder.image(self.number)
        middle = _fullest(masks)
        marks = folder.marks(self.number, about["annotation"], of_column.seed)
        scored = {row: self.scores.loc[(self.scan, run)] for row, run in self.rows.items()}
        return Case(
            column=of_column.column,
            dataset=about["dataset"],
            annotation=about["annotation"],
            scan=self.scan,
            patient=str(next(iter(scored.values())).patient),
            split=self.split,
            seed=of_column.seed,
            classes=tuple(known["classes"]),
            slice=middle,
            slices=len(masks),
            image=images[middle],
            truth=masks[middle],
            marks=np.full_like(masks[middle], UNLABELLED) if marks is None else marks[middle],
            predictions={row: self._prediction(run, masks.shape)[middle] for row, run in self.rows.items()},
            scores={row: {"dice": float(each.dice), "hd95_max": float(each.hd95_max)} for row, each in scored.items()},
            hashes=self.hashes,
        )

    def _prediction(self, run: str, shape: tuple[int, ...]) -> np.ndarray:
        labels = self.of_column.results.label_map(run, self.number)
        if labels.shape != shape:
            raise InputError(f"label{self.number:04d}.npz in {run} holds labels {labels.shape}; the scan is {shape}")
        return labels


def _fullest(masks: np.ndarray) -> int:
    """The slice that holds most of the truth; the middle one if none holds any."""
    sizes = (masks > 0).sum((1, 2))
    return int(sizes.argmax()) if sizes.any() else len(masks) // 2
