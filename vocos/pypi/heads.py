"""What PyPI calls heads: hidden features `[B, L, dim]` -> audio `[B, N]`, by an inverse transform."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vocos.config import Window
from vocos.errors import InvalidInput
from vocos.nn import vocoder
from vocos.nn.dense import Dense
from vocos.nn.mel import MelScale
from vocos.nn.vocoder import MAGNITUDE_CAP
from vocos.pypi.checks import check_tensor, untouched
from vocos.pypi.modules import symexp
from vocos.pypi.spectral_ops import IMDCT, ISTFT


class FourierHead(nn.Module):
    """What all heads are, for those of one's own."""

    def forward(self, x: Tensor) -> Tensor:
        """Audio."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")


class ISTFTHead(vocoder.FourierHead, FourierHead):
    """Magnitude and phase, and the inverse STFT; see `vocos.nn.vocoder.FourierHead`.

    Args:
        dim: of the hidden features.
        n_fft, hop_length: of the transform, whose window is as long.
        padding: "center" or "same".

    Shape: `[B, L, dim]` -> `[B, N]`, N = (L - 1) hop_length for padding "center", L hop_length for "same".
    """

    istft: ISTFT  # type: ignore[assignment]

    def __init__(self, dim: int, n_fft: Window, hop_length: int, padding: str = "same") -> None:
        transform = ISTFT(n_fft, hop_length, n_fft, padding)
        super().__init__(dim, transform.framing)
        self.istft = transform

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Audio of hidden features, in the dtype of the module."""
        if not untouched((Dense, ISTFT), self.out, self.istft):
            return self.istft(self.spectrum(x).mT)
        _check(x, self.out, self.istft.framing.minimum_frames)
        return super().forward(x)[:, 0].to(self.out.weight.dtype)


class _IMDCTHead(FourierHead):
    """A linear layer and the inverse MDCT."""

    def __init__(self, dim: int, outputs: int, mdct_frame_len: int, padding: str, clip_audio: bool) -> None:
        super().__init__()
        self.out = Dense(dim, outputs)
        self.imdct = IMDCT(mdct_frame_len, padding)
        self.clip_audio = clip_audio

    def forward(self, x: Tensor) -> Tensor:
        """Audio of hidden features, in the dtype of the module."""
        if untouched((Dense,), self.out):
            _check(x, self.out, 2 if self.imdct.padding == "center" else 1)
        audio: Tensor = self.imdct(self._coefficients(self.out(x)))
        return audio.clamp(-1, 1) if self.clip_audio else audio

    def _coefficients(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class IMDCTSymExpHead(_IMDCTHead):
    """MDCT coefficients on the scale of `symexp`, at most 100.

    Args:
        dim: of the hidden features.
        mdct_frame_len, padding: of `IMDCT`.
        sample_rate: in Hz; if given, the layer starts with less weight for higher frequencies.
        clip_audio: whether audio is limited to [-1, 1].

    Shape: `[B, L, dim]` -> `[B, N]`, as of `IMDCT`.
    """

    def __init__(
        self,
        dim: int,
        mdct_frame_len: int,
        padding: str = "same",
        sample_rate: int | None = None,
        clip_audio: bool = False,
    ) -> None:
        super().__init__(dim, mdct_frame_len // 2, mdct_frame_len, padding, clip_audio)
        if sample_rate is not None:
            hz = MelScale(sample_rate, mdct_frame_len // 2 - 2).corners_hz()
            with torch.no_grad():
                self.out.weight.mul_((1 - hz / hz.max())[:, None].to(self.out.weight.device))

    def _coefficients(self, x: Tensor) -> Tensor:
        return symexp(x).clamp(-MAGNITUDE_CAP, MAGNITUDE_CAP)


class IMDCTCosHead(_IMDCTHead):
    """MDCT coefficients as a magnitude, at most 100, times the cosine of a phase.

    Args:
        dim, mdct_frame_len, padding, clip_audio: as of `IMDCTSymExpHead`.

    Shape: `[B, L, dim]` -> `[B, N]`, as of `IMDCT`.
    """

    def __init__(self, dim: int, mdct_frame_len: int, padding: str = "same", clip_audio: bool = False) -> None:
        super().__init__(dim, mdct_frame_len, mdct_frame_len, padding, clip_audio)

    def _coefficients(self, x: Tensor) -> Tensor:
        log_magnitude, phase = x.chunk(2, dim=-1)
        return log_magnitude.exp().clamp(max=MAGNITUDE_CAP) * phase.cos()


def _check(x: Tensor, out: Dense, least: int) -> None:
    expected = f"head: expected hidden features [batch, frames, {out.in_features}], at least {least} frames"
    check_tensor(x, expected, [None, None, out.in_features], "they are what the backbone returns")
    if x.shape[1] < least:
        raise InvalidInput(f"{expected}, got {list(x.shape)}; fewer frames cannot be decoded")
