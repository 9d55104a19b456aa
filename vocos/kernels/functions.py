"""Any function as a step: of each frame and its neighbours, or of groups of frames. Engines do not run these."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from torch import Tensor

Range: TypeAlias = tuple[int, int]


class Window(NamedTuple):
    """Any function of each frame and of some frames to its left and right, zeros beyond the ends.

    Shape: `[B, I, N]` -> `[B, O, N]`.
    """

    # Of x [B, I, n] -> [B, O, n]. If it reads other frames, of x and two numbers of zeros to be thought at its ends
    # -> [B, O, zeros + n + zeros - left - right].
    function: Callable[..., Tensor]
    left: int = 0
    right: int = 0

    @property
    def period(self) -> Range:
        """A sample."""
        return 1, 1

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The function of the frames in the span, and of zeros where it leaves the signal."""
        if self.left == self.right == 0:
            return self.function(x)
        low, high = self.span(*target)
        return self.function(x, source[0] - low, high - source[1])

    def length(self, n: int) -> int:
        """As many."""
        return n

    def final(self, n: int) -> int:
        """Those whose window is there."""
        return max(0, n - self.right)

    def span(self, start: int, stop: int) -> Range:
        """All their windows."""
        return start - self.left, stop + self.right


class Grouped(NamedTuple):
    """Any function of each group of some frames, which makes others of them alone.

    Shape: `[B, I, N]` -> `[B, O, N / inputs * outputs]`.
    """

    function: Callable[[Tensor], Tensor]  # of x [B, I, g inputs] -> [B, O, g outputs], for any g
    inputs: int
    outputs: int
    is_open: bool = False  # whether the last group may be shorter, where as many come out as go in

    @property
    def period(self) -> Range:
        """A group."""
        return self.inputs, self.outputs

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The function of the groups."""
        first = source[0] // self.inputs * self.outputs
        return self.function(x)[..., target[0] - first : target[1] - first]

    def length(self, n: int) -> int:
        """Of all groups."""
        return n if self.is_open else n // self.inputs * self.outputs

    def final(self, n: int) -> int:
        """Of the whole groups."""
        return n // self.inputs * self.outputs

    def span(self, start: int, stop: int) -> Range:
        """The groups that the outputs are of."""
        return start // self.outputs * self.inputs, -(-stop // self.outputs) * self.inputs
