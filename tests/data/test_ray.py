"""Datasets on a real Ray cluster of this machine, and the class for pipelines of one's own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import content, made

import vocos
import vocos.ray
from vocos.data import jobs
from vocos.data.ray import run
from vocos.data.settings import Settings
from vocos.errors import InvalidInput

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Ray leaves files and threads behind
    pytest.mark.xdist_group("ray"),
]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray with two processors, started here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


def test_ray_makes_the_same_bytes_though_an_actor_is_killed(tmp_path: Path, sounds: Path, ray: Any) -> None:
    made(tmp_path / "local", sounds, shard_seconds=0.3)
    job = jobs.begin(tmp_path / "ray", [str(sounds)], Settings("griffinlim"), shard_seconds=0.3)
    _, left = job.split()
    killed: list[int] = []
    is_over = threading.Event()

    def kill() -> None:
        while not killed and not is_over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if b"ray::MapWorker" in path.read_bytes() and any((job.folder / "index").glob("*")):
                        os.kill(int(path.parent.name), signal.SIGKILL)
                        killed.append(int(path.parent.name))
                        return
                except OSError:
                    pass
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    done = list(run(job, left, workers=2))
    is_over.set()
    killer.join()
    assert killed
    assert sorted(about["shard"] for about in done) == left
    assert content(tmp_path / "ray") == content(tmp_path / "local")


def test_ray_without_a_gpu_says_so(tmp_path: Path, sounds: Path, ray: Any) -> None:
    job = jobs.begin(tmp_path / "out", [str(sounds)], Settings("griffinlim"), shard_seconds=0.3)
    job = jobs.Job(job.folder, Settings("griffinlim", device="cuda"), job.plan)
    with pytest.raises(InvalidInput, match="the codec is to run on cuda, and the cluster has no GPU"):
        list(run(job, [0]))


def test_encoder_of_a_pipeline_of_ones_own(folder: Any, ray: Any) -> None:
    random = np.random.default_rng(0)
    voco = vocos.get_voco("dac", weights=folder("dac"))
    clips = [random.uniform(-0.4, 0.4, (n, 1)).astype(np.float32) for n in (2000, 3000, 2000)]
    rows = [{"id": str(k), "audio": clip, "sampling_rate": voco.sampling_rate} for k, clip in enumerate(clips)]
    options = {"codes": True, "weights": str(folder("dac"))}
    found = (
        ray.data.from_items(rows)
        .map_batches(
            vocos.ray.Encoder,
            fn_constructor_args=("dac",),
            fn_constructor_kwargs=options,
            batch_size=3,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        .take_all()
    )
    for row in found:
        expected = voco.encode_codes(torch.from_numpy(clips[int(row["id"])])[None])[0]
        assert np.array_equal(row["codes"], expected.numpy())
        assert row["codes"].dtype == np.uint8


def test_encoder_says_what_is_wrong_with_a_batch(folder: Any) -> None:
    encoder = vocos.ray.Encoder("oobleck", weights=str(folder("oobleck")))
    stereo = np.zeros((100, 2), np.float32)
    with pytest.raises(InvalidInput, match=r"expected a column 'audio', got \['sound'\]"):
        encoder({"sound": [stereo]})
    with pytest.raises(InvalidInput, match="noise follows from the column 'id'"):
        encoder({"audio": [stereo]})
    with pytest.raises(InvalidInput, match=r"row 1: expected float audio \[samples, 2\], got \[100\, 1\] of float32"):
        encoder({"audio": [stereo, stereo[:, 0]], "id": ["a", "b"]})
    with pytest.raises(InvalidInput, match="takes 800 Hz, got|takes .* Hz, got"):
        encoder({"audio": [stereo], "id": ["a"], "sampling_rate": [1]})
    with pytest.raises(InvalidInput, match="arrays have no bfloat16"):
        vocos.ray.Encoder("dac", dtype="bfloat16")


def test_encoder_draws_what_follows_from_seed_and_id(folder: Any) -> None:
    encoder = vocos.ray.Encoder("oobleck", weights=str(folder("oobleck")), seed=3)
    sound = np.random.default_rng(0).uniform(-0.4, 0.4, (2000, 2)).astype(np.float32)
    one = encoder({"audio": [sound, sound], "id": ["a", "b"]})["latents"]
    other = encoder({"audio": [sound], "id": ["b"]})["latents"]
    np.testing.assert_allclose(one[1], other[0], rtol=1e-5, atol=1e-5)
    assert not np.allclose(one[0], one[1], atol=1e-3)
