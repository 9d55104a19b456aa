"""What a call costs beside the operations of PyTorch that it makes: python benchmarks/overhead.py [TREE ...]

On networks so narrow (width 8) and clips so short that arithmetic takes next to nothing. Each TREE is a checkout of
this library; the default is this one. They run in turn, in processes of their own, so that what slows the machine slows
all. The overhead is the time of a call less that of its operations alone, replayed in the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).resolve().parents[1]
BLOCKS = {"encoder_dim": 8, "encoder_rates": (2, 4, 4), "decoder_dim": 64, "decoder_rates": (4, 4, 2)}
NETWORKS: dict[str, dict[str, Any]] = {
    "dac_44khz": {**BLOCKS, "latent_dim": 64, "n_codebooks": 2, "codebook_size": 16},
    "dacvae": {**BLOCKS, "latent_dim": 16},
    "encodec_24khz": {"num_filters": 8, "upsampling_ratios": (4, 4, 2), "hidden_size": 16},
}
FRAMES = 16
WARM, CALLS = 20, 100  # of one function, in one process


class Operations(TorchDispatchMode):
    """Records the operations that run, to run them again."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append((function, args, kwargs or {}))
        return function(*args, **(kwargs or {}))

    def replay(self) -> None:
        """Run them again, on the same tensors."""
        for function, args, kwargs in self.seen:
            function(*args, **kwargs)


def recorded(call: Callable[[], object]) -> Operations:
    """The operations of a call; it must not see that somebody looks, or it would take plain PyTorch."""
    operations = Operations()
    with operations, patch.object(torch._C, "_len_torch_dispatch_stack", lambda: 0):
        call()
    return operations


def microseconds(call: Callable[[], object], alone: Callable[[], object]) -> tuple[float, float]:
    """Medians for both, in turn: processor time of this thread, which stands still while others have the processor."""
    taken: list[tuple[int, int]] = []
    for _ in range(CALLS):
        start = time.thread_time_ns()
        call()
        between = time.thread_time_ns()
        alone()
        taken.append((between - start, time.thread_time_ns() - between))
    whole, operations = (statistics.median(column) / 1000 for column in zip(*taken, strict=True))
    return whole, operations


def own_calls(call: Callable[[], object], package: str) -> int:
    """Functions of ours that run in a call."""
    count = 0

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(package)

    sys.setprofile(see)
    call()
    sys.setprofile(None)
    return count


def measured(folder: Path) -> dict[str, list[float]]:
    """Calls of ours, microseconds of a call and of its operations alone, of each direction of each network."""
    import vocos

    torch.set_num_threads(1)
    torch.manual_seed(0)
    package, found = str(Path(vocos.__file__).parent), {}
    for name in NETWORKS:
        voco = vocos.get_voco(name, weights=folder / name).load()
        audio = torch.rand(1, FRAMES * voco.hop_length, voco.channel) - 0.5
        latents = torch.randn(1, FRAMES, voco.latent_dim)
        works: dict[str, Callable[[], object]] = {
            "encode": lambda voco=voco, audio=audio: voco.encode(audio),
            "decode": lambda voco=voco, latents=latents: voco.decode(latents),
        }
        for work, call in works.items():
            with torch.inference_mode():
                for _ in range(WARM):
                    call()
                operations = recorded(call)
                found[f"{name} {work}"] = [own_calls(call, package), *microseconds(call, operations.replay)]
    return found


def write(folder: Path) -> None:
    """Random weights, for all the trees."""
    sys.path.insert(0, str(HERE / "benchmarks"))
    from bench import weights
    from bench.cases import Network

    for name, config in NETWORKS.items():
        (folder / name).mkdir()
        weights.write(Network(name, "", "vocos", config), folder / name)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each tree in turn, and print the medians of all rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("trees", nargs="*", type=Path, default=[HERE], metavar="TREE")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        print(json.dumps(measured(options.worker)))
        return 0
    results: dict[tuple[str, Path], list[list[float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        write(Path(temporary))
        for _ in range(options.rounds):
            for tree in options.trees:
                for case, values in run(tree.resolve(), temporary).items():
                    results[case, tree].append(values)
    print(report(results, options.rounds))
    return 0


def run(tree: Path, folder: str) -> dict[str, list[float]]:
    """What one tree takes, in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", folder]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    answer = subprocess.run(command, env=environment, cwd=tree, check=True, capture_output=True, text=True)  # noqa: S603
    found: dict[str, list[float]] = json.loads(answer.stdout)
    return found


def report(results: dict[tuple[str, Path], list[list[float]]], rounds: int) -> str:
    """A table of Markdown: the median of the rounds, and of the overhead its range too."""
    lines = [
        f"torch {torch.__version__}, one thread, one clip of {FRAMES} frames, medians of {rounds} rounds in turn; "
        "processor time, in ms",
        "",
        "| case | tree | our calls | a call | its operations alone | overhead | range of it |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, tree in sorted(results, key=lambda key: key[0]):
        rows = results[case, tree]
        overheads = sorted((call - alone) / 1000 for _, call, alone in rows)
        calls, call, alone = (statistics.median(row[i] for row in rows) for i in range(3))
        lines.append(
            f"| {case} | {tree.resolve().name} | {calls:.0f} | {call / 1000:.2f} | {alone / 1000:.2f} "
            f"| {statistics.median(overheads):.2f} | {overheads[0]:.2f} to {overheads[-1]:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
