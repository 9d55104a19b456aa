"""Audio cut into pieces that overlap, each coded as if it were alone.

Source: Defossez et al., "High Fidelity Neural Audio Compression", arXiv 2210.13438, section 3.4 (48 kHz).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from vocos.kernels import Piece, stream
from vocos.nn.length import Length, at_least, at_most, ceil_div
from vocos.voco.codes import ScaledCodes

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
        return last + (before > 0) * (short + (before - 1) * self.full)

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
        earlier = [self.full] * (before - 1)
        return [*earlier, frames - last - sum(earlier), last] if before else [last]

    @property
    def sure(self) -> int:
        """Frames from the start of a piece on, from which on it is known to be full, whatever comes."""
        return _sure(self)

    @property
    def full(self) -> int:
        """Frames of a whole piece."""
        return ceil_div(self.size, self.hop)

    def _before(self, frames: Length) -> Length:
        """Pieces before the last. One piece alone is at most a step long, for then a second one begins."""
        return ceil_div(at_least(frames - ceil_div(self.step, self.hop), 0), self.full)

    def _last(self, frames: Length, before: Length) -> Length:
        """Frames of the last piece.

        The piece before it is a step longer, or full. With step = a hop + b (0 <= b < hop) and r frames in the last,
        the one before has a + r or a + r + 1, so that both have 2 r + a or 2 r + a + 1; or r + full once that is full.
        """
        both = frames - (before - 1) * self.full
        last = at_least(both - self.full, 1)
        last = last + at_least((both - self.step // self.hop) // 2 - last, 0)
        return (before > 0) * last + (before == 0) * frames


@cache
def _sure(chunks: Chunks) -> int:
    unsure = [n for n in range(1, 3 * chunks.full) if chunks.piece_frames(n)[0] < chunks.full]
    return max(unsure, default=0) + 1


class EncodedChunks(NamedTuple):
    """A step that codes every piece alone, and joins the frames in time: `[B, C, N]` -> `[B, D, frames(N)]`.

    Attributes:
        chunks: how audio is cut.
        encode: what makes frames of a piece.
    """

    chunks: Chunks
    encode: Callable[[Tensor], Tensor]

    @property
    def period(self) -> tuple[int, int]:
        """A step from one piece to the next."""
        return self.chunks.step, self.chunks.full

    def __call__(self, audio: Tensor) -> Tensor:
        """The frames of a whole signal."""
        return self._frames(audio, self.chunks.pieces(audio.shape[-1]))

    def start(self) -> Piece:
        """The audio from the start of the next piece on, `[B, n, C]`."""
        return None

    def most(self, state: Piece) -> int:
        """Numbers of the audio that a piece can lack the end of."""
        return 0 if state is None else (self.chunks.size - 1) * state.shape[0] * state.shape[2]

    def advance(self, x: Piece, state: Piece, is_last: bool) -> tuple[Piece, Piece]:
        """The frames of the pieces that are whole now, of a piece of the signal more."""
        audio = _after(state, x)
        if audio is None:
            return None, None
        n, size, step = audio.shape[1], self.chunks.size, self.chunks.step
        pieces = self.chunks.pieces(n) if is_last else [size] * ((n - size) // step + 1 if n >= size else 0)
        frames = self._frames(audio.mT, pieces).mT if pieces else None
        return frames, None if is_last else stream.own(audio, len(pieces) * step)

    def _frames(self, audio: Tensor, pieces: list[int]) -> Tensor:
        parts = []
        for first, count, size in _runs(pieces):
            starts = range(first * self.chunks.step, (first + count) * self.chunks.step, self.chunks.step)
            batch = torch.cat([audio[..., start : start + size] for start in starts])
            parts.append(rearrange(self.encode(batch), "(g b) d l -> b d (g l)", g=count))
        return torch.cat(parts, dim=-1)

    def length(self, n: int) -> int:
        """Frames of all pieces."""
        return self.chunks.frames(n)

    def final(self, n: int) -> int:
        """Frames of the pieces that are whole."""
        size, step = self.chunks.size, self.chunks.step
        return self.chunks.full * ((n - size) // step + 1) if n >= size else 0


class Fading(NamedTuple):
    """What `DecodedChunks` keeps: frames of pieces to come, their scales, and what the last piece has past its step.

    Attributes:
        frames: `[B, n, D]`.
        scales: `[B, pieces]`, of codes.
        total: windowed audio, `[B, C, n]`, once there was a piece.
        weight: its windows, `[B, 1, n]`.
    """

    frames: Piece = None
    scales: Piece = None
    total: Piece = None
    weight: Piece = None


class DecodedChunks(NamedTuple):
    """A step that decodes the frames of each piece alone, and fades the pieces into each other, in float32.

    Every piece has the same triangular window, that of the first one, cut where the piece ends; the sum of the windowed
    pieces is divided by the sum of the windows.

    Shape: `[B, D, L]` -> `[B, C, N]`, N >= samples(L): the last piece but one may reach beyond the last.

    Attributes:
        chunks: how audio was cut.
        decode: what makes audio of the frames of a piece, and of its scales, `[B]`, if there are any.
    """

    chunks: Chunks
    decode: Callable[[Tensor, Tensor | None], Tensor]

    @property
    def period(self) -> tuple[int, int]:
        """A piece."""
        return self.chunks.full, self.chunks.step

    def __call__(self, frames: Tensor | ScaledCodes) -> Tensor:
        """The audio of a whole signal, of frames or of codes `[B, L, K]` with their scales."""
        whole = frames if isinstance(frames, ScaledCodes) else frames.mT
        audio, _ = self.advance(whole, Fading(), True)
        assert audio is not None  # noqa: S101 - for the type checker
        return audio.mT

    def start(self) -> Fading:
        """Nothing."""
        return Fading()

    def most(self, state: Fading) -> int:
        """Numbers of the frames that a piece can lack the end of, and of what the last piece has past its step."""
        frames = 0 if state.frames is None else (self.chunks.sure - 1) * state.frames.shape[0] * state.frames.shape[2]
        return frames + sum(part.numel() for part in state[1:] if part is not None)

    def advance(self, x: Piece | ScaledCodes, state: Fading, is_last: bool) -> tuple[Piece, Fading]:
        """The audio that is final now, of a piece of the signal more, `[B, n, D]`."""
        codes, scales = (x.codes, x.scales) if isinstance(x, ScaledCodes) else (x, None)
        frames, scales = _after(state.frames, codes), _after(state.scales, scales)
        if frames is None:
            return None, state
        n, full, sure = frames.shape[1], self.chunks.full, self.chunks.sure
        pieces = self.chunks.piece_frames(n) if is_last else [full] * ((n - sure) // full + 1 if n >= sure else 0)
        if not pieces:
            return None, Fading(frames, scales, *state[2:])
        total, weight = self._faded(frames, scales, pieces, state)
        end = total.shape[-1] if is_last else len(pieces) * self.chunks.step
        audio = (total[..., :end] / weight[..., :end]).mT
        if is_last:
            return audio, Fading()
        rest = None if scales is None else stream.own(scales, len(pieces))
        tails = (stream.own(part.mT, end).mT for part in (total, weight))
        return audio, Fading(stream.own(frames, sum(pieces)), rest, *tails)

    def _faded(self, frames: Tensor, scales: Piece, pieces: list[int], state: Fading) -> tuple[Tensor, Tensor]:
        """Windowed audio `[B, C, n]` of some pieces and of the one before, and the sum of the windows."""
        hop, step = self.chunks.hop, self.chunks.step
        end = max(i * step + hop * n for i, n in enumerate(pieces))
        first_end = hop * (pieces[0] if state.total is None else self.chunks.full) + 1
        rise = torch.arange(1, first_end, dtype=torch.float32, device=frames.device) / first_end
        window = 0.5 - (rise - 0.5).abs()
        total: Piece = None
        weight = window.new_zeros(frames.shape[0], 1, end)
        for first, count, size in _runs(pieces):
            start = sum(pieces[:first])
            batch = rearrange(frames[:, start : start + count * size], "b (g l) d -> (g b) d l", g=count)
            own = None if scales is None else rearrange(scales[:, first : first + count], "b g -> (g b)")
            audio = rearrange(self.decode(batch, own).float(), "(g b) c n -> g b c n", g=count)
            if total is None:
                total = audio.new_zeros(*audio.shape[1:3], end)
            for i, piece in enumerate(audio, start=first):
                inside = slice(i * step, i * step + piece.shape[-1])
                fade = window[: piece.shape[-1]]
                total[..., inside] += piece * fade
                weight[..., inside] += fade
        assert total is not None  # noqa: S101 - for the type checker
        if state.total is not None and state.weight is not None:
            before = slice(0, state.total.shape[-1])
            total[..., before] += state.total
            weight[..., before] += state.weight
        return total, weight

    def length(self, n: int) -> int:
        """Up to where the last pieces end."""
        pieces = self.chunks.piece_frames(n)
        return max(i * self.chunks.step + self.chunks.hop * size for i, size in enumerate(pieces))

    def final(self, n: int) -> int:
        """Up to the start of the first piece that is not known to be full."""
        sure = self.chunks.sure
        return self.chunks.step * ((n - sure) // self.chunks.full + 1) if n >= sure else 0


def _after(before: Piece, x: Piece) -> Piece:
    """What was kept and what comes after it, `[B, n, ...]`."""
    if before is None or x is None:
        return before if x is None else x
    return torch.cat([before, x], dim=1)


def _runs(sizes: list[int]) -> Iterator[tuple[int, int, int]]:
    """Runs of neighbouring pieces of one size, at most `AT_ONCE`, each as (index of the first, count, size)."""
    start = 0
    for size, group in itertools.groupby(sizes):
        end = start + len(list(group))
        for first in range(start, end, AT_ONCE):
            yield first, min(AT_ONCE, end - first), size
        start = end
