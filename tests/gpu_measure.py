"""Measure on a GPU where a step's time goes and what each stage brings: `python -m tests.gpu_measure OUT [PART ...]`.

Prints each figure as soon as it is known, and keeps it in OUT/gpu.jsonl. A part that fails prints why, and the next one
begins. A part that has ended is not repeated in the same OUT; so a second call continues where the first one was stopped.
Without a GPU, or with SMALL=1, everything is tried on tiny images: a rehearsal, whose figures mean nothing.

`about`     card, libraries, copy rate, whether NVIDIA's MPS is there
`convs`     each convolution of the U-Net: forward, by data, by weights; deterministic, free, and tuned
`steps`     a step of `pce`, batch included: the loop, tables without a graph, with one, and with each choice of `kernels`
`profile`   the kernels that take longest
`equal`     whether a graph learns to the bit what its steps learn one by one, and twice the same
`lanes`     several trainings in one process, each a graph in a stream of its own
`processes` several processes with a graph each; then the same under MPS
`methods`   a step of every static method, as a graph
`sweep`     runs a minute of the command line on small images, by the number of workers
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import torch
import torch.nn.functional as F

from benchmark.methods import networks
from benchmark.methods.base import optimiser_of
from benchmark.methods.resident import WARM_UP, Resident
from benchmark.plan import plugins
from benchmark.seal.contract import Budget, WeakData, WeakScan
from benchmark.train.mps import shared_gpus
from benchmark.train.numerics import repeatable
from benchmark.train.worker import seed_everything

CUDA = torch.cuda.is_available()
SMALL = not CUDA or bool(os.environ.get("SMALL"))
DEVICE = torch.device("cuda" if CUDA else "cpu")
BATCH, SIZE, STEPS, ROUNDS = (2, 32, 8, 1) if SMALL else (12, 256, 400, 5)
PARTS = ("about", "convs", "steps", "profile", "equal", "lanes", "processes", "methods", "sweep")
START = time.perf_counter()


class Record:
    """The figures of this and earlier calls, in OUT/gpu.jsonl."""

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.file = out, out / "gpu.jsonl"
        lines = self.file.read_text().splitlines() if self.file.is_file() else []
        self.ended = {line["ended"] for line in map(json.loads, lines) if "ended" in line}

    def __call__(self, **values: Any) -> None:
        """Print figures, and keep them."""
        line = {"s": round(time.perf_counter() - START, 1)} | values
        print(*(f"{name}={value}" for name, value in line.items()), flush=True)
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")


def main(out: str, *parts: str) -> None:
    """Run the parts that are named, or all, that have not ended in OUT."""
    say = Record(Path(out))
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for part in parts or PARTS:
        if part in say.ended:
            continue
        try:
            globals()[part](say)
            say(ended=part)
        except Exception:
            say(part=part, failed=traceback.format_exc()[-1500:])


def clock(work: Callable[[], Any], times: int) -> float:
    """Milliseconds of one call, the median of five rounds."""
    found = []
    for _ in range(ROUNDS):
        wait()
        start = time.perf_counter()
        for _ in range(times):
            work()
        wait()
        found.append((time.perf_counter() - start) / times * 1e3)
    return sorted(found)[len(found) // 2]


def wait() -> None:
    """Wait for the GPU."""
    if CUDA:
        torch.cuda.synchronize()


def graphed(work: Callable[[], Any]) -> Callable[[], Any]:
    """Return work as a graph, so that its launches cost next to nothing; without a GPU as it is."""
    if not CUDA:
        return work
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            work()
        with torch.cuda.graph(graph, stream=stream):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    return lambda held=work: graph.replay()  # what a graph reads must live as long as it does


def data(size: int = SIZE, slices: int = 48) -> WeakData:
    """Smooth noise with few marks of four classes."""
    generator = torch.Generator().manual_seed(0)
    image = F.interpolate(torch.rand(slices, 1, 16, 16, generator=generator), size=size, mode="bicubic").clamp(0, 1)
    marked = torch.rand(slices, size, size, generator=generator) < 0.02
    sets = torch.where(marked, 1 << (image[:, 0] * 4).long().clamp(max=3), 15).to(torch.uint8)
    return WeakData([WeakScan(image.numpy(), sets.numpy())], 4, 1)


def training(name: str = "pce", kernels: str = "torch", seed: int = 0) -> Resident:
    """A training before its first step; it can take any number of steps, as its schedule is repeated."""
    method, made = plugins.get("method", name).load()(), []
    budget = Budget(
        steps=STEPS, batch=BATCH, size=SIZE, precision="bf16", **({} if kernels == "torch" else {"kernels": kernels})
    )

    def prepare(augmentation: Any, order: Any) -> None:
        made.append(Resident(method, optimiser_of(method.net, budget, DEVICE), augmentation, order))

    method._train = prepare
    seed_everything(seed)
    method.fit(data(), budget, lambda step, /, **values: None)
    resident = made[0]
    turns = [[resident.augmentation.turn(step, n) for n in range(BATCH)] for step in range(8)]
    resident.turns.copy_(torch.tensor(np.array(turns), dtype=torch.float32).repeat(STEPS // 8, 1, 1, 1))
    return resident


def stepper(resident: Resident, kind: Any = None) -> Callable[[], None]:
    """A step of the training, whose counter goes round."""

    def step() -> None:
        resident.step(kind)
        resident.count.remainder_(STEPS)

    return step


def about(say: Record) -> None:
    """Card, libraries, copy rate, MPS."""
    card = torch.cuda.get_device_name() if CUDA else "cpu"
    say(card=card, torch=torch.__version__, cudnn=torch.backends.cudnn.version(), cores=os.cpu_count(), rehearsal=SMALL)
    folders = (*os.environ["PATH"].split(":"), "/usr/local/nvidia/bin")
    say(mps=[str(path) for folder in folders for path in Path(folder).glob("nvidia-cuda-mps-control")])
    if CUDA:
        one = torch.zeros(2**30, dtype=torch.uint8, device=DEVICE)
        other = torch.empty_like(one)
        say(copy_TB_per_s=round(2 * 2**30 / clock(lambda: other.copy_(one), 20) / 1e9, 2))


def convs(say: Record) -> None:
    """Each convolution and its three passes; how many ms of a step they are."""
    seed_everything(0)
    net, shapes = networks.build("unet", 1, 4).to(DEVICE), []
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda conv, given, _: shapes.append(
                    (conv.in_channels, conv.out_channels, given[0].shape[-1], conv.kernel_size[0])
                )
            )
    net(torch.rand(2, 1, SIZE, SIZE, device=DEVICE))
    dtype = torch.bfloat16
    for how, mode, tuned in (("deterministic", "warn", False), ("free", "default", False), ("tuned", "warn", True)):
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = tuned
        total = 0.0
        for shape in dict.fromkeys(shapes):
            inputs, outputs, side, kernel = shape
            sizes = (BATCH, inputs, side, side), (outputs, inputs, kernel, kernel), (BATCH, outputs, side, side)
            x, w, y = (torch.randn(s, device=DEVICE, dtype=dtype).to(memory_format=torch.channels_last) for s in sizes)

            def backward(mask: list[bool], x: Any = x, w: Any = w, y: Any = y, pad: int = kernel // 2) -> Callable[[], Any]:
                settings = [1, 1], [pad, pad], [1, 1], False, [0, 0], 1
                return lambda: torch.ops.aten.convolution_backward(y, x, w, None, *settings, mask)

            ways = {"weights": backward([False, True, False])}
            ways["forward"] = lambda x=x, w=w, pad=kernel // 2: F.conv2d(x, w, padding=pad)
            if inputs > 1:
                ways["data"] = backward([True, False, False])
            times = {name: clock(graphed(way), 1 if SMALL else 20) for name, way in ways.items()}
            total += sum(times.values()) * shapes.count(shape)
            label = f"{inputs}>{outputs} k{kernel} at {side} x{shapes.count(shape)}"
            say(convolution=label, how=how, **{name: round(ms, 4) for name, ms in times.items()})
        say(convolutions_ms_a_step=round(total, 3), how=how)
    torch.backends.cudnn.benchmark = False
    torch.set_deterministic_debug_mode("warn")


def steps(say: Record) -> None:
    """A step of `pce` with its batch."""
    say(what="the loop", ms=round(_loop(), 3))
    for kernels, graph in (("torch", False), ("torch", True), ("triton", True), ("compiled", False), ("compiled", True)):
        try:
            with repeatable(kernels):
                begin = time.perf_counter()
                step = stepper(training(kernels=kernels))
                step()
                again = graphed(step) if graph else step
                ready = round(time.perf_counter() - begin, 1)
                ms = clock(again, 1 if SMALL else 50)
            say(what="tables", kernels=kernels, graph=graph, ms=round(ms, 3), steps_per_s=round(1e3 / ms), ready_s=ready)
        except Exception as error:
            say(what="tables", kernels=kernels, graph=graph, failed=f"{type(error).__name__}: {error}"[:400])
    with repeatable():
        step = stepper(training())
        torch.set_deterministic_debug_mode("default")
        say(what="tables, free sums", graph=True, ms=round(clock(graphed(step), 1 if SMALL else 50), 3))
        torch.set_deterministic_debug_mode("warn")


def _loop() -> float:
    """Milliseconds of a step of the loop that methods have that are not static."""

    class Plain(plugins.get("method", "pce").load()):  # type: ignore[misc]
        pass  # does not inherit `static`

    marks: list[float] = []
    with repeatable():
        seed_everything(0)
        budget = Budget(steps=STEPS, batch=BATCH, size=SIZE, precision="bf16")
        Plain().fit(data(), budget, lambda step, /, **values: marks.append(time.perf_counter()))
    each = max(1, STEPS // 100)  # a line of the log every so many steps
    return float(np.median(np.diff(marks[len(marks) // 4 :]))) / each * 1e3


def equal(say: Record) -> None:
    """Whether graphs are repeatable, and equal to steps one by one."""
    budget = Budget(steps=min(STEPS, 60), batch=BATCH, size=SIZE, precision="bf16")
    for name in ("pce", "mean_teacher", "procns"):
        found = {}
        for how, graphs in (("one by one", False), ("graph", True), ("graph again", True)):
            Resident.graphs = graphs
            with repeatable():
                seed_everything(0)
                method, losses = plugins.get("method", name).load()(), []
                method.fit(data(), budget, lambda step, /, losses=losses, **values: losses.append(values))
            found[how] = losses, torch.cat([weight.detach().flatten().cpu() for weight in method.net.parameters()])
        Resident.graphs = True
        losses, weights = found["one by one"]
        for how, (others, other) in found.items():
            say(method=name, how=how, losses_equal=losses == others, weights_equal=torch.equal(weights, other))


def methods(say: Record) -> None:
    """A step of each static method as a graph, and its peak memory; without a memory, so of a first phase."""
    for name, plugin in ((name, plugins.get("method", name)) for name in plugins.groups()["all"]):
        if not vars(plugin.load()).get("static"):
            continue
        if CUDA:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with repeatable():
            resident = training(name)
            ms = clock(graphed(stepper(resident, resident.method.kind(0))), 1 if SMALL else 20)
        memory = torch.cuda.max_memory_allocated() >> 20 if CUDA else 0
        say(method=name, ms=round(ms, 3), steps_per_s=round(1e3 / ms), memory_mib=memory)


def profile(say: Record) -> None:
    """The kernels of a step that take longest; without a graph, so that names belong to operators."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    with repeatable():
        step = stepper(training())
        for _ in range(WARM_UP):
            step()
        wait()
        with watch(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * CUDA]) as seen:
            for _ in range(5):
                step()
            wait()
    own = "self_device_time_total" if CUDA else "self_cpu_time_total"
    rows = sorted(seen.key_averages(), key=lambda row: -getattr(row, own))
    say(kernels_ms_a_step=round(sum(getattr(row, own) for row in rows) / 5e3, 3))
    for row in rows[:25]:
        say(kernel=row.key[:90], ms=round(getattr(row, own) / 5e3, 4), calls=row.count / 5)


def lanes(say: Record) -> None:
    """Several trainings in one process."""
    if not CUDA:
        return
    for count in (1, 2, 4, 8, 12):
        with repeatable():
            replays, streams = (
                [graphed(stepper(training(seed=n))) for n in range(count)],
                [torch.cuda.Stream() for _ in range(count)],
            )

        def once(replays: Any = replays, streams: Any = streams) -> None:
            for replay, stream in zip(replays, streams, strict=True):
                with torch.cuda.stream(stream):
                    replay()

        ms = clock(once, 30)
        say(lanes=count, steps_per_s=round(1e3 * count / ms), memory_gib=round(torch.cuda.memory_reserved() / 2**30, 1))
        del replays, once
        torch.cuda.empty_cache()


def processes(say: Record) -> None:
    """Processes that step for some seconds at the same time, without MPS and, where it is installed, under it."""
    device, seconds = ("cuda:0", 5.0) if CUDA else ("cpu", 0.5)
    for count in (2,) if SMALL else (4, 12):
        say(processes=count, mps=False, steps_per_s=round(_together(say.out, count, seconds, {}), 1))
    with TemporaryDirectory() as folder, shared_gpus(Path(folder), [device], 2) as variables:
        for count in (4, 12) if variables else ():
            say(processes=count, mps=True, steps_per_s=round(_together(say.out, count, seconds, variables), 1))


def _together(out: Path, count: int, seconds: float, variables: dict[str, str]) -> float:
    """Steps a second of so many processes in all; each says when it is ready, and begins when all are."""
    begin = out / "begin"
    begin.unlink(missing_ok=True)
    code = f"from tests.gpu_measure import alone; alone({str(begin)!r}, {seconds})"
    command: Any = {"env": os.environ | variables, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([sys.executable, "-c", code], **command) for _ in range(count)]
    for child in children:
        if child.stdout.readline() != "ready\n":
            raise RuntimeError(f"a process ended with status {child.wait()}")
    begin.touch()
    return sum(float(child.communicate()[0]) for child in children)


def alone(begin: str, seconds: float) -> None:
    """Be one of these processes: print ready, wait for the file, step, and print the steps a second."""
    with repeatable():
        again = graphed(stepper(training()))
    print("ready", flush=True)
    while not Path(begin).exists():
        time.sleep(0.01)
    start, done = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        for _ in range(1 if SMALL else 10):
            again()
            done += 1
        wait()
    print(done / (time.perf_counter() - start), flush=True)


def sweep(say: Record) -> None:
    """Runs a minute of the command line: 1,000 steps of 8 x 96 px on a phantom."""
    steps, size, batch = (3, 32, 2) if SMALL else (1000, 96, 8)
    for workers in (1,) if SMALL else (1, 4, 8, 12):
        seeds = ",".join(map(str, range(1 if SMALL else 2 * workers)))
        words = ["--methods", "pce,dmpls", "--datasets", "octa_phantom", "--annotations", "scribble:sim", "--seeds", seeds]
        words += ["--budget", f"short,steps={steps},size={size},batch={batch}", "--workers", str(workers), "--shard", "1/1"]
        results = say.out / f"sweep{workers}"
        begin = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, "-m", "benchmark", "run", *words, "--results", str(results)],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - begin
        done = sum(json.loads(path.read_text())["state"] == "done" for path in results.rglob("run.json"))
        say(workers=workers, runs=done, runs_per_minute=round(60 * done / seconds, 1), seconds=round(seconds, 1))
        if ended.returncode or not done:
            raise RuntimeError((ended.stdout + ended.stderr)[-1200:])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(f"usage: python -m tests.gpu_measure OUT [{' | '.join(PARTS)}]")
    main(*sys.argv[1:])
