"""Tiny copies of the data sets, each written in its real file format."""

import numpy as np


def nested_discs(seed: object, shape: tuple[int, int], classes: int) -> np.ndarray:
    """A mask with discs of every class, the highest innermost, at a place that the seed settles."""
    rng = np.random.default_rng(list(str(seed).encode()))
    rows, columns = np.indices(shape)
    centre = [rng.uniform(0.35, 0.65) * n for n in shape]
    distance = np.hypot(rows - centre[0], columns - centre[1]) / min(shape)
    radii = [0.35 * (classes - k) / (classes - 1) for k in range(1, classes)]
    mask = np.zeros(shape, np.uint8)
    for k, radius in enumerate(radii, 1):
        mask[distance < radius] = k
    return mask


def picture_of(mask: np.ndarray, seed: object, channels: int) -> np.ndarray:
    """A noisy image (channels, h, w) in [0, 1] of a mask."""
    rng = np.random.default_rng(list(f"image {seed}".encode()))
    return (mask / max(1, mask.max()) * 0.6 + 0.2 + rng.normal(0, 0.08, (channels, *mask.shape))).clip(0, 1)


def scribbled(mask: np.ndarray, seed: object, unlabelled: int) -> np.ndarray:
    """Some of the mask's labels, `unlabelled` elsewhere."""
    rng = np.random.default_rng(list(f"marks {seed}".encode()))
    return np.where(rng.random(mask.shape) < 0.2, mask, unlabelled)
