"""The GPU engine: chains in channels-last memory, on the vendor's convolutions and the kernels of this library.

Memory traffic in tensors of the size of each step's input and output:

    Periodic                           2, by `triton_snake`
    Residual units in a row            4 a unit and 1 for all, the activation after them included, by `triton_unit`, up
                                       to 256 channels; 11 a unit above, or where arithmetic is the limit
    Convolution, Transposed            1 of the input and 1 of the output, by the vendor
    shortcuts                          2 of the output and 1 of the input: added where the sum is

Nothing waits for the GPU, and memory comes from PyTorch's allocator alone, so that a CUDA graph can capture a call once
another has compiled the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from vocos.errors import InvalidInput
from vocos.kernels import triton_snake, triton_unit
from vocos.kernels.steps import (
    Average,
    Called,
    Chain,
    Convolution,
    Elu,
    Pad,
    Periodic,
    Repeat,
    Residual,
    Step,
    Transposed,
)
from vocos.kernels.triton_unit import Unit, channels_last

Runner: TypeAlias = Callable[[Tensor], Tensor]


class TritonChain:
    """A chain with its weights laid out for this engine, which is a second copy of them.

    Args:
        chain: on a GPU, of one dtype out of `triton_snake.DTYPES`.
        dtype: that one.
    """

    def __init__(self, chain: Chain, dtype: torch.dtype) -> None:
        self.runners = _runners(chain, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, I, N]` -> `[B, O, length(N)]`, without gradients."""
        return _run(self.runners, channels_last(x))


def residual_stack(x: Tensor, units: Sequence[Residual], last: Periodic | None = None) -> Tensor:
    """`steps.run` of residual units and of an activation, if there is one, with float32 between the convolutions.

    Any strides; those of the result are channels-last, in which nothing is copied first.

    Raises:
        InvalidInput: if `triton_unit` cannot take one of the units.
    """
    prepared = [unit for unit in (triton_unit.prepare(step, x.dtype) for step in units) if unit is not None]
    if not units or len(prepared) < len(units) or not all(triton_unit.supports(x, unit) for unit in prepared):
        raise InvalidInput(
            "residual_stack: expected residual units of 16, 32, ... 256 channels, no gradients, [B, C, N] in float32, "
            "float16 or bfloat16 on a GPU from Ampere on, and weights beside it in the same dtype, got "
            f"{len(units)} units and {list(x.shape)} {x.dtype} on {x.device}; use kernels.steps"
        )
    return _run_units(x, prepared, None if last is None else triton_snake.coefficients(*last, x.dtype))


def _run_units(x: Tensor, units: Sequence[Unit], last: tuple[Tensor, Tensor] | None) -> Tensor:
    snake: Callable[..., Tensor] = triton_snake.launch
    launch: Callable[..., tuple[Tensor, Tensor]] = triton_unit.launch
    if torch.compiler.is_compiling():  # compilers see operations, whose calls take longer
        snake, launch = triton_snake.periodic_op, triton_unit.unit_op
    x = channels_last(x)
    activated = snake(x, *units[0].first)
    for i, unit in enumerate(units):
        is_last = i + 1 == len(units)
        following = last if is_last else units[i + 1].first
        x, activated = launch(
            activated,
            x,
            unit.weight1,
            unit.bias1,
            unit.dilation,
            *unit.second,
            unit.weight2,
            unit.bias2,
            *((None, None) if following is None else following),
            not is_last or last is None,
        )
    return x if last is None else activated


def _run(runners: Sequence[Runner], x: Tensor) -> Tensor:
    for runner in runners:
        x = runner(x)
    return x


def _runners(chain: Chain, dtype: torch.dtype) -> list[Runner]:
    """What runs a chain: residual units in a row, with an activation after them, are one."""
    found: list[Runner] = []
    i = 0
    while i < len(chain):
        units: list[Unit] = []
        start = i
        while i < len(chain) and (unit := triton_unit.prepare(chain[i], dtype)) is not None:
            units.append(unit)
            i += 1
        if not units:
            found.append(_runner(chain[i], dtype))
            i += 1
            continue
        last = chain[i] if i < len(chain) else None
        if isinstance(last, Periodic):
            i += 1
        found.append(_Units(units, last if isinstance(last, Periodic) else None, chain[start:i], dtype))
    return found


def _runner(step: Step, dtype: torch.dtype) -> Runner:
    match step:
        case Periodic():
            return _Periodic(step, dtype)
        case Convolution() | Transposed():
            return _Convolution(step)
        case Residual():
            return _Residual(step, dtype)
        case Average():
            return _Average(step)
        case Repeat():
            return _Repeat(step)
        case Elu() | Pad() | Called():  # of the last there is none: the reference runs chains that have one
            return step.apply


class _Units:
    """Residual units, by the fused kernel or, where it does not pay, by their steps."""

    def __init__(self, units: list[Unit], last: Periodic | None, chain: Chain, dtype: torch.dtype) -> None:
        self.units, self.last = units, None if last is None else triton_snake.coefficients(*last, dtype)
        self.runners = [_runner(step, dtype) for step in chain]

    def __call__(self, x: Tensor) -> Tensor:
        if triton_unit.pays(x) and triton_unit.supports(x, self.units[0]):
            return _run_units(x, self.units, self.last)
        return _run(self.runners, x)


class _Periodic:
    def __init__(self, step: Periodic, dtype: torch.dtype) -> None:
        self.frequency, self.amplitude = triton_snake.coefficients(*step, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return triton_snake.launch(x, self.frequency, self.amplitude)


class _Convolution:
    """As of pictures one row high, which have a channels-last memory format."""

    def __init__(self, step: Convolution | Transposed) -> None:
        self.step = step
        self.weight = step.weight[:, :, None].contiguous(memory_format=torch.channels_last)

    def __call__(self, x: Tensor) -> Tensor:
        step, rows = self.step, x[:, :, None]
        stride, padding = (1, step.stride), (0, step.padding)
        if isinstance(step, Transposed):
            return F.conv_transpose2d(rows, self.weight, step.bias, stride, padding, (0, step.extra))[:, :, 0]
        return F.conv2d(rows, self.weight, step.bias, stride, padding, (1, step.dilation))[:, :, 0]


class _Residual:
    def __init__(self, step: Residual, dtype: torch.dtype) -> None:
        self.runners = _runners(step.steps, dtype)
        self.shortcut = None if step.shortcut is None else _runner(step.shortcut, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        y = _run(self.runners, x)
        if isinstance(self.shortcut, _Repeat):
            return self.shortcut.add_to(y, x)
        return y.add_(x if self.shortcut is None else self.shortcut(x))


class _Average:
    def __init__(self, step: Average) -> None:
        self.group = step.stride // 2

    def __call__(self, x: Tensor) -> Tensor:
        return reduce(x.mT, "b (l half g) c -> b l (c half)", "mean", half=2, g=self.group).mT


class _Repeat:
    def __init__(self, step: Repeat) -> None:
        self.group = step.stride // 2

    def __call__(self, x: Tensor) -> Tensor:
        y = x.new_zeros((x.shape[0], x.shape[2] * 2 * self.group, x.shape[1] // 2))
        return self.add_to(y.mT, x)

    def add_to(self, y: Tensor, x: Tensor) -> Tensor:
        """y after the repeated x has been added to it; the repeats themselves are never in memory."""
        groups = rearrange(channels_last(y).mT, "b (l half g) c -> b l half g c", half=2, g=self.group)
        groups.add_(rearrange(x.mT, "b l (c half) -> b l half 1 c", half=2))
        return rearrange(groups, "b l half g c -> b c (l half g)")
