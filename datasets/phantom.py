"""Procedural phantoms: synthetic images that need no download and are hard enough to separate methods.

They were fixed before the methods were written. They test the suite and are never evidence for a method. A scan depends
only on its name and the size, and with the option `sites` on the look of its site.
"""

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmark import InputError
from benchmark.datasets.base import Dataset, Scan, Split

Pair = tuple[np.ndarray, np.ndarray]  # image (channels, size, size) before clipping, mask (size, size)
# a look per site: exponent of brightness, blur as a share of the size, width of vessels and grain; the first is the usual
LOOKS = ((1.0, 0.0, 1.0), (0.6, 0.0, 1.6), (1.7, 0.01, 1.0), (0.8, 0.02, 0.7), (1.3, 0.005, 1.3))


@dataclass
class Phantom(Dataset):
    """Base class of the phantoms: numbered images, one per patient; the split is by number."""

    root: Path
    size: int = 128  # pixels, height and width
    train: int = 24  # images
    val: int = 6
    test: int = 16

    modality = "phantom"
    tolerance = 2.0  # px
    patients_known = True
    redistribute = True
    licence = "Apache-2.0 (made by this project)"
    source = "benchmark/datasets/phantom.py"
    citation = "none: a smoke test, not evidence"

    def __post_init__(self) -> None:
        """Check that size and counts are large enough."""
        if self.size < 32:
            raise InputError(f"{self.name}: size is {self.size}; it must be at least 32 px")
        if min(self.train, self.test) < 1 or self.val < 0:
            raise InputError(f"{self.name}: train and test must be at least 1 and val at least 0")

    def patients(self) -> dict[str, list[str]]:
        """Return one scan per patient."""
        return {name: [name] for name in self._names()}

    def sites(self) -> dict[str, str]:
        """Deal images in turn to the sites of the option `sites`; each site has one of LOOKS."""
        return {name: f"site{self._look(name) + 1}" for name in self._names()} if self.cut else {}

    def splits(self) -> list[str]:
        """Return the only split, `default`."""
        return ["default"]

    def split(self, name: str) -> Split:
        """Return the split: the first images for training, the next for selection, the last for testing."""
        names = self._names()
        return Split(names[: self.train], names[self.train : -self.test], names[-self.test :])

    def load(self, name: str) -> Scan:
        """Draw the scan; the same name, size and look give the same pixels."""
        gamma, blur, fine = LOOKS[self._look(name)]
        seed = int.from_bytes(hashlib.sha256(f"{self.name} {name}".encode()).digest()[:8], "big")
        image, mask = self.draw(np.random.default_rng(seed), self.size, fine)
        image = np.clip(ndimage.gaussian_filter(image, (0, blur * self.size, blur * self.size)), 0, 1) ** gamma
        return Scan(name, name, image.astype(np.float32)[None], mask.astype(np.uint8)[None])

    @abstractmethod
    def draw(self, rng: np.random.Generator, size: int, fine: float = 1.0) -> Pair:
        """Draw an image and its mask; `fine`: factor of the width of vessels and grain."""

    def _look(self, name: str) -> int:
        """Return the number of the site of an image."""
        if self.cut > len(LOOKS):
            raise InputError(f"{self.name}: sites is {self.cut}; phantoms have 1 to {len(LOOKS)} looks")
        return int(name[-4:]) % max(1, self.cut)

    def _names(self) -> tuple[str, ...]:
        return tuple(f"phantom{number:04d}" for number in range(self.train + self.val + self.test))


@dataclass
class OctaPhantom(Phantom):
    """A dark avascular zone in a capillary network, with dark drop-outs elsewhere (as OCTA of the macula)."""

    name = "octa_phantom"
    title = "OCTA phantom"
    usual_form = "point"
    classes = ("background", "faz")
    regions = {"faz": (1,)}
    channels = 1

    def draw(self, rng: np.random.Generator, size: int, fine: float = 1.0) -> Pair:
        """Draw capillaries as the zero lines of smooth noise, which fade towards the zone."""
        zone = _blob(rng, size, centre=_centre(rng, 0.2), radius=rng.uniform(0.13, 0.24), roughness=0.16)
        capillaries = sum(
            np.exp(-((_noise(rng, size, scale) / (width * fine)) ** 2)) for scale, width in ((0.022, 0.22), (0.035, 0.16))
        )
        trunks = np.exp(-((_noise(rng, size, 0.11) / (0.07 * fine)) ** 2)) * (_noise(rng, size, 0.2) > -0.3)
        perfused = ndimage.gaussian_filter(1 - zone.astype(float), rng.uniform(0.012, 0.025) * size)
        for _ in range(rng.integers(1, 4)):  # drop-outs: as dark as the zone, but background
            dropout = _blob(rng, size, rng.uniform(0.05, 0.95, 2), rng.uniform(0.04, 0.09), 0.25) & ~zone
            perfused *= 1 - rng.uniform(0.5, 0.95) * ndimage.gaussian_filter(dropout.astype(float), 0.02 * size)
        flow = (0.42 * capillaries + 0.5 * trunks) * perfused + 0.06
        flow *= 1 + 0.3 * _noise(rng, size, 0.3)  # uneven illumination
        flow *= 1 + rng.uniform(-0.3, 0.3, (size, 1)) * (rng.random((size, 1)) < 0.06)  # motion lines
        speckle = rng.gamma(4.0, 1 / 4.0, (size, size))
        image = ndimage.gaussian_filter(flow * speckle + 0.05 * rng.standard_normal((size, size)), 0.5)
        return image[None], zone


@dataclass
class FundusPhantom(Phantom):
    """Nested cup and disc in a fundus photograph, with vessels, bright lesions and an atrophy crescent."""

    name = "fundus_phantom"
    title = "Fundus phantom"
    classes = ("background", "cup", "rim")
    regions = {"cup": (1,), "disc": (1, 2)}
    channels = 3

    def draw(self, rng: np.random.Generator, size: int, fine: float = 1.0) -> Pair:
        """Blend coloured layers with soft edges."""
        centre, radius = _centre(rng, 0.18), rng.uniform(0.17, 0.27)
        disc = _blob(rng, size, centre, radius, 0.05) & self.shows_disc(rng)
        ratio = rng.uniform(0.35, 0.75)
        cup = _blob(rng, size, centre + rng.uniform(-0.12, 0.12, 2) * radius, radius * ratio, 0.08) & disc
        soft = rng.uniform(0.01, 0.03) * size
        image = np.empty((3, size, size))
        image[:] = np.array([0.62, 0.30, 0.14])[:, None, None] * (
            1 + 0.18 * _noise(rng, size, 0.25) + 0.05 * _noise(rng, size, 0.02)
        )
        crescent = _blob(rng, size, centre + rng.uniform(-0.25, 0.25, 2) * radius, radius * 1.15, 0.1) & ~disc & disc.any()
        image = _blend(image, crescent, (0.78, 0.50, 0.30), rng.uniform(0.3, 0.8), soft)
        image = _blend(image, disc, (0.86, 0.58, 0.34), 0.85, soft)
        image = _blend(image, cup, (0.93, 0.74, 0.52), rng.uniform(0.4, 0.75), 1.3 * soft)
        for _ in range(rng.integers(0, 4)):  # exudates: as bright as the cup
            lesion = _blob(rng, size, rng.uniform(0, 1, 2), rng.uniform(0.02, 0.06), 0.3) & ~disc
            image = _blend(image, lesion, (0.92, 0.72, 0.42), 0.8, 0.4 * soft)
        image = _blend(image, _vessels(rng, size, centre, fine), (0.42, 0.10, 0.07), 0.75, 0.6)
        return image + 0.03 * rng.standard_normal(image.shape), np.where(cup, 1, np.where(disc, 2, 0))

    def shows_disc(self, rng: np.random.Generator) -> bool:
        """Whether an image shows the disc: always."""
        return True


@dataclass
class ScreeningPhantom(FundusPhantom):
    """As `fundus_phantom`, but half of the images do not show the disc, so tags tell images from each other."""

    name = "screening_phantom"
    title = "Screening phantom"

    def shows_disc(self, rng: np.random.Generator) -> bool:
        """Whether an image shows the disc: half of them."""
        return bool(rng.random() < 0.5)


@dataclass
class PolypPhantom(Phantom):
    """A polyp on mucosa of nearly its own colour, with folds, highlights and dark corners (as in colonoscopy)."""

    name = "polyp_phantom"
    title = "Polyp phantom"
    usual_form = "block"
    classes = ("background", "polyp")
    regions = {"polyp": (1,)}
    channels = 3

    def draw(self, rng: np.random.Generator, size: int, fine: float = 1.0) -> Pair:
        """Draw the polyp mostly by its shading; folds have similar shading."""
        polyp = _blob(rng, size, _centre(rng, 0.28), rng.uniform(0.1, 0.24), 0.14)
        base = np.array([0.66, 0.36, 0.30]) + rng.uniform(-0.06, 0.06, 3)
        image = base[:, None, None] * (1 + 0.16 * _noise(rng, size, 0.18) + 0.05 * _noise(rng, size, 0.015 * fine))
        folds = np.exp(-((_noise(rng, size, 0.16) / rng.uniform(0.12, 0.25)) ** 2))
        image *= 1 - 0.35 * folds
        tint = base + np.array([0.07, -0.02, -0.01]) * rng.uniform(0.4, 1.6) * rng.choice([-1, 1], p=[0.25, 0.75])
        image = _blend(image, polyp, tint, rng.uniform(0.45, 0.8), rng.uniform(0.01, 0.025) * size)
        bump = ndimage.distance_transform_edt(polyp)
        decoys = np.zeros_like(polyp)
        for _ in range(rng.integers(0, 3)):  # bumps of the wall: shaded like a polyp, without its colour
            decoys |= _blob(rng, size, rng.uniform(0.1, 0.9, 2), rng.uniform(0.06, 0.12), 0.1) & ~polyp
        bump += ndimage.distance_transform_edt(decoys)
        slope = np.gradient(ndimage.gaussian_filter(np.sqrt(bump), 0.015 * size))
        light = rng.uniform(0, 2 * np.pi)
        image *= 1 + 0.55 * (np.cos(light) * slope[0] + np.sin(light) * slope[1])
        shiny = _noise(rng, size, 0.018) + 0.5 * np.clip(bump / (0.1 * size), 0, 1) > 2.3
        image = _blend(image, shiny, (1.0, 0.98, 0.95), 0.95, 0.7)
        rows, columns = np.mgrid[:size, :size] / size - 0.5
        image *= 1 - 0.9 * np.clip(np.hypot(rows, columns) - 0.42, 0, 1) / 0.3
        return image + 0.03 * rng.standard_normal(image.shape), polyp


@dataclass
class TexturePhantom(Phantom):
    """A region that differs by texture alone: the same intensities inside and outside, and bright edges elsewhere."""

    name = "texture_phantom"
    title = "Texture phantom"
    classes = ("background", "region")
    regions = {"region": (1,)}
    channels = 1

    def draw(self, rng: np.random.Generator, size: int, fine: float = 1.0) -> Pair:
        """Draw fine texture inside and coarse outside, of the same distribution; bright patches cross both."""
        region = _blob(rng, size, _centre(rng, 0.2), rng.uniform(0.17, 0.3), 0.15)
        grain = np.where(region, *(_uniform(_noise(rng, size, scale * fine)) for scale in (0.009, 0.024)))
        patches = _noise(rng, size, 0.09) > 0  # edges that colour affinity follows, unrelated to the region
        image = 0.2 + 0.4 * grain + 0.3 * ndimage.gaussian_filter(patches.astype(float), 0.8)
        return (image + 0.02 * rng.standard_normal((size, size)))[None], region


def _noise(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Smooth Gaussian noise of unit variance; `scale` is the width of its smoothing as a share of the size."""
    field = ndimage.gaussian_filter(rng.standard_normal((size, size)), scale * size, mode="wrap")
    return (field - field.mean()) / field.std()


def _uniform(field: np.ndarray) -> np.ndarray:
    """Replace values by their ranks, in (0, 1), so that every field has the same distribution."""
    return (field.ravel().argsort().argsort().reshape(field.shape) + 0.5) / field.size


def _centre(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Draw a point (row, column) near the middle, as shares of the size."""
    return 0.5 + rng.uniform(-spread, spread, 2)


def _blob(rng: np.random.Generator, size: int, centre: np.ndarray, radius: float, roughness: float) -> np.ndarray:
    """Draw a star-shaped region: a circle whose radius varies with the angle."""
    rows, columns = np.mgrid[:size, :size] / size
    rows, columns = rows - centre[0], columns - centre[1]
    angle = np.arctan2(rows, columns)
    orders = np.arange(2, 8)
    heights, phases = rng.normal(0, roughness, 6) / orders**0.7, rng.uniform(0, 2 * np.pi, 6)
    waves = sum(a * np.cos(k * angle + phase) for k, a, phase in zip(orders, heights, phases, strict=True))
    return np.hypot(rows, columns) < radius * np.clip(1 + waves, 0.4, 1.8)


def _blend(
    image: np.ndarray, layer: np.ndarray, colour: np.ndarray | tuple[float, ...], opacity: float, soft: float
) -> np.ndarray:
    """Blend a coloured layer with soft edges (`soft` in px) over an image, keeping the brightness pattern of the image."""
    alpha = opacity * ndimage.gaussian_filter(layer.astype(float), soft)
    shade = image.mean(0) / image.mean()
    return (1 - alpha) * image + alpha * np.asarray(colour)[:, None, None] * (0.5 + 0.5 * shade)


def _vessels(rng: np.random.Generator, size: int, centre: np.ndarray, fine: float) -> np.ndarray:
    """Draw curved vessels from the centre of the disc outwards, thinner with distance."""
    drawn = np.zeros((size, size), bool)
    rows, columns = np.mgrid[:size, :size]
    for start in rng.uniform(0, 2 * np.pi, rng.integers(5, 9)):
        position, heading, width = centre * size, start, rng.uniform(0.012, 0.022) * size * fine
        while width > 0.7 and np.all((position > -5) & (position < size + 5)):
            drawn |= (rows - position[0]) ** 2 + (columns - position[1]) ** 2 < width**2
            position = position + np.array([np.sin(heading), np.cos(heading)])
            heading, width = heading + rng.normal(0, 0.07), width * 0.996
    return drawn
