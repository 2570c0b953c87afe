"""What the speed tests measured, as ratios: `python -m tests.support.speed_table speed.json` writes reports/speed.md.

A ratio is a cost (processor time, or peak memory) over that of the group's first, in the same run. tests/speed_ratios.csv
holds what was measured when; a ratio that is NOISE times worse, and more than SLACK, ends with exit status 1. `--keep`
writes that file instead, when a change is meant. A run on a GPU has a report and committed ratios of its own.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

NOISE = 1.5  # between runs; with other programs on both cores ratios moved by up to 1.4
SLACK = 0.002  # of the baseline: what costs next to nothing may cost twice that
ROOT = Path(__file__).parents[2]
FILES = {  # committed ratios and report, without a GPU and with one
    False: (ROOT / "tests" / "speed_ratios.csv", ROOT / "reports" / "speed.md"),
    True: (ROOT / "tests" / "speed_ratios_gpu.csv", ROOT / "reports" / "speed-gpu.md"),
}
TIMER = " -- -k 'kernels or network or methods' --benchmark-timer=time.perf_counter"
PACKAGES = ("torch", "numpy", "scipy", "pandas", "medpy")


class Key(NamedTuple):
    """What a ratio is of."""

    group: str
    what: str
    measure: str  # "time" or "memory"


def main(arguments: list[str]) -> int:
    """Exit status: 1 if something got worse beyond noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="what pytest wrote by --benchmark-json")
    parser.add_argument("--keep", action="store_true", help="commit to these ratios")
    given = parser.parse_args(arguments)
    run = json.loads(given.run.read_text())
    file, report = FILES["gpu" in run["benchmarks"][0]["extra_info"]]
    costs = costs_of(run["benchmarks"])
    measured = ratios(costs)
    if given.keep:
        keep(file, measured)
    kept = committed(file)
    worse = regressions(measured, kept)
    report.parent.mkdir(exist_ok=True)
    report.write_text("\n".join([*circumstances(run), "", *table(costs, kept), "", *verdict(measured, kept, file.name), ""]))
    print(f"wrote {report}", *worse, sep="\n")
    return 1 if worse else 0


def costs_of(benchmarks: list[dict[str, Any]]) -> dict[Key, float]:
    """Least time (s; with a GPU by the clock, else the processor's) and, where measured, peak memory (MiB), as they ran."""
    costs = {}
    for one in benchmarks:
        costs[Key(one["group"], one["params"]["how"], "time")] = one["stats"]["min"]
        if "peak_mib" in one["extra_info"]:
            costs[Key(one["group"], one["params"]["how"], "memory")] = one["extra_info"]["peak_mib"]
    return costs


def ratios(costs: dict[Key, float]) -> dict[Key, float]:
    """Each cost over that of the first of its group; a group of one, of which a run left out the rest, has none."""
    groups: dict[tuple[str, str], list[float]] = {}
    for key, cost in costs.items():
        groups.setdefault((key.group, key.measure), []).append(cost)
    return {
        key: cost / groups[key.group, key.measure][0]
        for key, cost in costs.items()
        if len(groups[key.group, key.measure]) > 1
    }


def regressions(measured: dict[Key, float], kept: dict[Key, float]) -> list[str]:
    """What got worse beyond noise, a sentence each."""
    return [
        f"{key.group}: the {key.measure} of {key.what!r} is {now:.3g} of the baseline's; committed was {kept[key]:.3g}"
        for key, now in measured.items()
        if key in kept and now > max(kept[key] * NOISE, kept[key] + SLACK)
    ]


def committed(path: Path) -> dict[Key, float]:
    """The ratios of a file."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {Key(row["group"], row["what"], row["measure"]): float(row["ratio"]) for row in csv.DictReader(file)}


def keep(path: Path, measured: dict[Key, float]) -> None:
    """Commit to ratios; those of groups that were not run stay."""
    groups = {key.group for key in measured}
    stay = {key: ratio for key, ratio in committed(path).items() if key.group not in groups}
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*Key._fields, "ratio"])
        writer.writerows([*key, f"{ratio:.3g}"] for key, ratio in {**stay, **measured}.items())


# -------------------------------------------------------------------------------------------------------------- report


def circumstances(run: dict[str, Any]) -> list[str]:
    """Where and when it was measured, and what this machine can do at most."""
    machine, loads = run["machine_info"], [one["extra_info"]["load"] for one in run["benchmarks"]]
    features = {"avx512f", "avx512_bf16", "amx_bf16", "avx2"} & set(machine["cpu"].get("flags", ()))
    gpu = run["benchmarks"][0]["extra_info"].get("gpu")
    return [
        "# Speed" + " on a GPU" * bool(gpu),
        "",
        f"Written by `tox -e speed{TIMER * bool(gpu)}`; docs/performance.md says what it means.",
        "",
        f"- {machine['cpu'].get('brand_raw', machine['machine'])}, {machine['cpu'].get('count', '?')} cores"
        f" ({', '.join(sorted(features))}); {machine['system']} {machine['release']};"
        f" {f'one {gpu}, times by the clock' if gpu else 'no GPU was used; one thread'}",
        f"- Python {machine['python_version']}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        f"- {run['datetime'][:16]} UTC; load average {min(loads):.1f} to {max(loads):.1f}, the tests' own 1 included",
        f"- at most, measured here after the tests: {gpu_ceilings() if gpu else ceilings()}",
    ]


def ceilings() -> str:
    """Arithmetic of a large product of matrices, and traffic of copies, in memory and in cache: one thread."""
    torch.set_num_threads(1)
    a, b = torch.randn(2, 2048, 2048)
    low, high = a.bfloat16(), b.bfloat16()
    full, half = (2 * 2048**3 / quickest(product) / 1e9 for product in (lambda: a @ b, lambda: low @ high))
    far, near = copied(2**26, 1), copied(2**17, 500)
    return (
        f"{full:.0f} GFLOP/s in fp32 and {half:.0f} in bf16 (matrices of 2048 x 2048),"
        f" {far:.0f} GB/s from and to memory and {near:.0f} in cache (copies of 256 MiB and of 512 KiB, read and written)"
    )


def gpu_ceilings() -> str:
    """Arithmetic of a large product of matrices, and traffic of copies in memory, of the GPU."""
    a, b = torch.randn(2, 8192, 8192, device="cuda")
    low, high, copy = a.bfloat16(), b.bfloat16(), torch.empty(2**29, device="cuda")
    full, half = (2 * 8192**3 / quickest_there(product) / 1e12 for product in (lambda: a @ b, lambda: low @ high))
    far = copy.nbytes / quickest_there(lambda: copy[: 2**28].copy_(copy[2**28 :])) / 1e9
    return (
        f"{full:.0f} TFLOP/s in fp32 and {half:.0f} in bf16 (matrices of 8192 x 8192),"
        f" {far:.0f} GB/s from and to memory (copies of 1 GiB, read and written)"
    )


def quickest_there(work: Callable[[], object]) -> float:
    """The least time of five on the GPU, in seconds."""
    seconds = []
    for _ in range(6):  # the first is a warm-up
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return min(seconds[1:])


def copied(floats: int, times: int) -> float:
    """GB/s read and written by copies of so many floats."""
    source, target = torch.randn(2, floats)

    def copies() -> None:
        for _ in range(times):
            target.copy_(source)

    return 2 * source.nbytes * times / quickest(copies) / 1e9


def quickest(work: Callable[[], object]) -> float:
    """The least processor time of five, in seconds."""
    seconds = []
    for _ in range(5):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def table(costs: dict[Key, float], kept: dict[Key, float]) -> list[str]:
    """A table in Markdown for each group."""
    lines, group = [], ""
    for key, ratio in ratios(costs).items():
        if key.group != group:
            group = key.group
            lines += ["", f"## {group[0].upper()}{group[1:]}", "", "| | cost | of the baseline | committed |"]
            lines.append("|---|---|---|---|")
        before = f"{kept[key]:.3g}" if key in kept else "new"
        lines.append(f"| {key.what}, {key.measure} | {amount(key, costs[key])} | {relation(ratio)} | {before} |")
    return lines[1:]


def amount(key: Key, cost: float) -> str:
    """A cost with its unit."""
    if key.measure == "memory":
        return f"{cost:.1f} MiB"
    return f"{cost:.2f} s" if cost >= 1 else f"{1000 * cost:.3g} ms"


def relation(ratio: float) -> str:
    """A ratio, and how many times less that is."""
    return "1" if ratio == 1 else f"{ratio:.3g}" + (f" ({1 / ratio:.3g} times less)" if ratio < 0.8 else "")


def verdict(measured: dict[Key, float], kept: dict[Key, float], name: str) -> list[str]:
    """Whether anything got worse, and what was not looked at."""
    worse, missing = regressions(measured, kept), [key for key in kept if key not in measured]
    lines = [f"## Against tests/{name} (noise: {NOISE} times)", ""]
    lines += [f"- **worse**: {line}" for line in worse] or ["- Nothing got worse beyond noise."]
    return lines + [f"- not measured in this run: {key.group}: {key.what}, {key.measure}" for key in missing]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
