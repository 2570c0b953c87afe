"""Which runs may be compared: the column of a run, and the stored runs that a new method is compared with.

The package contains stored runs (`results/reference/`). `run --against NAME` trains a new method alone and compares it
with them; data, split, annotation, seeds, budget and protocol must be equal.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmark import InputError
from benchmark.seal.contract import LATER
from benchmark.store import Record, stored


def column(record: Mapping[str, Any]) -> str:
    """Return as text what compared runs have in common: data set, annotation, options, simulator, splits, budget."""
    identity = record["identity"]
    parts = [identity[key] for key in ("dataset", "annotation", "dataset_options", "simulator")]
    return json.dumps([*parts, family(identity["split"]), budget(record)])


def budget(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the common budget, without the entries that don't change the training."""
    return {
        name: value
        for name, value in record["common"].items()
        if name != "snapshots" and (name not in LATER or value != LATER[name])
    }


def own_budget(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a run's budget that differ from the common one."""
    own, common = ({**LATER, **given} for given in (record["identity"]["budget"], record["common"]))
    return {name: value for name, value in own.items() if name != "snapshots" and value != common.get(name, value)}


def family(split: str) -> str:
    """Return the partition that a fold belongs to: `strat5` of `strat5/0`, `strat5@val` of `strat5/0@val`."""
    fold, at, part = split.partition("@")
    return fold.partition("/")[0] + at + part


def check_match(planned: Iterable[Record], name: str) -> None:
    """Check that every planned run has a stored one to be compared with; the InputError lists the differences."""
    done = [record for folder in stored(name).values() for record in folder.records() if record["state"] == "done"]
    keys = {key(record) for record in done}
    for record in planned:
        if key(record) not in keys:
            identity = record["identity"]
            what = f"{identity['dataset']}, {identity['annotation']}, {identity['split']}, seed {identity['seed']}"
            raise InputError(f"{name} has no run to compare with on {what}: {_closest_stored_run(record, done)}")


def key(record: Record) -> tuple[Any, ...]:
    """Return what two runs must have in common to be compared patient by patient."""
    identity = record["identity"]
    return column(record), identity["split"], identity["seed"], identity["data"], identity["protocol"]


def _closest_stored_run(planned: Record, done: Iterable[Record]) -> str:
    """Return the differences from the stored run that has the fewest."""
    found = [differences for record in done if (differences := _differences(planned, record)) is not None]
    if not found:
        return "no stored run has that data set and annotation"
    return ", ".join(f"{name} is {stored} in the stored run and {new} here" for name, stored, new in min(found, key=len))


def _differences(planned: Record, done: Record) -> list[tuple[str, Any, Any]] | None:
    """Return name, stored value and new value of all that differs; None for another data set or annotation."""
    new, old = planned["identity"], done["identity"]
    if any(new[name] != old[name] for name in ("dataset", "annotation")):
        return None
    found = [(name, old[name], new[name]) for name in ("split", "seed", "simulator", "protocol")]
    for before, after in ((old["dataset_options"], new["dataset_options"]), (budget(done), budget(planned))):
        found += [(name, before.get(name), after.get(name)) for name in {**before, **after}]
    if new["data"] != old["data"]:
        found.append(("the data's fingerprint", old["data"][:8], new["data"][:8]))
    return [each for each in found if each[1] != each[2]]
