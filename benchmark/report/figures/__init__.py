"""Figures of a report, as PDF, PNG and SVG.

A file here with `FIGURES`, functions that make a figure of a report's data or None where there is nothing to show, is found
by itself; `PLACE` says where in the report its figures stand. Files of one's own have `FIGURES` too, and stand last.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import matplotlib as mpl

from benchmark import InputError
from benchmark.plan import plugins
from benchmark.report.figures.style import KINDS, SETTINGS, FigureData, FigureSpec, SavedFigure, save

Maker = Callable[[FigureData], FigureSpec | None]
RIGHT = "a function that takes FigureData and gives a FigureSpec, or None where there is nothing to show"


def draw(source: FigureData, folder: Path, kinds: Sequence[str] = KINDS, own: Iterable[Maker] = ()) -> list[SavedFigure]:
    """Save every figure that these runs make, and return them in reading order; one with nothing to show is left out.

    own: makers of figures in addition to the suite's, which `makers_of` finds.
    """
    with mpl.rc_context(SETTINGS):
        return [save(spec, folder, kinds) for spec in _specs(source, [*makers(), *own])]


def makers() -> list[Maker]:
    """The functions that make the suite's figures, in reading order."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    with_figures = sorted((module for module in modules if hasattr(module, "FIGURES")), key=lambda module: module.PLACE)
    return [make for module in with_figures for make in module.FIGURES]


def makers_of(files: Iterable[str]) -> list[Maker]:
    """Those in .py files, or in modules of installed packages by name; raises InputError where there are none."""
    found: list[Maker] = []
    for plugin in (plugins.get("figure", text) for text in files):
        listed = getattr(plugin.imported(), "FIGURES", ())
        if not isinstance(listed, list | tuple) or not listed or not all(map(callable, listed)):
            raise InputError(f"{plugin.module} must list its figures, as FIGURES = (one, other); each is {RIGHT}")
        found += listed
    return found


def _specs(source: FigureData, found: Iterable[Maker]) -> Iterator[FigureSpec]:
    """The figures, each made when it is asked for: together they would need much memory."""
    names = {"montage"}
    for make in found:
        try:
            spec = make(source)
        except InputError:
            raise
        except Exception as error:  # a fault of a user's figure
            raise InputError(f"the figure {make.__name__} of {make.__module__} raised {error!r}") from error
        if spec is None:
            continue
        if not isinstance(spec, FigureSpec):
            raise InputError(f"the figure {make.__name__} gives {type(spec).__name__}; it must be {RIGHT}")
        if not plugins.NAME.fullmatch(spec.name) or spec.name in names:
            raise InputError(
                f"the figure name {spec.name!r} of {make.__name__} is taken, or can't name a file; give another"
            )
        names.add(spec.name)
        yield spec
