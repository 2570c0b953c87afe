import itertools

import numpy as np
import pytest
import torch

from benchmark.methods.losses import affinity, batch_prototypes, prsa, sample_prototypes
from tests.support.golden_vectors import Golden, families


def inputs(golden):
    classes = int(golden["in_num_classes"])
    labels = "in_pseudo_label" if "in_pseudo_label" in golden.arrays.files else "in_sparse_label"
    return {
        "image": golden["in_image"].repeat(1, int(golden["in_grey_repeat"]), 1, 1),
        "labels": golden.labels(labels, classes),
        "pair_mask": golden["in_sparse_label"] == classes,
        "encoder": golden["in_encoder_feature"],
        "decoder": golden["in_decoder_feature"],
        "radius": int(golden["in_radius"]),
        "nearest": True,  # as published
    }


@pytest.mark.parametrize("name", families("prsa_"))
def test_prsa_equals_the_golden_one(name):
    golden = Golden(name)
    logits = golden["in_logits"].requires_grad_()
    found = prsa(logits, **inputs(golden))
    found.loss.backward()
    torch.testing.assert_close(found.loss.detach(), golden["out_loss"], rtol=1e-5, atol=0, check_dtype=False)
    torch.testing.assert_close(found.refined.detach(), golden["out_refined_logits"], rtol=0, atol=1e-5)
    torch.testing.assert_close(logits.grad, golden["out_grad_logits"], rtol=0, atol=2e-8)


@pytest.mark.parametrize("name", families("prototypes_"))
def test_prototypes_and_affinity_equal_the_golden_ones(name):
    golden = Golden(name)
    classes = int(golden["in_num_classes"])
    labels = golden.labels("in_label", classes)
    encoder, decoder = golden["in_encoder_feature"], golden["in_decoder_feature"]
    shared = batch_prototypes(encoder, labels, classes, nearest=True)
    own = sample_prototypes(decoder, labels, classes, nearest=True)
    torch.testing.assert_close(shared[0], golden["out_encoder_prototype"], rtol=0, atol=1e-6)
    torch.testing.assert_close(own, golden["out_decoder_prototype"].transpose(0, 1), rtol=0, atol=1e-6)
    like = torch.empty(len(labels), classes, *labels.shape[1:])
    found = affinity(encoder, decoder, labels, like, nearest=True)
    torch.testing.assert_close(found, golden["out_affinity"], rtol=0, atol=1e-5)


def test_a_cell_counts_for_a_class_by_the_share_of_its_pixels():
    """Cells of 2 x 2 pixels: class 1 has a quarter of the first and half of the second, class 2 all of the third."""
    labels = torch.tensor([[[0, 1, 1, 1, 2, 2], [0, 0, 0, 0, 2, 2]]])
    features = torch.tensor([[[[1.0, 5.0, 9.0]], [[0.0, 2.0, 7.0]]]])
    expected = torch.tensor([[(3 + 2 * 5) / 5, (2 * 2) / 5], [(1 + 2 * 5) / 3, (2 * 2) / 3], [9, 7]])
    torch.testing.assert_close(batch_prototypes(features, labels, 3)[0], expected)
    torch.testing.assert_close(sample_prototypes(features, labels, 3)[0], expected)


def test_dense_labels_count_as_in_the_mean_over_all_places_of_the_published_grid():
    torch.manual_seed(0)
    labels, features = torch.randint(0, 3, (2, 32, 32)), torch.randn(2, 5, 4, 4)
    places = [labels[:, i::8, j::8] for i in range(8) for j in range(8)]
    cells = torch.stack([torch.stack([place == k for place in places]).float().mean(0) for k in range(3)], 1)
    expected = torch.einsum("nkhw,nchw->kc", cells, features) / cells.sum((0, 2, 3))[:, None]
    torch.testing.assert_close(batch_prototypes(features, labels, 3)[0], expected)


def test_every_class_with_a_point_at_96_px_has_both_prototypes():
    """The published grid of stride 8 sees one pixel in 64 of a batch, and so none of most points of 3 x 3 pixels."""
    rng, seen = np.random.default_rng(0), []
    for _ in range(20):
        labels = torch.full((8, 96, 96), 255)
        for label, k in itertools.product(labels, range(3)):
            y, x = rng.integers(0, 93, 2)
            label[y : y + 3, x : x + 3] = k
        for make, stride in ((batch_prototypes, 8), (sample_prototypes, 2)):
            features = torch.ones(8, 1, 96 // stride, 96 // stride)
            there = [torch.stack([(label == k).any() for k in range(3)]) for label in labels]
            marked = torch.stack(there) if make is sample_prototypes else torch.stack(there).any(0, keepdim=True)
            assert torch.equal(make(features, labels, 3)[..., 0] > 0, marked)
        seen.append(batch_prototypes(torch.ones(8, 1, 12, 12), labels, 3, nearest=True)[0, :, 0] > 0)
    assert not torch.stack(seen).all()


def test_a_class_without_a_label_has_a_refined_logit_of_zero():
    torch.manual_seed(0)
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    found = prsa(
        torch.randn(1, 2, 16, 16), torch.rand(1, 1, 16, 16), labels, labels == 0,
        torch.rand(1, 8, 2, 2), torch.rand(1, 4, 8, 8),
    )  # fmt: skip
    assert not found.refined[:, 1].any()


def test_without_unlabelled_pixels_the_loss_is_zero():
    """The published code divides by zero there."""
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    logits = torch.randn(1, 2, 16, 16, requires_grad=True)
    found = prsa(logits, torch.rand(1, 1, 16, 16), labels, labels > 0, torch.rand(1, 8, 2, 2), torch.rand(1, 4, 8, 8))
    found.loss.backward()
    assert found.loss.item() == 0
    assert not logits.grad.any()


def test_no_gradient_reaches_the_features():
    labels = torch.randint(0, 2, (1, 16, 16))
    encoder = torch.rand(1, 8, 2, 2, requires_grad=True)
    logits = torch.randn(1, 2, 16, 16, requires_grad=True)
    prsa(logits, torch.rand(1, 1, 16, 16), labels, labels < 2, encoder, torch.rand(1, 4, 8, 8)).loss.backward()
    assert encoder.grad is None


def test_gradients_are_right():
    torch.manual_seed(0)
    labels = torch.tensor([[0, 1], [255, 255]]).repeat(1, 4, 4)
    image, encoder, decoder = torch.rand(1, 1, 8, 8), torch.rand(1, 8, 1, 1), torch.rand(1, 4, 4, 4)
    rest = (image, labels, labels == 255, encoder, decoder)
    rest = [part.double() if part.is_floating_point() else part for part in rest]
    logits = torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: prsa(z, *rest, sigma_rgb=0.5, radius=2).loss, logits)


def test_bfloat16_autocast_keeps_the_affinity_exact():
    golden = Golden("prsa_phase1_rgb")
    given = inputs(golden)
    with torch.autocast("cpu", torch.bfloat16):
        found = prsa(golden["in_logits"], **given)
    torch.testing.assert_close(found.refined, golden["out_refined_logits"], rtol=0, atol=1e-5)
