"""Scans of an unchanged data set are read once, and what is remembered is what would be read."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmark.datasets import summaries
from benchmark.datasets.base import Inventory
from benchmark.datasets.folder import Folder
from benchmark.plan import plugins
from tests.tiny import pictures


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder of pictures, and a cache of its own."""
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    return pictures.folder(tmp_path / "mine")


def look(root, dataset=None):
    """Summarise the first split in a new inventory; return its summaries, and the scans that were read."""
    inventory = Inventory(dataset or plugins.open_data_set(f"folder:{root}", root), {})
    load, read = inventory.dataset.load, []
    inventory.dataset.load = lambda name: read.append(name) or load(name)
    with summaries.remembered([inventory]):
        inventory.look(inventory.dataset.splits()[0])
    return inventory.seen, read


def test_unchanged_scans_are_read_once_and_remembered_exactly(root):
    first, read = look(root)
    again, read_again = look(root)
    assert sorted(read) == sorted(first)
    assert read_again == []
    assert first.keys() == again.keys()
    for name, summary in first.items():
        assert {**vars(summary), "thumbnail": None} == {**vars(again[name]), "thumbnail": None}
        assert np.array_equal(summary.thumbnail, again[name].thumbnail)


def test_scans_of_another_split_are_added(root):
    dataset = plugins.open_data_set(f"folder:{root}", root)
    inventory = Inventory(dataset, {})
    some = dataset.split(dataset.splits()[0]).train[0]
    with summaries.remembered([inventory]):
        inventory.read(some)
    assert some not in look(root)[1]
    assert look(root)[1] == []


def rewrite_in_place(path):
    """Change a byte of a file, and give it its old times."""
    about, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1  # of the PNG's end, which isn't read
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize(
    "change", [rewrite_in_place, lambda path: path.touch(), lambda path: path.with_name("notes.txt").touch()]
)
def test_any_change_of_a_file_has_all_scans_read_again(root, change):
    look(root)
    change(next(iter(sorted((root / "masks").iterdir()))))
    seen, read = look(root)
    assert sorted(read) == sorted(seen)


def test_other_code_of_reading_has_all_scans_read_again(root, tmp_path, monkeypatch):
    look(root)
    (tmp_path / "new.py").touch()
    monkeypatch.setattr(summaries, "CODE", (*summaries.CODE, tmp_path / "new.py"))
    assert look(root)[1]


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: text.replace("span", "spam"), lambda text: "[]"])
def test_a_damaged_cache_is_ignored_and_written_again(root, damage):
    first, _ = look(root)
    (path,) = Path(os.environ["BENCHMARK_CACHE"]).iterdir()
    path.write_text(damage(path.read_text()))
    again, read = look(root)
    assert sorted(read) == sorted(first)
    assert {name: one.everything for name, one in again.items()} == {name: one.everything for name, one in first.items()}
    assert look(root)[1] == []


def test_a_cache_that_cannot_be_written_changes_nothing(root, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "file"))
    assert sorted(look(root)[1]) == sorted(look(root)[1])
    assert (tmp_path / "file").read_text() == ""


def test_links_that_lead_in_a_circle_are_followed_once(root):
    (root / "weak" / "circle").parent.mkdir(exist_ok=True)
    (root / "circle").symlink_to(root)
    look(root)
    assert look(root)[1] == []


def test_a_data_set_of_a_plug_in_is_read_each_time(root):
    @dataclass
    class Mine(Folder):
        """A data set that is not of the suite."""

    assert look(root, Mine(root))[1]
    assert look(root, Mine(root))[1]
