"""ODOC: optic disc and cup in colour fundus photographs."""

from dataclasses import dataclass
from pathlib import Path

from benchmark.datasets.pictures import Pictures, in_parts


@dataclass
class Odoc(Pictures):
    """Regions around the disc: `{train,test}/{images,masks}/` (Drishti-GS1; PNG), or ProCNS's HDF5 files.

    The disc is scored as the union of cup and rim. `val10` is the official split with ten training images held out.
    """

    name = "odoc"
    title = "ODOC"
    classes = ("background", "cup", "rim")
    regions = {"cup": (1,), "disc": (1, 2)}
    channels = 3
    modality = "fundus"
    tolerance = 2.0
    redistribute = False
    licence = "academic use"
    source = "https://cvit.iiit.ac.in/projects/mip/drishti-gs/mip-dataset2/Home.php: train/ and test/ into odoc/"
    citation = "Sivaswamy et al., ISBI 2014 (Drishti-GS1); HDF5 files: Liu et al., JBHI 2024"

    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        return self._of_sites(in_parts)

    def _own_splits(self) -> list[str]:
        return ["official", "val10"]
