"""Errors of writers, as errors about the file that is written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from vocos.weights.atomic import replacing


def test_error_of_the_system_that_a_writer_in_rust_reports_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"x\.safetensors") as caught, replacing(tmp_path / "x.safetensors") as temporary:
        temporary.unlink()  # safetensors leaves nothing of what did not fit, and the disk has room again
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_other_errors_of_writers_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such kind"), replacing(tmp_path / "x.wav"):
        raise RuntimeError("no such kind")
