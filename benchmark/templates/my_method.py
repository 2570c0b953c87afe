"""My method: its idea in a sentence; `python -m benchmark list` shows this line."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy
from benchmark.seal.contract import IGNORE, Range


@dataclass
class MyMethod(NetMethod):
    """Partial cross-entropy, and confidence where nobody drew; name the paper here."""

    # Options: fields with their default. `--set my_method.weight=0.3` changes one; the result is another run. A Range (at
    # most three options have one) is what `run --tune K` draws from.
    weight: Annotated[float, Range(0.01, 1.0)] = 0.1  # of the second term

    # annotations = ("scribble", "point")  # the forms it learns from, if not all that give labels; "sets": all forms

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """What a step makes smaller; `progress` runs from 0 to 1 over the budget."""
        logits = self.net(batch.image)  # image: float32 (n, channels, h, w); logits: (n, classes, h, w)
        doubt = 1 - logits.softmax(1).amax(1)
        unlabelled = batch.labels == IGNORE  # labels: (n, h, w), IGNORE where more than one class is allowed
        # batch.allowed: integers (n, h, w); bit k says that class k is possible. The true mask is nowhere in this process.
        return partial_cross_entropy(logits, batch.allowed) + progress * self.weight * (doubt * unlabelled).mean()

    # Other hooks, each of which may be left out:
    #
    # def build(self, channels, classes, budget):      set self.net (and other modules, such as a teacher) and self.memory
    # def after_step(self, batch, progress):           after each step: move a teacher, log with self.log(step, name=value)
    # def after_pass(self, slices, progress):          after each pass over the data: `slices` gives (index, image)
    # def rate(self, step):                            another schedule of the learning rate
    #
    # self.memory, a CPU tensor with a row per training slice, comes back in batch.memory, turned as the image was: labels
    # (slices, h, w) with IGNORE, or float16 (slices, classes, h, w). self.rng is the generator for chance of your own. What
    # trains no network extends Method instead, and has fit and predict. All of it: benchmark/methods/base.py.
