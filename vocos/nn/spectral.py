"""Short-time Fourier transforms and mel filters, always in float32, whatever the dtype of the module.

Two paddings put the frames of a transform of size n_fft at multiples of the hop:

    center   ....[-- n_fft --]             n_fft/2 beyond each end: N // hop + 1 frames; a frame is centred on its
                 |audio|                   multiple of the hop. Back: (L - 1) hop samples.
    same     ...[-- n_fft --]              (n_fft - hop)/2 beyond each end: N // hop frames; a frame is centred on its
                |audio|                    hop. Back: L hop samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocos.kernels import Constant
from vocos.nn.length import Length

CPU = torch.device("cpu")
LOG_FLOOR = 1e-7  # of the mel magnitudes, before the logarithm: -16.118
ENVELOPE_FLOOR = 0.1  # below, dividing by the window envelope magnifies errors too much to call the result audio

# Slaney's scale: 15 steps of 200/3 Hz up to 1 kHz, then 27 steps for each factor of 6.4.
SLANEY_LINEAR_HZ = 200.0 / 3.0
SLANEY_KNEE_HZ = 1000.0
SLANEY_KNEE = SLANEY_KNEE_HZ / SLANEY_LINEAR_HZ
SLANEY_STEP = math.log(6.4) / 27.0


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


@dataclass(frozen=True)
class MelScale:
    """Triangular filters between points that are equally spaced on a mel scale.

    Args:
        sampling_rate: of the audio, in Hz.
        n_mels: number of filters.
        f_min: lowest frequency, in Hz.
        f_max: highest frequency, in Hz; 0 for half the sampling rate.
        scale: "htk", m = 2595 log10(1 + f/700), or "slaney", linear up to 1 kHz and logarithmic above.
        norm: "none", or "slaney" for triangles of equal area.

    Source: HTK Book, section 5.4; Slaney, "Auditory Toolbox", Interval Research TR 1998-010.
    """

    sampling_rate: int
    n_mels: int
    f_min: float = 0.0
    f_max: float = 0.0
    scale: str = "htk"
    norm: str = "none"

    def problem(self) -> str | None:
        """The reason why these numbers make no filters; None if they do."""
        if self.scale not in ("htk", "slaney") or self.norm not in ("none", "slaney"):
            return f"mel_scale {self.scale!r} with norm {self.norm!r}"
        if not 0 <= self.f_min < self.top_hz <= self.sampling_rate / 2:
            return f"mel filters from {self.f_min} to {self.top_hz} Hz at {self.sampling_rate} Hz"
        return None

    @property
    def top_hz(self) -> float:
        """Highest frequency."""
        return self.f_max or float(self.sampling_rate // 2)

    def filters(self, n_fft: int) -> Tensor:
        """The filters for a transform of this size: `[n_fft / 2 + 1, n_mels]`, float32, on the CPU.

        Evaluated in float32 step by step, which gives the buffer of the published checkpoints to float rounding.
        """
        corners_hz = self.corners_hz()
        nyquist_hz = float(self.sampling_rate // 2)
        bins_hz = torch.linspace(0.0, nyquist_hz, n_fft // 2 + 1, dtype=torch.float32, device="cpu")
        width = corners_hz[1:] - corners_hz[:-1]
        distance = corners_hz[None, :] - bins_hz[:, None]
        rising = -distance[:, :-2] / width[:-1]
        falling = distance[:, 2:] / width[1:]
        triangles = torch.minimum(rising, falling).clamp(min=0.0)
        return triangles * (2.0 / (corners_hz[2:] - corners_hz[:-2])) if self.norm == "slaney" else triangles

    def corners_hz(self) -> Tensor:
        """Where the triangles begin, peak and end: `[n_mels + 2]` frequencies, float32, on the CPU."""
        bottom, top = self._mel(self.f_min), self._mel(self.top_hz)
        return self._hz(torch.linspace(bottom, top, self.n_mels + 2, dtype=torch.float32, device="cpu"))

    def _mel(self, hz: float) -> float:
        if self.scale == "htk":
            return 2595.0 * math.log10(1.0 + hz / 700.0)
        return (
            hz / SLANEY_LINEAR_HZ if hz < SLANEY_KNEE_HZ else SLANEY_KNEE + math.log(hz / SLANEY_KNEE_HZ) / SLANEY_STEP
        )

    def _hz(self, mels: Tensor) -> Tensor:
        if self.scale == "htk":
            return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
        above = SLANEY_KNEE_HZ * torch.exp(SLANEY_STEP * (mels - SLANEY_KNEE))
        return torch.where(mels < SLANEY_KNEE, SLANEY_LINEAR_HZ * mels, above)


class LogMel(nn.Module):
    """Natural logarithm of the mel-filtered magnitude spectrum, floored at 1e-7.

    Shape: `[B, N]` -> `[B, frames(N), n_mels]`.
    """

    def __init__(self, mel: MelScale, framing: Framing) -> None:
        super().__init__()
        self.framing = framing
        self.constant_window = Constant(partial(hann_window, framing.n_fft))
        self.constant_filters = Constant(partial(mel.filters, framing.n_fft))

    @property
    def window(self) -> Tensor:
        """`[n_fft]`, float32, on the CPU."""
        return self.constant_window.on(CPU)

    @property
    def filters(self) -> Tensor:
        """`[n_fft / 2 + 1, n_mels]`, float32, on the CPU."""
        return self.constant_filters.on(CPU)

    def forward(self, audio: Tensor) -> Tensor:
        with torch.autocast(audio.device.type, enabled=False):
            magnitude = stft(audio.float(), self.constant_window.on(audio.device), self.framing).abs()
            return torch.matmul(magnitude, self.constant_filters.on(audio.device)).clamp(min=LOG_FLOOR).log()


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

    def joined(self, frames: Tensor, length: int | None = None) -> Tensor:
        """Audio of frames: `[B, L, n_fft]` -> `[B, samples]`, as `forward`."""
        samples = self.framing.samples(frames.shape[1])
        if length is not None:
            samples = min(length, samples + self.tail)
        return overlap_added(frames, self.constant_window.on(frames.device), self.framing, samples)


def windowed_frames(spectrum: Tensor, window: Tensor) -> Tensor:
    """Frames of a spectrum, each by itself: `[B, L, n_fft/2 + 1]` -> `[B, L, n_fft]`."""
    return torch.fft.irfft(spectrum, dim=-1) * window


def overlap_added(frames: Tensor, window: Tensor, framing: Framing, samples: int) -> Tensor:
    """Samples of windowed frames, divided by the envelope of the squared window: `[B, L, n_fft]` -> `[B, samples]`."""
    hop, inside = framing.hop_length, slice(framing.pad, framing.pad + samples)
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
