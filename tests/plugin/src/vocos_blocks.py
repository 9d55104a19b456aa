"""A lossless codec: a frame is a block of samples as they are. The shortest plugin that keeps the whole contract."""

from __future__ import annotations

from dataclasses import dataclass

from einops import rearrange
from torch import Tensor, nn

from vocos import Voco
from vocos.config import Config
from vocos.nn.conv import pad_to_multiple
from vocos.nn.length import Length, ceil_div


@dataclass(frozen=True)
class BlocksConfig(Config):
    sampling_rate: int = 16000
    block: int = 20


class Blocks(Voco[BlocksConfig]):
    config_type = BlocksConfig
    channel = 1

    @property
    def sampling_rate(self) -> int:
        return self._hyperparameters.sampling_rate

    @property
    def latent_dim(self) -> int:
        return self._hyperparameters.block

    @property
    def hop_length(self) -> int:
        return self._hyperparameters.block

    def _build(self, config: BlocksConfig) -> nn.Module:
        return nn.Identity()

    def _encode(self, audio: Tensor) -> Tensor:
        return rearrange(pad_to_multiple(audio, self.hop_length), "b 1 (l d) -> b d l", d=self.latent_dim)

    def _decode(self, latents: Tensor, length: int) -> Tensor:
        return rearrange(latents, "b d l -> b 1 (l d)")

    def _frames(self, samples: Length) -> Length:
        return ceil_div(samples, self.hop_length)

    def _samples(self, frames: Length) -> Length:
        return frames * self.hop_length
