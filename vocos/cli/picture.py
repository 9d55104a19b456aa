"""Spectrograms as a PNG file, so that a reconstruction can be seen as well as heard."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocos.weights.atomic import replacing

N_FFT = 1024
WIDTH, HEIGHT, GAP = 960, 256, 8  # pixels: of a panel, and between two panels
RANGE_DB = 80.0  # from the loudest to what is drawn black
# Dark to bright, equally spaced; our own mixture of the usual black - violet - orange - white.
COLOURS = np.array([(0, 0, 8), (62, 18, 92), (150, 40, 110), (232, 92, 72), (252, 176, 92), (255, 252, 224)])


def write_spectrograms(path: Path, sounds: list[NDArray[np.float32]]) -> None:
    """One panel for each clip `[samples]`, the first on top: time to the right, frequency up to half the rate upwards.

    All panels have one scale of loudness and of colour.
    """
    levels = [_decibels(sound) for sound in sounds]
    loudest = max(float(level.max()) for level in levels)
    gap = np.full((GAP, WIDTH, 3), 255, np.uint8)
    rows = [part for level in levels for part in (_coloured((level - loudest) / RANGE_DB + 1.0), gap)]
    with replacing(path) as temporary:
        temporary.write_bytes(_png(np.concatenate(rows[:-1])))


def _decibels(sound: NDArray[np.float32]) -> NDArray[np.float64]:
    """Level of `[HEIGHT, WIDTH]` points, the highest frequency first."""
    padded = np.pad(sound.astype(np.float64), N_FFT // 2)
    starts = np.linspace(0, len(padded) - N_FFT, WIDTH).astype(int)
    frames = np.stack([padded[start : start + N_FFT] for start in starts]) * np.hanning(N_FFT)
    power = np.abs(np.fft.rfft(frames)[:, 1:]) ** 2
    pooled = power.reshape(WIDTH, HEIGHT, -1).mean(axis=2)
    level: NDArray[np.float64] = 10.0 * np.log10(pooled + 1e-12).T[::-1]
    return level


def _coloured(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """RGB of values from 0 to 1: `[H, W]` -> `[H, W, 3]`."""
    stops = np.linspace(0.0, 1.0, len(COLOURS))
    return np.stack([np.interp(values, stops, COLOURS[:, c]) for c in range(3)], axis=-1).astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """An RGB image `[H, W, 3]` as a PNG file. Source: W3C, Portable Network Graphics Specification."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, no filter, not interlaced
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
