"""SAM as a control: prompts of marks and boxes, masks as labels, and weights of any size in SAM's format."""

import hashlib
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark import InputError, report
from benchmark.methods import sam
from benchmark.plan import plugins
from benchmark.seal.contract import Budget, TestScan, WeakData, WeakScan
from tests.support.sweeps import TINY, run_sweep, small_plan

PLUGIN = plugins.get("method", "sam")


def open_set(*shape: int, classes: int = 3) -> np.ndarray:
    return np.full(shape, (1 << classes) - 1, np.int32)


def tiny(seed: int, grid: int = 4, depth: int = 2) -> "torch.nn.Module":
    """SAM with few weights, all random."""
    modeling = pytest.importorskip("segment_anything.modeling")
    torch.manual_seed(seed)
    size = 16 * grid
    encoder = modeling.ImageEncoderViT(
        size, embed_dim=32, depth=depth, num_heads=2, out_chans=16, use_rel_pos=True, window_size=2, global_attn_indexes=[1],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )  # fmt: skip
    prompt = modeling.PromptEncoder(16, (grid, grid), (size, size), 4)
    transformer = modeling.TwoWayTransformer(2, 16, 8, 32)
    decoder = modeling.MaskDecoder(transformer_dim=16, transformer=transformer, iou_head_hidden_dim=8)
    model = modeling.Sam(encoder, prompt, decoder)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "tiny.pth"
    torch.save(tiny(0).state_dict(), path)
    return path


class Painter:
    """In place of SAM: each prompt has a disc around its first point, or its box; the logit is `height` of the prompt."""

    def __init__(self, height=lambda prompt: 1.0, radius: int = 3) -> None:
        self.height, self.radius, self.asked = height, radius, []

    def set_image(self, image: np.ndarray) -> None:
        assert image.dtype == np.uint8
        self.shape = image.shape[:2]
        assert image.shape[2:] == (3,)

    def predict(self, **prompt):
        self.asked.append(prompt)
        rows, columns = np.indices(self.shape)
        if "box" in prompt:
            left, top, right, bottom = prompt["box"]
            inside = (columns >= left) & (columns <= right) & (rows >= top) & (rows <= bottom)
        else:
            column, row = prompt["point_coords"][0]
            inside = (columns - column) ** 2 + (rows - row) ** 2 <= self.radius**2
        logits = np.where(inside, self.height(prompt), -1.0)
        worse = np.full_like(logits, 9.0)
        return np.stack([worse, logits]), np.array([0.1, 0.9]), None


def labelled(sets: np.ndarray, painter: Painter, classes: int = 3, boxed: bool = False) -> np.ndarray:
    scan = WeakScan(np.zeros((len(sets), 1, *sets.shape[1:]), np.float32), sets)
    return np.stack([*sam.slices(painter, scan, classes, 3, boxed)])


def test_each_mark_is_a_prompt_with_the_other_classes_against_it():
    sets = open_set(20, 20)
    sets[2, 2:9], sets[15, 15], sets[8, 12] = 1 << 1, 1 << 1, 1 << 2
    sets[18, 1:4] = 1
    found = sam.marks(sets, 3, 3)
    assert [k for k, _ in found] == [1, 1, 2]
    stroke = found[0][1]
    assert stroke["point_coords"][stroke["point_labels"] == 1].tolist() == [[5, 2], [2, 2], [8, 2]]
    against = {tuple(point) for point in stroke["point_coords"][stroke["point_labels"] == 0].tolist()}
    assert len(against) == 3
    assert against <= {(12, 8), (1, 18), (2, 18), (3, 18)}


def test_boxes_are_found_where_a_class_is_possible():
    sets = np.full((20, 20), 1, np.int32)
    sets[3:9, 4:12] |= 1 << 1
    sets[12:15, 1:5] |= 1 << 1
    sets[6:18, 10:16] |= 1 << 2  # overlaps the first
    assert [(k, prompt["box"].tolist()) for k, prompt in sam.boxes(sets, 3)] == [
        (1, [4, 3, 11, 8]),
        (1, [1, 12, 4, 14]),
        (2, [10, 6, 15, 17]),
    ]


def test_boxes_that_together_reach_all_sides_of_a_slice_are_one_box():
    sets = np.full((20, 20), 1, np.int32)
    sets[:12, :12] |= 1 << 1
    sets[8:, 8:] |= 1 << 1
    assert [(k, prompt["box"].tolist()) for k, prompt in sam.boxes(sets, 2)] == [(1, [0, 0, 19, 19])]
    assert sam.boxes(sets | 1 << 1, 2) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_a_class_that_is_possible_everywhere_stays_possible_where_no_box_has_a_mask(dtype):
    sets = np.full((1, 20, 20), 1 | 1 << 1, dtype)
    sets[0, 4:9, 4:9] |= 1 << 2
    (found,) = labelled(sets, Painter(), 3, boxed=True)
    assert found.dtype == dtype
    assert np.unique(found).tolist() == [1 | 1 << 1, 1 << 2]
    assert (found[9:] == 3).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_unmarked_slices_have_no_prompt(classes):
    blank = open_set(2, 12, 12, classes=classes)
    blank[1, 3, 3:6] = 1  # only background is marked
    painter = Painter()
    assert np.array_equal(labelled(blank, painter, classes), [blank[0], np.ones((12, 12))])
    assert not painter.asked


@pytest.mark.parametrize("classes", [2, 3])
def test_a_region_that_a_mark_of_background_encloses_is_no_box(classes):
    """Of two scans at one site; what is possible within the strokes looks like a box at another."""
    sets = open_set(3, 1, 12, 12, classes=classes)
    sets[:, :, 2:8, 2:8] = 1
    sets[:, :, 3:7, 3:7] = (1 << classes) - 1
    sets[1, 0, 10, 2:5] = 1 << 1
    sets[2, 0, :2] = sets[2, 0, :, :2] = sets[2, 0, 8:] = sets[2, 0, :, 8:] = 1
    image = np.zeros((1, 1, 12, 12), np.float32)
    data = WeakData([WeakScan(image, own, site=site) for own, site in zip(sets, (0, 0, 1), strict=True)], classes, 1)
    painter = Painter()
    made = [scan.allowed for scan in sam.masked(data, painter, 3)]
    assert (made[0] == 1).all()
    assert ["box" in prompt for prompt in painter.asked] == [False] + [True] * (classes - 1)
    assert np.array_equal(made[2] != 1, sets[2] != 1)


def test_masks_become_labels_and_marks_keep_theirs():
    sets = open_set(1, 20, 20)
    sets[0, 5, 5], sets[0, 5, 8], sets[0, 6, 6] = 1 << 1, 1 << 2, 1  # a mark of background inside the first mask
    higher = Painter(lambda prompt: 2.0 if prompt["point_coords"][0].tolist() == [8, 5] else 1.0)
    found = labelled(sets, higher)[0]
    rows, columns = np.indices((20, 20))
    first, second = ((columns - c) ** 2 + (rows - 5) ** 2 <= 9 for c in (5, 8))
    wanted = np.where(second, 1 << 2, np.where(first, 1 << 1, 1))
    wanted[5, 5], wanted[6, 6] = 1 << 1, 1
    assert np.array_equal(found, wanted)


def test_a_prompt_of_one_point_takes_the_best_of_several_masks():
    sets = open_set(1, 20, 20)
    sets[0, 5, 5] = 1 << 1
    painter = Painter()
    labelled(sets, painter)
    sets[0, 5, 9] = 1
    labelled(sets, painter)
    assert [prompt["multimask_output"] for prompt in painter.asked] == [True, False]
    box = np.full((1, 20, 20), 1, np.int32)
    box[0, 4:9, 4:9] |= 1 << 1
    found = labelled(box, boxes := Painter(), boxed=True)
    assert [prompt["multimask_output"] for prompt in boxes.asked] == [False]
    assert np.array_equal(found[0] == 1 << 1, box[0] != 1)


@pytest.mark.parametrize(("grid", "depth"), [(4, 2), (6, 3)])
def test_weights_of_any_size_are_read(tmp_path, grid, depth):
    model = tiny(1, grid, depth)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    predictor = sam.load(tmp_path / "w.pth")
    from segment_anything import SamPredictor

    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    made = []
    for each in (SamPredictor(model), predictor):
        each.set_image(image)
        made.append(each.predict(np.array([[20, 30], [3, 4]]), np.array([1, 0]), return_logits=True)[0])
    assert np.ptp(made[0]) > 0
    assert np.array_equal(*made)


def test_another_file_is_refused(tmp_path):
    pytest.importorskip("segment_anything")
    torch.save({"layer": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth holds no weights of SAM"):
        sam.load(tmp_path / "other.pth")


def test_pickled_code_is_not_run(tmp_path):
    pytest.importorskip("segment_anything")

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"layer": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="holds no weights of SAM"):
        sam.load(tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()


def test_without_weights_one_sentence_says_how_to_give_them(tmp_path):
    with pytest.raises(InputError, match=r"SegmentAnything needs weights, which has no default"):
        plugins.configure(PLUGIN.load(), {})
    with pytest.raises(InputError, match=r"must be a file of SAM's weights"):
        plugins.configure(PLUGIN.load(), {"weights": str(tmp_path / "none.pth")})


def test_it_trains_on_the_masks(weights, monkeypatch):
    method = plugins.configure(PLUGIN.load(), {"weights": str(weights)})
    sets = open_set(2, 24, 24)
    sets[:, 5, 5:9], sets[:, 15, 5:9] = 1 << 1, 1
    scan = WeakScan(np.random.default_rng(0).random((2, 1, 24, 24), np.float32), sets)
    trained = SimpleNamespace()
    monkeypatch.setattr(
        sam.PartialCrossEntropyDice, "begin", lambda self, data, *_: vars(trained).update(data=data, self=self)
    )
    method.begin(WeakData([scan], 3, 1), Budget(steps=1, size=16, batch=2), lambda step, **values: None)
    (masks,) = trained.data
    assert ((masks.allowed & masks.allowed - 1) == 0).all()
    assert (masks.allowed[:, 5, 5:9] == 1 << 1).all()


def test_a_network_is_trained_and_predicts(weights):
    method = plugins.configure(PLUGIN.load(), {"weights": str(weights)})
    sets = open_set(2, 24, 24)
    sets[:, 5, 5:9], sets[:, 15, 5:9] = 1 << 1, 1
    image = np.random.default_rng(0).random((2, 1, 24, 24), np.float32)
    method.fit(WeakData([WeakScan(image, sets)], 3, 1), Budget(steps=2, size=16, batch=2), lambda step, **values: None)
    assert method.predict(TestScan(image)).shape == (2, 24, 24)


def test_its_rows_are_marked_and_have_no_rank(weights, tmp_path):
    plan = small_plan(["sam", "pce"], annotations=["point"], options=[*TINY, f"sam.weights={weights}"])
    run_sweep(plan, tmp_path / "results")
    written = report.write(tmp_path / "results", tmp_path, report.ReportOptions(formats=["md"]))
    for name in ("table", "costs"):
        text = (written / f"{name}.md").read_text()
        assert "| sam† " in text
        assert "† sam is not trained like the others: outside weights: its labels are made by SAM" in text
        assert "| pce " in text
    assert "SAM, once before training" in (written / "costs.md").read_text()


def test_a_relative_path_is_kept_as_a_whole_one(weights, monkeypatch):
    monkeypatch.chdir(weights.parent)
    assert plugins.configure(PLUGIN.load(), {"weights": weights.name}).weights == str(weights)


def test_a_run_is_of_the_content_of_the_weights_and_not_of_their_place(weights, tmp_path):
    def identity(path):
        (job,) = small_plan(["sam"], annotations=["point"], options=[*TINY, f"sam.weights={path}"]).jobs
        return job.identity(), job.hash

    first, same = identity(weights), weights.with_name("moved.pth")
    weights.rename(same)
    assert identity(same) == first
    assert first[0]["options"]["weights"] == hashlib.sha256(same.read_bytes()).hexdigest()
    other = weights.with_name("other.pth")
    torch.save(tiny(1).state_dict(), other)
    assert identity(other)[1] != first[1]
