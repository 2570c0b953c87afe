"""Tiny sets of pictures: PNG or JPEG in the sources' own folders, and ProCNS's HDF5 files."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from benchmark.datasets.base import SPLITS
from tests.tiny import nested_discs, picture_of, scribbled

SHAPE = (36, 40)


def write_pairs(
    images: Path, masks: Path, names: Iterable[str], channels: int, classes: int, ending: str = ".png", scale: int = 1
) -> None:
    """Images and masks of these names; the masks hold labels times `scale`."""
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        mask = nested_discs(name, SHAPE, classes)
        image = np.rint(picture_of(mask, name, channels) * 255).astype(np.uint8)
        Image.fromarray(image[0] if channels == 1 else image.transpose(1, 2, 0)).save(images / f"{name}{ending}", quality=95)
        Image.fromarray(mask * np.uint8(scale)).save(masks / f"{name}{ending}", quality=95)


def stored_names(dataset: str) -> list[str]:
    """Every name in the stored splits of a data set."""
    lines = [line for path in (SPLITS / dataset).glob("*.txt") for line in path.read_text().splitlines()]
    return sorted({line.split()[1] for line in lines if not line.startswith("#")})


def faz(root: Path) -> Path:
    write_pairs(root / "faz/images", root / "faz/masks", stored_names("faz"), 1, 2)
    return root


def in_parts(root: Path, name: str, channels: int) -> Path:
    """A set with `train/` and `test/`; the stored names begin with their part."""
    for part in ("train", "test"):
        names = [n.removeprefix(f"{part}_") for n in stored_names(name) if n.startswith(part)]
        write_pairs(root / name / part / "images", root / name / part / "masks", names, channels, 3)
    return root


def odoc(root: Path) -> Path:
    return in_parts(root, "odoc", 3)


def nerve_us(root: Path) -> Path:
    return in_parts(root, "nerve_us", 1)


def polyp(root: Path) -> Path:
    """Kvasir-SEG's own folders, and a reader's fixations: three in the polyp and one outside for every image."""
    folder = root / "polyp" / "Kvasir-SEG"
    names = stored_names("polyp")
    write_pairs(folder / "images", folder / "masks", names, 3, 2, ending=".jpg", scale=255)
    lines = ["IMAGE,CURRENT_FIX_INDEX,CURRENT_FIX_X,CURRENT_FIX_Y,CURRENT_FIX_DURATION"]
    for name in names:
        inside = np.argwhere(nested_discs(name, SHAPE, 2) == 1)[[3, 20, -5]] / (np.array(SHAPE) - 1)
        places = [*inside.tolist(), [0.02, 0.02]]
        lines += [f"{name}.jpg,{i},{x:.6f},{y:.6f},200" for i, (y, x) in enumerate(places)]
    (root / "polyp" / "gaze_fixations.csv").write_text("\n".join(lines) + "\n")
    return root


def hdf5(root: Path, name: str, channels: int, classes: int) -> Path:
    """ProCNS's layout: `{train,test}/*.h5`; the number of classes is the unlabelled value."""
    for part, count in (("train", 6), ("test", 3)):
        folder = root / name / part
        folder.mkdir(parents=True)
        for number in range(count):
            seed = f"{part}{number}"
            mask = nested_discs(seed, SHAPE, classes)
            image = picture_of(mask, seed, channels).astype(np.float32)
            with h5py.File(folder / f"{number + 1}.h5", "w") as file:
                file["image"] = image[0] if channels == 1 else image
                file["mask"] = mask
                if part == "train":
                    for key in ("keypoint", "scribble", "scribble_noisy", "block"):
                        file[key] = scribbled(mask, f"{key}{seed}", classes).astype(np.uint8)
                    file["box"] = np.where(mask > 0, classes, 0).astype(np.uint8)
    return root


def folder(root: Path, *, colours: bool = False) -> Path:
    """A folder of anyone's: twelve images of six patients, with drawn points, perhaps with coloured masks."""
    names = [f"p{number // 2}_view{number % 2}" for number in range(12)]
    write_pairs(root / "images", root / "masks", names, 3, 3)
    (root / "weak" / "point").mkdir(parents=True)
    table = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
    for name in names:
        mask = nested_discs(name, SHAPE, 3)
        Image.fromarray(scribbled(mask, name, 255).astype(np.uint8)).save(root / "weak" / "point" / f"{name}.png")
        if colours:
            Image.fromarray(table[mask]).save(root / "masks" / f"{name}.png")
    facts = [
        'name = "clinic"',
        'classes = ["background", "ring", "core"]',
        r"patient = '^(p\d+)_'",
        "[regions]",
        "whole = [1, 2]",
    ]
    if colours:
        facts.insert(1, f"colours = {table.tolist()}")
    (root / "dataset.toml").write_text("\n".join(facts) + "\n")
    return root
