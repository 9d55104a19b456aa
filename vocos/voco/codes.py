"""Codes whose loudness travels beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ScaledCodes:
    """Codes of a codec that first brings the audio to one loudness, chunk by chunk, and the factors that undo that.

    All that `decode_codes` needs, and all that a file has to keep. The codes of the chunks follow each other in time;
    where each begins follows from the number of frames and the codec.

    Attributes:
        codes: int64 `[batch, frames, codebooks]`.
        scales: float32 `[batch, chunks]`, what the decoded audio of each chunk is multiplied by.
    """

    codes: Tensor
    scales: Tensor

    @property
    def shape(self) -> torch.Size:
        """Shape of the codes."""
        return self.codes.shape

    @property
    def dtype(self) -> torch.dtype:
        """Integer type of the codes."""
        return self.codes.dtype

    @property
    def device(self) -> torch.device:
        """Device of the codes."""
        return self.codes.device

    def to(self, device: torch.device | str) -> Self:
        """The same codes and scales on another device."""
        return type(self)(self.codes.to(device), self.scales.to(device))

    def codebooks(self, count: int) -> Self:
        """The codes of the first codebooks alone, which are a lower rate."""
        return type(self)(self.codes[..., :count], self.scales)

    books = codebooks  # the name of earlier releases

    def rows(self, index: slice | Tensor | list[int]) -> Self:
        """The codes and scales of some rows of the batch."""
        return type(self)(self.codes[index], self.scales[index])


def joined(pieces: Sequence[Any]) -> Any:
    """Codes that follow each other, `[1, n, n_codebooks]` each, or all a `ScaledCodes` of such, in one."""
    if not isinstance(pieces[0], ScaledCodes):
        return torch.cat(list(pieces), dim=1)
    codes = torch.cat([piece.codes for piece in pieces], dim=1)
    return ScaledCodes(codes, torch.cat([piece.scales for piece in pieces], dim=1))
