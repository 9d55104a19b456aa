"""Cuts of the items of a dataset, all of one length."""

from __future__ import annotations

import functools
import os
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from vocos.data import settings as manifests
from vocos.data.encoder import Encoder
from vocos.data.items import Item
from vocos.data.sound import parts, sound_of
from vocos.data.sources import items_of
from vocos.data.stream import Readable
from vocos.errors import InvalidInput
from vocos.voco import Voco


class Whole(Protocol):
    """What is cut: the items of a dataset."""

    manifest: dict[str, Any]
    kind: str

    def __len__(self) -> int: ...
    def shard_rows(self) -> list[range]: ...
    def about(self, index: int) -> dict[str, Any]: ...
    def cut(self, index: int, start: int, stop: int) -> Tensor: ...
    @property
    def voco(self) -> Voco[Any]: ...


class Crops(Readable):
    """The items of a dataset, each cut to some frames at a place that is drawn whenever it is read.

    An item is a dict as of the dataset, a copy, with `start`, its first frame, and `mask`, bool `[frames]`: one that is
    shorter is completed with zeros, where the mask is False.

    Latents of a cut are those of the whole: near its ends they depend on audio beyond, up to the receptive field that
    the manifest states. They are right for a model of whole signals; where they have to be what encoding the cut audio
    would give, `exact_from` encodes those ends again.

    Args:
        dataset: that is cut.
        frames: of a cut.
        generator: of the places; None for PyTorch's global one. Worker processes derive their own from it.
        exact_from: where the audio is now, as the SOURCE of `vocos dataset encode`, to encode the ends again.

    Raises:
        InvalidInput: if `frames` is not 1 or more, or the latents were drawn, so that no encoding gives them again.
    """

    def __init__(
        self,
        dataset: Whole,
        frames: int,
        generator: torch.Generator | None = None,
        exact_from: str | os.PathLike[str] | None = None,
    ) -> None:
        if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
            raise InvalidInput(f"crop: expected frames of 1 or more, got {frames!r}")
        if exact_from is not None and dataset.manifest["is_drawn"]:
            raise InvalidInput("crop: these latents were drawn; exact_from needs those of `encode --mean`")
        self.dataset, self.frames = dataset, frames
        self._generator, self._exact_from = generator, None if exact_from is None else os.fspath(exact_from)
        self._is_own = False

    def __len__(self) -> int:
        return len(self.dataset)

    def shard_rows(self) -> list[range]:
        return self.dataset.shard_rows()

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.at(index, self._drawing())

    def at(self, index: int, generator: torch.Generator | None = None) -> dict[str, Any]:
        """An item, cut where the generator says."""
        about = self.dataset.about(index)
        spare = max(0, about["frames"] - self.frames)
        start = int(torch.randint(spare + 1, (), generator=generator))
        stop = min(about["frames"], start + self.frames)
        values = self.cut(index, start, stop)
        missing = self.frames - len(values)
        mask = torch.arange(self.frames) < len(values)
        if missing:
            values = torch.cat([values, values.new_zeros(missing, values.shape[1])])
        item = {"id": about["id"], self.dataset.kind: values, "mask": mask, "start": start}
        return {**item, **about.get("columns", {})}

    def cut(self, index: int, start: int, stop: int) -> Tensor:
        """The frames of an item from one to before another, `[stop - start, size]`, a copy; exact if that is wanted."""
        stored = self.dataset.cut(index, start, stop).clone()
        return stored if self._exact_from is None else self._exact(index, start, stop, stored)

    def _drawing(self) -> torch.Generator | None:
        worker = get_worker_info()
        if self._generator is not None and worker is not None and not self._is_own:
            seed = (self._generator.initial_seed() * 1_000_003 + worker.seed) % (1 << 63)
            self._generator, self._is_own = torch.Generator("cpu").manual_seed(seed), True
        return self._generator

    # The seam

    @functools.cached_property
    def _encoder(self) -> Encoder:
        return Encoder(manifests.settings_of(self.dataset.manifest, str(self.dataset.voco.device)), self.dataset.voco)

    @functools.cached_property
    def _items(self) -> dict[str, Item]:
        assert self._exact_from is not None  # noqa: S101 - who asks has it
        return {item.id: item for item in items_of([self._exact_from])}

    def _exact(self, index: int, start: int, stop: int, stored: Tensor) -> Tensor:
        """What encoding the audio of these frames alone gives: stored ones, and at the ends new ones."""
        about, field = self.dataset.about(index), self.dataset.manifest["receptive_field"]
        is_first, is_last = start == 0, stop == about["frames"]
        if is_first and is_last:
            return stored
        frames, hop = stop - start, int(self.dataset.manifest["hop_length"])
        # A cut within the item stands for what its frames decode to; one at the end for the rest.
        voco = self.dataset.voco
        unit = hop // voco.hop_length
        length = voco.decode_length(frames * unit)
        samples = about["samples"] - start * hop if is_last else length
        sound = self._sound(about, start * hop, start * hop + samples)
        if field is None:
            return self._encoded(sound, frames)
        head = 0 if is_first else min(frames, field["frames_before"])
        tail = 0 if is_last else min(frames, field["frames_after"] + -(-(frames * hop - length) // hop))
        if 2 * (head + tail) >= frames:
            return self._encoded(sound, frames)
        if head:
            piece = sound[:, : (head + field["frames_after"] + 1) * hop]
            stored[:head] = self._encoded(piece, head)
        if tail:
            begin = max(0, frames - tail - field["frames_before"])
            stored[frames - tail :] = self._encoded(sound[:, begin * hop :], frames - begin)[-tail:]
        return stored

    def _encoded(self, sound: Tensor, frames: int) -> Tensor:
        found = self._encoder.short([sound], [""])[0]
        if isinstance(found, Exception):
            raise found
        return next(iter(found.pieces))[:frames]

    def _sound(self, about: dict[str, Any], start: int, stop: int) -> Tensor:
        """Samples of the audio of an item, `[1, stop - start, channel]`."""
        name, channel = about["id"], about.get("channel")
        name = name if channel is None else name.removesuffix(f"#{channel}")
        item = self._items.get(name)
        if item is None:
            raise InvalidInput(f"crop: exact_from {self._exact_from} has no item {name!r}")
        voco, mode = self.dataset.voco, self.dataset.manifest["settings"]["channels"]
        blocks: list[Tensor] = []
        count = 0
        with sound_of(item, voco.sampling_rate, voco.channel, mode) as sound:
            for block in sound:
                if count + len(block) > start:
                    blocks.append(parts(block, voco.channel, mode)[max(0, start - count) :, :, channel or 0])
                count += len(block)
                if count >= stop:
                    break
        if count < stop:
            raise InvalidInput(f"crop: {item.place} has {count} samples, {name} had {about['samples']}; it has changed")
        return torch.cat(blocks)[None, : stop - start].contiguous()
