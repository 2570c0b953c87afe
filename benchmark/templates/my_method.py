"""My method: its idea in a sentence; `python -m benchmark list` shows this line."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from benchmark.methods.base import Batch, NetMethod
from benchmark.methods.losses import partial_cross_entropy
from benchmark.seal.contract import Range


@dataclass
class MyMethod(NetMethod):
    """Partial cross-entropy, and confident predictions of unlabelled pixels; name the paper here."""

    # Options: fields with a default. `--set my_method.weight=0.3` changes one; that is another run. `run --tune K` draws
    # options from their Range, which at most three options may have.
    weight: Annotated[float, Range(0.01, 1.0)] = 0.1  # of the second term

    # keeps_axes = True  # if its loss needs the image's rows and columns: no rotations other than quarter turns
    # annotations = ("scribble", "point")  # the forms it learns from, if not all that give labels; "sets": all forms

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Return the loss of a batch; `progress` rises from 0 to 1 over the budget."""
        logits = self.net(batch.image)  # image: float32 (n, channels, h, w); logits: (n, classes, h, w)
        uncertainty = 1 - logits.softmax(1).amax(1)
        # batch.allowed: integers (n, h, w); bit k: class k is possible. batch.open: where more than one class is.
        # batch.labels: (n, h, w), IGNORE where more than one class is possible. This process has no true masks.
        return partial_cross_entropy(logits, batch.allowed) + progress * self.weight * (uncertainty * batch.open).mean()

    # Other hooks, all optional:
    #
    # def build(self, channels, classes, budget):      set self.net, other modules such as a teacher, and self.memory; an
    #                                                  optimiser of other modules than self.net goes to self.optimisers
    # def after_step(self, batch, progress):           after each step: update a teacher, log with self.log(step, name=value)
    # def after_pass(self, slices, progress):          after each pass over the data: `slices` yields (index, image)
    # def between_steps(self, done):                   at some moments: end a phase, change self.memory
    # def rate(self, step):                            another schedule of the learning rate
    # def left_out(self, budget):                      what this budget is too short for, as a sentence; "" if nothing
    #
    # self.report(converged=True) states a fact about the run, which is stored with it; see docs/howto/add-a-method.md.
    #
    # self.memory is a CPU tensor with a row per training slice: labels (slices, h, w) with IGNORE, or float16 (slices,
    # classes, h, w). batch.memory has its rows, augmented like the image. self.rng is a random generator. A method without a
    # network extends Method, with fit and predict. See benchmark/methods/base.py.
