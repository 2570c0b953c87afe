"""CAM: a classifier of whole images shows where it sees a class, and the network learns to segment from there."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.methods.base import Batch, scheduled
from benchmark.methods.losses.labels import everywhere
from benchmark.methods.pseudo_labels import as_sets, where_open
from benchmark.methods.resize import inside
from benchmark.methods.tree_energy import TreeEnergy, maps_of
from benchmark.seal.contract import IGNORE, Budget, Log, NotNegative, Share, WeakData, WeakScan


@dataclass
class CAM(TreeEnergy):
    """Class activation maps (Zhou et al., CVPR 2016) as seeds (Kolesnikov & Lampert, ECCV 2016), then `tree_energy` on them.

    First stage: binary cross-entropy of the tags with the pooled maps of a 1x1 convolution, without bias, of the encoder's
    last 1/16 map. The maps, scaled to 0 to 1 in each slice as in the published code, make the seeds. Second stage: the loss
    of `tree_energy` on the seeds. The network goes on with its encoder, whose pre-training the first stage is (published:
    two networks, both pre-trained on photographs); the learning rate starts again. A class that all slices have, or none,
    has tags that say nothing.
    """

    title: ClassVar[str] = "CAM"
    annotations: ClassVar[tuple[str, ...]] = ("tags",)
    needs: ClassVar[tuple[str, ...]] = ("encoder/16", "decoder/4")
    extra: ClassVar[str] = "a classifier, seeds predicted once, a second head, trees on the CPU"
    notes = {"tags_differ": "tags differed between slices"}

    first_stage: Share = 0.5  # share of the steps
    pool: NotNegative = 0.0  # r of the pooling log(mean(exp(r z))) / r of a map; 0: the mean, as published
    sure: Share = 0.5  # scaled map above which a pixel is of the class
    empty: Share = 0.1  # scaled maps below which it is background

    def begin(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Prepare the images, and where each has no padding."""
        self.insides: list[tuple[slice, slice]] = []  # rows and columns, of each slice
        super().begin(data, budget, log)

    def prepare(self, scan: WeakScan, classes: int, size: int) -> tuple[Tensor, np.ndarray]:
        """Return a training scan at network size."""
        height, width = scan.image.shape[-2:]
        self.insides += [inside(height, width, size, self.budget.resize)] * len(scan.image)
        return super().prepare(scan, classes, size)

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build the network of `tree_energy` with a classifier."""
        super().build(channels, classes, budget)
        width = maps_of(self.net.net, channels, budget.size).encoder[16].shape[1]
        self.net.classifier = nn.Conv2d(width, classes - 1, 1, bias=False)
        self.boundary = max(1, round(self.first_stage * budget.steps))  # the second stage's first step

    def rate(self, step: int) -> float:
        """The budget's schedule, restarted in each stage."""
        start, end = (0, self.boundary) if step < self.boundary else (self.boundary, self.budget.steps)
        return scheduled(self.budget, step - start, end - start)

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Classify the images; in the second stage, fit the seeds and the trees."""
        if batch.memory is not None:
            return super().loss(replace(batch, allowed=as_sets(batch.memory, batch.allowed)), progress)
        tags = everywhere(batch.allowed, self.classes)[:, 1:].float()
        return F.binary_cross_entropy_with_logits(pooled(self.maps(batch.image), self.pool).float(), tags)

    def maps(self, image: Tensor) -> Tensor:
        """The activation maps of the foreground classes, (n, k - 1, h / 16, w / 16)."""
        maps: Tensor = self.net.classifier(self.net.net.features(image).encoder[16])
        return maps

    def between_steps(self, done: int) -> None:
        """End the first stage: the seeds become the memory of the second."""
        if done == self.boundary < self.budget.steps:
            self.memory = self._seeds()
            seeds = float((self.memory != IGNORE).double().mean())
            self.log(done - 1, seeds=seeds)
            differ = bool((self._tags() != self._tags()[0]).any())
            self.report(seeds=round(seeds, 4), tags_differ=differ)

    def _tags(self) -> Tensor:
        return everywhere(torch.from_numpy(self.allowed.astype(np.int32)), self.classes)[:, 1:]

    @torch.no_grad()
    def _seeds(self) -> Tensor:
        """Return the seeds of all training slices, uint8 (slices, h, w); IGNORE where there is none, and in the padding."""
        memory = torch.full_like(self.images[:, 0], IGNORE, dtype=torch.uint8)
        allowed, tags = torch.from_numpy(self.allowed.astype(np.int32)), self._tags()
        self.net.eval()
        for index, image in self._slices():
            with self.autocast():
                maps = self.maps(image).float()
            maps = F.interpolate(maps, size=image.shape[-2:], mode="bilinear", align_corners=False).cpu()
            for number, own in zip(index.tolist(), maps.split(1), strict=True):
                rows, columns = self.insides[number]
                if not memory[number, rows, columns].numel():  # of a side of less than a pixel
                    continue
                seeds = seeds_of(own[..., rows, columns], tags[number : number + 1], self.sure, self.empty)
                memory[number, rows, columns] = where_open(seeds, allowed[number : number + 1, rows, columns])[0]
        self.net.train()
        return memory


def pooled(maps: Tensor, r: float) -> Tensor:
    """One score per map, (n, k), of maps (n, k, h, w): the mean, or with r > 0 log(mean(exp(r z))) / r."""
    flat = maps.flatten(2)
    return ((r * flat).logsumexp(2) - np.log(flat.shape[2])) / r if r else flat.mean(2)


def seeds_of(maps: Tensor, tags: Tensor, sure: float, empty: float) -> Tensor:
    """Seeds, uint8 (n, h, w), of activation maps (n, k - 1, h, w) and tags (n, k - 1), bool; IGNORE where there is none.

    The map of each tagged class is scaled to 0 to 1. A pixel is of the class of the largest value if that is above `sure`,
    and background if it is below `empty`.
    """
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    most, label = ((maps - low) / (high - low).clamp(min=1e-6) * tags[..., None, None]).max(1)
    background = torch.where(most < empty, 0, IGNORE)
    return torch.where(most > sure, label + 1, background).to(torch.uint8)
