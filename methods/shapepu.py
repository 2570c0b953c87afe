"""ShapePU: a class may cover only its estimated share of the unlabelled pixels, and a view with a hole gives the same."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy
from benchmark.methods.scale import relative_size
from benchmark.methods.turns import rotated_labels, rotated_maps, sources
from benchmark.methods.views import Scale, cosine_distance, flips, holes, marks_loss, rotations
from benchmark.seal.contract import Budget, Range, Share, everything

ROUNDS = 50  # of the estimate, at most


@dataclass
class ShapePU(NetMethod):
    """Positive-unlabelled learning and global consistency (Zhang & Zhuang, MICCAI 2022), constants of the authors' code.

    Loss: pCE of the image and of its view + invariance * mean (1 - cos) between both + from `start` on the negative loss:
    an unlabelled pixel below the (1 - share) quantile of a class's probabilities is not of that class. Mended here: shares
    are estimated on unlabelled pixels (the code reads the labelled ones); holes and corners are open (there background);
    predictions are rotated back in the reverse order, and each image is compared with its own (there with the batch's
    first); a class without marks in a batch excludes nothing (there NaN). `reference` restores the first three.
    """

    title: ClassVar[str] = "ShapePU"

    scale: Scale = "labelled"  # pixels of which pCE is the mean, as published; all: as in CycleMix and HELPNet
    invariance: Annotated[float, Range(0.005, 0.5)] = 0.05
    negative: Annotated[float, Range(0.1, 10.0)] = 1.0  # of the negative loss
    start: Share = 0.025  # of the negative loss, share of the steps; published: epoch 100 of 4,000
    estimate: Literal["unlabelled", "labelled"] = "unlabelled"  # pixels whose shares of classes are estimated
    reference: bool = False  # as published; also sets scale and estimate to "labelled"

    static: ClassVar[bool] = True
    extra: ClassVar[str] = "a pass of a second view, 1 more forward pass"

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build the network, and report the scale."""
        super().build(channels, classes, budget)
        self.pixels: Scale = "labelled" if self.reference else self.scale
        self.report(scale=self.pixels)

    def kind(self, step: int) -> bool:
        """Whether the negative loss is in use."""
        return step / self.budget.steps >= self.start

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the marks in both views, agree, and exclude classes beyond their shares."""
        image, allowed = batch.image, batch.allowed
        shares = self._shares(batch) if batch.kind else None
        logits = self.net(image)
        hole = holes(len(image), image.shape[-1], round(32 * relative_size(image, 212)), image.device)
        rotation = rotations(len(image), image.device)
        signs = flips(len(image), image.device).diagonal(dim1=1, dim2=2)[
            :, None
        ]  # R * signs is R F, in float32 in any precision
        there = sources(rotation * signs, image.shape[-1], linear=False)  # first rotated, then flipped
        unseen = 1 if self.reference else everything(self.classes)
        sets = rotated_labels(torch.where(hole, unseen, allowed), there, unseen)
        view = self.net(rotated_maps(image * ~hole[:, None], there))
        loss = marks_loss(logits, allowed, self.pixels) + marks_loss(view, sets, self.pixels)
        loss = loss + self.invariance * self._distance(logits.softmax(1), view.softmax(1), rotation, signs, hole)
        if shares is None:
            return loss
        excluded = exclusions(logits.detach().softmax(1), allowed, shares)
        return loss + self.negative * partial_cross_entropy(logits, excluded)

    def _distance(self, probs: Tensor, view: Tensor, rotation: Tensor, signs: Tensor, hole: Tensor) -> Tensor:
        """The distance of the image's prediction and the view's, over all pixels; 0 where the view shows nothing."""
        size = probs.shape[-1]
        if self.reference:  # rotates back first, and the batch's first prediction stands for all
            back = rotated_maps(view, sources(rotation.mT * signs, size, linear=False))[:1].expand_as(view)
            return (cosine_distance(probs, back) * ~hole).mean()
        back = rotated_maps(view, sources((rotation * signs).mT, size, linear=False))
        seen = (back.detach().sum(1) > 0) & ~hole  # probabilities sum to 1, and what was rotated out of sight to 0
        return (cosine_distance(probs, back) * seen).mean()

    @torch.no_grad()
    def _shares(self, batch: Batch) -> Tensor:
        """The share (k,) of each class among unlabelled pixels, by the network in evaluation mode."""
        probs = self.probs(batch.image)
        labelled = self.reference or self.estimate == "labelled"
        return class_shares(probs, batch.allowed, batch.open != labelled)


def class_shares(probs: Tensor, allowed: Tensor, of: Tensor) -> Tensor:
    """The share (k,) of each class among the pixels `of`, bool (n, h, w), by expectation maximisation (paper, section 2.2).

    probs (n, k, h, w) of a network whose classes have the shares of the labelled pixels, g. From pi = g on, w_k of a pixel
    is as pi_k p_k / g_k and pi_k the mean of w_k, until pi changes by less than 1e-3. 0 for a class without marks.
    """
    classes = probs.shape[1]
    own = 1 << torch.arange(classes, device=probs.device, dtype=torch.int32)
    marked = (allowed[:, None] == own.view(1, -1, 1, 1)).sum((0, 2, 3)).to(probs.dtype)
    given = marked / marked.sum().clamp(min=1)
    ratio = (probs / given.clamp(min=1e-12).view(1, -1, 1, 1)) * of[:, None]
    count, found = of.sum().clamp(min=1), given
    done = torch.zeros((), dtype=torch.bool, device=probs.device)
    for _ in range(ROUNDS):
        weights = found.view(1, -1, 1, 1) * ratio
        new = (weights / weights.sum(1, keepdim=True).clamp(min=1e-12)).sum((0, 2, 3)) / count
        new = torch.where(done, found, new)
        done = (new - found).abs().sum() < 1e-3
        found = new
    return found


def exclusions(probs: Tensor, allowed: Tensor, shares: Tensor) -> Tensor:
    """The sets that the negative loss fits, int32 (n, h, w): unlabelled pixels without the classes they can't be of.

    A foreground class k is excluded where its probability is below the (1 - share) quantile of those of all unlabelled
    pixels of the batch. Labelled pixels get all classes, so that they don't count. probs (n, k, h, w), shares (k,).
    """
    unlabelled = allowed & (allowed - 1) != 0
    count = unlabelled.sum()
    sets = torch.full_like(allowed, everything(probs.shape[1]))
    for k in range(1, probs.shape[1]):
        own = probs[:, k]
        ordered = torch.where(unlabelled, own, 2.0).flatten().sort().values  # labelled pixels last
        rank = ((count * (1 - shares[k])).long() - 1).clamp(min=0)  # of the quantile, as in the code
        below = (own < ordered.gather(0, rank[None])) & unlabelled & (shares[k] > 0)
        sets = torch.where(below, sets & ~(1 << k), sets)
    return sets
