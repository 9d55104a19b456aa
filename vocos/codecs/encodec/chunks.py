"""Audio cut into pieces that overlap, each coded as if it were alone.

Source: Defossez et al., "High Fidelity Neural Audio Compression", arXiv 2210.13438, section 3.4 (48 kHz).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from vocos.nn.length import Length, at_least, at_most, ceil_div

AT_ONCE = 8  # pieces that go through the network together: the LSTM takes no longer for them; memory stays bounded


class Chunks(NamedTuple):
    """How audio is cut: a piece of `size` samples every `step`, the last one short, each with frames of its own.

        0         step      2 step
        [----- size -----]
                  [----- size -----]
                            [-- last --]

    A piece begins at every multiple of the step within the audio, so the last may be wholly inside the one before it.
    That one can be short too, but no other, for the step is at least half the size.
    """

    size: int
    step: int
    hop: int

    def frames(self, samples: Length) -> Length:
        """Frames of all pieces, each ceil(its samples / hop)."""
        before = ceil_div(samples, self.step) - 1  # pieces before the last
        last = ceil_div(samples - before * self.step, self.hop)
        short = ceil_div(at_most(samples - (before - 1) * self.step, self.size), self.hop)
        return last + (before > 0) * (short + (before - 1) * self._full)

    def samples(self, frames: Length) -> Length:
        """Samples up to the end of the last piece, whose frames are whole."""
        before = self._before(frames)
        return before * self.step + self.hop * self._last(frames, before)

    def pieces(self, samples: int) -> list[int]:
        """Samples of each piece."""
        return [min(self.size, samples - start) for start in range(0, samples, self.step)]

    def piece_frames(self, frames: int) -> list[int]:
        """Frames of each piece, given those of all."""
        before = self._before(frames)
        last = self._last(frames, before)
        earlier = [self._full] * (before - 1)
        return [*earlier, frames - last - sum(earlier), last] if before else [last]

    def encode(self, encode: Callable[[Tensor], Tensor], audio: Tensor) -> Tensor:
        """Apply a function to each piece, and join the frames in time.

        Shape: `[B, C, N]` -> `[B, D, frames(N)]`.
        """
        parts = []
        for first, count, size in _runs(self.pieces(audio.shape[-1])):
            starts = range(first * self.step, (first + count) * self.step, self.step)
            batch = torch.cat([audio[..., start : start + size] for start in starts])
            parts.append(rearrange(encode(batch), "(g b) d l -> b d (g l)", g=count))
        return torch.cat(parts, dim=-1)

    def decode(self, decode: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
        """Apply a function to the frames of each piece, and fade the pieces into each other, in float32.

        Every piece has the same triangular window, that of the first one, cut where the piece ends; the sum of the
        windowed pieces is divided by the sum of the windows.

        Shape: `[B, D, L]` -> `[B, C, N]`, N >= samples(L): the last piece but one may reach beyond the last.
        """
        frames = self.piece_frames(latents.shape[-1])
        end = max(i * self.step + self.hop * n for i, n in enumerate(frames))
        end_of_first = self.hop * frames[0] + 1
        rise = torch.arange(1, end_of_first, dtype=torch.float32, device=latents.device) / end_of_first
        window = 0.5 - (rise - 0.5).abs()
        total, weight = window, window.new_zeros(end)  # the former only until the first run
        for first, count, size in _runs(frames):
            start = sum(frames[:first])
            batch = rearrange(latents[..., start : start + count * size], "b d (g l) -> (g b) d l", g=count)
            pieces = rearrange(decode(batch).float(), "(g b) c n -> g b c n", g=count)
            if first == 0:
                total = pieces.new_zeros(*pieces.shape[1:3], end)
            for i, piece in enumerate(pieces, start=first):
                inside = slice(i * self.step, i * self.step + piece.shape[-1])
                fade = window[: piece.shape[-1]]
                total[..., inside] += piece * fade
                weight[inside] += fade
        return total / weight

    @property
    def _full(self) -> int:
        """Frames of a whole piece."""
        return ceil_div(self.size, self.hop)

    def _before(self, frames: Length) -> Length:
        """Pieces before the last. One piece alone is at most a step long, for then a second one begins."""
        return ceil_div(at_least(frames - ceil_div(self.step, self.hop), 0), self._full)

    def _last(self, frames: Length, before: Length) -> Length:
        """Frames of the last piece.

        The piece before it is a step longer, or full. With step = a hop + b (0 <= b < hop) and r frames in the last,
        the one before has a + r or a + r + 1, so that both have 2 r + a or 2 r + a + 1; or r + full once that is full.
        """
        both = frames - (before - 1) * self._full
        last = at_least(both - self._full, 1)
        last = last + at_least((both - self.step // self.hop) // 2 - last, 0)
        return (before > 0) * last + (before == 0) * frames


def _runs(sizes: list[int]) -> Iterator[tuple[int, int, int]]:
    """Runs of neighbouring pieces of one size, at most `AT_ONCE`, each as (index of the first, count, size)."""
    start = 0
    for size, group in itertools.groupby(sizes):
        end = start + len(list(group))
        for first in range(start, end, AT_ONCE):
            yield first, min(AT_ONCE, end - first), size
        start = end
