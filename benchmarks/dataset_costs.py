"""What turning a dataset into latents costs beside the network, and what a million hours would take.

    python benchmarks/dataset_costs.py > benchmarks/results/dataset-costs.md

Networks have random weights; audio is noise, written to a temporary folder. Everything runs on CPU cores.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

SMALL = {"num_filters": 4, "hidden_size": 16, "codebook_dim": 16}
CLIPS, SECONDS, RATE = 1000, 4.0, 24_000
HERE = Path(__file__).parent
RUNS = 3


def saved(folder: Path, name: str, sizes: dict[str, Any]) -> Path:
    """The folder of a codec of some sizes, with random weights."""
    from streams import filled

    from vocos import get_voco

    voco = get_voco(name)
    voco.weights._config = voco.config_type.parse({**voco.config, **sizes})
    filled(voco)
    voco.save(folder / name)
    return folder / name


def clips(folder: Path, count: int, seconds: float, rate: int, channels: int, ending: str) -> Path:
    """A folder of noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        sound = random.uniform(-0.3, 0.3, (int(seconds * rate), channels)).astype(np.float32)
        soundfile.write(folder / f"{number:05d}{ending}", sound, rate)
    return folder


def made(
    output: Path, source: Path, voco: str, weights: Path | None, workers: int, shard_seconds: float = 20_000
) -> list[float]:
    """Seconds after which each shard of a dataset is finished."""
    from vocos.data import jobs
    from vocos.data.settings import Settings

    settings = Settings(voco, weights=None if weights is None else str(weights))
    start, stamps = time.perf_counter(), []
    job = jobs.begin(output, [str(source)], settings, shard_seconds=shard_seconds)
    for about in jobs.run(job, job.split()[1], workers=workers):
        assert not about["failed"]  # noqa: S101
        stamps.append(time.perf_counter() - start)
    return stamps


def overhead(folder: Path) -> None:
    """The whole machinery beside `encode` alone."""
    import torch

    from vocos import get_voco, read_audio

    torch.set_num_threads(1)
    weights, source = saved(folder, "encodec_24khz", SMALL), clips(folder / "flac", CLIPS, SECONDS, RATE, 1, ".flac")
    voco = get_voco("encodec_24khz", weights=weights).load()
    sounds = [read_audio(path, voco) for path in sorted(source.iterdir())]
    alone, whole = [], []
    for run in range(RUNS):
        with torch.inference_mode():
            start = time.perf_counter()
            for sound in sounds:
                voco.encode(sound)
            alone.append(time.perf_counter() - start)
        whole.append(made(folder / f"overhead{run}", source, "encodec_24khz", weights, 1)[-1])
    before, after = statistics.median(alone), statistics.median(whole)
    print(
        f"| {CLIPS} clips of {SECONDS:g} s, FLAC, EnCodec of width 4, one worker | {after / before - 1:.1%} more than "
        f"`encode` of what was read before ({before:.2f} s; all of it {after:.2f} s; medians of {RUNS}) |"
    )


def scaling(folder: Path) -> None:
    """Two workers beside one, where reading is the limit: stereo at 48 kHz, resampled, for mel spectrograms."""
    source = clips(folder / "stereo", 300, 20.0, 48_000, 2, ".flac")
    whole: dict[int, float] = {}
    rates: dict[int, float] = {}
    for workers in (1, 2):
        runs = [
            made(folder / f"scaling{workers}-{run}", source, "griffinlim", None, workers, 200) for run in range(RUNS)
        ]
        whole[workers] = statistics.median(stamps[-1] for stamps in runs)
        steady = [(len(stamps) - workers) / (stamps[-1] - stamps[workers - 1]) for stamps in runs]
        rates[workers] = statistics.median(steady)
    print(
        "| 300 clips of 20 s, stereo FLAC at 48 kHz, mel spectrograms | two workers make "
        f"{rates[2] / rates[1]:.2f} times the shards of one in a second; "
        f"{whole[1]:.1f} and {whole[2]:.1f} s in all, with the start of the processes |"
    )


def child(what: str, *arguments: str) -> None:
    """A measurement in a process of its own."""
    folder = Path(arguments[0])
    if what == "long":
        from vocos.data import jobs
        from vocos.data.settings import Settings

        job = jobs.begin(folder / "out", [arguments[1]], Settings("encodec_24khz", weights=arguments[2]))
        list(jobs.run(job, job.split()[1], workers=1))
    else:
        from vocos.data.plan import make
        from vocos.data.sources import items_of

        start = time.perf_counter()
        plan = make(folder / "plan", [arguments[1]], items_of([arguments[1]]))
        print(plan.items, time.perf_counter() - start, end=" ")
    status = Path("/proc/self/status").read_text()  # of this program alone: rusage begins with what its parent had
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def apart(what: str, *arguments: str) -> list[float]:
    """The numbers that `child` prints."""
    command = [sys.executable, __file__, "--child", what, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=HERE, check=True)  # noqa: S603
    return [float(number) for number in run.stdout.split()]


def memory(folder: Path) -> None:
    """The peak of a process that encodes one long file."""
    weights = folder / "encodec_24khz"
    peaks = []
    for minutes in (6, 180):
        place = folder / f"long{minutes}"
        place.mkdir()
        with soundfile.SoundFile(place / "x.flac", "w", RATE, 1) as file:
            noise = np.random.default_rng(0).uniform(-0.3, 0.3, 60 * RATE)
            for _ in range(minutes):
                file.write(noise)
        peaks += apart("long", str(place), str(place / "x.flac"), str(weights))
    print(f"| one item of 6 minutes, and of 3 hours | {peaks[0]:.0f} and {peaks[1]:.0f} MiB at the most |")


def planning(folder: Path) -> None:
    """Time and memory of plans."""
    path = clips(folder / "one", 1, 1.0, 8000, 1, ".wav") / "00000.wav"
    for count in (1000, 100_000, 1_000_000):
        place = folder / f"plan{count}"
        place.mkdir()
        with (place / "list.jsonl").open("w") as stream:
            for number in range(count):
                row = {"path": str(path), "start": 4.0 * number, "stop": 4.0 * number + 4, "text": "a few words"}
                stream.write(json.dumps(row) + "\n")
        items, seconds, peak = apart("plan", str(place), str(place / "list.jsonl"))
        print(f"| a plan of {items:,.0f} items of a list | {seconds:.1f} s, {peak:.0f} MiB at the most |")


def shard_times(folder: Path) -> Iterator[tuple[float, float]]:
    """Hours of audio and hours of work of shards of the full-size codec, one worker."""
    from vocos.data import jobs
    from vocos.data.settings import Settings

    weights = saved(folder / "full", "dac_44khz", {})
    source = clips(folder / "music", 40, 10.0, 44_100, 1, ".flac")
    job = jobs.begin(
        folder / "sim", [str(source)], Settings("dac_44khz", weights=str(weights), kind="codes"), shard_seconds=50
    )
    start = time.perf_counter()
    for about in jobs.run(job, job.split()[1], workers=1):
        yield about["seconds"] / 3600, (time.perf_counter() - start) / 3600
        start = time.perf_counter()


def simulated(hours: float, speeds: list[float], workers: int, mtbf_hours: float, shard_hours: float) -> list[float]:
    """Shards, hours until all are done, and the share of work that was lost, of workers that fail now and then.

    A shard takes what one of the measured did; a worker that fails loses what it was at and is back after five minutes.
    """
    random = np.random.default_rng(0)
    left = shards = round(hours / shard_hours)
    free = [0.0] * workers
    lost = end = 0.0
    while left:
        now = heapq.heappop(free)
        needed = shard_hours / speeds[int(random.integers(len(speeds)))]
        failure = float(random.exponential(mtbf_hours))
        if failure < needed:
            lost += failure
            heapq.heappush(free, now + failure + 1 / 12)
            continue
        left -= 1
        end = max(end, now + needed)
        heapq.heappush(free, now + needed)
    return [shards, end, lost / (lost + hours / statistics.harmonic_mean(speeds))]


def simulation(folder: Path, price: float) -> None:
    """A million hours from the measured shards."""
    measured = list(shard_times(folder))[1:]  # the first has loaded the codec
    speeds = [audio / work for audio, work in measured]
    stored = 9 * 2 * 44_100 / 512 * 3600 * 1e6
    print(
        f"\nA million hours to codes of dac_44khz, simulated from {len(speeds)} measured shards "
        f"({min(speeds):.2f} to {max(speeds):.2f} times real time for one core), shards of 20 000 s, a worker that "
        f"fails every 200 hours and is away for five minutes, {price:g} for an hour of a core:\n"
    )
    print("| workers | shards | days | stored | work lost to failures | cost |\n| --- | --- | --- | --- | --- | --- |")
    for workers in (16, 256, 4096, 16_384, 65_536):
        shards, end, lost = simulated(1e6, speeds, workers, 200.0, 20_000 / 3600)
        print(
            f"| {workers:,} | {shards:,.0f} | {end / 24:,.1f} | {stored / 1e12:.2f} TB | {lost:.2%} | "
            f"{end * workers * price:,.0f} |"
        )


def main() -> None:
    """Measure everything, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--price", type=float, default=0.04, help="of an hour of a core")
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    import torch

    print(
        f"`python benchmarks/dataset_costs.py`, {os.cpu_count()} cores, torch {torch.__version__}; networks with "
        "random weights, audio is noise.\n\n| what | measured |\n| --- | --- |"
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        overhead(folder)
        scaling(folder)
        memory(folder)
        planning(folder)
        simulation(folder, arguments.price)


if __name__ == "__main__":
    main()
