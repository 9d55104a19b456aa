"""Mimi, the codec of Moshi: 24 kHz mono speech at 12.5 frames a second, causal in all parts.

Paper: Defossez et al., "Moshi: a speech-text foundation model for real-time dialogue", arXiv 2410.00037.
Weights: Hub kyutai/mimi, CC-BY-4.0; the file of Moshi's repositories can be read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from vocos.config import Count, expect, section
from vocos.kernels import Pad
from vocos.nn.mimi import FLOOR, MimiConfig, MimiDecoder, MimiEncoder, half_rules, kyutai_rules
from vocos.nn.quantize import ProjectedRVQ, SplitRVQ
from vocos.voco import Facts, Steps, Voco
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.rules import Quotient, Rules
from vocos.weights.source import Checkpoint, Source


@dataclass(frozen=True)
class MimiCodecConfig(MimiConfig):
    """Hyperparameters, named as in transformers."""

    num_quantizers: Count = 32  # the semantic one among them
    codebook_size: int = 2048
    codebook_dim: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.num_quantizers > 1, f"num_quantizers {self.num_quantizers}; one is semantic, others acoustic")
        self.require(self.codebook_size > 1, f"codebook_size {self.codebook_size} codes nothing")
        self.require(
            self.latent_dim == self.hidden_size, f"latents of {self.latent_dim}, hidden_size {self.hidden_size}"
        )

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        found = dict(data)
        if "seanet" in data:
            quantizer = section(data, "quantizer")
            names = {"n_q": "num_quantizers", "bins": "codebook_size", "dimension": "codebook_dim"}
            found |= {ours: quantizer[theirs] for theirs, ours in names.items() if theirs in quantizer}
            found["latent_dim"] = section(data, "seanet").get("dimension")
        else:
            expect(data, "num_semantic_quantizers", 1, default=1)
            width = found.get("codebook_dim")
            expect(data, "vector_quantization_hidden_dimension", width, default=width)
            found["latent_dim"] = data.get("hidden_size")
        return super().parse(found)


PARTS = {
    "encoder.seanet": "encoder",
    "encoder.transformer": "encoder_transformer",
    "encoder.downsample": "downsample",
    "decoder.upsample": "upsample",
    "decoder.transformer": "decoder_transformer",
    "decoder.seanet": "decoder",
}


def transformers_rules(config: MimiCodecConfig) -> Rules:
    """How transformers stores the modules."""
    names = {part: f"quantizer.{part}_residual_vector_quantizer" for part in ("semantic", "acoustic")}
    rules = half_rules(PARTS)
    for part, theirs in names.items():
        rules[f"quantizer.{part}"] = theirs
        for k in range(1 if part == "semantic" else config.num_quantizers - 1):
            book = f"{theirs}.layers.{k}.codebook"
            rules[f"quantizer.{part}.books.{k}"] = Quotient(f"{book}.embed_sum", f"{book}.cluster_usage", FLOOR)
    return rules


def original_rules(config: MimiCodecConfig) -> Rules:
    """How Moshi's code stores them."""
    rules = kyutai_rules(config, "in_proj_weight", is_nested=True)
    for part, theirs in (("semantic", "quantizer.rvq_first"), ("acoustic", "quantizer.rvq_rest")):
        rules[f"quantizer.{part}"] = theirs
        for k in range(1 if part == "semantic" else config.num_quantizers - 1):
            book = f"{theirs}.vq.layers.{k}._codebook"
            rules[f"quantizer.{part}.books.{k}"] = Quotient(f"{book}.embedding_sum", f"{book}.cluster_usage", FLOOR)
    return rules


def initialized(config: MimiCodecConfig) -> dict[str, Tensor]:
    """What public files say of every codebook: that it is not to be initialised by the first batch of a training."""
    flags = {}
    for part, count in (("semantic", 1), ("acoustic", config.num_quantizers - 1)):
        for k in range(count):
            flags[f"quantizer.{part}_residual_vector_quantizer.layers.{k}.codebook.initialized"] = torch.ones(1)
    return flags


FORMATS: tuple[Format[MimiCodecConfig], ...] = (
    Format(
        "transformers",
        marker="encoder.layers.0.conv",
        prefixes=("", "codec_model.", "mimi."),
        rules=transformers_rules,
        unused=("*.codebook.initialized",),
    ),
    Format(
        "original",
        marker="encoder.model.0.conv.conv",
        prefixes=("", "mimi."),
        rules=original_rules,
        unused=("*._codebook._initialized",),
    ),
)


def _moshi_problem(config: MimiCodecConfig) -> str | None:
    """The reason why a file without a config cannot hold weights; None if it can."""
    is_known = replace(config, num_quantizers=32) == MimiCodecConfig()
    return None if is_known else "its file has no config, so that only networks of the published size are read"


def _to_transformers(config: MimiCodecConfig) -> dict[str, Any]:
    """What transformers expects in `config.json`."""
    theirs = {name: value for name, value in config.as_dict().items() if name not in ("latent_stride", "latent_dim")}
    return theirs | {
        "architectures": ["MimiModel"],
        "model_type": "mimi",
        "frame_rate": config.sampling_rate / config.hop_length,
        "num_key_value_heads": config.num_attention_heads,
        "vector_quantization_hidden_dimension": config.codebook_dim,
        "upsample_groups": config.hidden_size,
    }


class MimiNetwork(nn.Module):
    """Encoder, quantiser and decoder."""

    def __init__(self, config: MimiCodecConfig) -> None:
        super().__init__()
        self.encoder = MimiEncoder(config)
        width, dimension, entries = config.hidden_size, config.codebook_dim, config.codebook_size
        self.quantizer = SplitRVQ(
            ProjectedRVQ(width, dimension, 1, entries),
            ProjectedRVQ(width, dimension, config.num_quantizers - 1, entries),
        )
        self.decoder = MimiDecoder(config)


PAPER = "2410.00037"


class Mimi(Voco[MimiCodecConfig]):
    """Speech to the encoder's output before quantisation, or to codes: one of a semantic codebook, the rest acoustic.

    The audio is completed with zeros to a multiple of the hop first. So the last frame is what a stream gives, and a
    row of a batch is what it is alone.
    """

    config_type = MimiCodecConfig
    halves = {"encoder": ("encoder",), "decoder": ("decoder",)}  # codes need the quantiser in both directions
    checkpoints = {
        "mimi": Checkpoint(
            MimiCodecConfig(),
            Source("kyutai/mimi", license="cc-by-4.0", paper=PAPER, size_mb=384.6, is_gated=False, is_commercial=True),
            "speech; the codec of Moshi and CSM, causal, 1.1 kbps with 8 of 32 codebooks",
        )
    }
    known = (
        Source(
            "kyutai/moshiko-pytorch-bf16",
            license="cc-by-4.0",
            paper=PAPER,
            size_mb=384.6,
            is_gated=False,
            is_commercial=True,
        ),
    )
    layouts = (
        ("config.json", "model.safetensors"),
        (None, "tokenizer-e351c8d8-checkpoint125.safetensors"),
    )
    formats = FORMATS
    targets = (
        Target(
            "transformers",
            replace(FORMATS[0], constants=initialized),
            ("config.json", "model.safetensors"),
            _to_transformers,
        ),
        Target(
            "moshi",
            FORMATS[1],
            (None, "tokenizer-e351c8d8-checkpoint125.safetensors"),
            lambda config: {},
            problem=_moshi_problem,
        ),
    )

    def describe(self, config: MimiCodecConfig) -> Facts:
        return Facts(
            sampling_rate=config.sampling_rate,
            channel=1,
            latent_dim=config.hidden_size,
            hop_length=config.hop_length,
            n_codebooks=config.num_quantizers,
            codebook_size=config.codebook_size,
        )

    def build(self, config: MimiCodecConfig) -> nn.Module:
        return MimiNetwork(config)

    def encoder_steps(self, network: Any) -> Steps:
        return Pad(0, 0, self.hop_length), self.cast, *network.encoder.steps()

    def decoder_steps(self, network: Any) -> Steps:
        return self.cast, *network.decoder.steps()
