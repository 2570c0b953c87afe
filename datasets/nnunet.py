"""The raw layout of nnU-Net v2: data sets in that layout, such as those of ScribbleBench."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from benchmark import InputError
from benchmark.datasets.annotations import from_labels
from benchmark.datasets.base import Scan, Split, UserDataset, hashed_folds, label_map
from benchmark.datasets.files import PICTURES, Spacing, by_stem, read_nifti, scaled
from benchmark.datasets.picture_files import Images, Masks, two_valued
from benchmark.inputs import checked

ENDINGS = (".nii.gz", ".nii", *PICTURES)
NEEDED = ("labels", "channel_names", "file_ending")
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$")]


@dataclass(frozen=True)
class Facts:
    """The entries of `dataset.json` that are read; others are ignored."""

    labels: Mapping[str, int | list[int]]
    channel_names: Annotated[dict[str, Text], Field(min_length=1, max_length=100)]
    file_ending: str


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
        path = self.root / "dataset.json"
        facts = _facts(path)
        labels, names, self.ending = dict(facts.labels), facts.channel_names, facts.file_ending
        ignore = labels.pop("ignore", None)
        plain = {name: value for name, value in labels.items() if isinstance(value, int)}
        order = sorted(plain, key=lambda name: plain[name])
        if [plain[name] for name in order] != list(range(len(order))) or len(order) < 2 or isinstance(ignore, list):
            raise InputError(f"{path}: labels are {facts.labels}; there must be classes 0, 1, ... and at most an ignore")
        self.ignore = ignore
        self.classes = tuple(order)
        regions = {name: tuple(value) for name, value in labels.items() if isinstance(value, list)}
        self.regions = regions or {name: (k,) for k, name in enumerate(order) if k}
        self.pictures = self.ending in PICTURES
        rgb = self.pictures and len(names) == 3 and (self.root / "imagesTr").is_dir() and not self._plane(1)
        self.files_per_case = 1 if rgb else len(names)
        self.channels = len(names)
        self.set_name(self.root.resolve().name)
        self.modality = ", ".join(names.values())
        self.drawn = (self.annotation,) if self.ignore is not None else ()

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
            volumes = [read_nifti(image) for image in images]
            if len({volume.shape for volume, _ in volumes}) > 1:
                raise InputError(f"{images[0]}: its channels have shapes {[volume.shape for volume, _ in volumes]}")
            image = np.stack([scaled(volume) for volume, _ in volumes], 1)
            spacing: Spacing | None = volumes[0][1]
            labels = read_nifti(path)[0]
        else:
            spacing, each = None, self.channels if len(images) == 1 else 1
            planes = [channel.read(path, each) for channel, path in zip(self._images, images, strict=True)]
            if len({plane.shape for plane in planes}) > 1:
                raise InputError(f"{images[0]}: its channels have shapes {[plane.shape for plane in planes]}")
            image = np.concatenate(planes, 1)
            labels = self._masks.read(path)
            labels = two_valued(labels, len(self.classes)) if self.ignore is None else labels
        values = label_map(labels, str(path))
        if self.ignore is None or not (values == self.ignore).any():
            return Scan(name, name, image, values, spacing)
        try:
            drawn = from_labels(values, len(self.classes), self.ignore)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return Scan(name, name, image, None, spacing, {self.annotation: drawn})

    def _plane(self, number: int) -> dict[str, Path]:
        """Return the images of one channel of the training part, by case."""
        ending = f"_{number:04d}{self.ending}"
        return by_stem(self.root / "imagesTr", (ending,))

    def reading(self) -> list[str]:
        """Return what was decided about pictures that were read."""
        notes = [f"channel {c}, {note}" for c, channel in enumerate(self._images) for note in channel.notes]
        return [*notes, *self._masks.notes]

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
            for case, label in by_stem(self.root / f"labels{part}", (self.ending,)).items():
                numbers = range(self.files_per_case)
                images = [self.root / f"images{part}" / f"{case}_{number:04d}{self.ending}" for number in numbers]
                for image in images:
                    if not image.is_file():
                        raise InputError(f"{label} has no image {image}")
                if case in found:
                    raise InputError(f"{self.root} has case {case} in labelsTr and in labelsTs")
                found[case] = images, label
        if not found:
            raise InputError(f"{self.root / 'labelsTr'} holds no file *{self.ending}")
        return found


def _facts(path: Path) -> Facts:
    """Read and check `dataset.json`."""
    try:
        given: Any = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}; nnU-Net's raw layout has one") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error!r}; it needs labels, channel_names and file_ending") from error
    missing = [name for name in NEEDED if not isinstance(given, dict) or name not in given]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; it needs labels, channel_names and file_ending")
    facts = checked(Facts, {name: given[name] for name in NEEDED}, str(path))
    if facts.file_ending not in ENDINGS:
        raise InputError(f"{path}: file_ending is {facts.file_ending!r:.100}; {', '.join(ENDINGS)} can be read")
    return facts
