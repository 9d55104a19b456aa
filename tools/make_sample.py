"""Make `vocos/assets/sample.flac`, the sound that `vocos demo` reconstructs: speech over synthesised music.

The speech is by espeak-ng (apt-get install espeak-ng); the music is plucked strings and a pad, computed here.

    python tools/make_sample.py
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 44100
SECONDS = 4.45
SENTENCE = "Sound becomes numbers, and numbers become sound again."
TARGET = Path(__file__).parent.parent / "vocos" / "assets" / "sample.flac"


def speech() -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", str(path), SENTENCE], check=True)
        sound, rate = soundfile.read(path)
    return np.asarray(soxr.resample(sound, rate, RATE))


def pluck(frequency_hz: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Karplus-Strong string: a burst of noise in a delay line that averages neighbours at each turn."""
    period = round(RATE / frequency_hz)
    turn = rng.uniform(-1, 1, period)
    for _ in range(4):  # a soft pick
        turn = 0.5 * (turn + np.roll(turn, 1))
    turns = []
    for _ in range(round(seconds * frequency_hz)):
        turns.append(turn)
        turn = 0.996 * 0.5 * (turn + np.roll(turn, 1))
    return np.concatenate(turns)


def music(n_samples: int) -> np.ndarray:
    """Two channels: an arpeggio that wanders from left to right over a soft chord."""
    rng = np.random.default_rng(0)
    sound = np.zeros((n_samples, 2))
    time = np.arange(n_samples) / RATE
    chords = [(220.0, 261.63, 329.63, 440.0), (174.61, 220.0, 261.63, 349.23), (196.0, 246.94, 293.66, 392.0)]
    beat = 0.19
    for step in range(int(SECONDS / beat)):
        chord = chords[min(step // 8, 2)]
        note = pluck(chord[step % 4] * (2 if step % 8 > 3 else 1), 0.8, rng)
        start = int(step * beat * RATE)
        note = note[: n_samples - start]
        right = 0.5 + 0.35 * np.sin(step)
        sound[start : start + len(note)] += 0.22 * note[:, None] * [1 - right, right]
    for k, chord in enumerate(chords):
        gate = np.clip(np.minimum(time - k * 8 * beat, (k + 1) * 8 * beat + 0.1 - time) / 0.1, 0, 1)
        for j, frequency in enumerate(chord[:3]):
            tone = np.sin(2 * np.pi * frequency / 2 * time + j) * gate
            sound += 0.03 * np.stack([tone, np.roll(tone, 40 * (j + 1))], axis=1)
    return sound


def main() -> None:
    n_samples = int(SECONDS * RATE)
    sound = 0.8 * music(n_samples)
    words = speech()[: n_samples - int(0.25 * RATE)]
    start = int(0.25 * RATE)
    sound[start : start + len(words)] += 0.55 * words[:, None] / np.abs(words).max()
    sound *= np.clip(np.minimum(np.arange(n_samples), np.arange(n_samples)[::-1]) / (0.03 * RATE), 0, 1)[:, None]
    sound *= 0.62 / np.abs(sound).max()
    TARGET.parent.mkdir(exist_ok=True)
    soundfile.write(TARGET, sound, RATE, subtype="PCM_16", compression_level=1.0)
    print(f"{TARGET}: {SECONDS} s, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
