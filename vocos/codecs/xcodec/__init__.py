"""X-Codec: codes that carry the content of speech. An acoustic encoder beside HuBERT or WavLM, quantised together.

Paper: Ye et al., "Codec Does Matter: Exploring the Semantic Shortcoming of Codec for Audio Language Model", arXiv
2408.17175.
Weights: five repositories of hf-audio on the Hub. The card of xcodec-wavlm-more-data says CC-BY-4.0; no licence is
known of the others. HuBERT or WavLM is inside; what it computes comes from the package transformers, the extra
`xcodec`, and only encoding needs it.
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

from vocos.codecs.xcodec.semantic import HOP_LENGTH, SemanticConfig, SemanticFeatures, transformers_classes
from vocos.config import MAX_COUNT, expect, section
from vocos.kernels import Window
from vocos.nn.blocks import Decoder, Encoder, FullDecoderBlock, RatesConfig
from vocos.nn.conv import pad_to_multiple, same_conv
from vocos.nn.hooked import step_of
from vocos.nn.length import Length, ceil_div
from vocos.nn.names import hub_names
from vocos.nn.quantize import TRAINING_STATE, EuclideanRVQ
from vocos.voco import Facts, Steps, Voco
from vocos.weights.formats import Format
from vocos.weights.rules import NEW_STYLE, Rules, WeightNorm
from vocos.weights.source import Checkpoint, Source

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
class XcodecConfig(SemanticConfig, RatesConfig):
    """Hyperparameters, named as in the config files of DAC and, for the semantic model, of transformers."""

    encoder_rates: tuple[int, ...] = (8, 5, 4, 2)
    decoder_dim: int = 1024
    decoder_rates: tuple[int, ...] = (8, 5, 4, 2)
    sample_rate: int = 16000
    acoustic_dim: int = 256
    codebook_size: int = 1024
    target_bandwidths: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 4.0)  # kbps

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.hop_length == HOP_LENGTH,
            f"{self.hop_length} samples per frame, the semantic model has {HOP_LENGTH}",
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
        acoustic = section(data, "acoustic_model_config")
        widths = {ours: acoustic.get(theirs) for theirs, ours in ACOUSTIC_KEYS.items()}
        semantic = SemanticConfig.of_transformers(section(data, "semantic_model_config"))
        config = super().parse({**data, **widths, **semantic.as_dict()})
        expect(data, "codebook_dim", config.latent_dim, config.latent_dim)
        return config

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


def transformers_rules(config: XcodecConfig) -> Rules:
    """How transformers stores the modules. The positions of the semantic model have a norm for each step in time."""
    acoustic = hub_names(len(config.encoder_rates), len(config.decoder_rates))
    names = {ours: f"acoustic_{theirs}" for ours, theirs in acoustic.items()}
    names |= {f"quantizer.books.{k}": f"quantizer.quantizers.{k}.codebook.embed" for k in range(config.n_codebooks)}
    positions = WeightNorm("semantic_model.encoder.pos_conv_embed.conv", axis=2, leaves=NEW_STYLE)
    return names | {"semantic.model": "semantic_model", "semantic.model.encoder.pos_conv_embed.conv": positions}


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


class XcodecNetwork(nn.Module):
    """Encoder with two branches, `[B, 1, 320 L]` -> `[B, D, L]`, quantiser, and decoder, the way back."""

    def __init__(self, config: XcodecConfig) -> None:
        super().__init__()
        self.encoder = Encoder(1, config.encoder_widths, config.encoder_rates, config.acoustic_dim)
        self.semantic = SemanticFeatures(config)
        self.encoder_semantic = SemanticEncoder(config.hidden_size)
        self.fc = nn.Linear(config.latent_dim, config.latent_dim)
        self.quantizer = EuclideanRVQ(config.n_codebooks, config.codebook_size, config.latent_dim)
        self.fc2 = nn.Linear(config.latent_dim, config.acoustic_dim)
        self.decoder = Decoder(
            config.acoustic_dim,
            config.decoder_widths,
            config.decoder_rates,
            1,
            block=FullDecoderBlock,
        )

    def encode(self, audio: Tensor) -> Tensor:
        """Latents of audio whose length is a multiple of the hop: then the two branches agree in frames."""
        return self.join(self.encoder(audio), self.encoder_semantic(self.semantic(audio)))

    def join(self, acoustic: Tensor, semantic: Tensor) -> Tensor:
        """Latents `[B, D, L]` of the features of the two branches."""
        return _on_channels(self.fc, torch.cat([acoustic, semantic], dim=1))


def _on_channels(linear: nn.Module, x: Tensor) -> Tensor:
    """A linear layer on the channels of `[B, C, L]`."""
    return rearrange(linear(rearrange(x, "b c l -> b l c")), "b l c -> b c l")


def _row(name: str, about: str, semantic_model: str = "hubert", license: str | None = None) -> Checkpoint[XcodecConfig]:
    """The row of one of the five repositories."""
    source = Source(
        f"hf-audio/xcodec-{name}",
        license=license,
        paper="2408.17175",
        size_mb=709.9,
        is_gated=False,
        is_commercial=True if license else None,
    )
    return Checkpoint(XcodecConfig(semantic_model=semantic_model), source, about)


class Xcodec(Voco[XcodecConfig]):
    """Mono audio at 16 kHz to latents before quantisation, or to codes, the first of which are about content.

    `decode` takes latents as they are; the decoder was trained on quantised ones, those of `codes_to_latents`.
    """

    config_type = XcodecConfig
    checkpoints = {
        "xcodec": _row("hubert-general-balanced", "audio of every kind, 0.5 to 4 kbps"),
        "xcodec_hubert_librispeech": _row("hubert-librispeech", "speech"),
        "xcodec_hubert_general": _row("hubert-general", "audio of every kind"),
        "xcodec_hubert_general_balanced": _row("hubert-general-balanced", "audio of every kind; what xcodec is"),
        "xcodec_wavlm_mls": _row("wavlm-mls", "speech", "wavlm"),
        "xcodec_wavlm_more_data": _row("wavlm-more-data", "speech, from more data", "wavlm", "cc-by-4.0"),
    }
    halves = {"encoder": ("encoder", "semantic", "encoder_semantic", "fc"), "decoder": ("fc2", "decoder")}
    unstreamable = {"encoder": "HuBERT and WavLM attend to all of the audio"}
    formats = (
        Format(
            "transformers",
            marker="fc2",
            rules=transformers_rules,
            unused=("semantic_model.masked_spec_embed", "decoder_semantic.*", "fc1.*", *TRAINING_STATE),
        ),
    )

    def describe(self, config: XcodecConfig) -> Facts:
        return Facts(
            sampling_rate=config.sample_rate,
            channel=1,
            latent_dim=config.latent_dim,
            hop_length=config.hop_length,
            n_codebooks=config.n_codebooks,
            codebook_size=config.codebook_size,
            bandwidths=config.target_bandwidths,
        )

    def codebooks_for(self, bandwidth: float) -> int:
        return self.hyperparameters.codebooks_for(bandwidth)

    def build(self, config: XcodecConfig) -> nn.Module:
        return XcodecNetwork(config)

    def to_latents(self, audio: Tensor) -> Tensor:
        return self.network.encode(pad_to_multiple(audio, self.hop_length).to(self.dtype))

    def decoder_steps(self, network: Any) -> Steps:
        return self.cast, Window(partial(_on_channels, network.fc2)), step_of(network.decoder)

    def frames(self, samples: Length) -> Length:
        return ceil_div(samples, self.hop_length)

    def samples(self, frames: Length) -> Length:
        return frames * self.hop_length

    def quantize(self, latents: Tensor, n_codebooks: int) -> Tensor:
        return self.network.quantizer.encode(latents, n_codebooks)

    def dequantize(self, codes: Tensor) -> Tensor:
        return self.network.quantizer.decode(codes)

    def _latents_of(self, encode: Any, audio: Tensor) -> Tensor:
        transformers_classes(self.hyperparameters.semantic_model)  # without it, say so before anything is loaded
        return super()._latents_of(encode, audio)
