"""Snake and Snake-beta in one pass over memory, forward and backward, for GPUs.

Memory traffic, in tensors of the size of x; what eager PyTorch moves is in brackets:

    forward     read x, write y                    2  [9: product, sine, square, and the sum of three]
    backward    read x and the gradient, write dx  3  [about 20]

The parameters are `[C]` and count for nothing. If they want gradients, the backward pass adds two float32 sums per
channel and time tile: 8 bytes to 16 elements or more.

Both operations are one: x + amplitude sin(frequency x)^2, whose coefficients come from `reference`. They are made of
`[C]` tensors by PyTorch, so that their limits and the gradients of the parameters are those of the definition.

The sine is good to the last places of float32 for every argument. The hardware's (`sin.approx`) is not used: its
absolute error grows with the argument. libdevice's, which `tl.sin` becomes, is used in the backward pass and for large
arguments: it takes 37 instructions an element, and a branch that lets one element at a time through, and memory is
faster than that in 2-byte types. `sine_squared` takes 23, without one (counted in the code for sm_90, whole kernel).

It is a `torch.library.custom_op`, not a `triton_op`: the latter refuses kernels in Triton's interpreter, by which this
file is tested on the CPU. Both keep one graph under `torch.compile` from torch 2.6 on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.kernels import reference

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MAX_BATCH = 65535  # the second axis of a grid
TILE = 4096  # elements of a program: 32 a thread, so that loads of 16 bytes are in flight while sines are computed


@triton.jit
def _locate(C, BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr):
    """Batch index, channels and samples of this program, in 64 bits, for a tensor may have 2^31 elements and more."""
    tiles_c = tl.cdiv(C, BLOCK_C)
    c = (tl.program_id(0) % tiles_c).to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = (tl.program_id(0) // tiles_c).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    return tl.program_id(1).to(tl.int64), c, n


@triton.jit
def sine_squared(t):
    """sin(t)^2 of a tile in float32, with an error below 3e-7: the square of a sine rounded to float32 has 1.2e-7.

    The period of the square is pi, so that one polynomial does: t is taken to [-pi/2, pi/2] by subtracting
    round(t / pi) times pi in three parts; the products with the first two are exact up to the limit. A NaN stays one.
    """
    if tl.max(tl.abs(t)) > 25000:
        sine = tl.sin(t)
    else:
        k = (t * 0.31830988618379067 + 12582912.0) - 12582912.0  # round(t / pi): float32 has no fractions at 1.5 2^23
        r = t - k * 3.140625
        r = r - k * 9.67502593994140625e-4
        r = r - k * 1.5099579909783e-7
        z = r * r
        q = -1.66666582e-01 + z * (8.33303481e-03 + z * (-1.98071590e-04 + z * 2.60017055e-06))
        sine = r + r * z * q
    return sine * sine


@triton.jit
def activate(x, frequency, amplitude, IS_WIDE: tl.constexpr):
    """x + amplitude sin(frequency x)^2 of a tile in float32; good to float32 if it is wide, else to 2-byte types.

    If not, the argument is counted in half turns, r = frequency x / pi less the nearest integer, and the square is
    z P(z) of z = r^2, interpolated at the Chebyshev nodes of [0, 1/4]: within 1.6e-6, relative too. Half of a unit in
    the last place of float16 is 2.4e-4. Arguments from 2^22 half turns on have no fraction left; the bound keeps
    their squares small. A NaN stays one.
    """
    if IS_WIDE:
        return x + amplitude * sine_squared(frequency * x)
    else:
        turns = frequency * 0.31830988618379067
        k = (x * turns + 12582912.0) - 12582912.0
        r = x * turns - k
        z = tl.minimum(r * r, 0.25, propagate_nan=tl.PropagateNan.ALL)
        q = 9.8695978 + z * (-32.468379 + z * (42.685995 + z * (-29.641106 + z * 10.949330)))
        return x + amplitude * (z * q)


@triton.jit
def _forward(
    x,
    frequency,
    amplitude,
    bias,
    y,
    C,
    N,
    x_b,
    x_c,
    x_n,
    y_b,
    y_c,
    y_n,
    HAS_BIAS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    b, c, n = _locate(C, BLOCK_C, BLOCK_N)
    mask = (c < C)[:, None] & (n < N)[None, :]
    f = tl.load(frequency + c, mask=c < C, other=0.0)[:, None]
    a = tl.load(amplitude + c, mask=c < C, other=0.0)[:, None]
    value = tl.load(x + b * x_b + c[:, None] * x_c + n[None, :] * x_n, mask=mask, other=0.0).to(tl.float32)
    if HAS_BIAS:
        value += tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)[:, None]
    result = activate(value, f, a, x.dtype.element_ty == tl.float32)
    tl.store(y + b * y_b + c[:, None] * y_c + n[None, :] * y_n, result.to(y.dtype.element_ty), mask=mask)


@triton.jit
def _backward(
    grad,
    x,
    frequency,
    amplitude,
    dx,
    sums,
    rows,
    C,
    N,
    grad_b,
    grad_c,
    grad_n,
    x_b,
    x_c,
    x_n,
    dx_b,
    dx_c,
    dx_n,
    HAS_SUMS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    b, c, n = _locate(C, BLOCK_C, BLOCK_N)
    mask = (c < C)[:, None] & (n < N)[None, :]
    f = tl.load(frequency + c, mask=c < C, other=0.0)[:, None]
    a = tl.load(amplitude + c, mask=c < C, other=0.0)[:, None]
    value = tl.load(x + b * x_b + c[:, None] * x_c + n[None, :] * x_n, mask=mask, other=0.0).to(tl.float32)
    g = tl.load(grad + b * grad_b + c[:, None] * grad_c + n[None, :] * grad_n, mask=mask, other=0.0).to(tl.float32)
    sine = tl.sin(f * value)
    slope = 2 * sine * tl.cos(f * value)
    tl.store(
        dx + b * dx_b + c[:, None] * dx_c + n[None, :] * dx_n,
        (g * (1 + a * f * slope)).to(dx.dtype.element_ty),
        mask=mask,
    )
    if HAS_SUMS:  # one row per batch index and time tile, added up later in a fixed order: no atomics
        row = b * tl.cdiv(N, BLOCK_N) + tl.program_id(0) // tl.cdiv(C, BLOCK_C)
        to_frequency = tl.sum(g * value * slope, axis=1)
        to_amplitude = tl.sum(g * sine * sine, axis=1)
        tl.store(sums + row * C + c, to_frequency, mask=c < C)
        tl.store(sums + (row + rows) * C + c, to_amplitude, mask=c < C)


# Whether Triton's interpreter runs the kernels, on the CPU: TRITON_INTERPRET was set when this was imported.
IS_INTERPRETED = not isinstance(_forward, triton.runtime.JITFunction)


@contextmanager
def launching(kernel: str, x: Tensor) -> Iterator[None]:
    """Around the launch of a kernel for x, on its device. What fails there has no other engine to hide it.

    Raises:
        UnsupportedOperation: if the kernel cannot be compiled for the device, or does not fit it.
    """
    with torch.cuda.device_of(x):
        try:
            yield
        except Exception as error:
            name = torch.cuda.get_device_name(x.device) if x.is_cuda else str(x.device)
            raise UnsupportedOperation(
                f"the kernel of {kernel} failed for {list(x.shape)} {x.dtype} on {name}, torch {torch.__version__}, "
                f"triton {triton.__version__}: {error}; set VOCOS_KERNELS=reference, and please report this message"
            ) from error


def supports(x: Tensor, *parameters: Tensor) -> bool:
    """Whether `snake` or `snake_beta` can run here on these arguments."""
    return (
        (x.is_cuda or IS_INTERPRETED)
        and x.dtype in DTYPES
        and x.dim() == 3
        and x.shape[0] <= MAX_BATCH
        and all(p.shape == (1, x.shape[1], 1) and p.device == x.device and p.is_floating_point() for p in parameters)
    )


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """`reference.snake`, with float32 inside whatever the dtype; any strides, which the result keeps.

    Raises:
        InvalidInput: if `supports` says no.
    """
    return periodic(x, alpha)


def snake_beta(x: Tensor, log_alpha: Tensor, log_beta: Tensor) -> Tensor:
    """`reference.snake_beta`, with float32 inside whatever the dtype; any strides, which the result keeps.

    Raises:
        InvalidInput: if `supports` says no.
    """
    return periodic(x, log_alpha, log_beta)


def periodic(x: Tensor, alpha: Tensor, beta: Tensor | None = None) -> Tensor:
    """`snake_beta`, or `snake` without `beta`. Raises as they do."""
    parameters = [alpha] if beta is None else [alpha, beta]
    if not supports(x, *parameters):
        raise InvalidInput(
            "snake: expected [B, C, N] in float32, float16 or bfloat16 on a GPU and parameters [1, C, 1] beside it, "
            f"got {list(x.shape)} {x.dtype} on {x.device} and {[list(p.shape) for p in parameters]}; "
            "use kernels.reference"
        )
    return periodic_op(x, *coefficients(alpha, beta, x.dtype))


def coefficients(alpha: Tensor, beta: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Those of `reference`, as the kernels take them: `[C]`, float32, contiguous."""
    frequency, amplitude = reference.wide_coefficients(alpha, beta, dtype)
    return frequency.reshape(-1).float().contiguous(), amplitude.reshape(-1).float().contiguous()


def _tile(x: Tensor) -> dict[str, int]:
    """Sides of a tile, long along the axis that is contiguous in memory."""
    channels, samples = (triton.next_power_of_2(size) for size in x.shape[1:])
    if x.stride(1) < x.stride(2):
        divisor = x.shape[1] & -x.shape[1]  # the largest power of two that divides the channels: no idle lanes
        block_c = min(divisor if divisor >= 32 else channels, 256)
        return {"BLOCK_C": block_c, "BLOCK_N": min(samples, TILE // block_c)}
    block_n = min(samples, 1024)
    return {"BLOCK_C": min(channels, TILE // block_n), "BLOCK_N": block_n}


def _grid(x: Tensor, tile: dict[str, int]) -> tuple[int, int]:
    batch, channels, samples = x.shape
    return triton.cdiv(channels, tile["BLOCK_C"]) * triton.cdiv(samples, tile["BLOCK_N"]), batch


def launch(x: Tensor, frequency: Tensor, amplitude: Tensor, bias: Tensor | None = None) -> Tensor:
    """x + amplitude sin(frequency x)^2, of x + bias if there is one. Checks nothing, gives no gradients.

    Shape: x `[B, C, N]`, the rest `[C]` -> `[B, C, N]`.
    """
    y = torch.empty_like(x)
    if x.numel():
        tile = _tile(x)
        sizes = (*x.shape[1:], *x.stride(), *y.stride())
        with launching("the snake", x):
            _forward[_grid(x, tile)](x, frequency, amplitude, bias, y, *sizes, HAS_BIAS=bias is not None, **tile)
    return y


periodic_op = torch.library.custom_op(
    "vocos::periodic", launch, mutates_args=(), schema="(Tensor x, Tensor frequency, Tensor amplitude) -> Tensor"
)


@torch.library.custom_op(
    "vocos::periodic_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor x, Tensor frequency, Tensor amplitude, bool has_sums) -> (Tensor, Tensor)",
)
def backward_op(grad: Tensor, x: Tensor, frequency: Tensor, amplitude: Tensor, has_sums: bool) -> tuple[Tensor, Tensor]:
    """The gradients of x, `[B, C, N]`, and, if `has_sums`, of frequency and amplitude, `[2, C]`."""
    dx, to_parameters = _like(grad, x, frequency, amplitude, has_sums)
    if not x.numel():
        return dx, to_parameters.zero_()
    tile = _tile(x)
    rows = x.shape[0] * triton.cdiv(x.shape[2], tile["BLOCK_N"])
    sums = x.new_empty((2, rows if has_sums else 0, x.shape[1]), dtype=torch.float32)
    strides = (*grad.stride(), *x.stride(), *dx.stride())
    with launching("the snake's gradients", x):
        _backward[_grid(x, tile)](
            grad, x, frequency, amplitude, dx, sums, rows, *x.shape[1:], *strides, HAS_SUMS=has_sums, **tile
        )
    if has_sums:
        torch.sum(sums, dim=1, out=to_parameters)
        to_parameters[0] *= amplitude
    return dx, to_parameters


@periodic_op.register_fake
def _(x: Tensor, frequency: Tensor, amplitude: Tensor) -> Tensor:
    return torch.empty_like(x)


@backward_op.register_fake
def _like(grad: Tensor, x: Tensor, frequency: Tensor, amplitude: Tensor, has_sums: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), frequency.new_empty((2, frequency.shape[0] if has_sums else 0))


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    has_sums = any(ctx.needs_input_grad[1:])
    dx, to_parameters = backward_op(grad, *ctx.saved_tensors, has_sums)
    return (dx, to_parameters[0], to_parameters[1]) if has_sums else (dx, None, None)


periodic_op.register_autograd(_gradients, setup_context=_save)
