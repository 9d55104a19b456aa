"""Audio files, resampling and channels: the only modules that import soundfile and soxr.

`reader` reads a file in blocks, `converter` resamples and mixes them, `writer` writes blocks to a file, `wav` is for
pipes. Here are the calls for clips that fit into memory; each is its blocks joined.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from vocos.errors import InvalidInput
from vocos.files.audio.converter import Converter
from vocos.files.audio.reader import PLAUSIBLE, RATES, READ, AudioReader, reading
from vocos.files.audio.writer import WRITTEN, AudioWriter, check_name, writable, writing
from vocos.voco import Voco

__all__ = [
    "PLAUSIBLE",
    "RATES",
    "READ",
    "WRITTEN",
    "AudioReader",
    "AudioWriter",
    "Converter",
    "check_name",
    "convert",
    "read",
    "read_audio",
    "reading",
    "writable",
    "write",
    "write_audio",
    "writing",
]

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
    with reading(Path(path), voco.sampling_rate, voco.channel) as sound:
        audio = sound.whole()
    if sound.done:
        logger.info("%s: %s", path, "; ".join(sound.done))
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


def read(path: Path) -> tuple[Tensor, int]:
    """The audio in a file.

    Returns:
        Float32 `[1, samples, channels]` in [-1, 1], and its sampling rate in Hz.

    Raises:
        InvalidInput: if there is no such file, it holds no audio, or its format is not known.
    """
    with reading(path) as sound:
        return sound.whole(), sound.sampling_rate


def convert(audio: Tensor, sampling_rate: int, to_rate: int, to_channel: int) -> tuple[Tensor, list[str]]:
    """Audio at another sampling rate and with another number of channels, as `Converter` makes it.

    Args:
        audio: float32 `[1, samples, channels]`.
        sampling_rate: sampling rate of `audio`, in Hz.
        to_rate: sampling rate wanted, in Hz.
        to_channel: number of channels wanted, 1 or 2.

    Returns:
        Float32 `[1, samples', to_channel]`, and remarks on what was converted.
    """
    converter = Converter(sampling_rate, audio.shape[2], to_rate, to_channel)
    return converter.push(audio[0], last=True)[None], converter.done


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
    with writing(path, sampling_rate, audio.shape[2]) as file:
        file.write(audio[0])
    return file.remarks
