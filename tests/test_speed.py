"""Speed and memory as ratios within one run: `tox -e speed`. A group's first is its baseline; all get the same input."""

import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import nullcontext
from itertools import count, product
from pathlib import Path

import h5py
import medpy.metric.binary as medpy
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.segmentation import random_walker

from benchmark import report
from benchmark.check import data_of, refit
from benchmark.datasets.annotations import to_labels
from benchmark.datasets.forms import learnt
from benchmark.methods.augment import Augmentation
from benchmark.methods.losses import affinity, dense_crf, gated_crf, partial_cross_entropy, prsa, tree_energy
from benchmark.methods.networks import UNet
from benchmark.methods.pce import PartialCrossEntropy
from benchmark.methods.procns import smooth
from benchmark.methods.random_walker import probabilities
from benchmark.methods.resize import to_native_size, to_network, to_network_size
from benchmark.plan import plugins
from benchmark.score.evaluate import COUNTS, METRICS, evaluate
from benchmark.seal import contract, folder
from benchmark.seal.contract import Budget
from benchmark.train.numerics import repeatable
from benchmark.train.worker import seed_everything
from tests.benchmark.report.test_rows import record

pytestmark = [pytest.mark.speed, pytest.mark.filterwarnings("ignore:.*deterministic")]

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
BATCH = 12 if GPU else 4  # of the network and its losses; as published on a GPU


@pytest.fixture(autouse=True)
def load(benchmark):
    """How busy the machine was, kept beside the times; on a GPU, which one, and all is as in a worker."""
    benchmark.extra_info["load"] = os.getloadavg()[0]
    if GPU:
        benchmark.extra_info["gpu"] = torch.cuda.get_device_name(0)
        seed_everything(0)
    with repeatable():
        yield


# ------------------------------------------------------------------------------------------------------------- kernels


def unfolded_gated_crf(probs, image, radius=5):
    """The textbook way: every window is laid out in memory."""
    n, k, h, w = probs.shape
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    features = torch.cat([torch.stack([x, y]).expand(n, -1, -1, -1) / 6.0, image / 0.1], 1)
    size = 2 * radius + 1
    windows = F.unfold(features, size, padding=radius).view(n, -1, size**2, h, w)
    kernel = (-0.5 * (windows - features[:, :, None]).square().sum(1)).exp()
    kernel[:, size**2 // 2] = 0
    near = F.unfold(probs, size, padding=radius).view(n, k, size**2, h, w)
    return (kernel.sum() - (kernel * (near * probs[:, :, None]).sum(1)).sum()) / (n * h * w)


def gated_crf_step(how, side):
    """A step with the gated CRF; it gives the gradient."""
    torch.manual_seed(0)
    logits, image = torch.randn(BATCH, 4, side, side), torch.rand(BATCH, 1, side, side)
    loss = {"unfolded": unfolded_gated_crf, "here": gated_crf}[how]
    return descent(logits, lambda z: loss(z.softmax(1), image))


def unfolded_prsa(logits, image, labels, pair_mask, encoder, decoder, radius=5):
    """PRSA as published: feature and prediction windows are laid out in memory."""
    k, h, w = logits.shape[1:]
    probs = (affinity(encoder, decoder, labels, logits) * logits).softmax(1)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    features = torch.cat([torch.stack([x, y]).expand(len(image), -1, -1, -1) / 6.0, image / 0.1], 1)
    size = 2 * radius + 1
    windows = F.unfold(features, size, padding=radius).view(len(image), -1, size**2, h, w)
    kernel = (-0.5 * (windows - features[:, :, None]).square().sum(1)).exp()
    kernel[:, size**2 // 2] = 0
    near = (F.unfold(probs, size, padding=radius).view(len(image), k, size**2, h, w) * kernel[:, None]).sum(2)
    return (kernel.sum() - (pair_mask[:, None] * probs * near).sum()) / (k * pair_mask.sum())


def prsa_step(how, side):
    """A step with PRSA."""
    torch.manual_seed(0)
    logits, image = torch.randn(BATCH, 3, side, side), torch.rand(BATCH, 3, side, side)
    labels = torch.where(torch.rand(BATCH, side, side) < 0.05, torch.randint(0, 3, (BATCH, side, side)), 255)
    maps = torch.rand(BATCH, 128, side // 8, side // 8), torch.rand(BATCH, 32, side // 2, side // 2)
    loss = {"unfolded": unfolded_prsa, "here": lambda *given: prsa(*given).loss}[how]
    return descent(logits, lambda z: loss(z, image, labels, labels == 255, *maps))


def whole_dense_crf(probs, image, sigma_xy=100.0, sigma_rgb=15.0, scale=0.5):
    """The textbook way: the matrix of all pairs of pixels."""
    maps = F.interpolate(probs, scale_factor=scale, mode="bilinear", align_corners=False)
    colours = 255 * F.interpolate(image, scale_factor=scale, mode="nearest")
    n, _, h, w = maps.shape
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    places = torch.stack([y, x]).expand(n, -1, -1, -1) / (sigma_xy * scale)
    points = torch.cat([places, colours / sigma_rgb], 1).flatten(2).mT
    kernel = (-0.5 * torch.cdist(points, points).square()).exp()
    values = maps.flatten(2)
    return -(values * (values @ kernel)).sum() / n


def dense_crf_step(how, side):
    """A step with the dense CRF."""
    torch.manual_seed(0)
    logits, image = torch.randn(2, 4, side, side), torch.rand(2, 1, side, side)
    image = F.avg_pool2d(image, 9, stride=1, padding=4)
    return descent(
        logits,
        lambda z: whole_dense_crf(z.softmax(1), image) if how == "whole" else dense_crf(z.softmax(1), image, method=how),
    )


def tree_energy_step(how, side):
    """A step with the tree energy, or with the U-Net that it comes on top of."""
    torch.manual_seed(0)
    logits, image = torch.randn(BATCH, 4, side, side), torch.rand(BATCH, 1, side, side)
    net, open_pixels = UNet(1, 4), torch.ones(BATCH, side, side, dtype=torch.bool)
    features = torch.randn(BATCH, 4, side // 4, side // 4, requires_grad=True)
    if how == "U-Net":
        return done(lambda: net(image).square().mean().backward())
    return descent(logits, lambda z: tree_energy(z.softmax(1), image, features, open_pixels))


def descent(logits, loss):
    """A step forward and backward; it gives the gradient of the logits."""

    def step():
        with torch.device(DEVICE):
            z = logits.clone().requires_grad_()
            loss(z).backward()
        return z.grad

    return done(step)


def done(step):
    """A step that ends when the device has done it."""

    def waited():
        given = step()
        if GPU:
            torch.cuda.synchronize()
        return given

    return waited


KERNELS = {
    f"gated CRF, {BATCH} x 4 classes": (gated_crf_step, ("unfolded", "here"), 256),
    f"PRSA, {BATCH} x 3 classes": (prsa_step, ("unfolded", "here"), 256),
    "dense CRF, 2 x 4 classes": (dense_crf_step, ("whole", "exact", "grid"), 256),
    f"tree energy beside the U-Net, {BATCH} x 4 classes": (tree_energy_step, ("U-Net", "tree energy"), 256 if GPU else 128),
}


def made(kernel, how, side):
    """A kernel's step on the device."""
    with torch.device(DEVICE):
        return KERNELS[kernel][0](how, side)


@pytest.mark.parametrize(("kernel", "how"), [(kernel, how) for kernel, (_, hows, _) in KERNELS.items() for how in hows])
def test_kernels(benchmark, kernel, how):
    """All of a group give one gradient, but the U-Net, which the tree energy is only seen beside."""
    _, (baseline, *_), side = KERNELS[kernel]
    if baseline != "U-Net":
        expected = made(kernel, baseline, 64)()
        error = (made(kernel, how, 64)() - expected).norm() / expected.norm()
        assert error < (0.01 if how == "grid" else 1e-4)
    benchmark.group = f"{kernel} x {side} px, forward and backward"
    benchmark.pedantic(made(kernel, how, side), rounds=3 if how == baseline else 10, warmup_rounds=1)
    benchmark.extra_info["peak_mib"] = peak(kernel, how) if GPU else peak_in_a_fresh_process(kernel, how)


def peak_in_a_fresh_process(kernel, how):
    """MiB that a step adds to a process that has done one on a small image."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from tests.test_speed import peak; print(peak(*sys.argv[1:]))", kernel, how],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},  # what is freed goes back, so that the peak is what was held
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def peak(kernel, how):
    """MiB that a step adds to this process (Linux), or on the GPU."""
    made(kernel, how, 32)()
    step = made(kernel, how, KERNELS[kernel][2])
    if GPU:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = in_status("VmRSS")
    step()
    return (in_status("VmHWM") - before) / 1024


def in_status(key):
    """A value that Linux knows of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("how", ["fp32", "fp32 channels_last", "bf16", "bf16 channels_last"])
@pytest.mark.benchmark(group=f"step of the U-Net, {BATCH} x 256 px")
def test_network(benchmark, how):
    benchmark.pedantic(network_step(BATCH, 256, how), rounds=30 if GPU else 3, warmup_rounds=3 if GPU else 1)


def network_step(batch, side, how="fp32"):
    """A whole step of training without data: forward, loss, backward, SGD."""
    torch.manual_seed(0)
    layout = torch.channels_last if "channels_last" in how else torch.contiguous_format
    net, image = UNet(1, 4).to(DEVICE, memory_format=layout), torch.rand(batch, 1, side, side, device=DEVICE)
    allowed = torch.randint(1, 16, (batch, side, side), device=DEVICE).int()
    optimiser = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)

    def step():
        with torch.autocast(DEVICE, torch.bfloat16) if "bf16" in how else nullcontext():
            loss = partial_cross_entropy(net(image.to(memory_format=layout)), allowed)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return done(step)


STEPS, SIDE = (50, 256) if GPU else (10, 64)
METHODS = sorted(plugins.groups()["all"], key=lambda name: (name != "pce", name))


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.benchmark(group=f"training of {STEPS} steps, {BATCH} x {SIDE} px, its pseudo-labels included")
def test_methods(benchmark, how):
    cls = plugins.get("method", how).load()
    annotation = "scribble" if "scribble" in (known := learnt(cls.annotations)) else known[0]
    data, budget = data_of(annotation, shapes=((16, SIDE, SIDE),)), Budget(steps=STEPS, batch=BATCH, size=SIDE)
    benchmark.pedantic(done(lambda: refit(cls(), data, budget=budget)), rounds=3)


@pytest.mark.skipif(GPU, reason="there threads turn the batches")
@pytest.mark.parametrize("how", ["step of the U-Net", "augmentation"])
@pytest.mark.benchmark(group="augmented batch beside the step that waits for it, 4 x 128 px")
def test_augmentation_on_the_way(benchmark, how):
    method = PartialCrossEntropy()
    refit(method, data_of("scribble", shapes=((8, 128, 128),)), budget=Budget(steps=1, batch=4, size=128))
    method.budget = Budget(steps=1000, batch=4, size=128)
    batches = method._batches(Augmentation(0, 3), np.random.default_rng(0), threads=0)
    if how == "augmentation":  # turns differ in cost, so a round is a mean
        benchmark.pedantic(lambda: next(batches), rounds=3, iterations=50, warmup_rounds=1)
    else:
        benchmark.pedantic(network_step(4, 128), rounds=3, warmup_rounds=1)


# ---------------------------------------------------------------------------------------------------------------- data


@pytest.fixture(scope="module")
def volumes():
    """Images and sets of five volumes, as large as ACDC's."""
    rng = np.random.default_rng(0)
    return [(rng.random((9, 1, 256, 216), np.float32), np.full((9, 256, 216), 15, np.uint8)) for _ in range(5)]


@pytest.mark.parametrize("how", ["numpy.save", "here"])
@pytest.mark.benchmark(group="sealing of 5 volumes of 9 x 256 x 216")
def test_sealing(benchmark, volumes, tmp_path, how):
    def empty():
        shutil.rmtree(tmp_path / "sealed", ignore_errors=True)  # before the disk has to keep up
        (tmp_path / "sealed").mkdir()
        return (tmp_path / "sealed", volumes), {}

    benchmark.pedantic({"numpy.save": save, "here": seal}[how], setup=empty, rounds=30, warmup_rounds=2)


@pytest.mark.parametrize("how", ["numpy.load", "here"])
@pytest.mark.benchmark(group="loading of 5 volumes of 9 x 256 x 216 into memory")
def test_loading(benchmark, volumes, tmp_path, how):
    {"numpy.load": save, "here": seal}[how](tmp_path, volumes)

    def loaded():
        return [np.load(path) for path in sorted(tmp_path.glob("*.npy"))]

    def opened():
        return [(np.array(scan.image), np.array(scan.allowed)) for scan in folder.open_train(tmp_path)]

    benchmark.pedantic({"numpy.load": loaded, "here": opened}[how], rounds=30, warmup_rounds=2)


@pytest.mark.parametrize("how", ["HDF5", "here"])
@pytest.mark.benchmark(group="a training slice of 256 x 216 px and its sets, 100 in random order")
def test_fetching(benchmark, volumes, tmp_path, how):
    """As published, a compressed file for each slice; here in memory, at the network's size, and copied."""
    images, sets = (np.concatenate(parts) for parts in zip(*volumes, strict=True))
    order = np.random.default_rng(0).integers(len(images), size=100)
    for number, (image, allowed) in enumerate(zip(images, sets, strict=True)):
        write_h5(tmp_path / f"slice{number}.h5", image[0], allowed)
    read = {"HDF5": lambda row: read_h5(tmp_path / f"slice{row}.h5"), "here": lambda row: (images[row] + 0, sets[row] + 0)}[
        how
    ]
    benchmark.pedantic(lambda: [read(row) for row in order], rounds=10, warmup_rounds=1)


def write_h5(path, image, label):
    """As WSL4MIS's files."""
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=image, compression="gzip")
        file.create_dataset("label", data=label, compression="gzip")


def read_h5(path):
    """Both arrays."""
    with h5py.File(path) as file:
        return file["image"][:], file["label"][:]


@pytest.mark.parametrize("how", ["scikit-image", "here"])
@pytest.mark.benchmark(group="labels by random walks, a slice of 256 x 256 px with three classes")
def test_random_walks(benchmark, how):
    scan = next(iter(data_of("scribble", shapes=((1, 256, 256),))))
    image, labels = scan.image[0].astype(float), to_labels(scan.allowed, 3)[0]
    marks = np.where(labels == 255, 0, labels + 1)
    by = {
        "scikit-image": lambda: random_walker(image[0], marks, beta=100, mode="bf"),
        "here": lambda: probabilities(image, labels, 100.0),
    }
    benchmark.pedantic(by[how], rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("how", ["published", "here"])
@pytest.mark.benchmark(
    group="test path of four volumes of 10 x 256 x 216 px but the network: read, resize, resize back, Dice and HD95"
)
def test_test_path(benchmark, predictions, tmp_path, how):
    """As WSL4MIS does it: HDF5, nearest neighbours by scipy there and back, medpy. Here probabilities are resized back."""
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((10, 256, 216), np.float32), 2)
    scans = [contract.TestScan(image[:, None]) for _ in predictions]
    folder.seal(tmp_path, {"train": [contract.WeakScan(image[:, None], np.ones(image.shape, np.uint8))]}, scans, 4, 1)
    for number, (_, truth) in enumerate(predictions):
        write_h5(tmp_path / f"{number}.h5", image, truth)
    outputs = [
        F.one_hot(torch.tensor(to_network_size(predicted[:, None], 256)[:, 0]).long(), 4).movedim(-1, 1).float()
        for predicted, _ in predictions
    ]

    def published():
        for number, probs in enumerate(outputs):
            volume, truth = read_h5(tmp_path / f"{number}.h5")
            planes = [zoomed(plane, (256, 256)) for plane in volume]
            labels = np.stack([zoomed(plane, volume.shape[1:]) for plane in probs.argmax(1).numpy().astype(np.uint8)])
            assert len(planes) == len(labels)
            for k in (1, 2, 3):
                medpy.dc(labels == k, truth == k), medpy.hd95(labels == k, truth == k)

    def here():
        for scan, probs, (_, truth) in zip(folder.open_test(tmp_path), outputs, predictions, strict=True):
            to_network(scan.image, 256)
            evaluate(
                to_native_size(probs, 256, 216).argmax(1).to(torch.uint8).numpy(),
                truth,
                {"a": (1,), "b": (2,), "c": (3,)},
                (1, 1, 1),
            )

    benchmark.pedantic({"published": published, "here": here}[how], rounds=3, warmup_rounds=1)


def zoomed(plane, shape):
    """A plane resized to nearest pixels."""
    return ndimage.zoom(plane, (shape[0] / plane.shape[0], shape[1] / plane.shape[1]), order=0)


def save(folder, volumes):
    """A file for each array."""
    for number, pair in enumerate(volumes):
        for part, array in zip(("image", "allowed"), pair, strict=True):
            np.save(folder / f"{part}{number:02}.npy", array)


def seal(folder, volumes):
    """The same, sealed; the test side is empty."""
    folder.seal(folder, {"train": (contract.WeakScan(*pair) for pair in volumes)}, [], classes=4, channels=1)


# ------------------------------------------------------------------------------------------------ scores, report, start


def looped_smoothing(x, y, bandwidth):
    """Local linear regression as published: a matrix of weights for each point."""
    line = np.stack([np.ones_like(x), x], 1)
    smoothed = np.empty_like(y)
    for i, at in enumerate(x):
        weight = np.diag(np.exp(-((x - at) ** 2) / (2 * bandwidth**2)))
        smoothed[i] = np.array([1, at]) @ np.linalg.solve(line.T @ weight @ line, line.T @ weight @ y)
    return smoothed


@pytest.mark.parametrize("how", ["loop", "here"])
@pytest.mark.benchmark(group="smoothing of a training curve of 500 steps")
def test_smoothing(benchmark, how):
    x, y = np.linspace(0, 500, 500), np.random.default_rng(0).random(500)
    benchmark.pedantic(
        {"loop": looped_smoothing, "here": smooth}[how], (x, y, 0.5), rounds=5 if how == "loop" else 30, warmup_rounds=1
    )


@pytest.fixture(scope="module")
def predictions():
    """Label maps of three nested tubes, and how networks err: moved, too small, too large, moved with stray islands."""
    rows, columns = np.indices((256, 216))
    distance = np.hypot(rows - 120, columns - 100)
    plane = np.select([distance < 14, distance < 22, distance < 40], [3, 2, 1], 0).astype(np.uint8)
    truth = np.broadcast_to(plane, (10, 256, 216)).copy()
    moved = np.roll(truth, (2, 3), (1, 2))
    islands = moved.copy()
    for label, (slice_, row, column) in enumerate([(2, 20, 30), (5, 200, 180), (7, 60, 190)], 1):
        islands[slice_, row : row + 6, column : column + 6] = label
    small, large = ndimage.grey_erosion(truth, (1, 3, 3)), ndimage.grey_dilation(truth, (1, 3, 3))
    return [(predicted, truth) for predicted in (moved, small, large, islands)]


def by_medpy(predicted, truth, spacing):
    """Dice, HD95 and ASSD of three classes."""
    for k in (1, 2, 3):
        pair = predicted == k, truth == k
        medpy.dc(*pair), medpy.hd95(*pair, spacing), medpy.assd(*pair, spacing)


@pytest.mark.parametrize("how", ["medpy", "here"])
@pytest.mark.parametrize("what", ["volumes in mm", "volumes in voxels", "volumes by slice", "slices"])
def test_scores(benchmark, predictions, what, how):
    """This suite gives all other scores, too; the same four predictions, so the ratio is that of the means."""
    benchmark.group = f"Dice, HD95 and ASSD of three classes on four {what}"
    spacing = {"volumes in mm": (10.0, 1.5, 1.5), "volumes in voxels": (1.0, 1.0, 1.0)}.get(what)
    pairs = [(predicted[5:6], truth[5:6]) for predicted, truth in predictions] if what == "slices" else predictions

    def baseline():
        for pair in pairs:
            for predicted, truth in [pair] if spacing else zip(*pair, strict=True):
                by_medpy(predicted, truth, spacing)

    def here():
        for pair in pairs:
            evaluate(*pair, {"a": (1,), "b": (2,), "c": (3,)}, spacing)

    benchmark.pedantic({"medpy": baseline, "here": here}[how], rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("how", ["scipy", "here"])
@pytest.mark.benchmark(group="augmentation of a slice of 256 px with its marks")
def test_augmentation(benchmark, how):
    image, sets = np.random.default_rng(0).random((1, 256, 256), np.float32), np.full((256, 256), 3, np.uint8)
    augmentation = Augmentation(0, 2)
    step = count()

    def rotate():
        ndimage.rotate(image[0], 30, reshape=False, order=1)
        ndimage.rotate(sets, 30, reshape=False, order=0, cval=3)

    by = {"scipy": rotate, "here": lambda: augmentation(next(step), 0, image, sets)}
    benchmark.pedantic(by[how], rounds=5, iterations=100, warmup_rounds=1)  # turns differ in cost, so a round is a mean


@pytest.fixture(scope="module")
def thousand_runs(tmp_path_factory):
    """Twenty methods, five data sets, ten seeds; a hundred patients with three regions: 300,000 rows."""
    results, rng = tmp_path_factory.mktemp("results"), np.random.default_rng(0)
    where = pd.DataFrame([(f"s{p}", f"p{p}", region, "mm") for p in range(100) for region in ("a", "b", "c")])
    columns = ["scan", "patient", "region", "unit", *METRICS, *COUNTS]
    steps = "".join(json.dumps({"step": s, "seconds": s / 9, "loss": 1 / (s + 1)}) + "\n" for s in range(0, 300, 3))
    for method, dataset, seed in product(range(20), range(5), range(10)):
        folder = results / "runs" / f"d{dataset}" / "scribble" / f"m{method}" / f"x-seed{seed}"
        folder.mkdir(parents=True)
        label = ("prior", "pce_dice", *(f"m{number}" for number in range(2, 20)))[method]
        run = record(label, seed, dataset=f"d{dataset}", finished="2026-01-01")
        run |= {
            "regions": ["a", "b", "c"],
            "hash": f"{method:02}{dataset:02}{seed:02}" * 10,
            "worker": {"fit_s": 9.0 + method},
        }
        (folder / "run.json").write_text(json.dumps(run))
        (folder / "train.jsonl").write_text(steps)
        scores = np.clip(rng.normal(0.5 + method / 100, 0.1, (300, len(METRICS))), 0, 1).round(6)
        counts = np.zeros((300, len(COUNTS)), int)
        pd.concat([where, pd.DataFrame(scores), pd.DataFrame(counts)], axis=1).to_csv(
            folder / "cases.csv", index=False, header=columns
        )
    return results


@pytest.mark.parametrize("how", ["reading the scores alone", "tables and statistics", "with figures and page"])
@pytest.mark.benchmark(group="report over 1,000 runs, 300,000 rows")
def test_report(benchmark, thousand_runs, tmp_path, how):
    texts = report.ReportOptions(formats=("md", "tex", "csv"))
    by = {
        "reading the scores alone": lambda: [pd.read_csv(path) for path in thousand_runs.rglob("cases.csv")],
        "tables and statistics": lambda: report.write(thousand_runs, tmp_path, texts),
        "with figures and page": lambda: report.write(thousand_runs, tmp_path),
    }
    benchmark.pedantic(by[how], rounds=2)


def of_children():
    """Processor time of the processes that were started, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("how", ["-c pass", "-m benchmark list"])
@pytest.mark.benchmark(group="start of Python, and of the command line", timer=of_children)
def test_start(benchmark, how):
    benchmark.pedantic(lambda: subprocess.run([sys.executable, *how.split()], capture_output=True, check=True), rounds=5)
