"""Folders of audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from making import RATE


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with eleven files: rates, channels, formats and lengths differ, some are alike; one is in a folder."""
    place = tmp_path / "sounds"
    (place / "inner").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(11):
        rate, channels = (RATE, 1) if number % 3 else (22_050, 2)
        length = int(rate * (0.5 if number % 2 else 0.4 + 0.05 * number))
        sound = random.uniform(-0.4, 0.4, (length, channels)).astype(np.float32)
        name = f"{'inner/' if number == 10 else ''}clip{number:02d}.{'flac' if number % 4 else 'wav'}"
        soundfile.write(place / name, sound, rate)
    return place
