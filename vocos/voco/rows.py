"""Rows of different lengths in one rectangular tensor, padded on the right."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def prefixes(mask: Tensor, convert: Callable[[Tensor], Tensor], width: int) -> Tensor:
    """The mask of converted lengths: a row `[N]` with n times True at its start becomes `[width]` with convert(n)."""
    lengths = mask.sum(dim=1)
    converted = torch.where(lengths > 0, convert(lengths), 0)  # an empty row stays empty
    return torch.arange(width, device=mask.device) < converted[:, None]


def groups(lengths: list[int], most: int | None = None) -> Iterator[list[int]]:
    """Groups of rows of the same length, by position; a group has at most `most` samples in sum, or a single row."""
    same: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        same.setdefault(length, []).append(row)
    for length in sorted(same.keys() - {0}):
        rows = same[length]
        size = max(1, most // length) if most else len(rows)
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def by_length(function: Callable[[Tensor], Tensor], x: Tensor, lengths: list[int], width: int, channels: int) -> Tensor:
    """Apply a function to every row as if it were alone and not padded; rows of one length run together.

    Args:
        function: `[b, n, C]` -> `[b, m, channels]`.
        x: `[B, N, C]`.
        lengths: real length n of each row, without padding; a row of length 0 gives zeros.
        width: length of the result; longer rows are cut.
        channels: channels of the result.

    Returns:
        `[B, width, channels]`, zeros beyond the end of each row.
    """
    result: Tensor | None = None
    for rows in groups(lengths):
        found = function(x[rows, : lengths[rows[0]]])[:, :width]
        if result is None:
            result = found.new_zeros(x.shape[0], width, channels)
        result[rows, : found.shape[1]] = found
    return x.new_zeros(x.shape[0], width, channels) if result is None else result
