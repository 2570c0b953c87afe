from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy import ndimage

from benchmark.methods import networks
from benchmark.methods.augment import IGNORE, Augmentation
from benchmark.methods.base import Batch, Method, NetMethod, optimiser_of, poly, ramp, scheduled
from benchmark.methods.losses import partial_cross_entropy
from benchmark.seal.contract import Budget, TestScan, WeakData, WeakScan
from benchmark.train.worker import seed_everything
from tests.support.golden_vectors import Golden


def data_of(slices=5, size=16):
    """One scan whose slice i is filled with i / 10, half of it labelled."""
    image = np.ones((slices, 1, size, size), np.float32) * np.arange(slices, dtype=np.float32)[:, None, None, None] / 10
    allowed = np.full((slices, size, size), 3, np.uint8)
    allowed[:, : size // 2] = 1
    allowed[:, 0] = 2
    return WeakData([WeakScan(image, allowed)], classes=2, channels=1)


@dataclass
class Recorder(NetMethod):
    """A method that keeps what the loop hands to it."""

    passes: ClassVar[int | None] = None

    def build(self, channels, classes, budget):
        super().build(channels, classes, budget)
        self.batches, self.progress, self.ends = [], [], []
        self.memory = torch.arange(len(self.images))[:, None, None].expand(-1, budget.size, budget.size)

    def loss(self, batch, progress):
        self.batches.append(batch)
        self.progress.append(progress)
        return partial_cross_entropy(self.net(batch.image), batch.allowed)

    def after_pass(self, slices, progress):
        self.ends.append((progress, torch.cat([index for index, _ in slices])))


def fitted(method, budget, data=None):
    seed_everything(0)
    logged = []
    method.fit(data or data_of(), budget, lambda step, /, **values: logged.append((step, values)))
    return logged


def with_marks(count, of=20, classes=3, *, every_class=True):
    """So many slices of 20 with marks, of every class or of the background alone; a slice's grey is its number."""
    allowed = np.full((of, 16, 16), 2**classes - 1, np.uint8)
    for k in range(classes if every_class else 1):
        allowed[:count, k] = 1 << k
    image = np.broadcast_to(np.arange(of, dtype=np.float32)[:, None, None, None] / of, (of, 1, 16, 16))
    return WeakData([WeakScan(image, allowed)], classes, 1)


@pytest.mark.parametrize(
    ("data", "marked"),
    [
        (with_marks(3), {2}),  # of a batch of 4
        (with_marks(9), {2}),
        (with_marks(10), {0, 1, 2, 3, 4}),
        (with_marks(3, every_class=False), {0, 1, 2}),  # sets, not marks: tags of images without objects
    ],
)
def test_half_of_each_batch_has_marks_where_few_slices_have_them(data, marked):
    method = Recorder()
    fitted(method, Budget(steps=30, batch=4, size=16), data)
    bare = (method.allowed == 7).all((1, 2))
    counts = [int((~bare[batch.index.numpy()]).sum()) for batch in method.batches]
    assert set(counts) <= marked
    assert len(set(counts)) > 1 or marked == {2}
    drawn = np.bincount(np.concatenate([batch.index.numpy() for batch in method.batches]), minlength=20)
    for group in (~bare, bare) if marked == {2} else (bare | ~bare,):
        assert np.ptp(drawn[group]) <= 1  # pass after pass


def test_an_odd_batch_has_one_slice_with_marks_more():
    method = Recorder()
    fitted(method, Budget(steps=4, batch=3, size=16), with_marks(3))
    assert [int((batch.index < 3).sum()) for batch in method.batches] == [2] * 4


def test_the_loop_takes_exactly_its_steps_in_full_batches():
    method = Recorder()
    fitted(method, Budget(steps=7, batch=4, size=16))
    assert [len(batch.index) for batch in method.batches] == [4] * 7
    assert method.progress == pytest.approx([step / 7 for step in range(7)])


def test_every_slice_is_seen_once_per_pass():
    method = Recorder()
    fitted(method, Budget(steps=5, batch=4, size=16))
    order = torch.cat([batch.index for batch in method.batches])
    for start in range(0, 20, 5):
        assert sorted(order[start : start + 5].tolist()) == [0, 1, 2, 3, 4]


def test_rows_of_a_batch_belong_together():
    """Image, index and memory of a row speak of one slice; what the turn uncovered is black and IGNORE."""
    method = Recorder()
    fitted(method, Budget(steps=12, batch=3, size=16))
    for batch in method.batches:
        for image, index, memory, allowed in zip(batch.image, batch.index, batch.memory, batch.allowed, strict=True):
            assert set(memory.unique().tolist()) <= {int(index), IGNORE}
            assert image[0, 8, 8].item() == pytest.approx(int(index) / 10, abs=1e-6)
            assert set(allowed.unique().tolist()) <= {1, 2, 3}
            assert (allowed[memory == IGNORE] == 3).all()


def test_prefetched_batches_equal_those_made_one_by_one():
    """As on a GPU: what a method remembers is still read when its step comes."""
    method = Recorder()
    fitted(method, Budget(steps=9, batch=3, size=16))
    found = {}
    for threads in (0, 3):
        method.memory, found[threads] = torch.zeros(5, 16, 16, dtype=torch.uint8), []
        for batch in method._batches(Augmentation(0, 2), np.random.default_rng(0), threads):
            found[threads].append(batch)
            method.memory += 1
    for alone, together in zip(found[0], found[3], strict=True):
        assert all(
            torch.equal(getattr(alone, part), getattr(together, part)) for part in ("image", "allowed", "index", "memory")
        )
    assert [int(batch.memory[0, 8, 8]) for batch in found[3]] == list(range(9))


def test_a_pass_ends_when_every_slice_was_seen():
    method = Recorder()
    fitted(method, Budget(steps=10, batch=2, size=16))
    assert [end for end, _ in method.ends] == pytest.approx([0.3, 0.5, 0.8, 1.0])
    assert method.ends[0][1].tolist() == [0, 1, 2, 3, 4]


@dataclass
class FourTimes(Recorder):
    passes = 4


def test_passes_are_spread_evenly_over_a_short_run():
    method = FourTimes()
    fitted(method, Budget(steps=8, batch=2, size=16))
    assert [end for end, _ in method.ends] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_a_batch_larger_than_the_data_repeats_slices():
    method = Recorder()
    fitted(method, Budget(steps=2, batch=12, size=16))
    assert torch.bincount(method.batches[0].index).tolist() == [3, 3, 2, 2, 2] or len(method.batches[0].index) == 12


@pytest.mark.parametrize(
    "memory",
    [
        torch.zeros(2, 16, 16, dtype=torch.uint8),  # of two slices, not five
        torch.full((5, 16, 16), 700),
        torch.full((5, 16, 16), -1),
        torch.zeros(5, 16, 16),
        torch.zeros(5, 2, 16, 16, dtype=torch.int64),
    ],
)
def test_a_memory_that_can_not_be_augmented_is_refused(memory):
    class Keeping(Recorder):
        def build(self, channels, classes, budget):
            super().build(channels, classes, budget)
            self.memory = memory

    with pytest.raises(ValueError, match=r"self.memory is .*; it must have a row for each of 5 training slices"):
        fitted(Keeping(), Budget(steps=2, batch=4, size=16))


@pytest.mark.parametrize(
    ("lossy", "message"),
    [
        (lambda loss: loss[None], r"a tensor \(1,\);"),
        (lambda loss: loss.detach(), r"a tensor \(\) without a gradient;"),
        (lambda loss: 0.5, "float;"),
        (lambda loss: None, "NoneType;"),
    ],
)
def test_a_loss_that_is_not_one_number_with_a_gradient_is_refused(lossy, message):
    class Lossy(Recorder):
        def loss(self, batch, progress):
            return lossy(super().loss(batch, progress))

    with pytest.raises(TypeError, match=f"loss returned {message} it must return one number as a tensor"):
        fitted(Lossy(), Budget(steps=2, batch=4, size=16))


def test_a_network_that_diverged_in_its_last_step_does_not_predict():
    method = Recorder()
    fitted(method, Budget(steps=2, batch=4, size=16))
    with torch.no_grad():
        next(method.net.parameters()).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="its training has diverged"):
        method.predict(TestScan(next(iter(data_of())).image, None))


def test_numbers_of_numpy_are_facts():
    method = Recorder()
    method.report(share=np.float32(0.5), fired=np.bool_(True))
    assert method.facts == {"share": 0.5, "fired": True}
    assert [type(value) for value in method.facts.values()] == [float, bool]


def test_an_image_that_is_a_flipped_view_is_predicted():
    method = Recorder()
    fitted(method, Budget(steps=1, batch=4, size=16))
    flipped = next(iter(data_of())).image[:, :, ::-1]
    assert np.array_equal(*(method.predict(TestScan(image, None)) for image in (flipped, flipped.copy())))


def test_one_seed_one_result():
    first, again, other = Recorder(), Recorder(), Recorder()
    budget = Budget(steps=4, batch=2, size=16)
    fitted(first, budget)
    fitted(again, budget)
    seed_everything(1)
    other.fit(data_of(), budget, lambda step, /, **values: None)
    weights = [torch.cat([p.flatten() for p in m.net.parameters()]) for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_training_in_parts_is_that_of_fit():
    budget, whole, parts = Budget(steps=5, batch=2, size=16), Recorder(), Recorder()
    fitted(whole, budget)
    seed_everything(0)
    parts.begin(data_of(), budget, lambda step, /, **values: None)
    training = parts.steps()
    assert [list(islice(training, count)) for count in (2, 0, 2)] == [[1, 2], [], [3, 4]]
    assert len(parts.batches) == 4
    assert list(training) == [5]
    assert all(map(torch.equal, whole.net.state_dict().values(), parts.net.state_dict().values()))


def test_terms_are_added_to_the_loss_and_learnt():
    class WithTerm(Recorder):
        def build(self, channels, classes, budget):
            super().build(channels, classes, budget)
            self.terms.append(lambda batch: 3 + 0 * batch.image.sum() + self.net.decoder.head.bias.sum())

    plain, more, budget = Recorder(), WithTerm(), Budget(steps=1, batch=2, size=16, weight_decay=0.0)
    (_, before), (_, after) = *fitted(plain, budget), *fitted(more, budget)
    biases = [method.net.decoder.head.bias.detach() for method in (plain, more)]
    torch.testing.assert_close(biases[0] - biases[1], torch.full((2,), budget.lr))
    start = networks_bias_sum(budget)
    assert after["loss"] - before["loss"] == pytest.approx(3 + start, abs=1e-5)


def networks_bias_sum(budget):
    """The sum of the head's bias before the first step."""
    seed_everything(0)
    return float(networks.build(budget.network, 1, 2).decoder.head.bias.detach().sum())


def test_the_loss_is_logged_a_hundred_times_and_at_the_end():
    logged = fitted(Recorder(), Budget(steps=201, batch=2, size=16))
    steps = [step for step, _ in logged]
    assert steps[-1] == 200
    assert 100 <= len(steps) <= 130
    assert all(np.isfinite(values["loss"]) for _, values in logged)


def test_the_training_loss_falls():
    logged = fitted(Recorder(), Budget(steps=60, batch=4, size=16))
    losses = [values["loss"] for _, values in logged]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


@pytest.mark.parametrize("shape", [(3, 20, 33), (1, 16, 16), (2, 9, 5)])
def test_predictions_have_the_native_size(shape):
    method = Recorder()
    fitted(method, Budget(steps=1, batch=2, size=16))
    image = np.random.default_rng(0).random((shape[0], 1, *shape[1:]), np.float32)
    labels = method.predict(TestScan(image))
    assert labels.shape == shape
    assert labels.dtype == np.uint8


def test_prediction_leaves_the_network_as_it_was():
    method = Recorder()
    fitted(method, Budget(steps=1, batch=2, size=16))
    before = [b.clone() for b in method.net.buffers()]
    method.predict(TestScan(np.zeros((2, 1, 20, 20), np.float32)))
    assert method.net.training
    assert all(map(torch.equal, before, method.net.buffers()))


def test_the_rate_falls_as_in_the_golden_schedule():
    golden = Golden("poly_lr")
    base, steps = float(golden["in_base_lr"]), int(golden["in_max_iterations"])
    rates = [poly(base, step, steps) for step in golden["in_iteration"].tolist()]
    assert rates == pytest.approx(golden["out_lr_after_step"].tolist(), abs=1e-12)


def test_the_rate_rises_in_the_warm_up_and_then_falls_by_its_schedule():
    budget = Budget(steps=10, lr=0.5, warmup=0.2)
    rates = [scheduled(budget, step, 10) for step in range(10)]
    assert rates[:3] == [0.25, 0.5, 0.5]
    assert rates[3:] == pytest.approx([0.5 * (1 - done / 8) ** 0.9 for done in range(1, 8)])
    assert scheduled(Budget(steps=10, lr=0.5, schedule="cosine"), 5, 10) == pytest.approx(0.25)
    assert [scheduled(Budget(steps=4), step, 4) for step in range(4)] == [poly(0.01, step, 4) for step in range(4)]


@pytest.mark.parametrize(
    ("name", "kind", "nesterov"),
    [("sgd", torch.optim.SGD, False), ("nesterov", torch.optim.SGD, True), ("adamw", torch.optim.AdamW, None)],
)
def test_a_budget_names_its_optimiser(name, kind, nesterov):
    made = optimiser_of(torch.nn.Linear(2, 2), Budget(optimiser=name, lr=0.03, weight_decay=0.5))
    assert type(made) is kind
    (group,) = made.param_groups
    assert (group["lr"], group["weight_decay"], group.get("nesterov")) == (0.03, 0.5, nesterov)


def test_the_ramp_is_the_golden_sigmoid():
    golden = Golden("ramps")
    for i, current in enumerate(golden["in_current"].tolist()):
        for j, length in enumerate(golden["in_length"].tolist()):
            if length:
                assert ramp(current / length) == pytest.approx(float(golden["out_sigmoid"][i, j]), abs=1e-12)


def test_labels_are_the_sets_of_one_class():
    allowed = torch.tensor([[[1, 2, 4, 3, 7, 1 << 30]]], dtype=torch.int32)
    batch = Batch(torch.zeros(1, 1, 1, 6), allowed, torch.zeros(1), None)
    assert batch.labels.tolist() == [[[0, 1, 2, IGNORE, IGNORE, 30]]]


def test_open_pixels_allow_more_than_one_class():
    allowed = torch.tensor([[[1, 2, 4, 3, 7, 1 << 30, 5]]], dtype=torch.int32)
    assert Batch(torch.zeros(1, 1, 1, 7), allowed, torch.zeros(1), None).open.tolist() == [[[0, 0, 0, 1, 1, 0, 1]]]


@dataclass
class Sizes(Recorder):
    """Keeps what is known before `build`."""

    def build(self, channels, classes, budget):
        assert (self.channels, self.classes) == (channels, classes) == (1, 2)
        super().build(channels, classes, budget)


def test_channels_and_classes_are_known_before_build():
    fitted(Sizes(), Budget(steps=1, batch=2, size=16))


@dataclass
class Relabels(Recorder):
    """Gives every pixel the same set."""

    value: int = 0

    def prepare(self, scan, classes, size):
        image, sets = super().prepare(scan, classes, size)
        return image, np.full_like(sets, self.value)


@pytest.mark.parametrize("value", [0, 4, 7])
def test_sets_of_no_class_are_refused(value):
    with pytest.raises(ValueError, match="outside 1 to 3; a set needs a class, and no other bits"):
        fitted(Relabels(value), Budget(steps=1, batch=2, size=16))


@dataclass
class Adversarial(Recorder):
    """A network, and a discriminator that tells its probabilities from hard labels."""

    def build(self, channels, classes, budget):
        super().build(channels, classes, budget)
        self.critic = torch.nn.Conv2d(classes, 1, 3)
        self.optimisers.append(torch.optim.Adam(self.critic.parameters(), 0.002))
        self.rates = []

    def loss(self, batch, progress):
        logits = self.net(batch.image)
        self.predicted = logits.detach().softmax(1)
        fooled = -self.critic(logits.softmax(1)).mean()
        return partial_cross_entropy(logits, batch.allowed) + 0.01 * fooled

    def after_step(self, batch, progress):
        (optimiser,) = self.optimisers
        hard = torch.nn.functional.one_hot(self.predicted.argmax(1), self.classes).movedim(-1, 1).float()
        optimiser.zero_grad()
        (self.critic(self.predicted) - self.critic(hard)).mean().backward()
        optimiser.step()
        self.rates.append(optimiser.param_groups[0]["lr"])


def test_a_discriminator_is_trained_by_the_schedule_of_the_budget():
    """Its own base rate, 0.002, times the share of the budget's rate."""
    method, budget = Adversarial(), Budget(steps=4, batch=2, size=16, lr=0.05, schedule="cosine", warmup=0.25)
    fitted(method, budget)
    assert method.rates == pytest.approx([0.002 * scheduled(budget, step, 4) / 0.05 for step in range(4)])
    critic = method.critic.weight.clone()
    fitted(method, Budget(steps=1, batch=2, size=16))
    assert len(method.optimisers) == 1
    assert not torch.equal(method.critic.weight, critic)
    assert {"net", "critic"} == set(method.state())


@dataclass
class Twice(Recorder):
    """Trains its network with an optimiser of its own, too."""

    def build(self, channels, classes, budget):
        super().build(channels, classes, budget)
        self.optimisers.append(torch.optim.Adam(self.net.parameters(), 0.002))


def test_a_further_optimiser_may_not_train_the_network():
    with pytest.raises(ValueError, match="holds weights of self.net"):
        fitted(Twice(), Budget(steps=1, batch=2, size=16))


@dataclass
class KeepsAxes(Recorder):
    keeps_axes: ClassVar[bool] = True


@pytest.mark.parametrize(
    ("cls", "kind", "fewest"), [(Recorder, "turns45", 1), (KeepsAxes, "turns45", 0), (Recorder, "none", 0)]
)
def test_a_budget_and_a_method_choose_the_augmentation(cls, kind, fewest):
    """Only rotations leave corners of which nothing is known: here IGNORE in the memory."""
    method = cls()
    fitted(method, Budget(steps=6, batch=2, size=16, augmentation=kind))
    corners = sum(bool((batch.memory == IGNORE).any()) for batch in method.batches)
    assert (corners >= fewest) if fewest else corners == 0


def test_a_squashed_method_learns_and_predicts_without_borders():
    """A wide image: its whole width is trained on in every row of the square, and predicted at native size."""
    wide = WeakData([WeakScan(np.ones((2, 1, 8, 24), np.float32), np.ones((2, 8, 24), np.uint8))], 2, 1)
    method = Recorder()
    fitted(method, Budget(steps=1, batch=2, size=16, augmentation="none", resize="squash"), wide)
    assert (method.batches[0].image == 1).all()
    assert (method.batches[0].allowed == 1).all()
    method.probs = lambda image: torch.stack([1 - image[:, 0], image[:, 0]], 1)  # class 1 where the image is white
    stripes = (np.indices((8, 24)).sum(0) // 3 % 2).astype(np.float32)
    assert np.array_equal(method.predict(TestScan(stripes[None, None]))[0], to_native_nearest(stripes, 16))


def to_native_nearest(image, size):
    """Zoom to the square and back by scipy, as WSL4MIS does."""
    small = ndimage.zoom(image, (size / image.shape[0], size / image.shape[1]), order=0, mode="nearest")
    return ndimage.zoom(small, (image.shape[0] / size, image.shape[1] / size), order=0, mode="nearest")


@pytest.mark.parametrize("network", ["unet", "smp:Unet/resnet18"])
def test_losses_get_no_logits_in_half_precision(network):
    net = networks.build(network, 1, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(2, 1, 32, 32)).dtype == torch.float32


def test_a_prediction_within_a_step_keeps_no_weights_from_the_pass_that_is_trained():
    method = Recorder()
    fitted(method, Budget(steps=1, batch=2, size=16, precision="bf16"))
    kept = []
    with method.autocast():
        assert torch.is_autocast_cache_enabled()
        method.net.register_forward_pre_hook(lambda *_: kept.append(torch.is_autocast_cache_enabled()))
        method.probs(torch.rand(2, 1, 16, 16))
        assert torch.is_autocast_cache_enabled()
    assert kept == [False]


def test_bf16_is_an_option_that_trains():
    logged = fitted(Recorder(), Budget(steps=3, batch=2, size=16, precision="bf16"))
    assert np.isfinite(logged[-1][1]["loss"])


@dataclass
class Slices3d(Method):
    """A method that is not a network: a voxel is 1 if the mean of the three slices around it is high."""

    def fit(self, data, budget, log):
        marked = [scan.image[:, 0][scan.allowed == 2] for scan in data]
        self.threshold = float(np.concatenate(marked).min())

    def predict(self, scan):
        stack = scan.image[:, 0]
        assert scan.spacing is not None
        before, after = stack[[0, *range(len(stack) - 1)]], stack[[*range(1, len(stack)), -1]]
        return ((before + stack + after) / 3 >= self.threshold).astype(np.uint8)


def test_a_method_may_be_three_dimensional():
    image = np.zeros((4, 1, 6, 6), np.float32)
    image[1:3, :, 2:4, 2:4] = 1
    allowed = np.where(image[:, 0] == 1, 2, 3).astype(np.uint8)
    method = Slices3d()
    method.fit(WeakData([WeakScan(image, allowed, (8.0, 1.0, 1.0))], 2, 1), Budget(), lambda step, /, **values: None)
    thick = method.predict(TestScan(np.ones((3, 1, 6, 6), np.float32), (8.0, 1.0, 1.0)))
    thin = method.predict(TestScan(image[:2] * 0 + image[1:2] * [[[[1]]], [[[0]]]], (8.0, 1.0, 1.0)))
    assert thick.all()
    assert not thin.any()
