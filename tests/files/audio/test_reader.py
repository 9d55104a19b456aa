"""Files and pipes read in blocks: the same samples, the same errors, and no memory that grows with the length."""

from __future__ import annotations

import io
import os
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vocos
from vocos import InvalidInput
from vocos.files import audio
from vocos.files.audio import reader, wav

PLAIN = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]
OTHERS = {
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "wav": ("WAV", "ULAW"),
}


def sound(samples: int = 30_000, channels: int = 2) -> np.ndarray:
    waves = [0.9 * np.sin(np.arange(samples) / (9 + channel)) for channel in range(channels)]
    return np.stack(waves, axis=1)


def joined(path: Path, *options: int, pipe: BinaryIO | None = None) -> torch.Tensor:
    with audio.reading(path, *options, pipe=pipe) as file:
        blocks = list(file)
    assert all(len(block) for block in blocks)
    assert file.samples == sum(map(len, blocks))
    return torch.cat(blocks)


class Dribble(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes, self._reads = io.BytesIO(data), sizes, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._reads += 1
        data = self._data.read(min(len(buffer), self._sizes[self._reads % len(self._sizes)]))
        buffer[: len(data)] = data
        return len(data)


def dribble(data: bytes, sizes: list[int] | None = None) -> BinaryIO:
    return io.BufferedReader(Dribble(data, sizes or [4096]))


@pytest.fixture
def through_a_pipe() -> Iterator[Callable[[bytes], BinaryIO]]:
    """Bytes at the end of a pipe of the system."""
    threads, streams = [], []

    def opened(data: bytes) -> BinaryIO:
        out, into = os.pipe()
        thread = threading.Thread(target=_write, args=(into, data))
        thread.start()
        threads.append(thread)
        streams.append(os.fdopen(out, "rb"))
        return streams[-1]

    yield opened
    for stream in streams:
        stream.close()
    for thread in threads:
        thread.join()


def _write(number: int, data: bytes) -> None:
    with os.fdopen(number, "wb") as stream:
        stream.write(data)


class TestFiles:
    """Regular files."""

    @pytest.mark.parametrize("kind", OTHERS)
    @pytest.mark.parametrize("block", [1000, 1 << 16])
    def test_blocks_joined_are_the_file(
        self, kind: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / f"a.{kind}"
        soundfile.write(path, sound(), 44100, format=OTHERS[kind][0], subtype=OTHERS[kind][1])
        expected, rate = soundfile.read(path, dtype="float32", always_2d=True)
        monkeypatch.setattr(reader, "BLOCK", block)
        assert np.array_equal(joined(path).numpy(), expected)
        whole, sampling_rate = audio.read(path)
        assert np.array_equal(whole[0].numpy(), expected)
        assert sampling_rate == rate

    @pytest.mark.parametrize("block", [2, 999, 1 << 16])
    def test_blocks_for_a_codec_are_its_audio(
        self, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        voco = vocos.get_voco("griffinlim")
        soundfile.write(tmp_path / "a.flac", sound(), 44100)
        expected = vocos.read_audio(tmp_path / "a.flac", voco)
        monkeypatch.setattr(reader, "BLOCK", block)
        assert torch.equal(joined(tmp_path / "a.flac", 24000, 1), expected[0])
        assert torch.equal(vocos.read_audio(tmp_path / "a.flac", voco), expected)
        wanted, _ = audio.convert(audio.read(tmp_path / "a.flac")[0], 44100, 24000, 1)
        assert torch.equal(wanted, expected)

    def test_what_is_known_before_reading(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", sound(44100), 44100)
        with audio.reading(tmp_path / "a.wav", 24000, 1) as file:
            assert (file.sampling_rate, file.channel, file.seconds, file.likely_samples) == (24000, 1, 1.0, 24000)
            assert file.done == ["2 channels averaged into 1", "44100 Hz resampled to 24000 Hz"]
            assert sum(map(len, file)) == file.samples == 24000

    def test_cut_file_is_an_error_before_it_is_given(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, sound(), 8000)
        path.write_bytes(path.read_bytes()[:-2])
        with audio.reading(path) as file, pytest.raises(InvalidInput, match="a.wav: cut off, its header says"):
            next(iter(file))

    def test_flac_that_is_cut_is_an_error_at_its_end(self, tmp_path: Path) -> None:
        path = tmp_path / "a.flac"
        soundfile.write(path, sound(), 8000)
        data = bytearray(path.read_bytes())
        data[22:26] = struct.pack(">I", 30_001)
        path.write_bytes(data)
        with audio.reading(path) as file, pytest.raises(InvalidInput, match="a.flac: cut off, its header says"):
            list(file)
        assert file.samples == 30_000

    def test_first_sample_that_is_not_finite_is_named_in_any_block(self, tmp_path: Path) -> None:
        values = sound(70_000, 1)
        values[68_123] = np.inf
        soundfile.write(tmp_path / "a.wav", values, 8000, subtype="FLOAT")
        with pytest.raises(InvalidInput, match="a.wav: holds samples that are not finite numbers, the first at 68123"):
            joined(tmp_path / "a.wav", 16000, 1)

    def test_errors_of_the_caller_are_not_taken_for_those_of_the_file(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", sound(), 8000)
        with pytest.raises(RuntimeError, match="mine"), audio.reading(tmp_path / "a.wav") as file:
            for _ in file:
                raise RuntimeError("mine")


@pytest.mark.parametrize("seconds", [2, 60])
def test_memory_does_not_grow_with_the_length(seconds: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 44100, 2) as file:
        for _ in range(seconds):
            file.write(sound(44100))
    tracemalloc.start()
    try:
        with audio.reading(path, 48000, 2) as opened:
            total = sum(map(len, opened))
        piped = path.open("rb")
        with piped, audio.reading(path, 48000, 2, pipe=piped) as opened:
            assert sum(map(len, opened)) == total == seconds * 48000
        assert tracemalloc.get_traced_memory()[1] < 3 << 20  # measured: 1.6 MiB; a minute has 21 MiB
    finally:
        tracemalloc.stop()


class TestPipes:
    """What comes through a pipe is the file that it would be."""

    @pytest.mark.parametrize("subtype", PLAIN)
    @pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
    def test_wav_of_plain_numbers_is_given_as_it_comes(
        self, kind: str, subtype: str, tmp_path: Path, through_a_pipe: Callable[[bytes], BinaryIO]
    ) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, sound(), 8000, format=kind, subtype=subtype)
        expected = soundfile.read(path, dtype="float32", always_2d=True)[0]
        assert np.array_equal(joined(Path("-"), pipe=through_a_pipe(path.read_bytes())).numpy(), expected)

    @pytest.mark.parametrize("kind", OTHERS)
    def test_other_formats_are_read_too(
        self, kind: str, tmp_path: Path, through_a_pipe: Callable[[bytes], BinaryIO]
    ) -> None:
        path = tmp_path / "a"
        soundfile.write(path, sound(), 44100, format=OTHERS[kind][0], subtype=OTHERS[kind][1])
        assert torch.equal(joined(Path("-"), 24000, 1, pipe=through_a_pipe(path.read_bytes())), joined(path, 24000, 1))

    @given(st.lists(st.integers(1, 9999), min_size=1, max_size=5), st.sampled_from(PLAIN))
    @settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_pieces_of_any_size_make_the_whole(self, tmp_path: Path, sizes: list[int], subtype: str) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, sound(3000, 3), 44100, subtype=subtype)
        given = joined(path, 24000, 2, pipe=dribble(path.read_bytes(), sizes))
        assert torch.equal(given, joined(path, 24000, 2))

    def test_live_source_is_heard_before_it_ends(self, tmp_path: Path) -> None:
        out, into = os.pipe()
        soundfile.write(tmp_path / "a.wav", sound(1000, 1), 8000)
        data = bytearray((tmp_path / "a.wav").read_bytes())
        data[40:44] = struct.pack("<I", 0xFFFFFFFF)
        with os.fdopen(out, "rb") as stream, os.fdopen(into, "wb", buffering=0) as source:
            source.write(data)
            with audio.reading(Path("-"), pipe=stream) as file:
                assert file.seconds is None
                blocks = iter(file)
                assert len(next(blocks)) == 1000
                source.write(data[44:])
                assert len(next(blocks)) == 1000
                source.close()
                assert list(blocks) == []

    @pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000])
    def test_wav_of_unknown_length_is_read_to_its_end(self, length: int, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, sound(), 8000)
        data = bytearray(path.read_bytes())
        data[40:44] = struct.pack("<I", length)
        expected = joined(path)
        assert torch.equal(joined(Path("-"), pipe=dribble(data)), expected)
        path.write_bytes(data)
        assert torch.equal(joined(path), expected)
        path.write_bytes(data + b"\0")  # half a sample
        assert torch.equal(joined(path), expected)

    def test_chunks_around_the_samples_are_no_sound(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, sound(), 8000)
        data, odd = path.read_bytes(), b"LIST\x03\0\0\0abc\0"
        large = b"JUNK" + struct.pack("<I", 200_000) + bytes(200_000)
        pipe = dribble(data[:12] + odd + data[12:36] + large + data[36:] + odd)
        assert torch.equal(joined(Path("-"), pipe=pipe), joined(path))
        assert pipe.read() == b""  # what writes it has not met a closed pipe

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda data: data[:-2], "-: cut off, its header says that it is longer; copy the file again"),
            (lambda data: data[:40] + bytes(4), "-: holds no samples, or is cut off"),
            (lambda data: data[:40], "-: not a readable audio file"),
            (lambda data: data[:30], "-: not a readable audio file"),
            (lambda data: data[:12], "-: not a readable audio file"),
            (lambda data: b"", "-: not a readable audio file"),
            (lambda data: b"hello", "-: not a readable audio file"),
            (lambda data: data[:24] + struct.pack("<I", 999) + data[28:], "-: says 999 Hz, audio has 1000 to 768000"),
            (lambda data: data[:22] + bytes(2) + data[24:], "-: not a readable audio file"),
        ],
    )
    def test_what_is_wrong_is_said(self, change: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", sound(), 8000)
        with pytest.raises(InvalidInput) as caught:
            joined(Path("-"), pipe=dribble(change((tmp_path / "a.wav").read_bytes())))
        assert str(caught.value).startswith(message)

    def test_float64_that_float32_does_not_have_is_refused(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", np.array([0.0, 1e300]), 8000, subtype="DOUBLE")
        for pipe in (None, dribble((tmp_path / "a.wav").read_bytes())):
            with pytest.raises(InvalidInput, match="not finite numbers, the first at 1"):
                joined(tmp_path / "a.wav", pipe=pipe)

    @given(st.integers(0, 80), st.binary(min_size=1, max_size=8), st.integers(0, 2000))
    @settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_damage_is_an_error_of_ours_or_none(self, tmp_path: Path, at: int, damage: bytes, length: int) -> None:
        path = tmp_path / "a.wav"
        if not path.exists():
            soundfile.write(path, sound(400), 8000, format="WAVEX")
        data = path.read_bytes()
        data = (data[:at] + damage + data[at + len(damage) :])[:length]
        try:
            given = joined(Path("-"), pipe=dribble(data))
        except InvalidInput as error:
            assert str(error).startswith("-: ")
        else:
            assert torch.isfinite(given).all()


def test_header_says_what_the_samples_are(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sound(), 8000, subtype="PCM_24")
    soundfile.write(tmp_path / "b.wav", sound(), 8000, subtype="ULAW")
    with (tmp_path / "a.wav").open("rb") as stream:
        header = wav.layout(stream.read)
        assert header == wav.Layout(8000, 2, (wav.PCM, 24), 30_000 * 6)
        assert header.frame_bytes == 6
        assert stream.tell() == (tmp_path / "a.wav").stat().st_size - 30_000 * 6
    with (tmp_path / "b.wav").open("rb") as stream:
        header = wav.layout(stream.read)
        assert header is not None
        assert header.kind is None
        assert header.n_bytes == 60_000
