"""The tuned track: which values of a method's options are tried, the same number of trials for every method."""

import hashlib
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import numpy as np

from benchmark.seal.contract import Range

MOST = 3  # ranges of one method


def ranges(cls: type) -> dict[str, Range]:
    """The ranges that a method declares, by option; raises ValueError where they are more than three."""
    hints = get_type_hints(cls, include_extras=True)
    found = {name: each for name, hint in hints.items() for each in get_args(hint) if isinstance(each, Range)}
    if len(found) > MOST:
        raise ValueError(f"{cls.__name__} has ranges for {', '.join(found)}; at most {MOST} may be tuned")
    return found


def trials(cls: type, name: str, options: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The options as they are, then `count` random draws from the method's ranges; without ranges nothing more.

    A draw depends on the method's name and its number alone: all seeds, splits and data sets try the same values.
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
