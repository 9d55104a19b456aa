"""A dataset that is being made: plan and manifest in its folder, the shards that are left, and who makes them."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vocos.data import settings as manifests
from vocos.data import shard as shards
from vocos.data.encoder import Encoder
from vocos.data.plan import NAME, SHARD_SECONDS, Plan, changes
from vocos.data.plan import make as make_plan
from vocos.data.pool import Pool
from vocos.data.settings import Settings
from vocos.data.sources import items_of
from vocos.errors import InvalidInput


@dataclass(frozen=True)
class Part:
    """One of several parts of a plan, for schedulers: the shards whose number leaves `index - 1` when divided.

    Attributes:
        index: from 1 on.
        count: of all parts.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def of(cls, text: str) -> Part:
        """Of "K/N". Raises InvalidInput unless 1 <= K <= N."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise InvalidInput(f"dataset: expected the part as K/N, with K from 1 to N, got {text!r}")
        return cls(int(index), int(count))


@dataclass(frozen=True)
class Job:
    """The making of a dataset in a folder, once plan and manifest are there.

    Attributes:
        folder: of the dataset.
        settings: what it holds.
        plan: of its items.
        part: which shards are wanted.
    """

    folder: Path
    settings: Settings
    plan: Plan
    part: Part = Part()

    @property
    def shards(self) -> range:
        """The numbers of the shards that are wanted."""
        return range(self.part.index - 1, len(self.plan.shards), self.part.count)

    def split(self, retry: bool = False) -> tuple[list[dict[str, Any]], list[int]]:
        """What the index says of shards that are finished, and the numbers of those that are not.

        Args:
            retry: whether one with items that failed counts as not finished.
        """
        done, left = [], []
        for number in self.shards:
            about = shards.finished(self.folder, number, self.plan)
            if about is None or (retry and about["failed"]):
                left.append(number)
            else:
                done.append(about)
        return done, left


def begin(
    folder: Path,
    sources: Sequence[str],
    settings: Settings,
    *,
    part: Part | None = None,
    shard_seconds: float = SHARD_SECONDS,
    changed: Callable[[Iterator[str]], object] | None = None,
) -> Job:
    """Plan a dataset and write its manifest, or go on with one that was begun with the same settings.

    Args:
        folder: of the dataset, made if need be.
        sources: as of `items_of`; they may be left out for a dataset that has its plan.
        settings: what it is to hold.
        part: which shards are wanted; None for all.
        shard_seconds: of audio in a shard, about; of a plan that is made now.
        changed: is given lines about what has changed in the sources since the plan was made.

    Raises:
        InvalidInput: if a source holds no audio, the settings cannot be, or the dataset was begun with others.
        WeightsUnavailable, CheckpointError: as of the codec's weights.
        OSError: if the folder cannot be written.
    """
    voco = settings.codec()
    settings.check(voco)
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder}: expected a folder for a dataset, this is a file")
    voco.fetch()  # before a plan that may take a minute
    plan = planned(folder, sources, shard_seconds, changed)
    manifests.settle(folder, manifests.manifest_of(settings, voco, plan))
    return Job(folder, settings, plan, part or Part())


def planned(
    folder: Path,
    sources: Sequence[str],
    shard_seconds: float = SHARD_SECONDS,
    changed: Callable[[Iterator[str]], object] | None = None,
) -> Plan:
    """The plan of a dataset, made if it is not there; arguments as of `begin`."""
    if not shard_seconds > 0:
        raise InvalidInput(f"dataset: expected shard_seconds above 0, got {shard_seconds}")
    if not (folder / NAME).exists():
        if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise InvalidInput(f"{folder}: is not empty, and not a dataset; give an empty or a new folder")
        return make_plan(folder, sources, items_of(sources, folder), shard_seconds)
    plan = Plan(folder)
    if sources and changed is not None:
        problems: list[str] = []
        now = items_of(sources, folder, problems)
        changed(itertools.chain(changes(plan, now), problems))
    return plan


def run(
    job: Job,
    left: Iterable[int],
    *,
    devices: Sequence[str] | None = None,
    workers: int | None = None,
    progress: shards.Progress | None = None,
) -> Iterator[dict[str, Any]]:
    """Make shards on this machine, and give what the index says of each as it is finished.

    Args:
        job: whose they are.
        left: their numbers.
        devices: such as "cuda:0"; None for that of the settings.
        workers: processes, each with a codec of its own on one of the devices, a reading thread, and one thread that
            computes on a CPU; None for one for each core, or for each other device. A single one is this process.
        progress: is told seconds of audio that are done.

    Raises:
        OSError: if a shard cannot be written.
        InvalidInput, WeightsUnavailable, CheckpointError: as of the codec.
        RuntimeError: if workers die at the same shard again and again.
    """
    if workers is not None and workers < 1:
        raise InvalidInput(f"dataset: expected workers of 1 or more, got {workers}")
    numbers = list(left)
    places = list(devices or [job.settings.device])
    if not numbers:
        return
    count = min(len(numbers), workers_for(places) if workers is None else workers)
    start = random.SystemRandom().randrange(len(numbers))  # so that two who share a folder do not do the same
    numbers = numbers[start:] + numbers[:start]
    if count == 1:
        yield from _here(job, numbers, places[0], progress)
        return
    with Pool(job.folder, places, count, progress) as pool:
        yield from pool.run(numbers)


def workers_for(devices: Sequence[str]) -> int:
    """How many workers some devices get unless it is said."""
    return cores() if all(device == "cpu" for device in devices) else len(devices)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(job: Job, numbers: Sequence[int], device: str, progress: shards.Progress | None) -> Iterator[dict[str, Any]]:
    with computing_alone():
        maker = Maker(job.folder, device)
        for number in numbers:
            yield maker(number, progress)


class Maker:
    """Makes shards of a dataset that has its plan and its manifest, with a codec that is loaded once.

    Args:
        folder: of the dataset.
        device: where the codec runs; None for what the manifest says.

    Raises:
        InvalidInput, WeightsUnavailable, CheckpointError: as of plan, manifest, and codec.
    """

    def __init__(self, folder: Path, device: str | None = None) -> None:
        self._folder, self._plan = folder, Plan(folder)
        settings = manifests.settings_of(manifests.read(folder), device)
        self._encoder = Encoder(settings)

    def __call__(self, number: int, progress: shards.Progress | None = None) -> dict[str, Any]:
        """What the index says of a shard, which is made unless somebody else has made it meanwhile."""
        done = shards.finished(self._folder, number, self._plan)
        if done is None or done["failed"]:
            return shards.make(self._folder, number, self._plan, self._encoder, progress)
        if progress is not None:
            progress(done["seconds"])
        return done


@contextmanager
def computing_alone() -> Iterator[None]:
    """PyTorch computes in one thread, so that what comes out does not depend on how many workers share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
