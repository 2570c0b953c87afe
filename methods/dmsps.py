"""DMSPS: soft mixed pseudo-labels of two decoders, in two stages."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from benchmark.methods import networks
from benchmark.methods.base import Batch, NetMethod, scheduled
from benchmark.methods.dmpls import Parts, shares
from benchmark.methods.losses import partial_cross_entropy
from benchmark.methods.pseudo_labels import as_sets, where_open
from benchmark.seal.contract import IGNORE, Budget, NotNegative, Share


@dataclass
class DMSPS(NetMethod):
    """Dynamically mixed soft pseudo-labels in two stages (Han et al., Medical Image Analysis 2024).

    Loss of both stages: 1/2 (pCE_1 + pCE_2) + weight / 2 (CE(p_1, q) + CE(p_2, q)), q = a p_1 + (1 - a) p_2 without
    gradient, a ~ U(0, 1) per batch (the published 2-D code adds 0.1 to a in the second stage). The main decoder predicts.

    The published code passes probabilities as logits to the cross-entropy, so it applies a second softmax; its weight of 8
    belongs to that. Near uniform predictions, a second softmax divides the gradient towards q by the number of classes.
    Without it, the same gradient needs the weight 8 / classes, the default: 2 on ACDC. `double_softmax` restores both; it
    also sharpens predictions, which the formula of the paper does not.

    The second stage continues with the weights of the first and restarts the learning rate, as published. The published
    code continues from the best checkpoint by dense validation masks; no method has them here, so it is the last one. Both
    stages share one budget (published: 30,000 steps each, or until validation stops improving). Marked pixels keep their
    labels.
    """

    title: ClassVar[str] = "DMSPS"

    weight: NotNegative | None = None  # of the mixed label's loss; default 8 / classes, or 8 with the double softmax
    double_softmax: bool = False  # as published
    first_stage: Share = 0.5  # share of the steps
    uncertainty: Share = 0.1  # normalised entropy below which a prediction becomes a label

    static: ClassVar[bool] = True
    extra: ClassVar[str] = "a second decoder"

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build a network with two decoders."""
        self.net = networks.build_dual(budget.network, channels, classes, budget.weights)
        self.boundary = max(1, round(self.first_stage * budget.steps))  # the second stage's first step

    def rate(self, step: int) -> float:
        """The budget's schedule, restarted in each stage."""
        start, end = (0, self.boundary) if step < self.boundary else (self.boundary, self.budget.steps)
        return scheduled(self.budget, step - start, end - start)

    def numbers(self, step: int) -> tuple[float, ...]:
        """The share of each decoder in the mixed label, at random."""
        return shares(self.rng.random())

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Partial cross-entropy of both decoders plus the loss on their mixed pseudo-label."""
        allowed = batch.allowed if batch.memory is None else as_sets(batch.memory, batch.allowed)
        main, auxiliary = self.net.both(batch.image)
        marks = (partial_cross_entropy(main, allowed) + partial_cross_entropy(auxiliary, allowed)) / 2
        weight = self.weight if self.weight is not None else 8 if self.double_softmax else 8 / self.classes
        return marks + weight * mixed_cross_entropy(main, auxiliary, batch.numbers, double=self.double_softmax)

    def between_steps(self, done: int) -> None:
        """End the first stage: confident predictions become the memory of the second."""
        if done == self.boundary < self.budget.steps:
            self.memory = self._expanded()
            expanded = float((self.memory != IGNORE).double().mean())
            self.log(self.boundary - 1, expanded=expanded)
            self.report(expanded=round(expanded, 4))

    @torch.no_grad()
    def _expanded(self) -> Tensor:
        """Return confident predictions, uint8 (slices, h, w), for unlabelled pixels; IGNORE elsewhere."""
        memory = torch.full_like(self.images[:, 0], IGNORE, dtype=torch.uint8)
        self.net.eval()
        for index, image in self._slices():
            with self.autocast():
                main, auxiliary = self.net.both(image)
            mean = (main.float().softmax(1) + auxiliary.float().softmax(1)) / 2
            labels = largest_parts(sure_labels(mean, self.uncertainty).cpu().numpy())
            memory[index] = where_open(
                torch.from_numpy(labels), torch.from_numpy(self.allowed[index.numpy()].astype(np.int32))
            )
        self.net.train()
        return memory


def mixed_cross_entropy(main: Tensor, auxiliary: Tensor, parts: Parts, *, double: bool = False) -> Tensor:
    """Mean over decoders and pixels of - sum_c q_c log p_c, q the mixed label without gradient; logits (n, k, h, w).

    `double`: apply the log-softmax to the probabilities, as the published code does.
    """
    probs = main.softmax(1), auxiliary.softmax(1)
    mix = (parts[0] * probs[0] + parts[1] * probs[1]).detach()
    one, other = probs if double else (main, auxiliary)
    return (F.cross_entropy(one, mix) + F.cross_entropy(other, mix)) / 2


def sure_labels(probs: Tensor, limit: float) -> Tensor:
    """The most probable class, uint8 (n, h, w), where - sum_c p log(p + 1e-6) / log k is below `limit`; else IGNORE."""
    entropy = -(probs * (probs + 1e-6).log()).sum(1) / math.log(probs.shape[1])
    return torch.where(entropy < limit, probs.argmax(1), IGNORE).to(torch.uint8)


def largest_parts(labels: np.ndarray) -> np.ndarray:
    """Keep the largest connected component (4-connected) of each class in each label map (n, h, w); IGNORE elsewhere."""
    kept = np.full_like(labels, IGNORE)
    for own, left in zip(labels, kept, strict=True):
        for k in np.setdiff1d(own, IGNORE):
            parts, _ = ndimage.label(own == k)
            left[parts == np.bincount(parts.ravel())[1:].argmax() + 1] = k
    return kept
