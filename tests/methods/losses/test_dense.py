import math

import pytest
import torch
import torch.nn.functional as F

from benchmark.methods.losses import dense
from benchmark.methods.losses.dense import dense_crf
from tests.support.golden_vectors import Golden, families


@pytest.mark.parametrize("name", families("dense_crf"))
@pytest.mark.parametrize(("dtype", "loss_rtol", "grad_rtol"), [(torch.float64, 1e-9, 1e-9), (torch.float32, 1e-5, 1e-4)])
def test_dense_crf_equals_the_golden_one(name, dtype, loss_rtol, grad_rtol):
    """With the default method, for every sigma and scale of the files."""
    golden = Golden(name)
    logits = golden["in_logits"].to(dtype).requires_grad_()
    probs = logits.softmax(1)
    probs.retain_grad()
    options = {"sigma_xy": "in_sigma_xy", "sigma_rgb": "in_sigma_rgb", "scale": "in_scale_factor"}
    loss = dense_crf(probs, golden["in_image"].to(dtype) / 255, **{k: float(golden[v]) for k, v in options.items()})
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["out_loss"], rtol=loss_rtol, atol=0, check_dtype=False)
    for found, expected in [(probs.grad, golden["out_grad_probs"]), (logits.grad, golden["out_grad_logits"])]:
        atol = grad_rtol * float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=atol, check_dtype=False)


def test_the_defaults_are_the_golden_ones_at_half_scale():
    golden = Golden("dense_crf_half")
    loss = dense_crf(golden["in_logits"].double().softmax(1), golden["in_image"].double() / 255)
    torch.testing.assert_close(loss, golden["out_loss"], rtol=1e-9, atol=0)


def slow_dense_crf(probs, image, sigma_xy, sigma_rgb, scale=0.5):
    """The formula, pair by pair; at half scale a cell is the mean of 2x2 probabilities and the first of 2x2 colours."""
    n, _, h, w = probs.shape
    if scale == 0.5:
        h, w = h // 2, w // 2
        probs = probs[..., : 2 * h, : 2 * w].unflatten(2, (h, 2)).unflatten(4, (w, 2)).mean((3, 5))
        image = image[..., : 2 * h : 2, : 2 * w : 2]
    total = 0.0
    for i in range(n):
        for y in range(h):
            for x in range(w):
                for v in range(h):
                    for u in range(w):
                        far = ((y - v) ** 2 + (x - u) ** 2) / (sigma_xy * scale) ** 2
                        distance = 255**2 * float((image[i, :, y, x] - image[i, :, v, u]).square().sum()) / sigma_rgb**2
                        alike = float((probs[i, :, y, x] * probs[i, :, v, u]).sum())
                        total += math.exp(-0.5 * (far + distance)) * alike
    return -total / n


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("shape", "scale"), [((8, 6), 0.5), ((9, 7), 0.5), ((1, 5), 1.0), ((5, 4), 1.0)])
def test_dense_crf_equals_a_slow_loop(channels, shape, scale):
    """Odd sizes, whose last row and column no cell of half scale holds, included."""
    torch.manual_seed(0)
    probs = torch.randn(2, 3, *shape, dtype=torch.float64).softmax(1)
    image = torch.rand(2, channels, *shape, dtype=torch.float64)
    result = dense_crf(probs, image, sigma_xy=6.0, sigma_rgb=60.0, scale=scale)
    assert result.item() == pytest.approx(slow_dense_crf(probs, image, 6.0, 60.0, scale), rel=1e-9)


def test_blocks_of_any_size_give_one_sum(monkeypatch):
    """Blocks that do not divide the pixels, and single rows of the kernel, included."""
    torch.manual_seed(0)
    probs, image = torch.randn(2, 3, 9, 11).double().softmax(1), torch.rand(2, 3, 9, 11).double()
    whole = dense_crf(probs, image, scale=1.0)
    for entries in (1, 10 * 99, 98 * 99):
        monkeypatch.setattr(dense, "BLOCK", {"cpu": entries, "cuda": entries})
        torch.testing.assert_close(dense_crf(probs, image, scale=1.0), whole)


def scene(kind, size=(72, 67)):
    """A grey image and predictions that follow it."""
    torch.manual_seed(0)
    image = F.interpolate(torch.rand(2, 1, 6, 6), size=size, mode="bicubic").clamp(0, 1)
    if kind == "noisy":
        image = (image + 0.1 * torch.randn_like(image)).clamp(0, 1)
    if kind == "flat":
        image[..., :40], image[..., :20, 40:] = 0, 1
    logits = torch.cat([8 * image - 4, 4 - 8 * image, torch.zeros_like(image)], 1) + torch.randn(2, 3, *size)
    return logits.softmax(1), image


@pytest.mark.parametrize("kind", ["smooth", "noisy", "flat"])
@pytest.mark.parametrize("sigma_rgb", [15.0, 15 / math.sqrt(3)])
def test_the_grid_is_within_a_hundredth_of_the_exact_sum(kind, sigma_rgb):
    """The loss within 0.2 %, its gradient within 1 % (L2); sides that no whole number of cells covers."""
    probs, image = scene(kind)
    loss, grad = {}, {}
    for method in ("exact", "grid"):
        leaf = probs.clone().requires_grad_()
        loss[method] = dense_crf(leaf, image, sigma_rgb=sigma_rgb, method=method)
        (grad[method],) = torch.autograd.grad(loss[method], leaf)
    torch.testing.assert_close(loss["grid"], loss["exact"], rtol=2e-3, atol=0)
    assert loss["grid"] != loss["exact"]
    assert (grad["grid"] - grad["exact"]).norm() < 0.01 * grad["exact"].norm()


@pytest.mark.parametrize("grey", [0.0, 0.4321, 1.0])
def test_the_grid_is_right_in_flat_images_of_any_grey(grey):
    """Wherever the grey lies between two cells, and where rounding meets the last one."""
    torch.manual_seed(0)
    probs, image = torch.rand(1, 2, 20, 31), torch.full((1, 1, 20, 31), grey)
    for sigma in torch.arange(2.0, 40.0, 0.5).tolist():
        exact, grid = (
            dense_crf(probs, image, sigma_xy=20.0, sigma_rgb=sigma, scale=1.0, method=m) for m in ("exact", "grid")
        )
        torch.testing.assert_close(grid, exact, rtol=2e-3, atol=0)


def test_large_grey_images_take_the_grid_and_all_others_the_exact_sum():
    probs, image = scene("noisy")

    def chosen(probs, image):
        auto, *rest = (dense_crf(probs, image, method=m) for m in ("auto", "exact", "grid"))
        return [auto.item() == found.item() for found in rest]

    assert chosen(probs, image) == [False, True]
    assert chosen(probs[..., :64, :64], image[..., :64, :64]) == [True, False]
    colour = image.expand(-1, 3, -1, -1)
    assert dense_crf(probs, colour) == dense_crf(probs, colour, method="exact")
    with pytest.raises(ValueError, match="one channel"):
        dense_crf(probs, colour, method="grid")


def test_three_equal_channels_are_one_with_a_narrower_kernel():
    probs, image = scene("smooth", (20, 20))
    thrice = dense_crf(probs, image.expand(-1, 3, -1, -1))
    torch.testing.assert_close(thrice, dense_crf(probs, image, sigma_rgb=15 / math.sqrt(3)))


@pytest.mark.parametrize("method", ["exact", "grid"])
def test_the_order_of_classes_and_images_does_not_matter(method):
    probs, image = scene("noisy", (40, 30))
    loss = dense_crf(probs, image, method=method)
    torch.testing.assert_close(dense_crf(probs[:, [2, 0, 1]], image, method=method), loss)
    torch.testing.assert_close(dense_crf(probs.flip(0), image.flip(0), method=method), loss)
    alone = [dense_crf(probs[i : i + 1], image[i : i + 1], method=method) for i in range(2)]
    torch.testing.assert_close(sum(alone) / 2, loss)


@pytest.mark.parametrize("method", ["exact", "grid"])
def test_an_edge_where_the_image_has_one_costs_less(method):
    probs = torch.zeros(1, 2, 16, 16)
    probs[:, 0, :, :8] = probs[:, 1, :, 8:] = 1
    edge = torch.zeros(1, 1, 16, 16)
    edge[..., 8:] = 1
    assert dense_crf(probs, edge, method=method) < 1.5 * dense_crf(probs, edge.mT, method=method)  # both are negative


@pytest.mark.parametrize("method", ["exact", "grid"])
def test_gradients_are_right(method):
    torch.manual_seed(0)
    image = torch.rand(2, 1, 7, 6, dtype=torch.float64)
    logits = torch.randn(2, 3, 7, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: dense_crf(z.softmax(1), image, sigma_rgb=60.0, method=method), logits)


@pytest.mark.parametrize("method", ["exact", "grid"])
def test_half_precision_is_computed_in_single(method):
    probs, image = scene("smooth", (40, 30))
    expected = dense_crf(probs, image, method=method)
    with torch.autocast("cpu", torch.bfloat16):
        assert dense_crf(probs, image, method=method) == expected
    image = image.bfloat16()
    result = dense_crf(probs.bfloat16(), image, method=method)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, dense_crf(probs, image.float(), method=method), rtol=0.01, atol=0)


def test_nothing_predicted_is_zero():
    probs, image = scene("smooth")
    assert dense_crf(torch.zeros_like(probs), image).item() == 0
