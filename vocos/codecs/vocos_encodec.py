"""Vocos on EnCodec 24 kHz: the encoder of EnCodec before its quantiser, and a vocoder that makes audio of its latents.

Papers: Siuzdak, "Vocos", arXiv 2306.00814; Defossez et al., "High Fidelity Neural Audio Compression", arXiv
2210.13438.
Weights: Hub optimizerai/vocos, no licence stated. charactr/vocos-encodec-24khz (MIT) and its conversion
hf-audio/vocos-encodec-24khz can be read too; they hold the vocoder alone: EnCodec comes from facebook/encodec_24khz.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from vocos.config import Config, Count, Window, brief
from vocos.errors import CheckpointError
from vocos.nn.hooked import step_of
from vocos.nn.length import Length
from vocos.nn.names import seanet_names
from vocos.nn.quantize import affordable_codebooks, euclidean_codes, euclidean_features
from vocos.nn.seanet import SEANetEncoder
from vocos.nn.spectral import Framing, hann_window
from vocos.nn.vocoder import (
    Backbone,
    FourierHead,
    from_transformers,
    to_transformers,
    transformers_names,
    vocoder_steps,
)
from vocos.voco import Facts, Steps, Voco, batches, checks
from vocos.voco.streams import Stream
from vocos.weights import formats, hub
from vocos.weights.configs import as_component, component
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.location import Location
from vocos.weights.rules import Rules
from vocos.weights.source import DEFAULT_REPOSITORY, Checkpoint, Source
from vocos.weights.tensors import TensorFile, open_tensors

ENCODEC = "feature_extractor.encodec."  # where public files keep the EnCodec model
CODEBOOKS = {"codebook_weights": "feature_extractor.codebook_weights"}
# A convolution of the encoder outside its residual units, under our names or theirs.
_STAGE_WEIGHT = re.compile(r"\bencoder\.(?:model|layers)\.(\d+)(?:\.conv)+\.(?:weight|weight_v)$")


@dataclass(frozen=True)
class EncodecConfig(Config):
    """Hyperparameters; `parse` also reads them from the three components of a public config file.

    That file only names the EnCodec model, so the sizes of another encoder are read off the tensors of the checkpoint.
    """

    sample_rate: int = 24000
    n_filters: int = 32
    ratios: tuple[int, ...] = (8, 5, 4, 2)  # strides of EnCodec's decoder; its encoder has them in reverse
    input_channels: int = 128
    bandwidths: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0)  # kbps, one row of the AdaLayerNorm tables each
    dim: int = 384
    intermediate_dim: int = 1152
    num_layers: Count = 8
    n_fft: Window = 1280
    hop_length: int = 320
    head_padding: str = "same"
    codebook_size: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.synthesis.problem() is None, str(self.synthesis.problem()))
        self.require(self.codebook_size > 1, f"codebook_size {self.codebook_size} codes nothing")
        self.require(min(self.bandwidths) > 0, f"bandwidths {self.bandwidths}")

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        if "hidden_size" in data:
            return super().parse(from_transformers(data))
        if "feature_extractor" not in data:
            return super().parse(data)
        features = component(data, "feature_extractor", "EncodecFeatures")
        if features.get("encodec_model", "encodec_24khz") != "encodec_24khz":
            raise CheckpointError(
                f"config: encodec_model {brief(features['encodec_model'])}, this codec reads encodec_24khz"
            )
        backbone = component(data, "backbone", "VocosBackbone")
        head = component(data, "head", "ISTFTHead")
        config = super().parse({**features, **head, **backbone, "head_padding": head.get("padding", "same")})
        rows = backbone.get("adanorm_num_embeddings", len(config.bandwidths))
        if rows != len(config.bandwidths):
            raise CheckpointError(f"config: adanorm_num_embeddings {rows} for {len(config.bandwidths)} bandwidths")
        return config

    def codebooks_for(self, bandwidth: float) -> int:
        """Codebooks that a bandwidth in kbps pays for, at least one."""
        return affordable_codebooks(bandwidth, self.codebook_size, self.sample_rate / self.hop_length)

    @property
    def synthesis(self) -> Framing:
        return Framing(self.n_fft, self.hop_length, self.head_padding)


def original_rules(config: EncodecConfig) -> Rules:
    """How a file that holds both models, as of the original package, stores the modules."""
    return {ours: f"{ENCODEC}{theirs}" for ours, theirs in seanet_names(len(config.ratios)).items()} | CODEBOOKS


def constants(config: EncodecConfig) -> dict[str, Tensor]:
    """The buffers that public files hold, as computed here."""
    return {"head.istft.window": hann_window(config.n_fft)}


# EnCodec alone: the conversion to transformers, and the original file.
COMPANIONS: tuple[Format[EncodecConfig], ...] = (
    Format("transformers EnCodec", marker="encoder.layers.0.conv", unused=("decoder.*", "quantizer.*")),
    Format(
        "original EnCodec",
        marker="encoder.model.0.conv.conv",
        prefixes=("", ENCODEC),
        rules=lambda config: seanet_names(len(config.ratios)),
        unused=("decoder.*", "quantizer.*"),
    ),
)
COMPANION_LAYOUTS = (("config.json", "model.safetensors"), (None, "encodec_24khz-d7cc33bc.th"))
COMPANION = "facebook/encodec_24khz"


def to_parts(config: EncodecConfig) -> dict[str, Any]:
    """The three components of a config file that `EncodecConfig.parse` reads."""
    sizes = {"dim": config.dim, "intermediate_dim": config.intermediate_dim, "num_layers": config.num_layers}
    return {
        "feature_extractor": as_component(
            "feature_extractors.EncodecFeatures", encodec_model="encodec_24khz", bandwidths=list(config.bandwidths)
        ),
        "backbone": as_component(
            "models.VocosBackbone",
            input_channels=config.input_channels,
            adanorm_num_embeddings=len(config.bandwidths),
            **sizes,
        ),
        "head": as_component(
            "heads.ISTFTHead",
            dim=config.dim,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            padding=config.head_padding,
        ),
    }


class EncodecNetwork(nn.Module):
    """EnCodec's encoder, and the generator; the modules of the latter have the names of the public files."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.encoder = SEANetEncoder(1, config.n_filters, config.ratios[::-1], config.input_channels)
        n_codebooks = config.codebooks_for(max(config.bandwidths))
        self.codebook_weights = nn.Parameter(torch.empty(n_codebooks * config.codebook_size, config.input_channels))
        self.backbone = Backbone(
            config.input_channels, config.dim, config.intermediate_dim, config.num_layers, len(config.bandwidths)
        )
        self.head = FourierHead(config.dim, config.synthesis)

    def codebooks(self, entries: int) -> Tensor:
        """The table of all codebooks, stacked in the file, as `[K, entries, C]`."""
        return rearrange(self.codebook_weights, "(k e) c -> k e c", e=entries)


PAPER = "2306.00814"


class Encodec(Voco[EncodecConfig]):
    """Mono audio to EnCodec's latents before quantisation, or to its codes, and back by the Vocos generator.

    Args:
        location, device, dtype: as of `Voco`.
        bandwidth: kbps that a call has when it does not say: one of the config's, 6 as in the original. The vocoder is
            told it, and it counts the codebooks: 2, 4, 8 or 16 for 1.5, 3, 6 or 12 kbps.
        encodec_weights: where EnCodec is, for checkpoints of the vocoder alone; None for facebook/encodec_24khz.
    """

    config_type = EncodecConfig
    checkpoints = {
        "encodec": Checkpoint(
            EncodecConfig(),
            Source(DEFAULT_REPOSITORY, paper=PAPER, size_mb=116.5),
            "EnCodec's codes, decoded by the Vocos vocoder, 1.5 to 12 kbps",
        )
    }
    halves = {"encoder": ("encoder",), "decoder": ("backbone", "head")}  # codes need the codebooks in both directions
    layouts = (("encodec.json", "encodec.safetensors"), ("config.yaml", "pytorch_model.bin"))
    formats = (
        Format(
            "original",
            marker=f"{ENCODEC}encoder.model.0.conv.conv",
            rules=original_rules,
            unused=(f"{ENCODEC}decoder.*", f"{ENCODEC}quantizer.*"),
            constants=constants,
        ),
        Format(
            "charactr", marker="backbone.embed", rules=lambda config: CODEBOOKS, constants=constants, lacks="encoder."
        ),
        Format(
            "transformers",
            marker="embed",
            rules=lambda config: transformers_names(config.num_layers, has_conditions=True),
            constants=lambda config: {"decoder.window": hann_window(config.n_fft)},
            lacks="encoder.",
        ),
    )

    targets = (
        Target("charactr", formats[1], ("config.yaml", "pytorch_model.bin"), to_parts),
        Target(
            "transformers",
            formats[2],
            ("config.json", "model.safetensors"),
            lambda config: {"model_type": "vocos_encodec", **to_transformers(config.as_dict())},
        ),
    )
    known = tuple(
        Source(
            f"{owner}/vocos-encodec-24khz", license="mit", paper=PAPER, size_mb=40.3, is_gated=False, is_commercial=True
        )
        for owner in ("charactr", "hf-audio")
    )

    def __init__(
        self,
        location: Location | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        bandwidth: float = 6.0,
        encodec_weights: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(location, device, dtype)
        self.bandwidth = bandwidth
        weights = COMPANION if encodec_weights is None else os.fspath(encodec_weights)
        self._companion_location = replace(
            self.weights.location,
            weights=weights,
            subfolder=None,
            revision=None,
            is_known=encodec_weights is None,
            sha256=None,
            notice="",
            instead="",
        )
        if encodec_weights is not None:
            hub.find(self._companion_location)  # says at once if it is a path that does not exist
        if self.weights.known_config is not None:
            self._condition(self.weights.known_config)

    def _condition(self, config: EncodecConfig, bandwidth: float | None = None, call: str = "encodec") -> int:
        """Index of the bandwidth in the AdaLayerNorm tables."""
        bandwidth = self.bandwidth if bandwidth is None else bandwidth
        return config.bandwidths.index(checks.choice(bandwidth, config.bandwidths, call, "bandwidth", "kbps"))

    def complete(self, config: EncodecConfig, shapes: Mapping[str, tuple[int, ...]]) -> EncodecConfig:
        found = ((_STAGE_WEIGHT.search(name), shape) for name, shape in shapes.items())
        convs = {int(match[1]): shape for match, shape in found if match and len(shape) == 3}
        if len(convs) < 3:  # the first, the last, and one for each stride
            return config
        strides = [convs[n][2] // 2 for n in sorted(convs)[1:-1]]  # their kernels are twice as long
        return replace(config, n_filters=convs[min(convs)][0], ratios=tuple(strides[::-1]))

    def describe(self, config: EncodecConfig) -> Facts:
        return Facts(
            sampling_rate=config.sample_rate,
            channel=1,
            latent_dim=config.input_channels,
            hop_length=config.hop_length,
            minimum_frames=config.synthesis.minimum_frames,
            n_codebooks=config.codebooks_for(self.bandwidth),
            codebook_size=config.codebook_size,
            bandwidths=config.bandwidths,
        )

    def companion(self) -> tuple[Format[EncodecConfig], TensorFile]:
        place = self._companion_location
        path = hub.find_weights(place, COMPANION_LAYOUTS, hub.find_config(place, COMPANION_LAYOUTS))
        return formats.recognise(open_tensors(path), COMPANIONS, "encodec_weights")

    def build(self, config: EncodecConfig) -> nn.Module:
        product = math.prod(config.ratios)
        # Only the encoder's checkpoint tells its strides; the decoder does without.
        config.require(
            self.part == "decoder" or product == config.hop_length,
            f"ratios {config.ratios} do not make hop_length {config.hop_length}",
        )
        return EncodecNetwork(config)

    def encoder_steps(self, network: Any) -> Steps:
        return self.cast, step_of(network.encoder)

    def decoder_steps(self, network: Any, row: int = 0) -> Steps:
        return self.cast, *vocoder_steps(network, row)

    def decode(
        self,
        latents: Tensor,
        length: int | None = None,
        mask: Tensor | None = None,
        *,
        bandwidth: float | None = None,
    ) -> Tensor:
        """Audio of latents, as `Voco.decode`; `bandwidth` conditions the vocoder, None for that of the codec."""
        self.weights.require("decoder", "decode")
        row = self._condition(self.hyperparameters, bandwidth, "decode")
        return self._decoded(functools.partial(self.to_audio, row=row), latents, length, mask)

    def decode_batch(
        self, latents: batches.Clips, lengths: batches.Lengths = None, *, bandwidth: float | None = None
    ) -> list[Tensor]:
        """Audio of latents, as `Voco.decode_batch`; `bandwidth` as of `decode`."""
        return batches.decode(
            self, latents, lengths, lambda latents, length, rows: self.decode(latents, length, bandwidth=bandwidth)
        )

    def decode_codes(self, codes: Tensor, length: int | None = None, *, bandwidth: float | None = None) -> Tensor:
        """Audio of codes, wherever they come from, such as Bark's.

        Args:
            codes: integers `[batch, frames, k]`; `vocos.arrange_codes` brings those of other libraries into this order.
            length: as of `decode`.
            bandwidth: what the vocoder is told. None for the one that k codebooks take: 1.5 kbps for 1 or 2, 3 for 3
                or 4, 6 for 5 to 8, 12 for 9 to 16. Beyond the codebooks of the codec's own bandwidth, k must be the
                number of another.
        """
        self.weights.require("decoder", "decode_codes")
        self.check_codes(codes, "decode_codes")
        checks.length(length)
        told = self._enough(codes.shape[2]) if bandwidth is None else bandwidth
        row = self._condition(self.hyperparameters, told, "decode_codes")
        return self._audio_of_codes(codes, length, row=row)

    def decode_stream(self, batch: int = 1, *, bandwidth: float | None = None) -> Stream:
        """`decode` spread over time, as of `Voco.decode_stream`; `bandwidth` as of `decode`."""
        self.weights.require("decoder", "decode_stream")
        row = self._condition(self.hyperparameters, bandwidth, "decode_stream")
        return Stream(self, "decode", batch, self.decoder_steps, {"row": row})

    def decode_codes_stream(self, batch: int = 1, *, bandwidth: float | None = None) -> Stream:
        """`decode_codes` spread over time; `bandwidth` as there, None for the one that the first piece tells."""
        self.weights.require("decoder", "decode_codes_stream")
        known = {} if bandwidth is None else {"row": self._condition(self.hyperparameters, bandwidth, "decode_codes")}
        return Stream(self, "decode_codes", batch, self.decode_codes_steps, known)

    def options_for(self, x: Tensor, call: str, options: dict[str, Any]) -> dict[str, Any]:
        if call != "decode_codes" or options:
            return options
        return {"row": self._condition(self.hyperparameters, self._enough(x.shape[2]), call)}

    def _enough(self, n_codebooks: int) -> float:
        """The lowest bandwidth that so many codebooks take."""
        return next(rate for rate in sorted(self.bandwidths) if self.codebooks_for(rate) >= n_codebooks)

    def to_audio(self, latents: Tensor, length: int, row: int = 0) -> Tensor:
        return self.run_steps(self.decoder_steps(self.network, row), latents, self.hop_length)

    def samples(self, frames: Length) -> Length:
        return self.hyperparameters.synthesis.samples(frames)

    def quantize(self, latents: Tensor, n_codebooks: int) -> Tensor:
        return euclidean_codes(latents, self._codebooks()[:n_codebooks])

    def dequantize(self, codes: Tensor) -> Tensor:
        return euclidean_features(codes, self._codebooks())

    def _codebooks(self) -> Tensor:
        codebooks: Tensor = self.network.codebooks(self.hyperparameters.codebook_size)
        return codebooks
