"""Commands on signals that are too long to run whole: from file to file in pieces, as the whole would give."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from vocos.voco import flow

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """Three seconds at another rate than the codec's, which count as long in these tests."""
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, (3 * 22050, 2))
    soundfile.write(tmp_path / "long.wav", noise, 22050)
    return tmp_path / "long.wav"


@pytest.mark.parametrize("voco", ["mel", "encodec", "dac", "dacvae"])
def test_pieces_give_what_the_whole_gives(
    voco: str, run: Run, long: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for name, limit in (("pieces", 1000), ("whole", 1 << 30)):
        monkeypatch.setattr(flow, "LONG", limit)
        codec = ("--voco", voco, "--weights", weights)
        assert run("encode", long, "-o", f"{name}.safetensors", *codec)[0] == 0
        assert run("decode", f"{name}.safetensors", "-o", f"{name}.wav", "--weights", weights)[0] == 0
        assert run("roundtrip", long, "-o", f"{name}-again.wav", *codec)[0] == 0
        latents = load_file(f"{name}.safetensors")["latents"]
        found[name] = latents, *(soundfile.read(f"{name}{end}")[0] for end in (".wav", "-again.wav"))
    scale = found["whole"][0].abs().max().item()
    torch.testing.assert_close(found["pieces"][0], found["whole"][0], rtol=0, atol=2e-5 * scale)
    for given, expected in zip(found["pieces"][1:], found["whole"][1:], strict=True):
        assert given.shape == expected.shape
        assert np.abs(given - expected).max() <= 2 / 32768  # a rounding to 16 bits, the other way


@pytest.mark.parametrize("voco", ["encodec_24khz", "mimi", "snac_24khz"])  # the first two have no delay
def test_the_end_of_the_last_frame_is_cut_though_it_is_out_already(
    voco: str, run: Run, long: Path, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"encodec_24khz": "transformers-encodec_24khz"}.get(voco, voco)
    codec = ("--voco", voco, "--weights", folder(key))
    for name, limit in (("pieces", 1000), ("whole", 1 << 30)):
        monkeypatch.setattr(flow, "LONG", limit)
        assert run("tokenize", long, "-o", f"{name}.codes", *codec)[0] == 0
        assert run("encode", long, "-o", f"{name}.safetensors", *codec)[0] == 0
        for source, end in (("codes", "a"), ("safetensors", "b")):
            command = "detokenize" if source == "codes" else "decode"
            code, _, err = run(command, f"{name}.{source}", "-o", f"{name}-{end}.wav", "--weights", folder(key))
            assert (code, err) == (0, "")
        code, _, err = run("roundtrip", long, "-o", f"{name}-c.wav", *codec)
        assert (code, err) == (0, "")
    for end in "abc":
        given, expected = (soundfile.read(f"{name}-{end}.wav")[0] for name in ("pieces", "whole"))
        assert given.shape == expected.shape == (3 * 24000,)
        if not voco.startswith("snac"):  # whose decoder draws
            assert np.abs(given - expected).max() <= 2 / 32768


@pytest.mark.parametrize("voco", ["encodec_24khz", "mimi", "snac_24khz"])
def test_demo_decodes_frame_by_frame_without_delay_and_without_noise(voco: str, run: Run, folder: Any) -> None:
    key = {"encodec_24khz": "transformers-encodec_24khz"}.get(voco, voco)
    code, out, err = run("demo", "--stream", "--voco", voco, "--weights", folder(key), "-o", "demo")
    assert (code, err) == (0, "")
    assert "pushes of one frame give the whole" in out


@pytest.mark.parametrize("voco", ["dac", "encodec"])
def test_codes_in_pieces_are_those_of_the_whole(
    voco: str, run: Run, long: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in (("pieces", 1000), ("whole", 1 << 30)):
        monkeypatch.setattr(flow, "LONG", limit)
        assert run("tokenize", long, "-o", f"{name}.codes", "--voco", voco, "--weights", weights)[0] == 0
        assert run("detokenize", f"{name}.codes", "-o", f"{name}.wav", "--weights", weights)[0] == 0
    assert Path("pieces.codes").read_bytes() == Path("whole.codes").read_bytes()
    given, expected = (soundfile.read(f"{name}.wav")[0] for name in ("pieces", "whole"))
    assert np.abs(given - expected).max() <= 2 / 32768


def test_scaled_codes_go_in_pieces(run: Run, long: Path, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder("transformers-encodec_48khz")
    for name, limit in (("pieces", 1000), ("whole", 1 << 30)):
        monkeypatch.setattr(flow, "LONG", limit)
        assert run("tokenize", long, "-o", f"{name}.codes", "--voco", "encodec_48khz", "--weights", place)[0] == 0
        assert run("detokenize", f"{name}.codes", "-o", f"{name}.wav", "--weights", place)[0] == 0
    given, expected = (soundfile.read(f"{name}.wav")[0] for name in ("pieces", "whole"))
    assert np.abs(given - expected).max() <= 2 / 32768


def test_a_codec_without_streams_runs_whole_and_says_so(run: Run, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "LONG", 1000)
    code, out, _ = run("roundtrip", long, "-o", "a.wav", "--voco", "griffinlim")
    assert code == 0
    assert "in one piece: the phase search makes every sample depend on all frames" in out


def test_samples_that_are_no_numbers_end_a_long_file_with_nothing_written(
    run: Run, long: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "LONG", 1000)
    samples, rate = soundfile.read(long)
    samples = np.tile(samples, (5, 1))
    samples[200_000] = np.nan
    soundfile.write("nan.wav", samples, rate, "FLOAT")
    code, _, err = run("encode", "nan.wav", "-o", "a.safetensors", "--voco", "dac", "--weights", weights)
    assert code == 1
    assert "the first at 200000" in err
    assert sorted(path.name for path in Path().iterdir()) == ["long.wav", "nan.wav"]


def test_an_interrupted_stream_leaves_nothing(
    run: Run, long: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocos.voco import Stream

    monkeypatch.setattr(flow, "LONG", 1000)
    monkeypatch.setattr(Stream, "finish", lambda self, length=None: (_ for _ in ()).throw(KeyboardInterrupt))
    code, _, err = run("roundtrip", long, "-o", "a.wav", "--voco", "dac", "--weights", weights)
    assert (code, err) == (130, "vocos: interrupted\n")
    assert [path.name for path in Path().iterdir()] == ["long.wav"]


def test_demo_decodes_frame_by_frame(run: Run, weights: Path) -> None:
    code, out, _ = run("demo", "--stream", "--voco", "mel", "--weights", weights, "-o", "demo")
    assert code == 0
    assert "pushes of one frame give the whole" in out
    assert "delay 704 samples, 0.0293 s" in out
    assert Path("demo", "reconstruction.wav").exists()
    code, _, err = run("demo", "--stream", "-o", "other")
    assert (code, Path("other").exists()) == (1, False)
    assert "griffinlim has no stream in this direction" in err
    assert err.endswith("such as --voco encodec_24khz\n")


def test_info_tells_what_can_be_streamed(run: Run) -> None:
    _, out, _ = run("info", "dac_44khz")
    assert "decode as a stream: yes; delay 4757 samples, 0.1079 s; state " in out
    assert "encode as a stream: no; HuBERT and WavLM attend to all of the audio" in run("info", "xcodec")[1]


MEMORY = """
import resource, sys
from vocos.cli import main
assert main(["encode", sys.argv[1], "-o", sys.argv[2], "--quiet"]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_twenty_minutes_take_the_memory_of_two(tmp_path: Path) -> None:
    peaks = []
    for minutes in (2, 20):
        with soundfile.SoundFile(tmp_path / f"{minutes}.wav", "w", 8000, 1) as file:
            for _ in range(minutes):
                file.write(np.random.default_rng(0).uniform(-0.4, 0.4, 480_000))
        command = [sys.executable, "-c", MEMORY, tmp_path / f"{minutes}.wav", tmp_path / f"{minutes}.safetensors"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 25  # MiB; the latents of the longer one alone are 43, its audio 110
