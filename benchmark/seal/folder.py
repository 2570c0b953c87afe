"""What crosses to the learner: images and weak labels of the training scans, images of the test scans, and no more.

A sealed folder holds `index.json` and three flat arrays that are memory-mapped read-only and shared by every job of
one split, annotation and seed: `train-image`, `train-allowed` and `test-image`. Where a snapshot or a trial is to be
selected, there are `val-image` and `val-allowed`: weak labels of held-out patients. Scans are numbered; nothing is named.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.seal.contract import Spacing, TestScan, WeakData, WeakScan


def seal(
    folder: Path, weak: Mapping[str, Iterable[WeakScan]], test: Iterable[TestScan], classes: int, channels: int
) -> None:
    """Write a sealed folder; `weak` holds `train`, perhaps `val`. The scans are consumed one by one, never held together."""
    index: dict[str, Any] = {"classes": classes, "channels": channels}
    for part, scans in weak.items():
        index[part] = []
        with (folder / f"{part}-image").open("wb") as images, (folder / f"{part}-allowed").open("wb") as sets:
            for scan in scans:
                index[part].append({"shape": scan.image.shape, "spacing": scan.spacing})
                index[f"{part}-sets"] = scan.allowed.dtype.str
                _append(images, scan.image)
                _append(sets, scan.allowed)
    with (folder / "test-image").open("wb") as images:
        index["test"] = []
        for held in test:
            index["test"].append({"shape": held.image.shape, "spacing": held.spacing})
            _append(images, held.image)
    (folder / "index.json").write_text(json.dumps(index))
    for path in folder.iterdir():
        path.chmod(0o444)


def classes(folder: Path) -> int:
    """How many classes there are."""
    return int(json.loads((folder / "index.json").read_text())["classes"])


def open_train(folder: Path) -> WeakData:
    """The training side of a sealed folder."""
    return _open_weak(folder, "train")


def open_val(folder: Path) -> WeakData | None:
    """The held-out side, if it was sealed; the worker opens it after `fit` has returned."""
    return _open_weak(folder, "val") if (folder / "val-image").is_file() else None


def open_test(folder: Path) -> list[TestScan]:
    """The test side of a sealed folder; the worker opens it after `fit` has returned."""
    index = json.loads((folder / "index.json").read_text())
    images = _arrays(folder / "test-image", "<f4", [scan["shape"] for scan in index["test"]])
    return [TestScan(image, _spacing(scan)) for image, scan in zip(images, index["test"], strict=True)]


def _open_weak(folder: Path, part: str) -> WeakData:
    index = json.loads((folder / "index.json").read_text())
    shapes = [scan["shape"] for scan in index[part]]
    images = _arrays(folder / f"{part}-image", "<f4", shapes)
    allowed = _arrays(folder / f"{part}-allowed", index[f"{part}-sets"], [(s, h, w) for s, _, h, w in shapes])
    spacings = [_spacing(scan) for scan in index[part]]
    return WeakData(map(WeakScan, images, allowed, spacings), index["classes"], index["channels"])


def _append(file: Any, array: np.ndarray) -> None:
    file.write(np.ascontiguousarray(array).data)


def _arrays(path: Path, dtype: str, shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Views into one read-only memory map."""
    flat = np.memmap(path, dtype=dtype, mode="r")
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def _spacing(scan: dict[str, Any]) -> Spacing:
    return None if scan["spacing"] is None else tuple(scan["spacing"])
