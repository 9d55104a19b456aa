"""Loudness, against descript-audiotools 0.7.2 and what the standard says of sines."""

from __future__ import annotations

import math

import pytest
import torch

from vocos.files.codes.loudness import loudness


def ramp(samples: int, channels: int) -> torch.Tensor:
    """A sound that any machine makes alike."""
    time = torch.arange(samples, dtype=torch.float64)
    parts = [torch.sin(time * (0.01 + 0.03 * c)) + 0.3 * torch.sin(time * time * 1e-5) for c in range(channels)]
    return (torch.stack(parts, dim=1) * torch.linspace(0.01, 0.3, samples)[:, None])[None].float()


# `AudioSignal(sound, rate).loudness()`, of the ramp alone and with a thousandth of it after it, which is below the gate
@pytest.mark.parametrize(
    ("samples", "sampling_rate", "channels", "alone", "gated"),
    [
        (500, 16000, 1, -36.82914, -36.82883),
        (11003, 16000, 1, -26.54116, -26.35390),
        (30000, 44100, 2, -16.16371, -16.07874),
        (100000, 24000, 1, -21.42428, -21.41134),
    ],
)
def test_loudness_is_that_of_audiotools(
    samples: int, sampling_rate: int, channels: int, alone: float, gated: float
) -> None:
    sound = ramp(samples, channels)
    assert loudness(sound, sampling_rate) == pytest.approx(alone, abs=2e-3)  # its filter runs in float32
    assert loudness(torch.cat([sound, sound * 1e-3], dim=1), sampling_rate) == pytest.approx(gated, abs=2e-3)


# Of the ramp, by the same package: clips that end within a block, which is completed with silence in any case
@pytest.mark.parametrize(
    ("samples", "sampling_rate", "channels", "expected"),
    [
        (4800, 16000, 1, -27.43788),
        (8320, 16000, 1, -26.31580),
        (11200, 16000, 1, -26.60128),
        (13280, 16000, 1, -26.26367),
        (16160, 16000, 1, -26.12762),
        (20800, 16000, 1, -26.32156),
        (27680, 16000, 1, -25.52720),
        (32000, 16000, 1, -25.26755),
        (4800, 16000, 2, -19.99971),
        (8320, 16000, 2, -18.69771),
        (11200, 16000, 2, -19.00185),
        (13280, 16000, 2, -18.71739),
        (16160, 16000, 2, -18.61378),
        (20800, 16000, 2, -18.88201),
        (27680, 16000, 2, -18.25942),
        (32000, 16000, 2, -18.37206),
        (13230, 44100, 1, -21.52451),
        (22932, 44100, 1, -19.92049),
        (30869, 44100, 1, -20.14758),
        (36603, 44100, 1, -19.80926),
        (44541, 44100, 1, -19.69935),
        (57330, 44100, 1, -19.97743),
        (76293, 44100, 1, -19.45117),
        (88200, 44100, 1, -19.63276),
        (13230, 44100, 2, -17.50897),
        (22932, 44100, 2, -15.97160),
        (30869, 44100, 2, -16.22841),
        (36603, 44100, 2, -15.90693),
        (44541, 44100, 2, -15.80130),
        (57330, 44100, 2, -16.08539),
        (76293, 44100, 2, -15.56020),
        (88200, 44100, 2, -15.74184),
    ],
)
def test_short_clips_are_measured_to_their_last_sample(
    samples: int, sampling_rate: int, channels: int, expected: float
) -> None:
    assert loudness(ramp(samples, channels), sampling_rate) == pytest.approx(expected, abs=1e-3)  # measured: 4e-4


def test_full_sine_has_the_loudness_of_the_standard() -> None:
    """BS.1770: a sine of 997 Hz at full scale in one channel reads -3.01."""
    sine = torch.sin(2 * math.pi * 997 * torch.arange(96000, dtype=torch.float64) / 48000)[None, :, None]
    assert loudness(sine, 48000) == pytest.approx(-3.01, abs=0.05)


def test_silence_is_the_least() -> None:
    assert loudness(torch.zeros(1, 16000, 1), 16000) == -70.0
    assert loudness(torch.full((1, 100, 1), 1e-9), 16000) == -70.0


def test_default_device_of_the_caller_changes_nothing() -> None:
    sound = torch.rand(1, 9000, 1, generator=torch.Generator().manual_seed(0)) - 0.5
    wanted = loudness(sound, 16000)
    with torch.device("meta"):
        assert loudness(sound, 16000) == pytest.approx(wanted)
