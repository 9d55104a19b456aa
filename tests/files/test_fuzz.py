"""Thousands of damaged files of sound, latents and codes: each is read or refused with an exception of ours.

Nor does any take more memory than its bytes can account for. The damage follows from a seed, which a failure names.
"""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from weights.test_fuzz import header_bytes, header_values, scrambled

from vocos import VocoError, get_voco, load_codes, save_codes
from vocos.files import audio, latents

SOUNDS = {
    "wav": ("WAV", "PCM_16"),
    "wav_float": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
}
SEEDS = 250
BESIDE = 4 << 20  # bytes that reading takes whatever the size of the file
LIMITS = (b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7, b"\x00\x00\x00\x80" * 2)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes of a file cut off, changed in the first of them or anywhere, or with a number at a limit."""
    match rng.randrange(4):
        case 0:
            return data[: rng.randrange(len(data))]
        case 1:
            length = min(len(data), rng.choice([48, 100, 400]))
            return scrambled(data[:length], rng) + data[length:]
        case 2:
            at, length = rng.randrange(min(len(data), 200)), rng.choice([2, 4, 8])
            number = rng.choice([*LIMITS, struct.pack("<Q", rng.getrandbits(64))])[:length]
            return data[:at] + number + data[at + length :]
        case _:
            return scrambled(data, rng)


def refused(read: Callable[[Path], Any], path: Path, damage: Callable[[random.Random], bytes], kind: str) -> int:
    """How many of the damaged files are refused; fails if one is answered in another way."""
    count, escaped = 0, []
    for seed in range(SEEDS):
        content = damage(random.Random(f"{kind} {seed}"))
        path.write_bytes(content)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        try:
            read(path)
        except VocoError as error:
            count += 1
            if len(str(error)) > 1000 or not str(error).startswith(str(path)):
                escaped.append(f"seed {seed}: {str(error)[:200]!r}")
        except Exception as error:
            escaped.append(f"seed {seed}: {type(error).__name__}: {str(error)[:200]}")
        grown = tracemalloc.get_traced_memory()[1] - before
        if grown > BESIDE + 2 * 4 * audio.PLAUSIBLE * len(content):
            escaped.append(f"seed {seed}: {grown} bytes of memory for a file of {len(content)}")
    assert not escaped, f"{len(escaped)} of {kind}:\n" + "\n".join(escaped[:20])
    return count


@pytest.fixture(autouse=True)
def _counting() -> Any:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("kind", SOUNDS)
def test_sound(kind: str, tmp_path: Path) -> None:
    major, subtype = SOUNDS[kind]
    whole = io.BytesIO()
    sound = 0.5 * np.sin(np.arange(12000) / 9)
    soundfile.write(whole, np.stack([sound, -sound], axis=1), 24000, format=major, subtype=subtype)

    def read(path: Path) -> None:
        samples, sampling_rate = audio.read(path)
        assert samples.ndim == 3
        assert torch.isfinite(samples).all()
        assert samples.shape[1] > 0
        assert audio.RATES[0] <= sampling_rate <= audio.RATES[1]

    path = tmp_path / "whole"
    path.write_bytes(whole.getvalue())
    read(path)
    count = refused(read, path, lambda rng: damaged(whole.getvalue(), rng), kind)
    assert count > SEEDS // 20  # the damage is real


def test_latents(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    path = tmp_path / "whole" / "model.safetensors"
    latents.write(path, get_voco("griffinlim"), torch.zeros(1, 9, 100), 2000)
    whole = path.read_bytes()

    def damage(rng: random.Random) -> bytes:
        path.write_bytes(whole)
        kind = rng.choice([header_bytes, header_values, None])
        if kind is None:
            return damaged(whole, rng)
        kind(path.parent, rng)
        return path.read_bytes()

    assert refused(latents.read, path, damage, "latents") > SEEDS // 2


@pytest.mark.parametrize("ending", [".codes", ".ecdc", ".dac"])
@pytest.mark.parametrize("strict", [True, False])
def test_codes(ending: str, strict: bool, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    voco = get_voco("encodec_24khz" if ending == ".ecdc" else "dac")
    loudness = -20.0 if ending == ".dac" else None
    codes = torch.arange(300 * voco.n_codebooks).reshape(1, 300, -1) % voco.codebook_size
    save_codes(path, codes, voco, loudness=loudness)
    whole = path.read_bytes()

    def read(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_codes(path, strict=strict)

    assert refused(read, path, lambda rng: damaged(whole, rng), ending) > SEEDS // 20


def test_what_is_written_at_random_is_read_back_or_refused(tmp_path: Path) -> None:
    rng = random.Random(0)
    written = 0
    for seed in range(80):
        path = tmp_path / f"a{rng.choice(audio.WRITTEN)}"
        rate = rng.choice([1000, 8000, 11025, 16001, 24000, 44100, 48000, 96000, 192000, 768000])
        samples, channels = rng.choice([0, 1, 2, 1151, 1153, 4096, 65536, 65537]), rng.choice([1, 2, 3, 8, 300])
        sound = torch.full((1, samples, channels), rng.choice([0.0, 0.5, -1.0, 1e30, float("nan")]))
        try:
            audio.write(path, sound, rate)
        except VocoError as error:
            assert str(error).startswith(str(path)), seed
            assert not path.exists(), seed
            continue
        back, back_rate = audio.read(path)
        assert (back_rate, back.shape) == (rate, sound.shape), seed
        path.unlink()
        written += 1
    assert written > 10
    assert list(tmp_path.iterdir()) == []
