"""What an annotator leaves of a mask: for every pixel, the set of classes it may still be.

A set is an integer; bit k says that class k is possible. `OPEN`, all bits, says nothing; one bit is a label.
"""

import hashlib
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric
from skimage.measure import label as components

from benchmark import InputError
from benchmark.datasets.base import Dataset, Scan

VERSION = 1  # of the simulators: a change in what they draw is a new version
ANNOTATIONS = ("full", "scribble:drawn", "scribble:sim", "point", "block")
BLOCK_CORE = 0.45  # a block reaches from the middle of a region to this share of its depth
POINT_RADIUS = 2  # px
BACKGROUND_POINTS = 4
BACKGROUND_PATCHES = 6


def set_type(classes: int) -> np.dtype:
    """The integer type that holds sets of so many classes."""
    if not 2 <= classes <= 31:
        raise InputError(f"there are {classes} classes; a label set holds 2 to 31")
    return np.dtype(np.uint8 if classes <= 8 else np.int32)


def everything(classes: int) -> int:
    """OPEN: the set of all classes."""
    return (1 << classes) - 1


def from_labels(labels: np.ndarray, classes: int, unlabelled: int) -> np.ndarray:
    """Sets from a label map in which one value marks pixels that nobody labelled."""
    unknown = np.setdiff1d(labels, [*range(classes), unlabelled])
    if unknown.size:
        raise InputError(
            f"unknown labels {unknown.tolist()}; marks are 0 to {classes - 1}, and {unlabelled} where there is none"
        )
    table = np.full(int(labels.max()) + 1, everything(classes), set_type(classes))
    known = min(classes, table.size)
    table[:known] = 1 << np.arange(known)
    if unlabelled < table.size:
        table[unlabelled] = everything(classes)
    return table[labels]


def stream(seed: int, name: str) -> np.random.Generator:
    """The generator that draws a scan's marks: settled by seed and name, never by the order of scans."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")])


def form(annotation: str) -> str:
    """What kind of annotation it is, whoever made it: `scribble` of `scribble:drawn`."""
    return annotation.partition(":")[0]


def sources(annotation: str) -> tuple[Path, ...]:
    """The files whose code makes the annotation; none where people made it."""
    return () if annotation == "full" or annotation.endswith(":drawn") else (Path(__file__),)


def resolve(annotation: str, dataset: Dataset) -> str:
    """The annotation with its maker said: drawn by people where the data set has such, else simulated."""
    drawn = ", ".join(f"{name}:drawn" for name in dataset.drawn) or "no drawn annotations"
    if annotation == "scribble":
        annotation = "scribble:drawn" if "scribble" in dataset.drawn else "scribble:sim"
    if annotation not in ANNOTATIONS:
        raise InputError(f"no annotation {annotation!r}; there are scribble, {', '.join(ANNOTATIONS)}")
    if annotation.endswith(":drawn") and form(annotation) not in dataset.drawn:
        raise InputError(f"{dataset.name} has {drawn}, not {annotation}; simulate it with {form(annotation)}:sim")
    return annotation


def annotate(scan: Scan, classes: int, annotation: str, seed: int) -> np.ndarray:
    """The weak label of a scan, drawn or simulated; the seed and the scan's name settle it."""
    if annotation.endswith(":drawn"):
        return scan.drawn[form(annotation)]
    if scan.mask is None:
        raise InputError(f"scan {scan.name} has no dense mask, so {annotation} can't be made of it")
    return weaken(scan.mask, classes, annotation, stream(seed, scan.name))


def weaken(mask: np.ndarray, classes: int, annotation: str, rng: np.random.Generator) -> np.ndarray:
    """Sets (slices, height, width) that an annotation leaves of a mask of that shape; the truth is allowed.

    `annotation` is `full`, `scribble:sim`, `point` or `block`. Every class that a slice holds gets a mark there.
    """
    if annotation == "full":
        return (1 << mask.astype(np.int64)).astype(set_type(classes))
    draw = {"scribble:sim": _scribble, "point": _points, "block": _block}.get(annotation)
    if draw is None:
        raise InputError(f"no annotation {annotation!r} can be simulated; there are {', '.join(ANNOTATIONS)}")
    allowed = np.full(mask.shape, everything(classes), set_type(classes))
    for sets, labels in zip(allowed, mask, strict=True):
        for k in np.unique(labels):
            region = labels == k
            sets[draw(region, k == 0, rng) & region] = 1 << k
    return allowed


def _scribble(region: np.ndarray, background: bool, rng: np.random.Generator) -> np.ndarray:
    """A stroke through the core of each part, from end to end; an open loop round the objects for the background."""
    if background:
        return _loop(region, rng)
    marks = np.zeros_like(region)
    for part in _parts(region):
        path = _longest_path(part, rng)
        cut = rng.uniform(0, 0.15, 2) * len(path)
        marks[tuple(path[int(cut[0]) : len(path) - int(cut[1])].T)] = True
    return ndimage.binary_dilation(marks)


def _loop(background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A stroke at one distance from all objects (from a point near the middle, if there is none), with a gap."""
    size = min(background.shape)
    objects, reach = ~background, rng.uniform(0.04, 0.12) * size
    if background.all():
        objects[tuple((rng.uniform(0.4, 0.6, 2) * background.shape).astype(int))] = True
        reach = rng.uniform(0.15, 0.35) * size
    distance = ndimage.distance_transform_edt(~objects)
    reach = max(1, min(reach, distance.max()))
    rows, columns = np.indices(background.shape) - np.argwhere(objects).mean(0)[:, None, None]
    turn = (np.arctan2(rows, columns) / (2 * np.pi) + rng.random()) % 1  # where along the loop, from a random start
    ring = (distance >= reach - 1) & (distance <= reach)
    loop = ring & (turn >= rng.uniform(0, 0.3))
    return loop if (loop & background).any() else ring


def _longest_path(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels (n, 2) of a path between two far ends of a part's core, keeping to its middle."""
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    costs = np.where(_core(part, 0.3), depth.max() / np.maximum(depth, 1e-9), -1)  # MCP never enters a negative cost
    end = rng.choice(np.argwhere(costs > 0))
    for _ in range(2):  # the place farthest from anywhere is one end; the place farthest from it is the other
        walk = MCP_Geometric(costs)
        far, _ = walk.find_costs([end])
        end = np.array(np.unravel_index(np.argmax(np.where(np.isfinite(far), far, -1)), far.shape))
    return np.array(walk.traceback(tuple(end)))


def _points(region: np.ndarray, background: bool, rng: np.random.Generator) -> np.ndarray:
    """A dot in the inner half of each part; some dots anywhere in the background."""
    if background:
        return _around(rng.choice(np.argwhere(region), BACKGROUND_POINTS), region.shape, POINT_RADIUS)
    centres = [rng.choice(np.argwhere(_core(part, 0.5))) for part in _parts(region)]
    return _around(np.array(centres), region.shape, POINT_RADIUS)


def _block(region: np.ndarray, background: bool, rng: np.random.Generator) -> np.ndarray:
    """The core of each part; some patches anywhere in the background (its complement would tell the contour)."""
    if background:
        return _around(rng.choice(np.argwhere(region), BACKGROUND_PATCHES), region.shape, max(region.shape) // 20)
    return np.any([_core(part, BLOCK_CORE) for part in _parts(region)], axis=0)


def _parts(region: np.ndarray) -> list[np.ndarray]:
    """The connected parts of a region, without specks beside a larger part (under a tenth of the largest)."""
    numbered = components(region, connectivity=2)
    sizes = np.bincount(numbered.ravel())[1:]
    return [numbered == number for number, size in enumerate(sizes, 1) if size >= sizes.max() / 10]


def _core(part: np.ndarray, depth: float) -> np.ndarray:
    """Pixels at least so deep inside, as a share of the deepest; never empty."""
    distance = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    return distance >= depth * distance.max()


def _around(centres: np.ndarray, shape: tuple[int, ...], radius: int) -> np.ndarray:
    """Discs around points (n, 2)."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.any([(rows - y) ** 2 + (columns - x) ** 2 <= radius**2 for y, x in centres], axis=0)
