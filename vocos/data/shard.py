"""One shard: a pure function of its items, the codec and the settings, and the lines of the index about it.

    plan.jsonl  manifest.json
    shards/00000.safetensors    index/00000.jsonl
    shards/00001.safetensors    index/00001.jsonl

A shard is finished when its file is there and its index, which is written after it, says the same of it. The first line
of an index is about the shard, with the SHA-256 of its file; the others are about its items, in the order of the plan.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from vocos.data.containers import CONTAINERS, Container, Hashed
from vocos.data.durable import durably
from vocos.data.encoder import FAILURES, Encoder
from vocos.data.items import Item
from vocos.data.plan import Plan
from vocos.data.sound import Ahead, Clip, Failure, clips, told
from vocos.errors import CheckpointError, InvalidInput
from vocos.voco.batches import MAX_SAMPLES

SHARDS, INDEX = "shards", "index"
TOGETHER = 2 * MAX_SAMPLES  # samples of short clips, among which those of one length run together
LONGEST = 1000  # characters of an error

Progress = Callable[[float], object]


def index_path(folder: Path, shard: int) -> Path:
    """Where the index of a shard is."""
    return folder / INDEX / f"{shard:05d}.jsonl"


def shard_path(folder: Path, shard: int, to: str) -> Path:
    """Where the file of a shard is."""
    return folder / SHARDS / f"{shard:05d}{CONTAINERS[to].ending}"


def finished(folder: Path, shard: int, plan: Plan) -> dict[str, Any] | None:
    """What the index says of a shard that is finished; None if it is not, or its file has another size.

    Raises:
        CheckpointError: if it is of another plan.
    """
    try:
        about, _ = next(read_index(index_path(folder, shard)))
    except (FileNotFoundError, CheckpointError, StopIteration):
        return None
    if about.get("plan") != plan.sha256:
        raise CheckpointError(
            f"{index_path(folder, shard)}: is of another plan than {plan.path}; parts of different plans cannot be one"
        )
    if not {"failed", "items", "seconds", "silent"} <= about.keys():
        return None
    path = folder / str(about.get("file"))
    is_there = path.is_file() and path.stat().st_size == about.get("bytes")
    return about if is_there else None


def read_index(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The lines of an index, the first about the shard, each with its place in the file.

    Raises:
        FileNotFoundError: if there is none.
        CheckpointError: if it is damaged.
    """
    place = 0
    with path.open("rb") as stream:
        for line in stream:
            try:
                about = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CheckpointError(f"{path}: damaged at byte {place}: {error}") from error
            if not isinstance(about, dict) or not line.endswith(b"\n"):
                raise CheckpointError(f"{path}: damaged at byte {place}")
            yield about, place
            place += len(line)


def make(folder: Path, shard: int, plan: Plan, encoder: Encoder, progress: Progress | None = None) -> dict[str, Any]:
    """Make a shard, whether it is there or not, and give what its index says of it.

    Args:
        folder: of the dataset.
        shard: its number.
        plan: of the dataset.
        encoder: that makes what is stored.
        progress: is told seconds of audio that are done.

    Raises:
        OSError: if it cannot be written.
        CheckpointError: if the plan is damaged.
    """
    items, first = plan.read(shard), plan.first(shard)
    path = shard_path(folder, shard, encoder.settings.to)
    for place in (path, index_path(folder, shard)):
        place.parent.mkdir(exist_ok=True)
    with durably(path) as stream:
        hashed = Hashed(stream)
        container = CONTAINERS[encoder.settings.to](hashed, encoder.settings.kind, path.parent)
        lines = list(_Making(items, first, encoder, container, progress or (lambda seconds: None)).lines())
        container.finish()
    stored = [line for line in lines if "error" not in line]
    rate = encoder.voco.sampling_rate
    about = {
        "shard": shard,
        "file": path.relative_to(folder).as_posix(),
        "bytes": hashed.n_bytes,
        "sha256": hashed.sha256,
        "items": len(items),
        "stored": len(stored),
        "failed": len({line["item"] for line in lines if "error" in line}),
        "silent": sum("silent" in line["notes"] for line in stored),
        "frames": sum(line["frames"] for line in stored),
        "seconds": sum(line["samples"] for line in stored) / rate,
        "plan": plan.sha256,
    }
    with durably(index_path(folder, shard)) as stream:
        for line in [about, *({name: value for name, value in line.items() if value != []} for line in lines)]:
            stream.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n")
    return about


class _Making(NamedTuple):
    """The items of a shard on their way into its file."""

    items: Sequence[Item]
    first: int  # the number of the first of them in the plan
    encoder: Encoder
    container: Container
    progress: Progress

    def lines(self) -> Iterator[dict[str, Any]]:
        """Encode all; gives the lines of the index, in order."""
        voco, channels = self.encoder.voco, self.encoder.settings.channels
        with Ahead(clips(enumerate(self.items), voco.sampling_rate, voco.channel, channels)) as source:
            waiting: list[Clip | Failure] = []
            count = 0
            for clip in source:
                is_long = isinstance(clip, Clip) and clip.is_long
                if not is_long:
                    waiting.append(clip)
                    count += next(iter(clip.pieces)).numel() if isinstance(clip, Clip) else 0
                if is_long or count >= TOGETHER:
                    yield from self._short(waiting)
                    waiting, count = [], 0
                if is_long:
                    yield self._long(clip)
            yield from self._short(waiting)

    def _short(self, waiting: Sequence[Clip | Failure]) -> Iterator[dict[str, Any]]:
        """Clips that are held as a whole."""
        there = [clip for clip in waiting if isinstance(clip, Clip)]
        found = iter(self.encoder.short([next(iter(clip.pieces)) for clip in there], list(map(self._name, there))))
        for clip in waiting:
            if isinstance(clip, Failure):
                yield self._failed(clip, clip.error)
                continue
            stored = next(found)
            if isinstance(stored, Exception):
                yield self._failed(clip, told(stored, self.items[clip.number]))
                continue
            about = {**self._about(clip), "samples": stored.samples[0], "notes": clip.notes}
            self.container.add(self._key(clip), about, stored.pieces, stored.others)
            self.progress(stored.samples[0] / self.encoder.voco.sampling_rate)
            yield about

    def _long(self, clip: Clip) -> dict[str, Any]:
        """A clip that is not."""
        item, rate = self.items[clip.number], self.encoder.voco.sampling_rate

        def heard() -> Iterator[Tensor]:
            try:
                for piece in clip.pieces:
                    self.progress(piece.shape[1] / rate)
                    yield piece
            except OSError as error:  # of the source, and not of what is written
                raise InvalidInput(told(error, item)) from error

        stored = self.encoder.long(heard(), self._name(clip))
        about = {**self._about(clip), "samples": 0, "notes": []}

        def counted() -> Iterator[Tensor]:
            yield from stored.pieces
            about["samples"] = stored.samples[0]

        try:
            self.container.add(self._key(clip), about, counted(), stored.others)
        except FAILURES as error:
            with suppress(InvalidInput, OSError, MemoryError):
                collections.deque(clip.pieces, maxlen=0)  # the rest of it, which is in the way of the next
            return self._failed(clip, told(error, item))
        about["notes"] = [*clip.notes, *stored.notes]
        return about

    def _name(self, clip: Clip) -> str:
        name = self.items[clip.number].id
        return name if clip.channel is None else f"{name}#{clip.channel}"

    def _key(self, clip: Clip) -> str:
        number = f"{self.first + clip.number:09d}"
        return number if clip.channel is None else f"{number}-{clip.channel}"

    def _about(self, clip: Clip) -> dict[str, Any]:
        about: dict[str, Any] = {"id": self._name(clip), "item": self.first + clip.number}
        if clip.channel is not None:
            about["channel"] = clip.channel
        if columns := self.items[clip.number].columns:
            about["columns"] = dict(columns)
        return about

    def _failed(self, clip: Clip | Failure, error: str) -> dict[str, Any]:
        name = self._name(clip) if isinstance(clip, Clip) else self.items[clip.number].id
        return {"id": name, "item": self.first + clip.number, "error": " ".join(error.split())[:LONGEST]}
