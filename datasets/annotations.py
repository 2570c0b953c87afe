"""Annotations: how they are written, and the sets of classes that they leave possible."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmark import InputError
from benchmark.datasets.base import SplitSummary

ANNOTATIONS = ("full", "scribble:drawn", "scribble:sim", "point", "block", "box", "tags", "slices:k")
MARKS: dict[str, dict[str, float | str]] = {  # forms made of marks, with their options
    "scribble": {"kind": "skeleton"},  # or curves
    "point": {"where": "random", "n": 1, "background": 4},  # random, central or extreme; dots per object; in all
    "block": {"core": 0.45, "patches": 6},  # depth it begins at, as a share of the deepest; patches of background
}
FAULTS: dict[str, float | str] = {"noise": 0.0, "wrong": 0.0, "miss": 0.0, "shift": 0.0}
OPTIONS: dict[str, dict[str, float | str]] = {
    **{form: options | FAULTS for form, options in MARKS.items()},
    "box": {"jitter": 0.0},  # px, the most by which a side is off
    **{form: {} for form in ("full", "tags", "slices")},
}
CHOICES = {"kind": ("skeleton", "curves"), "where": ("random", "central", "extreme")}


@dataclass(frozen=True)
class Annotation:
    """How training scans are annotated.

    `density` is the share of the marks of each class that is kept. Faults of the annotator, 0 by default: `noise`, the
    share of a class's marked pixels that lie across its boundary; `wrong` and `miss`, the probabilities that marks name
    another class of the slice and that a class of a slice is forgotten; `shift`, px by which a slice's marks are off.
    """

    form: str
    maker: str = ""  # drawn, another name of drawn marks, or sim
    count: int = 0  # of slices:k
    density: float = 1.0
    options: tuple[tuple[str, float | str], ...] = ()  # those that are not the default, by name

    def __str__(self) -> str:
        """As it is written."""
        maker = f":{self.count or self.maker}" if self.count or self.maker else ""
        density = f"@{self.density:g}" if self.density != 1 else ""
        return self.form + maker + density + "".join(f"+{name}={value}" for name, value in self.options)

    def __getitem__(self, option: str) -> Any:
        """An option's value, a number or a word; 0 if the form has no such option."""
        return dict(self.options).get(option, OPTIONS[self.form].get(option, 0))

    @property
    def drawn(self) -> str:
        """The name of the drawn marks in a scan; empty if they are simulated."""
        if self.maker in ("", "sim") or self.form == "slices":
            return ""
        return self.form if self.maker == "drawn" else f"{self.form}:{self.maker}"


def parse(text: str) -> Annotation:
    """The annotation that is written so; raises InputError that says what can be written."""
    match = re.fullmatch(r"(\w+)(?::(\w+))?(?:@([\d.]+))?((?:\+\w+=[\w.]+)*)", text)
    if match is None or match[1] not in OPTIONS:
        raise InputError(f"no annotation {text!r}; there are scribble, {', '.join(ANNOTATIONS)}")
    form, maker, density, given = match[1], match[2] or "", match[3], match[4]
    options = dict(part.split("=") for part in given.split("+")[1:])
    if form == "slices":
        if not maker.isdigit() or int(maker) < 1 or density or options:
            raise InputError(f"{text!r} must be slices:k with a whole number k, such as slices:5")
        return Annotation(form, count=int(maker))
    if density is not None and (form not in MARKS or not 0 < _number(density, text) <= 1):
        raise InputError(f"{text!r}: density is a share of marks, above 0 and at most 1, of {', '.join(MARKS)}")
    known = OPTIONS[form]
    for name in options:
        if name not in known:
            raise InputError(f"{text!r}: {form} has no {name!r}; it has {', '.join(known) or 'no options'}")
    values = tuple(
        (name, value) for name in known if name in options and (value := _option(name, options[name], text)) != known[name]
    )
    if values and form not in MARKS and maker not in ("", "sim"):
        raise InputError(f"{text!r}: drawn {form} annotations are taken as they are")
    maker = "" if maker == "sim" and form != "scribble" else maker
    return Annotation(form, maker, 0, float(density or 1), values)


def resolve(text: str, drawn: Iterable[str], name: str) -> Annotation:
    """The annotation with its maker said: drawn by people where a set called `name` has such, else simulated."""
    annotation, there = parse(text), list(drawn)
    if not annotation.maker and ":sim" not in text and annotation.form in there:
        annotation = replace(annotation, maker="drawn")
    elif not annotation.maker and annotation.form == "scribble":
        annotation = replace(annotation, maker="sim")
    if annotation.drawn and annotation.drawn not in there:
        has = ", ".join(d if ":" in d else f"{d}:drawn" for d in there) or "no drawn annotations"
        raise InputError(f"{name} has {has}, not {annotation}; simulate it with {annotation.form}:sim")
    return annotation


def check_simulable(annotation: Annotation, look: SplitSummary, where: str) -> None:
    """Raise InputError where an annotation is to be made of masks that are not there."""
    needs_mask = not annotation.drawn or annotation["noise"]
    if look.maskless and needs_mask:
        has = ", ".join(name if ":" in name else f"{name}:drawn" for name in look.drawn) or "nothing drawn either"
        raise InputError(f"{where}: {look.maskless} has no dense mask to make {annotation} of; there is {has}")


def set_type(classes: int) -> np.dtype:
    """The integer type that holds sets of so many classes."""
    if not 2 <= classes <= 31:
        raise InputError(f"there are {classes} classes; a label set holds 2 to 31")
    return np.dtype(np.uint8 if classes <= 8 else np.int32)


def everything(classes: int) -> int:
    """OPEN: the set of all classes."""
    return (1 << classes) - 1


def from_labels(labels: np.ndarray, classes: int, unlabelled: int) -> np.ndarray:
    """Sets from a label map in which one value marks pixels that nobody labelled."""
    unknown = np.setdiff1d(labels, [*range(classes), unlabelled])
    if unknown.size:
        raise InputError(
            f"unknown labels {unknown.tolist()}; marks are 0 to {classes - 1}, and {unlabelled} where there is none"
        )
    table = np.full(int(labels.max()) + 1, everything(classes), set_type(classes))
    known = min(classes, table.size)
    table[:known] = 1 << np.arange(known)
    if unlabelled < table.size:
        table[unlabelled] = everything(classes)
    return table[labels]


def to_labels(allowed: np.ndarray, classes: int, unlabelled: int = 255) -> np.ndarray:
    """A label map (uint8) from sets; pixels that more than one class is possible for are unlabelled."""
    labels = np.full(allowed.shape, unlabelled, np.uint8)
    for k in range(classes):
        labels[allowed == 1 << k] = k
    return labels


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where!r}: {text!r} is no number") from None


def _option(name: str, text: str, where: str) -> float | str:
    """An option's value, of the kind that its default has."""
    if name in CHOICES:
        if text not in CHOICES[name]:
            raise InputError(f"{where!r}: {name} is {text!r}; it may be {', '.join(CHOICES[name])}")
        return text
    value = _number(text, where)
    if name in ("n", "background", "patches"):
        if value < 1 or value != int(value):
            raise InputError(f"{where!r}: {name} is {text}; it must be a whole number from 1")
        return int(value)
    if name not in ("shift", "jitter") and value > 1:
        raise InputError(f"{where!r}: {name} is {text}; it must be a share, 0 to 1")
    return value
