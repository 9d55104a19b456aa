"""EnCodec's `.ecdc` files, those without its language model.

    "ECDC", version 0 in a byte, the length of the header as big-endian uint32, and the header, a JSON object:
    m      name of the model: encodec_24khz or encodec_48khz
    al     samples of the audio
    nc     codebooks
    lm     whether the codes are coded by the language model

Then, chunk by chunk, the scale as big-endian float32 where the model has scales, and the codes packed as in our files.
The frames of a chunk follow from `al`. There is no checksum. Such a file is read and written whole, for codes are
small: an hour of 24 kbit/s is 11 MB, and 70 MB as integers; only what is decoded from them comes in blocks.

Source: github.com/facebookresearch/encodec, MIT, whose format this is.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from vocos.errors import CheckpointError, InvalidInput, UnsupportedOperation
from vocos.files.codes.native import BLOCK_FRAMES
from vocos.files.codes.record import Blocks, CodesFile, codebook_shape, pack, packed_bytes, unpack, width
from vocos.nn.length import ceil_div
from vocos.voco import Voco
from vocos.voco.codes import ScaledCodes

MAGIC = b"ECDC"
START = struct.Struct(">4sBI")
SCALE = struct.Struct(">f")
MODEL_OF = {"encodec": "encodec_24khz", "encodec_24khz": "encodec_24khz", "encodec_48khz": "encodec_48khz"}
MAX_SAMPLES = 1 << 48


@dataclass(frozen=True)
class Model:
    """The facts that follow from the name of the model, for the file does not hold them.

    Attributes:
        sampling_rate: in Hz.
        hop_length: samples per frame.
        entries: entries of a codebook.
        chunk: samples that are coded on their own; None for the whole clip.
        stride: samples from one chunk to the next.
        is_scaled: whether a chunk has a scale.
    """

    sampling_rate: int
    hop_length: int
    entries: int
    chunk: int | None = None
    stride: int = 1
    is_scaled: bool = False

    @property
    def chunk_frames(self) -> int | None:
        """Frames of a chunk that has a scale: of a whole one, or as many as there may be; None without scales."""
        if not self.is_scaled:
            return None
        return ceil_div(self.chunk or MAX_SAMPLES, self.hop_length)

    def n_chunks(self, samples: int) -> int:
        """Chunks of a clip."""
        return ceil_div(samples, self.stride) if self.chunk else 1

    def frames(self, samples: int) -> list[int]:
        """Frames of each chunk of a clip."""
        if self.chunk is None:
            return [ceil_div(samples, self.hop_length)]
        rests = range(samples, 0, -self.stride)
        return [ceil_div(min(rest, self.chunk), self.hop_length) for rest in rests]


MODELS = {
    "encodec_24khz": Model(24000, 320, 1024),
    "encodec_48khz": Model(48000, 320, 1024, chunk=48000, stride=47520, is_scaled=True),
}


def model_of(voco: Voco[Any]) -> Model:
    """The facts of a codec, whose weights may have other rates than the published ones."""
    _, entries = codebook_shape(voco)
    config = voco.config
    is_scaled = bool(config.get("normalize"))
    chunk = int(config["chunk_length_s"] * voco.sampling_rate) or None if is_scaled else None
    stride = max(1, int((1 - config["overlap"]) * chunk)) if chunk else 1
    return Model(voco.sampling_rate, voco.hop_length, entries, chunk, stride, is_scaled)


def require(voco: Voco[Any]) -> None:
    """Raise InvalidInput unless the format has a name for the codec."""
    if voco.name not in MODEL_OF:
        raise InvalidInput(f"save_codes: an .ecdc file holds codes of {', '.join(MODEL_OF)}, not of {voco.name}")


def write(stream: BinaryIO, file: CodesFile, voco: Voco[Any]) -> None:
    """Write the codes of a clip.

    Raises:
        InvalidInput: if the format has not so many frames for so many samples.
    """
    codes = file.codes.codes if isinstance(file.codes, ScaledCodes) else file.codes
    scales = file.codes.scales[0].tolist() if isinstance(file.codes, ScaledCodes) else []
    model = model_of(voco)
    sizes = model.frames(file.samples)
    if sum(sizes) != codes.shape[1]:
        raise InvalidInput(
            f"save_codes: {file.samples} samples have {sum(sizes)} frames in an .ecdc file, these codes have "
            f"{codes.shape[1]}; pass the true length="
        )
    header = {"m": MODEL_OF[voco.name], "al": file.samples, "nc": codes.shape[2], "lm": False}
    text = json.dumps(header).encode()
    stream.write(START.pack(MAGIC, 0, len(text)) + text)
    for number, part in enumerate(torch.split(codes[0].cpu(), sizes)):
        scale = SCALE.pack(scales[number]) if model.is_scaled else b""
        stream.write(scale + pack(part.numpy(), width(model.entries)))


def read(path: Path, data: bytes, voco: Voco[Any] | None) -> CodesFile:
    """The codes in the bytes of a file, as `Blocks`: of a published model or of a codec with weights of its own.

    Raises:
        CheckpointError: if the file is damaged.
        UnsupportedOperation: if its codes are coded by the language model.
    """
    name, samples, codebooks, offset = _header(path, data)
    model = MODELS[name] if voco is None or MODEL_OF.get(voco.name) != name else model_of(voco)
    bits = width(model.entries)
    payload = len(data) - offset
    if model.is_scaled and model.n_chunks(samples) * SCALE.size > payload:
        raise CheckpointError(f"{path}: cut off, {samples} samples do not fit in {payload} bytes; copy the file again")
    sizes = model.frames(samples)
    extra = SCALE.size if model.is_scaled else 0
    expected = sum(extra + packed_bytes(size * codebooks, bits) for size in sizes)
    if payload != expected:
        what = "cut off" if payload < expected else "longer than its header says"
        raise CheckpointError(f"{path}: {what}, expected {expected} bytes of codes, got {payload}; copy the file again")
    scales, parts = [], []
    for size in sizes:
        scales.append(SCALE.unpack_from(data, offset)[0] if model.is_scaled else 0.0)
        end = offset + extra + packed_bytes(size * codebooks, bits)
        part = unpack(data[offset + extra : end], bits, size * codebooks)
        parts.append(torch.from_numpy(part.reshape(1, size, codebooks)))
        offset = end
    if not all(map(math.isfinite, scales)) or max(int(part.max()) for part in parts) >= model.entries:
        raise CheckpointError(f"{path}: damaged, its scales or codes are out of range; copy the file again")

    def blocks() -> Iterator[Any]:
        for part, scale in zip(parts, scales, strict=True):
            if model.is_scaled:
                yield ScaledCodes(part, torch.tensor([[scale]], dtype=torch.float32, device="cpu"))
            else:
                yield from torch.split(part, BLOCK_FRAMES, dim=1)

    return CodesFile(
        codes=Blocks((1, sum(sizes), codebooks), blocks),
        codec=name,
        sampling_rate=model.sampling_rate,
        samples=samples,
        codebook_size=model.entries,
    )


def _header(path: Path, data: bytes) -> tuple[str, int, int, int]:
    """Name of the model, samples, codebooks, and where the codes begin."""
    try:
        magic, version, length = START.unpack_from(data)
        text = data[START.size : START.size + length]
        header = json.loads(text)
        name, samples, codebooks, is_modelled = (header[key] for key in ("m", "al", "nc", "lm"))
        if (magic, version, len(text)) != (MAGIC, 0, length):
            raise ValueError(f"version {version}")
        if name not in MODELS:
            raise ValueError(f"model {name!r}")
        for number in (samples, codebooks):
            if type(number) is not int or not 1 <= number < MAX_SAMPLES:
                raise ValueError(f"{number!r}")
    except (struct.error, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not an .ecdc file that can be read: {str(error)[:200]}") from error
    if is_modelled:
        raise UnsupportedOperation(
            f"{path}: its codes are coded by EnCodec's language model, which is not read; write it without, as the "
            "command encodec does without --lm"
        )
    return name, samples, codebooks, START.size + length
