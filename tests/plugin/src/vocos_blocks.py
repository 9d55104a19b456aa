"""A lossless codec: a frame is a block of samples as they are. The shortest plugin that keeps the whole contract."""

from __future__ import annotations

from dataclasses import dataclass

from einops import rearrange
from torch import Tensor, nn

from vocos import Voco
from vocos.config import Config
from vocos.nn.conv import pad_to_multiple
from vocos.voco import Facts


@dataclass(frozen=True)
class BlocksConfig(Config):
    sampling_rate: int = 16000
    block: int = 20


class Blocks(Voco[BlocksConfig]):
    config_type = BlocksConfig

    def describe(self, config: BlocksConfig) -> Facts:
        return Facts(config.sampling_rate, channel=1, latent_dim=config.block, hop_length=config.block)

    def build(self, config: BlocksConfig) -> nn.Module:
        return nn.Identity()

    def to_latents(self, audio: Tensor) -> Tensor:
        return rearrange(pad_to_multiple(audio, self.hop_length), "b 1 (l d) -> b d l", d=self.latent_dim)

    def to_audio(self, latents: Tensor, length: int) -> Tensor:
        return rearrange(latents, "b d l -> b 1 (l d)")
