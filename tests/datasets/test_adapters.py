"""Every adapter on tiny copies in the real file format, and on the real files if there are any."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmark import InputError
from benchmark.check.survey import check
from benchmark.datasets import polyp
from benchmark.datasets.acdc import Acdc, write_spacing
from benchmark.datasets.annotations import parse, resolve
from benchmark.datasets.base import Inventory, check_scan, check_split, digest, site_numbers
from benchmark.datasets.faz import Faz
from benchmark.datasets.polyp import gaze
from benchmark.datasets.simulate import Annotator
from benchmark.plan import plugins
from tests.tiny import acdc as acdc_hdf5
from tests.tiny import nested_discs, pictures, scribbled, volumes

TINY = {
    "acdc": acdc_hdf5.write,
    "acdc, NIfTI": volumes.acdc,
    "mscmr": volumes.mscmr,
    "faz": pictures.faz,
    "faz, HDF5": lambda root: pictures.hdf5(root, "faz", 1, 2),
    "odoc": pictures.odoc,
    "odoc, HDF5": lambda root: pictures.hdf5(root, "odoc", 3, 3),
    "polyp": pictures.polyp,
    "polyp, HDF5": lambda root: pictures.hdf5(root, "polyp", 3, 2),
    "nerve_us": pictures.nerve_us,
    "folder": pictures.folder,
    "folder, colours": lambda root: pictures.folder(root, colours=True),
    "nnunet": volumes.nnunet,
    "nnunet, ignore": lambda root: volumes.nnunet(root, ignore=True),
    "nnunet, no test labels": lambda root: volumes.nnunet(root, test=False),
    "nnunet, two channels": lambda root: volumes.nnunet(root, channels=2),
}
REAL = ("acdc", "mscmr", "faz", "odoc", "polyp", "nerve_us")


def opened(kind, root):
    name = kind.partition(",")[0]
    return plugins.open_data_set(f"{name}:{root}" if name in ("folder", "nnunet") else name, root)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return the data set of a tiny copy by its kind; each copy is written once."""
    written = {}

    def open_tiny(kind):
        if kind not in written:
            written[kind] = TINY[kind](tmp_path_factory.mktemp("tiny"))
        return opened(kind, written[kind])

    return open_tiny


@pytest.fixture(params=[*TINY, *(pytest.param(f"real {name}", marks=pytest.mark.slow) for name in REAL)])
def dataset(request, tiny):
    kind = request.param
    if kind.startswith("real "):
        return plugins.open_data_set(kind.removeprefix("real "), request.getfixturevalue("real_data"))
    return tiny(kind)


def test_scans_keep_their_promises_and_belong_to_their_patient(dataset):
    names = [(patient, scan) for patient, scans in dataset.patients().items() for scan in scans]
    for patient, name in names[:: max(1, len(names) // 12)]:
        scan = dataset.load(name)
        check_scan(scan, dataset)
        assert (scan.name, scan.patient) == (name, patient)
        assert scan.image.dtype == np.float32
        assert scan.image.max() > 0.2
        assert scan.mask is not None or scan.drawn


def test_every_split_can_be_used(dataset):
    survey = Inventory(dataset, {})
    for split in dataset.splits():
        look = survey.look(split)
        assert len(look.fingerprint) == 64
        assert not look.warnings or split == "random"


def test_every_class_is_met(dataset):
    met = set()
    for name in [scan for scans in dataset.patients().values() for scan in scans][-8:]:
        scan = dataset.load(name)
        met |= set(np.unique(scan.mask)) if scan.mask is not None else set()
    assert met == set(range(len(dataset.classes)))


def test_facts_are_stated(dataset):
    for fact in ("modality", "licence", "source", "citation"):
        assert getattr(dataset, fact)
    assert isinstance(dataset.patients_known, bool)
    assert isinstance(dataset.redistribute, bool)
    assert dataset.tolerance > 0
    assert all(0 < label < len(dataset.classes) for labels in dataset.regions.values() for label in labels)


@pytest.mark.parametrize("kind", TINY)
def test_check_finds_nothing_wrong_with_a_tiny(kind, tiny, capsys):
    root = tiny(kind).root
    name = kind.partition(",")[0]
    by_path = name in ("folder", "nnunet")
    assert check(f"{name}:{root}" if by_path else name, root.parent) == 0
    assert "0 errors" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_check_finds_no_error_in_the_real_sets(name, real_data, capsys):
    assert check(name, real_data) == 0
    shown = capsys.readouterr().out
    assert ("cju30bmab08bi0835mvlr6e0r and cju77k828z46w0871r0avuoo9 are nearly equal" in shown) == (name == "polyp")


# ------------------------------------------------------------------------------------------------ single adapters


def test_pixels_and_labels_are_those_that_were_written(tiny):
    scan = tiny("odoc").load("train_drishtiGS_002")
    mask = nested_discs("drishtiGS_002", pictures.SHAPE, 3)
    assert np.array_equal(scan.mask[0], mask)
    assert abs(scan.image[0][:, mask == 2].mean() - 0.8) < 0.02
    assert abs(scan.image[0][:, mask == 0].mean() - 0.2) < 0.02


@pytest.mark.parametrize("stored", [lambda mask: mask, lambda mask: 255 * mask, lambda mask: mask > 0])
def test_polyp_masks_saved_again_as_png_hold_the_same_labels(tiny, tmp_path, stored):
    root, name = shutil.copytree(tiny("polyp").root, tmp_path / "polyp"), pictures.stored_names("polyp")[0]
    (old,) = root.rglob(f"masks/{name}.*")
    mask = (np.asarray(Image.open(old).convert("L")) > 127).astype(np.uint8)
    old.unlink()
    Image.fromarray(stored(mask)).save(old.with_suffix(".png"))
    assert np.array_equal(plugins.open_data_set("polyp", tmp_path).load(name).mask[0], mask)


def test_jpeg_masks_are_cut_at_their_threshold(tiny):
    name = pictures.stored_names("polyp")[0]
    assert (tiny("polyp").load(name).mask[0] == nested_discs(name, pictures.SHAPE, 2)).mean() > 0.99


def test_volumes_come_as_slices_rows_columns_with_their_spacing_in_that_order(tiny):
    scan = tiny("acdc, NIfTI").load("patient007_frame11")
    image, mask = volumes.stack_of("patient007_frame11")
    assert scan.mask.shape == volumes.STACK
    assert np.array_equal(scan.mask, mask)
    assert scan.spacing == pytest.approx(volumes.SPACING)
    low, high = np.percentile(image, [0, 99])
    np.testing.assert_allclose(scan.image[:, 0], ((image - low) / (high - low)).clip(0, 1), atol=1e-5)


@pytest.mark.parametrize("kind", ["faz, HDF5", "odoc, HDF5", "polyp, HDF5"])
def test_procns_files_bring_their_drawn_marks(kind, tiny):
    """The number of classes is the unlabelled value there; here it says nothing."""
    dataset = tiny(kind)
    classes, scan = len(dataset.classes), dataset.load("train_1")
    boxes = {"box"} if classes == 2 else set()  # of more classes the file does not say which one is in a box
    assert set(scan.drawn) == {"point", "scribble", "scribble:noisy", "block"} | boxes
    expected = scribbled(nested_discs("train0", pictures.SHAPE, classes), "keypointtrain0", classes)
    everything = (1 << classes) - 1
    assert np.array_equal(scan.drawn["point"][0], np.where(expected == classes, everything, 1 << expected))
    assert all(set(np.unique(scan.drawn[name])) == {1, everything} for name in boxes)
    assert dataset.load("test_1").drawn == {}
    assert dataset.splits() == ["official"]


def test_bare_formats_take_the_drawn_marks_where_all_training_scans_have_them(tiny):
    look = Inventory(tiny("odoc, HDF5"), {}).look("official")
    assert str(resolve("point", look.drawn, "odoc")) == "point:drawn"
    assert str(resolve("scribble", look.drawn, "odoc")) == "scribble:drawn"
    assert str(resolve("point:sim", look.drawn, "odoc")) == "point"
    assert str(resolve("scribble:noisy", look.drawn, "odoc")) == "scribble:noisy"
    assert str(resolve("tags", look.drawn, "odoc")) == "tags"


def test_mscmr_has_scribbles_to_train_on_officially_and_masks_in_its_folds(tiny):
    survey = Inventory(tiny("mscmr"), {})
    official, fold = survey.look("official"), survey.look("dense20/0")
    assert official.drawn == ("scribble",)
    assert official.maskless
    assert (fold.drawn, fold.maskless) == ((), "")


def test_gaze_marks_are_points_of_people_and_background_far_from_them(tiny):
    dataset = tiny("polyp")
    name = pictures.stored_names("polyp")[0]
    scan = dataset.load(name)
    marks = scan.drawn["point:gaze"]
    assert set(np.unique(marks)) <= {1, 2, 3}
    assert (marks == 2).sum() > 20
    truth = 1 << scan.mask
    assert 0.3 < ((marks == 2) & (truth == 2)).sum() / (marks == 2).sum() < 1  # one of four looked elsewhere
    assert Annotator(dataset, (), parse("point:gaze"), 0)(scan) is marks


def test_fixations_in_pixels_are_refused(tiny, tmp_path):
    dataset = tiny("polyp")
    copied = type(dataset)(shutil.copytree(dataset.root, tmp_path / "polyp"))
    (copied.root / "gaze_fixations.csv").write_text(
        "IMAGE,CURRENT_FIX_X,CURRENT_FIX_Y\na.jpg,250,120\nb.jpg,0.5,0.4\nb.jpg,310,77\n"
    )
    with pytest.raises(InputError, match="most fixations lie outside the images; .* are shares, from 0 to 1"):
        copied.load(pictures.stored_names("polyp")[0])


def test_gaze_marks_are_made_when_they_are_asked_for(tiny, monkeypatch):
    made = []
    monkeypatch.setattr(polyp, "gaze", lambda *given: made.append(given) or gaze(*given))
    dataset = tiny("polyp")
    scan = next(scan for scan in map(dataset.load, dataset.split("random").train) if scan.drawn)
    assert "point:gaze" in scan.drawn
    seen = Inventory(dataset, {})
    seen.read(scan.name)
    assert seen.seen[scan.name].drawn == ["point:gaze"]
    assert made == []
    assert scan.drawn["point:gaze"] is scan.drawn["point:gaze"]
    assert len(made) == 1


def test_another_fixation_is_another_scan(tiny):
    dataset = tiny("polyp")
    name = pictures.stored_names("polyp")[0]
    before = digest(dataset.load(name))
    assert digest(dataset.load(name)) == before
    dataset._fixations[name].append((0.5, 0.5))
    assert digest(dataset.load(name)) != before


def test_gaze_background_is_made_of_points_and_image_alone():
    """Never in the dark, never near a fixation; the mask is not even an argument."""
    image = np.ones((3, 100, 100), np.float32)
    image[:, :, 60:] = 0
    marks = gaze(image, np.array([[0.1, 0.1], [2.0, 0.5]]), 2)[0]
    rows, columns = np.nonzero(marks == 1)
    assert len(rows) > 50
    assert np.hypot(rows - 10, columns - 10).min() > 0.25 * np.hypot(100, 100) - 4
    assert columns.max() <= 63
    assert (gaze(image, np.empty((0, 2)), 2) == 3).all()


def test_gaze_marks_are_discs_around_the_points_inside():
    points = np.array([[0.31, 0.2], [0.35, 0.22], [0.0, 0.71], [-0.1, 0.5]])
    marks = gaze(np.ones((3, 40, 60), np.float32), points, 2)[0]
    rows, columns = np.indices((40, 60))
    near = np.min([np.hypot(rows - y * 39, columns - x * 59) for y, x in points[:3]], axis=0)
    assert np.array_equal(marks == 2, near <= 3)
    assert near[marks == 1].min() > 0.25 * np.hypot(40, 60) - 3  # from the dots' middles


def test_spacing_is_written_from_the_headers_and_read_with_the_volumes(tmp_path, tiny):
    data = acdc_hdf5.write(tmp_path / "data", patients=2)
    assert Acdc(data / "acdc").load("patient001_frame01").spacing is None
    path = write_spacing(tiny("acdc, NIfTI").root, data / "acdc")
    assert path == data / "acdc" / "spacing.csv"
    (data / "acdc" / "spacing.csv").write_text("scan,slices,rows,columns\npatient001_frame01,10,1.5,1.25\n")
    assert Acdc(data / "acdc").load("patient001_frame01").spacing == (10, 1.5, 1.25)
    with pytest.raises(InputError, match="spacing.csv has no line for patient002_frame09; it needs one for each scan"):
        Acdc(data / "acdc").load("patient002_frame09")
    (data / "acdc" / "spacing.csv").write_text("scan,slices,rows,columns\npatient001_frame01 ,10,1.5,1.25\n", "utf-8-sig")
    assert Acdc(data / "acdc").load("patient001_frame01").spacing == (10, 1.5, 1.25)
    with pytest.raises(InputError, match="holds no patientPPP/patientPPP_frameFF.nii.gz"):
        write_spacing(data, tmp_path)


def test_a_pathology_that_the_splits_do_not_count_on_is_refused(tmp_path):
    root = volumes.acdc(tmp_path, patients=1)
    (root / "acdc/patient001/Info.cfg").write_text("Group: NOR\n")
    with pytest.raises(InputError, match="Info.cfg says NOR; patients come in blocks of 20, and patient001 is DCM"):
        Acdc(root / "acdc").patients()


def test_a_folder_says_what_its_toml_says(tiny):
    dataset = tiny("folder")
    assert dataset.name == "clinic"
    assert dataset.classes == ("background", "ring", "core")
    assert dataset.regions == {"whole": (1, 2)}
    assert dataset.patients()["p3"] == ["p3_view0", "p3_view1"]
    assert dataset.drawn == ("point",)
    for fold in dataset.splits():
        split = dataset.split(fold)
        assert {n[:2] for n in split.test}.isdisjoint({n[:2] for n in split.train + split.val})


def test_a_folder_without_a_toml_is_read_from_its_files(tmp_path):
    pictures.write_pairs(tmp_path / "mine/images", tmp_path / "mine/masks", "abcdefg", 1, 2, scale=255)
    dataset = plugins.open_data_set(f"folder:{tmp_path / 'mine'}", tmp_path)
    assert (dataset.name, dataset.classes, dataset.channels) == ("mine", ("background", "object"), 1)
    assert set(np.unique(dataset.load("a").mask)) == {0, 1}


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("classes = 3", "dataset.toml: classes: "),
        ("nonsense = 1", "dataset.toml has no 'nonsense'; it has name, classes"),
        ("title", "is not a TOML file"),
        ("[regions]\nx = [9]", r"region x is \[9\]; classes are 1 to 2"),
        ("colours = [[0, 0, 0]]\nclasses = ['a', 'b']", "1 colours and 2 classes"),
    ],
)
def test_a_broken_toml_is_refused(tmp_path, toml, message):
    pictures.write_pairs(tmp_path / "images", tmp_path / "masks", "abcde", 1, 3)
    (tmp_path / "dataset.toml").write_text(toml)
    with pytest.raises(InputError, match=message):
        plugins.open_data_set(f"folder:{tmp_path}", tmp_path)


def test_the_pattern_of_a_toml_finds_sites(tmp_path):
    pictures.write_pairs(tmp_path / "images", tmp_path / "masks", ["b1_x", "b1_y", "a2_x"], 1, 3)
    (tmp_path / "dataset.toml").write_text("patient = '^(..)'\nsite = '^(.)'\n")
    dataset = plugins.open_data_set(f"folder:{tmp_path}", tmp_path)
    assert dataset.sites() == {"b1": "b", "a2": "a"}
    assert site_numbers(dataset) == {"a2_x": 0, "b1_x": 1, "b1_y": 1}


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("site = '('", "dataset.toml: site is not a regular expression"),
        ("site = '^x(.)'", "the pattern for sites, .*, finds no group in the name 'a1_x'"),
        ("site = '^(?:a(.)|b(.))'", "the pattern for sites, .*, finds no group in the name 'b1_x'"),
        ("patient = '(.)$'\nsite = '^(.)'", "patient x has images of a and b; one site has all"),
    ],
)
def test_a_pattern_that_finds_no_site_for_a_patient_is_refused(tmp_path, toml, message):
    pictures.write_pairs(tmp_path / "images", tmp_path / "masks", ["a1_x", "b1_x"], 1, 3)
    (tmp_path / "dataset.toml").write_text(toml)
    with pytest.raises(InputError, match=message):
        plugins.open_data_set(f"folder:{tmp_path}", tmp_path).sites()


@pytest.mark.parametrize("name", ["scribbles", "slices", "slices:5", "scribble:", "scribble:drawn", "scribble:sim"])
def test_drawn_marks_are_of_a_form_that_can_be_asked_for(tmp_path, name):
    pictures.write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b"], 1, 3)
    (tmp_path / "weak/.ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "weak/point:second").mkdir()
    assert plugins.open_data_set(f"folder:{tmp_path}", tmp_path).drawn == ("point:second",)
    (tmp_path / "weak" / name).mkdir()
    with pytest.raises(InputError, match=f"'{name}' is no form of drawn annotation.*; there are full, scribble,"):
        plugins.open_data_set(f"folder:{tmp_path}", tmp_path)


def test_data_check_names_files_that_are_not_read(tmp_path):
    pictures.write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b"], 1, 3)
    for name in ("images/.hidden", "images/k.webp", "masks/thumbs.db", "images/more/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    lines = plugins.open_data_set(f"folder:{tmp_path}", tmp_path).reading()
    assert lines[-2:] == ["not read in images/: k.webp, more (2)", "not read in masks/: thumbs.db (1)"]


def test_data_check_names_marks_in_other_folders(tmp_path):
    pictures.write_pairs(tmp_path / "clinic/images", tmp_path / "clinic/masks", ["a", "b"], 1, 3)
    for name in ("weak/a.png", "weak/point/a.png", "Weak/point/b.png", "notes.txt"):
        (tmp_path / "clinic" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clinic" / name).write_bytes((tmp_path / "clinic/masks/a.png").read_bytes())
    lines = plugins.open_data_set(f"folder:{tmp_path}/clinic", tmp_path).reading()
    assert lines[-2:] == ["not read in clinic/: Weak, notes.txt (2)", "not read in weak/: a.png (1)"]


def test_masks_of_a_built_in_set_may_be_black_and_white(tmp_path, tiny):
    root = tiny("faz").root
    shutil.copytree(root, tmp_path / "faz")
    for path in (tmp_path / "faz/masks").iterdir():
        Image.fromarray(np.array(Image.open(path)) * np.uint8(255)).save(path)
    before, after = Faz(root), Faz(tmp_path / "faz")
    for name in [scan for scans in before.patients().values() for scan in scans][:3]:
        assert np.array_equal(after.load(name).mask, before.load(name).mask)


def test_names_that_look_alike_but_are_not_are_both_shown(tmp_path):
    pictures.write_pairs(tmp_path / "images", tmp_path / "masks", ["\u00e9"], 1, 3)
    (tmp_path / "masks/\u00e9.png").rename(tmp_path / "masks/e\u0301.png")
    with pytest.raises(InputError, match=r"look alike, but are 'e\\u0301' and '\\xe9'; rename one"):
        plugins.open_data_set(f"folder:{tmp_path}", tmp_path)


def test_a_table_names_the_site_of_each_image(tmp_path):
    """As a spreadsheet writes it; rows of other images don't matter."""
    pictures.write_pairs(tmp_path / "images", tmp_path / "masks", ["b1_x", "b1_y", "a2_x"], 1, 3)
    (tmp_path / "dataset.toml").write_text("patient = '^(..)'\n")
    table = "\ufeffimage, scanner, site\r\nb1_x, 1, Ulm\r\nb1_y, 2, Ulm\r\na2_x, 1, Bonn\r\nz, 1, Bern\r\n"
    (tmp_path / "sites.csv").write_text(table, encoding="utf-8", newline="")
    dataset = plugins.open_data_set(f"folder:{tmp_path}", tmp_path)
    assert dataset.sites() == {"b1": "Ulm", "a2": "Bonn"}
    assert site_numbers(dataset) == {"a2_x": 0, "b1_x": 1, "b1_y": 1}
    assert set(plugins.open_data_set(f"folder:{tmp_path}", tmp_path, {"sites": 2}).sites().values()) == {"site1", "site2"}


@pytest.mark.parametrize(
    ("toml", "table", "message"),
    [
        ("", b"image;site\na1_x;Ulm\n", "sites.csv must have the columns image and site, with a comma"),
        ("", b"", "sites.csv must have the columns image and site, with a comma"),
        ("", b"image,site\na1_x,Ulm\n", "sites.csv has no site for image b1_x; it must have one for every image"),
        ("", b"image,site\na1_x,Ulm\nb1_x\n", "sites.csv has no site for image b1_x; it must have one for every image"),
        ("", b"image,site\na1_x,Ulm\na1_x,Bonn\nb1_x,Ulm\n", "image a1_x is of Ulm and Bonn; it must be of one site"),
        ("", b"image,site\na1_x,K\xf6ln\nb1_x,Ulm\n", "sites.csv is not a text file in UTF-8"),
        ("patient = '(.)$'", b"image,site\na1_x,Ulm\nb1_x,Bonn\n", "patient x has images of Bonn and Ulm; one site has all"),
        (
            "site = '^(.)'",
            b"image,site\na1_x,Ulm\nb1_x,Bonn\n",
            "sites.csv and the pattern for sites in dataset.toml both name sites",
        ),
    ],
)
def test_a_table_that_does_not_settle_the_sites_is_refused(tmp_path, toml, table, message):
    pictures.write_pairs(tmp_path / "images", tmp_path / "masks", ["a1_x", "b1_x"], 1, 3)
    (tmp_path / "dataset.toml").write_text(toml)
    (tmp_path / "sites.csv").write_bytes(table)
    with pytest.raises(InputError, match=message):
        plugins.open_data_set(f"folder:{tmp_path}", tmp_path).sites()


@pytest.mark.parametrize("hdf5", [False, True])
def test_folders_below_odoc_are_sites(tmp_path, hdf5):
    for site, names in {"refuge": "ab", "drishti": "ac"}.items():
        for part in ("train", "test"):
            folder = tmp_path / "odoc" / site / part
            if not hdf5:
                pictures.write_pairs(folder / "images", folder / "masks", [name + part for name in names], 3, 3)
        if hdf5:
            pictures.hdf5(tmp_path / "odoc", site, 3, 3)
    dataset = plugins.open_data_set("odoc", tmp_path)
    split = check_split(dataset, "official")
    assert dataset.splits() == ["official"]
    assert {(name.split("_")[0], name.split("_")[1]) for name in split.train} == {("refuge", "train"), ("drishti", "train")}
    assert {name.split("_")[1] for name in split.test} == {"test"}
    assert {name[0]: number for name, number in site_numbers(dataset).items()} == {"d": 0, "r": 1}
    assert dataset.load(split.train[0]).mask.max() == 2
    assert bool(dataset.drawn) is hdf5


def test_a_folder_of_something_else_below_the_root_is_no_site(tmp_path, tiny):
    root = shutil.copytree(tiny("faz").root, tmp_path / "faz")
    before = plugins.open_data_set("faz", tmp_path).splits()
    (root / "backup/train").mkdir(parents=True)
    (root / "backup/train/notes.txt").write_text("")
    dataset = plugins.open_data_set("faz", tmp_path)
    assert dataset.splits() == before
    assert dataset.sites() == {}


def test_splits_of_a_toml_are_used(tmp_path):
    pictures.write_pairs(tmp_path / "images", tmp_path / "masks", "abcde", 1, 3)
    (tmp_path / "dataset.toml").write_text('[splits.mine]\ntrain = ["a", "b"]\ntest = ["e"]\n')
    dataset = plugins.open_data_set(f"folder:{tmp_path}", tmp_path)
    assert dataset.splits() == ["mine"]
    assert dataset.split("mine").train == ("a", "b")


def test_nnunet_labels_with_ignore_are_drawn_marks(tiny):
    dataset = tiny("nnunet, ignore")
    scan, held = dataset.load("case_000"), dataset.load("case_008")
    assert scan.mask is None
    assert set(np.unique(scan.drawn["scribble"])) == {1, 2, 4, 7}
    assert held.mask is not None
    assert dataset.classes == ("background", "organ", "lesion")
    assert dataset.split("official").test == ("case_007", "case_008", "case_009")


def test_nnunet_channels_are_stacked(tiny):
    scan = tiny("nnunet, two channels").load("case_000")
    assert scan.image.shape == (3, 2, 30, 34)
    assert scan.spacing == pytest.approx(volumes.SPACING)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("{", "dataset.json: JSONDecodeError"),
        ({"labels": {"background": 0}}, "needs labels, channel_names and file_ending"),
        ({"labels": {"a": 0, "b": 2}, "channel_names": {"0": "x"}, "file_ending": ".nii.gz"}, "classes 0, 1, ..."),
    ],
)
def test_a_broken_dataset_json_is_refused(tmp_path, facts, message):
    volumes.nnunet(tmp_path, cases=1, test=False)
    (tmp_path / "dataset.json").write_text(facts if isinstance(facts, str) else json.dumps(facts))
    with pytest.raises(InputError, match=message):
        plugins.open_data_set(f"nnunet:{tmp_path}", tmp_path)


def test_a_missing_dataset_json_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no .*dataset.json; nnU-Net's raw layout has one"):
        plugins.open_data_set(f"nnunet:{tmp_path}", tmp_path)


def test_sets_by_path_need_a_path_and_others_take_none(tmp_path):
    with pytest.raises(InputError, match="'folder' must be folder:PATH"):
        plugins.open_data_set("folder", tmp_path)
    with pytest.raises(InputError, match="'faz:here' must be faz"):
        plugins.open_data_set("faz:here", tmp_path)


def test_a_missing_folder_says_where_to_get_the_files(tmp_path):
    for name in REAL:
        with pytest.raises(InputError, match="get .* from "):
            plugins.open_data_set(name, tmp_path).patients()
