"""The vendor's convolutions on channels-last memory, in the forms in which they are fast.

A signal is a picture one row high, `[B, C, 1, N]`, which has a channels-last memory format. Two forms are others of the
same arithmetic:

    dilation d      the samples d apart are a signal of their own; the d signals are a batch, and their convolution is
                    not dilated. Whoever writes the input writes it in this order, and whoever reads the output reads
                    it so, with no more memory traffic.

                        0 1 2 3 4 5 6 7 8        0 3 6
                        |     |     |      d=3   1 4 7
                                                 2 5 8

    transposed      of kernel 2s and stride s: output t s + r is a sum of the inputs t and t - 1, so that s outputs are
                    channels of one convolution with two taps: `[B, L, I]` -> `[B, L + 1, s O]`, seen as
                    `[B, s (L + 1), O]`, without the padding at both ends

Measured on an H200, milliseconds for outputs of 2^27 numbers: 7 taps and 128 channels take 0.37 in float16 and 0.74 in
TF32, and 0.60 and 1.46 with a dilation of 9; transposed to 64 channels, the second form takes 0.16 and 0.35, the
vendor's own transposed convolution 0.21 and 0.46.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vocos.kernels import steps
from vocos.kernels.steps import Convolution, Transposed

ROWS = 64  # lengths of which the vendor chooses its algorithm well


def channels_last(x: Tensor) -> Tensor:
    """The same in channels-last memory: x itself if it is. Shape: `[B, C, N]` -> `[B, C, N]`."""
    return x if x.stride(1) == 1 else x.mT.contiguous().mT


def rows(samples: int, dilation: int) -> int:
    """Length of each of the signals that a dilation makes of one, zeros at its end included."""
    return samples if dilation == 1 else -(-samples // (dilation * ROWS)) * ROWS


def apart(x: Tensor, dilation: int) -> Tensor:
    """The signals that a dilation makes of each, filled up with zeros: `[B, C, N]` -> `[B d, C, rows(N, d)]`."""
    if dilation == 1:
        return channels_last(x)
    missing = dilation * rows(x.shape[2], dilation) - x.shape[2]
    return rearrange(F.pad(x.mT, (0, 0, 0, missing)), "b (n d) c -> (b d) n c", d=dilation).contiguous().mT


def laid_out(weight: Tensor) -> Tensor:
    """The weight of a convolution, `[O, I, K]`, for pictures one row high."""
    return weight[:, :, None].contiguous(memory_format=torch.channels_last)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """A convolution with a weight that is `laid_out`. Shape: `[B, I, N]` -> `[B, O, M]`, channels-last."""
    y = F.conv2d(channels_last(x)[:, :, None], weight, bias, (1, stride), (0, padding), (1, dilation), groups)
    return channels_last(y[:, :, 0])


class VendorConvolution:
    """A convolution.

    Args:
        step: that it runs.
        has_bias: False to leave its bias out.
    """

    def __init__(self, step: Convolution, has_bias: bool = True) -> None:
        self.weight, self.bias = laid_out(step.weight), step.bias if has_bias else None
        self.options = step.stride, step.padding, step.dilation, step.groups

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, I, N]` -> `[B, O, length(N)]`."""
        return convolve(x, self.weight, self.bias, *self.options)


class VendorTransposed:
    """A transposed convolution. Arguments as of `VendorConvolution`."""

    def __init__(self, step: Transposed, has_bias: bool = True) -> None:
        self.step = step if has_bias else step._replace(bias=None)
        if step.groups > 1:  # which are the library's own
            return
        of_t, of_the_one_before = rearrange(step.weight.detach(), "i o (two s) -> two (s o) i", two=2)
        self.weight = laid_out(torch.stack([of_the_one_before, of_t], dim=2))
        self.bias = step.bias.repeat(step.stride) if has_bias and step.bias is not None else None

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, I, L]` -> `[B, O, length(L)]`."""
        step = self.step
        if step.groups > 1:
            return channels_last(steps.apply(step, x))
        y = convolve(x, self.weight, self.bias, padding=1).mT
        y = rearrange(y, "b t (s o) -> b (t s) o", s=step.stride).mT
        return y[:, :, step.left : step.left + step.length(x.shape[2])]
