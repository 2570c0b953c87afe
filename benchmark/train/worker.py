"""Learn and predict in a process that cannot see masks: `python -m benchmark.train.worker JOB SEALED OUT`.

JOB is a JSON file with the method, its options, the budget and the seed; SEALED is a sealed folder; OUT receives
`label*.npy`, `train.jsonl` and `worker.json`, or `error.txt`; `step*-test*.npy` and `step*-val*.npy` are label maps of
snapshots. Of several trials the files are the best one's. The worker ends when its standard input closes.
"""

import json
import math
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

import benchmark
from benchmark import InputError
from benchmark.plan import plugins, trials
from benchmark.seal import contract, folder
from benchmark.seal.contract import Budget


class TrainingLog:
    """Writes `train.jsonl` during `fit`; a value that is not finite ends the run."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.start = time.perf_counter()

    def __call__(self, step: int, /, **values: float) -> None:
        """Log the values of a step."""
        if isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 0:
            raise TypeError(f"log was given {step!r} as step; it must be a whole number from 0")
        for name, value in values.items():
            if not np.isfinite(value):
                raise FloatingPointError(f"{name} is {value} at step {step}")
        line = {"step": int(step), "seconds": round(time.perf_counter() - self.start, 3)}
        self.file.write(json.dumps(line | {name: float(value) for name, value in values.items()}) + "\n")


def main(job_path: str, sealed_path: str, out_path: str) -> None:
    """Run a job; its outcome is the files in OUT and the exit status."""
    sys.modules["benchmark.datasets"] = None  # type: ignore[assignment]  # importing it raises ImportError
    if len(benchmark.__path__) > 1:  # a checkout, found by PYTHONPATH: its folders must not be top-level packages
        sys.path = [entry for entry in sys.path if Path(entry) != Path(benchmark.__file__).parents[1]]
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    out = Path(out_path)
    try:
        outcome = work(json.loads(Path(job_path).read_text()), Path(sealed_path), out)
        (out / "worker.json").write_text(json.dumps(outcome))
    except BaseException as error:
        (out / "error.txt").write_text(traceback.format_exc(), errors="backslashreplace")
        (out / "reason.txt").write_text(reason(error), errors="backslashreplace")
        raise SystemExit(1) from error


def reason(error: BaseException) -> str:
    """Return the type of an error and the first line of what it says, and only the sentence of an InputError."""
    if isinstance(error, InputError):
        return str(error)
    texts = traceback.format_exception_only(error)
    return next(text for text in texts if not text.startswith(" ")).partition("\n")[0]  # of wrong syntax the code is first


def work(job: dict[str, Any], sealed_folder: Path, out: Path) -> dict[str, Any]:
    """Fit, then open the test images and predict; return times, sizes, and the facts that the method states."""
    from benchmark.train.numerics import repeatable  # loads torch

    plugin = plugins.Plugin(**job["plugin"])
    check_code(plugin, job)
    budget = Budget(**job["budget"])
    with repeatable(budget.kernels):
        method, outcome = fit(plugin, job["options"], budget, job["seed"], sealed_folder, out)
        fitted = time.perf_counter()
        test, val = folder.open_test(sealed_folder), folder.open_val(sealed_folder)
        predict(method, test, out / "label", folder.classes(sealed_folder))
        if budget.snapshots and val is not None:
            outcome["snapshots"] = list(predict_snapshots(method, budget, test, val, out))
    return {
        **outcome,
        "predict_s": round(time.perf_counter() - fitted, 3),
        **_sizes(method),
        **_machine(),
        **_facts(method),
    }


def check_code(plugin: plugins.Plugin, job: Mapping[str, Any]) -> None:
    """Import the method and check that its code is still that of the plan; raises InputError."""
    plugin.load()
    plugins.check_unedited(plugin, job)


def fit(
    plugin: plugins.Plugin, options: Mapping[str, Any], budget: Budget, seed: int, sealed_folder: Path, out: Path
) -> tuple[Any, dict[str, Any]]:
    """Return a trained method, and times and trials; of several trials the one with the least loss on held-out labels."""
    cls, best, seconds = plugin.load(), None, 0.0
    record: list[dict[str, Any]] = []
    todo = trials.trials(cls, plugin.name, options, budget.tune)
    for number, tried in enumerate(todo):
        seed_everything(seed, budget.threads)
        method = plugins.configure(cls, tried)
        data = folder.open_train(sealed_folder)
        start = time.perf_counter()
        try:
            try:
                with (out / "train.jsonl").open("w", buffering=1) as lines:
                    method.fit(data, budget, TrainingLog(lines))
            finally:
                seconds += time.perf_counter() - start
            loss = _finite_loss(method, folder.open_val(sealed_folder)) if budget.tune else 0.0
        except FloatingPointError as error:
            if number == len(todo) - 1 and best is None:
                raise
            record.append({"options": tried, "weakval": None, "reason": str(error)})
            continue
        record.append({"options": tried, "weakval": loss})
        if best is None or loss < best[0]:
            best = loss, number, method
            (out / "train.jsonl").replace(out / "best.jsonl")
    assert best is not None
    (out / "best.jsonl").replace(out / "train.jsonl")
    spent = {"fit_s": round(seconds, 3)}  # of all trials; without imports
    return best[2], {**spent, "trials": record, "chosen": best[1]} if budget.tune else spent


def predict(method: Any, scans: Iterable[contract.TestScan], stem: Path, classes: int) -> None:
    """Write a label map for each scan, named by `stem` and a number."""
    for number, scan in enumerate(scans):
        labels = method.predict(scan)
        check_labels(labels, scan, classes)
        np.save(stem.with_name(f"{stem.name}{number:04d}.npy"), labels, allow_pickle=False)


def predict_snapshots(
    method: Any, budget: Budget, test: list[contract.TestScan], val: contract.WeakData, out: Path
) -> Iterator[dict[str, Any]]:
    """Predict held-out scans with the last step and each snapshot, and test scans with each snapshot; yield losses."""
    held_out = [contract.TestScan(scan.image, scan.spacing, scan.site) for scan in val]
    steps: list[tuple[int, Any]] = [(budget.steps, None), *getattr(method, "snapshots", [])]
    for step, state in steps:
        if state is not None:
            method.restore(state)
            predict(method, test, out / f"step{step:06d}-test", val.classes)
        predict(method, held_out, out / f"step{step:06d}-val", val.classes)
        loss = held_out_loss(method, val)
        yield {"step": step, "weakval": loss if loss is not None and np.isfinite(loss) else None}


def held_out_loss(method: Any, val: contract.WeakData) -> float | None:
    """Return the mean loss on the labels of held-out scans; None if no scan has a label."""
    marked = [scan for scan in val if (scan.allowed != contract.everything(val.classes)).any()]
    return float(np.mean([method.marks_loss(scan, val.classes) for scan in marked])) if marked else None


def _finite_loss(method: Any, val: contract.WeakData | None) -> float:
    """Return the loss by which trials are compared; raises FloatingPointError if it is not finite."""
    loss = None if val is None else held_out_loss(method, val)
    if loss is None:
        raise ValueError("no held-out scan has a label to select by; take a split with more of them, or another annotation")
    if not np.isfinite(loss):
        raise FloatingPointError(f"the loss on held-out labels is {loss}")
    return loss


def seed_everything(seed: int, threads: int = 1) -> None:
    """Seed every generator, set the number of threads, and switch deterministic kernels on."""
    import cv2
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms also imports torch's compiler, for 2 s
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it is never read
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32 on a GPU, too


def check_labels(labels: np.ndarray, scan: contract.TestScan, classes: int) -> None:
    """Check that a prediction is a label for every pixel of the scan; raises ValueError."""
    slices, _, height, width = scan.image.shape
    if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.shape != (slices, height, width):
        what = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(f"predict returned {what}; it must return uint8 {(slices, height, width)}")
    if labels.max() >= classes:
        raise ValueError(f"predict returned label {labels.max()}; labels must be 0 to {classes - 1}")


def _sizes(method: Any) -> dict[str, Any]:
    """Return the number of trainable parameters, and peak memory in MiB."""
    import resource

    import torch

    net = getattr(method, "net", None)
    cuda = torch.cuda.is_available()
    return {
        "parameters": sum(p.numel() for p in net.parameters()) if isinstance(net, torch.nn.Module) else 0,
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 2**20),
        "device_memory_mib": torch.cuda.max_memory_allocated() // 2**20 if cuda else 0,
    }


def _facts(method: Any) -> dict[str, Any]:
    """Return what the method reported, and the notes that tables make of it; nothing if it reported nothing."""
    facts = getattr(method, "facts", {})
    for name, value in facts.items():
        if not isinstance(value, str) and not (isinstance(value, int | float) and math.isfinite(value)):
            raise TypeError(f"the fact {name} is {value!r:.100}; a fact is a finite number, yes or no, or a short text")
    notes = {name: text for cls in plugins.learners(method) for name, text in cls.notes.items() if name in facts}
    return {"facts": facts, "notes": notes} if facts else {}


def _machine() -> dict[str, Any]:
    import platform

    import torch

    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name(0) if cuda else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _exit_with_parent() -> None:
    """Kill this process and its children when the runner's pipe closes, so that none is left when a sweep resumes."""
    while os.read(sys.stdin.fileno(), 1):  # not sys.stdin.read: it holds a lock that Python waits for at exit
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
