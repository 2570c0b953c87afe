"""Pictures of slices and label maps: colours of classes, overlays, tiles."""

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmark.seal.contract import IGNORE

UNLABELLED = IGNORE
OKABE_ITO = {  # colours that people with any colour vision tell apart (Okabe and Ito)
    "yellow": "#f0e442", "vermillion": "#d55e00", "green": "#009e73", "sky": "#56b4e9", "purple": "#cc79a7",
    "orange": "#e69f00", "blue": "#0072b2", "black": "#000000",
}  # fmt: skip
# of classes, as bytes
COLOURS = np.array([[*bytes.fromhex(code[1:])] for name, code in OKABE_ITO.items() if name != "black"], np.uint8)
TILE = 160  # px


def as_picture(image: np.ndarray) -> np.ndarray:
    """Return a slice (channels, h, w) in [0, 1] as (h, w, 3) bytes; unless it has three channels, the first in grey."""
    planes = image if len(image) == 3 else image[:1].repeat(3, 0)
    return np.rint(planes.transpose(1, 2, 0) * 255).astype(np.uint8)


def overlay(picture: np.ndarray, labels: np.ndarray, opacity: float) -> np.ndarray:
    """Return a picture with coloured labels; 255 is transparent, and below opacity 1 so is the background."""
    shown = (labels != UNLABELLED) & ((labels > 0) | (opacity == 1))
    if opacity == 1:  # scribbles are thin: widen them by a pixel
        labels, shown = ndimage.grey_erosion(labels, 3), ndimage.binary_dilation(shown, iterations=1)
        shown &= labels != UNLABELLED
    colours = COLOURS[labels % len(COLOURS)]
    return np.where(shown[..., None], (1 - opacity) * picture + opacity * colours, picture).astype(np.uint8)


def tile(picture: np.ndarray) -> np.ndarray:
    """Return a picture on a black square, resized to TILE pixels."""
    side = max(picture.shape[:2])
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - picture.shape[0]) // 2, (side - picture.shape[1]) // 2
    square[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return np.asarray(Image.fromarray(square).resize((TILE, TILE), Image.Resampling.BILINEAR))
