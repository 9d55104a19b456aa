"""The DACVAE that facebook published: DAC around a Gaussian bottleneck, and a watermark in the decoded audio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vocos.codecs.dacvae.watermark import Watermark
from vocos.config import Count
from vocos.kernels import Pad, Residual, Window
from vocos.nn.blocks import Decoder, Encoder, RatesConfig
from vocos.nn.hooked import step_of
from vocos.nn.names import UNIT, numbered_names
from vocos.voco import Facts, Steps
from vocos.weights.rules import Rules, weight_norm
from vocos.weights.source import Source

FACEBOOK = Source(
    "facebook/dacvae-watermarked", license="apache-2.0", size_mb=430.7, is_gated=False, is_commercial=True
)


@dataclass(frozen=True)
class WatermarkedConfig(RatesConfig):
    """Hyperparameters of facebook's DACVAE, named as in the published file, which has none that begin with `wm_`."""

    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 8, 10, 12)
    latent_dim: int = 1024  # inside
    codebook_dim: int = 128  # of the latents; there are no codebooks
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (12, 10, 8, 2)
    sample_rate: int = 48000
    wm_rates: tuple[int, ...] = (8, 5, 4, 2)
    wm_hidden: int = 512
    wm_channels: int = 32
    wm_latent: int = 128
    nbits: Count = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        rates = (*self.encoder_rates, *self.decoder_rates)
        self.require(all(rate % 2 == 0 for rate in rates), f"odd rates in {rates}")
        self.require(
            self.hop_length % math.prod(self.wm_rates) == 0,
            f"wm_rates {self.wm_rates} do not divide the hop {self.hop_length}",
        )
        self.require(
            self.wm_hidden == self.wm_channels * 2 ** len(self.wm_rates) and self.wm_channels % 2 == 0,
            f"wm_hidden {self.wm_hidden} is not wm_channels {self.wm_channels} doubled at each of {self.wm_rates}",
        )

    def facts(self) -> Facts:
        """What follows from the config. A reflection must be shorter than the audio, hence the minimum."""
        hop = self.hop_length
        return Facts(self.sample_rate, 1, self.codebook_dim, hop, minimum_samples=hop // 2 + 1)

    def network(self) -> nn.Module:
        """The network, without values."""
        return WatermarkedNetwork(self)


def facebook_rules(config: WatermarkedConfig) -> Rules:
    """How facebook's file stores the modules: the watermark's, in the decoder's blocks, without weight norm."""
    root, ends = "decoder.model", "decoder.wm_model"
    blocks = len(config.encoder_rates), len(config.decoder_rates)
    names = numbered_names("encoder.block", root, "block", *blocks)
    names |= {"in_proj": "quantizer.in_proj", "out_proj": "quantizer.out_proj"}
    names |= {"decoder.snake": f"{ends}.encoder_block.pre.0", "decoder.conv_out": f"{ends}.encoder_block.pre.1"}
    watermark = {
        "watermark.conv_in": f"{ends}.encoder_block.pre.3",
        "watermark.lstm_in.lstm": f"{ends}.encoder_block.post.0.lstm",
        "watermark.to_latent": f"{ends}.encoder_block.post.2",
        "watermark.bits": f"{ends}.msg_processor.msg_processor",
        "watermark.from_latent": f"{ends}.decoder_block.pre.0",
        "watermark.lstm_out.lstm": f"{ends}.decoder_block.pre.1.lstm",
        "watermark.conv_out": f"{ends}.decoder_block.post.1",
    }
    for i in range(blocks[1]):
        theirs = f"{root}.{i + 1}.block"
        for j, layer in enumerate((4, 5, 8)):
            names |= {
                f"decoder.blocks.{i}.units.{j}.{part}": f"{theirs}.{layer}.block.{k}" for k, part in enumerate(UNIT)
            }
        watermark |= {f"watermark.up.{i}.conv": f"{theirs}.3", f"watermark.down.{i}.conv": f"{theirs}.11"}
        for part, layer in (("up", 6), ("down", 7)):
            watermark |= {f"watermark.{part}.{i}.unit.conv{c}": f"{theirs}.{layer}.block.{2 * c - 1}" for c in (1, 2)}
    return weight_norm(names) | watermark


class WatermarkedNetwork(nn.Module):
    """DAC's encoder and decoder around a Gaussian bottleneck, and what adds a watermark to the audio."""

    def __init__(self, config: WatermarkedConfig) -> None:
        super().__init__()
        self.hop_length = config.hop_length
        self.strength = config.wm_channels / config.wm_latent
        self.encoder = Encoder(1, config.encoder_widths, config.encoder_rates, config.latent_dim)
        self.in_proj = nn.Conv1d(config.latent_dim, 2 * config.codebook_dim, 1)
        self.out_proj = nn.Conv1d(config.codebook_dim, config.latent_dim, 1)
        self.decoder = Decoder(config.latent_dim, config.decoder_widths, config.decoder_rates, 1)
        self.watermark = Watermark(config.wm_hidden, config.wm_rates, config.wm_latent, config.nbits)

    def encoder_steps(self) -> Steps:
        """Audio `[B, 1, N]`, completed by reflection, to mean and scale, `[B, 2 D, L]`."""
        return Pad(0, 0, self.hop_length, "reflect"), step_of(self.encoder), Window(self.in_proj)

    def decoder_steps(self, message: Tensor | None) -> Steps:
        """Latents `[B, D, L]` to audio `[B, 1, N]`, with a message `[B, n_bits]` or, for None, without watermark."""
        audio = Window(self.out_proj), step_of(self.decoder), Window(torch.tanh)
        if message is None:
            return audio
        mark = (*self.watermark.steps(message), Window(partial(torch.mul, self.strength)))
        return *audio, Residual(mark)
