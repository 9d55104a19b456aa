"""Audio files written in blocks, which appear under their names only when they are complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray
from torch import Tensor

from vocos.errors import InvalidInput
from vocos.files.audio.reader import reason
from vocos.files.audio.wav import Stream
from vocos.weights.atomic import Replacement

WRITTEN = (".wav", ".flac", ".ogg", ".mp3")
OGG_RATE, OGG_CHANNELS = 200_000, 255  # the most that libvorbis has; with more it kills the process
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
WAV_BYTES = (1 << 32) - 256  # of samples, in 16 bits; with more, a wav file cannot say how long it is
BLOCK = 65_536  # frames at a time: libvorbis keeps what it is given on the stack


@contextmanager
def writing(path: Path, sampling_rate: int, channels: int, pipe: BinaryIO | None = None) -> Iterator[AudioWriter]:
    """An audio file to be written in blocks; if an error ends the `with`, there is none, and an older one stays.

        with writing(Path("clip.wav"), 24000, 1) as file:
            for block in blocks:  # [n, 1]
                file.write(block)
        print(file.remarks)

    Args:
        path: its ending gives the format.
        sampling_rate: in Hz.
        channels: at least 1.
        pipe: what to write to in the place of a file, as WAV; errors call it `path`.

    Raises:
        InvalidInput: if the format cannot hold it, there are no samples at all, or some that are not finite.
        OSError: if the file cannot be written.
    """
    if pipe is not None:
        file = AudioWriter(path, channels, Stream(path, pipe, sampling_rate, channels))
        yield file
        file.finish()
        return
    writable(path)
    check_name(path, sampling_rate, channels)
    with Replacement(path) as new, _encoding(new, sampling_rate, channels) as encoder:
        file = AudioWriter(path, channels, encoder)
        yield file
        file.finish()


class AudioWriter:
    """Takes audio in blocks. The file is the same whatever their sizes.

    Attributes:
        samples: how many have been written, so far.
        remarks: on what was done to the audio, such as that it was clipped.
    """

    def __init__(self, path: Path, channels: int, sink: Sink) -> None:
        """Writes to a sink what is audio."""
        self.samples = 0
        self._path, self._channels, self._sink = path, channels, sink
        self._peak = 0.0

    def write(self, block: Tensor) -> None:
        """Write the next of the audio, float `[n, channels]` with n >= 0; what exceeds [-1, 1] is clipped.

        Raises:
            InvalidInput: if it holds numbers that are not finite.
            OSError: if the file cannot be written.
        """
        if block.ndim != 2 or block.shape[1] != self._channels:
            raise InvalidInput(f"{self._path}: expected audio [n, {self._channels}], got {list(block.shape)}")
        samples = block.detach().float().cpu().numpy()
        for start in range(0, len(samples), BLOCK):
            self._write(samples[start : start + BLOCK])

    def _write(self, samples: NDArray[np.float32]) -> None:
        peak = float(np.abs(samples).max())
        if not np.isfinite(peak):
            first = self.samples + int(np.isfinite(samples).all(axis=1).argmin())
            raise InvalidInput(f"{self._path}: not written, for the audio is not finite, from sample {first} on")
        self._peak = max(self._peak, peak)
        self._sink.write(np.clip(samples, -1.0, 1.0))
        self.samples += len(samples)

    def finish(self) -> None:
        """Write what is left; `writing` does it."""
        if self.samples == 0:
            raise InvalidInput(f"{self._path}: not written, for there are no samples")
        self._sink.finish()

    @property
    def remarks(self) -> list[str]:
        """Of what was written so far."""
        return [f"clipped, its peak was {self._peak:.2f}"] if self._peak > 1.0 else []


class Sink(Protocol):
    """Where samples go."""

    def write(self, samples: NDArray[np.float32]) -> None:
        """Samples `[n, channels]` from -1 to 1, n >= 1."""

    def finish(self) -> None:
        """There are no more."""


@contextmanager
def _encoding(new: Replacement, sampling_rate: int, channels: int) -> Iterator[_Encoder]:
    with new.opened() as stream:
        with _translated(new):
            file = soundfile.SoundFile(
                stream.fileno(), "w", sampling_rate, channels, format=new.path.suffix[1:].upper(), closefd=False
            )
        try:
            yield _Encoder(new, file)
        finally:  # `finish` has closed it, or it is thrown away
            with suppress(soundfile.SoundFileError):
                file.close()


class _Encoder:
    """A file that libsndfile writes, in blocks of one size, for some encoders make other bytes of others."""

    def __init__(self, new: Replacement, file: soundfile.SoundFile) -> None:
        self._new, self._file = new, file
        self._block, self._filled, self._count = np.empty((BLOCK, file.channels), np.float32), 0, 0
        self._most = WAV_BYTES // (2 * file.channels) if file.format == "WAV" else None

    def write(self, samples: NDArray[np.float32]) -> None:
        """Samples `[n, channels]` from -1 to 1."""
        self._count += len(samples)
        if self._most is not None and self._count > self._most:
            raise InvalidInput(f"{self._new.path}: wav holds up to 4 GiB, {self._most} samples of this; write .flac")
        while len(samples):
            taken = samples[: BLOCK - self._filled]
            self._block[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            samples = samples[len(taken) :]
            if self._filled == BLOCK:
                self._flush()

    def finish(self) -> None:
        """Write the rest, and check that all of it can be read."""
        self._flush()
        with _translated(self._new):
            self._file.close()
            _check_whole(self._new.temporary, self._count)

    def _flush(self) -> None:
        if self._filled:
            with _translated(self._new):
                self._file.write(self._block[: self._filled])
        self._filled = 0


def check_name(path: Path, sampling_rate: int | None = None, channels: int = 1) -> None:
    """Raise InvalidInput unless the ending is that of an audio format that can hold the rate and the channels."""
    if path.suffix.lower() not in WRITTEN:
        raise InvalidInput(f"{path}: audio is written as {', '.join(WRITTEN)}, not as {path.suffix!r}")
    if path.suffix.lower() == ".mp3" and sampling_rate not in (None, *MP3_RATES):
        raise InvalidInput(
            f"{path}: mp3 has no {sampling_rate} Hz, only {', '.join(map(str, MP3_RATES))}; write .wav or .flac"
        )
    if path.suffix.lower() == ".ogg" and ((sampling_rate or 0) > OGG_RATE or channels > OGG_CHANNELS):
        raise InvalidInput(f"{path}: ogg has up to {OGG_RATE} Hz and {OGG_CHANNELS} channels; write .wav")


def writable(path: Path) -> None:
    """Raise InvalidInput unless audio can be written under this name now."""
    check_name(path)
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(f"{path}: not a file name in an existing folder")


@contextmanager
def _translated(new: Replacement) -> Iterator[None]:
    """Errors of libsndfile as ours, or as those of the system if the disk is full."""
    with new.explaining():
        try:
            yield
        except (soundfile.SoundFileError, RuntimeError, AssertionError) as error:
            raise InvalidInput(f"{new.path}: cannot be written ({reason(error)})") from error


def _check_whole(path: Path, count: int) -> None:
    """The last block of some encoders is written when the file is closed, which reports no error of the disk."""
    with path.open("rb") as stream, soundfile.SoundFile(stream.fileno(), closefd=False) as file:
        file.seek(count - 1)
        if len(file.read(1)) != 1:
            raise soundfile.SoundFileRuntimeError("it is cut off")
