"""Simulate annotations of dense masks: for every pixel, the set of classes that it may have.

A set is an integer; bit k says that class k is possible. One bit is a label; all bits say nothing. The forms are those of
`forms.py`; `weaken` and `_marks` choose the function that draws each of them.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from scipy import interpolate, ndimage
from skimage.graph import MCP_Geometric
from skimage.measure import label as components

from benchmark import InputError
from benchmark.datasets.annotations import Annotation, Mixed, parse, to_labels
from benchmark.datasets.base import Dataset, Scan, load_alone, set_type, site_numbers
from benchmark.datasets.forms import FORMS
from benchmark.seal.contract import everything

# in units of a pen: a pixel of an image whose smaller side has 216. Chosen so that strokes on ACDC are as long, thick
# and deep as those that people drew there (tests/datasets/test_acdc.py).
PEN = 216
DOT = 2.0  # radius
THICK = 6.0  # depth of a part from which on strokes are three units thick
LOOP = (6.5, 17.0)  # distance of the background's loop from the objects
PATCH = 11.0  # radius of a patch of background


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the generator that draws a scan's marks. Seed and name alone seed it, so the order of scans changes nothing."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")])


# ------------------------------------------------------------------------------------------------- of whole data sets


class Annotator:
    """Annotates the training scans of a split; the same seed gives the same marks."""

    def __init__(self, dataset: Dataset, train: Iterable[str], annotation: Annotation | Mixed, seed: int) -> None:
        self.classes, self.parts, self.seed = len(dataset.classes), annotation.parts, seed
        self.sites = site_numbers(dataset) if len(self.parts) > 1 else {}
        self.chosen: dict[str, set[int]] = {}
        names = list(train)
        for number, part in enumerate(self.parts):
            if part.count:
                own = [name for name in names if self.sites.get(name, 0) == number]
                self.chosen |= choose_slices(dataset, own, part.count, seed)

    def of(self, name: str) -> Annotation:
        """Return the annotation of a scan."""
        return self.parts[self.sites.get(name, 0)]

    def __call__(self, scan: Scan) -> np.ndarray:
        """Return the sets (slices, height, width) of a scan."""
        rng, annotation = stream(self.seed, scan.name), self.of(scan.name)
        if annotation.drawn:
            return degrade(scan.drawn[annotation.drawn], scan.mask, self.classes, annotation, rng)
        if scan.mask is None:
            raise InputError(f"scan {scan.name} has no dense mask to make {annotation} of")
        if not annotation.count:
            return weaken(scan.mask, self.classes, str(annotation), rng)
        allowed = np.full(scan.mask.shape, everything(self.classes), set_type(self.classes))
        for number in self.chosen.get(scan.name, ()):
            allowed[number] = weaken(scan.mask[number][None], self.classes, "full", rng)[0]
        return allowed


def choose_slices(dataset: Dataset, train: Iterable[str], count: int, seed: int) -> dict[str, set[int]]:
    """Choose the slices that are labelled in full: `count` per patient, or in all where every scan is one image.

    Chosen by a hash of seed, scan and slice, so that more slices always include the fewer.
    """
    slices = {name: len(load_alone(dataset, name).image) for name in train}
    owner = {scan: patient for patient, scans in dataset.patients().items() for scan in scans}
    groups: dict[str, list[tuple[bytes, str, int]]] = {}
    flat = all(n == 1 for n in slices.values())
    for name, n in slices.items():
        for number in range(n):
            lot = hashlib.sha256(f"{seed} {name} {number}".encode()).digest()
            groups.setdefault("" if flat else owner[name], []).append((lot, name, number))
    chosen: dict[str, set[int]] = {}
    for candidates in groups.values():
        for _, name, number in sorted(candidates)[:count]:
            chosen.setdefault(name, set()).add(number)
    return chosen


# ------------------------------------------------------------------------------------------------------ of one scan


def weaken(
    mask: np.ndarray,
    classes: int,
    annotation: str,
    rng: np.random.Generator,
    *,
    density: float = 1.0,
    noise: float = 0.0,
) -> np.ndarray:
    """Simulate an annotation of a mask (slices, height, width); returns its sets, in the mask's shape.

    Without annotator errors the true class is allowed everywhere, and marks label every class of a slice. `density` and
    `noise` may also be written into the annotation.
    """
    given = parse(annotation)
    if density != 1 or noise:
        given = parse(str(replace(given, density=density)) + (f"+noise={noise:g}" if noise else ""))
    if given.drawn or given.count:
        raise InputError(f"{annotation} can't be made of one mask")
    make = {"full": _full, "box": _boxes, "tags": _tags}.get(given.form, _marks)
    keys = rng.integers(2**63, size=(len(mask), classes))  # one stream per slice and class: none disturbs another
    return np.stack(
        [make(labels, classes, given, list(map(np.random.default_rng, own))) for labels, own in zip(mask, keys, strict=True)]
    )


def degrade(
    drawn: np.ndarray, mask: np.ndarray | None, classes: int, annotation: Annotation, rng: np.random.Generator
) -> np.ndarray:
    """Thin drawn sets and give them annotator errors; returns them as they are if the annotation asks for neither.

    Raises InputError for noise without a mask: noise crosses the boundaries of the mask.
    """
    if annotation == Annotation(annotation.form, annotation.maker):
        return drawn
    if mask is None and annotation["noise"]:
        raise InputError(f"{annotation}: noise needs a dense mask, and there is none; drawn marks can be thinned or shifted")
    keys = rng.integers(2**63, size=(len(drawn), classes))
    labels = to_labels(drawn, classes)
    out = []
    for number, own in enumerate(labels):
        marks = {int(k): own == k for k in np.unique(own) if k < classes}
        truth = None if mask is None else mask[number]
        streams = list(map(np.random.default_rng, keys[number]))
        out.append(_with_annotator_errors(marks, own.shape, truth, classes, annotation, streams))
    return np.stack(out)


Streams = list[np.random.Generator]  # one per class


def _full(labels: np.ndarray, classes: int, _: Annotation, __: Streams) -> np.ndarray:
    """Label every pixel with its class."""
    return (1 << labels.astype(np.int64)).astype(set_type(classes))


def _tags(labels: np.ndarray, classes: int, _: Annotation, __: Streams) -> np.ndarray:
    """Allow the classes of the slice at every pixel."""
    return np.full(labels.shape, np.bitwise_or.reduce(1 << np.unique(labels).astype(np.int64)), set_type(classes))


def _boxes(labels: np.ndarray, classes: int, annotation: Annotation, streams: Streams) -> np.ndarray:
    """Allow background everywhere, and in the bounding box of each connected part also its class."""
    sets = np.ones(labels.shape, set_type(classes))
    for k in range(1, classes):
        for rows, columns in ndimage.find_objects(components(labels == k, connectivity=2)):
            off = np.rint(streams[k].uniform(-1, 1, 4) * annotation["jitter"]).astype(int)
            starts = np.add((rows.start, columns.start), off[:2])
            top, left = starts.clip(0, np.subtract(labels.shape, 1))  # a box keeps a pixel of the image
            sets[top : max(top + 1, rows.stop + off[2]), left : max(left + 1, columns.stop + off[3])] |= 1 << k
    return sets


def _marks(labels: np.ndarray, classes: int, annotation: Annotation, streams: Streams) -> np.ndarray:
    """Mark each class of the slice, with annotator errors; all classes are possible elsewhere."""
    draw = {"scribble": _scribble, "point": _points, "block": _block}[annotation.form]
    marks = {}
    for k in np.unique(labels).tolist():
        region = labels == k
        marks[k] = draw(region, k == 0, annotation, streams[k]) & region
    return _with_annotator_errors(marks, labels.shape, labels, classes, annotation, streams)


def _with_annotator_errors(
    marks: dict[int, np.ndarray],
    shape: tuple[int, ...],
    truth: np.ndarray | None,
    classes: int,
    annotation: Annotation,
    streams: Streams,
) -> np.ndarray:
    """Return the sets of a slice from the marks of its classes, thinned and with annotator errors."""
    sets = np.full(shape, everything(classes), set_type(classes))
    angle = streams[0].uniform(0, 2 * np.pi)
    shift = annotation["shift"] * np.array([np.sin(angle), np.cos(angle)])
    for k, mark in marks.items():
        own = streams[k]
        others, forgotten, confused = [j for j in marks if j != k], own.random(), own.random()
        if forgotten < annotation["miss"]:
            continue
        mark = _thin(mark, annotation.density, own, whole_dots=FORMS[annotation.form].marks == "dots")
        if truth is not None and annotation["noise"]:
            mark = _warp(mark, truth == k, annotation["noise"], own)
        if shift.any():
            mark = _moved(mark, np.broadcast_to(shift[:, None, None], (2, *shape)))
        sets[mark] = 1 << (own.choice(others) if others and confused < annotation["wrong"] else k)
    return sets


def _thin(mark: np.ndarray, share: float, rng: np.random.Generator, *, whole_dots: bool) -> np.ndarray:
    """Keep the share of a mark's pixels that is nearest to one of them: a shorter stroke, a smaller block, fewer dots.

    A smaller share is always part of a larger one.
    """
    places = np.argwhere(mark)
    if share == 1 or len(places) == 0:
        return mark
    distance = np.linalg.norm(places - rng.choice(places), axis=1)
    if whole_dots:
        numbered = components(mark, connectivity=2)
        dots = dict.fromkeys(numbered[tuple(places[np.argsort(distance, kind="stable")].T)].tolist())
        return np.isin(numbered, list(dots)[: max(1, round(share * len(dots)))])
    kept = places[np.argsort(distance, kind="stable")[: max(1, round(share * len(places)))]]
    thinned = np.zeros_like(mark)
    thinned[tuple(kept.T)] = True
    return thinned


def _warp(mark: np.ndarray, region: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Warp a mark by a smooth random field so far that this share of it lies outside its region, as nearly as can be."""
    if region.all() or not mark.any():
        return mark
    smooth = 0.08 * min(mark.shape)
    field = np.stack([ndimage.gaussian_filter(rng.standard_normal(mark.shape), smooth) for _ in range(2)])
    field /= np.abs(field[:, mark]).max()
    places, best, nearest = np.indices(mark.shape), mark, share

    def crosses(reach: float) -> bool:
        """Whether the share is reached if the mark is pulled so far, px; keeps the best."""
        nonlocal best, nearest
        warped = ndimage.map_coordinates(mark.view(np.uint8), places - reach * field, order=0) > 0
        outside = float((warped & ~region).sum() / max(1, warped.sum()))
        if abs(outside - share) < nearest:
            best, nearest = warped, abs(outside - share)
        return outside >= share

    low = 0.0
    for high in np.geomspace(0.5, 0.4 * max(mark.shape), 20):
        if crosses(high):
            for _ in range(8):
                middle = (low + high) / 2
                low, high = (low, middle) if crosses(middle) else (middle, high)
            break
        low = high
    return best


def _moved(mark: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Move the pixels of a mark along a field (2, height, width), px; those that leave the image are lost."""
    places = np.argwhere(mark)
    there = np.rint(places + field[:, *places.T].T).astype(int)
    there = there[((there >= 0) & (there < mark.shape)).all(1)]
    moved = np.zeros_like(mark)
    moved[tuple(there.T)] = True
    return moved


def _scribble(region: np.ndarray, background: bool, annotation: Annotation, rng: np.random.Generator) -> np.ndarray:
    """Draw strokes: through the core of each part and a loop around the objects; or a free curve and a piece of contour."""
    if annotation["kind"] == "curves":
        return _curves(region, rng)
    if background:
        return _loop(region, rng)
    drawn, pen = np.zeros_like(region), _pen(region.shape)
    for window, part in _parts(region, round(pen) + 1):
        drawn[window] |= _stroke(part, pen, rng)
    return drawn


def _stroke(part: np.ndarray, pen: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a line along the middle of a part from end to end, around its hole if it has one; thicker in a deep part.

    After WSL4MIS's generator (erosion, skeleton, cut branches, dilation), as a shortest path instead of a random walk.
    """
    depth = _depth(part)
    inside = (depth >= 0.2 * depth.max()) & part
    costs = np.where(inside, depth.max() / np.maximum(depth, 1e-9), -1)  # MCP never enters a negative cost
    places = np.argwhere(inside)
    end = tuple(map(int, places[rng.integers(len(places))]))
    for _ in range(2):  # the place farthest from anywhere is one end; the place farthest from it is the other
        walk, start = MCP_Geometric(costs), end
        far, _ = walk.find_costs([start])
        end = tuple(map(int, np.unravel_index(np.argmax(np.where(np.isfinite(far), far, -1)), far.shape)))
    path = np.array(walk.traceback(end))
    if (ndimage.binary_fill_holes(part) & ~part).sum() > 0.1 * part.sum():  # a ring: back on the other side
        third = len(path) // 3
        costs[ndimage.binary_dilation(_drawn(path[third:-third], part.shape), iterations=2)] = -1
        back, _ = (walk := MCP_Geometric(costs)).find_costs([start], [end])
        if np.isfinite(back[end]):
            path = np.concatenate([path, walk.traceback(end)[::-1]])
    cut = (rng.uniform(0, 0.15, 2) * len(path)).astype(int)
    line = _drawn(path[cut[0] : len(path) - cut[1]], part.shape)
    return _thick(line, round(pen) if depth.max() > THICK * pen else round(pen) - 1)


def _loop(background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a loop, with a gap, at one distance from all objects; without objects, around a point near the middle."""
    size, pen = min(background.shape), _pen(background.shape)
    objects, reach = ~background, rng.uniform(*LOOP) * pen
    if background.all():
        objects[tuple((rng.uniform(0.4, 0.6, 2) * background.shape).astype(int))] = True
        reach = rng.uniform(0.15, 0.35) * size
    distance = ndimage.distance_transform_edt(~objects)
    reach = max(1, min(reach, distance.max()))
    rows, columns = np.indices(background.shape) - np.argwhere(objects).mean(0)[:, None, None]
    turn = (np.arctan2(rows, columns) / (2 * np.pi) + rng.random()) % 1  # where along the loop, from a random start
    ring = (distance >= reach - max(1, 2 * pen)) & (distance <= reach)
    loop = ring & (turn >= rng.uniform(0, 0.3))
    return loop if (loop & background).any() else ring


def _curves(region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a smooth curve through random places of one part, and a piece of a contour inside it, three pens thick.

    After ScribbleBench (Gotkowski et al., MICCAI 2025): quadratic B-spline of four points; 7 to 15 % of the contour.
    """
    numbered = components(region, connectivity=2)
    part = numbered == rng.choice(numbered[region])  # by area
    depth = _depth(part)
    corners = rng.choice(np.argwhere(part), 4).astype(float)
    curve = interpolate.BSpline([0, 0, 0, 0.5, 1, 1, 1], corners, 2)(np.linspace(0, 1, 1000))
    line = _drawn(np.rint(curve).astype(int), part.shape)
    inset = rng.integers(2, 6) * _pen(part.shape)
    contour = np.argwhere((depth >= inset) & (depth < inset + 1))
    if len(contour):
        nearest = np.argsort(np.linalg.norm(contour - rng.choice(contour), axis=1), kind="stable")
        piece = contour[nearest[: max(1, round(rng.uniform(0.07, 0.15) * len(contour)))]]
        line |= _drawn(piece, part.shape)
    thick = _thick(line & part, round(_pen(part.shape))) & part
    return thick if thick.any() else depth == depth.max()


def _points(region: np.ndarray, background: bool, annotation: Annotation, rng: np.random.Generator) -> np.ndarray:
    """Draw dots in each part: in its inner half, at its deepest place, or near its extremes; some in the background."""
    if background:
        return _discs(rng.choice(np.argwhere(region), annotation["background"]), region.shape, DOT)
    centres = []
    for window, part in _parts(region):
        places = np.argwhere(_core(part, {"random": 0.5, "central": 1.0, "extreme": 0.2}[annotation["where"]]))
        places += [side.start for side in window]
        if annotation["where"] == "extreme":
            ends = [places[:, axis].argmin() for axis in (0, 1)] + [places[:, axis].argmax() for axis in (0, 1)]
            centres += [places[i] for i in ends]
        else:
            centres += list(rng.choice(places, annotation["n"]))
    return _discs(np.array(centres), region.shape, DOT)


def _block(region: np.ndarray, background: bool, annotation: Annotation, rng: np.random.Generator) -> np.ndarray:
    """Mark the core of each part; in the background some patches, since all of it would show the contour of the objects."""
    if background:
        centres = rng.choice(np.argwhere(region), annotation["patches"])
        return _discs(centres, region.shape, PATCH)
    drawn = np.zeros_like(region)
    for window, part in _parts(region):
        drawn[window] |= _core(part, annotation["core"])
    return drawn


def _parts(region: np.ndarray, margin: int = 0) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Yield the connected parts of a region that have at least a tenth of the largest one's pixels.

    Each is a window of the region, with a margin in px, and the map of the part in it: the time for a slice does not grow
    with its size times the number of its parts.
    """
    numbered = components(region, connectivity=2)
    sizes = np.bincount(numbered.ravel())[1:]
    for number, (size, box) in enumerate(zip(sizes, ndimage.find_objects(numbered), strict=True), 1):
        if size >= sizes.max() / 10:
            rows, columns = (slice(max(0, side.start - margin), side.stop + margin) for side in box)
            yield (rows, columns), numbered[rows, columns] == number


def _depth(part: np.ndarray) -> np.ndarray:
    """Distance to the outside of a part, or of the image, px."""
    return ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]


def _core(part: np.ndarray, depth: float) -> np.ndarray:
    """Return the pixels at least so deep inside, as a share of the greatest depth; never empty."""
    distance = _depth(part)
    return distance >= depth * distance.max()


def _pen(shape: tuple[int, ...]) -> float:
    """The unit of strokes and dots, px: people draw on a screen, whatever the image's resolution."""
    return min(shape) / PEN


def _thick(line: np.ndarray, radius: int) -> np.ndarray:
    return ndimage.binary_dilation(line, iterations=radius) if radius > 0 else line


def _drawn(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a map in which the pixels at places (n, 2) are set; places outside it are left out."""
    drawn = np.zeros(shape, bool)
    inside = ((places >= 0) & (places < shape)).all(1)
    drawn[tuple(places[inside].T)] = True
    return drawn


def _discs(centres: np.ndarray, shape: tuple[int, ...], radius: float) -> np.ndarray:
    """Draw discs around points (n, 2), of a radius in pens, at least a pixel."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    radius = max(1, radius * _pen(shape))
    reach, drawn = int(radius), np.zeros(shape, bool)
    for y, x in centres:
        near = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
        drawn[near] |= (rows[near[0]] - y) ** 2 + (columns[:, near[1]] - x) ** 2 <= radius**2
    return drawn
