"""Files that are replaced only by complete ones."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

try:
    import fcntl
except ImportError:  # Windows: what a killed writer leaves there stays
    fcntl = None  # type: ignore[assignment]

STEM = 40  # characters of a name that its temporary name keeps, so that it is not longer than file systems allow
PROBE = bytes(1 << 16)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end; removed if an error ends it, and `path` is as it was.

    For what one function writes; `Replacement` is for what is written by and by, between other work.

    Raises:
        OSError: that names `path`; also if the disk is full, whatever error that gave the writer.
    """
    with Replacement(path) as new, new.explaining():
        yield new.temporary


class Replacement:
    """A temporary file beside `path`, renamed to it when a `with` ends; removed if an error does, and `path` stays.

    The temporary name keeps the ending, for writers that read the format from it. What a killed writer left is removed
    by the next one of the same output: a writer that lives holds a lock on its file.

    Args:
        path: what the file is to be.
        keeps_older: whether a file that has the name when the `with` ends stays, instead of being replaced.

    Attributes:
        path: what the file is to be.
        temporary: where it is until it is complete.
    """

    temporary: Path

    def __init__(self, path: Path, keeps_older: bool = False) -> None:
        self.path, self._keeps_older = path, keeps_older

    def __enter__(self) -> Self:
        with _naming(self.path):
            self._handle, self.temporary = _claimed(self.path)
        return self

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Around what writes to the file: errors that say that the disk is full, or that the system has, as OSError."""
        try:
            yield
        except Exception as error:  # writers have their own words for a full disk, or none
            _raise_if_of_the_system(self.path, error)
            _raise_if_full(self._handle, self.path, error)
            raise

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, empty, to be written; closed at the end. What one writes to it belongs into `explaining`."""
        stream = self.temporary.open("r+b")
        try:
            yield stream
        except BaseException:
            with suppress(OSError):  # of what is thrown away
                stream.close()
            raise
        with self.explaining():
            stream.close()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with _naming(self.path):
                    self._rename()
            else:
                self.temporary.unlink(missing_ok=True)
        except BaseException:
            self.temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(self._handle)

    def _rename(self) -> None:
        if self._keeps_older:
            try:
                self.path.hardlink_to(self.temporary)
            except FileExistsError:
                pass
            except OSError:  # a file system without links: then whoever is last
                self.temporary.replace(self.path)
            self.temporary.unlink(missing_ok=True)
        else:
            self.temporary.replace(self.path)


def _claimed(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, open and locked. Its name has the first free number, so that no folder is searched."""
    mine: tuple[int, Path] | None = None
    number = 0
    while True:
        temporary = path.with_name(f".{path.stem[:STEM]}-vocos{number}{path.suffix}")
        was_left = _removed(temporary)
        if mine is not None and not was_left:
            return mine
        mine = mine or _created(temporary)
        number += 1


def _created(temporary: Path) -> tuple[int, Path] | None:
    """A new file of that name, open and locked; None if another writer has it."""
    try:
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # another writer takes it for a leftover, for it was not locked yet
        os.close(handle)
        return None
    except OSError:  # no locks on this file system: then nobody takes anything for a leftover
        pass
    if _is(handle, temporary):
        return handle, temporary
    os.close(handle)
    return None


def _removed(temporary: Path) -> bool:
    """Remove what a killed writer left; not what is being written, is somebody else's, or is no file."""
    if fcntl is None:
        return False
    try:
        handle = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is(handle, temporary):
            temporary.unlink()
            return True
    except OSError:  # it is locked, or there are no locks here
        pass
    finally:
        os.close(handle)
    return False


def _is(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _raise_if_of_the_system(path: Path, cause: Exception) -> None:
    """Raise the system's error that a writer in Rust has met, which has removed what it had written by then."""
    if found := re.search(r"\(os error (\d+)\)", str(cause)):
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from cause


def _raise_if_full(handle: int, path: Path, cause: Exception) -> None:
    """Raise the reason if the file cannot grow."""
    try:
        os.lseek(handle, 0, os.SEEK_END)
        for _ in range(4):  # any of them may fill what is left, without an error
            while os.write(handle, PROBE) < len(PROBE):
                pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from cause


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of the system about a temporary file, as about the file that it is for."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
