"""Our files of codes, written block by block."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vocos.errors import InvalidInput
from vocos.files.codes.native import BLOCK_FRAMES, CRC, MAGIC, START, VERSION, Header, crc, encoded
from vocos.files.codes.record import width

SHORT_CHUNKS = 2  # at the end of a clip, for they overlap by up to a half; see codecs/encodec/chunks.py
PIECE = 1 << 20  # bytes that are moved at a time


class Writer:
    """Codes of one clip, in whatever pieces they come, become the blocks of a file."""

    def __init__(self, stream: BinaryIO, entries: int, chunk_frames: int | None = None) -> None:
        """`chunk_frames` are those of a whole chunk of a codec that has scales; None if it has none."""
        self._stream, self._bits, self._chunk_frames = stream, width(entries), chunk_frames
        self._codes: list[NDArray[np.int64]] = []  # that are in no block yet, and the scales of their chunks
        self._scales: list[float] = []
        self._runs: list[list[int]] = []  # as the header has the blocks
        self._count = self._n_frames = self._n_bytes = 0

    def write(self, codes: NDArray[Any], scales: Sequence[float] = ()) -> None:
        """Write the next codes `[n, n_codebooks]`, n >= 1, and the next scales."""
        self._codes.append(codes.astype(np.int64, copy=False))
        self._scales += scales
        self._n_frames += len(codes)
        frames = sum(map(len, self._codes))
        if self._chunk_frames is None:
            self._put([BLOCK_FRAMES] * (frames // BLOCK_FRAMES))
        else:  # none of those that are put may be one of the short ones
            n_chunks = min(len(self._scales) - SHORT_CHUNKS, frames // self._chunk_frames)
            self._put([self._chunk_frames] * n_chunks)

    def finish(self, chunks: Sequence[int], **facts: Any) -> None:
        """Write what is left, and the header before all.

        Args:
            chunks: frames of each chunk of the clip, of a codec that has scales.
            facts: the fields of the header that do not follow from the codes.

        Raises:
            InvalidInput: if the codes and scales are not those of such chunks.
        """
        n_codebooks = self._codes[0].shape[1]
        left = sum(map(len, self._codes))
        if self._chunk_frames is None:
            self._put([left] * (left > 0))
        else:
            rest, is_whole = chunks[self._count :], {self._chunk_frames}.issuperset(chunks[: self._count])
            if not is_whole or (sum(rest), len(rest)) != (left, len(self._scales)):
                raise InvalidInput(
                    f"save_codes: {facts['samples']} samples have {len(chunks)} chunks and {sum(chunks)} frames, got "
                    f"{self._count + len(self._scales)} scales and {self._n_frames} frames"
                )
            self._put(rest)
        scaled = self._chunk_frames is not None
        header = {"blocks": self._runs, "has_scales": scaled, "n_codebooks": n_codebooks, **facts}
        Header.parse(header)
        text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode("ascii")
        start = START.pack(MAGIC, VERSION, len(text))
        start += CRC.pack(crc(start, text)) + text
        self._make_room(len(start))
        self._stream.seek(0)
        self._stream.write(start)

    def _put(self, sizes: Sequence[int]) -> None:
        """Write the first of the codes that are left as blocks of these sizes."""
        if not sizes:
            return
        codes, position = np.concatenate(self._codes), 0
        for size in sizes:
            scale = self._scales.pop(0) if self._chunk_frames else None
            block = encoded(self._count, codes[position : position + size], scale, self._bits)
            self._n_bytes += self._stream.write(block)
            self._count, position = self._count + 1, position + size
            if self._runs and self._runs[-1][0] == size:
                self._runs[-1][1] += 1
            else:
                self._runs.append([size, 1])
        self._codes = [codes[position:].copy()]

    def _make_room(self, n_bytes: int) -> None:
        """Move what is written so many bytes on, the end first: how long the header is, is not known before."""
        for stop in range(self._n_bytes, 0, -PIECE):
            start = max(0, stop - PIECE)
            self._stream.seek(start)
            data = self._stream.read(stop - start)
            self._stream.seek(start + n_bytes)
            self._stream.write(data)
