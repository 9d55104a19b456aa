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

Here is the layout; `writer` writes it and `reader` reads it, both block by block.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vocos.files.codes.record import pack, packed_bytes, unpack, width

MAGIC = b"VOCOCODE"
VERSION = 1
BLOCK_FRAMES = 128
MAX_NUMBER = 1 << 48  # keeps products of two within what any file needs
MAX_ENTRIES = 1 << 31
MAX_CODEBOOKS = 1 << 16
MAX_FILLED = 1 << 22  # codes that are made up for a cut end
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


def encoded(number: int, codes: NDArray[np.int64], scale: float | None, bits: int) -> bytes:
    """The block of that number, of codes `[frames, n_codebooks]`."""
    rest = pack(codes, bits) if scale is None else SCALE.pack(scale) + pack(codes, bits)
    return CRC.pack(crc(NUMBER.pack(number), rest)) + rest


def decoded(header: Header, block: bytes, number: int, frames: int) -> tuple[NDArray[np.int64], float] | None:
    """Codes `[frames, n_codebooks]` and scale of the block of that number, None if it is damaged."""
    rest = block[CRC.size :]
    if CRC.unpack_from(block)[0] != crc(NUMBER.pack(number), rest):
        return None
    scale = SCALE.unpack_from(rest)[0] if header.has_scales else 0.0
    packed = rest[SCALE.size :] if header.has_scales else rest
    codes = unpack(packed, width(header.codebook_size), frames * header.n_codebooks)
    if not math.isfinite(scale) or codes.max() >= header.codebook_size:
        return None
    return codes.reshape(frames, header.n_codebooks), scale


def crc(start: bytes, rest: bytes) -> int:
    """CRC-32 of both, one after the other."""
    return zlib.crc32(rest, zlib.crc32(start))
