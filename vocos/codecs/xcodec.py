"""X-Codec: codes that carry the content of speech. An acoustic encoder beside HuBERT or WavLM, quantised together.

Paper: Ye et al., "Codec Does Matter: Exploring the Semantic Shortcoming of Codec for Audio Language Model", arXiv
2408.17175.
Weights: five repositories of hf-audio on the Hub. The card of xcodec-wavlm-more-data says CC-BY-4.0; no licence is
known of the others. HuBERT or WavLM is inside; what it computes comes from the package transformers, the extra
`xcodec`, and only encoding needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from vocos.config import expect
from vocos.nn.conv import pad_to_multiple
from vocos.nn.joined import UNUSED, JoinedConfig, JoinedNetwork, original_names, transformers_names
from vocos.nn.quantize import EuclideanRVQ
from vocos.nn.semantic import transformers_classes
from vocos.voco import Facts, Steps, Voco
from vocos.weights.formats import Format
from vocos.weights.rules import Rules
from vocos.weights.source import Checkpoint, Source


@dataclass(frozen=True)
class XcodecConfig(JoinedConfig):
    """Hyperparameters, named as in the config files of DAC and, for the semantic model, of transformers."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        config = super().parse(data)
        expect(data, "codebook_dim", config.latent_dim, config.latent_dim)
        return config


def transformers_rules(config: XcodecConfig) -> Rules:
    """How transformers stores the modules."""
    books = {f"quantizer.books.{k}": f"quantizer.quantizers.{k}.codebook.embed" for k in range(config.n_codebooks)}
    return transformers_names(config) | books


def original_rules(config: XcodecConfig) -> Rules:
    """How the original code stores them."""
    books = {f"quantizer.books.{k}": f"quantizer.vq.layers.{k}._codebook.embed" for k in range(config.n_codebooks)}
    return original_names(config) | books


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
    layouts = (("config.json", "model.safetensors"), ("config.json", "model.pth"))
    formats = (
        Format("transformers", marker="fc2", rules=transformers_rules, unused=UNUSED),
        Format("original", marker="fc_post2", rules=original_rules, unused=UNUSED),
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
        books = EuclideanRVQ(config.n_codebooks, config.codebook_size, config.latent_dim)
        return JoinedNetwork(config, books)

    def to_latents(self, audio: Tensor) -> Tensor:
        return self.network.encode(pad_to_multiple(audio, self.hop_length).to(self.dtype))

    def decoder_steps(self, network: Any) -> Steps:
        return self.cast, *network.decoder_steps()

    def _latents_of(self, encode: Any, audio: Tensor) -> Tensor:
        transformers_classes(self.hyperparameters.semantic_model)  # without it, say so before anything is loaded
        return super()._latents_of(encode, audio)
