"""Vocos on EnCodec 24 kHz: the encoder of EnCodec before its quantiser, and a vocoder that makes sound of its latents.

Papers: Siuzdak, "Vocos", arXiv 2306.00814; Defossez et al., "High Fidelity Neural Audio Compression", arXiv 2210.13438.
Weights: Hub optimizerai/vocos, no licence stated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from vocos.checkpoint import Format, component
from vocos.config import Config
from vocos.errors import CheckpointError, InvalidInput
from vocos.hub import DEFAULT_REPOSITORY, Location, Source
from vocos.nn.length import Length, ceil_div
from vocos.nn.seanet import SEANetEncoder
from vocos.nn.spectral import Framing, hann_window
from vocos.nn.vocoder import Backbone, FourierHead
from vocos.voco import Facts, Voco

ENCODEC = "feature_extractor.encodec."  # where public files keep the EnCodec model
# A convolution of the encoder outside its residual units, under our names or theirs.
_STAGE_WEIGHT = re.compile(r"\bencoder\.(?:model|layers)\.(\d+)(?:\.conv)+\.(?:weight|weight_v)$")


@dataclass(frozen=True)
class EncodecConfig(Config):
    """Hyperparameters; `parse` also reads them from the three parts of a public config file.

    That file only names the EnCodec model, so the sizes of another encoder are read off the tensors of the checkpoint.
    """

    sample_rate: int = 24000
    n_filters: int = 32
    ratios: tuple[int, ...] = (8, 5, 4, 2)  # strides of EnCodec's decoder; its encoder has them in reverse
    input_channels: int = 128
    bandwidths: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0)  # kbps, one row of the AdaLayerNorm tables each
    dim: int = 384
    intermediate_dim: int = 1152
    num_layers: int = 8
    n_fft: int = 1280
    hop_length: int = 320
    head_padding: str = "same"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.synthesis.problem() is None, str(self.synthesis.problem()))

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        if "feature_extractor" not in data:
            return super().parse(data)
        features = component(data, "feature_extractor", "EncodecFeatures")
        if features.get("encodec_model", "encodec_24khz") != "encodec_24khz":
            raise CheckpointError(
                f"config: encodec_model {features['encodec_model']!r}, this codec reads encodec_24khz"
            )
        backbone = component(data, "backbone", "VocosBackbone")
        head = component(data, "head", "ISTFTHead")
        config = super().parse({**features, **head, **backbone, "head_padding": head.get("padding", "same")})
        rows = backbone.get("adanorm_num_embeddings", len(config.bandwidths))
        if rows != len(config.bandwidths):
            raise CheckpointError(f"config: adanorm_num_embeddings {rows} for {len(config.bandwidths)} bandwidths")
        return config

    @property
    def synthesis(self) -> Framing:
        return Framing(self.n_fft, self.hop_length, self.head_padding)


def original_names(config: EncodecConfig) -> dict[str, str]:
    """Module paths, ours -> those of the original package; the vocoder's are the same."""
    return dict(_encoder_names(len(config.ratios)))


def _encoder_names(n_strides: int) -> Iterator[tuple[str, str]]:
    ours, theirs = "encoder.layers", f"{ENCODEC}encoder.model"
    lstm = 3 * n_strides + 1  # after the first convolution, three layers per stride
    convs = ["0", str(lstm + 2)]
    for unit in range(1, lstm, 3):
        convs += [f"{unit}.block.1", f"{unit}.block.3", f"{unit}.shortcut", str(unit + 2)]
    yield from ((f"{ours}.{conv}.conv", f"{theirs}.{conv}.conv.conv") for conv in convs)
    yield f"{ours}.{lstm}.lstm", f"{theirs}.{lstm}.lstm"


class EncodecNetwork(nn.Module):
    """EnCodec's encoder, and the generator; the modules of the latter have the names of the public files."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.encoder = SEANetEncoder(1, config.n_filters, config.ratios[::-1], config.input_channels)
        self.backbone = Backbone(
            config.input_channels, config.dim, config.intermediate_dim, config.num_layers, len(config.bandwidths)
        )
        self.head = FourierHead(config.dim, config.synthesis)


class Encodec(Voco[EncodecConfig]):
    """Mono speech and sound at 24 kHz: 128 latents, EnCodec's before quantisation; 75 frames per second.

    Args:
        location, device, dtype: as of `Voco`.
        bandwidth: kbps that the vocoder is told the latents have; one of the config's, 6 as in the original.
    """

    config_type = EncodecConfig
    default = Source(DEFAULT_REPOSITORY)
    layouts = (("encodec.json", "encodec.safetensors"),)
    formats = (
        Format(
            "original",
            marker=f"{ENCODEC}encoder.model.0.conv.conv",
            modules=original_names,
            unused=("feature_extractor.codebook_weights", f"{ENCODEC}decoder.", f"{ENCODEC}quantizer."),
            constants=lambda config: {"head.istft.window": hann_window(config.n_fft)},
        ),
    )

    def __init__(
        self,
        location: Location | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        bandwidth: float = 6.0,
    ) -> None:
        super().__init__(location, device, dtype)
        self.bandwidth = bandwidth
        if self._config is not None:
            self._condition(self._config)

    def _condition(self, config: EncodecConfig) -> int:
        """Row of the AdaLayerNorm tables."""
        if self.bandwidth not in config.bandwidths:
            choices = ", ".join(f"{choice:g}" for choice in config.bandwidths)
            raise InvalidInput(f"encodec: expected bandwidth as one of {choices} kbps, got {self.bandwidth!r}")
        return config.bandwidths.index(self.bandwidth)

    def _fitted(self, config: EncodecConfig, shapes: Mapping[str, tuple[int, ...]]) -> EncodecConfig:
        found = ((_STAGE_WEIGHT.search(name), shape) for name, shape in shapes.items())
        convs = {int(match[1]): shape for match, shape in found if match and len(shape) == 3}
        if len(convs) < 3:  # the first, the last, and one for each stride
            return config
        strides = [convs[n][2] // 2 for n in sorted(convs)[1:-1]]  # their kernels are twice as long
        return replace(config, n_filters=convs[min(convs)][0], ratios=tuple(strides[::-1]))

    def _facts(self, config: EncodecConfig) -> Facts:
        return Facts(
            sampling_rate=config.sample_rate,
            channel=1,
            latent_dim=config.input_channels,
            hop_length=config.hop_length,
            minimum_frames=config.synthesis.minimum_frames,
        )

    def _build(self, config: EncodecConfig) -> nn.Module:
        product = math.prod(config.ratios)
        config.require(
            product == config.hop_length, f"ratios {config.ratios} do not make hop_length {config.hop_length}"
        )
        return EncodecNetwork(config)

    def _encode(self, audio: Tensor) -> Tensor:
        return self.network.encoder(audio.to(self.dtype))

    def _decode(self, latents: Tensor, length: int) -> Tensor:
        features = self.network.backbone(latents.to(self.dtype), self._condition(self._hyperparameters))
        return self.network.head(features, length)

    def _frames(self, samples: Length) -> Length:
        return ceil_div(samples, self.hop_length)

    def _samples(self, frames: Length) -> Length:
        return self._hyperparameters.synthesis.samples(frames)
