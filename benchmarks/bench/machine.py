"""What a measurement was made on, and what the machine can do at best."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import torch

import vocos

GEMM_SIZE = 2048
UNITS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve")


def facts(threads: int) -> dict[str, str]:
    """Hardware and versions, by what they are."""
    info = _cpu_info()
    model = info.get("model name") or platform.processor() or platform.machine()
    flags = set(info.get("flags", info.get("Features", "")).split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    return {
        "CPU": f"{model}, {cores} cores, {threads} threads used, {memory:.0f} GiB",
        "units": ", ".join(unit for unit in UNITS if unit in flags) or "not known",
        "system": platform.platform(),
        "versions": ", ".join([f"vocos {vocos.__version__}{_commit()}", *versions, *_installed()]),
    }


def _cpu_info() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:  # no Linux
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _installed() -> list[str]:
    found = []
    for name in ("transformers", "diffusers", "encodec"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """Of a checkout: its commit, and whether files have changed since."""
    git, folder = shutil.which("git"), Path(__file__).parents[2]
    if git is None or not (folder / ".git").exists():
        return ""
    run = subprocess.run(  # noqa: S603
        [git, "-C", str(folder), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return f" ({run.stdout.strip()})" if run.returncode == 0 else ""


def gemm_gflops(dtype: torch.dtype, runs: int = 10) -> float:
    """Rate of a square matrix product, the best of some runs: what the machine can do when nothing is in its way."""
    matrix = torch.rand(GEMM_SIZE, GEMM_SIZE).to(dtype)
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        taken.append(time.perf_counter() - start)
    return 2e-9 * GEMM_SIZE**3 / min(taken)
