"""Files in and out, resampling and channels."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import vocos
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
        self.refused(tmp_path, "a folder")

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
    with pytest.raises(InvalidInput, match="audio is written as .wav, .flac|not a file name in an existing folder"):
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

    def test_error_of_other_work_is_not_taken_for_one_of_the_file(self, tmp_path: Path) -> None:
        """Such as that of an input that is read meanwhile."""
        error = ValueError("its input is not there (os error 2)")
        with pytest.raises(ValueError, match="its input"), atomic.Replacement(tmp_path / "a"):
            raise error
        with pytest.raises(FileNotFoundError) as caught, atomic.Replacement(tmp_path / "a") as new, new.explaining():
            raise error
        assert caught.value.filename == str(tmp_path / "a")
        assert list(tmp_path.iterdir()) == []

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


class TestLeftovers:
    """What a killed writer leaves is removed by the next one of the same output, and nothing else is."""

    KILLED = (
        "import os, sys\nfrom pathlib import Path\nfrom vocos.weights.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as path:\n path.write_text('half')\n os.kill(os.getpid(), 9)\n"
    )

    def kill_a_writer(self, path: Path) -> None:
        assert subprocess.run([sys.executable, "-c", self.KILLED, path], check=False).returncode == -9

    def test_of_a_killed_writer_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "clip.wav"
        self.kill_a_writer(path)
        self.kill_a_writer(tmp_path / "other.wav")
        assert len(list(tmp_path.iterdir())) == 2
        with atomic.replacing(path) as temporary:
            temporary.write_text("whole")
        assert sorted(found.name for found in tmp_path.iterdir()) == [".other-vocos0.wav", "clip.wav"]
        assert path.read_text() == "whole"

    def test_of_writers_that_died_side_by_side_are_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "clip.wav"
        with atomic.replacing(path) as living:
            self.kill_a_writer(path)
            living.write_text("whole")
            assert len(list(tmp_path.iterdir())) == 2
        with atomic.replacing(path) as temporary:
            assert list(tmp_path.glob(".*")) == [temporary]
        assert list(tmp_path.iterdir()) == [path]

    def test_of_a_living_writer_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "clip.wav"
        with atomic.replacing(path) as first:
            first.write_text("first")
            with atomic.replacing(path) as second:
                assert first != second
                second.write_text("second")
            assert first.read_text() == "first"
            assert path.read_text() == "second"
        assert path.read_text() == "first"
        assert list(tmp_path.iterdir()) == [path]

    def test_links_and_pipes_of_that_name_are_not_touched(self, tmp_path: Path) -> None:
        path, victim = tmp_path / "clip.wav", tmp_path / "victim"
        victim.write_text("precious")
        (tmp_path / ".clip-vocos0.wav").symlink_to(victim)
        os.mkfifo(tmp_path / ".clip-vocos1.wav")
        with atomic.replacing(path) as temporary:
            assert temporary.name == ".clip-vocos2.wav"
            temporary.write_text("whole")
        assert victim.read_text() == "precious"
        assert len(list(tmp_path.iterdir())) == 4

    def test_names_may_be_as_long_as_the_file_system_allows(self, tmp_path: Path) -> None:
        path = tmp_path / ("é" * 125 + ".wav")
        with atomic.replacing(path) as temporary:
            temporary.write_text("whole")
        assert path.read_text() == "whole"

    def test_missing_folder_is_an_error_about_the_output(self, tmp_path: Path) -> None:
        path = tmp_path / "absent" / "clip.wav"
        with pytest.raises(FileNotFoundError) as caught, atomic.replacing(path):
            pass
        assert caught.value.filename == str(path)


def test_full_disk_is_an_error_of_the_system_that_names_the_output(tmp_path: Path) -> None:
    """A limit of the size of files is met by every writer as a full disk is."""
    program = """
import resource, sys, torch
from pathlib import Path
from vocos import get_voco, save_codes
from vocos.files import audio, latents

resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for path in map(Path, sys.argv[1:]):
    try:
        if path.suffix == ".codes":
            save_codes(path, torch.zeros(1, 9000, 18).long(), get_voco("dac"))
        elif path.suffix == ".safetensors":
            latents.write(path, get_voco("mel"), torch.zeros(1, 99, 100), 9)
        else:
            audio.write(path, torch.rand(1, 20000, 1) - 0.5, 24000)
    except OSError as error:
        print(error)
"""
    paths = [tmp_path / f"out{ending}" for ending in [*audio.WRITTEN, ".safetensors", ".codes"]]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"[Errno 27] File too large: '{path}'" for path in paths]
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


class TestPublic:
    """`vocos.read_audio` and `vocos.write_audio`."""

    def test_sound_arrives_as_the_codec_takes_it_and_says_so(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        voco = vocos.get_voco("griffinlim")
        audio.write(tmp_path / "a.flac", tone(0.5, 44100, 2), 44100)
        with caplog.at_level("INFO", "vocos.files"):
            sound = vocos.read_audio(tmp_path / "a.flac", voco)
        assert sound.shape == (1, 12000, 1)
        assert caplog.messages == [f"{tmp_path / 'a.flac'}: 2 channels averaged into 1; 44100 Hz resampled to 24000 Hz"]
        vocos.write_audio(str(tmp_path / "b.wav"), voco.decode(voco.encode(sound), length=12000), voco)
        assert soundfile.info(tmp_path / "b.wav").frames == 12000
        assert soundfile.info(tmp_path / "b.wav").samplerate == 24000
        assert not voco.is_loaded or voco.source is None

    @pytest.mark.parametrize("shape", [(800, 1), (1, 800, 1), (1, 800, 2)])
    def test_one_clip_is_written(self, shape: tuple[int, ...], tmp_path: Path) -> None:
        vocos.write_audio(tmp_path / "a.wav", torch.zeros(shape), vocos.get_voco("griffinlim"))
        assert audio.read(tmp_path / "a.wav")[0].shape == (1, 800, shape[-1])

    def test_clipping_is_a_warning(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        vocos.write_audio(tmp_path / "a.wav", torch.full((8, 1), 2.0), vocos.get_voco("griffinlim"))
        assert caplog.messages == [f"{tmp_path / 'a.wav'}: clipped, its peak was 2.00"]

    @pytest.mark.parametrize(
        ("sound", "message"),
        [
            (torch.zeros(2, 8, 1), r"of one clip, got \[2, 8, 1\]"),
            (torch.zeros(8), r"got \[8\]"),
            (torch.zeros(0, 1), r"got \[0, 1\]"),
            (torch.zeros(8, 1).long(), "expected a float tensor, got torch.int64"),
            (np.zeros((8, 1)), "expected a float tensor, got float64"),
            (torch.tensor([[0.0], [float("nan")]]), "a.wav: not written, for the audio is not finite, from sample 1"),
            (torch.tensor([[0.0], [float("-inf")]]), "a.wav: not written, for the audio is not finite, from sample 1"),
        ],
    )
    def test_what_is_no_clip_is_refused(self, sound: torch.Tensor, message: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=message):
            vocos.write_audio(tmp_path / "a.wav", sound, vocos.get_voco("griffinlim"))
        assert list(tmp_path.iterdir()) == []

    def test_mp3_has_few_rates(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="a.mp3: mp3 has no 44101 Hz, only 8000, 11025, .*; write .wav or .flac"):
            audio.write(tmp_path / "a.mp3", tone(0.1, 44101), 44101)


def test_long_ogg_does_not_kill_the_process(tmp_path: Path) -> None:
    """One write of all of it overflows the stack of libvorbis, from about two million samples on."""
    program = (
        "import sys, torch\nfrom pathlib import Path\nfrom vocos.files import audio\n"
        "audio.write(Path(sys.argv[1]), torch.zeros(1, 3_000_000, 2), 48000)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path / "a.ogg"], check=False).returncode == 0
    assert soundfile.info(tmp_path / "a.ogg").frames == 3_000_000


class TestOddFiles:
    """Legal ones that are read, and those whose header says what is not so."""

    @pytest.fixture
    def flac(self, tmp_path: Path) -> Path:
        path = tmp_path / "a.flac"
        audio.write(path, tone(2.0, 48000), 48000)
        return path

    def says(self, path: Path, frames: int) -> None:
        """Let the header of a FLAC file say another number of frames: 36 bits, the last 4 bytes and 4 bits before."""
        data = bytearray(path.read_bytes())
        data[21] = data[21] & 0xF0 | frames >> 32
        data[22:26] = struct.pack(">I", frames & 0xFFFFFFFF)
        path.write_bytes(data)

    def test_flac_of_unknown_length_is_read_to_its_end(self, flac: Path) -> None:
        whole, _ = audio.read(flac)
        self.says(flac, 0)
        assert torch.equal(audio.read(flac)[0], whole)
        assert whole.shape == (1, 96000, 1)

    @pytest.mark.parametrize("frames", [96001, 1 << 35])
    def test_flac_that_is_shorter_than_it_says_is_cut_off(self, frames: int, flac: Path) -> None:
        self.says(flac, frames)
        with pytest.raises(InvalidInput, match="a.flac: cut off"):
            audio.read(flac)

    def test_wav_that_is_shorter_than_it_says_is_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        audio.write(path, tone(1.0, 8000), 8000)
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(InvalidInput, match="a.wav: cut off, its header says that it is longer"):
            audio.read(path)

    @pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
    def test_wav_that_was_streamed_is_read_to_its_end(self, length: int, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        audio.write(path, tone(1.0, 8000), 8000)
        data = bytearray(path.read_bytes())
        data[40:44] = struct.pack("<I", length)
        path.write_bytes(data)
        assert audio.read(path)[0].shape == (1, 8000, 1)

    @pytest.mark.parametrize("rate", [1, 999, 768_001, 4_000_000])
    def test_absurd_rate_is_refused(self, rate: int, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros(100), rate)
        with pytest.raises(InvalidInput, match=f"a.wav: says {rate} Hz, audio has 1000 to 768000 Hz"):
            audio.read(tmp_path / "a.wav")

    def test_raw_is_not_taken_for_sound(self, tmp_path: Path) -> None:
        (tmp_path / "a.raw").write_bytes(bytes(1000))
        with pytest.raises(InvalidInput, match="a.raw: not a readable audio file"):
            audio.read(tmp_path / "a.raw")

    def test_names_need_not_be_text(self, tmp_path: Path) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.wav"))
        audio.write(path, tone(0.1, 8000), 8000)
        assert audio.read(path)[0].shape == (1, 800, 1)

    def test_pipe_is_refused_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.wav")
        with pytest.raises(InvalidInput, match="a.wav: not a regular file"):
            audio.read(tmp_path / "a.wav")
