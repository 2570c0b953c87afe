"""The main table as Markdown, LaTeX and CSV, from one frame of cells."""

import pandas as pd

NAMES = {"dice": "Dice", "hd95": "HD95", "assd": "ASSD"}
HEADLINE = ("dice", "hd95")


def main_table(summary: pd.DataFrame, metrics: tuple[str, ...] = HEADLINE) -> pd.DataFrame:
    """Cells as text: methods down, data sets and metrics across."""
    shown = summary[summary.metric.isin(metrics)]
    cells = {
        (line.column, f"{NAMES[line.metric]}{_unit(shown, line)}", line.method): _cell(line)
        for line in shown.itertuples(index=False)
    }
    series = pd.Series(cells, dtype=object)
    table = series.unstack().T if len(series) else pd.DataFrame()
    order = pd.MultiIndex.from_tuples(dict.fromkeys(key[:2] for key in cells), names=["", ""])
    return table.reindex(index=pd.Index(dict.fromkeys(shown.method), name="method"), columns=order).fillna("n/a")


def markdown(table: pd.DataFrame) -> str:
    """The table for a README."""
    flat = table.set_axis([f"{column} {metric}" for column, metric in table.columns], axis=1)
    return str(flat.to_markdown()) + "\n"


def latex(table: pd.DataFrame, notes: list[str]) -> str:
    """The table for a paper: booktabs, and its notes below; what is special to LaTeX is escaped."""
    styled = table.style.format(lambda cell: _tex(str(cell)))
    styled = styled.format_index(lambda name: _tex(str(name)), axis=0).format_index(lambda name: _tex(str(name)), axis=1)
    body = styled.to_latex(hrules=True, multicol_align="c", column_format="l" * (1 + table.shape[1]))
    below = "".join(f"\\par {_tex(note)}\n" for note in notes)
    return f"% needs \\usepackage{{booktabs}}\n{body}{{\\footnotesize\n{below}}}\n"


def _unit(shown: pd.DataFrame, line: object) -> str:
    """The unit that a column's distances have, from whichever row has one."""
    same = shown[(shown.column == line.column) & (shown.metric == line.metric)]  # type: ignore[attr-defined]
    units = sorted({unit for unit in same.unit.dropna() if unit})
    return f" ({', '.join(units)})" if units else ""


def _cell(line: object) -> str:
    """One cell: mean and interval, or why there is none."""
    mean, low, high, metric = line.mean, line.low, line.high, line.metric  # type: ignore[attr-defined]
    runs, planned, failed, missed = line.runs, line.planned, line.failed, line.missed  # type: ignore[attr-defined]
    if failed:
        return f"{failed} of {planned} failed"
    if not runs:
        return "not run"
    if pd.isna(mean):
        return "not defined"
    digits = 3 if metric == "dice" else 1
    text = f"{mean:.{digits}f}"
    if not pd.isna(low):
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    notes = [f"{missed:.0f} missed"] if metric != "dice" and missed else []
    notes += [f"{runs} of {planned} runs"] if runs < planned else []
    notes += ["stale"] if line.stale else []  # type: ignore[attr-defined]
    notes += ["own budget"] if line.own_budget else []  # type: ignore[attr-defined]
    return text + (f" ({', '.join(notes)})" if notes else "")


SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _tex(text: str) -> str:
    return "".join(SPECIAL.get(sign, sign) for sign in text)
