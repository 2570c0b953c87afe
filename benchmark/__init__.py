"""A fair and fast benchmark of weakly-supervised medical-image-segmentation methods."""

import importlib
from pathlib import Path
from typing import Any

__version__ = "0.2.0"

_root = Path(__file__).resolve().parents[1]
if all((_root / part).exists() for part in ("methods", "datasets", "pyproject.toml")):
    # in a checkout, `methods/` and `datasets/` are this folder's siblings; in a wheel they are inside it
    __path__.append(str(_root))


def __getattr__(name: str) -> Any:
    """`run` and `load`, imported when they are first asked for: the command line answers `--help` without them."""
    if name in ("load", "run"):
        return getattr(importlib.import_module("benchmark.api"), name)
    raise AttributeError(f"module 'benchmark' has no attribute {name!r}")


class InputError(ValueError):
    """An input of the user's is wrong; the message says what, and what would be right."""
