"""Figures of a report, as PDF, PNG and SVG.

A file here with `FIGURES`, functions that make a figure of a report's data or None where there is nothing to show, is found
by itself; `PLACE` says where in the report its figures stand.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib as mpl

from benchmark.report.figures.style import KINDS, SETTINGS, FigureData, FigureSpec, SavedFigure, save


def draw(source: FigureData, folder: Path, kinds: Sequence[str] = KINDS) -> list[SavedFigure]:
    """Save every figure that these runs make, and return them in reading order; one with nothing to show is left out."""
    with mpl.rc_context(SETTINGS):
        return [save(spec, folder, kinds) for spec in _specs(source)]


def makers() -> list[Callable[[FigureData], FigureSpec | None]]:
    """The functions that make figures, in reading order."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    with_figures = sorted((module for module in modules if hasattr(module, "FIGURES")), key=lambda module: module.PLACE)
    return [make for module in with_figures for make in module.FIGURES]


def _specs(source: FigureData) -> Iterator[FigureSpec]:
    """The figures, each made when it is asked for: together they would need much memory."""
    for make in makers():
        if spec := make(source):
            yield spec
