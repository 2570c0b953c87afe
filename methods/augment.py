"""The one augmentation: flips and quarter turns, and half the time a rotation by up to 45 degrees.

albumentations is used here and nowhere else; its last MIT release is pinned, so it can be replaced in one file.
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

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import asks a package registry for news
with warnings.catch_warnings(action="error"):
    import albumentations as A

IGNORE = 255  # unlabelled pixels in label maps

Place = TypeVar("Place")
Made = TypeVar("Made")


class Augmentation:
    """Turns an image and everything that belongs to its pixels alike; a place in time settles the turn.

    New corners are black and say nothing. Threads may share one.
    """

    def __init__(self, seed: int, classes: int, fill: int = IGNORE) -> None:
        self.seed, self.fill = seed, fill
        self.everything = (1 << classes) - 1
        self.own = threading.local()

    def __call__(self, step: int, row: int, image: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image (c, h, w) and sets (h, w), turned as (seed, step, row) says; sets are picked, not mixed."""
        everything = allowed.dtype.type(self.everything)
        ruled_out = allowed ^ everything  # what is filled with 0 must mean "nothing known"
        done = self._turned(step, row, image=image.transpose(1, 2, 0), mask=ruled_out)
        return done["image"].transpose(2, 0, 1), done["mask"] ^ everything

    def memory(self, step: int, row: int, memory: np.ndarray) -> np.ndarray:
        """What a method remembers of that image, turned like it.

        A label map (h, w) of integers, picked and filled with `fill`, or float maps (k, h, w), filled with 0.
        """
        if memory.ndim == 3:
            maps = memory.transpose(1, 2, 0).astype(np.float32)
            return self._turned(step, row, image=maps)["image"].transpose(2, 0, 1).astype(memory.dtype)
        from_fill = (memory.astype(np.int32) - self.fill) % (IGNORE + 1)
        done = self._turned(step, row, image=np.zeros((*memory.shape, 1), np.uint8), mask=from_fill)
        return ((done["mask"] + self.fill) % (IGNORE + 1)).astype(memory.dtype)

    def _turned(self, step: int, row: int, **targets: np.ndarray) -> dict[str, Any]:
        if not hasattr(self.own, "turn"):
            self.own.turn = _turn()
        states = np.random.SeedSequence([self.seed, step, row]).generate_state(len(self.own.turn.transforms))
        for transform, state in zip(self.own.turn.transforms, states, strict=True):
            transform.set_random_seed(int(state))
        turned: dict[str, Any] = self.own.turn(**targets)
        return turned


def _turn() -> A.Compose:
    nearest, linear = cv2.INTER_NEAREST, cv2.INTER_LINEAR
    rotate = {"mask_interpolation": nearest, "fill": 0, "fill_mask": 0, "p": 0.5}
    with warnings.catch_warnings(action="error"):  # albumentations only warns of an argument that it doesn't know
        return A.Compose([A.D4(p=1.0), A.Rotate(45, linear, cv2.BORDER_CONSTANT, **rotate)])


def ahead(make: Callable[[Place], Made], places: Iterable[Place], threads: int) -> Iterator[Made]:
    """What is made of each place, in order; threads make the next ones while the last one is used. Without any, in turn."""
    if not threads:
        yield from map(make, places)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for place in places:
                waiting.append(pool.submit(make, place))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
