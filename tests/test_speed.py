"""Speed as ratios within one run: `tox -e speed`. Each group has a plain baseline and ours, on the same input."""

import json
import subprocess
import sys
from itertools import product

import medpy.metric.binary as medpy
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from benchmark import report
from benchmark.methods.augment import Augmentation
from benchmark.methods.losses import affinity, dense_crf, gated_crf, prsa, tree_energy
from benchmark.methods.networks import UNet
from benchmark.methods.procns import smooth
from benchmark.score import COUNTS, METRICS, evaluate
from tests.benchmark.report.test_rows import record

pytestmark = pytest.mark.speed


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


@pytest.mark.parametrize("how", ["unfolded", "ours"])
@pytest.mark.benchmark(group="gated CRF, forward and backward, 4 x 4 classes x 128 px")
def test_gated_crf(benchmark, how):
    torch.manual_seed(0)
    logits, image = torch.randn(4, 4, 128, 128), torch.rand(4, 1, 128, 128)
    loss = {"unfolded": unfolded_gated_crf, "ours": gated_crf}[how]

    def step():
        z = logits.clone().requires_grad_()
        loss(z.softmax(1), image).backward()

    benchmark.pedantic(step, rounds=3, warmup_rounds=1)


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


@pytest.mark.parametrize("how", ["unfolded", "ours"])
@pytest.mark.benchmark(group="PRSA, forward and backward, 4 x 3 classes x 128 px")
def test_prsa(benchmark, how):
    torch.manual_seed(0)
    logits, image = torch.randn(4, 3, 128, 128), torch.rand(4, 3, 128, 128)
    labels = torch.where(torch.rand(4, 128, 128) < 0.05, torch.randint(0, 3, (4, 128, 128)), 255)
    rest = image, labels, labels == 255, torch.rand(4, 128, 16, 16), torch.rand(4, 32, 64, 64)
    loss = {"unfolded": unfolded_prsa, "ours": lambda *given: prsa(*given).loss}[how]
    torch.testing.assert_close(loss(logits, *rest), prsa(logits, *rest).loss, rtol=1e-4, atol=0)

    def step():
        z = logits.clone().requires_grad_()
        loss(z, *rest).backward()

    benchmark.pedantic(step, rounds=3, warmup_rounds=1)


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


@pytest.mark.parametrize("how", ["whole", "exact", "grid"])
@pytest.mark.benchmark(group="dense CRF, forward and backward, 2 x 4 classes x 128 px")
def test_dense_crf(benchmark, how):
    torch.manual_seed(0)
    logits, image = torch.randn(2, 4, 128, 128), torch.rand(2, 1, 128, 128)
    image = F.avg_pool2d(image, 9, stride=1, padding=4)

    def loss(probs):
        return whole_dense_crf(probs, image) if how == "whole" else dense_crf(probs, image, method=how)

    expected = dense_crf(logits.softmax(1), image, method="exact")
    torch.testing.assert_close(loss(logits.softmax(1)), expected, rtol=0.01 if how == "grid" else 1e-4, atol=0)

    def step():
        z = logits.clone().requires_grad_()
        loss(z.softmax(1)).backward()

    benchmark.pedantic(step, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("how", ["U-Net", "tree energy"])
@pytest.mark.benchmark(group="tree energy beside the U-Net, forward and backward, 4 x 4 classes x 128 px")
def test_tree_energy(benchmark, how):
    torch.manual_seed(0)
    logits, image = torch.randn(4, 4, 128, 128), torch.rand(4, 1, 128, 128)
    net, open_pixels = UNet(1, 4), torch.ones(4, 128, 128, dtype=torch.bool)
    features = torch.randn(4, 4, 32, 32)

    def step():
        if how == "U-Net":
            net(image).square().mean().backward()
        else:
            z, f = logits.clone().requires_grad_(), features.clone().requires_grad_()
            tree_energy(z.softmax(1), image, f, open_pixels).backward()

    benchmark.pedantic(step, rounds=3, warmup_rounds=1)


def looped_smoothing(x, y, bandwidth):
    """Local linear regression as published: a matrix of weights for each point."""
    line = np.stack([np.ones_like(x), x], 1)
    smoothed = np.empty_like(y)
    for i, at in enumerate(x):
        weight = np.diag(np.exp(-((x - at) ** 2) / (2 * bandwidth**2)))
        smoothed[i] = np.array([1, at]) @ np.linalg.solve(line.T @ weight @ line, line.T @ weight @ y)
    return smoothed


@pytest.mark.parametrize("how", ["loop", "ours"])
@pytest.mark.benchmark(group="smoothing of a training curve of 500 steps")
def test_smoothing(benchmark, how):
    x, y = np.linspace(0, 500, 500), np.random.default_rng(0).random(500)
    benchmark.pedantic({"loop": looped_smoothing, "ours": smooth}[how], (x, y, 0.5), rounds=3, warmup_rounds=1)


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
    return [(ours, truth) for ours in (moved, small, large, islands)]


def by_medpy(ours, truth, spacing):
    """Dice, HD95 and ASSD of three classes."""
    for k in (1, 2, 3):
        pair = ours == k, truth == k
        medpy.dc(*pair), medpy.hd95(*pair, spacing), medpy.assd(*pair, spacing)


@pytest.mark.parametrize("how", ["medpy", "ours"])
@pytest.mark.parametrize("what", ["volumes in mm", "volumes in voxels", "volumes by slice", "slices"])
def test_scores(benchmark, predictions, what, how):
    """Ours gives all other scores, too; the same four predictions, so the ratio is that of the means."""
    benchmark.group = f"Dice, HD95 and ASSD of three classes on four {what}"
    spacing = {"volumes in mm": (10.0, 1.5, 1.5), "volumes in voxels": (1.0, 1.0, 1.0)}.get(what)
    pairs = [(ours[5:6], truth[5:6]) for ours, truth in predictions] if what == "slices" else predictions

    def baseline():
        for pair in pairs:
            for ours, truth in [pair] if spacing else zip(*pair, strict=True):
                by_medpy(ours, truth, spacing)

    def ours():
        for pair in pairs:
            evaluate(*pair, {"a": (1,), "b": (2,), "c": (3,)}, spacing)

    benchmark.pedantic({"medpy": baseline, "ours": ours}[how], rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("how", ["scipy", "ours"])
@pytest.mark.benchmark(group="augmentation of a slice of 256 px with its marks")
def test_augmentation(benchmark, how):
    image, sets = np.random.default_rng(0).random((1, 256, 256), np.float32), np.full((256, 256), 3, np.uint8)
    augmentation = Augmentation(0, 2)
    step = iter(range(10**9))

    def rotate():
        ndimage.rotate(image[0], 30, reshape=False, order=1)
        ndimage.rotate(sets, 30, reshape=False, order=0, cval=3)

    by = {"scipy": rotate, "ours": lambda: augmentation(next(step), 0, image, sets)}
    benchmark(by[how])


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
    texts = report.Wish(formats=("md", "tex", "csv"))
    by = {
        "reading the scores alone": lambda: [pd.read_csv(path) for path in thousand_runs.rglob("cases.csv")],
        "tables and statistics": lambda: report.write(thousand_runs, tmp_path, texts),
        "with figures and page": lambda: report.write(thousand_runs, tmp_path),
    }
    benchmark.pedantic(by[how], rounds=2)


@pytest.mark.parametrize("words", ["-c pass", "-m benchmark list"])
@pytest.mark.benchmark(group="start of Python, and of the command line")
def test_start(benchmark, words):
    benchmark.pedantic(lambda: subprocess.run([sys.executable, *words.split()], capture_output=True, check=True), rounds=5)
