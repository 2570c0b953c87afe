"""A fair and fast benchmark of weakly-supervised medical-image-segmentation methods."""

from pathlib import Path

__version__ = "0.1.0"

_root = Path(__file__).resolve().parents[1]
if all((_root / part).exists() for part in ("methods", "datasets", "pyproject.toml")):
    # In a checkout, `methods/` and `datasets/` lie beside this folder; a wheel holds them inside it.
    __path__.append(str(_root))


class InputError(ValueError):
    """What the user gave can't be used; the message says what is wrong and what would be right."""
