import numpy as np
import pytest
import torch

from benchmark.methods import networks
from benchmark.methods.networks import UNet
from tests.support.golden_vectors import Golden

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


@pytest.mark.parametrize("size", [24, 31, 46, 47])
def test_the_levels_have_their_strides_where_a_size_is_halved_with_a_rest(size):
    with torch.device("meta"):
        found = UNet(1, 2).features(torch.empty(2, 1, size, size))
    assert (list(found.encoder), list(found.decoder)) == ([1, 2, 4, 8, 16], [8, 4, 2, 1])


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
    with pytest.raises(ValueError, match="no network 'vnet'; there are unet and smp:"):
        networks.build("vnet", 1, 2)


def test_two_decoders_are_the_published_network():
    net = networks.build_dual("unet", 1, 4)
    assert sum(p.numel() for p in net.parameters()) == 2447064
    image = torch.rand(2, 1, 32, 32)
    main, auxiliary = net.both(image)
    assert main.shape == auxiliary.shape == (2, 4, 32, 32)
    net.eval()
    torch.testing.assert_close(net(image), net.both(image)[0])
    assert torch.equal(net.both(image)[1], net.both(image)[1])  # no channel is dropped


LIBRARY = ("smp:Unet/resnet18", "smp:FPN/tu-convnext_atto", "smp:UnetPlusPlus/resnet18", "smp:DeepLabV3Plus/mobilenet_v2")


@pytest.mark.parametrize("name", LIBRARY)
def test_networks_of_the_library(name):
    net = networks.build(name, 1, 3)
    features = net.features(torch.rand(2, 1, 64, 64))
    assert features.logits.shape == (2, 3, 64, 64)
    for maps in (features.encoder, features.decoder):
        assert all(m.shape[-1] * stride == 64 for stride, m in maps.items())
    assert [tuple(logits.shape) for logits in networks.build_dual(name, 1, 3).both(torch.rand(2, 1, 64, 64))] == [
        (2, 3, 64, 64)
    ] * 2


def test_what_a_network_lacks_is_known_before_it_is_trained():
    assert networks.lacks("unet", ("encoder/8", "decoder/2"), 1, 64, 2) == []
    assert networks.lacks("smp:Unet/resnet18", ("encoder/8", "decoder/2"), 3, 64, 2) == []
    assert networks.lacks("smp:FPN/resnet18", ("encoder/8", "decoder/2"), 3, 64, 2) == ["decoder/2"]
    with pytest.raises(ValueError, match="can't be trained on a batch of 2 with images of 50 px"):
        networks.lacks("smp:FPN/resnet18", (), 1, 50, 2)


@pytest.mark.parametrize(("network", "size"), [("DeepLabV3Plus", 64), ("Unet", 32)])
def test_one_value_per_channel_is_too_few_for_batch_normalisation(network, size):
    """Pooled to one pixel, or halved five times: 32 px are one; two images are two values."""
    with pytest.raises(ValueError, match=f"can't be trained on a batch of 1 with images of {size} px .*more than 1 value"):
        networks.lacks(f"smp:{network}/resnet18", (), 3, size, 1)
    assert networks.lacks(f"smp:{network}/resnet18", (), 3, size, 2) == []


@pytest.mark.parametrize("name", ["smp:Unet", "smp:Nope/resnet18", "smp:Unet/nope", "smp:Unet/tu-nope", "resnet18"])
def test_names_that_no_library_knows_are_refused(name):
    with pytest.raises(ValueError, match=f"no network '{name}'"):
        networks.build(name, 1, 2)


@pytest.mark.parametrize("name", ["smp:Unet/resnet18", "smp:FPN/tu-convnext_atto"])
def test_encoder_weights_come_from_a_file(name, tmp_path):
    """Of three channels, also into a network for grey images; what the file says of a classifier is left aside."""
    torch.manual_seed(1)
    colour = networks.build(name, 3, 2)
    stored = {f"encoder.{key}" if name.endswith("18") else key.removeprefix("model."): value
              for key, value in colour.encoder.state_dict().items()}  # fmt: skip
    torch.save(stored | {"fc.weight": torch.zeros(3)}, tmp_path / "weights.pth")
    grey = networks.build(name, 1, 2, str(tmp_path / "weights.pth"))
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        for grey_map, colour_map in zip(
            grey.eval().encode(image)[1:], colour.eval().encode(image.repeat(1, 3, 1, 1))[1:], strict=True
        ):
            torch.testing.assert_close(grey_map, colour_map, rtol=1e-3, atol=1e-5)


def test_weights_of_something_else_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    foreign = [
        ({"a": torch.zeros(1)}, "are they of this encoder"),
        (b"no", "not a state dict"),
        ([1], "a dictionary of tensors"),
    ]
    for stored, message in [*foreign, ({"model": {"a": 1}}, "a dictionary of tensors")]:
        path.write_bytes(stored) if isinstance(stored, bytes) else torch.save(stored, path)
        with pytest.raises(ValueError, match=message):
            networks.build("smp:Unet/resnet18", 1, 2, str(path))
    torch.save(networks.build("smp:Unet/resnet18", 3, 2).encoder.state_dict() | {"bn1.weight": torch.zeros(7)}, path)
    with pytest.raises(ValueError, match="'bn1.weight' is"):
        networks.build("smp:Unet/resnet18", 3, 2, str(path))
    with pytest.raises(ValueError, match="no file of weights"):
        networks.build("smp:Unet/resnet18", 1, 2, "nowhere.pth")
    with pytest.raises(ValueError, match="unet has none"):
        networks.build("unet", 1, 2, str(path))
