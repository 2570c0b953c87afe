"""A fair and fast benchmark of weakly-supervised medical-image-segmentation methods."""

from pathlib import Path

__version__ = "0.1.0"

_root = Path(__file__).resolve().parents[1]
if all((_root / part).exists() for part in ("methods", "datasets", "pyproject.toml")):
    # in a checkout, `methods/` and `datasets/` are this folder's siblings; in a wheel they are inside it
    __path__.append(str(_root))


class InputError(ValueError):
    """An input of the user's is wrong; the message says what, and what would be right."""
