"""Audio files, resampling and channels: the only module that imports soundfile and soxr."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from vocos.errors import InvalidInput
from vocos.weights.atomic import replacing

WRITTEN = (".wav", ".flac", ".ogg", ".mp3")


def read(path: Path) -> tuple[Tensor, int]:
    """The sound in a file.

    Returns:
        Float32 `[1, samples, channels]` in [-1, 1], and its sampling rate in Hz.

    Raises:
        InvalidInput: if there is no such file, it holds no sound, or its format is not known.
    """
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file")
    try:
        samples, sampling_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise InvalidInput(
            f"{path}: not a readable audio file ({error}); wav, flac, ogg, opus and mp3 can be read, ffmpeg converts "
            "others to wav"
        ) from error
    if len(samples) == 0:
        raise InvalidInput(f"{path}: holds no samples")
    if not np.isfinite(samples).all():
        raise InvalidInput(f"{path}: holds samples that are not finite numbers")
    return torch.from_numpy(samples)[None], sampling_rate


def convert(audio: Tensor, sampling_rate: int, to_rate: int, to_channel: int) -> tuple[Tensor, list[str]]:
    """Audio at another sampling rate and with another number of channels.

    Channels are averaged into one, and one is repeated; of more than the two wanted, the first two are kept.

    Args:
        audio: float `[1, samples, channels]`.
        sampling_rate: of `audio`, in Hz.
        to_rate: wanted, in Hz.
        to_channel: wanted, 1 or 2.

    Returns:
        Float32 `[1, samples', to_channel]`, and what was done, in words.
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


def writable(path: Path) -> None:
    """Raise InvalidInput unless sound can be written under this name; to be asked before the work."""
    if path.suffix.lower() not in WRITTEN:
        raise InvalidInput(f"{path}: sound is written as {', '.join(WRITTEN)}, not as {path.suffix!r}")
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(f"{path}: not a file name in an existing folder")


def write(path: Path, audio: Tensor, sampling_rate: int) -> list[str]:
    """Write sound to a file, which appears under its name only when it is complete.

    Args:
        path: its ending gives the format.
        audio: float `[1, samples, channels]`; what exceeds [-1, 1] is clipped.
        sampling_rate: in Hz.

    Returns:
        What was done to the sound, in words.
    """
    writable(path)
    samples = audio[0].detach().float().cpu().numpy()
    peak = float(np.abs(samples).max(initial=0.0))
    with replacing(path) as temporary:
        soundfile.write(temporary, np.clip(samples, -1.0, 1.0), sampling_rate)
    return [f"clipped, its peak was {peak:.2f}"] if peak > 1.0 else []
