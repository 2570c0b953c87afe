"""ProCNS: prototypes refine the predictions, and neighbours of one colour agree on the refined ones."""

from dataclasses import dataclass

from torch import Tensor

from benchmark.methods.base import IGNORE, Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy, prsa


@dataclass
class ProCNS(NetMethod):
    """Progressive prototype calibration (Liu et al., JBHI 2024), its first phase: partial cross-entropy plus PRSA.

    The second phase (noise perception and masking, soft labels) is not part of this version.
    """

    prsa_weight: float = 0.1
    sigma_xy: float = 6.0  # px at network size
    sigma_rgb: float = 0.1  # of intensities in [0, 1]
    radius: int = 5  # px

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the labels, and let prototypes and colour carry them to the unlabelled pixels."""
        features = self.net.features(batch.image)
        pairs = prsa(
            features.logits, batch.image, batch.labels, batch.labels == IGNORE,
            features.encoder[8], features.decoder[2],
            sigma_xy=self.sigma_xy, sigma_rgb=self.sigma_rgb, radius=self.radius,
        )  # fmt: skip
        return partial_cross_entropy(features.logits, batch.allowed) + self.prsa_weight * pairs.loss
