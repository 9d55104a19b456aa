"""Whole signals of any length in memory that does not grow with it: a long one goes piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from vocos.errors import UnsupportedOperation
from vocos.kernels import steps, stream
from vocos.kernels.cache import is_plain
from vocos.kernels.parts import roomy

# Samples of a piece at the highest rate, in all rows on a CPU, in each row on a GPU, which needs more to be busy. At 44
# kHz 12 and 95 seconds.
PIECE = 1 << 19
GPU_PIECE = 1 << 22


def whole(
    chain: Sequence[Any], x: Tensor, weights: Iterable[Tensor], rate: int = 1, result: Tensor | None = None
) -> Tensor:
    """Steps in a row on a whole signal: `[B, I, N]` -> `[B, O, length(N)]`.

    A long one is a stream in pieces, where nothing sees operations from outside: no compiler, autocast or gradients.

    Args:
        chain: the steps.
        x: the signal.
        weights: that the steps may use; with gradients for one of them the whole is run.
        rate: outputs for an input, where there are more outputs.
        result: memory for the outputs of a long signal, what a step may still read of it included: outputs are written
            to their place when they have been made, of all rows.
    """
    rows, n = x.shape[0], x.shape[-1]
    size = PIECE if x.device.type == "cpu" else GPU_PIECE * rows
    if rows * n * rate <= size or not _is_pieced(chain, x, weights):
        return steps.run(chain, x)
    rows_at_once = rows if result is not None else max(1, size // (n * rate))
    inputs = max(1, size // (rate * min(rows, rows_at_once)))
    total = steps.length(chain, n)
    for row in range(0, rows, rows_at_once):
        states, filled = stream.starts(chain), 0
        for start in range(0, n, inputs):
            piece = x[row : row + rows_at_once, :, start : start + inputs].mT
            y, states = stream.along(chain, piece, states, start + inputs >= n, stream.advance)
            if y is None:
                continue
            if result is None:
                result = _room(rows, total, y)
            result[row : row + rows_at_once, :, filled : filled + y.shape[1]] = y.mT
            filled += y.shape[1]
    assert result is not None  # noqa: S101 - for the type checker: a whole signal has outputs
    return result


def _room(rows: int, total: int, y: Tensor) -> Tensor:
    """Memory for outputs `[B, O, total]` like y, `[b, m, O]`."""
    if y.device.type == "cpu":
        return roomy(rows, total, y.shape[2], y.dtype).mT
    return y.new_empty(rows, total, y.shape[2]).mT


def _is_pieced(chain: Sequence[Any], x: Tensor, weights: Iterable[Tensor]) -> bool:
    """Whether a long signal may go in pieces."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None or not is_plain((x,)):
        return False
    if torch.is_autocast_enabled(x.device.type):
        return False
    if torch.is_grad_enabled() and (x.requires_grad or any(weight.requires_grad for weight in weights)):
        return False
    try:
        steps.final(chain, x.shape[-1])
    except UnsupportedOperation:  # a layer that can only be called on the whole
        return False
    return True
