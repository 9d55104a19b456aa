"""The facts of a codec, and the steps that its calls consist of."""

from __future__ import annotations

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
