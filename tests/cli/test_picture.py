"""The picture of the demo, read back by hand."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from vocos.cli.picture import GAP, HEIGHT, WIDTH, write_spectrograms


def read_png(path: Path) -> np.ndarray:
    """Pixels `[H, W, 3]` of an unfiltered RGB PNG, every checksum verified."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size]) == (zlib.crc32(kind + body),)
        chunks[kind], at = body, at + 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3)


def test_tone_is_a_line_at_its_height_in_its_panel(tmp_path: Path) -> None:
    time = np.arange(48000) / 24000
    tone = np.sin(2 * np.pi * 3000 * time).astype(np.float32)  # a quarter of the height
    write_spectrograms(tmp_path / "two.png", [tone, np.zeros_like(tone)])
    pixels = read_png(tmp_path / "two.png").astype(int).sum(axis=2)
    assert pixels.shape == (2 * HEIGHT + GAP, WIDTH)
    top, bottom = pixels[:HEIGHT], pixels[HEIGHT + GAP :]
    assert abs(int(top.mean(axis=1).argmax()) - 0.75 * HEIGHT) < 3
    assert bottom.max() == bottom.min() == top.min()


def test_very_short_sound_has_a_picture_too(tmp_path: Path) -> None:
    write_spectrograms(tmp_path / "one.png", [np.ones(1, np.float32)])
    assert read_png(tmp_path / "one.png").shape == (HEIGHT, WIDTH, 3)
