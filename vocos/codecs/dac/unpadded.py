"""The decoder of `blocks` without padding in its convolutions, which returns fewer samples."""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from vocos.nn.blocks import DILATIONS, Decoder, DecoderBlock, ResidualUnit
from vocos.nn.hooked import refuse_changed

END_LOSS = 6  # samples that a convolution of kernel 7 takes
BLOCK_LOSS = sum(6 * dilation for dilation in DILATIONS)


def decoded_length(frames: int, strides: Iterable[int]) -> int:
    """Samples of some frames, 0 if they are too few for any.

    A transposed convolution of kernel 2s gives s (n + 1), the three units after it take 6 (1 + 3 + 9).
    """
    length = frames - END_LOSS
    for stride in strides:
        length = (length + 1) * stride - BLOCK_LOSS if length > 0 else 0
    return max(0, length - END_LOSS)


def decode(decoder: Decoder, features: Tensor) -> Tensor:
    """Audio of features. Shape: `[B, inputs, L]` -> `[B, channels, decoded_length(L, strides)]`."""
    x = _conv(decoder.conv_in, features)
    for block in decoder.blocks:
        assert isinstance(block, DecoderBlock)  # noqa: S101 - for the type checker
        conv = block.conv
        refuse_changed(conv, nn.ConvTranspose1d)  # called, it would pad
        x = F.conv_transpose1d(block.snake(x), conv.weight, conv.bias, conv.stride)
        for unit in block.units:
            assert isinstance(unit, ResidualUnit)  # noqa: S101 - for the type checker
            inner = unit.conv2(unit.snake2(_conv(unit.conv1, unit.snake1(x))))
            lost = (x.shape[-1] - inner.shape[-1]) // 2
            x = x[..., lost:-lost] + inner
    return _conv(decoder.conv_out, decoder.snake(x))


def _conv(conv: nn.Conv1d, x: Tensor) -> Tensor:
    refuse_changed(conv, nn.Conv1d)
    return F.conv1d(x, conv.weight, conv.bias, dilation=conv.dilation)
