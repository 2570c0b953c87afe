"""FAZ: the foveal avascular zone in OCT angiography of the macula, 3 mm wide."""

from dataclasses import dataclass
from pathlib import Path

from benchmark.datasets.files import pairs
from benchmark.datasets.pictures import Pictures


@dataclass
class Faz(Pictures):
    """OCTA images with the avascular zone: `images/` and `masks/` (PNG), or ProCNS's HDF5 files.

    Eyes are not known. The images are too few for a single test part, so there are five folds, whose scores are pooled.
    """

    name = "faz"
    title = "FAZ"
    classes = ("background", "faz")
    regions = {"faz": (1,)}
    channels = 1
    modality = "OCTA"
    usual_form = "point"
    tolerance = 2.0
    redistribute = True
    licence = "CC BY 4.0"
    source = "https://zenodo.org/records/5075194 (OCTA-25K-IQA-SEG): images/ and masks/ into faz/"
    citation = "Wang et al., 2021 (OCTA-25K); HDF5 files: Liu et al., JBHI 2024"

    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        return pairs(self.root / "images", self.root / "masks")

    def _own_splits(self) -> list[str]:
        return [f"cv5/{fold}" for fold in range(5)]
