"""The GPU engine: chains in channels-last memory, on the vendor's convolutions and the kernels of this library.

Memory traffic in tensors of the size of each step's input and output:

    Periodic                           2, by `triton_snake`; none after a residual unit, which writes it activated
    Residual units in a row            6 a unit and 1 for all, by `triton_unit`; 11 a unit in float32 without TF32
    Convolution, Transposed            1 of the input and 1 of the output, by `triton_vendor`; their bias, for which the
                                       vendor would read and write the output again, is added by what reads it next
    shortcuts                          1 of the input where a residual unit is last; else 2 of the output, too

Nothing waits for the GPU, and memory comes from PyTorch's allocator alone, so that a CUDA graph can capture a call once
another has compiled the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from einops import rearrange, reduce
from torch import Tensor

from vocos.errors import InvalidInput
from vocos.kernels import steps, triton_snake, triton_unit
from vocos.kernels.steps import (
    Average,
    Chain,
    Convolution,
    Periodic,
    Repeat,
    Residual,
    Step,
    Transposed,
)
from vocos.kernels.triton_unit import Unit
from vocos.kernels.triton_vendor import VendorConvolution, VendorTransposed, apart, channels_last

Coefficients: TypeAlias = tuple[Tensor, Tensor]


class Flow(NamedTuple):
    """What goes from step to step."""

    x: Tensor  # empty if nothing reads it
    activated: Tensor | None = None  # what the activation that follows makes of it, if that is known


Runner: TypeAlias = Callable[[Flow], Flow]


class Next(NamedTuple):
    """What comes after a step.

    Attributes:
        activation: the one that is next, if it is the first to read the result.
        is_only: whether nothing else reads it.
    """

    activation: Periodic | None = None
    is_only: bool = False


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
        return _run(self.runners, Flow(channels_last(x))).x


def residual_stack(x: Tensor, units: Sequence[Residual], last: Periodic | None = None) -> Tensor:
    """`steps.run` of residual units and of an activation, if there is one, with float32 between the convolutions.

    Any strides; those of the result are channels-last, in which nothing is copied first.

    Raises:
        InvalidInput: if `triton_unit` cannot take one of the units.
    """
    prepared = [unit for unit in (triton_unit.prepare(step, x.dtype) for step in units) if unit is not None]
    if not units or len(prepared) < len(units) or not all(triton_unit.supports(x, unit) for unit in prepared):
        raise InvalidInput(
            "residual_stack: expected residual units of 16, 32, 48, ... channels, no gradients, [B, C, N] in float32, "
            "float16 or bfloat16 on a GPU from Ampere on, and weights beside it in the same dtype, got "
            f"{len(units)} units and {list(x.shape)} {x.dtype} on {x.device}; use kernels.steps"
        )
    following = None if last is None else triton_snake.coefficients(*last, x.dtype)
    flow = _run_units(Flow(channels_last(x)), prepared, following, last is None)
    return flow.x if flow.activated is None else flow.activated


def _run_units(
    flow: Flow,
    units: Sequence[Unit],
    following: Coefficients | None,
    has_sum: bool,
    bias: Tensor | None = None,
    shortcut: Tensor | None = None,
) -> Flow:
    """Units in a row.

    Args:
        flow: into them.
        units: the first of which adds `bias`, if there is one, to its sum.
        following: of the activation after them.
        has_sum: whether their sum is read, too.
        bias: that x still lacks for its first activation.
        shortcut: what the last one adds to its sum: `steps.Repeat` of it.
    """
    snake: Callable[..., Tensor] = triton_snake.launch
    launch: Callable[..., tuple[Tensor, Tensor]] = triton_unit.launch
    if torch.compiler.is_compiling():  # compilers see operations, whose calls take longer
        snake, launch = triton_snake.periodic_op, triton_unit.unit_op
    x, activated = flow
    if activated is None:
        activated = snake(x, *units[0].first) if bias is None else snake(x, *units[0].first, bias)
    activated = apart(activated, units[0].dilation)
    for i, unit in enumerate(units):
        after = units[i + 1] if i + 1 < len(units) else None
        coefficients = following if after is None else after.first
        x, activated = launch(
            activated,
            x,
            *unit[1:4],
            *unit.second,
            *unit[5:],
            *((None, None) if coefficients is None else coefficients),
            1 if after is None else after.dilation,
            after is not None or has_sum,
            shortcut if after is None else None,
        )
    return Flow(x, None if following is None else activated)


def _run(runners: Sequence[Runner], flow: Flow) -> Flow:
    for runner in runners:
        flow = runner(flow)
    return flow


def _runners(chain: Chain, dtype: torch.dtype, following: Next | None = None) -> list[Runner]:
    """What runs a chain that `following` comes after: residual units in a row are one."""
    found: list[Runner] = []
    bias: Tensor | None = None  # that the steps so far have left to the next
    i = 0
    while i < len(chain):
        units: list[Unit] = []
        start = i
        while i < len(chain) and (unit := triton_unit.prepare(chain[i], dtype)) is not None:
            units.append(unit)
            i += 1
        i = max(i, start + 1)
        after = _after(chain[i]) if i < len(chain) else following or Next()
        step = chain[start]
        if units:
            found.append(_Units(units, bias, after, chain[start:i], dtype))
            bias = None
        elif isinstance(step, Periodic):
            found.append(_Periodic(step, bias, dtype))
            bias = None
        elif isinstance(step, (Convolution, Transposed)):
            is_left = i < len(chain) and (isinstance(chain[i], Periodic) or triton_unit.prepare(chain[i], dtype))
            bias = step.bias.float() if is_left and step.bias is not None else None
            kind = VendorConvolution if isinstance(step, Convolution) else VendorTransposed
            found.append(_plain(kind(step, bias is None)))  # type: ignore[arg-type]
        elif isinstance(step, Residual):
            found.append(_Residual(step, after, dtype))
        else:
            found.append(_plain(_function(step)))
    return found


def _after(step: Step) -> Next:
    """What comes after the step before this one."""
    if isinstance(step, Periodic):
        return Next(step, True)
    if isinstance(step, Residual):
        return _after(step.steps[0])._replace(is_only=False)
    return Next()


def _plain(function: Callable[[Tensor], Tensor]) -> Runner:
    return lambda flow: Flow(function(flow.x))


def _function(step: Step) -> Callable[[Tensor], Tensor]:
    match step:
        case Average():
            return _Average(step)
        case Repeat():
            return _Repeat(step)
        case Convolution():
            return VendorConvolution(step)
    return partial(steps.apply, step)


class _Units:
    """Residual units, by `triton_unit` or, where that does not pay, by their steps."""

    def __init__(self, units: list[Unit], bias: Tensor | None, after: Next, chain: Chain, dtype: torch.dtype) -> None:
        self.bias, self.units = bias, units
        if bias is not None:
            self.units = [units[0]._replace(bias2=units[0].bias2 + bias), *units[1:]]
        self.following = None if after.activation is None else triton_snake.coefficients(*after.activation, dtype)
        self.has_sum = not after.is_only
        self.steps: list[Runner] = []
        if dtype == torch.float32:
            self.steps = [_Residual(step, Next(), dtype) for step in chain if isinstance(step, Residual)]

    def __call__(self, flow: Flow, shortcut: Tensor | None = None) -> Flow:
        if triton_unit.pays(flow.x):
            return _run_units(flow, self.units, self.following, self.has_sum, self.bias, shortcut)
        if self.bias is not None:
            flow = Flow(flow.x + self.bias[:, None])
        return _run(self.steps, Flow(flow.x))


class _Periodic:
    def __init__(self, step: Periodic, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.coefficients, self.bias = triton_snake.coefficients(*step, dtype), bias

    def __call__(self, flow: Flow) -> Flow:
        if flow.activated is not None:
            return Flow(flow.activated)
        return Flow(triton_snake.launch(flow.x, *self.coefficients, self.bias))


class _Residual:
    """A branch and its shortcut; a repeated one is added by the residual units that end the branch."""

    def __init__(self, step: Residual, after: Next, dtype: torch.dtype) -> None:
        self.is_fused = isinstance(step.shortcut, Repeat) and triton_unit.prepare(step.steps[-1], dtype) is not None
        self.runners = _runners(step.steps, dtype, after if self.is_fused else Next())
        self.shortcut = None if step.shortcut is None else _function(step.shortcut)

    def __call__(self, flow: Flow) -> Flow:
        x, last = flow.x, self.runners[-1]
        if self.is_fused and isinstance(last, _Units) and triton_unit.pays(x):
            return last(_run(self.runners[:-1], flow), x)
        y = _run(self.runners, flow).x
        if isinstance(self.shortcut, _Repeat):
            return Flow(self.shortcut.add_to(y, x))
        return Flow(y.add_(x if self.shortcut is None else self.shortcut(x)))


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
