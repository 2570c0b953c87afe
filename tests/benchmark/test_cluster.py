"""Ray: a private one in the ordinary tests; clusters of two nodes, and what is lost in them, by `tox -e cluster`."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from benchmark import InputError
from benchmark.store import ResultsFolder
from benchmark.train.ray.client import Cluster, Ray, check_device
from benchmark.train.sweep import Sweep
from tests.support.processes import alive, wait_for
from tests.support.sweeps import BUDGET, TINY, Recorder, run_sweep, small_plan, write_method

PORT = 6399
ADDRESS = f"127.0.0.1:{PORT}"
RAY = str(Path(sys.executable).with_name("ray"))
ONCE = "os.path.exists(self.where) or (open(self.where, 'w').close(), os.kill(os.getpid(), signal.SIGKILL))"
TELL = "open(os.path.join(self.where, f'learns-{os.getpid()}'), 'w').write(repr(dict(os.environ)))"
WAIT = f"{TELL}\n        while not os.path.exists(os.path.join(self.where, 'go')): time.sleep(0.05)"
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
ZEROS = "return np.zeros((1, 32, 32), np.uint8)"


def test_without_ray_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    with pytest.raises(InputError, match=r"pip install 'weakseg-bench\[ray\]'"):
        check_device("auto")


@needs_ray
def test_a_device_of_this_machine_is_none_of_a_cluster():
    with pytest.raises(InputError, match="--device is 'cuda:1'; with --executor ray it must be auto, cpu or cuda"):
        check_device("cuda:1")


@needs_ray
@pytest.mark.slow
def test_a_private_ray_gives_the_results_of_local_workers(tmp_path, monkeypatch):
    """One session: equal label maps, a second try after a death, reasons of failures, and a clean environment."""
    monkeypatch.setenv("MY_OWN_NOTE", f"masks are in {tmp_path / 'data'}")
    methods = [write_method(tmp_path, *each) for each in (("dies_once", ONCE, ZEROS), ("tells", TELL, ZEROS))]
    methods.append(write_method(tmp_path, "raises", "raise RuntimeError('no idea')"))
    methods += [write_method(tmp_path, name, "pass", ZEROS) for name in ("gone", "edited")]
    options = [*TINY, f"dies_once.where={tmp_path / 'died'}", f"tells.where={tmp_path}"]
    plan, screen = small_plan(["pce", *methods], options=options), Recorder()
    Path(methods[-1]).write_text(Path(methods[-1]).read_text().replace("np.zeros", "np.ones"))
    Path(methods[-2]).unlink()
    Sweep(plan, ResultsFolder(tmp_path / "ray"), Ray(Cluster("", "cpu", 0, 1, 300), [tmp_path / "data"]), screen).run()
    (gone,) = (line for line in screen.lines if line[0] == "gone")
    assert gone[1] == "failed"
    assert gone[2].endswith(f"No such file or directory: '{methods[-2]}'")
    screen.lines.remove(gone)
    states = {method: (state, reason) for method, state, reason in screen.lines}
    assert states == {
        "pce": ("done", ""), "dies_once": ("done", ""), "tells": ("done", ""), "raises": ("failed", "RuntimeError: no idea"),
        "edited": ("failed", f"{methods[-1]} was edited after this run was planned; repeat the command"),
    }  # fmt: skip
    assert first_tries(tmp_path / "ray") == {"dies_once": "it was killed by SIGKILL"}
    (seen,) = tmp_path.glob("learns-*")
    assert not any(word in seen.read_text() for word in ("RAY_", "MY_OWN_NOTE", "octa_phantom"))
    run_sweep(small_plan(["pce"]), tmp_path / "local")
    maps = [sorted((tmp_path / name).glob("runs/*/*/pce/*/*.npz")) for name in ("ray", "local")]
    assert len(maps[0]) == len(maps[1]) == 2
    assert all(np.array_equal(np.load(one)["labels"], np.load(two)["labels"]) for one, two in zip(*maps, strict=True))


def first_tries(results: Path) -> dict[str, str]:
    """Why runs were tried a second time, by method."""
    runs = [json.loads(path.read_text()) for path in results.glob("runs/*/*/*/*/run.json")]
    return {run["label"]: run["first_try"] for run in runs if "first_try" in run}


def command(results: Path, methods: list[str], *more: str, **environment: str) -> subprocess.Popen:
    flags = ["--methods", ",".join(methods), "--datasets", "octa_phantom", "--budget", ",".join(BUDGET)]
    options = [part for option in TINY for part in ("--set", option)]
    where = ["--results", str(results), "--reports", str(results / "reports"), "--executor", "ray"]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark", "run", *flags, *options, *where, *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=results.parent, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def waiting(tmp_path):
    """Two methods that end when a file appears and say that they learn."""
    (tmp_path / "plugins").mkdir()
    names = ["one", "two"]
    paths = [write_method(tmp_path / "plugins", name, WAIT, ZEROS) for name in names]
    return paths, [part for name in names for part in ("--set", f"{name}.where={tmp_path}")], tmp_path / "go"


def learning(folder: Path, number: int) -> list[int]:
    """The workers that learn, once there are so many."""
    return wait_for(lambda: len(found := pids(folder)) == number and found)


def pids(folder: Path) -> list[int]:
    return [pid for path in folder.glob("learns-*") if alive(pid := int(path.name.partition("-")[2]))]


def session(leader: int) -> list[int]:
    """The processes of a session."""
    found = subprocess.run(["ps", "-o", "pid=", "-s", str(leader)], capture_output=True, text=True).stdout
    return list(map(int, found.split()))


def end(node: subprocess.Popen) -> None:
    """Switch a node off."""
    for pid in session(node.pid):
        os.kill(pid, signal.SIGKILL)
    node.wait()


@pytest.fixture
def join(tmp_path, monkeypatch):
    """Starts nodes of one cluster, the head first; in the end none is left."""
    for name, value in (("USAGE_STATS_ENABLED", "0"), ("AUTH_MODE", "token"), ("AUTH_TOKEN", os.urandom(32).hex())):
        monkeypatch.setenv(f"RAY_{name}", value)
    monkeypatch.setenv("RAY_ADDRESS", ADDRESS)
    short = Path(tempfile.mkdtemp(prefix="ray-"))  # names of sockets are short
    started: list[subprocess.Popen] = []

    def start(*words: str) -> subprocess.Popen:
        head = ["--head", f"--port={PORT}", f"--temp-dir={short}", "--include-dashboard=false"]
        role = [f"--address={ADDRESS}"] if started else head
        where = ["--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
        log = tmp_path / f"node{len(started)}.txt"
        with log.open("w") as output:
            command = [RAY, "start", *role, *where, *words]
            started.append(subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True))
        wait_for(lambda: started[-1].poll() is not None or "Ray runtime started" in log.read_text())
        assert started[-1].poll() is None, log.read_text()
        return started[-1]

    yield start
    for node in started:
        if node.poll() is None:
            end(node)
    shutil.rmtree(short)


@pytest.fixture
def nodes(join):
    """A cluster of two nodes with a CPU each: the head and another."""
    return [join("--num-cpus=1") for _ in range(2)]


@needs_ray
@pytest.mark.cluster
def test_a_worker_that_is_killed_in_the_middle_is_tried_again(tmp_path, nodes, waiting):
    methods, options, go = waiting
    runner = command(tmp_path / "results", methods, *options)
    workers = learning(tmp_path, 2)
    assert {os.getsid(parent(worker)) for worker in workers} == {node.pid for node in nodes}  # one on each
    os.kill(workers[0], signal.SIGKILL)
    again = wait_for(lambda: set(learning(tmp_path, 2)) - set(workers))
    assert len(again) == 1
    go.write_text("")
    output, _ = runner.communicate(timeout=120)
    assert runner.returncode == 0, output
    assert list(first_tries(tmp_path / "results").values()) == ["it was killed by SIGKILL"]


@needs_ray
@pytest.mark.cluster
def test_what_a_lost_node_did_is_done_on_another(tmp_path, nodes, waiting):
    methods, options, go = waiting
    runner = command(tmp_path / "results", methods, *options)
    workers = learning(tmp_path, 2)
    end(nodes[1])
    wait_for(lambda: sum(map(alive, workers)) == 1)  # nothing of the lost node runs on
    go.write_text("")
    output, _ = runner.communicate(timeout=120)
    assert runner.returncode == 0, output
    assert len(list((tmp_path / "results").glob("runs/*/*/*/*/cases.csv"))) == 2
    (reason,) = first_tries(tmp_path / "results").values()
    assert reason.startswith(("its node died", "its process on the node died"))


@needs_ray
@pytest.mark.cluster
def test_a_lost_head_fails_what_ran_and_the_same_command_resumes(tmp_path, nodes, waiting):
    methods, options, go = waiting
    runner = command(tmp_path / "results", ["prior", *methods], *options, RAY_gcs_rpc_server_reconnect_timeout_s="5")
    workers = learning(tmp_path, 2)
    for node in nodes:
        end(node)
    output, _ = runner.communicate(timeout=120)
    assert runner.returncode == 2
    assert "the connection to Ray was lost; finished runs are stored, and the same command resumes" in output
    assert "Traceback" not in output
    wait_for(lambda: not any(map(alive, workers)))
    states = {}
    for path in (tmp_path / "results").glob("runs/*/*/*/*/run.json"):
        run = json.loads(path.read_text())
        states[run["label"]] = run["state"], run["reason"]
    assert states == {"prior": ("done", ""), **dict.fromkeys(("one", "two"), ("failed", "the connection to Ray was lost"))}
    go.write_text("")
    again = command(tmp_path / "results", ["prior", *methods], *options, RAY_ADDRESS="")
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output


@needs_ray
@pytest.mark.cluster
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_runner_leaves_nothing_at_the_nodes(tmp_path, nodes, waiting, sign):
    methods, options, _ = waiting
    runner = command(tmp_path / "results", methods, *options, TMPDIR=str(tmp_path))
    workers = learning(tmp_path, 2)
    runner.send_signal(sign)
    output, _ = runner.communicate(timeout=60)
    assert runner.returncode not in (0, 1, 2)
    assert "Traceback" not in output
    wait_for(lambda: not any(map(alive, workers)), seconds=20)
    wait_for(lambda: not any("ray::work" in name for node in nodes for name in names(node.pid)), seconds=20)
    assert all(node.poll() is None for node in nodes)


@needs_ray
@pytest.mark.cluster
def test_runs_share_a_gpu_and_see_no_other(tmp_path, join, waiting):
    """Ray is told of two GPUs that are not there; `slots` counts two runs on each, but there are CPUs for three."""
    join("--num-cpus=3", "--num-gpus=2")
    methods, options, go = waiting
    runner = command(tmp_path / "results", methods, *options, "--workers", "2", "--seeds", "0,1")
    learning(tmp_path, 3)
    go.write_text("")
    output, _ = runner.communicate(timeout=120)
    assert runner.returncode == 0, output
    seen = [re.findall(r"'CUDA_VISIBLE_DEVICES': '(.*?)'", path.read_text()) for path in tmp_path.glob("learns-*")]
    assert len(seen) == 4
    assert {device for found in seen for device in found} <= {"0", "1"}


@needs_ray
@pytest.mark.cluster
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_runner_ends_its_private_ray(tmp_path, waiting, sign):
    methods, options, _ = waiting
    runner = command(tmp_path / "results", methods[:1], *options[:2])
    (worker,) = learning(tmp_path, 1)
    leader = os.getsid(parent(worker))  # the process that is connected to Ray
    assert len(session(leader)) > 3
    runner.send_signal(sign)
    runner.communicate(timeout=60)
    wait_for(lambda: not alive(worker) and not any(map(alive, session(leader))), seconds=40)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def names(leader: int) -> list[str]:
    return [Path(f"/proc/{pid}/cmdline").read_text() for pid in session(leader) if alive(pid)]
