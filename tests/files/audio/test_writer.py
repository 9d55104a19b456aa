"""Files and pipes written in blocks: the same bytes whatever the blocks, all of it or nothing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vocos import InvalidInput
from vocos.files import audio
from vocos.files.audio import writer


def noise(samples: int, channels: int = 1) -> torch.Tensor:
    return torch.rand(samples, channels, generator=torch.Generator().manual_seed(samples)) * 2.2 - 1.1


def put(path: Path, blocks: Any, rate: int = 24000, channels: int = 1, pipe: Any = None) -> list[str]:
    with audio.writing(path, rate, channels, pipe) as file:
        for block in blocks:
            file.write(block)
    return file.remarks


class TestBlocks:
    """How audio is divided does not show."""

    @pytest.mark.parametrize("ending", audio.WRITTEN)
    @given(st.lists(st.integers(0, 3000), min_size=1, max_size=9).filter(any), st.sampled_from([1, 2]))
    @settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_bytes_are_those_of_the_whole(self, ending: str, tmp_path: Path, sizes: list[int], channels: int) -> None:
        sound = noise(sum(sizes), channels)
        remarks = put(tmp_path / f"a{ending}", torch.split(sound, sizes), 24000, channels)
        assert (
            remarks
            == audio.write(tmp_path / f"b{ending}", sound[None], 24000)
            == [f"clipped, its peak was {float(sound.abs().max()):.2f}"][: int(sound.abs().max() > 1)]
        )
        assert _bytes(tmp_path / f"a{ending}") == _bytes(tmp_path / f"b{ending}")

    @pytest.mark.parametrize("ending", audio.WRITTEN)
    @pytest.mark.parametrize("size", [320, 65_535, 65_536, 65_537, 150_000])
    def test_bytes_are_those_of_the_whole_beyond_a_block(self, ending: str, size: int, tmp_path: Path) -> None:
        sound = noise(200_000, 2)
        put(tmp_path / f"a{ending}", torch.split(sound, size), 24000, 2)
        audio.write(tmp_path / f"b{ending}", sound[None], 24000)
        assert _bytes(tmp_path / f"a{ending}") == _bytes(tmp_path / f"b{ending}")

    def test_numbers_of_any_precision_are_taken(self, tmp_path: Path) -> None:
        sound = noise(100).clamp(-1, 1).bfloat16()
        put(tmp_path / "a.wav", [sound, sound.double(), sound.float().requires_grad_()])
        first, second, third = audio.read(tmp_path / "a.wav")[0][0].split(100)
        assert torch.equal(first, second)
        assert torch.equal(first, third)

    def test_peak_is_that_of_all_blocks(self, tmp_path: Path) -> None:
        blocks = [torch.full((9, 1), value) for value in (0.5, -3.0, 1.5)]
        assert put(tmp_path / "a.wav", blocks) == ["clipped, its peak was 3.00"]


class TestNothingHalf:
    """An error leaves what was there."""

    @pytest.mark.parametrize("error", [RuntimeError("(os error 28)"), KeyboardInterrupt(), InvalidInput("x")])
    @pytest.mark.parametrize("ending", audio.WRITTEN)
    def test_error_of_the_caller_is_passed_on_and_the_old_file_stays(
        self, error: BaseException, ending: str, tmp_path: Path
    ) -> None:
        path = tmp_path / f"a{ending}"
        path.write_text("old")
        with pytest.raises(type(error)) as caught, audio.writing(path, 24000, 1) as file:
            file.write(noise(100_000))
            raise error
        assert caught.value is error
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(
        ("blocks", "message"),
        [
            ([], "a.wav: not written, for there are no samples"),
            ([torch.zeros(0, 1)], "a.wav: not written, for there are no samples"),
            (
                [torch.zeros(70_000, 1), torch.tensor([[0.0], [float("nan")]])],
                "a.wav: not written, for the audio is not finite, from sample 70001 on",
            ),
            ([torch.zeros(5, 1), torch.zeros(5, 2)], r"a.wav: expected audio \[n, 1\], got \[5, 2\]"),
            ([torch.zeros(1, 5, 1)], r"a.wav: expected audio \[n, 1\], got \[1, 5, 1\]"),
        ],
    )
    @pytest.mark.parametrize("is_piped", [False, True])
    def test_what_is_no_audio_is_refused(self, blocks: Any, message: str, is_piped: bool, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=message):
            put(tmp_path / "a.wav", blocks, pipe=io.BytesIO() if is_piped else None)
        assert list(tmp_path.iterdir()) == []

    def test_wav_does_not_hold_more_than_its_header_can_say(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "WAV_BYTES", 1000)
        put(tmp_path / "a.wav", [noise(499), noise(1)])
        with pytest.raises(InvalidInput, match=r"b.wav: wav holds up to 4 GiB, 500 samples of this; write .flac"):
            put(tmp_path / "b.wav", [noise(499), noise(2)])
        put(tmp_path / "b.flac", [noise(501)])
        put(tmp_path / "-", [noise(501)], pipe=io.BytesIO())
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.flac"]

    def test_file_that_cannot_be_read_back_is_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_: [])
        with pytest.raises(InvalidInput, match=r"a.wav: cannot be written \(it is cut off\)"):
            put(tmp_path / "a.wav", [noise(9)])
        assert list(tmp_path.iterdir()) == []


class TestPipes:
    """WAV whose length is not known."""

    @pytest.mark.parametrize("channels", [1, 2])
    def test_bytes_are_those_of_the_file_but_for_the_lengths(self, channels: int, tmp_path: Path) -> None:
        sound, pipe = noise(100_000, channels), io.BytesIO()
        sound[:9] = torch.tensor([-1e-12, 1e-12, -0.0, 1, -1, -2, 2, -1 + 2**-20, 1 - 2**-20])[:, None]
        put(Path("-"), torch.split(sound, 777), 44100, channels, pipe)
        audio.write(tmp_path / "a.wav", sound[None], 44100)
        given, expected = pipe.getvalue(), (tmp_path / "a.wav").read_bytes()
        assert given[4:8] == given[40:44] == b"\xff" * 4
        assert (given[8:40], given[44:]) == (expected[8:40], expected[44:])

    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        sound, pipe = noise(5000, 2), io.BytesIO()
        put(Path("-"), [sound], 44100, 2, pipe)
        audio.write(tmp_path / "a.wav", sound[None], 44100)
        (tmp_path / "b.wav").write_bytes(pipe.getvalue())
        pipe.seek(0)
        with audio.reading(Path("-"), pipe=pipe) as file:
            piped = file.whole()
        assert torch.equal(piped, audio.read(tmp_path / "a.wav")[0])
        assert torch.equal(piped, audio.read(tmp_path / "b.wav")[0])
        assert soundfile.info(tmp_path / "b.wav").frames == 5000

    def test_each_block_leaves_at_once(self) -> None:
        out, into = os.pipe()
        with (
            os.fdopen(out, "rb", buffering=0) as end,
            os.fdopen(into, "wb") as pipe,
            audio.writing(Path("-"), 8000, 1, pipe) as file,
        ):
            for size, header in ((100, 44), (7, 0)):
                file.write(noise(size))
                assert len(end.read(9999)) == 2 * size + header

    def test_file_in_the_place_of_a_pipe_gets_its_lengths(self, tmp_path: Path) -> None:
        sound = noise(5000)
        audio.write(tmp_path / "a.wav", sound[None], 24000)
        for start in (b"", b"before"):
            with (tmp_path / "b.wav").open("wb") as stream:
                stream.write(start)
                stream.flush()
                put(Path("-"), torch.split(sound, 999), pipe=stream)
                stream.write(b"after")
            assert (tmp_path / "b.wav").read_bytes() == start + (tmp_path / "a.wav").read_bytes() + b"after"

    def test_file_that_is_appended_to_keeps_what_it_has(self, tmp_path: Path) -> None:
        path, pipe = tmp_path / "a.wav", io.BytesIO()
        put(Path("-"), [noise(5000)], pipe=pipe)
        for _ in range(2):
            with path.open("ab") as stream:
                put(Path("-"), [noise(5000)], pipe=stream)
        assert path.read_bytes() == 2 * pipe.getvalue()

    def test_errors_name_the_stream(self) -> None:
        with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space") as caught:  # noqa: PTH123
            put(Path("there"), [noise(9)], pipe=full)
        assert caught.value.filename == "there"
        out, into = os.pipe()
        os.close(out)
        with os.fdopen(into, "wb", buffering=0) as broken, pytest.raises(BrokenPipeError):
            put(Path("-"), [noise(9)], pipe=broken)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    program = """
import resource, sys, torch
from pathlib import Path
from vocos.files import audio

block = 0.5 * torch.sin(torch.arange(48000) / 9)[:, None].expand(-1, 2)
for ending in audio.WRITTEN:
    for seconds in (3, 60):
        with audio.writing(Path(sys.argv[1] + ending), 48000, 2) as file:
            for _ in range(seconds):
                file.write(block)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "a"], capture_output=True, text=True, check=True)
    used = list(map(int, done.stdout.split()))
    for short, long in zip(used[::2], used[1::2], strict=True):
        assert long - short < 4000  # KiB; a minute has 22,500


def _bytes(path: Path) -> bytes:
    """The content of a file; of Ogg without the serial number of the stream, which is drawn, and its checksums."""
    data = path.read_bytes()
    if path.suffix != ".ogg":
        return data
    pages = []
    for page in data.split(b"OggS")[1:]:
        pages.append(page[:10] + page[14:18] + page[22:])
    return b"".join(pages)
