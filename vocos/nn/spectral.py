"""Short-time Fourier transforms, always in float32, whatever the dtype of the module.

Two paddings put the frames of a transform of size n_fft at multiples of the hop:

    center   ....[-- n_fft --]             n_fft/2 beyond each end: N // hop + 1 frames; a frame is centred on its
                 |audio|                   multiple of the hop. Back: (L - 1) hop samples.
    same     ...[-- n_fft --]              (n_fft - hop)/2 beyond each end: N // hop frames; a frame is centred on its
                |audio|                    hop. Back: L hop samples.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocos.kernels import Constant
from vocos.kernels.steps import Range
from vocos.nn.length import Length

CPU = torch.device("cpu")
ENVELOPE_FLOOR = 0.1  # below, dividing by the window envelope magnifies errors too much to call the result audio


def in_float32(device: torch.device) -> AbstractContextManager[Any]:
    """Within it, autocast leaves numbers alone; the meta device has no autocast."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


@dataclass(frozen=True)
class Framing:
    """How frames lie on samples, and the lengths that follow.

    Args:
        n_fft: samples of a frame, even.
        hop_length: samples from one frame to the next.
        padding: "center" or "same".
    """

    n_fft: int
    hop_length: int
    padding: str

    def problem(self) -> str | None:
        """The reason why these numbers make no transform; None if they do."""
        if self.padding not in ("center", "same"):
            return f"padding {self.padding!r} is neither 'center' nor 'same'"
        if self.n_fft % 2 or (self.padding == "same" and self.hop_length % 2):
            return f"n_fft {self.n_fft} with hop_length {self.hop_length}: padding {self.padding!r} cannot be halved"
        if 2 * self.hop_length > self.n_fft:
            return f"hop_length {self.hop_length} is more than half of n_fft {self.n_fft}: frames must overlap"
        return None

    @property
    def pad(self) -> int:
        """Samples that the first frame reaches before the first sample."""
        return self.n_fft // 2 if self.padding == "center" else (self.n_fft - self.hop_length) // 2

    @property
    def minimum_samples(self) -> int:
        """The fewest samples that can be framed: a reflection is shorter than the signal, and there is a frame."""
        return max(self.pad + 1, 1 if self.padding == "center" else self.hop_length)

    @property
    def minimum_frames(self) -> int:
        """The fewest frames from which a sample can be made."""
        return 2 if self.padding == "center" else 1

    def frames(self, samples: Length) -> Length:
        """Frames of a number of samples."""
        return samples // self.hop_length + (1 if self.padding == "center" else 0)

    def samples(self, frames: Length) -> Length:
        """Samples of a number of frames."""
        return (frames - (1 if self.padding == "center" else 0)) * self.hop_length


def hann_window(n_fft: int) -> Tensor:
    """Periodic Hann window 0.5 - 0.5 cos(2 pi k / n_fft), `[n_fft]`, float32, on the CPU."""
    return torch.hann_window(n_fft, periodic=True, dtype=torch.float32, device="cpu")


class Framed(NamedTuple):
    """A step that makes a frame of every window of the signal. Shape: `[B, I, N]` -> `[B, O, (N - size) // hop + 1]`.

    Attributes:
        function: makes frames of the windows that lie inside of a signal.
        size: samples of a window.
        hop: samples from one to the next.
    """

    function: Callable[[Tensor], Tensor]
    size: int
    hop: int

    @property
    def period(self) -> Range:
        """A hop."""
        return self.hop, 1

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The frames of the windows."""
        return self.function(x)

    def length(self, n: int) -> int:
        """Windows that fit."""
        return (n - self.size) // self.hop + 1

    def final(self, n: int) -> int:
        """The same."""
        return max(0, self.length(n))

    def span(self, start: int, stop: int) -> Range:
        """From the first window to the last."""
        return start * self.hop, (stop - 1) * self.hop + self.size


def stft(audio: Tensor, window: Tensor, framing: Framing) -> Tensor:
    """One-sided Fourier coefficients of windowed frames, without scaling; the audio is reflected at its ends.

    Shape: `[B, N]` -> `[B, frames(N), n_fft/2 + 1]`, complex.
    """
    padded = F.pad(audio[:, None], (framing.pad, framing.pad), mode="reflect")[:, 0]
    return unpadded_stft(padded, window, framing.hop_length)


def unpadded_stft(audio: Tensor, window: Tensor, hop: int) -> Tensor:
    """One-sided Fourier coefficients of the windowed frames that lie inside the audio.

    Shape: `[B, N]` -> `[B, (N - n_fft) // hop + 1, n_fft/2 + 1]`, complex.
    """
    return torch.stft(audio, len(window), hop, window=window, center=False, return_complex=True).mT


class InverseSTFT(nn.Module):
    """Overlap-add of windowed frames, divided by the overlap-add of the squared window.

    Shape: spectrum `[B, L, n_fft/2 + 1]`, complex -> `[B, samples(L)]`; up to `tail` more when asked for.
    """

    def __init__(self, framing: Framing) -> None:
        super().__init__()
        self.framing = framing
        self.constant_window = Constant(partial(hann_window, framing.n_fft))
        # Past the last sample of a centred transform the last frame still sounds, under a falling window.
        after = self.window[framing.n_fft // 2 :][: framing.hop_length].square() >= ENVELOPE_FLOOR
        self.tail = int(after.sum()) if framing.padding == "center" else 0

    @property
    def window(self) -> Tensor:
        """`[n_fft]`, float32, on the CPU."""
        return self.constant_window.on(CPU)

    def forward(self, spectrum: Tensor, length: int | None = None) -> Tensor:
        """Audio of a spectrum.

        Args:
            spectrum: complex64 `[B, L, n_fft/2 + 1]`.
            length: samples wanted; None for all samples but the tail.

        Returns:
            `[B, samples]`: `length` of them, or fewer if the frames do not reach so far.
        """
        return self.joined(self.frames(spectrum), length)

    def frames(self, spectrum: Tensor) -> Tensor:
        """Windowed frames, each by itself: `[B, L, n_fft/2 + 1]` -> `[B, L, n_fft]`."""
        return windowed_frames(spectrum, self.constant_window.on(spectrum.device))

    def step(self) -> Overlapped:
        """`joined` as a step, with the tail: `[B, n_fft, L]` -> `[B, 1, samples(L) + tail]`."""
        return Overlapped(self.constant_window, self.framing, self.tail)

    def joined(self, frames: Tensor, length: int | None = None) -> Tensor:
        """Audio of frames: `[B, L, n_fft]` -> `[B, samples]`, as `forward`."""
        samples = self.framing.samples(frames.shape[1])
        if length is not None:
            samples = min(length, samples + self.tail)
        return overlap_added(frames, self.constant_window.on(frames.device), self.framing, samples)


class Overlapped(NamedTuple):
    """A step that adds up windowed frames; a sample is a sum of all frames that reach it, in float32.

    Shape: `[B, n_fft, L]` -> `[B, 1, samples(L) + tail]`.
    """

    window: Constant
    framing: Framing
    tail: int

    @property
    def period(self) -> Range:
        """A frame."""
        return 1, self.framing.hop_length

    def part(self, x: Tensor, n: int, source: Range, target: Range) -> Tensor:
        """The samples that the frames reach."""
        with in_float32(x.device):
            first = source[0] * self.framing.hop_length - self.framing.pad
            inside = slice(target[0] - first, target[1] - first)
            return _overlap_added(x.mT, self.window.on(x.device), self.framing.hop_length, inside)[:, None]

    def length(self, n: int) -> int:
        """With what the last frame has past its centre."""
        return self.framing.samples(n) + self.tail

    def final(self, n: int) -> int:
        """Up to where the next frame begins."""
        return max(0, n * self.framing.hop_length - self.framing.pad)

    def span(self, start: int, stop: int) -> Range:
        """The frames that reach these samples."""
        pad, hop = self.framing.pad, self.framing.hop_length
        return (start + pad - self.framing.n_fft) // hop + 1, (stop - 1 + pad) // hop + 1


def windowed_frames(spectrum: Tensor, window: Tensor) -> Tensor:
    """Frames of a spectrum, each by itself: `[B, L, n_fft/2 + 1]` -> `[B, L, n_fft]`."""
    return torch.fft.irfft(spectrum, dim=-1) * window


def overlap_added(frames: Tensor, window: Tensor, framing: Framing, samples: int) -> Tensor:
    """Samples of windowed frames, divided by the envelope of the squared window: `[B, L, n_fft]` -> `[B, samples]`."""
    return _overlap_added(frames, window, framing.hop_length, slice(framing.pad, framing.pad + samples))


def _overlap_added(frames: Tensor, window: Tensor, hop: int, inside: slice) -> Tensor:
    envelope = overlapped(window.square().expand(1, frames.shape[1], -1), hop)
    return overlapped(frames, hop)[:, inside] / envelope[:, inside]


def overlapped(frames: Tensor, hop: int) -> Tensor:
    """Sum of frames placed every `hop` samples: `[B, L, n]` -> `[B, (L - 1) hop + ceil(n / hop) hop]`.

    Each frame is cut into pieces of a hop. Piece p of frame j lands on hop j + p, so the sum over p of the pieces
    p of all frames, each shifted by p hops, is the answer (here 4 pieces):

        hop      0  1  2  3  4
        frame 0  0  1  2  3
        frame 1     0  1  2  3
    """
    batch, n_frames, size = frames.shape
    pieces = -(-size // hop)
    whole = frames if size == pieces * hop else F.pad(frames, (0, pieces * hop - size))  # which would copy them
    cut = whole.reshape(batch, n_frames, pieces, hop)
    total = frames.new_zeros(batch, n_frames + pieces - 1, hop)
    for piece in range(pieces):
        total[:, piece : piece + n_frames] += cut[:, :, piece]
    return total.reshape(batch, -1)
