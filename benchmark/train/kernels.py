"""Kernels in Triton: the gradient of bilinear resizing, the agreement of pairs of pixels, and partial cross-entropy.

No block adds to what another writes: each result has one sum in a fixed order, and of a sum over all pixels every block
writes its part, which PyTorch adds in double precision. So a second run gives the same bits. `resizing.py` and `fused.py`
call these functions; this file alone imports Triton. It has run by Triton's interpreter and compiles for sm_90; it was not
yet measured on a GPU.
"""

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

ELEMENTS = 2048  # of a block: pixels times channels or classes


def resize_gradient(slope: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Gradient (n, c, h, w), channels last, of maps that were resized to those of `slope` (n, c, h', w').

    down (h, h') and across (w, w') are the weights of each row and column in each resized one; of float64 for float64.
    """
    slope = slope.contiguous(memory_format=torch.channels_last)
    n, c, *big = slope.shape
    height, width = len(down), len(across)
    grad = torch.empty((n, c, height, width), dtype=slope.dtype, device=slope.device, memory_format=torch.channels_last)
    (row, row_weight), (column, column_weight) = taps(down), taps(across)
    channels = triton.next_power_of_2(c)
    pixels = max(1, ELEMENTS // channels)
    _gather[triton.cdiv(height * width, pixels), n](
        slope, grad, row, row_weight, column, column_weight, height, width, *big, c,
        row_weight.shape[1], column_weight.shape[1], channels, pixels,
    )  # fmt: skip
    return grad


def agreement(
    probs: Tensor, image: Tensor, centres: Tensor | None, sigma_xy: float, sigma_rgb: float, radius: int
) -> tuple[Tensor, Tensor, Tensor]:
    """sum_a m_a sum_b k_ab <p_a, p_b>, sum_ab k_ab, and the gradient of the first (n, k, h, w), as `losses.pairwise`.

    probs (n, k, h, w) and image (n, c, h, w), float32 or float64; centres m (n, 1, h, w), or None for 1. Sums are float64.
    """
    probs, image = probs.contiguous(), image.to(probs.dtype).contiguous()
    n, k, height, width = probs.shape
    smoothed, classes = torch.empty_like(probs), triton.next_power_of_2(k)
    pixels = max(32, min(256, ELEMENTS // 2 // classes))
    blocks = triton.cdiv(height * width, pixels)
    parts = probs.new_empty((n * blocks, 2))
    _agree[blocks, n](
        probs, image, probs if centres is None else centres.to(probs.dtype).contiguous(), smoothed, parts, height, width, k,
        0.5 / sigma_xy**2, 0.5 / sigma_rgb**2, radius, image.shape[1], centres is not None, classes, pixels,
    )  # fmt: skip
    total, mass = parts.sum(0, dtype=torch.float64)
    return total, mass, smoothed


def negative_logs(logits: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Both sums of `losses.labels.negative_logs`, float64: logits (n, k, h, w) of up to 31 classes, allowed (n, h, w)."""
    logits, allowed = logits.contiguous(), allowed.contiguous()
    blocks, classes, pixels = _blocks(logits)
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    parts = torch.empty((len(logits) * blocks, 2), dtype=dtype, device=logits.device)
    _logs[blocks, len(logits)](logits, allowed, parts, logits[0, 0].numel(), logits.shape[1], classes, pixels)
    total, count = parts.sum(0, dtype=torch.float64)
    return total, count


def negative_logs_gradient(logits: Tensor, allowed: Tensor, slope: Tensor) -> Tensor:
    """The gradient (n, k, h, w) of the first sum times `slope`, 0-d."""
    logits, allowed = logits.contiguous(), allowed.contiguous()
    blocks, classes, pixels = _blocks(logits)
    grad = torch.empty_like(logits)
    _logs_gradient[blocks, len(logits)](logits, allowed, slope, grad, logits[0, 0].numel(), logits.shape[1], classes, pixels)
    return grad


@lru_cache
def taps(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row of a matrix (m, n) the first column that is not 0, int32 (m,), and the values from there on (m, taps).

    Kept for each matrix, by identity; it waits for the device.
    """
    used = weights != 0
    columns = torch.arange(weights.shape[1], device=weights.device)
    first = used.int().argmax(1)
    last = (used * columns).amax(1)
    place = first[:, None] + torch.arange(int((last - first).amax()) + 1, device=weights.device)
    value = weights.gather(1, place.clamp(max=weights.shape[1] - 1)).where(place <= last[:, None], 0)
    return first.int(), value.contiguous()


def _blocks(logits: Tensor) -> tuple[int, int, int]:
    """Blocks of an image, and a block's classes and pixels, both powers of two."""
    classes = triton.next_power_of_2(logits.shape[1])
    pixels = max(32, ELEMENTS // classes)
    return triton.cdiv(logits[0, 0].numel(), pixels), classes, pixels


@triton.jit
def _gather(
    slope, grad, row, row_weight, column, column_weight, height, width, big_height, big_width, channels,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Sum what resized pixels took of each: grad (n, height, width, channels) of slope (n, big_height, big_width, ...)."""
    pixel, image, channel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS), tl.program_id(1), tl.arange(0, CHANNELS)
    slope += image.to(tl.int64) * big_height * big_width * channels
    grad += image.to(tl.int64) * height * width * channels
    inside, real = pixel < height * width, (channel < channels)[None, :]
    y, x = pixel // width, pixel % width
    first_row, first_column = tl.load(row + y, mask=inside, other=0), tl.load(column + x, mask=inside, other=0)
    total = tl.zeros((PIXELS, CHANNELS), row_weight.dtype.element_ty)
    for i in range(ROWS):
        down = tl.load(row_weight + y * ROWS + i, mask=inside, other=0.0)
        for j in range(COLUMNS):
            weight = down * tl.load(column_weight + x * COLUMNS + j, mask=inside, other=0.0)
            place = (first_row + i) * big_width + first_column + j
            took = tl.load(
                slope + place[:, None] * channels + channel[None, :], mask=(weight != 0)[:, None] & real, other=0.0
            )
            total += weight[:, None] * took.to(total.dtype)
    where = pixel[:, None] * channels + channel[None, :]
    tl.store(grad + where, total.to(grad.dtype.element_ty), mask=inside[:, None] & real)


@triton.jit
def _agree(
    probs, image, centres, smoothed, parts, height, width, classes,
    NEAR: tl.constexpr, ALIKE: tl.constexpr, RADIUS: tl.constexpr, CHANNELS: tl.constexpr, CENTRES: tl.constexpr,
    CLASSES: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """smoothed_a = sum_b k_ab (m_a + m_b) p_b in a window without its centre; a block's parts of both sums."""
    pixel, n, label = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS), tl.program_id(1), tl.arange(0, CLASSES)
    area = height * width
    probs += n.to(tl.int64) * classes * area
    smoothed += n.to(tl.int64) * classes * area
    image += n.to(tl.int64) * CHANNELS * area
    centres += n.to(tl.int64) * area
    inside = pixel < area
    y, x = pixel // width, pixel % width
    own, real = label[:, None] * area + pixel[None, :], (label < classes)[:, None] & inside[None, :]
    total = tl.zeros((CLASSES, PIXELS), probs.dtype.element_ty)
    mass = tl.zeros((PIXELS,), probs.dtype.element_ty)
    for down in range(-RADIUS, RADIUS + 1):
        for right in range(-RADIUS, RADIUS + 1):
            there = inside & (y + down >= 0) & (y + down < height) & (x + right >= 0) & (x + right < width)
            there = there & ((down != 0) | (right != 0))
            shift = down * width + right
            squares = tl.zeros((PIXELS,), probs.dtype.element_ty)
            for c in tl.static_range(CHANNELS):
                near = tl.load(image + c * area + pixel, mask=inside, other=0.0)
                far = tl.load(image + c * area + pixel + shift, mask=there, other=0.0)
                squares += (near - far) * (near - far)
            k = tl.where(there, tl.exp(-(squares * ALIKE + (down * down + right * right) * NEAR)), 0.0)
            mass += k
            if CENTRES:
                own_weight = tl.load(centres + pixel, mask=inside, other=0.0)
                k *= own_weight + tl.load(centres + pixel + shift, mask=there, other=0.0)
            else:
                k *= 2
            total += k[None, :] * tl.load(probs + own + shift, mask=real & there[None, :], other=0.0)
    tl.store(smoothed + own, total, mask=real)
    part = parts + 2 * (n * tl.num_programs(0) + tl.program_id(0))
    tl.store(part, tl.sum(tl.sum(total * tl.load(probs + own, mask=real, other=0.0), 0), 0) / 2)
    tl.store(part + 1, tl.sum(mass, 0))


@triton.jit
def _logs(logits, allowed, parts, area, classes, CLASSES: tl.constexpr, PIXELS: tl.constexpr):
    """A block's parts of the sum of minus the logs, and of the number of pixels that don't allow all classes."""
    z, real, sets, informative, _, _ = _read(logits, allowed, parts.dtype.element_ty, area, classes, CLASSES, PIXELS)
    loss = tl.where(informative, _log_sum(z, real) - _log_sum(z, sets), 0.0)
    part = parts + 2 * (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0))
    tl.store(part, tl.sum(loss, 0))
    tl.store(part + 1, tl.sum(informative.to(loss.dtype), 0))


@triton.jit
def _logs_gradient(logits, allowed, slope, grad, area, classes, CLASSES: tl.constexpr, PIXELS: tl.constexpr):
    """Its gradient: the probability of a class less its share among the allowed ones."""
    z, real, sets, informative, place, stored = _read(
        logits, allowed, slope.dtype.element_ty, area, classes, CLASSES, PIXELS
    )
    share = tl.exp(tl.where(sets, z - _log_sum(z, sets)[None, :], -float("inf")))
    found = (tl.exp(z - _log_sum(z, real)[None, :]) - share) * tl.load(slope)
    tl.store(grad + place, tl.where(informative[None, :], found, 0.0).to(grad.dtype.element_ty), mask=stored)


@triton.jit
def _read(
    logits, allowed, DTYPE: tl.constexpr, area, classes, CLASSES: tl.constexpr, PIXELS: tl.constexpr
):  # fmt: skip
    """Logits of a block (CLASSES, PIXELS), which are classes, which are allowed, which pixels tell; places, and inside."""
    pixel, n, label = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS), tl.program_id(1), tl.arange(0, CLASSES)
    inside = pixel < area
    real = (label < classes)[:, None] & (pixel >= 0)[None, :]
    place, stored = n.to(tl.int64) * classes * area + label[:, None] * area + pixel[None, :], real & inside[None, :]
    z = tl.load(logits + place, mask=stored, other=0.0).to(DTYPE)
    given = tl.load(allowed + n.to(tl.int64) * area + pixel, mask=inside, other=-1).to(tl.int32)  # outside: all
    sets = (((given[None, :] >> label[:, None]) & 1) != 0) & real
    return z, real, sets, tl.sum(sets.to(tl.int32), 0) < classes, place, stored


@triton.jit
def _log_sum(z, sets):
    """Log of the sum of exp of the logits in each pixel's set (PIXELS,)."""
    top = tl.max(tl.where(sets, z, -float("inf")), 0)
    return top + tl.log(tl.sum(tl.exp(tl.where(sets, z - top[None, :], -float("inf"))), 0))
