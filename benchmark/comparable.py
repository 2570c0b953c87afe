"""What may be compared with what: the column of a run, and stored runs that a new method is compared with.

Runs of methods that nobody needs to train again travel with the package (`results/reference/`). `run --against NAME`
trains one's own method alone and puts it beside them: same data, split, marks, seeds, budget and protocol, or not at all.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark import InputError

INSIDE = Path(__file__).parent / "reference"  # where a wheel has them
FOLDER = INSIDE if INSIDE.is_dir() else Path(__file__).parents[1] / "results/reference"
ALL = "reference"

Record = dict[str, Any]

# what is read back: name -> type; ? after names that older runs, or runs of another kind, lack
STATES = ("done", "failed")
RULES = ("last", "weakval", "val", "test")
NUMBER = (int, float, type(None))
SHARES = ("labelled_share", "labelled_depth_px", "labelled_pixels")  # by class
LISTS = ("regions", "scans", "val_scans")
OURS = ("folder", "results", "stored")  # what is known of a run from where it lies, whatever it says
IDENTITY: dict[str, Any] = {
    **dict.fromkeys(("method", "dataset", "annotation", "split", "data"), str),
    **dict.fromkeys(("options", "dataset_options", "budget"), dict),
    **dict.fromkeys(("protocol", "simulator", "seed"), int),
}
PLANNED: dict[str, Any] = {"folder": str, "label": str, "identity": dict, "common": dict}
PLAN: dict[str, Any] = {"runs": list, "name?": str, "title?": str, "against?": str}
FIELDS: dict[str, Any] = {
    **dict.fromkeys(("state", "label", "code"), str),
    **dict.fromkeys(("identity", "common"), dict),
    **dict.fromkeys(("reason?", "why_own_budget?", "hash?", "finished?", "version?", "commit?"), str),
    **dict.fromkeys(("worker?", "selected?", *(f"{name}?" for name in SHARES)), dict),
    **dict.fromkeys(("snapshots?", *(f"{name}?" for name in LISTS)), list),
    **dict.fromkeys(("labelled_slices?", "labelled_objects?"), NUMBER),
    **{"external?": bool, "patients_known?": (bool, type(None))},
}
WORKER: dict[str, Any] = {
    **dict.fromkeys(("fit_s?", "spared_s?", "predict_s?", "parameters?", "memory_mib?", "device_memory_mib?"), NUMBER),
    "device?": str,
}
SNAPSHOT: dict[str, Any] = {"step": int, **dict.fromkeys(("weakval", "val_dice", "test_dice"), NUMBER)}


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


# ------------------------------------------------------------------------------------------------------- stored runs


def stored(name: str) -> dict[str, Path]:
    """Results folders by name: `reference` is all that travel with the package, else one of these, or a folder's path."""
    there = within(FOLDER)
    if name == ALL:
        return there
    if name in there:
        return {name: there[name]}
    if (Path(name) / "runs").exists():
        return {str(Path(name).resolve()): Path(name)}
    raise InputError(f"there are no stored runs {name!r}; there are {', '.join([ALL, *there])}, or give a results folder")


def within(folder: Path) -> dict[str, Path]:
    """The results folders in a folder, by name."""
    return {path.name: path for path in sorted(folder.glob("*")) if (path / "runs").is_dir()}


def records(folder: Path) -> Iterator[Record]:
    """What `run.json` says of each run in a results folder, with `folder`, where it lies below `runs`."""
    for path in sorted((folder / "runs").glob("*/*/*/*/run.json")):
        record = {name: value for name, value in read_record(path).items() if name not in OURS}
        yield record | {"folder": str(path.parent.relative_to(folder / "runs"))}


def read_record(path: Path) -> Record:
    """A run's `run.json`; raises InputError where it isn't what a run leaves, or where the run's files are links.

    A link could bring any file of its reader's machine into a report.
    """
    damaged = "remove that folder and run again"
    record = read_json(path, damaged)
    if problem := misfit(record, FIELDS) or misfit(record["identity"], IDENTITY) or _misfit_parts(record):
        raise InputError(f"{path} is damaged ({problem}); {damaged}")
    if links := [each.name for each in path.parent.iterdir() if each.is_symlink()]:
        raise InputError(f"{path.parent}: {links[0]} is a link; a run holds files of its own")
    return record


def read_plan(results: Path) -> dict[str, Any]:
    """The latest plan of a results folder; empty without one."""
    path = results / "plan.json"
    plan = read_json(path, "remove it, and plan again") if path.exists() else {"runs": []}
    problem = misfit(plan, PLAN)
    for run in plan["runs"] if not problem else ():
        problem = problem or misfit(run, PLANNED) or misfit(run["identity"], IDENTITY)
        if not problem and (Path(run["folder"]).is_absolute() or ".." in Path(run["folder"]).parts):
            problem = f"folder is {run['folder']!r:.60}, which leads out of it"
    if problem:
        raise InputError(f"{path} is damaged ({problem}); remove it, and plan again")
    return plan


def read_json(path: Path, damaged: str) -> dict[str, Any]:
    """The object in a JSON file; raises InputError that says `damaged` where it holds none."""
    try:
        held = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); {damaged}") from error
    if not isinstance(held, dict):
        raise InputError(f"{path} is damaged (it holds no object); {damaged}")
    return held


def misfit(record: Any, fields: Mapping[str, Any]) -> str:
    """What a record lacks or holds of another type; empty if it is sound. Names that end with ? may be missing."""
    if not isinstance(record, dict):
        return f"{str(record)[:40]!r} is no object"
    for field, kind in fields.items():
        name = field.removesuffix("?")
        if name not in record and name == field:
            return f"it has no {name}"
        value = record.get(name)
        if name in record and (not isinstance(value, kind) or (isinstance(value, bool) and kind is int)):
            return f"{name} is {value!r:.40}"
    return ""


def _misfit_parts(record: Record) -> str:
    """What is wrong in the parts of a run's record."""
    if record["state"] not in STATES:
        return f"state is {record['state']!r:.40}"
    parts = [("worker", record.get("worker", {}), WORKER)]
    parts += [("snapshots", each, SNAPSHOT) for each in record.get("snapshots", [])]
    parts += [("selected", record["selected"], dict.fromkeys(RULES, int))] if "selected" in record else []
    parts += [(name, own, dict.fromkeys(own, NUMBER)) for name in record if name in SHARES and (own := record[name])]
    for name, part, fields in parts:
        if problem := misfit(part, fields):
            return f"{name}: {problem}"
    odd = [name for name in LISTS for each in record.get(name, []) if not isinstance(each, str)]
    return f"{odd[0]} holds what is no text" if odd else ""


def refuse_without_match(planned: Iterable[Record], name: str) -> None:
    """Raise InputError where a run that is planned has no stored one beside it, and say what is another there."""
    kept = [record for folder in stored(name).values() for record in records(folder) if record["state"] == "done"]
    keys = {key(record) for record in kept}
    for record in planned:
        if key(record) not in keys:
            identity = record["identity"]
            what = f"{identity['dataset']}, {identity['annotation']}, {identity['split']}, seed {identity['seed']}"
            raise InputError(f"{name} has no run to compare with on {what}: {_nearest(record, kept)}")


def key(record: Record) -> tuple[Any, ...]:
    """What two runs must share to be compared patient by patient."""
    identity = record["identity"]
    return column(record), identity["split"], identity["seed"], identity["data"], identity["protocol"]


def _nearest(ours: Record, kept: Iterable[Record]) -> str:
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
