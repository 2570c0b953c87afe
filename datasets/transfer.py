"""Training on one data set and testing on another."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmark import InputError
from benchmark.datasets.base import Dataset, Scan, Split, hashed_sites


@dataclass
class Transfer(Dataset):
    """The training and held-out scans of `trained`, and the test scans of the first split of `tested`.

    Any data set becomes one by its option `test_on`. It keeps the splits, drawn annotations and scored regions of
    `trained`; the tolerance of the surface Dice is that of `tested`, whose scans are scored.
    """

    trained: Dataset
    tested: Dataset

    def __post_init__(self) -> None:
        """Check that labels and channels mean the same in both."""
        if self.trained.name == self.tested.name:
            raise InputError(f"test_on of {self.trained.name} is {self.tested.name}; it must be another data set")
        for what in ("classes", "channels"):
            ours, other = getattr(self.trained, what), getattr(self.tested, what)
            if ours != other:
                raise InputError(
                    f"test_on of {self.trained.name} is {self.tested.name}, whose {what} are {_shown(other)}; "
                    f"they must be those of {self.trained.name}, {_shown(ours)}"
                )
        for name in ("root", "classes", "regions", "channels", "channel_names", "drawn", "usual_form", "by_path"):
            setattr(self, name, getattr(self.trained, name))
        self.name = f"{self.trained.name}-to-{self.tested.name}"
        self.tolerance, self.modality = self.tested.tolerance, self.tested.modality
        self.patients_known = all(one.patients_known for one in self.parts)
        self.redistribute = all(one.redistribute for one in self.parts)
        self.licence, self.source, self.citation = (
            "; ".join(getattr(one, what) for one in self.parts) for what in ("licence", "source", "citation")
        )

    @property
    def parts(self) -> tuple[Dataset, ...]:
        """Return both data sets."""
        return self.trained, self.tested

    def patients(self) -> dict[str, list[str]]:
        """Return the patients of both; no patient and no scan may have a name in both."""
        ours, others = (one.patients() for one in self.parts)
        scans = {scan for names in ours.values() for scan in names}
        if shared := sorted((ours.keys() & others.keys()) | (scans & {s for names in others.values() for s in names})):
            raise InputError(f"{self.trained.name} and {self.tested.name} both have {shared[0]}; names must differ")
        return ours | others

    def load(self, name: str) -> Scan:
        """Read a scan of either."""
        return (self.tested if name in self._tested else self.trained).load(name)

    def intensities(self, scan: Scan) -> list[np.ndarray]:
        """Return the intensities as the files of its data set hold them."""
        return (self.tested if scan.name in self._tested else self.trained).intensities(scan)

    def sites(self) -> dict[str, str]:
        """Deal the patients of both to the sites of the option `sites`; those for training as their data set does."""
        return hashed_sites(self.tested.patients(), self.cut) | self.trained.sites() if self.cut else {}

    def splits(self) -> list[str]:
        """Return the splits of the data set for training."""
        return self.trained.splits()

    def split(self, name: str) -> Split:
        """Return a split whose test part is that of the other set's first split."""
        own = self.trained.split(name)
        return Split(own.train, own.val, self.tested.split(self.tested.splits()[0]).test)

    def reading(self) -> list[str]:
        """Return the notes of both."""
        return [line for one in self.parts for line in one.reading()]

    @cached_property
    def _tested(self) -> set[str]:
        return {scan for scans in self.tested.patients().values() for scan in scans}


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
