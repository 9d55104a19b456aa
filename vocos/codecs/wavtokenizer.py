"""WavTokenizer: one codebook of 4096 entries, 40 or 75 codes a second, 24 kHz mono.

EnCodec's encoder, looking both ways; a Vocos generator with attention over the whole clip in front of it.
Paper: Ji et al., "WavTokenizer: an Efficient Acoustic Discrete Codec Tokenizer for Audio Language Modeling", arXiv
2408.16532.
Weights: Hub swiss-ai/wavtokenizer-* (converted, no licence stated), novateur/WavTokenizer* (MIT).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocos.config import Config, Count, expect
from vocos.nn.hooked import step_of
from vocos.nn.names import seanet_names
from vocos.nn.quantize import TRAINING_STATE, EuclideanRVQ
from vocos.nn.seanet import SEANetEncoder, SEANetStyle
from vocos.nn.spectral import Framing, hann_window
from vocos.nn.transformer import attended
from vocos.nn.vocoder import NORM_EPSILON, REACH, Backbone, FourierHead, channel_last, normalised
from vocos.voco import Facts, Steps, Voco
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.rules import NEW_STYLE, OLD_STYLE, Rules, weight_norm
from vocos.weights.source import Checkpoint, Source

CONDITION = 0  # the row of the tables of the norms that the original decodes with, always
QUERIES = 1024  # frames of a block of the attention, which has one wide head: its scores would grow with the square
OVERLAP = 4  # windows of the inverse transform at each sample


@dataclass(frozen=True)
class WavTokenizerConfig(Config):
    """Hyperparameters, named as in transformers.

    Attributes:
        upsampling_ratios: strides of the encoder, in reverse.
    """

    sampling_rate: int = 24000
    num_filters: int = 32
    upsampling_ratios: tuple[int, ...] = (6, 5, 5, 4)
    num_lstm_layers: Count = 2
    hidden_size: int = 512
    codebook_size: int = 4096
    decoder_hidden_size: int = 768
    decoder_intermediate_size: int = 2304
    decoder_num_layers: Count = 12
    adanorm_num_embeddings: Count = 4
    decoder_attention_num_groups: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.codebook_size > 1, f"codebook_size {self.codebook_size} codes nothing")
        width, groups = self.decoder_hidden_size, self.decoder_attention_num_groups
        self.require(width % groups == 0 and width > groups, f"{groups} groups of {width} channels")
        self.require(self.synthesis.problem() is None, str(self.synthesis.problem()))

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        for name, value in _FIXED.items():
            expect(data, name, value, default=value)
        expect(data, "codebook_dim", data.get("hidden_size"), default=data.get("hidden_size"))
        return super().parse(data)

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.upsampling_ratios)

    @property
    def synthesis(self) -> Framing:
        """The inverse transform."""
        return Framing(OVERLAP * self.hop_length, self.hop_length, "same")


_FIXED = {
    "audio_channels": 1,
    "num_residual_layers": 1,
    "dilation_growth_rate": 2,
    "compress": 2,
    "use_conv_shortcut": True,
    "use_causal_conv": False,
    "pad_mode": "reflect",
    "norm_type": "weight_norm",
    "kernel_size": 7,
    "last_kernel_size": 7,
    "residual_kernel_size": 3,
    "norm_eps": NORM_EPSILON,
}
# Where the sizes are in the tensors of a file of the original, which has no config beside it.
_CONV = re.compile(
    r"(?:^|\.)encoder\.(?:model|layers)\.(\d+)\.conv\.(?:conv\.)?"
    r"(?:weight_v|parametrizations\.weight\.original1|weight)$"
)


def transformers_rules(config: WavTokenizerConfig) -> Rules:
    """How transformers stores the modules."""
    return _rules({"encoder": "encoder_model.encoder"}, "encoder_model.quantizer.codebook.embed", "linear", NEW_STYLE)


def earlier_rules(config: WavTokenizerConfig) -> Rules:
    """How an earlier version of its port did."""
    return _rules({"encoder": "encoder"}, "quantizer.codebook.embed", "linear", NEW_STYLE)


ENCODEC = "feature_extractor.encodec."


def original_rules(config: WavTokenizerConfig) -> Rules:
    """How the original code stores them."""
    names = seanet_names(len(config.upsampling_ratios))
    names = {ours: f"{ENCODEC}{theirs}" for ours, theirs in names.items() if ours.startswith("encoder.")}
    return _rules(names, f"{ENCODEC}quantizer.vq.layers.0._codebook.embed", "out")


def _rules(encoder: Mapping[str, str], book: str, last: str, leaves: tuple[str, str] = OLD_STYLE) -> Rules:
    """Rules of a file, given its names of the parts of the encoder, which alone has weight norm, and of two more."""
    normed = {ours: rule for ours, rule in weight_norm(encoder, leaves).items() if ours}
    names = {"decoder.backbone": "backbone", "decoder.head": "head", "decoder.head.out": f"head.{last}"}
    return normed | names | {"quantizer.books.0": book}


def constants(config: WavTokenizerConfig) -> dict[str, Tensor]:
    """The buffer that files of the original hold, as computed here."""
    return {"head.istft.window": hann_window(config.synthesis.n_fft)}


_UNUSED = ("*.decoder.*", "multiperioddisc.*", "multiresddisc.*", "dac.*", "dacdiscriminator.*", "melspec_loss.*")
FORMATS: tuple[Format[WavTokenizerConfig], ...] = (
    Format(
        "transformers", marker="encoder_model.encoder.layers.0.conv", rules=transformers_rules, unused=TRAINING_STATE
    ),
    Format("earlier transformers", marker="encoder.layers.0.conv", rules=earlier_rules, unused=TRAINING_STATE),
    Format(
        "original",
        marker=f"{ENCODEC}encoder.model.0.conv.conv",
        rules=original_rules,
        unused=(*TRAINING_STATE, *_UNUSED),
        constants=constants,
    ),
)


def _to_transformers(config: WavTokenizerConfig) -> dict[str, Any]:
    """What transformers expects in `config.json`."""
    theirs = {"architectures": ["WavTokenizerModel"], "model_type": "wavtokenizer", "codebook_dim": config.hidden_size}
    return theirs | _FIXED | config.as_dict()


class AttentionBlock(nn.Module):
    """x + attention of one head, in which every frame sees all frames, of a group norm of x.

    Shape: `[B, C, L]` -> `[B, C, L]`.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, NORM_EPSILON)
        self.q, self.k, self.v, self.proj_out = (nn.Conv1d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        queries, keys, values = (layer(y).mT[:, None] for layer in (self.q, self.k, self.v))
        parts = [attended(part, keys, values) for part in torch.split(queries, QUERIES, dim=2)]
        found: Tensor = x + self.proj_out(torch.cat(parts, dim=2)[:, 0].mT)
        return found


class ResidualBlock(nn.Module):
    """x + convolution(swish(norm(convolution(swish(norm(x)))))). Shape: `[B, C, L]` -> `[B, C, L]`."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(groups, channels, NORM_EPSILON) for _ in range(2))
        self.conv1, self.conv2 = (nn.Conv1d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        found: Tensor = x + self.conv2(F.silu(self.norm2(y)))
        return found


class AttentiveBackbone(Backbone):
    """The generator's blocks, with `pos_net` between the first convolution and the first norm.

    Shape: `[B, inputs, L]` -> `[B, L, channels]`.
    """

    def __init__(self, config: WavTokenizerConfig) -> None:
        width, groups = config.decoder_hidden_size, config.decoder_attention_num_groups
        layers, conditions = config.decoder_num_layers, config.adanorm_num_embeddings
        super().__init__(config.hidden_size, width, config.decoder_intermediate_size, layers, conditions)
        first, second, third, fourth = (ResidualBlock(width, groups) for _ in range(4))
        last = nn.GroupNorm(groups, width, NORM_EPSILON)
        self.pos_net = nn.Sequential(first, second, AttentionBlock(width, groups), third, fourth, last)

    def forward(self, features: Tensor, condition: int = CONDITION) -> Tensor:
        x = self.pos_net(channel_last(self.embed, features.mT, REACH, REACH).mT).mT
        x = normalised(self.norm, x, condition)
        for block in self.convnext:
            x = block(x, condition)
        found: Tensor = self.final_layer_norm(x)
        return found


class WavTokenizerDecoder(nn.Module):
    """Latents `[B, D, L]` to audio `[B, 1, hop L]`."""

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        self.backbone = AttentiveBackbone(config)
        self.head = FourierHead(config.decoder_hidden_size, config.synthesis)

    def forward(self, latents: Tensor, condition: int = CONDITION) -> Tensor:
        audio: Tensor = self.head(self.backbone(latents, condition))
        return audio


class WavTokenizerNetwork(nn.Module):
    """Encoder, codebook and decoder."""

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        strides, style = config.upsampling_ratios[::-1], SEANetStyle(is_causal=False, n_lstm=config.num_lstm_layers)
        self.encoder = SEANetEncoder(1, config.num_filters, strides, config.hidden_size, style)
        self.quantizer = EuclideanRVQ(1, config.codebook_size, config.hidden_size)
        self.decoder = WavTokenizerDecoder(config)


PAPER = "2408.16532"
FAST, SLOW = (8, 5, 4, 2), (6, 5, 5, 4)  # 75 and 40 codes a second


def _row(name: str, ratios: Sequence[int], about: str) -> Checkpoint[WavTokenizerConfig]:
    source = Source(f"swiss-ai/wavtokenizer-{name}", paper=PAPER, size_mb=305.2 if ratios == SLOW else 303.8)
    return Checkpoint(WavTokenizerConfig(upsampling_ratios=tuple(ratios)), source, about)


def _original(repository: str) -> Source:
    return Source(
        f"novateur/{repository}", license="mit", paper=PAPER, size_mb=1760.0, is_gated=False, is_commercial=True
    )


class WavTokenizer(Voco[WavTokenizerConfig]):
    """Audio to latents before quantisation, or to one code a frame; and back by a vocoder that sees the whole clip."""

    config_type = WavTokenizerConfig
    halves = {"encoder": ("encoder",), "decoder": ("decoder",)}  # codes need the codebook in both directions
    unstreamable = {"decoder": "its norms and its attention go over all of the codes"}
    checkpoints = {
        "wavtokenizer": _row("large-unify-40token", SLOW, "audio of every kind, one code, 0.5 kbps"),
        "wavtokenizer_large_unify_40token": _row("large-unify-40token", SLOW, "what wavtokenizer is"),
        "wavtokenizer_large_speech_75token_v2": _row("large-speech-75token-v2", FAST, "speech, one code, 0.9 kbps"),
        "wavtokenizer_medium_speech_75token": _row("medium-speech-75token", FAST, "speech"),
        "wavtokenizer_medium_speech_75token_v2": _row("medium-speech-75token-v2", FAST, "speech"),
        "wavtokenizer_medium_music_audio_75token": _row("medium-music-audio-75token", FAST, "music and sounds"),
        "wavtokenizer_medium_music_audio_75token_v2": _row("medium-music-audio-75token-v2", FAST, "music and sounds"),
        "wavtokenizer_small_speech_40token": _row("small-speech-40token", SLOW, "speech, of LibriTTS"),
        "wavtokenizer_small_speech_75token": _row("small-speech-75token", FAST, "speech, of LibriTTS"),
    }
    known = tuple(
        map(
            _original,
            (
                "WavTokenizer",
                "WavTokenizer-medium-speech-75token",
                "WavTokenizer-medium-music-audio-75token",
                "WavTokenizer-large-unify-40token",
                "WavTokenizer-large-speech-75token",
            ),
        )
    )
    layouts = (
        ("config.json", "model.safetensors"),
        (None, "wavtokenizer_large_unify_600_24k.ckpt"),
        (None, "wavtokenizer_large_speech_320_v2.ckpt"),
        (None, "wavtokenizer_medium_speech_320_24k_v2.ckpt"),
        (None, "wavtokenizer_medium_speech_320_24k.ckpt"),
        (None, "wavtokenizer_medium_music_audio_320_24k_v2.ckpt"),
        (None, "wavtokenizer_medium_music_audio_320_24k.ckpt"),
        (None, "WavTokenizer_small_600_24k_4096.ckpt"),
        (None, "WavTokenizer_small_320_24k_4096.ckpt"),
    )
    formats = FORMATS
    targets = (Target("transformers", FORMATS[0], ("config.json", "model.safetensors"), _to_transformers),)

    def describe(self, config: WavTokenizerConfig) -> Facts:
        return Facts(
            sampling_rate=config.sampling_rate,
            channel=1,
            latent_dim=config.hidden_size,
            hop_length=config.hop_length,
            n_codebooks=1,
            codebook_size=config.codebook_size,
        )

    def complete(self, config: WavTokenizerConfig, shapes: Mapping[str, tuple[int, ...]]) -> WavTokenizerConfig:
        """The sizes that the tensors tell, for files without a config."""
        convs = {int(match[1]): shape for name, shape in shapes.items() if (match := _CONV.search(name))}
        book = next((shape for name, shape in shapes.items() if name.endswith("codebook.embed")), None)
        wide, tables = shapes.get("backbone.convnext.0.pwconv1.weight"), shapes.get("backbone.norm.scale.weight")
        if len(convs) < 3 or book is None or wide is None or tables is None:
            return config
        strides = [convs[n][2] // 2 for n in sorted(convs)[1:-1]]  # their kernels are twice as long
        return replace(
            config,
            num_filters=convs[min(convs)][0],
            upsampling_ratios=tuple(strides[::-1]),
            hidden_size=book[1],
            codebook_size=book[0],
            decoder_hidden_size=wide[1],
            decoder_intermediate_size=wide[0],
            decoder_num_layers=sum(name.endswith(".pwconv1.weight") for name in shapes),
            adanorm_num_embeddings=tables[0],
        )

    def build(self, config: WavTokenizerConfig) -> nn.Module:
        return WavTokenizerNetwork(config)

    def encoder_steps(self, network: Any) -> Steps:
        return self.cast, step_of(network.encoder)

    def to_audio(self, latents: Tensor, length: int) -> Tensor:
        audio: Tensor = self.network.decoder(latents.to(self.dtype))
        return audio
