"""Costs of each row: size of the network, seconds, peak memory, and labelled pixels."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from benchmark.report.runs import Rows

COLUMNS = [
    *(
        "column",
        "method",
        "runs",
        "extra",
        "parameters",
        "fit_s",
        "fit_s_sd",
        "predict_s",
        "memory_mib",
        "device_memory_mib",
    ),
    *("device", "labelled_pixels", "own_budget"),
]
SENT = ("rounds", "bytes_sent")  # facts that a federated method states; columns where any run has them


def costs(read: Rows) -> pd.DataFrame:
    """COLUMNS per column and row: means of seconds and their spread over runs, the largest of sizes.

    Of runs that are done and say what they cost: predictions made elsewhere and older runs don't.
    """
    known = read.runs[(read.runs.state == "done") & read.runs.fit_s.notna()]
    if known.empty:
        return pd.DataFrame(columns=COLUMNS)
    stated = pd.DataFrame([json.loads(text) if text else {} for text in known.facts], known.index).reindex(columns=SENT)
    sent = [name for name in SENT if stated[name].notna().any()]
    known = known.assign(**{name: stated[name].astype(float) for name in sent})
    grouped = known.groupby(["column", "row"], observed=True, sort=False).agg(
        runs=("folder", "size"),
        extra=("extra", "first"),
        parameters=("parameters", "max"),
        fit_s=("fit_s", "mean"),
        fit_s_sd=("fit_s", "std"),
        predict_s=("predict_s", "mean"),
        memory_mib=("memory_mib", "max"),
        device_memory_mib=("device_memory_mib", "max"),
        own_budget=("own_budget", "max"),
        **{name: (name, "mean") for name in sent},
        device=("device", lambda names: ", ".join(sorted(set(names.dropna())))),
    )
    found = grouped.reset_index().rename(columns={"row": "method"})
    places = {column: place for place, column in enumerate(dict.fromkeys(read.runs.column))}
    found = found.sort_values("column", key=lambda columns: columns.map(places), kind="stable", ignore_index=True)
    pixels = {column: sum(about["labelled_pixels"].values()) or np.nan for column, about in read.about.items()}
    return found.assign(labelled_pixels=found.column.map(pixels))[[*COLUMNS, *sent]]


def notes(read: Rows, frame: pd.DataFrame) -> list[str]:
    """List the notes below the table of costs."""
    lines = [
        "Only runs that are done count. Memory is the largest peak of any run's process, with its libraries.",
        "Training: seconds on the clock, without imports, as mean ± standard deviation over runs. Prediction: of all test "
        "scans of a run.",
        "Labelled pixels are over the training scans of one run, background included. In parentheses: the share of a class.",
        "Beyond one network: what a method needs more than a forward and a backward pass of the budget's network per step.",
    ]
    for column, own in frame.groupby("column", observed=True, sort=False):
        lines += _of_column(str(column), read.about[column], own)
    return lines


def _of_column(column: str, about: dict[str, Any], own: pd.DataFrame) -> Iterator[str]:
    """Describe one column: trials, devices and labels."""
    if trials := about["budget"].get("tune"):
        yield f"{column}: training seconds are of all trials, the published values and up to {trials} others."
    if len(devices := sorted({name for names in own.device for name in names.split(", ") if name})) > 1:
        yield f"{column}: runs on {' and '.join(devices)}; their times can't be compared."
    if pixels := about["labelled_pixels"]:
        of_classes = ", ".join(_of_class(name, count, about) for name, count in pixels.items())
        yield f"{column}: labelled {of_classes}{_marks(about)}."


def _of_class(name: str, count: int, about: dict[str, Any]) -> str:
    """Describe the labelled pixels of a class, and their share of it."""
    share = about["labelled_share"].get(name)
    return f"{name} {count:,}" + ("" if share is None else f" ({share:.2%})")


def _marks(about: dict[str, Any]) -> str:
    """Say how many slices and objects are annotated, if that is known."""
    kinds = {"slices": about["labelled_slices"], "objects": about["labelled_objects"]}
    known = [f"{count:,} {kind}" for kind, count in kinds.items() if count is not None]
    return f"; {' and '.join(known)} with marks" if known else ""
