"""The residual unit of DAC's family in one kernel, for inference on GPUs, in channels-last memory. Its twin is
`steps.Residual`.

Memory traffic of one unit, in tensors of the size of x; what eager PyTorch moves is in brackets:

    read activation(x), read x, write the sum, write activation'(the sum)    4  [25; 11 with fused Snakes]

activation' is the first of the next unit, or whatever follows the last, so that every activation is computed once, in
registers. A stack of three units moves 2 for the first activation, 4 + 4, and 3 for the last unit, which
writes either the sum or its activation: 13. One unit alone moves 2 + 3. The K taps of the convolution read the
activated input K times, but out of the second-level cache: neighbours in time are neighbours in the grid. So do all
tiles of time the weights, (K + 1) C^2 elements per 128 samples (64 from 129 channels on, and in float32 from 65).

Arithmetic: (K + 1) C multiply-adds per element. With K = 7 and 2-byte types that is 2 C operations per byte of the four
tensors: memory is the limit up to about 150 channels on a card of 990 TFLOP/s and 3.35 TB/s. In float32 without TF32
arithmetic is the limit everywhere: see `pays`.

The first convolution is a sum of K products of tiles `[time, channel]`, shifted by the dilation; rows beyond the ends
of the signal are loaded as zeros, after the activation, as the definition says. The hidden channels are activated in
float32 and go straight into the second product.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from vocos.kernels import triton_snake
from vocos.kernels.steps import Convolution, Periodic, Residual, Step
from vocos.kernels.triton_snake import IS_INTERPRETED, coefficients, sine_squared

CHANNELS = range(16, 257, 16)  # a tile holds all of them


@triton.jit
def _unit(
    activated,
    x,
    weight1,
    bias1,
    frequency,
    amplitude,
    weight2,
    bias2,
    next_frequency,
    next_amplitude,
    y,
    next_y,
    N,
    dilation,
    activated_b,
    activated_n,
    x_b,
    x_n,
    C: tl.constexpr,
    TAPS: tl.constexpr,
    HAS_SUM: tl.constexpr,
    HAS_NEXT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr,  # samples of a tile
    BLOCK_C: tl.constexpr,  # the power of two from C up
    BLOCK_H: tl.constexpr,  # hidden channels at a time
    BLOCK_K: tl.constexpr,  # input channels at a time, a divisor of C
):
    b = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    c = tl.arange(0, BLOCK_C)
    k = tl.arange(0, BLOCK_K)
    total = tl.zeros((BLOCK_N, BLOCK_C), dtype=tl.float32)
    for start in range(0, C, BLOCK_H):
        h = start + tl.arange(0, BLOCK_H)
        hidden = tl.zeros((BLOCK_N, BLOCK_H), dtype=tl.float32)
        source = activated + b * activated_b + n[:, None] * activated_n + k[None, :]
        weights = weight1 + k[:, None] * C + h[None, :]
        for step in range(TAPS * (C // BLOCK_K)):
            tap = step // (C // BLOCK_K)
            first = step % (C // BLOCK_K) * BLOCK_K
            shift = (tap - TAPS // 2).to(tl.int64) * dilation
            is_inside = (n + shift >= 0) & (n + shift < N)
            value = tl.load(source + (shift * activated_n + first), mask=is_inside[:, None], other=0.0)
            weight = tl.load(weights + (tap * C + first) * C, mask=(h < C)[None, :], other=0.0)
            hidden = tl.dot(value, weight, hidden, input_precision=PRECISION)
        hidden += tl.load(bias1 + h, mask=h < C, other=0.0)[None, :]
        f = tl.load(frequency + h, mask=h < C, other=0.0)[None, :]
        a = tl.load(amplitude + h, mask=h < C, other=0.0)[None, :]
        hidden += a * sine_squared(f * hidden)
        weight = tl.load(weight2 + h[:, None] * C + c[None, :], mask=(h < C)[:, None] & (c < C)[None, :], other=0.0)
        total = tl.dot(hidden.to(weight.dtype), weight, total, input_precision=PRECISION)
    mask = (n < N)[:, None] & (c < C)[None, :]
    total += tl.load(bias2 + c, mask=c < C, other=0.0)[None, :]
    total += tl.load(x + b * x_b + n[:, None] * x_n + c[None, :], mask=mask, other=0.0).to(tl.float32)
    target = (b * N + n[:, None]) * C + c[None, :]
    if HAS_SUM:
        tl.store(y + target, total.to(y.dtype.element_ty), mask=mask)
    if HAS_NEXT:
        f = tl.load(next_frequency + c, mask=c < C, other=0.0)[None, :]
        a = tl.load(next_amplitude + c, mask=c < C, other=0.0)[None, :]
        total += a * sine_squared(f * total)
        tl.store(next_y + target, total.to(next_y.dtype.element_ty), mask=mask)


class _Tile(NamedTuple):
    """What the compiler is told."""

    BLOCK_N: int
    BLOCK_C: int
    BLOCK_H: int
    BLOCK_K: int
    num_warps: int
    num_stages: int = 3


def _tile(channels: int, itemsize: int) -> _Tile:
    """Tiles of 32 sums a thread, the most that leaves registers for the sines, within 96 KiB of shared memory."""
    block_c = triton.next_power_of_2(channels)
    block_k = min(channels & -channels, 128 // itemsize)
    if block_c <= 64:
        return _Tile(128, block_c, block_c, block_k, 8)
    if block_c == 128:
        return _Tile(128, 128, 128, block_k, 16) if itemsize == 2 else _Tile(64, 128, 128, block_k, 8)
    return _Tile(64, 256, 128 if itemsize == 2 and channels % 128 == 0 else 64, block_k, 16)


class Unit(NamedTuple):
    """A residual unit as the kernel takes it."""

    first: tuple[Tensor, Tensor]  # coefficients of the activations
    weight1: Tensor  # [K, C, C], from inputs to outputs
    bias1: Tensor
    dilation: int
    second: tuple[Tensor, Tensor]
    weight2: Tensor  # [C, C]
    bias2: Tensor


def prepare(step: Step, dtype: torch.dtype) -> Unit | None:
    """A step for inputs of a dtype, if it is a residual unit of 16, 32, ... 256 channels."""
    # Not a `match`, nor slices of steps, which the compiler of torch 2.6 does not know.
    if not isinstance(step, Residual) or step.shortcut is not None or len(step.steps) != 4:
        return None
    first, conv1, second, conv2 = step.steps
    if not (isinstance(first, Periodic) and isinstance(conv1, Convolution)):
        return None
    if not (isinstance(second, Periodic) and isinstance(conv2, Convolution)):
        return None
    channels, inputs, taps = conv1.weight.shape
    if (
        channels not in CHANNELS
        or inputs != channels
        or taps % 2 == 0
        or (conv1.stride, conv1.padding) != (1, taps // 2 * conv1.dilation)
        or conv2.weight.shape != (channels, channels, 1)
        or (conv2.stride, conv2.padding) != (1, 0)
        or conv1.bias is None
        or conv2.bias is None
    ):
        return None
    return Unit(
        coefficients(*first, dtype),
        conv1.weight.permute(2, 1, 0).contiguous(),
        conv1.bias.contiguous(),
        conv1.dilation,
        coefficients(*second, dtype),
        conv2.weight[:, :, 0].T.contiguous(),
        conv2.bias.contiguous(),
    )


def supports(x: Tensor, unit: Unit) -> bool:
    """Whether the kernel can run here on these arguments; it gives no gradients."""
    tensors = (unit.weight1, unit.bias1, unit.weight2, unit.bias2)
    return (
        triton_snake.supports(x)
        and (IS_INTERPRETED or (torch.version.hip is None and torch.cuda.get_device_capability(x.device) >= (8, 0)))
        and x.shape[1] == unit.weight1.shape[1]
        and all((tensor.dtype, tensor.device) == (x.dtype, x.device) for tensor in tensors)
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in (x, *tensors, *unit.first, *unit.second)))
    )


def pays(x: Tensor) -> bool:
    """Whether the kernel is worth its while on x: not in float32 without TF32, which the vendor multiplies faster."""
    return x.dtype != torch.float32 or _precision() == "tf32"


def channels_last(x: Tensor) -> Tensor:
    """The same in channels-last memory: x itself if it is. Shape: `[B, C, N]` -> `[B, C, N]`."""
    return x if x.stride(1) == 1 else x.mT.contiguous().mT


def _precision() -> str:
    """TF32 where the user's flags let torch's own convolutions have it, which is torch's default."""
    if hasattr(torch.backends.cudnn, "conv"):  # since torch 2.9, where the older flag cannot always be read
        return "tf32" if torch.backends.cudnn.conv.fp32_precision == "tf32" else "ieee"
    return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"


def launch(
    activated: Tensor,
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    dilation: int,
    frequency: Tensor,
    amplitude: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    next_frequency: Tensor | None,
    next_amplitude: Tensor | None,
    has_sum: bool,
) -> tuple[Tensor, Tensor]:
    """The sum of x and the unit's branch, and the same with the next activation; either empty if it is not wanted.

    Shape: activated and x `[B, C, N]`, the rest as in `Unit` -> twice `[B, C, N]`, channels-last.
    """
    batch, channels, samples = x.shape
    y, next_y = _outputs(x, has_sum, next_frequency is not None)
    if not x.numel():
        return y, next_y
    activated, x = channels_last(activated), channels_last(x)
    tile = _tile(channels, x.element_size())
    with torch.cuda.device_of(x):
        _unit[triton.cdiv(samples, tile.BLOCK_N), batch](
            activated,
            x,
            weight1,
            bias1,
            frequency,
            amplitude,
            weight2,
            bias2,
            next_frequency,
            next_amplitude,
            y,
            next_y,
            samples,
            dilation,
            *activated.stride()[::2],
            *x.stride()[::2],
            C=channels,
            TAPS=weight1.shape[0],
            HAS_SUM=has_sum,
            HAS_NEXT=next_frequency is not None,
            PRECISION=_precision() if x.dtype == torch.float32 else "ieee",
            **tile._asdict(),
        )
    return y, next_y


unit_op = torch.library.custom_op(
    "vocos::residual_unit",
    launch,
    mutates_args=(),
    schema="(Tensor activated, Tensor x, Tensor weight1, Tensor bias1, int dilation, Tensor frequency, "
    "Tensor amplitude, Tensor weight2, Tensor bias2, Tensor? next_frequency, Tensor? next_amplitude, bool has_sum) "
    "-> (Tensor, Tensor)",
)


def _outputs(x: Tensor, has_sum: bool, has_next: bool) -> tuple[Tensor, Tensor]:
    batch, channels, samples = x.shape
    return (
        x.new_empty((batch, samples if has_sum else 0, channels)).mT,
        x.new_empty((batch, samples if has_next else 0, channels)).mT,
    )


@unit_op.register_fake
def _(activated: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    next_frequency, _, has_sum = rest[-3:]
    return _outputs(x, has_sum, next_frequency is not None)
