"""What a stack of layers computes, as data: every engine runs the same steps.

Each step says what it does in plain PyTorch (`apply`, the definition), how long its output is (`length`), and which
inputs a range of its outputs reads (`span`), from which tiles of any size follow. Channel-first `[B, C, N]`; ranges are
half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch.nn.functional as F
from einops import reduce, repeat
from torch import Tensor, nn

from vocos.kernels import reference


class Periodic(NamedTuple):
    """Snake, or Snake-beta where there is a `beta`. Shape: `[B, C, N]` -> `[B, C, N]`."""

    alpha: Tensor
    beta: Tensor | None = None

    def apply(self, x: Tensor) -> Tensor:
        """The definition."""
        return reference.snake(x, self.alpha) if self.beta is None else reference.snake_beta(x, self.alpha, self.beta)

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        return n

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Inputs that these outputs read."""
        return start, stop


class Elu(NamedTuple):
    """The exponential linear unit. Shape: `[B, C, N]` -> `[B, C, N]`."""

    def apply(self, x: Tensor) -> Tensor:
        """The definition."""
        return F.elu(x)

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        return n

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Inputs that these outputs read."""
        return start, stop


class Pad(NamedTuple):
    """Samples at both ends, and on the right up to a multiple of a stride; negative numbers of zeros cut.

    The mode is one of torch's: "constant" for zeros, "reflect", or "replicate" for the first and the last sample again.

    Shape: `[B, C, N]` -> `[B, C, left + ceil(N / stride) stride + right]`.
    """

    left: int
    right: int
    stride: int = 1
    mode: str = "constant"

    def apply(self, x: Tensor) -> Tensor:
        """The definition."""
        right = self.right_of(x.shape[-1])
        if self.mode == "reflect":
            return reference.reflect_pad(x, self.left, right)
        return F.pad(x, (self.left, right), self.mode)

    def right_of(self, n: int) -> int:
        """What is added on the right of n samples."""
        return self.right + -n % self.stride

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        return self.left + n + self.right_of(n)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Inputs that these outputs read, or more: of a signal too short for its reflection, all."""
        around = 0 if self.mode == "constant" else 2 * (self.left + self.right + self.stride)
        return start - self.left - around, stop - self.left + around


class Convolution(NamedTuple):
    """A convolution on zero padding, the same at both ends. Shape: `[B, I, N]` -> `[B, O, length(N)]`."""

    weight: Tensor  # [O, I, kernel]
    bias: Tensor | None
    stride: int = 1
    dilation: int = 1
    padding: int = 0

    def apply(self, x: Tensor) -> Tensor:
        """The definition."""
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)

    @property
    def reach(self) -> int:
        """Inputs from the first to the last that one output reads."""
        return (self.weight.shape[2] - 1) * self.dilation + 1

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        return (n + 2 * self.padding - self.reach) // self.stride + 1

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Inputs that these outputs read; those before 0 and past the end are padding."""
        first = start * self.stride - self.padding
        return first, first + (stop - 1 - start) * self.stride + self.reach


class Transposed(NamedTuple):
    """A transposed convolution of kernel 2s and stride s: `[B, I, L]` -> `[B, O, s (L + 1) - 2 padding + extra]`.

    With padding p, output f is a sum of two inputs, t and t - 1, for t = (f + p) // s, each where there is one.
    """

    weight: Tensor  # [I, O, 2 stride]
    bias: Tensor | None
    stride: int
    padding: int
    extra: int = 0  # outputs at the end that the padding had cut; no more than it cut there

    def apply(self, x: Tensor) -> Tensor:
        """The definition."""
        return F.conv_transpose1d(x, self.weight, self.bias, self.stride, self.padding, self.extra)

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        return (n + 1) * self.stride - 2 * self.padding + self.extra

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Inputs that these outputs read; those before 0 and past the end count as zero."""
        return (start + self.padding) // self.stride - 1, (stop - 1 + self.padding) // self.stride + 1


class Average(NamedTuple):
    """The means of the two halves of every s samples of a channel, as two of them: `[B, C, N]` -> `[B, 2 C, N / s]`."""

    stride: int

    def apply(self, x: Tensor) -> Tensor:
        """The definition."""
        return reduce(x, "b c (l half g) -> b (c half) l", "mean", half=2, g=self.stride // 2)

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        return n // self.stride

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Inputs that these outputs read."""
        return start * self.stride, stop * self.stride


class Repeat(NamedTuple):
    """The reverse: two channels fill the two halves of every s samples of one: `[B, 2 C, L]` -> `[B, C, s L]`."""

    stride: int

    def apply(self, x: Tensor) -> Tensor:
        """The definition."""
        return repeat(x, "b (c half) l -> b c (l half g)", half=2, g=self.stride // 2)

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        return n * self.stride

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Inputs that these outputs read."""
        return start // self.stride, (stop - 1) // self.stride + 1


class Residual(NamedTuple):
    """The sum of what the steps make of the input and of a shortcut, by default the input itself."""

    steps: tuple[Step, ...]
    shortcut: Average | Repeat | Convolution | Called | None = None

    def apply(self, x: Tensor) -> Tensor:
        """The definition."""
        return (x if self.shortcut is None else self.shortcut.apply(x)) + run(self.steps, x)

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        return lengths(self.steps, n)[-1]

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Inputs that these outputs read, through the steps or the shortcut."""
        low, high = (start, stop) if self.shortcut is None else self.shortcut.span(start, stop)
        for step in reversed(self.steps):
            start, stop = step.span(start, stop)
        return min(low, start), max(high, stop)


class Called(NamedTuple):
    """A module in the place of a step: a layer that others have hooked or replaced. Only the reference runs it."""

    module: nn.Module

    def apply(self, x: Tensor) -> Tensor:
        """What the module gives."""
        y: Tensor = self.module(x)
        return y

    def length(self, n: int) -> int:
        """Not known."""
        raise NotImplementedError

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Not known."""
        raise NotImplementedError


Step: TypeAlias = Periodic | Elu | Pad | Convolution | Transposed | Average | Repeat | Residual | Called
Chain: TypeAlias = tuple[Step, ...]


def run(chain: Sequence[Step], x: Tensor) -> Tensor:
    """The definition of a chain: one step after the other."""
    for step in chain:
        x = step.apply(x)
    return x


def lengths(chain: Sequence[Step], n: int) -> list[int]:
    """Lengths from the input of a chain, n, through every step."""
    found = [n]
    for step in chain:
        found.append(step.length(found[-1]))
    return found


def ranges(chain: Sequence[Step], n: int, start: int, stop: int) -> list[tuple[int, int]]:
    """What of the input and of every step's output is needed for outputs start to stop of a chain of n inputs.

    Padding lies outside of the signal and only there, so each range ends where its signal does:

        outputs         . . . |=======| . . .
        their inputs    . |===============| .     a tile within the signal: a halo on both sides
        at the start    |=================| .     the first tile: padding, not halo, on the left
    """
    found = [(start, stop)]
    for step, size in zip(reversed(chain), reversed(lengths(chain, n)[:-1]), strict=True):
        low, high = step.span(*found[-1])
        found.append((max(low, 0), min(high, size)))
    return found[::-1]
