"""A results folder written by hand, with whatever can go wrong in one, and the tables that a person has read.

Write those anew, and then read them: python -m tests.support.golden_tables
"""

import csv
import json
import shutil
import tempfile
from pathlib import Path

from benchmark import report
from benchmark.report.runs import ROLES
from benchmark.score.evaluate import COUNTS, METRICS
from tests.benchmark.report.test_rows import record

FORMATS = ("md", "tex", "csv")
GOLDEN = Path(__file__).parents[1] / "benchmark" / "report" / "golden"
HEADER = ("scan", "patient", "region", "unit", *METRICS, *COUNTS)
DICE = {  # of eight patients; the means of the first five are 0.40, 0.75, 0.85, 0.84, 0.70, 0.72
    "prior": (0.30, 0.35, 0.40, 0.45, 0.50, 0.33, 0.41, 0.46),
    "pce_dice": (0.70, 0.72, 0.75, 0.78, 0.80, 0.73, 0.74, 0.79),
    "view": (0.80, 0.83, 0.85, 0.86, 0.91, 0.82, 0.86, 0.87),
    "view-flat": (0.79, 0.83, 0.84, 0.87, 0.87, 0.81, 0.86, 0.86),
    "collapse": (0.65, 0.67, 0.70, 0.72, 0.76, 0.66, 0.71, 0.73),
    "outside": (0.68, 0.70, 0.72, 0.74, 0.76, 0.70, 0.71, 0.75),
}
SHIFT = {  # of seeds 0, 1 and 2, and of these and three more; the first three cancel out, and their spread is 0.01
    "prior": (0, 0, 0, 0, 0, 0), "pce_dice": (0.01, -0.01, 0, 0.01, -0.01, 0), "outside": (0, 0, 0),
    "view": (-0.01, 0, 0.01, 0, 0.01, -0.01), "view-flat": (0, 0.01, -0.01, 0.01, -0.01, 0),
    "collapse": (0, 0, -0.5, 0, 0, 0.01),
}  # fmt: skip
# data set, annotation -> regions, their unit, how many patients, and how much lower Dice is than in the table above
COLUMNS = {
    ("hearts", "scribble:sim"): (("LV", "RV"), "mm", 8, 0.0),
    ("hearts", "point"): (("LV", "RV"), "mm", 8, 0.05),
    ("eyes", "scribble:sim"): (("disc",), "px", 8, 0.02),
    ("eyes", "box"): (("disc",), "px", 8, 0.03),
    ("eyes", "point"): (("disc",), "px", 5, 0.10),
    ("solo", "scribble:sim"): (("cyst",), "mm", 1, 0.0),
}
SEEDS = {("eyes", "box"): 6}  # else three
LOWER = {"LV": 0.0, "RV": 0.10, "disc": 0.0, "cyst": 0.0}
SNAPSHOTS = {20: -0.06, 40: 0.01, 60: 0.03, 80: 0.0}  # step -> how much higher Dice is than at the end
REASON = "its paper's 50 % longer_training"


def results(folder: Path) -> Path:
    """Runs of every column, one of them failed, one missing, one from elsewhere."""
    planned = []
    for (dataset, annotation), label in ((column, label) for column in COLUMNS for label in DICE if label != "outside"):
        for seed in range(SEEDS.get((dataset, annotation), 3)):
            run = _record(dataset, annotation, label, seed)
            planned.append({"folder": _folder(run), **{key: run[key] for key in ("identity", "label", "common")}})
            if (dataset, annotation, label, seed) != ("eyes", "point", "view-flat", 1):  # this one never ran
                _write(folder, run)
    _write(folder, _record("eyes", "scribble:sim", "outside", 0) | {"external": True, "common": {}, "worker": {}})
    plan = {"name": "golden", "title": "A sweep_of 100 % made-up runs", "runs": planned}
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def write(folder: Path) -> list[Path]:
    """The tables of those runs: Markdown, LaTeX and CSV."""
    with tempfile.TemporaryDirectory() as made:
        written = report.write(
            results(Path(made) / "results"), Path(made) / "reports", report.ReportOptions(formats=FORMATS)
        )
        tables = {path.stem for path in written.glob("*.md")}
        return [Path(shutil.copy(path, folder)) for path in sorted(written.iterdir()) if path.stem in tables]


def _folder(run: dict) -> str:
    identity = run["identity"]
    place = identity["annotation"].replace(":", "-")
    return f"{identity['dataset']}/{place}/{run['label']}/default-seed{identity['seed']}"


def _record(dataset: str, annotation: str, label: str, seed: int) -> dict:
    """A run's record; no plug-in has these names, so that its code can't have changed since."""
    regions = COLUMNS[dataset, annotation][0]
    classes = ("background", *(("disc",) if dataset == "eyes" else regions))
    return record(
        label,
        seed,
        method="view" if label.startswith("view") else f"golden_{label}",
        options={"weight": 0.5, "round": label == "view", "name": ""} if label.startswith("view") else {},
        dataset=dataset,
        annotation=annotation,
        common={"steps": 80, "batch": 4, "size": 64, "network": "unet", "lr": 0.01},
        budget={"steps": 80},
        **_outcome(dataset, annotation, label, seed),
    ) | {
        "why_own_budget": REASON if label == "view-flat" else "",
        "regions": list(regions),
        "patients_known": dataset != "eyes",
        "labelled_share": {name: 0.01 * number for number, name in enumerate(classes, 1)},
        "labelled_depth_px": {name: 2.0 + number for number, name in enumerate(classes)},
        "labelled_pixels": {} if dataset == "solo" else {name: 40_000 // 10**number for number, name in enumerate(classes)},
        "labelled_slices": 24,
        "role": ROLES.get(label, ""),
        "extra": "a second view" if label == "view" else "",
        "labelled_objects": 31,
        "worker": _worker(dataset, annotation, label, seed),
        **({"selected": {"last": 80, "weakval": 40, "val": 40, "test": 60}} if _kept(dataset, annotation, label) else {}),
    }


def _outcome(dataset: str, annotation: str, label: str, seed: int) -> dict:
    if (dataset, annotation, label, seed) == ("hearts", "point", "view", 2):
        return {"state": "failed", "reason": "FloatingPointError: loss is nan at step 7"}
    return {}


def _worker(dataset: str, annotation: str, label: str, seed: int) -> dict:
    on_gpu = (dataset, annotation, seed) == ("hearts", "point", 0)
    return {
        "fit_s": 0.004 if label == "prior" else 90.0 + 10 * seed + 100 * (label == "view"),
        "predict_s": 1.25,
        "parameters": 0 if label == "prior" else 1_813_474,
        "memory_mib": 700 if label == "prior" else 1_200 + seed,
        "device_memory_mib": 2_048 if on_gpu else 0,
        "device": "NVIDIA H100 80GB HBM3" if on_gpu else "cpu",
    }


def _kept(dataset: str, annotation: str, label: str) -> bool:
    return (dataset, annotation) == ("eyes", "point") and label != "view-flat"


def _write(folder: Path, run: dict) -> None:
    place = folder / "runs" / _folder(run)
    place.mkdir(parents=True)
    (place / "run.json").write_text(json.dumps(run))
    if run["state"] == "done":
        _write_csv(place / "cases.csv", HEADER, _cases(run))
    if "selected" in run:
        lines = [("test", step, *case) for step, more in SNAPSHOTS.items() for case in _cases(run, more)]
        _write_csv(place / "snapshots.csv", ("part", "step", *HEADER), lines)


def _write_csv(path: Path, header: tuple, lines: list[tuple]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *lines])


def _cases(run: dict, more: float = 0.0) -> list[tuple]:
    """A scan of each patient: a region that one lacks, and one that a run missed."""
    label, identity = run["label"], run["identity"]
    regions, unit, patients, lower = COLUMNS[identity["dataset"], identity["annotation"]]
    lines = []
    for patient in range(patients):
        for region in regions:
            dice = DICE[label][patient] + SHIFT[label][identity["seed"]] - lower - LOWER[region] + more
            scores = {"dice": round(dice, 3), "iou": round(dice - 0.1, 3), "hd95": round(40 * (1 - dice), 3)} | {
                "nsd": round(dice, 3),
                "diagonal": 120,
            }
            counts = dict.fromkeys(COUNTS, 0)
            if (region, patient) == ("RV", 0):
                scores, counts = {}, counts | {"n_absent": 1, "n_ghost": int(label == "prior")}
            where = identity["dataset"], identity["annotation"], label, identity["seed"], region, patient
            if where == ("hearts", "scribble:sim", "view-flat", 1, "RV", 4):
                scores, counts = {"dice": 0, "iou": 0, "hd95": 120, "nsd": 0, "diagonal": 120}, counts | {"n_missed": 1}
            numbers = (scores.get("hd95" if name == "hd95_max" else name, "") for name in METRICS)
            lines.append((f"scan{patient}", f"patient{patient}", region, unit, *numbers, *counts.values()))
    return lines


if __name__ == "__main__":
    for old in GOLDEN.iterdir():
        old.unlink()
    print(*write(GOLDEN), sep="\n")
