"""Write a new plug-in: a file of `templates/`, with the new name in it."""

import keyword
import re
from collections.abc import Collection
from pathlib import Path

from benchmark import InputError
from benchmark.plan import plugins

TEMPLATES = Path(__file__).parents[1] / "templates"
KINDS = {"method": "method", "dataset": "data set", "metric": "metric"}  # name in the command line -> kind of plug-in


def write(path: Path, kind: str, taken: Collection[str] = ()) -> None:
    """Write a method, data set or metric; raises InputError if the file exists, or its name is taken or not allowed."""
    if kind not in KINDS:
        raise InputError(f"--kind is {kind!r}; it must be {', '.join(KINDS)}")
    name = path.stem
    if path.suffix != ".py" or not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"{path} can't name a plug-in; it must be a Python name and .py, such as my_{kind}.py")
    if name in plugins.find(KINDS[kind]) or name in taken:
        raise InputError(f"there is a {KINDS[kind]} {name!r}; choose another name for {path}")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}")
    text = (TEMPLATES / f"my_{kind}.py").read_text()
    words = name.replace("_", " ").strip() or name
    cls = _class(name)
    cls += kind.title() * bool(re.search(rf"\b{cls}\b", text))  # else it would hide a name that the file imports
    for old, new in ((f"My{kind.title()}", cls), (f"My {kind}", words.capitalize()), (f"my_{kind}", name)):
        text = text.replace(old, new)
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path} exists; name a new file") from None
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from error


def _class(name: str) -> str:
    """Return the class name for a file name: `MeanShift` for `mean_shift`."""
    joined = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return joined if joined.isidentifier() and not keyword.iskeyword(joined) else f"Plugin{joined}"
