"""What all tests share: one thread, no network, and the real data where BENCHMARK_DATA names them."""

import os
import signal

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1", NO_ALBUMENTATIONS_UPDATE="1")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("same", derandomize=True)  # the same examples each time
hypothesis.settings.load_profile("same")
signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # in the background of a shell it is ignored, also by what is started


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest comes first: all of a file is one worker's (`--dist loadfile`)."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Summaries of scans are not kept in the user's folder."""
    os.environ["BENCHMARK_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    if "BENCHMARK_DATA" not in os.environ:
        pytest.skip("BENCHMARK_DATA does not name a folder with real data")
    return Path(os.environ["BENCHMARK_DATA"]).resolve()
