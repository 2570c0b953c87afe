"""One self-contained page: the table, the figure, failures and the environment; it needs no network."""

from pathlib import Path

import jinja2
import pandas as pd

from benchmark import __version__
from benchmark.report.rows import Rows

TEMPLATES = Path(__file__).parent / "templates"


def render(read: Rows, table: pd.DataFrame, notes: list[str], folder: Path) -> str:
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
        columns=list(table.columns),
        lines=[(method, list(cells)) for method, cells in zip(table.index, table.to_numpy(), strict=True)],
        notes=notes,
        figures=figures,
        gaps=read.runs[read.runs.state != "done"].to_dict("records"),
        set_aside=read.set_aside,
        count=int((read.runs.state == "done").sum()),
    )
