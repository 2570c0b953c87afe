"""Record the files that a block of code reads, by Python's audit events; files opened by C libraries are not recorded."""

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import benchmark
from benchmark.plan import plugins

SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/lib64", "/bin", "/opt", "/System", "/Library")
CODE = {".py", ".pyc", ".so", ".pyd"}  # files of imports
READING = (os.O_RDONLY, os.O_RDWR)

Opened = list[tuple[str, int]]  # absolute path, flags of open(2)

_recordings: list[Opened] = []  # an audit hook can't be removed; it does nothing while this is empty


@contextmanager
def reading() -> Iterator[list[Path]]:
    """Yield a list, filled after the block, of the files that were opened for reading in it and not created in it."""
    _install()
    opened: Opened = []
    found: list[Path] = []
    _recordings.append(opened)
    try:
        yield found
    finally:
        _recordings.remove(opened)
    created: set[str] = set()
    for path, flags in opened:
        if flags & os.O_ACCMODE in READING and not flags & os.O_CREAT and path not in created:
            found.append(Path(path))
        elif flags & os.O_CREAT:
            created.add(path)


def unexpected_reads(paths: list[Path], given: list[Path]) -> list[Path]:
    """Return the paths outside of the given folders, the system, Python and its packages; code doesn't count."""
    roots = [*SYSTEM, *(str(root.resolve()) for root in (*_installed(), *given))]
    return [
        path
        for path in paths
        if path.suffix not in CODE
        and path.parent.suffix not in (".dist-info", ".egg-info")  # lists of installed packages
        and not any(path.is_relative_to(root) or path.resolve().is_relative_to(root) for root in roots)
    ]


def _installed() -> list[Path]:
    """Return the folders of Python, its packages, this package and the methods."""
    project = [Path(benchmark.__file__).parent, plugins.source_of("benchmark.methods").parent]
    packages = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    return [*project, Path(sys.prefix), Path(sys.base_prefix), *map(Path, packages)]


@cache
def _install() -> None:
    sys.addaudithook(_record)


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _recordings:
        return
    path, mode, flags = arguments
    if isinstance(path, str | bytes) and (mode is not None or flags & os.O_CREAT):  # others mostly remove folders
        for opened in _recordings:
            opened.append((os.path.abspath(os.fsdecode(path)), flags))  # noqa: PTH100  # Path() is slower, and opens are many
