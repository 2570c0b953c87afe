"""Tiny sets of volumes in NIfTI: MS-CMRSeg in CycleMix's layout, ACDC as the challenge has it, nnU-Net's raw layout."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.tiny import nested_discs, picture_of, scribbled
from tests.tiny.pictures import stored_names

STACK = (3, 30, 34)  # slices, rows, columns
SPACING = (8.0, 1.5, 1.25)  # mm in that order
BRIGHTEST = 1200  # of an image


def save(path: Path, stack: np.ndarray) -> None:
    """A stack (slices, rows, columns) as NIfTI (columns, rows, slices) with its spacing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([SPACING[2], SPACING[1], SPACING[0], 1.0])
    nib.save(nib.Nifti1Image(np.ascontiguousarray(stack.transpose(2, 1, 0)), affine), path)


def stack_of(seed: str, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """An image in scanner units and its mask."""
    mask = np.stack([nested_discs(f"{seed}{s}", STACK[1:], classes) for s in range(STACK[0])])
    image = np.stack([picture_of(m, f"{seed}{s}", 1)[0] for s, m in enumerate(mask)])
    return np.rint(image * BRIGHTEST).astype(np.int16), mask


def mscmr(root: Path) -> Path:
    dense = stored_names("mscmr")
    parts = {"train": [f"subject{n}_DE" for n in range(50, 56)], "val": dense[:5], "TestSet": dense[5:]}
    for part, names in parts.items():
        for name in names:
            image, mask = stack_of(name)
            save(root / "mscmr" / part / "images" / f"{name}.nii.gz", image)
            if part == "train":
                save(
                    root / "mscmr" / part / "labels" / f"{name}_scribble.nii.gz",
                    scribbled(mask, name, 4).astype(np.uint8),
                )
            else:
                save(root / "mscmr" / part / "labels" / f"{name}_manual.nii.gz", mask)
    return root


def acdc(root: Path, patients: int = 100) -> Path:
    """The challenge's folders, with Info.cfg, and scribbles in the folders of the images."""
    groups = ("DCM", "HCM", "MINF", "NOR", "RV")
    for number in range(1, patients + 1):
        folder = root / "acdc" / f"patient{number:03d}"
        for frame in ("01", "11"):
            stem = f"patient{number:03d}_frame{frame}"
            image, mask = stack_of(stem)
            save(folder / f"{stem}.nii.gz", image)
            save(folder / f"{stem}_gt.nii.gz", mask)
            save(folder / f"{stem}_scribble.nii.gz", scribbled(mask, stem, 4).astype(np.uint8))
        save(folder / f"patient{number:03d}_4d.nii.gz", image)
        (folder / "Info.cfg").write_text(f"ED: 1\nES: 11\nGroup: {groups[(number - 1) // 20]}\nHeight: 170.0\n")
    return root


def nnunet(root: Path, *, ignore: bool = False, test: bool = True, channels: int = 1, cases: int = 7) -> Path:
    """Raw data of nnU-Net v2; with `ignore`, the training labels are scribbles."""
    for number in range(cases + 3 * test):
        part, case = ("Tr" if number < cases else "Ts"), f"case_{number:03d}"
        image, mask = stack_of(case, 3)
        for channel in range(channels):
            save(root / f"images{part}" / f"{case}_{channel:04d}.nii.gz", image + 100 * channel)
        labels = scribbled(mask, case, 3).astype(np.uint8) if ignore and part == "Tr" else mask
        save(root / f"labels{part}" / f"{case}.nii.gz", labels)
    facts = {
        "channel_names": {str(c): f"T{c + 1}" for c in range(channels)},
        "labels": {"background": 0, "organ": 1, "lesion": 2} | ({"ignore": 3} if ignore else {}),
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(facts))
    return root
