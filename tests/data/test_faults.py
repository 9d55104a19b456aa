"""What happens to a dataset when something goes wrong: kills, full disks, changed sources, two runners, damage."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from making import RATE, content, made

import vocos
from vocos.data import jobs, pool, settings, shard
from vocos.data.merge import merge
from vocos.data.settings import Settings
from vocos.data.verify import verify
from vocos.errors import CheckpointError, InvalidInput

KILLS = int(os.environ.get("VOCOS_TEST_KILLS", "4"))  # `make faults` kills 200 times
COMMAND = [
    sys.executable,
    "-m",
    "vocos",
    "dataset",
    "encode",
    "--voco",
    "griffinlim",
    "--shard-seconds",
    "0.6",
    "--quiet",
]


def test_killed_at_random_moments_and_resumed_gives_the_same_bytes(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "undisturbed", sounds, shard_seconds=0.6)
    random.seed(0)
    kills = rounds = 0
    while kills < KILLS:
        rounds += 1
        out = tmp_path / f"killed{rounds}"
        while True:
            workers = ["--workers", str(1 + kills % 2)]
            process = subprocess.Popen([*COMMAND, *workers, str(sounds), "-o", str(out)], stdout=subprocess.DEVNULL)
            # Starting takes over a second; what is after it is what is to be hit.
            delay = random.uniform(0.0, 2.0) if kills % 4 == 0 else random.uniform(1.1, 2.0)
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                continue
            assert process.returncode == 0
            break
        time_out = time.monotonic() + 20  # workers that have lost their runner end by themselves
        while content(out).keys() != content(tmp_path / "undisturbed").keys() and time.monotonic() < time_out:
            made(out, sounds, shard_seconds=0.6)
        assert content(out) == content(tmp_path / "undisturbed")
    assert verify(tmp_path / "killed1", deep=1.0).problems == []


def test_worker_that_dies_loses_its_shard_and_no_more(
    tmp_path: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "undisturbed", sounds)
    killed: list[int] = []

    class Killing(pool._Worker):
        def take(self, left: list[int]) -> None:
            super().take(left)
            if len(killed) < 2 and self.shard is not None:
                os.kill(self._process.pid, signal.SIGKILL)
                killed.append(self.shard)

    monkeypatch.setattr(pool, "_Worker", Killing)
    made(tmp_path / "out", sounds, workers=2)
    assert len(killed) == 2
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


def test_shard_that_kills_every_worker_is_named_and_the_others_are_made(
    tmp_path: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killing(pool._Worker):
        def take(self, left: list[int]) -> None:
            super().take(left)
            if self.shard == 1:
                os.kill(self._process.pid, signal.SIGKILL)

    monkeypatch.setattr(pool, "_Worker", Killing)
    with pytest.raises(RuntimeError, match=r"workers died 3 times at shard 1 \(SIGKILL\)"):
        made(tmp_path / "out", sounds, workers=2)
    assert not shard.index_path(tmp_path / "out", 1).exists()
    assert len(list((tmp_path / "out" / "index").iterdir())) == len(jobs.Plan(tmp_path / "out").shards) - 1


def test_full_disk_ends_the_run_and_leaves_only_finished_shards(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "undisturbed", sounds)
    largest = max(path.stat().st_size for path in (tmp_path / "undisturbed" / "shards").iterdir())
    # A limit on the size of files stands for a full disk: it needs no rights, and gives EFBIG instead of ENOSPC.
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest - 1},) * 2)\n"
        "from vocos import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    for workers in ("1", "2"):
        out = tmp_path / f"out{workers}"
        arguments = ["dataset", "encode", str(sounds), "-o", str(out), "--voco", "griffinlim", "--shard-seconds", "1.5"]
        run = [sys.executable, "-c", program, *arguments, "--workers", workers]
        found = subprocess.run(run, capture_output=True, text=True, check=False)
        assert found.returncode == 1
        assert "safetensors: File too large" in found.stderr
        assert "Traceback" not in found.stderr
        shards = {path.stem for path in (out / "shards").glob("*")}
        assert shards == {path.stem for path in (out / "index").glob("*")}  # and nothing that is half written
        made(out, sounds)
        assert content(out) == content(tmp_path / "undisturbed")


def test_source_that_vanishes_or_grows_is_named(tmp_path: Path, sounds: Path) -> None:
    jobs.begin(tmp_path / "out", [str(sounds)], Settings("griffinlim"), shard_seconds=1.5)
    (sounds / "clip01.flac").unlink()
    with (sounds / "clip02.flac").open("ab") as stream:
        stream.write(b"more")
    told: list[str] = []
    job = jobs.begin(tmp_path / "out", [str(sounds)], Settings("griffinlim"), changed=told.extend)
    gone, grown = told
    assert gone.startswith(f"{sounds / 'clip01.flac'}: is in the plan and no longer")
    assert grown.startswith(f"{sounds / 'clip02.flac'}: had ")
    list(jobs.run(job, job.split()[1], workers=1))
    errors = {Path(about["id"]).name: about["error"] for about in vocos.open_dataset(tmp_path / "out").errors()}
    assert "there is no such file, when the plan was made it had" in errors["clip01.flac"]
    assert "bytes, when the plan was made it had" in errors["clip02.flac"]


def test_two_runners_in_one_folder_are_harmless(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "undisturbed", sounds, shard_seconds=0.6)
    run = [*COMMAND, "--workers", "1", str(sounds), "-o", str(tmp_path / "out")]
    runners = [subprocess.Popen(run, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [runner.wait() for runner in runners] == [0, 0, 0]
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


def test_truncated_shard_is_found_and_made_again(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "out", sounds)
    before = content(tmp_path / "out")
    path = tmp_path / "out" / "shards" / "00001.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    (problem,) = verify(tmp_path / "out").problems
    assert f"{path}: has " in problem
    made(tmp_path / "out", sounds)
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("what", ["shards/00001.safetensors", "index/00001.jsonl"])
def test_flipped_bits_are_found_and_the_shard_is_made_again_as_told(tmp_path: Path, sounds: Path, what: str) -> None:
    made(tmp_path / "out", sounds)
    before = content(tmp_path / "out")
    path = tmp_path / "out" / what
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x10
    path.write_bytes(data)
    (problem,) = verify(tmp_path / "out").problems
    assert "damaged" in problem
    index = tmp_path / "out" / "index" / "00001.jsonl"
    assert f"delete {index} and `vocos dataset encode` makes the shard again" in problem
    index.unlink()
    made(tmp_path / "out", sounds)
    assert content(tmp_path / "out") == before


def test_index_of_a_shard_that_says_too_little_counts_as_none(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "out", sounds)
    before = content(tmp_path / "out")
    index = tmp_path / "out" / "index" / "00000.jsonl"
    head, rest = index.read_text().split("\n", 1)
    told = {key: value for key, value in json.loads(head).items() if key != "failed"}
    index.write_text(json.dumps(told) + "\n" + rest)
    made(tmp_path / "out", sounds)
    assert content(tmp_path / "out") == before


def test_workers_find_the_package_that_their_runner_found_in_the_working_directory(
    tmp_path: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[list[str]] = []

    def start(*_: Any, env: dict[str, str], **__: Any) -> None:
        paths.append(env["PYTHONPATH"].split(os.pathsep))
        raise OSError("seen")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr(pool.subprocess, "Popen", start)
    with pytest.raises(OSError, match="seen"):
        made(tmp_path / "out", sounds, workers=2)
    assert paths[0][0] == str(tmp_path)


def test_error_of_a_worker_is_that_of_the_runner(tmp_path: Path, sounds: Path) -> None:
    job = jobs.begin(tmp_path / "out", [str(sounds)], Settings("griffinlim"), shard_seconds=1.5)
    (tmp_path / "out" / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"manifest\.json: not the manifest of a dataset, or damaged"):
        list(jobs.run(job, job.split()[1], workers=2))


def test_missing_shard_and_missing_items_are_found(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "out", sounds)
    index = tmp_path / "out" / "index"
    (index / "00000.jsonl").unlink()
    lines = (index / "00001.jsonl").read_text().splitlines(keepends=True)
    (index / "00001.jsonl").write_text("".join(lines[:-1]))
    (tmp_path / "out" / "shards" / "00002.safetensors").unlink()
    first, second, third = verify(tmp_path / "out").problems
    assert "shard 0 is not finished" in first
    assert "does not say what became of each item" in second
    assert "there is no such file" in third
    with pytest.raises(InvalidInput, match="1 of . shards are not finished, the first is 0; .* partial=True"):
        vocos.open_dataset(tmp_path / "out")
    assert len(vocos.open_dataset(tmp_path / "out", partial=True)) < 11


def test_other_audio_under_the_same_names_is_found_by_encoding_again(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "out", sounds)
    assert verify(tmp_path / "out", deep=1.0).compared == 11
    data, rate = soundfile.read(sounds / "clip00.wav")
    soundfile.write(sounds / "clip00.wav", -0.5 * data[::-1], rate)
    (problem,) = verify(tmp_path / "out", deep=1.0).problems
    assert problem.startswith("clip00.wav: differs from what encoding gives")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seed": 2}, "settings seed 0, this is 2"),
        ({"dtype": "float32"}, "settings dtype 'float16', this is 'float32'"),
        ({"channels": "first"}, "settings channels 'mix', this is 'first'"),
        ({"to": "webdataset"}, "settings to 'shards', this is 'webdataset'"),
        ({"voco": "oobleck", "weights": "oobleck"}, "voco 'griffinlim', this is 'oobleck'"),
    ],
)
def test_resuming_with_anything_else_is_refused(
    tmp_path: Path, sounds: Path, folder: Any, options: dict[str, Any], told: str
) -> None:
    made(tmp_path / "out", sounds)
    before = content(tmp_path / "out")
    if "weights" in options:
        options = {**options, "weights": str(folder("oobleck"))}
    with pytest.raises(InvalidInput, match=rf"out: was begun with .*{told}"):
        made(tmp_path / "out", sounds, **options)
    assert content(tmp_path / "out") == before


def test_resuming_with_other_weights_or_another_version_is_refused(
    tmp_path: Path, sounds: Path, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    weights = tmp_path / "weights"
    shutil.copytree(folder("oobleck"), weights)
    options = {"voco": "oobleck", "weights": str(weights), "draw": False}
    made(tmp_path / "out", sounds, **options)
    path = weights / "oobleck.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="weights sha256 oobleck.safetensors '.*', this is "):
        made(tmp_path / "out", sounds, **options)
    with pytest.raises(CheckpointError, match="was made with weights of SHA-256"):
        vocos.open_dataset(tmp_path / "out").decode(0)
    data[-1] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(settings, "__version__", "99.0")
    with pytest.raises(InvalidInput, match="vocos '.*', this is '99.0'"):
        made(tmp_path / "out", sounds, **options)


def test_folder_that_is_no_dataset_stays_as_it_is(tmp_path: Path, sounds: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    with pytest.raises(InvalidInput, match="thesis: is not empty, and not a dataset"):
        made(tmp_path / "thesis", sounds)
    with pytest.raises(InvalidInput, match="chapter1.tex: expected a folder for a dataset, this is a file"):
        made(tmp_path / "thesis" / "chapter1.tex", sounds)
    assert content(tmp_path / "thesis").keys() == {"chapter1.tex"}


def test_items_that_failed_are_tried_again_when_that_is_asked_for(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "undisturbed", sounds)
    data = (sounds / "clip01.flac").read_bytes()
    jobs.begin(tmp_path / "out", [str(sounds)], Settings("griffinlim"), shard_seconds=1.5)
    (sounds / "clip01.flac").unlink()
    assert sum(about["failed"] for about in made(tmp_path / "out", sounds)) == 1
    (sounds / "clip01.flac").write_bytes(data)
    assert sum(about["failed"] for about in made(tmp_path / "out", sounds)) == 1
    job = jobs.begin(tmp_path / "out", [], Settings("griffinlim"))
    _, left = job.split(retry=True)
    assert len(left) == 1
    assert [about["failed"] for about in jobs.run(job, left, workers=1)] == [0]
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


def test_parts_in_folders_of_their_own_become_one(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "undisturbed", sounds, shard_seconds=0.6)
    folders = [tmp_path / f"part{index}" for index in (1, 2, 3)]
    for index, place in enumerate(folders, 1):
        job = jobs.begin(place, [str(sounds)], Settings("griffinlim"), part=jobs.Part(index, 3), shard_seconds=0.6)
        list(jobs.run(job, job.split()[1], workers=1))
    found = merge(folders[:2])
    assert found.missing == [number for number in range(len(job.plan.shards)) if number % 3 == 2]
    found = merge([folders[0], folders[2]])
    assert (found.missing, found.failed, found.items) == ([], 0, 11)
    assert content(folders[0]) == content(tmp_path / "undisturbed")


def test_parts_of_other_plans_or_settings_are_not_merged(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "a", sounds)
    made(tmp_path / "b", sounds, shard_seconds=0.6)
    made(tmp_path / "c", sounds, seed=3)
    with pytest.raises(InvalidInput, match="b: has another plan than .*a"):
        merge([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(InvalidInput, match="c: is not a part of .*a, which was made with settings seed 0, this is 3"):
        merge([tmp_path / "a", tmp_path / "c"])
    with pytest.raises(InvalidInput, match="sounds: not a dataset"):
        merge([sounds])


def test_damaged_part_is_not_merged(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "b", sounds)
    jobs.begin(tmp_path / "a", [str(sounds)], Settings("griffinlim"), shard_seconds=1.5)
    path = tmp_path / "b" / "shards" / "00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="is not what its index says"):
        merge([tmp_path / "a", tmp_path / "b"])
    assert not shard.index_path(tmp_path / "a", 0).exists()


def test_index_cannot_name_a_file_elsewhere(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "out", sounds)
    index = tmp_path / "out" / "index" / "00000.jsonl"
    head, rest = index.read_text().split("\n", 1)
    index.write_text(json.dumps({**json.loads(head), "file": "../../etc/passwd"}) + "\n" + rest)
    with pytest.raises(CheckpointError, match="which is outside of the dataset"):
        vocos.open_dataset(tmp_path / "out")[0]


def test_index_that_says_more_than_its_shard_holds_is_an_error(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "out", sounds)
    path = tmp_path / "out" / "shards" / "00000.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    dataset = vocos.open_dataset(tmp_path / "out")
    with pytest.raises(CheckpointError, match="is shorter than its index says"):
        dataset[dataset.shard_rows()[0][-1]]


def test_disk_that_fails_while_a_long_file_is_read_costs_that_item(
    tmp_path: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocos.data import sound
    from vocos.files.audio import AudioReader
    from vocos.voco import flow

    for module in (flow, sound):
        monkeypatch.setattr(module, "LONG", 3000)
    given = AudioReader.__iter__

    def failing(self: Any) -> Any:
        for block in given(self):
            yield block[:4000]
            if "clip04" in str(self._path):
                raise OSError(5, "Input/output error")
            yield block[4000:]

    monkeypatch.setattr(AudioReader, "__iter__", failing)
    made(tmp_path / "out", sounds)
    (error,) = vocos.open_dataset(tmp_path / "out").errors()
    assert error["error"] == f"{sounds / 'clip04.wav'}: Input/output error"
    assert len(vocos.open_dataset(tmp_path / "out")) == 10


def test_memory_does_not_grow_with_the_length_of_an_item(tmp_path: Path) -> None:

    peaks = []
    for minutes in (1, 12):
        path = tmp_path / f"{minutes}.flac"
        with soundfile.SoundFile(path, "w", RATE, 1) as file:
            for _ in range(minutes * 2):
                file.write(np.random.default_rng(0).uniform(-0.4, 0.4, 30 * RATE))
        program = (
            "import sys; from pathlib import Path; from vocos.data import jobs\n"
            "from vocos.data.settings import Settings\n"
            "job = jobs.begin(Path(sys.argv[2]), [sys.argv[1]], Settings('griffinlim'))\n"
            "failed = list(jobs.run(job, job.split()[1]))[0]['failed']\n"
            "print(failed, Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
        )
        run = [sys.executable, "-c", program, str(path), str(tmp_path / f"out{minutes}")]
        failed, peak = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
        assert failed == "0"
        peaks.append(int(peak) / 1024)
    assert peaks[1] - peaks[0] < 40  # MiB; the audio of 11 minutes more is 63, its latents are 16
