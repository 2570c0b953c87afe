"""Energy of a fully connected CRF: pixels of similar colour should have the same label, at any distance.

The kernel G is symmetric, so one product G S gives the energy <S, G S> and its gradient 2 G S. The product is exact, some
rows of G at a time, or, for grey images, on a bilateral grid, with a cost linear in the number of pixels.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

FEW = 32**2  # pixels; up to here the exact sum is about as fast as the grid
BLOCK = {"cpu": 2**18, "cuda": 2**24}  # entries of G in memory at a time: fits the cache of a CPU, or keeps a GPU busy
CELLS = 3  # of the grid per standard deviation
NARROWED = CELLS**2 - 1 / 3  # cell^2, variance of its blur: spreading and reading add 1/6 each, on average


def dense_crf(
    probs: Tensor,
    image: Tensor,
    *,
    sigma_xy: float = 100.0,
    sigma_rgb: float = 15.0,
    scale: float = 0.5,
    method: Literal["auto", "exact", "grid"] = "auto",
) -> Tensor:
    """Minus the agreement of all pairs of pixels: -1/n sum_kij S_ik G_ij S_jk, over ordered pairs and i = j too.

    G_ij = exp(-|x_i - x_j|^2 / 2 (sigma_xy scale)^2 - |I_i - I_j|^2 / 2 sigma_rgb^2); probs (n, k, h, w), resized by
    `scale` bilinearly to S; image (n, c, h, w) in [0, 1], multiplied by 255 and resized by nearest neighbour. It is a
    sum over pairs, not a mean, so it increases with the size of the image. "grid" is within 1 % of "exact", for one
    channel only; "auto" uses it for one channel unless the image is small. The grid clips intensities to [0, 1].

    Tang et al., ECCV 2018, with all pixels as the region. The published filter, a permutohedral lattice, gives about
    half of this sum, so here the same effect needs about half of the published weight.
    """
    with torch.autocast(probs.device.type, enabled=False):
        maps = probs.float() if probs.dtype.itemsize < 4 else probs
        maps = F.interpolate(maps, scale_factor=scale, mode="bilinear", align_corners=False)
        colours = 255 * F.interpolate(image.detach().to(maps.dtype), scale_factor=scale, mode="nearest")
        grey, few = image.shape[1] == 1, maps[0, 0].numel() <= FEW
        if method == "auto":
            method = "grid" if grey and not few else "exact"
        if method == "grid" and not grey:
            raise ValueError(f"the grid is for images of one channel; this one has {image.shape[1]}: use 'exact'")
        kernel = {"exact": exact_filter, "grid": grid_filter}[method]
        smooth = partial(kernel, colours=colours, sigma_xy=sigma_xy * scale, sigma_rgb=sigma_rgb)
        return -Agreement.apply(maps, smooth) / len(probs)


class Agreement(torch.autograd.Function):
    """<S, G S> for a symmetric linear G."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, smooth: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute the energy of maps S (n, k, h, w); `smooth` returns G S."""
        smoothed = smooth(maps)
        ctx.save_for_backward(smoothed)
        return (maps * smoothed).sum(dtype=torch.float64).to(maps.dtype)

    @staticmethod
    def backward(ctx: Any, agreement: Tensor) -> tuple[Tensor, None]:
        """The gradient was computed in the forward pass."""
        (smoothed,) = ctx.saved_tensors
        return 2 * agreement * smoothed, None


def exact_filter(maps: Tensor, colours: Tensor, sigma_xy: float, sigma_rgb: float) -> Tensor:
    """G S of maps S (n, k, h, w) and colours (n, c, h, w): blocks of rows of G, from the diagonal to the right."""
    values = maps.flatten(2)
    smoothed, pixels = torch.zeros_like(values), values.shape[2]
    rows = max(1, BLOCK.get(maps.device.type, BLOCK["cuda"]) // pixels)
    for value, out, left, right in zip(values, smoothed, *_factors(colours, sigma_xy, sigma_rgb), strict=True):
        for start in range(0, pixels, rows):
            stop = min(start + rows, pixels)
            block = (left[start:stop] @ right[:, start:]).clamp_(min=-80).exp_()  # exp is ten times slower near underflow
            out[:, start:stop] += value[:, start:] @ block.mT
            out[:, stop:] += value[:, start:stop] @ block[:, stop - start :]
    return smoothed.view_as(maps)


def _factors(colours: Tensor, sigma_xy: float, sigma_rgb: float) -> tuple[Tensor, Tensor]:
    """Two factors (n, pixels, d), (n, d, pixels) of log G: -|f - g|^2 / 2 = f g - |f|^2 / 2 - |g|^2 / 2."""
    count, _, height, width = colours.shape
    y, x = (torch.arange(side, device=colours.device, dtype=colours.dtype) / sigma_xy for side in (height, width))
    places = torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(count, -1, -1, -1)
    points = torch.cat([places, colours / sigma_rgb], 1).flatten(2)
    points = points - points.mean(2, keepdim=True)  # smaller numbers have smaller rounding errors
    half, one = -0.5 * points.square().sum(1, keepdim=True), torch.ones_like(points[:, :1])
    return torch.cat([points, half, one], 1).mT.contiguous(), torch.cat([points, one, half], 1)


def grid_filter(maps: Tensor, colours: Tensor, sigma_xy: float, sigma_rgb: float) -> Tensor:
    """Approximate G S of maps S (n, k, h, w) and one colour (n, 1, h, w) in 0 to 255: spread on a coarse grid, blur, read.

    Chen et al., SIGGRAPH 2007. A pixel is spread over its 8 corners and read from them with the same weights, so this is
    symmetric. The weights are scaled so that G_ii = 1, which makes flat areas exact.
    """
    count, classes, height, width = maps.shape
    like: Any = {"device": maps.device, "dtype": maps.dtype}
    y, x = torch.arange(height, **like)[:, None], torch.arange(width, **like)
    axes = [(y, height - 1, sigma_xy), (x, width - 1, sigma_xy), (colours[:, 0].clamp(0, 255), 255, sigma_rgb)]
    shape = [int(extent * CELLS / sigma) + 3 for _, extent, sigma in axes]  # one spare: rounding
    corners = list(_corners([place * (CELLS / sigma) for place, _, sigma in axes], shape))
    values = maps.permute(0, 2, 3, 1).reshape(-1, classes)
    cells = values.new_zeros(count * math.prod(shape), classes)
    for index, weight in corners:
        cells.index_add_(0, index, values * weight)
    cells = cells.view(count, *shape, classes)
    for size in shape:  # the blurred axis goes last: after three passes the order is as before
        cells = torch.einsum("ab,nbxyk->nxyak", _blur(size, **like), cells)
    cells, smoothed = cells.reshape(-1, classes), torch.zeros_like(values)
    for index, weight in corners:
        smoothed.addcmul_(cells[index], weight)
    return smoothed.view(count, height, width, classes).permute(0, 3, 1, 2).contiguous()


def _corners(places: list[Tensor], shape: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """The 8 cells around each pixel, and their weights; `places` (in cells) broadcast to the last one's (n, h, w)."""
    below = [place.floor() for place in places]
    above = [place - low for place, low in zip(places, below, strict=True)]
    falloff = 1 - math.exp(-0.5 / NARROWED)  # of the blur, from a cell to its neighbour
    scale = reduce(torch.mul, (1 - 2 * part * (1 - part) * falloff for part in above)).rsqrt()
    image = torch.arange(len(scale), device=scale.device)[:, None, None]
    for corner in itertools.product((0, 1), repeat=len(places)):
        index, weight = image, scale
        for low, part, step, size in zip(below, above, corner, shape, strict=True):
            index = index * size + (low.long() + step)
            weight = weight * (part if step else 1 - part)
        yield index.flatten(), weight.reshape(-1, 1)


def _blur(size: int, **like: Any) -> Tensor:
    """A Gaussian of variance `NARROWED`, in cells, as a matrix."""
    cell = torch.arange(size, **like)
    return torch.exp(-0.5 * (cell[:, None] - cell).square() / NARROWED)
