"""The CPU engine: chains in time tiles that stay in cache, channel-last, on the vendor library's convolutions.

What makes it faster than the definition: a convolution of channel-last data needs no reordering of the data; the
activations of a tile never leave the cache, and no memory is mapped anew for them; a transposed convolution is one
dense convolution of kernel 2. Nothing is approximated: tiles of every size give the whole to float rounding.

Inside this file tensors are `[B, N, C]`.

How the work is divided, for a chain of three groups (an encoder divides them after each step that lowers the rate):

    group 1   |tile|tile|tile|tile|tile|tile|tile|tile|        each tile runs all steps of the group, in cache
    group 2   |  tile   |  tile   |  tile   |  tile   |        reads the whole output of group 1
    group 3   |       tile        |       tile        |

A tile is a piece of a stream: each step goes on from the state that the tile before has left (`stream`), so that
nothing is computed twice. What is called with a piece of a signal begins with the state of the piece before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor

from vocos.kernels import reference, steps, stream
from vocos.kernels.convolve import InGroups, Taps
from vocos.kernels.parts import roomy
from vocos.kernels.steps import (
    Average,
    Chain,
    Convolution,
    Elu,
    Local,
    Pad,
    Periodic,
    Range,
    Recurrent,
    Repeat,
    Residual,
    Step,
    Transposed,
)
from vocos.kernels.stream import Piece, cut

TILE_BYTES = 4 * 8208  # of a channel at the highest rate of a group
TILE_STEP = 18  # samples, twice the longest dilation: convolutions by halves then need no padding
PLANS = 256  # of a step, that are kept: lengths of pieces, in each phase
DTYPES = (torch.float32, torch.bfloat16)

Advance = Callable[[Piece, Any, bool], tuple[Piece, Any]]


class TiledChain:
    """A chain with its weights laid out for this engine, which is a second copy of them.

    Args:
        chain: on the CPU, of one dtype out of `DTYPES`.
        dtype: that one.
    """

    def __init__(self, chain: Chain, dtype: torch.dtype) -> None:
        self.start = stream.starts(chain)
        self.groups = [_Group(part, dtype) for part in parts(chain)]

    def __call__(self, x: Tensor, tile: int | None = None) -> Tensor:
        """`[B, I, N]` -> `[B, O, length(N)]`, a view of a contiguous `[B, length(N), O]`.

        tile: samples at the highest rate.
        """
        y, _ = self.advance(x.mT, self.start, True, tile)
        assert y is not None  # noqa: S101 - for the type checker
        return y.contiguous().mT

    def advance(
        self, x: Piece, states: tuple[Any, ...], is_last: bool, tile: int | None = None
    ) -> tuple[Piece, tuple[Any, ...]]:
        """The same of a piece more, `[B, n, I]`, from the states of the steps on: what is final, and the new states."""
        after: list[Any] = []
        for group in self.groups:
            own = states[len(after) : len(after) + len(group.steps)]
            x, own = group(x, own, is_last, tile)
            after += own
        return x, tuple(after)


class _Group:
    """Steps in a row that run tile by tile."""

    def __init__(self, chain: Chain, dtype: torch.dtype) -> None:
        self.steps = chain
        self.runners = [_runner(step, dtype) for step in chain]
        inputs, outputs = steps.period(chain)
        self.rate = max(1, outputs / inputs)  # of its fastest step, to its input
        self.is_tiled = not any(isinstance(step, Recurrent) for step in chain)

    def __call__(
        self, x: Piece, states: tuple[Any, ...], is_last: bool, tile: int | None
    ) -> tuple[Piece, tuple[Any, ...]]:
        """The steps on a piece more, tile by tile."""
        if x is None or not self.is_tiled:
            return self.once(x, states, is_last)
        tile = tile or TILE_BYTES // x.element_size()
        at_once = max(1, int(tile / self.rate) // x.shape[0])
        n = x.shape[1]
        if n <= at_once:
            return self.once(x, states, is_last)
        size = -(-n // -(-n // at_once))  # of equal tiles, the same number
        size = -(-size // TILE_STEP) * TILE_STEP
        whole: Piece = None
        filled = 0
        for start in range(0, n, size):
            stop = min(n, start + size)
            outputs = stream.count(self.steps, states, n - start, is_last) if whole is None else 0
            y, states = self.once(x[:, start:stop], states, is_last and stop == n)
            if y is None:
                continue
            if whole is None:
                whole = roomy(y.shape[0], outputs, y.shape[2], y.dtype)
            whole[:, filled : filled + y.shape[1]] = y
            filled += y.shape[1]
        return whole, states

    def once(self, x: Piece, states: tuple[Any, ...], is_last: bool) -> tuple[Piece, tuple[Any, ...]]:
        """The steps on a tile."""
        after = []
        for runner, before in zip(self.runners, states, strict=True):
            x, state = runner(x, before, is_last)
            after.append(state)
        return x, tuple(after)


def parts(chain: Chain) -> list[Chain]:
    """A chain in parts to be run tile by tile, cut where the signal is small.

    That is after a step that lowers the rate, and before one that raises it with the activation before it.
    """
    cuts = {0, len(chain)}
    for i, step in enumerate(chain):
        inputs, outputs = step.period
        if isinstance(step, Recurrent):
            cuts |= {i, i + 1}
        elif inputs > outputs:
            cuts.add(i + 1)
        elif inputs < outputs:
            cuts.add(i - 1 if i and isinstance(chain[i - 1], (Periodic, Elu)) else i)
    edges = sorted(cuts)
    return [chain[start:stop] for start, stop in pairwise(edges)]


def _runner(step: Step, dtype: torch.dtype) -> Advance:
    """What runs a step on a piece more."""
    match step:
        case Periodic():
            return _each(_Periodic(step, dtype))
        case Elu():
            return _each(_elu)
        case Recurrent():
            return lambda x, state, is_last: stream.recur(step, x, state)
        case Residual():
            return _Residual(step, dtype)
    part = _RUNNERS[type(step)](step)
    plan = lru_cache(PLANS)(partial(stream.move, cast(Local, step)))
    return partial(stream.proceed, part, lambda step, *numbers: plan(*numbers), step)


def _each(function: Callable[[Tensor], Tensor]) -> Advance:
    """What runs a function of each sample alone, which keeps nothing."""
    return lambda x, state, is_last: (None if x is None else function(x), state)


def _elu(x: Tensor) -> Tensor:
    """max(x, exp(min(x, 0)) - 1), in half of the time of PyTorch's own: its exponential is the vendor's."""
    y = x.clamp(max=0.0).exp_().sub_(1.0)
    return torch.maximum(x, y, out=y)


class _Periodic:
    def __init__(self, step: Periodic, dtype: torch.dtype) -> None:
        self.frequency, self.amplitude = (row.reshape(-1) for row in reference.coefficients(*step, dtype))

    def __call__(self, x: Tensor) -> Tensor:
        wave = (x * self.frequency).sin_().square_()
        return torch.addcmul(x, wave, self.amplitude, out=wave)


def _pad(step: Pad) -> stream.Runner:
    return lambda x, n, source, target: step.ranged(x, n, source, target, 1)


class _Convolution:
    """With a stride s and kernel 2s, a convolution of kernel 2 over pieces of s samples, taken as channels."""

    def __init__(self, step: Convolution) -> None:
        self.step = step
        if step.groups > 1:
            self.grouped = InGroups(step.weight.detach(), step.stride, step.dilation, step.groups)
            return
        weight = rearrange(step.weight.detach(), "o i (tap s) -> o tap (s i)", s=step.stride)
        self.taps = Taps(weight)

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        step, stride, (low, high) = self.step, self.step.stride, self.step.span(*target)
        left, right = source[0] - low, high - source[1]
        if step.groups > 1:
            return self.grouped(x, step.bias, left, right)
        if stride == 1:
            return self.taps(x, step.bias, step.dilation, left, right)
        x = F.pad(x, (0, 0, left, right)) if left or right else x.contiguous()
        return self.taps(x.view(x.shape[0], -1, stride * x.shape[2]), step.bias, 1)


class _Transposed:
    """A convolution of kernel 2: of inputs t - 1 and t it makes outputs t s ... t s + s - 1, as channels."""

    def __init__(self, step: Transposed) -> None:
        self.step = step
        self.bias = None if step.bias is None else step.bias.repeat(step.stride)
        self.taps = _spread(step) if step.groups > 1 else self._dense(step)

    def _dense(self, step: Transposed) -> Callable[..., Tensor]:
        taps = rearrange(step.weight.detach(), "i o (tap s) -> (s o) tap i", tap=2)  # of t, of t - 1
        return Taps(taps.flip(1))

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        stride, (low, high) = self.step.stride, self.step.span(*target)
        y = self.taps(x, self.bias, 1, source[0] - low, high - source[1])
        y = y.reshape(y.shape[0], -1, y.shape[2] // stride)
        first = (low + 1) * stride - self.step.left  # the first output of y
        return cut(y, target[0] - first, target[1] - first)


def _spread(step: Transposed) -> Callable[..., Tensor]:
    """The same in groups: `[B, n, I]` with so many zeros at its ends -> `[B, m, s O]`."""
    weight = rearrange(step.weight.detach(), "(g i) o (tap s) -> tap g i s o", tap=2, g=step.groups)

    def spread(x: Tensor, bias: Tensor | None, dilation: int, left: int, right: int) -> Tensor:
        x = rearrange(F.pad(x, (0, 0, left, right)), "b n (g i) -> b n g i", g=step.groups)
        if x.shape[3] == 1:  # a channel each
            y = x[:, 1:, :, :, None] * weight[0, :, 0] + x[:, :-1, :, :, None] * weight[1, :, 0]
        else:
            y = torch.einsum("bngi,giso->bngso", x[:, 1:], weight[0])
            y = y + torch.einsum("bngi,giso->bngso", x[:, :-1], weight[1])
        y = rearrange(y, "b n g s o -> b n (s g o)")
        return y if bias is None else y.add_(bias)

    return spread


class _Residual:
    def __init__(self, step: Residual, dtype: torch.dtype) -> None:
        self.runners = [_runner(inner, dtype) for inner in step.steps]
        self.shortcut = None if step.shortcut is None else _runner(step.shortcut, dtype)

    def __call__(self, x: Piece, state: stream.Sum, is_last: bool) -> tuple[Piece, stream.Sum]:
        y, after = x, []
        for runner, before in zip(self.runners, state.inner, strict=True):
            y, inner = runner(y, before, is_last)
            after.append(inner)
        around, shortcut = (x, None) if self.shortcut is None else self.shortcut(x, state.shortcut, is_last)
        around, waiting = stream.paired(y, around, state.waiting)
        return y if y is None or around is None else y.add_(around), stream.Sum(tuple(after), shortcut, waiting)


class _Average:
    def __init__(self, step: Average) -> None:
        self.step = step

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        return reduce(x, "b (n half g) c -> b n (c half)", "mean", half=2, g=self.step.stride // 2)


class _Repeat:
    def __init__(self, step: Repeat) -> None:
        self.step = step

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        y = repeat(x, "b l (c half) -> b (l half g) c", half=2, g=self.step.stride // 2)
        first = source[0] * self.step.stride
        return cut(y, target[0] - first, target[1] - first)


_RUNNERS: dict[type[Any], Callable[[Any], stream.Runner]] = {
    Pad: _pad,
    Convolution: _Convolution,
    Transposed: _Transposed,
    Average: _Average,
    Repeat: _Repeat,
}
