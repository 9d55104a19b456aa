"""Rows of different lengths in one rectangular tensor, padded on the right."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def prefixes(mask: Tensor, convert: Callable[[Tensor], Tensor], width: int) -> Tensor:
    """The mask of converted lengths: bool `[B, N]`, as many True in a row as before padding -> bool `[B, width]`."""
    lengths = mask.sum(dim=1)
    converted = torch.where(lengths > 0, convert(lengths), 0)  # a row of nothing stays nothing
    return torch.arange(width, device=mask.device) < converted[:, None]


def groups(lengths: list[int], most: int | None = None) -> Iterator[list[int]]:
    """Positions of the rows of each length but 0, as many together as add up to `most`, or one if it is longer."""
    same: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        same.setdefault(length, []).append(row)
    for length in sorted(same.keys() - {0}):
        rows = same[length]
        size = max(1, most // length) if most else len(rows)
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def by_length(function: Callable[[Tensor], Tensor], x: Tensor, lengths: list[int], width: int, channels: int) -> Tensor:
    """Each row's result as if it were alone and not padded; rows of one length run together.

    Args:
        function: `[b, n, C]` -> `[b, m, channels]`.
        x: `[B, N, C]`.
        lengths: real length n of each row; a row of length 0 gives zeros.
        width: of the result; longer rows are cut.
        channels: of the result.

    Returns:
        `[B, width, channels]`, zeros beyond the end of each row.
    """
    result: Tensor | None = None
    for rows in groups(lengths):
        part = function(x[rows, : lengths[rows[0]]])[:, :width]
        if result is None:
            result = part.new_zeros(x.shape[0], width, channels)
        result[rows, : part.shape[1]] = part
    return x.new_zeros(x.shape[0], width, channels) if result is None else result
