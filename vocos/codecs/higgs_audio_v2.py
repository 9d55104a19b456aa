"""The tokenizer of Higgs Audio v2: X-Codec at 24 kHz, 25 frames a second; speech, music and sounds.

Its semantic model hears the audio at 16 kHz; its codebooks have 64 dimensions, with a projection in and out of each.
Paper: as of X-Codec, Ye et al., arXiv 2408.17175.
Weights: Hub bosonai/higgs-audio-v2-tokenizer, under a licence of their own ("Boson Higgs Audio 2 Community License",
which contains that of Llama 3). HuBERT is inside; what it computes comes from the package transformers, the extra
`xcodec`, and only encoding needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vocos.nn.conv import pad_to_multiple
from vocos.nn.hooked import is_changed
from vocos.nn.joined import UNUSED, JoinedConfig, JoinedNetwork, original_names, transformers_names
from vocos.nn.quantize import euclidean_codes
from vocos.nn.semantic import transformers_classes
from vocos.voco import Facts, Steps, Voco
from vocos.weights.formats import Format
from vocos.weights.rules import Rules
from vocos.weights.source import Checkpoint, Source


@dataclass(frozen=True)
class HiggsAudioConfig(JoinedConfig):
    """Hyperparameters, named as in the config files of DAC and, for the semantic model, of transformers."""

    encoder_rates: tuple[int, ...] = (8, 5, 4, 2, 3)
    decoder_rates: tuple[int, ...] = (8, 5, 4, 2, 3)
    sample_rate: int = 24000
    target_bandwidths: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    codebook_dim: int = 64


def transformers_rules(config: HiggsAudioConfig) -> Rules:
    """How transformers stores the modules."""
    return transformers_names(config) | _books(config, "quantizer.quantizers.{}", "codebook.embed")


def original_rules(config: HiggsAudioConfig) -> Rules:
    """How the original code stores them."""
    return original_names(config) | _books(config, "quantizer.vq.layers.{}", "_codebook.embed")


def _books(config: HiggsAudioConfig, layer: str, book: str) -> dict[str, str]:
    names = {}
    for k in range(config.n_codebooks):
        names[f"quantizer.layers.{k}"] = layer.format(k)
        names[f"quantizer.layers.{k}.embed"] = f"{layer.format(k)}.{book}"
    return names


class ProjectedCodebook(nn.Module):
    """A codebook of few dimensions: project in, take the nearest entry by the Euclidean distance, project out."""

    def __init__(self, channels: int, entries: int, dimension: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(channels, dimension)
        self.embed = nn.Parameter(torch.empty(entries, dimension))
        self.project_out = nn.Linear(dimension, channels)

    def encode(self, residual: Tensor) -> Tensor:
        """Codes `[B, L]` of a residual `[B, L, C]`."""
        projected = _in_float32(self.project_in, residual)
        return euclidean_codes(projected.mT, [self.embed])[:, 0]

    def decode(self, codes: Tensor) -> Tensor:
        """Features `[B, L, C]`, float32, of codes `[B, L]`."""
        return _in_float32(self.project_out, F.embedding(codes, self.embed.float()))


def _in_float32(linear: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer on float32; the bias counts."""
    if is_changed(linear, nn.Linear):
        found: Tensor = linear(x.to(linear.weight.dtype)).float()
        return found
    return F.linear(x, linear.weight.float(), linear.bias.float())


class ProjectedResidualRVQ(nn.Module):
    """Codebooks that each code what those before them leave, in the space of the features."""

    def __init__(self, config: HiggsAudioConfig) -> None:
        super().__init__()
        sizes = config.latent_dim, config.codebook_size, config.codebook_dim
        books = (ProjectedCodebook(*sizes) for _ in range(config.n_codebooks))
        self.layers: Sequence[ProjectedCodebook] = nn.ModuleList(books)  # type: ignore[assignment]

    def encode(self, features: Tensor, n_codebooks: int) -> Tensor:
        """Codes `[B, n_codebooks, L]`, int64, of features `[B, C, L]`."""
        with torch.autocast(features.device.type, enabled=False):
            residual, codes = rearrange(features.float(), "b c l -> b l c"), []
            for layer in self.layers[:n_codebooks]:
                codes.append(layer.encode(residual))
                residual = residual - layer.decode(codes[-1])
            return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Features `[B, C, L]`, float32, of codes `[B, k, L]`."""
        with torch.autocast(codes.device.type, enabled=False):
            parts = [self.layers[k].decode(codes[:, k]) for k in range(codes.shape[1])]
            return rearrange(torch.stack(parts).sum(dim=0), "b l c -> b c l")


class HiggsAudioV2(Voco[HiggsAudioConfig]):
    """Mono audio at 24 kHz to latents before quantisation, or to codes, the first of which are about content.

    `decode` takes latents as they are; the decoder was trained on quantised ones, those of `codes_to_latents`.
    """

    config_type = HiggsAudioConfig
    checkpoints = {
        "higgs_audio_v2": Checkpoint(
            HiggsAudioConfig(),
            Source(
                "bosonai/higgs-audio-v2-tokenizer",
                license="other",
                license_url="https://huggingface.co/bosonai/higgs-audio-v2-tokenizer",
                paper="2408.17175",
                size_mb=805.7,
                is_gated=False,
            ),
            "speech, music and sounds; the tokenizer of Higgs Audio v2, 2 kbps",
        )
    }
    known = (
        Source("eustlb/higgs-audio-v2-tokenizer", license="other", paper="2408.17175", size_mb=805.7),
        Source("k2-fsa/OmniVoice", subfolder="audio_tokenizer", paper="2408.17175", size_mb=805.7),
    )
    halves = {"encoder": ("encoder", "semantic", "encoder_semantic", "fc"), "decoder": ("fc2", "decoder")}
    unstreamable = {"encoder": "HuBERT attends to all of the audio"}
    layouts = (("config.json", "model.safetensors"), ("config.json", "model.pth"))
    formats = (
        Format("transformers", marker="fc2", rules=transformers_rules, unused=UNUSED),
        Format("original", marker="fc_post2", rules=original_rules, unused=UNUSED),
    )

    def describe(self, config: HiggsAudioConfig) -> Facts:
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

    def build(self, config: HiggsAudioConfig) -> nn.Module:
        return JoinedNetwork(config, ProjectedResidualRVQ(config))

    def to_latents(self, audio: Tensor) -> Tensor:
        latents: Tensor = self.network.encode(pad_to_multiple(audio, self.hop_length).to(self.dtype))
        return latents

    def decoder_steps(self, network: Any) -> Steps:
        return self.cast, *network.decoder_steps()

    def _latents_of(self, encode: Any, audio: Tensor) -> Tensor:
        transformers_classes(self.hyperparameters.semantic_model)  # without it, say so before anything is loaded
        return super()._latents_of(encode, audio)
