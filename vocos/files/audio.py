"""Audio files, resampling and channels: the only module that imports soundfile and soxr."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocos.errors import InvalidInput
from vocos.files.places import require_file
from vocos.voco import Voco
from vocos.weights.atomic import replacing

READ = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64")
WRITTEN = (".wav", ".flac", ".ogg", ".mp3")
OGG_RATE, OGG_CHANNELS = 200_000, 255  # the most that libvorbis has; with more it kills the process
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
RATES = (1000, 768_000)  # Hz; a header with another rate is damaged, and resampling it would take all memory
BLOCK = 65_536  # frames at a time: libvorbis keeps what it is given on the stack
PLAUSIBLE = 64  # samples per byte of a file, above which the length in its header is not believed
STREAMED = 0x7FFF_0000  # bytes from which on the length in the header of a wav file means "unknown"
UNKNOWN = 1 << 62  # frames from which on libsndfile means the same
MAX_CHUNKS = 1000  # of a wav file that are looked at

logger = logging.getLogger("vocos.files")


def read_audio(path: str | os.PathLike[str], voco: Voco[Any]) -> Tensor:
    """The audio of a file, as a codec takes it. The logger `vocos.files` reports conversions at level info.

        audio = read_audio("clip.flac", voco)
        latents = voco.encode(audio)

    Args:
        path: of a wav, flac, ogg, opus, mp3 or aiff file of any sampling rate and number of channels.
        voco: the codec; it need not be loaded.

    Returns:
        Float32 `[1, samples, channel]` in [-1, 1], at the sampling rate of the codec.

    Raises:
        InvalidInput: if there is no such file, or it holds no audio that can be read.
    """
    audio, sampling_rate = read(Path(path))
    audio, done = convert(audio, sampling_rate, voco.sampling_rate, voco.channel)
    if done:
        logger.info("%s: %s", path, "; ".join(done))
    return audio


def write_audio(path: str | os.PathLike[str], audio: Tensor, voco: Voco[Any]) -> None:
    """Write the audio of a codec to a file, which appears under its name only when it is complete.

        write_audio("clip.wav", voco.decode(latents), voco)

    Args:
        path: its ending gives the format: .wav, .flac, .ogg or .mp3.
        audio: float `[samples, channels]` or `[1, samples, channels]`; what exceeds [-1, 1] is clipped, and a warning
            of the logger `vocos.files` says so.
        voco: the codec that made it, which knows the sampling rate.

    Raises:
        InvalidInput: if `audio` is not one clip, is not finite, or the format cannot hold it.
        OSError: if the file cannot be written.
    """
    place = Path(path)
    writable(place)
    if not isinstance(audio, Tensor) or not audio.dtype.is_floating_point:
        raise InvalidInput(f"write_audio: expected a float tensor, got {getattr(audio, 'dtype', type(audio).__name__)}")
    clip = audio[None] if audio.ndim == 2 else audio
    if clip.ndim != 3 or len(clip) != 1 or 0 in clip.shape:
        raise InvalidInput(
            f"write_audio: expected audio [samples, channels] or [1, samples, channels] of one clip, got "
            f"{list(audio.shape)}; give each clip a file"
        )
    for what in write(place, clip, voco.sampling_rate):
        logger.warning("%s: %s", path, what)


# Reading


def read(path: Path) -> tuple[Tensor, int]:
    """The audio in a file.

    Returns:
        Float32 `[1, samples, channels]` in [-1, 1], and its sampling rate in Hz.

    Raises:
        InvalidInput: if there is no such file, it holds no audio, or its format is not known.
    """
    require_file(path)
    with path.open("rb", buffering=0) as stream, _reading(path):
        missing = _missing_bytes(stream)
        stream.seek(0)
        # The descriptor, not the name: soundfile takes `.raw` for another call, and encodes names strictly.
        with _Forward(stream.fileno(), closefd=False) as file:
            _check_rate(path, file.samplerate)
            samples = _all_of(path, file, os.fstat(stream.fileno()).st_size)
            claimed, sampling_rate, format_ = file.frames, file.samplerate, file.format
    if len(samples) == 0:
        raise InvalidInput(f"{path}: holds no samples, or is cut off")
    if missing or (format_ == "FLAC" and len(samples) < claimed < UNKNOWN):
        raise InvalidInput(f"{path}: cut off, its header says that it is longer; copy the file again")
    return torch.from_numpy(samples)[None], sampling_rate


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its beginning to its end.

    soundfile seeks after every block, which fails in a FLAC file of unknown length, and believes the header about what
    is left.
    """

    def seekable(self) -> bool:
        """Never."""
        return False


def _all_of(path: Path, file: _Forward, n_bytes: int) -> NDArray[np.float32]:
    """All samples, whatever the header says of their number; room is made for those that are there."""
    room = min(file.frames, PLAUSIBLE * n_bytes // file.channels) + 1
    samples, filled = np.empty((room, file.channels), np.float32), 0
    while True:
        if filled == len(samples):
            more = np.empty((max(BLOCK, filled), file.channels), np.float32)
            samples = np.concatenate([samples, more])
        block = file.read(out=samples[filled : filled + BLOCK])
        if len(block) == 0:
            return samples[:filled]
        if not np.isfinite(block).all():
            first = filled + int(np.isfinite(block).all(axis=1).argmin())
            raise InvalidInput(f"{path}: holds samples that are not finite numbers, the first at {first}")
        filled += len(block)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of libsndfile as ours."""
    try:
        yield
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"{path}: not a readable audio file ({_reason(error)}); wav, flac, ogg, opus and mp3 can be read, ffmpeg "
            "converts others to wav"
        ) from error


def _reason(error: Exception) -> str:
    """What libsndfile says, without the number of the open file."""
    return str(getattr(error, "error_string", error)).rstrip(".")


def _check_rate(path: Path, sampling_rate: int) -> None:
    if not RATES[0] <= sampling_rate <= RATES[1]:
        raise InvalidInput(f"{path}: says {sampling_rate} Hz, audio has {RATES[0]} to {RATES[1]} Hz")


def _missing_bytes(stream: FileIO) -> int:
    """Bytes of samples that the header of a wav file promises and that are not there; libsndfile does not tell."""
    end = os.fstat(stream.fileno()).st_size
    if stream.read(4) != b"RIFF":
        return 0
    stream.seek(12)
    for _ in range(MAX_CHUNKS):
        if len(head := stream.read(8)) < 8:
            break
        kind, length = struct.unpack("<4sI", head)
        if kind == b"data":
            return 0 if length >= STREAMED else max(0, stream.tell() + length - end)
        stream.seek(length + length % 2, os.SEEK_CUR)
    return 0


# Converting


def convert(audio: Tensor, sampling_rate: int, to_rate: int, to_channel: int) -> tuple[Tensor, list[str]]:
    """Audio at another sampling rate and with another number of channels.

    Channels are averaged into one, and one is repeated; of more than the two wanted, the first two are kept.

    Args:
        audio: float `[1, samples, channels]`.
        sampling_rate: sampling rate of `audio`, in Hz.
        to_rate: sampling rate wanted, in Hz.
        to_channel: number of channels wanted, 1 or 2.

    Returns:
        Float32 `[1, samples', to_channel]`, and remarks on what was converted.
    """
    done = []
    channels = audio.shape[2]
    if channels != to_channel:
        if to_channel == 1:
            audio = audio.mean(dim=2, keepdim=True)
            done.append(f"{channels} channels averaged into 1")
        elif channels == 1:
            audio = audio.expand(-1, -1, to_channel)
            done.append(f"1 channel repeated {to_channel} times")
        else:
            audio = audio[:, :, :to_channel]
            done.append(f"the first {to_channel} of {channels} channels")
    if sampling_rate != to_rate:
        resampled = soxr.resample(audio[0].numpy(), sampling_rate, to_rate)
        audio = torch.from_numpy(np.atleast_2d(resampled).reshape(-1, to_channel))[None]
        done.append(f"{sampling_rate} Hz resampled to {to_rate} Hz")
    return audio.contiguous(), done


# Writing


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


def write(path: Path, audio: Tensor, sampling_rate: int) -> list[str]:
    """Write audio to a file, which appears under its name only when it is complete.

    Args:
        path: its ending gives the format.
        audio: float `[1, samples, channels]`; what exceeds [-1, 1] is clipped.
        sampling_rate: in Hz.

    Returns:
        Remarks on what was done to the audio, such as that it was clipped.

    Raises:
        InvalidInput: if it holds numbers that are not finite, or the format cannot hold it.
        OSError: if the file cannot be written.
    """
    writable(path)
    check_name(path, sampling_rate, audio.shape[2])
    samples = audio[0].detach().float().cpu().numpy()
    if len(samples) == 0:
        raise InvalidInput(f"{path}: not written, for there are no samples")
    peak = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(peak):
        first = int(np.isfinite(samples).all(axis=1).argmin())
        raise InvalidInput(f"{path}: not written, for the audio is not finite, from sample {first} on")
    with replacing(path) as temporary, _writing(path):
        with temporary.open("r+b") as stream, soundfile.SoundFile(
            stream.fileno(), "w", sampling_rate, samples.shape[1], format=path.suffix[1:].upper(), closefd=False
        ) as file:  # fmt: skip
            for start in range(0, len(samples), BLOCK):
                file.write(np.clip(samples[start : start + BLOCK], -1.0, 1.0))
        _check_whole(temporary, len(samples))
    return [f"clipped, its peak was {peak:.2f}"] if peak > 1.0 else []


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Errors of libsndfile as errors of the system; `replacing` knows if the disk is full."""
    try:
        yield
    except (soundfile.SoundFileError, RuntimeError, AssertionError) as error:
        raise InvalidInput(f"{path}: cannot be written ({_reason(error)})") from error


def _check_whole(path: Path, count: int) -> None:
    """The last block of some encoders is written when the file is closed, which reports no error of the disk."""
    with path.open("rb") as stream, soundfile.SoundFile(stream.fileno(), closefd=False) as file:
        file.seek(count - 1)
        if len(file.read(1)) != 1:
            raise soundfile.SoundFileRuntimeError("it is cut off")
