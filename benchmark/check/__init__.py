"""Checks of methods, data sets and metrics: plain functions that raise where the contract is broken."""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from benchmark import InputError
from benchmark.check.contract import Broken, NotApplicable
from benchmark.check.data_sets import DATA_SET_CHECKS
from benchmark.check.data_sets import Candidate as DataSet
from benchmark.check.discs import data_of
from benchmark.check.methods import METHOD_CHECKS, refit
from benchmark.check.methods import Candidate as Method
from benchmark.check.metrics import METRIC_CHECKS
from benchmark.check.metrics import Candidate as Metric
from benchmark.inputs import nearest
from benchmark.plan import plugins

__all__ = ["CHECKS", "Outcome", "Target", "data_of", "outcomes", "refit", "report_on", "targets"]

CHECKS: dict[str, tuple[Callable[[Any], None], ...]] = {
    "method": METHOD_CHECKS,
    "data set": DATA_SET_CHECKS,
    "metric": METRIC_CHECKS,
}


@dataclass(frozen=True)
class Target:
    """A plug-in to check, the text that named it, and the folder of the data sets."""

    plugin: plugins.Plugin
    text: str
    data: Path = Path("data")

    def candidate(self) -> Any:
        """Return the argument of the checks of its kind; raises InputError if it can't be imported."""
        cls = self.plugin.load()
        if self.plugin.kind == "data set":
            return DataSet(self.text, self.data)
        return Method(self.plugin, cls) if self.plugin.kind == "method" else Metric(self.plugin)


@dataclass(frozen=True)
class Outcome:
    """The result of a check: a fault, or why it does not apply; without either, it passed."""

    check: str
    fault: str = ""
    not_applicable: str = ""


def outcomes(target: Target) -> Iterator[Outcome]:
    """Yield the outcome of every check of a plug-in; a check that raises has failed."""
    candidate = target.candidate()
    for check in CHECKS[target.plugin.kind]:
        try:
            check(candidate)
        except Broken as error:
            yield Outcome(check.__name__, str(error))
        except NotApplicable as error:
            yield Outcome(check.__name__, not_applicable=str(error))
        except InputError as error:
            yield Outcome(check.__name__, str(error))
        except Exception as error:  # of the plug-in
            yield Outcome(check.__name__, f"{type(error).__name__}: {error}{_place(error, target.plugin.file())}")
        else:
            yield Outcome(check.__name__)


def _place(error: Exception, file: Path | None) -> str:
    """Say at which line of a plug-in's file an exception came up, or that it did in the backward pass."""
    frames = traceback.extract_tb(error.__traceback__)
    if file and (own := [frame for frame in frames if Path(frame.filename) == file]):
        return f" ({file.name}, line {own[-1].lineno}: {own[-1].line})"
    return " (in the backward pass of its loss)" if any(frame.name == "backward" for frame in frames) else ""


def targets(text: str, data: Path = Path("data")) -> list[Target]:
    """Return the plug-ins of a name, a group of methods, NAME:PATH or a .py file; raises InputError if there are none."""
    if text in plugins.groups():
        return [Target(plugins.get("method", name), name) for name in plugins.groups()[text]]
    if text.endswith(".py"):
        return [Target(plugins.get(plugins.kind_of(Path(text)), text), text, data)]
    name = text.partition(":")[0]
    found = [Target(plugins.find(kind)[name], text, data) for kind in plugins.PARENTS if name in plugins.find(kind)]
    if not found:
        there = "; ".join(f"{kind}s: {', '.join(plugins.find(kind))}" for kind in plugins.PARENTS if plugins.find(kind))
        near = nearest(name, [*plugins.groups(), *(each for kind in plugins.PARENTS for each in plugins.find(kind))])
        raise InputError(f"there is no plug-in {text!r}{near}; there are {there}, and groups: {', '.join(plugins.groups())}")
    return found


def report_on(text: str, data: Path = Path("data")) -> int:
    """Print the outcomes of all checks and how many ran; return 0 if none failed, else 1."""
    console, failed, passed, left_out = Console(), 0, 0, 0
    for target in targets(text, data):
        last = ""
        for outcome in outcomes(target):
            name = f"{target.plugin.name}: {outcome.check.replace('_', ' ')}"
            word = "FAILED" if outcome.fault else "n/a" if outcome.not_applicable else "ok"
            failed, left_out = failed + (word == "FAILED"), left_out + (word == "n/a")
            passed += word == "ok"
            console.print(Text(f"{word:7}{name}"), soft_wrap=True)
            if why := outcome.fault or (outcome.not_applicable and f"not applicable: {outcome.not_applicable}"):
                console.print(Text("       " + ("as above" if why == last else why)), soft_wrap=True)
            last = why
    ran = f"{passed + failed} checks ran, {failed} failed"
    console.print(Text(ran + (f"; {left_out} not applicable" if left_out else "")))
    return int(failed > 0)
