"""A tiny copy of WSL4MIS's ACDC: the same files, names and types, with discs for hearts."""

from pathlib import Path

import h5py
import numpy as np


def write(root: Path, patients: int = 100, slices: int = 2, shape: tuple[int, int] = (32, 28)) -> Path:
    """The data folder with `acdc/` in it; two frames per patient, each with a scribble for every class."""
    folder = root / "acdc" / "ACDC_training_volumes"
    folder.mkdir(parents=True)
    for patient in range(1, patients + 1):
        for frame in ("01", "12" if patient % 2 else "09"):
            rng = np.random.default_rng([patient, int(frame)])
            stack = (slices, *shape)
            rows, columns = np.indices(shape)
            distance = np.hypot(rows - rng.uniform(12, 18), columns - rng.uniform(11, 16))
            label = np.select([distance < 3, distance < 5, distance < 8], [3, 2, 1], 0).astype(np.uint8)
            label = np.broadcast_to(label, stack)
            scribble = np.where(rng.random(stack) < 0.3, label, 4).astype(np.uint16)
            image = (label / 3 + rng.normal(0, 0.1, stack)).clip(0, 1).astype(np.float32)
            with h5py.File(folder / f"patient{patient:03d}_frame{frame}.h5", "w") as file:
                for key, array in {"image": image, "label": label, "scribble": scribble}.items():
                    file.create_dataset(key, data=array, compression="gzip")
    return root


def change(root: Path, name: str, **arrays: np.ndarray) -> None:
    """Replace arrays of one volume."""
    with h5py.File(root / "acdc" / "ACDC_training_volumes" / f"{name}.h5", "r+") as file:
        for key, array in arrays.items():
            del file[key]
            file[key] = array
