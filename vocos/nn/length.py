"""How many samples or frames come out of a layer, as exact integer arithmetic.

Every function takes an int or an integer tensor (then elementwise) and returns the same kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from torch import Tensor

Length = TypeVar("Length", int, Tensor)


def ceil_div(length: Length, divisor: int) -> Length:
    """ceil(length / divisor)."""
    return -(-length // divisor)


def at_least(length: Length, limit: int) -> Length:
    """The larger of a length and a limit."""
    return length.clamp(min=limit) if isinstance(length, Tensor) else max(length, limit)


def at_most(length: Length, limit: int) -> Length:
    """The smaller of a length and a limit."""
    return length.clamp(max=limit) if isinstance(length, Tensor) else min(length, limit)


def strided_length(length: Length, strides: Iterable[int]) -> Length:
    """Length after convolutions of kernel 2s, stride s and padding ceil(s / 2), one for each stride s in order.

    Each gives floor((length + 2 ceil(s/2) - 2s) / s) + 1 = floor((length + (s mod 2)) / s).
    """
    for stride in strides:
        length = (length + stride % 2) // stride
    return length


def transposed_length(length: Length, strides: Iterable[int]) -> Length:
    """Length after transposed convolutions of kernel 2s, stride s, padding ceil(s / 2), one for each stride s in order.

    Each gives (length - 1) s - 2 ceil(s/2) + 2s = s length - (s mod 2): one sample short for an odd stride.
    """
    for stride in strides:
        length = length * stride - stride % 2
    return length
