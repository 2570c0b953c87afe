"""Files that were damaged or made up: a reader gives a valid result or an InputError that names the file, nothing else.

A valid tiny file in its real format is changed: bytes, length, JSON and TOML values, shapes and types of arrays. The
examples are the same in every run; `FUZZ_EXAMPLES` and `FUZZ_SEED` ask for more and for others.
"""

import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark import InputError, store
from benchmark.datasets.acdc import Acdc
from benchmark.datasets.base import check_scan
from benchmark.datasets.files import read_hdf5
from benchmark.datasets.folder import Folder
from benchmark.datasets.nifti import read_nifti
from benchmark.datasets.nnunet import NnUnet
from benchmark.datasets.picture_files import Images, Masks
from benchmark.datasets.polyp import Polyp
from benchmark.inputs import read_npz
from benchmark.packing import unpack
from benchmark.plan import plugins
from benchmark.plan.presets import read_preset
from benchmark.report import runs as report_runs
from benchmark.store import CasePictures
from tests.tiny import nested_discs, volumes
from tests.tiny import pictures as tiny

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
SLOWEST_S = 1.0  # a reader may take on a file of some kB
REFERENCE = Path(__file__).parents[1] / "results/reference/smoke"


def fuzzed(strategy: st.SearchStrategy, share: float = 1.0) -> Callable:
    """Runs a test on so many examples, the same each time."""
    tame = settings(
        max_examples=max(1, round(EXAMPLES * share)), deadline=None, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def wrap(test: Callable) -> Callable:
        return seed(SEED)(tame(given(strategy)(test)))

    return wrap


def reads_or_refuses(read: Callable[[], object], *named: str) -> bool:
    """Whether it was read; fails where it was neither read nor refused by name, or took too long, twice."""
    for _ in range(2):  # the first time, this process may have had garbage to collect
        said, start = "", time.process_time()
        try:
            read()
        except InputError as error:
            said = str(error)
            assert any(name in said for name in named), f"{said!r} names none of {named}"
            assert len(said) < 2000
        if time.process_time() - start < SLOWEST_S:
            return not said
    raise AssertionError(f"it took more than {SLOWEST_S} s; {said}")


# ------------------------------------------------------------------------------------------------------------- bytes

BYTES = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "cut", "drop", "double", "swap", "zero", "ones", "word"]),
        st.floats(0, 1), st.floats(0, 1), st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip
WORDS = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x00FFFFFF, 0x10000)
Change = tuple[str, float, float, int]


def changed(content: bytes, changes: list[Change], head: int = 0) -> bytes:
    """The bytes with these changes, at places that are shares of the length, or of `head`, where formats say most."""
    held = bytearray(content)
    for kind, place, length, value in changes:
        limit = min(len(held), head) if head and value % 2 else len(held)
        start = int(place * max(0, limit - 1))
        end = min(len(held), start + 1 + int(length**4 * 64))
        if kind == "cut":
            del held[start:]
        elif kind == "drop":
            del held[start:end]
        elif kind == "double":
            held[start:start] = held[start:end]
        elif kind == "swap":
            held[start:end] = held[start:end][::-1]
        elif kind == "word":
            held[start : start + 4] = WORDS[value % len(WORDS)].to_bytes(4, "little" if value % 3 else "big")
        elif not held:
            continue
        elif kind == "set":
            held[start] = value
        elif kind == "flip":
            held[start] ^= 1 << value % 8
        else:
            held[start:end] = (b"\0" if kind == "zero" else b"\xff") * (end - start)
    return bytes(held)


def encoded(ending: str, array: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(array).save(held, Image.registered_extensions()[ending], **({"quality": 95} if "jp" in ending else {}))
    return held.getvalue()


def picture_files() -> list[tuple[str, bytes]]:
    """Pictures of every format and of many kinds of pixels."""
    grey = nested_discs("fuzz", (20, 24), 3)
    found = [(ending, encoded(ending, grey)) for ending in (".png", ".jpg", ".tif", ".bmp")]
    found += [(ending, encoded(ending, np.stack([grey * 80] * 3, 2))) for ending in (".png", ".jpg", ".tif", ".bmp")]
    found += [(".png", encoded(".png", grey.astype(np.uint16) * 300)), (".tif", encoded(".tif", grey.astype(np.float32)))]
    found += [(".tif", encoded(".tif", grey.astype(np.int32))), (".png", encoded(".png", np.stack([grey] * 4, 2)))]
    palette, held = Image.fromarray(grey).convert("P"), io.BytesIO()
    palette.save(held, "png", transparency=bytes([0, 10, 255]))
    deflated = io.BytesIO()
    Image.fromarray(grey).save(deflated, "tiff", compression="tiff_adobe_deflate")
    return [*found, (".png", held.getvalue()), (".tif", deflated.getvalue())]


PICTURE_FILES = picture_files()


@fuzzed(st.tuples(st.sampled_from(PICTURE_FILES), BYTES), 8)
def test_a_damaged_picture_is_read_or_refused_by_name(tmp_path_factory, given):
    (ending, content), changes = given
    path = tmp_path_factory.getbasetemp() / f"damaged{ending}"
    path.write_bytes(changed(content, changes, head=120))
    for channels in (1, 3):
        if reads_or_refuses(lambda channels=channels: Images([path]).read(path, channels), path.name):
            image = Images([path]).read(path, channels)[0]
            assert image.dtype == np.float32
            assert len(image) == channels
    reads_or_refuses(lambda: Masks([path]).read(path), path.name)
    reads_or_refuses(lambda: Masks([path], threshold=100).read(path), path.name)
    reads_or_refuses(lambda: Masks([path], colours=[(0, 0, 0), (80, 80, 80)]).read(path), path.name)


def nifti_files() -> list[tuple[str, bytes]]:
    stack = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    found = []
    for kind in (np.uint8, np.int16, np.float32):
        volume = nib.Nifti1Image(stack.astype(kind), np.diag([1.2, 1.3, 8, 1]))
        volume.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a word"))
        found.append(volume.to_bytes())
    return [(".nii", content) for content in found] + [(".nii.gz", content) for content in found]


NIFTI_FILES = nifti_files()


@fuzzed(st.tuples(st.sampled_from(NIFTI_FILES), BYTES, st.booleans()), 6)
def test_a_damaged_volume_is_read_or_refused_by_name(tmp_path_factory, given):
    import gzip

    (ending, content), changes, outside = given
    path = tmp_path_factory.getbasetemp() / f"damaged{ending}"
    if ending == ".nii":
        path.write_bytes(changed(content, changes, head=348))
    elif outside:
        path.write_bytes(changed(gzip.compress(content, mtime=0), changes, head=20))
    else:
        path.write_bytes(gzip.compress(changed(content, changes, head=348), mtime=0))
    if reads_or_refuses(lambda: read_nifti(path), path.name):
        volume, _ = read_nifti(path)
        assert volume.ndim == 3
        assert volume.dtype.kind in "iuf"


def hdf5_bytes(gzip: str | None) -> bytes:
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        mask = nested_discs("fuzz", (12, 14), 3)
        for key, array in {"image": mask / np.float32(2), "label": mask, "scribble": mask.astype(np.uint16)}.items():
            file.create_dataset(key, data=np.stack([array] * 2), compression=gzip)
    return held.getvalue()


HDF5_FILES = [hdf5_bytes(None), hdf5_bytes("gzip")]


@fuzzed(st.tuples(st.sampled_from(HDF5_FILES), BYTES), 6)
def test_a_damaged_hdf5_file_is_read_or_refused_by_name(tmp_path_factory, given):
    content, changes = given
    path = tmp_path_factory.getbasetemp() / "damaged.h5"
    path.write_bytes(changed(content, changes))
    reads_or_refuses(lambda: read_hdf5(path, ("image", "label"), ("scribble",)), path.name)


def npz_bytes() -> bytes:
    held = io.BytesIO()
    np.savez_compressed(held, labels=nested_discs("fuzz", (12, 14), 3)[None])
    return held.getvalue()


NPZ_FILE = npz_bytes()


@fuzzed(BYTES, 4)
def test_a_damaged_label_map_of_a_run_is_read_or_refused_by_name(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "label0000.npz"
    path.write_bytes(changed(NPZ_FILE, changes))
    reads_or_refuses(lambda: read_npz(path, "labels"), path.name)


# ---------------------------------------------------------------------------------------------------- arrays of HDF5

SHAPES = st.sampled_from([(), (0,), (3,), (2, 3), (12, 14), (2, 12, 14), (1, 1, 1), (1, 2, 12, 14), (3, 12, 14), (2, 0, 4)])
TYPES = st.sampled_from(["u1", "i1", "u2", "i4", "i8", "f2", "f4", "f8", "?", "c8", "S3", "vlen", "compound"])
VALUES = st.sampled_from([0, 1, 2, 4, 7, -1, 255, 256, 1e30, 1e300, np.nan, np.inf, -np.inf, 0.5])


def made_up(shape: tuple[int, ...], kind: str, value: float) -> tuple[np.ndarray, object]:
    """An array of that shape and type, and the type that HDF5 is to store it in."""
    if kind == "vlen":
        return np.full(shape, "text", object), h5py.string_dtype()
    if kind == "compound":
        return np.zeros(shape, [("a", "f4"), ("b", "u1")]), None
    with np.errstate(all="ignore"):
        return np.full(shape, value).astype(kind), None


@fuzzed(
    st.tuples(st.sampled_from(["acdc", "faz"]), st.sampled_from(["image", "label", "scribble"]), SHAPES, TYPES, VALUES), 6
)
def test_arrays_of_another_shape_or_type_are_read_or_refused_by_name(tmp_path_factory, given):
    dataset, key, shape, kind, value = given
    root = tmp_path_factory.getbasetemp() / f"arrays_{dataset}"
    if dataset == "acdc":
        path, name = root / "ACDC_training_volumes/patient001_frame01.h5", "patient001_frame01"
    else:
        path, name, key = root / "train/1.h5", "train_1", {"label": "mask"}.get(key, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(HDF5_FILES[0])
    with h5py.File(path, "r+") as file:
        if dataset == "faz":
            file.move("label", "mask")
            for each in ("image", "mask", "scribble"):
                plane = file[each][0]
                del file[each]
                file[each] = plane
        del file[key]
        array, stored = made_up(shape, kind, value)
        file.create_dataset(key, data=array, dtype=stored)
    opened = plugins.get("data set", dataset).load()(root)
    reads_or_refuses(lambda: check_scan(opened.load(name), opened), path.name, name)


# ------------------------------------------------------------------------------------------------------ JSON and TOML

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.sampled_from([10**30, -(10**30), 2**31, 1e308, 0.5]),
    st.sampled_from([float("nan"), float("inf")]), st.text(max_size=8),
    st.sampled_from(["..", "../../x", "/etc/passwd", "a\nb", "x" * 5000, "<script>", "(", "(a", ""]),
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KINDS = st.sampled_from(["set", "drop", "add", "nest"])
EDITS = st.lists(st.tuples(st.integers(0, 10**6), KINDS, ANYTHING), min_size=1, max_size=3)


def edited(value: object, edits: list[tuple[int, str, object]]) -> object:
    """A copy of what JSON holds, with something in it replaced, removed or added."""
    held = [json.loads(json.dumps(value))]
    for place, kind, new in edits:
        spots = [(held, 0), *spots_in(held[0])]
        owner, key = spots[place % len(spots)]
        if kind == "drop" and owner is not held:
            del owner[key]
        elif kind == "add" and isinstance(owner[key], dict):
            owner[key][f"new{place % 7}"] = new
        elif kind == "add" and isinstance(owner[key], list):
            owner[key].append(new)
        elif kind == "nest":
            owner[key] = [owner[key]]
        else:
            owner[key] = new
    return held[0]


def spots_in(value: object) -> list[tuple[object, object]]:
    """Every place in nested lists and dicts, as owner and key."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [spot for key in keys for spot in [(value, key), *spots_in(value[key])]]


def lines_of(held: object) -> str:
    """A TOML file that holds this, a table or something that is none."""
    return "\n".join(f"{as_toml(str(k))} = {as_toml(v)}" for k, v in held.items()) if isinstance(held, dict) else "5"


def as_toml(value: object) -> str:
    """Inline TOML of what JSON holds; what TOML lacks is text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if abs(value) < 1e300 else ("nan" if value != value else "inf")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(str(key))} = {as_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(str(value))


PRESET = {
    "name": "mine", "title": "Mine", "methods": ["pce"], "datasets": ["octa_phantom"], "annotations": ["scribble"],
    "splits": [], "seeds": [0, 1], "budget": {"steps": 3, "dataset": {"octa_phantom": {"size": 32}},
    "method": {"pce": {"lr": 0.1, "reason": "because"}}}, "options": {"octa_phantom": {"train": 2},
    "pce": {"dataset": {"octa_phantom": {}}}}, "variants": {"other": {"method": "pce"}},
}  # fmt: skip


@fuzzed(EDITS, 6)
def test_a_preset_with_other_values_is_read_or_refused_by_name(tmp_path_factory, edits):
    path = tmp_path_factory.getbasetemp() / "mine.toml"
    held = edited(PRESET, edits)
    path.write_text(
        "\n".join(f"{as_toml(str(k))} = {as_toml(v)}" for k, v in held.items()) if isinstance(held, dict) else "5"
    )
    reads_or_refuses(lambda: read_preset(str(path)), path.name)


@fuzzed(st.tuples(st.sampled_from(["dataset.toml", "mine.toml"]), BYTES), 3)
def test_damaged_toml_is_read_or_refused_by_name(folder, tmp_path_factory, given):
    name, changes = given
    path = tmp_path_factory.getbasetemp() / name if name == "mine.toml" else folder / name
    text = lines_of(PRESET if name == "mine.toml" else FACTS)
    path.write_bytes(changed(text.encode(), changes))
    reads_or_refuses(lambda: read_preset(str(path)) if name == "mine.toml" else Folder(folder), name, str(folder))


FACTS = {
    "name": "clinic", "classes": ["background", "ring", "core"], "regions": {"whole": [1, 2]}, "channels": 3,
    "patient": r"^(p\d+)_", "modality": "x", "tolerance": 2.0, "redistribute": False, "licence": "l", "source": "s",
    "citation": "c", "splits": {"own": {"train": ["p0_view0"], "val": [], "test": ["p1_view0"]}},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("clinic"))


@fuzzed(EDITS, 4)
def test_a_dataset_toml_with_other_values_is_read_or_refused_by_name(folder, edits):
    from benchmark.datasets.base import check_split

    (folder / "dataset.toml").write_text(lines_of(edited(FACTS, edits)))

    def look() -> None:
        dataset = Folder(folder)
        for split in dataset.splits():
            check_split(dataset, split)
        check_scan(dataset.load("p0_view0"), dataset)
        assert re.fullmatch(r"\w[\w.-]*", dataset.name)

    reads_or_refuses(look, "dataset.toml", str(folder), "clinic", "p0_view0", "the pattern for patients", "split")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return volumes.nnunet(tmp_path_factory.mktemp("raw"))


@fuzzed(EDITS, 4)
def test_a_dataset_json_with_other_values_is_read_or_refused_by_name(raw, edits):
    facts = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "organ": 1, "lesion": 2}, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(edited(facts, edits)))

    def look() -> None:
        dataset = NnUnet(raw)
        check_scan(dataset.load("case_000"), dataset)

    reads_or_refuses(look, "dataset.json", str(raw), raw.name, "case_000")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two stored runs with a plan."""
    place = tmp_path_factory.mktemp("results")
    back = tmp_path_factory.mktemp("unpacked")
    unpack(REFERENCE, back)
    plan = json.loads((back / "smoke/plan.json").read_text())
    runs = [run for run in plan["runs"] if run["label"] in ("pce", "prior")][:2]
    for run in runs:
        shutil.copytree(back / "smoke/runs" / run["folder"], place / "runs" / run["folder"])
    (place / "plan.json").write_text(json.dumps(plan | {"runs": runs}))
    return place


@fuzzed(st.tuples(st.sampled_from(["run.json", "plan.json"]), EDITS), 6)
def test_records_with_other_values_are_read_or_refused_by_name(results, given):
    name, edits = given
    path = next(results.rglob(name))
    before = path.read_text()
    try:
        path.write_text(json.dumps(edited(json.loads(before), edits)))
        reads_or_refuses(lambda: report_runs.read(results), name, str(results))
        if name == "run.json":
            reads_or_refuses(lambda: store.ResultsFolder(results).records(), name, str(path.parent))
    finally:
        path.write_text(before)


@pytest.mark.parametrize("name", ["regions", "scans"])
def test_records_that_do_not_name_their_scores_are_read(results, name):
    path = next(results.rglob("run.json"))
    before = path.read_text()
    try:
        path.write_text(json.dumps({key: value for key, value in json.loads(before).items() if key != name}))
        assert len(report_runs.read(results).runs) == 2
    finally:
        path.write_text(before)


@fuzzed(st.tuples(st.sampled_from(["run.json", "plan.json", "cases.csv"]), BYTES), 6)
def test_damaged_records_are_read_or_refused_by_name(results, given):
    name, changes = given
    path = next(results.rglob(name))
    before = path.read_bytes()
    try:
        path.write_bytes(changed(before, changes))
        reads_or_refuses(lambda: report_runs.read(results), name, str(results))
    finally:
        path.write_bytes(before)


@fuzzed(EDITS, 4)
def test_an_album_with_other_values_is_read_or_refused_by_name(tmp_path_factory, edits):
    path = tmp_path_factory.getbasetemp() / "about.json"
    about = {"data": "ab", "scans": ["a"], "classes": ["b", "c"], "redistribute": True, "licence": "l", "seed": 0}
    path.write_text(json.dumps(edited(about, edits)))
    reads_or_refuses(lambda: CasePictures(path.parent).about(), path.name)


# --------------------------------------------------------------------------------------------------------------- CSV


@fuzzed(BYTES, 4)
def test_damaged_fixations_are_read_or_refused_by_name(tmp_path_factory, changes):
    root = tmp_path_factory.getbasetemp() / "gaze"
    root.mkdir(exist_ok=True)
    lines = ["IMAGE,CURRENT_FIX_INDEX,CURRENT_FIX_X,CURRENT_FIX_Y", *(f"a.jpg,{i},0.{i},0.5" for i in range(6))]
    (root / "gaze_fixations.csv").write_bytes(changed("\n".join(lines).encode(), changes))

    def look() -> None:
        Polyp(root)._drawn("a", np.full((3, 16, 16), 0.5, np.float32))

    reads_or_refuses(look, "gaze_fixations.csv")


@fuzzed(BYTES, 4)
def test_damaged_spacings_are_read_or_refused_by_name(tmp_path_factory, changes):
    root = tmp_path_factory.getbasetemp() / "spaced"
    path = root / "ACDC_training_volumes/patient001_frame01.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(HDF5_FILES[0])
    text = "scan,slices,rows,columns\npatient001_frame01,10,1.5,1.5\n"
    (root / "spacing.csv").write_bytes(changed(text.encode(), changes))
    dataset = Acdc(root)
    reads_or_refuses(lambda: check_scan(dataset.load("patient001_frame01"), dataset), "spacing.csv", "patient001_frame01")
