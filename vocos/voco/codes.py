"""Codes: those whose loudness travels beside them, and those that other libraries lay out in another order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor

from vocos.errors import InvalidInput

AXES = ("batch", "frames", "codebooks")


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


def arrange_codes(codes: Any, axes: str = "codebooks frames") -> Tensor:
    """Codes of another library, in the order that `decode_codes` takes.

        arrange_codes(bark, "codebooks frames")                          # [8, frames], as of Bark
        arrange_codes(output.audio_codes[0], "batch codebooks frames")   # as of transformers
        arrange_codes(codes, "codebooks batch frames")                   # as of EnCodec's and Vocos's own quantisers

    Args:
        codes: integers, a tensor or an array.
        axes: names of their axes in order: "batch", "frames" and "codebooks"; without "batch" they are one clip.
            "books", the word of earlier releases, is read as "codebooks".

    Returns:
        int64 `[batch, frames, codebooks]`.

    Raises:
        InvalidInput: if there are other axes, or the codes are no integers.
    """
    names = ["codebooks" if name == "books" else name for name in axes.split()] if isinstance(axes, str) else []
    if sorted(names) not in (sorted(AXES), sorted(AXES[1:])):
        raise InvalidInput(
            "arrange_codes: expected axes as some order of 'batch frames codebooks' or 'frames codebooks', "
            f"got {axes!r}"
        )
    try:
        tensor = torch.as_tensor(codes, device=codes.device if isinstance(codes, Tensor) else "cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"arrange_codes: expected integers, got a {type(codes).__name__}: {error}") from error
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool:
        raise InvalidInput(f"arrange_codes: expected integers, got {tensor.dtype}")
    if tensor.ndim != len(names):
        raise InvalidInput(f"arrange_codes: {axes!r} are {len(names)} axes, the codes have {list(tensor.shape)}")
    batch = "batch" if "batch" in names else "1"
    return rearrange(tensor, f"{' '.join(names)} -> {batch} frames codebooks").long()
