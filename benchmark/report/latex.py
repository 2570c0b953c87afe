r"""Tables for a paper: bare tabulars to \input, with booktabs, none wider or longer than a page.

A table that is too wide in the smaller size is set as several tabulars, one below another, each with the first column; the
columns of one heading stay together where they fit. Columns of long text are wrapped before that.
"""

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import ceil

import pandas as pd

ROOM = {"footnotesize": 112, "scriptsize": 120}  # digits across the text of a two-column journal page, 17 cm
LINES = 60  # of a tabular: more don't fit below each other on that page
GAP = 2  # digits between columns
SMALL = 0.85  # of an interval, which is set in \tiny
WIDTHS = {
    **dict.fromkeys("fijltI.,:;'[]!|", 0.6), **dict.fromkeys("cersz()-_ ", 0.8), **dict.fromkeys("mwMW%@+=<>±−", 1.6),
}  # fmt: skip  # of Computer Modern, in digits
LONG = 16  # digits; a text column that is longer may be wrapped

NUMBER = re.compile(r"[+\-−]?[\d.,]+%?|n/a|unknown")
BEGINS_WITH_NUMBER = re.compile(r"(\*\*)?[+\-−]?[\d.,]+%?(?!\w)")
HYPHEN = re.compile(r"(?<![\w.)])-(?=\d)")  # of a negative number
INTERVAL = re.compile(r"(.*?) (\[[+\-−\d., ]+\].*)")  # and what is said behind it


@dataclass(frozen=True)
class Column:
    """A column of a table, as text."""

    group: str  # a heading above that of the column, shared with its neighbours
    heading: str
    texts: tuple[str, ...]
    wrapped: int = 0  # digits to a line, if its texts are wrapped

    @property
    def width(self) -> int:
        """In digits."""
        longest = max((_length(word) for word in self.heading.split()), default=0)
        return max(self.wrapped or max(map(_width, self.texts), default=0), longest)

    @property
    def headings(self) -> list[str]:
        """Lines of the heading, no longer than the texts need."""
        return textwrap.wrap(self.heading, max(self.width, 8), break_long_words=False) or [""]

    def format(self, room: int) -> str:
        """How LaTeX aligns it: numbers to the right, other texts to the left."""
        if self.wrapped:
            return rf">{{\raggedright\arraybackslash}}p{{{self.wrapped / room:.2f}\linewidth}}"
        return "r" if all(NUMBER.fullmatch(text) for text in self.texts) else "l"

    def lines(self, row: int) -> int:
        """Of a cell."""
        return ceil(_length(self.texts[row]) / self.wrapped) if self.wrapped else 1


def typeset(cells: pd.DataFrame, title: str, notes: Iterable[str]) -> str:
    """The tabulars of a table, and its notes below; what is special to LaTeX is escaped, intervals are small."""
    columns, sections = _columns(cells)
    size = next((size for size, room in ROOM.items() if _total(columns) <= room), "scriptsize")
    columns = _narrowed(columns, ROOM[size])
    tabulars = [
        _tabular(part, sections, rows, ROOM[size])
        for part in _side_by_side(columns, ROOM[size])
        for rows in _pages(part, sections)
    ]
    needs = r"\usepackage{booktabs}" + r" and \usepackage{array}" * any(column.wrapped for column in columns)
    body = "\\par\\bigskip\\noindent\n".join(tabulars)
    below = "".join(f"\\par {escape(note)}\n" for note in notes)
    return (
        f"% {escape(title)}: bare tabulars to \\input, inside a float or not; needs {needs}\n"
        f"{{\\{size}\\setlength{{\\tabcolsep}}{{4pt}}\\noindent\n{body}\\par}}\n"
        f"{{\\footnotesize\\raggedright\\smallskip\n{below}\\par}}\n"
    )


def _columns(cells: pd.DataFrame) -> tuple[list[Column], list[str]]:
    """The columns, and each line's section: what it is about, where this is the index."""
    texts = [tuple(map(str, cells.iloc[:, number])) for number in range(cells.shape[1])]
    heads = [head if isinstance(head, tuple) else ("", head) for head in cells.columns]
    columns = [Column(str(group), str(head), own) for (group, head), own in zip(heads, texts, strict=True)]
    names = [str(name) for name in cells.index]
    if cells.index.name == "data":
        return columns, names
    return [Column("", str(cells.index.name or ""), tuple(names)), *columns], [""] * len(names)


def _total(columns: Sequence[Column]) -> int:
    """Digits that the columns need side by side."""
    widths = []
    for group, own in _groups(columns):
        widths.append(max(_length(group), sum(column.width for column in own) + GAP * (len(own) - 1)))
    return sum(widths) + GAP * (len(widths) - 1)


def _groups(columns: Sequence[Column]) -> list[tuple[str, list[Column]]]:
    """Neighbours that share a heading, under it."""
    return [(group, list(own)) for group, own in groupby(columns, key=lambda column: column.group)]


def _narrowed(columns: Sequence[Column], room: int) -> list[Column]:
    """The columns, those of long text wrapped as far as it takes for all to fit, and no further than LONG.

    Where that is in vain, since the table must be split, only a column that would fill a quarter of the page is wrapped.
    """
    long = [each for each in columns if each.width > LONG and not any(map(BEGINS_WITH_NUMBER.match, each.texts))]
    excess, whole = _total(columns) - room, sum(column.width for column in long)
    if excess <= 0:
        return [*columns]
    if excess > whole - LONG * len(long):
        return [replace(c, wrapped=room // 4) if c in long and c.width > room // 4 else c for c in columns]
    narrow, spare = {}, whole - excess
    for column in sorted(long, key=lambda column: column.width):  # the least first: what LONG adds to it, others lack
        narrow[column] = max(LONG, column.width * spare // whole)
        spare, whole = spare - narrow[column], whole - column.width
    return [replace(column, wrapped=narrow.get(column, 0)) for column in columns]


def _side_by_side(columns: Sequence[Column], room: int) -> Iterator[list[Column]]:
    """The columns of each tabular: as many groups as fit beside the first column, a group that is too wide in pieces."""
    first, *others = columns
    pieces: list[list[Column]] = []
    for _, own in _groups(others):
        pieces += [own] if _total([first, *own]) <= room else [[column] for column in own]
    current = [first]
    for piece in pieces:
        if len(current) > 1 and _total([*current, *piece]) > room:
            yield current
            current = [first]
        current += piece
    yield current


def _pages(columns: Sequence[Column], sections: Sequence[str]) -> Iterator[list[int]]:
    """The rows of each tabular: no more than LINES, those of a section together where they fit."""
    height = [max(column.lines(row) for column in columns) for row in range(len(sections))]
    page: list[int] = []
    for _, own in groupby(range(len(sections)), key=sections.__getitem__):
        together = list(own)
        for row in together:
            needed = together if row == together[0] else [row]
            if page and sum(height[each] for each in (*page, *needed)) > LINES:
                yield page
                page = []
            page.append(row)
    yield page


def _tabular(columns: Sequence[Column], sections: Sequence[str], rows: Iterable[int], room: int) -> str:
    """One tabular; a line with its name stands above each section."""
    body: list[str] = []
    for section, own in groupby(rows, key=sections.__getitem__):
        if section:
            body += [r"\addlinespace"] * bool(body)
            body.append(_line([rf"\multicolumn{{{len(columns)}}}{{l}}{{\textit{{{escape(section)}}}}}"]))
        body += [_line(_cell(column.texts[row]) for column in columns) for row in own]
    formats = "".join(column.format(room) for column in columns)
    lines = [r"\toprule", *_heads(columns), r"\midrule", *body, r"\bottomrule"]
    return "\n".join([rf"\begin{{tabular}}{{{formats}}}", *lines, r"\end{tabular}", ""])


def _heads(columns: Sequence[Column]) -> Iterator[str]:
    """The lines above the numbers: headings of groups, and those of columns, which end on the same line."""
    spans, rules, start = [], [], 1
    for group, own in _groups(columns):
        spans.append(rf"\multicolumn{{{len(own)}}}{{c}}{{{escape(group)}}}" if group else " & " * (len(own) - 1))
        rules += [rf"\cmidrule(lr){{{start}-{start + len(own) - 1}}}"] if group else []
        start += len(own)
    if rules:
        yield _line(spans)
        yield "".join(rules)
    height = max(len(column.headings) for column in columns)
    padded = [[""] * (height - len(column.headings)) + column.headings for column in columns]
    yield from (_line(map(escape, line)) for line in zip(*padded, strict=True))


def _line(cells: Iterable[str]) -> str:
    """A line of a tabular; the end of the one before would take a bracket or star at its beginning for its own."""
    text = " & ".join(cells)
    return ("{}" if text[:1] in ("[", "*") else "") + text + r" \\"


def _cell(text: str) -> str:
    """A cell with its interval small, and with minus signs that are no hyphens."""
    parts = INTERVAL.fullmatch(text := HYPHEN.sub("−", text))
    return rf"{escape(parts[1])} {{\tiny {escape(parts[2])}}}" if parts else escape(text)


def _width(text: str) -> int:
    """Of a cell, in digits of its size."""
    parts = INTERVAL.fullmatch(plain := text.replace("**", ""))
    return ceil(_length(parts[1]) + 1 + SMALL * _length(parts[2])) if parts else _length(plain)


def _length(text: str) -> int:
    """Of a text on one line, in digits."""
    return ceil(sum(WIDTHS.get(sign, 1.0 if sign.isdigit() else 1.4 if sign.isupper() else 1.1) for sign in text))


# ---------------------------------------------------------------------------------------------------------- escaping

SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\`{}", '"': "''",
    "°": r"$^\circ$", "†": r"$^\dagger$", "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "·": r"$\cdot$", "≤": r"$\le$",
    "≥": r"$\ge$", "≈": r"$\approx$", "→": r"$\to$", "–": r"\textendash{}", "—": r"\textemdash{}", "‘": r"\textquoteleft{}",
    "’": "'", "“": r"\textquotedblleft{}", "”": "''", "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}",
    "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "⁄": "/",
}  # fmt: skip
GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi"),
    *("pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi"),
    *("Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"),
)
SPECIAL |= {sign: f"$\\{name}$" for sign, name in zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", GREEK, strict=True)}
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
           "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c"}  # fmt: skip
MARKUP = re.compile(r"(\*\*.+?\*\*|`[^`]+`)")


def escape(text: str) -> str:
    r"""ASCII that LaTeX typesets as the text: `**x**` bold, code in typewriter, a sign it can't set as \texttt{U+...}."""
    pieces = MARKUP.split(" ".join(unicodedata.normalize("NFC", text).split()))
    styles = {"**": r"\textbf", "`": r"\texttt"}
    found = []
    for number, piece in enumerate(pieces):
        mark = ("**" if piece.startswith("**") else "`") if number % 2 else ""  # what the pattern matched is at odd places
        plain = "".join(map(_sign, piece.removeprefix(mark).removesuffix(mark)))
        plain = re.sub("-(?=-)", "-{}", plain)  # two hyphens are no dash
        found.append(f"{styles[mark]}{{{plain}}}" if mark else plain)
    return "".join(found)


def _sign(sign: str) -> str:
    """One character: as it is, by its table, or as what Unicode says it is made of."""
    if sign in SPECIAL:
        return SPECIAL[sign]
    if " " <= sign <= "~":
        return sign
    kind, _, codes = unicodedata.decomposition(sign).rpartition("> ")
    parts = "".join(chr(int(code, 16)) for code in codes.split())
    if kind in ("<super", "<sub") and parts.isascii() and parts.isalnum():
        return f"${'^' if kind == '<super' else '_'}{{{parts}}}$"
    if not kind and len(parts) == 2:  # a letter and its accent
        known = parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS
        return f"\\{ACCENTS[parts[1]]}{{{parts[0]}}}" if known else _code(sign)
    return "".join(map(_sign, parts)) or _code(sign)


def _code(sign: str) -> str:
    return f"\\texttt{{U+{ord(sign):04X}}}"
