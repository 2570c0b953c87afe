"""The first ten steps of every method on small scans: what the code of a method makes of them settles its revision.

`python -m tests.support.first_steps WHY SHOWN` adds the fingerprints of today's code to `methods/REVISIONS.toml`, for the
methods whose first steps are still those of `tests/golden/first_steps.json`; it writes the steps of methods that have none.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from benchmark.check import data_of
from benchmark.datasets.forms import learnt
from benchmark.plan import plugins
from benchmark.plan.revisions import DIGITS, FILE, revisions
from benchmark.seal.contract import Budget, WeakData, WeakScan
from benchmark.train.worker import seed_everything

GOLDEN = Path(__file__).parents[1] / "golden/first_steps.json"
BUDGET = Budget(steps=10, batch=2, size=32)


def first_steps(name: str) -> list[float]:
    """All values that a method logs of its steps, in double precision, so that processors agree."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        method = plugins.get("method", name).load()()
        forms = learnt(method.annotations)
        form = "scribble" if "scribble" in forms else forms[0]
        scans = [WeakScan(s.image.astype(np.float64), s.allowed) for s in data_of(form, shapes=((3, 32, 32), (2, 32, 32)))]
        logged: list[float] = []
        seed_everything(0)

        def log(step: int, /, **values: float) -> None:
            values.pop("propagated", None)  # progress before the first step
            logged.extend(map(float, values.values()))

        method.fit(WeakData(scans, 3, 1), BUDGET, log)
        return logged
    finally:
        torch.set_default_dtype(before)


def today(name: str) -> str:
    """The fingerprint of a method's code, as the file has it."""
    return plugins.fingerprint(plugins.get("method", name))[:DIGITS]


def same(found: list[float], kept: list[float]) -> bool:
    """Whether two logs are equal to 1e-6."""
    return len(found) == len(kept) and bool(np.allclose(found, kept, rtol=0, atol=1e-6))


def main(why: str, shown: str) -> None:
    """Add a block of fingerprints; nothing where the numbers of a method differ."""
    golden = json.loads(GOLDEN.read_text())
    text, codes = FILE.read_text(), {}
    for name in sorted(plugins.groups()["all"]):
        if f'"{today(name)}"' in text:
            continue
        found = first_steps(name)
        if not same(found, golden.setdefault(name, [round(each, 9) for each in found])):
            raise SystemExit(
                f"{name} gives other numbers: raise its revision in {FILE.name}, and remove it from {GOLDEN.name}"
            )
        codes[name] = today(name)
    GOLDEN.write_text("{\n" + ",\n".join(f' "{name}": {json.dumps(golden[name])}' for name in sorted(golden)) + "\n}\n")
    by_revision: dict[int, dict[str, str]] = {}
    for name, code in codes.items():
        by_revision.setdefault(revisions()[name], {})[name] = code
    for number, own in sorted(by_revision.items()):
        lines = ["", "[[code]]", f"revision = {number}"] if number > 1 else ["", "[[code]]"]
        lines += [f"why = {json.dumps(why)}", f"shown = {json.dumps(shown)}", "[code.of]"]
        text += "\n".join([*lines, *(f'{name} = ["{code}"]' for name, code in own.items()), ""])
    FILE.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
