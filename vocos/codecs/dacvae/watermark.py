"""The network that hides bits in audio: down to a low rate, where the bits are added, and up again.

Source: the published weights of facebook/dacvae-watermarked (code: facebookresearch/dacvae, Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vocos import kernels
from vocos.kernels import Called, Chain, Convolution, Elu, OnEngine, Pad, Piece, Residual, steps
from vocos.nn.blocks import Layers
from vocos.nn.conv import transposed
from vocos.nn.hooked import chain_of
from vocos.nn.seanet import ResidualLSTM


class ZeroCausalConv(nn.Conv1d):
    """A convolution that looks back only, on zeros.

    Shape: `[B, inputs, N]` -> `[B, outputs, ceil(N / stride)]`.
    """

    def chain(self) -> Chain:
        """What the module computes."""
        (kernel,), (stride,) = self.kernel_size, self.stride
        return Pad(kernel - stride, 0, stride), Convolution(self.weight, self.bias, stride)

    def forward(self, x: Tensor) -> Tensor:
        return steps.run(self.chain(), x)


class EluUnit(Layers):
    """x + pointwise(ELU(causal convolution(ELU(x)))), half as wide inside.

    Shape: `[B, C, N]` -> `[B, C, N]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ZeroCausalConv(channels, channels // 2, 3)
        self.conv2 = ZeroCausalConv(channels // 2, channels, 1)

    def chain(self) -> Chain:
        return (Residual((Elu(), *chain_of(self.conv1), Elu(), *chain_of(self.conv2))),)


class Down(Layers):
    """A unit, then a convolution that doubles the channels. Shape: `[B, C, N]` -> `[B, 2 C, N / stride]`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.unit = EluUnit(channels)
        self.conv = ZeroCausalConv(channels, 2 * channels, 2 * stride, stride)

    def chain(self) -> Chain:
        return (*chain_of(self.unit), Elu(), *chain_of(self.conv))


class Up(Layers):
    """A transposed convolution that halves the channels, then a unit. Shape: `[B, 2 C, L]` -> `[B, C, stride L]`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(2 * channels, channels, 2 * stride, stride)
        self.unit = EluUnit(channels)

    def chain(self) -> Chain:
        step = transposed(self.conv)
        cut = Called(self._cut) if isinstance(step, Called) else step._replace(right=step.stride)
        return (Elu(), cut, *chain_of(self.unit))

    def _cut(self, x: Tensor) -> Tensor:
        (stride,) = self.conv.stride
        y: Tensor = self.conv(x)
        return y[..., :-stride]


class Offset(NamedTuple):
    """A step that adds one vector to every frame, which is state: each row of a batch has its own."""

    vector: Tensor  # [B, C]

    @property
    def period(self) -> tuple[int, int]:
        """A sample."""
        return 1, 1

    def __call__(self, x: Tensor) -> Tensor:
        """The sum. Shape: `[B, C, L]` -> `[B, C, L]`."""
        return x + self.vector[:, :, None]

    def start(self) -> tuple[Tensor]:
        """The vector."""
        return (self.vector,)

    def advance(self, x: Piece, state: tuple[Tensor], is_last: bool) -> tuple[Piece, tuple[Tensor]]:
        """The sum with a piece more, `[B, n, C]`."""
        return (None if x is None else x + state[0][:, None]), state

    def length(self, n: int) -> int:
        """As many."""
        return n

    def final(self, n: int) -> int:
        """All."""
        return n


class Watermark(kernels.Engined):
    """The signal that is added to audio so that it carries a message.

    Args:
        hidden: channels at the low rate; each stride halves them.
        strides: from the low rate up.
        latent: channels to which the bits are added.
        n_bits: of a message.

    Shape: audio `[B, 1, N]`, N a multiple of the product of the strides, and message `[B, n_bits]` of 0 and 1
        -> `[B, 1, N]`.
    """

    n_caches = 2

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

    def steps(self, message: Tensor) -> tuple[Any, ...]:
        """What makes the signal of audio, for a message `[B, n_bits]`."""
        down = (step for layer in reversed(self.down) for step in chain_of(layer))
        up = (step for layer in self.up for step in chain_of(layer))
        to_latent, from_latent = chain_of(self.to_latent), chain_of(self.from_latent)
        device = self.bits.weight.device
        rows = message.to(device) + 2 * torch.arange(message.shape[1], dtype=torch.int64, device=device)
        return (
            OnEngine((*chain_of(self.conv_in), *down, *self.lstm_in.chain(), Elu(), *to_latent), self.caches[0]),
            Offset(self.bits(rows).sum(dim=1)),
            OnEngine((*from_latent, *self.lstm_out.chain(), *up, Elu(), *chain_of(self.conv_out)), self.caches[1]),
        )

    def forward(self, audio: Tensor, message: Tensor) -> Tensor:
        return steps.run(self.steps(message), audio)
