"""Energies over pairs of pixels in a window: neighbours of similar colour should have the same label.

The kernel is symmetric, so half of the shifts of the window suffice, and one sum K p gives the energy <p, K p> and its
gradient. No array with the window as a dimension is stored.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Kernel(NamedTuple):
    """k_ab = exp(-|x_a - x_b|^2 / 2 sigma_xy^2 - |I_a - I_b|^2 / 2 sigma_rgb^2) in a window without its centre."""

    sigma_xy: float = 6.0  # px
    sigma_rgb: float = 0.1  # of intensities in [0, 1]
    radius: int = 5  # px


def gated_crf(
    probs: Tensor, image: Tensor, *, sigma_xy: float = 6.0, sigma_rgb: float = 0.1, radius: int = 5, weight: float = 1.0
) -> Tensor:
    """Potts energy of a Gaussian window per pixel: weight / (n h w) * sum_a sum_b k_ab (1 - sum_c p_ac p_bc).

    probs (n, k, h, w), image (n, c, h, w) in [0, 1]; b runs over the neighbours of a inside the image, so every pair
    counts twice. Obukhov et al., 2019, with the constants of WSL4MIS; its code also counts neighbours outside the
    image, which adds a constant.
    """
    agreement, mass = Agreement.apply(probs.float() if probs.dtype.itemsize < 4 else probs, image, None,
                                      Kernel(sigma_xy, sigma_rgb, radius))  # fmt: skip
    return weight * (mass - agreement) / (probs[:, 0].numel())


class Agreement(torch.autograd.Function):
    """sum_a m_a sum_b k_ab sum_c p_ac p_bc over neighbours inside the image; and sum_ab k_ab, which has no gradient."""

    @staticmethod
    def forward(ctx: Any, probs: Tensor, image: Tensor, centres: Tensor | None, kernel: Kernel) -> tuple[Tensor, Tensor]:
        """Compute both sums: probs (n, k, h, w), image (n, c, h, w), centres m (n, 1, h, w) or None for all pixels."""
        image = image.detach().to(probs.dtype)
        smoothed = torch.zeros_like(probs)  # sum_b k_ab (m_a + m_b) p_b: the gradient, for k is symmetric
        mass = torch.zeros((), dtype=torch.float64, device=probs.device)
        # one image fits the cache of a CPU; a GPU is faster on all at once
        parts = [slice(n, n + 1) for n in range(len(probs))] if probs.device.type == "cpu" else [slice(None)]
        for part in parts:
            for down, right in half_window(kernel.radius):
                a, b = overlap(probs.shape[-2:], down, right)
                near, far = (part, slice(None), *a), (part, slice(None), *b)
                k = weights(image[near], image[far], down**2 + right**2, kernel)
                mass += 2 * k.sum(dtype=torch.float64)
                k *= 2 if centres is None else centres[near] + centres[far]
                smoothed[near].addcmul_(k, probs[far])
                smoothed[far].addcmul_(k, probs[near])
        ctx.save_for_backward(smoothed)
        mass = mass.to(probs.dtype)
        ctx.mark_non_differentiable(mass)
        return (probs * smoothed).sum(dtype=torch.float64).to(probs.dtype) / 2, mass

    @staticmethod
    def backward(ctx: Any, agreement: Tensor, _mass: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient was computed in the forward pass."""
        (smoothed,) = ctx.saved_tensors
        return smoothed * agreement, None, None, None


def half_window(radius: int) -> Iterator[tuple[int, int]]:
    """Yield one of each pair of opposite shifts (down, right) in a window without its centre."""
    for down in range(radius + 1):
        for right in range(-radius, radius + 1):
            if down > 0 or right > 0:
                yield down, right


def overlap(shape: torch.Size, down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the pixels, and of their neighbours at a shift (down >= 0, right), where both are inside the image."""
    height, width = shape
    down, reach = min(down, height), min(abs(right), width)
    rows, columns = (slice(0, height - down), slice(down, height)), (slice(0, width - reach), slice(reach, width))
    if right < 0:
        columns = columns[::-1]
    return (rows[0], columns[0]), (rows[1], columns[1])


def weights(near: Tensor, far: Tensor, squared_distance: float, kernel: Kernel) -> Tensor:
    """Kernel values (n, 1, h, w) between two arrays of colours (n, c, h, w) at one shift."""
    gap = (near - far).square_()
    if gap.shape[1] > 1:
        gap = gap.sum(1, keepdim=True)
    return gap.mul_(-0.5 / kernel.sigma_rgb**2).add_(-0.5 * squared_distance / kernel.sigma_xy**2).exp_()
