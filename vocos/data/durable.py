"""Files that survive a crash: complete under their names, and on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vocos.weights.atomic import Replacement


@contextmanager
def durably(path: Path, replace: bool = True) -> Iterator[BinaryIO]:
    """A file to be written, which gets its name when it is complete and on the disk.

    Args:
        path: its name.
        replace: whether it replaces an older one; otherwise that stays, whoever was first.

    Raises:
        OSError: if it cannot be written; an older one stays.
    """
    with Replacement(path, keeps_older=not replace) as new, new.opened() as stream, new.explaining():
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    synced(path.parent)


def synced(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
