"""Vocos on mel spectrograms: a log-mel spectrogram as latents, and a vocoder that makes audio of it.

Paper: Siuzdak, "Vocos", arXiv 2306.00814. Weights: Hub optimizerai/vocos, no licence stated;
charactr/vocos-mel-24khz (MIT) and its conversion hf-audio/vocos-mel-24khz can be read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from vocos.config import Bands, Config, Count, Window, brief
from vocos.errors import CheckpointError
from vocos.nn.length import Length
from vocos.nn.mel import LogMel, MelScale
from vocos.nn.spectral import Framing, hann_window
from vocos.nn.vocoder import (
    Backbone,
    FourierHead,
    from_transformers,
    to_transformers,
    transformers_names,
    vocoder_steps,
)
from vocos.voco import Facts, Steps, Voco
from vocos.weights.configs import as_component, component
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.source import DEFAULT_REPOSITORY, Checkpoint, Source


@dataclass(frozen=True)
class MelConfig(Config):
    """Hyperparameters; `parse` also reads them from the three components of a public config file."""

    sample_rate: int = 24000
    n_mels: Bands = 100
    n_fft: Window = 1024
    hop_length: int = 256
    padding: str = "center"  # of the spectrogram
    head_padding: str = "center"  # of the inverse transform
    dim: int = 512
    intermediate_dim: int = 1536
    num_layers: Count = 8
    # Of other people's checkpoints
    f_min: float = 0.0  # Hz
    f_max: float = 0.0  # Hz, 0 for half the sampling rate
    mel_scale: str = "htk"
    norm: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.mel.problem() is None, str(self.mel.problem()))
        for framing in (self.analysis, self.synthesis):
            self.require(framing.problem() is None, str(framing.problem()))

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        if "hidden_size" in data:
            return super().parse(from_transformers(data))
        if "feature_extractor" not in data:
            return super().parse(data)
        features = component(data, "feature_extractor", "MelSpectrogramFeatures")
        backbone = component(data, "backbone", "VocosBackbone")
        head = component(data, "head", "ISTFTHead")
        config = super().parse({**backbone, **features, "head_padding": head.get("padding", "same")})
        told = {**config.as_dict(), "input_channels": config.n_mels}
        for arguments in (backbone, head):
            for name in ("input_channels", "dim", "n_fft", "hop_length"):
                if name in arguments and arguments[name] != told[name]:
                    raise CheckpointError(f"config: two values of {name}, {told[name]} and {brief(arguments[name])}")
        return config

    @property
    def mel(self) -> MelScale:
        return MelScale(self.sample_rate, self.n_mels, self.f_min, self.f_max, self.mel_scale, self.norm)

    @property
    def analysis(self) -> Framing:
        return Framing(self.n_fft, self.hop_length, self.padding)

    @property
    def synthesis(self) -> Framing:
        return Framing(self.n_fft, self.hop_length, self.head_padding)


def constants(config: MelConfig) -> dict[str, Tensor]:
    """The buffers that public files hold, as computed here."""
    window = hann_window(config.n_fft)
    return {
        "feature_extractor.mel_spec.spectrogram.window": window,
        "feature_extractor.mel_spec.mel_scale.fb": config.mel.filters(config.n_fft),
        "head.istft.window": window,
    }


def to_parts(config: MelConfig) -> dict[str, Any]:
    """The three components of a config file that `MelConfig.parse` reads."""
    transform = {"n_fft": config.n_fft, "hop_length": config.hop_length}
    features = {"sample_rate": config.sample_rate, "n_mels": config.n_mels, "padding": config.padding, **transform}
    if config.mel != MelScale(config.sample_rate, config.n_mels):
        features |= {
            "f_min": config.f_min,
            "f_max": config.mel.top_hz,
            "mel_scale": config.mel_scale,
            "norm": config.norm,
        }
    backbone = {"dim": config.dim, "intermediate_dim": config.intermediate_dim, "num_layers": config.num_layers}
    return {
        "feature_extractor": as_component("feature_extractors.MelSpectrogramFeatures", **features),
        "backbone": as_component("models.VocosBackbone", input_channels=config.n_mels, **backbone),
        "head": as_component("heads.ISTFTHead", dim=config.dim, padding=config.head_padding, **transform),
    }


def _transformers_problem(config: MelConfig) -> str | None:
    if config.padding != config.head_padding:
        return "they have two paddings"
    return None if config.mel == MelScale(config.sample_rate, config.n_mels) else "their mel filters are not HTK's"


class MelNetwork(nn.Module):
    """Spectrogram, and the generator that inverts it; its modules have the names of the public files."""

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.features = LogMel(config.mel, config.analysis)
        self.backbone = Backbone(config.n_mels, config.dim, config.intermediate_dim, config.num_layers)
        self.head = FourierHead(config.dim, config.synthesis)


PAPER = "2306.00814"


class Mel(Voco[MelConfig]):
    """Mono audio to a log-mel spectrogram, and back by the Vocos generator."""

    config_type = MelConfig
    checkpoints = {
        "mel": Checkpoint(
            MelConfig(), Source(DEFAULT_REPOSITORY, paper=PAPER, size_mb=54.3), "a fast vocoder of speech and audio"
        )
    }
    halves = {"encoder": (), "decoder": ("backbone", "head")}
    weightless = ("encoder",)  # a spectrogram
    layouts = (("mel.json", "mel.safetensors"), ("config.yaml", "pytorch_model.bin"))
    formats = (
        Format("charactr", marker="backbone.embed", constants=constants),
        Format(
            "transformers",
            marker="embed",
            rules=lambda config: transformers_names(config.num_layers),
            constants=lambda config: {"decoder.window": hann_window(config.n_fft)},
        ),
    )

    targets = (
        Target("charactr", formats[0], ("config.yaml", "pytorch_model.bin"), to_parts),
        Target("optimizerai", formats[0], ("mel.json", "mel.safetensors"), to_parts),
        Target(
            "transformers",
            formats[1],
            ("config.json", "model.safetensors"),
            lambda config: {"model_type": "vocos", **to_transformers(config.as_dict())},
            problem=_transformers_problem,
        ),
    )
    known = tuple(
        Source(f"{owner}/vocos-mel-24khz", license="mit", paper=PAPER, size_mb=54.3, is_gated=False, is_commercial=True)
        for owner in ("charactr", "hf-audio")
    )

    def describe(self, config: MelConfig) -> Facts:
        return Facts(
            sampling_rate=config.sample_rate,
            channel=1,
            latent_dim=config.n_mels,
            hop_length=config.hop_length,
            minimum_samples=config.analysis.minimum_samples,
            minimum_frames=config.synthesis.minimum_frames,
        )

    def build(self, config: MelConfig) -> nn.Module:
        return MelNetwork(config)

    def encoder_steps(self, network: Any) -> Steps:
        return network.features.steps()

    def decoder_steps(self, network: Any) -> Steps:
        return self.cast, *vocoder_steps(network)

    def frames(self, samples: Length) -> Length:
        return self.hyperparameters.analysis.frames(samples)

    def samples(self, frames: Length) -> Length:
        return self.hyperparameters.synthesis.samples(frames)
