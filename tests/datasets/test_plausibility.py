"""Files that are probably not what they are read as are warned of; what is only unusual is not."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from benchmark.datasets.annotations import from_labels
from benchmark.datasets.base import Dataset, Scan, Split, summarise
from benchmark.datasets.plausibility import implausible

SHAPE = (1, 20, 20)
COUNT = 20  # scans of a data set


@dataclass
class Held(Dataset):
    """A data set in memory: a scan for each mask, with the same image and the same marks."""

    root: Path
    masks: list[np.ndarray | None]
    spans: list[float] = field(default_factory=lambda: [1.0] * COUNT)  # of the images' intensities
    marks: dict[str, list[np.ndarray]] = field(default_factory=dict)  # label maps by form, 255 is unlabelled
    classes: tuple[str, ...] = ("background", "ring", "core")
    names: tuple[str, ...] = tuple(f"scan{k}" for k in range(COUNT))
    owners: tuple[str, ...] = tuple(f"patient{k}" for k in range(COUNT))

    name = "held"

    def patients(self):
        return {owner: [name] for owner, name in zip(self.owners, self.names, strict=False)}

    def splits(self):
        return ["all"]

    def split(self, name):
        return Split(self.names, (), ())

    def load(self, name):
        k = self.names.index(name)
        image = np.linspace(0, self.spans[k], 400, dtype=np.float32).reshape(1, *SHAPE)
        drawn = {form: from_labels(maps[k], len(self.classes), 255) for form, maps in self.marks.items() if k < len(maps)}
        return Scan(name, self.owners[k], image, self.masks[k], None, drawn)


def said(masks, **others):
    """The warnings about a data set of these masks."""
    dataset = Held(Path(), masks, **others)
    scans = {name: summarise(dataset.load(name), len(dataset.classes)) for name in dataset.names}
    return implausible(dataset, scans)


def mask(*boxes):
    """A mask with squares of 1, 2, ..., each from a row and column to a row and column."""
    labels = np.zeros(SHAPE, np.uint8)
    for k, (low, high) in enumerate(boxes, 1):
        labels[:, low:high, low:high] = k
    return labels


NESTED = mask((4, 16), (8, 12))  # 256 px of background, 128 of the ring, 16 of the core
INSIDE_OUT = np.array([1, 0, 2], np.uint8)[NESTED]  # background and ring exchanged
EMPTY = mask()
FULL = mask((0, 20))


def on(labels, share, wrong=0):
    """Marks on a share of the pixels of each class, evenly; so many of a class's marks are of the next class's pixels."""
    marks = np.full(labels.shape, 255, np.uint8)
    for k in range(3):
        places = np.flatnonzero(labels == k)
        marks.flat[places[: round(share * len(places))]] = k
        others = np.flatnonzero(labels == (k + 1) % 3)[::-1][: wrong if k == 0 else 0]
        marks.flat[others] = k
    return marks


def without(marks, k):
    """Marks without those of a class."""
    return np.where(marks == k, 255, marks).astype(np.uint8)


def some(wrong, count, right=NESTED):
    """So many of one, and the other to make up a data set."""
    return [wrong] * count + [right] * (COUNT - count)


def test_a_data_set_that_is_right_has_no_warning():
    assert said([NESTED] * COUNT, marks={"scribble": [on(NESTED, 0.2)] * COUNT}) == []


# what is said -> the data sets that are just wrong, and those that are just right
FOUND = {
    "intensities of 1 of 20 scans (scan0) span at most 0.09 of the range": (
        {"masks": [NESTED] * COUNT, "spans": [0.09] + [1.0] * 19},
        {"masks": [NESTED] * COUNT, "spans": [0.11] + [1.0] * 19},
    ),
    "the mask is one object everywhere in 1 of 20 scans (scan0)": (
        {"masks": some(FULL, 1)},
        {"masks": some(FULL * (np.indices(SHAPE).sum(0) > 0), 1)},  # but for a corner
    ),
    "the mask is background everywhere in 11 of 20 scans (scan0, scan1, scan10, ...)": (
        {"masks": some(EMPTY, 11)},
        {"masks": some(EMPTY, 10)},
    ),
    "no mask holds core": ({"masks": [mask((4, 16))] * COUNT}, {"masks": some(NESTED, 1, mask((4, 16)))}),
    "ring surrounds everything else in the masks of 3 of 20 scans (scan0, scan1, scan2); are background and ring": (
        {"masks": some(INSIDE_OUT, 3)},
        {"masks": some(INSIDE_OUT, 2)},
    ),
    "the drawn scribble labels every pixel of 1 of 20 scans (scan0)": (
        {"masks": [NESTED] * COUNT, "marks": {"scribble": some(NESTED, 1, on(NESTED, 0.2))}},
        {"masks": [NESTED] * COUNT, "marks": {"scribble": some(on(NESTED, 0.98), 1, on(NESTED, 0.2))}},
    ),
    "the drawn block never marks core": (
        {"masks": [NESTED] * COUNT, "marks": {"block": [without(on(NESTED, 0.2), 2)] * COUNT}},
        {"masks": [NESTED] * COUNT, "marks": {"block": some(on(NESTED, 0.2), 1, without(on(NESTED, 0.2), 2))}},
    ),
    "the mask contradicts 5.6% of the pixels that the drawn scribble marks as background": (
        {"masks": [NESTED] * COUNT, "marks": {"scribble": [on(NESTED, 0.2, wrong=3)] * COUNT}},
        {"masks": [NESTED] * COUNT, "marks": {"scribble": [on(NESTED, 0.2, wrong=2)] * COUNT}},
    ),
    "names of scans differ only in case or Unicode form: 'P0' and 'p0'": (
        {"masks": [NESTED] * 2, "names": ("P0", "p0")},
        {"masks": [NESTED] * 2, "names": ("P0", "p1")},
    ),
}


@pytest.mark.parametrize("message", FOUND)
def test_it_is_said_from_its_threshold_on(message):
    wrong, right = FOUND[message]
    assert any(text.startswith(f"held: {message}") for text in said(**wrong)), said(**wrong)
    assert said(**right) == []


def test_names_of_patients_and_classes_are_compared_too_in_either_unicode_form():
    alike = ("cafe\u0301", "caf\u00e9")
    classes = ("background", "Ring", "ring")
    assert said([NESTED] * 2, names=("a", "b"), owners=alike, classes=classes) == [
        r"held: names of patients differ only in case or Unicode form: 'cafe\u0301' and 'caf\xe9'; are they the same?",
        "held: names of classes differ only in case or Unicode form: 'Ring' and 'ring'; are they the same?",
    ]


def test_marks_without_masks_are_judged_by_what_they_name():
    drawn = {"scribble": [without(on(NESTED, 0.2), 1)] * COUNT}
    assert said([None] * COUNT, marks=drawn) == [
        "held: the drawn scribble never marks ring; a class without marks can't be learnt"
    ]


def test_boxes_may_leave_little_open_and_name_background_alone():
    small = mask((9, 10))
    box = np.where(small, 255, 0).astype(np.uint8)
    assert said([small] * COUNT, classes=("background", "spot"), marks={"box": [box] * COUNT}) == []


def test_a_few_wrong_marks_of_a_class_with_few_marks_say_nothing():
    """19 scans without marks, and one with 51 of background, of which 3 are wrong."""
    assert said([NESTED] * COUNT, marks={"scribble": [on(NESTED, 0.2, wrong=3)]}) == []


def test_one_bright_pixel_does_not_widen_a_range():
    image = np.full((1, 1, 100, 100), 0.001, np.float32)
    image[0, 0, 0, 0] = 1
    assert summarise(Scan("a", "a", image, None), 2).span == 0
