"""Write a synthetic data set: `python -m clinic_plugin.make FOLDER`."""

import sys
from pathlib import Path

import numpy as np


def make(folder: Path, patients: int = 10) -> None:
    """Write stacks of three slices with a bright ellipsoid; two visits per patient."""
    folder.mkdir(parents=True, exist_ok=True)
    slices, rows, columns = np.indices((3, 40, 48))
    for patient in range(patients):
        rng = np.random.default_rng(patient)
        centre, size = rng.uniform((15, 18), (25, 30)), rng.uniform(7, 11)
        for visit in "ab":
            across = np.hypot(rows - centre[0], columns - centre[1])
            mask = across + 2 * abs(slices - 1) < size + rng.uniform(-1, 1)
            image = (0.3 + 0.3 * mask + rng.normal(0, 0.06, mask.shape)).clip(0, 1)
            np.savez_compressed(
                folder / f"p{patient:02d}_{visit}.npz",
                image=image.astype(np.float32),
                mask=mask.astype(np.uint8),
                spacing=np.array([4.0, 0.7, 0.7]),
            )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
