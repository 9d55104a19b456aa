"""Latents in a file: a safetensors file with one tensor, and where it comes from in the metadata.

The header comes first in such a file and says how long it is. So it is written twice: at the start with the longest
numbers, to make room, and at the end with the true ones, completed with spaces as the format allows. The same latents
of the same weights make the same bytes, however they are divided into blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocos._version import __version__
from vocos.errors import CheckpointError, InvalidInput
from vocos.files.places import require_file
from vocos.nn.length import ceil_div
from vocos.voco import Voco, checks
from vocos.weights.atomic import Replacement
from vocos.weights.tensors import open_tensors

TENSOR = "latents"
METADATA = "__metadata__"
TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
LENGTH_BYTES = ALIGNED = 8  # the length of the header, and what it is completed to a multiple of
LONGEST = 1 << 63  # frames, samples or bytes that there is room for
BLOCK_BYTES = 1 << 20  # read at a time


@dataclass(frozen=True)
class Origin:
    """Where latents come from.

    Attributes:
        voco: name of the codec.
        source: where its weights come from; None for a codec without weights.
        sampling_rate: sampling rate of the audio, in Hz.
        samples: length of the audio, before any padding.
    """

    voco: str
    source: str | None
    sampling_rate: int
    samples: int


@contextmanager
def writing(path: Path, voco: Voco[Any]) -> Iterator[LatentsWriter]:
    """A file of latents to be written in blocks; if an error ends the `with`, there is none, and an older one stays.

        with writing(Path("clip.safetensors"), voco) as file:
            for block in blocks:  # [1, n, latent_dim]
                file.write(block)
            file.samples = 24000

    Raises:
        InvalidInput: if numbers are not finite.
        OSError: if the file cannot be written.
    """
    with Replacement(path) as new, new.opened() as stream:
        file = LatentsWriter(new, stream, voco)
        yield file
        file.finish()


class LatentsWriter:
    """Takes latents in blocks.

    Attributes:
        frames: how many have been written, so far.
        samples: length of the audio, before any padding; to be told before the end.
    """

    def __init__(self, new: Replacement, stream: BinaryIO, voco: Voco[Any]) -> None:
        """Writes latents of a codec to an empty file."""
        self.frames, self.samples = 0, 0
        self._new, self._stream, self._voco, self._n_bytes = new, stream, voco, 0
        self._origin: dict[str, str] = {}
        self._kind: tuple[int, torch.dtype] | None = None

    def write(self, block: Tensor) -> None:
        """Write the next of the latents, `[1, n, latent_dim]` with n >= 0; all of one type.

        Raises:
            InvalidInput: if they are not finite.
            OSError: if the file cannot be written.
        """
        kind = block.shape[-1], block.dtype
        if block.ndim != 3 or len(block) != 1 or block.dtype not in TYPES or kind != (self._kind or kind):
            like = f", as before [1, n, {self._kind[0]}] of {self._kind[1]}" if self._kind else ""
            raise InvalidInput(
                f"{self._new.path}: expected float latents [1, n, latent_dim]{like}; got {list(block.shape)} of "
                f"{block.dtype}"
            )
        checks.finite(block, f"{self._new.path}: not written, latents", self.frames)
        with self._new.explaining():
            if self._kind is None:
                self._kind = kind
                self._origin = _origin(self._voco)
                self._stream.write(self._header(LONGEST, LONGEST, LONGEST))
            self._n_bytes += self._stream.write(block.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        self.frames += block.shape[1]

    def finish(self) -> None:
        """Write the header; `writing` does it."""
        if self.frames < 1 or self.samples < 1:
            raise InvalidInput(
                f"{self._new.path}: not written, expected frames and the samples they stand for, got {self.frames} "
                f"frames of {self.samples} samples"
            )
        with self._new.explaining():
            self._stream.seek(0)
            self._stream.write(self._header(self.frames, self.samples, self._n_bytes))

    def _header(self, frames: int, samples: int, n_bytes: int) -> bytes:
        """Always of one length."""
        length = ceil_div(len(self._json(LONGEST, LONGEST, LONGEST)), ALIGNED) * ALIGNED
        return length.to_bytes(LENGTH_BYTES, "little") + self._json(frames, samples, n_bytes).ljust(length)

    def _json(self, frames: int, samples: int, n_bytes: int) -> bytes:
        assert self._kind is not None  # noqa: S101 - it is known before the header is written
        size, dtype = self._kind
        told = {**self._origin, "samples": str(samples), "vocos_version": __version__}
        tensor = {"dtype": TYPES[dtype], "shape": [1, frames, size], "data_offsets": [0, n_bytes]}
        text = json.dumps({METADATA: told, TENSOR: tensor}, separators=(",", ":"), ensure_ascii=False)
        return text.encode("utf-8", "replace")  # paths of weights need not be text


def _origin(voco: Voco[Any]) -> dict[str, str]:
    """What is known of where latents come from once the codec is loaded."""
    return {"voco": voco.name, "source": voco.source or "", "sampling_rate": str(voco.sampling_rate)}


def write(path: Path, voco: Voco[Any], latents: Tensor, samples: int) -> None:
    """Write latents `[1, frames, latent_dim]`; the file appears under its name only when it is complete.

    Raises:
        InvalidInput: if they are not finite.
        OSError: if the file cannot be written.
    """
    with writing(path, voco) as file:
        file.write(latents)
        file.samples = samples


@contextmanager
def reading(path: Path) -> Iterator[LatentsReader]:
    """A file of latents, to be read in blocks.

    Raises:
        CheckpointError: if the file is damaged, was not written by `write`, or holds numbers that are not finite.
        InvalidInput: if there is no such file.
    """
    require_file(path)
    with path.open("rb") as stream:
        yield LatentsReader(path, stream)


class LatentsReader:
    """Latents in blocks.

    Attributes:
        origin: where they come from.
        frames: how many there are.
        latent_dim: numbers of a frame.
    """

    def __init__(self, path: Path, stream: BufferedReader) -> None:
        """The latents of a file that is open, so that they stay the same if another one gets its name."""
        file = open_tensors(path)
        try:
            self.origin = Origin(
                voco=file.metadata["voco"],
                source=file.metadata["source"] or None,
                sampling_rate=int(file.metadata["sampling_rate"]),
                samples=int(file.metadata["samples"]),
            )
            tensor = file.read(TENSOR)
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{path}: not latents written by vocos encode: {error} is missing or wrong"
            ) from error
        if tensor.ndim != 3 or len(tensor) != 1:
            raise CheckpointError(f"{path}: expected latents [1, frames, latent_dim], got {list(tensor.shape)}")
        _, self.frames, self.latent_dim = tensor.shape
        self._path, self._stream, self._dtype = path, stream, tensor.dtype
        self._frame_bytes = self.latent_dim * self._dtype.itemsize
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        header = json.loads(stream.read(length))  # which `open_tensors` has found to be right
        self._start = LENGTH_BYTES + length + header[TENSOR]["data_offsets"][0]

    def __iter__(self) -> Iterator[Tensor]:
        """Blocks `[1, n, latent_dim]`, n >= 1, of the type of the file.

        Raises:
            CheckpointError: if numbers are not finite, or the file has got shorter.
        """
        self._stream.seek(self._start)
        size = max(1, BLOCK_BYTES // max(1, self._frame_bytes))
        for first in range(0, self.frames, size):
            count = min(size, self.frames - first)
            data, block = self._empty(count)
            if self._stream.readinto(data.data) < len(data):
                raise CheckpointError(f"{self._path}: was cut off while it was read")
            try:
                checks.finite(block, f"{self._path}: latents", first)
            except InvalidInput as error:
                raise CheckpointError(str(error)) from error
            yield block

    def whole(self) -> Tensor:
        """All blocks, `[1, frames, latent_dim]`."""
        _, values = self._empty(self.frames)
        first = 0
        for block in self:
            values[:, first : first + block.shape[1]] = block
            first += block.shape[1]
        return values

    def _empty(self, frames: int) -> tuple[NDArray[np.uint8], Tensor]:
        """Bytes, and the latents `[1, frames, latent_dim]` that they are."""
        data = np.empty(frames * self._frame_bytes, np.uint8)
        return data, torch.from_numpy(data).view(self._dtype).reshape(1, frames, self.latent_dim)


def read(path: Path) -> tuple[Tensor, Origin]:
    """Latents `[1, frames, latent_dim]`, and where they come from.

    Raises:
        CheckpointError, InvalidInput: as `reading`.
    """
    with reading(path) as file:
        return file.whole(), file.origin
