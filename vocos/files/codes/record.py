"""The content of a file of codes, and integers packed as bits, as our format and EnCodec's have them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocos.errors import CheckpointError, InvalidInput, UnsupportedOperation
from vocos.voco import Voco
from vocos.voco.codes import joined

TWINS = ({"encodec", "encodec_24khz"},)  # codecs that share a quantiser, so that each decodes the codes of the other


class Blocks:
    """Codes that are read when they are wanted, so that no file is too long: pieces of what `decode_codes` takes.

    Attributes:
        shape: `[1, frames, n_codebooks]`, of all.
    """

    def __init__(self, shape: tuple[int, ...], blocks: Callable[[], Iterator[Any]]) -> None:
        """`blocks` gives the codes from the first on, whenever it is called."""
        self.shape, self._blocks = shape, blocks

    def __iter__(self) -> Iterator[Any]:
        """Codes `[1, n, n_codebooks]`, n >= 1, or a `ScaledCodes` of such, one chunk at a time."""
        return self._blocks()

    def whole(self) -> Any:
        """All of them in one."""
        return joined(list(self))


@dataclass(frozen=True, eq=False)
class CodesFile:
    """The codes of one clip, and their origin.

    Attributes:
        codes: what `decode_codes` takes: int64 `[1, frames, n_codebooks]`, or a `ScaledCodes` of such; `Blocks` of it
            in a file that is read in blocks.
        codec: name of the codec; None where the file does not say.
        sampling_rate: sampling rate of the audio, in Hz.
        samples: length of the audio, before any padding.
        codebook_size: entries of each codebook; None where the file does not say.
        source: where the weights came from: a Hub repository, or the name of a local file or folder.
        revision: commit or tag of the repository.
        damaged: half-open ranges of frames that could not be read; their codes are 0 here, and so are their scales.
    """

    codes: Any
    codec: str | None
    sampling_rate: int
    samples: int
    codebook_size: int | None = None
    source: str | None = None
    revision: str | None = None
    damaged: tuple[tuple[int, int], ...] = ()

    @property
    def mask(self) -> Tensor:
        """Which frames were read intact: bool `[1, frames]`."""
        mask = torch.ones(1, self.codes.shape[1], dtype=torch.bool, device="cpu")
        for start, stop in self.damaged:
            mask[:, start:stop] = False
        return mask

    def check(self, voco: Voco[Any]) -> None:
        """Raise unless the codec can decode these codes; warn if its weights are not those that made them.

        Raises:
            InvalidInput: if the codec has another name, sampling rate or size of codebooks.
            CheckpointError: if the codes are fewer than their audio needs.
            UnsupportedOperation: if the codec has no codes.
        """
        _, entries = codebook_shape(voco)
        names = {self.codec, voco.name}
        if len(names) > 1 and names not in TWINS:
            raise InvalidInput(f"these codes were made by {self.codec}; {voco.name} cannot decode them")
        if (self.sampling_rate, self.codebook_size) != (voco.sampling_rate, entries):
            raise InvalidInput(
                f"these codes are of a {self.codec} at {self.sampling_rate} Hz with {self.codebook_size} entries in a "
                f"codebook, the weights {voco.source} have {voco.sampling_rate} Hz and {entries}; give the right ones"
            )
        longest = self.codes.shape[1] * voco.code_hop_length
        if not 1 <= self.samples <= longest:
            raise CheckpointError(f"these codes say {self.samples} samples, their frames have at most {longest}")
        source, revision = origin(voco)
        if self.codec == voco.name and None not in (self.source, source) and self.source != source:
            warnings.warn(f"these codes were made with the weights {self.source}, not {source}", stacklevel=3)
        elif self.source == source and None not in (self.revision, revision) and self.revision != revision:
            warnings.warn(
                f"these codes were made with revision {self.revision} of {source}, not {revision}", stacklevel=3
            )

    def decode(self, voco: Voco[Any]) -> Tensor:
        """The decoded audio, `[1, samples, channel]`; damaged frames are silence.

        Raises:
            InvalidInput, CheckpointError, UnsupportedOperation: as `check`.
        """
        self.check(voco)
        sound = voco.decode_codes(self.codes.to(voco.device), length=self.samples)
        for start, stop in self.damaged:
            sound[:, start * voco.code_hop_length : stop * voco.code_hop_length] = 0
        return sound


Tokens = CodesFile  # the name of earlier releases


def codebook_shape(voco: Voco[Any]) -> tuple[int, int]:
    """Codebooks of a codec, and the entries of each.

    Raises:
        UnsupportedOperation: if it has none.
    """
    if voco.n_codebooks is None or voco.codebook_size is None:
        raise UnsupportedOperation(f"{voco.name} has no codes, only continuous latents")
    return voco.n_codebooks, voco.codebook_size


def origin(voco: Voco[Any]) -> tuple[str | None, str | None]:
    """Where the weights of a codec come from, and their revision, as a file says them on every machine alike."""
    source, revision = voco.source, voco.revision
    if source is None:
        return None, None
    if Path(source).is_absolute():
        return Path(source).name, None
    return source.partition("@")[0], revision


def pack(values: NDArray[np.int64], bits: int) -> bytes:
    """Integers from 0, `bits` bits each, the least significant first, in bytes filled from their least significant."""
    digits = (values.reshape(-1, 1) >> np.arange(bits)) & 1
    return np.packbits(digits.astype(np.uint8), bitorder="little").tobytes()


def unpack(data: bytes, bits: int, count: int) -> NDArray[np.int64]:
    """What `pack` packed: int64 `[count]`."""
    digits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * bits, bitorder="little")
    values: NDArray[np.int64] = digits.reshape(count, bits).astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))
    return values


def width(entries: int) -> int:
    """Bits of a code: ceil(log2(entries)), at least 1."""
    return max(1, (entries - 1).bit_length())


def packed_bytes(count: int, bits: int) -> int:
    """The number of bytes that `count` packed integers take."""
    return -(-count * bits // 8)
