"""Small scans for the checks of methods: bright discs, weakly annotated."""

import numpy as np

from benchmark.datasets.simulate import stream, weaken
from benchmark.seal.contract import TestScan, WeakData, WeakScan, everything


def data_of(annotation: str, channels: int = 1, classes: int = 3, shapes: tuple[tuple[int, ...], ...] = ()) -> WeakData:
    """Return small scans of bright discs, weakly annotated; stacks and single slices, of uneven sizes.

    For `tags` every other slice is empty: if all slices had all classes, their tags would say nothing.
    """
    scans = []
    for number, shape in enumerate(shapes or ((3, 37, 29), (1, 40, 33), (2, 24, 48))):
        image, mask = discs(np.random.default_rng(number), shape, channels, classes, every=2 if annotation == "tags" else 1)
        scans.append(WeakScan(image, annotated(mask, classes, annotation, str(number))))
    return WeakData(scans, classes, channels)


def annotated(mask: np.ndarray, classes: int, annotation: str, name: str) -> np.ndarray:
    """Return label sets of a scan; for `slices`, the first slice is fully labelled."""
    if annotation != "slices":
        return weaken(mask, classes, annotation, stream(0, name))
    allowed = np.full(mask.shape, everything(classes), np.uint8)
    allowed[0] = 1 << mask[0]
    return allowed


def discs(
    rng: np.random.Generator, shape: tuple[int, ...], channels: int, classes: int, *, every: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return nested discs, brighter to the inside, in every so many slices: image (s, c, h, w) and mask (s, h, w)."""
    slices, height, width = shape
    rows, columns = np.indices((height, width))
    mask = np.zeros(shape, np.uint8)
    for labels in mask[::every]:
        centre = rng.uniform(0.35, 0.65, 2) * (height, width)
        distance = np.hypot(rows - centre[0], columns - centre[1]) / min(height, width)
        for k in range(1, classes):
            labels[distance < 0.4 * (classes - k) / (classes - 1)] = k
    noise = rng.normal(0, 0.05, (slices, channels, height, width))
    return (mask[:, None] / classes + 0.15 + noise).clip(0, 1).astype(np.float32), mask


def held_out(channels: int = 1) -> list[TestScan]:
    """Return scans to predict, of other sizes than the training scans."""
    return [TestScan(discs(np.random.default_rng(9), shape, channels, 3)[0]) for shape in ((2, 35, 31), (1, 50, 26))]
