"""Files of codes: our own format, which records the origin of the codes and finds damage, and those of others.

`native` describes our format byte by byte, and reads and writes it in blocks; EnCodec's `.ecdc` and Descript's `.dac`
are read and written whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from vocos.errors import CheckpointError, VocoError
from vocos.files.codes import descript, ecdc, native
from vocos.files.codes.descript import DacCodesFile, DacTokens, levelled
from vocos.files.codes.native import reader
from vocos.files.codes.record import Blocks, CodesFile, Tokens, codebook_shape, origin
from vocos.files.codes.writer import CodesWriter, writing
from vocos.files.places import require_file
from vocos.voco import Voco

__all__ = [
    "Blocks",
    "CodesFile",
    "CodesWriter",
    "DacCodesFile",
    "DacTokens",
    "Tokens",
    "levelled",
    "load_codes",
    "origin",
    "reading",
    "save_codes",
    "writing",
]

ENDINGS = (".codes", ".ecdc", ".dac")
MAGICS = (native.MAGIC, ecdc.MAGIC, descript.MAGIC)


def save_codes(
    path: str | os.PathLike[str],
    codes: Any,
    voco: Voco[Any],
    length: int | None = None,
    *,
    loudness: float | None = None,
) -> None:
    """Write the codes of one clip; the file appears under its name only when it is complete.

    Args:
        path: one that ends in `.ecdc` gets EnCodec's format, without the language model, for codecs that it knows; one
            in `.dac` gets Descript's, for dac and its siblings; any other gets ours, and `.codes` is the usual ending.
        codes: of `voco.encode_codes`: integers `[1, frames, k]`, or a `ScaledCodes`.
        voco: the codec that made them; it need not be loaded.
        length: samples of the audio before any padding; None for as many as the codes give.
        loudness: of the audio, in LUFS, for `.dac` alone; None to measure that of the decoded codes.

    Raises:
        InvalidInput: if the codec makes no such codes, they are of several clips, or the format cannot hold them.
        UnsupportedOperation: if the codec has no codes.
    """
    codebook_shape(voco)
    voco.check_codes(codes, "save_codes")
    with writing(Path(path), voco, loudness) as file:
        file.write(codes)
        file.samples = length


def load_codes(path: str | os.PathLike[str], voco: Voco[Any] | None = None, *, strict: bool = True) -> CodesFile:
    """Read the codes of a file that `save_codes`, EnCodec or Descript wrote. The format follows from the content.

        file = load_codes("clip.codes", voco)
        audio = file.decode(voco)  # or voco.decode_codes(file.codes, length=file.samples)

    Args:
        path: of the file.
        voco: the codec that is to decode them; it is checked that it can. Needed for `.ecdc` files of weights whose
            rates or sizes are not the published ones.
        strict: whether damage is an error. Otherwise it is a warning; the lost codes are 0, and `CodesFile.damaged` and
            `CodesFile.mask` say which those are. `.ecdc` and `.dac` have no checksums: damage that is noticed there is
            always an error.

    Raises:
        CheckpointError: if the file is damaged; the message names the frames. Or if it is of a newer version.
        InvalidInput: if there is no such file, or the codec cannot decode it.
        UnsupportedOperation: if it is an `.ecdc` file that uses the language model, or the codec has no codes.
    """
    path = Path(path)
    require_file(path)
    with path.open("rb") as stream:
        file = _opened(path, stream, voco, strict)
        if voco is not None:
            with _naming(path):
                file.check(voco)
        return replace(file, codes=file.codes.whole()) if isinstance(file.codes, Blocks) else file


@contextmanager
def reading(path: Path, voco: Voco[Any] | None = None, *, strict: bool = True) -> Iterator[CodesFile]:
    """A file of codes to be read in blocks: `codes` are `Blocks`, to go through while it is open.

    The damage is known before the first of them, for all is read once to find it. Of other formats, whose codes are
    read whole, `.dac` is given as `load_codes` gives it: the loudness of the decoded audio is that of all of it.

    Args:
        path, voco, strict: as of `load_codes`.

    Raises:
        CheckpointError, InvalidInput, UnsupportedOperation: as `load_codes`.
    """
    require_file(path)
    with path.open("rb") as stream:
        file = _opened(path, stream, voco, strict)
        if voco is not None:
            with _naming(path):
                file.check(voco)
        yield file


def _opened(path: Path, stream: BufferedReader, voco: Voco[Any] | None, strict: bool) -> CodesFile:
    """The codes of a file as `Blocks`, or a `DacCodesFile`. Of any other file, only the first bytes are read."""
    start = stream.read(max(map(len, MAGICS)))
    if not start.startswith(MAGICS):
        raise CheckpointError(f"{path}: not a file of codes, of vocos (.codes), EnCodec (.ecdc) or Descript (.dac)")
    stream.seek(0)
    if start == native.MAGIC:
        return reader.read(path, stream, strict)
    if start.startswith(ecdc.MAGIC):
        return ecdc.read(path, stream.read(), voco)
    return descript.read(path, stream.read())


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors about the codes of a file, as about the file."""
    try:
        yield
    except VocoError as error:
        raise type(error)(f"{path}: {error}") from error
