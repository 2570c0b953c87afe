"""The list of files in CONTRIBUTING.md is the list of files."""

import re
from pathlib import Path

import pytest

from benchmark.methods import SUPPORT
from benchmark.plan import plugins

ROOT = Path(__file__).parents[1]


def listed():
    """Paths that the list names, folders with a slash at their end; `NAME.py` stands for plug-ins."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths, folders = [], {0: ""}
    for line in text[text.index("```text\n") + 8 :].partition("```")[0].splitlines():
        indent = len(line) - len(line.lstrip())
        names = re.split(r"\s{2,}", line.strip())[0].split(", ")
        paths += [folders[indent] + name for name in names]
        folders[indent + 2] = folders[indent] + names[-1] if names[-1].endswith("/") else folders[indent]
    return paths


@pytest.mark.parametrize("path", [path for path in listed() if not path.endswith("NAME.py")])
def test_what_is_listed_is_there(path):
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


def of_plug_ins():
    files = {plugin.file() for kind in ("method", "data set") for plugin in plugins.find(kind).values()}
    return {str(path.relative_to(ROOT)) for path in files if path and path.is_relative_to(ROOT)}


def test_what_is_there_is_listed():
    """Modules of the three packages, other than plug-ins, which `NAME.py` stands for."""
    there = {
        str(path.relative_to(ROOT))
        for folder in ("benchmark", "methods", "datasets")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py" and path.parent.name not in ("templates", "losses")
    }
    missing = there - of_plug_ins() - set(listed())
    assert missing == set()
    assert {f"methods/{name}.py" for name in SUPPORT} <= set(listed())
