"""What `new` writes is called as its file is, passes `check` as it is, and runs."""

import sys

import numpy as np
import pytest

from benchmark import InputError
from benchmark.__main__ import main
from benchmark.check import outcomes, targets
from benchmark.plan import plugins
from benchmark.plan.new import KINDS, write
from benchmark.score.metrics import TAKEN
from benchmark.train import local
from tests.support.sweeps import InProcess

TINY = "octa_phantom.size=32", "octa_phantom.train=2", "octa_phantom.val=0", "octa_phantom.test=2"


def command(monkeypatch, *words):
    """Run the command line in this process; returns its status."""
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
    monkeypatch.setattr(local, "Local", InProcess)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_passes_every_check_as_it_is(tmp_path, monkeypatch, kind):
    path = tmp_path / f"of_the_clinic_{kind}.py"
    assert command(monkeypatch, "new", path, "--kind", kind) == 0
    (target,) = targets(str(path))
    assert (target.plugin.kind, target.plugin.name) == (KINDS[kind], path.stem)
    assert target.plugin.load().__name__ == f"OfTheClinic{kind.title()}"
    assert [outcome for outcome in outcomes(target) if outcome.fault] == []


def test_a_method_is_written_unless_another_kind_is_named(tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, "new", tmp_path / "sharp.py") == 0
    assert capsys.readouterr().out.endswith(f"python -m benchmark check {tmp_path / 'sharp.py'}\n")
    assert (tmp_path / "sharp.py").read_text().startswith('"""Sharp: ')
    assert plugins.get("method", str(tmp_path / "sharp.py")).load().__name__ == "Sharp"


@pytest.mark.parametrize(("name", "kind", "cls"), [("scan", "dataset", "ScanDataset"), ("tensor", "method", "TensorMethod")])
def test_a_class_does_not_take_a_name_that_the_file_imports(tmp_path, name, kind, cls):
    write(tmp_path / f"{name}.py", kind)
    assert plugins.get(KINDS[kind], str(tmp_path / f"{name}.py")).load().__name__ == cls


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("sharp", "method", "sharp can't name a plug-in; it must be a Python name and .py, such as my_method.py"),
        ("not-sharp.py", "metric", "not-sharp.py can't name a plug-in; .* such as my_metric.py"),
        ("class.py", "method", "class.py can't name a plug-in"),
        ("pce.py", "method", "there is a method 'pce'; choose another name for .*pce.py"),
        ("acdc.py", "dataset", "there is a data set 'acdc'; choose another name"),
        ("dice.py", "metric", "there is a metric 'dice'; choose another name"),
        ("nowhere/sharp.py", "method", "there is no folder .*nowhere"),
        ("sharp.py", "loss", "--kind is 'loss'; it must be method, dataset, metric"),
    ],
)
def test_what_can_not_be_written_is_refused_in_a_sentence(tmp_path, path, kind, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path / path, kind, TAKEN if kind == "metric" else ())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_never_overwritten(tmp_path):
    (tmp_path / "sharp.py").write_text("years of work")
    with pytest.raises(InputError, match="sharp.py exists; name a new file"):
        write(tmp_path / "sharp.py", "method")
    assert (tmp_path / "sharp.py").read_text() == "years of work"


@pytest.mark.slow
def test_templates_run_together_and_stand_in_one_report(tmp_path, monkeypatch):
    """A method on the phantom, and on the data set, scored with the metric."""
    monkeypatch.chdir(tmp_path)
    for name, kind in (("mine", "method"), ("discs", "dataset"), ("volumes", "metric")):
        write(tmp_path / f"{name}.py", kind)
    flags = [word for option in TINY for word in ("--set", option)]
    run = ["run", "--methods", "mine.py", "--datasets", "discs.py,octa_phantom", *flags]
    assert command(monkeypatch, *run, "--budget", "steps=30,size=32,batch=4") == 0
    assert command(monkeypatch, "score", "--metrics", "volumes.py", "--datasets", "discs.py") == 0
    assert command(monkeypatch, "report", "--metric", "volumes,dice", "--format", "md") == 0
    table = (tmp_path / "reports/report/table.md").read_text()
    for text in ("| mine ", "discs scribble:sim Volumes", "octa_phantom scribble:sim Volumes"):
        assert text in table, text


def test_a_method_from_the_template_has_learnt_where_marks_settle_it(tmp_path):
    """Half of a bright disc's pixels are right by chance; after 40 steps most are."""
    from benchmark.check.discs import data_of, discs
    from benchmark.check.methods import LEARNING_BUDGET, refit
    from benchmark.seal.contract import TestScan

    write(tmp_path / "learner.py", "method")
    method = plugins.get("method", str(tmp_path / "learner.py")).load()()
    refit(method, data_of("scribble", classes=2, shapes=((6, 32, 32),) * 2), budget=LEARNING_BUDGET)
    image, mask = discs(np.random.default_rng(7), (8, 32, 32), 1, 2)
    assert (method.predict(TestScan(image)) == mask).mean() > 0.8


def test_a_method_takes_fewer_than_forty_lines_of_code():
    text = (write.__globals__["TEMPLATES"] / "my_method.py").read_text()
    code = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) < 40
