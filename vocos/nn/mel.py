"""Mel filters and log-mel spectrograms, always in float32, whatever the dtype of the module."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vocos.kernels import Constant, Pad, steps
from vocos.nn.spectral import CPU, Framed, Framing, hann_window, in_float32, unpadded_stft

LOG_FLOOR = 1e-7  # of the mel magnitudes, before the logarithm: -16.118

# Slaney's scale: 15 steps of 200/3 Hz up to 1 kHz, then 27 steps for each factor of 6.4.
SLANEY_LINEAR_HZ = 200.0 / 3.0
SLANEY_KNEE_HZ = 1000.0
SLANEY_KNEE = SLANEY_KNEE_HZ / SLANEY_LINEAR_HZ
SLANEY_STEP = math.log(6.4) / 27.0


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

    def steps(self) -> tuple[Pad, Framed]:
        """The same as steps, `[B, 1, N]` -> `[B, n_mels, frames(N)]`."""
        framing = self.framing
        return Pad(framing.pad, framing.pad, mode="reflect"), Framed(self._frames, framing.n_fft, framing.hop_length)

    def forward(self, audio: Tensor) -> Tensor:
        return steps.run(self.steps(), audio[:, None]).mT

    def _frames(self, audio: Tensor) -> Tensor:
        """Frames of the padded audio: `[B, 1, N]` -> `[B, n_mels, L]`."""
        with in_float32(audio.device):
            window = self.constant_window.on(audio.device)
            magnitude = unpadded_stft(audio[:, 0].float(), window, self.framing.hop_length).abs()
            return torch.matmul(magnitude, self.constant_filters.on(audio.device)).clamp(min=LOG_FLOOR).log().mT
