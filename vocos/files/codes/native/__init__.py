"""The file of codes of this library, version 1.

Numbers are little-endian. No time, path or machine goes in: the same codes of the same weights make the same bytes.

    offset  bytes  what
    0       8      "VOCOCODE"
    8       4      version of the format, uint32: 1
    12      4      length H of the header, uint32
    16      4      CRC-32 of bytes 0 to 15 and of the header, uint32
    20      H      header: JSON, its keys sorted, no spaces, ASCII
    20 + H         blocks, one after the other

The header:

    blocks         [[frames, times], ...]: so many blocks in a row, of so many frames each
    codebook_size  entries of each codebook
    codec          name of the codec
    has_scales     whether each block begins with a scale
    n_codebooks    codes of a frame
    revision       commit or tag of the weights on the Hub, or null
    sampling_rate  of the audio, in Hz
    samples        of the audio, before any padding
    source         Hub repository of the weights, or the name of their local file or folder, or null

A block:

    4      CRC-32 of the number of the block as uint32, from 0, and of the rest of the block, uint32
    4      only if has_scales: scale, float32
    rest   the codes, frame by frame, within a frame codebook by codebook, each as an integer of
           ceil(log2(codebook_size)) bits, least significant bit first. Bytes are filled from their least significant
           bit. The bits that are left of the last byte are 0

A block holds 128 frames, the last one those that are left; with scales a block is one chunk of the codec. 300 frames of
8 codebooks of 1024 entries, 10 bits a code, are:

    | header | CRC  128 x 8 codes | CRC  128 x 8 codes | CRC  44 x 8 codes |
               4  + 1280 bytes      4  + 1280 bytes      4  + 440 bytes

    codes    a: a0 ... a9          b: b0 ... b9                 the bits of two codes
    bytes    [a0 .... a7] [a8 a9 b0 ... b5] [b6 ... b9 c0 ...   as the block has them

The size of a block follows from the header. So damage costs the frames of one block and no others, and no memory is
allocated for frames that the file is too short to hold. A reader ignores keys of the header that it does not know. A
change that an older reader would misread gets a new version, and every version stays readable.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from vocos.errors import CheckpointError
from vocos.files.codes.record import CodesFile, pack, packed_bytes, unpack, width
from vocos.voco.codes import ScaledCodes

MAGIC = b"VOCOCODE"
VERSION = 1
BLOCK_FRAMES = 128
MAX_NUMBER = 1 << 48  # keeps products of two within what any file needs
MAX_ENTRIES = 1 << 31
MAX_CODEBOOKS = 1 << 16
MAX_FILLED = 1 << 22  # codes that are made up for a cut end
SHOWN = 4  # damaged ranges in a message
START = struct.Struct("<8sII")
CRC = NUMBER = struct.Struct("<I")
SCALE = struct.Struct("<f")


@dataclass(frozen=True)
class Header:
    """What the header says; the fields are its keys."""

    blocks: list[list[int]]
    codebook_size: int
    codec: str
    has_scales: bool
    n_codebooks: int
    revision: str | None
    sampling_rate: int
    samples: int
    source: str | None

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Raises KeyError, TypeError or ValueError unless every field is there and makes sense."""
        header = cls(**{name: data[name] for name in cls.__dataclass_fields__})
        numbers = [header.codebook_size, header.n_codebooks, header.sampling_rate, header.samples]
        for number in [*numbers, *(number for pair in header.blocks for number in pair)]:
            if type(number) is not int or not 1 <= number < MAX_NUMBER:
                raise ValueError(f"{number!r}")
        if any(len(pair) != 2 for pair in header.blocks) or not 1 <= header.frames < MAX_NUMBER:
            raise ValueError("blocks")
        if (
            header.codebook_size > MAX_ENTRIES
            or header.n_codebooks > MAX_CODEBOOKS
            or type(header.has_scales) is not bool
        ):
            raise ValueError("codebook_size, n_codebooks or has_scales")
        if not isinstance(header.codec, str):
            raise ValueError("codec")
        if not (isinstance(header.source, str | None) and isinstance(header.revision, str | None)):
            raise ValueError("source or revision")
        return header

    @property
    def frames(self) -> int:
        """Frames of all blocks."""
        return sum(frames * times for frames, times in self.blocks)

    @property
    def n_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(self.block_bytes(frames) * times for frames, times in self.blocks)

    @property
    def n_blocks(self) -> int:
        """Blocks of the file."""
        return sum(times for _, times in self.blocks)

    def block_bytes(self, frames: int) -> int:
        """Bytes of a block of so many frames."""
        codes = packed_bytes(frames * self.n_codebooks, width(self.codebook_size))
        return CRC.size + SCALE.size * self.has_scales + codes


def write(path: Path, file: CodesFile, chunks: Sequence[int] = ()) -> None:
    """Write the codes of a clip; `chunks` are the frames of each chunk of a codec that has scales."""
    scaled = isinstance(file.codes, ScaledCodes)
    codes: Any = file.codes.codes if isinstance(file.codes, ScaledCodes) else file.codes
    scales = file.codes.scales[0].tolist() if isinstance(file.codes, ScaledCodes) else []
    frames = codes.shape[1]
    sizes = list(chunks) if scaled else [min(BLOCK_FRAMES, frames - n) for n in range(0, frames, BLOCK_FRAMES)]
    header = {
        "blocks": [[size, len(list(run))] for size, run in itertools.groupby(sizes)],
        "codebook_size": file.codebook_size,
        "codec": file.codec,
        "has_scales": scaled,
        "n_codebooks": codes.shape[2],
        "revision": file.revision,
        "sampling_rate": file.sampling_rate,
        "samples": file.samples,
        "source": file.source,
    }
    bits = width(Header.parse(header).codebook_size)
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode("ascii")
    start = START.pack(MAGIC, VERSION, len(text))
    values, position = codes[0].cpu().numpy(), 0
    with path.open("wb") as stream:
        stream.write(start + CRC.pack(_crc(start, text)) + text)
        for number, size in enumerate(sizes):
            block = SCALE.pack(scales[number]) if scaled else b""
            block += pack(values[position : position + size].astype(np.int64), bits)
            stream.write(CRC.pack(_crc(NUMBER.pack(number), block)) + block)
            position += size


def read(path: Path, data: bytes, strict: bool) -> CodesFile:
    """The codes in the bytes of a file. What is damaged is an error, or if not `strict` zeros and a warning.

    Raises:
        CheckpointError: naming the frames that are damaged.
    """
    header, offset = _header(path, data)
    if strict and len(data) - offset > header.n_bytes:
        raise CheckpointError(f"{path}: is longer than its header says; copy the file again")
    sizes = (frames for frames, times in header.blocks for _ in range(times))
    codes, scales, damaged, position = [], [], [], 0
    for number, frames in enumerate(sizes):
        end = offset + header.block_bytes(frames)
        if end > len(data):
            break
        found = _block(header, data[offset:end], number, frames)
        if found is None:
            damaged.append((position, position + frames))
            found = np.zeros((frames, header.n_codebooks), np.int64), 0.0
        codes.append(found[0])
        scales.append(found[1])
        position, offset = position + frames, end
    if missing := header.frames - position:
        damaged.append((position, header.frames))
    if damaged:
        _report(path, header, damaged, strict)
        if missing * header.n_codebooks > MAX_FILLED:
            raise CheckpointError(
                f"{path}: {missing} of {header.frames} frames are cut off, too many to fill with zeros"
            )
        codes.append(np.zeros((missing, header.n_codebooks), np.int64))
        scales += [0.0] * (header.n_blocks - len(scales))
    tensor = torch.from_numpy(np.concatenate(codes)[None])
    return CodesFile(
        codes=ScaledCodes(tensor, torch.tensor([scales], dtype=torch.float32, device="cpu"))
        if header.has_scales
        else tensor,
        codec=header.codec,
        sampling_rate=header.sampling_rate,
        samples=header.samples,
        codebook_size=header.codebook_size,
        source=header.source,
        revision=header.revision,
        damaged=_merged(damaged),
    )


def _header(path: Path, data: bytes) -> tuple[Header, int]:
    """The header, and where the blocks begin."""
    offset = START.size + CRC.size
    if len(data) < offset:
        raise CheckpointError(f"{path}: cut off in its header; copy the file again")
    _, version, length = START.unpack_from(data)
    if version > VERSION:
        raise CheckpointError(
            f"{path}: a file of codes of version {version}, this release of vocos reads up to {VERSION}; update vocos"
        )
    text = data[offset : offset + length]
    if version < 1 or len(text) < length or CRC.unpack_from(data, START.size)[0] != _crc(data[: START.size], text):
        raise CheckpointError(f"{path}: its header is damaged or cut off, so nothing can be read; copy the file again")
    try:
        return Header.parse(json.loads(text)), offset + length
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header makes no sense: {str(error)[:200]}") from error


def _block(header: Header, block: bytes, number: int, frames: int) -> tuple[NDArray[np.int64], float] | None:
    """Codes `[frames, n_codebooks]` and scale of a block, None if it is damaged."""
    crc, rest = CRC.unpack_from(block)[0], block[CRC.size :]
    if crc != _crc(NUMBER.pack(number), rest):
        return None
    scale = SCALE.unpack_from(rest)[0] if header.has_scales else 0.0
    packed = rest[SCALE.size :] if header.has_scales else rest
    codes = unpack(packed, width(header.codebook_size), frames * header.n_codebooks)
    if not math.isfinite(scale) or codes.max() >= header.codebook_size:
        return None
    return codes.reshape(frames, header.n_codebooks), scale


def _report(path: Path, header: Header, damaged: Sequence[tuple[int, int]], strict: bool) -> None:
    spans = _merged(damaged)
    where = ", ".join(f"{first} to {last - 1}" for first, last in spans[:SHOWN])
    where += f" and {len(spans) - SHOWN} ranges more" if spans[SHOWN:] else ""
    message = f"{path}: damaged or cut off in frames {where} of {header.frames}"
    if strict:
        raise CheckpointError(f"{message}; copy the file again, or read the rest with strict=False")
    if spans == ((0, header.frames),):
        raise CheckpointError(f"{message}: nothing is left")
    warnings.warn(f"{message}; their codes are 0", stacklevel=4)


def _merged(spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Half-open ranges in order, those that touch made one."""
    merged: list[tuple[int, int]] = []
    for start, stop in spans:
        merged.append((merged.pop()[0] if merged and merged[-1][1] == start else start, stop))
    return tuple(merged)


def _crc(start: bytes, rest: bytes) -> int:
    return zlib.crc32(rest, zlib.crc32(start))
