"""From the clips of a dataset to what is stored of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vocos.data.containers import DTYPES
from vocos.data.settings import Settings
from vocos.errors import InvalidInput
from vocos.voco import Voco, batches, checks
from vocos.voco.codes import ScaledCodes
from vocos.voco.flow import Flow

# What ends one clip and not the run; torch's out-of-memory errors are RuntimeErrors.
FAILURES = (InvalidInput, MemoryError, RuntimeError)


class Stored(NamedTuple):
    """What is stored of a clip.

    Attributes:
        pieces: `[n, size]` each, on the CPU, of the type that is stored.
        others: further tensors, `[n, size]`; of a clip in pieces, complete once all have been taken.
        samples: samples of audio, in a list of one number, right once all pieces have been taken.
        notes: what is to be told.
    """

    pieces: Iterable[Tensor]
    others: dict[str, Tensor]
    samples: list[int]
    notes: list[str]


class Encoder:
    """Makes what is stored of clips; the codec is loaded when it is made.

    Args:
        settings: what is to be stored.
        voco: the codec; None to make that of the settings.

    Attributes:
        settings: those.
        voco: the codec.
    """

    def __init__(self, settings: Settings, voco: Voco[Any] | None = None) -> None:
        self.settings = settings
        self.voco = (settings.codec() if voco is None else voco).load()
        settings.check(self.voco)
        self._dtype = DTYPES[settings.stored_dtype(self.voco)][2]
        self._is_drawn = settings.drawn(self.voco)
        self._is_codes = settings.kind == "codes"
        self._options: dict[str, Any] = {}
        if self._is_codes:
            self._options["n_codebooks"] = settings.codebooks(self.voco)
        elif "encode" in self.voco.without_chance and not self._is_drawn:
            self._options |= self.voco.without_chance["encode"]
        elif self._is_drawn:
            self._options["sample"] = True

    def minimum(self, samples: int) -> None:
        """Raise InvalidInput if a clip is too short."""
        least = max(1, self.voco.minimum_samples)
        if samples < least:
            raise InvalidInput(f"has {samples} samples at {self.voco.sampling_rate} Hz, {self.voco.name} takes {least}")

    @torch.inference_mode()
    def short(self, clips: Sequence[Tensor], keys: Sequence[str]) -> list[Stored | Exception]:
        """What is stored of clips, or what is wrong with each: what they are alone, to rounding.

        Those of one length run together.

        Args:
            clips: float32 `[1, samples, channel]` each.
            keys: names of the clips, that what is drawn follows from.
        """
        found: list[Stored | Exception | None] = [None] * len(clips)
        legal = []
        for row, clip in enumerate(clips):
            try:
                self.minimum(clip.shape[1])
            except InvalidInput as error:
                found[row] = error
            else:
                legal.append(row)
        try:
            made: list[Any] = self._together([clips[row][0] for row in legal], [keys[row] for row in legal])
        except FAILURES:  # of one of them, which the others do not share
            made = [self._alone(clips[row][0], keys[row]) for row in legal]
        for row, one in zip(legal, made, strict=True):
            found[row] = one if isinstance(one, Exception) else self._stored(one, clips[row].shape[1])
        return found  # type: ignore[return-value]

    def _alone(self, clip: Tensor, key: str) -> Any:
        try:
            return self._together([clip], [key])[0]
        except FAILURES as error:
            return error

    def _together(self, clips: list[Tensor], keys: list[str]) -> list[Any]:
        voco, here = self.voco, [clip.to(self.voco.device) for clip in clips]
        if not self._is_codes:
            drawn = {"generator": [self.generator(key) for key in keys]} if self._is_drawn else {}
            return voco.encode_batch(here, **self._options, **drawn)
        found: dict[int, Any] = {}

        def encode(audio: Tensor, rows: list[int]) -> Iterable[Tensor]:
            codes = voco.encode_codes(audio, **self._options)
            for place, row in enumerate(rows):
                found[row] = codes.rows([place]) if isinstance(codes, ScaledCodes) else codes[place]
            return [audio[:0] for _ in rows]

        batches.encode(voco, here, encode)
        return [found[row] for row in range(len(clips))]

    def _stored(self, one: Any, samples: int) -> Stored | Exception:
        others = {"scales": one.scales.float().cpu()} if isinstance(one, ScaledCodes) else {}
        rows = one.codes[0] if isinstance(one, ScaledCodes) else one
        try:
            return Stored([self.stored(rows)], others, [samples], [])
        except InvalidInput as error:
            return error

    def stored(self, rows: Tensor) -> Tensor:
        """Latents or codes `[n, size]` as they are stored, on the CPU.

        Raises:
            InvalidInput: if they are not finite, or too large for the type.
        """
        found = rows.to(self._dtype).cpu().contiguous()
        if not self._is_codes and not found.isfinite().all():
            checks.finite(rows, f"latents of {self.voco.name}")
            raise InvalidInput(
                f"latents of {self.voco.name} reach {float(rows.abs().max()):.3g}, more than {self.settings.dtype} "
                "holds; take bfloat16 or float32"
            )
        return found

    def long(self, pieces: Iterable[Tensor], key: str) -> Stored:
        """What is stored of a clip that is not held as a whole, piece by piece.

        Args:
            pieces: float32 `[1, n, channel]` each.
            key: name of the clip.
        """
        options = dict(self._options)
        if self._is_drawn:
            options["generator"] = self.generator(key)
        call = "encode_codes" if self._is_codes else "encode"
        flow = Flow(self.voco, call, options)
        others: dict[str, Tensor] = {}
        samples, scales = [0], []

        def counted() -> Iterator[Tensor]:
            for piece in pieces:
                samples[0] += piece.shape[1]
                yield piece

        def run() -> Iterator[Tensor]:
            for found in flow(counted()):
                if isinstance(found, ScaledCodes):
                    scales.append(found.scales.float().cpu())
                    others["scales"] = torch.cat(scales, dim=1)
                rows = found.codes if isinstance(found, ScaledCodes) else found
                yield self.stored(rows[0])

        return Stored(run(), others, samples, flow.remarks)

    def generator(self, key: str) -> torch.Generator:
        """Of the noise of a clip, which follows from the seed and its name."""
        digest = hashlib.sha256(f"{self.settings.seed}\0{key}".encode("utf-8", "surrogatepass")).digest()
        return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)
