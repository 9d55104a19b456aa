"""What a stack of layers computes, as data: every engine runs the same steps, on the whole signal or piece by piece.

Most steps read a span of their input (`local`); here are those made of others, the LSTM, and what follows for steps in
a row: the definition (`run`), and what they say of themselves. Whole signals, tiles that fit into a cache, and streams
follow from these (`stream`). Channel-first `[B, C, N]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from vocos.errors import UnsupportedOperation
from vocos.kernels.functions import Grouped, Range, Window
from vocos.kernels.local import (
    ENDLESS,
    Average,
    Convolution,
    Elu,
    Local,
    Pad,
    Periodic,
    Repeat,
    Transposed,
)

__all__ = [
    "ENDLESS",
    "Average",
    "Called",
    "Chain",
    "Convolution",
    "Elu",
    "Grouped",
    "Local",
    "Pad",
    "Periodic",
    "Range",
    "Recurrent",
    "Repeat",
    "Residual",
    "Step",
    "Transposed",
    "Window",
    "apply",
    "final",
    "length",
    "period",
    "run",
    "span",
]


class Residual(NamedTuple):
    """The sum of what the steps make of the input and of a shortcut, by default the input itself."""

    steps: tuple[Step, ...]
    shortcut: Local | Called | None = None

    def length(self, n: int) -> int:
        """Outputs of the steps."""
        return length(self.steps, n)

    def final(self, n: int) -> int:
        """Outputs of the steps; the shortcut is never behind."""
        return final(self.steps, n)

    @property
    def period(self) -> Range:
        """Of the steps."""
        return period(self.steps)

    def span(self, start: int, stop: int) -> Range:
        """Inputs that these outputs read, through the steps or the shortcut."""
        low, high = (start, stop) if self.shortcut is None else self.shortcut.span(start, stop)
        start, stop = span(self.steps, start, stop)
        return min(low, start), max(high, stop)


FEW_FRAMES = 8  # of an LSTM, up to which its cells one by one take less time


class Recurrent(NamedTuple):
    """LSTM layers over time, from a zero state, plus their input. Shape: `[B, C, L]` -> `[B, C, L]`."""

    weights: tuple[Tensor, ...]  # as nn.LSTM keeps them: of each layer weight_ih, weight_hh, bias_ih, bias_hh

    @property
    def period(self) -> Range:
        """A sample."""
        return 1, 1

    def run(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The layers from a state on: `[B, L, C]` and two `[B, layers, C]` -> the same, later."""
        layers, size = len(self.weights) // 4, self.weights[1].shape[1]
        if x.shape[1] <= FEW_FRAMES and not torch.compiler.is_compiling():
            return self._few(x, state)
        if state is None:
            zeros = x.new_zeros(layers, x.shape[0], size)
            state = zeros, zeros
        else:
            state = state[0].transpose(0, 1).contiguous(), state[1].transpose(0, 1).contiguous()
        found = torch.lstm(x.transpose(0, 1), state, self.weights, True, layers, 0.0, False, False, False)
        y, hidden, cell = found
        return x + y.transpose(0, 1).to(x.dtype), (hidden.transpose(0, 1), cell.transpose(0, 1))

    def _few(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The same for few frames, cell by cell: the layers' library lays out its weights at each call."""
        hidden, cell = (None, None) if state is None else (list(part.unbind(1)) for part in state)
        zeros = x.new_zeros(x.shape[0], self.weights[1].shape[1])
        layers = len(self.weights) // 4
        hidden, cell = hidden or [zeros] * layers, cell or [zeros] * layers
        found = []
        for frame in x.unbind(1):
            y = frame
            for i in range(layers):
                hidden[i], cell[i] = torch.lstm_cell(y, (hidden[i], cell[i]), *self.weights[4 * i : 4 * i + 4])
                y = hidden[i]
            found.append(y)
        return x + torch.stack(found, 1).to(x.dtype), (torch.stack(hidden, 1), torch.stack(cell, 1))

    def length(self, n: int) -> int:
        """As many."""
        return n

    def final(self, n: int) -> int:
        """All: it looks back only."""
        return n


class Called(NamedTuple):
    """A module in the place of a step: a layer that others have hooked or replaced. Only the reference runs it."""

    module: Callable[[Tensor], Tensor]

    @property
    def period(self) -> Range:
        """A sample."""
        return 1, 1

    def length(self, n: int) -> int:
        """Not known."""
        raise UnsupportedOperation(
            "a layer that was hooked or replaced can only be called on the whole signal; remove the hook, or use the "
            "call on the whole"
        )

    def final(self, n: int) -> int:
        """Not known."""
        return self.length(n)

    def span(self, start: int, stop: int) -> Range:
        """Not known."""
        raise NotImplementedError


Step: TypeAlias = Local | Residual | Recurrent | Called
Chain: TypeAlias = tuple[Step, ...]


def apply(step: Any, x: Tensor) -> Tensor:
    """The definition of a step, on a whole signal."""
    if isinstance(step, Residual):
        y = run(step.steps, x)
        return (x if step.shortcut is None else apply(step.shortcut, x)) + y
    if isinstance(step, Recurrent):
        return step.run(x.mT)[0].mT
    if isinstance(step, Called):
        return step.module(x)
    if not hasattr(step, "part"):  # a chain as one step, or what keeps a state of its own kind
        whole: Tensor = step(x)
        return whole
    n = x.shape[-1]
    part: Tensor = step.part(x, n, (0, n), (0, step.length(n)))
    return part


def run(chain: Iterable[Any], x: Tensor) -> Tensor:
    """The definition of a chain: one step after the other."""
    for step in chain:
        x = apply(step, x)
    return x


# What a step says of itself, of steps in a row. A module of chains says the same of its own.


def length(chain: Iterable[Any], n: int) -> int:
    """Outputs of a whole signal."""
    for step in chain:
        n = step.length(n)
    return n


def final(chain: Iterable[Any], n: int) -> int:
    """Outputs of a signal that goes on, which nothing to come can change."""
    for step in chain:
        n = step.final(n)
    return n


def span(chain: Sequence[Any], start: int, stop: int) -> Range:
    """Inputs that outputs read."""
    for step in reversed(chain):
        start, stop = step.span(start, stop)
    return start, stop


def period(chain: Iterable[Any]) -> Range:
    """Inputs and outputs after which all is as it was."""
    inputs, outputs = 1, 1
    for step in chain:
        before, after = step.period
        both = math.lcm(outputs, before)
        inputs, outputs = inputs * both // outputs, both // before * after
    return inputs, outputs
