r"""LaTeX tables for a paper, written by pandas, none wider or longer than a page.

A table with headings over several columns is split into tabulars of CHARACTERS, one below another, each with the first
column; every table is split after LINES. What is still wider than the line is scaled down to it.
"""

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby

import pandas as pd

CHARACTERS = 150  # on a line of 17 cm, \small is then scaled to 0.7 at least, and its \scriptsize to 5 pt
LINES = 45  # on a page of 25 cm
WRAP, WRAP_ALONE = 45, 26  # characters; longer texts are wrapped, the second in a table that can't be split by columns
SMALL_LINE = 130  # characters of \scriptsize on a line
WRAPPED = r">{\scriptsize\raggedright\arraybackslash}p{%.2f\linewidth}"
FITTED = r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi"
NUMBER = re.compile(r"[+−-]?[\d.,]+%?|n/a|unknown")
NEGATIVE = re.compile(r"(?<![\w.)])-(?=\d)")
INTERVAL = re.compile(r" (\[[+$\d].*)")  # in LaTeX, with the text after it


def typeset(cells: pd.DataFrame, title: str, notes: Iterable[str]) -> str:
    """The tabulars of a table, and its notes below; an index that is named "data" has the names of sections."""
    heads = [head if isinstance(head, tuple) else ("", head) for head in cells.columns]
    table = cells.astype(str).set_axis(pd.MultiIndex.from_tuples(heads), axis=1).set_axis([*map(str, cells.index)])
    if cells.index.name != "data":
        table.insert(0, ("", str(cells.index.name or "")), table.index)
        table.index = pd.Index([""] * len(table))
    groups = [group for group, _ in table]
    wrap = WRAP if any(groups) else WRAP_ALONE
    widths = [_width(table[head], wrap) + 2 for head in table]
    lines = table.map(len).max(axis=1) // wrap + 1 + ~table.index.duplicated()  # the name of a section has a line, too
    parts = _split(groups[1:], widths[1:], CHARACTERS - widths[0] if any(groups) else sum(widths))
    pages = _split([*table.index], [*lines], LINES)
    tabulars = [_tabular(table.iloc[rows, [0, *(number + 1 for number in part)]], wrap) for part in parts for rows in pages]
    body = "\\par\\bigskip\\noindent\n".join(f"\\sbox0{{{tabular}}}{FITTED}\n" for tabular in tabulars)
    below = _below(notes)
    return (
        f"% {escape(title)}: tabulars to \\input, inside a float or not; needs \\usepackage{{array,booktabs,graphicx}}\n"
        f"{{\\small\\setlength{{\\tabcolsep}}{{4pt}}\\noindent\n{body}\\par}}\n"
        + (f"{{\\footnotesize\\raggedright\\smallskip\n{below}\\par}}\n" if below else "")
    )


def paragraphs(title: str, notes: Iterable[str]) -> str:
    """A paragraph on a table, in a file of their own."""
    return f"\\paragraph{{{escape(title)}}}\n{_below(notes)}\n"


def _below(notes: Iterable[str]) -> str:
    return "".join(f"\\par {escape(note)}\n" for note in notes)


def _split(groups: Sequence[str], sizes: Sequence[int], room: int) -> list[list[int]]:
    """Yield slices of neighbours that fit in the room; neighbours of one group stay together if they fit."""
    parts: list[list[int]] = [[]]
    for _, own in groupby(range(len(groups)), key=groups.__getitem__):
        together = list(own)
        for place in together:
            needed = together if place == together[0] else [place]
            if parts[-1] and sum(sizes[each] for each in parts[-1] + needed) > room:
                parts.append([])
            parts[-1].append(place)
    return parts


def _width(column: pd.Series, wrap: int) -> int:
    """Width of a column in characters: of its longest text or line, and of the longest word of its heading."""
    return max(min(wrap, column.str.len().max()), *map(len, column.name[1].split()), 0)


def _tabular(table: pd.DataFrame, wrap: int) -> str:
    """Write one tabular, with a line with its name above each section, and a rule below headings over several columns."""
    groups = [escape(group) for group, _ in table]
    formats = [_format(table[head], wrap) for head in table]
    heads = [_heading(table[head], side, wrap) for head, side in zip(table, formats, strict=True)]
    spans = [[*own] for _, own in groupby(range(len(groups)), key=groups.__getitem__)]
    heads[0] = "".join(f"\\cmidrule(lr){{{own[0] + 1}-{own[-1] + 1}}}\n" for own in spans if groups[own[0]]) + heads[0]
    shown = table.map(_cell).set_axis(pd.MultiIndex.from_arrays([groups, heads]), axis=1).reset_index(drop=True)
    for row, section in enumerate(table.index):
        if section and section not in table.index[:row]:
            name = rf"\multicolumn{{{len(groups)}}}{{l}}{{\textit{{{escape(section)}}}}} \\"
            shown.iloc[row, 0] = "\\addlinespace\n" * (row > 0) + f"{name}\n{shown.iloc[row, 0]}"
    style = shown.style.hide(axis="index")
    if not any(groups):
        style = style.hide(axis="columns", level=0)
    return str(style.to_latex(column_format="".join(formats), hrules=True, multicol_align="c")).rstrip()


def _format(column: pd.Series, wrap: int) -> str:
    """How LaTeX aligns a column: numbers to the right, other texts to the left, long ones wrapped."""
    if column.str.len().max() > wrap:
        return WRAPPED % (wrap / SMALL_LINE)
    return "r" if all(map(NUMBER.fullmatch, column)) else "l"


def _heading(column: pd.Series, side: str, wrap: int) -> str:
    """The heading of a column, on several lines where it is longer than the texts below it."""
    lines = textwrap.wrap(column.name[1], max(_width(column, wrap), 8), break_long_words=False)
    stacked = r" \\ ".join(_guarded(escape(line)) for line in lines)
    return rf"\shortstack[{side if side == 'r' else 'l'}]{{{stacked}}}" if len(lines) > 1 else stacked


def _cell(text: str) -> str:
    """Format a cell with a small interval, and with minus signs instead of hyphens."""
    made = INTERVAL.sub(r" {\\scriptsize \1}", escape(NEGATIVE.sub("−", text)))
    return _guarded(made)


def _guarded(made: str) -> str:
    r"""LaTeX that may follow \\, which would take a bracket or a star for its own."""
    return "{}" * made.startswith(("[", "*")) + made


# ---------------------------------------------------------------------------------------------------------- escaping

SIGNS = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "°": r"$^\circ$", "†": r"$^\dagger$", "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "·": r"$\cdot$", "µ": r"$\mu$",
    "²": "$^2$", "³": "$^3$", "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$", "→": r"$\to$",
}  # fmt: skip
SMALL = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega"
LARGE = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
GREEK = dict(zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", f"{SMALL} {LARGE}".split(), strict=True))
SIGNS |= {sign: rf"$\{name}$" for sign, name in GREEK.items()}
NATIVE = re.compile("[ -~–—‘’“”…]|(?![\u00ad«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲų])[¡-ž]")  # in LaTeX's first encoding, OT1


def escape(text: str) -> str:
    r"""LaTeX that is typeset as the text: `**x**` bold, code in typewriter, a sign that it lacks as \texttt{U+...}."""
    signs = " ".join(unicodedata.normalize("NFC", text).split())
    plain = "".join(SIGNS.get(sign) or (sign if NATIVE.match(sign) else rf"\texttt{{U+{ord(sign):04X}}}") for sign in signs)
    plain = re.sub("-(?=-)", "-{}", plain)  # two hyphens would become a dash
    return re.sub("`([^`]+)`", r"\\texttt{\1}", re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", plain))
