"""The audio of items, read ahead of the network in a thread of its own."""

from __future__ import annotations

import io
import itertools
import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vocos.data.items import Item
from vocos.data.sources import size_of
from vocos.data.tars import Member
from vocos.errors import InvalidInput
from vocos.files.audio import RATES, AudioReader, reading
from vocos.voco.flow import LONG

CHANNELS = ("mix", "split", "first")
AHEAD = 8 * LONG  # samples that are read ahead: more than are encoded together, so that neither side waits


class Clip(NamedTuple):
    """The audio of an item, or of one of its channels.

    Attributes:
        number: of the item.
        channel: which channel of the file it is, of those that are split; None otherwise.
        pieces: float32 `[1, n, channel]` each; one, of a clip that is not long.
        is_long: whether it is not held as a whole.
        notes: what is to be told of it, complete once all pieces have been taken.
    """

    number: int
    channel: int | None
    pieces: Iterable[Tensor]
    is_long: bool
    notes: list[str]


class Failure(NamedTuple):
    """An item that cannot be read, and why."""

    number: int
    error: str


@contextmanager
def opened(item: Item) -> Iterator[io.RawIOBase | None]:
    """What `reading` takes as the pipe of an item: a member of a tar; None for a file that is to be opened by name.

    Raises:
        InvalidInput: if the file is not there any more, or has another size than when the plan was made.
    """
    expected = item.member[2] if item.member else item.size
    if (size := size_of(item.path)) != expected or size is None:
        was = "was not there either" if expected is None else f"had {expected} bytes"
        now = "there is no such file" if size is None else f"it has {size} bytes"
        raise InvalidInput(f"{item.path}: {now}, when the plan was made it {was}")
    if item.member is None:
        yield None
        return
    with Path(item.path).open("rb", buffering=0) as stream:
        yield Member(stream, item.member[1], item.size or 0)


@contextmanager
def sound_of(item: Item, sampling_rate: int, channel: int, channels: str) -> Iterator[AudioReader]:
    """The audio of an item, to be read in blocks, at a rate and with a number of channels, unless they are split.

    Raises:
        InvalidInput: if it cannot be read.
        OSError: if the disk fails.
    """
    wanted = channel if channels == "mix" else None
    with (
        opened(item) as pipe,
        reading(Path(item.path), sampling_rate, wanted, pipe, item.start or 0.0, item.stop) as sound,
    ):
        yield sound


def parts(block: Tensor, channel: int, channels: str) -> Tensor:
    """Float32 `[n, channel, parts]` of a block `[n, file's channels]`.

    Args:
        block: of `sound_of`.
        channel: number of channels wanted.
        channels: "mix" has averaged channels into one, or takes the first two; "first" takes the first, or the first
            two; "split" makes a part of each channel, repeated where two are wanted. Of the others there is one part.
    """
    if channels == "split":
        return block[:, None, :].expand(-1, channel, -1)
    if block.shape[1] < channel:
        block = block[:, :1].expand(-1, channel)
    return block[:, :channel, None]


def clips(items: Iterable[tuple[int, Item]], sampling_rate: int, channel: int, channels: str) -> Iterator[Any]:
    """A `Clip` for each of the items, or one for each of its channels, or a `Failure`, in their order.

    Those that are not longer than `flow.LONG` are held as a whole. Each has to be taken before the next.
    """
    for number, item in items:
        try:
            yield from _clips_of(number, item, sampling_rate, channel, channels)
        except (InvalidInput, OSError, MemoryError) as error:
            yield Failure(number, told(error, item))


def _clips_of(number: int, item: Item, sampling_rate: int, channel: int, channels: str) -> Iterator[Clip]:
    is_split = channels == "split"
    with sound_of(item, sampling_rate, channel, channels) as sound:
        blocks, first = iter(sound), []
        for block in blocks:
            first.append(parts(block, channel, channels))
            if sound.samples > LONG:
                break
        else:
            whole = torch.cat(first)
            for part in range(whole.shape[2]):
                audio = whole[:, :, part][None].contiguous()
                notes = _remarks(item, sound, bool(audio.any()))
                yield Clip(number, part if is_split else None, [audio], False, notes)
            return
        count = first[0].shape[2]
        rest = itertools.chain(_popped(first), (parts(block, channel, channels) for block in blocks))
        notes = []
        yield Clip(number, 0 if is_split else None, _long(item, sound, rest, 0, notes), True, notes)
    for part in range(1, count):  # the file is read once for each channel, so that nothing is held
        with sound_of(item, sampling_rate, channel, channels) as sound:
            notes = []
            again = (parts(block, channel, channels) for block in sound)
            yield Clip(number, part, _long(item, sound, again, part, notes), True, notes)


def _popped(blocks: list[Tensor]) -> Iterator[Tensor]:
    while blocks:
        yield blocks.pop(0)


def _long(item: Item, sound: AudioReader, blocks: Iterable[Tensor], part: int, notes: list[str]) -> Iterator[Tensor]:
    """The pieces of a part, and at the end its notes."""
    is_heard = False
    for block in blocks:
        piece = block[:, :, part][None].contiguous()
        is_heard = is_heard or bool(piece.any())
        yield piece
    notes += _remarks(item, sound, is_heard)


def _remarks(item: Item, sound: AudioReader, is_heard: bool) -> list[str]:
    end = (item.start or 0.0) + sound.samples / sound.sampling_rate
    is_short = item.stop is not None and end < item.stop - 1 / RATES[0]
    return [
        *sound.done,
        *([f"ends at {end:g} s, before its stop at {item.stop:g} s"] if is_short else []),
        *([] if is_heard else ["silent"]),
    ]


def told(error: BaseException, item: Item) -> str:
    """What is wrong with an item, as a line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{item.place}: {error.strerror}"
    text = str(error) or "out of memory"
    return text if text.startswith(item.path) else f"{item.place}: {text}"


# Ahead

_END = object()


class Ahead:
    """What an iterator gives, made in a thread of its own, up to some weight ahead; a `with` ends the thread.

    Args:
        source: the iterator; an error in it comes out here. An iterator within a `Clip` that is long is run there, too.
        most: weight that may wait.
    """

    def __init__(self, source: Iterator[Any], most: int = AHEAD) -> None:
        self._source, self._most = source, most
        self._queue: queue.SimpleQueue[tuple[Any, int]] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._waiting, self._is_closed = 0, False
        self._thread = threading.Thread(target=self._run, name="vocos-reader", daemon=True)

    def __enter__(self) -> Ahead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._room:
            self._is_closed = True
            self._room.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[Any]:
        while (value := self._next()) is not _END:
            if isinstance(value, Clip) and value.is_long:
                yield value._replace(pieces=self._pieces())
            else:
                yield value

    def _pieces(self) -> Iterator[Tensor]:
        """The pieces of a long clip, which follow it in the queue."""
        while (piece := self._next()) is not _END:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def _next(self) -> Any:
        value, weight = self._queue.get()
        with self._room:
            self._waiting -= weight
            self._room.notify_all()
        if isinstance(value, _Raised):
            raise value.error
        return value

    def _run(self) -> None:
        try:
            for value in self._source:
                if isinstance(value, Clip) and value.is_long:
                    self._put(value, 0)
                    self._put_pieces(value.pieces)
                else:
                    self._put(value, next(iter(value.pieces)).numel() if isinstance(value, Clip) else 1)
            self._put(_END, 0)
        except _Closed:
            pass
        except BaseException as error:  # for whoever takes the values
            self._queue.put((_Raised(error), 0))

    def _put_pieces(self, pieces: Iterable[Tensor]) -> None:
        try:
            for piece in pieces:
                self._put(piece, piece.numel())
        except (InvalidInput, OSError, MemoryError) as error:  # of this clip alone
            self._put(error, 0)
        else:
            self._put(_END, 0)

    def _put(self, value: Any, weight: int) -> None:
        with self._room:
            self._room.wait_for(lambda: self._is_closed or self._waiting + weight <= max(self._most, weight))
            if self._is_closed:
                raise _Closed
            self._waiting += weight
        self._queue.put((value, weight))


class _Closed(Exception):
    """Nobody takes what comes."""


class _Raised(NamedTuple):
    error: BaseException
