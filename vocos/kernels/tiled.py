"""The CPU engine: chains in time tiles that stay in cache, channel-last, on the vendor library's convolutions.

What makes it faster than the definition: a convolution of channel-last data needs no reordering of the data; the
activations of a tile never leave the cache, and no memory is mapped anew for them; a transposed convolution is one
dense convolution of kernel 2. Nothing is approximated: tiles of every size give the whole to float rounding.

Inside this file tensors are `[B, N, C]`.

How the work is divided, for a chain of three groups (an encoder divides them after each step that lowers the rate):

    segment   | SEGMENT samples at the highest rate | ...      bounds memory: only one is worked on at a time
    group 1   |tile|tile|tile|tile|tile|tile|tile|tile|        each tile runs all steps of the group, in cache
    group 2   |  tile   |  tile   |  tile   |  tile   |        reads the whole output of group 1 for this segment
    group 3   |       tile        |       tile        |

A tile of outputs reads the inputs that `steps.ranges` says, which overlap those of the next tile by the receptive field
of the group. So the overlap is computed twice: that of one group at every tile, that of all groups at every segment.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor

from vocos.kernels import reference
from vocos.kernels.convolve import Taps
from vocos.kernels.parts import Range, in_parts
from vocos.kernels.steps import (
    Average,
    Chain,
    Convolution,
    Elu,
    Pad,
    Periodic,
    Repeat,
    Residual,
    Step,
    Transposed,
    lengths,
    ranges,
)

TILE_BYTES = 4 * 8208  # of a channel at the highest rate of a group
TILE_STEP = 18  # samples, twice the longest dilation: convolutions by halves then need no padding
PLANS = 256  # of steps, that are kept: a segment has half as many tiles
SEGMENT = 1 << 20  # samples at the highest rate of a chain, beyond which memory does not grow with the length
DTYPES = (torch.float32, torch.bfloat16)

# Makes of the inputs in one range, of a signal of n samples, the outputs in another.
Runner: TypeAlias = Callable[[Tensor, int, Range, Range], Tensor]


class TiledChain:
    """A chain with its weights laid out for this engine, which is a second copy of them.

    Args:
        chain: on the CPU, of one dtype out of `DTYPES`.
        dtype: that one.
    """

    def __init__(self, chain: Chain, dtype: torch.dtype) -> None:
        self.groups = groups = [_Steps(part, dtype) for part in parts(chain)]
        self.plan = lru_cache(PLANS)(lambda n, target: _targets(groups, n, target))
        self.sizes = lru_cache(PLANS)(lambda n: _sizes(groups, n))

    def __call__(self, x: Tensor, tile: int | None = None, segment: int = SEGMENT) -> Tensor:
        """`[B, I, N]` -> `[B, O, length(N)]`, a view of a contiguous `[B, length(N), O]`.

        tile and segment: samples at the highest rate.
        """
        x = x.mT.contiguous()
        tile = tile or TILE_BYTES // x.element_size()
        sizes = self.sizes(x.shape[1])
        return in_parts(
            lambda part, target: self._segment(part, sizes, target, tile),
            x,
            sizes[-1],
            segment * sizes[-1] // max(sizes),
        ).mT

    def _segment(self, x: Tensor, sizes: list[int], target: Range, tile: int) -> Tensor:
        """Outputs `target`, group by group, of which each makes what the next one needs."""
        targets = self.plan(sizes[0], target)
        x = _cut(x, (0, sizes[0]), targets[0])
        for group, (n, outputs), (before, after) in zip(self.groups, pairwise(sizes), pairwise(targets), strict=True):
            x = _run_group(group, x, n, outputs, before, after, tile)
        return x


class _Steps:
    """Steps in a row, and what runs each. What of every step a range needs is computed once for a length and range."""

    def __init__(self, steps: Chain, dtype: torch.dtype) -> None:
        self.steps = steps
        runners = [_runner(step, dtype) for step in steps]
        self.plan = lru_cache(PLANS)(lambda n, target: _plan(steps, runners, n, target))

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """Outputs `target` of the steps, whose whole input has n samples, of which x holds `source`."""
        first, work = self.plan(n, target)
        x = _cut(x, source, first)
        for runner, size, before, after in work:
            x = runner(x, size, before, after)
        return x


def _plan(
    steps: Chain, runners: list[Runner], n: int, target: Range
) -> tuple[Range, list[tuple[Runner, int, Range, Range]]]:
    """What steps need of their input, and each runner with its length, what it is given and what it makes."""
    sizes, needed = lengths(steps, n), ranges(steps, n, *target)
    work = zip(runners, sizes, pairwise(needed), strict=False)
    return needed[0], [(runner, size, before, after) for runner, size, (before, after) in work]


def _sizes(groups: list[_Steps], n: int) -> list[int]:
    """Lengths from the input through every group."""
    sizes = [n]
    for group in groups:
        sizes.append(lengths(group.steps, sizes[-1])[-1])
    return sizes


def _targets(groups: list[_Steps], n: int, target: Range) -> list[Range]:
    """What of the input and of every group's output is needed for outputs `target`."""
    targets = [target]
    for group, size in zip(reversed(groups), reversed(_sizes(groups, n)[:-1]), strict=True):
        targets.append(ranges(group.steps, size, *targets[-1])[0])
    return targets[::-1]


def parts(chain: Chain) -> list[Chain]:
    """A chain in parts to be run tile by tile, cut where the signal is small.

    That is after a step that lowers the rate, and before one that raises it with the activation before it.
    """
    n = 1 << 20
    cuts = {0, len(chain)}
    for i, step in enumerate(chain):
        if 2 * step.length(n) <= n + 2:
            cuts.add(i + 1)
        elif 2 * step.length(n) >= 3 * n:
            cuts.add(i - 1 if i and isinstance(chain[i - 1], (Periodic, Elu)) else i)
    edges = sorted(cuts)
    return [chain[start:stop] for start, stop in pairwise(edges)]


def _run_group(group: _Steps, x: Tensor, n: int, outputs: int, source: Range, target: Range, tile: int) -> Tensor:
    """Outputs `target` of a group of n inputs, of which x holds `source`, in tiles."""

    def run(part: Tensor, inside: Range) -> Tensor:
        return group(part, n, source, (target[0] + inside[0], target[0] + inside[1]))

    return in_parts(run, x, target[1] - target[0], tile * outputs // max(n, outputs), TILE_STEP)


def _cut(x: Tensor, source: Range, target: Range) -> Tensor:
    """The part `target` of a signal of which x holds `source`."""
    return x if source == target else x[:, target[0] - source[0] : target[1] - source[0]]


def _runner(step: Step, dtype: torch.dtype) -> Runner:
    if isinstance(step, (Periodic, Residual)):
        return _Periodic(step, dtype) if isinstance(step, Periodic) else _Residual(step, dtype)
    return _RUNNERS[type(step)](step)


class _Periodic:
    def __init__(self, step: Periodic, dtype: torch.dtype) -> None:
        self.frequency, self.amplitude = (row.reshape(-1) for row in reference.coefficients(*step, dtype))

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        wave = (x * self.frequency).sin_().square_()
        return torch.addcmul(x, wave, self.amplitude, out=wave)


class _Elu:
    def __init__(self, step: Elu) -> None:
        pass

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        return F.elu(x)


class _Pad:
    def __init__(self, step: Pad) -> None:
        self.step = step

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        step, right = self.step, self.step.right_of(n)
        if step.mode == "reflect" and n <= max(step.left, right):  # `span` has seen to it that all of it is here
            return _cut(step.apply(x.mT).mT, (0, step.length(n)), target)
        start, stop = target[0] - step.left, target[1] - step.left  # in the input, where the padding lies outside
        before, after = max(0, min(stop, 0) - start), max(0, stop - max(start, n))
        inside = _cut(x, source, (max(start, 0), max(start, 0, min(stop, n))))
        if not (before or after):
            return inside
        if step.mode == "constant":
            return F.pad(inside, (0, 0, before, after))
        if step.mode == "replicate":
            first, last = _cut(x, source, (0, 1)), _cut(x, source, (n - 1, n))
            return torch.cat([first.expand(-1, before, -1), inside, last.expand(-1, after, -1)], 1)
        # Of sample -i, sample i; of sample n - 1 + i, sample n - 1 - i.
        lead = (_cut(x, source, (-start - before + 1, -start + 1)).flip(1),) if before else ()
        tail = (_cut(x, source, (2 * n - 1 - stop, 2 * n - 1 - stop + after)).flip(1),) if after else ()
        return torch.cat([*lead, inside, *tail], 1)


class _Convolution:
    """With a stride s and kernel 2s, a convolution of kernel 2 over pieces of s samples, taken as channels."""

    def __init__(self, step: Convolution) -> None:
        self.step = step
        weight = rearrange(step.weight.detach(), "o i (tap s) -> o tap (s i)", s=step.stride)
        self.taps = Taps(weight)

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        step, stride, (low, high) = self.step, self.step.stride, self.step.span(*target)
        left, right = source[0] - low, high - source[1]
        if stride == 1:
            return self.taps(x, step.bias, step.dilation, left, right)
        x = F.pad(x, (0, 0, left, right)) if left or right else x.contiguous()
        return self.taps(x.view(x.shape[0], -1, stride * x.shape[2]), step.bias, 1)


class _Transposed:
    """A convolution of kernel 2: of inputs t - 1 and t it makes outputs t s ... t s + s - 1, as channels."""

    def __init__(self, step: Transposed) -> None:
        self.step = step
        taps = rearrange(step.weight.detach(), "i o (tap s) -> (s o) tap i", tap=2)  # of t, of t - 1
        self.taps = Taps(taps.flip(1))
        self.bias = None if step.bias is None else step.bias.repeat(step.stride)

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        stride, (low, high) = self.step.stride, self.step.span(*target)
        y = self.taps(x, self.bias, 1, source[0] - low, high - source[1])
        y = y.reshape(y.shape[0], -1, y.shape[2] // stride)
        first = (low + 1) * stride - self.step.padding  # the first output of y
        return _cut(y, (first, first + y.shape[1]), target)


class _Residual:
    def __init__(self, step: Residual, dtype: torch.dtype) -> None:
        self.step = step
        self.inner = _Steps(step.steps, dtype)
        self.shortcut = None if step.shortcut is None else _runner(step.shortcut, dtype)

    def __call__(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        y = self.inner(x, n, source, target)
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


_RUNNERS: dict[type[Step], Callable[[Any], Runner]] = {
    Elu: _Elu,
    Pad: _Pad,
    Convolution: _Convolution,
    Transposed: _Transposed,
    Average: _Average,
    Repeat: _Repeat,
}
