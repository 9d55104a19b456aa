"""The paths that users give: files, and folders to search."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vocos.errors import InvalidInput


def require_file(path: Path) -> None:
    """Raise InvalidInput unless the path is that of a file that can be read more than once, no folder and no pipe."""
    if not path.is_file():
        reason = "a folder" if path.is_dir() else "not a regular file" if path.exists() else "no such file"
        raise InvalidInput(f"{path}: {reason}")


def files_in(folder: Path, output: Path | None, endings: Sequence[str], errors: list[OSError]) -> Iterator[Path]:
    """Files of some endings at any depth, sorted; links are followed, hidden names and the output are left out.

    Args:
        folder: where to search.
        output: a folder that is not searched, None for none.
        endings: in lower case, such as ".wav".
        errors: gets those of folders that cannot be read.
    """
    left = None if output is None else output.resolve()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=errors.append):
        here = Path(root).resolve()
        inner = {name: Path(root, name).resolve() for name in folders if not name.startswith(".")}
        folders[:] = sorted(name for name, real in inner.items() if not here.is_relative_to(real) and real != left)
        yield from (
            Path(root, name)
            for name in sorted(names)
            if not name.startswith(".") and Path(name).suffix.lower() in endings
        )
