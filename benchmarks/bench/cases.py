"""What is measured, against what, and what is aimed for. Data only."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vocos.errors import InvalidInput

SHORT_CLIP = 0.8  # of a target, for one second of audio
COMPILED = 1.3  # times as fast as the peer under torch.compile, unless a case says otherwise
GEMM_SHARE = 0.75  # of the machine's own float32 rate, for the cases that say so
MEMORY_SHARE = 0.5  # of the peer's


@dataclass(frozen=True)
class Network:
    """A codec at its published size, and whose implementation it is held against.

    Attributes:
        voco: name of ours.
        peer: name of theirs, in `peers.PEERS`.
        layout: in which both read their weights: one that ours exports, "vocos" for our own, or of `weights.LAYOUTS`.
        config: what differs from the built-in config.
    """

    voco: str
    peer: str
    layout: str
    config: Mapping[str, Any] = field(default_factory=dict)


NETWORKS = {
    "oobleck": Network("oobleck", "diffusers", "diffusers"),
    # Not ours of fewer latents than encoder channels, which transformers cannot have.
    "dac": Network("dac_44khz", "transformers", "transformers"),
    "dacvae": Network("dacvae", "plain", "vocos"),
    "encodec": Network("encodec_24khz", "encodec", "original"),
    "mel": Network("mel", "vocos", "charactr"),
    "mimi": Network("mimi", "mimi", "transformers"),
    "snac": Network("snac_24khz", "snac", "snac", {"noise": False}),  # two draws would differ
    "wavtokenizer": Network("wavtokenizer", "wavtokenizer", "transformers"),
}


@dataclass(frozen=True)
class Case:
    """One direction of one network.

    Attributes:
        network: key of `NETWORKS`.
        work: "encode" or "decode".
        float32: how many times as fast as the peer in float32 we aim to be, with 10 s of audio.
        bfloat16: the same of ours in bfloat16, against the peer in float32; None to leave it out.
        snr_db: of bfloat16 against float32.
        compiled: as `float32`, against the peer under torch.compile.
        has_gemm_target: whether `GEMM_SHARE` is aimed for.
    """

    network: str
    work: str
    float32: float
    bfloat16: float | None = None
    snr_db: float | None = None
    compiled: float = COMPILED
    has_gemm_target: bool = False

    @property
    def name(self) -> str:
        return f"{self.network} {self.work}"


CASES = (
    Case("oobleck", "encode", 2.2, 6.0, 35.0),
    Case("oobleck", "decode", 2.2, 6.0, 35.0, has_gemm_target=True),
    Case("dac", "encode", 1.8, 6.0, 30.0),
    Case("dac", "decode", 2.2, 6.0, 30.0, has_gemm_target=True),
    Case("dacvae", "encode", 2.0, 6.0, 35.0),
    Case("dacvae", "decode", 2.0, 6.0, 35.0),
    Case("encodec", "encode", 2.5),
    Case("encodec", "decode", 2.5),
    Case("mel", "decode", 1.2, 3.0, 35.0, compiled=1.0),
    Case("mimi", "encode", 2.0),
    Case("mimi", "decode", 2.0),
    Case("snac", "encode", 2.0),
    Case("snac", "decode", 2.0),
    Case("wavtokenizer", "encode", 1.2),
    Case("wavtokenizer", "decode", 1.0),
)


def chosen(patterns: Sequence[str] | None, cases: Sequence[Case] = CASES) -> list[Case]:
    """The cases of a network, or whose name fits a shell-style pattern; all of them for None.

    Raises:
        InvalidInput: if a pattern fits none.
    """
    found = []
    for pattern in patterns or ["*"]:
        fitting = [case for case in cases if case.network == pattern or fnmatch.fnmatch(case.name, pattern)]
        if not fitting:
            raise InvalidInput(f"bench: no case {pattern!r}; there are {', '.join(case.name for case in cases)}")
        found += fitting
    return [case for case in cases if case in found]
