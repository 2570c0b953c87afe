"""Which files a piece of code reads, by Python's audit events; what a library in C opens by itself is not seen."""

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
CODE = {".py", ".pyc", ".so", ".pyd"}  # what is imported
READING = (os.O_RDONLY, os.O_RDWR)

Opened = list[tuple[str, int]]  # absolute path, flags of open(2)

_listening: list[Opened] = []  # an audit hook can't be taken away again; it idles while nobody listens


@contextmanager
def reading() -> Iterator[list[Path]]:
    """A list that holds, after the block, the files that were opened for reading in it and not made in it."""
    _install()
    opened: Opened = []
    found: list[Path] = []
    _listening.append(opened)
    try:
        yield found
    finally:
        _listening.remove(opened)
    made: set[str] = set()
    for path, flags in opened:
        if flags & os.O_ACCMODE in READING and not flags & os.O_CREAT and path not in made:
            found.append(Path(path))
        elif flags & os.O_CREAT:
            made.add(path)


def unexpected_reads(paths: list[Path], given: list[Path]) -> list[Path]:
    """Those that are neither code, nor of the system or an installed package, nor in a folder that was given."""
    roots = [str(root.resolve()) for root in (*_installed(), *given)]
    return [path for path in paths if not _is_of_a_package(path) and not _inside(path, [*SYSTEM, *roots])]


def _is_of_a_package(path: Path) -> bool:
    """Whether it is code, or what says which packages are installed."""
    return path.suffix in CODE or path.parent.suffix in (".dist-info", ".egg-info")


def _inside(path: Path, roots: list[str]) -> bool:
    return any(path.is_relative_to(root) or path.resolve().is_relative_to(root) for root in roots)


def _installed() -> list[Path]:
    """Where Python, its packages and this project's own files for learners are."""
    own = [Path(benchmark.__file__).parent, plugins.source_of("benchmark.methods").parent]
    packages = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    return [*own, Path(sys.prefix), Path(sys.base_prefix), *map(Path, packages)]


@cache
def _install() -> None:
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _listening:
        return
    path, mode, flags = arguments
    if isinstance(path, str | bytes) and (mode is not None or flags & os.O_CREAT):  # without a mode, mostly folders that go
        for opened in _listening:
            opened.append((os.path.abspath(os.fsdecode(path)), flags))  # noqa: PTH100  # Path() costs more, here on each open
