"""Reading the golden vectors; tests/golden/README.md says where each comes from and to which tolerance it holds."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "golden"


class Golden:
    """One file: `in_*` and `out_*` as tensors, label maps with 255 for ignored pixels."""

    def __init__(self, name: str) -> None:
        self.arrays = np.load(FOLDER / f"{name}.npz", allow_pickle=False)

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.array(self.arrays[key]))

    def labels(self, key: str, ignore: int) -> Tensor:
        """A label map whose ignore value is 255, as in this project."""
        labels = self[key]
        return torch.where(labels == ignore, 255, labels)

    def allowed(self, key: str, classes: int) -> Tensor:
        """A label map as sets; the value `classes` is unlabelled."""
        labels = self[key].long()
        return torch.where(labels == classes, (1 << classes) - 1, 1 << labels.clamp(max=classes - 1)).int()


def families(prefix: str) -> list[str]:
    """The files of a family."""
    found = sorted(path.stem for path in FOLDER.glob(f"{prefix}*.npz"))
    assert found
    return found
