"""What PyPI calls spectral operations: inverse STFT and MDCT, in float32 whatever the dtype of the module."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocos.errors import InvalidInput
from vocos.nn.spectral import Framing, hann_window, overlap_added, overlapped, windowed_frames
from vocos.pypi.checks import check_floats


class Constants(nn.Module):
    """Buffers that a state dict has and sets, that a checkpoint may leave out, and that never leave float32."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Constants:
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in before.items():
            moved = self._buffers[name]
            if value is not None and moved is not None and moved.dtype != value.dtype:
                self._buffers[name] = value.to(moved.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name, value in self._buffers.items():
            given = state_dict.get(prefix + name, value)
            state_dict[prefix + name] = given.float() if isinstance(given, Tensor) else given
        super()._load_from_state_dict(state_dict, prefix, *rest)


class ISTFT(Constants):
    """Overlap-add of windowed frames, divided by that of the squared window; `vocos.nn.spectral` draws the paddings.

    Args:
        n_fft, hop_length, win_length: in samples; a window shorter than n_fft stands in its middle, "center" only.
        padding: "center" or "same".

    Shape: complex `[B, n_fft/2 + 1, L]` -> `[B, N]`, N = (L - 1) hop_length for "center", L hop_length for "same".
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, win_length: int, padding: str = "same") -> None:
        super().__init__()
        self.framing = Framing(n_fft, hop_length, padding)
        fits = win_length == n_fft or (padding == "center" and 2 * hop_length <= win_length < n_fft)
        problem = self.framing.problem() or (None if fits else f"win_length {win_length} with n_fft {n_fft}")
        if problem:
            raise InvalidInput(f"ISTFT: {problem}")
        self.n_fft, self.hop_length, self.win_length, self.padding = n_fft, hop_length, win_length, padding
        self.register_buffer("window", hann_window(win_length))

    def forward(self, spec: Tensor) -> Tensor:
        """Audio of a spectrum, or of one clip `[n_fft/2 + 1, L]`."""
        bins, least = self.n_fft // 2 + 1, self.framing.minimum_frames
        expected = f"istft: expected a spectrum [batch, {bins}, at least {least} frames]"
        if not isinstance(spec, Tensor) or not spec.is_complex():
            raise InvalidInput(f"{expected} of complex numbers")
        if spec.ndim not in (2, 3) or spec.shape[-2] != bins or spec.shape[-1] < least:
            raise InvalidInput(f"{expected}, got {list(spec.shape)}")
        audio = self.joined(self.frames((spec if spec.ndim == 3 else spec[None]).mT))
        return audio if spec.ndim == 3 else audio[0]

    def frames(self, spectrum: Tensor) -> Tensor:
        """Windowed frames, each by itself: `[B, L, n_fft/2 + 1]` -> `[B, L, n_fft]`."""
        return windowed_frames(spectrum, self._whole_window())

    def joined(self, frames: Tensor, length: int | None = None) -> Tensor:
        """Audio of frames: `[B, L, n_fft]` -> `[B, N]`, cut to the length."""
        samples = self.framing.samples(frames.shape[1])
        return overlap_added(frames, self._whole_window(), self.framing, min(samples, length or samples))

    def _whole_window(self) -> Tensor:
        missing = self.n_fft - len(self.window)
        return F.pad(self.window, (missing // 2, missing - missing // 2)) if missing else self.window


class _LappedCosines(Constants):
    """What both directions of the MDCT share.

    With N = frame_len, M = N / 2 and n0 = (M + 1) / 2 they are sums of cos(2 pi/N (n + n0)(k + 1/2)), and

        (n + n0)(k + 1/2) = n k + n/2 + n0 (k + 1/2) = n k + n0 k + (n + n0)/2

    so an FFT makes the n k of them, and factors before and after it ("twiddles") the rest.
    """

    window: Tensor
    pre_twiddle: Tensor
    post_twiddle: Tensor

    def __init__(self, frame_len: int, padding: str) -> None:
        super().__init__()
        if padding not in ("center", "same"):
            raise InvalidInput(f"{type(self).__name__}: padding {padding!r} is neither 'center' nor 'same'")
        multiple = 2 if padding == "center" else 4
        if frame_len < multiple or frame_len % multiple:
            raise InvalidInput(f"{type(self).__name__}: frame_len {frame_len} is no multiple of {multiple}")
        self.frame_len, self.padding = frame_len, padding
        samples = torch.arange(frame_len, dtype=torch.float64, device="cpu")
        self.register_buffer("window", torch.sin(math.pi * (samples + 0.5) / frame_len).float())

    @property
    def _n0(self) -> float:
        return (self.frame_len / 2 + 1) / 2

    @property
    def _pad(self) -> int:
        """Samples that the first frame reaches before the first sample."""
        return self.frame_len // 2 if self.padding == "center" else self.frame_len // 4

    def _twiddles(self, pre: Tensor, post: Tensor) -> None:
        """Set the factors from their angles in units of 2 pi / frame_len, as `[..., 2]` real and imaginary parts."""
        for name, angle in (("pre_twiddle", pre), ("post_twiddle", post)):
            turned = 2 * math.pi / self.frame_len * angle
            self.register_buffer(name, torch.stack((turned.cos(), turned.sin()), -1).float())


class MDCT(_LappedCosines):
    """Modified discrete cosine transform of frames of frame_len samples, half overlapped, under a sine window.

    Args:
        frame_len: samples of a frame, a multiple of 4, or of 2 for "center".
        padding: "center" or "same": zeros of half or a quarter of a frame at each end.

    Shape: `[..., N]` -> `[..., L, frame_len / 2]`, L = N // (frame_len / 2), and one more for "center".
    """

    def __init__(self, frame_len: int, padding: str = "same") -> None:
        super().__init__(frame_len, padding)
        n = torch.arange(frame_len, dtype=torch.float64, device="cpu")
        self._twiddles(-n / 2, -self._n0 * (n[: frame_len // 2] + 0.5))

    def forward(self, audio: Tensor) -> Tensor:
        """Coefficients of audio."""
        expected, hop = "mdct: expected audio [batch, samples]", self.frame_len // 2
        check_floats(audio, expected)
        if not audio.ndim or not audio.numel() or audio.shape[-1] + 2 * self._pad < self.frame_len:
            raise InvalidInput(f"{expected} with at least {self.frame_len - 2 * self._pad}, got {list(audio.shape)}")
        with torch.autocast(audio.device.type, enabled=False):
            frames = F.pad(audio.float(), (self._pad, self._pad)).unfold(-1, self.frame_len, hop) * self.window
            spectrum = torch.fft.fft(frames * torch.view_as_complex(self.pre_twiddle))[..., :hop]
            coefficients = (spectrum * torch.view_as_complex(self.post_twiddle)).real * math.sqrt(2 / hop)
        return coefficients.to(audio.dtype)


class IMDCT(_LappedCosines):
    """The inverse of `MDCT`: what two neighbouring frames alias cancels in their sum.

    Args:
        frame_len, padding: as of `MDCT`.

    Shape: `[B, L, frame_len / 2]` -> `[B, N]`, N = L frame_len / 2, and a half frame less for "center".
    """

    def __init__(self, frame_len: int, padding: str = "same") -> None:
        super().__init__(frame_len, padding)
        n = torch.arange(frame_len, dtype=torch.float64, device="cpu")
        self._twiddles(self._n0 * n, (n + self._n0) / 2)

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803  # its name there
        """Audio of coefficients."""
        hop = self.frame_len // 2
        least = 2 if self.padding == "center" else 1
        expected = f"imdct: expected coefficients [batch, at least {least} frames, {hop}]"
        check_floats(X, expected)
        if X.ndim != 3 or X.shape[2] != hop or X.shape[1] < least:
            raise InvalidInput(f"{expected}, got {list(X.shape)}")
        with torch.autocast(X.device.type, enabled=False):
            turned = X.float() * torch.view_as_complex(self.pre_twiddle[:hop].contiguous())
            sums = torch.fft.ifft(turned, n=self.frame_len, norm="forward") * torch.view_as_complex(self.post_twiddle)
            audio = overlapped(sums.real * self.window * math.sqrt(2 / hop), hop)
        return audio[:, self._pad : audio.shape[1] - self._pad].to(X.dtype)
