"""The halves of Mimi and of codecs made of it: SEANet, a causal transformer, and a change of rate.

    encoder   audio 24 kHz -> SEANet -> 25 frames/s -> transformer -> downsampling -> latents 12.5 frames/s
    decoder   latents -> upsampling -> transformer -> SEANet -> audio

All of it looks back only.

Source: Defossez et al., "Moshi: a speech-text foundation model for real-time dialogue", arXiv 2410.00037.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from torch import nn

from vocos.config import MAX_SIZE, Config, Count, Depth, Range, expect, section
from vocos.nn.hooked import step_of
from vocos.nn.names import seanet_names
from vocos.nn.seanet import (
    Resampled,
    SEANetConv,
    SEANetDecoder,
    SEANetEncoder,
    SEANetStyle,
    SEANetTransposed,
)
from vocos.nn.transformer import Transformer, TransformerStyle
from vocos.weights.rules import Rows, Rule

ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"}
FLOOR = 1e-5  # of the number of vectors that trained a codebook's entry


@dataclass(frozen=True)
class MimiConfig(Config):
    """Hyperparameters of the halves, named as in transformers; the defaults are Mimi's.

    Attributes:
        upsampling_ratios: in the order of the decoder.
        latent_stride: steps of the transformers for a frame of the latents.
        latent_dim: channels of the latents.
    """

    sampling_rate: int = 24000
    num_filters: int = 64
    upsampling_ratios: tuple[int, ...] = (8, 6, 5, 4)
    hidden_size: int = 512
    kernel_size: Count = 7
    last_kernel_size: Count = 3
    residual_kernel_size: Count = 3
    num_residual_layers: Depth = 1
    dilation_growth_rate: Count = 2
    compress: Count = 2
    num_hidden_layers: Count = 8
    num_attention_heads: Count = 8
    head_dim: int = 64
    intermediate_size: int = 2048
    sliding_window: int = 250
    rope_theta: Annotated[float, Range(1, 1e9)] = 10000.0
    norm_eps: float = 1e-5
    hidden_act: str = "gelu"
    latent_stride: int = 2
    latent_dim: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.hidden_act in ACTIVATIONS, f"hidden_act {self.hidden_act!r}, none of {', '.join(ACTIVATIONS)}"
        )
        self.require(self.head_dim % 2 == 0, f"head_dim {self.head_dim}; rotations need pairs")
        self.require(self.compress <= self.num_filters, f"compress {self.compress} leaves nothing of num_filters")
        self.require(self.hop_length <= MAX_SIZE, f"upsampling_ratios {self.upsampling_ratios} make {self.hop_length}")

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        config = super().parse(_of_kyutai(data) if "seanet" in data else _checked(data))
        rate = data.get("frame_rate")
        is_rate = rate is None or rate == config.sampling_rate / config.hop_length
        config.require(is_rate, f"frame_rate {rate!r} of frames of {config.hop_length} samples")
        return config

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.latent_stride * math.prod(self.upsampling_ratios)

    @property
    def seanet(self) -> SEANetStyle:
        """Settings of the convolutions."""
        return SEANetStyle(
            pad_mode="constant",
            has_shortcut=False,
            kernel=self.kernel_size,
            last_kernel=self.last_kernel_size,
            residual_kernel=self.residual_kernel_size,
            n_units=self.num_residual_layers,
            dilation_base=self.dilation_growth_rate,
            compress=self.compress,
            n_lstm=0,
        )

    @property
    def transformer(self) -> TransformerStyle:
        """Settings of the transformers."""
        return TransformerStyle(
            width=self.hidden_size,
            n_heads=self.num_attention_heads,
            head_dim=self.head_dim,
            intermediate=self.intermediate_size,
            n_layers=self.num_hidden_layers,
            window=self.sliding_window,
            theta=self.rope_theta,
            epsilon=self.norm_eps,
            activation=ACTIVATIONS[self.hidden_act],
        )


# What no checkpoint has otherwise.
_FIXED = {
    "audio_channels": 1,
    "use_causal_conv": True,
    "pad_mode": "constant",
    "use_conv_shortcut": False,
    "trim_right_ratio": 1.0,
    "attention_bias": False,
}


def _checked(data: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a transformers config."""
    for name, value in _FIXED.items():
        expect(data, name, value, default=value)
    heads = data.get("num_attention_heads")
    expect(data, "num_key_value_heads", heads, default=heads)
    found = dict(data)
    rope = data.get("rope_parameters")
    if isinstance(rope, Mapping):
        expect(rope, "rope_type", "default", default="default")
        found["rope_theta"] = rope.get("rope_theta", data.get("rope_theta"))
    if data.get("head_dim") is None:
        found["head_dim"] = _head_dim(data.get("hidden_size"), heads)
    return found


def _head_dim(width: Any, heads: Any) -> int | None:
    """What a config leaves out; None where it does not say enough."""
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads > 0 else None


def _of_kyutai(data: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a config of Kyutai's own code, under the names of transformers."""
    seanet, transformer = section(data, "seanet"), section(data, "transformer")
    for name, value in (("norm", "none"), ("pad_mode", "constant"), ("true_skip", True), ("causal", True)):
        expect(seanet, name, value, default=value)
    for name, value in (("gating", "none"), ("norm", "layer_norm"), ("positional_embedding", "rope")):
        expect(transformer, name, value, default=value)
    width, heads = transformer.get("d_model", 512), transformer.get("num_heads", 8)
    found = {
        "sampling_rate": data.get("sample_rate"),
        "num_filters": seanet.get("n_filters"),
        "upsampling_ratios": seanet.get("ratios"),
        "hidden_size": seanet.get("dimension"),
        "kernel_size": seanet.get("kernel_size"),
        "last_kernel_size": seanet.get("last_kernel_size"),
        "residual_kernel_size": seanet.get("residual_kernel_size"),
        "num_residual_layers": seanet.get("n_residual_layers"),
        "dilation_growth_rate": seanet.get("dilation_base"),
        "compress": seanet.get("compress"),
        "num_hidden_layers": transformer.get("num_layers"),
        "num_attention_heads": heads,
        "head_dim": _head_dim(width, heads),
        "intermediate_size": transformer.get("dim_feedforward"),
        "sliding_window": transformer.get("context"),
        "rope_theta": transformer.get("max_period"),
    }
    return {**data, **{name: value for name, value in found.items() if value is not None}}


class MimiEncoder(nn.Module):
    """Audio to latents: `[B, 1, N]`, N a multiple of the hop, -> `[B, latent_dim, N / hop]`."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        width, ratios = config.hidden_size, config.upsampling_ratios[::-1]
        self.seanet = SEANetEncoder(1, config.num_filters, ratios, width, config.seanet)
        self.transformer = Transformer(config.transformer)
        stride, style = config.latent_stride, replace(config.seanet, pad_mode="replicate")
        self.downsample = Resampled(SEANetConv(width, config.latent_dim, 2 * stride, stride, style=style, bias=False))

    def steps(self) -> tuple[Any, ...]:
        """What the module computes, step by step."""
        return step_of(self.seanet), step_of(self.transformer), step_of(self.downsample)


class MimiDecoder(nn.Module):
    """Latents to audio: `[B, width, L]` -> `[B, 1, hop L]`."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        width, stride = config.hidden_size, config.latent_stride
        self.upsample = Resampled(SEANetTransposed(width, width, stride, config.seanet, groups=width, bias=False))
        self.transformer = Transformer(config.transformer)
        self.seanet = SEANetDecoder(width, config.num_filters, config.upsampling_ratios, 1, config.seanet)

    def steps(self) -> tuple[Any, ...]:
        """What the module computes, step by step."""
        return step_of(self.upsample), step_of(self.transformer), step_of(self.seanet)


def half_rules(names: Mapping[str, str]) -> dict[str, str | Rule]:
    """Rules of the parts of the halves, given the names that others have for them; ours are those of transformers.

    Args:
        names: theirs, by ours: "encoder.seanet", "encoder.transformer", "encoder.downsample", "decoder.upsample" ...
    """
    resampled = ("encoder.downsample", "decoder.upsample")
    return {f"{ours}.layer" if ours in resampled else ours: theirs for ours, theirs in names.items()}


def kyutai_rules(config: MimiConfig, projection: str, is_nested: bool) -> dict[str, str | Rule]:
    """How Kyutai's own code stores the halves.

    Args:
        config: of the halves.
        projection: its name of the matrix of queries, keys and values.
        is_nested: whether convolutions are wrapped twice, as in Moshi's code.
    """
    rules: dict[str, str | Rule] = {
        "encoder.downsample.layer.conv": "downsample.conv.conv.conv" if is_nested else "downsample.conv.conv",
        "decoder.upsample.layer.conv": "upsample.convtr.convtr.convtr" if is_nested else "upsample.convtr.convtr",
    }
    names = seanet_names(len(config.upsampling_ratios), config.num_residual_layers, has_lstm=False)
    for ours, theirs in names.items():
        half, _, path = ours.partition(".")
        rules[f"{half}.seanet.{path}"] = theirs if is_nested else theirs.rpartition(".")[0]
    for half in ("encoder", "decoder"):
        theirs = f"{half}_transformer.transformer"
        rules |= fused_rules(f"{half}.transformer", theirs, config.transformer, projection)
    return rules


def fused_rules(ours: str, theirs: str, style: TransformerStyle, projection: str) -> dict[str, str | Rule]:
    """How Kyutai's code stores the layers of a transformer: queries, keys and values in one matrix, pairs beside it.

    Its rotations turn neighbouring components of a head, ours those half a head apart.

    Args:
        ours, theirs: paths of the transformers.
        style: of them.
        projection: their name of the matrix, within the attention.
    """
    half = style.head_dim // 2
    inside = style.n_heads * style.head_dim
    straight = range(inside)
    paired = [
        head * style.head_dim + 2 * i + odd for head in range(style.n_heads) for odd in range(2) for i in range(half)
    ]
    parts = {
        "input_layernorm": "norm1",
        "post_attention_layernorm": "norm2",
        "mlp.fc1": "linear1",
        "mlp.fc2": "linear2",
        "self_attn_layer_scale": "layer_scale_1",
        "mlp_layer_scale": "layer_scale_2",
        "self_attn.o_proj": "self_attn.out_proj",
    }
    rules: dict[str, str | Rule] = {}
    for i in range(style.n_layers):
        our, their = f"{ours}.layers.{i}", f"{theirs}.layers.{i}"
        rules |= {f"{our}.{part}": f"{their}.{name}" for part, name in parts.items()}
        for k, (part, rows) in enumerate((("q", paired), ("k", paired), ("v", straight))):
            shifted = tuple(k * inside + row for row in rows)
            rules[f"{our}.self_attn.{part}_proj.weight"] = Rows(f"{their}.self_attn.{projection}", shifted, 3 * inside)
    return rules
