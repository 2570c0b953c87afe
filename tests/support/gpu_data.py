"""Write small copies of real data for a machine that gets little: `python -m tests.support.gpu_data DATA OUT SIZE`.

ACDC, FAZ and ODOC with a longer side of SIZE px at most and intensities of 8 bits, in the layouts that the data sets read.
Scores are then of that size.
Prints the size of each: at 128 px all three take 28 MiB, at 192 px 57.
"""

import shutil
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np


def main(data: Path, out: Path, size: int) -> None:
    """Write the copies."""
    for path in sorted((data / "acdc").rglob("*.h5")):
        target = out / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path) as source, h5py.File(target, "w") as made:
            for name, array in shrunk(source["image"][:], source["label"][:], source["scribble"][:], size).items():
                made.create_dataset(name, data=array, compression="gzip", compression_opts=9, shuffle=True)
    for path in [path for name in ("faz", "odoc") for path in sorted((data / name).rglob("*")) if path.is_file()]:
        target = out / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".png":
            shutil.copy(path, target)
            continue
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        how = cv2.INTER_NEAREST if "masks" in path.parts else cv2.INTER_AREA
        small = cv2.resize(picture, sides(picture.shape, size), interpolation=how)
        cv2.imwrite(str(target), small, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    for folder in sorted(out.iterdir()):
        print(f"{folder.name}: {sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 2**20:.1f} MiB")


def sides(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Width and height, the longer one at most `size`."""
    share = min(1.0, size / max(shape[:2]))
    return round(shape[1] * share), round(shape[0] * share)


def shrunk(image: np.ndarray, label: np.ndarray, scribble: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """A volume of ACDC by slice: images by area, masks by the nearest pixel, and each mark (two in a cell: the last)."""
    width, height = sides(image.shape[1:], size)
    images = np.stack([cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA) for part in image])
    labels = np.stack([cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST) for part in label])
    n, row, column = np.nonzero(scribble != 4)
    marks = np.full(labels.shape, 4, np.uint16)
    marks[n, row * height // image.shape[1], column * width // image.shape[2]] = scribble[n, row, column]
    rounded = np.round(images.clip(0, 1) * 256) / 256  # the lower bits of such floats are 0, and compress to nothing
    return {"image": rounded.astype(np.float32), "label": labels.astype(np.uint8), "scribble": marks}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
