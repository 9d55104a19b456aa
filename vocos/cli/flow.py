"""Audio, latents and codes through a codec: whole, or from a length on in pieces, as they come."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocos.cli.jobs import Job, piped

if TYPE_CHECKING:
    from torch import Tensor

    from vocos.voco import Voco

LONG = 1 << 20  # samples, 24 s at 44.1 kHz: what is not longer runs whole, as in a program that calls the codec once
SHOWN = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}, {rate_fmt}]"


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
        yield self._run(getattr(self._voco, self._call), _joined(first), **options)

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
        import torch

        with torch.inference_mode():
            return function(*(x.to(self._voco.device) if hasattr(x, "to") else x for x in arguments), **options)


def _joined(pieces: list[Any]) -> Any:
    from vocos.files.codes.record import joined

    return joined(pieces)


@contextmanager
def progress(seconds: float | None, is_quiet: bool) -> Iterator[Callable[[float], object]]:
    """A bar on a terminal, in seconds of audio; gives what is to be told how many more are done."""
    from tqdm import tqdm

    shown = {"bar_format": SHOWN} if seconds else {}
    with tqdm(total=seconds, unit="s", disable=is_quiet or None, leave=False, file=sys.stderr, **shown) as bar:
        yield bar.update


@contextmanager
def sound_for(voco: Voco[Any], path: Path, is_quiet: bool) -> Iterator[tuple[Any, Iterator[Tensor]]]:
    """The reader of a file for a codec, and what it gives, `[1, n, channel]` each, with a bar."""
    from vocos.files import audio

    with (
        silent_decoders(),
        ExitStack() as opened,
    ):
        pipe = opened.enter_context(piped(path, "rb"))
        sound = opened.enter_context(audio.reading(path, voco.sampling_rate, voco.channel, pipe))
        left = opened.pop_all()
    with left, progress(sound.seconds, is_quiet) as update:
        yield sound, _blocks(sound, voco.sampling_rate, update)


def _blocks(sound: Iterable[Tensor], rate: int, update: Callable[[float], object]) -> Iterator[Tensor]:
    """Blocks of audio, each as a batch of one."""
    source = iter(sound)
    while True:
        with silent_decoders():
            block = next(source, None)
        if block is None:
            return
        update(len(block) / rate)
        yield block[None]


def written(
    job: Job, pieces: Iterable[Tensor], voco: Voco[Any], update: Callable[[float], object] | None = None
) -> Any:
    """Write pieces of audio `[1, n, channels]` to where it belongs; gives the file, which knows how many they were."""
    from vocos.files import audio

    place = job.place()
    with piped(place, "wb") as pipe, audio.writing(place, voco.sampling_rate, voco.channel, pipe) as file:
        for sound in pieces:
            file.write(sound[0])
            if update is not None:
                update(sound.shape[1] / voco.sampling_rate)
    return file


@contextmanager
def silent_decoders() -> Iterator[None]:
    """Hide what libmpg123 prints to the stderr of the process about damage that it skips."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
