"""Where the audio of a dataset is: files, folders, lists and tars become items."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vocos.data import lists, tars
from vocos.data.items import Item
from vocos.errors import InvalidInput
from vocos.files.audio import READ
from vocos.files.places import files_in

TAR = ".tar"


def items_of(
    sources: Sequence[str | Path], output: Path | None = None, problems: list[str] | None = None
) -> Iterator[Item]:
    """The items of some sources, each with its size as it is now.

    An id is the path below its source: of a folder, of a list as it is written there; a tar is like a folder. Of
    several sources, those of a folder begin with the folder's name. Lists can say other ids.

    Args:
        sources: files of audio, folders with such and tars of such at any depth, tars, and lists (`.txt`, `.jsonl`,
            `.csv`).
        output: a folder that is not searched, such as that of the dataset.
        problems: gets a line for each source that is missing or empty, instead of an error.

    Raises:
        InvalidInput: if a source does not exist, or holds no audio; or naming the line of a list that is wrong.
        OSError: if a folder cannot be read.
    """
    sized: Callable[[Item], Item] = _Sizes()
    for source in sources:
        path = Path(os.path.abspath(source))  # noqa: PTH100 - without following links
        if not path.exists():
            _report(f"{source}: no such file or folder", problems)
            continue
        base = f"{path.name}/" if len(sources) > 1 else ""
        count = 0
        for item in _found(path, base, output):
            count += 1
            yield sized(item)
        if not count:
            what = "holds no audio" if path.is_dir() else "is empty"
            _report(f"{source}: {what}; audio files end in {', '.join(READ)}, tars in {TAR}", problems)


def _report(problem: str, problems: list[str] | None) -> None:
    if problems is None:
        raise InvalidInput(problem)
    problems.append(problem)


def _found(path: Path, base: str, output: Path | None) -> Iterator[Item]:
    """The items of one source, the size of files not known yet."""
    if path.is_dir():
        errors: list[OSError] = []
        for file in files_in(path, output, (*READ, TAR), errors):
            name = f"{base}{file.relative_to(path).as_posix()}"
            yield from tars.members_in(file, name, READ) if file.suffix.lower() == TAR else [_file(file, name)]
        if errors:
            raise errors[0]
    elif path.suffix.lower() == TAR:
        yield from tars.members_in(path, path.name, READ)
    elif path.suffix.lower() in lists.ENDINGS:
        yield from lists.items_in(path)
    else:
        yield _file(path, path.name)


def _file(path: Path, name: str) -> Item:
    return Item(os.fsencode(name).decode("utf-8", "backslashreplace"), str(path), None)


class _Sizes:
    """Gives items their size; segments of one file that follow each other ask once."""

    def __init__(self) -> None:
        self._last: tuple[str, int | None] = ("", None)

    def __call__(self, item: Item) -> Item:
        if item.member is not None:
            return item
        if item.path != self._last[0]:
            self._last = item.path, size_of(item.path)
        return item._replace(path=self._last[0], size=self._last[1])


def size_of(path: str) -> int | None:
    """Bytes of a file; None if there is no regular file of that name."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a million times
    except (OSError, ValueError):
        return None
    return status.st_size if (status.st_mode & 0o170000) == 0o100000 else None
