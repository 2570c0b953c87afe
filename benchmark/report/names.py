"""Names for a paper: what figures, LaTeX tables and the page call rows, columns and data sets.

Methods, data sets and forms of annotation have a `title`; a plug-in without one keeps its name. Markdown, CSV and the
command line have the names that people type.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd

from benchmark import InputError
from benchmark.datasets import annotations
from benchmark.plan import plugins
from benchmark.store import Record

Titles = Mapping[tuple[str, str], str]  # (row, column or dataset; its short name) -> title
NAMED = {  # columns of frames -> what they name
    **dict.fromkeys(("row", "method", "against", "reference", "base", "full"), "row"),
    **dict.fromkeys(("column", "other", "full_column"), "column"),
    "dataset": "dataset",
}


def titles(placed: Iterable[tuple[Record, str, str]]) -> Titles:
    """The titles of runs with their column and row; none where two would have the same."""
    found: dict[tuple[str, str], str] = {}
    for record, column, row in placed:
        identity = record["identity"]
        dataset, annotation = _title(record, "data set", identity["dataset"]), identity["annotation"]
        short = f"{identity['dataset']} {annotation or 'external'}"
        found["dataset", identity["dataset"]] = dataset
        found["column", column] = f"{dataset}, {of_annotation(annotation) or 'external'}{column.removeprefix(short)}"
        if record["label"] == identity["method"]:  # a variant has a name of its own
            found["row", row] = _title(record, "method", record["label"]) + row.removeprefix(record["label"])
        else:
            found["row", row] = row
    taken = Counter((kind, title) for (kind, _), title in found.items())
    return {(kind, name): title for (kind, name), title in found.items() if taken[kind, title] == 1}


def titled(frame: pd.DataFrame, known: Titles) -> pd.DataFrame:
    """A frame with titles instead of short names, in the columns NAMED."""
    changed = {
        name: frame[name].map(lambda each, kind=kind: known.get((kind, each), each))
        for name, kind in NAMED.items()
        if name in frame
    }
    return frame.assign(**changed)


def of_annotation(text: str) -> str:
    """The title of an annotation; the text itself where it is no longer written so."""
    try:
        return annotations.parse_sites(text).title if text else ""
    except InputError:
        return text


def _title(record: Record, kind: str, name: str) -> str:
    """What a run says; of one that doesn't, what this project's plug-in says today; else the name."""
    known = plugins.find(kind).get(name)
    today = plugins.describe(known).get("title", "") if known and "titles" not in record else ""
    return str(record.get("titles", {}).get(kind) or today or name)
