"""Which code of a method gives the same numbers: `methods/REVISIONS.toml`.

A run's record names the fingerprint of its method's code and, of a method of this suite, its revision. A change of numbers
raises the revision; a change of code that keeps them adds a fingerprint to the file, with how that was shown.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from benchmark.inputs import read_toml
from benchmark.plan.plugins import Plugin, source_of

DIGITS = 12  # of a fingerprint, in the file
FILE = source_of("benchmark.methods").parent / "REVISIONS.toml"


@cache
def _file() -> dict[str, Any]:
    return read_toml(FILE)


def revisions() -> dict[str, int]:
    """The revision of each method of this suite."""
    return dict(_file()["revision"])


@cache
def _known() -> dict[tuple[str, str], int]:
    """The revision of each known (method, fingerprint)."""
    entries = _file()["code"]
    return {
        (name, code): entry.get("revision", 1) for entry in entries for name, codes in entry["of"].items() for code in codes
    }


def revision(plugin: Plugin) -> int | None:
    """The revision of a method of this suite; None for a plug-in, whose fingerprint alone counts."""
    return revisions().get(plugin.name) if plugin.module.startswith("benchmark.methods.") else None


def later(plugin: Plugin) -> Mapping[str, Any]:
    """The options that are newer than stored runs, with the value at which they are not part of a run's identity."""
    return _file()["later"].get(plugin.name, {}) if plugin.module.startswith("benchmark.methods.") else {}


def is_stale(record: Mapping[str, Any], code: str) -> bool:
    """Whether a run that is done was made by code that may give other numbers than the code with that fingerprint."""
    name, known = record["identity"]["method"], _known()
    then, now = (known.get((name, each[:DIGITS])) for each in (record["code"], code))
    return bool(record["state"] == "done" and record["code"] != code and (then is None or then != now))
