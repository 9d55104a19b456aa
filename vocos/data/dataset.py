"""A dataset read back: items by number, each with its latents or codes, which stay in their files until used."""

from __future__ import annotations

import functools
import json
import os
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocos.data import settings as manifests
from vocos.data import shard as shards
from vocos.data.crops import Crops
from vocos.data.plan import Plan
from vocos.data.reading import Shards, statistics
from vocos.data.stream import Readable
from vocos.errors import CheckpointError, InvalidInput
from vocos.registry import get_voco
from vocos.voco import Voco
from vocos.voco.codes import ScaledCodes


def open_dataset(
    folder: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    partial: bool = False,
) -> Items:
    """A dataset that `vocos dataset encode` has made.

        dataset = vocos.open_dataset("latents")
        dataset[0]["latents"]             # [frames, size], where they lie in a mapped file
        audio = dataset.decode(0)         # [samples, channel]
        for batch in dataset.crop(256).stream(batch_size=16).loader(num_workers=4):
            batch["latents"]              # [16, 256, size]

    Args:
        folder: of the dataset.
        weights: of the codec that decodes, if they are not any more where they were; they have to be the same.
        device: where the codec decodes; None for the CPU.
        partial: whether a dataset with shards that are not finished is opened, with the items that are there.

    Raises:
        InvalidInput: if the folder is no dataset, or not all of its shards are there.
        CheckpointError: if it is damaged.
    """
    return Items(Path(folder), weights, device, partial)


class Items(Readable):
    """A dataset of latents or codes, a `torch.utils.data.Dataset`. `open_dataset` opens it.

    An item is a dict: `id`, `latents` or `codes` as a tensor `[frames, size]` of the stored type, `samples` of audio,
    `scales` where a codec has them, and the columns of the list it came from. The tensor is a view of the file: copy it
    before changing it in place.

    Attributes:
        folder: where it is.
        manifest: what it says of itself: codec, weights, kind, size, rates, receptive field.
        kind: "latents" or "codes".
    """

    def __init__(
        self,
        folder: Path,
        weights: str | os.PathLike[str] | None = None,
        device: str | torch.device | None = None,
        partial: bool = False,
    ) -> None:
        self.folder = folder
        self.manifest = manifests.read(folder)
        self.kind: str = self.manifest["kind"]
        self._weights, self._device = weights, device
        self._plan = Plan(folder)
        self._shards = Shards(folder, self.manifest)
        self._files: list[str] = []
        self._indices: list[str] = []
        self._ends = array("q")  # of the items of each shard
        self._shard_of, self._place = array("l"), array("q")
        self._frames, self._samples = array("q"), array("q")
        missing = [number for number in range(len(self._plan.shards)) if not self._take(number)]
        if missing and not partial:
            raise InvalidInput(
                f"{folder}: {len(missing)} of {len(self._plan.shards)} shards are not finished, the first is "
                f"{missing[0]}; `vocos dataset encode` goes on, and partial=True opens what is there"
            )

    def _take(self, number: int) -> bool:
        """The items of a shard. Returns whether it is there."""
        path = shards.index_path(self.folder, number)
        if not path.is_file():
            return False
        lines = shards.read_index(path)
        try:
            head, _ = next(lines)
            if head["plan"] != self._plan.sha256:
                raise CheckpointError(f"{path}: is of another plan than that of {self.folder}")
            self._files.append(str(head["file"]))
            for about, place in lines:
                if "error" not in about:
                    self._shard_of.append(len(self._files) - 1)
                    self._place.append(place)
                    self._frames.append(about["frames"])
                    self._samples.append(about["samples"])
        except (KeyError, TypeError, StopIteration) as error:
            raise CheckpointError(f"{path}: damaged: {error!r}") from error
        self._indices.append(str(path))
        self._ends.append(len(self._place))
        return True

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.at(index)

    def at(self, index: int, generator: torch.Generator | None = None) -> dict[str, Any]:
        """An item, all of it."""
        row = self._row(index)
        about, file = self.about(row), self._files[self._shard_of[row]]
        item: dict[str, Any] = {"id": about["id"], self.kind: self._shards.read(file, about)}
        if (scales := self._shards.scales(file, about)) is not None:
            item["scales"] = scales
        return {**item, "samples": about["samples"], **about.get("columns", {})}

    def cut(self, index: int, start: int, stop: int) -> Tensor:
        """Some frames of an item, `[stop - start, size]`; nothing else of it is read.

        Raises:
            InvalidInput: if it has no such frames.
        """
        row = self._row(index)
        if not 0 <= start <= stop <= self._frames[row]:
            raise InvalidInput(
                f"dataset: item {index} has {self._frames[row]} frames, not those from {start} to {stop}"
            )
        return self._shards.read(self._files[self._shard_of[row]], self.about(row), start, stop)

    def about(self, index: int) -> dict[str, Any]:
        """What the index says of an item, its id, columns and notes among others."""
        row = self._row(index)
        with open(self._indices[self._shard_of[row]], "rb") as stream:  # noqa: PTH123 - often
            stream.seek(self._place[row])
            found: dict[str, Any] = json.loads(stream.readline())
        return found

    def _row(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"dataset: there is no item {index} among {len(self)}")
        return index % len(self)

    @functools.cached_property
    def ids(self) -> list[str]:
        """The id of every item."""
        found = []
        for path in self._indices:
            lines = shards.read_index(Path(path))
            next(lines)
            found += [about["id"] for about, _ in lines if "error" not in about]
        return found

    def index(self, name: str) -> int:
        """The number of the item with an id. Raises InvalidInput if there is none."""
        found = self._numbers.get(name)
        if found is None:
            raise InvalidInput(f"dataset: there is no item with the id {name!r}")
        return found

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.ids)}

    @property
    def frames(self) -> list[int]:
        """Frames of every item."""
        return self._frames.tolist()

    @property
    def samples(self) -> list[int]:
        """Samples of the audio of every item, at the rate of the codec."""
        return self._samples.tolist()

    @property
    def size(self) -> int:
        """Numbers of a frame."""
        return int(self.manifest["size"])

    @property
    def seconds(self) -> float:
        """Of audio, in sum."""
        return sum(self._samples) / float(self.manifest["sampling_rate"])

    @property
    def plan(self) -> Plan:
        """The plan it was made by."""
        return self._plan

    def shard_rows(self) -> list[range]:
        """The numbers of the items of each shard."""
        return [range(start, stop) for start, stop in zip([0, *self._ends], self._ends, strict=False)]

    def errors(self) -> Iterator[Mapping[str, Any]]:
        """Of each item that failed, its `id`, its number in the plan as `item`, and its `error`."""
        for path in self._indices:
            yield from (about for about, _ in shards.read_index(Path(path)) if "error" in about)

    @functools.cached_property
    def stats(self) -> dict[str, Any]:
        """What `vocos dataset stats` has found.

        Returns:
            Of latents, `mean`, `std`, `min`, `max` as float32 `[size]` and `correlation` `[size, size]`; of codes, for
            each codebook `use`, `entropy_bits` and `bits`; `hours`, `items`, `failed` and rates.

        Raises:
            InvalidInput: if that has not been done yet.
        """
        return statistics(self.folder)

    @functools.cached_property
    def voco(self) -> Voco[Any]:
        """The codec, with the weights that made the dataset.

        Raises:
            CheckpointError: if the weights have other checksums.
            WeightsUnavailable: if they cannot be had.
        """
        told = self.manifest["settings"]
        weights = told["weights"] if self._weights is None else os.fspath(self._weights)
        voco = get_voco(self.manifest["voco"], weights=weights, device=self._device)
        before, now = self.manifest["weights"]["sha256"], manifests.weights_of(voco)["sha256"]
        if before and sorted(now.values()) != sorted(before.values()):  # an encoder may have none
            raise CheckpointError(
                f"{self.folder}: was made with weights of SHA-256 {before}, those of {voco.source} are {now}; give "
                "weights= the right ones"
            )
        return voco.load()

    @torch.inference_mode()
    def decode(self, index: int) -> Tensor:
        """The audio of an item as the codec decodes it, `[samples, channel]`.

        Raises:
            WeightsUnavailable, CheckpointError: as of `voco`.
        """
        item = self[index]
        voco, length = self.voco, item["samples"]
        values = item[self.kind].to(voco.device)[None]
        if self.kind == "latents":
            return voco.decode(values.to(voco.dtype), length=length)[0]
        codes: Any = ScaledCodes(values.long(), item["scales"].to(voco.device)) if "scales" in item else values.long()
        return voco.decode_codes(codes, length=length)[0]

    def crop(
        self,
        frames: int,
        *,
        generator: torch.Generator | None = None,
        exact_from: str | os.PathLike[str] | None = None,
    ) -> Crops:
        """The items cut to some frames at random places. See `Crops`."""
        return Crops(self, frames, generator, exact_from)
