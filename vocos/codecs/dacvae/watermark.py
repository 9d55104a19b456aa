"""The network that hides bits in audio: down to a low rate, where the bits are added, and up again.

Source: the published weights of facebook/dacvae-watermarked (code: facebookresearch/dacvae, Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocos.nn.length import ceil_div
from vocos.nn.seanet import ResidualLSTM


class ZeroCausalConv(nn.Conv1d):
    """A convolution that looks back only, on zeros.

    Shape: `[B, inputs, N]` -> `[B, outputs, ceil(N / stride)]`.
    """

    def forward(self, x: Tensor) -> Tensor:
        (kernel,), (stride,) = self.kernel_size, self.stride
        right = ceil_div(x.shape[-1], stride) * stride - x.shape[-1]
        return super().forward(F.pad(x, (kernel - stride, right)))


class EluUnit(nn.Module):
    """x + pointwise(ELU(causal convolution(ELU(x)))), half as wide inside.

    Shape: `[B, C, N]` -> `[B, C, N]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ZeroCausalConv(channels, channels // 2, 3)
        self.conv2 = ZeroCausalConv(channels // 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.elu(self.conv1(F.elu(x))))


class Down(nn.Module):
    """A unit, then a convolution that doubles the channels. Shape: `[B, C, N]` -> `[B, 2 C, N / stride]`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.unit = EluUnit(channels)
        self.conv = ZeroCausalConv(channels, 2 * channels, 2 * stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.elu(self.unit(x)))


class Up(nn.Module):
    """A transposed convolution that halves the channels, then a unit. Shape: `[B, 2 C, L]` -> `[B, C, stride L]`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(2 * channels, channels, 2 * stride, stride)
        self.unit = EluUnit(channels)

    def forward(self, x: Tensor) -> Tensor:
        (stride,) = self.conv.stride
        return self.unit(self.conv(F.elu(x))[..., :-stride])


class Watermark(nn.Module):
    """The signal that is added to audio so that it carries a message.

    Args:
        hidden: channels at the low rate; each stride halves them.
        strides: from the low rate up.
        latent: channels to which the bits are added.
        n_bits: of a message.

    Shape: audio `[B, 1, N]`, N a multiple of the product of the strides, and message `[B, n_bits]` of 0 and 1
        -> `[B, 1, N]`.
    """

    def __init__(self, hidden: int, strides: Sequence[int], latent: int, n_bits: int) -> None:
        super().__init__()
        widths = [hidden // 2 ** (i + 1) for i in range(len(strides))]
        self.conv_in = ZeroCausalConv(1, widths[-1], 7)
        self.down = nn.ModuleList(Down(width, stride) for width, stride in zip(widths, strides, strict=True))
        self.lstm_in = ResidualLSTM(hidden)
        self.to_latent = ZeroCausalConv(hidden, latent, 7)
        self.bits = nn.Embedding(2 * n_bits, latent)  # rows 2t and 2t + 1: bit t is 0, is 1
        self.from_latent = ZeroCausalConv(latent, hidden, 7)
        self.lstm_out = ResidualLSTM(hidden)
        self.up = nn.ModuleList(Up(width, stride) for width, stride in zip(widths, strides, strict=True))
        self.conv_out = ZeroCausalConv(widths[-1], 1, 7)

    def forward(self, audio: Tensor, message: Tensor) -> Tensor:
        x = self.conv_in(audio)
        for down in reversed(self.down):
            x = down(x)
        x = self.to_latent(F.elu(self.lstm_in(x)))
        rows = message + 2 * torch.arange(message.shape[1], dtype=torch.int64, device=message.device)
        x = self.lstm_out(self.from_latent(x + self.bits(rows).sum(dim=1)[:, :, None]))
        for up in self.up:
            x = up(x)
        return self.conv_out(F.elu(x))
