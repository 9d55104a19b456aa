"""What a dataset will be: hours, bytes, and the time it takes, measured on a sample."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from vocos.data.containers import DTYPES
from vocos.data.encoder import Encoder
from vocos.data.items import Item
from vocos.data.jobs import computing_alone
from vocos.data.plan import cuts, in_order, lengths
from vocos.data.settings import Settings
from vocos.data.sound import Clip, clips
from vocos.errors import VocoError
from vocos.voco import Voco
from vocos.voco.flow import LONG

SAMPLED = 16  # items that are encoded, spread evenly over the plan
ENOUGH_SECONDS = 10.0  # of computing, after which no further item is
SOUND_BYTES = 2  # of a sample of 16 bits


class Estimate(NamedTuple):
    """What a dataset will be.

    Attributes:
        items: how many.
        missing: of these, files that are not there.
        seconds: of audio, as their times and the sizes of the files tell.
        shards: how many.
        n_bytes: of what is stored.
        sound_bytes: of the files of audio, each counted once.
        bytes_per_second: of what is stored.
        speed: seconds of audio that one worker encodes in a second; None if that was not measured.
        failed: what was wrong with items of the sample, and why the speed was not measured.
        warnings: choices that cost more than they need.
    """

    items: int
    missing: int
    seconds: float
    shards: int
    n_bytes: float
    sound_bytes: int
    bytes_per_second: float
    speed: float | None
    failed: list[str]
    warnings: list[str]

    def hours_of_work(self, workers: int) -> float | None:
        """How long so many workers take, if none waits for another; None if the speed was not measured."""
        return None if self.speed is None else self.seconds / self.speed / workers / 3600


def estimate(items: Iterable[Item], settings: Settings, shard_seconds: float) -> Estimate:
    """What a dataset of some items will be. A sample of them is encoded, if the weights can be had.

    Raises:
        InvalidInput: if the settings cannot be, or two items have the same id.
    """
    voco = settings.codec()
    settings.check(voco)
    found = in_order(items)
    seconds = lengths(found)
    total = sum(seconds)
    rate = bytes_per_second(settings, voco)
    sizes = {(item.path, item.member): item.size or 0 for item in found}
    speed, failed = _measured(found, settings, voco)
    return Estimate(
        items=len(found),
        missing=sum(item.size is None for item in found),
        seconds=total,
        shards=sum(1 for _ in cuts(seconds, shard_seconds)),
        n_bytes=total * rate,
        sound_bytes=sum(sizes.values()),
        bytes_per_second=rate,
        speed=speed,
        failed=failed,
        warnings=_warnings(settings, voco, rate, sum(sizes.values()) / total if total else 0.0),
    )


def bytes_per_second(settings: Settings, voco: Voco[Any]) -> float:
    """What is stored of a second of audio."""
    width = DTYPES[settings.stored_dtype(voco)][2].itemsize
    return settings.size(voco) * width * voco.sampling_rate / settings.hop_length(voco)


def _warnings(settings: Settings, voco: Voco[Any], rate: float, sound: float) -> list[str]:
    """What costs more than the audio itself, as it lies there or as samples of 16 bits."""
    plain = voco.sampling_rate * voco.channel * SOUND_BYTES
    if rate <= min(plain, sound or plain):
        return []
    told = f"{settings.kind} of {voco.name} take {rate / 1000:.4g} kB/s in {settings.stored_dtype(voco)}"
    than = f"the audio itself takes {sound / 1000:.4g} kB/s as it is, {plain / 1000:.4g} as samples of 16 bits"
    instead = ""
    if settings.kind == "latents" and voco.n_codebooks:
        codes = bytes_per_second(Settings(voco.name, settings.weights, kind="codes"), voco)
        instead = f"; --codes take {codes / 1000:.3g} kB/s, and codes_to_latents gives latents of them"
    elif settings.dtype == "float32":
        instead = "; --dtype float16 takes half"
    return [f"{told}, {than}{instead}"]


def _measured(items: Sequence[Item], settings: Settings, voco: Voco[Any]) -> tuple[float | None, list[str]]:
    """Seconds of audio that one worker reads and encodes in a second, and what went wrong."""
    failed: list[str] = []
    step = max(1, len(items) // SAMPLED)
    sample = list(items[::step][:SAMPLED])
    with computing_alone():
        try:
            encoder = Encoder(settings, voco)
        except (VocoError, OSError) as error:
            return None, [f"the speed was not measured: {error}"]
        heard, spent = 0.0, 0.0
        for turn, item in enumerate([sample[0], *sample]):  # the first once more, for what is made only once
            start = time.perf_counter()
            more = 0
            for clip in clips([(0, item)], voco.sampling_rate, voco.channel, settings.channels):
                if not isinstance(clip, Clip):
                    failed += [clip.error] if turn else []
                    continue
                piece = next(iter(clip.pieces))[:, :LONG]  # of a long one, its beginning
                encoder.short([piece], [item.id])
                more += piece.shape[1]
            if turn:
                heard, spent = heard + more / voco.sampling_rate, spent + time.perf_counter() - start
            if spent > ENOUGH_SECONDS:
                break
    return (heard / spent if heard else None), failed


def size_text(n_bytes: float) -> str:
    """Bytes in a unit that people read."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n_bytes < 1000 or unit == "TB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.3g} {unit}" if n_bytes < 1000 else f"{n_bytes:.0f} {unit}"


def time_text(hours: float) -> str:
    """A time in a unit that people read."""
    seconds = hours * 3600
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min" if hours < 2 else f"{hours:.1f} h"
