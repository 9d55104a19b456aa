"""The network of X-Codec: an acoustic encoder beside a model of speech, mixed and quantised together, and a decoder.

Paper: Ye et al., "Codec Does Matter: Exploring the Semantic Shortcoming of Codec for Audio Language Model", arXiv
2408.17175.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from vocos.config import MAX_COUNT, expect, section
from vocos.kernels import Window
from vocos.nn.blocks import Decoder, Encoder, FullDecoderBlock, RatesConfig
from vocos.nn.conv import same_conv
from vocos.nn.hooked import step_of
from vocos.nn.names import hub_names, numbered_names
from vocos.nn.quantize import TRAINING_STATE
from vocos.nn.resample import resampled
from vocos.nn.semantic import HOP_LENGTH, SemanticConfig, SemanticFeatures
from vocos.weights.rules import NEW_STYLE, Rule, WeightNorm

# What transformers calls the hyperparameters of the acoustic branch; the others in that section do not describe it.
ACOUSTIC_KEYS = {
    "encoder_hidden_size": "encoder_dim",
    "downsampling_ratios": "encoder_rates",
    "hidden_size": "acoustic_dim",
    "decoder_hidden_size": "decoder_dim",
    "upsampling_ratios": "decoder_rates",
}
# The convolutions between the semantic model and the mixer, which are the same in all checkpoints.
BLOCKS = UNITS = 2
FIXED = {
    "kernel_size": 3,
    "unit_kernel_size": 3,
    "channel_ratios": [1] * BLOCKS,
    "strides": [1] * BLOCKS,
    "block_dilations": [1] * UNITS,
}


@dataclass(frozen=True)
class JoinedConfig(SemanticConfig, RatesConfig):
    """Hyperparameters, named as in the config files of DAC and, for the semantic model, of transformers.

    Attributes:
        semantic_rate: sampling rate of what the semantic model hears.
    """

    encoder_rates: tuple[int, ...] = (8, 5, 4, 2)
    decoder_dim: int = 1024
    decoder_rates: tuple[int, ...] = (8, 5, 4, 2)
    sample_rate: int = 16000
    semantic_rate: int = 16000
    acoustic_dim: int = 256
    codebook_size: int = 1024
    target_bandwidths: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 4.0)  # kbps

    def __post_init__(self) -> None:
        super().__post_init__()
        samples = HOP_LENGTH * self.semantic_step * self.sample_rate
        self.require(
            self.hop_length * self.semantic_rate == samples,
            f"{self.hop_length} samples per frame, the semantic model has {samples / self.semantic_rate:g}",
        )
        self.require(min(*self.encoder_rates, *self.decoder_rates) > 1, "a stride of 1")
        self.require(self.codebook_size > 1, f"codebook_size {self.codebook_size} codes nothing")
        self.require(
            min(self.target_bandwidths) > 0 and self.n_codebooks <= MAX_COUNT,
            f"target_bandwidths {self.target_bandwidths}, expected 1 to {MAX_COUNT} codebooks",
        )

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        if "semantic_model_config" not in data:
            return super().parse(data)
        for name, value in FIXED.items():
            expect(data, name, value, value)
        expect(data, "downsample_factor", HOP_LENGTH, HOP_LENGTH)
        acoustic = section(data, "acoustic_model_config")
        widths = {ours: acoustic.get(theirs) for theirs, ours in ACOUSTIC_KEYS.items()}
        semantic = SemanticConfig.of_transformers(section(data, "semantic_model_config"))
        rates = {"semantic_rate": data.get("semantic_sample_rate")}
        return super().parse({**data, **widths, **rates, **semantic.as_dict()})

    @property
    def semantic_step(self) -> int:
        """Frames of the semantic model for one of the codec."""
        return max(1, self.hop_length * self.semantic_rate // (self.sample_rate * HOP_LENGTH))

    @property
    def latent_dim(self) -> int:
        """Size of the joined features."""
        return self.acoustic_dim + self.hidden_size

    @property
    def n_codebooks(self) -> int:
        """Codebooks that the largest bandwidth pays for."""
        return self.codebooks_for(max(self.target_bandwidths))

    def codebooks_for(self, bandwidth: float) -> int:
        """Codebooks that a bandwidth in kbps pays for, at least one."""
        bits_per_codebook = math.ceil(math.log2(self.codebook_size)) * self.sample_rate / self.hop_length
        return max(1, int(1000 * bandwidth / bits_per_codebook))


POSITIONS = "encoder.pos_conv_embed.conv"  # of the semantic model; their norm is one for each step in time


def transformers_names(config: JoinedConfig) -> dict[str, str | Rule]:
    """How transformers stores the modules, but for the quantiser."""
    acoustic = hub_names(len(config.encoder_rates), len(config.decoder_rates))
    names: dict[str, str | Rule] = {ours: f"acoustic_{theirs}" for ours, theirs in acoustic.items()}
    positions = WeightNorm(f"semantic_model.{POSITIONS}", axis=2, leaves=NEW_STYLE)
    return names | {"semantic.model": "semantic_model", f"semantic.model.{POSITIONS}": positions}


def original_names(config: JoinedConfig) -> dict[str, str | Rule]:
    """How the original code stores them, but for the quantiser: in lists, numbered in the order they run."""
    counts = len(config.encoder_rates), len(config.decoder_rates)
    acoustic = numbered_names("encoder.block", "decoder_2.model", "block", *counts)
    names: dict[str, str | Rule] = {ours: WeightNorm(theirs) for ours, theirs in acoustic.items()}
    names |= {"fc": "fc_prior", "fc2": "fc_post2", "encoder_semantic.conv": "encoder_semantic.conv.conv"}
    for i in range(BLOCKS):
        block = f"encoder_semantic.conv_blocks.{i}"
        convs = [f"{block}.conv", *(f"{block}.res_units.{j}.conv{k}" for j in range(UNITS) for k in (1, 2))]
        names |= {conv: f"{conv}.conv" for conv in convs}
    positions = WeightNorm(f"semantic_model.{POSITIONS}", axis=2)
    return names | {"semantic.model": "semantic_model", f"semantic.model.{POSITIONS}": positions}


# What files hold beside, for training.
UNUSED = ("semantic_model.masked_spec_embed", "decoder_semantic.*", "fc1.*", "fc_post1.*", *TRAINING_STATE)


class SemanticUnit(nn.Module):
    """x + pointwise(elu(convolution(elu(x)))).

    Shape: `[B, C, L]` -> `[B, C, L]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = same_conv(channels, channels, 3, bias=False)
        self.conv2 = same_conv(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(nn.functional.elu(self.conv1(nn.functional.elu(x))))


class SemanticBlock(nn.Module):
    """Residual units and a convolution.

    Shape: `[B, C, L]` -> `[B, C, L]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res_units = nn.Sequential(*(SemanticUnit(channels) for _ in range(UNITS)))
        self.conv = same_conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.res_units(x))


class SemanticEncoder(nn.Module):
    """Hidden states of the semantic model to the features that are joined with the acoustic ones.

    Shape: `[B, C, L]` -> `[B, C, L]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = same_conv(channels, channels, 3, bias=False)
        self.conv_blocks = nn.Sequential(*(SemanticBlock(channels) for _ in range(BLOCKS)))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_blocks(self.conv(x))


class JoinedNetwork(nn.Module):
    """Encoder with two branches, `[B, 1, hop L]` -> `[B, D, L]`, quantiser, and decoder, the way back."""

    def __init__(self, config: JoinedConfig, quantizer: nn.Module) -> None:
        super().__init__()
        self.encoder = Encoder(1, config.encoder_widths, config.encoder_rates, config.acoustic_dim)
        self.semantic = SemanticFeatures(config)
        self.encoder_semantic = SemanticEncoder(config.hidden_size)
        self.fc = nn.Linear(config.latent_dim, config.latent_dim)
        self.quantizer = quantizer
        self.fc2 = nn.Linear(config.latent_dim, config.acoustic_dim)
        self.decoder = Decoder(
            config.acoustic_dim,
            config.decoder_widths,
            config.decoder_rates,
            1,
            block=FullDecoderBlock,
        )
        self.rates, self.step = (config.sample_rate, config.semantic_rate), config.semantic_step

    def encode(self, audio: Tensor) -> Tensor:
        """Latents of audio whose length is a multiple of the hop: then the two branches agree in frames."""
        return self.join(self.encoder(audio), self.encoder_semantic(self.heard(audio)))

    def heard(self, audio: Tensor) -> Tensor:
        """Features of the semantic model, `[B, hidden_size, L]`: of every so many frames the first."""
        return self.semantic(resampled(audio, *self.rates))[..., :: self.step]

    def join(self, acoustic: Tensor, semantic: Tensor) -> Tensor:
        """Latents `[B, D, L]` of the features of the two branches."""
        return _on_channels(self.fc, torch.cat([acoustic, semantic], dim=1))

    def decoder_steps(self) -> tuple[Any, ...]:
        """What makes audio `[B, 1, hop L]` of latents `[B, D, L]`."""
        return Window(partial(_on_channels, self.fc2)), step_of(self.decoder)


def _on_channels(linear: nn.Module, x: Tensor) -> Tensor:
    """A linear layer on the channels of `[B, C, L]`."""
    return rearrange(linear(rearrange(x, "b c l -> b l c")), "b l c -> b c l")
