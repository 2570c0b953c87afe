"""Base class of sets of pictures: folders of images and masks, or ProCNS's HDF5 files with drawn annotations."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark import InputError
from benchmark.datasets.annotations import from_labels
from benchmark.datasets.base import Dataset, Scan, Split, check_root, label_map, stored_split
from benchmark.datasets.files import as_float, by_stem, pairs, read_hdf5
from benchmark.datasets.picture_files import Images, Masks, two_valued

DRAWN = {  # key in the files of ProCNS and FedICRA -> name of the drawn annotation
    "keypoint": "point",
    "scribble": "scribble",
    "scribble_noisy": "scribble:noisy",
    "block": "block",
    "box": "box",
}
PARTS = ("train", "test")
HDF5 = (".h5", ".hdf5")


@dataclass
class Pictures(Dataset):
    """A set of single images whose patients are not known.

    If `train/*.h5` and `test/*.h5` exist (ProCNS, FedICRA: `image`, `mask` and drawn annotations, where the number of
    classes is the value of unlabelled pixels), they are read and `official` is the only split. Else the files have the
    layout of their source. Where folders below the root hold `train/` with such files or with `images/`, as those of
    FedICRA do, each is a site, whose name its images' names begin with.
    """

    root: Path

    patients_known = False
    threshold: ClassVar[int | None] = None  # values of a mask above it are class 1; None: the values are labels

    def __post_init__(self) -> None:
        """Declare what the HDF5 files may hold."""
        if self._hdf5:
            self.drawn = tuple(DRAWN.values())

    @abstractmethod
    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        """Return image and mask by name, in the layout of the source."""

    @abstractmethod
    def _own_splits(self) -> list[str]:
        """Return the splits in the layout of the source; `official` is by folder, the others are stored."""

    def patients(self) -> dict[str, list[str]]:
        """Return each image as one patient."""
        return {name: [name] for name in self._files}

    def sites(self) -> dict[str, str]:
        """Return the folder of each image, where folders are sites."""
        paths = {name: path for name, (path, _) in self._files.items()} if self._site_folders else {}
        return super().sites() or {name: path.relative_to(self.root).parts[0] for name, path in paths.items()}

    def splits(self) -> list[str]:
        """Return `official` for HDF5 files and for sites in folders, else the splits of the set."""
        return ["official"] if self._hdf5 or self._site_folders else self._own_splits()

    def split(self, name: str) -> Split:
        """Return the images of each part."""
        if name == "official":
            parts = {name: path.relative_to(self.root).parts for name, (path, _) in self._files.items()}
            train, test = (tuple(name for name, folders in parts.items() if part in folders[:2]) for part in PARTS)
            return Split(train, (), test)
        return Split(**stored_split(self.name, name, self._files, self.root))

    def load(self, name: str) -> Scan:
        """Read an image as a stack of one slice."""
        if self._hdf5:
            return self._load_hdf5(name)
        picture, mask = self._files[name]
        image = self._images.read(picture, self.channels)
        labels = two_valued(self._masks.read(mask), len(self.classes))
        return Scan(name, name, image, labels, None, self._drawn(name, image[0]))

    def reading(self) -> list[str]:
        """Return what was decided about images and masks that were read."""
        return [*self._images.notes, *self._masks.notes]

    def _drawn(self, name: str, image: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return drawn annotations by name; most sources have none."""
        return {}

    def _load_hdf5(self, name: str) -> Scan:
        path, classes = self._files[name][0], len(self.classes)
        arrays = read_hdf5(path, ("image", "mask"), DRAWN)
        image = as_float(arrays["image"])
        image = image[None] if image.ndim == 2 else image
        mask = label_map(arrays["mask"], f"{path}, mask")
        drawn = {}
        for key in DRAWN.keys() & arrays.keys():
            if key == "box" and classes > 2:
                continue  # it does not say of which class a box is
            try:
                drawn[DRAWN[key]] = from_labels(label_map(arrays[key], f"{path}, {key}"), classes, classes, key)[None]
            except InputError as error:
                raise InputError(f"{path}, {key}: {error}") from error
        return Scan(name, name, image[None], mask[None], None, drawn)

    @cached_property
    def _files(self) -> dict[str, tuple[Path, Path]]:
        if self._hdf5:
            return self._hdf5
        check_root(self)
        return self._pairs()

    @cached_property
    def _images(self) -> Images:
        return Images(image for image, _ in self._files.values())

    @cached_property
    def _masks(self) -> Masks:
        return Masks((mask for _, mask in self._files.values()), threshold=self.threshold)

    @cached_property
    def _hdf5(self) -> dict[str, tuple[Path, Path]]:
        return self._of_sites(
            lambda root: {
                f"{part}_{stem}": (path, path) for part in PARTS for stem, path in by_stem(root / part, HDF5).items()
            }
        )

    @cached_property
    def _site_folders(self) -> list[Path]:
        found = self.root.glob("*/train")
        return sorted(path.parent for path in found if (path / "images").is_dir() or by_stem(path, HDF5))

    def _of_sites(self, find: Callable[[Path], dict[str, tuple[Path, Path]]]) -> dict[str, tuple[Path, Path]]:
        """Return what there is in the folder of each site, by its name and theirs; in the root if there are no sites."""
        if not self._site_folders:
            return find(self.root)
        return {f"{site.name}_{name}": found for site in self._site_folders for name, found in find(site).items()}


def in_parts(root: Path) -> dict[str, tuple[Path, Path]]:
    """Pair images and masks in `train/` and in `test/`; names begin with the part."""
    return {
        f"{part}_{stem}": found
        for part in PARTS
        for stem, found in pairs(root / part / "images", root / part / "masks").items()
    }
