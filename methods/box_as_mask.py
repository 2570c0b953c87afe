"""Box as mask: what is inside a box is its class."""

from dataclasses import dataclass
from typing import ClassVar

from benchmark.methods.boxes import filled
from benchmark.methods.pce_dice import PartialCrossEntropyDice
from benchmark.seal.contract import Budget, Log, WeakData


@dataclass
class BoxAsMask(PartialCrossEntropyDice):
    """A control of this project: `pce_dice` on the boxes as if they were masks (the naive baseline of Khoreva et al., 2017).

    Where boxes of several classes overlap, the class whose boxes are smaller in the slice has the pixel.
    """

    title: ClassVar[str] = "Box as mask"
    annotations: ClassVar[tuple[str, ...]] = ("box",)
    static: ClassVar[bool] = True

    def begin(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Train on filled boxes."""
        super().begin(data.relabel(lambda scan: filled(scan.allowed, data.classes)), budget, log)
