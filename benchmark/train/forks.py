"""Workers by forking a process that has imported torch: `python -m benchmark.train.forks PIPE`, on Linux.

For a short run, the imports of a worker take most of its time. A helper process imports once what every worker needs. It
opens no data and no GPU and starts no thread, and forks a worker for each task. The runner asks it by JSON through a pipe,
so that nothing that is sent back can run code.
"""

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class Forks:
    """The helper process. After it has ended, it starts no worker, and its workers are killed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it with the environment of a worker."""
        self.environment = environment
        self.pipe, other = Pipe()
        self.asked, self.ended = 0, False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmark.train.forks", str(other.fileno())],
            stdin=subprocess.PIPE,  # also that of all its workers, which end when it closes: whenever this process ends
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            pass_fds=[other.fileno()],
            start_new_session=True,
        )
        other.close()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> "Forked | None":
        """Start a worker with the arguments JOB, SEALED and OUT; None if that is impossible."""
        differing = {name: value for name, value in environment.items() if self.environment.get(name) != value}
        pid = self.ask(arguments=arguments, environment=differing)
        return None if pid is None else Forked(self, pid)

    def ask(self, **request: Any) -> int | None:
        """Return the helper's answer, None after its end."""
        self.asked += 1
        try:
            self.pipe.send_bytes(json.dumps([self.asked, request]).encode())
            while True:
                number, answer = json.loads(self.pipe.recv_bytes())
                if number == self.asked:  # not an answer that an interrupted call has left
                    return None if answer is None else int(answer)
        except (EOFError, OSError):
            self.ended = True
            return None

    def close(self) -> None:
        """End the helper."""
        self.process.kill()
        self.process.communicate()
        self.pipe.close()


class Forked:
    """A worker that was forked, with those attributes of a `subprocess.Popen` that the executor uses."""

    stdin = None

    def __init__(self, forks: Forks, pid: int) -> None:
        self.forks, self.pid = forks, pid
        self.returncode: int | Any = None

    def poll(self, flags: int = os.WNOHANG) -> int | None:
        """Return the exit status, or minus the signal that killed it; None while it runs."""
        if self.returncode is None:
            self.returncode = self.forks.ask(wait=self.pid, flags=flags)
        if self.returncode is None and self.forks.ended:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.returncode = -signal.SIGKILL
        return self.returncode

    def wait(self) -> int | None:
        """Wait until it has ended; return the same."""
        return self.poll(0)


def main(number: str) -> None:
    """Import and answer until the pipe closes; in a forked process, be a worker."""
    finished: list[str] = []
    atexit.register(leave, finished)  # the first that is registered is the last that is called
    sys.modules["benchmark.datasets"] = None  # type: ignore[assignment]  # importing it raises ImportError
    *_, worker = load()
    if forkable() and (arguments := serve(Connection(int(number)))):
        sys.argv = [worker.__file__, *arguments]
        worker.main(*arguments)
        finished += arguments


def load() -> tuple[Any, ...]:
    """Return the modules that workers need; their imports start no thread and use no GPU."""
    import cv2

    cv2.setNumThreads(1)
    import albumentations
    import scipy.ndimage
    import scipy.optimize
    import torch._dynamo  # which every optimiser imports

    from benchmark.plan.plugins import Plugin
    from benchmark.train import numerics, worker

    base = Plugin("method", "base", "benchmark.methods.base").imported()

    return albumentations, scipy.ndimage, scipy.optimize, torch._dynamo, base, numerics, worker


def forkable() -> bool:
    """Return whether this process has no second thread and has opened no GPU: a fork could use neither."""
    opened = [str(path.resolve()) for path in Path("/proc/self/fd").iterdir()]
    return len(list(Path("/proc/self/task").iterdir())) == 1 and not any("/dev/nvidia" in path for path in opened)


def serve(pipe: "Connection[Any, Any]") -> list[str] | None:
    """Answer until the pipe closes, then return None; return a worker's arguments in each process that is forked."""
    gc.freeze()  # else a worker's search for garbage would copy the pages that it shares
    while True:
        try:
            number, request = json.loads(pipe.recv_bytes())
        except EOFError:
            return None
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], request["flags"])
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := fork()) == 0:
            pipe.close()
            become(**request)
            return list(request["arguments"])
        pipe.send_bytes(json.dumps([number, answer]).encode())


def fork() -> int | None:
    """Fork; return the new process's id, 0 in that process, and None if the system refuses."""
    try:
        pid = os.fork()
    except OSError:
        return None
    with suppress(OSError):  # a group of its own, set in both: whichever runs first
        os.setpgid(pid, pid)
    return pid


def become(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Take a worker's environment, as far as it differs, working folder and output."""
    os.environ.update(environment)
    os.chdir(arguments[-1])
    with Path("output.txt").open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


def leave(finished: list[str]) -> None:
    """End without freeing every object of the imports, which would copy them and take longer than a step."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0 if finished else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
