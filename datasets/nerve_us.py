"""Nerve and vessel in ultrasound images for regional anaesthesia."""

from dataclasses import dataclass
from pathlib import Path

from benchmark.datasets.pictures import Pictures, in_parts


@dataclass
class NerveUs(Pictures):
    """Ultrasound with a nerve and a vessel: `{train,test}/{images,masks}/` (PNG).

    The same volunteer may be in both parts. `val40` is the official split with 40 training images held out.
    """

    name = "nerve_us"
    title = "Nerve US"
    classes = ("background", "vessel", "nerve")
    regions = {"vessel": (1,), "nerve": (2,)}
    channels = 1
    modality = "ultrasound"
    usual_form = "point"
    tolerance = 2.0
    redistribute = True
    licence = "CC BY 4.0"
    source = "the USGRA data set (Kandaouroff, 2025): train/ and test/ into nerve_us/"
    citation = "Kandaouroff, 2025 (USGRA)"

    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        return self._of_sites(in_parts)

    def _own_splits(self) -> list[str]:
        return ["official", "val40"]
