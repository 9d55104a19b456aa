"""DACVAE, two codecs of that name on DAC's blocks (arXiv 2306.06546), each a variational autoencoder.

The default has parameter-free shortcuts around every change of rate, and takes stereo as two mono signals. No paper.
Weights: Hub optimizerai/vocos, no licence stated.

Facebook's (code Apache-2.0, used by SAM Audio) is plain DAC around a Gaussian bottleneck, and watermarks its audio.
Weights: Hub facebook/dacvae-watermarked, Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from vocos.codecs.dacvae.facebook import FACEBOOK, WatermarkedConfig, facebook_rules
from vocos.errors import InvalidInput
from vocos.kernels import Average, Called, Chain, Pad, Repeat, Residual, Window, steps
from vocos.nn.blocks import Activation, Decoder, DecoderBlock, Encoder, EncoderBlock, RatesConfig
from vocos.nn.conv import convolution
from vocos.nn.hooked import is_changed
from vocos.nn.names import numbered_block
from vocos.voco import Facts, Steps, batches
from vocos.voco.streams import Stream
from vocos.voco.variational import VariationalVoco
from vocos.weights.export import Target
from vocos.weights.formats import Format
from vocos.weights.location import Location
from vocos.weights.rules import NEW_STYLE, Rules, weight_norm
from vocos.weights.source import DEFAULT_REPOSITORY, Checkpoint, Source

CHANNEL = 2  # stereo, each channel coded alone


@dataclass(frozen=True)
class DacVaeConfig(RatesConfig):
    """Hyperparameters, named as in the public config files."""

    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 4, 4, 8, 8)
    latent_dim: int = 1024  # of one channel
    decoder_dim: int = 2048
    decoder_rates: tuple[int, ...] = (8, 8, 4, 4, 2)
    sample_rate: int = 48000

    def __post_init__(self) -> None:
        super().__post_init__()
        rates = (*self.encoder_rates, *self.decoder_rates)
        self.require(all(rate % 2 == 0 for rate in rates), f"the shortcuts need even rates, got {rates}")
        self.require(
            all(width % 2 == 0 for width in self.decoder_widths[:-1]),
            f"decoder_dim {self.decoder_dim} leaves an odd width, which the shortcuts cannot halve",
        )
        for name, width in (("the last encoder width", self.encoder_widths[-1]), ("decoder_dim", self.decoder_dim)):
            self.require(width % self.latent_dim == 0, f"latent_dim {self.latent_dim} does not divide {name}, {width}")

    def facts(self) -> Facts:
        """What follows from the config."""
        return Facts(self.sample_rate, CHANNEL, CHANNEL * self.latent_dim, self.hop_length)

    def network(self) -> nn.Module:
        """The network, without values."""
        return DacVaeNetwork(self)


def original_rules(config: DacVaeConfig) -> Rules:
    """How the original package stores the modules."""
    names = {"encoder.mean": "encoder.fc_mean", "encoder.scale": "encoder.fc_log_var"}  # no logarithm: see `gaussian`
    halves = (("encoder", config.encoder_rates, "last_layer"), ("decoder", config.decoder_rates, "last_conv"))
    for half, rates, last in halves:
        names |= {f"{half}.conv_in": f"{half}.init_conv", f"{half}.conv_out": f"{half}.{last}"}
        for i in range(len(rates)):
            names |= numbered_block(f"{half}.blocks.{i}", f"{half}.net.{i}", "block", is_encoder=half == "encoder")
        names[f"{half}.snake"] = f"{half}.net.{len(rates)}"
    return weight_norm(names, NEW_STYLE)


class AveragingEncoderBlock(EncoderBlock):
    """An encoder block beside a shortcut: every s samples of a channel become the means of their two halves.

    channel c      a a a a b b b b     s = 8
    channel 2c     mean(a)
    channel 2c+1           mean(b)
    """

    def __init__(self, inputs: int, outputs: int, stride: int, snake: Activation) -> None:
        super().__init__(inputs, outputs, stride, snake)
        self.stride = stride

    def chain(self) -> Chain:
        return (Residual(super().chain(), Average(self.stride)),)


class RepeatingDecoderBlock(DecoderBlock):
    """A decoder block beside a shortcut, the reverse: two channels fill the two halves of every s samples of one."""

    def __init__(self, inputs: int, outputs: int, stride: int, snake: Activation) -> None:
        super().__init__(inputs, outputs, stride, snake)
        self.stride = stride

    def chain(self) -> Chain:
        return (Residual(super().chain(), Repeat(self.stride)),)


class DacVaeEncoder(Encoder):
    """Audio `[B, 1, N]`, N a multiple of the hop, to mean and scale, `[B, 2 D, L]`."""

    def __init__(self, config: DacVaeConfig) -> None:
        super().__init__(1, config.encoder_widths, config.encoder_rates, config.latent_dim, block=AveragingEncoderBlock)
        self.mean = nn.Linear(config.latent_dim, config.latent_dim)
        self.scale = nn.Linear(config.latent_dim, config.latent_dim)

    def chain(self) -> Chain:
        return self.trunk()

    def steps(self) -> Steps:
        """The trunk, the last convolution beside means of neighbouring channels, and the heads."""
        means = Window(partial(reduce, pattern="b (d k) l -> b d l", reduction="mean", d=self.conv_out.out_channels))
        return self.step(), Residual((convolution(self.conv_out),), means), Window(self._heads)

    def _heads(self, features: Tensor) -> Tensor:
        heads = [self.mean(features.mT), self.scale(features.mT)]
        return rearrange(heads, "two b l d -> b (two d) l")

    def forward(self, audio: Tensor) -> Tensor:
        return steps.run(self.steps(), audio)


class DacVaeDecoder(Decoder):
    """Latents `[B, D, L]` to audio `[B, 1, N]`."""

    def __init__(self, config: DacVaeConfig) -> None:
        super().__init__(config.latent_dim, config.decoder_widths, config.decoder_rates, 1, block=RepeatingDecoderBlock)
        self.repeats = config.decoder_dim // config.latent_dim

    def chain(self) -> Chain:
        return self.tail()

    def steps(self) -> Steps:
        """The first convolution beside its repeated input, and the rest."""
        repeats = Window(partial(repeat, pattern="b d l -> b (d k) l", k=self.repeats))
        return Residual((convolution(self.conv_in),), repeats), self.step()

    def forward(self, latents: Tensor) -> Tensor:
        return steps.run(self.steps(), latents)


class DacVaeNetwork(nn.Module):
    """Both halves, for one channel at a time; a stereo signal is two of them."""

    def __init__(self, config: DacVaeConfig) -> None:
        super().__init__()
        self.hop_length = config.hop_length
        self.encoder = DacVaeEncoder(config)
        self.decoder = DacVaeDecoder(config)

    def encoder_steps(self) -> Steps:
        """Audio `[B, C, N]` to mean and scale, `[B, 2 C D, L]`, the channels apart."""
        encoder: Steps = (Called(self.encoder),) if is_changed(self.encoder, DacVaeEncoder) else self.encoder.steps()
        apart = Window(partial(rearrange, pattern="b c n -> (b c) 1 n"))
        heads = Window(partial(rearrange, pattern="(b c) (two d) l -> b (two c d) l", c=CHANNEL, two=2))
        return Pad(0, 0, self.hop_length), apart, *encoder, heads

    def decoder_steps(self, message: Tensor | None) -> Steps:
        """Latents `[B, C D, L]` to audio `[B, C, N]`; it carries no message."""
        decoder: Steps = (Called(self.decoder),) if is_changed(self.decoder, DacVaeDecoder) else self.decoder.steps()
        apart = Window(partial(rearrange, pattern="b (c d) l -> (b c) d l", c=CHANNEL))
        return apart, *decoder, Window(partial(rearrange, pattern="(b c) 1 n -> b c n", c=CHANNEL))


AnyConfig = DacVaeConfig | WatermarkedConfig
Message = Sequence[int] | Sequence[Sequence[int]] | Tensor


def _bits(message: Message | None, config: AnyConfig) -> Tensor | None:
    """The message as int64 `[n_bits]` or `[B, n_bits]`, None if none is given."""
    if message is None:
        return None
    if isinstance(config, DacVaeConfig):
        raise InvalidInput("dacvae: these weights have no watermark; leave message= out")
    expected = f"dacvae: expected message as {config.nbits} bits, or one row of them for each of the batch"
    try:
        bits = message if isinstance(message, Tensor) else torch.as_tensor(message, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"{expected}, got {message!r}") from error
    if bits.ndim not in (1, 2) or bits.shape[-1] != config.nbits or not ((bits == 0) | (bits == 1)).all():
        raise InvalidInput(f"{expected}, got {message!r}")
    return bits.long()


WHAT_FOR = "latent diffusion of stereo audio at 48 kHz"


class DacVae(VariationalVoco[AnyConfig]):
    """Audio to the mean of a posterior; of stereo audio, each channel apart, the left one's latents first.

    With the weights of facebook/dacvae-watermarked: mono, 128 latents, 25 frames per second, and audio that carries a
    watermark, like the reference's.

    Args:
        location, device, dtype, sample: as of `VariationalVoco`.
        watermark: whether decoded audio carries one, if the weights have it.
        message: bits of the watermark, `[n_bits]` or one row for each of the batch; None draws them at each call from
            PyTorch's global generator, as the reference does.
    """

    config_type = DacVaeConfig
    checkpoints = {"dacvae": Checkpoint(DacVaeConfig(), Source(DEFAULT_REPOSITORY, size_mb=707.2), WHAT_FOR)}
    halves = {"encoder": ("encoder", "in_proj"), "decoder": ("decoder", "out_proj", "watermark")}
    layouts = (("dac-vae-small.json", "dac-vae-small.safetensors"), (None, "weights.pth"))
    original_samples = False
    formats = (
        Format("original", marker="encoder.fc_mean", rules=original_rules),
        Format("facebook", marker="quantizer.in_proj", rules=facebook_rules, prefixes=("", "audio_codec.")),
    )
    targets = (
        Target(
            "optimizerai",
            formats[0],
            ("dac-vae-small.json", "dac-vae-small.safetensors"),
            lambda config: config.as_dict(),
            problem=lambda config: None if isinstance(config, DacVaeConfig) else "they are facebook's",
        ),
        Target(
            "facebook",
            formats[1],
            (None, "weights.pth"),
            lambda config: config.as_dict(),
            problem=lambda config: None if isinstance(config, WatermarkedConfig) else "they are not facebook's",
        ),
    )
    known = (FACEBOOK,)

    def __init__(
        self,
        location: Location | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        sample: bool | None = None,
        watermark: bool = True,
        message: Message | None = None,
    ) -> None:
        super().__init__(location, device, dtype, sample=sample)
        self.watermark, self.message = watermark, message
        if self.weights.known_config is not None:
            _bits(message, self.weights.known_config)

    def decode(
        self,
        latents: Tensor,
        length: int | None = None,
        mask: Tensor | None = None,
        *,
        watermark: bool | None = None,
        message: Message | None = None,
    ) -> Tensor:
        """Audio of latents, as `Voco.decode`; `watermark` and `message` for this call, None for the constructor's."""
        self.weights.require("decoder", "decode")
        is_marked = self.watermark if watermark is None else watermark
        bits = _bits(self.message if message is None else message, self.hyperparameters)
        if mask is not None and bits is not None and bits.ndim == 2:
            raise InvalidInput("decode: one message for each row does not go with mask=; decode_batch takes both")
        return self._decoded(partial(self.to_audio, is_marked=is_marked, bits=bits), latents, length, mask)

    def decode_stream(self, batch: int = 1, *, watermark: bool | None = None, message: Message | None = None) -> Stream:
        """`decode` spread over time, as of `Voco.decode_stream`; `watermark` and `message` as of `decode`.

        Each row keeps its message, which is drawn here if none is given.
        """
        self.weights.require("decoder", "decode_stream")
        is_marked = self.watermark if watermark is None else watermark
        bits = _bits(self.message if message is None else message, self.hyperparameters)
        told = self._message(batch, torch.device("cpu"), is_marked, bits)
        return Stream(self, "decode", batch, partial(self.decoder_steps, message=told), {})

    def decode_batch(
        self,
        latents: batches.Clips,
        lengths: batches.Lengths = None,
        *,
        watermark: bool | None = None,
        message: Message | None = None,
    ) -> list[Tensor]:
        """Audio of latents, as `Voco.decode_batch`; `watermark` and `message` as of `decode`, one row for each item.

        Messages that are not given are drawn for one item after the other in the order of the list.
        """
        self.weights.require("decoder", "decode_batch")
        items = batches.listed(latents, "decode_batch")
        is_marked = self.watermark if watermark is None else watermark
        config = self.hyperparameters
        bits = _bits(self.message if message is None else message, config)
        if bits is None and is_marked and items and isinstance(config, WatermarkedConfig):
            bits = torch.stack([torch.randint(0, 2, (config.nbits,), dtype=torch.int64, device="cpu") for _ in items])
        if bits is not None and bits.ndim == 2 and len(bits) != len(items):
            raise InvalidInput(f"decode_batch: {len(bits)} messages for {len(items)} items")

        def decode(part: Tensor, length: int, rows: list[int]) -> Tensor:
            its = bits[rows] if bits is not None and bits.ndim == 2 else bits
            return self.decode(part, length, watermark=is_marked, message=its)

        return batches.decode(self, items, lengths, decode)

    def parse(self, data: Mapping[str, Any]) -> AnyConfig:
        inner = data.get("audio_codec", data)  # where SAM Audio keeps it
        return WatermarkedConfig.parse(inner) if "codebook_dim" in inner else DacVaeConfig.parse(data)

    def describe(self, config: AnyConfig) -> Facts:
        return config.facts()

    def build(self, config: AnyConfig) -> nn.Module:
        return config.network()

    def posterior_steps(self, network: Any) -> Steps:
        return self.cast, *network.encoder_steps()

    def decoder_steps(self, network: Any, message: Tensor | None = None) -> Steps:
        return self.cast, *network.decoder_steps(message)

    def to_audio(self, latents: Tensor, length: int, is_marked: bool = False, bits: Tensor | None = None) -> Tensor:
        message = self._message(latents.shape[0], latents.device, is_marked, bits)
        return self.run_steps(self.decoder_steps(self.network, message), latents, self.hop_length)

    def _message(self, batch: int, device: torch.device, is_marked: bool, bits: Tensor | None) -> Tensor | None:
        """The message of each row, `[B, n_bits]`, drawn if none is given; None for audio without a watermark."""
        config = self.hyperparameters
        if isinstance(config, DacVaeConfig) or not is_marked:
            return None
        if bits is None:
            bits = torch.randint(0, 2, (batch, config.nbits), dtype=torch.int64, device="cpu")
        if bits.ndim == 2 and len(bits) != batch:
            raise InvalidInput(f"decode: {len(bits)} messages for {batch} rows that are decoded together")
        return bits.to(device).expand(batch, config.nbits)
