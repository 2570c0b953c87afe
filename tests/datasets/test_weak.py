import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark import InputError
from benchmark.datasets.weak import ANNOTATIONS, everything, from_labels, set_type, stream, weaken

SIMULATED = [annotation for annotation in ANNOTATIONS if annotation != "scribble:drawn"]
masks = arrays(
    np.uint8, st.tuples(st.integers(1, 2), st.integers(1, 24), st.integers(1, 24)), elements=st.integers(0, 2)
)


@pytest.mark.parametrize("annotation", SIMULATED)
@settings(max_examples=60, deadline=None)
@given(mask=masks, seed=st.integers(0, 5))
def test_the_truth_is_always_allowed(annotation, mask, seed):
    allowed = weaken(mask, 3, annotation, stream(seed, "scan"))
    assert ((allowed >> mask) & 1).all()
    assert allowed.max() <= everything(3)


@pytest.mark.parametrize("annotation", SIMULATED)
@settings(max_examples=60, deadline=None)
@given(mask=masks)
def test_every_class_of_a_slice_gets_a_mark(annotation, mask):
    allowed = weaken(mask, 3, annotation, stream(0, "scan"))
    for labels, sets in zip(mask, allowed, strict=True):
        for k in np.unique(labels):
            assert (sets == 1 << k).any()


@pytest.mark.parametrize("annotation", ["scribble:sim", "point", "block"])
def test_marks_leave_most_of_a_large_region_open(annotation):
    mask = np.zeros((1, 96, 96), np.uint8)
    mask[:, 30:70, 30:70] = 1
    allowed = weaken(mask, 2, annotation, stream(0, "scan"))
    for k in (0, 1):
        assert (allowed[mask == k] != 3).mean() < 0.5


def test_a_block_of_background_is_a_few_patches_and_not_the_complement():
    mask = np.zeros((1, 96, 96), np.uint8)
    mask[:, 40:60, 40:60] = 1
    assert (weaken(mask, 2, "block", stream(0, "scan"))[mask == 0] == 1).mean() < 0.15


def test_marks_depend_on_seed_and_name_and_on_nothing_else():
    mask = np.zeros((1, 40, 40), np.uint8)
    mask[:, 10:30, 10:30] = 1

    def draw(seed, name):
        return weaken(mask, 2, "scribble:sim", stream(seed, name))

    assert np.array_equal(draw(1, "a"), draw(1, "a"))
    assert not np.array_equal(draw(1, "a"), draw(2, "a"))
    assert not np.array_equal(draw(1, "a"), draw(1, "b"))


def test_full_supervision_is_one_bit_everywhere():
    mask = np.array([[[0, 1], [2, 0]]], np.uint8)
    assert weaken(mask, 3, "full", stream(0, "")).tolist() == [[[1, 2], [4, 1]]]


def test_labels_become_sets_and_the_unlabelled_value_becomes_open():
    assert from_labels(np.array([0, 1, 3, 4]), 4, unlabelled=4).tolist() == [1, 2, 8, 15]
    assert from_labels(np.array([0, 1, 255], np.uint8), 2, unlabelled=255).tolist() == [1, 2, 3]
    assert from_labels(np.array([0, 0]), 3, unlabelled=255).tolist() == [1, 1]


def test_an_unknown_label_is_refused_by_its_value():
    with pytest.raises(InputError, match=r"\[7\].*0 to 2, and 4"):
        from_labels(np.array([0, 7, 4]), 3, unlabelled=4)


def test_sets_of_many_classes_take_a_wider_type():
    assert set_type(8) == np.uint8
    assert set_type(9) == np.int32
    mask = np.full((1, 4, 4), 20, np.uint8)
    assert (weaken(mask, 21, "full", stream(0, "")) == 1 << 20).all()
    with pytest.raises(InputError, match="2 to 31"):
        set_type(32)


def test_an_unknown_annotation_is_refused_with_those_that_exist():
    with pytest.raises(InputError, match="no annotation 'doodle'.*point"):
        weaken(np.zeros((1, 4, 4), np.uint8), 2, "doodle", stream(0, ""))
