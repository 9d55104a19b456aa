"""Checks of the paths that users give."""

from __future__ import annotations

from pathlib import Path

from vocos.errors import InvalidInput


def require_file(path: Path) -> None:
    """Raise InvalidInput unless the path is that of a file that can be read more than once, no folder and no pipe."""
    if not path.is_file():
        reason = "a folder" if path.is_dir() else "not a regular file" if path.exists() else "no such file"
        raise InvalidInput(f"{path}: {reason}")
