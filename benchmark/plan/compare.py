"""What may be compared with what: the column of a run, and stored runs that a new method is compared with.

Runs of methods that nobody needs to train again travel with the package (`results/reference/`). `run --against NAME`
trains one's own method alone and puts it beside them: same data, split, marks, seeds, budget and protocol, or not at all.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmark import InputError
from benchmark.store import Record, stored


def column(record: Mapping[str, Any]) -> str:
    """What must be equal in runs that are compared, as text: data set, annotation, options, simulator, splits, budget."""
    identity = record["identity"]
    parts = [identity[key] for key in ("dataset", "annotation", "dataset_options", "simulator")]
    return json.dumps([*parts, family(identity["split"]), budget(record)])


def budget(record: Mapping[str, Any]) -> dict[str, Any]:
    """The common budget, without what doesn't change how anything is trained."""
    return {name: value for name, value in record["common"].items() if name != "snapshots" and (name != "tune" or value)}


def family(split: str) -> str:
    """What folds of one partition have in common: `strat5` of `strat5/0`."""
    return split.partition("/")[0]


def check_match(planned: Iterable[Record], name: str) -> None:
    """Raise InputError where a run that is planned has no stored one beside it, and say what is another there."""
    kept = [record for folder in stored(name).values() for record in folder.records() if record["state"] == "done"]
    keys = {key(record) for record in kept}
    for record in planned:
        if key(record) not in keys:
            identity = record["identity"]
            what = f"{identity['dataset']}, {identity['annotation']}, {identity['split']}, seed {identity['seed']}"
            raise InputError(f"{name} has no run to compare with on {what}: {_closest_stored_run(record, kept)}")


def key(record: Record) -> tuple[Any, ...]:
    """What two runs must share to be compared patient by patient."""
    identity = record["identity"]
    return column(record), identity["split"], identity["seed"], identity["data"], identity["protocol"]


def _closest_stored_run(ours: Record, kept: Iterable[Record]) -> str:
    """What is another in the stored run that differs least."""
    found = [differing for record in kept if (differing := _differing(ours, record)) is not None]
    if not found:
        return "none is on that data set with that annotation"
    return ", ".join(f"{name} is {theirs} there and {own} here" for name, theirs, own in min(found, key=len))


def _differing(ours: Record, theirs: Record) -> list[tuple[str, Any, Any]] | None:
    """Name, their value and ours of whatever differs; None where they have nothing to do with each other."""
    here, there = ours["identity"], theirs["identity"]
    if any(here[name] != there[name] for name in ("dataset", "annotation")):
        return None
    pairs = [(name, there[name], here[name]) for name in ("split", "seed", "simulator", "protocol")]
    options = {**there["dataset_options"], **here["dataset_options"]}
    pairs += [(name, there["dataset_options"].get(name), here["dataset_options"].get(name)) for name in options]
    names = {**budget(theirs), **budget(ours)}
    pairs += [(name, budget(theirs).get(name), budget(ours).get(name)) for name in names]
    if here["data"] != there["data"]:
        pairs.append(("the data's fingerprint", there["data"][:8], here["data"][:8]))
    return [pair for pair in pairs if pair[1] != pair[2]]
