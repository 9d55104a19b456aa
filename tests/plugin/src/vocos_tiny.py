"""Tiny: a codec of four convolutions and a residual quantiser, with weights, codes, halves and a public format.

Everything that a codec can give, once. A codec of your own starts from a copy of this file: the config, the names that
public files have for its tensors, the network, and the class with its checkpoints. Paper, source of the weights and
licence belong here. There are no such weights: the tests make some, by a training program of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vocos import Voco
from vocos.config import Config, Count
from vocos.kernels import Elu, Pad
from vocos.nn.conv import convolution
from vocos.nn.quantize import EuclideanRVQ
from vocos.voco import Facts, Steps
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.rules import NEW_STYLE, Rules, weight_norm
from vocos.weights.source import Checkpoint, Source


@dataclass(frozen=True)
class TinyConfig(Config):
    """Hyperparameters. Each is checked when it comes from a file; `Count` is an integer from 1 to 256."""

    sampling_rate: int = 16000
    hop_length: int = 8
    width: int = 6
    latent_dim: int = 4
    n_codebooks: Count = 4
    codebook_size: int = 16


def training_rules(config: TinyConfig) -> Rules:
    """How the program that trained the weights keeps them: under other names, and its convolutions with weight norm."""
    names = {"encoder.conv_in": "enc.0", "encoder.conv_out": "enc.2"}
    names |= {"decoder.conv_in": "dec.0", "decoder.conv_out": "dec.2"}
    names |= {f"quantizer.books.{k}": f"codebooks.{k}" for k in range(config.n_codebooks)}
    return weight_norm(names, NEW_STYLE)


TRAINING = Format("training", marker="enc.0", rules=training_rules, unused=("discriminator.*",))


class Encoder(nn.Module):
    """`[B, 1, N]` -> `[B, latent_dim, N / hop_length]`."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.conv_in = nn.Conv1d(1, config.width, 7, padding=3)
        self.conv_out = nn.Conv1d(config.width, config.latent_dim, config.hop_length, config.hop_length)

    def steps(self) -> Steps:
        """What makes latents of audio, as steps: calls on the whole, streams and their delay follow from them."""
        return convolution(self.conv_in), Elu(), convolution(self.conv_out)


class Decoder(nn.Module):
    """`[B, latent_dim, L]` -> `[B, 1, L hop_length]`."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.conv_in = nn.ConvTranspose1d(config.latent_dim, config.width, config.hop_length, config.hop_length)
        self.conv_out = nn.Conv1d(config.width, 1, 7, padding=3)

    def forward(self, latents: Tensor) -> Tensor:
        """Audio of latents."""
        y: Tensor = self.conv_out(nn.functional.elu(self.conv_in(latents)))
        return y


class TinyNetwork(nn.Module):
    """Encoder, quantiser and decoder."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.quantizer = EuclideanRVQ(config.n_codebooks, config.codebook_size, config.latent_dim)
        self.decoder = Decoder(config)


class Tiny(Voco[TinyConfig]):
    """Mono audio to latents, or to codes of a residual quantiser."""

    config_type = TinyConfig
    checkpoints = {"tiny": Checkpoint(TinyConfig(), Source("vocos-example/tiny", license="mit"), "an example")}
    formats = (TRAINING,)
    layouts = (("config.json", "checkpoint.pt"),)
    targets = (Target("training", TRAINING, ("config.json", "checkpoint.pt"), TinyConfig.as_dict),)
    halves = {"encoder": ("encoder",), "decoder": ("decoder",)}

    def describe(self, config: TinyConfig) -> Facts:
        return Facts(
            config.sampling_rate,
            channel=1,
            latent_dim=config.latent_dim,
            hop_length=config.hop_length,
            n_codebooks=config.n_codebooks,
            codebook_size=config.codebook_size,
            bandwidths=(8.0, 16.0, 32.0),  # kbps: 1, 2 and 4 codebooks of 4 bits, 2000 times a second
        )

    def build(self, config: TinyConfig) -> nn.Module:
        return TinyNetwork(config)

    def encoder_steps(self, network: TinyNetwork) -> Steps:
        return self.cast, Pad(0, 0, self.hop_length), *network.encoder.steps()

    def to_audio(self, latents: Tensor, length: int) -> Tensor:
        audio: Tensor = self.network.decoder(latents.to(self.dtype))
        return audio
