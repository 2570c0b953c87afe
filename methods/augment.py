"""The one augmentation: flips and quarter turns, and half the time a rotation by up to 45 degrees.

albumentations is used in this file only. Its last release under the MIT licence is pinned.
"""

import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import cv2
import numpy as np

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import asks a package registry for newer versions
with warnings.catch_warnings(action="error"):
    import albumentations as A

from benchmark.seal.contract import IGNORE, everything

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class Augmentation:
    """Random augmentation of an image, its label sets and its pseudo-labels; the draw is seeded by (seed, step, row).

    Corners that a rotation leaves empty are black and unlabelled. Threads may share an instance.
    """

    def __init__(self, seed: int, classes: int, fill: int = IGNORE) -> None:
        self.seed, self.fill = seed, fill
        self.everything = everything(classes)
        self._local = threading.local()

    def __call__(self, step: int, row: int, image: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return image (c, h, w) and label sets (h, w), augmented alike: linear for the image, nearest for the sets."""
        everything = allowed.dtype.type(self.everything)
        ruled_out = allowed ^ everything  # filled corners get 0, which must mean "all classes allowed"
        done = self._augment(step, row, image=image.transpose(1, 2, 0), mask=ruled_out)
        return done["image"].transpose(2, 0, 1), done["mask"] ^ everything

    def memory(self, step: int, row: int, memory: np.ndarray) -> np.ndarray:
        """Return a method's memory of that image, augmented like the image.

        A label map (h, w) of integers: nearest, filled with `fill`; or float maps (k, h, w): linear, filled with 0.
        """
        if memory.ndim == 3:
            maps = memory.transpose(1, 2, 0).astype(np.float32)
            return self._augment(step, row, image=maps)["image"].transpose(2, 0, 1).astype(memory.dtype)
        from_fill = (memory.astype(np.int32) - self.fill) % (IGNORE + 1)
        done = self._augment(step, row, image=np.zeros((*memory.shape, 1), np.uint8), mask=from_fill)
        return ((done["mask"] + self.fill) % (IGNORE + 1)).astype(memory.dtype)

    def _augment(self, step: int, row: int, **targets: np.ndarray) -> dict[str, Any]:
        if not hasattr(self._local, "pipeline"):
            self._local.pipeline = _pipeline()
        states = np.random.SeedSequence([self.seed, step, row]).generate_state(len(self._local.pipeline.transforms))
        for transform, state in zip(self._local.pipeline.transforms, states, strict=True):
            transform.set_random_seed(int(state))
        augmented: dict[str, Any] = self._local.pipeline(**targets)
        return augmented


def _pipeline() -> A.Compose:
    nearest, linear = cv2.INTER_NEAREST, cv2.INTER_LINEAR
    rotate = {"mask_interpolation": nearest, "fill": 0, "fill_mask": 0, "p": 0.5}
    with warnings.catch_warnings(action="error"):  # albumentations only warns of an argument that it doesn't know
        return A.Compose([A.D4(p=1.0), A.Rotate(45, linear, cv2.BORDER_CONSTANT, **rotate)])


def prefetch(load: Callable[[Item], Loaded], items: Iterable[Item], threads: int) -> Iterator[Loaded]:
    """Yield `load(item)` of each item, in order; `threads` threads load the next items ahead. 0 threads: load on demand."""
    if not threads:
        yield from map(load, items)
        return
    waiting: deque[Future[Loaded]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(load, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
