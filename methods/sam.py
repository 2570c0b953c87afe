"""SAM: masks that the Segment Anything Model makes of the marks, and a network trained on them."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.ndimage import find_objects, label
from torch import Tensor

from benchmark.methods.boxes import boxed_sites
from benchmark.methods.pce_dice import PartialCrossEntropyDice
from benchmark.seal.contract import Budget, Count, Log, WeakData, WeakScan, everything

BACKGROUND = 1  # the set of class 0 alone
EIGHT = np.ones((3, 3))  # neighbours of a pixel in a mark
Prompt = tuple[int, dict[str, np.ndarray]]  # a class, and arguments of SAM's `predict`


@dataclass
class SegmentAnything(PartialCrossEntropyDice):
    """A control: `pce_dice` on masks by SAM (Kirillov et al., ICCV 2023), whose weights were trained on other images.

    `weights` is a file in the format of SAM's release, such as SAM's or MedSAM's; nothing is downloaded. Each connected
    mark, or each box, is a prompt. A pixel gets the class of the mask with the largest logit, if that is above 0, else
    background. Marks keep their class. A slice without a prompt stays as it is, and is background if only background
    is marked.
    """

    title: ClassVar[str] = "SAM"

    weights: str  # file with SAM's weights
    points: Count = 3  # of a mark, and as many of the marks of other classes, as points outside

    annotations: ClassVar[tuple[str, ...]] = ("point", "scribble", "block", "box")
    files: ClassVar[tuple[str, ...]] = ("weights",)
    static: ClassVar[bool] = True
    extra: ClassVar[str] = "SAM, once before training"
    outside: ClassVar[str] = "its labels are made by SAM, whose weights were trained on other images"

    def __post_init__(self) -> None:
        """Check that there are weights, and the package that reads them."""
        if not Path(self.weights).is_file():
            raise ValueError(f"weights is {self.weights!r}; it must be a file of SAM's weights, which you have downloaded")
        if importlib.util.find_spec("segment_anything") is None:
            raise ValueError("SAM is not installed; pip install 'weakseg-bench[sam]' installs it")
        self.weights = str(Path(self.weights).resolve())  # a run has a working folder of its own

    def begin(self, data: WeakData, budget: Budget, log: Log) -> None:
        """Make masks of the marks, and train on them."""
        super().begin(masked(data, load(Path(self.weights)), self.points), budget, log)


def masked(data: WeakData, predictor: Any, points: int) -> WeakData:
    """The same images with SAM's masks as label sets."""
    boxed = boxed_sites(data)
    return data.relabel(lambda scan: np.stack([*slices(predictor, scan, data.classes, points, scan.site in boxed)]))


def slices(predictor: Any, scan: WeakScan, classes: int, points: int, boxed: bool) -> Iterator[np.ndarray]:
    """Yield the label sets (h, w) of each slice of a scan, which is annotated by boxes or by marks."""
    for image, sets in zip(scan.image, scan.allowed, strict=True):
        given = boxes(sets, classes) if boxed else marks(sets, classes, points)
        if not given:
            yield np.full_like(sets, BACKGROUND) if known(sets) == {BACKGROUND} else sets
            continue
        colours = image if len(image) == 3 else image.mean(0, keepdims=True).repeat(3, 0)
        predictor.set_image((colours * 255).round().astype(np.uint8).transpose(1, 2, 0))
        best, found = np.zeros(sets.shape, np.float32), np.full_like(sets, BACKGROUND)
        for k, prompt in given:
            # SAM proposes several masks, of which the one that it scores best is meant for prompts of a single point
            logits, scores, _ = predictor.predict(
                **prompt, return_logits=True, multimask_output=len(prompt.get("point_coords", [0, 0])) == 1
            )
            logit = logits[scores.argmax()]
            found[logit > best] = 1 << k
            best = np.maximum(best, logit)
        if boxed:  # a class that is possible everywhere has no box; it stays possible where no mask is
            whole = np.bitwise_and.reduce(sets, (0, 1)) & (everything(classes) - BACKGROUND)
            found[found == BACKGROUND] |= whole
        yield np.where(sets & found == 0, sets, sets & found)


def known(sets: np.ndarray) -> set[int]:
    """The sets of one class in a slice (h, w)."""
    return set(np.unique(sets[sets & (sets - 1) == 0]).tolist())


def marks(sets: np.ndarray, classes: int, points: int) -> list[Prompt]:
    """List the prompt of each mark in label sets (h, w): points that are spread over it."""
    found = []
    for k in range(1, classes):
        regions, count = label(sets == 1 << k, EIGHT)
        others = spread((sets & (sets - 1) == 0) & (sets != 1 << k), points)
        for region in range(1, count + 1):
            own = spread(regions == region, points)
            where, which = np.concatenate([own, others]), np.repeat([1, 0], [len(own), len(others)])
            found.append((k, {"point_coords": where, "point_labels": which}))
    return found


def boxes(sets: np.ndarray, classes: int) -> list[Prompt]:
    """List the prompt of each box in label sets (h, w): a connected region where a class is possible.

    One that fills the slice says nothing.
    """
    found = []
    for k in range(1, classes):
        allowed = sets >> k & 1
        for rows, columns in () if allowed.all() else find_objects(label(allowed)[0]):
            found.append((k, {"box": np.array([columns.start, rows.start, columns.stop - 1, rows.stop - 1])}))
    return found


def spread(region: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` pixels (n, 2; column, row) of a region (h, w): the one nearest its centre, then always the farthest."""
    pixels = np.argwhere(region)[:, ::-1]
    if not len(pixels):
        return pixels
    chosen = [int(np.square(pixels - pixels.mean(0)).sum(1).argmin())]
    distance = np.square(pixels - pixels[chosen[0]]).sum(1)
    while len(chosen) < min(count, len(pixels)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.square(pixels - pixels[chosen[-1]]).sum(1))
    return pixels[chosen]


def load(path: Path) -> Any:
    """Return SAM's predictor with the weights of a file, on the GPU if there is one; raises ValueError for another file.

    The sizes of the model are those of its weights, so all of SAM's sizes can be read, and any other.
    """
    from segment_anything import SamPredictor

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        model = of_sizes(stored)
        model.load_state_dict(stored)
    except Exception as error:  # torch raises whatever its archive reader and its unpickler raise
        raise ValueError(f"{path} holds no weights of SAM: {' '.join(str(error).split())[:200]}") from error
    return SamPredictor(model.to(device).eval())


def of_sizes(stored: dict[str, Tensor]) -> Any:
    """Build SAM with the sizes of its weights."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    _, grid, _, width = stored["image_encoder.pos_embed"].shape
    _, channels, patch, _ = stored["image_encoder.patch_embed.proj.weight"].shape
    heights = {
        int(name.split(".")[2]): (len(value) + 1) // 2
        for name, value in stored.items()
        if name.startswith("image_encoder.blocks") and name.endswith("rel_pos_h")
    }
    out = len(stored["image_encoder.neck.0.weight"])
    windows = {height for height in heights.values() if height != grid}
    encoder = ImageEncoderViT(
        img_size=grid * patch, patch_size=patch, in_chans=channels, embed_dim=width, depth=len(heights),
        num_heads=width // stored["image_encoder.blocks.0.attn.rel_pos_h"].shape[1], out_chans=out, use_rel_pos=True,
        mlp_ratio=len(stored["image_encoder.blocks.0.mlp.lin1.weight"]) / width,
        norm_layer=lambda size: torch.nn.LayerNorm(size, eps=1e-6),
        window_size=windows.pop() if windows else 0,
        global_attn_indexes=tuple(block for block, height in heights.items() if height == grid),
    )  # fmt: skip
    of_masks = len(stored["prompt_encoder.mask_downscaling.3.weight"])
    prompt = PromptEncoder(
        embed_dim=out,
        image_embedding_size=(grid, grid),
        input_image_size=(grid * patch, grid * patch),
        mask_in_chans=of_masks,
    )
    layers = {name.split(".")[3] for name in stored if name.startswith("mask_decoder.transformer.layers.")}
    hidden = len(stored["mask_decoder.transformer.layers.0.mlp.lin1.weight"])
    transformer = TwoWayTransformer(depth=len(layers), embedding_dim=out, mlp_dim=hidden, num_heads=8)
    decoder = MaskDecoder(
        transformer_dim=out, transformer=transformer,
        num_multimask_outputs=len(stored["mask_decoder.mask_tokens.weight"]) - 1,
        iou_head_hidden_dim=len(stored["mask_decoder.iou_prediction_head.layers.0.weight"]),
    )  # fmt: skip
    return Sam(encoder, prompt, decoder, pixel_mean=[123.675, 116.28, 103.53], pixel_std=[58.395, 57.12, 57.375])
