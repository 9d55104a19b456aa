"""Files of codes, written in blocks; they appear under their names only when they are complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vocos.errors import InvalidInput
from vocos.files.codes import descript, ecdc
from vocos.files.codes.descript import DacCodesFile
from vocos.files.codes.loudness import loudness as loudness_of
from vocos.files.codes.native.writer import Writer
from vocos.files.codes.record import CodesFile, codebook_shape, origin
from vocos.voco import Voco, checks
from vocos.voco.codes import ScaledCodes, joined
from vocos.weights.atomic import Replacement

CALL = "save_codes"


@contextmanager
def writing(path: Path, voco: Voco[Any], loudness: float | None = None) -> Iterator[CodesWriter]:
    """A file of codes to be written in blocks; if an error ends the `with`, there is none, and an older one stays.

        with writing(Path("clip.codes"), voco) as file:
            for block in blocks:  # [1, n, k], or a ScaledCodes of any frames and any scales
                file.write(block)
            file.samples = 24000

    Blocks go to the disk as they come; those of `.ecdc` and `.dac` files, which are small, are kept until the end.

    Args:
        path: its ending gives the format, as of `save_codes`.
        voco: the codec that makes them; it need not be loaded.
        loudness: of the audio, in LUFS, for `.dac` alone; None to measure that of the decoded codes.

    Raises:
        InvalidInput: if the codec makes no such codes, or the format cannot hold them.
        OSError: if the file cannot be written.
        UnsupportedOperation: if the codec has no codes.
    """
    codebook_shape(voco)
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(f"{path}: not a file name in an existing folder")
    kind = path.suffix.lower()
    if kind != ".dac" and loudness is not None:
        raise InvalidInput(f"{CALL}: only a .dac file says the loudness, {path.name} does not; leave loudness= out")
    if kind == ".dac":
        descript.require(voco)
    elif kind == ".ecdc":
        ecdc.require(voco)
    with Replacement(path) as new, new.opened() as stream:
        file = CodesWriter(new, stream, voco, loudness)
        yield file
        file.finish()


class CodesWriter:
    """Takes codes in blocks. The file is the same whatever their sizes.

    Attributes:
        frames: how many have been written, so far.
        samples: of the audio, before any padding; to be told before the end. None for as many as the codes give.
    """

    def __init__(self, new: Replacement, stream: BinaryIO, voco: Voco[Any], loudness: float | None) -> None:
        """Writes codes of a codec to an empty file."""
        self.frames = 0
        self.samples: int | None = None
        self._new, self._stream, self._voco, self._loudness = new, stream, voco, loudness
        self._kind = new.path.suffix.lower()
        self._model, self._entries = ecdc.model_of(voco), codebook_shape(voco)[1]
        self._writer: Writer | None = None  # of our format
        self._kept: list[Any] = []  # of the others
        self._n_codebooks = self._n_scales = 0

    def write(self, codes: Any) -> None:
        """Write the next of the codes: integers `[1, n, k]`, or a `ScaledCodes` of such and of the next scales.

        Raises:
            InvalidInput: if the codec makes no such codes, or others than before.
            OSError: if the file cannot be written.
        """
        if codes.shape[1:2] == (0,):
            return
        self._check(codes)
        plain = codes.codes if isinstance(codes, ScaledCodes) else codes
        scales = codes.scales[0].tolist() if isinstance(codes, ScaledCodes) else []
        with self._new.explaining():
            if self._kind in (".dac", ".ecdc"):
                self._kept.append(codes)
            else:
                self._writer = self._writer or Writer(self._stream, self._entries, self._model.chunk_frames)
                self._writer.write(plain[0].cpu().numpy(), scales)
        self.frames += plain.shape[1]
        self._n_scales += len(scales)

    def _check(self, codes: Any) -> None:
        """Raise InvalidInput unless these may follow those that were written."""
        if isinstance(codes, ScaledCodes) and self._model.is_scaled:
            plain = codes.codes
            Voco.check_codes(self._voco, plain, CALL)  # the integers alone: a piece need not be of whole chunks
            if codes.scales.ndim != 2 or len(codes.scales) != 1 or not codes.scales.is_floating_point():
                raise InvalidInput(
                    f"{CALL}: expected scales float [1, chunks], got {codes.scales.dtype} {list(codes.scales.shape)}"
                )
            checks.finite(codes.scales, f"{self._new.path}: not written, scales", self._n_scales)
        else:
            self._voco.check_codes(codes, CALL)
            plain = codes
        if len(plain) != 1:
            raise InvalidInput(f"{CALL}: expected the codes of one clip, got {len(plain)} rows; give a file to each")
        if plain.shape[2] != (self._n_codebooks or plain.shape[2]):
            raise InvalidInput(f"{CALL}: expected {self._n_codebooks} codebooks as before, got {plain.shape[2]}")
        self._n_codebooks = plain.shape[2]

    def finish(self) -> None:
        """Write what is left; `writing` does it."""
        if self.frames == 0:
            raise InvalidInput(f"{self._new.path}: not written, for there are no codes")
        voco, samples = self._voco, self._length()
        source, revision = origin(voco)
        if self._writer is not None:
            with self._new.explaining():
                self._writer.finish(
                    self._model.frames(samples),
                    codebook_size=self._entries,
                    codec=voco.name,
                    revision=revision,
                    sampling_rate=voco.sampling_rate,
                    samples=samples,
                    source=source,
                )
            return
        codes = joined(self._kept)
        if self._kind == ".ecdc":
            file = CodesFile(codes, voco.name, voco.sampling_rate, samples, self._entries, source, revision)
            with self._new.explaining():
                ecdc.write(self._stream, file, voco)
            return
        level = self._loudness
        if level is None:
            level = loudness_of(voco.decode_codes(codes), voco.sampling_rate)
        kept = DacCodesFile(codes, None, voco.sampling_rate, samples, loudness=level, chunk_frames=self.frames)
        with self._new.explaining():
            descript.write(self._stream, kept)

    def _length(self) -> int:
        """The length of the audio in samples, checked against the number of frames."""
        voco, frames, is_chunked = self._voco, self.frames, self._model.is_scaled  # the samples tell the chunks
        longest = voco.decode_length(frames * voco.code_frames)
        if self.samples is None:
            fitting = range(longest, max(0, longest - voco.hop_length), -1) if is_chunked else ()
            return next((n for n in fitting if voco.encode_length(n) == frames), longest)
        samples = checks.length(self.samples, CALL) or 0
        if samples > frames * voco.code_hop_length or (is_chunked and voco.encode_length(samples) != frames):
            raise InvalidInput(f"{CALL}: {samples} samples are not the length= of {frames} frames of {voco.name}")
        return samples
