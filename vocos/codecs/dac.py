"""DAC, the Descript Audio Codec: Snake convolutions and a residual quantiser of small codebooks.

Paper: "High-Fidelity Audio Compression with Improved RVQGAN", arXiv 2306.06546.
Weights: Hub optimizerai/vocos (44.1 kHz, 16 kbps), no licence stated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from vocos.checkpoint import Format
from vocos.config import Config
from vocos.hub import DEFAULT_REPOSITORY, Source
from vocos.nn.blocks import Decoder, Encoder
from vocos.nn.conv import pad_to_multiple
from vocos.nn.length import Length, ceil_div, strided_length, transposed_length
from vocos.nn.quantize import FactorizedRVQ
from vocos.voco import Facts, Voco


@dataclass(frozen=True)
class DacConfig(Config):
    """Hyperparameters, named as in the public config files."""

    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 4, 8, 8)
    latent_dim: int = 128
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (8, 8, 4, 2)
    n_codebooks: int = 18
    codebook_size: int = 1024
    codebook_dim: int = 8
    sample_rate: int = 44100

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            math.prod(self.encoder_rates) == math.prod(self.decoder_rates),
            f"encoder_rates {self.encoder_rates} and decoder_rates {self.decoder_rates} have different products",
        )
        self.require(
            self.decoder_dim % 2 ** len(self.decoder_rates) == 0,
            f"decoder_dim {self.decoder_dim} cannot be halved {len(self.decoder_rates)} times",
        )

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        config = super().parse(data)
        if data.get("latent_dim") is None:  # older files leave it out: the width of the last encoder block
            return replace(config, latent_dim=config.encoder_dim * 2 ** len(config.encoder_rates))
        return config


def descript_names(config: DacConfig) -> dict[str, str]:
    """Module paths, ours -> those of descript-audio-codec and of the original package."""
    return dict(_descript_names(config))


def _descript_names(config: DacConfig) -> Iterator[tuple[str, str]]:
    parts = ("snake1", "conv1", "snake2", "conv2")  # of a residual unit
    last = len(config.encoder_rates) + 1
    yield "encoder.conv_in", "encoder.block.0"
    for i in range(1, last):
        ours, theirs = f"encoder.blocks.{i - 1}", f"encoder.block.{i}.block"
        for j in range(3):
            yield from ((f"{ours}.units.{j}.{part}", f"{theirs}.{j}.block.{k}") for k, part in enumerate(parts))
        yield f"{ours}.snake", f"{theirs}.3"
        yield f"{ours}.conv", f"{theirs}.4"
    yield "encoder.snake", f"encoder.block.{last}"
    yield "encoder.conv_out", f"encoder.block.{last + 1}"

    last = len(config.decoder_rates) + 1
    yield "decoder.conv_in", "decoder.model.0"
    for i in range(1, last):
        ours, theirs = f"decoder.blocks.{i - 1}", f"decoder.model.{i}.block"
        yield f"{ours}.snake", f"{theirs}.0"
        yield f"{ours}.conv", f"{theirs}.1"
        for j in range(3):
            yield from ((f"{ours}.units.{j}.{part}", f"{theirs}.{j + 2}.block.{k}") for k, part in enumerate(parts))
    yield "decoder.snake", f"decoder.model.{last}"
    yield "decoder.conv_out", f"decoder.model.{last + 1}"


class DacNetwork(nn.Module):
    """Encoder `[B, 1, N]` -> `[B, D, L]`, quantiser, and decoder `[B, D, L]` -> `[B, 1, N]`."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.encoder = Encoder(
            1,
            [config.encoder_dim * 2**i for i in range(len(config.encoder_rates) + 1)],
            config.encoder_rates,
            config.latent_dim,
        )
        self.quantizer = FactorizedRVQ(config.latent_dim, config.n_codebooks, config.codebook_size, config.codebook_dim)
        self.decoder = Decoder(
            config.latent_dim,
            [config.decoder_dim // 2**i for i in range(len(config.decoder_rates) + 1)],
            config.decoder_rates,
            1,
        )


class Dac(Voco[DacConfig]):
    """Mono sound at 44.1 kHz: 128 latents, the encoder's output before quantisation, or 18 codes; 86 frames/s."""

    config_type = DacConfig
    default = Source(DEFAULT_REPOSITORY)
    layouts = (("dac.json", "dac.safetensors"),)
    formats = (Format("descript", marker="encoder.block.0", modules=descript_names),)

    def _facts(self, config: DacConfig) -> Facts:
        return Facts(
            sampling_rate=config.sample_rate,
            channel=1,
            latent_dim=config.latent_dim,
            hop_length=math.prod(config.encoder_rates),
            n_codebooks=config.n_codebooks,
            codebook_size=config.codebook_size,
        )

    def _build(self, config: DacConfig) -> nn.Module:
        return DacNetwork(config)

    def _encode(self, audio: Tensor) -> Tensor:
        return self.network.encoder(pad_to_multiple(audio, self.hop_length).to(self.dtype))

    def _decode(self, latents: Tensor, length: int) -> Tensor:
        return torch.tanh(self.network.decoder(latents.to(self.dtype)))

    def _frames(self, samples: Length) -> Length:
        padded = ceil_div(samples, self.hop_length) * self.hop_length
        return strided_length(padded, self._hyperparameters.encoder_rates)

    def _samples(self, frames: Length) -> Length:
        return transposed_length(frames, self._hyperparameters.decoder_rates)

    def _quantize(self, latents: Tensor, n_codebooks: int) -> Tensor:
        return self.network.quantizer.encode(latents, n_codebooks)

    def _dequantize(self, codes: Tensor) -> Tensor:
        return self.network.quantizer.decode(codes)
