"""WAV that goes through pipes, where nothing can be read twice and no length is known in advance.

libsndfile reads and writes every other file. What is written here is what it writes to a file, to the bit, but for the
two lengths of the header; what is read here are the same numbers.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vocos.errors import InvalidInput

try:
    import fcntl
except ImportError:  # Windows: the lengths stay unknown there
    fcntl = None  # type: ignore[assignment]

STREAMED = 0x7FFF_0000  # bytes from which on the length in the header of a wav file means "unknown"
UNKNOWN = 0xFFFF_FFFF  # the length that ffmpeg writes if it does not know it, and so do we
MAX_CHUNKS = 1000  # of a wav file that are looked at
MAX_CHANNELS = 1024  # libsndfile's
PIECE = 1 << 16  # bytes that are read at a time, and what a pipe holds
RIFF = struct.Struct("<4sI4s")
CHUNK = struct.Struct("<4sI")
FORMAT = struct.Struct("<HHIIHH")  # tag, channels, sampling rate, bytes a second, bytes a frame, bits a sample
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SUBFORMAT = slice(24, 40)  # where the extensible format has its tag, the first two bytes of 16 that are else the same
GUID = bytes.fromhex("000000001000800000aa00389b71")
# By tag and bits: numpy's type, the zero of the numbers, and what stands for 1. numpy has no integers of 24 bits.
NUMBERS = {
    (PCM, 8): ("u1", 128, 1 << 7),
    (PCM, 16): ("<i2", 0, 1 << 15),
    (PCM, 24): ("<i4", 0, 1 << 31),
    (PCM, 32): ("<i4", 0, 1 << 31),
    (FLOAT, 32): ("<f4", 0, 1),
    (FLOAT, 64): ("<f8", 0, 1),
}


@dataclass(frozen=True)
class Layout:
    """What the header of a wav file says.

    Attributes:
        sampling_rate: in Hz.
        channels: at least 1.
        kind: tag and bits of the samples, a key of `NUMBERS`; None for those that are coded otherwise.
        n_bytes: of all samples.
    """

    sampling_rate: int
    channels: int
    kind: tuple[int, int] | None
    n_bytes: int

    @property
    def is_known(self) -> bool:
        """Whether the length was known when the header was written."""
        return self.n_bytes < STREAMED

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel; only if there is a `kind`."""
        return self.channels * (self.kind[1] if self.kind else 0) // 8


def layout(read: Callable[[int], bytes]) -> Layout | None:
    """What a header says, read up to the first sample; None if it is not that of a wav file.

    Args:
        read: gives the next bytes, so many, and fewer only at the end.
    """
    if (start := read(RIFF.size))[:4] != b"RIFF" or start[8:] != b"WAVE":
        return None
    described: tuple[int, int, tuple[int, int] | None] | None = None
    for _ in range(MAX_CHUNKS):
        if len(head := read(CHUNK.size)) < CHUNK.size:
            break
        name, length = CHUNK.unpack(head)
        if name == b"data":
            rate, channels, kind = described or (0, 0, None)
            return Layout(rate, channels, kind, length)
        left = length + length % 2
        body = read(min(left, PIECE))
        if name == b"fmt ":
            described = _described(body)
        left -= len(body)
        while left > 0 and (skipped := read(min(left, PIECE))):
            left -= len(skipped)
    return None


def _described(body: bytes) -> tuple[int, int, tuple[int, int] | None]:
    """Sampling rate, channels and kind of the samples, from the format chunk."""
    if len(body) < FORMAT.size:
        return 0, 0, None
    tag, channels, rate, _, frame_bytes, bits = FORMAT.unpack_from(body)
    if tag == EXTENSIBLE and body[SUBFORMAT][2:] == GUID:
        tag = int.from_bytes(body[SUBFORMAT][:2], "little")
    is_plain = (tag, bits) in NUMBERS and 1 <= channels <= MAX_CHANNELS and frame_bytes == channels * bits // 8
    return rate, channels, (tag, bits) if is_plain else None


class Samples:
    """The samples behind a header, of a kind in `NUMBERS`, as they come.

    Attributes:
        sampling_rate: in Hz.
        channels: at least 1.
        frames: samples of each channel; None if it is not known yet.
        likely_frames: how many may be counted on: none.
    """

    likely_frames = 0

    def __init__(self, path: Path, header: Layout, read: Callable[[int], bytes]) -> None:
        """`read` gives the next bytes, at most so many, none at the end alone: better soon than all that are wanted."""
        self.sampling_rate, self.channels = header.sampling_rate, header.channels
        self.frames = header.n_bytes // header.frame_bytes if header.is_known else None
        self._path, self._header, self._read = path, header, read

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Float32 `[n, channels]`, n >= 1, in [-1, 1] where the numbers are integers.

        Raises:
            InvalidInput: at the end, if it comes too early.
        """
        left = self._header.n_bytes if self._header.is_known else None
        rest, size = b"", self._header.frame_bytes
        while data := self._read(PIECE if left is None else min(PIECE, left)):
            left = left and left - len(data)
            data = rest + data
            whole = len(data) // size * size
            rest = data[whole:]
            if whole:
                yield self._numbers(data[:whole])
        if left:
            raise InvalidInput(f"{self._path}: cut off, its header says that it is longer; copy the file again")
        while self._read(PIECE):  # what follows the samples, so that who writes it can end
            pass

    def _numbers(self, data: bytes) -> NDArray[np.float32]:
        assert self._header.kind is not None  # noqa: S101 - what `__init__` asks for
        kind, zero, one = NUMBERS[self._header.kind]
        if self._header.kind == (PCM, 24):  # as the upper bytes of 32 bits
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            data = wide.tobytes()
        with np.errstate(all="ignore"):  # float64 that float32 does not have becomes infinite, which is refused
            numbers = np.frombuffer(data, kind).astype(np.float32)
        return ((numbers - np.float32(zero)) / np.float32(one)).reshape(-1, self.channels)


class Stream:
    """A WAV of 16 bits that is written as it comes, its lengths unknown; told at the end, if there is a way back."""

    def __init__(self, path: Path, stream: BinaryIO, sampling_rate: int, channels: int) -> None:
        """`path` is what errors call the stream."""
        self._path, self._stream = path, stream
        self._sampling_rate, self._channels = sampling_rate, channels
        self._n_bytes = 0

    def write(self, samples: NDArray[np.float32]) -> None:
        """Write samples `[n, channels]` from -1 to 1, at once.

        Raises:
            OSError: that names the stream.
        """
        # As libsndfile, to the bit: rounded to 32 bits, of which the upper 16 are taken
        upper = np.floor(np.rint(samples * np.float32(1 << 31)) / np.float32(1 << 16))
        data = np.minimum(upper, np.float32(32767)).astype("<i2").tobytes()
        self._send(data if self._n_bytes else self._header(UNKNOWN, UNKNOWN) + data)
        self._n_bytes += len(data)

    def finish(self) -> None:
        """Write the lengths into the header, if the stream is a file."""
        length = len(self._header(0, 0)) + self._n_bytes
        if _is_file(self._stream) and length < STREAMED:
            self._stream.seek(-length, os.SEEK_CUR)
            self._send(self._header(length - CHUNK.size, self._n_bytes))
            self._stream.seek(self._n_bytes, os.SEEK_CUR)

    def _header(self, riff_bytes: int, data_bytes: int) -> bytes:
        frame_bytes = 2 * self._channels
        told = (PCM, self._channels, self._sampling_rate, frame_bytes * self._sampling_rate, frame_bytes, 16)
        return (
            RIFF.pack(b"RIFF", riff_bytes, b"WAVE")
            + CHUNK.pack(b"fmt ", FORMAT.size)
            + FORMAT.pack(*told)
            + CHUNK.pack(b"data", data_bytes)
        )

    def _send(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:  # what has no buffer may take less than it is given
                left = left[self._stream.write(left) :]
            self._stream.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def _is_file(stream: BinaryIO) -> bool:
    """Whether it is possible to write again what was written: not in a pipe, nor in a file that is appended to."""
    try:
        number = stream.fileno()
    except OSError:  # in memory
        return False
    return (
        fcntl is not None
        and stat.S_ISREG(os.fstat(number).st_mode)
        and not fcntl.fcntl(number, fcntl.F_GETFL) & os.O_APPEND
    )
