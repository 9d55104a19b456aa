"""Oobleck, the stereo music autoencoder of Stable Audio: Snake convolutions and a Gaussian bottleneck.

Papers: "Stable Audio Open", arXiv 2407.14358; "Fast Timing-Conditioned Latent Audio Diffusion", arXiv 2402.04825.
Weights: Hub optimizerai/vocos, no licence stated. Stable Audio Open (the `vae/` folder of diffusers, or the whole model
of stable-audio-tools; gated, Stability AI Community License) and ACE-Step 1.5 (MIT, 48 kHz) can be read too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import nn

from vocos.config import Config, expect, section
from vocos.kernels import Pad
from vocos.nn.blocks import Decoder, Encoder, SnakeBeta
from vocos.nn.hooked import step_of
from vocos.nn.length import Length, ceil_div, strided_length, transposed_length
from vocos.nn.names import hub_names, numbered_names
from vocos.voco import Facts, Steps
from vocos.voco.variational import VariationalVoco
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.rules import Reshaped, Rules, weight_norm
from vocos.weights.source import DEFAULT_REPOSITORY, Checkpoint, Source


@dataclass(frozen=True)
class OobleckConfig(Config):
    """Hyperparameters, named as in the public config files."""

    encoder_hidden_size: int = 128  # base width of the encoder
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

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        return super().parse(_from_stable_audio(data) if "model" in data else data)

    def widths(self, base: int) -> list[int]:
        """Channels before each encoder block and after the last; the first block keeps its width."""
        return [base * multiple for multiple in (1, *self.channel_multiples)]


def _from_stable_audio(data: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters in a `model_config.json` of stable-audio-tools, of an autoencoder or of a whole model."""
    model = section(data, "model")
    if "pretransform" in model:
        wrapper = section(model, "pretransform")
        expect(wrapper, "scale", 1.0, default=1.0)
        model = section(wrapper, "config")
    expect(section(model, "bottleneck"), "type", "vae")
    encoder, decoder = (section(section(model, half), "config") for half in ("encoder", "decoder"))
    for half, options in (("encoder", encoder), ("decoder", decoder)):
        expect(section(model, half), "type", "oobleck")
        expect(options, "use_snake", True, default=False)
        expect(options, "antialias_activation", False, default=False)
        expect(options, "use_nearest_upsample", False, default=False)
    expect(decoder, "final_tanh", False, default=True)
    expect(model, "soft_clip", False, default=False)
    for name in ("strides", "c_mults"):
        expect(decoder, name, encoder.get(name))
    expect(encoder, "latent_dim", 2 * model["latent_dim"] if isinstance(model.get("latent_dim"), int) else None)
    expect(decoder, "out_channels", encoder.get("in_channels"))
    return {
        "encoder_hidden_size": encoder.get("channels"),
        "downsampling_ratios": encoder.get("strides"),
        "channel_multiples": encoder.get("c_mults"),
        "decoder_channels": decoder.get("channels"),
        "decoder_input_channels": model.get("latent_dim"),
        "audio_channels": encoder.get("in_channels"),
        "sampling_rate": data.get("sample_rate"),
    }


def diffusers_rules(config: OobleckConfig) -> Rules:
    """How diffusers and the original package store the modules."""
    n_blocks = len(config.downsampling_ratios)
    return weight_norm(hub_names(n_blocks, n_blocks))


def stable_audio_rules(config: OobleckConfig) -> Rules:
    """How stable-audio-tools stores them: the parameters of a snake are `[C]` there, `[1, C, 1]` here."""
    n_blocks = len(config.downsampling_ratios)
    names = numbered_names("encoder.layers", "decoder.layers", "layers", n_blocks, n_blocks)
    snakes = [(ours, theirs) for ours, theirs in names.items() if "snake" in ours]
    return weight_norm(names) | {
        f"{ours}.{leaf}": Reshaped(f"{theirs}.{leaf}", (-1,)) for ours, theirs in snakes for leaf in ("alpha", "beta")
    }


def _diffusers_problem(config: OobleckConfig) -> str | None:
    """The reason why diffusers cannot hold a config: one number there is the encoder's width and output channels."""
    if config.encoder_hidden_size == 2 * config.decoder_input_channels:
        return None
    return f"encoder_hidden_size {config.encoder_hidden_size} is not twice {config.decoder_input_channels} latents"


def _to_stable_audio(config: OobleckConfig) -> dict[str, Any]:
    """The `model_config.json` of stable-audio-tools, as `_from_stable_audio` reads it."""
    shared = {"c_mults": list(config.channel_multiples), "strides": list(config.downsampling_ratios), "use_snake": True}
    latents, channels = config.decoder_input_channels, config.audio_channels
    encoder = {"in_channels": channels, "channels": config.encoder_hidden_size, "latent_dim": 2 * latents}
    decoder = {
        "out_channels": channels,
        "channels": config.decoder_channels,
        "latent_dim": latents,
        "final_tanh": False,
    }
    return {
        "model_type": "autoencoder",
        "sample_rate": config.sampling_rate,
        "audio_channels": channels,
        "model": {
            "encoder": {"type": "oobleck", "config": {**encoder, **shared}},
            "decoder": {"type": "oobleck", "config": {**decoder, **shared}},
            "bottleneck": {"type": "vae"},
            "latent_dim": latents,
            "downsampling_ratio": math.prod(config.downsampling_ratios),
            "io_channels": channels,
        },
    }


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
    """Stereo audio to a draw from a posterior, as the original does, and back."""

    config_type = OobleckConfig
    checkpoints = {
        "oobleck": Checkpoint(
            OobleckConfig(), Source(DEFAULT_REPOSITORY, size_mb=624.5), "latent diffusion of stereo music at 44.1 kHz"
        )
    }
    halves = {"encoder": ("encoder",), "decoder": ("decoder",)}
    layouts = (
        ("oobleck.json", "oobleck.safetensors"),
        ("config.json", "diffusion_pytorch_model.safetensors"),
        ("model_config.json", "model.safetensors"),
        ("model_config.json", "model.ckpt"),
        ("vae/config.json", "vae/diffusion_pytorch_model.safetensors"),
    )
    original_samples = True
    known = (
        Source(
            "stabilityai/stable-audio-open-1.0",
            subfolder="vae",
            license="stabilityai-ai-community",
            license_url="https://huggingface.co/stabilityai/stable-audio-open-1.0/blob/main/LICENSE.md",
            paper="2407.14358",
            size_mb=624.5,
            is_gated=True,
        ),
        Source(
            "ACE-Step/Ace-Step1.5", subfolder="vae", license="mit", size_mb=337.4, is_gated=False, is_commercial=True
        ),
    )
    formats = (
        Format("diffusers", marker="encoder.conv1", rules=diffusers_rules),
        Format(
            "stable-audio-tools",
            marker="encoder.layers.0",
            rules=stable_audio_rules,
            # Of a whole diffusion model; of a training checkpoint, the averaged copy first; of an autoencoder.
            prefixes=("pretransform.model.", "autoencoder_ema.ema_model.", "autoencoder.", ""),
        ),
    )

    targets = (
        Target(
            "diffusers",
            formats[0],
            ("config.json", "diffusion_pytorch_model.safetensors"),
            lambda config: {"_class_name": "AutoencoderOobleck", **config.as_dict()},
            problem=_diffusers_problem,
        ),
        Target("stable-audio-tools", formats[1], ("model_config.json", "model.safetensors"), _to_stable_audio),
    )

    def describe(self, config: OobleckConfig) -> Facts:
        return Facts(
            sampling_rate=config.sampling_rate,
            channel=config.audio_channels,
            latent_dim=config.decoder_input_channels,
            hop_length=math.prod(config.downsampling_ratios),
        )

    def build(self, config: OobleckConfig) -> nn.Module:
        return OobleckNetwork(config)

    def posterior_steps(self, network: Any) -> Steps:
        return Pad(0, 0, self.hop_length), self.cast, step_of(network.encoder)

    def decoder_steps(self, network: Any) -> Steps:
        return self.cast, step_of(network.decoder)

    def frames(self, samples: Length) -> Length:
        padded = ceil_div(samples, self.hop_length) * self.hop_length
        return strided_length(padded, self.hyperparameters.downsampling_ratios)

    def samples(self, frames: Length) -> Length:
        return transposed_length(frames, self.hyperparameters.downsampling_ratios[::-1])
