"""Hyperparameters of Qwen3-TTS' tokenizer, whose public config has a section for each half."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from vocos.config import Count, Range, expect, section
from vocos.nn.mimi import MimiConfig
from vocos.nn.transformer import TransformerStyle


@dataclass(frozen=True)
class Qwen3TtsConfig(MimiConfig):
    """Hyperparameters: those of the encoder as of Mimi, those of the decoder with a prefix.

    Attributes:
        n_codebooks: of the codes; the encoder's file holds more, which are not used.
        codebook_size, codebook_dim: of the encoder's codebooks.
        decoder_entries_dim: of the decoder's codebooks, half as wide as what the file calls `codebook_dim`.
        decoder_rates: by which the frames become samples, in this order, after two in every stage of upsampling.
        decoder_stages: strides of the stages of upsampling.
    """

    n_codebooks: Count = 16
    codebook_size: int = 2048
    codebook_dim: int = 256
    decoder_entries_dim: int = 256
    decoder_latent_dim: int = 1024
    decoder_hidden_size: int = 512
    decoder_intermediate_size: int = 1024
    decoder_num_hidden_layers: Count = 8
    decoder_num_attention_heads: Count = 16
    decoder_head_dim: int = 64
    decoder_sliding_window: int = 72
    decoder_rms_norm_eps: float = 1e-5
    decoder_rope_theta: Annotated[float, Range(1, 1e9)] = 10000.0
    decoder_stages: tuple[int, ...] = (2, 2)
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (8, 5, 4, 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.n_codebooks > 1, f"{self.n_codebooks} codebooks; one is semantic, the others acoustic")
        self.require(self.codebook_size > 1, f"codebook_size {self.codebook_size} codes nothing")
        self.require(
            self.latent_dim == self.hidden_size, f"latents of {self.latent_dim}, hidden_size {self.hidden_size}"
        )
        self.require(self.decoder_head_dim % 2 == 0, f"head_dim {self.decoder_head_dim}; rotations need pairs")
        up = math.prod(self.decoder_stages) * math.prod(self.decoder_rates)
        self.require(up == self.hop_length, f"the encoder makes a frame of {self.hop_length} samples, the decoder {up}")
        self.require(
            self.decoder_dim % 2 ** len(self.decoder_rates) == 0,
            f"decoder_dim {self.decoder_dim} cannot be halved {len(self.decoder_rates)} times",
        )

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        return super().parse(_flat(data) if "decoder_config" in data else data)

    @property
    def decoder_transformer(self) -> TransformerStyle:
        """Settings of the decoder's transformer."""
        return TransformerStyle(
            width=self.decoder_hidden_size,
            n_heads=self.decoder_num_attention_heads,
            head_dim=self.decoder_head_dim,
            intermediate=self.decoder_intermediate_size,
            n_layers=self.decoder_num_hidden_layers,
            window=self.decoder_sliding_window,
            theta=self.decoder_rope_theta,
            epsilon=self.decoder_rms_norm_eps,
            has_rms_norm=True,
            activation="swiglu",
        )


# What the public file calls the hyperparameters of the decoder.
_DECODER_KEYS = {
    "latent_dim": "decoder_latent_dim",
    "decoder_dim": "decoder_dim",
    "hidden_size": "decoder_hidden_size",
    "intermediate_size": "decoder_intermediate_size",
    "num_hidden_layers": "decoder_num_hidden_layers",
    "num_attention_heads": "decoder_num_attention_heads",
    "head_dim": "decoder_head_dim",
    "sliding_window": "decoder_sliding_window",
    "rms_norm_eps": "decoder_rms_norm_eps",
    "rope_theta": "decoder_rope_theta",
    "upsampling_ratios": "decoder_stages",
    "upsample_rates": "decoder_rates",
}


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a public config, whose halves are sections."""
    encoder, decoder = section(data, "encoder_config"), section(data, "decoder_config")
    expect(encoder, "num_semantic_quantizers", 1, default=1)
    expect(decoder, "hidden_act", "silu", default="silu")
    expect(decoder, "attention_bias", False, default=False)
    heads, width = decoder.get("num_attention_heads"), encoder.get("hidden_size")
    expect(decoder, "num_key_value_heads", heads, default=heads)
    expect(decoder, "codebook_dim", width, default=width)
    for rate in ("input_sample_rate", "output_sample_rate"):
        expect(data, rate, encoder.get("sampling_rate", 24000), default=encoder.get("sampling_rate", 24000))
    count = data.get("encoder_valid_num_quantizers", 16)
    expect(decoder, "num_quantizers", count, default=count)
    found = {**encoder, "latent_dim": width, "n_codebooks": count}
    if isinstance(width, int):
        found["decoder_entries_dim"] = width // 2
    return found | {ours: decoder[theirs] for theirs, ours in _DECODER_KEYS.items() if theirs in decoder}
