import numpy as np
import pytest
import torch

from benchmark.methods import networks
from benchmark.methods.networks import UNet
from tests.golden_vectors import Golden

GOLDEN = Golden("network")


@pytest.mark.parametrize("place", range(6))
def test_parameter_counts(place):
    row, column = divmod(place, 3)
    net = UNet(int(GOLDEN["in_in_channels"][row]), int(GOLDEN["in_num_classes"][column]))
    assert sum(p.numel() for p in net.parameters()) == GOLDEN["out_parameters_unet"][row, column]


def test_parameter_shapes_in_order():
    shapes = [[*p.shape, *[0] * (4 - p.dim())] for p in UNet(1, 2).parameters()]
    assert shapes == GOLDEN["out_parameter_shapes_unet"].tolist()


def test_feature_maps_by_stride():
    size = tuple(GOLDEN["in_input_size"].tolist())
    found = UNet(1, 2).eval().features(torch.zeros(2, 1, *size))
    assert [list(m.shape) for m in found.encoder.values()] == GOLDEN["out_encoder_feature_shapes"].tolist()
    assert [list(m.shape) for m in found.decoder.values()] == GOLDEN["out_decoder_feature_shapes"].tolist()
    for maps in (found.encoder, found.decoder):
        assert all(m.shape[-1] * stride == size[-1] for stride, m in maps.items())


def fill(net):
    """Set the parameters to what the golden file's `about` gives as a formula."""
    scales = {id(m.weight) for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    for t, p in enumerate(net.parameters()):
        e = np.arange(p.numel(), dtype=np.uint64)
        h = (e + np.uint64(1000003 * t + 1)) * np.uint64(2654435761) % 2**32
        h ^= h >> 15
        h = h * np.uint64(2246822519) % 2**32
        h ^= h >> 13
        s = torch.from_numpy(h / 2**31 - 1).reshape(p.shape)
        scale = (6 / p[0].numel()) ** 0.5 if p.dim() == 4 else 0.1
        p.data = scale * s + (1 if id(p) in scales else 0)


def test_forward_pass_equals_the_golden_one():
    golden = Golden("network_forward")
    net = UNet(1, int(golden["in_num_classes"])).double().eval()
    fill(net)
    with torch.no_grad():
        found = net.features(golden["in_image"])
    torch.testing.assert_close(found.logits, golden["out_logits_unet"], rtol=0, atol=1e-9)
    torch.testing.assert_close(found.encoder[8], golden["out_encoder_x3"], rtol=0, atol=1e-9)
    torch.testing.assert_close(found.decoder[2], golden["out_decoder_d3"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [(16, 16), (33, 50), (47, 31)])
def test_any_size_gives_logits_of_that_size(size):
    assert UNet(3, 4).eval()(torch.zeros(1, 3, *size)).shape == (1, 4, *size)


def test_an_unknown_network_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="no network 'vnet'; there are unet"):
        networks.build("vnet", 1, 2)
