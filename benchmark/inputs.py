"""Reading what users give: TOML, JSON, arrays; what does not fit becomes one sentence."""

import dataclasses
import json
import math
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from benchmark import InputError

if TYPE_CHECKING:  # `list` answers without numpy
    import numpy as np

T = TypeVar("T")


def checked(cls: type[T], given: Mapping[str, Any], what: str) -> T:
    """The dataclass made of a mapping; raises InputError that names what doesn't fit."""
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in given:
        if name not in names:
            raise InputError(f"{what} has no {name!r}; it has {', '.join(names)}")
    try:
        return TypeAdapter(cls).validate_python(dict(given))
    except ValidationError as error:
        raise InputError(f"{what}: {explain(error)}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds; raises InputError where it is none."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also no text, a number of thousands of digits, or nested too deep
        raise InputError(f"{path} is no TOML file: {error}") from error


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; a path that no file system takes is none."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def explain(error: ValidationError) -> str:
    """A validation error in one line."""
    first = error.errors()[0]
    if first["type"] == "value_error":  # one of our own, which says it all
        return first["msg"].removeprefix("Value error, ")
    where = ".".join(map(str, first["loc"]))
    got = repr(first["input"])
    return f"{where + ': ' if where else ''}{first['msg']} (got {got if len(got) < 100 else got[:100] + '...'})"


def read_json(path: Path, damaged: str) -> dict[str, Any]:
    """The object in a JSON file; raises InputError that says `damaged` where it holds none."""
    try:
        text = path.read_text()
        held = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(held, ensure_ascii=False).encode()  # half a character can't be written into a report
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); {damaged}") from error
    if not isinstance(held, dict):
        raise InputError(f"{path} is damaged (it holds no object); {damaged}")
    return held


def read_npz(path: Path, *names: str) -> "list[np.ndarray]":
    """Arrays of numbers in an .npz, by name; raises InputError for all else, pickled objects among it."""
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


MOST_VALUES = 2**30  # of an array; a CT of 512 x 512 x 2000 has half as many
DENSEST = 10_000  # bytes of an array per byte of its file; deflate, which all of these formats use, reaches 1,032


def check_size(path: Path, shape: Sequence[int] | None, dtype: "np.dtype") -> None:
    """Raise InputError for what is no array of numbers, or says that it is larger than its file can hold."""
    if dtype.kind not in "biuf" or not shape:
        raise InputError(f"{path} holds {dtype} in shape {shape}; intensities are numbers; labels are whole numbers")
    count = math.prod(map(int, shape))
    if min(shape) < 1 or count > MOST_VALUES or count * dtype.itemsize > DENSEST * path.stat().st_size:
        raise InputError(
            f"{path} says that it holds an array of shape {tuple(shape)} in {path.stat().st_size} bytes; that can't be, or "
            f"it is more than the {MOST_VALUES:,} values that are read"
        )


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turns whatever a library raises on a damaged file into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of damaged files h5py, nibabel, Pillow, zipfile and NumPy raise almost anything
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} can't be read ({said}); it may be truncated: copy it again") from error
