"""Pictures are read as one sees them, by every reader and from every form of storage, or refused by name."""

import json
import re

import cv2
import h5py
import numpy as np
import pytest
import skimage.io
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from benchmark import InputError
from benchmark.check.survey import check
from benchmark.datasets.annotations import to_labels
from benchmark.datasets.base import Scan, check_scan
from benchmark.datasets.files import scaled
from benchmark.datasets.folder import Folder
from benchmark.datasets.nnunet import NnUnet
from benchmark.datasets.picture_files import Images, Masks, pages
from benchmark.score.external import read_map
from benchmark.seal.export import export

TURN = Image.Transpose
STORED_AS = {  # how pixels are stored that an EXIF orientation brings upright
    1: None, 2: TURN.FLIP_LEFT_RIGHT, 3: TURN.ROTATE_180, 4: TURN.FLIP_TOP_BOTTOM, 5: TURN.TRANSPOSE, 6: TURN.ROTATE_90,
    7: TURN.TRANSVERSE, 8: TURN.ROTATE_270,
}  # fmt: skip
COLOURS = [0, 0, 0, 128, 0, 0, 0, 128, 0, 255, 255, 255]


def disc(shape=(12, 14)):
    rows, columns = np.indices(shape)
    return (np.hypot(rows - 4, columns - 5) < 4).astype(np.uint8)


def raw(mode, array):
    return Image.frombytes(mode, array.shape[1::-1], np.ascontiguousarray(array).tobytes())


def palette(indices, colours, **options):
    picture = raw("P", indices)
    picture.putpalette(colours)
    picture.info |= options
    return picture


def over(labels, colour, alpha):
    """RGBA of these planes."""
    return Image.fromarray(
        np.dstack([np.broadcast_to(plane, labels.shape) for plane in (colour,) * 3 + (alpha,)]).astype(np.uint8)
    )


# name -> endings, greatest label, the value of label 1, and the picture of a label map
STORED = {
    "grey": (".png .tif .bmp", 3, 1, Image.fromarray),
    "16 bits": (".png .tif", 3, 1, lambda labels: raw("I;16", labels.astype("<u2"))),
    "16 bits, big-endian": (".tif", 3, 1, lambda labels: raw("I;16B", labels.astype(">u2"))),
    "32 bits": (".tif", 3, 1, lambda labels: Image.fromarray(labels.astype(np.int32))),
    "fractions": (".tif", 3, 1, lambda labels: Image.fromarray(labels.astype(np.float32))),
    "RGB": (".png .tif .bmp", 3, 1, lambda labels: Image.fromarray(np.dstack([labels] * 3))),
    "RGBA": (".png .tif", 3, 1, lambda labels: over(labels, labels, 255)),
    "grey and alpha": (".png .tif", 3, 1, lambda labels: Image.fromarray(labels).convert("LA")),
    "a table of colours": (".png .tif .bmp", 3, 1, lambda labels: palette(labels, COLOURS)),
    "a table of colours, clear": (".png", 3, 1, lambda labels: palette(labels, COLOURS, transparency=0)),
    "1 bit": (".png .tif .bmp", 1, 1, lambda labels: Image.fromarray(labels > 0)),
    "alpha over black": (".png .tif", 3, 1, lambda labels: over(labels, 0, labels)),
    "alpha over white": (".png .tif", 1, 255, lambda labels: over(labels, 255, 255 * labels)),
    "alpha of grey": (".png", 1, 255, lambda labels: Image.fromarray(np.dstack([0 * labels, 255 * labels]), "LA")),
    "alpha of a palette": (".png", 1, 255, lambda labels: palette(labels, [7] * 6, transparency=b"\0\xff")),
    "alpha and its colour": (".png", 1, 255, lambda labels: over(labels, 255 * labels, 255 * labels)),
    "0 and 255": (".png .tif .bmp", 1, 255, lambda labels: Image.fromarray(255 * labels)),
    "0 and 65535": (".png .tif", 1, 255, lambda labels: raw("I;16", 65535 * labels.astype("<u2"))),
    "0.0 and 255.0": (".tif", 1, 255, lambda labels: Image.fromarray(255 * labels.astype(np.float32))),
    "white first": (".png .tif .bmp", 1, 255, lambda labels: palette(1 - labels, [255, 255, 255, 0, 0, 0])),
    "black first": (".png .tif", 1, 255, lambda labels: palette(labels, [0, 0, 0, 255, 255, 255])),
}  # fmt: skip


# of these, what is transparent in drawn marks is unlabelled (a test of its own)
SEE_THROUGH = {kind for kind in STORED if kind.endswith("clear") or "alpha " in kind}


def save(path, pages, orientation=1):
    """Write pictures as the pages of a file that must be brought upright."""
    turn = STORED_AS[orientation]
    if turn is not None:
        info, pages = pages[0].info, [page.transpose(turn) for page in pages]
        pages[0].info |= info
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif} if path.suffix in (".png", ".tif", ".jpg") else {}
    more = {"save_all": True, "append_images": pages[1:]} if len(pages) > 1 else {}
    pages[0].save(path, **options, **more)


def through_folder(root, write, ending, classes):
    for name in "ab":
        for part in ("images", "masks"):
            (root / part).mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(root / "images" / f"{name}.png")
        write(root / "masks" / f"{name}{ending}")
    (root / "dataset.toml").write_text(f"classes = {list('wxyz'[:classes])}\n")
    return Folder(root).load("a").mask


def through_marks(root, write, ending, classes):
    through_folder(root, write, ending, classes)
    (root / "weak").mkdir()
    (root / "masks").rename(root / "weak/scribble")
    (root / "masks").mkdir()
    for name in "ab":
        Image.new("L", (2, 2)).save(root / f"masks/{name}.png")
    return to_labels(Folder(root).load("a").drawn["scribble"], classes)


def through_nnunet(root, write, ending, classes):
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True)
    for name in "ab":
        Image.new("L", (2, 2)).save(root / f"imagesTr/{name}_0000{ending}")
        write(root / f"labelsTr/{name}{ending}")
    labels = {name: k for k, name in enumerate("wxyz"[:classes])}
    facts = {"labels": labels, "channel_names": {"0": "x"}, "file_ending": ending}
    (root / "dataset.json").write_text(json.dumps(facts))
    return NnUnet(root).load("a").mask


def as_predictions(root, write, ending, classes):
    paths = [root / f"{name}{ending}" for name in "ab"]
    root.mkdir()
    for path in paths:
        write(path)
    pictures = Masks(paths, exact=True)
    pages, *plane = pictures.read(paths[0]).shape
    return read_map(paths[0], Scan("a", "a", np.zeros((pages, 1, *plane), np.float32), None), classes, pictures)


DOORS = (through_folder, through_marks, through_nnunet, as_predictions)


@st.composite
def files(draw):
    kind = draw(st.sampled_from(sorted(STORED)))
    endings, greatest, *_ = STORED[kind]
    ending = draw(st.sampled_from(endings.split()))
    shape = (draw(st.integers(1, 3)) if ending == ".tif" else 1, draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    labels = draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, greatest)))
    return kind, ending, labels, draw(st.integers(1, 1 if ending == ".bmp" else 8))


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(files())
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_label_map_comes_back_from_every_storage(tmp_path_factory, door, file):
    kind, ending, labels, orientation = file
    _, greatest, one, picture = STORED[kind]
    assume(door is not through_marks or kind not in SEE_THROUGH)
    other = np.arange(greatest + 1, dtype=np.uint8)[None].repeat(2, 0)

    def write(path):
        save(path, [picture(page) for page in (labels if path.stem == "a" else other[None])], orientation)

    read = door(tmp_path_factory.mktemp("door") / "set", write, ending, greatest + 1)
    assert np.array_equal(read, one * labels if door is through_marks else labels)


@pytest.mark.parametrize("kind", STORED)
def test_every_storage_is_read_in_every_orientation(tmp_path, kind):
    endings, greatest, one, picture = STORED[kind]
    labels = np.array([[0, 1, greatest], [0, 0, 1]], np.uint8)
    for ending in endings.split():
        path = tmp_path / f"a{ending}"
        for orientation in STORED_AS if ending != ".bmp" else (1,):
            save(path, [picture(page) for page in (labels, 1 - labels.clip(0, 1))][: 1 + (ending == ".tif")], orientation)
            read = Masks([path]).read(path)
            assert np.array_equal(read[0], one * labels), (ending, orientation)
            assert np.array_equal(read[1:], one * (1 - labels.clip(0, 1))[None][: len(read) - 1]), (ending, orientation)


# ------------------------------------------------------------------------------------------------------ data sets


def write_set(root, masks, image=None, toml=""):
    """A folder of pictures; returns it."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for number, mask in enumerate(masks):
        (image or Image.new("L", mask.size)).save(root / "images" / f"p{number}.png")
        mask.save(root / "masks" / f"p{number}.png")
    (root / "dataset.toml").write_text(toml)
    return root


def test_a_stack_of_pages_is_a_scan_of_slices(tmp_path):
    mask = disc()
    for part, scale in (("images", 100), ("masks", 1)):
        (tmp_path / part).mkdir()
        pages = [Image.fromarray(scale * page) for page in (mask, mask[::-1].copy(), 0 * mask)]
        save(tmp_path / part / "a.tif", pages)
    scan = Folder(tmp_path).load("a")
    assert scan.image.shape == (3, 1, 12, 14)
    assert np.array_equal(scan.mask, [mask, mask[::-1], 0 * mask])
    assert np.array_equal(scan.image[:, 0] > 0, scan.mask > 0)
    Image.fromarray(mask).save(tmp_path / "masks/a.tif")
    dataset = Folder(tmp_path)
    with pytest.raises(InputError, match=r"the mask has shape \(1, 12, 14\) and the image \(3, 12, 14\)"):
        check_scan(dataset.load("a"), dataset)


def test_a_preview_among_the_pages_is_no_slice_and_other_pages_have_one_size(tmp_path):
    mask, path = Image.fromarray(disc()), tmp_path / "a.tif"
    small = Image.fromarray(disc()[:6, :7].copy())
    small.encoderinfo = {"tiffinfo": {254: 1}}
    mask.save(path, save_all=True, append_images=[small])
    assert np.array_equal(Masks([path]).read(path), disc()[None])
    mask.save(path, save_all=True, append_images=[Image.fromarray(disc()[:6, :7].copy())])
    with pytest.raises(InputError, match="holds pages of .*; the slices of a stack have one size and type"):
        Masks([path]).read(path)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photo_is_brought_upright_to_its_mask(tmp_path, orientation):
    mask = np.kron(disc(), np.ones((8, 8), np.uint8))
    root = write_set(tmp_path, [Image.fromarray(mask)])
    (root / "images/p0.png").unlink()
    save(root / "images/p0.jpg", [Image.fromarray(200 * mask)], orientation)
    scan = Folder(root).load("p0")
    assert np.array_equal(scan.image[:, 0] > 0.4, scan.mask == 1)


GREYS = {
    "0, 127, 254": np.array([0, 127, 254], np.uint8), "0, 1000, 3000": np.array([0, 1000, 3000], np.uint16),
    "halves": np.array([0, 0.5, 1.1], np.float32), "eights of 16 bits": np.array([0, 128 * 257, 65535], np.uint16),
    "2 bits of a PNG": np.array([0, 85, 170], np.uint8), "0 and 128": np.array([0, 128], np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("greys", GREYS.values(), ids=GREYS)
@pytest.mark.parametrize("toml", ["", "classes = {names}", '[splits.s]\ntrain = ["p0"]\ntest = ["p1"]\n'])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_the_line_that_an_error_says_makes_grey_masks_readable(tmp_path, greys, toml, at_the_end):
    labels = np.arange(len(greys)).repeat(4).reshape(len(greys), 4)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name, map_ in (("p0", labels), ("p1", labels[:2])):  # the second lacks the last class, perhaps
        Image.fromarray(0 * map_.astype(np.uint8)).save(tmp_path / f"images/{name}.png")
        Image.fromarray(greys[map_]).save(tmp_path / f"masks/{name}.tif")
    written = tmp_path / "dataset.toml"
    written.write_text(toml.format(names=list("abc"[: len(greys)])))

    def load():
        dataset = Folder(tmp_path)
        return [dataset.load(name).mask[0] for name in ("p0", "p1")]

    with pytest.raises(InputError, match="write this line at the top of .*dataset.toml: values = ") as error:
        load()
    line = re.search(r"values = \[.*\]$", str(error.value))[0]
    written.write_text(f"{written.read_text()}\n{line}\n" if at_the_end else f"{line}\n{written.read_text()}")
    assert np.array_equal(load()[0], labels)
    assert np.array_equal(load()[1], labels[:2])


def test_the_line_for_colours_works_too(tmp_path):
    table, labels = np.array([[0, 0, 0], [0, 0, 200], [9, 80, 0]], np.uint8), np.arange(3).repeat(2).reshape(3, 2)
    root = write_set(tmp_path, [Image.fromarray(table[labels])])
    with pytest.raises(InputError, match="p0.png is a coloured mask; .* this line at the top") as error:
        Folder(root)
    (root / "dataset.toml").write_text(re.search(r"colours = .*", str(error.value))[0])
    assert np.array_equal(Folder(root).load("p0").mask[0], labels)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("classes = ['a', 'b']\nvalues = [0, 127, 254]", "3 values and 2 classes"),
        ("values = [0, 127, 127]", "2 values and 0 classes"),
        ("values = [0, 9]\ncolours = [[0, 0, 0], [9, 9, 9]]", "has colours and values"),
        ("classes = ['a', 'b']", r"masks hold 3 values, \[0, 127, 254\], and .* names 2 classes"),
        ("values = [0, 127]", r"holds \[254\], which `values` in .* lacks"),
        ("values = [nan]", "values.0: "),
    ],
)
def test_tables_of_grey_values_that_do_not_fit_are_refused(tmp_path, toml, message):
    root = write_set(tmp_path, [Image.fromarray(np.array([[0, 127, 254]], np.uint8))], toml=toml)
    with pytest.raises(InputError, match=message):
        Folder(root).load("p0")


def test_smooth_masks_are_no_classes(tmp_path):
    root = write_set(tmp_path, [Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))])
    with pytest.raises(
        InputError, match=r"hold.* \[0, 1, .*\.\.\., which are not labels; save label maps .* without smoothing"
    ):
        Folder(root)


# -------------------------------------------------------------------------------------------------------- palettes, alpha


def test_masks_that_were_quantised_to_black_and_white_are_read_as_one_sees_them(tmp_path):
    masks = [disc(), 1 - disc(), 0 * disc(), disc()[::-1].copy()]  # mostly white in one: quantize() sorts by that
    root = write_set(tmp_path, [Image.fromarray(255 * mask).convert("RGB").quantize(2) for mask in masks])
    dataset = Folder(root)
    assert [dataset.load(f"p{k}").mask[0].tolist() for k in range(4)] == [mask.tolist() for mask in masks]
    assert dataset.reading() == ["masks have a palette of greys: they are read as grey pictures"]


def test_a_class_table_counts_in_files_of_black_and_white_alone(tmp_path):
    table = [0, 0, 0, 255, 255, 255, 0, 128, 0]
    labels = [np.array([[0, 1]], np.uint8), np.array([[0, 2]], np.uint8)]
    root = write_set(tmp_path, [palette(map_, table) for map_ in labels])
    assert [Folder(root).load(f"p{k}").mask[0].tolist() for k in range(2)] == [[[0, 1]], [[0, 2]]]


@pytest.mark.parametrize(
    ("palettes", "message"),
    [
        ([[255, 0, 0, 0, 0, 0]], r"first colour, for the background, is \[255, 0, 0\]"),
        ([[0, 0, 0, 255, 0, 0], [0, 0, 0, 0, 0, 255]], "one palette and files with another"),
        ([[9, 9, 9, 9, 9, 9]], "several labels have one grey"),
    ],
)
def test_palettes_that_can_not_be_a_table_of_classes_are_refused_and_colours_read_them(tmp_path, palettes, message):
    labels = np.array([[0, 1]], np.uint8)
    root = write_set(tmp_path, [palette(labels, colours) for colours in palettes])
    with pytest.raises(InputError, match=message) as error:
        Folder(root)
    if line := re.search(r"colours = .*", str(error.value)):
        (root / "dataset.toml").write_text(line[0])
        table = json.loads(line[0].partition("=")[2])
        for k, colours in enumerate(palettes):
            assert [table[label] for label in Folder(root).load(f"p{k}").mask[0, 0]] == [colours[:3], colours[3:]]


def test_shapes_in_colour_and_other_shapes_in_alpha_are_refused(tmp_path):
    root = write_set(tmp_path, [over(disc(), 255 * disc(), 255 * disc()[::-1])])
    with pytest.raises(InputError, match="one shape in its colours and another in its alpha channel"):
        Folder(root)


@pytest.mark.parametrize("erased", ["object", "background"])
def test_what_was_erased_in_a_coloured_mask_is_no_object(tmp_path, erased):
    """An eraser may leave the colour below its transparency."""
    clear = disc() if erased == "object" else 1 - disc()
    red = np.stack([255 * disc(), 0 * disc(), 0 * disc(), 255 * (1 - clear)], -1).astype(np.uint8)
    root = write_set(tmp_path, [Image.fromarray(red, "RGBA")])
    (root / "dataset.toml").write_text("colours = [[0, 0, 0], [255, 0, 0]]\n")
    if erased == "background":
        assert np.array_equal(Folder(root).load("p0").mask[0], disc())
    else:
        with pytest.raises(InputError, match="one shape in its colours and another in its alpha channel"):
            Folder(root).load("p0")


@pytest.mark.parametrize(
    "draw",
    [
        lambda marks: over(np.where(marks < 255, marks, 9), np.where(marks < 255, marks, 9), 255 * (marks < 255)),
        lambda marks: palette(np.where(marks < 255, marks, 2).astype(np.uint8), [*range(3)] * 3, transparency=2),
        lambda marks: palette(np.where(marks < 255, marks, 2).astype(np.uint8), [0] * 3 + [1] * 3 + [0] * 3, transparency=2),
    ],
    ids=["colour", "palette", "palette of greys"],
)
@pytest.mark.parametrize("values", [(1,), (0, 1), (0,)])
def test_where_a_layer_of_marks_is_transparent_nothing_is_marked(tmp_path, draw, values):
    marks = np.full_like(disc(), 255)
    for k in values:
        marks[3 + k, 2:9] = k
    root = write_set(tmp_path, [Image.fromarray(disc())])
    (root / "weak/scribble").mkdir(parents=True)
    draw(marks).save(root / "weak/scribble/p0.png")
    assert np.array_equal(to_labels(Folder(root).load("p0").drawn["scribble"][0], 2), marks)


def test_a_mask_drawn_in_alpha_may_be_empty_or_full(tmp_path):
    masks = [disc(), 0 * disc(), 1 + 0 * disc()]
    root = write_set(tmp_path, [over(mask, 0, 255 * mask) for mask in masks])
    dataset = Folder(root)
    assert [dataset.load(f"p{k}").mask[0].tolist() for k in range(3)] == [mask.tolist() for mask in masks]
    assert "alpha channel" in dataset.reading()[0]


# ------------------------------------------------------------------------------------------------------------------ JPEG


@pytest.mark.parametrize("quality", [60, 75, 95])
def test_a_jpeg_mask_of_black_and_white_is_cut_in_the_middle(tmp_path, quality):
    mask = np.kron(disc(), np.ones((8, 8), np.uint8))
    path = tmp_path / "a.jpg"
    for array in (255 * mask, np.dstack([255 * mask] * 3), 0 * mask, 255 + 0 * mask):
        Image.fromarray(array).save(path, quality=quality)
        assert np.array_equal(Masks([path]).read(path)[0], array if array.ndim == 2 else array[..., 0])


def test_other_jpeg_masks_are_refused_and_so_are_marks_and_predictions(tmp_path):
    mask = np.kron(disc(), np.ones((8, 8), np.uint8))
    stripe = np.where(np.arange(len(mask)) == 50, 128, 0)[:, None].astype(np.uint8)
    path = tmp_path / "a.jpg"
    for array in (mask, 127 * mask, 255 * mask // 2 + 127 * mask[::-1] // 2, np.maximum(255 * mask, stripe), mask * 0 + 7):
        Image.fromarray(array).save(path, quality=90)
        with pytest.raises(InputError, match="is a JPEG, which changes labels; save it as PNG"):
            Masks([path]).read(path)
    Image.fromarray(255 * mask).save(path, quality=95)
    with pytest.raises(InputError, match="is a JPEG, which changes labels"):
        Masks([path], exact=True).read(path)


# -------------------------------------------------------------------------------------------------------------- intensities


def span(tmp_path, *pictures, ending=".tif"):
    paths = [tmp_path / f"{number}{ending}" for number in range(len(pictures))]
    for path, array in zip(paths, pictures, strict=True):
        Image.fromarray(np.asarray(array)).save(path)
    images = Images(paths)
    return [images.read(path, 1).ravel().tolist() for path in paths]


RANGES = {
    "8 bits": (np.uint8, [[0, 51]], [[0, 0.2]]),
    "8 bits in 16": (np.uint16, [[0, 51], [102, 204]], [[0, 0.2], [0.4, 0.8]]),
    "12 bits in 16": (np.uint16, [[0, 819], [4095, 1638]], [[0, 0.2], [1, 0.4]]),
    "16 bits": (np.uint16, [[0, 13107], [26214, 39321]], [[0, 0.2], [0.4, 0.6]]),
    "16 bits with an offset": (np.uint16, [[30000, 30500], [31000, 30250]], [[0, 0.5], [1, 0.25]]),
    "fractions": (np.float32, [[0, 0.25], [0.5, 0.5]], [[0, 0.25], [0.5, 0.5]]),
    "fractions of 8 bits": (np.float32, [[0, 51], [204, 102]], [[0, 0.2], [0.8, 0.4]]),
    "below 0": (np.int32, [[-1000, 0], [1000, 500]], [[0, 0.5], [1, 0.75]]),
    "above 16 bits": (np.int32, [[0, 50000], [100000, 25000]], [[0, 0.5], [1, 0.25]]),
    "one value": (np.uint16, [[51, 51]], [[0.2, 0.2]]),
    "one value below 0": (np.float32, [[-5, -5]], [[0, 0]]),
}


@pytest.mark.parametrize("kind", RANGES)
def test_black_and_white_are_those_of_the_whole_data_set(tmp_path, kind):
    dtype, stored, expected = RANGES[kind]
    read = span(tmp_path, *(np.array([row], dtype) for row in stored))
    np.testing.assert_allclose(read, expected, atol=1e-6)


def test_the_range_of_a_data_set_is_shown_by_data_check(tmp_path, capsys):
    masks = [Image.fromarray(disc()) for _ in range(5)]
    root = write_set(tmp_path, masks, image=raw("I;16", np.arange(168, dtype="<u2").reshape(12, 14) * 20))
    check(f"folder:{root}", tmp_path)
    assert "images of more than 8 bits hold 0 to 3340: 0 is read as 0 (black), 4095 as 1 (white)" in capsys.readouterr().out


def test_each_channel_of_nnunet_pictures_has_a_range_of_its_own(tmp_path):
    def write(path):
        Image.fromarray(disc()).save(path)

    through_nnunet(tmp_path / "set", write, ".png", 2)
    facts = json.loads((tmp_path / "set/dataset.json").read_text()) | {"channel_names": {"0": "a", "1": "b"}}
    (tmp_path / "set/dataset.json").write_text(json.dumps(facts))
    for number, top in enumerate((255, 4095)):
        for case in "ab":
            held = raw("I;16", disc().astype("<u2") * top)
            held.save(tmp_path / f"set/imagesTr/{case}_{number:04d}.png")
    dataset = NnUnet(tmp_path / "set")
    assert dataset.load("a").image.max((0, 2, 3)).tolist() == [1, 1]
    assert [line[:9] for line in dataset.reading()] == ["channel 0", "channel 1"]


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("bands", [3, 4])
def test_colours_of_16_bits_keep_all_bits(tmp_path, ending, bands):
    array = np.random.default_rng(0).integers(0, 4096, (5, 7, bands), np.uint16)
    array[..., 3:] = 65535
    array[0, 0, 0] = 4095
    path = tmp_path / f"a{ending}"
    cv2.imwrite(str(path), array)
    bgr = array[..., 2::-1].transpose(2, 0, 1)
    np.testing.assert_allclose(Images([path]).read(path, 3)[0], bgr / np.float32(4095), atol=1e-6)


def test_a_palette_of_colours_is_a_colour_image_and_what_is_transparent_is_black(tmp_path):
    path = tmp_path / "a.png"
    palette(np.array([[0, 1, 2]], np.uint8), [255, 255, 255, 0, 51, 102, 255, 0, 0]).save(path)
    expected = np.array([[1, 0, 1], [1, 0.2, 0], [1, 0.4, 0]])
    np.testing.assert_allclose(Images([path]).read(path, 3)[0, :, 0], expected, atol=1e-6)
    palette(np.array([[0, 1, 2]], np.uint8), [255, 255, 255, 0, 51, 102, 255, 0, 0]).save(path, transparency=0)
    np.testing.assert_allclose(Images([path]).read(path, 3)[0, :, 0], expected * [0, 1, 1], atol=1e-6)
    grey = np.full((2, 2), 102, np.uint8)
    over(grey, grey, np.array([[0, 255], [51, 255]])).save(path)
    np.testing.assert_allclose(Images([path]).read(path, 1)[0, 0], [[0, 0.4], [0.08, 0.4]], atol=1e-6)
    over(grey, 0, np.array([[0, 255], [51, 255]])).save(path)
    with pytest.raises(InputError, match="is one colour with shapes in its alpha channel"):
        Images([path]).read(path, 1)
    over(grey, grey, 51).save(path)  # the same everywhere: no shape
    np.testing.assert_allclose(Images([path]).read(path, 1)[0, 0], 0.4, atol=1e-6)


def test_white_may_be_zero_in_tiff(tmp_path):
    path = tmp_path / "a.tif"
    for held in (Image.fromarray(disc()), Image.fromarray(disc() > 0), raw("I;16", 65535 - disc().astype("<u2"))):
        held.save(path, tiffinfo={262: 0})  # Pillow inverts the first two when it writes
        assert np.array_equal(Masks([path]).read(path)[0], disc())
    Image.fromarray(disc().astype(np.float32)).save(path, tiffinfo={262: 0})
    with pytest.raises(InputError, match="a.tif holds F with white as zero; save it as PNG"):
        Masks([path]).read(path)


# --------------------------------------------------------------------------------------------------------------- refusals


def animation(path):
    Image.fromarray(disc()).save(path, "PNG", save_all=True, append_images=[Image.fromarray(1 - disc())])


def hdf5(path):
    with h5py.File(path, "w") as file:
        file["mask"] = disc()


REFUSED = {
    "GIF": (lambda path: Image.fromarray(disc()).save(path, "GIF"), "is a GIF file; save it as PNG or TIFF"),
    "WebP": (lambda path: Image.fromarray(disc()).save(path, "WEBP"), "is a WebP file; save it as PNG or TIFF"),
    "HDF5": (hdf5, "is a HDF5 file"),
    "CMYK": (
        lambda path: Image.fromarray(disc()).convert("CMYK").save(path, "TIFF"),
        "is a picture of mode CMYK; grey, RGB",
    ),
    "LAB": (lambda path: Image.new("LAB", (3, 3)).save(path, "TIFF"), "is a picture of mode LAB"),
    "animation": (animation, "is an animation of 2 pictures"),
    "BMP": (
        lambda path: palette(disc(), [0, 0, 0, 255, 255, 255]).save(path, "BMP"),
        "is a BMP of 8 bits with a palette of gr",
    ),
    "signed": (lambda path: Image.fromarray(disc()).save(path, "TIFF", tiffinfo={339: 2}), "holds signed bytes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_not_be_read_exactly_is_refused_by_name(tmp_path, kind):
    write, message = REFUSED[kind]
    path = tmp_path / "a.png"
    write(path)
    for read in (lambda: Masks([path]).read(path), lambda: Images([path]).read(path, 1)):
        with pytest.raises(InputError, match=f"a.png {message}"):
            read()


def test_a_folder_of_other_pictures_says_which_endings_it_holds(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.gif").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds no images \(.png, .*\), but .gif"):
        Folder(tmp_path)


def test_grey_stored_as_colour_and_more_channels_than_the_set_has(tmp_path):
    grey = np.full((8, 8, 3), 51, np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert Images([]).read(tmp_path / "grey.png", 1).shape == (1, 1, 8, 8)
    grey[0, 0] = (255, 0, 0)
    path = tmp_path / "colour.png"
    Image.fromarray(grey).save(path)
    with pytest.raises(InputError, match="has 3 channels; this data set has 1"):
        Images([]).read(path, 1)
    with pytest.raises(InputError, match=r"to read grey as colour, write channels = 3 into .*d.toml"):
        Images([], toml=tmp_path / "d.toml").read(path, 1)
    with pytest.raises(InputError, match="a coloured mask; save label maps as grey pictures"):
        Masks([path]).read(path)
    with pytest.raises(InputError, match=r"holds colours \[\[51, 51, 51\]"):
        Masks([path], colours=[[255, 0, 0]]).read(path)


# ---------------------------------------------------------------------------------------------------- and written again

GREYS = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) * 6 + 5  # 12 bits
IMAGES = {  # what is stored -> what an export holds
    "8 bits": (GREYS.astype(np.uint8), GREYS.astype(np.uint8)),
    "12 bits": (GREYS, GREYS),
    "12 bits in colour": (np.dstack([GREYS, GREYS // 2, GREYS // 3]), np.dstack([GREYS, GREYS // 2, GREYS // 3])),
    "whole numbers below 0": (GREYS.astype(np.int32) - 100, None),
    "fractions": (GREYS.astype(np.float32) / 5000, np.rint(GREYS.astype(np.float32) / 5000 * 65535).astype(np.uint16)),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_an_export_holds_the_values_of_the_pictures(tmp_path, kind):
    stored, wanted = IMAGES[kind]
    for part in ("images", "masks"):
        (tmp_path / "own" / part).mkdir(parents=True)
    for name in "abcdefgh":
        image = stored.copy()
        image[0, 0] = image[0, 0] + (ord(name) - ord("a")) * (0.001 if image.dtype == np.float32 else 1)
        colours = image[..., ::-1] if image.ndim == 3 else image
        if stored.dtype == np.int32:
            Image.fromarray(image).save(tmp_path / f"own/images/{name}.tif")
        else:
            cv2.imwrite(str(tmp_path / f"own/images/{name}.tif"), colours)
        Image.fromarray((900 + ord(name) < GREYS).astype(np.uint8)).save(tmp_path / f"own/masks/{name}.png")
    folder = Folder(tmp_path / "own")
    out = export(folder, "full", "", tmp_path / "out")
    scaled = stored.dtype in (np.int32, np.float32)  # so rounded
    if wanted is None:
        low, high = stored.min(), stored.max()
        wanted = np.rint((stored - low) / (high - low) * 65535).astype(np.uint16)
    written = sorted([*out.glob("imagesTr/*.png"), *out.glob("imagesTs/*.png")])
    assert len(written) == 8
    for path in written:
        found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        found = found[..., ::-1] if found.ndim == 3 else found
        assert found.dtype == wanted.dtype
        assert np.abs(found[1:].astype(int) - wanted[1:]).max() <= scaled
    again = NnUnet(out)
    case = next(iter(again.patients()))
    read, own = again.load(case).image, folder.load(case).image
    assert np.abs(read - own).max() <= (1 / 255 if "8" in kind else 1 / 4095)


def test_planes_of_16_bits_are_refused_and_not_read_as_bytes(tmp_path):
    """Pillow takes the low and the high byte of such a file, in turn, for pixels."""
    values = np.random.default_rng(0).integers(0, 65536, (3, 8, 9)).astype(np.uint16)
    skimage.io.imsave(tmp_path / "a.tif", values, check_contrast=False)
    with pytest.raises(InputError, match="a.tif holds colours of 16 bits in a way that can't be read exactly"):
        pages(tmp_path / "a.tif")


def test_values_beyond_31_bits_are_not_negative(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**32, (8, 9)).astype(np.uint32)
    skimage.io.imsave(tmp_path / "a.tif", values, check_contrast=False)
    np.testing.assert_array_equal(pages(tmp_path / "a.tif")[0].values, values)


def test_boxes_of_several_classes_are_labelled_with_their_class(tmp_path):
    labels = np.zeros((6, 6), np.uint8)
    labels[1:4, 1:4], labels[2:6, 3:6] = 1, 2
    through_folder(tmp_path, lambda path: Image.fromarray(labels).save(path), ".png", 3)
    (tmp_path / "weak/box").mkdir(parents=True)
    for name in "ab":
        Image.fromarray(labels).save(tmp_path / f"weak/box/{name}.png")
    np.testing.assert_array_equal(Folder(tmp_path).load("a").drawn["box"][0], np.array([1, 3, 5])[labels])
    Image.fromarray(np.where(labels == 1, 255, labels).astype(np.uint8)).save(tmp_path / "weak/box/a.png")
    with pytest.raises(InputError, match="255 does not say which of 2 classes a box is of; write its class inside"):
        Folder(tmp_path).load("a")


@pytest.mark.parametrize("scale", [1e-12, 3e-9, 1.0, 1e9])
def test_intensities_are_scaled_whatever_their_unit(scale):
    found = scaled(np.linspace(0, scale, 1001).reshape(1, 7, 143), 0, 100)
    assert (found.min(), found.max()) == (0, 1)
    assert found.mean() == pytest.approx(0.5, abs=1e-3)
