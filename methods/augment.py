"""The one augmentation: flips and quarter turns, and half the time a rotation by up to 45 degrees.

albumentations is used here and nowhere else; its last MIT release is pinned, so it can be replaced in one file.
"""

import os
import warnings

import cv2
import numpy as np

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import asks a package registry for news
with warnings.catch_warnings(action="error"):
    import albumentations as A

IGNORE = 255  # unlabelled pixels in label maps


class Augmentation:
    """Turns an image and everything that belongs to its pixels alike; a place in time settles the turn."""

    def __init__(self, seed: int, classes: int, fill: int = IGNORE) -> None:
        self.seed, self.fill = seed, fill
        self.everything = (1 << classes) - 1
        nearest, linear = cv2.INTER_NEAREST, cv2.INTER_LINEAR
        with warnings.catch_warnings(action="error"):  # albumentations only warns of an argument that it doesn't know
            self.turn = A.Compose(
                [
                    A.D4(p=1.0),
                    A.Rotate(45, linear, cv2.BORDER_CONSTANT, mask_interpolation=nearest, fill=0, fill_mask=0, p=0.5),
                ],
                additional_targets={"maps": "image"},
            )

    def __call__(
        self, step: int, row: int, image: np.ndarray, allowed: np.ndarray, memory: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Image (c, h, w), sets (h, w) and memory turned as (seed, step, row) says; new corners are black, say nothing.

        Memory is a label map (h, w) of integers, filled with `fill`, or float maps (k, h, w), filled with 0. Labels and
        sets are picked, not mixed.
        """
        states = np.random.SeedSequence([self.seed, step, row]).generate_state(len(self.turn.transforms))
        for transform, state in zip(self.turn.transforms, states, strict=True):
            transform.set_random_seed(int(state))
        # what is filled with 0 must mean "nothing known": sets as the classes ruled out, labels counted from `fill`
        planes = [allowed.astype(np.int32) ^ self.everything]
        targets = {"image": image.transpose(1, 2, 0)}
        if memory is not None and memory.ndim == 2:
            planes.append((memory.astype(np.int32) - self.fill) % (IGNORE + 1))
        elif memory is not None:
            targets["maps"] = memory.transpose(1, 2, 0).astype(np.float32)
        done = self.turn(**targets, masks=planes)
        sets, *labels = done["masks"]
        if labels:
            memory = ((labels[0] + self.fill) % (IGNORE + 1)).astype(memory.dtype)  # type: ignore[union-attr]
        elif memory is not None:
            memory = done["maps"].transpose(2, 0, 1).astype(memory.dtype)
        return done["image"].transpose(2, 0, 1), sets ^ self.everything, memory
