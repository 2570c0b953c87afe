"""A method's numbers change with its revision alone; `methods/REVISIONS.toml` names the code that gives them."""

import json

import pytest

from benchmark.plan import plugins, revisions
from tests.support.first_steps import GOLDEN, first_steps, same, today

METHODS = sorted(plugins.groups()["all"])
KEPT = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", METHODS)
def test_the_first_steps_of_a_method_are_those_of_its_revision(name):
    assert same(first_steps(name), KEPT[name]), (
        f"{name} gives other numbers than its revision: raise it in methods/REVISIONS.toml, remove "
        f"{name} from tests/golden/first_steps.json, and run python -m tests.support.first_steps WHY SHOWN"
    )


def test_every_method_has_a_revision():
    assert sorted(revisions.revisions()) == METHODS


def test_the_code_of_today_is_known_to_give_the_numbers_of_the_revision():
    known = revisions._known()
    unknown = [name for name in METHODS if known.get((name, today(name))) != revisions.revisions()[name]]
    assert not unknown, f"the code of {', '.join(unknown)} was changed: python -m tests.support.first_steps WHY SHOWN"


def test_the_newer_options_are_options():
    for name in revisions._file()["later"]:
        plugin = plugins.get("method", name)
        assert set(revisions.later(plugin)) <= set(plugins.options_of(plugin.load()()))


def test_a_run_is_stale_unless_its_code_is_known_to_give_the_same_numbers(monkeypatch):
    monkeypatch.setattr(revisions, "_known", lambda: {("pce", "a" * 12): 1, ("pce", "b" * 12): 1, ("pce", "c" * 12): 2})
    record = {"state": "done", "code": "a" * 64, "identity": {"method": "pce"}}
    assert not revisions.is_stale(record, "a" * 64)
    assert not revisions.is_stale(record, "b" * 64)
    assert revisions.is_stale(record, "c" * 64)
    assert revisions.is_stale(record, "d" * 64)
    assert revisions.is_stale(record | {"code": "e" * 64}, "a" * 64)
    assert not revisions.is_stale(record | {"state": "failed"}, "d" * 64)
    assert revisions.is_stale(record | {"identity": {"method": "mine"}}, "b" * 64)


def test_a_plug_in_has_no_revision(tmp_path):
    path = tmp_path / "pce2.py"
    path.write_text("")
    assert revisions.revision(plugins.Plugin("method", "pce", str(path))) is None
    assert revisions.revision(plugins.get("method", "pce")) == 1
