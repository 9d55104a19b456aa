"""The residual unit of DAC's family on GPUs: its dilated convolution by the vendor, all that follows in one kernel. In
channels-last memory, for inference. Its twin is `steps.Residual`.

Memory traffic of one unit, in tensors of the size of x; what eager PyTorch moves is in brackets:

    convolution    read activation(x), write                                           2  [13; 6 with fused Snakes]
    the rest       read that, read x, write the sum, write activation'(the sum)        4  [15; 8]

activation' is the first of the next unit, or whatever follows the last, so that every activation is computed once, in
registers. A stack of three units moves 2 for the first activation, 6 + 6, and 5 for the last unit, which writes either
the sum or its activation.

The convolution has 7/8 of the arithmetic. One kernel for the whole unit would move 4 instead of 6, but it cannot keep
in shared memory what several taps read: on an H200, three units of 128 channels and 2^20 samples took 2.95 ms in
float16 as three such kernels, 280 TFLOP/s, while the vendor's convolution alone reaches 650.

The kernel reads the activated output of the convolution as one operand of the second product, which is summed over all
channels in float32. In TF32 both operands are rounded to the nearest first: the matrix units drop bits instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from vocos.kernels import triton_snake
from vocos.kernels.steps import Convolution, Periodic, Residual, Step
from vocos.kernels.triton_snake import IS_INTERPRETED, activate, coefficients, launching
from vocos.kernels.triton_vendor import channels_last, convolve, laid_out, rows

LEAST = 16  # the least multiple of channels that a product of tiles can be summed over


@triton.jit
def rounded(x):
    """float32 to the nearest TF32, in float32. A NaN stays one."""
    bits = (x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000
    return tl.where(x == x, bits.to(tl.float32, bitcast=True), x)  # noqa: PLR0124


@triton.jit
def _added(value, b, f, a, weight, total, PRECISION: tl.constexpr, IS_WIDE: tl.constexpr):
    """The total and the product of activated channels with their weights."""
    value = activate(value.to(tl.float32) + b[None, :], f[None, :], a[None, :], IS_WIDE)
    if PRECISION == "tf32":
        value = rounded(value)
    return tl.dot(value.to(weight.dtype), weight, total, input_precision=PRECISION)


@triton.jit
def _weights(weight2, k, c, C, PRECISION: tl.constexpr):
    weight = tl.load(weight2 + k[:, None] + c[None, :] * C, mask=(c < C)[None, :], other=0.0)
    if PRECISION == "tf32":
        weight = rounded(weight)
    return weight


@triton.jit
def _rest(
    h,
    x,
    bias1,
    frequency,
    amplitude,
    weight2,
    bias2,
    shortcut,
    next_frequency,
    next_amplitude,
    y,
    next_y,
    N,
    h_rows,  # of each signal that the dilation made of one
    next_rows,
    h_n,
    x_b,
    x_n,
    C: tl.constexpr,
    DILATION: tl.constexpr,
    NEXT_DILATION: tl.constexpr,
    STRIDE: tl.constexpr,  # of the shortcut; 0 for none
    HAS_SUM: tl.constexpr,
    HAS_NEXT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr,  # samples of a tile
    BLOCK_C: tl.constexpr,  # output channels of a tile
    BLOCK_K: tl.constexpr,  # input channels at a time, a divisor of C
    TILES: tl.constexpr,  # of a program, which loads the weights once if it takes all channels at a time
):
    columns: tl.constexpr = (C + BLOCK_C - 1) // BLOCK_C
    is_wide: tl.constexpr = x.dtype.element_ty == tl.float32 and PRECISION != "tf32"
    b = tl.program_id(1).to(tl.int64)
    start = tl.program_id(0) // columns * (BLOCK_N * TILES)
    c = tl.program_id(0) % columns * BLOCK_C + tl.arange(0, BLOCK_C)
    k = tl.arange(0, BLOCK_K)
    is_channel = (c < C)[None, :]
    b2 = tl.load(bias2 + c, mask=c < C, other=0.0)[None, :]
    if HAS_NEXT:
        next_f = tl.load(next_frequency + c, mask=c < C, other=0.0)[None, :]
        next_a = tl.load(next_amplitude + c, mask=c < C, other=0.0)[None, :]
    if C == BLOCK_K:
        all_weights = _weights(weight2, k, c, C, PRECISION)
        b1, f1, a1 = tl.load(bias1 + k), tl.load(frequency + k), tl.load(amplitude + k)
    for tile in tl.range(TILES):
        n = start + tile * BLOCK_N + tl.arange(0, BLOCK_N)
        is_sample = (n < N)[:, None]
        is_inside = is_sample & is_channel
        row = (b * DILATION + n % DILATION) * h_rows + n // DILATION
        source = h + row[:, None] * h_n + k[None, :]
        before = tl.load(x + (b * x_b + n.to(tl.int64) * x_n)[:, None] + c[None, :], mask=is_inside, other=0.0)
        total = tl.zeros((BLOCK_N, BLOCK_C), dtype=tl.float32)
        if C == BLOCK_K:
            value = tl.load(source, mask=is_sample, other=0.0)
            total = _added(value, b1, f1, a1, all_weights, total, PRECISION, is_wide)
        else:
            for first in tl.range(0, C, BLOCK_K):
                i = first + k
                value = tl.load(source + first, mask=is_sample, other=0.0)
                weight = _weights(weight2, i, c, C, PRECISION)
                bi, fi, ai = tl.load(bias1 + i), tl.load(frequency + i), tl.load(amplitude + i)
                total = _added(value, bi, fi, ai, weight, total, PRECISION, is_wide)
        total += b2 + before.to(tl.float32)
        if STRIDE > 0:  # two channels of the shortcut fill the two halves of every STRIDE samples of one
            row = (b * (N // STRIDE) + n // STRIDE) * (2 * C) + n % STRIDE // (STRIDE // 2)
            total += tl.load(shortcut + row[:, None] + 2 * c[None, :], mask=is_inside, other=0.0).to(tl.float32)
        if HAS_SUM:
            row = (b * N + n) * C
            tl.store(y + row[:, None] + c[None, :], total.to(y.dtype.element_ty), mask=is_inside)
        if HAS_NEXT:
            total = tl.where(is_sample, activate(total, next_f, next_a, is_wide), 0.0)
            row = ((b * NEXT_DILATION + n % NEXT_DILATION) * next_rows + n // NEXT_DILATION) * C
            is_inside = (n < NEXT_DILATION * next_rows)[:, None] & is_channel
            tl.store(next_y + row[:, None] + c[None, :], total.to(next_y.dtype.element_ty), mask=is_inside)


class _Tile(NamedTuple):
    """What the compiler is told."""

    BLOCK_N: int
    BLOCK_C: int
    BLOCK_K: int
    TILES: int
    num_warps: int
    num_stages: int


# By channels and bytes of a number, the fastest of about 20 each on an H200; with its milliseconds for 2^27 numbers.
TILES = {
    (64, 2): _Tile(128, 64, 64, 8, 4, 1),  # 0.391
    (96, 2): _Tile(128, 32, 32, 1, 4, 3),  # 0.546
    (128, 2): _Tile(64, 128, 128, 1, 4, 2),  # 0.468
    (192, 2): _Tile(128, 64, 64, 1, 4, 3),  # 0.650
    (64, 4): _Tile(64, 64, 64, 8, 4, 2),  # 0.579
    (96, 4): _Tile(64, 32, 32, 1, 4, 3),  # 0.793
    (128, 4): _Tile(64, 128, 32, 1, 4, 2),  # 0.848
    (192, 4): _Tile(64, 64, 32, 1, 4, 3),  # 0.955
}


def _tile(channels: int, itemsize: int) -> _Tile:
    """Within 96 KiB of shared memory."""
    if (channels, itemsize) in TILES:
        return TILES[channels, itemsize]
    block_k = min(channels & -channels, 128 // itemsize)
    return _Tile(64, min(triton.next_power_of_2(channels), 128), block_k, 1, 4, 3)  # the fastest at 256 and 512


class Unit(NamedTuple):
    """A residual unit as the kernel takes it."""

    first: tuple[Tensor, Tensor]  # coefficients of the activations
    weight1: Tensor  # laid out for the vendor
    dilation: int
    bias1: Tensor  # float32
    second: tuple[Tensor, Tensor]
    weight2: Tensor  # [C, C], inputs last
    bias2: Tensor  # float32


def prepare(step: Step, dtype: torch.dtype) -> Unit | None:
    """A step for inputs of a dtype, if it is a residual unit of 16, 32, 48, ... channels."""
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
        channels % LEAST != 0
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
        laid_out(conv1.weight),
        conv1.dilation,
        conv1.bias.float().contiguous(),
        coefficients(*second, dtype),
        conv2.weight[:, :, 0].contiguous(),
        conv2.bias.float().contiguous(),
    )


def supports(x: Tensor, unit: Unit) -> bool:
    """Whether the unit can run here on these arguments; it gives no gradients."""
    tensors = (unit.weight1, unit.weight2)
    others = (unit.bias1, unit.bias2, *unit.first, *unit.second)
    return (
        triton_snake.supports(x)
        and (IS_INTERPRETED or (torch.version.hip is None and torch.cuda.get_device_capability(x.device) >= (8, 0)))
        and x.shape[1] == unit.weight1.shape[1]
        and all((tensor.dtype, tensor.device) == (x.dtype, x.device) for tensor in tensors)
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in (x, *tensors, *others)))
    )


def pays(x: Tensor) -> bool:
    """Whether the kernel is worth its while on x: not in float32 without TF32, which the vendor multiplies faster."""
    return x.dtype != torch.float32 or _precision() == "tf32"


def _precision() -> str:
    """TF32 where the user's flags let torch's own convolutions have it, which is torch's default."""
    if hasattr(torch.backends.cudnn, "conv"):  # since torch 2.9, where the older flag cannot always be read
        return "tf32" if torch.backends.cudnn.conv.fp32_precision == "tf32" else "ieee"
    return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"


def launch(
    activated: Tensor,
    x: Tensor,
    weight1: Tensor,
    dilation: int,
    bias1: Tensor,
    frequency: Tensor,
    amplitude: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    next_frequency: Tensor | None,
    next_amplitude: Tensor | None,
    next_dilation: int,
    has_sum: bool,
    shortcut: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The sum of x, the unit's branch and the repeated shortcut, and its next activation; empty if not wanted.

    Args:
        activated: the first activation of x, `apart` for the dilation.
        x: `[B, C, N]`.
        weight1, dilation, bias1, frequency, amplitude, weight2, bias2: as in `Unit`.
        next_frequency, next_amplitude: `[C]`, of the next activation, if it is wanted.
        next_dilation: for which it is `apart`.
        has_sum: whether the sum is wanted.
        shortcut: `[B, 2 C, L]`, added as `steps.Repeat` of stride N / L has it.

    Shape: `[B, C, N]` and `[B d, C, rows(N, d)]` with d = next_dilation, channels-last.
    """
    batch, channels, samples = x.shape
    y, next_y = _outputs(x, has_sum, next_frequency is not None, next_dilation)
    if not x.numel():
        return y, next_y.zero_()
    h = convolve(activated, weight1, None, padding=weight1.shape[3] // 2)
    x, shortcut = channels_last(x), None if shortcut is None else shortcut.mT.contiguous()
    tile = _tile(channels, x.element_size())
    longest = samples if next_frequency is None else max(samples, next_dilation * rows(samples, next_dilation))
    with launching("the rest of a residual unit", x):
        _rest[triton.cdiv(longest, tile.BLOCK_N * tile.TILES) * triton.cdiv(channels, tile.BLOCK_C), batch](
            h,
            x,
            bias1,
            frequency,
            amplitude,
            weight2,
            bias2,
            shortcut,
            next_frequency,
            next_amplitude,
            y,
            next_y,
            samples,
            h.shape[2],
            next_y.shape[2],
            h.stride(2),
            *x.stride()[::2],
            C=channels,
            DILATION=dilation,
            NEXT_DILATION=next_dilation,
            STRIDE=0 if shortcut is None else samples // shortcut.shape[1],
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
    schema="(Tensor activated, Tensor x, Tensor weight1, int dilation, Tensor bias1, Tensor frequency, "
    "Tensor amplitude, Tensor weight2, Tensor bias2, Tensor? next_frequency, Tensor? next_amplitude, "
    "int next_dilation, bool has_sum, Tensor? shortcut) -> (Tensor, Tensor)",
)


def _outputs(x: Tensor, has_sum: bool, has_next: bool, next_dilation: int) -> tuple[Tensor, Tensor]:
    batch, channels, samples = x.shape
    return (
        x.new_empty((batch, samples if has_sum else 0, channels)).mT,
        x.new_empty((batch * next_dilation, rows(samples, next_dilation) if has_next else 0, channels)).mT,
    )


@unit_op.register_fake
def _(activated: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    next_frequency, _, next_dilation, has_sum, _ = rest[-5:]
    return _outputs(x, has_sum, next_frequency is not None, next_dilation)
