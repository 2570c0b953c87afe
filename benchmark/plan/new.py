"""Write a plug-in to start from: one of the files in `templates/`, called as its new file is."""

import keyword
import re
from collections.abc import Collection
from pathlib import Path

from benchmark import InputError
from benchmark.plan import plugins

TEMPLATES = Path(__file__).parents[1] / "templates"
KINDS = {"method": "method", "dataset": "data set", "metric": "metric"}  # as the command line has it -> a plug-in's


def write(path: Path, kind: str, taken: Collection[str] = ()) -> None:
    """Write a method, dataset or metric; raises InputError where the file exists, or its name is taken or not allowed."""
    if kind not in KINDS:
        raise InputError(f"--kind is {kind!r}; it must be {', '.join(KINDS)}")
    name = path.stem
    if path.suffix != ".py" or not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"{path} can't be a plug-in; it must be a Python name and .py, such as my_{kind}.py")
    if name in plugins.find(KINDS[kind]) or name in taken:
        raise InputError(f"there is a {KINDS[kind]} {name!r}; choose another name for {path}")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}")
    text = (TEMPLATES / f"my_{kind}.py").read_text()
    words = name.replace("_", " ").strip() or name
    called = _class(name)
    called += kind.title() * bool(re.search(rf"\b{called}\b", text))  # else it would hide a name that the file imports
    for old, new in ((f"My{kind.title()}", called), (f"My {kind}", words.capitalize()), (f"my_{kind}", name)):
        text = text.replace(old, new)
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path} is there already; name a new file") from None
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from error


def _class(name: str) -> str:
    """A class's name: `mean_shift` is `MeanShift`."""
    joined = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return joined if joined.isidentifier() and not keyword.iskeyword(joined) else f"Plugin{joined}"
