"""Annotations: how they are written, and the sets of classes that they leave possible.

An annotation is written `FORM[:MAKER][@DENSITY][+OPTION=VALUE...]`: `scribble:drawn`, `point@0.5+noise=0.1`, `slices:5`.
The forms and their options are those of `forms.py`. `scribble/point/box` is one for each site, in the order of their names.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmark import InputError
from benchmark.datasets.base import Dataset, SplitSummary, set_type, site_names
from benchmark.datasets.forms import ANNOTATIONS, ANNOTATOR_ERRORS, DENSITY, FORMS, VERSION, VERSIONS, Form
from benchmark.inputs import nearest
from benchmark.seal.contract import IGNORE, everything


@dataclass(frozen=True)
class Annotation:
    """How training scans are annotated."""

    form: str  # one of FORMS
    maker: str = ""  # drawn, another name of drawn marks, or sim
    count: int = 0  # of slices, for a form that is counted
    density: float = 1.0  # share of the marks of each class that is kept
    options: tuple[tuple[str, float | str], ...] = ()  # those that are not the default, by name

    def __str__(self) -> str:
        """Return it as it is written."""
        maker = f":{self.count or self.maker}" if self.count or self.maker else ""
        density = f"@{self.density:g}" if self.density != 1 else ""
        return self.form + maker + density + "".join(f"+{name}={value}" for name, value in self.options)

    @property
    def title(self) -> str:
        """Its name in figures and LaTeX tables, such as `drawn scribbles` or `points (density 0.5)`."""
        first = str(self.count) if self.count else "simulated" if self.maker == "sim" else self.maker
        options = [("density", f"{self.density:g}")] * (self.density != 1) + [*self.options]
        more = f" ({', '.join(f'{name} {value}' for name, value in options)})" if options else ""
        return f"{first} {FORMS[self.form].title}".strip() + more

    def __getitem__(self, option: str) -> Any:
        """Return an option's value, a number or a word; 0 if the form has no such option."""
        known = FORMS[self.form].options
        return dict(self.options).get(option, known[option].default if option in known else 0)

    @property
    def drawn(self) -> str:
        """The name of the drawn marks in a scan; empty if they are simulated."""
        if self.maker in ("", "sim"):
            return ""
        return self.form if self.maker == "drawn" else f"{self.form}:{self.maker}"

    @property
    def parts(self) -> "tuple[Annotation, ...]":
        """Itself, at all sites."""
        return (self,)

    @property
    def version(self) -> int:
        """The version of what draws it."""
        return max(VERSIONS.get(name, VERSION) for name in (self.form, *dict(self.options)))


@dataclass(frozen=True)
class Mixed:
    """How training scans are annotated at each site."""

    parts: tuple[Annotation, ...]  # by the number of the site

    def __str__(self) -> str:
        """Return it as it is written."""
        return "/".join(map(str, self.parts))

    @property
    def title(self) -> str:
        """Its name in figures and LaTeX tables."""
        return " / ".join(part.title for part in self.parts)

    @property
    def version(self) -> int:
        """The version of what draws it."""
        return max(part.version for part in self.parts)


def of_sites(parts: Iterable[Annotation]) -> Annotation | Mixed:
    """Return the annotation of sites with these; one that is the same at all sites is that one.

    `slices:5/slices:5` is not `slices:5`: of single images that is five in all, and this is five at each site.
    """
    each = tuple(parts)
    return each[0] if len(each) == 1 or (len(set(each)) == 1 and not each[0].count) else Mixed(each)


def parse_sites(text: str) -> Annotation | Mixed:
    """Read an annotation, or one for each site; raises InputError that says what can be written."""
    return of_sites(map(parse, text.split("/")))


def check_sites(text: str, dataset: Dataset) -> None:
    """Raise InputError if an annotation for each site is not as many as the data set has sites."""
    if (count := text.count("/") + 1) == 1:
        return
    sites = sorted(set(site_names(dataset).values()))
    if count != len(sites):
        has = (
            f"has {len(sites)} ({', '.join(sites)})"
            if sites
            else f"names none; --set {dataset.parts[0].name}.sites={count} makes them"
        )
        raise InputError(f"{text!r} is for {count} sites, and {dataset.name} {has}; one form is for all sites")


def parse(text: str) -> Annotation:
    """Read an annotation; raises InputError that says what can be written."""
    match = re.fullmatch(r"(\w+)(?::(\w+))?(?:@([\d.]+))?((?:\+\w+=[\w.]+)*)", text)
    if match is None or match[1] not in FORMS:
        near = nearest(re.split("[:@+]", text)[0], FORMS)
        raise InputError(f"no annotation {text!r}{near}; there are scribble, {', '.join(ANNOTATIONS)}")
    form, maker, density = FORMS[match[1]], match[2] or "", match[3]
    given = [part.split("=") for part in match[4].split("+")[1:]]
    if len(dict(given)) < len(given):
        raise InputError(f"{text!r} states an option twice; give it one value")
    options = _options(form, dict(given), text)
    if form.counted:
        if not maker.isdecimal() or int(maker) < 1 or density:
            raise InputError(f"{text!r} must be {form.name}:k with a whole number k, such as {form.name}:5")
        return Annotation(form.name, count=int(maker))
    if density is not None and (not form.marks or not DENSITY.read(density)):
        marks = ", ".join(each.name for each in FORMS.values() if each.marks)
        raise InputError(f"{text!r}: density is a share of marks, above 0 and at most 1, of {marks}")
    if dict(options).get("where") and "n" in dict(options):
        raise InputError(f"{text!r}: n counts dots at random places; where={dict(options)['where']} sets the number itself")
    if (only := _only_simulated(text)) and maker not in ("", "sim"):
        raise InputError(f"{text!r}: {only} is an option of simulated marks; write {form.name}:sim for them")
    maker = "" if maker == "sim" and not form.names_maker else maker
    return Annotation(form.name, maker, 0, float(density or 1), options)


def check_drawn(name: str, where: str) -> None:
    """Raise InputError if no annotation can be of drawn marks of this name: `scribble`, or `scribble:MAKER`."""
    try:
        meant = parse(name if ":" in name else f"{name}:drawn").drawn
    except InputError:
        meant = ""
    if meant != name:  # also for scribble:drawn, which is how an annotation of `scribble` is written
        forms = [form.name for form in FORMS.values() if not form.counted]
        raise InputError(
            f"{where}: {name!r} is no form of drawn annotation{nearest(name, forms)}; there are {', '.join(forms)}, and "
            "FORM:NAME for a second kind of them"
        )


def _only_simulated(text: str) -> str:
    """Return an option that is stated and that drawn marks can't have; empty if there is none."""
    stated = (part.partition("=")[0] for part in text.split("+")[1:])
    return next((name for name in stated if name not in ANNOTATOR_ERRORS), "")


def _options(form: Form, given: dict[str, str], text: str) -> tuple[tuple[str, float | str], ...]:
    """Read options; returns those that are not the default, in the form's order."""
    values: dict[str, float | str] = {}
    for name, word in given.items():
        if name not in form.options:
            known = ", ".join(form.options) or "no options"
            raise InputError(f"{text!r}: {form.name} has no {name!r}{nearest(name, form.options)}; it has {known}")
        value = form.options[name].read(word)
        if value is None:
            raise InputError(f"{text!r}: {name} is {word}; it must be {form.options[name].allowed}")
        values[name] = value
    defaults = {name: option.default for name, option in form.options.items()}
    return tuple((name, values[name]) for name in defaults if values.get(name, defaults[name]) != defaults[name])


def resolve(text: str, drawn: Iterable[str], name: str) -> Annotation | Mixed:
    """Read an annotation and set its maker: drawn by people where the data set `name` has such marks, else simulated."""
    there = list(drawn)
    return of_sites(_resolve(part, there, name) for part in text.split("/"))


def _resolve(text: str, there: list[str], name: str) -> Annotation:
    annotation = parse(text)
    if not annotation.maker and ":sim" not in text and not _only_simulated(text) and annotation.form in there:
        annotation = replace(annotation, maker="drawn")
    elif not annotation.maker and FORMS[annotation.form].names_maker:
        annotation = replace(annotation, maker="sim")
    if annotation.drawn and annotation.drawn not in there:
        has = [each if ":" in each else f"{each}:drawn" for each in there]
        listed = ", ".join(has) or "no drawn annotations"
        near = nearest(f"{annotation.form}:{annotation.maker}", has)
        raise InputError(f"{name} has {listed}, not {annotation}{near}; simulate it with {annotation.form}:sim")
    return annotation


def check_simulable(annotation: Annotation | Mixed, look: SplitSummary, where: str) -> None:
    """Raise InputError if a scan lacks the dense mask that an annotation would be made of."""
    needs_mask = any(not part.drawn or part["noise"] for part in annotation.parts)
    if look.maskless and needs_mask:
        has = ", ".join(name if ":" in name else f"{name}:drawn" for name in look.drawn) or "nothing drawn either"
        raise InputError(f"{where}: {look.maskless} has no dense mask to make {annotation} of; there is {has}")


def from_labels(labels: np.ndarray, classes: int, unlabelled: int, form: str = "") -> np.ndarray:
    """Return the sets of a label map in which one value marks unlabelled pixels.

    In a `box` each pixel is of the class that is written there, or background; of `tags` it is of one of those that are
    written in its slice.
    """
    unknown = np.setdiff1d(labels, [*range(classes), unlabelled])
    if unknown.size:
        raise InputError(
            f"unknown labels {unknown.tolist()}; marks are 0 to {classes - 1}, and {unlabelled} where there is none"
        )
    table = np.full(int(labels.max()) + 1, everything(classes), set_type(classes))
    known = min(classes, table.size)
    table[:known] = 1 << np.arange(known)
    if form.partition(":")[0] == "box":
        table[:known] |= 1
        inside = labels == unlabelled
        if inside.any() and (labels != unlabelled).any() and labels.min() > 0:
            raise InputError(f"a box is marked, and no pixel outside is; write 0 outside boxes, not {unlabelled}")
        if classes > 2 and (inside.any((-2, -1)) & ~inside.all((-2, -1))).any():
            raise InputError(f"{unlabelled} does not say which of {classes - 1} classes a box is of; write its class inside")
    if unlabelled < table.size:
        table[unlabelled] = everything(classes)
    if form.partition(":")[0] == "tags":
        written = np.where(labels == unlabelled, 0, table[labels])
        tags = np.bitwise_or.reduce(written, axis=(-2, -1), keepdims=True).astype(table.dtype)
        return np.broadcast_to(np.where(tags == 0, everything(classes), tags).astype(table.dtype), labels.shape).copy()
    return table[labels]


def to_labels(allowed: np.ndarray, classes: int, unlabelled: int = IGNORE) -> np.ndarray:
    """Return the label map (uint8) of sets; pixels where more than one class is possible are unlabelled."""
    labels = np.full(allowed.shape, unlabelled, np.uint8)
    for k in range(classes):
        labels[allowed == 1 << k] = k
    return labels
