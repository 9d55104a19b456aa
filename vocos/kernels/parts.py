"""Long signals in parts, put together again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

MAPPED_BYTES = 1 << 25  # from here on, common allocators map memory anew at each call

Range: TypeAlias = tuple[int, int]


def in_parts(run: Callable[[Tensor, Range], Tensor], x: Tensor, outputs: int, part: int, step: int = 1) -> Tensor:
    """The outputs of all rows of x, about so many at a time: many short rows at once, or a part of a long row.

    Args:
        run: makes a range of the outputs of some rows.
        x: `[B, N, C]`.
        outputs: of a row.
        part: of them at a time, about.
        step: that a part of a row is a multiple of.
    """
    part = max(1, part)
    if x.shape[0] * outputs <= part:
        return run(x, (0, outputs)).contiguous()
    rows = max(1, part // outputs)
    part = -(-outputs // -(-outputs // part))  # of equal parts, the same number
    part = min(outputs, -(-part // step) * step)
    result: Tensor | None = None
    for row in range(0, x.shape[0], rows):
        for start in range(0, outputs, part):
            target = start, min(start + part, outputs)
            found = run(x[row : row + rows], target)
            if result is None:
                if found.shape[:2] == (x.shape[0], outputs):  # for a part is at least a step
                    return found.contiguous()
                result = roomy(x.shape[0], outputs, found.shape[2], found.dtype)
            result[row : row + rows, slice(*target)] = found
    assert result is not None  # noqa: S101  # for the type checker: a row has an output
    return result


def roomy(batch: int, length: int, channels: int, dtype: torch.dtype) -> Tensor:
    """An empty tensor; a large one by NumPy, which asks the system for large pages: it is then touched in less time."""
    size = batch * length * channels
    if size * dtype.itemsize < MAPPED_BYTES:
        return torch.empty(batch, length, channels, dtype=dtype, device="cpu")
    numbers = torch.from_numpy(np.empty(size * dtype.itemsize, np.uint8))
    return numbers.view(dtype).view(batch, length, channels)
