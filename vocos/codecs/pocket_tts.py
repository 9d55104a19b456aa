"""The audio tokenizer of Pocket TTS: Mimi without a quantiser, 32 continuous numbers a frame, 12.5 frames a second.

Paper: "Continuous Audio Language Models" (named by the publishers), Mimi: Defossez et al., arXiv 2410.00037.
Weights: Hub kyutai/pocket-tts, inside of the files of the whole text-to-speech model; their licence was not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import nn

from vocos.config import Count, section
from vocos.kernels import Pad
from vocos.nn.hooked import step_of
from vocos.nn.mimi import MimiConfig, MimiDecoder, MimiEncoder, half_rules, kyutai_rules
from vocos.nn.seanet import Resampled, SEANetConv
from vocos.voco import Facts, Steps, Voco
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.rules import Rules
from vocos.weights.source import Checkpoint, Source


@dataclass(frozen=True)
class PocketTtsConfig(MimiConfig):
    """Hyperparameters, named as in transformers."""

    upsampling_ratios: tuple[int, ...] = (6, 5, 4)
    num_hidden_layers: Count = 2
    latent_stride: int = 16
    latent_dim: int = 32

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        if "mimi" in data:  # of a config for the whole model
            return cls.parse(section(data, "mimi"))
        return super().parse({"latent_dim": data["inner_dim"], **data} if "inner_dim" in data else data)


def transformers_rules(config: PocketTtsConfig) -> Rules:
    """How transformers stores the modules."""
    names = {
        "encoder.seanet": "encoder.encoder_seanet",
        "encoder.transformer": "encoder.encoder_transformer",
        "encoder.downsample": "encoder.downsample",
        "decoder.upsample": "decoder.upsample",
        "decoder.transformer": "decoder.decoder_transformer",
        "decoder.seanet": "decoder.decoder_seanet",
    }
    return half_rules(names) | {"latent_proj.layer.conv": "latent_proj"}


def original_rules(config: PocketTtsConfig) -> Rules:
    """How Kyutai's code stores them."""
    rules = kyutai_rules(config, "in_proj.weight", is_nested=False)
    return rules | {"latent_proj.layer.conv": "quantizer.output_proj"}


FORMATS: tuple[Format[PocketTtsConfig], ...] = (
    Format("transformers", marker="encoder.encoder_seanet.layers.0.conv", rules=transformers_rules),
    Format(
        "original",
        marker="encoder.model.0.conv",
        prefixes=("mimi.", "model.mimi.", "model.", ""),
        rules=original_rules,
        unused=("quantizer.vq.*", "quantizer.logvar_*", "wavlm_*", "*_codebook*"),
    ),
)


def _to_transformers(config: PocketTtsConfig) -> dict[str, Any]:
    """What transformers expects in `config.json`."""
    theirs = {name: value for name, value in config.as_dict().items() if name != "rope_theta"}
    return theirs | {
        "architectures": ["PocketTTSAudioTokenizerModel"],
        "model_type": "pocket_tts_audio_tokenizer",
        "num_key_value_heads": config.num_attention_heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "upsample_groups": config.hidden_size,
    }


class PocketTtsNetwork(nn.Module):
    """Encoder, the projection of the latents, and decoder."""

    def __init__(self, config: PocketTtsConfig) -> None:
        super().__init__()
        self.encoder = MimiEncoder(config)
        projection = SEANetConv(config.latent_dim, config.hidden_size, 1, style=config.seanet, bias=False)
        self.latent_proj = Resampled(projection)
        self.decoder = MimiDecoder(config)


class PocketTts(Voco[PocketTtsConfig]):
    """Speech to 32 numbers a frame, the mean of a posterior whose variance was not published, and back.

    Pocket TTS' own language model works on (latent - mean) / std with statistics of its own, which have to be undone
    before `decode`.
    """

    config_type = PocketTtsConfig
    halves = {"encoder": ("encoder",), "decoder": ("latent_proj", "decoder")}
    checkpoints = {
        "pocket_tts": Checkpoint(
            PocketTtsConfig(),
            Source("kyutai/pocket-tts", subfolder="languages/english", size_mb=80.2, is_gated=True),
            "speech; the latents of Pocket TTS, causal",
        )
    }
    known = (Source("eustlb/pocket-tts-audio-tokenizer", size_mb=80.2),)
    layouts = (
        ("config.json", "model.safetensors"),
        (None, "model.safetensors"),
    )
    formats = FORMATS
    targets = (Target("transformers", FORMATS[0], ("config.json", "model.safetensors"), _to_transformers),)

    def describe(self, config: PocketTtsConfig) -> Facts:
        return Facts(
            sampling_rate=config.sampling_rate, channel=1, latent_dim=config.latent_dim, hop_length=config.hop_length
        )

    def build(self, config: PocketTtsConfig) -> nn.Module:
        return PocketTtsNetwork(config)

    def encoder_steps(self, network: Any) -> Steps:
        return Pad(0, 0, self.hop_length), self.cast, *network.encoder.steps()

    def decoder_steps(self, network: Any) -> Steps:
        return self.cast, step_of(network.latent_proj), *network.decoder.steps()
