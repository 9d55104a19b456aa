"""Hyperparameters of SNAC."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vocos.config import Config, Count


@dataclass(frozen=True)
class SnacConfig(Config):
    """Hyperparameters, named as in the public files; the defaults are those of the original class.

    Attributes:
        attn_window_size: frames of a window of the local attention; None for no attention.
        vq_strides: frames for a code of each codebook.
    """

    sampling_rate: int = 44100
    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (3, 3, 7, 7)
    latent_dim: int | None = None
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (7, 7, 3, 3)
    attn_window_size: Count | None = 32
    codebook_size: int = 4096
    codebook_dim: int = 8
    vq_strides: tuple[int, ...] = (8, 4, 2, 1)
    noise: bool = True
    depthwise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        width = self.encoder_widths[-1]
        self.require(self.latent_dim in (None, width), f"latent_dim {self.latent_dim}, the encoder makes {width}")
        up = math.prod(self.decoder_rates)
        self.require(self.hop_length == up, f"the encoder makes a frame of {self.hop_length} samples, the decoder {up}")
        self.require(
            self.decoder_dim >> len(self.decoder_rates) > 0,
            f"decoder_dim {self.decoder_dim} cannot be halved {len(self.decoder_rates)} times",
        )
        self.require(self.codebook_size > 1, f"codebook_size {self.codebook_size} codes nothing")
        strides = self.vq_strides
        self.require(bool(strides), "no vq_strides")
        fits = all(strides[0] % stride == 0 for stride in strides) and list(strides) == sorted(strides, reverse=True)
        self.require(fits, f"vq_strides {strides}; each must divide the first, which is the largest")
        if self.attn_window_size is not None:
            widths = (width, self.decoder_dim)
            self.require(all(w % 64 == 0 for w in widths), f"attention of {widths} channels; heads have 64")

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.encoder_rates)

    @property
    def encoder_widths(self) -> list[int]:
        """Channels before each encoder block and after the last."""
        return [self.encoder_dim * 2**i for i in range(len(self.encoder_rates) + 1)]

    @property
    def padded_frames(self) -> int:
        """Frames to a multiple of which audio is completed: whole frames of codes, and whole windows."""
        return math.lcm(self.vq_strides[0], self.attn_window_size or 1)
