"""Audio in tars, as WebDataset has it: the files of one sample share their name up to the first dot."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vocos.data.items import RESERVED, Item
from vocos.errors import InvalidInput

TEXT = (".txt", ".cls", ".text")  # columns, by their ending
LONGEST = 1 << 20  # bytes of a text or JSON that travels along


def members_in(path: Path, name: str, endings: Sequence[str]) -> Iterator[Item]:
    """The audio in a tar that is not compressed, so that each member is read alone.

    Args:
        path: of the tar.
        name: what the ids of its members begin with.
        endings: of the members that are audio. Others of the same sample become columns: `.json` its keys, `.txt` and
            `.cls` their text; a key that items have themselves, such as `id`, becomes `json_id`.

    Raises:
        InvalidInput: if it is no tar, is compressed, or is cut off.
    """
    whole = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            sample: list[tarfile.TarInfo] = []
            for member in tar:
                if member.isfile() and not member.issparse():
                    if sample and _key(member) != _key(sample[0]):
                        yield from _items(tar, sample, path, name, endings, whole)
                        sample = []
                    sample.append(member)
                tar.members = []  # type: ignore[attr-defined]  # which it would keep all
            if sample:
                yield from _items(tar, sample, path, name, endings, whole)
    except tarfile.TarError as error:
        raise InvalidInput(f"{path}: not a tar that can be read, compressed, or cut off ({error})") from error


def _key(member: tarfile.TarInfo) -> str:
    folder, _, base = member.name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"


def _items(
    tar: tarfile.TarFile, sample: list[tarfile.TarInfo], path: Path, name: str, endings: Sequence[str], whole: int
) -> Iterator[Item]:
    columns: dict[str, Any] = {}
    for member in sample:
        ending = Path(member.name).suffix.lower()
        if ending not in (*TEXT, ".json") or member.size > LONGEST:
            continue
        file = tar.extractfile(member)
        data = b"" if file is None else file.read()
        if ending in TEXT:
            columns[ending[1:]] = data.decode("utf-8", "replace")
            continue
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            continue
        columns |= found if isinstance(found, dict) else {"json": found}
    columns = {f"json_{key}" if key in RESERVED else key: value for key, value in columns.items()}
    for member in sample:
        if Path(member.name).suffix.lower() in endings:
            if member.offset_data + member.size > whole:
                raise InvalidInput(f"{path}: is cut off within {member.name}")
            inside = (member.name, member.offset_data, whole)
            yield Item(f"{name}/{member.name}", str(path), member.size, member=inside, columns=columns)


class Member(io.RawIOBase):
    """The bytes of a member of a tar, as a file that is read from its beginning to its end."""

    def __init__(self, stream: io.FileIO, first: int, size: int) -> None:
        stream.seek(first)
        self._stream, self._left = stream, size

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As of every file."""
        view = memoryview(buffer)[: self._left]
        count = self._stream.readinto(view) or 0
        self._left -= count
        return count
