import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import label as components

from benchmark import InputError
from benchmark.datasets import simulate
from benchmark.datasets.annotations import (
    Annotation,
    Mixed,
    check_simulable,
    check_sites,
    from_labels,
    parse,
    parse_sites,
    resolve,
    set_type,
    to_labels,
)
from benchmark.datasets.base import Dataset, Scan, Split, SplitSummary
from benchmark.datasets.forms import ANNOTATOR_ERRORS, FORMS, learnt
from benchmark.datasets.simulate import Annotator, choose_slices, degrade, stream, weaken
from benchmark.seal.contract import everything

CLEAN = [
    "full", "scribble:sim", "scribble:sim+kind=curves", "point", "point+where=central", "point+where=extreme", "point+n=3",
    "block", "box", "tags", "scribble:sim@0.3", "point@0.3", "block@0.3",
]  # fmt: skip
DIGESTS = {  # by annotation: the version of what draws it, and what it draws
    "full": (2, "1f5abd63f8433b44"),
    "scribble:sim": (2, "711e88ddfd397baa"),
    "scribble:sim+kind=curves": (2, "8826f06c25896476"),
    "scribble:sim@0.3+shift=5": (2, "61dafb2b8079c6fc"),
    "point": (2, "3492b822cf511530"),
    "point+n=2+background=3": (2, "be3e0fdf384c173d"),
    "point+where=central": (2, "04fb9e20d7d6f03a"),
    "point+where=extreme": (2, "d0e2f594b9ffb752"),
    "point@0.5+wrong=0.9+miss=0.4": (2, "297a4224a22585a8"),
    "block": (2, "3b371ce8c4f8a217"),
    "block+core=0.7+patches=2+noise=0.2": (4, "37f10f985118ddba"),
    "block:drawn@0.5+noise=0.2+wrong=0.4+shift=3": (4, "ae9e171ae43257b8"),
    "box": (2, "df42f7e7211b18c4"),
    "box+jitter=3": (3, "984969d9ae69f20e"),
    "tags": (2, "d1bfecae4abcee72"),
}
masks = arrays(np.uint8, st.tuples(st.integers(1, 2), st.integers(1, 24), st.integers(1, 24)), elements=st.integers(0, 2))


def disc(size=96, radius=24):
    rows, columns = np.indices((size, size))
    return (np.hypot(rows - size / 2, columns - size / 2) < radius).astype(np.uint8)[None]


def organs():
    """A slice with a ring (class 1) and a spindle (class 2), and a slice of background."""
    rows, columns = np.indices((220, 232))
    y, x = rows - 100.3, columns - 120.6
    ring = np.hypot(0.6 * y + 0.8 * x, 1.3 * (0.6 * x - 0.8 * y))
    mask = np.zeros((2, 220, 232), np.uint8)
    mask[0, (ring < 12) & (ring > 6)] = 1
    mask[0, np.hypot((rows - 160.2) / 9, (columns - 60.7) / 27) < 1] = 2
    return mask


# ------------------------------------------------------------------------------------------------ what never fails


@pytest.mark.parametrize("annotation", CLEAN)
@settings(max_examples=40, deadline=None)
@given(mask=masks, seed=st.integers(0, 5))
def test_the_truth_is_always_allowed(annotation, mask, seed):
    allowed = weaken(mask, 3, annotation, stream(seed, "scan"))
    assert ((allowed >> mask) & 1).all()
    assert allowed.min() >= 1
    assert allowed.max() <= everything(3)
    assert allowed.shape == mask.shape


@pytest.mark.parametrize("annotation", [a for a in CLEAN if FORMS[parse(a).form].marks or a == "full"])
@settings(max_examples=40, deadline=None)
@given(mask=masks)
def test_every_class_of_a_slice_gets_a_mark(annotation, mask):
    allowed = weaken(mask, 3, annotation, stream(0, "scan"))
    for labels, sets in zip(mask, allowed, strict=True):
        for k in np.unique(labels):
            assert (sets == 1 << k).any()


@settings(max_examples=40, deadline=None)
@given(mask=masks)
def test_boxes_are_tight(mask):
    """Class k is allowed exactly in the bounding boxes of its parts."""
    allowed = weaken(mask, 3, "box", stream(0, "scan"))
    for labels, sets in zip(mask, allowed, strict=True):
        assert (sets & 1).all()
        for k in (1, 2):
            expected = np.zeros(labels.shape, bool)
            for box in ndimage.find_objects(components(labels == k, connectivity=2)):
                rows, columns = np.nonzero(components(labels == k, connectivity=2)[box])
                assert rows.min() == columns.min() == 0
                expected[box] = True
            assert np.array_equal((sets >> k & 1).astype(bool), expected)


def test_a_box_does_not_begin_at_the_corner_of_the_image():
    """As those of a published simulator do."""
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[0, 40:50, 20:50] = 1
    rows, columns = np.nonzero(weaken(mask, 2, "box", stream(0, ""))[0] == 3)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 49, 20, 49)


def test_tags_name_the_classes_of_a_slice():
    mask = np.array([[[0, 2]], [[1, 1]]], np.uint8)
    assert weaken(mask, 3, "tags", stream(0, "")).tolist() == [[[5, 5]], [[2, 2]]]


def test_full_supervision_is_one_bit_everywhere():
    mask = np.array([[[0, 1], [2, 0]]], np.uint8)
    assert weaken(mask, 3, "full", stream(0, "")).tolist() == [[[1, 2], [4, 1]]]


@pytest.mark.parametrize("annotation", ["scribble:sim", "scribble:sim+kind=curves", "point", "block"])
def test_marks_leave_most_of_a_large_region_open(annotation):
    allowed = weaken(disc(), 2, annotation, stream(0, "scan"))
    for k in (0, 1):
        assert (allowed[disc() == k] != 3).mean() < 0.5


def test_a_block_of_background_is_a_few_patches_and_not_the_complement():
    assert (weaken(disc(), 2, "block", stream(0, "scan"))[disc() == 0] == 1).mean() < 0.15


def test_a_scribble_goes_round_a_ring():
    """As people draw the myocardium: marks in at least three quarters of the directions."""
    ring = disc(96, 30) - disc(96, 20)
    rows, columns = np.nonzero(weaken(ring, 2, "scribble:sim", stream(0, "scan"))[0] == 2)
    sectors = np.unique((np.arctan2(rows - 48, columns - 48) // (np.pi / 8)).astype(int))
    assert len(sectors) >= 12


# ------------------------------------------------------------------------------------------------ what settles marks


@pytest.mark.parametrize("annotation", ["scribble:sim", "point", "block", "point+noise=0.3+shift=4"])
def test_marks_depend_on_seed_and_name_and_on_nothing_else(annotation):
    def draw(seed, name):
        return weaken(disc(), 2, annotation, stream(seed, name))

    assert np.array_equal(draw(1, "a"), draw(1, "a"))
    assert not np.array_equal(draw(1, "a"), draw(2, "a"))
    assert not np.array_equal(draw(1, "a"), draw(1, "b"))


def test_a_slice_keeps_its_marks_whatever_is_in_the_others():
    other = np.zeros_like(disc())
    one = weaken(np.concatenate([disc(), disc()]), 2, "scribble:sim", stream(0, "scan"))
    two = weaken(np.concatenate([other, disc()]), 2, "scribble:sim", stream(0, "scan"))
    assert np.array_equal(one[1], two[1])


@pytest.mark.parametrize("annotation", ["scribble:sim", "point+n=5", "block"])
def test_fewer_marks_are_a_part_of_more(annotation):
    shares = []
    previous = None
    for density in (1.0, 0.5, 0.25, 0.1):
        sets = weaken(disc(), 2, annotation, stream(3, "scan"), density=density)
        shares.append((sets == 2).sum())
        assert previous is None or ((sets == 3) | (sets == previous)).all()
        previous = sets
    assert shares[1] / shares[0] == pytest.approx(0.5, abs=0.15)
    assert shares[2] / shares[0] == pytest.approx(0.25, abs=0.15)


def test_density_and_noise_may_stand_in_the_annotation_or_beside_it():
    written = weaken(disc(), 2, "block@0.5+noise=0.2", stream(0, ""))
    beside = weaken(disc(), 2, "block", stream(0, ""), density=0.5, noise=0.2)
    assert np.array_equal(written, beside)


# ------------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize("annotation", ["scribble:sim", "block", "point", "point+n=4"])
@pytest.mark.parametrize("level", [0.05, 0.1, 0.3])
def test_noise_is_the_share_of_marks_across_the_boundary(annotation, level):
    wrong, marked, before = np.zeros(2), np.zeros(2), np.zeros(2)
    for number in range(24):
        plain = weaken(disc(), 2, annotation, stream(0, str(number)))
        sets = weaken(disc(), 2, annotation, stream(0, str(number)), noise=level)
        for k in (0, 1):
            wrong[k] += ((sets == 1 << k) & (disc() != k)).sum()
            marked[k] += (sets == 1 << k).sum()
            before[k] += (plain == 1 << k).sum()
    dots = annotation.startswith("point")  # a dot crosses nearly as a whole
    assert wrong[1] / marked[1] == pytest.approx(level, abs=0.04 if dots else 0.02)
    assert wrong[0] / marked[0] == pytest.approx(level, abs=0.02) or 0 < wrong[0] / marked[0] < level
    assert np.all((marked / before > 0.75) & (marked / before < (1.6 if dots else 1.25)))


def test_a_missed_class_has_no_mark_in_its_slice():
    stack = disc().repeat(200, 0)
    sets = weaken(stack, 2, "scribble:sim+miss=0.25", stream(0, "scan"))
    forgotten = [not (s == 2).any() for s in sets]
    assert np.mean(forgotten) == pytest.approx(0.25, abs=0.1)


def test_a_wrong_mark_names_another_class_of_the_slice():
    sets = weaken(disc().repeat(60, 0), 2, "block+wrong=0.5", stream(0, "scan"))
    inside = [s[48, 48] for s in sets]
    assert 0.25 < np.mean([value == 1 for value in inside]) < 0.75
    only = np.zeros((4, 32, 32), np.uint8)
    assert (weaken(only, 2, "block+wrong=1", stream(0, "scan")) != 2).all()


def test_a_shift_moves_all_marks_of_a_slice_alike():
    plain = weaken(disc(), 2, "point+where=central", stream(0, "scan"))
    moved = weaken(disc(), 2, "point+where=central+shift=9", stream(0, "scan"))
    for k in (0, 1):
        before, after = (np.argwhere(sets[0] == 1 << k).mean(0) for sets in (plain, moved))
        if k == 1:
            assert np.linalg.norm(after - before) == pytest.approx(9, abs=1)


def test_a_jittered_box_is_off_by_at_most_so_much():
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[0, 20:40, 20:40] = 1
    corners = set()
    for number in range(20):
        rows, columns = np.nonzero(weaken(mask, 2, "box+jitter=3", stream(0, str(number)))[0] == 3)
        corners.add((rows.min(), columns.max()))
        assert 17 <= rows.min() <= 23
        assert 36 <= columns.max() <= 42
    assert len(corners) > 5


# ------------------------------------------------------------------------------------------------ drawn marks


@pytest.fixture
def drawn():
    return weaken(disc(), 2, "scribble:sim", stream(0, "people"))


def test_drawn_marks_are_taken_as_they_are(drawn):
    assert degrade(drawn, None, 2, parse("scribble:drawn"), stream(0, "")) is drawn


def test_drawn_marks_can_be_thinned_shifted_and_forgotten_without_a_mask(drawn):
    thin = degrade(drawn, None, 2, parse("scribble:drawn@0.5"), stream(0, ""))
    assert ((thin == drawn) | (thin == 3)).all()
    assert (thin == 2).sum() == pytest.approx(0.5 * (drawn == 2).sum(), abs=1)
    moved = degrade(drawn, None, 2, parse("scribble:drawn+shift=5"), stream(0, ""))
    assert not np.array_equal(moved, drawn)
    gone = degrade(drawn, None, 2, parse("scribble:drawn+miss=1"), stream(0, ""))
    assert (gone == 3).all()


def test_noise_on_drawn_marks_needs_a_mask(drawn):
    with pytest.raises(InputError, match="noise needs a dense mask, and there is none"):
        degrade(drawn, None, 2, parse("scribble:drawn+noise=0.2"), stream(0, ""))
    noisy = degrade(drawn, disc(), 2, parse("scribble:drawn+noise=0.3"), stream(0, ""))
    assert ((noisy == 2) & (disc() == 0)).any()


def test_a_slice_that_nobody_marked_stays_open():
    nothing = np.full((1, 16, 16), 7, np.uint8)
    assert np.array_equal(degrade(nothing, None, 3, parse("scribble:drawn@0.5"), stream(0, "")), nothing)


# ------------------------------------------------------------------------------------------------ slices:k


class Volumes(Dataset):
    """Two patients with two scans of four slices each, or five single images."""

    name, classes, channels = "volumes", ("background", "object"), 1

    def __init__(self, flat=False):
        self.flat = flat

    def patients(self):
        return {p: [p] for p in "abcde"} if self.flat else {"p": ["p1", "p2"], "q": ["q1", "q2"]}

    def splits(self):
        return ["default"]

    def split(self, name):
        return Split(tuple(s for names in self.patients().values() for s in names), (), ())

    def load(self, name):
        n = 1 if self.flat else 4
        return Scan(name, name[0], np.zeros((n, 1, 16, 16), np.float32), disc(16, 4).repeat(n, 0))


def test_slices_are_labelled_in_full_and_others_not_at_all():
    dataset = Volumes()
    annotator = Annotator(dataset, dataset.split("default").train, parse("slices:3"), seed=0)
    per_patient = {"p": 0, "q": 0}
    for name in ("p1", "p2", "q1", "q2"):
        for sets in annotator(dataset.load(name)):
            full = (sets != 3).all()
            assert full or (sets == 3).all()
            assert not full or np.array_equal(sets, 1 << disc(16, 4)[0])
            per_patient[name[0]] += full
    assert per_patient == {"p": 3, "q": 3}


def test_of_single_images_k_are_labelled_in_all():
    dataset = Volumes(flat=True)
    chosen = choose_slices(dataset, "abcde", 2, seed=0)
    assert sum(map(len, chosen.values())) == 2
    assert chosen != choose_slices(dataset, "abcde", 2, seed=1) or chosen != choose_slices(dataset, "abcde", 2, seed=2)


def test_more_slices_include_the_fewer():
    dataset = Volumes()
    few, many = (choose_slices(dataset, ["p1", "p2", "q1", "q2"], k, seed=0) for k in (2, 5))
    assert all(few[name] <= many[name] for name in few)


class AtSites(Volumes):
    """The same patients, each from a site of its own, in the opposite order of names."""

    def sites(self):
        return {"p": "west", "q": "east"}


def test_each_site_has_its_own_form_in_the_order_of_the_sites_names():
    dataset = AtSites()
    mixed = Annotator(dataset, (), parse_sites("point/full"), seed=0)
    for name, form in {"q1": "point", "q2": "point", "p1": "full"}.items():
        scan = dataset.load(name)
        assert np.array_equal(mixed(scan), Annotator(dataset, (), parse(form), seed=0)(scan))
    assert not np.array_equal(mixed(dataset.load("q1")), mixed(dataset.load("p1")))


def test_slices_of_a_site_are_chosen_of_its_own_patients():
    dataset = AtSites()
    names = dataset.split("default").train
    mixed = Annotator(dataset, names, parse_sites("slices:1/slices:2"), seed=0)
    assert mixed.chosen == choose_slices(dataset, ["q1", "q2"], 1, 0) | choose_slices(dataset, ["p1", "p2"], 2, 0)


def test_as_many_slices_at_each_site_are_of_each_site():
    dataset = AtSites()
    names = dataset.split("default").train
    mixed = parse_sites("slices:1/slices:1")
    assert str(mixed) == str(parse_sites(str(mixed))) == "slices:1/slices:1"
    chosen = Annotator(dataset, names, mixed, seed=0).chosen
    assert chosen == choose_slices(dataset, ["q1", "q2"], 1, 0) | choose_slices(dataset, ["p1", "p2"], 1, 0)


def test_drawn_tags_are_the_labels_of_a_slice_at_each_of_its_pixels():
    labels = np.array([[[0, 2, 255]], [[255, 255, 255]], [[1, 255, 255]]])
    assert from_labels(labels, 3, 255, "tags").tolist() == [[[5] * 3], [[7] * 3], [[2] * 3]]
    assert from_labels(labels[0], 3, 255, "tags:second").tolist() == [[5] * 3]


def test_a_form_for_each_site_must_be_for_every_site():
    for text in ("point", "point/block"):
        check_sites(text, AtSites())
    with pytest.raises(InputError, match=r"'point/block/box' is for 3 sites, and volumes has 2 \(east, west\); one form is"):
        check_sites("point/block/box", AtSites())
    with pytest.raises(InputError, match="is for 2 sites, and volumes names none; --set volumes.sites=2 makes them"):
        check_sites("point/block", Volumes())


def test_a_box_that_is_off_stays_in_the_image():
    mask = np.zeros((1, 32, 32), np.uint8)
    mask[0, 28:, 28:] = 1
    for seed in range(100):
        sets = weaken(mask, 2, "box+jitter=10", stream(seed, "a"))
        assert (sets == 3).any()


def test_noise_leaves_marks_without_a_boundary_as_they_are():
    empty = np.zeros((1, 64, 64), np.uint8)
    for form in ("scribble:sim", "point", "block"):
        assert np.array_equal(weaken(empty, 2, form, stream(0, "a")), weaken(empty, 2, f"{form}+noise=0.1", stream(0, "a")))


@pytest.mark.parametrize("form", ["scribble:sim", "point+n=2", "block"])
def test_marks_of_a_part_are_those_of_the_same_part_elsewhere_in_a_larger_image(form, monkeypatch):
    """Parts are drawn in windows of their own; a pen is the same in both images."""
    monkeypatch.setattr(simulate, "_pen", lambda _: 2.0)
    small = np.zeros((1, 60, 60), np.uint8)
    small[0, 4:40, 6:22] = 1
    large = np.pad(small, ((0, 0), (50, 90), (70, 30)))
    marked = [weaken(mask, 2, form, stream(3, "a")) == 2 for mask in (small, large)]
    assert marked[0].any()
    assert np.array_equal(marked[0], marked[1][:, 50:-90, 70:-30])


# ------------------------------------------------------------------------------------------------ the version


def drawn_of_version(annotation):
    """SHA-256, cut, of what the simulators draw of `organs`; on `block:drawn` they work with errors alone."""
    given, rng = parse(annotation), stream(0, "15")
    drawn = weaken(organs(), 3, "block", stream(0, "15"))
    sets = degrade(drawn, organs(), 3, given, rng) if given.drawn else weaken(organs(), 3, annotation, rng)
    return hashlib.sha256(sets.tobytes()).hexdigest()[:16]


def test_every_form_and_option_is_in_the_version():
    given = [parse(annotation) for annotation in DIGESTS]
    assert {each.form for each in given} == {name for name, form in FORMS.items() if not form.counted}
    options = {(each.form, name) for each in given for name, _ in each.options}
    own = {(name, option) for name, form in FORMS.items() for option in form.options if option not in ANNOTATOR_ERRORS}
    assert options >= own
    assert {name for _, name in options} >= set(ANNOTATOR_ERRORS)


@pytest.mark.parametrize("annotation", DIGESTS)
def test_what_a_version_draws_stays(annotation):
    """After a change of what is drawn, raise its version, and state the new digests.

    Where two paths are equally short, a processor's rounding chooses the path of `scribble:sim`. There are none such here:
    no digest changed in 25 trials that changed all distances, costs and fields by about 1e-12 of their values.
    """
    assert (parse(annotation).version, drawn_of_version(annotation)) == DIGESTS[annotation]


def test_what_slices_a_version_chooses_stays():
    chosen = choose_slices(Volumes(), ["p1", "p2", "q1", "q2"], 3, seed=0)
    assert (parse("slices:3").version, chosen) == (3, {"p1": {2, 3}, "p2": {0}, "q1": {0, 3}, "q2": {2}})


# ------------------------------------------------------------------------------------------------ the written form


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("full", Annotation("full")),
        ("scribble:drawn", Annotation("scribble", "drawn")),
        ("scribble:sim@0.25", Annotation("scribble", "sim", 0, 0.25)),
        ("point:sim", Annotation("point")),
        ("point:gaze", Annotation("point", "gaze")),
        ("slices:5", Annotation("slices", "", 5)),
        ("point+noise=0.1+n=2", Annotation("point", options=(("n", 2), ("noise", 0.1)))),
        ("block+core=0.45", Annotation("block")),
        ("scribble:sim+kind=curves", Annotation("scribble", "sim", options=(("kind", "curves"),))),
    ],
)
def test_annotations_are_read_and_written(text, annotation):
    assert parse(text) == annotation
    assert parse(str(annotation)) == annotation


def test_forms_of_sites_are_read_and_written():
    mixed = resolve("scribble/point@0.50/scribble:sim", ["scribble"], "toy")
    assert mixed == Mixed((Annotation("scribble", "drawn"), Annotation("point", density=0.5), Annotation("scribble", "sim")))
    assert str(mixed) == "scribble:drawn/point@0.5/scribble:sim"
    assert parse_sites(str(mixed)) == mixed
    assert mixed.title == "drawn scribbles / points (density 0.5) / simulated scribbles"
    assert resolve("point/point:sim", [], "toy") == parse_sites("point/point") == Annotation("point")  # one form alone
    for text in ("point/doodle", "point/", "/point"):
        with pytest.raises(InputError, match="no annotation '(doodle)?'"):
            parse_sites(text)


def test_every_form_of_sites_needs_its_masks():
    look = SplitSummary("", ("scribble",), "subject1", ())
    check_simulable(parse_sites("scribble:drawn/scribble:drawn@0.5"), look, "x")
    with pytest.raises(InputError, match="subject1 has no dense mask to make scribble:drawn/point of"):
        check_simulable(parse_sites("scribble:drawn/point"), look, "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("doodle", "no annotation 'doodle'; there are scribble, full"),
        ("scribble@", "no annotation 'scribble@'"),
        ("scribble@0", "density is a share of marks, above 0 and at most 1"),
        ("scribble@2", "density is a share"),
        ("full@0.5", "density is a share of marks, .* of scribble, point, block"),
        ("scribble@1.2.3", "density is a share"),
        ("point+where=extreme+n=2", "n counts dots at random places; where=extreme sets the number itself"),
        ("point+colour=1", "point has no 'colour'; it has where, n, background, noise"),
        ("scribble+noise=0.1+noise=0.2", "states an option twice; give it one value"),
        ("full+noise=0.1", "full has no 'noise'; it has no options"),
        ("point+where=there", "where is there; it must be one of random, central, extreme"),
        ("point+n=0", "n is 0; it must be a whole number from 1"),
        ("point+n=1.5", "it must be a whole number"),
        ("point+n=inf", "n is inf; it must be a whole number"),
        ("point+noise=2", "noise is 2; it must be a share: 0, or 0.0001 to 1"),
        ("point+noise=0.00001", "noise is 0.00001; it must be a share: 0, or 0.0001 to 1"),
        ("point@0.00001", "density is a share of marks"),
        ("point+n=1e30", "n is 1e30; it must be a whole number from 1 below a million"),
        ("box+jitter=inf", "jitter is inf; it must be a number of px below a million"),
        ("point+noise=nan", "noise is nan; it must be a share: 0, or 0.0001 to 1"),
        ("box+jitter=some", "jitter is some; it must be a number of px"),
        ("slices", "must be slices:k"),
        ("slices:0", "must be slices:k"),
        ("slices:3@0.5", "must be slices:k"),
        ("box:drawn+jitter=2", "jitter is an option of simulated marks; write box:sim for them"),
        ("point:gaze+n=2", "n is an option of simulated marks; write point:sim for them"),
        ("scribble:drawn+kind=skeleton", "kind is an option of simulated marks; write scribble:sim for them"),
    ],
)
def test_what_can_not_be_read_is_refused_with_what_would_be_right(text, message):
    with pytest.raises(InputError, match=message):
        parse(text)


def test_an_option_of_simulated_marks_asks_for_simulated_ones():
    there = ["scribble", "point", "box"]
    assert str(resolve("scribble+kind=curves", there, "toy")) == "scribble:sim+kind=curves"
    assert str(resolve("scribble+kind=skeleton", there, "toy")) == "scribble:sim"
    assert [resolve(text, there, "toy").drawn for text in ("point+n=3", "box+jitter=5")] == ["", ""]
    assert str(resolve("point@0.5+wrong=0.1", there, "toy")) == "point:drawn@0.5+wrong=0.1"  # what any marks can have


def test_drawn_marks_that_are_not_there_are_refused():
    with pytest.raises(InputError, match=r"toy has scribble:drawn, not point:gaze; simulate it with point:sim"):
        resolve("point:gaze", ["scribble"], "toy")
    with pytest.raises(InputError, match="toy has no drawn annotations, not scribble:drawn"):
        resolve("scribble:drawn", [], "toy")


def test_nothing_is_made_of_masks_that_are_not_there():
    look = SplitSummary("", ("scribble",), "subject1", ())
    check_simulable(parse("scribble:drawn@0.5"), look, "x")
    for text in ("full", "scribble:sim", "slices:3", "scribble:drawn+noise=0.1"):
        with pytest.raises(InputError, match="x: subject1 has no dense mask to make .* of; there is scribble:drawn"):
            check_simulable(parse(text), look, "x")


def test_a_method_learns_from_the_forms_that_give_what_it_needs():
    labels = ("full", "scribble", "point", "block", "slices")
    assert learnt("labels") == labels
    assert set(learnt("sets")) == {*labels, "box", "tags"} == set(FORMS)
    assert learnt(("box", "point")) == ("box", "point")


@pytest.mark.parametrize("annotation", [a for a in CLEAN if parse(a).form in learnt("labels")])
def test_a_form_gives_labels_if_its_sets_have_one_class_or_all(annotation):
    sets = weaken(organs(), 3, annotation, stream(0, "scan"))
    assert set(np.unique(sets)) <= {1, 2, 4, everything(3)}


# ------------------------------------------------------------------------------------------------ labels and sets


def test_labels_become_sets_and_the_unlabelled_value_becomes_open():
    assert from_labels(np.array([0, 1, 3, 4]), 4, unlabelled=4).tolist() == [1, 2, 8, 15]
    assert from_labels(np.array([0, 1, 255], np.uint8), 2, unlabelled=255).tolist() == [1, 2, 3]
    assert from_labels(np.array([0, 0]), 3, unlabelled=255).tolist() == [1, 1]


def test_sets_of_one_class_become_labels_again():
    assert to_labels(np.array([1, 2, 4, 3, 7]), 3).tolist() == [0, 1, 2, 255, 255]
    assert to_labels(np.array([1, 7]), 3, unlabelled=3).tolist() == [0, 3]


def test_an_unknown_label_is_refused_by_its_value():
    with pytest.raises(InputError, match=r"\[7\].*0 to 2, and 4"):
        from_labels(np.array([0, 7, 4]), 3, unlabelled=4)


def test_sets_of_many_classes_take_a_wider_type():
    assert set_type(8) == np.uint8
    assert set_type(9) == np.int32
    mask = np.full((1, 4, 4), 20, np.uint8)
    for annotation in ("full", "tags", "block"):
        assert (weaken(mask, 21, annotation, stream(0, "")) & 1 << 20).all()
    with pytest.raises(InputError, match="2 to 31"):
        set_type(32)
