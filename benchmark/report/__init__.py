"""Tables, a figure and a page, read off a results folder and nothing else."""

import shutil
from pathlib import Path

import pandas as pd

from benchmark.report import figures, page, rows, statistics, tables


def write(results: Path, reports: Path) -> Path:
    """Write `reports/<name>/` whole, in place of an older one; returns the folder."""
    read = rows.read(results)
    summary = statistics.summarise(read.cases, read.runs)
    folder, staged = reports / read.name, reports / f".{read.name}.new"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    table = tables.main_table(summary)
    said = notes(read, summary)
    (staged / "table.md").write_text(tables.markdown(table) + "".join(f"\n- {note}" for note in said) + "\n")
    (staged / "table.tex").write_text(tables.latex(table, said))
    summary.to_csv(staged / "table.csv", index=False, lineterminator="\n")
    read.runs.to_csv(staged / "runs.csv", index=False, lineterminator="\n")
    figures.intervals(summary, staged)
    if logged := rows.pseudo_label_run(read, results):
        figures.pseudo_labels(logged[1], logged[0], staged)
    (staged / "index.html").write_text(page.render(read, tables.main_table(summary, ("dice", "hd95", "assd")), said, staged))
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)
    return folder


def show(results: Path) -> tuple[pd.DataFrame, list[str]]:
    """The main table and its notes, for the screen."""
    read = rows.read(results)
    summary = statistics.summarise(read.cases, read.runs)
    return tables.main_table(summary), notes(read, summary)


def notes(read: rows.Rows, summary: pd.DataFrame) -> list[str]:
    """What a reader must know beside the table."""
    said = [read.title] if read.title else []
    said.append(
        f"Mean over patients and seeds with a {statistics.LEVEL:.0%} interval (crossed bootstrap of both). HD95: 95th "
        "percentile of the pooled surface distances; a region that was not predicted counts as missed, with Dice 0 and "
        "the scan's diagonal as distance. Model selection: the last step."
    )
    for column, about in read.about.items():
        cells = summary[(summary.column == column) & summary.patients.notna()]
        if not about or cells.empty:
            continue
        unit = "patients" if about["patients_known"] else "images (patients unknown; intervals may be too narrow)"
        seeds = int(cells.seeds.max())
        share = ", ".join(_labelled(k, v, about["labelled_depth_px"].get(k)) for k, v in about["labelled_share"].items())
        budget = ", ".join(
            f"{k} {v}" for k, v in about["budget"].items() if k in ("steps", "batch", "size", "network", "lr")
        )
        few = "" if seeds >= 3 else f"; {seeds} {'seed is' if seeds == 1 else 'seeds are'} too few for a paper"
        said.append(
            f"{column}: n = {int(cells.patients.max())} {unit}{few}. Budget: {budget}. Labelled, at median depth: {share}."
        )
    for method, reason in dict(zip(summary.method, summary.own_budget, strict=True)).items():
        if reason:
            said.append(f"{method} has a budget of its own: {reason}.")
    if summary.stale.any():
        said.append("Stale: the code of the method or of its labels was changed since (run with --rerun stale).")
    return said


def _labelled(name: str, share: float | None, depth: float | None) -> str:
    """How much of a class is labelled, and how far inside it the marks lie."""
    return f"{name} " + ("unknown" if share is None else f"{share:.2%}") + ("" if depth is None else f" at {depth:g} px")
