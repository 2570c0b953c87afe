import math

import pytest
import torch
import torch.nn.functional as F

from benchmark.methods.base import Batch
from benchmark.methods.losses.labels import partial_cross_entropy
from benchmark.methods.losses.trees import TreeSum, boruvka, edges, rooted, spanning_trees, tree_energy, tree_filter
from benchmark.plan import plugins
from benchmark.seal.contract import Budget
from tests.support.golden_vectors import Golden, families

PRECISIONS = {torch.float64: 1e-10, torch.float32: 1e-5}


def close(result, expected, dtype):
    torch.testing.assert_close(result.detach(), expected, rtol=0, atol=PRECISIONS[dtype], check_dtype=False)


def links(embedding):
    """The edges of each image's tree, smaller end first."""
    pixels = embedding[0, 0].numel()
    found = []
    for row in spanning_trees(embedding).view(len(embedding), -1) % pixels:
        found.append({(min(i, p), max(i, p)) for i, p in enumerate(row.tolist()) if i})
    return found


# ---------------------------------------------------------------------------------------------------------------- golden


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", families("tree_filter"))
def test_trees_and_filter_equal_the_golden_ones(name, dtype):
    golden = Golden(name)
    signal, embedding = (golden[key].to(dtype).requires_grad_() for key in ("in_signal", "in_embedding"))
    filtered = tree_filter(signal, embedding, float(golden["in_sigma"]))
    filtered.backward(golden["in_upstream_gradient"].to(dtype))
    assert links(embedding) == [{tuple(edge) for edge in tree} for tree in golden["out_tree_edges"].tolist()]
    close(filtered, golden["out_filtered"], dtype)
    close(signal.grad, golden["out_grad_signal"], dtype)
    close(embedding.grad, golden["out_grad_embedding"], dtype)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", families("tree_energy"))
def test_tree_energy_equals_the_golden_one(name, dtype):
    golden = Golden(name)
    logits, features = golden["in_logits"].to(dtype).requires_grad_(), None
    if "in_high_embedding" in golden.arrays:
        features = golden["in_high_embedding"].to(dtype).requires_grad_()
    loss = tree_energy(logits.softmax(1), golden["in_image"].to(dtype), features, golden["in_unlabelled"] > 0)
    loss.backward()
    close(loss, golden["out_loss"], dtype)
    close(logits.grad, golden["out_grad_logits"], dtype)
    if features is not None:
        close(features.grad, golden["out_grad_high_embedding"], dtype)


# ----------------------------------------------------------------------------------------------------------------- trees


def slow_tree(image):
    """Kruskal by hand on an image (c, h, w): neighbours of each pixel; costs are compared in float32."""
    h, w = image.shape[-2:]
    flat = image.flatten(1)
    grid = list(zip(*(end.tolist() for end in edges(h, w)), strict=True))
    grid.sort(key=lambda e: float((flat[:, e[0]] - flat[:, e[1]]).square().sum().float()))  # stable: of equals the first
    group, tree = list(range(h * w)), {i: [] for i in range(h * w)}
    for a, b in grid:
        if group[a] != group[b]:
            group = [group[a] if g == group[b] else g for g in group]
            tree[a].append(b)
            tree[b].append(a)
    return tree


def slow_sums(x, tree, similarity):
    """Sums (k, v) of x (k, v): walk the tree breadth first from every pixel, multiplying the similarities on the way."""
    sums = []
    for start in tree:
        reached, queue = {start: 1.0}, [start]
        for here in queue:
            for there in tree[here]:
                if there not in reached:
                    reached[there] = reached[here] * similarity(here, there)
                    queue.append(there)
        sums.append(sum(product * x[:, pixel] for pixel, product in reached.items()))
    return torch.stack(sums, 1)


def slow_filter(signal, embedding, sigma):
    filtered = []
    for x, image in zip(signal, embedding, strict=True):
        nodes = image.flatten(1)

        def similarity(a, b, nodes=nodes):
            return math.exp(-float((nodes[:, a] - nodes[:, b]).square().sum()) / sigma)

        rows = torch.cat([x.flatten(1), torch.ones(1, nodes.shape[1], dtype=x.dtype)])
        sums = slow_sums(rows, slow_tree(image), similarity)
        filtered.append((sums[:-1] / sums[-1]).view_as(x))
    return torch.stack(filtered)


SHAPES = [(1, 1), (1, 7), (6, 1), (2, 2), (5, 6), (7, 9)]


def grey(count, channels, shape, levels, dtype=torch.float32):
    """Images of so few grey levels that many edges cost the same; levels are powers of two: costs are exact."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, levels, (count, channels, *shape), generator=generator).to(dtype) / levels


@pytest.mark.parametrize("levels", [1, 4, 1024])
@pytest.mark.parametrize("shape", SHAPES)
def test_of_edges_of_equal_cost_the_first_is_chosen(shape, levels):
    images = grey(2, 2, shape, levels)
    expected = [{(a, b) for a, ends in slow_tree(image).items() for b in ends if a < b} for image in images]
    assert links(images) == expected


@pytest.mark.parametrize("levels", [1, 4, 1024])
@pytest.mark.parametrize("shape", [*SHAPES, (33, 20)])
def test_devices_without_scipy_grow_the_same_rooted_trees(shape, levels, monkeypatch):
    images = grey(3, 1, shape, levels)
    expected = spanning_trees(images)
    monkeypatch.setattr("benchmark.methods.losses.trees._trees_by_scipy", lambda key, h, w: rooted(boruvka(key, h, w), h, w))
    assert torch.equal(spanning_trees(images), expected)


def test_an_image_too_large_for_exact_keys_is_refused():
    with pytest.raises(ValueError, match="1448 px"):
        spanning_trees(torch.zeros(1, 1, 1, 1).expand(1, 1, 1500, 1500))


@pytest.mark.parametrize("shape", [*SHAPES, (40, 23)])
def test_every_pixel_leads_to_the_first_of_its_image(shape):
    parent = spanning_trees(grey(2, 1, shape, 8))
    pixels = shape[0] * shape[1]
    up = torch.arange(2 * pixels)
    for _ in range(pixels):
        up = parent[up]
    assert torch.equal(up, torch.tensor([0, pixels]).repeat_interleave(pixels))


# ---------------------------------------------------------------------------------------------------------------- filter


@pytest.mark.parametrize("shape", SHAPES)
def test_the_filter_equals_walks_from_every_pixel(shape):
    signal, embedding = grey(2, 3, shape, 128, torch.float64), grey(2, 2, shape, 4, torch.float64)
    result = tree_filter(signal, embedding, 0.3)
    torch.testing.assert_close(result, slow_filter(signal, embedding, 0.3), rtol=1e-12, atol=1e-12)


def test_a_path_multiplies_its_similarities():
    """Three pixels in a row with similarities 1/2 and 1/4, and another tree of one pixel."""
    x = torch.tensor([[1.0, 10.0, 100.0, 7.0]])
    sums = TreeSum.apply(x, torch.tensor([0, 0.5, 0.25, 0]), torch.tensor([0, 0, 1, 3]))
    assert sums.tolist() == [[1 + 5 + 12.5, 0.5 + 10 + 25, 0.125 + 2.5 + 100, 7]]


@pytest.mark.parametrize("length", [2, 3, 4, 5, 8, 9, 17, 64, 65])
def test_deep_chains_reach_from_end_to_end(length):
    parent = (torch.arange(length) - 1).clamp(min=0)
    similarity = torch.full((length,), 0.9, dtype=torch.float64)
    similarity[0] = 0
    sums = TreeSum.apply(torch.eye(length, dtype=torch.float64), similarity, parent)
    distance = (torch.arange(length)[:, None] - torch.arange(length)).abs()
    torch.testing.assert_close(sums, 0.9 ** distance.double(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", families("tree_filter"))
def test_products_along_paths_equal_the_golden_ones(name):
    golden = Golden(name)
    embedding = golden["in_embedding"].double()
    h, w = embedding.shape[-2:]
    parent, nodes = spanning_trees(embedding), embedding[0].flatten(1)
    similarity = (-(nodes - nodes[:, parent]).square().sum(0) / golden["in_sigma"]).exp()
    similarity[0] = 0
    one_hot = torch.eye(h * w, dtype=torch.float64)[[0, h * w // 2]]
    close(TreeSum.apply(one_hot, similarity, parent), golden["out_affinity_rows"][0], torch.float64)


def test_sums_have_the_gradients_of_finite_differences():
    parent = spanning_trees(grey(2, 1, (3, 4), 1024))
    root = parent == torch.arange(24)
    torch.manual_seed(0)
    x = torch.randn(2, 24, dtype=torch.float64, requires_grad=True)
    similarity = torch.rand(24, dtype=torch.float64).masked_fill(root, 0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, s: TreeSum.apply(x, s.masked_fill(root, 0), parent), (x, similarity))


def test_an_image_without_edges_is_averaged():
    torch.manual_seed(0)
    signal = torch.rand(2, 3, 5, 7)
    filtered = tree_filter(signal, torch.full((2, 1, 5, 7), 0.5), 0.02)
    torch.testing.assert_close(filtered, signal.mean((2, 3), keepdim=True).expand_as(signal))


def test_a_sharp_edge_keeps_what_is_beyond_it_out():
    image = torch.zeros(1, 1, 6, 6)
    image[..., 3:] = 1
    signal = torch.rand(1, 2, 6, 6)
    filtered = tree_filter(signal, image, 0.02)
    torch.testing.assert_close(filtered[0, :, 0, 0], signal[..., :3].mean((2, 3))[0])
    torch.testing.assert_close(filtered[0, :, 5, 5], signal[..., 3:].mean((2, 3))[0])


# ---------------------------------------------------------------------------------------------------------------- energy


@pytest.fixture
def scene():
    torch.manual_seed(0)
    probs = torch.randn(2, 3, 9, 11, dtype=torch.float64).softmax(1)
    return probs, torch.rand(2, 1, 9, 11).double(), torch.randn(2, 4, 3, 4).double(), torch.rand(2, 9, 11) < 0.8


def test_the_energy_is_the_distance_to_probabilities_filtered_twice(scene):
    probs, image, features, unlabelled = scene
    enlarged = F.interpolate(features, size=(9, 11), mode="bilinear")
    target = slow_filter(slow_filter(probs, image, 0.02), enlarged, 1.0)
    expected = sum((probs - target).abs().sum(1)[unlabelled]) / unlabelled.sum()
    torch.testing.assert_close(tree_energy(probs, image, features, unlabelled), expected)


def test_sigma_is_of_the_image_s_tree(scene):
    probs, image, _, unlabelled = scene
    once = tree_energy(probs, image, None, unlabelled, sigma=0.5)
    expected = (probs - slow_filter(probs, image, 0.5)).abs().sum(1)[unlabelled].mean()
    torch.testing.assert_close(once, expected)


def test_the_energy_has_the_gradient_of_finite_differences():
    """Costs differ enough that a small step changes no tree."""
    torch.manual_seed(0)
    probs = torch.randn(2, 2, 4, 5, dtype=torch.float64).softmax(1).requires_grad_()
    features = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    image = torch.rand(2, 1, 4, 5, dtype=torch.float64)
    unlabelled = torch.rand(2, 4, 5) < 0.8
    assert torch.autograd.gradcheck(lambda p, f: tree_energy(p, image, f, unlabelled, sigma=0.2), (probs, features))


def test_no_gradient_reaches_the_image(scene):
    probs, image, features, unlabelled = scene
    for part in (probs, image, features):
        part.requires_grad_()
    tree_energy(probs, image, features, unlabelled).backward()
    assert image.grad is None
    assert probs.grad.abs().sum() > 0
    assert features.grad.abs().sum() > 0


def test_labelled_pixels_are_seen_but_not_moved_to(scene):
    """They take part in every mean, so they get a gradient, but their own distances are not counted."""
    probs, image, _, unlabelled = scene
    one = torch.zeros_like(unlabelled)
    one[0, 4, 5] = True
    probs.requires_grad_()
    loss = tree_energy(probs, image, None, one, sigma=1.0)
    loss.backward()
    torch.testing.assert_close(loss, (probs - slow_filter(probs.detach(), image, 1.0)).abs().sum(1)[0, 4, 5])
    assert (probs.grad[0] != 0).all()
    assert (probs.grad[1] == 0).all()


def test_the_order_of_classes_and_images_does_not_matter(scene):
    probs, image, features, unlabelled = scene
    loss = tree_energy(probs, image, features, unlabelled)
    torch.testing.assert_close(tree_energy(probs[:, [2, 0, 1]], image, features, unlabelled), loss)
    torch.testing.assert_close(tree_energy(probs.flip(0), image.flip(0), features.flip(0), unlabelled.flip(0)), loss)


def test_nothing_unlabelled_has_an_energy_and_a_gradient_of_zero(scene):
    probs, image, features, unlabelled = scene
    loss = tree_energy(probs.requires_grad_(), image, features, torch.zeros_like(unlabelled))
    loss.backward()
    assert loss.item() == 0
    assert (probs.grad == 0).all()


def test_equal_probabilities_cost_nothing(scene):
    probs, image, features, unlabelled = scene
    flat = probs[:, :, :1, :1].expand_as(probs)
    assert tree_energy(flat, image, features, unlabelled).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (17, 31)])
def test_odd_sizes_and_other_layouts_work(shape):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, *shape).to(memory_format=torch.channels_last).requires_grad_()
    loss = tree_energy(logits.softmax(1), torch.rand(2, 3, *shape), torch.randn(2, 2, 1, 2), torch.ones(2, *shape).bool())
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_half_precision_is_widened(scene):
    """In bf16 the sums over an image would be of no use."""
    probs, image, features, unlabelled = scene
    rounded = probs.bfloat16(), features.bfloat16()
    expected = tree_energy(rounded[0].float(), image.float(), rounded[1].float(), unlabelled)
    with torch.autocast("cpu", torch.bfloat16):
        loss = tree_energy(rounded[0].requires_grad_(), image.float(), rounded[1].requires_grad_(), unlabelled)
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
    assert torch.isfinite(rounded[1].grad).all()


# ---------------------------------------------------------------------------------------------------------------- method


@pytest.fixture
def method():
    built = plugins.get("method", "tree_energy").load()()
    torch.manual_seed(0)
    built.build(1, 3, Budget(size=32))
    built.net.eval()  # no dropout: two passes agree
    built.net.net.decoder.head.weight.data *= 100  # a fresh network's predictions hardly differ between pixels
    return built


@pytest.fixture
def batch():
    """Labelled where the image is flat, on the left."""
    torch.manual_seed(0)
    image, allowed = torch.rand(2, 1, 32, 32), torch.randint(0, 2, (2, 32, 32)).int() * 4 + 3
    image[..., :16], allowed[..., :16] = 0.5, 2
    return Batch(image, allowed, torch.arange(2), None)


def test_the_method_adds_a_tenth_of_the_energy(method, batch):
    logits, embedding = method.net.both(batch.image)
    assert torch.equal(logits, method.net(batch.image))
    energy = tree_energy(logits.softmax(1), batch.image, embedding, (batch.allowed & (batch.allowed - 1)) != 0)
    torch.testing.assert_close(method.loss(batch, 0.5), partial_cross_entropy(logits, batch.allowed) + 0.1 * energy)


def test_the_second_head_is_the_published_one_and_is_optimised(method, batch):
    """3x3 convolution from 64 to 512 with a bias, batch norm, 1x1 convolution to the classes without."""
    assert sum(p.numel() for p in method.net.head.parameters()) == (64 * 9 + 1) * 512 + 2 * 512 + 512 * 3
    assert method.net.both(batch.image)[1].shape == (2, 3, 8, 8)
    method.loss(batch, 0.5).backward()
    optimised = set(map(id, method.net.parameters()))
    assert all(id(p) in optimised and (p.grad != 0).any() for p in method.net.head.parameters())


def test_the_head_fits_the_network_s_map():
    built = plugins.get("method", "tree_energy").load()()
    built.build(3, 2, Budget(size=64, network="smp:Unet/resnet18"))
    assert built.loss(Batch(torch.rand(2, 3, 64, 64), torch.full((2, 64, 64), 3).int(), torch.arange(2), None), 0).dim() == 0
