"""Scribble2Label: confident averages of past predictions become labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy
from benchmark.methods.pseudo_labels import as_sets, running_average, where_open
from benchmark.seal.contract import IGNORE, Budget, PositiveShare, Range, Share, everything

PASSES = 100


@dataclass
class Scribble2Label(NetMethod):
    """Partial cross-entropy, then also on confident pixels of averaged predictions (Lee & Jeong, MICCAI 2020).

    Constants of the authors' code and of WSL4MIS: W <- alpha p + (1 - alpha) W for every training slice. A pixel without a
    single allowed class gets the label c where W_c > confidence. Deviations from the code of WSL4MIS:

    - W starts from zeros, so it is compared with `confidence` times 1 - (1 - alpha)^m after m refreshes. WSL4MIS compares
      it with `confidence`, which no pixel exceeds before the 8th refresh; from the 21st on both agree within 1 %.
    - W is refreshed 100 times, about as often as in the authors' code; in WSL4MIS 600 times in 60,000 steps, which predicts
      more slices than training uses. Short runs on many slices refresh less often (`passes`), so that refreshing never
      takes longer than training, and a refresh then has the weight of those that it stands for: W always forgets at the
      same share of the steps.
    - Predictions are made in evaluation mode, as in the authors' code; in WSL4MIS in training mode, slice by slice, which
      distorts the batch statistics.
    - Labels are made at network size and augmented like the image. Empty corners are unlabelled; in WSL4MIS background.
    - A batch without a confident pixel adds 0 to the loss; in WSL4MIS NaN. A class that a mark excludes is never a label.

    W needs 2 bytes of main memory per class and pixel of the training set.
    """

    title: ClassVar[str] = "Scribble2Label"

    weight: Annotated[float, Range(0.05, 5.0)] = 0.5  # of the confident pixels
    confidence: Share = 0.8
    alpha: PositiveShare = 0.2  # of the newest prediction in the running average, with 100 refreshes
    warm_up: Share = 0.1  # share of the steps without confident pixels

    static: ClassVar[bool] = True
    extra: ClassVar[str] = "predictions of all training slices, up to 100 times"

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build the network; the average starts empty."""
        super().build(channels, classes, budget)
        self.refreshes = 0
        self.average: Tensor | None = None  # float16 (slices, k, h, w)

    @property
    def passes(self) -> int:  # type: ignore[override]
        """Number of refreshes, the last unused; to predict a slice costs a third of a training step on it."""
        return min(PASSES, max(2, 3 * self.budget.steps * self.budget.batch // len(self.images)))

    def kind(self, step: int) -> bool:
        """Whether the warm-up is over."""
        return step / self.budget.steps >= self.warm_up

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the marks; after the warm-up, the confident pixels too."""
        logits = self.net(batch.image)
        loss = partial_cross_entropy(logits, batch.allowed)
        if batch.memory is None or not batch.kind:
            return loss
        unlabelled = torch.full_like(batch.allowed, everything(self.classes))
        return loss + self.weight * partial_cross_entropy(logits, as_sets(batch.memory, unlabelled))

    def after_pass(self, slices: Iterator[tuple[Tensor, Tensor]], progress: float) -> None:
        """Refresh the average, and the labels made from it."""
        if progress == 1:  # they would not be used
            return
        self.refreshes += 1
        kept = (1 - self.alpha) ** (PASSES / self.passes)  # of the average
        shape = (len(self.images), self.classes, *self.images.shape[2:])
        if self.average is None:
            self.average = torch.zeros(shape, dtype=torch.float16, device=self.device)
        memory = torch.full((shape[0], *shape[2:]), IGNORE, dtype=torch.uint8)
        for index, image in slices:
            self.average[index] = new = running_average(self.average[index].float(), self.probs(image), 1 - kept).half()
            labels = confident_labels(new.float(), self.confidence * (1 - kept**self.refreshes)).cpu()
            memory[index] = where_open(labels, torch.from_numpy(self.allowed[index.numpy()].astype(np.int32)))
        self.memory = memory
        confident = float((memory != IGNORE).double().mean())
        self.log(round(progress * self.budget.steps) - 1, confident=confident)
        self.report(confident=round(confident, 4))


def confident_labels(average: Tensor, confidence: float) -> Tensor:
    """The class whose average (n, k, h, w) is above `confidence`, uint8 (n, h, w); IGNORE where none is."""
    most, label = average.max(1)
    return torch.where(most > confidence, label, IGNORE).to(torch.uint8)
