"""Correctness first, then time: peers and ours in turn, so that what slows the machine slows both."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.cases import SHORT_CLIP, Case
from bench.contestants import Contestant, Local
from vocos.selftest import snr_db
from vocos.voco import Voco
from vocos.voco.variational import VariationalVoco

TOLERANCE = 1e-4  # largest error of float32, relative to the largest value
ENOUGH_DB = 20.0  # of bfloat16 against float32: below, it is not the same sound
SIZES = (1e-3, 30.0)  # of the standard deviation of a result: beyond, the random weights drown what they should show


class Ours(Local):
    """A direction of a codec of ours, with channel-last tensors as its callers have them, in the codec's dtype."""

    def __init__(self, voco: Voco[Any], work: str) -> None:
        options = {"sample": False} if work == "encode" and isinstance(voco, VariationalVoco) else {}
        call = getattr(voco, work)
        super().__init__(lambda given: call(given, **options))
        self.dtype = voco.dtype

    def prepare(self, given: Tensor) -> None:
        self.given = given.mT.contiguous().to(self.dtype)

    def output(self) -> Tensor:
        return self.result.mT


@dataclass(frozen=True)
class Timing:
    """Seconds of a call, over some runs."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """Ours beside one peer, in one setting.

    Attributes:
        case: name of the case.
        seconds: of audio in a clip.
        batch: clips.
        dtype: ours; the peer's is float32.
        peer: its name and version.
        ours: time of ours, None if the result was wrong.
        theirs: time of the peer.
        speedup: median of the peer over ours.
        target: that is aimed for, None if nothing is.
        error: largest, relative to the largest value of the peer's.
        snr_db: of ours in this dtype against ours in float32, None for float32 itself.
        snr_target: that is aimed for.
        gflop: arithmetic of the work, by the network's convolutions and products.
        gflops: rate at which ours did it.
        gemm_gflops: rate of the machine's matrix products in this dtype, measured before the case.
        gemm_share: `gflops` over that.
        real_time: seconds of audio in a second.
        problem: why times are missing; "" if none are.
        is_wrong: whether that is because the result of ours was not the right one.
    """

    case: str
    seconds: float
    batch: int
    dtype: str
    peer: str
    ours: Timing | None = None
    theirs: Timing | None = None
    speedup: float | None = None
    target: float | None = None
    error: float | None = None
    snr_db: float | None = None
    snr_target: float | None = None
    gflop: float | None = None
    gflops: float | None = None
    gemm_gflops: float | None = None
    gemm_share: float | None = None
    real_time: float | None = None
    problem: str = ""
    is_wrong: bool = False


def given(voco: Voco[Any], work: str, seconds: float, batch: int) -> Tensor:
    """What the work is done on, float32 and channel-first: noise; `[B, C, N]` or `[B, D, L]`, whole frames."""
    generator = torch.Generator().manual_seed(0)
    least = max(voco.minimum_frames, -(-voco.minimum_samples // voco.hop_length))
    frames = max(least, round(seconds * voco.frame_rate))
    if work == "encode":
        return torch.rand(batch, voco.channel, frames * voco.hop_length, generator=generator) - 0.5
    return torch.randn(batch, voco.latent_dim, frames, generator=generator)


def relative_error(result: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value; infinite if there is no comparing them."""
    if result.shape != expected.shape or not result.isfinite().all():
        return float("inf")
    return ((result - expected).abs().max() / expected.abs().max()).item()


def alternate(contestants: Mapping[str, Contestant], runs: int) -> dict[str, Timing]:
    """Time them in turn: one run of each, in the order given, then the next of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(runs):
        for name, contestant in contestants.items():
            seconds[name].append(contestant.run())
    return {name: Timing(statistics.median(taken), min(taken), max(taken)) for name, taken in seconds.items()}


def problem_with(result: Tensor, expected: Tensor, float32: Tensor, dtype: str) -> str:
    """Why a result of ours may not be timed; "" if it may.

    Args:
        result: of ours.
        expected: of the peer.
        float32: of ours in float32.
        dtype: of the result.
    """
    size = expected.std().item()
    if not SIZES[0] <= size <= SIZES[1]:
        return f"the peer's result has a standard deviation of {size:.1e}: these weights show nothing"
    if dtype == "float32" and (error := relative_error(result, expected)) > TOLERANCE:
        return f"ours differs from the peer's by {error:.1e} of the largest value, more than {TOLERANCE:.0e}"
    if dtype != "float32" and not (ratio := snr_db(result, float32)) >= ENOUGH_DB:
        return f"ours in {dtype} has {ratio:.1f} dB against float32, less than {ENOUGH_DB:.0f}"
    return ""


def target_of(case: Case, dtype: str, seconds: float, against: str) -> float | None:
    """How many times as fast as the peer we aim to be; a short clip may be slower by a fifth."""
    if against == "compiled":
        return case.compiled if dtype == "float32" else None
    whole = case.float32 if dtype == "float32" else case.bfloat16
    return whole and whole * (1.0 if seconds > 1.0 else SHORT_CLIP)
