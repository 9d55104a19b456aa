"""Steps that read a span of their input, as most layers do.

Such a step says four things, in half-open ranges of samples:

    part(x, n, source, target)   its definition in plain PyTorch: outputs `target` of a signal of n samples, given in x
                                 the inputs `source`, which are those of `span(*target)` that the signal has
    length(n)                    outputs of a whole signal of n samples
    span(start, stop)            inputs that outputs start to stop read; those before 0 and from n on are padding
    final(n)                     outputs of a signal that goes on after n samples, which nothing to come can change

and `period`: after so many inputs, as many outputs as it says later, all is as it was. Channel-first `[B, C, N]`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from einops import reduce, repeat
from torch import Tensor

from vocos.kernels import reference
from vocos.kernels.functions import Grouped, Range, Window

ENDLESS = 1 << 60  # samples of a signal whose end is not known yet


class Periodic(NamedTuple):
    """Snake, or Snake-beta where there is a `beta`. Shape: `[B, C, N]` -> `[B, C, N]`."""

    alpha: Tensor
    beta: Tensor | None = None

    @property
    def period(self) -> Range:
        """A sample."""
        return 1, 1

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The activation of each sample."""
        return reference.snake(x, self.alpha) if self.beta is None else reference.snake_beta(x, self.alpha, self.beta)

    def length(self, n: int) -> int:
        """As many."""
        return n

    def final(self, n: int) -> int:
        """All."""
        return n

    def span(self, start: int, stop: int) -> Range:
        """The same."""
        return start, stop


class Elu(NamedTuple):
    """The exponential linear unit. Shape: `[B, C, N]` -> `[B, C, N]`."""

    @property
    def period(self) -> Range:
        """A sample."""
        return 1, 1

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The activation of each sample."""
        return F.elu(x)

    def length(self, n: int) -> int:
        """As many."""
        return n

    def final(self, n: int) -> int:
        """All."""
        return n

    def span(self, start: int, stop: int) -> Range:
        """The same."""
        return start, stop


class Pad(NamedTuple):
    """Samples at both ends, and on the right up to a multiple of a stride.

    The mode is one of torch's: "constant" for zeros, "reflect", or "replicate" for the first and the last sample again.

    Shape: `[B, C, N]` -> `[B, C, left + ceil(N / stride) stride + right]`.
    """

    left: int
    right: int
    stride: int = 1
    mode: str = "constant"

    @property
    def period(self) -> Range:
        """What is missing to a multiple of the stride."""
        return self.stride, self.stride

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The input, between what is made of its ends."""
        right = self.right_of(n)
        if source == (0, n) and target[1] - target[0] == self.left + n + right:
            if self.mode == "reflect":
                return reference.reflect_pad(x, self.left, right)
            return F.pad(x, (self.left, right), self.mode)
        return self.ranged(x, n, source, target, -1)

    def ranged(self, x: Tensor, n: int, source: Range, target: Range, axis: int) -> Tensor:
        """The same along another axis; what of an end belongs to the target is put beside a slice of the input."""
        right = self.right_of(n)
        if self.mode == "reflect" and n <= max(self.left, right):  # too short, and so all of it is here
            whole = reference.reflect_pad(x.movedim(axis, -1), self.left, right)[..., slice(*target)]
            return whole.movedim(-1, axis)
        start, stop = target[0] - self.left, target[1] - self.left  # in the input, outside of which the padding lies
        before, after = max(0, min(stop, 0) - start), max(0, stop - max(start, n))
        first = max(start, 0)
        inside = x.narrow(axis, first - source[0], max(first, min(stop, n)) - first)
        if not (before or after):
            return inside
        lead = self._end(x, 1 - start - before - source[0], 0, before, axis)
        tail = self._end(x, 2 * n - 1 - stop - source[0], x.shape[axis] - 1, after, axis)
        return torch.cat([lead, inside, tail], axis)

    def _end(self, x: Tensor, first: int, edge: int, count: int, axis: int) -> Tensor:
        """Padding at an end: so many inputs from the first on reversed, or the one at the edge again, or zeros."""
        if self.mode == "reflect" or not count:
            return x.narrow(axis, first if count else 0, count).flip(axis)
        if self.mode == "replicate":
            return x.narrow(axis, edge, 1).expand(*(count if i == axis % x.ndim else -1 for i in range(x.ndim)))
        size = list(x.shape)
        size[axis] = count
        return x.new_zeros(size)

    def right_of(self, n: int) -> int:
        """What is added on the right of n samples."""
        return self.right + -n % self.stride

    @property
    def around(self) -> int:
        """Samples at an end that the padding there is made of, or that tell that the signal is long enough."""
        return {"constant": 0, "replicate": 1}.get(self.mode, 1 + max(self.left, self.right + self.stride - 1))

    def length(self, n: int) -> int:
        """With both ends."""
        return self.left + n + self.right_of(n)

    def final(self, n: int) -> int:
        """All but the right end; a reflection waits until there is enough to reflect."""
        return self.left + n if n > 0 and (self.mode != "reflect" or n > self.left) else 0

    def span(self, start: int, stop: int) -> Range:
        """The inputs in their places, and those near an end that the padding is made of."""
        return start - self.left - self.around, max(stop - self.left, min(self.left + 1, self.around))


class Convolution(NamedTuple):
    """A convolution on zero padding, the same at both ends. Shape: `[B, I, N]` -> `[B, O, length(N)]`."""

    weight: Tensor  # [O, I / groups, kernel]
    bias: Tensor | None
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    groups: int = 1  # into which inputs and outputs are divided, each of its own

    @property
    def period(self) -> Range:
        """A stride."""
        return self.stride, 1

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The convolution of the inputs in the span of the outputs, and of zeros where it leaves the signal."""
        low, high = self.span(*target)
        left, right = source[0] - low, high - source[1]
        if right > left:
            x, left = F.pad(x, (left, right)), 0
        y = F.conv1d(x, self.weight, self.bias, self.stride, left, self.dilation, self.groups)
        return y[..., : target[1] - target[0]]

    @property
    def reach(self) -> int:
        """Inputs from the first to the last that one output reads."""
        return (self.weight.shape[2] - 1) * self.dilation + 1

    def length(self, n: int) -> int:
        """Windows that fit."""
        return (n + 2 * self.padding - self.reach) // self.stride + 1

    def final(self, n: int) -> int:
        """Windows that fit without the padding on the right."""
        return max(0, (n + self.padding - self.reach) // self.stride + 1)

    def span(self, start: int, stop: int) -> Range:
        """From the first window to the last."""
        first = start * self.stride - self.padding
        return first, first + (stop - 1 - start) * self.stride + self.reach


class Transposed(NamedTuple):
    """A transposed convolution of kernel 2s and stride s, cut at its ends: `[B, I, L]` -> `[B, O, s (L + 1) - cut]`.

    With l outputs cut on the left, output f is a sum of two inputs, t and t - 1, for t = (f + l) // s, each where there
    is one.
    """

    weight: Tensor  # [I, O / groups, 2 stride]
    bias: Tensor | None
    stride: int
    left: int
    right: int
    groups: int = 1  # into which inputs and outputs are divided, each of its own

    @property
    def period(self) -> Range:
        """An input."""
        return 1, self.stride

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The outputs of the inputs, of which those at the ends that lack one are cut off, or belong to an end."""
        cut = min(self.left, self.right) if source == (0, n) else 0  # at both ends, where it is computed
        y = F.conv_transpose1d(x, self.weight, self.bias, self.stride, cut, groups=self.groups)
        first = source[0] * self.stride - self.left + cut
        return y[..., target[0] - first : target[1] - first]

    def length(self, n: int) -> int:
        """What is left of them."""
        return (n + 1) * self.stride - self.left - self.right

    def final(self, n: int) -> int:
        """Those that read no input to come."""
        return max(0, min(n * self.stride - self.left, self.length(n)))

    def span(self, start: int, stop: int) -> Range:
        """From the one before the first to the last; those before 0 and past the end count as zero."""
        return (start + self.left) // self.stride - 1, (stop - 1 + self.left) // self.stride + 1


class Average(NamedTuple):
    """The means of the two halves of every s samples of a channel, as two of them: `[B, C, N]` -> `[B, 2 C, N / s]`."""

    stride: int

    @property
    def period(self) -> Range:
        """A stride."""
        return self.stride, 1

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The means."""
        return reduce(x, "b c (l half g) -> b (c half) l", "mean", half=2, g=self.stride // 2)

    def length(self, n: int) -> int:
        """One for each stride."""
        return n // self.stride

    def final(self, n: int) -> int:
        """The same."""
        return n // self.stride

    def span(self, start: int, stop: int) -> Range:
        """Their strides."""
        return start * self.stride, stop * self.stride


class Repeat(NamedTuple):
    """The reverse: two channels fill the two halves of every s samples of one: `[B, 2 C, L]` -> `[B, C, s L]`."""

    stride: int

    @property
    def period(self) -> Range:
        """An input."""
        return 1, self.stride

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The repeats, whole where the target is."""
        y = repeat(x, "b (c half) l -> b c (l half g)", half=2, g=self.stride // 2)
        first = source[0] * self.stride
        return y[..., target[0] - first : target[1] - first]

    def length(self, n: int) -> int:
        """A stride for each."""
        return n * self.stride

    def final(self, n: int) -> int:
        """The same."""
        return n * self.stride

    def span(self, start: int, stop: int) -> Range:
        """Those that are repeated there."""
        return start // self.stride, (stop - 1) // self.stride + 1


Local: TypeAlias = Periodic | Elu | Pad | Convolution | Transposed | Average | Repeat | Window | Grouped
