"""`vocos dataset`: what is printed, and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import vocos

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Six files of half a second."""
    (tmp_path / "sounds").mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        soundfile.write(tmp_path / "sounds" / f"{number}.wav", random.uniform(-0.4, 0.4, 12_000), 24_000)
    return tmp_path / "sounds"


ENCODE = ("dataset", "encode", "sounds", "-o", "out", "--voco", "griffinlim", "--shard-seconds", "1", "--workers", "1")


def test_plan_tells_hours_bytes_time_and_price(run: Run, sounds: Path) -> None:
    code, out, err = run("dataset", "plan", "sounds", "--voco", "griffinlim", "--workers", "4", "--price", "3")
    assert (code, err) == (0, "")
    assert "6 items; 0.00 h of audio in 144 kB" in out
    assert "1 shards, 56.3 kB in all, 18.75 kB/s" in out
    assert "on this machine with 4 workers: a worker does" in out
    assert "at 3 for an hour of this machine" in out
    found = json.loads(run("dataset", "plan", "sounds", "--voco", "griffinlim", "--json")[1])
    assert found["audio_hours"] == pytest.approx(3 / 3600, rel=0.01)
    assert found["price"] == pytest.approx(2 * found["hours"])


def test_plan_warns_of_what_costs_more_than_the_audio_and_needs_no_weights_for_that(
    run: Run, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, err = run("dataset", "plan", "sounds", "--voco", "dac_44khz")
    assert code == 0
    assert "6 items" in out
    assert "the speed was not measured: " in err
    assert "warning: latents of dac_44khz take 176.4 kB/s in float16, the audio itself takes 48.09 kB/s as it is" in err
    assert "; --codes take 1.55 kB/s, and codes_to_latents gives latents of them" in err
    assert "warning" not in run("dataset", "plan", "sounds", "--voco", "dac_44khz", "--codes")[2]


def test_encode_tells_what_it_has_done_and_goes_on(run: Run, sounds: Path) -> None:
    run("dataset", "plan", "sounds", "--voco", "griffinlim", "--shard-seconds", "1", "-o", "out")
    code, out, err = run(*ENCODE, "--part", "1/3")
    assert (code, err) == (0, "")
    assert out == "out: all 2 items are stored; 0.00 h of audio in 1 shards\n"
    code, out, err = run(*ENCODE)
    assert err == "vocos: 1 of 3 shards are finished already\n"
    assert out == "out: all 6 items are stored; 0.00 h of audio in 3 shards\n"
    assert len(vocos.open_dataset("out")) == 6
    assert run("dataset", "verify", "out", "--deep", "0.5") == (
        0,
        "out: 3 shards with 6 items are right, 3 encoded again; no problems\n",
        "",
    )
    assert run("dataset", "merge", "out")[1] == "out: 0 shards more; all 6 items are stored; 0.00 h of audio\n"


def test_items_that_fail_are_lines_and_an_exit_code(run: Run, sounds: Path) -> None:
    (sounds / "page.wav").write_text("<html>")
    soundfile.write(sounds / "0.wav", np.zeros(12_000), 24_000)
    code, out, err = run(*ENCODE)
    assert code == 1
    assert "page.wav: not a readable audio file" in err
    assert out.splitlines()[-1] == "out: 1 of 7 items failed, 1 are silent; 0.00 h of audio in 3 shards"
    code, out, _ = run(*ENCODE, "--json", "--retry")
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [line["failed"] for line in told] == [1]
    assert told[0].keys() >= {"shard", "sha256", "seconds", "times_real_time", "left_seconds"}


def test_stats_are_printed_and_written(run: Run, sounds: Path, folder: Any) -> None:
    run(*ENCODE)
    code, out, err = run("dataset", "stats", "out")
    assert (code, err) == (0, "")
    assert "6 items, 0 failed" in out
    assert "latents [282, 100]: mean " in out
    assert json.loads(run("dataset", "stats", "out", "--json")[1])["items"] == 6
    weights = ("--weights", folder("dac"), "--codes", "--n-codebooks", "2", "--workers", "1")
    run("dataset", "encode", "sounds", "-o", "codes", "--voco", "dac", *weights)
    _, out, _ = run("dataset", "stats", "codes")
    assert "codebook 1: " in out
    assert "kbit/s, of which" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--voco", "grifinlim"), "there is no 'grifinlim'; did you mean 'griffinlim'?"),
        (("--voco", "griffinlim", "--codes"), "griffinlim has no codes"),
        (("--voco", "griffinlim", "--n-codebooks", "2"), "--n-codebooks and --bandwidth are for --codes"),
        (("--voco", "dac", "--codes", "--dtype", "float16"), "--mean, --draw and --dtype are for --latents"),
        (("--voco", "griffinlim", "--part", "3/2"), "expected the part as K/N"),
        (("--voco", "griffinlim", "--devices", "cpu,cuda"), "--devices: expected devices of one kind"),
        (("--voco", "griffinlim", "--devices", "cudda"), "expected device as 'cpu'"),
        (("--voco", "griffinlim", "--workers", "0"), "--workers: expected 1 or more, got 0"),
        (("--voco", "griffinlim", "--shard-seconds", "0"), "expected shard_seconds above 0"),
    ],
)
def test_wrong_calls_say_what_is_wrong_and_leave_nothing(
    run: Run, sounds: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = run("dataset", "encode", "sounds", "-o", "out", *arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_weights_that_cannot_be_had_end_the_run_before_anything_is_written(
    run: Run, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, err = run("dataset", "encode", "sounds", "-o", "out", "--voco", "dac_44khz", "--codes")
    assert (code, out) == (1, "")
    assert "connect once to download it" in err
    assert not (tmp_path / "out").exists()


def test_wrong_sources_and_folders_say_so(run: Run, sounds: Path) -> None:
    assert "nowhere: no such file" in run("dataset", "encode", "nowhere", "-o", "out", "--voco", "griffinlim")[2]
    for command in (("verify", "sounds"), ("stats", "sounds"), ("merge", "sounds")):
        code, _, err = run("dataset", *command)
        assert code == 1
        assert "sounds: not a dataset, it has no manifest.json" in err
