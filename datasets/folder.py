"""Pictures in a folder of the user: `images/` and `masks/`, optionally `weak/<format>/` and `dataset.toml`."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from benchmark import InputError
from benchmark.datasets.annotations import from_labels
from benchmark.datasets.base import ROLES, Scan, Split, UserDataset, hashed_folds
from benchmark.datasets.files import by_stem, pairs, read_image, read_labels
from benchmark.inputs import checked, read_toml
from benchmark.seal.contract import IGNORE

Byte = Annotated[int, Field(ge=0, le=255)]
Distance = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Facts:
    """The entries of `dataset.toml`; all are optional."""

    name: str = ""  # in tables; the name of the folder if empty
    classes: list[str] = field(default_factory=list)  # background first; default: from the masks' values
    colours: list[tuple[Byte, Byte, Byte]] = field(default_factory=list)  # RGB of each class, if the masks are colour-coded
    regions: dict[str, list[int]] = field(default_factory=dict)  # regions that are scored; default: each class
    channels: Literal[0, 1, 3] = 0  # 1 or 3; default: the first image's
    patient: str = ""  # regular expression; its first group in an image's name is the patient
    modality: str = "unknown"
    tolerance: Distance = 2.0
    redistribute: bool = False
    licence: str = "unknown"
    source: str = "unknown"
    citation: str = "unknown"
    splits: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # name -> train, val, test -> image names


@dataclass
class Folder(UserDataset):
    """`folder:PATH`: PNG, JPEG, TIFF or BMP; an image and its mask have the same name.

    Masks hold labels from 0, or 0 and 255, or colours with a table in `dataset.toml`. `weak/<format>/` holds drawn
    annotations as label maps, with 255 for unlabelled pixels. Without own splits there are five folds by patient.
    """

    root: Path

    name = "folder"
    patients_known = False

    def __post_init__(self) -> None:
        """Read `dataset.toml`, and find what it does not state."""
        path = self.root / "dataset.toml"
        given = read_toml(path) if path.is_file() else {}
        facts = self.facts = checked(Facts, given, str(path))
        try:
            re.compile(facts.patient)
        except (re.error, OverflowError) as error:
            raise InputError(f"{path}: patient is not a regular expression: {error}") from error
        first = next(iter(self._files.values()))
        self.channels = facts.channels or self._channels(first[0])
        self.classes = tuple(facts.classes) or self._classes()
        if facts.colours and len(facts.colours) != len(self.classes):
            raise InputError(f"{path}: there are {len(facts.colours)} colours and {len(self.classes)} classes")
        self.regions = {k: tuple(v) for k, v in facts.regions.items()} or {c: (k,) for k, c in enumerate(self.classes) if k}
        self.set_name(facts.name or self.root.resolve().name)
        for key in ("modality", "tolerance", "redistribute", "licence", "source", "citation"):
            setattr(self, key, getattr(facts, key))
        self.patients_known = bool(facts.patient)
        self.drawn = tuple(sorted(p.name for p in (self.root / "weak").glob("*") if p.is_dir()))

    def patients(self) -> dict[str, list[str]]:
        """Group images by the pattern in `dataset.toml`; without one, each image is one patient."""
        found = defaultdict(list)
        for name in self._files:
            found[self._patient(name)].append(name)
        return dict(found)

    def splits(self) -> list[str]:
        """Return the splits of `dataset.toml`, else five folds."""
        return list(self.facts.splits) or [f"cv5/{fold}" for fold in range(5)]

    def split(self, name: str) -> Split:
        """Return the images of each part."""
        if not self.facts.splits:
            return hashed_folds(self.patients(), 5)[int(name.rpartition("/")[2])]
        given = self.facts.splits[name]
        if unknown := set(given) - set(ROLES):
            raise InputError(f"{self.root / 'dataset.toml'}: split {name} has {sorted(unknown)}; parts are train, val, test")
        return Split(*(tuple(given.get(role, ())) for role in ROLES))

    def load(self, name: str) -> Scan:
        """Read an image as a stack of one slice, with its drawn annotations."""
        picture, mask = self._files[name]
        image = read_image(picture, self.channels)
        drawn = {}
        for form in self.drawn:
            if path := self._weak[form].get(name):
                try:
                    drawn[form] = from_labels(read_labels(path), len(self.classes), IGNORE)[None]
                except InputError as error:
                    raise InputError(f"{path}: {error}") from error
        return Scan(name, self._patient(name), image[None], self._labels(mask)[None], None, drawn)

    def _patient(self, name: str) -> str:
        if not self.facts.patient:
            return name
        match = re.search(self.facts.patient, name)
        if match is None or not match.groups():
            raise InputError(f"the pattern for patients, {self.facts.patient!r}, finds no group in the name {name!r}")
        return str(match[1])

    def _labels(self, path: Path) -> np.ndarray:
        labels = read_labels(path, self.facts.colours)
        return labels // 255 if len(self.classes) == 2 and set(np.unique(labels)) <= {0, 255} else labels

    def _channels(self, path: Path) -> int:
        try:
            read_image(path, 1)
        except InputError:
            read_image(path, 3)
            return 3
        return 1

    def _classes(self) -> tuple[str, ...]:
        """Name the classes by the values of all masks."""
        if self.facts.colours:
            return ("background", *(f"class{k}" for k in range(1, len(self.facts.colours))))
        values = {int(v) for _, mask in self._files.values() for v in np.unique(read_labels(mask))}
        if values <= {0, 255}:
            return ("background", "object")
        if max(values) > 30:
            raise InputError(
                f"the masks in {self.root / 'masks'} hold {sorted(values)[:8]}...; name the classes in dataset.toml"
            )
        return ("background", *(f"class{k}" for k in range(1, max(values) + 1)))

    @cached_property
    def _files(self) -> dict[str, tuple[Path, Path]]:
        if not self.root.is_dir():
            raise InputError(f"there is no folder {self.root}")
        return pairs(self.root / "images", self.root / "masks")

    @cached_property
    def _weak(self) -> dict[str, dict[str, Path]]:
        found = {form: by_stem(self.root / "weak" / form) for form in self.drawn}
        for path in (path for marks in found.values() for name, path in marks.items() if name not in self._files):
            raise InputError(f"{path} has no image in {self.root / 'images'}; marks have the name of their image")
        return found
