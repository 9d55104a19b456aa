"""Files in and out, resampling and channels."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from vocos import InvalidInput
from vocos.files import audio
from vocos.weights import atomic


def tone(seconds: float, sampling_rate: int, channels: int = 1, frequency_hz: float = 440.0) -> torch.Tensor:
    time = torch.arange(int(seconds * sampling_rate)) / sampling_rate
    return (0.5 * torch.sin(2 * torch.pi * frequency_hz * time))[None, :, None].repeat(1, 1, channels)


@pytest.mark.parametrize("ending", audio.WRITTEN)
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_written_is_read_back(ending: str, channels: int, tmp_path: Path) -> None:
    sound = tone(0.5, 44100, channels)
    path = tmp_path / f"tone{ending}"
    assert audio.write(path, sound, 44100) == []
    back, sampling_rate = audio.read(path)
    assert sampling_rate == 44100
    assert back.dtype == torch.float32
    assert back.shape[2] == channels
    if ending in (".wav", ".flac"):
        torch.testing.assert_close(back, sound, atol=1 / 32768, rtol=0)


def test_what_exceeds_one_is_clipped_and_said(tmp_path: Path) -> None:
    assert audio.write(tmp_path / "loud.wav", 3 * tone(0.1, 8000), 8000) == ["clipped, its peak was 1.50"]
    assert audio.read(tmp_path / "loud.wav")[0].abs().max() <= 1


@pytest.mark.parametrize(("rate", "to_rate"), [(44100, 24000), (8000, 48000), (44100, 44100), (22050, 24000)])
@pytest.mark.parametrize(("channels", "to_channel"), [(1, 1), (1, 2), (2, 1), (2, 2), (6, 2), (6, 1)])
def test_conversion_keeps_the_tone(rate: int, to_rate: int, channels: int, to_channel: int) -> None:
    given, done = audio.convert(tone(0.5, rate, channels), rate, to_rate, to_channel)
    wanted = tone(0.5, to_rate, to_channel)
    assert given.shape == wanted.shape
    assert given.dtype == torch.float32
    assert len(done) == (rate != to_rate) + (channels != to_channel)
    middle = slice(to_rate // 10, -to_rate // 10)
    torch.testing.assert_close(given[:, middle], wanted[:, middle], atol=2e-3, rtol=0)


def test_conversion_says_what_it_did() -> None:
    assert audio.convert(tone(0.1, 8000, 2), 8000, 24000, 1)[1] == [
        "2 channels averaged into 1",
        "8000 Hz resampled to 24000 Hz",
    ]
    assert audio.convert(tone(0.1, 8000, 6), 8000, 8000, 2)[1] == ["the first 2 of 6 channels"]


def test_mixing_down_averages() -> None:
    sound = torch.tensor([[[1.0, -1.0], [0.5, 0.0]]])
    assert audio.convert(sound, 8000, 8000, 1)[0].tolist() == [[[0.0], [0.25]]]


class TestBadFiles:
    """Each says what is wrong with which file."""

    def refused(self, path: Path, message: str) -> None:
        with pytest.raises(InvalidInput, match=message) as caught:
            audio.read(path)
        assert str(path) in str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "none.wav", "no such file")
        self.refused(tmp_path, "no such file")

    def test_not_audio(self, tmp_path: Path) -> None:
        (tmp_path / "text.wav").write_text("hello")
        self.refused(tmp_path / "text.wav", "not a readable audio file .* ffmpeg converts others to wav")

    def test_empty(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "empty.wav", np.zeros((0, 1)), 8000)
        self.refused(tmp_path / "empty.wav", "holds no samples")

    def test_not_finite(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
        self.refused(tmp_path / "nan.wav", "not finite")


@pytest.mark.parametrize("name", ["x.txt", "x", "absent/x.wav", "folder.wav"])
def test_unwritable_name_is_refused_before_the_work(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(InvalidInput, match="sound is written as .wav, .flac|not a file name in an existing folder"):
        audio.writable(tmp_path / name)


class TestReplacing:
    """A file is the old one or the new one, never half of either."""

    def test_old_file_stays_until_the_new_one_is_complete(self, tmp_path: Path) -> None:
        path = tmp_path / "file.txt"
        path.write_text("old")
        with atomic.replacing(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == "old"
            assert temporary.suffix == ".txt"
        assert path.read_text() == "new"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
    def test_error_leaves_the_old_file_and_nothing_else(self, error: type[BaseException], tmp_path: Path) -> None:
        path = tmp_path / "file.txt"
        path.write_text("old")
        with pytest.raises(error), atomic.replacing(path) as temporary:
            temporary.write_text("half")
            raise error
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_permissions_are_those_of_any_new_file(self, tmp_path: Path) -> None:
        with atomic.replacing(tmp_path / "a") as temporary:
            temporary.write_text("x")
        (tmp_path / "b").write_text("x")
        assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode

    def test_writers_at_once_leave_one_whole_file(self, tmp_path: Path) -> None:
        def write(text: str) -> None:
            with atomic.replacing(tmp_path / "file") as temporary:
                temporary.write_text(text * 10_000)

        threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        content = (tmp_path / "file").read_text()
        assert content == content[0] * 10_000
        assert len(list(tmp_path.iterdir())) == 1
