"""Datasets on a Ray cluster: the same shards, by one actor for each device; and a class for pipelines of one's own.

The folder of the dataset, the audio and local weights have to be on a disk that all nodes see. Weights from the Hub are
fetched once on each node: the Hub's client locks what it downloads.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vocos.data.encoder import Encoder as ClipEncoder
from vocos.data.jobs import Job, Maker
from vocos.data.settings import Settings
from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.registry import get_voco
from vocos.voco import Voco


def run(
    job: Job, left: Sequence[int], *, address: str | None = None, workers: int | None = None
) -> Iterator[dict[str, Any]]:
    """Make shards on a Ray cluster, and give what the index says of each as it is finished.

    A shard whose worker is lost is made again by another. They are the bytes that the local runner makes.

    Args:
        job: whose shards they are.
        left: their numbers.
        address: of the cluster; None for the one that this process is connected to, or one that is started here.
        workers: actors; None for one for each GPU of the cluster, or for each core where the codec runs on CPUs.

    Raises:
        UnsupportedOperation: if Ray is not installed.
        InvalidInput: if there is no cluster at the address, or it has no GPU and the codec needs one.
    """
    ray = _ray()
    if not left:
        return
    is_mine = not ray.is_initialized()
    if is_mine:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, ValueError) as error:
            raise InvalidInput(f"--ray {address}: no cluster can be reached there: {error}") from error
    try:
        yield from _mapped(ray, job, left, workers)
    finally:
        if is_mine:
            ray.shutdown()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UnsupportedOperation("--ray needs Ray: pip install 'vocos[ray]'") from error
    return ray


def _mapped(ray: Any, job: Job, left: Sequence[int], workers: int | None) -> Iterator[dict[str, Any]]:
    device = job.settings.device
    resources = ray.cluster_resources()
    kind = "CPU" if device == "cpu" else "GPU"
    count = min(len(left), workers or int(resources.get(kind, 0)))
    if count < 1:
        raise InvalidInput(f"--ray: the codec is to run on {device}, and the cluster has no {kind}")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # which tells each step
    numbers = ray.data.from_items([{"shard": number} for number in left], override_num_blocks=len(left))
    done = numbers.map_batches(
        ShardMaker,
        fn_constructor_args=(str(job.folder.absolute()),),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=1,
        num_gpus=0 if kind == "CPU" else 1,
    )
    for row in done.iter_rows():
        yield json.loads(row["about"])


class ShardMaker:
    """An actor that holds the codec and makes the shards it is told."""

    def __init__(self, folder: str) -> None:
        torch.set_num_threads(1)
        self._maker = Maker(Path(folder))

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Shards by number -> what their index says."""
        return {"about": np.array([json.dumps(self._maker(int(number))) for number in batch["shard"]], dtype=object)}


class Encoder:
    """Latents or codes of the audio in the batches of a Ray pipeline, for `Dataset.map_batches`.

        ds = ray.data.from_items([{"audio": samples, "sampling_rate": 44100}, ...])
        ds = ds.map_batches(vocos.ray.Encoder, fn_constructor_args=("dac_44khz",), batch_size=16,
                            fn_constructor_kwargs={"codes": True, "device": "cuda"},
                            compute=ray.data.ActorPoolStrategy(size=2), num_gpus=1)

    Args:
        voco: name of a codec, or a codec.
        codes: whether codes are wanted and not latents.
        n_codebooks: codes of a frame, None for all.
        bandwidth: instead of that, the rate in kbps.
        draw: whether latents are drawn or means; None for what the codec does.
        seed: of what is drawn; it follows from the column `id`, which is then needed.
        dtype: of latents: "float32" or "float16".
        column: of the batch that has the audio: float arrays `[samples, channel]`, or `[samples]` for one channel.
        **options: of `get_voco`, such as `weights` and `device`.

    Raises:
        InvalidInput: if the codec cannot do that.
    """

    def __init__(
        self,
        voco: str | Voco[Any],
        *,
        codes: bool = False,
        n_codebooks: int | None = None,
        bandwidth: float | None = None,
        draw: bool | None = None,
        seed: int = 0,
        dtype: str = "float32",
        column: str = "audio",
        **options: Any,
    ) -> None:
        codec = get_voco(voco, **options) if isinstance(voco, str) else voco
        if dtype == "bfloat16":
            raise InvalidInput("vocos.ray.Encoder: arrays have no bfloat16; take float32 or float16")
        settings = Settings(
            codec.name,
            kind="codes" if codes else "latents",
            dtype=dtype,
            n_codebooks=n_codebooks,
            bandwidth=bandwidth,
            draw=draw,
            seed=seed,
        )
        if codec.device.type == "cpu":
            torch.set_num_threads(1)
        self._encoder, self._column = ClipEncoder(settings, codec), column

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch with the audio column -> the same with `latents` or `codes`, an array `[frames, size]` each.

        Raises:
            InvalidInput: naming the row, if the audio is not what the codec takes, or has another rate.
        """
        voco = self._encoder.voco
        if self._column not in batch:
            raise InvalidInput(f"vocos.ray.Encoder: expected a column {self._column!r}, got {sorted(batch)}")
        rates = {int(rate) for rate in batch.get("sampling_rate", ())} - {voco.sampling_rate}
        if rates:
            raise InvalidInput(
                f"vocos.ray.Encoder: {voco.name} takes {voco.sampling_rate} Hz, got {sorted(rates)}; resample before"
            )
        clips = [self._clip(row, audio) for row, audio in enumerate(batch[self._column])]
        if self._encoder.settings.drawn(voco) and "id" not in batch:
            raise InvalidInput(
                "vocos.ray.Encoder: noise follows from the column 'id', which is not there; or draw=False"
            )
        found = self._encoder.short(clips, [str(name) for name in batch.get("id", [""] * len(clips))])
        rows = np.empty(len(found), dtype=object)
        scales = np.empty(len(found), dtype=object)
        for row, stored in enumerate(found):
            if isinstance(stored, Exception):
                raise InvalidInput(f"vocos.ray.Encoder: row {row}: {stored}") from stored
            rows[row] = next(iter(stored.pieces)).numpy()
            scales[row] = stored.others["scales"].numpy() if stored.others else None
        kept = {name: values for name, values in batch.items() if name != self._column}
        kept[self._encoder.settings.kind] = rows
        return {**kept, "scales": scales} if any(value is not None for value in scales) else kept

    def _clip(self, row: int, audio: Any) -> torch.Tensor:
        values = np.asarray(audio)
        if values.ndim == 1:
            values = values[:, None]
        channel = self._encoder.voco.channel
        if values.ndim != 2 or values.shape[1] != channel or values.dtype.kind != "f":
            raise InvalidInput(
                f"vocos.ray.Encoder: row {row}: expected float audio [samples, {channel}], got {list(values.shape)} of "
                f"{values.dtype}"
            )
        return torch.from_numpy(values.astype(np.float32, copy=True))[None]
