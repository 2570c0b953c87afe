"""One self-contained page: the tables, the figures, failures and the environment; it needs no network."""

from collections.abc import Iterable
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from benchmark import __version__
from benchmark.report.rows import Rows
from benchmark.report.tables import Table

TEMPLATES = Path(__file__).parent / "templates"


def render(read: Rows, made: Iterable[Table], folder: Path) -> str:
    """HTML; everything that comes from names is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    drawn = {name: folder / f"{name}.svg" for name in ("intervals", "pseudo_labels")}
    figures = {
        name: text[text.index("<svg") :] for name, path in drawn.items() if path.is_file() and (text := path.read_text())
    }
    return environment.get_template("index.html").render(
        title=read.title or read.name,
        version=__version__,
        tables=[_table(table) for table in made],
        figures=figures,
        gaps=read.runs[read.runs.state != "done"].to_dict("records"),
        set_aside=read.set_aside,
        count=read.runs[read.runs.state == "done"].folder.nunique(),
    )


def _table(table: Table) -> dict[str, object]:
    """A table's heading cells and lines, ready for the template."""
    cells, several = table.cells, isinstance(table.cells.columns, pd.MultiIndex)
    return {
        "title": table.title,
        "first": cells.index.name,
        "heads": [" ".join(map(str, head)) if several else str(head) for head in cells.columns],
        "lines": [
            (str(name), [_bold(str(text)) for text in line])
            for name, line in zip(cells.index, cells.to_numpy(), strict=True)
        ],
        "notes": table.notes,
    }


def _bold(text: str) -> Markup:
    """`**...**` as HTML; all else escaped."""
    before, mark, rest = text.partition("**")
    inside, closed, after = rest.partition("**")
    return escape(before) + Markup("<b>{}</b>").format(inside) + escape(after) if mark and closed else escape(text)
