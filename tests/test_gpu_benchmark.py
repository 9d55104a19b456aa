"""benchmarks/gpu.py as far as it goes without a GPU: its gate, its table, and a whole run with tiny networks."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> Any:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=Path.home())


def test_without_a_gpu_it_says_so() -> None:
    result = run(CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 2
    assert result.stderr == "gpu.py: no GPU that torch can use; --smoke DIR tries the program without one\n"


def test_a_trial_makes_the_whole_table(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    result = run("--smoke", str(tmp_path), CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 0, result.stderr + result.stdout
    with (tmp_path / "gpu-smoke.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {(row["work"], row["contestant"]) for row in rows}
    codecs = [f"{codec} {direction}" for codec in ("dacvae", "oobleck") for direction in ("decode", "encode")]
    assert {(work, name) for work in codecs for name in ("eager", "recipe", "ours", "ours, captured")} <= found
    assert {("ceiling", "copy"), ("ceiling", "matrix product"), ("three residual units, 16 channels", "ours")} <= found
    assert {("snake, 96 channels, channels-last", "ours"), ("snake, 128 channels, channel-first", "eager")} <= found
    assert all(float(row["snr_db"]) > 100 for row in rows if row["snr_db"])  # measured: 126 and more
    table = (tmp_path / "gpu-smoke.md").read_text(encoding="utf-8")
    assert table in result.stdout
    assert "WRONG" not in table and "Left out" not in table


def test_what_is_wrong_is_not_timed(gpu: Any) -> None:
    clock = gpu.Clock("cpu", 1.0)
    wanted = torch.randn(100)
    runs = {name: (lambda: wanted) for name in ("eager", "worse", "wrong", "broken")}
    quality = {"eager": 60.0, "worse": 55.0, "wrong": 53.0, "broken": gpu.snr_db(wanted * torch.nan, wanted)}
    limits = gpu.Ceilings(1000.0, {torch.float32: 10.0})
    rows = list(gpu.timed(clock, limits, "work", torch.float32, runs, quality))
    assert [row.contestant for row in rows] == ["eager", "worse"]
    assert len(clock.remarks) == 2
    assert clock.remarks[0] == "WRONG, and not timed: work, float32: wrong has 53.0 dB, eager 60.0 dB"


def test_rates_and_shares_are_those_of_the_work(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = gpu.Clock("cpu", 1.0)
    monkeypatch.setattr(clock, "medians", lambda runs: {"eager": (8.0, 1.0), "ours": (2.0, 0.5)})
    limits = gpu.Ceilings(1000.0, {torch.float16: 20.0})
    options = {"traffic": 1.5e9, "flops": 2e10, "base": {"work": 16.0}}
    runs, quality = dict.fromkeys(("eager", "ours"), None), dict.fromkeys(("eager", "ours"), 60.0)
    eager, ours = gpu.timed(clock, limits, "work", torch.float16, runs, quality, **options)
    assert (eager.times_eager_float32, eager.times_eager) == (2, 1)
    assert ours == gpu.Row("work", "float16", "ours", 2.0, 0.5, 8.0, 4.0, 750.0, 75.0, 10.0, 50.0, None, 60.0)
    table = gpu.markdown([ours], "A card.", ["A remark."])
    assert table.splitlines()[0] == "A card."
    assert "| work | float16 | ours | 2 | 0.5 | 8 | 4 | 750 | 75 | 10 | 50 |  | 60 |" in table.splitlines()
    assert table.endswith("\n\n- A remark.\n")


def test_the_time_runs_out_before_the_work(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = gpu.Clock("cpu", 0.0)
    monkeypatch.setattr(gpu, "ceilings", lambda clock: (None, []))
    assert gpu.measure(clock) == []
    assert clock.remarks[0] == "Left out, for the time was over: dacvae decode float32"
    assert len(clock.remarks) == 14  # 2 codecs, 2 directions, 3 dtypes; the snake and the residual units


def test_arithmetic_is_that_of_the_convolutions(gpu: Any) -> None:
    from vocos.kernels import Convolution, Periodic, Residual, Transposed

    plain = Convolution(torch.zeros(4, 3, 7), None, padding=3)
    assert gpu.flops((plain,), 10) == 2 * 4 * 3 * 7 * 10
    chain = (plain, Residual((Periodic(torch.ones(1, 4, 1)), Convolution(torch.zeros(4, 4, 1), None))))
    assert gpu.flops(chain, 10) == 2 * 4 * 3 * 7 * 10 + 2 * 4 * 4 * 10
    assert gpu.flops((Transposed(torch.zeros(4, 2, 8), None, 4, 2, 2), plain), 10) == 2 * 4 * 2 * 8 * 10 + 2 * 84 * 40
