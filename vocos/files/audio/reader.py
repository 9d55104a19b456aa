"""Audio files read in blocks, from the first sample to the last, whatever their length."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocos.errors import InvalidInput
from vocos.files.audio import wav
from vocos.files.audio.converter import Converter
from vocos.files.places import require_file

READ = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64")
RATES = (1000, 768_000)  # Hz; a header with another rate is damaged, and resampling it would take all memory
BLOCK = 65_536  # numbers at a time, whatever the channels
PLAUSIBLE = 64  # samples per byte of a file, above which the length in its header is not believed
UNKNOWN = 1 << 62  # frames from which on libsndfile means that it does not know
LONGEST_HEADER = 1 << 20  # bytes from a pipe that are kept in memory
CUT_OFF = "cut off, its header says that it is longer; copy the file again"


@contextmanager
def reading(
    path: Path,
    sampling_rate: int | None = None,
    channel: int | None = None,
    pipe: BinaryIO | io.RawIOBase | None = None,
    start: float = 0.0,
    stop: float | None = None,
) -> Iterator[AudioReader]:
    """Audio to be read in blocks.

        with reading(Path("clip.flac"), voco.sampling_rate, voco.channel) as sound:
            for block in sound:  # [n, channel]
                stream.push(block[None])

    Args:
        path: of a file of any format that is read, sampling rate and number of channels.
        sampling_rate: that wanted, in Hz; None for that of the file.
        channel: number of channels wanted, 1 or 2; None for that of the file.
        pipe: what to read in the place of the file, which errors call `path`. A WAV of plain numbers is given on as it
            comes; anything else is copied to the disk first.
        start: where to begin, in seconds, rounded to a sample of the file.
        stop: where to end, in seconds, or at the end of the file if that comes first; None for the end.

    Raises:
        InvalidInput: if there is no such file, or it holds no audio that can be read.
    """
    with ExitStack() as open_files:
        if pipe is None:
            require_file(path)
            source = _in_file(path, open_files.enter_context(path.open("rb", buffering=0)), open_files)
        else:
            source = _in_pipe(path, pipe, open_files)
        if not RATES[0] <= source.sampling_rate <= RATES[1]:
            raise InvalidInput(f"{path}: says {source.sampling_rate} Hz, audio has {RATES[0]} to {RATES[1]} Hz")
        if start > 0 or stop is not None:
            source = _Range(path, source, start, stop)
        yield AudioReader(path, source, sampling_rate or source.sampling_rate, channel or source.channels)


class AudioReader:
    """Audio in blocks. Joined they are the same to the bit whatever their sizes, which may be any from 1 on.

    Attributes:
        sampling_rate: of the blocks, in Hz.
        channel: number of channels of the blocks.
        seconds: length by the header, which may be wrong; None if it does not say.
        likely_samples: how many the header says, or as many of them as the file can hold; 0 if that is not known.
        samples: how many have been given, so far.
        done: remarks on what is converted.
    """

    def __init__(self, path: Path, source: Source, sampling_rate: int, channel: int) -> None:
        """The audio of a source, converted."""
        self.sampling_rate, self.channel, self.samples = sampling_rate, channel, 0
        self.seconds = None if source.frames is None else source.frames / source.sampling_rate
        self.likely_samples = -(-source.likely_frames * sampling_rate // source.sampling_rate)
        self._path, self._source = path, source
        self._converter = Converter(source.sampling_rate, source.channels, sampling_rate, channel)
        self.done = self._converter.done

    def __iter__(self) -> Iterator[Tensor]:
        """Float32 `[n, channel]`, n >= 1, in [-1, 1]; once.

        Raises:
            InvalidInput: if the file is damaged or cut off, holds no samples, or some that are not finite.
        """
        count = 0
        for block in self._source.blocks():
            if not np.isfinite(block).all():
                first = count + int(np.isfinite(block).all(axis=1).argmin())
                raise InvalidInput(f"{self._path}: holds samples that are not finite numbers, the first at {first}")
            count += len(block)
            yield from self._given(self._converter.push(torch.from_numpy(block)))
        if count == 0:
            raise InvalidInput(f"{self._path}: holds no samples, or is cut off")
        nothing = torch.from_numpy(np.empty((0, self._source.channels), np.float32))
        yield from self._given(self._converter.push(nothing, last=True))

    def _given(self, block: Tensor) -> Iterator[Tensor]:
        self.samples += len(block)
        if len(block):
            yield block

    def whole(self) -> Tensor:
        """All blocks, `[1, samples, channel]`, in room for as many as are likely, and for more as they come."""
        samples, filled = np.empty((self.likely_samples, self.channel), np.float32), 0
        for block in self:
            if (end := filled + len(block)) > len(samples):
                more = np.empty((max(end, 2 * filled), self.channel), np.float32)
                more[:filled] = samples[:filled]
                samples = more
            samples[filled:end] = block.numpy()
            filled = end
        return torch.from_numpy(samples[:filled])[None]


class Source(Protocol):
    """Where samples come from, at the rate and with the channels of the file."""

    sampling_rate: int
    channels: int
    frames: int | None
    likely_frames: int

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Float32 `[n, channels]`, n >= 1."""


class _Range:
    """A part of what a source has, between two times."""

    def __init__(self, path: Path, source: Source, start: float, stop: float | None) -> None:
        """In seconds; None for the end."""
        self.sampling_rate, self.channels = source.sampling_rate, source.channels
        self._path, self._source, self._times = path, source, (start, stop)
        self._start = round(start * source.sampling_rate)
        self._stop = UNKNOWN if stop is None else round(stop * source.sampling_rate)
        known = None if source.frames is None else max(0, min(source.frames, self._stop) - self._start)
        self.frames, self.likely_frames = known, max(0, min(source.likely_frames, self._stop) - self._start)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Float32 `[n, channels]`, n >= 1."""
        position = self._source.skip(self._start) if isinstance(self._source, _Decoded) else 0
        for block in self._source.blocks() if self._stop > self._start else ():
            part = block[max(0, self._start - position) : max(0, self._stop - position)]
            position += len(block)
            if len(part):
                yield part
            if position >= self._stop:
                return
        if position <= self._start:
            start, stop = self._times
            there = f"it has {position / self.sampling_rate:g} s" if self._stop > self._start else f"stop is {stop:g} s"
            raise InvalidInput(f"{self._path}: there is nothing from {start:g} s on, {there}")


def _in_file(path: Path, stream: io.FileIO, open_files: ExitStack) -> Source:
    """The samples of a file that is open."""
    n_bytes = os.fstat(stream.fileno()).st_size
    header = wav.layout(stream.read)
    if header and header.kind and not header.is_known and header.n_bytes % header.frame_bytes:
        return wav.Samples(path, header, stream.read)  # libsndfile takes the sign of no length for one, of up to 4 GiB
    is_cut = header is not None and header.is_known and stream.tell() + header.n_bytes > n_bytes
    stream.seek(0)
    with _translated(path):
        # The descriptor, not the name: soundfile takes `.raw` for another call, and encodes names strictly.
        file = open_files.enter_context(_Forward(stream.fileno(), closefd=False))
    return _Decoded(path, file, n_bytes, is_cut)


def _in_pipe(path: Path, pipe: Any, open_files: ExitStack) -> Source:
    """The samples that come through a pipe; those of a WAV of plain numbers are not kept anywhere."""
    copy = open_files.enter_context(tempfile.SpooledTemporaryFile(LONGEST_HEADER))  # noqa: SIM115

    def kept(count: int) -> bytes:
        data = pipe.read(count)
        copy.write(data)
        return data

    header = wav.layout(kept)
    if header and header.kind:
        return wav.Samples(path, header, getattr(pipe, "read1", pipe.read))
    shutil.copyfileobj(pipe, copy)
    number = copy.fileno()  # from here on it is on the disk
    copy.seek(0)
    return _in_file(path, open_files.enter_context(io.FileIO(number, closefd=False)), open_files)


class _Decoded:
    """The samples of a file that libsndfile reads."""

    def __init__(self, path: Path, file: soundfile.SoundFile, n_bytes: int, is_cut: bool) -> None:
        """`n_bytes` has the file; `is_cut` says that its header has more."""
        self.sampling_rate, self.channels = file.samplerate, file.channels
        self.frames = file.frames if file.frames < UNKNOWN else None
        self.likely_frames = min(self.frames or 0, PLAUSIBLE * n_bytes // file.channels)
        self._path, self._file, self._is_cut, self._first = path, file, is_cut, 0

    def skip(self, frames: int) -> int:
        """Begin as late as possible up to some frames, and give where. From there all is as in the whole, an MP3 to
        rounding; but libsndfile 1.2.2 finds other samples in the last page of an Ogg file, which is read through."""
        if self._file.format != "OGG":
            with suppress(soundfile.SoundFileError):  # of a FLAC file whose header does not tell the length
                self._first = self._file.seek(min(frames, self.frames or 0))
        return self._first

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Float32 `[n, channels]`, n >= 1, to the end, whatever the header says of the length."""
        size, count = max(1, BLOCK // self.channels), self._first
        while len(block := self._next(size)):
            if self._is_cut:
                raise InvalidInput(f"{self._path}: {CUT_OFF}")
            count += len(block)
            yield block
        if count > self._first and self._file.format == "FLAC" and count < (self.frames or 0):
            raise InvalidInput(f"{self._path}: {CUT_OFF}")

    def _next(self, size: int) -> NDArray[np.float32]:
        with _translated(self._path):
            block: NDArray[np.float32] = self._file.read(size, dtype="float32", always_2d=True)
        return block


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its beginning to its end.

    soundfile seeks after every block, which fails in a FLAC file of unknown length, and believes the header about what
    is left.
    """

    def seekable(self) -> bool:
        """Never."""
        return False


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Errors of libsndfile as ours."""
    try:
        yield
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{path}: not a readable audio file ({reason(error)}); wav, flac, ogg, opus and mp3 can be read, ffmpeg "
            "converts others to wav"
        ) from error


def reason(error: Exception) -> str:
    """What libsndfile says, without the number of the open file."""
    return str(getattr(error, "error_string", error)).rstrip(".")
