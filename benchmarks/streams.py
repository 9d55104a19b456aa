"""What spreading a call over time costs: python benchmarks/streams.py [--only NAME ...] [--runs 3]

Random weights of the published sizes; the whole call and its pieces take turns in one process. The bound of a push of
one frame is the time in which the same processor reads all weights of the decoder once, and the push's share of the
whole call: whichever is longer.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from bench.machine import facts
from torch import Tensor

from vocos import get_voco, join_streams
from vocos.voco import Voco

FULL = ("mel", "encodec", "encodec_24khz", "encodec_32khz", "dac_44khz", "dacvae", "oobleck", "xcodec", "mimi")
FULL += ("qwen3_tts", "snac_24khz")
SECONDS = 5.0
WHOLE = ("decode, 5 s", "whole, times real time", "1 s at a time, cost", "8 frames at a time, rate of the whole")
ONE = ("a push of 1 frame, ms", "times real time", "bound, ms", "share of the bound", "delay, s", "state, MB")
NARROW: dict[str, dict[str, Any]] = {
    "dac_44khz": {"encoder_dim": 8, "encoder_rates": (2, 4, 4), "decoder_dim": 64, "decoder_rates": (4, 4, 2)}
    | {"latent_dim": 64, "n_codebooks": 2, "codebook_size": 16},
    "encodec_24khz": {"num_filters": 8, "upsampling_ratios": (4, 4, 2), "hidden_size": 16},
}


def filled(voco: Voco[Any]) -> Voco[Any]:
    """The codec with random weights."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in voco.weights.empty_network({}).state_dict().items():
        fan = tensor[0].numel() if tensor.ndim > 1 else 4
        state[f"network.{name}"] = torch.randn(tensor.shape, generator=generator) / max(1, fan) ** 0.5
    voco.load_state_dict(state)
    return voco


def narrow(name: str) -> Voco[Any]:
    """The codec with a network of width 8."""
    voco = get_voco(name)
    voco.weights._config = voco.config_type.parse({**voco.config, **NARROW[name]})
    return filled(voco)


def pushing(voco: Voco[Any], latents: Tensor, frames: int) -> Callable[[], None]:
    """Decodes latents in pushes of so many frames."""

    def run() -> None:
        stream = voco.decode_stream(latents.shape[0])
        for piece in torch.split(latents, frames, dim=1):
            stream.push(piece)
        stream.finish()

    return run


def seconds_of(*calls: Callable[[], object], runs: int) -> list[float]:
    """The median time of each, in turn, after one that warms up."""
    times: list[list[float]] = [[] for _ in calls]
    for run in range(runs + 1):
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if run:
                found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def reading_seconds(voco: Voco[Any], runs: int) -> float:
    """Time to read the decoder's weights once, as a sum over them."""
    weights = [parameter.flatten() for parameter in voco.network.decoder.parameters()]
    together = torch.cat(weights)
    return seconds_of(together.sum, runs=10 * runs)[0]


def sizes(name: str, runs: int) -> list[str]:
    """A codec pushed in pieces of several sizes, against the whole."""
    voco = filled(get_voco(name))
    frames = int(SECONDS * voco.frame_rate)
    latents = torch.randn(1, frames, voco.latent_dim) / 3
    second = max(1, round(voco.frame_rate))
    few = latents[:, : min(frames, 64)]
    whole, by_second, eight = seconds_of(
        lambda: voco.decode(latents), pushing(voco, latents, second), pushing(voco, latents, 8), runs=runs
    )
    (one,) = seconds_of(pushing(voco, few, 1), runs=runs)
    push, share = one / few.shape[1], whole / frames
    reads = reading_seconds(voco, runs) if hasattr(voco.network, "decoder") else 0.0
    bound = max(reads, share)
    stream = voco.decode_stream()
    return [
        name,
        f"{SECONDS / whole:.2f}",
        f"{by_second / whole:.2f}",
        f"{whole / eight:.2f}",
        f"{1000 * push:.2f}",
        f"{1 / voco.frame_rate / push:.1f}",
        f"{1000 * bound:.2f}" if reads else "",
        f"{bound / push:.2f}" if reads else "",
        f"{stream.delay_seconds:.4f}",
        f"{stream.state_bytes / 1e6:.2f}",
    ]


def positions(runs: int) -> list[str]:
    """A push of one frame early and late."""
    voco = narrow("encodec_24khz")
    stream, piece = voco.decode_stream(), torch.randn(1, 1, voco.latent_dim)
    times = {}
    for position in range(10_200):
        start = time.perf_counter()
        stream.push(piece)
        times[position] = time.perf_counter() - start
    early = statistics.median(times[i] for i in range(10, 210))
    late = statistics.median(times[i] for i in range(10_000, 10_200))
    return [f"{1e6 * early:.0f}", f"{1e6 * late:.0f}", f"{late / early:.2f}"]


def rows(name: str, runs: int) -> list[str]:
    """Streams joined into one against as many alone, of a narrow network."""
    voco, count = narrow(name), 32
    streams = [voco.decode_stream() for _ in range(count)]
    warm, piece = torch.randn(1, 64, voco.latent_dim), torch.randn(1, 1, voco.latent_dim)
    for stream in streams:
        stream.push(warm)
    together, pieces = join_streams(streams), piece.expand(count, -1, -1).contiguous()

    def alone() -> None:
        for stream in streams:
            stream.push(piece)

    one, joined = seconds_of(alone, lambda: together.push(pieces), runs=30 * runs)
    return [name, f"{1e6 * one / count:.0f}", f"{1e6 * joined / count:.1f}", f"{joined / one:.3f}"]


def table(head: list[str], lines: list[list[str]]) -> None:
    """Print a table in Markdown."""
    for line in (head, ["---"] * len(head), *lines):
        print("| " + " | ".join(line) + " |", flush=True)
    print()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=FULL)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    for name, value in facts(torch.get_num_threads()).items():
        print(f"- {name}: {value}")
    print()
    table(
        [*WHOLE, *ONE],
        [sizes(name, arguments.runs) for name in arguments.only],
    )
    table(["1 frame at position 10, us", "at 10 000, us", "ratio"], [positions(arguments.runs)])
    table(
        ["width 8, pushes of 1 frame", "32 alone, us a stream", "32 joined, us a stream", "ratio"],
        [rows(name, arguments.runs) for name in NARROW],
    )


if __name__ == "__main__":
    main()
