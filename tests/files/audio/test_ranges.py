"""Parts of audio files, between two times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from vocos.errors import InvalidInput
from vocos.files.audio import reading

RATE = 22050


@pytest.fixture
def sound() -> np.ndarray:
    """Four seconds, stereo."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, (4 * RATE, 2)).astype(np.float32)


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize(("start", "stop"), [(0.0, 1.0), (1.3, 2.71), (0.5, None), (3.9, 9.0)])
def test_part_of_a_file_is_that_of_the_whole(
    tmp_path: Path, sound: np.ndarray, ending: str, start: float, stop: float | None
) -> None:
    path = tmp_path / f"sound{ending}"
    soundfile.write(path, sound, RATE)
    with reading(path) as file:
        whole = file.whole()
    with reading(path, start=start, stop=stop) as file:
        part = file.whole()
    expected = whole[:, round(start * RATE) : None if stop is None else round(stop * RATE)]
    # MP3: its decoder rounds otherwise for blocks of other sizes, by 1.2e-7 at most
    torch.testing.assert_close(part, expected, rtol=0, atol=2e-7 if ending == ".mp3" else 0)
    assert file.samples == part.shape[1]


def test_part_of_a_flac_file_that_does_not_tell_its_length(tmp_path: Path, sound: np.ndarray) -> None:
    path = tmp_path / "sound.flac"
    soundfile.write(path, sound, RATE)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of the number of samples, in STREAMINFO
    data[22:26] = bytes(4)
    with reading(path) as file:
        whole = file.whole()
    path.write_bytes(data)
    with reading(path, start=2.0, stop=3.0) as file:
        assert torch.equal(file.whole(), whole[:, 2 * RATE : 3 * RATE])


@pytest.mark.parametrize(("start", "stop"), [(4.0, None), (7.5, 8.0), (2.0, 2.0), (3.0, 1.0)])
def test_part_that_holds_nothing_says_so(tmp_path: Path, sound: np.ndarray, start: float, stop: float | None) -> None:
    soundfile.write(tmp_path / "sound.wav", sound, RATE)
    with (
        pytest.raises(InvalidInput, match=rf"sound.wav: there is nothing from {start:g} s on"),
        reading(tmp_path / "sound.wav", start=start, stop=stop) as file,
    ):
        file.whole()
