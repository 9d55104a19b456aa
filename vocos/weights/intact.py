"""Checking that a file in the cache of the Hub's client has the hash that the Hub announced, once per file.

The client downloads without looking, and whoever finds a file in its cache believes it. But it names each by what the
Hub announced, as the target of the link that a snapshot holds: by the SHA-256 of a large file, and by git's hash of a
small one. Where there are no links, as on Windows, the Hub has to be asked.

A file that passed leaves an empty one in `.vocos`, beside the `blobs` and `snapshots` of its repository, named by the
hash, the size and the time of the last change. An empty file cannot be half written, so that neither a process that is
killed nor two at once can spoil it, and it goes when the repository is removed from the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

RECORDS = ".vocos"
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SECOND = 10**9  # nanoseconds
_passed: set[Path] = set()  # records of caches that cannot be written, for this process


def damage(path: Path, sha256: str | None, ask: Callable[[], str | None]) -> os.stat_result | None:
    """The `stat` of a file of a snapshot that is damaged; None if it is whole, or if no hash is known.

    Args:
        path: path of the file in the snapshot.
        sha256: the hash that the file must have; None for the hash that the Hub announced.
        ask: asks the Hub for the ETag of the file where the cache has no hash; returns None if the Hub does not answer.

    Raises:
        FileNotFoundError: if it is no longer there, for another process found it damaged.
    """
    digest = sha256 or _announced(path)
    with path.open("rb") as stream:
        state = os.fstat(stream.fileno())
        record = _record(path, digest, state)
        if record in _passed or _is_there(record, state):
            return None
        if digest is None:
            digest = ask()
        if digest is None:
            return None
        # An ETag of another kind, as some mirrors have, tells nothing, and need not be asked for again.
        if _HASH.fullmatch(digest) and not _has(stream, digest, state.st_size):
            return state
    _remember(record)
    return None


def remove(path: Path, state: os.stat_result) -> None:
    """Remove a damaged file from the cache, where every other program would use it.

    Its name in the snapshot goes first, and what that stood for only if it is still the file that was looked at, for
    another process may have brought a whole one meanwhile.

    Raises:
        OSError: if the cache cannot be written.
    """
    blob = (
        path.parent / path.readlink() if path.is_symlink() else path
    )  # may be a link, into a store of all repositories
    places = (blob, path.resolve())
    path.unlink(missing_ok=True)
    for place in places:
        with contextlib.suppress(FileNotFoundError):
            now = place.stat()
            if (now.st_ino, now.st_mtime_ns) == (state.st_ino, state.st_mtime_ns):
                place.unlink()


def commit_in(path: Path) -> str | None:
    """The commit in the path of a file of a snapshot; None for any other path."""
    found = re.search(r"/snapshots/([0-9a-f]{40})/", path.as_posix())
    return found[1] if found else None


def _announced(path: Path) -> str | None:
    name = path.readlink().name if path.is_symlink() else ""
    return name if _HASH.fullmatch(name) else None


def _record(path: Path, digest: str | None, state: os.stat_result) -> Path:
    """Path of the empty file that records that a file passed the check."""
    snapshots = next(parent for parent in path.parents if parent.name == "snapshots")
    inside = path.relative_to(snapshots).as_posix()
    identity = digest or hashlib.sha256(inside.encode()).hexdigest()
    return snapshots.parent / RECORDS / f"{identity}-{state.st_size}-{state.st_mtime_ns}"


def _is_there(record: Path, state: os.stat_result) -> bool:
    if record.exists():
        return True
    # Images of containers keep whole seconds only of the time that the record was made with.
    is_whole = state.st_mtime_ns % _SECOND == 0
    return is_whole and any(record.parent.glob(f"{record.name[:-9]}?????????"))


def _has(stream: BufferedReader, digest: str, size: int) -> bool:
    """Whether the content has a hash: SHA-256 by its length, else SHA-1 as git has it, or plain as some mirrors do."""
    kinds: list[Callable[[], hashlib._Hash]] = [hashlib.sha256]
    if len(digest) == 40:
        sha1 = hashlib.sha1
        kinds = [
            lambda: sha1(b"blob %d\0" % size, usedforsecurity=False),
            lambda: sha1(usedforsecurity=False),
        ]
    for kind in kinds:
        stream.seek(0)
        if hashlib.file_digest(stream, kind).hexdigest() == digest:
            return True
    return False


def _remember(record: Path) -> None:
    try:
        record.parent.mkdir(exist_ok=True)
        record.touch()
    except OSError:  # a cache for reading only, or a full disk: this process at least need not look again
        _passed.add(record)
