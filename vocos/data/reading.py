"""What is read back: numbers where they lie in mapped files, or in the rows of parquet files, and statistics."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vocos.data.containers import DTYPES, Parquet, pyarrow_of
from vocos.errors import CheckpointError, InvalidInput

OPEN = 256  # files that stay mapped
NUMBERS, ARRAYS = "stats.json", "stats.safetensors"

T = TypeVar("T")


class Recent(Generic[T]):
    """Things made of a key and kept as long as they are among the last that were used; pickled as none."""

    def __init__(self, make: Callable[[Any], T], most: int = OPEN) -> None:
        self._make, self._most = make, most
        self._kept: collections.OrderedDict[Any, T] = collections.OrderedDict()

    def __getitem__(self, key: Any) -> T:
        if key not in self._kept:
            self._kept[key] = self._make(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": collections.OrderedDict()}


class Shards:
    """The numbers in the shards of a dataset.

    Args:
        folder: of the dataset.
        manifest: of the dataset.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self._folder, self._size, self._dtype = folder, int(manifest["size"]), str(manifest["dtype"])
        self._mapped: Recent[np.memmap[Any, Any]] = Recent(self._map)
        self._groups: Recent[Any] = Recent(self._group, 4)

    def read(self, file: str, about: Mapping[str, Any], start: int = 0, stop: int | None = None) -> Tensor:
        """Frames of an item, `[stop - start, size]`; a view of the mapped file, unless it is parquet.

        Args:
            file: of the shard, as its index says.
            about: of the item, as its index says.
            start: first frame.
            stop: frame after the last; None for all.

        Raises:
            CheckpointError: if the file is shorter than that.
        """
        stop = about["frames"] if stop is None else stop
        if file.endswith(Parquet.ending):
            row = self._groups[file, about["row"][0]][about["row"][1]]
            buffer: Any = bytearray(row["data"])
            offset = 0
        else:
            buffer, offset = self._mapped[file], about["offset"]
        return self._numbers(buffer, file, offset, (start, stop), self._size, self._dtype)

    def scales(self, file: str, about: Mapping[str, Any]) -> Tensor | None:
        """The scales of an item, float32 `[1, chunks]`; None if it has none."""
        if file.endswith(Parquet.ending):
            told = self._groups[file, about["row"][0]][about["row"][1]]["scales"]
            return None if told is None else torch.tensor([told])
        if "scales" not in about:
            return None
        offset, rows, size, dtype = about["scales"]
        data = bytearray(self._mapped[file][offset : offset + 4 * rows * size])  # a copy: it may lie anywhere
        return self._numbers(data, file, 0, (0, rows), size, dtype)

    def _numbers(self, buffer: Any, file: str, offset: int, rows: tuple[int, int], size: int, dtype: str) -> Tensor:
        kind, (start, stop) = DTYPES[dtype][2], rows
        first, count = offset + start * size * kind.itemsize, (stop - start) * size
        if not 0 <= first <= first + count * kind.itemsize <= len(buffer):
            raise CheckpointError(
                f"{self._folder / file}: is shorter than its index says; `vocos dataset verify` tells"
            )
        if count == 0:
            return torch.empty(0, size, dtype=kind)
        return torch.frombuffer(buffer, dtype=kind, count=count, offset=first).reshape(stop - start, size)

    def _map(self, file: str) -> np.memmap[Any, Any]:
        path = inside(self._folder, file)
        try:
            return np.memmap(path, np.uint8, mode="c")  # what a caller changes, does not reach the file
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be mapped: {error}") from error

    def _group(self, key: tuple[str, int]) -> list[dict[str, Any]]:
        """The rows of a group of a parquet file."""
        pyarrow, (file, group) = pyarrow_of("parquet shards"), key
        path = inside(self._folder, file)
        try:
            with pyarrow.parquet.ParquetFile(path) as opened:
                rows: list[dict[str, Any]] = opened.read_row_group(group, columns=["data", "scales"]).to_pylist()
        except (OSError, pyarrow.ArrowException, IndexError) as error:
            raise CheckpointError(f"{path}: damaged: {error}") from error
        return rows


def inside(folder: Path, file: str) -> Path:
    """The path of a shard. Raises CheckpointError if an index names one outside of its dataset."""
    path = Path(file)
    if path.is_absolute() or ".." in path.parts:
        raise CheckpointError(f"{folder}: an index names {file!r}, which is outside of the dataset")
    return folder / path


def statistics(folder: Path) -> dict[str, Any]:
    """What `vocos dataset stats` has written, with tensors.

    Raises:
        InvalidInput: if it has not.
        CheckpointError: if it is damaged.
    """
    if not (folder / NUMBERS).is_file():
        raise InvalidInput(f"{folder}: has no {NUMBERS}; `vocos dataset stats {folder}` makes it")
    try:
        found = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
        return {**found, **load_file(folder / ARRAYS)}
    except (ValueError, TypeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: its statistics are damaged: {error}; make them again") from error
