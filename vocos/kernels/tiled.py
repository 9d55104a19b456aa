"""The CPU engine: chains in time tiles that stay in cache, channel-last, on the vendor library's convolutions.

What makes it faster than the definition: a convolution of channel-last data needs no reordering of the data; the
activations of a tile never leave the cache, and no memory is mapped anew for them; a transposed convolution is one
dense convolution of kernel 2. Nothing is approximated: tiles of every size give the whole to float rounding.

Inside this file tensors are `[B, N, C]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor

from vocos.kernels import reference
from vocos.kernels.steps import (
    Average,
    Chain,
    Convolution,
    Periodic,
    Repeat,
    Residual,
    Step,
    Transposed,
    lengths,
    ranges,
)

TILE = 8208  # samples at the highest rate of a group; a multiple of TILE_STEP
TILE_STEP = 18  # twice the longest dilation: convolutions by halves then need no padding
DTYPES = (torch.float32, torch.bfloat16)
# A convolution first reorders its weight, which a matrix product need not: that tells with few rows. And rows that lie
# a multiple of a page apart compete for the same sets of the cache; a product of copied windows does not mind.
FEW_ROWS = 256
WIDE_ROW_BYTES = 4096
HALVED_INPUTS = 128  # of which on a convolution in float32 is done by halves: below, the additions cost more
WINDOW_NUMBERS = 1 << 22  # copied for one matrix product

Range: TypeAlias = tuple[int, int]
# Makes of the inputs in one range, of a signal of n samples, the outputs in another.
Runner: TypeAlias = Callable[[Tensor, int, Range, Range], Tensor]


class TiledChain:
    """A chain with its weights laid out for this engine, which is a second copy of them.

    Args:
        chain: on the CPU, of one dtype out of `DTYPES`.
        dtype: that one.
    """

    def __init__(self, chain: Chain, dtype: torch.dtype) -> None:
        self.groups = [(steps, [_runner(step, dtype) for step in steps]) for steps in groups(chain)]

    def __call__(self, x: Tensor, tile: int = TILE) -> Tensor:
        """`[B, I, N]` -> `[B, O, length(N)]`, a view of a contiguous `[B, length(N), O]`."""
        x = x.mT.contiguous()
        for steps, runners in self.groups:
            x = _run_group(steps, runners, x, tile)
        return x.mT


def groups(chain: Chain) -> list[Chain]:
    """A chain in parts to be run tile by tile, cut where the signal is small.

    That is after a step that lowers the rate, and before one that raises it with the activation before it.
    """
    n = 1 << 20
    cuts = {0, len(chain)}
    for i, step in enumerate(chain):
        if 2 * step.length(n) <= n + 2:
            cuts.add(i + 1)
        elif 2 * step.length(n) >= 3 * n:
            cuts.add(i - 1 if i and isinstance(chain[i - 1], Periodic) else i)
    edges = sorted(cuts)
    return [chain[start:stop] for start, stop in pairwise(edges)]


def _run_group(steps: Chain, runners: Sequence[Runner], x: Tensor, tile: int) -> Tensor:
    """A group in tiles: many short rows at once, or a part of a long row."""
    batch, inputs = x.shape[:2]
    outputs = lengths(steps, inputs)[-1]
    tile = max(1, tile * outputs // max(inputs, outputs))
    rows = max(1, tile // outputs)
    tile = -(-outputs // -(-outputs // tile))  # of equal tiles, the same number
    tile = min(outputs, -(-tile // TILE_STEP) * TILE_STEP)
    result: Tensor | None = None
    for row in range(0, batch, rows):
        for start in range(0, outputs, tile):
            target = start, min(start + tile, outputs)
            part = _run(steps, runners, x[row : row + rows], inputs, (0, inputs), target)
            if result is None:
                if part.shape[:2] == (batch, outputs):
                    return part.contiguous()
                result = part.new_empty(batch, outputs, part.shape[2])
            result[row : row + rows, slice(*target)] = part
    assert result is not None  # noqa: S101  # for the type checker: a row has an output
    return result


def _run(steps: Chain, runners: Sequence[Runner], x: Tensor, n: int, source: Range, target: Range) -> Tensor:
    """Outputs `target` of steps whose whole input has n samples, of which x holds `source`."""
    sizes, needed = lengths(steps, n), ranges(steps, n, *target)
    x = _cut(x, source, needed[0])
    for runner, size, (before, after) in zip(runners, sizes, pairwise(needed), strict=False):
        x = runner(x, size, before, after)
    return x


def _cut(x: Tensor, source: Range, target: Range) -> Tensor:
    """The part `target` of a signal of which x holds `source`."""
    return x[:, target[0] - source[0] : target[1] - source[0]]


def _runner(step: Step, dtype: torch.dtype) -> Runner:
    match step:
        case Periodic():
            return _Periodic(step, dtype)
        case Convolution():
            return _Convolution(step)
        case Transposed():
            return _Transposed(step)
        case Residual():
            return _Residual(step, dtype)
        case Average():
            return _Average(step)
        case Repeat():
            return _Repeat(step)


class _Periodic:
    def __init__(self, step: Periodic, dtype: torch.dtype) -> None:
        self.frequency, self.amplitude = (row.reshape(-1) for row in reference.coefficients(*step, dtype))

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        wave = (x * self.frequency).sin_().square_()
        return torch.addcmul(x, wave, self.amplitude, out=wave)


class _Convolution:
    """With a stride s and kernel 2s, a convolution of kernel 2 over pieces of s samples, taken as channels."""

    def __init__(self, step: Convolution) -> None:
        self.step = step
        weight = rearrange(step.weight, "o i (tap s) -> o tap (s i)", s=step.stride)
        self.taps = _Taps(weight, step.bias, step.dilation)

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        stride, (low, high) = self.step.stride, self.step.span(*target)
        left, right = source[0] - low, high - source[1]
        if stride == 1:
            return self.taps(x, left, right)
        x = F.pad(x, (0, 0, left, right)) if left or right else x.contiguous()
        return self.taps(x.view(x.shape[0], -1, stride * x.shape[2]), 0, 0)


class _Transposed:
    """A convolution of kernel 2: of inputs t - 1 and t it makes outputs t s ... t s + s - 1, as channels."""

    def __init__(self, step: Transposed) -> None:
        self.step = step
        taps = rearrange(step.weight, "i o (tap s) -> (s o) tap i", tap=2)  # of t, of t - 1
        self.taps = _Taps(taps.flip(1), None if step.bias is None else step.bias.repeat(step.stride), 1)

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        stride, (low, high) = self.step.stride, self.step.span(*target)
        y = self.taps(x, source[0] - low, high - source[1])
        y = y.reshape(y.shape[0], -1, y.shape[2] // stride)
        first = (low + 1) * stride - self.step.padding  # the first output of y
        return _cut(y, (first, first + y.shape[1]), target)


class _Residual:
    def __init__(self, step: Residual, dtype: torch.dtype) -> None:
        self.step = step
        self.runners = [_runner(inner, dtype) for inner in step.steps]
        self.shortcut = None if step.shortcut is None else _runner(step.shortcut, dtype)

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        y = _run(self.step.steps, self.runners, x, n, source, target)
        if self.step.shortcut is None or self.shortcut is None:
            return y.add_(_cut(x, source, target))
        through = self.step.shortcut.span(*target)
        return y.add_(self.shortcut(_cut(x, source, through), n, through, target))


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
        return _cut(y, (first, first + y.shape[1]), target)


class _Taps:
    """A convolution of stride 1: x `[B, N, I]`, weight `[O, kernel, I]` -> `[B, M, O]`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dilation: int) -> None:
        self.bias, self.dilation = bias, dilation
        self.kernel, self.inputs = weight.shape[1:]
        self.is_halved = weight.dtype != torch.bfloat16 and self.inputs >= HALVED_INPUTS and self.kernel > 1
        if self.is_halved:
            even, odd = weight[:, 0::2], weight[:, 1::2]
            both = even + F.pad(odd, (0, 0, 0, even.shape[1] - odd.shape[1]))
            self.weights = [part.contiguous() for part in (even, odd, both)]
        else:
            self.weights = [weight.contiguous()]

    def __call__(self, x: Tensor, left: int, right: int) -> Tensor:
        """The same on so many zeros at the two ends."""
        if self.is_halved:
            return self._by_halves(x, left, right)
        return _convolve(x, self.weights[0], self.bias, self.dilation, left, right)

    def _by_halves(self, x: Tensor, left: int, right: int) -> Tensor:
        """With 11 multiplications in place of 14 for two outputs of kernel 7, or 3 in place of 4 of kernel 2.

        Even and odd inputs e, o (in steps of the dilation) and even and odd taps w0, w1 make even and odd outputs

            w0 * e + w1 * o           =  (w0 + w1) * o  +  w0 * (e - o)
            w0 * o + w1 * (next e)    =  (w0 + w1) * o  +  w1 * (next e - o)

        Of 64 to 768 channels the root mean square rounding error was measured 1.1 to 1.5 times that of the plain sum.
        Source: the fast FIR algorithms of Mou and Duhamel, IEEE Trans. ASSP 35(9), 1987.
        """
        even, odd, both = self.weights
        step = self.dilation
        rows = left + x.shape[1] + right - (self.kernel - 1) * step
        half = -(-rows // (2 * step)) * step  # outputs of each kind, up to a multiple of the dilation
        more = 2 * half + self.kernel // 2 * 2 * step - x.shape[1] - left
        x = F.pad(x, (0, 0, left, more)) if left or more else x
        pairs = x.view(x.shape[0], -1, 2, step, self.inputs)
        e, o = pairs.unbind(2)
        first = _convolve((e - o).flatten(1, 2)[:, : half + (even.shape[1] - 1) * step], even, self.bias, step)
        second = _convolve(
            (e[:, 1:] - o[:, :-1]).flatten(1, 2)[:, : half + (odd.shape[1] - 1) * step], odd, self.bias, step
        )
        shared = _convolve(o.flatten(1, 2)[:, : half + (even.shape[1] - 1) * step], both, None, step)
        y = x.new_empty(x.shape[0], half // step, 2, step, both.shape[0])
        shared = shared.view(x.shape[0], -1, step, both.shape[0])
        torch.add(shared, first.view_as(shared), out=y[:, :, 0])
        torch.add(shared, second.view_as(shared), out=y[:, :, 1])
        return y.flatten(1, 3)[:, :rows]


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, left: int = 0, right: int = 0) -> Tensor:
    """One convolution of the vendor library, or one matrix product."""
    _, kernel, inputs = weight.shape
    rows = left + x.shape[1] + right - (kernel - 1) * dilation
    if x.shape[0] * rows < FEW_ROWS or inputs * x.element_size() >= WIDE_ROW_BYTES:
        x = F.pad(x, (0, 0, left, right)) if left or right else x
        return _windows_product(x, weight, bias, dilation, rows)
    if left != right:
        x, left = F.pad(x, (0, 0, left, right)), 0
    columns, kernels = x.mT[:, :, None], weight.permute(0, 2, 1)[:, :, None]
    y = F.conv2d(columns, kernels, bias, 1, (0, left), (1, dilation))
    return y[:, :, 0].mT.contiguous()


def _windows_product(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, rows: int) -> Tensor:
    """The same without padding, as products of copied windows with the weight as a matrix."""
    outputs, kernel, inputs = weight.shape
    matrix = weight.flatten(1).mT
    if bias is None:
        bias = weight.new_zeros(outputs)
    batch, row, column = x.shape[0], *x.stride()[1:]
    windows = x.as_strided((batch, rows, kernel, inputs), (x.stride(0), row, row * dilation, column))
    if kernel == 1:
        return torch.addmm(bias, windows.reshape(-1, inputs), matrix).view(batch, rows, outputs)
    y = x.new_empty(batch, rows, outputs)
    step = max(1, WINDOW_NUMBERS // (batch * kernel * inputs))
    for start in range(0, rows, step):
        part = windows[:, start : start + step]
        product = torch.addmm(bias, part.reshape(-1, kernel * inputs), matrix)
        y[:, start : start + step] = product.view(batch, -1, outputs)
    return y
