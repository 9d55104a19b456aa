"""Descript's `.dac` files: a numpy file of one pickled dictionary, read as data and never by unpickling.

    codes      uint16 [channels, codebooks, frames]
    metadata   input_db         loudness of the audio in LUFS, float32
               original_length  samples of the audio
               sample_rate      of the audio, in Hz; the codes are at the codec's
               channels         of the audio, each coded by itself
               chunk_length     frames that are decoded together
               padding          whether convolutions are padded; if not, the chunks overlap as that wants
               dac_version      "1.0.0"

The file does not say which codec it is of. It is read, written and decoded whole: the loudness is that of all of it.

Source: github.com/descriptinc/descript-audio-codec, MIT, whose format this is.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vocos.codecs.dac import Dac
from vocos.errors import CheckpointError, InvalidInput
from vocos.files import audio
from vocos.files.codes import pickled
from vocos.files.codes.loudness import loudness
from vocos.files.codes.record import CodesFile, codebook_shape
from vocos.voco import Voco

MAGIC = b"\x93NUMPY"
DAC_VERSION = "1.0.0"
LOUDNESS = -16.0  # LUFS that the format brings audio to before it is encoded
MAX_NUMBER = 1 << 40
MAX_RATE, MAX_CHANNELS = 768_000, 64  # Hz and channels; more in a file is damage


@dataclass(frozen=True, eq=False)
class DacCodesFile(CodesFile):
    """The codes of a `.dac` file; `codes` are `[channels, frames, n_codebooks]`.

    Attributes:
        loudness: of the audio, in LUFS; decoded audio is brought to it.
        chunk_frames: frames that are decoded together.
        is_padded: whether the chunks were coded with padding; else their ends are cut off.
    """

    codes: Tensor
    loudness: float = LOUDNESS
    chunk_frames: int = 1
    is_padded: bool = True

    def check(self, voco: Voco[Any]) -> None:
        """Raise InvalidInput unless the codec is a DAC, UnsupportedOperation if it has no codes."""
        require(voco)
        longest = self.codes.shape[1] * voco.hop_length * self.sampling_rate // voco.sampling_rate
        if self.samples > longest:
            raise CheckpointError(f"these codes say {self.samples} samples, their frames have at most {longest}")

    def decode(self, voco: Voco[Any]) -> Tensor:
        """The decoded audio, `[1, samples, channels]` at the rate and with the loudness that the file records."""
        self.check(voco)
        dac = require(voco)
        parts = []
        for chunk in torch.split(self.codes.to(voco.device), self.chunk_frames, dim=1):
            latents = dac.codes_to_latents(chunk)
            parts.append(dac.decode(latents) if self.is_padded else dac.decode_unpadded(latents))
        sound = rearrange(torch.cat(parts, dim=1), "c n 1 -> 1 n c").float().cpu()
        sound = sound * 10 ** ((self.loudness - loudness(sound, voco.sampling_rate)) / 20)
        sound, _ = audio.convert(sound, voco.sampling_rate, self.sampling_rate, sound.shape[2])
        sound = sound[:, : self.samples]
        return torch.nn.functional.pad(sound, (0, 0, 0, self.samples - sound.shape[1]))


DacTokens = DacCodesFile  # the name of earlier releases


def require(voco: Voco[Any]) -> Dac:
    """The codec. Raises InvalidInput unless it is a DAC, UnsupportedOperation if it has no codes."""
    codebook_shape(voco)
    if not isinstance(voco, Dac):
        raise InvalidInput(f"a .dac file holds codes of dac and its siblings, not of {voco.name}")
    return voco


def levelled(sound: Tensor, sampling_rate: int) -> tuple[Tensor, float]:
    """Audio as the format wants it encoded, and its loudness: brought to -16 LUFS, or as far as a peak of 1 allows."""
    level = loudness(sound, sampling_rate)
    sound = sound * 10 ** ((LOUDNESS - level) / 20)
    return sound / max(1.0, float(sound.abs().max())), level


def write(stream: BinaryIO, file: DacCodesFile) -> None:
    """Write codes."""
    metadata = {
        "input_db": np.array([file.loudness], np.float32),
        "original_length": file.samples,
        "sample_rate": file.sampling_rate,
        "chunk_length": file.chunk_frames,
        "channels": file.codes.shape[0],
        "padding": file.is_padded,
        "dac_version": DAC_VERSION,
    }
    codes = rearrange(file.codes, "c l k -> c k l").cpu().numpy().astype(np.uint16)
    content = np.array({"codes": np.ascontiguousarray(codes), "metadata": metadata}, dtype=object)
    np.save(stream, content, allow_pickle=True)


def read(path: Path, data: bytes) -> DacCodesFile:
    """The codes in the bytes of a file.

    Raises:
        CheckpointError: if the file is damaged, of another version, or holds anything but such codes.
    """
    try:
        return _parsed(data)
    except MemoryError:
        raise
    except Exception as error:  # numpy and pickletools raise many kinds for damaged data
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path}: not a .dac file that can be read ({' '.join(reason.split())[:200]})") from error


def _parsed(data: bytes) -> DacCodesFile:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"expected one pickled dictionary, got an array {shape} of {dtype}")
    content = pickled.content(pickled.parse(data[stream.tell() :]))
    metadata = content["metadata"]
    codes = pickled.array(content["codes"])
    if metadata["dac_version"] != DAC_VERSION:
        raise ValueError(f"version {metadata['dac_version']!r}, expected {DAC_VERSION}")
    if codes.ndim != 3 or 0 in codes.shape or codes.dtype.kind not in "ui":
        raise ValueError(f"expected integer codes [channels, codebooks, frames], got {list(codes.shape)}")
    level = float(pickled.array(metadata["input_db"]).reshape(-1)[0])
    counts = [int(pickled.array(metadata[key])) for key in ("original_length", "sample_rate", "chunk_length")]
    if not (math.isfinite(level) and all(1 <= count < MAX_NUMBER for count in counts)):
        raise ValueError(f"loudness {level}, {counts[0]} samples, {counts[1]} Hz, chunks of {counts[2]} frames")
    if counts[1] > MAX_RATE or metadata["channels"] != len(codes) or len(codes) > MAX_CHANNELS:
        raise ValueError(f"{metadata['channels']!r} channels at {counts[1]} Hz, codes of {len(codes)} channels")
    if not isinstance(metadata["padding"], bool):
        raise ValueError(f"padding {metadata['padding']!r}")
    return DacCodesFile(
        codes=torch.from_numpy(rearrange(codes, "c k l -> c l k").astype(np.int64)),
        codec=None,
        sampling_rate=counts[1],
        samples=counts[0],
        loudness=level,
        chunk_frames=counts[2],
        is_padded=metadata["padding"],
    )
