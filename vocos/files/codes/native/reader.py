"""Our files of codes, read block by block; what is damaged is an error, or zeros and a warning."""

from __future__ import annotations

import itertools
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vocos.errors import CheckpointError
from vocos.files.codes.native import CRC, MAX_FILLED, START, VERSION, Header, crc, decoded
from vocos.files.codes.record import Blocks, CodesFile
from vocos.voco.codes import ScaledCodes

SHOWN = 4  # damaged ranges in a message
FILLED = 1000  # blocks that are made up at a time

_Piece = tuple[NDArray[np.int64], list[float]]  # codes [frames, n_codebooks] of some blocks, and their scales


def read(path: Path, stream: BufferedReader, strict: bool) -> CodesFile:
    """The codes of a file, as `Blocks`. All is read once to find what is damaged, and again with the blocks.

    What is damaged is an error, or if not `strict` zeros and a warning.

    Raises:
        CheckpointError: naming the frames that are damaged.
    """
    reader = _Reader(path, stream)
    header = reader.header
    if strict and reader.is_longer:
        raise CheckpointError(f"{path}: is longer than its header says; copy the file again")
    for _ in reader.found():
        pass
    reader.report(strict)
    return CodesFile(
        codes=Blocks((1, header.frames, header.n_codebooks), reader.blocks),
        codec=header.codec,
        sampling_rate=header.sampling_rate,
        samples=header.samples,
        codebook_size=header.codebook_size,
        source=header.source,
        revision=header.revision,
        damaged=_merged(reader.damaged),
    )


class _Reader:
    """The blocks of a file.

    Attributes:
        header: of the file.
        damaged: half-open ranges of frames that could not be read, known when all has been `found`.
        is_longer: whether the file goes on after its blocks.
    """

    def __init__(self, path: Path, stream: BufferedReader) -> None:
        self._path, self._stream = path, stream
        self._n_bytes = os.fstat(stream.fileno()).st_size
        self.header = _header(path, stream, self._n_bytes)
        self._start = stream.tell()
        self.is_longer = self._n_bytes - self._start > self.header.n_bytes
        self.damaged: list[tuple[int, int]] = []

    def blocks(self) -> Iterator[Any]:
        """Codes `[1, frames, n_codebooks]` of the file, block by block, with scales if they have some."""
        for codes, scales in itertools.chain(self.found(), self.missing()):
            block = torch.from_numpy(codes[None])
            scaled = torch.tensor([scales], dtype=torch.float32, device="cpu")
            yield ScaledCodes(block, scaled) if self.header.has_scales else block

    def found(self) -> Iterator[_Piece]:
        """The blocks that are there, one after the other; zeros for those that are damaged."""
        header, position, offset = self.header, 0, self._start
        self.damaged, self._n_found = [], 0
        self._stream.seek(offset)
        for frames in self._sizes():
            size = header.block_bytes(frames)
            offset += size
            if offset > self._n_bytes or len(block := self._stream.read(size)) < size:
                break
            if (content := decoded(header, block, self._n_found, frames)) is None:
                self.damaged.append((position, position + frames))
                content = np.zeros((frames, header.n_codebooks), np.int64), 0.0
            yield content[0], [content[1]]
            self._n_found, position = self._n_found + 1, position + frames
        if position < header.frames:
            self.damaged.append((position, header.frames))

    def missing(self) -> Iterator[_Piece]:
        """Zeros for the blocks that are not there, many at a time."""
        sizes = itertools.islice(self._sizes(), self._n_found, None)
        while some := list(itertools.islice(sizes, FILLED)):
            yield np.zeros((sum(some), self.header.n_codebooks), np.int64), [0.0] * len(some)

    def _sizes(self) -> Iterator[int]:
        return (frames for frames, times in self.header.blocks for _ in range(times))

    def report(self, strict: bool) -> None:
        """Raise CheckpointError or warn if anything is damaged; `found` has been through all."""
        if not self.damaged:
            return
        header, spans = self.header, _merged(self.damaged)
        where = ", ".join(f"{first} to {last - 1}" for first, last in spans[:SHOWN])
        where += f" and {len(spans) - SHOWN} ranges more" if spans[SHOWN:] else ""
        message = f"{self._path}: damaged or cut off in frames {where} of {header.frames}"
        if strict:
            raise CheckpointError(f"{message}; copy the file again, or read the rest with strict=False")
        if spans == ((0, header.frames),):
            raise CheckpointError(f"{message}: nothing is left")
        warnings.warn(f"{message}; their codes are 0", stacklevel=5)
        missing = header.frames - sum(itertools.islice(self._sizes(), self._n_found))
        if missing * header.n_codebooks > MAX_FILLED:
            raise CheckpointError(
                f"{self._path}: {missing} of {header.frames} frames are cut off, too many to fill with zeros"
            )


def _header(path: Path, stream: BufferedReader, n_bytes: int) -> Header:
    """The header of a file of so many bytes, which is read to where the blocks begin."""
    start, sum_ = stream.read(START.size), stream.read(CRC.size)
    if len(sum_) < CRC.size:
        raise CheckpointError(f"{path}: cut off in its header; copy the file again")
    _, version, length = START.unpack(start)
    if version > VERSION:
        raise CheckpointError(
            f"{path}: a file of codes of version {version}, this release of vocos reads up to {VERSION}; update vocos"
        )
    text = stream.read(min(length, n_bytes))
    if version < 1 or len(text) < length or CRC.unpack(sum_)[0] != crc(start, text):
        raise CheckpointError(f"{path}: its header is damaged or cut off, so nothing can be read; copy the file again")
    try:
        return Header.parse(json.loads(text))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header makes no sense: {str(error)[:200]}") from error


def _merged(spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Half-open ranges in order, those that touch made one."""
    merged: list[tuple[int, int]] = []
    for start, stop in spans:
        merged.append((merged.pop()[0] if merged and merged[-1][1] == start else start, stop))
    return tuple(merged)
