"""Whether a dataset is what its index says, and whether encoding again gives the same."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from vocos.data import settings as manifests
from vocos.data import shard as shards
from vocos.data.dataset import Items
from vocos.data.encoder import FAILURES, Encoder
from vocos.data.plan import Plan
from vocos.data.reading import inside
from vocos.data.sound import Clip, clips
from vocos.errors import CheckpointError, InvalidInput

# A row among others is what it is alone to float rounding, which the stored type rounds again: float16 keeps 11 bits,
# 66 dB, bfloat16 8, 48 dB. Codes differ where two entries are equally near, to rounding.
LEAST_DB = {"float32": 80.0, "float16": 55.0, "bfloat16": 40.0}
LEAST_SHARE = 0.99


class Found(NamedTuple):
    """What was found of a dataset.

    Attributes:
        problems: a line each.
        shards: that are there and right.
        items: that are in them.
        compared: that have been encoded again.
    """

    problems: list[str]
    shards: int
    items: int
    compared: int


def verify(folder: Path, deep: float = 0.0, progress: Callable[[float], object] = lambda share: None) -> Found:
    """Check all checksums of a dataset, and encode a share of its items again.

    Args:
        folder: of the dataset.
        deep: share of the items, from 0 to 1, that are encoded again; their audio has to be where the plan says.
        progress: is told the share of the checksums that is done more.

    Raises:
        InvalidInput: if it is no dataset.
        CheckpointError: if plan or manifest are damaged.
    """
    if not 0.0 <= deep <= 1.0:
        raise InvalidInput(f"verify: expected a share from 0 to 1, got {deep}")
    manifest, plan = manifests.read(folder), Plan(folder)
    problems = []
    if manifest["plan"]["sha256"] != plan.sha256:
        problems.append(f"{plan.path}: is not the plan that {manifests.NAME} was written for; SHA-256 {plan.sha256}")
    right, items = [], 0
    for number in range(len(plan.shards)):
        told = list(_problems(folder, number, plan))
        if told:
            problems += told
        else:
            right.append(number)
            items += plan.shards[number].items
        progress(1 / len(plan.shards))
    compared = 0
    if deep and not problems:
        for line in _deep(folder, plan, right, deep):
            compared += 1
            problems += [line] if line else []
    return Found(problems, len(right), items, compared)


def _problems(folder: Path, number: int, plan: Plan) -> Iterator[str]:
    """What is wrong with a shard."""
    index = shards.index_path(folder, number)
    again = f"delete {index} and `vocos dataset encode` makes the shard again"
    try:
        lines = [about for about, _ in shards.read_index(index)]
        about = lines[0]
        path = inside(folder, about["file"])
        if about["plan"] != plan.sha256:
            yield f"{index}: is of another plan"
            return
        items = [line["item"] for line in lines[1:]]
        first = plan.first(number)
        if {*items} != {*range(first, first + plan.shards[number].items)}:
            yield f"{index}: does not say what became of each item of the plan; {again}"
            return
        if not path.is_file():
            yield f"{path}: there is no such file; `vocos dataset encode` makes it again"
            return
        size = path.stat().st_size
        if size != about["bytes"]:
            yield f"{path}: has {size} bytes, its index says {about['bytes']}; `vocos dataset encode` makes it again"
            return
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != about["sha256"]:
            yield f"{path}: damaged, its SHA-256 is {digest}, its index says {about['sha256']}; {again}"
    except FileNotFoundError:
        yield f"{index}: shard {number} is not finished; `vocos dataset encode` goes on"
    except (CheckpointError, KeyError, IndexError, TypeError, OSError) as error:
        yield f"{index}: damaged, {error}; {again}"


def _deep(folder: Path, plan: Plan, right: list[int], share: float) -> Iterator[str]:
    """For each item that is encoded again, what is wrong with it, or nothing."""
    dataset = Items(folder, partial=True)
    encoder = Encoder(manifests.settings_of(dataset.manifest))
    voco, channels = encoder.voco, encoder.settings.channels
    rows = {dataset.about(row)["id"]: row for row in range(len(dataset))} if len(dataset) else {}
    wanted = max(1, round(share * plan.items))
    # The first of all by a hash of their names: the same ones every time, and spread over the shards.
    order = sorted(
        (
            (hashlib.sha256(item.id.encode()).digest(), number, place)
            for number in right
            for place, item in enumerate(plan.read(number))
        ),
    )[:wanted]
    for _, number, place in order:
        item = plan.read(number)[place]
        for clip in clips([(place, item)], voco.sampling_rate, voco.channel, channels):
            if not isinstance(clip, Clip):
                if item.id in rows:
                    yield f"{clip.error}; it was encoded when it could be read"
                continue
            name = item.id if clip.channel is None else f"{item.id}#{clip.channel}"
            row = rows.pop(name, None)
            try:
                with torch.inference_mode():
                    stored = (
                        encoder.long(clip.pieces, name) if clip.is_long else encoder.short([*clip.pieces], [name])[0]
                    )
                    if isinstance(stored, Exception):
                        raise stored
                    again = torch.cat(list(stored.pieces))
            except FAILURES as error:
                yield f"{item.place}: {error}" if row is not None else ""
                continue
            if row is None:
                yield f"{item.place}: can be encoded now, its index says that it could not"
                continue
            yield _difference(dataset, row, again, name)


def _difference(dataset: Items, row: int, again: torch.Tensor, name: str) -> str:
    before = dataset[row][dataset.kind]
    if before.shape != again.shape:
        return f"{name}: has {list(before.shape)}, encoding it again gives {list(again.shape)}"
    if torch.equal(before, again):
        return ""
    if dataset.kind == "codes":
        share = float((before == again).double().mean())
        return "" if share >= LEAST_SHARE else f"{name}: only {share:.1%} of its codes are found again"
    error = float((before.double() - again.double()).square().sum())
    ratio = math.inf if error == 0 else 10 * math.log10(float(again.double().square().sum()) / error + 1e-30)
    least = LEAST_DB[dataset.manifest["dtype"]]
    return "" if ratio >= least else f"{name}: differs from what encoding gives, {ratio:.0f} dB, at least {least:.0f}"
