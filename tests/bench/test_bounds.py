"""benchmarks/bounds.py, on a small network."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bench import machine, weights
from bench.cases import CASES, Network

from vocos.kernels import steps
from vocos.kernels.steps import Convolution, Transposed

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "bounds.py"
SMALL = {"encoder_dim": 4, "encoder_rates": [2, 4], "latent_dim": 16, "decoder_dim": 16, "decoder_rates": [4, 2]}


@pytest.fixture(scope="module")
def bounds() -> Any:
    spec = importlib.util.spec_from_file_location("bounds_benchmark", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_a_case_is_bounded_by_its_arithmetic_and_its_rounding(bounds: Any, tmp_path: Path) -> None:
    network = Network("dacvae", "plain", "vocos", SMALL)
    weights.write(network, tmp_path)
    voco, case = weights.read(network, tmp_path), next(case for case in CASES if case.name == "dacvae decode")
    originals = Convolution.part, Transposed.part
    name, work, float32, bfloat16, floor = bounds.case_bounds(case, voco, 30.0, {"float32": 0.5, "bfloat16": 1.0})
    assert (Convolution.part, Transposed.part) == originals
    assert name == "dacvae decode"
    seconds = [float(text.removesuffix(" s")) for text in (float32, bfloat16)]
    assert seconds == pytest.approx([2 * float(work), float(work)], abs=2)  # the work is rounded to whole GFLOP
    assert 35.0 < float(floor.removesuffix(" dB")) < 60.0


def test_rounded_factors_are_those_of_bfloat16(bounds: Any) -> None:
    x, step = torch.randn(1, 3, 20), Convolution(torch.randn(2, 3, 5), torch.randn(2))
    with bounds.rounded_factors():
        given = steps.apply(step, x)
    exact = steps.apply(step._replace(weight=step.weight.bfloat16().float()), x.bfloat16().float())
    assert torch.equal(given, exact)
    assert not torch.equal(given, steps.apply(step, x))


def test_the_best_rate_is_no_less_than_that_of_the_plain_product(bounds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gemm_gflops", lambda dtype: 1e6)
    assert bounds.best_gflops(torch.float32) == 1e6
