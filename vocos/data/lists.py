"""Lists of audio files: `.txt`, `.jsonl` and `.csv`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vocos.data.items import Item, checked
from vocos.errors import InvalidInput

ENDINGS = (".txt", ".jsonl", ".csv")
OWN = ("path", "id", "start", "stop")  # what an item has from a list; further columns travel along


def items_in(path: Path) -> Iterator[Item]:
    """The items of a list, in its order, their size not known yet.

    A `.txt` has a path in each line. A `.jsonl` has an object, and a `.csv` a row under a header, with `path`; also, if
    it likes, `id`, `start` and `stop` in seconds, and other columns. Relative paths begin at the folder of the list.

    Raises:
        InvalidInput: naming the line, if it says no path, or something else that cannot be.
    """
    rows = {".txt": _lines, ".jsonl": _objects, ".csv": _rows}[path.suffix.lower()]
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            for number, row in rows(stream, path):
                yield _item(row, path.parent, f"{path}: line {number}")
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidInput(f"{path}: not a list in UTF-8: {error}") from error


def _lines(stream: Any, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(stream, 1):
        if text := line.rstrip("\r\n"):
            yield number, {"path": text}


def _objects(stream: Any, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{path}: line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InvalidInput(f"{path}: line {number}: expected an object with a path, got {line.strip()[:80]}")
        yield number, row


def _rows(stream: Any, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(stream)
    if "path" not in (reader.fieldnames or ()):
        raise InvalidInput(f"{path}: expected a header with the column path, got {reader.fieldnames}")
    for row in reader:
        if None in row:
            raise InvalidInput(f"{path}: line {reader.line_num}: has more fields than the header")
        yield reader.line_num, {name: value for name, value in row.items() if value not in (None, "")}


def _item(row: dict[str, Any], folder: Path, where: str) -> Item:
    name = row.get("path")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidInput(f"{where}: expected a path, got {name!r}")
    start, stop = _seconds(row, "start", where), _seconds(row, "stop", where)
    given = row.get("id")
    if given is None:
        times = "" if start is None and stop is None else f"@{start or 0:.15g}-{'' if stop is None else f'{stop:.15g}'}"
        given = f"{name}{times}"
    columns = {key: value for key, value in row.items() if key not in OWN}
    return checked(Item(str(given), str(folder / name), None, start, stop, None, columns), where)


def _seconds(row: dict[str, Any], name: str, where: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise InvalidInput(f"{where}: expected {name} in seconds, got {value!r}") from None
