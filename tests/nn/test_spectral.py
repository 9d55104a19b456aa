"""Transforms and filters against stored constants, PyTorch's own and a transform written out."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import golden

from vocos.nn.mel import LOG_FLOOR, LogMel, MelScale
from vocos.nn.spectral import Framing, InverseSTFT, hann_window, overlapped, stft

GENERATOR = torch.Generator()


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=GENERATOR.manual_seed(0)) - 0.5


def test_constants_are_those_of_the_published_files() -> None:
    _, arrays = golden("optimizerai-mel-small")
    # Vector instructions differ in the last bits: without AVX-512 by up to 8.3e-7, without any by 1.7e-6.
    wanted = torch.from_numpy(arrays["const__mel_fb"])
    torch.testing.assert_close(MelScale(24000, 20).filters(256), wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(hann_window(256), torch.from_numpy(arrays["const__stft_window"]), atol=1e-7, rtol=0)


def test_mel_filters_are_the_formula() -> None:
    """Triangles between points equally spaced on the HTK scale, in float64; float32 differs by up to 7e-6."""
    sampling_rate, n_fft, n_mels = 24000, 1024, 100
    top = 2595 * torch.log10(torch.tensor(1 + sampling_rate / 2 / 700, dtype=torch.float64))
    points = 700 * (10 ** (torch.linspace(0, 1, n_mels + 2, dtype=torch.float64) * top / 2595) - 1)
    f = torch.linspace(0, sampling_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    for j in range(n_mels):
        rising = (f - points[j]) / (points[j + 1] - points[j])
        falling = (points[j + 2] - f) / (points[j + 2] - points[j + 1])
        wanted = torch.minimum(rising, falling).clamp(min=0)
        assert (MelScale(sampling_rate, n_mels).filters(n_fft)[:, j].double() - wanted).abs().max() < 1e-5


def test_slaney_filters_are_the_formula() -> None:
    """Linear up to 1 kHz, 27 steps per factor of 6.4 above; every triangle of the area of a width of two."""

    def hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    def mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000, 6.4)

    filters = MelScale(22050, 80, f_min=40.0, f_max=8000.0, scale="slaney", norm="slaney").filters(1024)
    bottom, top = mel(40.0), mel(8000.0)
    points = [hz(bottom + (top - bottom) * i / 81) for i in range(82)]
    for k in range(513):
        f = k * (22050 // 2) / 512
        for j in range(80):
            triangle = max(
                0.0,
                min(
                    (f - points[j]) / (points[j + 1] - points[j]), (points[j + 2] - f) / (points[j + 2] - points[j + 1])
                ),
            )
            assert abs(float(filters[k, j]) - triangle * 2 / (points[j + 2] - points[j])) < 1e-6
    plain = MelScale(22050, 80, f_min=40.0, f_max=8000.0, scale="slaney").filters(1024)
    assert plain.max() > 0.9
    assert not filters[-1].any()  # above f_max


@pytest.mark.parametrize("padding", ["center", "same"])
def test_stft_is_the_written_out_transform(padding: str) -> None:
    framing = Framing(32, 8, padding)
    audio = noise(2, 77)
    spectrum = stft(audio, hann_window(32), framing)
    assert spectrum.shape == (2, framing.frames(77), 17)
    padded = torch.nn.functional.pad(audio[:, None], (framing.pad, framing.pad), mode="reflect")[:, 0].double()
    time, frequency = torch.arange(32).double(), torch.arange(17).double()
    basis = torch.exp(-2j * torch.pi * frequency[:, None] * time / 32)
    for frame in range(framing.frames(77)):
        piece = padded[:, 8 * frame : 8 * frame + 32] * hann_window(32).double()
        torch.testing.assert_close(
            spectrum[:, frame].to(torch.complex128), piece.to(torch.complex128) @ basis.T, atol=1e-5, rtol=0
        )


def test_log_mel_is_floored_natural_logarithm_of_magnitudes() -> None:
    framing = Framing(64, 16, "center")
    audio = noise(1, 200)
    audio[:, 100:] = 0
    log_mel = LogMel(MelScale(8000, 10), framing)(audio)
    magnitude = stft(audio, hann_window(64), framing).abs() @ MelScale(8000, 10).filters(64)
    torch.testing.assert_close(log_mel, magnitude.clamp(min=LOG_FLOOR).log())
    assert log_mel.min().item() == pytest.approx(-16.118, abs=1e-3)


@pytest.mark.parametrize(("n_fft", "hop"), [(32, 8), (30, 7), (32, 16), (64, 8)])
def test_centred_inverse_is_that_of_pytorch(n_fft: int, hop: int) -> None:
    spectrum = torch.complex(noise(2, 9, n_fft // 2 + 1), noise(2, 9, n_fft // 2 + 1) * 0.3)
    given = InverseSTFT(Framing(n_fft, hop, "center"))(spectrum)
    wanted = torch.istft(spectrum.mT, n_fft, hop, window=hann_window(n_fft), center=True)
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)


def test_samples_past_the_end_are_those_of_pytorch() -> None:
    spectrum = torch.complex(noise(2, 9, 17), noise(2, 9, 17))
    inverse = InverseSTFT(Framing(32, 8, "center"))
    wanted = torch.istft(spectrum.mT, 32, 8, window=hann_window(32), center=True, length=72)
    torch.testing.assert_close(inverse(spectrum, 72), wanted, atol=1e-5, rtol=1e-5)
    assert inverse(spectrum, 1000).shape == (2, 72)  # beyond, the envelope vanishes


@pytest.mark.parametrize("padding", ["center", "same"])
def test_inverse_undoes_the_transform(padding: str) -> None:
    framing = Framing(32, 8, padding)
    audio = noise(2, 8 * 12)
    back = InverseSTFT(framing)(stft(audio, hann_window(32), framing))
    assert back.shape[1] == framing.samples(framing.frames(96))
    torch.testing.assert_close(back, audio[:, : back.shape[1]], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("size", "hop"), [(8, 2), (8, 3), (5, 5), (3, 7), (1, 1)])
def test_overlap_add_is_the_loop(size: int, hop: int) -> None:
    frames = noise(2, 6, size)
    wanted = torch.zeros(2, 5 * hop + -(-size // hop) * hop)
    for j in range(6):
        wanted[:, j * hop : j * hop + size] += frames[:, j]
    torch.testing.assert_close(overlapped(frames, hop), wanted)


def test_transform_has_a_gradient_in_silence() -> None:
    audio = torch.zeros(1, 300, requires_grad=True)
    LogMel(MelScale(8000, 10), Framing(64, 16, "center"))(audio).sum().backward()
    assert audio.grad is not None
    assert audio.grad.isfinite().all()
