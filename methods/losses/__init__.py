"""The losses of the field as pure functions; values and gradients equal the published ones (tests/methods/losses)."""

from benchmark.methods.losses.boxes import Boxes, box_bags, box_projection, boxes_of, colour_pairs, image_bags
from benchmark.methods.losses.dense import dense_crf
from benchmark.methods.losses.labels import partial_cross_entropy, partial_dice, squared_dice
from benchmark.methods.losses.pairwise import gated_crf
from benchmark.methods.losses.prototypes import Prsa, affinity, batch_prototypes, prsa, sample_prototypes
from benchmark.methods.losses.regions import intensity_variance, mumford_shah
from benchmark.methods.losses.smoothness import entropy, total_variation
from benchmark.methods.losses.trees import tree_energy

__all__ = [
    "Boxes",
    "Prsa",
    "affinity",
    "batch_prototypes",
    "box_bags",
    "box_projection",
    "boxes_of",
    "colour_pairs",
    "dense_crf",
    "entropy",
    "gated_crf",
    "image_bags",
    "intensity_variance",
    "mumford_shah",
    "partial_cross_entropy",
    "partial_dice",
    "prsa",
    "sample_prototypes",
    "squared_dice",
    "total_variation",
    "tree_energy",
]
