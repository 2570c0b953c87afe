"""Read and check input files: TOML, JSON, arrays. Every fault is an InputError of one sentence."""

import dataclasses
import json
import math
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from benchmark import InputError

if TYPE_CHECKING:  # `list` answers without numpy
    import numpy as np

T = TypeVar("T")


def checked(cls: type[T], given: Mapping[str, Any], what: str) -> T:
    """Return the dataclass with these values; raises InputError for unknown names and values of the wrong type."""
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in given:
        if name not in names:
            raise InputError(f"{what} has no {name!r}{nearest(name, names)}; it has {', '.join(names)}")
    try:
        return TypeAdapter(cls).validate_python(dict(given))
    except ValidationError as error:
        raise InputError(f"{what}: {explain(error)}") from error


def nearest(name: object, known: Iterable[str]) -> str:
    """Return ` (the nearest is NAME)` for the known name that is most like an unknown one; empty if none is like it."""
    by_letters = {each.casefold(): each for each in known}
    found = get_close_matches(str(name).casefold(), by_letters, 1, 0.7)
    return f" (the nearest is {by_letters[found[0]]})" if found else ""


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file; raises InputError if it is not valid TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also binary content, or nesting that is too deep
        raise InputError(f"{path} is not a TOML file: {error}") from error


def is_there(path: Path) -> bool:
    """Return whether the path exists; False for one that the file system can't hold."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def explain(error: ValidationError) -> str:
    """Return a validation error in one line."""
    first = error.errors()[0]
    if first["type"] == "value_error":  # raised by this package, as a whole sentence
        return first["msg"].removeprefix("Value error, ")
    where = ".".join(map(str, first["loc"]))
    got = repr(first["input"])
    return f"{where + ': ' if where else ''}{first['msg']} (got {got if len(got) < 100 else got[:100] + '...'})"


def read_json(path: Path, damaged: str) -> dict[str, Any]:
    """Return the object in a JSON file; raises InputError, which ends with `damaged`, if it doesn't hold one."""
    try:
        text = path.read_text()
        held = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(held, ensure_ascii=False).encode()  # half of a surrogate pair can't be written to a report
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); {damaged}") from error
    if not isinstance(held, dict):
        raise InputError(f"{path} is damaged (it is not a JSON object); {damaged}")
    return held


def read_npz(path: Path, *names: str) -> "list[np.ndarray]":
    """Return arrays of numbers from an .npz, by name; raises InputError for anything else, such as pickled objects."""
    import numpy as np

    with named_errors(path):
        with zipfile.ZipFile(path) as archive:
            for name in names:
                with archive.open(f"{name}.npy") as file:
                    version = np.lib.format.read_magic(file)
                    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                    shape, _, dtype = header[version](file)
                    check_size(path, shape, dtype)
        with np.load(path, allow_pickle=False) as held:
            return [held[name] for name in names]


MAX_VALUES = 2**30  # per array; a CT of 512 x 512 x 2000 has half of that
MAX_COMPRESSION = 10_000  # bytes of an array per byte of its file; deflate, which all of these formats use, reaches 1,032


def check_size(path: Path, shape: Sequence[int] | None, dtype: "np.dtype") -> None:
    """Check that an array holds numbers, and that its header doesn't state more of them than its file can hold."""
    if dtype.kind not in "biuf" or not shape:
        raise InputError(f"{path} holds {dtype} in shape {shape}; it must hold intensities or labels, as numbers")
    count = math.prod(map(int, shape))
    if min(shape) < 1 or count > MAX_VALUES or count * dtype.itemsize > MAX_COMPRESSION * path.stat().st_size:
        raise InputError(
            f"{path} states an array of shape {tuple(shape)} in {path.stat().st_size} bytes, which is more than it can hold "
            f"or more than {MAX_VALUES:,} values; write it again"
        )


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Convert any exception of the block into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        link = ", at the end of a link" if path.is_symlink() else ""
        raise InputError(f"{path} can't be read: {error.strerror}{link}") from error
    except Exception as error:  # h5py, nibabel, Pillow, zipfile and NumPy raise many types on damaged files
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} can't be read ({message}); it may be truncated: copy it again") from error
