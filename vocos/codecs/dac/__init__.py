"""DAC, the Descript Audio Codec: Snake convolutions and a residual quantiser of small codebooks.

Paper: "High-Fidelity Audio Compression with Improved RVQGAN", arXiv 2306.06546.
Weights: `dac` Hub optimizerai/vocos (44.1 kHz, 16 kbps), no licence stated; `dac_44khz` (8 kbps), `dac_24khz` and
`dac_16khz` Hub descript/dac_44khz and so on, MIT. The `.pth` files of descript-audio-codec, MIT, can be read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from vocos.codecs.dac import unpadded
from vocos.config import Count
from vocos.errors import CheckpointError, InvalidInput
from vocos.kernels import Pad, Window
from vocos.nn.blocks import Decoder, Encoder, RatesConfig
from vocos.nn.hooked import step_of
from vocos.nn.length import Length, ceil_div, strided_length, transposed_length
from vocos.nn.names import hub_names, numbered_names
from vocos.nn.quantize import FactorizedRVQ
from vocos.voco import Facts, Steps, Voco, checks
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.rules import Rules, weight_norm
from vocos.weights.source import DEFAULT_REPOSITORY, Checkpoint, Source

# What transformers calls the hyperparameters. Its `hop_length` is wrong for the 16 and 24 kHz models, and not read.
TRANSFORMERS_KEYS = {
    "encoder_hidden_size": "encoder_dim",
    "downsampling_ratios": "encoder_rates",
    "hidden_size": "latent_dim",
    "decoder_hidden_size": "decoder_dim",
    "upsampling_ratios": "decoder_rates",
    "sampling_rate": "sample_rate",
}


@dataclass(frozen=True)
class DacConfig(RatesConfig):
    """Hyperparameters, named as in the public config files."""

    latent_dim: int = 128
    n_codebooks: Count = 18
    codebook_size: int = 1024
    codebook_dim: int = 8

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        data = {TRANSFORMERS_KEYS.get(name, name): value for name, value in data.items()}
        for name in ("sample_rate", "n_codebooks"):  # of which publishers' defaults differ
            if data.get(name) is None:
                raise CheckpointError(f"config: {name} is missing")
        config = super().parse(data)
        if data.get("latent_dim") is None:  # older files leave it out: the width of the last encoder block
            return replace(config, latent_dim=config.encoder_dim * 2 ** len(config.encoder_rates))
        return config


def descript_rules(config: DacConfig) -> Rules:
    """How descript-audio-codec and the original package store the modules."""
    blocks = len(config.encoder_rates), len(config.decoder_rates)
    return weight_norm(numbered_names("encoder.block", "decoder.model", "block", *blocks))


def transformers_rules(config: DacConfig) -> Rules:
    """How transformers stores them: convolutions without weight norm."""
    return hub_names(len(config.encoder_rates), len(config.decoder_rates))


def _to_transformers(config: DacConfig) -> dict[str, Any]:
    """What transformers expects in `config.json`."""
    ours = config.as_dict()
    theirs = {name: ours.pop(mine) for name, mine in TRANSFORMERS_KEYS.items()}
    hop_length = config.hop_length
    return {"architectures": ["DacModel"], "model_type": "dac", "hop_length": hop_length, **theirs, **ours}


class DacNetwork(nn.Module):
    """Encoder `[B, 1, N]` -> `[B, D, L]`, quantiser, and decoder `[B, D, L]` -> `[B, 1, N]`."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.encoder = Encoder(
            1,
            config.encoder_widths,
            config.encoder_rates,
            config.latent_dim,
        )
        self.quantizer = FactorizedRVQ(config.latent_dim, config.n_codebooks, config.codebook_size, config.codebook_dim)
        self.decoder = Decoder(
            config.latent_dim,
            config.decoder_widths,
            config.decoder_rates,
            1,
        )


PAPER = "2306.06546"
CONFIG_24KHZ = DacConfig(  # the odd stride makes the audio of L frames 320 L - 8 samples long
    encoder_rates=(2, 4, 5, 8), latent_dim=1024, decoder_rates=(8, 5, 4, 2), sample_rate=24000, n_codebooks=32
)


def _descript(name: str) -> Source:
    """The source of one of Descript's repositories."""
    return Source(
        f"descript/{name}",
        license="mit",
        license_url="https://github.com/descriptinc/descript-audio-codec/blob/main/LICENSE",
        paper=PAPER,
        size_mb={"dac_44khz": 306.5, "dac_24khz": 298.6, "dac_16khz": 296.6}.get(name),
        is_gated=False,
        is_commercial=True,
    )


class Dac(Voco[DacConfig]):
    """Mono audio to the encoder's output before quantisation, or to codes of a residual quantiser."""

    config_type = DacConfig
    checkpoints = {
        "dac": Checkpoint(
            DacConfig(), Source(DEFAULT_REPOSITORY, paper=PAPER, size_mb=256.9), "audio of every kind, 16 kbps"
        ),
        "dac_44khz": Checkpoint(
            DacConfig(latent_dim=1024, n_codebooks=9), _descript("dac_44khz"), "audio of every kind, 8 kbps"
        ),
        "dac_24khz": Checkpoint(CONFIG_24KHZ, _descript("dac_24khz"), "audio of every kind, 24 kbps"),
        "dac_16khz": Checkpoint(
            replace(CONFIG_24KHZ, sample_rate=16000, n_codebooks=12), _descript("dac_16khz"), "speech, 6 kbps"
        ),
    }
    known = (_descript("descript-audio-codec"),)
    halves = {"encoder": ("encoder",), "decoder": ("decoder",)}  # codes need the quantiser in both directions
    layouts = (
        ("dac.json", "dac.safetensors"),
        (None, "weights.pth"),
        (None, "weights_24khz.pth"),
        (None, "weights_16khz.pth"),
        (None, "weights_44khz_16kbps.pth"),
    )
    formats = (
        Format("descript", marker="encoder.block.0", rules=descript_rules),
        Format("transformers", marker="encoder.conv1", rules=transformers_rules),
    )

    targets = (
        Target("descript", formats[0], (None, "weights.pth"), lambda config: config.as_dict()),
        Target("optimizerai", formats[0], ("dac.json", "dac.safetensors"), lambda config: config.as_dict()),
        Target("transformers", formats[1], ("config.json", "model.safetensors"), _to_transformers),
    )

    def describe(self, config: DacConfig) -> Facts:
        return Facts(
            sampling_rate=config.sample_rate,
            channel=1,
            latent_dim=config.latent_dim,
            hop_length=config.hop_length,
            n_codebooks=config.n_codebooks,
            codebook_size=config.codebook_size,
        )

    def build(self, config: DacConfig) -> nn.Module:
        return DacNetwork(config)

    def encoder_steps(self, network: Any) -> Steps:
        return Pad(0, 0, self.hop_length), self.cast, step_of(network.encoder)

    def decoder_steps(self, network: Any) -> Steps:
        return self.cast, step_of(network.decoder), Window(torch.tanh)

    def decode_unpadded(self, latents: Tensor) -> Tensor:
        """Audio of latents `[batch, frames, latent_dim]`, decoded without any padding, as some `.dac` files need.

        Returns:
            `[batch, samples, 1]`, fewer than of `decode`: `nn.unpadded.decoded_length` says how many.

        Raises:
            InvalidInput: if so few frames make no audio.
        """
        checks.latents(latents, self.latent_dim, 1, "decode_unpadded")
        if not unpadded.decoded_length(latents.shape[1], self.hyperparameters.decoder_rates):
            raise InvalidInput(f"decode_unpadded: {latents.shape[1]} frames are too few to make audio without padding")
        self.load()
        checks.device(latents, self.device, "decode_unpadded")
        features = rearrange(latents, "b l d -> b d l").to(self.dtype)
        return rearrange(torch.tanh(unpadded.decode(self.network.decoder, features)), "b c n -> b n c")

    def frames(self, samples: Length) -> Length:
        padded = ceil_div(samples, self.hop_length) * self.hop_length
        return strided_length(padded, self.hyperparameters.encoder_rates)

    def samples(self, frames: Length) -> Length:
        return transposed_length(frames, self.hyperparameters.decoder_rates)
