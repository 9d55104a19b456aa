"""The items of a dataset, epoch after epoch, in an order that ranks and workers share, and that can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from vocos.errors import InvalidInput


class Readable(Dataset[dict[str, Any]]):
    """Items by number, in shards: what streams are made of."""

    def at(self, index: int, generator: torch.Generator | None = None) -> dict[str, Any]:
        """An item; the generator is for those in which something is drawn."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def shard_rows(self) -> list[range]:
        """The numbers of the items of each shard."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.at(index) for index in range(len(self)))

    def stream(
        self,
        batch_size: int | None = None,
        *,
        shuffle: bool = True,
        seed: int = 0,
        mixed: int = 16,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> Stream:
        """The items of one epoch after the other, in an order that can be resumed anywhere. See `Stream`."""
        return Stream(self, batch_size, shuffle, seed, mixed, rank, world_size, drop_last)


class Stream(IterableDataset[dict[str, Any]]):
    """Items or batches of one epoch. Iterating again gives the next epoch.

    The order follows from seed and epoch: shards are shuffled, and of so many of them at a time (`mixed`) the items.
    Ranks take the items in turn, equally many each. Workers of a `DataLoader(stream, batch_size=None)` take the batches
    in turn, so that they come in one order however many there are. What is drawn within an item, such as where it is
    cut, follows from seed, epoch and item.

        stream = dataset.crop(256).stream(batch_size=16, seed=0)
        loader = stream.loader(num_workers=4)
        for batch in loader:
            ...
            torch.save(loader.state_dict(), "loader.pt")  # and load_state_dict() resumes after this batch

    Args:
        source: of the items.
        batch_size: items of a batch, collated by `collate`; None for single items.
        shuffle: whether the order is a random one.
        seed: of it.
        mixed: shards whose items are shuffled together; they are read at a time.
        rank: of this process; None for that of torch.distributed, or 0.
        world_size: how many there are; None for those of torch.distributed, or 1.
        drop_last: whether a last batch with fewer items is left out.

    Attributes:
        epoch: that is given, from 0 on.
        position: batches, or items, of the epoch that have been given.
    """

    def __init__(
        self,
        source: Readable,
        batch_size: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        mixed: int = 16,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        for name, value in (("batch_size", batch_size or 1), ("mixed", mixed)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInput(f"stream: expected {name} of 1 or more, got {value!r}")
        here = torch.distributed if torch.distributed.is_available() and torch.distributed.is_initialized() else None
        self._source, self._batch_size = source, batch_size
        self._shuffle, self._seed, self._mixed, self._drop_last = shuffle, seed, mixed, drop_last
        self._rank = rank if rank is not None else here.get_rank() if here else 0
        self._world_size = world_size if world_size is not None else here.get_world_size() if here else 1
        if not 0 <= self._rank < self._world_size:
            raise InvalidInput(f"stream: expected a rank below the world size {self._world_size}, got {self._rank}")
        self.epoch = self.position = 0
        self._base: int | None = None  # where the epoch was entered, in a worker that goes on with its own state
        self._given = torch.zeros(1, dtype=torch.int64)  # by workers, of which this process does not know
        self._given.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        """Batches, or items, of an epoch for this rank."""
        count = len(self._source) // self._world_size
        if self._batch_size is None:
            return count
        return count // self._batch_size if self._drop_last else -(-count // self._batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        index, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        epoch, begin = self.epoch, self.position
        base = begin if self._base is None else self._base
        self._base = None if worker is None else base
        for place, rows in enumerate(self._groups(epoch)):
            if place < begin:
                continue
            if (place - base) % count == index:
                found = [self._source.at(row, self._generator(epoch, row)) for row in rows]
                self.position = place + 1
                self._given += worker is not None
                yield found[0] if self._batch_size is None else collate(found)
        self.epoch, self.position, self._base = epoch + 1, 0, None

    def _groups(self, epoch: int) -> Iterator[list[int]]:
        """The numbers of the items of each batch, or of each item, for this rank."""
        size = self._batch_size or 1
        left = len(self._source) // self._world_size
        rows: list[int] = []
        for place, row in enumerate(self._order(epoch)):
            if place % self._world_size != self._rank:
                continue
            if left == 0:
                break
            left -= 1
            rows.append(row)
            if len(rows) == size:
                yield rows
                rows = []
        if rows and not self._drop_last:
            yield rows

    def _order(self, epoch: int) -> Iterator[int]:
        """The numbers of all items."""
        ranges = [rows for rows in self._source.shard_rows() if rows]
        if not self._shuffle:
            for rows in ranges:
                yield from rows
            return
        generator = self._generator(epoch)
        order = torch.randperm(len(ranges), generator=generator).tolist()
        for start in range(0, len(order), self._mixed):
            mixed = torch.cat(
                [torch.arange(ranges[k].start, ranges[k].stop) for k in order[start : start + self._mixed]]
            )
            yield from mixed[torch.randperm(len(mixed), generator=generator)].tolist()

    def _generator(self, *what: int) -> torch.Generator:
        digest = hashlib.sha256(repr((self._seed, *what)).encode()).digest()
        return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    def loader(self, num_workers: int = 0, **options: Any) -> Loader:
        """The same from worker processes; `options` are those of `torch.utils.data.DataLoader`."""
        return Loader(self, num_workers, options)

    def state_dict(self) -> dict[str, Any]:
        """Where it is, to be given to `load_state_dict` of a stream like this one: numbers alone.

        Raises:
            InvalidInput: in a program whose `DataLoader` has workers, for only they know; a `loader` counts.
        """
        if get_worker_info() is None and self._given.item():
            raise InvalidInput(
                "stream: its batches come from the workers of a DataLoader, which run ahead of what has been taken; "
                "stream.loader(num_workers=...) has a state_dict() that counts"
            )
        return self.state()

    def state(self) -> dict[str, Any]:
        """The same, of this process alone."""
        base = {} if self._base is None else {"base": self._base}
        return {"epoch": self.epoch, "position": self.position, **base, **self._kind()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            InvalidInput: if the state is of a stream of other items, seed, batches or ranks.
        """
        if wrong := [key for key, value in self._kind().items() if state.get(key) != value]:
            told = ", ".join(f"{key} {state.get(key)!r}, this has {self._kind()[key]!r}" for key in wrong)
            raise InvalidInput(f"stream: the state is of a stream with {told}")
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
        self._base = state.get("base")
        self._given.zero_()

    def _kind(self) -> dict[str, Any]:
        return {
            "items": len(self._source),
            "batch_size": self._batch_size,
            "seed": self._seed,
            "shuffle": self._shuffle,
            "mixed": self._mixed,
            "world_size": self._world_size,
            "drop_last": self._drop_last,
        }


class Loader:
    """A stream through the worker processes of a `DataLoader`; it counts what has been taken, not what is ready.

    `Stream.loader` makes one. Iterating it again gives the next epoch.

    Args:
        stream: what it gives.
        num_workers: processes; 0 for none.
        options: of the `DataLoader`.
    """

    def __init__(self, stream: Stream, num_workers: int, options: Mapping[str, Any]) -> None:
        self._stream, self._num_workers, self._options = stream, num_workers, dict(options)

    def __len__(self) -> int:
        return len(self._stream)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        stream = self._stream
        if not self._num_workers and not self._options:
            yield from stream
            return
        epoch, position = stream.epoch, stream.position
        batches = DataLoader(stream, batch_size=None, num_workers=self._num_workers, **self._options)
        for batch in batches:
            position += 1
            stream.epoch, stream.position = epoch, position
            yield batch
        stream.epoch, stream.position = epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """As of `Stream`: after the last batch that was taken."""
        return self._stream.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As of `Stream`; for the next iteration."""
        self._stream.load_state_dict(state)


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Items as one batch: tensors of one shape stacked, everything else in lists.

    Raises:
        InvalidInput: if their latents or codes differ in length.
    """
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for item in items for key in item):
        values: list[Any] = [item.get(key) for item in items]
        if all(isinstance(value, Tensor) for value in values):
            if len({value.shape for value in values}) == 1:
                found[key] = torch.stack(values)
                continue
            if key in ("latents", "codes"):
                raise InvalidInput(
                    f"stream: {key} of {sorted({len(value) for value in values})[:4]} frames do not make a batch; "
                    "crop(frames) gives them one length, and without batch_size they come one by one"
                )
        found[key] = values
    return found
