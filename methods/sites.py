"""Sites of `federated`: a method with its own scans, trained some steps at a time, and what it takes over of the mean."""

import copy
import importlib
import importlib.util
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy
from benchmark.methods.networks import Selection
from benchmark.seal.contract import Budget, Log, WeakData, everything


class Site:
    """A site that exchanges the whole state dict of its network, as in FedAvg (McMahan et al., AISTATS 2017).

    Optimiser, augmentation, memories and teachers stay and live on between the rounds. `options` has the options of
    `federated`; the site is the one at `place` of all `sites`, and `budget` has its own steps.
    """

    def __init__(self, options: Any, data: WeakData, budget: Budget, log: Log, place: int, sites: int) -> None:
        self.options, self.data, self.budget, self.log, self.place, self.count = options, data, budget, log, place, sites
        self.method, self.done, self.blended = network_method(options.base)(), 0, 0  # own steps; slices seen in blending
        sets = [scan.allowed for scan in data]
        if self.method.annotations == "labels" and not all(
            ((s & s - 1 == 0) | (s == everything(data.classes))).all() for s in sets
        ):
            raise ValueError(f"{options.base} learns from labels, but a pixel here has several classes; choose another base")
        self.random: Any = torch.get_rng_state(), torch.cuda.get_rng_state_all()  # the same at all sites

    def train_alone(self) -> None:
        """Train as the method does by itself."""
        with self.own_random():
            self.method.fit(self.data, self.budget, self.log)
        self.done = self.budget.steps

    def begin(self) -> None:
        """Prepare the training."""
        with self.own_random():
            self.method.begin(self.data, self.budget, self.log)
        self.training = self.method.steps()
        self.net: nn.Module = self.method.net
        self.trainable = {name: weight for name, weight in self.net.named_parameters() if weight.requires_grad}
        self.keys = [key for key in self.net.state_dict() if key not in self.kept()]  # what is exchanged

    def kept(self) -> set[str]:
        """The keys of the state dict that stay at the site: if asked for, the statistics of batch norm (SiloBN)."""
        if self.options.statistics == "mean":
            return set()
        return {f"{name}.{key}" for name, norm in norms(self.net).items() for key, _ in norm.named_buffers()}

    def train(self, received: np.ndarray, mu: float) -> tuple[np.ndarray, int]:
        """Take over weights (n,), train a round, and return the own weights (n,) and their share in the mean.

        `mu` is of FedProx. After its last step a site trains no more.
        """
        with self.own_random():
            self.receive(received, mu)
            for place in range(self.options.local_steps):
                self.before_step(place)
                if next(self.training, None) is None:
                    break
                self.done += 1
        images = len(self.method.images)
        return self.weights(), images if self.options.weighting == "images" else math.ceil(images / self.budget.batch)

    def before_step(self, place: int) -> None:
        """Do what is needed before the step at that place of a round."""

    def weights(self) -> np.ndarray:
        """What is exchanged, as one array (n,) of the weights' type."""
        state, dtype = self.net.state_dict(), next(self.net.parameters()).dtype
        return torch.cat([state[key].detach().flatten().to(dtype) for key in self.keys]).cpu().numpy()

    def receive(self, received: np.ndarray, mu: float) -> None:
        """Take over a mean of what `weights` of the sites gave."""
        state, new = self.net.state_dict(), {}
        parts = torch.from_numpy(received).split([state[key].numel() for key in self.keys])
        for key, part in zip(self.keys, parts, strict=True):
            own = state[key]
            new[key] = (part if own.is_floating_point() else part.round()).view(own.shape).to(own)  # counters are integers
        self.net.load_state_dict(self.adopted(new), strict=False)

    def adopted(self, mean: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the network gets of a mean of the exchanged entries of the state dict."""
        return mean

    @contextmanager
    def own_random(self) -> Iterator[None]:
        """Use the site's own random numbers of torch, as if it were in a process of its own."""
        with torch.random.fork_rng():
            torch.set_rng_state(self.random[0])
            torch.cuda.set_rng_state_all(self.random[1])
            yield
            self.random = torch.get_rng_state(), torch.cuda.get_rng_state_all()


class NormSite(Site):
    """FedBN (Li et al., ICLR 2021): batch norm stays at the site, its weights, statistics and counters."""

    def kept(self) -> set[str]:
        """The keys of all batch norm layers."""
        return {f"{name}.{key}" for name, norm in norms(self.net).items() for key in norm.state_dict()}


class HeadSite(Site):
    """FedPer (Arivazhagan et al., 2019): the last layers stay at the site, here the network's heads."""

    def kept(self) -> set[str]:
        """The keys of the heads."""
        return super().kept() | {key for key in self.net.state_dict() if of_head(key)}


class ProxSite(Site):
    """FedProx (Li et al., MLSys 2020): the loss gets mu / 2 |w - w_mean|^2."""

    def begin(self) -> None:
        """Prepare the training, with a further term."""
        super().begin()
        self.method.terms.append(self.distance)

    def receive(self, received: np.ndarray, mu: float) -> None:
        """Take over the mean, and keep it as the centre of the term."""
        super().receive(received, mu)
        self.mu, self.mean = mu, {name: weight.detach().clone() for name, weight in self.trainable.items()}

    def distance(self, batch: Batch) -> Tensor:
        """The term, 0-d."""
        squares = [(weight - self.mean[name]).square().sum() for name, weight in self.trainable.items()]
        return self.mu / 2 * torch.stack(squares).sum()


class BlendSite(Site):
    """FedALA (Zhang et al., AAAI 2023): the decoder gets w_mean + a (w_own - w_mean), each weight with its own a in [0, 1].

    a descends the gradient of the partial cross-entropy, in passes over the site's slices, not augmented; it is kept from
    round to round. All else that is exchanged is that of the mean. Nothing is blended where both weights are equal.
    """

    start = 0.0  # the first a: the mean's weights
    passes = (11, 30)  # of the first blending, at least and at most; it ends when the losses of ten passes agree

    def adopted(self, mean: dict[str, Tensor]) -> dict[str, Tensor]:
        """The mean, with a blended decoder."""
        self.gap = {
            name: weight.detach() - mean[name]
            for name, weight in self.net.named_parameters()
            if not {"encoder", "selection"} & set(name.split("."))
        }
        if not any(distance.any() for distance in self.gap.values()):
            return mean
        first = not hasattr(self, "own_share")
        if first:
            self.own_share = {name: torch.full_like(distance, self.start) for name, distance in self.gap.items()}
        probe = copy.deepcopy(self.net).train()  # so that no pass changes the statistics of the network's batch norm
        probe.load_state_dict(mean, strict=False)
        for name, weight in probe.named_parameters():
            weight.requires_grad_(name in self.gap)  # whatever part of a round the network is in
        losses: list[float] = []
        for _ in range(self.passes[1] if first else 1):
            losses.append(float(np.mean([self.descend(probe, mean, rows) for rows in self.rows()])))
            if len(losses) >= self.passes[0] and np.std(losses[-10:]) < 0.1:
                break
        return mean | self.blend(mean)

    def blend(self, mean: dict[str, Tensor]) -> dict[str, Tensor]:
        """The blended weights."""
        return {name: mean[name] + self.own_share[name] * distance for name, distance in self.gap.items()}

    def descend(self, probe: nn.Module, mean: dict[str, Tensor], rows: np.ndarray) -> float:
        """Take a step of a on these slices, at a rate of 1; return the loss before it."""
        probe.load_state_dict(self.blend(mean), strict=False)
        weights = {name: weight for name, weight in probe.named_parameters() if name in self.gap}
        image, allowed = self.method.images[rows], torch.from_numpy(self.method.allowed[rows]).int()
        with self.method.autocast():
            loss = partial_cross_entropy(probe(image.to(self.method.device)), allowed.to(self.method.device))
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)  # a second head may be idle here
        for name, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                self.own_share[name] = (self.own_share[name] - gradient * self.gap[name]).clamp(0, 1)
        self.blended += len(rows)
        return float(loss.detach())

    def rows(self) -> np.ndarray:
        """Full batches (batches, batch) of slices in random order; the first slices fill the last batch."""
        slices, batch = len(self.method.images), self.budget.batch
        drawn = torch.randperm(slices).numpy()[: math.ceil(self.options.blend * slices)]
        return np.resize(drawn, (math.ceil(len(drawn) / batch), batch))


class SelectiveSite(BlendSite):
    """FedICRA (Lin et al., 2023): blending, channel selection, and the last layers alone in the first steps of a round.

    The loss gets alpha times the contrast of the site's gates with those of the others (`networks.Selection`).
    """

    start = 1.0  # the own weights, as in the published code

    def begin(self) -> None:
        """Prepare the training of a network with a selection."""
        self.budget = replace(self.budget, network=f"sites{self.count}:{self.budget.network}")
        super().begin()
        modules = [module for net in self.method._modules().values() for module in net.modules()]  # also of teachers
        self.selections = [module for module in modules if isinstance(module, Selection)]
        for selection in self.selections:
            selection.site = self.place
        self.method.terms.append(self.contrast)

    def before_step(self, place: int) -> None:
        """Let the last layers learn alone in the first seven of ten steps, and all but them in the others."""
        self.head_alone = place < 7 * self.options.local_steps // 10
        for name, weight in self.trainable.items():
            weight.requires_grad_(of_head(name) == self.head_alone)

    def contrast(self, batch: Batch) -> Tensor:
        """The term, 0-d; 0 where only the last layers learn, which don't change it."""
        own = [module for module in self.net.modules() if isinstance(module, Selection)]
        terms = [torch.zeros((), device=self.method.device), *(each.contrast() for each in own if not self.head_alone)]
        for selection in self.selections:
            selection.pooled = None
        return self.options.alpha * torch.stack(terms).sum()


SITES = {
    **{"local": Site, "pooled": Site, "fedavg": Site, "fedprox": ProxSite, "fedbn": NormSite, "fedper": HeadSite},
    **{"fedala": BlendSite, "fedicra": SelectiveSite},
}


def norms(net: nn.Module) -> dict[str, nn.Module]:
    """The batch norm layers of a network, by name."""
    return {name: each for name, each in net.named_modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)}


def of_head(key: str) -> bool:
    """Whether a key of a state dict is of last layers: a head, those of coarser maps, or a classifier of images."""
    return bool({"head", "heads", "classifier"} & set(key.split(".")))


def network_method(name: str) -> type[NetMethod]:
    """The class of a method of this suite that trains a network, step by step, with its defaults; raises ValueError."""
    spec = importlib.util.find_spec(f"benchmark.methods.{name}") if name.isidentifier() else None
    members = vars(importlib.import_module(spec.name)).values() if spec else ()
    found = [each for each in members if inspect.isclass(each) and each.__module__ == f"benchmark.methods.{name}"]
    classes = [each for each in found if issubclass(each, NetMethod) and not inspect.isabstract(each)]
    required = [each for cls in classes for each in inspect.signature(cls).parameters.values() if each.default is each.empty]
    if len(classes) != 1 or classes[0].fit is not NetMethod.fit or required:
        raise ValueError(f"{name!r} is not a base; it must be a method of this suite that trains a network, such as pce")
    return classes[0]
