"""The convolutional encoder and decoder of DAC, DACVAE, Oobleck and X-Codec, built from one residual unit.

Source: "High-Fidelity Audio Compression with Improved RVQGAN", arXiv 2306.06546.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vocos import kernels
from vocos.config import Config
from vocos.kernels import Chain, Periodic, Residual, steps
from vocos.nn.conv import convolution, same_conv, strided_conv, transposed, transposed_conv
from vocos.nn.hooked import chain_of

DILATIONS = (1, 3, 9)  # of the three residual units of a block


@dataclass(frozen=True)
class RatesConfig(Config):
    """Hyperparameters of an encoder and a decoder that mirror each other, named as in the public files of DAC.

    The encoder doubles its channels at each of its rates, the decoder halves them at each of its own, rounded down.
    """

    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 4, 8, 8)
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (8, 8, 4, 2)
    sample_rate: int = 44100

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.hop_length == math.prod(self.decoder_rates),
            f"encoder_rates {self.encoder_rates} and decoder_rates {self.decoder_rates} have different products",
        )
        self.require(
            self.decoder_widths[-1] > 0,
            f"decoder_dim {self.decoder_dim} cannot be halved {len(self.decoder_rates)} times",
        )

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.encoder_rates)

    @property
    def encoder_widths(self) -> list[int]:
        """Channels before each encoder block and after the last."""
        return [self.encoder_dim * 2**i for i in range(len(self.encoder_rates) + 1)]

    @property
    def decoder_widths(self) -> list[int]:
        """Channels before each decoder block and after the last."""
        return [self.decoder_dim // 2**i for i in range(len(self.decoder_rates) + 1)]


class Layers(nn.Module):
    """Layers whose work is a chain of steps. A subclass gives `chain`."""

    def chain(self) -> Chain:
        """What the module computes."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return steps.run(self.chain(), x)


class Snake(Layers):
    """The activation `kernels.Periodic` with a learnt frequency per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(1, channels, 1))

    def chain(self) -> Chain:
        return (Periodic(self.alpha),)


class SnakeBeta(Layers):
    """The same with a learnt frequency and amplitude per channel, stored as logarithms."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(1, channels, 1))
        self.beta = nn.Parameter(torch.empty(1, channels, 1))

    def chain(self) -> Chain:
        return (Periodic(self.alpha, self.beta),)


Activation = type[Snake] | type[SnakeBeta]


class ResidualUnit(Layers):
    """x + pointwise(snake(dilated convolution(snake(x)))).

    Shape: `[B, C, N]` -> `[B, C, N]`.
    """

    is_depthwise: ClassVar[bool] = False

    def __init__(self, channels: int, dilation: int, snake: Activation) -> None:
        super().__init__()
        self.snake1 = snake(channels)
        self.conv1 = same_conv(channels, channels, 7, dilation, groups=channels if self.is_depthwise else 1)
        self.snake2 = snake(channels)
        self.conv2 = same_conv(channels, channels, 1)

    def chain(self) -> Chain:
        return (
            Residual(
                (*chain_of(self.snake1), convolution(self.conv1), *chain_of(self.snake2), convolution(self.conv2))
            ),
        )


class DepthwiseUnit(ResidualUnit):
    """The same with a dilated convolution of every channel alone."""

    is_depthwise = True


class EncoderBlock(Layers):
    """Three residual units, then a strided convolution.

    Shape: `[B, inputs, N]` -> `[B, outputs, strided_length(N, [stride])]`.
    """

    unit: ClassVar[type[ResidualUnit]] = ResidualUnit

    def __init__(self, inputs: int, outputs: int, stride: int, snake: Activation) -> None:
        super().__init__()
        self.units = nn.Sequential(*(self.unit(inputs, dilation, snake) for dilation in DILATIONS))
        self.snake = snake(inputs)
        self.conv = strided_conv(inputs, outputs, stride)

    def chain(self) -> Chain:
        return (*_joined(self.units), *chain_of(self.snake), convolution(self.conv))


class DecoderBlock(Layers):
    """A transposed convolution, then three residual units.

    Shape: `[B, inputs, L]` -> `[B, outputs, transposed_length(L, [stride])]`.
    """

    is_full: ClassVar[bool] = False

    def __init__(self, inputs: int, outputs: int, stride: int, snake: Activation) -> None:
        super().__init__()
        self.snake = snake(inputs)
        self.conv = transposed_conv(inputs, outputs, stride, output_padding=stride % 2 if self.is_full else 0)
        self.units = nn.Sequential(*(ResidualUnit(outputs, dilation, snake) for dilation in DILATIONS))

    def chain(self) -> Chain:
        return (*chain_of(self.snake), transposed(self.conv), *_joined(self.units))


class FullDecoderBlock(DecoderBlock):
    """The same, with no sample missing where the stride is odd.

    Shape: `[B, inputs, L]` -> `[B, outputs, stride L]`.
    """

    is_full = True


def _joined(modules: Iterable[Any]) -> Chain:
    return tuple(step for module in modules for step in chain_of(module))


class Stack(kernels.Chained, Layers):
    """Layers that run as one chain, on the engine that `kernels.run` chooses."""


class Encoder(Stack):
    """Audio to features: a convolution, one block per stride, a snake and a convolution.

    Args:
        channels: of the audio.
        widths: channels before each block, and after the last: one more than `strides`.
        strides: of the blocks.
        outputs: channels of the features.
        snake: makes the activation for a number of channels.
        block: makes one block.

    Shape: `[B, channels, N]` -> `[B, outputs, strided_length(N, strides)]`.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        strides: Sequence[int],
        outputs: int,
        snake: Activation = Snake,
        block: type[EncoderBlock] = EncoderBlock,
    ) -> None:
        super().__init__()
        self.conv_in = same_conv(channels, widths[0], 7)
        self.blocks = nn.Sequential(
            *(block(*sizes, snake) for sizes in zip(widths[:-1], widths[1:], strides, strict=True))
        )
        self.snake = snake(widths[-1])
        self.conv_out = same_conv(widths[-1], outputs, 3)

    def trunk(self) -> Chain:
        """Everything but the last convolution."""
        return (convolution(self.conv_in), *_joined(self.blocks), *chain_of(self.snake))

    def chain(self) -> Chain:
        return (*self.trunk(), convolution(self.conv_out))


class Decoder(Stack):
    """Features to audio: a convolution, one block per stride, a snake and a convolution.

    Args:
        inputs: channels of the features.
        widths: channels before each block, and after the last: one more than `strides`.
        strides: of the blocks.
        channels: of the audio.
        snake: makes the activation for a number of channels.
        block: makes one block.
        bias: whether the last convolution has one.

    Shape: `[B, inputs, L]` -> `[B, channels, transposed_length(L, strides)]`.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        strides: Sequence[int],
        channels: int,
        snake: Activation = Snake,
        block: type[DecoderBlock] = DecoderBlock,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv_in = same_conv(inputs, widths[0], 7)
        self.blocks = nn.Sequential(
            *(block(*sizes, snake) for sizes in zip(widths[:-1], widths[1:], strides, strict=True))
        )
        self.snake = snake(widths[-1])
        self.conv_out = same_conv(widths[-1], channels, 7, bias=bias)

    def tail(self) -> Chain:
        """Everything but the first convolution."""
        return (*_joined(self.blocks), *chain_of(self.snake), convolution(self.conv_out))

    def chain(self) -> Chain:
        return (convolution(self.conv_in), *self.tail())
