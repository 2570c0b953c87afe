"""Formulas without a script, links to files of the repository, and docstrings as they are written."""

import os
import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxTranslator
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)
MISSING = {"lt": "<", "gt": ">", "dots": r"\ldots", "texttt": r"\mathtt"}  # commands of LaTeX that docutils does not know


def link_files(app: Sphinx, doctree: nodes.document) -> None:
    """Links to what lies outside `docs/` give the file itself, of a folder its README; they hold on GitHub as they are."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node.get("reftype") != "myst":
            continue
        target = node["reftarget"].partition("#")[0]
        path = Path(f"{target}.md" if node.get("refdomain") == "doc" else app.env.relfn2path(target, node["refdoc"])[1])
        file = path / "README.md" if path.is_dir() else path
        if target and file.is_file() and not file.resolve().is_relative_to(app.srcdir):
            given = {"reftarget": os.path.relpath(file, Path(app.srcdir, node["refdoc"]).parent), "refdoc": node["refdoc"]}
            node.replace_self(addnodes.download_reference("", "", *node.children, **given, refdomain=None, reftype="myst"))


def visit_math(translator: SphinxTranslator, node: nodes.math | nodes.math_block) -> None:
    """A formula as MathML, which browsers show without a script or a network."""
    tex = node.astext()
    for name, sign in MISSING.items():
        tex = re.sub(rf"\\{name}(?![a-zA-Z])", lambda _, sign=sign: sign, tex)
    try:
        if isinstance(node, nodes.math_block):
            translator.body.append(f'<div style="overflow-x: auto">{tex2mathml(tex, as_block=True)}</div>')
        else:
            translator.body.append(tex2mathml(tex))
    except MathError as error:
        logger.warning("%s in %s", error, tex, location=node)
    raise nodes.SkipNode


def as_written(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with code between backticks: what means something else to docutils is escaped."""
    for number, line in enumerate(lines):
        text = re.split("`+", line)
        text[::2] = [re.sub(r"([\\*|_])", r"\\\1", part) for part in text[::2]]
        lines[number] = "``".join(text)


def setup(app: Sphinx) -> ExtensionMetadata:
    """What Sphinx calls."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.connect("doctree-read", link_files)
    app.connect("autodoc-process-docstring", as_written)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
