"""The SEANet encoder of EnCodec: causal convolutions with reflect padding, and an LSTM.

Source: Defossez et al., "High Fidelity Neural Audio Compression", arXiv 2210.13438.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vocos.nn.length import ceil_div


class CausalConv(nn.Module):
    """A convolution that looks back only, on reflected padding, and completes its last window.

        [ kernel - stride | audio | 0 .. stride - 1 ]

    Shape: `[B, inputs, N]` -> `[B, outputs, ceil(N / stride)]`.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation)
        self.stride = stride
        self.left = (kernel - 1) * dilation + 1 - stride

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        right = ceil_div(length, self.stride) * self.stride - length
        return self.conv(reflect_pad(x, self.left, right))


def reflect_pad(x: Tensor, left: int, right: int) -> Tensor:
    """Pad by reflection; a signal too short to be reflected that far is first completed with zeros on its right.

    Shape: `[B, C, N]` -> `[B, C, left + N + right]`.
    """
    missing = max(left, right) - x.shape[-1] + 1
    if missing <= 0:
        return F.pad(x, (left, right), mode="reflect")
    padded = F.pad(F.pad(x, (0, missing)), (left, right), mode="reflect")
    return padded[..., : padded.shape[-1] - missing]


class SEANetUnit(nn.Module):
    """shortcut(x) + pointwise(ELU(convolution(ELU(x)))), half as wide inside.

    Shape: `[B, C, N]` -> `[B, C, N]`.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ELU(),
            CausalConv(channels, channels // 2, 3, dilation=dilation),
            nn.ELU(),
            CausalConv(channels // 2, channels, 1),
        )
        self.shortcut = CausalConv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.block(x)


class ResidualLSTM(nn.Module):
    """Two LSTM layers over time, from a zero state, plus their input.

    Shape: `[B, C, L]` -> `[B, C, L]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers=2)

    def forward(self, x: Tensor) -> Tensor:
        steps = rearrange(x, "b c l -> l b c")
        return x + rearrange(self.lstm(steps)[0], "l b c -> b c l").to(x.dtype)


class SEANetEncoder(nn.Module):
    """Audio to features.

    Args:
        channels: of the audio.
        filters: channels after the first convolution; they double at each stride.
        strides: in the order they are applied.
        outputs: channels of the features.

    Shape: `[B, channels, N]` -> `[B, outputs, ceil(N / product(strides))]`.
    """

    def __init__(self, channels: int, filters: int, strides: Sequence[int], outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [CausalConv(channels, filters, 7)]
        width = filters
        for stride in strides:
            layers += [SEANetUnit(width, dilation=1), nn.ELU(), CausalConv(width, 2 * width, 2 * stride, stride)]
            width *= 2
        layers += [ResidualLSTM(width), nn.ELU(), CausalConv(width, outputs, 7)]
        self.layers = nn.Sequential(*layers)  # numbered as in the public checkpoints

    def forward(self, audio: Tensor) -> Tensor:
        return self.layers(audio)
