"""A call of a codec for one clip that comes in pieces: whole, or from a length on as a stream."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from vocos.voco.codes import joined
from vocos.voco.interface import Voco

LONG = 1 << 20  # samples, 24 s at 44.1 kHz: what is not longer runs whole, as in a program that calls the codec once


class Flow:
    """One call of a codec, for one clip.

    Attributes:
        remarks: what is to be told of how it ran.
    """

    def __init__(self, voco: Voco[Any], call: str, options: dict[str, Any] | None = None) -> None:
        """`call` is "encode", "decode", "encode_codes" or "decode_codes"; options are those of the call."""
        self._voco, self._call, self._options = voco, call, options or {}
        self._is_decoding = call.startswith("decode")
        self.remarks: list[str] = []

    def __call__(self, pieces: Iterable[Any], length: Callable[[], int] | None = None) -> Iterator[Any]:
        """The outputs for the pieces of an input, in pieces, if the input is long, or else in one.

        Args:
            pieces: each `[1, n, ...]`, what the call takes.
            length: of a call that decodes, the samples of all; it is asked for at the end.
        """
        source = iter(pieces)
        hop = self._voco.code_hop_length if self._call == "decode_codes" else self._voco.hop_length
        long = LONG // hop if self._is_decoding else LONG
        first, count = [], 0
        for piece in source:
            first.append(piece)
            count += piece.shape[1]
            if count > long:
                break
        rest = next(source, None)
        if rest is not None or count > long:
            obstacle = self._voco.stream_obstacle("decoder" if self._is_decoding else "encoder")
            if obstacle is None:
                yield from self.streamed(itertools.chain(first, [] if rest is None else [rest], source), length)
                return
            self.remarks.append(f"in one piece: {obstacle}")
            first += [] if rest is None else [rest, *source]
        options = self._options if length is None else {**self._options, "length": length()}
        yield self._run(getattr(self._voco, self._call), joined(first), **options)

    def streamed(self, pieces: Iterable[Any], length: Callable[[], int] | None) -> Iterator[Any]:
        """The outputs in pieces, whatever the length; arguments as of a call."""
        stream = getattr(self._voco, f"{self._call}_stream")(**self._options)
        held, given = None, 0  # the last output, which may end after the length: a codec without delay gives all of it
        for piece in pieces:
            found = self._run(stream.push, piece)
            if found.shape[1]:
                if held is not None:
                    yield held
                held, given = found, given + found.shape[1]
        wanted = None if length is None else length()
        if held is not None and wanted is not None and wanted < given:
            yield held[:, : wanted - given]
            return
        if held is not None:
            yield held
        rest = self._run(stream.finish, *([] if wanted is None else [wanted]))
        if rest.shape[1]:
            yield rest

    def _run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """A call outside of autograd, which a generator may not hold on to between its outputs."""
        with torch.inference_mode():
            return function(*(x.to(self._voco.device) if hasattr(x, "to") else x for x in arguments), **options)
