"""NVIDIA's service that lets the kernels of several processes run on a GPU at the same time (MPS)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
ELSEWHERE = "/usr/local/nvidia/bin"  # where containers have NVIDIA's programs
WAIT_S = 30  # for the service to start or end


@contextmanager
def shared_gpus(folder: Path, devices: list[str], per_device: int) -> Iterator[dict[str, str]]:
    """Run the service during the block if GPUs are shared and it is installed; yield the variables by which workers find it.

    Its sockets and logs are in `folder`. If it can't be started, this is said, and the runs do without.
    """
    program = shutil.which(CONTROL, path=os.pathsep.join([os.environ.get("PATH", ""), ELSEWHERE]))
    if program is None or per_device < 2 or not all(device.startswith("cuda") for device in devices):
        yield {}
        return
    variables = {f"CUDA_MPS_{name}_DIRECTORY": str(folder / name.lower()) for name in ("PIPE", "LOG")}
    for path in variables.values():
        Path(path).mkdir()
    try:
        _control([program, "-d"], variables)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"warning: MPS does not start ({error}); the runs on a GPU take turns", file=sys.stderr)
        yield {}
        return
    try:
        yield variables
    finally:
        with suppress(OSError, subprocess.SubprocessError):
            _control([program], variables, b"quit\n")


def _control(command: list[str], variables: dict[str, str], text: bytes = b"") -> None:
    # without CUDA_VISIBLE_DEVICES, by which the service would number the GPUs anew
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"} | variables
    quiet = subprocess.DEVNULL  # not a pipe, which the service would keep open
    subprocess.run(command, input=text, stdout=quiet, stderr=quiet, env=environment, check=True, timeout=WAIT_S)
