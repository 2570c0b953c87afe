import math
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from benchmark import InputError
from benchmark.datasets.forms import learnt
from benchmark.methods.gated_crf import GatedCRF
from benchmark.plan import plugins
from benchmark.plan.plugins import Plugin, code, configure, describe, find, fingerprint, get, groups, options_of
from tests.support.sweeps import small_plan

MINE = '''"""My idea."""

from dataclasses import dataclass

from benchmark.methods.base import NetMethod
from benchmark.methods.losses import partial_cross_entropy


@dataclass
class Mine(NetMethod):
    """My paper."""

    annotations = ("point",)
    weight: float = 0.5

    def loss(self, batch, progress):
        return partial_cross_entropy(self.net(batch.image), batch.allowed)
'''


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.mark.parametrize("kind", ["method", "data set"])
def test_every_built_in_plugin_loads_and_is_described(kind):
    for name, plugin in find(kind).items():
        cls, about = plugin.load(), describe(plugin)
        assert about["idea"]
        assert about["paper"]
        if kind == "method":
            assert plugin.module.endswith(f".{name}")
            assert about["annotations"] == learnt(cls.annotations)
        else:
            assert about["classes"] == cls.classes
            assert cls.name == name


def test_what_needs_no_torch_imports_no_torch():
    code = (
        "import sys; from benchmark.plan import plugins; from benchmark.terminal import show_list; show_list([]);"
        "print(sorted({'torch', 'pandas', 'numpy', 'albumentations'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "[]"
    assert "gated_crf" in shown


def test_a_file_is_a_method_of_its_name(mine):
    plugin = get("method", str(mine))
    assert (plugin.name, plugin.load().__name__) == ("mine", "Mine")
    assert describe(plugin)["annotations"] == ("point",)
    assert plugin.load() is plugin.load()


def test_constants_are_inherited_from_the_base_class():
    assert "scribble" in describe(get("method", "procns"))["annotations"]


@pytest.mark.parametrize("kind", ["method", "data set"])
def test_an_unknown_name_is_refused_with_those_that_exist(kind):
    with pytest.raises(InputError, match=f"no {kind} 'nonsense'; there are "):
        get(kind, "nonsense")


def test_a_missing_file_is_refused():
    with pytest.raises(InputError, match="there is no file nowhere/mine.py"):
        get("method", "nowhere/mine.py")


def test_a_name_taken_twice_is_an_error_that_names_both(tmp_path):
    path = tmp_path / "pce.py"
    path.write_text(MINE)
    with pytest.raises(InputError, match="two methods are called 'pce': benchmark.methods.pce and .*pce.py"):
        get("method", str(path))


def test_two_files_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(MINE)
    paths = [str(tmp_path / folder / "mine.py") for folder in ("a", "b")]
    with pytest.raises(InputError, match="two methods are called mine: .*a/mine.py and .*b/mine.py; rename a file"):
        small_plan(paths)
    with pytest.raises(InputError, match="two metrics are called mine: .*a/mine.py and .*b/mine.py; rename a file"):
        plugins.metrics(paths)
    assert [each.name for each in plugins.metrics([paths[0], paths[0]])] == ["mine"]


@pytest.fixture
def installed(monkeypatch):
    """Entry points as an installed package would have them."""
    find.cache_clear()

    def install(*points):
        monkeypatch.setattr(plugins, "entry_points", lambda group: [p for p in points if p.group == group])

    yield install
    find.cache_clear()


def test_an_installed_package_registers_by_entry_point(installed):
    installed(EntryPoint("foreign", "benchmark.methods.gated_crf:GatedCRF", "benchmark.methods"))
    assert get("method", "foreign").load() is GatedCRF


def test_an_entry_point_that_takes_a_name_is_an_error_that_names_both(installed):
    installed(EntryPoint("pce", "their.package:Method", "benchmark.methods"))
    with pytest.raises(InputError, match="two methods are called 'pce': benchmark.methods.pce and their.package"):
        find("method")


def test_an_entry_point_that_does_not_import_is_an_error_where_it_is_used(installed):
    installed(EntryPoint("foreign", "their.package:Method", "benchmark.methods"))
    assert "foreign" in find("method")
    with pytest.raises(InputError, match="method 'foreign' doesn't import: their.package"):
        get("method", "foreign").load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nonsense_that_is_not_there", "doesn't import"),
        ("x = 1", "must define one Method; it defines none"),
        (MINE + MINE.replace("class Mine", "class Other"), "must define one Method; it defines Mine, Other"),
        (MINE.replace("def loss", "def losss"), "class Mine must define loss"),
        (
            MINE.replace("import NetMethod", "import NetMethod\nfrom benchmark.methods.mean_teacher import MeanTeacher")
            .replace("(NetMethod)", "(MeanTeacher)")
            .replace("weight: float =", "decay ="),
            "write the type of decay in class Mine",
        ),
        (MINE.replace("@dataclass\n", ""), "write @dataclass above class Mine; without it weight can't be set"),
    ],
)
def test_a_file_that_is_not_a_method_is_refused(tmp_path, text, message):
    path = tmp_path / f"broken{abs(hash(text))}.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        get("method", str(path)).load()


def test_a_fact_of_a_method_with_a_type_is_no_option(tmp_path):
    path = tmp_path / "typed.py"
    typed = (
        MINE.replace("@dataclass\n", "")
        .replace("    weight: float = 0.5\n", "")
        .replace("annotations =", "annotations: tuple =")
    )
    path.write_text(typed)
    assert get("method", str(path)).load().annotations == ("point",)


def test_a_data_set_in_a_file(tmp_path):
    path = tmp_path / "foreign.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom benchmark.datasets.phantom import OctaPhantom\n"
        '@dataclass\nclass Foreign(OctaPhantom):\n    """Foreign."""\n    name = "foreign_octa"\n'
    )
    plugin = get("data set", str(path))
    assert plugin.name == "foreign_octa"
    assert configure(plugin.load(), {"size": 40}, root=Path()).load("phantom0000").image.shape == (1, 1, 40, 40)


def test_a_data_set_file_without_a_name_is_refused(tmp_path):
    path = tmp_path / "foreign.py"
    path.write_text("x = 1\n")
    with pytest.raises(InputError, match="has no class with a `name`"):
        get("data set", str(path))


def test_options_are_checked_by_name_and_type():
    assert options_of(configure(GatedCRF, {"weight": 1, "radius": 2})) == {
        "weight": 1.0, "sigma_xy": 6.0, "sigma_rgb": 0.1, "radius": 2, "window": "anatomy",
    }  # fmt: skip
    with pytest.raises(
        InputError,
        match="GatedCRF has no 'wieght' .the nearest is weight.; it has weight, sigma_xy, sigma_rgb",
    ):
        configure(GatedCRF, {"wieght": 1})
    with pytest.raises(InputError, match="GatedCRF, weight: .*number.*'much'"):
        configure(GatedCRF, {"weight": "much"})


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("mean_teacher", "decay", 1.5),
        ("mean_teacher", "weight", -0.1),
        ("procns", "alpha", 0.0),
        ("procns", "phase_one", 20.0),
        ("gated_crf", "sigma_rgb", 0.0),
        ("ustm", "samples", 0),
        ("geodesic", "contrast", math.inf),
    ],
)
def test_an_option_beyond_its_bounds_is_refused(name, option, value):
    with pytest.raises(InputError, match=f"{option}: .*(greater than|less than|finite)"):
        configure(get("method", name).load(), {option: value})


def test_what_a_class_itself_refuses_is_said_in_its_words():
    with pytest.raises(InputError, match="size is 8; it must be at least 32"):
        configure(get("data set", "octa_phantom").load(), {"size": 8}, root=Path())


def changed(path, old, new):
    """The fingerprint of a plug-in before and after an edit."""
    plugin = Plugin("method", path.stem, str(path))
    plugins.read_again()
    before = fingerprint(plugin)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    plugins.read_again()
    return before, fingerprint(plugin)


def test_a_change_of_code_changes_the_fingerprint(mine):
    before, after = changed(mine, "0.5", "0.6")
    assert before != after


def test_code_behind_a_docstring_is_code_and_the_docstring_is_not(mine):
    mine.write_text(mine.read_text() + '\n\ndef more(): "Ä"; return 1\n')
    before, after = changed(mine, '"Ä"; return 1', '"Ä"; return 2')
    assert before != after
    before, after = changed(mine, '"Ä"; return 2', '"B."; return 2')
    assert before == after


def test_a_form_feed_ends_no_line(mine):
    mine.write_text(mine.read_text() + "\n\x0c\nWEIGHT = 0.25\nx = 1  # a comment\n")
    before, after = changed(mine, "0.25", "0.75")
    assert before != after


def test_a_change_of_words_does_not(mine):
    before, after = changed(mine, '"""My paper."""', '"""My paper,\n    in two lines."""\n    # and a comment')
    assert before == after


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("from .parts import term", "parts.py"),
        ("from . import parts", "parts.py"),
        ("from lab.parts import term", "parts.py"),
        ("import lab.parts", "parts.py"),
        ("from lab import term", "__init__.py"),
        ("from .deep import term", "deep/__init__.py"),
        ("from .deep.more import term", "deep/more.py"),
        ("from .first import term", "parts.py"),
    ],
)
def test_a_change_in_another_file_of_a_package_changes_the_fingerprint(tmp_path, mine, line, where):
    package = tmp_path / "lab"
    (package / "deep").mkdir(parents=True)
    for file in ("__init__.py", "parts.py", "deep/__init__.py", "deep/more.py"):
        (package / file).write_text("term = 1\n")
    (package / "first.py").write_text("from .parts import term\n")
    (package / "mine.py").write_text(f"import os, lab_of_others, labels.parts\n{line}\n" + mine.read_text())
    plugin = Plugin("method", "mine", str(package / "mine.py"))
    plugins.read_again()
    before = fingerprint(plugin)
    assert str(package / where) in plugins.digests(plugin, {})
    (package / where).write_text("term = 2\n")
    plugins.read_again()
    assert fingerprint(plugin) != before


def test_the_code_of_a_method_is_also_that_of_the_methods_that_its_options_name():
    federated, base = get("method", "federated"), get("method", "dmpls").file()
    known = code(federated, {"base": "pce", "strategy": "local"})
    assert code(federated, {"base": "dmpls", "strategy": "local"}) == fingerprint(
        federated, base, *plugins._imports(base, set())
    )
    assert known not in {code(federated, {"base": "dmpls"}), fingerprint(federated)}
    assert code(get("method", "pce"), {}) == fingerprint(get("method", "pce"))


def test_the_fingerprint_follows_imports_to_the_losses_used_and_no_further():
    files = {path.name for path in plugins._imports(get("method", "gated_crf").file(), set())}
    always = {"base.py", "batch.py", "resident.py", "turns.py", "augment.py", "resize.py", "networks.py"}
    assert files == always | {"pairwise.py", "labels.py", "scale.py"}


def test_groups_are_read_without_importing():
    assert groups()["baselines"] == [*groups()["losses"], *groups()["teachers"], "prior"]
    assert sorted([*groups()["all"], *groups()["outside"], *groups()["exchange"]]) == sorted(find("method"))


def test_a_file_that_is_named_without_its_ending_is_recognised(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no method 'mine'; for the file, give mine.py"):
        plugins.get("method", "mine")
