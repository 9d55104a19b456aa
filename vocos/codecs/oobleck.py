"""Oobleck, the stereo music autoencoder of Stable Audio: Snake convolutions and a Gaussian bottleneck.

Papers: "Stable Audio Open", arXiv 2407.14358; "Fast Timing-Conditioned Latent Audio Diffusion", arXiv 2402.04825.
Weights: Hub optimizerai/vocos, no licence stated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from vocos.checkpoint import Format
from vocos.config import Config
from vocos.hub import DEFAULT_REPOSITORY, Source
from vocos.nn.blocks import Decoder, Encoder, SnakeBeta
from vocos.nn.conv import pad_to_multiple
from vocos.nn.length import Length, ceil_div, strided_length, transposed_length
from vocos.variational import VariationalVoco
from vocos.voco import Facts


@dataclass(frozen=True)
class OobleckConfig(Config):
    """Hyperparameters, named as in the public config files."""

    encoder_hidden_size: int = 128  # base width of the encoder, and channels of its output: mean and scale
    downsampling_ratios: tuple[int, ...] = (2, 4, 4, 8, 8)
    channel_multiples: tuple[int, ...] = (1, 2, 4, 8, 16)
    decoder_channels: int = 128
    decoder_input_channels: int = 64
    audio_channels: int = 2
    sampling_rate: int = 44100

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            len(self.channel_multiples) == len(self.downsampling_ratios),
            f"{len(self.channel_multiples)} channel_multiples for {len(self.downsampling_ratios)} downsampling_ratios",
        )
        self.require(
            self.encoder_hidden_size == 2 * self.decoder_input_channels,
            f"encoder_hidden_size {self.encoder_hidden_size} is not twice decoder_input_channels "
            f"{self.decoder_input_channels}",
        )

    def widths(self, base: int) -> list[int]:
        """Channels before each encoder block and after the last; the first block keeps its width."""
        return [base * multiple for multiple in (1, *self.channel_multiples)]


def diffusers_names(config: OobleckConfig) -> dict[str, str]:
    """Module paths, ours -> those of diffusers and of the original package."""
    return dict(_diffusers_names(len(config.downsampling_ratios)))


def _diffusers_names(n_blocks: int) -> Iterator[tuple[str, str]]:
    for half, conv in (("encoder", "conv1"), ("decoder", "conv_t1")):
        yield f"{half}.conv_in", f"{half}.conv1"
        for i in range(n_blocks):
            yield f"{half}.blocks.{i}.snake", f"{half}.block.{i}.snake1"
            yield f"{half}.blocks.{i}.conv", f"{half}.block.{i}.{conv}"
            for j in range(3):
                for part in ("snake1", "conv1", "snake2", "conv2"):
                    yield f"{half}.blocks.{i}.units.{j}.{part}", f"{half}.block.{i}.res_unit{j + 1}.{part}"
        yield f"{half}.snake", f"{half}.snake1"
        yield f"{half}.conv_out", f"{half}.conv2"


class OobleckNetwork(nn.Module):
    """Encoder `[B, C, N]` -> `[B, 2 D, L]` (mean, scale) and decoder `[B, D, L]` -> `[B, C, N]`."""

    def __init__(self, config: OobleckConfig) -> None:
        super().__init__()
        strides = config.downsampling_ratios
        self.encoder = Encoder(
            config.audio_channels,
            config.widths(config.encoder_hidden_size),
            strides,
            2 * config.decoder_input_channels,
            SnakeBeta,
        )
        self.decoder = Decoder(
            config.decoder_input_channels,
            config.widths(config.decoder_channels)[::-1],
            strides[::-1],
            config.audio_channels,
            SnakeBeta,
            bias=False,
        )


class Oobleck(VariationalVoco[OobleckConfig]):
    """Stereo music at 44.1 kHz: 64 latents; 21.5 frames per second. `encode` draws, as the original does."""

    config_type = OobleckConfig
    default = Source(DEFAULT_REPOSITORY)
    layouts = (("oobleck.json", "oobleck.safetensors"),)
    original_samples = True
    formats = (Format("diffusers", marker="encoder.conv1", modules=diffusers_names),)

    def _facts(self, config: OobleckConfig) -> Facts:
        return Facts(
            sampling_rate=config.sampling_rate,
            channel=config.audio_channels,
            latent_dim=config.decoder_input_channels,
            hop_length=math.prod(config.downsampling_ratios),
        )

    def _build(self, config: OobleckConfig) -> nn.Module:
        return OobleckNetwork(config)

    def _posterior(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self.network.encoder(pad_to_multiple(audio, self.hop_length).to(self.dtype)).chunk(2, dim=1)
        return mean, scale

    def _decode(self, latents: Tensor, length: int) -> Tensor:
        return self.network.decoder(latents.to(self.dtype))

    def _frames(self, samples: Length) -> Length:
        padded = ceil_div(samples, self.hop_length) * self.hop_length
        return strided_length(padded, self._hyperparameters.downsampling_ratios)

    def _samples(self, frames: Length) -> Length:
        return transposed_length(frames, self._hyperparameters.downsampling_ratios[::-1])
