"""Mel spectrograms as torchaudio has them, whose modules PyPI's `vocos` holds: their names, attributes and numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vocos.errors import InvalidInput
from vocos.nn import mel
from vocos.nn.spectral import hann_window, unpadded_stft
from vocos.pypi.checks import check_floats
from vocos.pypi.spectral_ops import Constants


class Spectrogram(Constants):
    """Magnitude of the STFT, to a power, in float32.

    Args:
        n_fft, hop_length: in samples; the window is as long as n_fft.
        center: whether half a frame is reflected at each end; else only the frames inside the audio count.
        power: of the magnitude.

    Shape: `[..., N]` -> `[..., n_fft/2 + 1, L]`, L = N // hop_length + 1, or (N - n_fft) // hop_length + 1.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, center: bool, power: float = 1) -> None:
        super().__init__()
        self.n_fft = self.win_length = n_fft
        self.hop_length, self.center, self.power = hop_length, center, power
        self.pad, self.pad_mode, self.normalized, self.onesided = 0, "reflect", False, True
        self.register_buffer("window", hann_window(n_fft))

    def forward(self, waveform: Tensor) -> Tensor:
        """The spectrogram of audio."""
        least = self.n_fft // 2 + 1 if self.center else self.n_fft
        expected = f"expected audio [batch, samples] with at least {least} samples"
        check_floats(waveform, expected)
        if not waveform.ndim or not waveform.numel() or waveform.shape[-1] < least:
            raise InvalidInput(f"{expected}, got {list(waveform.shape)}; complete it with zeros")
        with torch.autocast(waveform.device.type, enabled=False):
            audio = waveform.reshape(-1, waveform.shape[-1]).float()
            if self.center:
                audio = F.pad(audio[:, None], (self.n_fft // 2, self.n_fft // 2), mode="reflect")[:, 0]
            magnitude = unpadded_stft(audio, self.window, self.hop_length).abs()
            powered = magnitude if self.power == 1 else magnitude.pow(self.power)
        return powered.reshape(*waveform.shape[:-1], *powered.shape[1:]).mT


class MelScale(Constants):
    """Mel filters.

    Args:
        scale: which filters.
        n_stft: frequencies that they filter.

    Shape: `[..., n_stft, L]` -> `[..., n_mels, L]`.
    """

    fb: Tensor

    def __init__(self, scale: mel.MelScale, n_stft: int) -> None:
        super().__init__()
        self.sample_rate, self.n_mels, self.n_stft = scale.sampling_rate, scale.n_mels, n_stft
        self.f_min, self.f_max, self.mel_scale = scale.f_min, scale.top_hz, scale.scale
        self.norm = None if scale.norm == "none" else scale.norm
        self.register_buffer("fb", scale.filters(2 * (n_stft - 1)))

    def forward(self, specgram: Tensor) -> Tensor:
        """The filtered spectrogram."""
        with torch.autocast(specgram.device.type, enabled=False):
            return torch.matmul(specgram.mT, self.fb.to(specgram.dtype)).mT


class MelSpectrogram(torch.nn.Module):
    """Mel-filtered magnitudes, in float32.

    Args:
        scale: which filters.
        n_fft, hop_length, center: of `Spectrogram`.

    Shape: `[..., N]` -> `[..., n_mels, L]`.
    """

    def __init__(self, scale: mel.MelScale, n_fft: int, hop_length: int, center: bool) -> None:
        super().__init__()
        self.sample_rate, self.n_mels = scale.sampling_rate, scale.n_mels
        self.f_min, self.f_max = scale.f_min, scale.f_max or None
        self.n_fft = self.win_length = n_fft
        self.hop_length, self.pad, self.power, self.normalized = hop_length, 0, 1, False
        self.spectrogram = Spectrogram(n_fft, hop_length, center)
        self.mel_scale = MelScale(scale, n_fft // 2 + 1)

    def forward(self, waveform: Tensor) -> Tensor:
        """The mel spectrogram of audio."""
        filtered: Tensor = self.mel_scale(self.spectrogram(waveform))
        return filtered
