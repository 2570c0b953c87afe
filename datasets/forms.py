"""The forms of annotation: what each one labels, how it is written, and its options.

A new form is an entry here, and in `simulate.py` the function that draws it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# versions of the simulators, part of a run's identity: a change in what they draw is a new version, and of `slices` also one
# in how the few marked slices are drawn into batches (`NetMethod.order`)
VERSION = 2
VERSIONS = {"noise": 4, "jitter": 3, "slices": 3}  # of these forms and options

KINDS = {
    "share": "a share: 0, or 0.0001 to 1",
    "px": "a number of px below a million",
    "count": "a whole number from 1 below a million",
}


@dataclass(frozen=True)
class Option:
    """An option of a form: its default, what its values are (one of KINDS, or words), and what it does."""

    default: float | str
    kind: str | tuple[str, ...]
    about: str

    @property
    def allowed(self) -> str:
        """What may be written."""
        return KINDS[self.kind] if isinstance(self.kind, str) else f"one of {', '.join(self.kind)}"

    def read(self, text: str) -> float | str | None:
        """The value that is written so; None if that may not be written."""
        if isinstance(self.kind, tuple):
            return text if text in self.kind else None
        try:
            value = float(text)
        except ValueError:
            return None
        if not re.fullmatch(r"[\d.]+", f"{value:g}"):  # else it could not be read again as it is written: 1e-05, inf
            return None
        if self.kind == "count":
            return int(value) if value >= 1 and value.is_integer() else None
        return value if 0 <= value <= (1 if self.kind == "share" else math.inf) else None


@dataclass(frozen=True)
class Form:
    """A form of annotation."""

    name: str
    gives: str  # labels: one class wherever it says something; or sets of several classes
    about: str  # what is labelled
    title: str  # of several, in figures and LaTeX tables
    options: Mapping[str, Option] = field(default_factory=dict)
    marks: str = ""  # what a density keeps a share of, pixels or dots; such forms have ANNOTATOR_ERRORS
    names_maker: bool = False  # it is always written with its maker: scribble:drawn, scribble:sim
    counted: bool = False  # it is written with a number of slices: slices:5

    @property
    def written(self) -> tuple[str, ...]:
        """How it is written without options."""
        endings = (":drawn", ":sim") if self.names_maker else (":k",) if self.counted else ("",)
        return tuple(self.name + ending for ending in endings)


ANNOTATOR_ERRORS = {
    "noise": Option(0.0, "share", "share of the marked pixels of a class that lie across its boundary"),
    "wrong": Option(0.0, "share", "probability that marks have another class of the slice"),
    "miss": Option(0.0, "share", "probability that a class of a slice gets no marks"),
    "shift": Option(0.0, "px", "distance by which all marks of a slice are moved"),
}
DENSITY = Option(1.0, "share", "share of the marks of each class that is kept")
FORMS = {
    form.name: form
    for form in (
        Form("full", "labels", "everything", "full masks"),
        Form(
            "scribble",
            "labels",
            "strokes along each object and around them",
            "scribbles",
            {
                "kind": Option(
                    "skeleton", ("skeleton", "curves"), "lines through the middle, or free curves and pieces of contour"
                ),
                **ANNOTATOR_ERRORS,
            },
            marks="pixels",
            names_maker=True,
        ),
        Form(
            "point",
            "labels",
            "dots in each object and in the background",
            "points",
            {
                "where": Option(
                    "random",
                    ("random", "central", "extreme"),
                    "in the inner half of an object, at its core, or at its ends",
                ),
                "n": Option(1, "count", "dots per object"),
                "background": Option(4, "count", "dots in the background"),
                **ANNOTATOR_ERRORS,
            },
            marks="dots",
        ),
        Form(
            "block",
            "labels",
            "the core of each object, and patches of background",
            "blocks",
            {
                "core": Option(0.45, "share", "depth at which the core starts, as a share of the greatest depth"),
                "patches": Option(6, "count", "patches of background"),
                **ANNOTATOR_ERRORS,
            },
            marks="pixels",
        ),
        Form(
            "box",
            "sets",
            "a tight box around each object: outside is background, inside is background or the object's class",
            "boxes",
            {"jitter": Option(0.0, "px", "distance by which each side of a box is off at most")},
        ),
        Form("tags", "sets", "which classes a slice contains: each pixel has one of them", "image tags"),
        Form(
            "slices",
            "labels",
            "k slices per patient in full (k images in all, where scans are single images)",
            "full slices",
            counted=True,
        ),
    )
}
ANNOTATIONS = tuple(text for form in FORMS.values() for text in form.written)


def learnt(claim: str | tuple[str, ...]) -> tuple[str, ...]:
    """The forms that a method of these `annotations` learns from: those that it names, or all that give what it needs.

    A label is a set of one class, so who learns from `sets` learns from all forms.
    """
    if isinstance(claim, str):
        return tuple(name for name, form in FORMS.items() if claim in ("sets", form.gives))
    return claim
