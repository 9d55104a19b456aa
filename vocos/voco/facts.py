"""The facts of a codec, and the steps that its calls consist of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

Steps: TypeAlias = Sequence[Any]  # of `vocos.kernels`, one after the other


class Facts(NamedTuple):
    """The facts of a codec, as its author computes them from a config; `Codec` has a property of each name."""

    sampling_rate: int
    channel: int
    latent_dim: int
    hop_length: int
    minimum_samples: int = 1
    minimum_frames: int = 1
    n_codebooks: int | None = None
    codebook_size: int | None = None
    bandwidths: tuple[float, ...] = ()
    book_strides: tuple[int, ...] = ()  # latent frames for a code of each codebook, most first; () for one of each


class Described:
    """What has facts, each under its name."""

    @property
    def facts(self) -> Facts:
        """All of them."""
        raise NotImplementedError

    @property
    def sampling_rate(self) -> int:
        """Sampling rate of the audio, in Hz."""
        return self.facts.sampling_rate

    @property
    def channel(self) -> int:
        """Audio channels: 1 or 2."""
        return self.facts.channel

    @property
    def latent_dim(self) -> int:
        """Size of the last axis of latents."""
        return self.facts.latent_dim

    @property
    def hop_length(self) -> int:
        """Audio samples per latent frame."""
        return self.facts.hop_length

    @property
    def minimum_samples(self) -> int:
        """The fewest samples that `encode` takes."""
        return self.facts.minimum_samples

    @property
    def minimum_frames(self) -> int:
        """The fewest frames that `decode` takes."""
        return self.facts.minimum_frames

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        return self.sampling_rate / self.hop_length

    @property
    def n_codebooks(self) -> int | None:
        """Codebooks of the quantiser; None for a codec without codes."""
        return self.facts.n_codebooks

    @property
    def codebook_size(self) -> int | None:
        """Entries of each codebook; None for a codec without codes."""
        return self.facts.codebook_size

    @property
    def bits_per_second(self) -> float | None:
        """Rate of the codes of all codebooks; None for a codec without codes."""
        if self.n_codebooks is None or self.codebook_size is None:
            return None
        rate = self.sampling_rate / self.code_hop_length
        return self.columns_of(self.n_codebooks) * math.log2(self.codebook_size) * rate

    @property
    def code_columns(self) -> int | None:
        """Integers in a frame of codes of all codebooks: one of each, or several of those that speak more often."""
        return None if self.n_codebooks is None else self.columns_of(self.n_codebooks)

    @property
    def code_frames(self) -> int:
        """Latent frames for a frame of codes: 1, or more where the codebooks have several rates."""
        return max(self.facts.book_strides, default=1)

    @property
    def code_hop_length(self) -> int:
        """Audio samples per frame of codes."""
        return self.hop_length * self.code_frames

    def columns_of(self, n_codebooks: int) -> int:
        """Integers in a frame of codes of the first codebooks."""
        strides = self.facts.book_strides[:n_codebooks]
        return sum(self.code_frames // stride for stride in strides) if strides else n_codebooks

    @property
    def bandwidths(self) -> tuple[float, ...]:
        """Rates in kbps that codes can be asked for by; none for a codec whose codes are only counted in codebooks."""
        return self.facts.bandwidths
