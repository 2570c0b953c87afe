"""The raw layout of nnU-Net v2: data sets in that layout, such as those of ScribbleBench."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from benchmark import InputError
from benchmark.datasets.annotations import check_drawn, from_labels
from benchmark.datasets.base import Scan, Split, UserDataset, hashed_folds, label_map
from benchmark.datasets.files import PICTURES, by_stem, scaled, unread
from benchmark.datasets.nifti import NIFTI, Grid, read_nifti, read_onto
from benchmark.datasets.picture_files import Images, Masks, two_valued
from benchmark.inputs import checked

ENDINGS = (*NIFTI, *PICTURES)
NEEDED = ("labels", "channel_names", "file_ending")
READERS = ("None", "SimpleITKIO", "NibabelIO", "SimpleITKIOWithReorient", "NibabelIOWithReorient", "NaturalImage2DIO")
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$")]


@dataclass(frozen=True)
class Facts:
    """The entries of `dataset.json` that are read; others are ignored."""

    labels: dict[Text, int | list[int]]
    channel_names: Annotated[dict[str, Text], Field(min_length=1, max_length=100)]
    file_ending: str
    regions_class_order: list[int] | None = None  # only nnU-Net's own predictions need it
    overwrite_image_reader_writer: str | None = None


@dataclass
class NnUnet(UserDataset):
    """`nnunet:PATH`: `dataset.json`, `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`; maybe `imagesTs`, `labelsTs`.

    Images are NIfTI volumes with spacing (scaled to [0, 1] between their percentiles 0.5 and 99.5), or pictures. Labels
    with the `ignore` value are drawn annotations, of the form that `annotation` names, not a dense mask. With `labelsTs`
    the split is `official`; else there are five folds of the training part.
    """

    root: Path
    annotation: str = "scribble"  # form of the labels that have an `ignore` class

    name = "nnunet"
    patients_known = True

    def __post_init__(self) -> None:
        """Read `dataset.json`."""
        facts = _facts(self.root / "dataset.json")
        self.ending = facts.file_ending
        self.classes, self.regions, self.ignore = _classes(facts, self.root / "dataset.json")
        self.channel_names = tuple(facts.channel_names[str(c)] for c in range(len(facts.channel_names)))
        self.channels = len(self.channel_names)
        self.pictures = self.ending in PICTURES
        rgb = self.pictures and self.channels == 3 and (self.root / "imagesTr").is_dir() and not self._plane(1)
        self.files_per_case = 1 if rgb else self.channels
        self.set_name(self.root.resolve().name)
        self.modality = ", ".join(self.channel_names)
        self.drawn = (self.annotation,) if self.ignore is not None else ()
        check_drawn(self.annotation, f"{self.root}, annotation")

    def patients(self) -> dict[str, list[str]]:
        """Return each case as one patient."""
        return {name: [name] for name in self._files}

    def splits(self) -> list[str]:
        """Return `official` if there are test labels, else five folds."""
        return ["official"] if self._test else [f"cv5/{fold}" for fold in range(5)]

    def split(self, name: str) -> Split:
        """Return the cases of each part."""
        train = [case for case in self._files if case not in self._test]
        if name == "official":
            return Split(tuple(train), (), tuple(self._test))
        return hashed_folds({case: [case] for case in train}, 5)[int(name.rpartition("/")[2])]

    def load(self, name: str) -> Scan:
        """Read a case with its dense mask or its drawn annotations."""
        images, path = self._files[name]
        if not self.pictures:
            volumes, grid = _volumes(images)
            image = np.stack([scaled(volume) for volume in volumes], 1)
            labels, spacing, affine = read_onto(path, grid), grid.spacing, grid.affine
        else:
            spacing, affine, each = None, None, self.channels if len(images) == 1 else 1
            planes = [channel.read(path, each) for channel, path in zip(self._images, images, strict=True)]
            if len({plane.shape for plane in planes}) > 1:
                raise InputError(f"{images[0]}: its channels have shapes {[plane.shape for plane in planes]}")
            image = np.concatenate(planes, 1)
            labels = self._masks.read(path)
            labels = labels if self._is_marked(labels) else two_valued(labels, len(self.classes))
        values = label_map(labels, str(path))
        mask, drawn = None if self._is_marked(values) else values, {}
        if self.ignore is not None and name not in self._test and self._has_marks:
            try:
                drawn[self.annotation] = from_labels(values, len(self.classes), self.ignore, self.annotation)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
        return Scan(name, name, image, mask, spacing, drawn, affine)

    def _is_marked(self, labels: np.ndarray) -> bool:
        """Whether labels leave pixels unlabelled."""
        return self.ignore is not None and bool((labels == self.ignore).any())

    @cached_property
    def _has_marks(self) -> bool:
        """Whether a training case leaves pixels unlabelled; then the labels of the others are marks, too."""
        paths = (path for case, (_, path) in self._files.items() if case not in self._test)
        return any(self._is_marked(self._masks.read(path) if self.pictures else read_nifti(path)[0]) for path in paths)

    def intensities(self, scan: Scan) -> list[np.ndarray]:
        """Return the intensities of the volumes, or the values of the pictures."""
        images = self._files[scan.name][0]
        if not self.pictures:
            return _volumes(images)[0]
        each = self.channels if len(images) == 1 else 1
        return [plane for channel, path in zip(self._images, images, strict=True) for plane in channel.stored(path, each)]

    def _plane(self, number: int, part: str = "Tr") -> dict[str, Path]:
        """Return the images of one channel of a part, by case."""
        return by_stem(self.root / f"images{part}", (f"_{number:04d}{self.ending}",))

    def reading(self) -> list[str]:
        """Return what was decided about pictures that were read."""
        notes = [f"channel {c}, {note}" for c, channel in enumerate(self._images) for note in channel.notes]
        read = (path for images, label in self._files.values() for path in (*images, label))
        return [*notes, *self._masks.notes, *unread(read)]

    @cached_property
    def _images(self) -> list[Images]:
        """Readers of pictures, one for each file of a case."""
        return [Images(paths) for paths in zip(*(images for images, _ in self._files.values()), strict=True)]

    @cached_property
    def _masks(self) -> Masks:
        return Masks((label for _, label in self._files.values()), exact=self.ignore is not None)

    @cached_property
    def _test(self) -> list[str]:
        return list(by_stem(self.root / "labelsTs", (self.ending,)))

    @cached_property
    def _files(self) -> dict[str, tuple[list[Path], Path]]:
        found = {}
        for part in ("Tr", "Ts"):
            planes = [self._plane(number, part) for number in range(self.files_per_case)]
            for case, label in by_stem(self.root / f"labels{part}", (self.ending,)).items():
                if missing := [number for number, plane in enumerate(planes) if case not in plane]:
                    name = f"{case}_{missing[0]:04d}{self.ending}"
                    raise InputError(f"{label} has no image {self.root / f'images{part}' / name}")
                if case in found:
                    raise InputError(f"{self.root} has case {case} in labelsTr and in labelsTs")
                found[case] = [plane[case] for plane in planes], label
        if not found:
            raise InputError(f"{self.root / 'labelsTr'} holds no file *{self.ending}")
        if unlabelled := sorted(self._plane(0).keys() - found.keys()):
            raise InputError(f"{self.root / 'labelsTr'} has no label of case {unlabelled[0]}, which is in imagesTr")
        return found


def _volumes(paths: list[Path]) -> tuple[list[np.ndarray], Grid]:
    """Read the channels of a case; all are brought into the order in which the first is stored."""
    first, grid = read_nifti(paths[0])
    return [first, *(read_onto(path, grid) for path in paths[1:])], grid


def _classes(facts: Facts, path: Path) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]], int | None]:
    """Return the classes by value; what the file names, except the background, as regions to score; the ignore value.

    A value that only regions hold is called `classK`.
    """
    given = {name: value for name, value in facts.labels.items() if name != "ignore"}
    named = {name: (value,) if isinstance(value, int) else tuple(value) for name, value in given.items()}
    plain = [name for name, value in given.items() if isinstance(value, int)]
    values, ignore = sorted({value for region in named.values() for value in region}), facts.labels.get("ignore")
    if (
        len(values) < 2
        or values != list(range(len(values)))
        or len({given[name] for name in plain}) < len(plain)
        or (0,) not in (named[name] for name in plain)
        or isinstance(ignore, list)
        or ignore in values
    ):
        raise InputError(
            f"{path}: labels are {facts.labels}; there must be classes 0, 1, ... without a gap and with one name each, "
            "lists of them, and at most an ignore, of another value"
        )
    names = {region[0]: name for name, region in reversed(named.items()) if len(region) == 1 and name not in plain}
    names |= {named[name][0]: name for name in plain}
    classes = tuple(names.get(k) or _free(f"class{k}", named) for k in values)
    regions = {name: region for name, region in named.items() if region != (0,)}
    order = facts.regions_class_order
    if order is not None and len(plain) < len(named) and (len(order) != len(regions) or not set(order) <= set(values[1:])):
        raise InputError(
            f"{path}: regions_class_order is {order} for {', '.join(regions)}; it must hold one of the labels for each"
        )
    return classes, regions, ignore


def _free(name: str, names: Collection[str]) -> str:
    """Return a name that is not one of `names`."""
    return name if name not in names else _free(f"{name}_", names)


def _facts(path: Path) -> Facts:
    """Read and check `dataset.json`."""
    try:
        given: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}; nnU-Net's raw layout has one") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error!r}; it needs labels, channel_names and file_ending") from error
    if isinstance(given, dict) and _is_version_1(given):
        raise InputError(
            f"{path} is of nnU-Net's version 1; for version 2 call modality channel_names, write labels as name: number "
            "instead of number: name, and add file_ending"
        )
    missing = [name for name in NEEDED if not isinstance(given, dict) or name not in given]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; it needs labels, channel_names and file_ending")
    facts = checked(Facts, {name: given[name] for name in Facts.__annotations__ if name in given}, str(path))
    if set(facts.channel_names) != {str(c) for c in range(len(facts.channel_names))}:
        raise InputError(f"{path}: channel_names has {', '.join(facts.channel_names):.200}; channels are 0, 1, ...")
    if (reader := facts.overwrite_image_reader_writer) is not None and reader not in READERS:
        raise InputError(
            f"{path}: overwrite_image_reader_writer is {reader!r:.100}; files for {', '.join(READERS[1:])} can be read"
        )
    if "dataset" in given:
        raise InputError(f"{path} lists its files under dataset; put them into imagesTr and labelsTr, and remove that entry")
    if facts.file_ending not in ENDINGS:
        raise InputError(f"{path}: file_ending is {facts.file_ending!r:.100}; {', '.join(ENDINGS)} can be read")
    return facts


def _is_version_1(given: Mapping[str, Any]) -> bool:
    """Return whether `dataset.json` is of nnU-Net's first version or of the Medical Segmentation Decathlon."""
    labels = given.get("labels")
    numbered = isinstance(labels, dict) and bool(labels) and all(name.isdecimal() for name in labels)
    return ("modality" in given and "channel_names" not in given) or numbered
