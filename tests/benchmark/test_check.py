"""The checks are checked: every plug-in passes, and one with a single fault fails the check that is made for it."""

import re

import numpy as np
import pytest
import torch

from benchmark import InputError
from benchmark.check import CHECKS, methods, outcomes, report_on, targets, watch
from benchmark.check.contract import Broken
from benchmark.check.methods import (
    gradients_reach_every_parameter,
    handles_single_slice,
    is_static_if_it_says_so,
    stays_within_its_budget,
)
from benchmark.plan import plugins

SOUND = '''"""A sound method."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import cv2
import numpy as np
import torch

from benchmark.methods.base import Method, Range


@dataclass
class M(Method):
    """Gives each pixel the class whose marks are as bright."""

    annotations: ClassVar = ("scribble", "point")
    factor: float = 1.0

    def fit(self, data, budget, log):
        means = []
        for k in range(data.classes):
            marked = np.concatenate([scan.image[:, 0][scan.allowed == 1 << k] for scan in data])
            means.append(float(marked.mean()) if marked.size else 9.0)
        self.means = self.factor * np.array(means)
        log(budget.steps - 1, brightest=max(means))

    def predict(self, scan):
        image = scan.image[:, 0]
        return np.abs(image[:, None] - self.means[:, None, None]).argmin(1).astype(np.uint8)
'''

NET = '''"""A sound method with a network."""

from dataclasses import dataclass

from torch import nn

from benchmark.methods import networks
from benchmark.methods.base import NetMethod
from benchmark.methods.losses import partial_cross_entropy


@dataclass
class M(NetMethod):
    """Fits the marks."""

    def build(self, channels, classes, budget):
        self.net = networks.build(budget.network, channels, classes)

    def loss(self, batch, progress):
        return partial_cross_entropy(self.net(batch.image), batch.allowed)
'''

ADVERSARIAL = '''"""A network, and a discriminator that tells its probabilities from hard labels."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from benchmark.methods.base import NetMethod
from benchmark.methods.losses import partial_cross_entropy


@dataclass
class M(NetMethod):
    """Fits the marks, with predictions that look like labels; only quarter turns."""

    keeps_axes = True

    def build(self, channels, classes, budget):
        super().build(channels, classes, budget)
        self.critic = nn.Sequential(nn.Conv2d(classes, 8, 3, 2), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 3, 2))
        self.optimisers.append(torch.optim.Adam(self.critic.parameters(), 1e-3))

    def loss(self, batch, progress):
        logits = self.net(batch.image)
        self.predicted = logits.detach().softmax(1)
        return partial_cross_entropy(logits, batch.allowed) + 0.01 * F.softplus(-self.critic(logits.softmax(1))).mean()

    def after_step(self, batch, progress):
        (optimiser,) = self.optimisers
        hard = F.one_hot(self.predicted.argmax(1), self.classes).movedim(-1, 1).float()
        optimiser.zero_grad()
        (F.softplus(-self.critic(hard)) + F.softplus(self.critic(self.predicted))).mean().backward()
        optimiser.step()
'''

DATA = '''"""A sound data set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.datasets.base import Dataset, Scan, Split


@dataclass
class D(Dataset):
    """Bright squares."""

    root: Path

    name = "NAME"
    classes = ("background", "square")
    regions = {"square": (1,)}
    channels = 1
    modality = licence = source = citation = "made up"
    tolerance = 2.0
    patients_known = redistribute = True

    def patients(self):
        return {"a": ["a0", "a1"], "b": ["b0"], "c": ["c0"]}

    def splits(self):
        return ["only"]

    def split(self, name):
        return Split(("a0", "a1"), ("b0",), ("c0",))

    def load(self, name):
        rng = np.random.default_rng(list(name.encode()))
        mask = np.zeros((2, 30, 34), np.uint8)
        mask[:, 5:15, 8:20] = 1
        image = (0.5 * mask + rng.random(mask.shape) / 4).astype(np.float32)
        return Scan(name, name[0], image[:, None], mask, (2.0, 1.0, 1.0))
'''

METRIC = '''"""A sound metric."""

import numpy as np

from benchmark.score.metrics import Metric


class M(Metric):
    """The overlap's share of both."""

    title = "Overlap"
    better = 1
    low, high = 0.0, 1.0
    miss = 0.0

    def measure(self, prediction, truth, spacing):
        return (prediction & truth).sum() / (prediction | truth).sum()
'''

METHOD_FAULTS = {
    "constructs_without_work": (SOUND, "    def fit(", "    def __post_init__(self):\n        self.net = 1\n\n    def fit("),
    "spells_its_functions": (NET, "batch.allowed)\n", "batch.allowed)\n\n    def after_steps(self, batch, progress): ...\n"),
    "claims_known_annotations": (SOUND, '("scribble", "point")', '("scribble", "doodle")'),
    "declares_a_known_role": (SOUND, '("scribble", "point")\n', '("scribble", "point")\n    role = "upper bound"\n'),
    "needs_maps_that_exist": (NET, "batch.allowed)\n", 'batch.allowed)\n\n    needs = ("decoder/64",)\n'),
    "imports_no_data_set": (SOUND, "import torch\n", "import torch\nfrom benchmark.datasets import base as truth\n"),
    "is_blind_to_truth": (
        SOUND,
        "        means = []",
        "        for path in Path('data').rglob('*.npy'):\n            np.load(path)\n        means = []",
    ),
    "learns_from_all_that_it_claims": (SOUND, "image = scan.image[:, 0]", "image = scan.image[:, 0, 1:]"),
    "handles_unannotated_class": (
        SOUND,
        "            means.append",
        "            assert marked.size\n            means.append",
    ),
    "handles_single_slice": (SOUND, "        means = []", "        assert len(data) > 1\n        means = []"),
    "repeats_itself": (SOUND, "self.means = self.factor", "self.means = getattr(self, 'means', 0.0) + self.factor"),
    "keeps_its_options": (SOUND, "        log(", "        self.factor = 2.0\n        log("),
    "stays_within_its_budget": (SOUND, "log(budget.steps - 1", "log(budget.steps"),
    "is_unchanged_by_snapshots": (
        SOUND,
        "self.means = self.factor",
        "self.means = (1 - budget.snapshots) * self.factor",
    ),
    "gradients_reach_every_parameter": (
        NET,
        "channels, classes)",
        "channels, classes)\n        self.net.idle = nn.Linear(2, 2)",
    ),
    "learns": (SOUND, ".argmin(1)", ".argmax(1)"),
    "declares_sound_ranges": (SOUND, "    factor: float = 1.0", "    factor: Annotated[float, Range(2.0, 3.0)] = 1.0"),
    "is_static_if_it_says_so": (
        NET,
        "batch.allowed)\n",
        "batch.allowed) * batch.step.item()\n\n    static = True\n",
    ),
    "agrees_with_the_cpu_on_a_gpu": (
        SOUND,
        "image = scan.image[:, 0]",
        "image = scan.image[:, 0] * (os.environ.get('CUDA_VISIBLE_DEVICES') == '')",
    ),
}

DATA_FAULTS = {
    "describes_itself": (DATA, '{"square": (1,)}', '{"square": (2,)}'),
    "lists_every_scan_once": (DATA, '"b": ["b0"]', '"b": ["b0", "a1"]'),
    "splits_by_patient": (DATA, 'Split(("a0", "a1"), ("b0",)', 'Split(("a0",), ("a1", "b0")'),
    "loads_what_it_promises": (DATA, "astype(np.float32)", "astype(np.float64)"),
    "can_be_tested": (DATA, "image[:, None], mask,", "image[:, None], None if name == 'c0' else mask,"),
    "repeats_itself": (DATA, "default_rng(list(name.encode()))", "default_rng()"),
    "reaches_a_learner": (DATA, "mask[:, 5:15, 8:20] = 1", "mask[:, 5:15, 8:20] = 1 + (name == 'a1')"),
}

METRIC_FAULTS = {
    "says_what_it_is": (METRIC, "    miss = 0.0\n", ""),
    "is_a_number_within_its_bounds": (METRIC, "0.0, 1.0", "0.1, 1.0"),
    "gives_a_perfect_prediction_the_best_value": (METRIC, "(prediction & truth).sum() / (prediction | truth)", "prediction"),
    "gives_a_miss_the_worst_value": (METRIC, "miss = 0.0", "miss = 0.5"),
    "repeats_itself": (
        METRIC,
        "        return (",
        "        self.calls = getattr(self, 'calls', 0) + 1\n        return 0.999**self.calls * (",
    ),
    "is_invariant_to_flips": (METRIC, "(prediction & truth).sum() /", "(prediction & truth)[:, :6].sum() /"),
}

FAULTS = {"method": METHOD_FAULTS, "data set": DATA_FAULTS, "metric": METRIC_FAULTS}
BROKEN = [
    pytest.param(kind, check, marks=[pytest.mark.slow] * ("gpu" in check))  # two worker processes
    for kind, faults in FAULTS.items()
    for check in faults
]


def found(path, text):
    """What the checks find in a file with this text: faults by the check's name."""
    path.write_text(text.replace("NAME", path.stem))
    (target,) = targets(str(path))
    return {outcome.check: outcome.fault for outcome in outcomes(target) if outcome.fault}


QUICKLY = {"pce", "prior"}  # one of each kind; the others are slow


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICKLY)) for name in plugins.groups()["all"]]
)
def test_every_method_keeps_the_contract(name):
    (target,) = targets(name)
    assert [outcome for outcome in outcomes(target) if outcome.fault] == []


PHANTOMS = [name for name in plugins.find("data set") if "phantom" in name]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ("fundus_phantom", "screening_phantom"))) for name in PHANTOMS],
)
def test_every_phantom_keeps_the_contract(name):
    (target,) = targets(name)
    assert [outcome for outcome in outcomes(target) if outcome.fault] == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SOUND, id="method"),
        pytest.param(NET, id="network", marks=pytest.mark.slow),
        pytest.param(ADVERSARIAL, id="discriminator", marks=pytest.mark.slow),
        pytest.param(DATA, id="data set"),
        pytest.param(METRIC, id="metric"),
    ],
)
def test_a_sound_plug_in_passes_every_check(tmp_path, text):
    assert found(tmp_path / f"sound{len(text)}.py", text) == {}


def test_there_is_a_broken_plug_in_for_every_check():
    assert {kind: set(faults) for kind, faults in FAULTS.items()} == {
        kind: {check.__name__ for check in checks} for kind, checks in CHECKS.items()
    }


@pytest.mark.parametrize(("kind", "check"), BROKEN)
def test_a_fault_is_found_by_the_check_that_is_made_for_it(tmp_path, monkeypatch, kind, check):
    if "gpu" in check:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # in this process; the workers get a device each
    monkeypatch.setitem(CHECKS, kind, [each for each in CHECKS[kind] if each.__name__ == check])
    text, old, new = FAULTS[kind][check]
    assert old in text
    assert check in found(tmp_path / f"broken_{check}{len(text)}.py", text.replace(old, new))


TWICE = " + (lambda e: e.sum() + e.mul_(2).sum())(self.net(batch.image).exp())"  # what the gradient needs is overwritten


@pytest.mark.parametrize(
    ("text", "old", "new", "check", "said"),
    [
        (SOUND, "float = 1.0", "Annotated[float, Range(2.0, 3.0)] = -1", "constructs_without_work", "factor: "),
        (SOUND, "float = 1.0", "float = 'many'", "constructs_without_work", "factor: .*valid number"),
        (NET, "allowed)\n", "allowed)\n\n    needs = 'encoder/8'\n", "needs_maps_that_exist", "must be a tuple of maps"),
        (NET, "allowed)\n", "allowed)\n\n    needs = ('encoder8',)\n", "needs_maps_that_exist", "must be a tuple of maps"),
        (SOUND, "means = []", "means = [][1]", "handles_single_slice", r"IndexError: .* \(odd.py, line 23: means = \[\]\["),
        (NET, "allowed)\n", f"allowed){TWICE}\n", "learns", r"RuntimeError: .* \(in the backward pass of its loss\)$"),
    ],
)  # fmt: skip
def test_a_fault_is_said_with_its_option_or_its_line(tmp_path, monkeypatch, text, old, new, check, said):
    monkeypatch.setitem(CHECKS, "method", [each for each in CHECKS["method"] if each.__name__ == check])
    assert old in text
    assert re.search(said, found(tmp_path / "odd.py", text.replace(old, new))[check])


@pytest.mark.slow
def test_a_device_of_its_own_gives_a_sound_method_the_same_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert found(tmp_path / "alike.py", SOUND) == {}


def test_without_a_gpu_its_check_is_counted_separately(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "apart.py").write_text(SOUND)
    assert report_on(str(tmp_path / "apart.py")) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[shown.index("n/a    apart: agrees with the cpu on a gpu") + 1] == "       not applicable: no GPU"
    left_out = sum(line.startswith("n/a ") for line in shown)
    assert left_out > 1  # nor has it a network
    assert shown[-1] == f"{len(CHECKS['method']) - left_out} checks ran, 0 failed; {left_out} not applicable"


def test_a_reason_that_all_checks_share_is_said_once(tmp_path, capsys):
    assert report_on(f"folder:{tmp_path}/nowhere") == 1
    shown = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in shown[1:-1:2]] == [f"there is no folder {tmp_path}/nowhere", *["as above"] * 6]


STATIC = {  # the loss of a method that says that it is static, and what is wrong with it
    "a ramp in Python": ("loss * self.count()", "belongs to numbers, or to kind"),
    "a mask as an index": ("loss + logits.movedim(1, -1)[batch.open].mean()", "index (broken.py, line 21) waits"),
    "a value read back": ("loss if loss > 0 else 0 * loss", "__bool__ (broken.py, line 21) waits"),
    "another operation": ("loss if self.count() < 12 else 2.0 * loss", "belongs to numbers, or to kind"),
    "a list of one's own": ("loss + torch.tensor([1.0])[0]", "tensor (broken.py, line 21) waits"),
    "numbers": ("loss * batch.numbers[0]", ""),
    "a kind": ("loss if batch.kind else 2.0 * loss", ""),
}


@pytest.mark.parametrize("what", STATIC)
def test_a_step_that_can_not_be_captured_is_found(tmp_path, monkeypatch, what):
    monkeypatch.setitem(CHECKS, "method", [is_static_if_it_says_so])
    loss, fault = STATIC[what]
    lines = "logits = self.net(batch.image)", "loss = partial_cross_entropy(logits, batch.allowed)", f"return {loss}"
    text = NET.replace("from torch import nn\n", "import torch\n").replace('    """Fits the marks."""\n', "")
    text = text[: text.index("        return partial")] + "".join(f"        {line}\n" for line in lines)
    own = """
    static = True

    def count(self):
        self.calls = getattr(self, "calls", 0) + 1
        return self.calls

    def numbers(self, step):
        return (step / 10,)

    def kind(self, step):
        return step % 2
"""
    faults = found(tmp_path / "broken.py", text + own)
    assert fault in faults.get("is_static_if_it_says_so", "")
    assert bool(fault) == bool(faults)


def test_a_fault_is_status_1_and_said(tmp_path, capsys):
    text, old, new = METHOD_FAULTS["learns"]
    (tmp_path / "unlearned.py").write_text(text.replace(old, new))
    assert report_on(str(tmp_path / "unlearned.py")) == 1
    shown = capsys.readouterr().out
    assert "FAILED unlearned: learns\n       after 40 steps it labels " in shown
    assert " checks ran, 1 failed; " in shown


def test_masks_that_are_read_past_python_change_the_prediction(tmp_path):
    """OpenCV opens files itself, which no audit event tells; what it read shows in the label maps."""
    reading = SOUND.replace(
        "        means = []",
        "        mask = cv2.imread(os.environ.get('BENCHMARK_DATA', '') + '/masks/scan.png', -1)\n"
        "        self.factor = 1.0 if mask is None else 3.0 * float(mask.mean())\n        means = []",
    )
    assert (
        found(tmp_path / "reading.py", reading)["is_blind_to_truth"]
        == "masks in the data folder change what it learns; it must not read them"
    )


@pytest.mark.parametrize(
    ("check", "factor"),
    [
        ("repeats_itself", "np.random.default_rng().random()"),
        ("is_blind_to_truth", "float(cv2.imread(os.environ.get('BENCHMARK_DATA', '') + '/masks/scan.png', -1).mean())"),
        ("is_unchanged_by_snapshots", "(self.budget.snapshots > 1)"),
    ],
)
def test_weights_that_change_are_seen_where_predictions_do_not(tmp_path, check, factor):
    """After four steps the network predicts one class everywhere, whatever its weights are."""
    path = tmp_path / f"changed_{check}.py"
    changed = NET.replace("batch.allowed)\n", f"batch.allowed) * (1 + 0.1 * {factor})\n")
    path.write_text(changed.replace("from torch import nn\n", "import os, cv2\nimport numpy as np\nfrom torch import nn\n"))
    plugin = plugins.get("method", str(path))
    with pytest.raises(Broken):
        getattr(methods, check)(methods.Candidate(plugin, plugin.load()))


def test_files_that_a_method_made_itself_are_its_own(tmp_path):
    keeping = SOUND.replace(
        "        means = []",
        "        import tempfile\n        with tempfile.TemporaryDirectory() as folder:\n"
        "            np.save(folder + '/mine.npy', np.zeros(3))\n"
        "            np.load(folder + '/mine.npy')\n        means = []",
    )
    assert found(tmp_path / "keeping.py", keeping) == {}


def test_reads_of_other_files_are_found_among_code_and_given_files(tmp_path):
    for name in ("given.npy", "code.py", "truth.npy"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sealed").mkdir()
    np.save(tmp_path / "sealed/image.npy", np.zeros(2))
    with watch.reading() as read:
        for name in ("code.py", "truth.npy", "sealed/image.npy"):
            (tmp_path / name).read_bytes()
        (tmp_path / "new.npy").write_bytes(b"")
    (tmp_path / "given.npy").read_bytes()  # nobody listens any more
    assert watch.unexpected_reads(read, [tmp_path / "sealed"]) == [tmp_path / "truth.npy"]


def test_states_that_are_not_copies_are_found(tmp_path):
    """They would all become the last one, and every snapshot score what the end scores."""
    keeping = (
        SOUND.replace(
            "        log(",
            "        self.weights = np.zeros(1)\n        for done in range(1, budget.steps + 1):\n"
            "            self.weights += 1\n            self.keep(done, budget)\n        log(",
        )
        + "\n    def state(self):\n        return self.weights{}\n"
        + "\n    def restore(self, state):\n        self.weights = state\n"
    )
    assert found(tmp_path / "copies.py", keeping.format(".copy()")) == {}
    assert "state must return a copy" in found(tmp_path / "lives.py", keeping.format(""))["is_unchanged_by_snapshots"]


def test_a_distance_beyond_the_diagonal_is_found(tmp_path):
    """A miss costs the diagonal, so a prediction would score worse than none."""
    far = METRIC.replace("low, high = 0.0, 1.0\n    miss = 0.0", "distance = True").replace("better = 1", "better = -1")
    far = far.replace("return (prediction & truth)", "return 100 - 100 * (prediction & truth)")
    assert "a miss gets" in found(tmp_path / "far.py", far)["gives_a_miss_the_worst_value"]


def test_dependence_on_the_order_of_scans_is_found(tmp_path):
    counting = SOUND.replace("        image = ", "        self.means = self.means + 0.05\n        image = ")
    assert "depend on the order" in found(tmp_path / "counting.py", counting)["repeats_itself"]


def test_too_many_optimiser_steps_are_found(tmp_path):
    stepping = SOUND.replace(
        "        log(",
        "        opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)\n"
        "        for _ in range(budget.steps + 1):\n            opt.step()\n        log(",
    )
    assert "takes 5 steps" in found(tmp_path / "stepping.py", stepping)["stays_within_its_budget"]


def test_steps_of_a_discriminator_do_not_count(tmp_path, monkeypatch):
    """As long as it is in `optimisers`: an optimiser that nobody declares takes steps of the budget."""
    monkeypatch.setitem(CHECKS, "method", [stays_within_its_budget])
    assert found(tmp_path / "adversarial.py", ADVERSARIAL) == {}
    hidden = ADVERSARIAL.replace("self.optimisers.append(", "self.hidden = [").replace("1e-3))", "1e-3)]")
    hidden = hidden.replace("(optimiser,) = self.optimisers", "(optimiser,) = self.hidden")
    assert "takes 8 steps" in found(tmp_path / "hidden.py", hidden)["stays_within_its_budget"]


@pytest.mark.parametrize("value", [0, 8])
def test_sets_of_no_class_are_found(tmp_path, monkeypatch, value):
    """Of three classes, 0 allows none and 8 a fourth."""
    monkeypatch.setitem(CHECKS, "method", [handles_single_slice])
    wrong = NET + (
        "\n    def prepare(self, scan, classes, size):\n        image, sets = super().prepare(scan, classes, size)\n"
        f"        return image, sets * 0 + {value}\n"
    )
    assert "label sets outside 1 to 7" in found(tmp_path / "wrong.py", wrong)["handles_single_slice"]


def test_gradients_that_are_not_finite_are_found(tmp_path, monkeypatch):
    monkeypatch.setitem(CHECKS, "method", [gradients_reach_every_parameter])
    exploding = NET.replace("progress):\n        return ", "progress):\n        return 1e38 * 1e38 * ")
    assert "is not finite" in found(tmp_path / "exploding.py", exploding)["gradients_reach_every_parameter"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nonsense",
            "there is no plug-in 'nonsense'; there are methods: .*pce.*data sets: .*acdc.*groups: baselines|losses",
        ),
        ("nowhere.py", "there is no file nowhere.py"),
    ],
)
def test_what_is_not_a_plug_in_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        targets(text)


@pytest.mark.parametrize(
    ("text", "said"), [("x = 1", "none"), (SOUND + DATA.partition('"""\n')[2], "method and a data set")]
)
def test_a_file_that_is_not_of_one_kind_is_refused(tmp_path, text, said):
    path = tmp_path / f"mixed{len(text)}.py"
    path.write_text(text)
    with pytest.raises(InputError, match=f"it defines {said}"):
        targets(str(path))


def test_a_group_is_all_its_methods():
    assert [target.plugin.name for target in targets("controls")] == plugins.groups()["controls"]
