"""Pictures (PNG, JPEG, TIFF, BMP) as intensities and as labels, as one sees them.

One reader serves images, masks, drawn marks and predictions.

What a file says about its own values is applied (EXIF orientation, palette, white-is-zero, pages) or the file is refused by
name. What no single file settles, such as what is white in 16 bits, is decided once for all pictures of a data set.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from benchmark import InputError
from benchmark.datasets.base import MOST_CLASSES, label_map
from benchmark.inputs import check_size, named_errors

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # names in Pillow
OTHERS = {
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\x89HDF": "HDF5",
    b"P5": "PGM",
    b"P6": "PPM",
    b"\0" * 128 + b"DICM": "DICOM",
}
TOPS = (255, 1023, 4095, 16383, 65535)  # white in 8, 10, 12, 14 and 16 bits
LEAST_SPAN = 0.1  # of the range; values that span less are scaled between the least and the greatest
NOISE = 64  # of JPEG: values closer to 0 or 255 are black or white
HUE = 16  # of JPEG: greys stored as colour differ by less between their channels
BITS = 258  # TIFF tag
WHITE_IS_ZERO, REDUCED, SIGNED = 0, 1, 2  # values of the TIFF tags 262, 254 and 339
Range = tuple[float, float]


class Images:
    """Reads the images of one data set, or one channel of it; black and white are the same for all of them.

    8 bits reach from 0 to 255. Where there are more, white is the greatest value of 8, 10, 12, 14 or 16 bits that all images
    keep to, or 1 for fractions; values below 0, above 65535, or that span less than a tenth of that range are scaled between
    the least and the greatest of all images. toml: the file that an error says to write the channels into.
    """

    def __init__(self, paths: Iterable[Path], *, toml: Path | None = None) -> None:
        self.paths, self.toml = list(paths), toml
        self.notes: dict[str, None] = {}

    def read(self, path: Path, channels: int) -> np.ndarray:
        """Read a picture as float32 (pages, channels, height, width) in [0, 1]; what is transparent is black."""
        return np.stack([self._planes(page, path, channels) for page in pages(path)])

    def stored(self, path: Path, channels: int) -> list[np.ndarray]:
        """Return the channels of a picture, (pages, height, width) each, with its own values, in 8 or 16 bits.

        Fractions, and values outside 0 to 65535, are scaled to 16 bits between black and white.
        """
        image = self.read(path, channels).astype(np.float64)
        if not _is_deep(path):
            return list(np.rint(image * 255).astype(np.uint8).swapaxes(0, 1))
        low, high = self.range if self.whole else (0.0, float(TOPS[-1]))
        return list(np.rint(image * (high - low) + low).astype(np.uint16).swapaxes(0, 1))

    def _planes(self, page: "Page", path: Path, channels: int) -> np.ndarray:
        array = page.values
        planes: np.ndarray
        if page.deep:
            if not np.isfinite(array).all():
                raise InputError(f"{path} holds intensities from {array.min()} to {array.max()}; they must be numbers")
            low, high = self.range
            planes = ((array.astype(np.float64) - low) / (high - low)).clip(0, 1).astype(np.float32)
        else:
            planes = array.astype(np.float32) / np.float32(255 if array.dtype == np.uint8 else 1)
        if page.alpha is not None and np.ptp(page.alpha):
            opacity = page.alpha.astype(np.float32) / np.iinfo(page.alpha.dtype).max
            planes *= opacity if planes.ndim == 2 else opacity[..., None]
            if not np.ptp(planes):
                raise InputError(f"{path} is one colour with shapes in its alpha channel; save them as grey values")
            self.notes["images: what is transparent is black"] = None
        planes = planes[None] if planes.ndim == 2 else planes.transpose(2, 0, 1)
        if len(planes) == channels:
            return np.ascontiguousarray(planes)
        if channels == 3 and len(planes) == 1:
            return planes.repeat(3, 0)
        if channels == 1 and np.ptp(planes, axis=0).max() == 0:  # grey, stored as colour
            return planes[:1].copy()
        remedy = f"; to read grey as colour, write channels = 3 into {self.toml}" if self.toml and channels == 1 else ""
        raise InputError(f"{path} has {len(planes)} channels; this data set has {channels}{remedy}")

    @cached_property
    def _extent(self) -> tuple[float, float, bool]:
        """The least and the greatest value of all pictures with more than 8 bits, and whether some hold fractions."""
        low, high, fractions = np.inf, -np.inf, False
        for page in _readable(path for path in self.paths if _is_deep(path)):
            if page.deep and np.isfinite(page.values).all():
                low, high = min(low, float(page.values.min())), max(high, float(page.values.max()))
                fractions = fractions or page.values.dtype.kind == "f"
        return low, high, fractions

    @property
    def whole(self) -> bool:
        """Whether the values of all pictures with more than 8 bits are whole numbers from 0 to 65535."""
        low, high, fractions = self._extent
        return low >= 0 and high <= TOPS[-1] and not fractions

    @cached_property
    def range(self) -> Range:
        """Black and white of all pictures with more than 8 bits."""
        low, high, fractions = self._extent
        black, white = _range(low, high, fractions=fractions)
        self.notes[
            f"images of more than 8 bits hold {low:g} to {high:g}: {black:g} is read as 0 (black), {white:g} as 1 (white)"
        ] = None
        return black, white


def _range(low: float, high: float, *, fractions: bool) -> Range:
    """Return what is black and white, for values from `low` to `high`."""
    top = next((top for top in ((1, *TOPS) if fractions else TOPS) if high <= top), 0)
    if low >= 0 and top and (low == high or high - low >= LEAST_SPAN * top):
        return 0.0, float(top)
    return (low, high) if low < high else (low, low + 1)


class Masks:
    """Reads the label maps of one folder: masks, drawn marks or predictions.

    colours: RGB of each class; values: grey value of each class; threshold: values above it are class 1, unless the greatest
    is 1. Without these, values are labels. clear: the label of transparent pixels; None: what is below them. exact: refuse
    JPEG; else one of black and white is cut in the middle. toml: the file that an error says to write the missing table
    into; classes: the number of classes that it names (0: none).
    """

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        colours: Sequence[Sequence[int]] = (),
        values: Sequence[float] = (),
        threshold: int | None = None,
        clear: int | None = None,
        exact: bool = False,
        toml: Path | None = None,
        classes: int = 0,
    ) -> None:
        self.paths, self.exact, self.toml, self.classes = list(paths), exact, toml, classes
        self.colours, self.values, self.threshold, self.clear = colours, values, threshold, clear
        self.notes: dict[str, None] = {}

    def read(self, path: Path) -> np.ndarray:
        """Read a label map as uint8 (pages, height, width)."""
        return np.stack([self._labels(page, path) for page in pages(path)])

    def refusal(self, path: Path, wrong: Sequence[float]) -> InputError:
        """Return the error for values that are no labels; it ends with the line that says what they are."""
        return InputError(f"{path} holds {_listed(wrong)}, which are not labels; {self._value_remedy}")

    def _labels(self, page: "Page", path: Path) -> np.ndarray:
        if self.colours:
            return self._by_colour(page, path)
        greys = self._greys(page, path)
        if self.values:
            return self._by_value(greys, path)
        if self.threshold is not None and (page.lossy or greys.max() > 1):
            return (greys > self.threshold).astype(np.uint8)
        if page.lossy:
            if self.exact or not _is_two_valued(greys):
                raise InputError(f"{path} is a JPEG, which changes labels; save it as PNG, with label values")
            self.notes["masks are JPEG of black and white: values above 127 are white"] = None
            return np.where(greys > 127, 255, 0).astype(np.uint8)
        if greys.max() == TOPS[-1] and not (greys % TOPS[-1]).any():  # white in 16 bits
            return np.where(greys > 0, 255, 0).astype(np.uint8)
        try:
            return label_map(greys, str(path))
        except InputError:
            finite = greys[np.isfinite(greys)]
            if self.toml is None or finite.size < greys.size:
                raise
            raise self.refusal(path, np.unique(finite).tolist()) from None

    def _greys(self, page: "Page", path: Path) -> np.ndarray:
        """Return a page's grey values, its alpha channel or its palette's indices (h, w), whichever hold the labels."""
        if self.clear is not None and page.alpha is not None:
            opaque = page.alpha > 0
            values = page.values * (opaque if page.values.ndim == 2 else opaque[..., None])
            index = None if page.index is None else page.index * opaque
            greys = self._greys(replace(page, values=values, index=index, alpha=None), path)
            return np.where(opaque, greys, np.array(self.clear, greys.dtype))
        if page.index is not None and self._table[0]:
            if self._table[1]:
                raise InputError(f"{path.parent} holds {self._table[1]}; {self._colour_remedy}")
            self.notes["masks have a palette of colours: the index of a colour is the label"] = None
            return page.index
        if page.alpha is not None:
            if self._in_alpha:
                self.notes["masks are read from their alpha channel; their colours are the same everywhere"] = None
                return page.alpha
            drawn = page.values if page.values.ndim == 2 else page.values.any(-1)
            if np.ptp(page.alpha) and not np.array_equal(page.alpha > 0, drawn > 0):
                raise _two_shapes(path)
        array = page.values
        if array.ndim == 3:
            if np.ptp(array, axis=2).max() > (HUE if page.lossy else 0):
                raise InputError(f"{path} is a coloured mask; {self._colour_remedy}")
            array = array[..., 1]
        if page.index is not None:
            if len(np.unique(page.index)) > len(np.unique(array)):
                raise InputError(f"{path} has a palette in which several labels have one grey; save it without a palette")
            self.notes["masks have a palette of greys: they are read as grey pictures"] = None
        return array

    def _by_colour(self, page: "Page", path: Path) -> np.ndarray:
        if page.deep:
            raise InputError(f"{path} holds more than 8 bits; a table of colours is of 8 bits")
        array = page.values if page.values.ndim == 3 else _as_bytes(page.values)[..., None].repeat(3, 2)
        labels = np.full(array.shape[:2], 255, np.uint8)
        for k, colour in enumerate(self.colours):
            labels[(array == np.asarray(colour)).all(-1)] = k
        if (unknown := array[labels == 255]).size:
            listed = np.unique(unknown, axis=0)[:3].tolist()
            raise InputError(f"{path} holds colours {listed} that the table of colours lacks")
        if page.alpha is not None and np.ptp(page.alpha) and labels[page.alpha == 0].any():
            raise _two_shapes(path)
        return labels

    def _by_value(self, greys: np.ndarray, path: Path) -> np.ndarray:
        labels = np.full(greys.shape, 255, np.uint8)
        for k, value in enumerate(self.values):
            labels[greys == value] = k
        if (unknown := greys[labels == 255]).size:
            raise InputError(f"{path} holds {_listed(np.unique(unknown).tolist())}, which `values` in {self.toml} lacks")
        return labels

    def _remedy(self, key: str, found: Sequence[object]) -> str:
        """Say what to write into `dataset.toml`, or how to save a label map."""
        if self.toml is None or not 2 <= len(found) <= MOST_CLASSES:
            return "save label maps as grey pictures whose values are the labels, without smoothing"
        if self.classes not in (0, len(found)):
            return f"all masks hold {len(found)} {key}, {list(found)}, and {self.toml} names {self.classes} classes"
        return f"if each is a class, in this order, write this line at the top of {self.toml}: {key} = {list(found)}"

    @cached_property
    def _value_remedy(self) -> str:
        found: set[float] = set()
        for path in self.paths:
            for page in _readable([path]):
                with suppress(InputError):
                    found |= set(np.unique(self._greys(page, path)).tolist())
        return self._remedy("values", sorted(found))

    @cached_property
    def _colour_remedy(self) -> str:
        found: set[tuple[int, ...]] = set()
        for page in _readable(self.paths):
            array = page.values if page.values.ndim == 3 else page.values[..., None].repeat(3, 2)
            found |= set(map(tuple, np.unique(array.reshape(-1, 3), axis=0)[: 2 * MOST_CLASSES].tolist()))
        return self._remedy("colours", [list(colour) for colour in sorted(found)])

    @cached_property
    def _table(self) -> tuple[bool, str]:
        """Whether the palettes are a table of classes, not of greys; and what is wrong if they can't be one."""
        used: set[tuple[int, tuple[int, ...]]] = set()
        for page in _readable(self.paths):
            if page.index is not None:
                index, where = np.unique(page.index, return_index=True)
                used |= set(zip(index.tolist(), map(tuple, page.values.reshape(-1, 3)[where].tolist()), strict=True))
        if all(len(set(colour)) == 1 for _, colour in used):
            return False, ""
        if len({index for index, _ in used}) < len(used):
            return True, "files with one palette and files with another, so an index is no label"
        table, black = dict(used), (0, 0, 0)
        if table.get(0, black) != black and any(table[index] == black for index in table.keys() - {255}):
            return True, f"a palette whose first colour, for the background, is {list(table[0])}, though there is black"
        return True, ""

    @cached_property
    def _in_alpha(self) -> bool:
        """Whether the alpha channel varies in some file, and colour in none."""
        varies = False
        for page in _readable(self.paths):
            if page.alpha is not None:
                if np.ptp(page.values.reshape(page.alpha.size, -1), axis=0).any():
                    return False
                varies = varies or bool(np.ptp(page.alpha))
        return varies


def two_valued(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return a map of two classes that holds 0 and 255 as one of 0 and 1, and others as they are."""
    return labels // 255 if classes == 2 and not (labels % 255).any() else labels


def _is_two_valued(greys: np.ndarray) -> bool:
    """Whether a JPEG is plainly black and white: all black, or both, with greys only where one meets the other."""
    if greys.min() == greys.max():
        return greys.flat[0] in (0, 255)
    black, white = greys < NOISE, greys > 255 - NOISE
    between = ~(ndimage.binary_dilation(black, np.ones((3, 3))) & ndimage.binary_dilation(white, np.ones((3, 3))))
    return bool(black.any() and white.any() and not (between & ~black & ~white).any())


def _as_bytes(array: np.ndarray) -> np.ndarray:
    return array if array.dtype == np.uint8 else array.astype(np.uint8) * np.uint8(255)


def _two_shapes(path: Path) -> InputError:
    return InputError(f"{path} has one shape in its colours and another in its alpha channel; save it without alpha")


def _listed(values: Sequence[float]) -> str:
    return f"{list(values[:8])}{'...' if len(values) > 8 else ''}"


# ---------------------------------------------------------------------------------------------------- decoding


@dataclass(frozen=True, eq=False)
class Page:
    """One decoded picture, upright."""

    values: np.ndarray  # (h, w), or colours (h, w, 3): bool, uint8, or numbers of more bits
    alpha: np.ndarray | None = None  # (h, w)
    index: np.ndarray | None = None  # (h, w), if there is a palette; `values` are its colours
    lossy: bool = False

    @property
    def deep(self) -> bool:
        """Whether the values are numbers of more than 8 bits."""
        return self.values.dtype.itemsize > 1


def pages(path: Path) -> list[Page]:
    """Decode the pages of a file, upright; raises InputError for what can't be read, or can't be read exactly."""
    with _opened(path) as file:
        count = 1 if file.format == "MPO" else int(getattr(file, "n_frames", 1))  # MPO: a phone's JPEG with previews
        if count > 1:
            if file.format != "TIFF":
                raise InputError(f"{path} is an animation of {count} pictures; a stack is a TIFF, or a NIfTI volume")
            check_size(path, (count, *file.size), np.dtype(np.uint8))
        kind, found = None, []
        for number in range(count):
            file.seek(number)
            if number and file.tag_v2.get(254, 0) & REDUCED:  # type: ignore[attr-defined]
                continue  # a preview of another page
            if (kind := kind or (file.size, file.mode)) != (file.size, file.mode):
                raise InputError(
                    f"{path} holds pages of {kind} and of {file.size, file.mode}; "
                    "the slices of a stack have one size and type"
                )
            found.append(_page(file, path, number))
    return found


def _readable(paths: Iterable[Path]) -> Iterator[Page]:
    """Decode the pages of files that can be read; the others raise an error when they are read for themselves."""
    for path in paths:
        with suppress(InputError):
            yield from pages(path)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a file of one of `FORMATS`, whatever its name; raises InputError for others, and for any fault of the block."""
    with named_errors(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata, which is not read here
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # from 89 million pixels on
        content = path.read_bytes()
        if not content:
            raise InputError(f"{path} is an empty file; copy it again")
        try:
            file = Image.open(BytesIO(content), formats=FORMATS)  # by its path, Pillow rotates uncompressed TIFF wrongly
        except UnidentifiedImageError:
            if other := next((name for magic, name in OTHERS.items() if content.startswith(magic)), ""):
                raise InputError(f"{path} is a {other} file; save it as PNG or TIFF") from None
            if content.startswith((b"II*", b"MM\0*")):
                raise InputError(
                    f"{path} can't be read: it is a TIFF of an unusual kind, or truncated; save it with 8 or 16 bits or "
                    "float32, in 1, 3 or 4 bands"
                ) from None
            raise InputError(f"{path} can't be read: it is no PNG, JPEG, TIFF or BMP, or truncated; copy it again") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise InputError(f"{path} states more than {Image.MAX_IMAGE_PIXELS:,} pixels; save it smaller") from None
        with file:
            bits = content[24 if content[14] == 12 else 28] if file.format == "BMP" else 0  # the older header has 12 bytes
            if bits and {"1": 1, "L": 8}.get(file.mode, bits) != bits:  # Pillow unpacks these wrongly
                raise InputError(f"{path} is a BMP of {bits} bits with a palette of greys; save it as PNG")
            yield file


def _is_deep(path: Path) -> bool:
    with suppress(InputError), _opened(path) as file:
        return file.mode.startswith(("I", "F")) or _has_wide_colours(file)
    return False


def _has_wide_colours(file: Image.Image) -> bool:
    """Whether colours, or a grey with alpha, are stored in 16 bits, of which Pillow keeps eight."""
    colours = file.format in ("PNG", "TIFF") and file.mode in ("RGB", "RGBA", "LA")
    wide = max(getattr(file, "tag_v2", {}).get(BITS, (8,))) > 8  # Pillow reads planes of 16 bits as bytes
    return colours and (wide or any(";16" in str(tile[3]) for tile in getattr(file, "tile", ())))


def _page(file: Image.Image, path: Path, number: int) -> Page:
    """Decode the page of an open file that was sought."""
    tags = getattr(file, "tag_v2", {})
    inverted = tags.get(262) == WHITE_IS_ZERO and file.mode not in ("1", "L")  # Pillow inverts those two
    signed = SIGNED in tags.get(339, ()) and file.mode == "L"
    wide, lossy = _has_wide_colours(file), file.format in ("JPEG", "MPO") or tags.get(259) in (6, 7)
    picture = ImageOps.exif_transpose(file)
    mode = picture.mode
    if signed or (inverted and not mode.startswith("I;16")):
        raise InputError(f"{path} holds {'signed bytes' if signed else f'{mode} with white as zero'}; save it as PNG")
    if mode in ("YCbCr", "RGBX"):
        picture, mode = picture.convert("RGB"), "RGB"
    if mode in ("P", "PA"):
        clear = mode == "PA" or "transparency" in picture.info
        colours = np.asarray(picture.convert("RGBA"))
        index = np.asarray(picture.getchannel(0))
        return Page(colours[..., :3], colours[..., 3] if clear else None, index, lossy)
    if mode not in ("1", "L", "LA", "RGB", "RGBA", "I", "F") and not mode.startswith("I;16"):
        raise InputError(f"{path} is a picture of mode {mode}; grey, RGB, and either with alpha can be read: convert it")
    array = np.asarray(picture)
    if mode == "I" and file.format == "TIFF" and SIGNED not in tags.get(339, ()):
        array = array.view(np.uint32)  # Pillow reads values from 2³¹ on as negative ones
    if wide:
        array = _wide(path, number, array)
    if mode in ("LA", "RGBA"):
        return Page(array[..., 0] if mode == "LA" else array[..., :3], array[..., -1], None, lossy)
    return Page(TOPS[-1] - array if inverted else array, None, None, lossy)


def _wide(path: Path, number: int, bytes_: np.ndarray) -> np.ndarray:
    """Read colours of 16 bits with OpenCV; their high bytes must be those that Pillow read."""
    _, found = cv2.imreadmulti(str(path), flags=cv2.IMREAD_UNCHANGED)
    order = {2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[bytes_.shape[2]]
    array: np.ndarray = np.asarray(found[number])[..., order]
    if array.dtype != np.uint16 or not np.array_equal(array >> 8, bytes_):
        raise InputError(
            f"{path} holds colours of 16 bits in a way that can't be read exactly; save it upright, with 8 bits"
        )
    return array
