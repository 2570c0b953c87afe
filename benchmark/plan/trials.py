"""The tuned track: the values that are tried for a method's options; every method has the same number of trials."""

import hashlib
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import numpy as np

from benchmark.seal.contract import Range

MAX_RANGES = 3  # per method


def ranges(cls: type) -> dict[str, Range]:
    """Return the ranges that a method declares, by option; raises ValueError for more than three."""
    hints = get_type_hints(cls, include_extras=True)
    found = {name: each for name, hint in hints.items() for each in get_args(hint) if isinstance(each, Range)}
    if len(found) > MAX_RANGES:
        raise ValueError(f"{cls.__name__} has ranges for {', '.join(found)}; at most {MAX_RANGES} may be tuned")
    return found


def trials(cls: type, name: str, options: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the given options, then `count` random draws from the method's ranges; none if it has no ranges.

    A draw depends only on the method's name and the draw's number: all seeds, splits and data sets try the same values.
    """
    given = dict(options)
    found = ranges(cls) if count else {}
    hints = get_type_hints(cls)
    drawn = [given]
    for number in range(count if found else 0):
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{name} {number}".encode()).digest()[:8]))
        values = {option: each.draw(rng) for option, each in found.items()}
        drawn.append(given | {k: max(1, round(v)) if hints[k] is int else float(f"{v:.3g}") for k, v in values.items()})
    return drawn
