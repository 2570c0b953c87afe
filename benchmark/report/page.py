"""One self-contained page, which needs no network: tables, figures, cases, failures and records of runs."""

import base64
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from PIL import Image

from benchmark import __version__, store
from benchmark.images import COLOURS, UNLABELLED
from benchmark.plan.jobs import PROTOCOL
from benchmark.report import names
from benchmark.report.figures.cases import LIMIT, Case
from benchmark.report.figures.style import FigureData, SavedFigure
from benchmark.report.front import Front, interesting, opening, rows_of
from benchmark.report.runs import Rows
from benchmark.report.statistics import ALPHA, LEVEL, RESAMPLES
from benchmark.report.summary import HEADLINE
from benchmark.report.tables import Table, metric_tables
from benchmark.store import ResultsFolder

TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 192  # px, the long side of an embedded picture
MOST_CASES = LIMIT
MOST_BYTES = 20_000_000  # of embedded pictures, as encoded in the page
TAIL = 8_000  # characters of the output of a failed run
MOST_OUTPUTS = 50  # failed runs whose output is shown
SEEN_THROUGH, SOLID = 110, 255  # opacity of predictions, and of outlines and marks
MADE = '<meta name="generator" content="weakseg-bench">'  # of each page
MADE_WITH = ("version", "commit", "processor", "device", "python", "torch", "numpy")
UNKNOWN = "not recorded"
LEADING = re.compile(r"[<>≤≥~]?\s*([+−-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
GAPS = {"not run": "missing", "n/a": "none"}  # and their looks
DETAILS = re.compile(r" (?=[\[(])")  # an interval, and what is in parentheses
MARKED = "°≈ "  # with which the rest of a bold cell begins
GAP = re.compile(r"$|(n/a|nan|none|not|no|unknown|–|-)(\s|$)|\d+ of \d+ failed")
NAMED = re.compile(r'(\sid="|href="#|url\(#)')  # where an SVG file refers to its own ids

Record = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """The contents of the page other than tables."""

    drawn: Sequence[SavedFigure] = ()
    cases: Iterable[Case] = ()  # in the order in which the browser steps through them
    left_out: Sequence[str] = ()  # sentences: which columns have no pictures, and why
    metrics: Sequence[str] = HEADLINE  # of the table of results
    links: Mapping[str, str] = field(default_factory=dict)  # to the pages that share a site: name -> address


TABLES_ALONE = Content()


def render(source: FigureData, made: Iterable[Table], folder: Path, content: Content = TABLES_ALONE) -> str:
    """Return the HTML of the page; all names are escaped. The SVG files of the figures are read from `folder`.

    made: the main table, of which the notes are shown, and the others.
    """
    read, records, order = source.read, _records(source.read, source.results), rows_of(source)
    browser = _browser(content.cases, read, order)
    main, *others = made
    parts = metric_tables(source.summary.cells, content.metrics, order, read.metrics)
    drawn = [each for each in content.drawn if each.name != "matrix"]  # with which the page begins
    return _filled(
        "index.html",
        front=opening(source),
        shown=[browser["data"]["cases"][number] | {"number": number} for number in browser["data"]["open"]],
        links=content.links,
        selection=read.selection,
        results=[_table(Table(f"metric{n}", title, cells, [])) for n, (title, cells) in enumerate(parts.items())],
        notes=main.notes,
        tables=[_table(table) for table in others],
        figures=[_figure(number, each, folder) for number, each in enumerate(drawn)],
        browser=browser,
        left_out=content.left_out,
        gaps=_table(_gaps(read)),
        outputs=_outputs(read, source.results),
        set_aside=read.set_aside,
        environments=_table(_environments(records.values())),
        columns=[(column, _facts(read, column)) for column in read.about],
        runs=_table(_runs(read, records)),
        limits={"cases": MOST_CASES, "bytes": MOST_BYTES, "pixels": LONGEST, "tail": TAIL, "outputs": MOST_OUTPUTS},
        rules={"protocol": PROTOCOL, "level": f"{LEVEL:.0%}", "alpha": f"{ALPHA:.0%}", "resamples": f"{RESAMPLES:,}"},
    )


def site(title: str, fronts: Mapping[str, Front]) -> str:
    """Return the HTML of the page that leads to several: what `opening` gives of each, by its address."""
    return _filled("site.html", title=title, fronts=fronts)


def _filled(template: str, **facts: Any) -> str:
    """Fill a template; its style and script are inside the page, and only that script may run."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((TEMPLATES / name).read_text() for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        style=Markup(style), script=Markup(script), digest=digest, version=__version__, **facts
    )


# ------------------------------------------------------------------------------------------------------- tables


def _table(table: Table) -> Record:
    """A table's heads and lines, ready for the template; a column of numbers has the values by which it is sorted."""
    cells, grouped = table.cells, isinstance(table.cells.columns, pd.MultiIndex)
    columns = [[str(text) for text in cells.iloc[:, place]] for place in range(cells.shape[1])]
    kinds = [_is_numeric(texts) for texts in columns]
    groups = Counter(str(head[0]) for head in cells.columns) if grouped else {}  # in the order of the columns
    return {
        "name": table.name,
        "title": table.title,
        "first": cells.index.name or "",
        "groups": list(groups.items()),
        "heads": [str(head[-1]) if grouped else str(head) for head in cells.columns],
        "lines": [
            (str(name), [(_marked(text), _value(text) if kind else None) for text, kind in zip(line, kinds, strict=True)])
            for name, *line in zip(cells.index, *columns, strict=True)
        ],
        "worded": [not kind and max(map(len, texts), default=0) > 30 for texts, kind in zip(columns, kinds, strict=True)],
        "notes": [*filter(None, [table.short]), *table.notes],
    }


def _is_numeric(texts: Iterable[str]) -> bool:
    """Whether every cell of a column that is not a gap begins with a number."""
    filled = [text for text in texts if not GAP.match(text)]
    return bool(filled) and all(_value(text) is not None for text in filled)


def _value(text: str) -> float | None:
    """Return the number with which a cell begins; None for a gap such as `not run` or `1 of 2 failed`."""
    found = None if GAP.match(text) else LEADING.match(text.replace("**", ""))
    return float(found[1].replace("−", "-")) if found else None


def _marked(text: str) -> Markup:
    """A cell as HTML: `**...**` bold, the interval and what is in parentheses behind a number small; all else escaped."""
    if text in GAPS:
        return Markup('<span class="{}">{}</span>').format(GAPS[text], text)
    before, mark, rest = text.partition("**")
    inside, closed, after = rest.partition("**")
    if mark and closed:
        return escape(before) + Markup("<b>{}</b>").format(inside) + _marked(after)
    head, *small = DETAILS.split(text) if LEADING.match(text) or text[:1] in MARKED else [text]
    parts = [Markup("<small>{}</small>").format(part.replace(", ", ",\u00a0") if part[0] == "[" else part) for part in small]
    return escape(head) + Markup("").join(Markup(" ") + part for part in parts)


# ------------------------------------------------------------------------------------------------------ figures


def _figure(number: int, drawn: SavedFigure, folder: Path) -> Record:
    drawing = _inlined((folder / f"{drawn.name}.svg").read_text(), f"drawing{number}-")
    return {"name": drawn.name, "title": drawn.title, "caption": drawn.caption, "drawing": drawing}


def _inlined(svg: str, prefix: str) -> Markup:
    """Prepare an SVG file for the page: its ids get a prefix, as two figures often have the same ids."""
    drawing = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return Markup(re.sub("<[^>]+>", lambda tag: NAMED.sub(rf"\g<1>{prefix}", tag[0]), drawing))


# -------------------------------------------------------------------------------------------------------- cases


def _browser(cases: Iterable[Case], read: Rows, order: Sequence[str]) -> Record:
    """Select the cases within the limits, in the format of the page's script, and count the others of each column."""
    scored = read.cases.drop_duplicates(["column", "scan"])
    units = {(line.column, line.scan): line.unit for line in scored.itertuples()}
    pictures: list[Record] = []
    left_out: Counter[str] = Counter()
    size = 0
    for case in cases:
        if not left_out and len(pictures) < MOST_CASES:
            picture = _picture(case, order) | {
                "unit": units.get((case.column, case.scan), ""),
                "dataset": read.titles.get(("dataset", case.dataset), case.dataset),
                "annotation": names.of_annotation(case.annotation),
            }
            size += _bytes(picture)
            if size <= MOST_BYTES:
                pictures.append(picture)
                continue
        left_out[case.column] += 1
    colours = ["#" + bytes(colour).hex() for colour in COLOURS]
    data = {"cases": _named(pictures), "colours": colours, "open": interesting(pictures, read.roles)}
    return {"data": data, "count": len(pictures), "left_out": left_out}


def _picture(case: Case, order: Sequence[str] = ()) -> Record:
    """A case with its pictures as data URIs, its rows in this order."""
    rows = [
        {
            "name": row,
            "picture": _png(_indices(_nearest(labels)), SEEN_THROUGH),
            "empty": not labels.any(),
            "run": case.hashes.get(row, "")[:8],
            **{metric: _known(case.scores.get(row, {}).get(metric)) for metric in ("dice", "hd95_max")},
        }
        for row, labels in sorted(case.predictions.items(), key=lambda each: order.index(each[0]) if each[0] in order else 0)
    ]
    truth = _indices(_nearest(case.truth))
    layers = {
        "image": _jpeg(case.image),
        "filled": _png(truth, SEEN_THROUGH),
        "truth": _png(_outline(truth), SOLID),
        "marks": _png(_thickest(np.where(case.marks == UNLABELLED, 0, case.marks + 1).astype(np.uint8)), SOLID),
    }
    facts = {key: getattr(case, key) for key in ("column", "dataset", "annotation", "patient", "scan", "split", "seed")}
    return {**facts, "classes": case.classes, "slice": case.slice + 1, "slices": case.slices, "layers": layers, "rows": rows}


def _named(pictures: list[Record]) -> list[Record]:
    """Add a short name of each case in its column, and of each column in its data set."""
    forms = [
        (each["patient"], f"{each['patient']}, {each['scan']}", "{patient}, {scan} ({split}, seed {seed})".format(**each))
        for each in pictures
    ]
    met = Counter((each["column"], form) for each, own in zip(pictures, forms, strict=True) for form in own)
    columns = {(each["dataset"], each["annotation"], each["column"]) for each in pictures}
    shared = Counter(key[:2] for key in columns)
    return [
        each
        | {"name": next((form for form in own if met[each["column"], form] == 1), own[-1])}
        | {"format": each["annotation"] if shared[each["dataset"], each["annotation"]] == 1 else each["column"]}
        for each, own in zip(pictures, forms, strict=True)
    ]


def _bytes(picture: Record) -> int:
    return sum(map(len, picture["layers"].values())) + sum(len(row["picture"]) for row in picture["rows"])


def _known(score: float | None) -> float | None:
    """Convert a score for JSON: None if it is not defined."""
    return None if score is None or not np.isfinite(score) else round(float(score), 4)


def _small(shape: Sequence[int]) -> list[int]:
    """Height and width of a thumbnail, never more than there are."""
    scale = min(1.0, LONGEST / max(shape[:2]))
    return [max(1, round(side * scale)) for side in shape[:2]]


def _nearest(labels: np.ndarray) -> np.ndarray:
    """Resize labels to the size of a thumbnail, by nearest neighbour."""
    places = [(2 * np.arange(n) + 1) * side // (2 * n) for n, side in zip(_small(labels.shape), labels.shape, strict=True)]
    return labels[np.ix_(*places)]


def _thickest(marks: np.ndarray) -> np.ndarray:
    """Resize an annotation to the size of a thumbnail, by the maximum in each pixel, so that no thin stroke is lost."""
    rows, columns = (np.arange(n) * side // n for n, side in zip(_small(marks.shape), marks.shape, strict=True))
    return np.maximum.reduceat(np.maximum.reduceat(marks, rows, axis=0), columns, axis=1)


def _indices(labels: np.ndarray) -> np.ndarray:
    """Places in the palette: 0, which is transparent, for background, and k + 1 for class k."""
    return np.where(labels == 0, 0, labels + 1).astype(np.uint8)


def _outline(indices: np.ndarray) -> np.ndarray:
    """Keep only pixels that touch another class or the border."""
    padded = np.pad(indices, 1)
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.where(np.any([side != indices for side in around], axis=0), indices, 0).astype(np.uint8)


def _png(indices: np.ndarray, opacity: int) -> str:
    """Return a picture in the colours of the classes, transparent where the index is 0."""
    count = int(indices.max(initial=0))
    picture = Image.fromarray(indices)
    picture.putpalette(bytes(3) + COLOURS[np.arange(count) % len(COLOURS)].tobytes())
    return _uri(picture, "png", transparency=bytes([0] + [opacity] * count), optimize=True)


def _jpeg(image: np.ndarray) -> str:
    """Resize an image (h, w, 3) to a thumbnail; it is grey if its channels are equal."""
    height, width = _small(image.shape)
    picture = Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.LANCZOS)
    grey = (image == image[..., :1]).all()
    return _uri(picture.convert("L") if grey else picture, "jpeg", quality=80)


def _uri(picture: Image.Image, kind: str, **how: Any) -> str:
    held = io.BytesIO()
    picture.save(held, kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(held.getvalue()).decode()}"


# ------------------------------------------------------------------------------------------ failures and records


def _records(read: Rows, results: ResultsFolder) -> dict[str, Record]:
    """Read the `run.json` of every run, by folder, also of stored runs."""
    found: dict[str, Record] = {}
    for name, runs in read.runs[read.runs.state != "missing"].groupby("stored", sort=False):
        home = store.stored(str(name))[str(name)] if name else results
        shown = set(runs.folder)
        found |= {record["folder"]: record for record in home.records() if record["folder"] in shown}
    return found


def _gaps(read: Rows) -> Table:
    gaps = read.runs[read.runs.state != "done"]
    cells = gaps[["state", "reason", "row", "column"]].rename(columns={"row": "method"})
    return Table("gaps", "Runs that failed or are missing", cells.set_axis(pd.Index(gaps.folder, name="run")), [])


def _outputs(read: Rows, results: ResultsFolder) -> list[Record]:
    """Return the end of the output of each failed run."""
    found = []
    for run in read.runs[read.runs.state == "failed"].itertuples():
        texts = results.output(str(run.folder))
        shown = [(name, text[-TAIL:], max(0, len(text) - TAIL)) for name, text in texts.items() if text.strip()]
        if shown:
            found.append({"folder": run.folder, "reason": run.reason, "texts": shown})
    return found


def _environments(records: Iterable[Record]) -> Table:
    """Summarise the environments of finished runs, the most common first."""
    done = [record for record in records if record["state"] == "done"]
    counts = Counter(tuple(_made_with(record)) for record in done)
    lines = [[made[0], count, *made[1:]] for made, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
    cells = pd.DataFrame(lines, columns=["version", "runs", *MADE_WITH[1:]]).set_index("version")
    return Table("environments", "What the runs were made with", cells, [])


def _made_with(record: Record) -> Iterator[str]:
    """Version, commit, machine and libraries of a run; of predictions from elsewhere only what scored them is known."""
    known = {**record.get("worker", {}), **record}
    for name in MADE_WITH:
        elsewhere = record.get("external") and name not in ("version", "commit")
        yield "made elsewhere" if elsewhere else str(known.get(name) or UNKNOWN)


def _runs(read: Rows, records: dict[str, Record]) -> Table:
    """List every run with the fields in which runs differ."""
    runs = read.runs.drop_duplicates("folder")
    finished = [records.get(folder, {}).get("finished", "") for folder in runs.folder]
    shown = ["state", "row", "split", "seed", "hash", *(["stored"] if (runs.stored != "").any() else [])]
    cells = runs[shown].rename(columns={"row": "method", "stored": "stored in"}).assign(finished=finished)
    return Table("runs", "Every run", cells.set_axis(pd.Index(runs.folder, name="run")), [])


def _facts(read: Rows, column: str) -> list[tuple[str, str]]:
    """List the fields that all runs of a column share."""
    runs, cases = read.runs[read.runs.column == column], read.cases[read.cases.column == column]
    own: Record = {
        "splits": sorted(runs.split.unique()),
        "seeds": sorted(runs.seed.unique().tolist()),
        "patients_scored": int(cases.patient.nunique()),
    }
    facts = {**read.about[column], **own}
    unknown = {name for name, value in facts.items() if value == {} and name.startswith("labelled")}  # of older runs
    return [(name.replace("_", " "), _formatted(None if name in unknown else value)) for name, value in facts.items()]


def _formatted(value: object) -> str:
    """Format a value of a record."""
    if isinstance(value, dict):
        return "; ".join(f"{name} {_formatted(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_formatted, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return UNKNOWN if value is None else "none" if value == "" else str(value)
