"""DACVAE: DAC's blocks with parameter-free shortcuts around every change of rate, as a variational autoencoder.

Stereo is two mono signals. No paper; built on DAC, arXiv 2306.06546.
Weights: Hub optimizerai/vocos, no licence stated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from vocos.checkpoint import Format
from vocos.config import Config
from vocos.hub import DEFAULT_REPOSITORY, Source
from vocos.nn.blocks import Activation, Decoder, DecoderBlock, Encoder, EncoderBlock
from vocos.nn.conv import pad_to_multiple
from vocos.nn.length import Length, ceil_div
from vocos.nn.names import numbered_block
from vocos.variational import VariationalVoco
from vocos.voco import Facts

CHANNEL = 2  # stereo, each channel coded alone


@dataclass(frozen=True)
class DacVaeConfig(Config):
    """Hyperparameters, named as in the public config files."""

    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 4, 4, 8, 8)
    latent_dim: int = 1024  # of one channel
    decoder_dim: int = 2048
    decoder_rates: tuple[int, ...] = (8, 8, 4, 4, 2)
    sample_rate: int = 48000

    def __post_init__(self) -> None:
        super().__post_init__()
        rates = (*self.encoder_rates, *self.decoder_rates)
        self.require(all(rate % 2 == 0 for rate in rates), f"the shortcuts need even rates, got {rates}")
        self.require(
            math.prod(self.encoder_rates) == math.prod(self.decoder_rates),
            f"encoder_rates {self.encoder_rates} and decoder_rates {self.decoder_rates} have different products",
        )
        self.require(
            self.decoder_dim % 2 ** len(self.decoder_rates) == 0,
            f"decoder_dim {self.decoder_dim} cannot be halved {len(self.decoder_rates)} times",
        )
        for name, width in (("the last encoder width", self.encoder_widths[-1]), ("decoder_dim", self.decoder_dim)):
            self.require(width % self.latent_dim == 0, f"latent_dim {self.latent_dim} does not divide {name}, {width}")

    @property
    def encoder_widths(self) -> list[int]:
        """Channels before each encoder block and after the last."""
        return [self.encoder_dim * 2**i for i in range(len(self.encoder_rates) + 1)]

    @property
    def decoder_widths(self) -> list[int]:
        """Channels before each decoder block and after the last."""
        return [self.decoder_dim // 2**i for i in range(len(self.decoder_rates) + 1)]


def original_names(config: DacVaeConfig) -> dict[str, str]:
    """Module paths, ours -> those of the original package."""
    names = {"encoder.mean": "encoder.fc_mean", "encoder.scale": "encoder.fc_log_var"}  # no logarithm: see `gaussian`
    halves = (("encoder", config.encoder_rates, "last_layer"), ("decoder", config.decoder_rates, "last_conv"))
    for half, rates, last in halves:
        names |= {f"{half}.conv_in": f"{half}.init_conv", f"{half}.conv_out": f"{half}.{last}"}
        for i in range(len(rates)):
            names |= numbered_block(f"{half}.blocks.{i}", f"{half}.net.{i}", "block", is_encoder=half == "encoder")
        names[f"{half}.snake"] = f"{half}.net.{len(rates)}"
    return names


class AveragingEncoderBlock(EncoderBlock):
    """An encoder block beside a shortcut: every s samples of a channel become the means of their two halves.

    channel c      a a a a b b b b     s = 8
    channel 2c     mean(a)
    channel 2c+1           mean(b)
    """

    def __init__(self, inputs: int, outputs: int, stride: int, snake: Activation) -> None:
        super().__init__(inputs, outputs, stride, snake)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + reduce(x, "b c (l half g) -> b (c half) l", "mean", half=2, g=self.stride // 2)


class RepeatingDecoderBlock(DecoderBlock):
    """A decoder block beside a shortcut, the reverse: two channels fill the two halves of every s samples of one."""

    def __init__(self, inputs: int, outputs: int, stride: int, snake: Activation) -> None:
        super().__init__(inputs, outputs, stride, snake)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + repeat(x, "b (c half) l -> b c (l half g)", half=2, g=self.stride // 2)


class DacVaeEncoder(Encoder):
    """Audio `[B, 1, N]`, N a multiple of the hop, to mean and scale, `[B, 2 D, L]`."""

    def __init__(self, config: DacVaeConfig) -> None:
        super().__init__(1, config.encoder_widths, config.encoder_rates, config.latent_dim, block=AveragingEncoderBlock)
        self.mean = nn.Linear(config.latent_dim, config.latent_dim)
        self.scale = nn.Linear(config.latent_dim, config.latent_dim)

    def forward(self, audio: Tensor) -> Tensor:
        h = self.trunk(audio)
        features = self.conv_out(h) + reduce(h, "b (d k) l -> b d l", "mean", d=self.conv_out.out_channels)
        features = rearrange(features, "b d l -> b l d")
        return rearrange([self.mean(features), self.scale(features)], "two b l d -> b (two d) l")


class DacVaeDecoder(Decoder):
    """Latents `[B, D, L]` to audio `[B, 1, N]`."""

    def __init__(self, config: DacVaeConfig) -> None:
        super().__init__(config.latent_dim, config.decoder_widths, config.decoder_rates, 1, block=RepeatingDecoderBlock)
        self.repeats = config.decoder_dim // config.latent_dim

    def forward(self, latents: Tensor) -> Tensor:
        h = self.conv_in(latents) + repeat(latents, "b d l -> b (d k) l", k=self.repeats)
        return self.conv_out(self.snake(self.blocks(h)))


class DacVaeNetwork(nn.Module):
    """Both halves, for one channel at a time."""

    def __init__(self, config: DacVaeConfig) -> None:
        super().__init__()
        self.encoder = DacVaeEncoder(config)
        self.decoder = DacVaeDecoder(config)


class DacVae(VariationalVoco[DacVaeConfig]):
    """Stereo sound at 48 kHz: 1024 latents a channel, the left one's first; 23.4 frames per second.

    `encode` gives the mean, as the original does.
    """

    config_type = DacVaeConfig
    default = Source(DEFAULT_REPOSITORY)
    layouts = (("dac-vae-small.json", "dac-vae-small.safetensors"),)
    original_samples = False
    formats = (Format("original", marker="encoder.fc_mean", modules=original_names),)

    def _facts(self, config: DacVaeConfig) -> Facts:
        return Facts(
            sampling_rate=config.sample_rate,
            channel=CHANNEL,
            latent_dim=CHANNEL * config.latent_dim,
            hop_length=math.prod(config.encoder_rates),
        )

    def _build(self, config: DacVaeConfig) -> nn.Module:
        return DacVaeNetwork(config)

    def _posterior(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        mono = rearrange(pad_to_multiple(audio, self.hop_length), "b c n -> (b c) 1 n").to(self.dtype)
        heads = rearrange(self.network.encoder(mono), "(b c) (two d) l -> two b (c d) l", c=CHANNEL, two=2)
        return heads[0], heads[1]

    def _decode(self, latents: Tensor, length: int) -> Tensor:
        mono = rearrange(latents, "b (c d) l -> (b c) d l", c=CHANNEL).to(self.dtype)
        return rearrange(self.network.decoder(mono), "(b c) 1 n -> b c n", c=CHANNEL)

    def _frames(self, samples: Length) -> Length:
        return ceil_div(samples, self.hop_length)

    def _samples(self, frames: Length) -> Length:
        return frames * self.hop_length
