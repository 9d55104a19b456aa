"""Files of codes: our own format, which records the origin of the codes and finds damage, and those of others.

`native` describes our format byte by byte; EnCodec's `.ecdc` and Descript's `.dac` are read and written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vocos.errors import CheckpointError, InvalidInput, VocoError
from vocos.files.codes import descript, ecdc, native
from vocos.files.codes.descript import DacCodesFile, DacTokens, levelled
from vocos.files.codes.loudness import loudness as loudness_of
from vocos.files.codes.record import CodesFile, Tokens, codebook_shape, origin
from vocos.files.places import require_file
from vocos.voco import Voco, checks
from vocos.voco.codes import ScaledCodes
from vocos.weights.atomic import replacing

__all__ = [
    "CodesFile",
    "DacCodesFile",
    "DacTokens",
    "Tokens",
    "levelled",
    "load_codes",
    "origin",
    "save_codes",
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
    path = Path(path)
    _, entries = codebook_shape(voco)
    plain = codes.codes if isinstance(codes, ScaledCodes) else codes
    voco.check_codes(codes, "save_codes")
    if len(plain) != 1:
        raise InvalidInput(f"save_codes: expected the codes of one clip, got {len(plain)} rows; give a file to each")
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(f"{path}: not a file name in an existing folder")
    kind = path.suffix.lower()
    if kind != ".dac" and loudness is not None:
        raise InvalidInput(f"save_codes: only a .dac file says the loudness, {path.name} does not; leave loudness= out")
    if isinstance(codes, ScaledCodes):
        checks.finite(codes.scales, f"{path}: not written, scales")
    samples = _samples(codes, voco, length)
    source, revision = origin(voco)
    file = CodesFile(codes, voco.name, voco.sampling_rate, samples, entries, source, revision)
    if kind == ".dac":
        descript.require(voco)
        level = loudness_of(voco.decode_codes(codes), voco.sampling_rate) if loudness is None else loudness
        file = DacCodesFile(plain, None, voco.sampling_rate, samples, loudness=level, chunk_frames=plain.shape[1])
    with replacing(path) as temporary:
        if kind == ".ecdc":
            ecdc.write(temporary, file, voco)
        elif isinstance(file, DacCodesFile):
            descript.write(temporary, file)
        else:
            chunks = ecdc.model_of(voco).frames(samples) if isinstance(codes, ScaledCodes) else ()
            native.write(temporary, file, chunks)


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
    data = _content(path)
    if data.startswith(native.MAGIC):
        file = native.read(path, data, strict)
    elif data.startswith(ecdc.MAGIC):
        file = ecdc.read(path, data, voco)
    else:
        file = descript.read(path, data)
    if voco is not None:
        try:
            file.check(voco)
        except VocoError as error:
            raise type(error)(f"{path}: {error}") from error
    return file


def _content(path: Path) -> bytes:
    """The bytes of a file of codes. Of any other file, which may be large, only the first bytes are read."""
    with path.open("rb") as stream:
        start = stream.read(max(map(len, MAGICS)))
        if not start.startswith(MAGICS):
            raise CheckpointError(f"{path}: not a file of codes, of vocos (.codes), EnCodec (.ecdc) or Descript (.dac)")
        return start + stream.read()


def _samples(codes: Any, voco: Voco[Any], length: int | None) -> int:
    """The length of the audio in samples, checked against the number of frames."""
    frames = codes.shape[1]
    longest = voco.decode_length(frames)
    if length is None:
        fitting = range(longest, max(0, longest - voco.hop_length), -1) if isinstance(codes, ScaledCodes) else ()
        return next((n for n in fitting if voco.encode_length(n) == frames), longest)
    samples = checks.length(length, "save_codes") or 0
    is_chunked = isinstance(codes, ScaledCodes)  # then the samples tell how the frames are divided
    if samples > frames * voco.hop_length or (is_chunked and voco.encode_length(samples) != frames):
        raise InvalidInput(f"save_codes: {samples} samples are not the length= of {frames} frames of {voco.name}")
    return samples
