"""The field's losses as pure functions: value and gradient equal the published ones (tests/methods/losses)."""

from benchmark.methods.losses.labels import partial_cross_entropy, partial_dice
from benchmark.methods.losses.pairwise import gated_crf
from benchmark.methods.losses.prototypes import Prsa, affinity, batch_prototypes, prsa, sample_prototypes
from benchmark.methods.losses.smoothness import entropy, total_variation

__all__ = [
    "Prsa",
    "affinity",
    "batch_prototypes",
    "entropy",
    "gated_crf",
    "partial_cross_entropy",
    "partial_dice",
    "prsa",
    "sample_prototypes",
    "total_variation",
]
