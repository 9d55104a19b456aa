"""How much memory a direction needs, measured in a process that has done nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from bench import weights
from bench.cases import NETWORKS, Case
from bench.contestants import Local, Remote
from bench.measure import Ours, given
from bench.peers import contestant
from vocos.errors import VocoError

SECONDS = 60.0  # of audio


@dataclass(frozen=True)
class Memory:
    """Bytes beyond what the loaded process had; None for a peer that is not installed."""

    case: str
    dtype: str
    ours: int
    theirs: int | None


def measure(case: Case, dtype: str, folder: Path, pypi_python: str | None) -> Memory:
    """Peak memory of ours in a dtype, and of the peer in float32, at the work of a case on `SECONDS`."""
    ours = _in_fresh_process("ours", case, dtype, folder, pypi_python)
    theirs = _in_fresh_process("peer", case, "float32", folder, pypi_python)
    if ours is None:
        raise VocoError(f"bench: no memory of {case.name} was measured")
    return Memory(case.name, dtype, ours, theirs)


def _in_fresh_process(side: str, case: Case, dtype: str, folder: Path, pypi_python: str | None) -> int | None:
    request = json.dumps([side, case.network, case.work, dtype, str(folder), pypi_python, SECONDS])
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": paths}
    command = [sys.executable, "-m", "bench.memory", request]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if run.returncode != 0:
        reason = (run.stderr.strip().splitlines() or [f"code {run.returncode}"])[-1]
        if side == "peer":
            print(f"{case.name}: no memory of the peer: {reason}", file=sys.stderr)
            return None
        raise VocoError(f"bench: measuring the memory of {case.name} failed: {reason}")
    return int(run.stdout.splitlines()[-1])


def main(request: str) -> None:
    """Print the bytes that one side needs."""
    side, name, work, dtype, folder, pypi_python, seconds = json.loads(request)
    network = NETWORKS[name]
    voco = weights.read(network, Path(folder), dtype)
    tensor = given(voco, work, seconds, batch=1)
    taking_part: Local | Remote = Ours(voco, work)
    if side == "peer":
        taking_part = contestant(network, work, Path(folder), voco, pypi_python)[1]
        del voco
    taking_part.prepare(tensor)
    print(taking_part.peak())


if __name__ == "__main__":
    main(sys.argv[1])
