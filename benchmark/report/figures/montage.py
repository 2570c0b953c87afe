"""Montages: the best, the median and the worst case of each column, with predictions and their errors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from benchmark.images import COLOURS, UNLABELLED
from benchmark.plan.plugins import PRIOR
from benchmark.report.figures.cases import Case
from benchmark.report.figures.style import DPI, KINDS, SETTINGS, FigureSpec, Provenance, SavedFigure, plain, save, wrapped
from benchmark.report.summary import default_reference

RULES = {1: ("the only case",), 2: ("best", "worst"), 3: ("best", "median", "worst")}
METHODS = 11  # that are shown
TILE, GAP, LINE = 132, 6, 17  # px: a picture, the space between two, a line of text
ERRORS = {"false positive": "#bb5566", "false negative": "#004488", "wrong class": "#ddaa33"}  # Tol's: no class has them
OPACITY = 0.55  # of a class over the image
FADED = 0.3  # how much of the image is seen below errors


def montage(
    cases: Mapping[str, Sequence[Case]], roles: Mapping[str, str], folder: Path, kinds: Sequence[str] = KINDS
) -> list[SavedFigure]:
    """Save a figure per column: its cases from the best to the worst, as `Gallery.examples` gives them; and give them.

    roles: of rows, as `Rows.roles` gives them.
    """
    drawn = []
    with mpl.rc_context(SETTINGS):
        for number, (column, own) in enumerate((each for each in cases.items() if each[1]), 1):
            name = f"montage{number}" if number > 1 else "montage"
            places = dict.fromkeys((0, len(own) // 2, len(own) - 1))
            drawn.append(save(_montage(name, column, [own[place] for place in places], roles), folder, kinds))
    return drawn


def _montage(name: str, column: str, cases: Sequence[Case], roles: Mapping[str, str]) -> FigureSpec:
    methods, left_out = _chosen(cases, roles)
    blocks = [_block(case, methods) for case in cases]
    figure, panel = _canvas(np.concatenate(blocks), 3 + len(methods))
    for place, heading in enumerate(("image", "marks", *methods, "truth")):
        _write(panel, place, -6, wrapped(heading, 15), va="baseline")
    for number, (case, rule) in enumerate(zip(cases, RULES[len(cases)], strict=True)):
        top = number * len(blocks[0])
        _write(panel, 0, top + TILE + 3, _case_label(case, rule), va="top", ha="left")
        for place, method in enumerate(methods, 2):
            dice = case.scores.get(method, {}).get("dice", np.nan)
            _write(panel, place, top + TILE + LINE / 2, "no Dice" if np.isnan(dice) else f"Dice {dice:.3f}", va="center")
    hashes = {case.hashes[method] for case in cases for method in methods if case.hashes.get(method)}
    seeds = len({case.seed for case in cases})
    n = f"n = {len(cases)} scan{'s' * (len(cases) > 1)}, {seeds} seed{'s' * (seeds > 1)}"
    runs = len({(case.split, case.seed, method) for case in cases for method in methods if method in case.predictions})
    caption = (
        f"{column}: {', '.join(RULES[len(cases)])} by the mean Dice of a scan over all methods, not by hand; shown is the "
        "slice that holds most of the truth, with the Dice of the whole scan. Below each prediction its errors."
        + (f" Not shown: {', '.join(left_out)}." if left_out else "")
    )
    legend = _legend(cases[0].classes)
    return FigureSpec(name, f"Cases of {column}", caption, figure, Provenance(tuple(sorted(hashes)), runs, n), legend)


def _chosen(cases: Sequence[Case], roles: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """At most METHODS rows in order, and those left out: location priors and a reference stay, then the best in Dice."""
    rows = list(dict.fromkeys(row for case in cases for row in case.predictions))
    reference = default_reference(rows, roles)

    def worth(row: str) -> tuple[bool, float]:
        dice = [case.scores.get(row, {}).get("dice", np.nan) for case in cases]
        known = [value for value in dice if not np.isnan(value)]
        return roles.get(row) == PRIOR or row == reference, float(np.mean(known)) if known else -1.0

    chosen = set(sorted(rows, key=worth, reverse=True)[:METHODS])
    return [row for row in rows if row in chosen], [row for row in rows if row not in chosen]


def _case_label(case: Case, rule: str) -> str:
    """Return the name of a case, for below its image."""
    dice = [scores["dice"] for scores in case.scores.values() if not np.isnan(scores["dice"])]
    mean = f"mean Dice {np.mean(dice):.3f}" if dice else "no Dice"
    where = f"slice {case.slice + 1} of {case.slices}" if case.slices > 1 else ""
    return "\n".join(part for part in (rule, wrapped(case.scan, 30), where, mean) if part)


def _legend(classes: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Squares in the colours of classes and errors; background is seen in marks only."""
    square: dict[str, Any] = {"linestyle": "none", "marker": "s", "markersize": 6}
    names = [f"{name} (marks only)" if k == 0 else name for k, name in enumerate(classes)]
    colours: dict[str, Any] = {name: COLOURS[k % len(COLOURS)] / 255 for k, name in enumerate(names)}
    return {name: square | {"color": colour} for name, colour in (colours | ERRORS).items()}


def _canvas(picture: np.ndarray, across: int) -> tuple[Figure, Any]:
    """A figure that holds a picture (h, w, 3) pixel by pixel, with room for headings."""
    head = 2 * LINE
    height, width = len(picture) + head, across * (TILE + GAP)
    figure = Figure((width / DPI, height / DPI))
    panel = figure.add_axes((0, 0, 1, len(picture) / height))
    panel.imshow(picture, interpolation="none", aspect="auto", extent=(0, width, len(picture), 0))
    panel.set_axis_off()
    return figure, panel


def _write(panel: Any, place: int, height: float, text: str, *, va: str, ha: str = "center") -> None:
    """Text in the column of a tile, at a height in px."""
    across = place * (TILE + GAP) + (GAP / 2 if ha == "left" else (TILE + GAP) / 2)
    panel.text(across, height, plain(text), fontsize=6.5, va=va, ha=ha, linespacing=1.1)


def _block(case: Case, methods: Sequence[str]) -> np.ndarray:
    """A case as a picture (h, w, 3): image, marks, predictions and truth, and the errors below the predictions."""
    image, truth = _fitted(case.image), _nearest(case.truth)
    tiles = [image, _marked(image, case.marks)]
    errors = [_blank(), _blank()]
    for method in methods:
        labels = case.predictions.get(method)
        tiles.append(_blank() if labels is None else _over(image, _nearest(labels)))
        errors.append(_blank() if labels is None else _errors(image, _nearest(labels), truth))
    above, below = (
        np.concatenate([_spaced(tile) for tile in row], 1) for row in ([*tiles, _over(image, truth)], [*errors, _blank()])
    )
    white = np.full((LINE, above.shape[1], 3), 255, np.uint8)
    return np.concatenate([above, white, below, white])


def _blank() -> np.ndarray:
    return np.full((TILE, TILE, 3), 255, np.uint8)


def _spaced(tile: np.ndarray) -> np.ndarray:
    return np.pad(tile, ((0, 0), (GAP // 2, GAP - GAP // 2), (0, 0)), constant_values=255)


def _shape(array: np.ndarray) -> tuple[int, int]:
    """The height and width that fit a tile."""
    height, width = array.shape[:2]
    scale = TILE / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _centred(picture: np.ndarray, value: int) -> np.ndarray:
    """Centre a picture on a tile."""
    up, left = (TILE - picture.shape[0]) // 2, (TILE - picture.shape[1]) // 2
    around = ((up, TILE - picture.shape[0] - up), (left, TILE - picture.shape[1] - left), (0, 0))
    return np.pad(picture, around[: picture.ndim], constant_values=value)


def _fitted(image: np.ndarray) -> np.ndarray:
    """An image (h, w, 3) as a tile."""
    height, width = _shape(image)
    return _centred(np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)), 255)


def _nearest(labels: np.ndarray) -> np.ndarray:
    """Labels (h, w) as a tile, 255 around them."""
    height, width = _shape(labels)
    fitted = Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
    return _centred(np.asarray(fitted), UNLABELLED)


def _marked(image: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Draw an annotation over a tile; thin strokes stay visible if the image is reduced."""
    shown = _nearest(marks)
    height, width = _shape(marks)
    if height < len(marks):
        places = np.argwhere(marks != UNLABELLED)
        up, left = (TILE - height) // 2, (TILE - width) // 2
        pixels = (places * (height, width) // marks.shape) + (up, left)
        shown[tuple(pixels.T)] = marks[tuple(places.T)]
    colours = COLOURS[shown % len(COLOURS)]
    return np.where((shown != UNLABELLED)[..., None], colours, image)


def _over(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Classes but background in colour over a tile."""
    colours = COLOURS[labels % len(COLOURS)]
    shown = (labels > 0) & (labels != UNLABELLED)
    return np.where(shown[..., None], (1 - OPACITY) * image + OPACITY * colours, image).astype(np.uint8)


def _errors(image: np.ndarray, labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Draw errors on a faded tile: false positives, false negatives, and wrong classes."""
    kinds = ((labels > 0) & (truth == 0), (labels == 0) & (truth > 0), (labels > 0) & (truth > 0) & (labels != truth))
    picture = 255 - FADED * (255.0 - image)
    for wrong, colour in zip(kinds, ERRORS.values(), strict=True):
        picture[wrong & (truth != UNLABELLED)] = np.array(to_rgb(colour)) * 255
    return picture.astype(np.uint8)
