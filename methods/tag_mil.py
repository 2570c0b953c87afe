"""Tag MIL: a class that the image contains is somewhere in it, and others are nowhere."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import image_bags, partial_cross_entropy
from benchmark.seal.contract import NotNegative, Range


@dataclass
class TagMIL(NetMethod):
    """Multiple-instance learning of the classes of each image (Pathak et al., ICLR workshop 2015), end to end.

    Loss: pCE of the sets + weight times the mean of -log max p over the classes of each image, background included. pCE
    excludes the other classes everywhere. Deviations: the published network is pre-trained, here it is not; `pool` makes
    the maximum smooth, as in Pinheiro & Collobert (CVPR 2015), who pool scores instead of probabilities.
    """

    title: ClassVar[str] = "Tag MIL"
    annotations: ClassVar[tuple[str, ...]] = ("tags",)
    static: ClassVar[bool] = True

    weight: Annotated[float, Range(0.1, 10.0)] = 1.0  # of the bags
    pool: NotNegative = 0.0  # r of the pooling log(mean(exp(r p))) / r over the image; 0: the maximum, as published

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the sets, and let each class of an image have a pixel."""
        logits = self.net(batch.image)
        bags = image_bags(logits.softmax(1), batch.allowed, self.pool)
        return partial_cross_entropy(logits, batch.allowed) + self.weight * bags
