"""Sealed folder, the only input of a learner: images and weak labels of training scans, images of test scans.

It holds `index.json` and three flat arrays: `train-image`, `train-allowed` and `test-image`. They are memory-mapped
read-only and shared by every job of one split, annotation and seed. For the selection of a snapshot or a trial, it also
holds `val-image` and `val-allowed`: weak labels of held-out patients. Scans and sites have numbers and no names.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.seal.contract import Spacing, TestScan, WeakData, WeakScan


def seal(
    folder: Path, weak: Mapping[str, Iterable[WeakScan]], test: Iterable[TestScan], classes: int, channels: int
) -> None:
    """Write a sealed folder; `weak` has `train` and possibly `val`. Only one scan is in memory at a time."""
    for _ in seal_by_scan(folder, weak, test, classes, channels):
        pass


def seal_by_scan(
    folder: Path, weak: Mapping[str, Iterable[WeakScan]], test: Iterable[TestScan], classes: int, channels: int
) -> Iterator[None]:
    """Write a sealed folder; yields after each scan. The folder is whole when this ends."""
    index: dict[str, Any] = {"classes": classes, "channels": channels}
    for part, scans in weak.items():
        index[part] = []
        with (folder / f"{part}-image").open("wb") as images, (folder / f"{part}-allowed").open("wb") as sets:
            for scan in scans:
                index[part].append(_facts(scan))
                index[f"{part}-sets"] = scan.allowed.dtype.str
                _append(images, scan.image)
                _append(sets, scan.allowed)
                yield
    with (folder / "test-image").open("wb") as images:
        index["test"] = []
        for test_scan in test:
            index["test"].append(_facts(test_scan))
            _append(images, test_scan.image)
            yield
    (folder / "index.json").write_text(json.dumps(index))
    for path in folder.iterdir():
        path.chmod(0o444)


def classes(folder: Path) -> int:
    """Return the number of classes."""
    return int(json.loads((folder / "index.json").read_text())["classes"])


def open_train(folder: Path) -> WeakData:
    """Open the training scans."""
    return _open_weak(folder, "train")


def open_val(folder: Path) -> WeakData | None:
    """Open the held-out scans, None without any; a worker does so after `fit`."""
    return _open_weak(folder, "val") if (folder / "val-image").is_file() else None


def open_test(folder: Path) -> list[TestScan]:
    """Open the test scans; a worker does so after `fit`."""
    index = json.loads((folder / "index.json").read_text())
    images = _arrays(folder / "test-image", "<f4", [scan["shape"] for scan in index["test"]])
    return [TestScan(image, _spacing(scan), scan.get("site", 0)) for image, scan in zip(images, index["test"], strict=True)]


def _open_weak(folder: Path, part: str) -> WeakData:
    index = json.loads((folder / "index.json").read_text())
    shapes = [scan["shape"] for scan in index[part]]
    images = _arrays(folder / f"{part}-image", "<f4", shapes)
    allowed = _arrays(folder / f"{part}-allowed", index[f"{part}-sets"], [(s, h, w) for s, _, h, w in shapes])
    spacings, sites = [_spacing(scan) for scan in index[part]], [scan.get("site", 0) for scan in index[part]]
    return WeakData(map(WeakScan, images, allowed, spacings, sites), index["classes"], index["channels"])


def _facts(scan: WeakScan | TestScan) -> dict[str, Any]:
    """Return what the index says of a scan; the first site is left out, so that a set without sites has none."""
    return {"shape": scan.image.shape, "spacing": scan.spacing} | ({"site": scan.site} if scan.site else {})


def _append(file: Any, array: np.ndarray) -> None:
    file.write(np.ascontiguousarray(array).data)


def _arrays(path: Path, dtype: str, shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Return views of these shapes into a read-only memory map."""
    flat = np.memmap(path, dtype=dtype, mode="r")
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def _spacing(scan: dict[str, Any]) -> Spacing:
    return None if scan["spacing"] is None else tuple(scan["spacing"])
