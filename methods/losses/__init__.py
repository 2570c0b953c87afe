"""The field's losses as pure functions: value and gradient equal the published ones (tests/methods/losses)."""

from benchmark.methods.losses.labels import partial_cross_entropy, partial_dice
from benchmark.methods.losses.pairwise import gated_crf
from benchmark.methods.losses.prototypes import Prsa, affinity, prototypes, prsa
from benchmark.methods.losses.smoothness import entropy, total_variation

__all__ = [
    "Prsa",
    "affinity",
    "entropy",
    "gated_crf",
    "partial_cross_entropy",
    "partial_dice",
    "prototypes",
    "prsa",
    "total_variation",
]
