"""Parts of one plan, made in folders of their own, into one dataset."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vocos.data import settings as manifests
from vocos.data import shard as shards
from vocos.data.durable import durably
from vocos.data.plan import Plan
from vocos.data.reading import inside
from vocos.errors import CheckpointError, InvalidInput


class Merged(NamedTuple):
    """What is there after a merge.

    Attributes:
        taken: shards that came from other folders.
        missing: numbers of those that are in none.
        failed: items that failed.
        items: of all shards that are there, those that failed among them.
        seconds: of audio that are stored.
    """

    taken: int
    missing: list[int]
    failed: int
    items: int
    seconds: float


def merge(folders: Sequence[Path]) -> Merged:
    """Bring the finished shards of several folders into the first; the others stay as they are.

    A shard gets a second name in the first folder where the file system can, and is copied otherwise, with its SHA-256
    checked.

    Args:
        folders: of datasets with the same plan and the same manifest.

    Raises:
        InvalidInput: if one is no dataset, or of another plan or manifest, naming the difference.
        CheckpointError: if a shard is not what its index says.
        OSError: if the first folder cannot be written.
    """
    first = folders[0]
    manifest, plan = manifests.read(first), Plan(first)
    for folder in folders[1:]:
        if Plan(folder).sha256 != plan.sha256:
            raise InvalidInput(
                f"{folder}: has another plan than {first}; parts of different plans cannot be one dataset"
            )
        if found := list(manifests.differences(manifest, manifests.read(folder))):
            raise InvalidInput(f"{folder}: is not a part of {first}, which was made with {'; '.join(found)}")
    taken, missing, failed, items, seconds = 0, [], 0, 0, 0.0
    for number in range(len(plan.shards)):
        about = shards.finished(first, number, plan)
        if about is None:
            source = next((folder for folder in folders[1:] if shards.finished(folder, number, plan)), None)
            if source is None:
                missing.append(number)
                continue
            _take(source, first, number)
            about = shards.finished(first, number, plan) or {}
            taken += 1
        failed, items, seconds = failed + about["failed"], items + about["items"], seconds + about["seconds"]
    return Merged(taken, missing, failed, items, seconds)


def _take(source: Path, target: Path, number: int) -> None:
    index = shards.index_path(source, number)
    about, _ = next(shards.read_index(index))
    old, new = inside(source, about["file"]), inside(target, about["file"])
    for place in (new, shards.index_path(target, number)):
        place.parent.mkdir(exist_ok=True)
    if not _linked(old, new):
        with old.open("rb") as stream, durably(new) as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
    with new.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != about["sha256"]:
            raise CheckpointError(f"{old}: is not what its index says; `vocos dataset verify {source}` tells")
    with durably(shards.index_path(target, number)) as copy:
        copy.write(index.read_bytes())


def _linked(old: Path, new: Path) -> bool:
    """A second name for a file. Returns whether there can be one."""
    if new.exists():
        return False
    try:
        os.link(old, new)
    except OSError:  # another disk, or a file system without links
        return False
    return True
