"""Triton's kernels: by the interpreter as the float64 functions that they replace, and compiled for an H100 or H200."""

import os
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from tests.support import kernels as compare
from tests.support.kernels import LARGEST

pytest.importorskip("triton")


@pytest.fixture(scope="module")
def interpreted():
    """Calls a function in another process, in which Triton's interpreter runs the kernels."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with patch.dict(os.environ, TRITON_INTERPRET="1"):
            pool.submit(compare.cross_entropy, 2, (4, 4), torch.float32, 1.0, 0, "cpu").result()  # starts it
        yield lambda function, *given: pool.submit(function, *given, "cpu").result()


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("how", compare.RESIZINGS, ids=str)
def test_the_gradient_of_resizing_is_pytorchs(interpreted, how, align):
    for channels, dtype in ((3, torch.float64), (1, torch.float32)):
        assert max(interpreted(compare.resizing, how, align, channels, dtype, channels)) < LARGEST[dtype]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", compare.PAIRS, ids=str)
def test_the_agreement_of_pairs_is_that_of_the_plain_loss(interpreted, case, dtype):
    assert max(interpreted(compare.agreement, case, dtype, case[0])) < LARGEST[dtype]


@pytest.mark.parametrize("dtype", LARGEST, ids=str)
@pytest.mark.parametrize(("classes", "shape"), [(2, (1, 3)), (3, (9, 11)), (4, (32, 33)), (16, (13, 7))])
def test_the_partial_cross_entropy_is_that_of_the_plain_loss(interpreted, classes, shape, dtype):
    for seed, scale in ((0, 1.0), (1, 30.0)):
        loss, gradient = interpreted(compare.cross_entropy, classes, shape, dtype, scale, seed)
        assert loss < min(5e-6, LARGEST[dtype])  # in single precision at least, whatever the logits
        assert gradient < LARGEST[dtype]


def test_logits_of_any_size_have_a_finite_loss(interpreted):
    assert max(interpreted(compare.cross_entropy, 3, (5, 6), torch.float32, 1e4, 0)) < 5e-6


def test_half_precision_is_rounded_once(interpreted):
    found = interpreted(compare.resizing, {"size": (16, 22)}, True, 3, torch.bfloat16, 0)
    assert max(found) < LARGEST[torch.bfloat16]


def test_prsa_computes_with_the_kernel(interpreted):
    assert max(interpreted(compare.refined, 0)) < 1e-12


KERNELS = ("_gather", "_agree", "_logs", "_logs_gradient")
CONSTANTS = {"ROWS": 4, "COLUMNS": 4, "NEAR": 0.01, "ALIKE": 50.0, "RADIUS": 5, "CENTRES": True, "CHANNELS": 3}
CONSTANTS |= {"CLASSES": 4, "PIXELS": 64}
INTEGERS = ("row", "column", "allowed")
SINGLE = ("row_weight", "column_weight", "probs", "image", "centres", "smoothed", "parts")


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_for_sm_90_and_nothing_is_added_by_atomics(name, tmp_path, monkeypatch):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from benchmark.train import kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(kernels, name)
    kinds = dict.fromkeys(CONSTANTS, "constexpr") | dict.fromkeys(INTEGERS, "*i32") | dict.fromkeys(SINGLE, "*fp32")
    kinds |= dict.fromkeys(("logits", "grad"), "*bf16") | {"slope": "*bf16" if name == "_gather" else "*fp32"}
    constants = {given: CONSTANTS[given] for given in kernel.arg_names if given in CONSTANTS}
    constants |= {"CHANNELS": 4} if name == "_gather" else {}  # a power of two there
    source = ASTSource(kernel, {given: kinds.get(given, "i32") for given in kernel.arg_names}, constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert compiled.asm["cubin"]
    assert not re.search(r"\b(atom|red)\.", compiled.asm["ptx"])


def test_every_kernel_is_among_these():
    from benchmark.train import kernels

    launched = re.findall(r"\b(_\w+)\[", Path(kernels.__file__).read_text())
    assert sorted(set(launched)) == sorted(KERNELS)
