"""What constants in px become at another network size, so that a term covers the same anatomy and pulls as hard.

They were set for one size, the published one. At a relative size s the same anatomy is s times as many px long, and has
s^2 times as many pixels. So

- a length in px, such as a standard deviation, is multiplied by s;
- a mean over pixels of the length of contours is as 1 / s: its weight is multiplied by s;
- a sum over all pairs of an image's pixels is as s^4: its weight is divided by s^4;
- a sum over a window is as the mass of its kernel, and the window has a whole number of pixels: see `scaled_window`.

Any other mean over pixels stays as it is. At s = 1 nothing changes, to the last bit.
"""

import math

from torch import Tensor

PUBLISHED = 256  # px, the network size of WSL4MIS


def relative_size(image: Tensor, published: int = PUBLISHED) -> float:
    """Return s, the height of images (n, c, h, h) as a share of the published one in px."""
    return image.shape[-1] / published


def scaled_window(sigma_xy: float, radius: int, s: float) -> tuple[float, int, float]:
    """Return sigma_xy and radius of a Gaussian window at relative size s, both in px, and the factor of its weight.

    The side of the window, 2 radius + 1, is scaled and then rounded to an odd number of at least 3; no sigma_xy shrinks
    below 1 px. The factor is the old kernel's mass over the new one's, so that rounding does not change how strongly a
    pixel is bound to its neighbours.
    """
    scaled = max(sigma_xy * s, min(sigma_xy, 1.0)), max(1, round(((2 * radius + 1) * s - 1) / 2))
    return *scaled, kernel_mass(sigma_xy, radius) / kernel_mass(*scaled)


def kernel_mass(sigma_xy: float, radius: int) -> float:
    """Sum of exp(-d^2 / 2 sigma_xy^2) over a square window without its centre."""
    return sum(math.exp(-0.5 * (x / sigma_xy) ** 2) for x in range(-radius, radius + 1)) ** 2 - 1
