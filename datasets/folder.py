"""Pictures in a folder of the user: `images/`, `masks/`, and if there `weak/<format>/`, `dataset.toml`, `sites.csv`."""

import csv
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from benchmark import InputError
from benchmark.datasets.annotations import check_drawn, from_labels
from benchmark.datasets.base import MOST_CLASSES, ROLES, Scan, Split, UserDataset, hashed_folds
from benchmark.datasets.files import by_stem, entries, pairs, unread
from benchmark.datasets.picture_files import Images, Masks, two_valued
from benchmark.inputs import checked, read_toml
from benchmark.seal.contract import IGNORE

Grey = Annotated[float, Field(allow_inf_nan=False)]
Byte = Annotated[int, Field(ge=0, le=255)]
Distance = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Facts:
    """The entries of `dataset.toml`; all are optional."""

    name: str = ""  # in tables; the name of the folder if empty
    classes: list[str] = field(default_factory=list)  # background first; default: from the masks' values
    colours: list[tuple[Byte, Byte, Byte]] = field(default_factory=list)  # RGB of each class, if the masks are colour-coded
    values: list[Grey] = field(default_factory=list)  # grey value of each class, if the masks don't hold labels
    regions: dict[str, list[int]] = field(default_factory=dict)  # regions that are scored; default: each class
    channels: Literal[0, 1, 3] = 0  # 1 or 3; default: the first image's
    patient: str = ""  # regular expression; its first group in an image's name is the patient
    site: str = ""  # as `patient`: the site that the image is from; all images of a patient are from one
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

    Masks hold labels from 0, or 0 and 255, or colours or grey values with a table in `dataset.toml`. `weak/<format>/` holds
    drawn annotations as label maps, with 255 for unlabelled pixels. Without own splits there are five folds by patient.
    """

    root: Path

    name = "folder"
    patients_known = False

    def __post_init__(self) -> None:
        """Read `dataset.toml`, and find what it does not state."""
        path = self.root / "dataset.toml"
        given = read_toml(path) if path.is_file() else {}
        facts = self.facts = checked(Facts, _hoisted(given), str(path))
        for key in ("patient", "site"):
            try:
                re.compile(getattr(facts, key))
            except (re.error, OverflowError) as error:
                raise InputError(f"{path}: {key} is not a regular expression: {error}") from error
        first = next(iter(self._files.values()))
        for key in ("colours", "values"):
            table = getattr(facts, key)
            if len(set(table)) < len(table) or (table and facts.classes and len(table) != len(facts.classes)):
                raise InputError(f"{path}: there are {len(set(table))} {key} and {len(facts.classes)} classes")
        if facts.colours and facts.values:
            raise InputError(f"{path} has colours and values; masks hold one or the other")
        self.channels = facts.channels or self._channels(first[0])
        self.classes = tuple(facts.classes) or self._classes()
        self.regions = {k: tuple(v) for k, v in facts.regions.items()} or {c: (k,) for k, c in enumerate(self.classes) if k}
        self.set_name(facts.name or self.root.resolve().name)
        for key in ("modality", "tolerance", "redistribute", "licence", "source", "citation"):
            setattr(self, key, getattr(facts, key))
        self.patients_known = bool(facts.patient)
        self.drawn = tuple(p.name for p in entries(self.root / "weak") if p.is_dir() and not p.name.startswith("."))
        for form in self.drawn:
            check_drawn(form, str(self.root / "weak" / form))

    def patients(self) -> dict[str, list[str]]:
        """Group images by the pattern in `dataset.toml`; without one, each image is one patient."""
        found = defaultdict(list)
        for name in self._files:
            found[self._patient(name)].append(name)
        return dict(found)

    def sites(self) -> dict[str, str]:
        """Find the site of each patient in `sites.csv`, or by the pattern in `dataset.toml`; raises InputError."""
        found, table = dict[str, str](), self.root / "sites.csv"
        if self.facts.site and table.is_file():
            raise InputError(f"{table} and the pattern for sites in dataset.toml both name sites; keep one of the two")
        listed = _listed_sites(table, self._files) if table.is_file() else {}
        for patient, names in self.patients().items() if (self.facts.site or listed) and not self.cut else ():
            sites = sorted({listed[name] if listed else self._matched("site", name) for name in names})
            if len(sites) > 1:
                raise InputError(f"{self.root}: patient {patient} has images of {' and '.join(sites)}; one site has all")
            found[patient] = sites[0]
        return super().sites() or found

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
        """Read an image as a stack of its pages, mostly one, with its drawn annotations."""
        picture, mask = self._files[name]
        image = self._images.read(picture, self.channels)
        drawn = {}
        for form in self.drawn:
            if path := self._weak[form].get(name):
                try:
                    drawn[form] = from_labels(self._marks[form].read(path), len(self.classes), IGNORE, form)
                except InputError as error:
                    raise InputError(f"{path}: {error}") from error
        return Scan(name, self._patient(name), image, self._labels(mask), None, drawn)

    def intensities(self, scan: Scan) -> list[np.ndarray]:
        """Return the values of the picture."""
        return self._images.stored(self._files[scan.name][0], self.channels)

    def reading(self) -> list[str]:
        """Return what was decided about images and masks that were read."""
        read = [*self._files.values(), *(marks.values() for marks in self._weak.values())]
        known = [self.root / name for name in ("images", "masks", "weak", "dataset.toml", "sites.csv")]
        known += [self.root / "weak" / form for form in self.drawn]
        return [*self._images.notes, *self._masks.notes, *unread(chain(*read, known))]

    def _patient(self, name: str) -> str:
        return self._matched("patient", name) if self.facts.patient else name

    def _matched(self, key: str, name: str) -> str:
        """Return the first group that a pattern of `dataset.toml` finds in an image's name."""
        pattern = getattr(self.facts, key)
        match = re.search(pattern, name)
        if match is None or not match.groups() or match[1] is None:  # `a(\d+)|b(\d+)` has two groups
            raise InputError(f"the pattern for {key}s, {pattern!r}, finds no group in the name {name!r}")
        return str(match[1])

    def _labels(self, path: Path) -> np.ndarray:
        labels = two_valued(self._masks.read(path), len(self.classes))
        if labels.max() >= len(self.classes):
            raise self._masks.refusal(path, [int(k) for k in np.unique(labels) if k >= len(self.classes)])
        return labels

    def _channels(self, path: Path) -> int:
        try:
            self._images.read(path, 1)
        except InputError:
            self._images.read(path, 3)
            return 3
        return 1

    def _classes(self) -> tuple[str, ...]:
        """Name the classes by the table of colours or of values, or by the values of all masks."""
        count = len(self.facts.colours or self.facts.values)
        if not count:
            values = {int(v) for _, mask in self._files.values() for v in np.unique(self._masks.read(mask))}
            if values <= {0, 255}:
                return ("background", "object")
            count = max(values) + 1
            if count > MOST_CLASSES:
                raise self._masks.refusal(self.root / "masks", sorted(values))
        return ("background", *(f"class{k}" for k in range(1, count)))

    @cached_property
    def _images(self) -> Images:
        return Images((image for image, _ in self._files.values()), toml=self.root / "dataset.toml")

    @cached_property
    def _masks(self) -> Masks:
        facts, masks = self.facts, (mask for _, mask in self._files.values())
        toml, count = self.root / "dataset.toml", len(self.facts.classes)
        return Masks(masks, colours=facts.colours, values=facts.values, toml=toml, classes=count)

    @cached_property
    def _marks(self) -> dict[str, Masks]:
        return {form: Masks(found.values(), clear=IGNORE, exact=True) for form, found in self._weak.items()}

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


def _hoisted(given: dict[str, Any]) -> dict[str, Any]:
    """Move tables of masks out of a split: TOML reads a line that is added at the end of a file as the last table's."""
    splits = given.get("splits")
    for split in splits.values() if isinstance(splits, dict) else ():
        for key in ("colours", "values"):
            if isinstance(split, dict) and key in split and key not in given:
                given[key] = split.pop(key)
    return given


def _listed_sites(path: Path, images: Collection[str]) -> dict[str, str]:
    """Return the site of each of these images from a table with the columns `image` and `site`; raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8") from error
    rows, found = csv.DictReader(lines, skipinitialspace=True), dict[str, str]()
    if not {"image", "site"} <= set(rows.fieldnames or ()):
        raise InputError(f"{path} must have the columns image and site, with a comma between them")
    for row in rows:
        image, site = ((row[column] or "").strip() for column in ("image", "site"))
        if found.setdefault(image, site) != site:
            raise InputError(f"{path}: image {image} is of {found[image]} and {site}; it must be of one site")
    if missing := sorted(image for image in images if not found.get(image)):
        raise InputError(f"{path} has no site for image {missing[0]}; it must have one for every image, without its suffix")
    return {image: found[image] for image in images}
