"""Networks by name. A network returns logits, and its feature maps by stride.

`unet` is the field's. `smp:ARCHITECTURE/ENCODER` is any of segmentation_models_pytorch, with an encoder of its own or of
timm (`tu-...`), from scratch or from a file of encoder weights; nothing is ever downloaded.
"""

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)


class Features(NamedTuple):
    """Logits and feature maps of a batch."""

    logits: Tensor  # (n, classes, h, w)
    encoder: dict[int, Tensor]  # stride -> (n, c, h / stride, w / stride)
    decoder: dict[int, Tensor]


class Network(nn.Module, ABC):
    """An encoder, and a decoder with its head: `encode(image) -> maps`, `decoder(maps) -> logits, decoder maps`."""

    decoder: nn.Module

    @abstractmethod
    def encode(self, image: Tensor) -> list[Tensor]:
        """The encoder's maps, the finest first."""

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, classes, h, w) of images (n, channels, h, w)."""
        logits: Tensor = self.decoder(self.encode(image))[0]
        return logits

    def features(self, image: Tensor) -> Features:
        """Logits, and the maps of both halves."""
        maps = self.encode(image)
        logits, decoded = self.decoder(maps)
        return Features(logits, _by_stride(image, maps), _by_stride(image, decoded))


class UNet(Network):
    """The 2-D U-Net that WSL4MIS and ProCNS share: 1,813,764 parameters at 1 channel and 4 classes.

    As their code runs it: the up-sampling is bilinear with aligned corners after a 1x1 convolution, although the
    published configuration asks for a transposed convolution. Images may have any size from 16 px.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        inputs = (channels, *WIDTHS[:-1])
        self.encoder = nn.ModuleList(map(_block, inputs, WIDTHS, DROPOUT))
        self.decoder = Decoder(classes)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Five maps, each half as large as the one before."""
        maps = [self.encoder[0](image)]
        for level in self.encoder[1:]:
            maps.append(level(F.max_pool2d(maps[-1], 2)))
        return maps


class Dual(nn.Module):
    """A network with a second, auxiliary decoder; in training, channels of its input maps are dropped.

    With `unet` it is WSL4MIS's `unet_cct`: 2,447,064 parameters at 1 channel and 4 classes. There the auxiliary decoder
    also drops channels in evaluation, where its output is not used.
    """

    def __init__(self, main: Network, auxiliary: nn.Module) -> None:
        super().__init__()
        self.main, self.auxiliary = main, auxiliary

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the main decoder."""
        logits: Tensor = self.main(image)
        return logits

    def both(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the main and of the auxiliary decoder."""
        maps = self.main.encode(image)
        dropped = [F.dropout2d(m, 0.5, self.training) if m.shape[1] else m for m in maps]
        return self.main.decoder(maps)[0], self.auxiliary(dropped)[0]


class Pair(Dual):
    """Two networks that see the same image: the auxiliary one has an encoder of its own."""

    def both(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the main and of the auxiliary network."""
        return self.main(image), self.auxiliary(image)


class Level(nn.Module):
    """One level of the decoder: reduce channels, enlarge, concatenate the encoder's map, and convolve."""

    def __init__(self, deep: int, skip: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(deep, skip, 1)
        self.join = _block(2 * skip, skip, 0)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return the decoded map, of the size of `skip`."""
        x = F.interpolate(self.narrow(x), size=skip.shape[-2:], mode="bilinear", align_corners=True)
        return self.join(torch.cat([skip, x], 1))


class Decoder(nn.Module):
    """The decoder: its levels from deep to shallow, and the head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(map(Level, WIDTHS[:0:-1], WIDTHS[-2::-1]))
        self.head = nn.Conv2d(WIDTHS[0], classes, 3, padding=1)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return logits, and the map of each level, the deepest first."""
        decoded: list[Tensor] = []
        for level, skip in zip(self.levels, maps[-2::-1], strict=True):
            decoded.append(level(decoded[-1] if decoded else maps[-1], skip))
        return as_logits(self.head(decoded[-1])), decoded


def as_logits(made: Tensor) -> Tensor:
    """Logits as losses need them: contiguous, as those that shift and slice are faster on that, and never in bfloat16."""
    return (made.float() if made.dtype == torch.bfloat16 else made).contiguous()


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """Two convolutions, each with batch norm and leaky ReLU, and dropout between them."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(), nn.Dropout(dropout),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(),
    )  # fmt: skip


class Library(Network):
    """An architecture of segmentation_models_pytorch."""

    def __init__(self, architecture: str, encoder: str, channels: int, classes: int) -> None:
        super().__init__()
        import segmentation_models_pytorch as smp  # takes seconds

        model = smp.create_model(architecture, encoder, encoder_weights=None, in_channels=channels, classes=classes)
        self.encoder: Any = model.encoder
        self.decoder = LibraryDecoder(model.decoder, model.segmentation_head)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the image and the encoder's maps, as the library's decoders need them."""
        return list(self.encoder(image))


class LibraryDecoder(nn.Module):
    """A decoder of the library and its head. Its maps are the outputs of its blocks, if it has any, and the last."""

    def __init__(self, decoder: Any, head: nn.Module) -> None:
        super().__init__()
        self.inner, self.head = decoder, head

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the decoder's maps."""
        decoded: list[Tensor] = []
        blocks = getattr(self.inner, "blocks", None)
        hooks = [
            block.register_forward_hook(lambda _block, _given, made: decoded.append(made))
            for block in (blocks if isinstance(blocks, nn.ModuleList) else ())
        ]
        try:
            last = self.inner(maps)
        finally:
            for hook in hooks:
                hook.remove()
        return as_logits(self.head(last)), [*decoded, last]


class Selective(Network):
    """A network whose deepest map passes the channel selection of a site; its other parts are as they are."""

    def __init__(self, net: Network, channels: int, sites: int) -> None:
        super().__init__()
        probe: Any = copy.deepcopy(net).to("meta").eval()
        self.net = net
        self.selection = Selection(probe.encode(torch.empty(1, channels, 64, 64, device="meta"))[-1].shape[1], sites)

    @property
    def decoder(self) -> nn.Module:  # type: ignore[override]
        """The network's decoder."""
        return self.net.decoder

    def encode(self, image: Tensor) -> list[Tensor]:
        """The encoder's maps, the deepest one selected."""
        maps = self.net.encode(image)
        return [*maps[:-1], self.selection(maps[-1])]


class Selection(nn.Module):
    """Personalised channel selection, x (1 + g) with gates g in (0, 1) of the map x and the site (FedICRA, 2023).

    With the site's one-hot vector e and the mean a and maximum m of each channel: u = W2 relu(W1 e),
    g = sigmoid(V([a, u]) + V([m, u])), V(y) = V2 relu(V1 y); the hidden layers have a sixteenth of the channels.
    """

    def __init__(self, width: int, sites: int) -> None:
        super().__init__()
        self.sites, self.site = sites, 0
        self.pooled: tuple[Tensor, Tensor] | None = None  # of the last map in training
        hidden = max(1, width // 16)
        self.of_site = nn.Sequential(_linear(sites, hidden), nn.ReLU(), _linear(hidden, width))
        self.of_map = nn.Sequential(_linear(2 * width, hidden), nn.ReLU(), _linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the map (n, c, h, w), each channel multiplied by 1 + its gate."""
        pooled = x.mean((2, 3)), x.amax((2, 3))
        if self.training:
            self.pooled = pooled
        return x * (1 + self.gates(pooled, self.site)[:, :, None, None])

    def gates(self, pooled: tuple[Tensor, Tensor], site: int) -> Tensor:
        """The gates (n, c) that a site gives to a map with these means and maxima (n, c)."""
        one_hot = F.one_hot(torch.tensor(site, device=pooled[0].device), self.sites).to(pooled[0].dtype)
        vector = self.of_site(one_hot).expand_as(pooled[0])
        mean, most = (self.of_map(torch.cat([each, vector], 1)) for each in pooled)
        return torch.sigmoid(mean + most)

    def contrast(self) -> Tensor:
        """Minus the mean squared distance, 0-d, of the own gates of the last map to those of other sites, held fixed."""
        assert self.pooled is not None
        own = self.gates(self.pooled, self.site)
        others = [self.gates(self.pooled, site).detach() for site in range(self.sites) if site != self.site]
        return -torch.stack([F.mse_loss(own, other) for other in others]).mean() if others else own.new_zeros(())


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def build(name: str, channels: int, classes: int, weights: str = "") -> Network:
    """Build the network of that name with new weights; raises ValueError if it can't be built.

    `weights`: a file of encoder weights, as torch saves a state dict; a first layer for colour also fits grey images.
    """
    if selective := re.fullmatch(r"sites(\d+):(.+)", name):  # of `federated`, not for users
        return Selective(build(selective[2], channels, classes, weights), channels, int(selective[1]))
    if name == "unet":
        if weights:
            raise ValueError("weights are for the encoders of smp: networks; unet has none of its own")
        return UNet(channels, classes)
    found = re.fullmatch(r"smp:(\w+)/([\w.-]+)", name)
    if found is None:
        raise ValueError(f"no network {name!r}; there are unet and smp:ARCHITECTURE/ENCODER, such as smp:Unet/resnet34")
    try:
        net = Library(found[1], found[2], channels, classes)
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"no network {name!r}: {' '.join(str(error).split())}") from error
    if weights:
        _load(net.encoder, Path(weights))
    return net


def build_dual(name: str, channels: int, classes: int, weights: str = "") -> Dual:
    """Build the network of that name with a second decoder, which is initialised independently."""
    return Dual(build(name, channels, classes, weights), build(name, channels, classes).decoder)


def lacks(name: str, needs: Iterable[str], channels: int, size: int, batch: int) -> list[str]:
    """List the maps in `needs`, such as "encoder/8", that a network does not have; nothing is computed.

    Raises ValueError if the network can't be built, or can't be trained on so many images of that size: a layer may need
    larger maps, and batch normalisation more than one value per channel.
    """
    with torch.device("meta"):
        net = build(name, channels, 2).train()
        try:
            made = net.features(torch.empty(batch, channels, size, size))
        except (RuntimeError, ValueError) as error:
            what = f"network {name!r} can't be trained on a batch of {batch} with images of {size} px"
            raise ValueError(f"{what} ({' '.join(str(error).split())}); give another batch, size or network") from error
    return [need for need in needs if int(need.partition("/")[2]) not in getattr(made, need.partition("/")[0])]


def _by_stride(image: Tensor, maps: list[Tensor]) -> dict[int, Tensor]:
    """The last map of each stride, without maps of 0 channels; sizes may have been halved with a rest."""
    return {1 << (image.shape[-1] // (m.shape[-1] + 1)).bit_length(): m for m in maps if m.shape[1]}


def _load(encoder: nn.Module, path: Path) -> None:
    """Load the weights of an encoder from a file; other weights in it, such as a classifier's head, are ignored."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"there is no file of weights {path}") from error
    except Exception as error:  # torch raises whatever its archive reader and its unpickler raise
        raise ValueError(f"{path} is not a state dict of torch: {' '.join(str(error).split())[:200]}") from error
    for key in ("state_dict", "model"):
        stored = stored.get(key, stored) if isinstance(stored, dict) else stored
    if not isinstance(stored, dict) or not all(isinstance(given, Tensor) for given in stored.values()):
        raise ValueError(f"{path} is not a state dict of torch, which is a dictionary of tensors")
    filled = dict(encoder.state_dict())
    for name, own in filled.items():
        plain = name.removeprefix("model.")  # timm's encoders are wrapped; it also writes stages_0 for stages.0
        spellings = (name, f"encoder.{name}", plain, re.sub(r"^([a-z]+)_(\d)", r"\1.\2", plain))
        given = next((stored[spelling] for spelling in spellings if spelling in stored), None)
        if given is None and name.endswith("num_batches_tracked"):
            continue
        if given is None:
            raise ValueError(
                f"{path} has no weights {name!r}; are they of this encoder? It has {', '.join(list(stored)[:3])}"
            )
        if given.dim() == 4 and given.shape[1] == 3 and own.shape[1] == 1:
            given = given.sum(1, keepdim=True)  # grey as three equal colours
        if given.shape != own.shape:
            raise ValueError(f"{path}: {name!r} is {tuple(given.shape)}; this encoder's is {tuple(own.shape)}")
        filled[name] = given
    encoder.load_state_dict(filled)
