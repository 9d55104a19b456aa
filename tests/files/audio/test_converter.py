"""Audio that is converted piece by piece is what the whole becomes."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vocos.files.audio import Converter, convert

RATES = st.sampled_from([1000, 8000, 11025, 16000, 22050, 24000, 44100, 44101, 48000, 96000, 192000, 768000])


def noise(samples: int, channels: int) -> torch.Tensor:
    return torch.rand(samples, channels, generator=torch.Generator().manual_seed(samples)) - 0.5


@given(RATES, RATES, st.integers(1, 7), st.sampled_from([1, 2]), st.lists(st.integers(0, 3000), max_size=12))
@settings(deadline=None, max_examples=80)
def test_pieces_of_any_size_make_the_whole(
    rate: int, to_rate: int, channels: int, to_channel: int, sizes: list[int]
) -> None:
    audio = noise(sum(sizes), channels)
    whole, done = convert(audio[None], rate, to_rate, to_channel)
    converter = Converter(rate, channels, to_rate, to_channel)
    pieces = [converter.push(piece) for piece in torch.split(audio, sizes)]
    pieces.append(converter.push(audio[:0], last=True))
    assert torch.equal(torch.cat(pieces), whole[0])
    assert whole.dtype == torch.float32
    assert converter.done == done


@pytest.mark.parametrize(("rate", "to_rate"), [(44100, 24000), (8000, 48000), (24000, 44100)])
@pytest.mark.parametrize("size", [1, 480])
def test_it_is_the_resampling_of_the_whole_call_of_soxr(rate: int, to_rate: int, size: int) -> None:
    audio = noise(6000, 2)
    converter = Converter(rate, 2, to_rate, 2)
    pieces = [converter.push(piece, last=False) for piece in torch.split(audio, size)]
    pieces.append(converter.push(audio[:0], last=True))
    assert np.array_equal(torch.cat(pieces).numpy(), soxr.resample(audio.numpy(), rate, to_rate))


@pytest.mark.parametrize("channels", [3, 16, 255, 1024])
def test_average_of_a_sample_does_not_depend_on_its_neighbours(channels: int) -> None:
    audio = noise(50, channels)
    converter = Converter(8000, channels, 8000, 1)
    assert torch.equal(torch.cat([converter.push(row) for row in torch.split(audio, 1)]), converter.push(audio))


def test_audio_that_fits_is_passed_on() -> None:
    audio = noise(50, 2)
    converter = Converter(8000, 2, 8000, 2)
    assert converter.push(audio) is audio
    assert converter.done == []
