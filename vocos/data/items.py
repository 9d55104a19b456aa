"""What a dataset is made of: items, each a file of audio, a part of one, or a member of a tar."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from vocos.errors import CheckpointError, InvalidInput

RESERVED = ("id", "latents", "codes", "scales", "samples", "mask", "start")  # of what items are read back as


class Item(NamedTuple):
    """One clip to be encoded.

    Attributes:
        id: its name in the dataset, unique.
        path: of the file of audio, or of the tar that holds it.
        size: bytes of the file or member when the plan was made; None if it was not there.
        start: where it begins in the file, in seconds; None for the beginning.
        stop: where it ends in the file, in seconds; None for the end.
        member: name, first byte, and size of the whole tar, of a member of a tar; None of a file.
        columns: what else a list said of it, which travels along.
    """

    id: str
    path: str
    size: int | None
    start: float | None = None
    stop: float | None = None
    member: tuple[str, int, int] | None = None
    columns: Mapping[str, Any] = {}

    @property
    def place(self) -> str:
        """The file, as messages name it."""
        inner = f"/{self.member[0]}" if self.member else ""
        times = f" from {self.start or 0:g} s" if self.start is not None or self.stop is not None else ""
        return f"{self.path}{inner}{times}"

    def line(self) -> str:
        """The item as a line of JSON, without the fields that say nothing."""
        fields = {name: value for name, value in self._asdict().items() if value is not None and value != {}}
        return json.dumps(fields, ensure_ascii=True, separators=(",", ":"))

    @classmethod
    def of(cls, line: bytes | str) -> Item:
        """The item of a line. Raises CheckpointError if it is none."""
        try:
            fields = json.loads(line)
            item = cls(**{"size": None, **fields})
            if not (isinstance(item.id, str) and isinstance(item.path, str) and isinstance(item.columns, dict)):
                raise ValueError("its fields are of other types")
            if item.member is not None:
                name, first, whole = item.member
                item = item._replace(member=(str(name), int(first), int(whole)))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"not an item of a plan: {str(line)[:80]!r}; {error}") from error
        return item


def checked(item: Item, where: str) -> Item:
    """The item, if a list said it right; `where` is what messages begin with.

    Raises:
        InvalidInput: if its times cannot be, or a column has a name that is taken.
    """
    start, stop = item.start or 0.0, item.stop
    if not (math.isfinite(start) and start >= 0) or (stop is not None and not (math.isfinite(stop) and stop > start)):
        raise InvalidInput(
            f"{where}: expected 0 <= start < stop, in seconds, got start {item.start} and stop {item.stop}"
        )
    if taken := sorted(item.columns.keys() & {*RESERVED}):
        raise InvalidInput(f"{where}: a column cannot be called {taken[0]!r}, which encoded items have; rename it")
    return item
