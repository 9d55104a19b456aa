"""What a file says of a network: JSON or YAML, read as plain data, and the shapes that several publishers give it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vocos.config import brief
from vocos.errors import CheckpointError

MAX_CONFIG_BYTES = 1 << 20  # the public ones have a few kilobytes


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file.

    Raises:
        CheckpointError: if the file is not a mapping of reasonable size.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes are too many for a config")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise CheckpointError(f"{path}: not a readable config: {type(error).__name__}: {brief(str(error))}") from error
    return parse_config(text, path, is_yaml=path.suffix in (".yaml", ".yml"))


def parse_config(text: str, place: object, is_yaml: bool) -> dict[str, Any]:
    """The mapping that a text is of.

    Args:
        text: JSON or YAML.
        place: where it was, for messages.
        is_yaml: which of the two.

    Raises:
        CheckpointError: if it is not a mapping of reasonable size.
    """
    if len(text) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{place}: {len(text)} characters are too many for a config")
    try:
        data = yaml.safe_load(text) if is_yaml else json.loads(text)
    except Exception as error:  # PyYAML lets errors of every kind through
        problem = " ".join(str(error).split())
        raise CheckpointError(f"{place}: not a readable config: {type(error).__name__}: {problem[:200]}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{place}: expected a mapping of names to values, got a {type(data).__name__}")
    return data


def component(config: Mapping[str, Any], part: str, class_name: str) -> Mapping[str, Any]:
    """The arguments of one part of a config laid out as `{part: {class_path, init_args}}`.

    The class is only compared, by the last part of its path: nothing is ever imported.

    Raises:
        CheckpointError: if the part is missing or of another class.
    """
    section = config.get(part)
    if not isinstance(section, dict) or not isinstance(section.get("init_args"), dict):
        raise CheckpointError(f"config: no {part!r} with class_path and init_args")
    path = section.get("class_path")
    found = path.rpartition(".")[2] if isinstance(path, str) else path
    if found != class_name:
        raise CheckpointError(f"config: {part} is a {brief(found)}, this codec reads {class_name!r}")
    arguments: Mapping[str, Any] = section["init_args"]
    return arguments


def part(class_name: str, **arguments: Any) -> dict[str, Any]:
    """One part of a config that `component` reads, under the package name of the public files."""
    return {"class_path": f"vocos.{class_name}", "init_args": arguments}
