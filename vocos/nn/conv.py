"""Convolutions as DAC and its descendants use them; weight norm is folded when a checkpoint is read."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vocos.kernels import Called, Convolution, Transposed
from vocos.nn.hooked import is_changed
from vocos.nn.length import ceil_div


def same_conv(
    inputs: int, outputs: int, kernel: int, dilation: int = 1, bias: bool = True, groups: int = 1
) -> nn.Conv1d:
    """A convolution that keeps the length (odd kernel).

    Shape: `[B, inputs, N]` -> `[B, outputs, N]`.
    """
    around = (kernel - 1) * dilation // 2
    return nn.Conv1d(inputs, outputs, kernel, padding=around, dilation=dilation, bias=bias, groups=groups)


def strided_conv(inputs: int, outputs: int, stride: int) -> nn.Conv1d:
    """A convolution with kernel 2s that divides the length by its stride s; see `length.strided_length`.

    Shape: `[B, inputs, N]` -> `[B, outputs, floor((N + (s mod 2)) / s)]`.
    """
    return nn.Conv1d(inputs, outputs, 2 * stride, stride, padding=ceil_div(stride, 2))


def transposed_conv(inputs: int, outputs: int, stride: int, output_padding: int = 0) -> nn.ConvTranspose1d:
    """A transposed convolution with kernel 2s that multiplies the length by its stride; see `length.transposed_length`.

    Shape: `[B, inputs, L]` -> `[B, outputs, s L - (s mod 2) + output_padding]`.
    """
    return nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride, ceil_div(stride, 2), output_padding)


def convolution(conv: nn.Conv1d) -> Convolution | Called:
    """What a convolution computes, as a step of a chain."""
    if is_changed(conv, nn.Conv1d):
        return Called(conv)
    (stride,), (dilation,) = conv.stride, conv.dilation
    assert isinstance(conv.padding, tuple)  # noqa: S101  # for the type checker: none here is given as a word
    return Convolution(conv.weight, conv.bias, stride, dilation, conv.padding[0], conv.groups)


def transposed(conv: nn.ConvTranspose1d) -> Transposed | Called:
    """What a transposed convolution of kernel 2s computes, as a step of a chain."""
    if is_changed(conv, nn.ConvTranspose1d):
        return Called(conv)
    padding = int(conv.padding[0])
    return Transposed(conv.weight, conv.bias, conv.stride[0], padding, padding - conv.output_padding[0], conv.groups)


def pad_to_multiple(audio: Tensor, multiple: int) -> Tensor:
    """Zeros on the right, up to the next multiple.

    Shape: `[B, C, N]` -> `[B, C, ceil(N / multiple) multiple]`.
    """
    return F.pad(audio, (0, -audio.shape[-1] % multiple))
