"""The augmentations that a budget can name: flips, quarter turns, and rotations.

`turns45`: one of the square's eight symmetries, and half the time a rotation by up to 45 degrees, linear for images.
`wsl4mis`: one of its four reflections for half of the images, for a quarter a rotation by up to 20 degrees, nearest, and a
quarter as they are; the shares of WSL4MIS's loader, which rotates by whole degrees only. `none`: as they are.

albumentations is used in this file only. Its last release under the MIT licence is pinned.
"""

import math
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import cv2
import numpy as np

from benchmark.seal.contract import IGNORE, everything

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import asks a package registry for newer versions

if TYPE_CHECKING:
    import albumentations as A

Kind = Literal["turns45", "wsl4mis", "none"]
Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class Augmentation:
    """Random augmentation of an image, its label sets and its pseudo-labels; the draw is seeded by (seed, step, row).

    Corners that a rotation leaves empty are black and unlabelled. With `keep_axes` there is no rotation but by quarter
    turns; flips and quarter turns are then drawn as without. Threads may share an instance.
    """

    def __init__(
        self, seed: int, classes: int, fill: int = IGNORE, kind: Kind = "turns45", *, keep_axes: bool = False
    ) -> None:
        self.seed, self.fill, self.kind, self.keep_axes = seed, fill, kind, keep_axes
        self.everything = everything(classes)
        self._local = threading.local()

    def __call__(self, step: int, row: int, image: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return image (c, h, w) and label sets (h, w), augmented alike; the sets by nearest pixels."""
        everything = allowed.dtype.type(self.everything)
        ruled_out = allowed ^ everything  # filled corners get 0, which must mean "all classes allowed"
        done = self._augment(step, row, image=image.transpose(1, 2, 0), mask=ruled_out)
        return done["image"].transpose(2, 0, 1), done["mask"] ^ everything

    def memory(self, step: int, row: int, memory: np.ndarray) -> np.ndarray:
        """Return a method's memory of that image, augmented like the image.

        A label map (h, w) of integers: nearest, filled with `fill`; or float maps (k, h, w): as images, filled with 0.
        """
        if memory.ndim == 3:
            maps = memory.transpose(1, 2, 0).astype(np.float32)
            return self._augment(step, row, image=maps)["image"].transpose(2, 0, 1).astype(memory.dtype)
        from_fill = (memory.astype(np.int32) - self.fill) % (IGNORE + 1)
        done = self._augment(step, row, image=np.zeros((*memory.shape, 1), np.uint8), mask=from_fill)
        return ((done["mask"] + self.fill) % (IGNORE + 1)).astype(memory.dtype)

    def turn(self, step: int, row: int) -> np.ndarray:
        """Return what is done to that image as a matrix (2, 2), from (x, y) of the augmented image to that of the image.

        Both are measured from the centre.
        """
        return reduce(np.matmul, [_drawn(*each) for each in self._seeded(step, row)], np.eye(2))

    @property
    def linear(self) -> bool:
        """Whether images are rotated linearly; else by the nearest pixel."""
        return self.kind != "wsl4mis"

    def _augment(self, step: int, row: int, **targets: np.ndarray) -> dict[str, Any]:
        for transform, seed in self._seeded(step, row):
            transform.set_random_seed(seed)
        augmented: dict[str, Any] = self._local.pipeline(**targets)
        return augmented

    def _seeded(self, step: int, row: int) -> list[tuple[Any, int]]:
        """The pipeline's transforms, each with its seed."""
        if not hasattr(self._local, "pipeline"):
            self._local.pipeline = _pipeline(self.kind, keep_axes=self.keep_axes)
        transforms = self._local.pipeline.transforms
        states = np.random.SeedSequence([self.seed, step, row]).generate_state(len(transforms))
        return list(zip(transforms, map(int, states), strict=True))


# (x, y) of the image at (x, y) of the augmented one, both from the centre, by the name of the symmetry in albumentations
SYMMETRIES = {
    "e": ((1, 0), (0, 1)), "r90": ((0, -1), (1, 0)), "r180": ((-1, 0), (0, -1)), "r270": ((0, 1), (-1, 0)),
    "v": ((1, 0), (0, -1)), "h": ((-1, 0), (0, 1)), "t": ((0, 1), (1, 0)), "hvt": ((0, -1), (-1, 0)),
}  # fmt: skip
OF_CLASS = {"NoOp": "e", "HorizontalFlip": "h", "VerticalFlip": "v", "Transpose": "t"}


def _drawn(transform: Any, seed: int, *, forced: bool = False) -> np.ndarray:
    """The matrix of what a transform with this seed does; reads its generators in the order in which it does."""
    import albumentations as A

    if isinstance(transform, A.OneOf):  # all transforms in it have its seed
        chosen = np.random.default_rng(seed).choice(len(transform.transforms), p=transform.transforms_ps)
        return _drawn(transform.transforms[chosen], seed, forced=True)
    if isinstance(transform, A.Sequential):
        return reduce(np.matmul, [_drawn(each, seed, forced=True) for each in transform.transforms], np.eye(2))
    if not isinstance(transform, A.D4 | A.Rotate):
        return np.array(SYMMETRIES[OF_CLASS[type(transform).__name__]], np.float64)
    transform.set_random_seed(seed)
    if not transform.should_apply(force_apply=forced):
        return np.eye(2)
    if isinstance(transform, A.D4):
        return np.array(SYMMETRIES[str(transform.get_params()["group_element"])], np.float64)
    angle = math.radians(transform.py_random.uniform(*transform.limit))
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _pipeline(kind: Kind, *, keep_axes: bool) -> "A.Compose":
    def rotate(degrees: float, interpolation: int, p: float) -> "A.BasicTransform":
        fill = {"border_mode": cv2.BORDER_CONSTANT, "fill": 0, "fill_mask": 0}
        nearest = {"mask_interpolation": cv2.INTER_NEAREST}
        return A.NoOp(p=p) if keep_axes else A.Rotate(degrees, interpolation, p=p, **fill, **nearest)

    with warnings.catch_warnings(action="error"):  # albumentations only warns of an argument that it doesn't know
        import albumentations as A  # takes a second, which a plan does not need

        flips = [A.HorizontalFlip(), A.VerticalFlip()]
        other_transpose = A.Sequential([A.Transpose(p=1), A.HorizontalFlip(p=1), A.VerticalFlip(p=1)], p=0.5)
        weighted = [*flips, A.Transpose(), other_transpose, rotate(20, cv2.INTER_NEAREST, p=1), A.NoOp(p=1)]
        return A.Compose(
            {
                "turns45": [A.D4(p=1), rotate(45, cv2.INTER_LINEAR, p=0.5)],
                "wsl4mis": [A.OneOf(weighted, p=1)],  # each as often as its p of 4
                "none": [],
            }[kind]
        )


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
