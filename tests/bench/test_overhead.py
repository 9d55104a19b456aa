"""benchmarks/overhead.py, on the smallest of its networks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vocos import get_voco

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "overhead.py"


@pytest.fixture
def overhead(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("overhead_benchmark", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(module, "NETWORKS", {"encodec_24khz": module.NETWORKS["encodec_24khz"]})
    monkeypatch.setattr(module, "WARM", 1)
    monkeypatch.setattr(module, "CALLS", 2)
    return module


def test_each_direction_is_measured_and_reported(overhead: Any, tmp_path: Path) -> None:
    overhead.write(tmp_path)
    threads = torch.get_num_threads()
    found = overhead.measured(tmp_path)
    torch.set_num_threads(threads)
    assert list(found) == ["encodec_24khz encode", "encodec_24khz decode"]
    table = overhead.report({(case, tmp_path): [values, values] for case, values in found.items()}, 2)
    calls, whole, alone = found["encodec_24khz encode"]
    assert calls > 100  # the network has 60 layers
    assert f"| {tmp_path.name} | {calls:.0f} | {whole / 1000:.2f} | {alone / 1000:.2f} |" in table


@torch.inference_mode()
def test_operations_are_those_of_the_engine_that_runs(overhead: Any, tmp_path: Path) -> None:
    overhead.write(tmp_path)
    voco = get_voco("encodec_24khz", weights=tmp_path / "encodec_24khz").load()
    latents = torch.randn(1, 4, voco.latent_dim)
    voco.decode(latents)
    names = {str(function) for function, _, _ in overhead.recorded(lambda: voco.decode(latents)).seen}
    assert names
    assert not any("convolution" in name for name in names)  # which the definition calls, this engine with few rows not
