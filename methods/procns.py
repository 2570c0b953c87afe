"""ProCNS: class prototypes calibrate pseudo-labels; noisy pseudo-labels are masked and get soft labels instead.

Three parts: `prsa` (benchmark.methods.losses), noise perception and masking (ANPM, below) and `soft_labels`. Defaults
follow the published code in all that changes results, with four exceptions that `reference` restores: the learning rate of
the first phase is above the base rate; the curve is fitted in iterations and evaluated at epoch numbers; the empty corners
of a rotation get background as pseudo-label (except on FAZ); prototypes take one pixel of each cell of a coarse map, where
every mark counts here (`batch_prototypes`). The other deviations don't change results on data of the published size, or
replace code that can't run; the last two are the rules of this suite for all methods ("there" is the published code):

- Pseudo-labels start with all classes allowed, there as the dense mask; both are overwritten before they are read.
- The running average is stored in half precision.
- A masked pixel is 255, there the number of classes. There 255 stands for predictions of absent classes, here -1.
- Masks are copied, there changed in place. A curve whose fit does not converge does not fire; there the run ends.
- The bandwidth of the smoothing is constant. There cross-validation finds it: for Dice values always the smallest one.
- A batch without an unlabelled pixel has no PRSA; there it divides by zero.
- Epochs are shares of the steps (`ProCNS`), there passes over the images. The last prediction that is averaged is that of
  the first phase's last step, there of one epoch before.
- The image's corners that a rotation leaves are 0; the published FAZ loader fills them with 0.8.
- Augmentation is seeded by step and row; there the random flips of a worker repeat with every epoch.
- The last step is scored and every method has the same number of steps. There the best of thousands of evaluations on the
  test set is, and polyps get twice the steps.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import curve_fit
from torch import Tensor

from benchmark.methods.base import Batch, NetMethod, poly
from benchmark.methods.batch import write_row
from benchmark.methods.losses import affinity, partial_cross_entropy, prsa
from benchmark.methods.pseudo_labels import running_average
from benchmark.methods.scale import PUBLISHED, relative_size, scaled_window
from benchmark.seal.contract import IGNORE, Budget, Count, NotNegative, Positive, PositiveShare, Range, Share

# For each published task: an epoch's and the first phase's share of all steps, the confidence above which a disagreement
# is noise, and the network's size in px. FAZ: 100 epochs of 59 steps in 30,000; polyp: 100 of 75 in 60,000; ODOC: 400 of 66
# in 30,000, where 66 follows from the sizes of the public fundus sets (789 images) and is not stated.
SETTINGS = {
    "": {"epoch": 59 / 30000, "phase_one": 0.2, "confidence": 0.5, "size": PUBLISHED},
    "FAZ-point": {"epoch": 59 / 30000, "phase_one": 100 * 59 / 30000, "confidence": 0.5, "size": 256},
    "ODOC-scribble": {"epoch": 66 / 30000, "phase_one": 400 * 66 / 30000, "confidence": 0.3, "size": 384},
    "Polyp-block": {"epoch": 75 / 60000, "phase_one": 100 * 75 / 60000, "confidence": 0.5, "size": 384},
}
LEAST = 0.01  # share of a running average below which a prediction is left out
COARSEST = 5  # published epochs between two averagings, at most
POINTS, FEWEST = 60, 45  # steps before the first fit of a curve; see `first_fit`
BETWEEN = 15  # steps between two fits, at least
MASKINGS = 8  # of the second phase, at least
BANDWIDTH = 10**-0.3  # of the smoothing; what the published search chooses for values in [0, 1]


@dataclass
class ProCNS(NetMethod):
    """Progressive prototype calibration and noise suppression (Liu et al., JBHI 2024).

    First phase: partial cross-entropy and PRSA with prototypes of the labels, while each training image's predictions are
    averaged. Second phase: the labels of this average are learnt too and define the prototypes. Once the training Dice of a
    class is flat (the class has "fired"), pixels where the network predicts it, or background, against their pseudo-label
    are masked, and learn soft labels instead. The log gets the masked share of each class, the fitted curves, the epoch at
    which a class fired, and the share of pseudo-labels that changed.

    An epoch is a share of the steps: that of the published task, also with `reference`. So runs of any length on any number
    of images go through the same stages, and on as much data as published an epoch is a pass, as there. In every epoch of
    the first phase predictions are averaged; in every epoch of the second, curves are fitted, and after the first that is
    flat, noise is masked. Left out of this is what changes little and costs much:

    - averagings with less than 1 % of the average in the end; where the others would be more than the phase's passes over
      the images, there is one in up to 5 epochs, with the weight of these (`averagings`);
    - fits within 15 steps of another, and those of too few points (`first_fit`);
    - maskings beyond one a pass over the images, but no fewer than 8 are planned.
    """

    title: ClassVar[str] = "ProCNS"

    needs = ("encoder/8", "decoder/2")
    notes: ClassVar[Mapping[str, str]] = {"anpm_fired": "noise suppression acted"}
    static: ClassVar[bool] = True
    extra: ClassVar[str] = "predictions of all training slices after each pass"

    setting: Literal["", "FAZ-point", "ODOC-scribble", "Polyp-block"] = ""  # a published task's epoch, size, next two values
    phase_one: Share | None = None  # share of the steps; without a setting 0.2
    confidence: Share | None = None  # above which a disagreement is noise; without a setting 0.5
    prsa_weight: Annotated[float, Range(0.01, 1)] = 0.1
    pseudo_weight: NotNegative = 0.5
    soft_weight: NotNegative = 0.01
    sigma_xy: Positive = 6.0  # px at the published size: 384 in the settings of ODOC and polyp, else 256
    sigma_rgb: Positive = 0.1  # of intensities in [0, 1]
    radius: Count = 5  # px, likewise
    window: Literal["anatomy", "pixels"] = "anatomy"  # what it keeps at other sizes: the anatomy it covers, or its px
    alpha: PositiveShare = 0.2  # of the newest prediction in the running average
    r: Share = 0.95  # relative drop of a curve's slope from which it counts as flat
    anpm: bool = True
    soft_labels: bool = True
    prototypes: Literal["both", "batch", "sample"] = "both"  # of the encoder, over the batch; of the decoder, per sample
    reference: bool = False  # follow the published code in the four exceptions above

    def build(self, channels: int, classes: int, budget: Budget) -> None:
        """Build the network, and set the state of both phases."""
        super().build(channels, classes, budget)
        self.epoch, self.boundary = self.times(budget)
        self.threshold = SETTINGS[self.setting]["confidence"] if self.confidence is None else self.confidence
        faz = self.setting == "FAZ-point"
        self.sigma = self.sigma_rgb / math.sqrt(3) if faz and channels == 1 else self.sigma_rgb  # grey counts three times
        if self.reference and not faz:
            self.memory_fill = 0
        self.average: Tensor | None = None  # of the first phase's predictions, float16 (slices, k, h, w)
        self.calibrated: Tensor | None = None  # pseudo-labels at the end of the first phase, uint8 (slices, h, w)
        length = max(0, budget.steps - self.boundary)
        self.dice = torch.zeros(length, classes, dtype=torch.float64, device=self.device)  # of each step of the second phase
        self.seen = 0  # steps of the second phase that the last fits have used
        self.fired: list[int] = []  # classes whose labels are known to be noisy
        if self.anpm and self.boundary < budget.steps:
            self.report(anpm_fired=False)

    def times(self, budget: Budget) -> tuple[float, int]:
        """Steps of a published epoch, and the first step of the second phase."""
        given = SETTINGS[self.setting]
        share = given["phase_one"] if self.phase_one is None else self.phase_one
        return given["epoch"] * budget.steps, max(1, round(share * budget.steps))

    def left_out(self, budget: Budget) -> str:
        """Say so where the second phase ends before the first fit of a curve."""
        epoch, boundary = self.times(budget)
        first, length = first_fit(epoch, budget.steps - boundary), max(0, budget.steps - boundary)
        if not self.anpm or self.phase_one == 1 or length > first:
            return ""
        return f"{budget.steps} steps leave noise suppression out: the second phase has {length} and it needs {first + 1}"

    def rate(self, step: int) -> float:
        """Poly; with `reference` counted from the start of the second phase and one step late, as published."""
        if not self.reference or step == 0:
            return super().rate(step)
        return poly(self.budget.lr, step - 1 - self.boundary, self.budget.steps)

    def loss(self, batch: Batch, progress: float) -> Tensor:
        """Fit the marks and PRSA; in the second phase also the pseudo-labels, or soft labels where these are masked."""
        features = self.net.features(batch.image)
        logits, labels = features.logits, batch.labels if batch.memory is None else batch.memory.long()
        encoder = features.encoder[8] if self.prototypes != "sample" else None
        decoder = features.decoder[2] if self.prototypes != "batch" else None
        loss, refined = partial_cross_entropy(logits, batch.allowed), None
        if self.prsa_weight:
            s = relative_size(batch.image, int(SETTINGS[self.setting]["size"])) if self.window == "anatomy" else 1.0
            sigma_xy, radius, factor = scaled_window(self.sigma_xy, self.radius, s)
            pairs = prsa(logits, batch.image, labels, batch.open, encoder, decoder, nearest=self.reference,
                         sigma_xy=sigma_xy, sigma_rgb=self.sigma, radius=radius)  # fmt: skip
            loss, refined = loss + self.prsa_weight * factor * pairs.loss, pairs.refined
        if batch.memory is None:
            return loss
        noisy = labels == IGNORE
        write_row(self.dice, batch.step - self.boundary, train_dice(logits.argmax(1), labels, self.classes))
        wrong = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
        loss = loss + self.pseudo_weight * wrong / (~noisy).sum().clamp(min=1)
        if self.soft_labels:
            if refined is None:
                refined = affinity(encoder, decoder, labels, logits, nearest=self.reference) * logits
            loss = loss + self.soft_weight * soft_dice(logits, soft_labels(refined), noisy)
        return loss

    def between_steps(self, done: int) -> None:
        """Average predictions; end the first phase, whose pseudo-labels become the memory; find and mask noise."""
        if max(done, self.boundary) >= self.budget.steps:  # what follows would not be used
            return
        if done <= self.boundary:
            self._average(done)
        elif self.anpm:
            self._perceive(done)

    def _average(self, done: int) -> None:
        """Average predictions where it is time to; at the end of the phase make pseudo-labels of them."""
        at, newest = averagings(self.boundary, self.epoch, self.alpha, self._passes(self.boundary))
        if done in at:
            self._refresh(done, newest)
        if done == self.boundary:
            self.log(done - 1, second_phase=done)
            self.report(averagings=len(at))
            average: Any = self.average
            self.calibrated = average.argmax(1).to(torch.uint8).cpu()
            self.memory, self.average = self.calibrated.clone(), None

    def _refresh(self, done: int, newest: float) -> None:
        shape, first, changed = (len(self.images), self.classes, *self.images.shape[2:]), self.average is None, 0
        average = torch.zeros(shape, dtype=torch.float16, device=self.device) if self.average is None else self.average
        for index, image in self._slices():
            old = average[index]
            new = running_average(old.float(), self.probs(image), newest).half()
            changed += int((old.argmax(1) != new.argmax(1)).sum())
            average[index] = new
        if not first:
            self.log(done - 1, changed=changed / average[:, 0].numel())
        self.average = average

    def _perceive(self, done: int) -> None:
        """Fit the curves of classes that have not fired; once one has, mask every image."""
        passed, length, fired = done - self.boundary, self.budget.steps - self.boundary, len(self.fired)
        often = max(MASKINGS, self._passes(length))
        seen: dict[str, float] = {}
        if passed >= first_fit(self.epoch, length) and _ends(passed, max(self.epoch, BETWEEN)):
            seen |= self._fit_curves(passed)
        if len(self.fired) > fired or (self.fired and _ends(passed, max(self.epoch, 1, length / often))):
            seen |= self._mask(self._slices())
        if seen:
            self.log(done - 1, **seen)

    def _fit_curves(self, passed: int) -> dict[str, float]:
        """Find out which classes fire after so many steps of the phase; returns values for the log."""
        epoch, recent = int(passed / self.epoch + 1e-9) - 1, passed - self.seen
        history, self.seen = self.dice[:passed].cpu().numpy(), passed
        seen: dict[str, float] = {}
        for k in range(1, self.classes):
            seen[f"dice_{k}"] = history[-recent:, k].mean()
            if k in self.fired:
                continue
            curve = _fitted(history[:, k], self.epoch, epoch, reference=self.reference)
            if math.isfinite(curve[0]):
                a, b, c = curve  # logged with x in steps
                seen |= {f"curve_{k}_a": a, f"curve_{k}_b": b, f"curve_{k}_c": c * (1 if self.reference else self.epoch**b)}
            if _flat(curve, epoch, self.r):
                self.fired.append(k)
                self.report(anpm_fired=True)
                seen[f"fired_{k}"] = epoch
        return seen

    def _passes(self, steps: int) -> float:
        """Passes over the images in so many steps; the published runs predict every image once a pass."""
        return steps * self.budget.batch / len(self.images)

    def _mask(self, slices: Iterator[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Mask noise in the pseudo-labels of every image; returns values for the log."""
        memory: Any = self.memory
        calibrated: Any = self.calibrated
        before = memory.clone()
        for index, image in slices:
            confidence, predicted = (part.cpu().numpy() for part in self.probs(image).max(1))
            for row, own, sure in zip(index.tolist(), predicted, confidence, strict=True):
                masked = mask_noise(memory[row].numpy(), own, sure, self.fired, self.threshold, IGNORE)
                memory[row] = calibrated[row] if masked is None else torch.from_numpy(masked)
        noisy, seen = memory == IGNORE, {"changed": float((before != memory).double().mean())}
        for k in range(self.classes):
            own = calibrated == k
            seen[f"masked_{k}"] = float((noisy & own).sum() / own.sum().clamp(min=1))
        self.report(masked=round(float(noisy.double().mean()), 4))
        return seen


# ----------------------------------------------------------------------------------------------------------- the times


def averagings(boundary: int, epoch: float, alpha: float, passes: float) -> tuple[list[int], float]:
    """The steps of the first phase after which predictions are averaged, and the weight of the newest.

    The last is the phase's last step, `boundary`; before it one in every m epochs of so many steps each, with the weight
    1 - (1 - alpha)^m. What would have less than 1 % of the average in the end is left out. m is 1, or more where there
    would be more averagings than `passes` over the images, but at most 5 if an epoch has a step.
    """
    lasting = math.log(LEAST) / math.log(1 - min(alpha, 1 - LEAST))  # epochs
    m = max(1, 1 / epoch, min(COARSEST, lasting / passes))
    count = math.ceil(min(lasting, boundary / epoch) / m - 1e-9)
    return [boundary - int(number * m * epoch + 1e-9) for number in reversed(range(count))], 1 - (1 - alpha) ** m


def first_fit(epoch: float, length: float) -> int:
    """The step of a second phase of so many steps after which curves are fitted for the first time.

    After 3 epochs, as published, and 60 steps, or three quarters of a phase of less than 80 steps, but never fewer than 45.
    On curves 0.95 (1 - exp(-epoch / tau)) with noise of standard deviation 0.1 and tau = 100, 26 % of 1000-step runs fire
    before half of their time if curves are fitted from step 30 on, 14 % from 45 and 4 % from 60; with 0.05: 4, 2 and 0 %.
    """
    interval, least = max(epoch, BETWEEN), max(3 * epoch, FEWEST, min(POINTS, 0.75 * length))
    return math.ceil(math.ceil(least / interval - 1e-9) * interval - 1e-9)


def _ends(done: int, interval: float) -> bool:
    """Whether a step ends one of the intervals of so many steps."""
    return int(done / interval + 1e-9) > int((done - 1) / interval + 1e-9)


# ---------------------------------------------------------------------------------- noise perception and masking (ANPM)


@torch.no_grad()
def train_dice(predicted: Tensor, pseudo: Tensor, classes: int) -> Tensor:
    """Dice per class (k,), float64, of a batch's hard predictions with its pseudo-labels, both int64 (n, h, w).

    As published, masked pixels count as predicted but never as labelled, and a class that is in neither has 0.
    """
    dice = []
    for k in range(classes):
        own, label = predicted == k, pseudo == k
        dice.append(2 * (own & label).sum().double() / (own.sum() + label.sum() + 1e-10))
    return torch.stack(dice)


def fires(
    curve: Sequence[float] | np.ndarray,
    *,
    batches_per_epoch: float,
    epoch: int,
    r: float = 0.95,
    reference: bool = False,
) -> bool:
    """Whether the training Dice of a class is flat at an epoch of the second phase, counted from 0.

    `curve` holds the Dice of every step of the phase; values after the epoch are not used. It is smoothed and fitted by
    f(x) = a (1 - exp(-x^b / c)), x in epochs. It is flat if f' is below that of epoch 1 by more than the share r in one of
    the epochs 2 to `epoch`. `reference`: x is in iterations, but f' is evaluated at the same numbers, as published. A
    curve that can't be fitted is not flat.
    """
    return _flat(_fitted(curve, batches_per_epoch, epoch, reference=reference), epoch, r)


def _fitted(
    curve: Sequence[float] | np.ndarray, batches_per_epoch: float, epoch: int, *, reference: bool
) -> tuple[float, float, float]:
    """(a, b, c) of a history up to an epoch; NaN where the fit does not converge."""
    y = np.array(curve[: round((epoch + 1) * batches_per_epoch)], np.float64)
    x = np.linspace(0, len(y), len(y))
    y[0] = 0
    y = smooth(x, y, BANDWIDTH)
    y[0] = 0
    try:
        return fit_curve(x if reference else x / batches_per_epoch, y)
    except (RuntimeError, ValueError):  # no convergence, or no finite step
        return (math.nan, math.nan, math.nan)


def _flat(curve: tuple[float, float, float], epoch: int, r: float) -> bool:
    if math.isnan(curve[0]):
        return False
    a, b, c = curve
    at = np.arange(1, epoch + 1) + 1e-6
    with np.errstate(all="ignore"):
        slope = a * b / c * np.exp(-(at**b) / c) * at ** (b - 1)
        drop = np.abs(slope - slope[0]) / np.abs(slope[0])
    drop[drop > 1] = 0
    return bool(epoch >= (drop <= r).sum() + 1)  # NaN counts as dropped


def smooth(x: np.ndarray, y: np.ndarray, bandwidth: float) -> np.ndarray:
    """Local linear regression of y (n,) at each x (n,), ascending, with weights exp(-(x_i - x_j)^2 / (2 bandwidth^2)).

    In closed form, 256 points at a time (the published loop is cubic). Where the neighbours' weights vanish, y itself.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    smoothed = np.empty_like(y)
    for start in range(0, len(x), 256):
        rows = slice(start, start + 256)
        low, high = np.searchsorted(x, [x[rows][0] - 9 * bandwidth, x[rows][-1] + 9 * bandwidth])  # exp(-9^2 / 2) < 3e-18
        off = x[low:high] - x[rows, None]
        weight = np.exp(-0.5 * (off / bandwidth) ** 2)
        s0, s1, s2 = weight.sum(1), (weight * off).sum(1), (weight * off**2).sum(1)
        t0, t1 = weight @ y[low:high], (weight * off) @ y[low:high]
        spread = s0 * s2 - s1**2
        alone = spread < 1e-12 * bandwidth**2
        smoothed[rows] = np.where(alone, y[rows], (s2 * t0 - s1 * t1) / np.where(alone, 1, spread))
    return smoothed


def fit_curve(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """(a, b, c) of a (1 - exp(-x^b / c)), a and b in [0, 1], c >= 0; the last point has ten times the weight of the first.

    Raises RuntimeError if the fit does not converge.
    """

    def saturating(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a * (1 - np.exp(-(x**b) / c))

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # about the covariance, which is not used
        found, _ = curve_fit(
            saturating, x, y, (1, 1, 1), np.geomspace(1, 0.1, len(x)), absolute_sigma=True,
            bounds=([0, 0, 0], [1, 1, np.inf]), method="trf",
        )  # fmt: skip
    a, b, c = found.tolist()
    return a, b, c


def mask_noise(
    pseudo: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, updated: Sequence[int], threshold: float, ignore: int
) -> np.ndarray | None:
    """Mask an image's pseudo-label (h, w) where the prediction disagrees; None: restart from the first phase's label.

    A disagreement is noise if the confidence is above `threshold`, and the predicted class is background or has fired
    (`updated`), and occurs in the pseudo-label. Masked pixels are `ignore`, and stay masked. None if the pseudo-label has
    no class that fired, or if little of a small foreground would remain.
    """
    pseudo, predicted = np.asarray(pseudo), np.asarray(predicted)
    there = np.unique(pseudo)
    if not np.isin([k for k in updated if k != 0], there).any():
        return None
    admissible = np.intersect1d(there, [0, *updated])
    change = (pseudo != predicted) & (np.asarray(confidence) > threshold) & np.isin(predicted, admissible)
    left = np.where(change, predicted, pseudo)
    if (left != 0).sum() < 0.5 * (pseudo != 0).sum() and (left == 0).mean() > 0.95:
        return None
    return np.where(change, ignore, pseudo).astype(pseudo.dtype)


# --------------------------------------------------------------------------------------------------------- soft labels


def soft_labels(refined: Tensor) -> Tensor:
    """Softmax (n, k, h, w) of the refined logits with all but each pixel's largest set to 0, without gradient.

    As published, a largest logit below 0 makes its class the least probable one.
    """
    refined = refined.detach().float()
    return torch.where(refined == refined.amax(1, keepdim=True), refined, 0).softmax(1)


def soft_dice(logits: Tensor, soft: Tensor, noisy: Tensor) -> Tensor:
    """1 - Dice of softmax(logits) with soft labels on the masked pixels (n, h, w): one Dice of all classes and samples.

    Sums in the denominator are not squared. Exactly 0 where nothing is masked.
    """
    probs, mask = logits.float().softmax(1), noisy[:, None]
    common = (probs * soft * mask).sum()
    return 1 - (2 * common + 1e-5) / ((soft * mask).sum() + (probs * mask).sum() + 1e-5)
