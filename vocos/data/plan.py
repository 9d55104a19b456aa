"""The plan of a dataset: which items are in which shard, written once, before any work."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vocos.data.durable import durably
from vocos.data.items import Item
from vocos.data.sound import opened
from vocos.errors import CheckpointError, InvalidInput
from vocos.files.audio import reading

NAME = "plan.jsonl"
VERSION = 1
SHARD_SECONDS = 20_000.0
MAX_ITEMS = 10_000  # of a shard: the header of a safetensors file of more takes longer to parse than a clip to read
SAMPLED = 24  # headers that tell how many seconds a byte of each format stands for
UNKNOWN_RATE = 1 / 88_200  # seconds of a byte of a format of which no header can be read: 16 bits at 44.1 kHz


class Shard(NamedTuple):
    """A shard of a plan.

    Attributes:
        items: how many.
        n_bytes: of their lines.
        seconds: of audio, as the plan estimates.
    """

    items: int
    n_bytes: int
    seconds: float


class Plan:
    """A plan that lies in the folder of a dataset. Only the table of shards is held in memory.

    Attributes:
        path: of its file.
        sha256: of the file, in hexadecimal.
        sources: that it was made of.
        shards: all of them.
        seconds: of audio, as the plan estimates.
    """

    def __init__(self, folder: Path) -> None:
        """Read the plan of a dataset.

        Raises:
            InvalidInput: if there is none.
            CheckpointError: if it is damaged.
        """
        self.path = folder / NAME
        if not self.path.is_file():
            raise InvalidInput(f"{folder}: there is no {NAME}, which `vocos dataset encode` or `plan -o` writes")
        digest = hashlib.sha256()
        with self.path.open("rb") as stream:
            first = stream.readline()
            digest.update(first)
            self._body = len(first)
            while piece := stream.read(1 << 20):
                digest.update(piece)
            size = stream.tell()
        self.sha256 = digest.hexdigest()
        try:
            head = json.loads(first)
            if head["vocos_plan"] != VERSION:
                raise CheckpointError(f"{self.path}: version {head['vocos_plan']} of the format; update vocos")
            self.sources: list[str] = head["sources"]
            self.shards = [Shard(int(n), int(m), float(seconds)) for n, m, seconds in head["shards"]]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.path}: not a plan, or damaged: {error}") from error
        self._starts = [self._body]
        for shard in self.shards:
            self._starts.append(self._starts[-1] + shard.n_bytes)
        if self._starts[-1] != size:
            raise CheckpointError(f"{self.path}: has {size} bytes, its shards have {self._starts[-1]}; it is damaged")
        self.seconds = sum(shard.seconds for shard in self.shards)
        self._firsts = [0]
        for shard in self.shards:
            self._firsts.append(self._firsts[-1] + shard.items)

    @property
    def items(self) -> int:
        """How many there are."""
        return self._firsts[-1]

    def first(self, shard: int) -> int:
        """The number of the first item of a shard."""
        return self._firsts[shard]

    def read(self, shard: int) -> list[Item]:
        """The items of a shard, in order. Raises CheckpointError if they are damaged."""
        with self.path.open("rb") as stream:
            stream.seek(self._starts[shard])
            lines = stream.read(self.shards[shard].n_bytes).splitlines()
        if len(lines) != self.shards[shard].items:
            raise CheckpointError(f"{self.path}: shard {shard} is damaged: {len(lines)} lines")
        return [Item.of(line) for line in lines]

    def __iter__(self) -> Iterator[Item]:
        """All items, one shard at a time."""
        for shard in range(len(self.shards)):
            yield from self.read(shard)


def make(folder: Path, sources: Sequence[str], items: Iterable[Item], shard_seconds: float = SHARD_SECONDS) -> Plan:
    """Write the plan of a dataset, or find that there is one already; either way, give the one in force.

    Items are sorted by path and time, so that the order in which they were found does not matter, and divided where
    equal parts of the audio end. How long an item is follows from its times, or else from its bytes: how many seconds
    one stands for is read off a few headers of each format.

    Args:
        folder: of the dataset, made if need be.
        sources: what the items were found in.
        items: of any order.
        shard_seconds: of audio in a shard, about.

    Raises:
        InvalidInput: if two items have the same id, or there are none.
        OSError: if it cannot be written.
    """
    if (folder / NAME).exists():
        return Plan(folder)
    found = in_order(items)
    if not found:
        raise InvalidInput("dataset: there are no items")
    seconds = lengths(found)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as body:
        shards = []
        for start, stop in cuts(seconds, shard_seconds):
            lines = "".join(f"{item.line()}\n" for item in found[start:stop]).encode("ascii")
            body.write(lines)
            shards.append((stop - start, len(lines), round(sum(seconds[start:stop]), 3)))
        head = {
            "vocos_plan": VERSION,
            "items": len(found),
            "seconds": round(sum(seconds), 3),
            "shard_seconds": shard_seconds,
            "sources": [os.path.abspath(source) for source in sources],  # noqa: PTH100
            "shards": shards,
        }
        with durably(folder / NAME, replace=False) as stream:
            stream.write(json.dumps(head, separators=(",", ":")).encode("ascii") + b"\n")
            body.seek(0)
            shutil.copyfileobj(body, stream, 1 << 20)
    return Plan(folder)


def _order(item: Item) -> tuple[Any, ...]:
    return item.path, item.member[1] if item.member else 0, item.start or 0.0, item.stop or 0.0, item.id


def in_order(items: Iterable[Item]) -> list[Item]:
    """The items by path and time.

    Raises:
        InvalidInput: if two have the same id.
    """
    found = sorted(items, key=_order)
    ids: dict[str, int] = {}
    for number, item in enumerate(found):
        other = found[ids.setdefault(item.id, number)]
        if other is not item:
            raise InvalidInput(
                f"dataset: two items have the id {item.id!r}: {other.place} and {item.place}; give them ids of their "
                "own in a list, or leave one out"
            )
    return found


def lengths(items: Sequence[Item]) -> list[float]:
    """Seconds of audio of each item, as far as its times and the size of its file tell."""
    rates: dict[str, float] = {}
    groups: dict[str, list[Item]] = {}
    for item in items:
        if item.size and (item.start is None or item.stop is None):
            groups.setdefault(_format(item), []).append(item)
    for name, group in groups.items():
        step = max(1, len(group) // SAMPLED)
        told = [rate for item in group[::step][:SAMPLED] if (rate := _seconds_per_byte(item))]
        rates[name] = sum(told) / len(told) if told else UNKNOWN_RATE
    found = []
    for item in items:
        end = item.stop if item.stop is not None else (item.size or 0) * rates.get(_format(item), UNKNOWN_RATE)
        found.append(max(0.0, end - (item.start or 0.0)))
    return found


def _format(item: Item) -> str:
    name = item.member[0] if item.member else item.path
    return name.rpartition(".")[2].lower()


def _seconds_per_byte(item: Item) -> float | None:
    try:
        with opened(item) as pipe, reading(Path(item.path), pipe=pipe) as sound:
            return (sound.seconds or 0.0) / (item.size or 1) or None
    except (InvalidInput, OSError):
        return None


def cuts(seconds: Sequence[float], shard_seconds: float) -> Iterator[tuple[int, int]]:
    """Where to divide items: half-open ranges of about equal sums, none of more than `MAX_ITEMS` items."""
    total = sum(seconds)
    size = total / max(1, round(min(total / shard_seconds, len(seconds))))
    start, done, end = 0, 0.0, size
    for number, more in enumerate(seconds):
        if number > start and (number - start >= MAX_ITEMS or done + more / 2 > end):
            yield start, number
            start = number
            while done + more / 2 > end:
                end += size
        done += more
    yield start, len(seconds)


def changes(plan: Plan, sources: Iterable[Item]) -> Iterator[str]:
    """What has changed in the sources since a plan was made of them, a line each."""
    now = {item.id: item for item in sources}
    for item in plan:
        other = now.pop(item.id, None)
        if other is None:
            yield f"{item.place}: is in the plan and no longer in the sources"
        elif (other.path, other.start, other.stop) != (item.path, item.start, item.stop):
            yield f"{item.id}: was {item.place} when the plan was made, is {other.place}"
        elif other.size != item.size:
            yield f"{item.place}: had {_bytes(item.size)} when the plan was made, has {_bytes(other.size)}"
    for item in now.values():
        yield f"{item.place}: is not in the plan; a new folder makes a new one"


def _bytes(size: int | None) -> str:
    return "no file" if size is None else f"{size} bytes"
