"""Reading config files, JSON or YAML, as plain data, and the layout with `class_path` that several publishers use."""

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
    """The mapping that a JSON or YAML text describes.

    Args:
        text: JSON or YAML.
        place: where the text comes from, for messages.
        is_yaml: whether the text is YAML; else it is JSON.

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


def component(config: Mapping[str, Any], key: str, class_name: str) -> Mapping[str, Any]:
    """The `init_args` of one component of a config laid out as `{key: {class_path, init_args}}`.

    The class path is never imported: its last name is only compared with the class that the codec knows.

    Raises:
        CheckpointError: if the component is missing or of another class.
    """
    section = config.get(key)
    if not isinstance(section, dict) or not isinstance(section.get("init_args"), dict):
        raise CheckpointError(f"config: no {key!r} with class_path and init_args")
    path = section.get("class_path")
    found = path.rpartition(".")[2] if isinstance(path, str) else path
    if found != class_name:
        raise CheckpointError(f"config: {key} is a {brief(found)}, this codec reads {class_name!r}")
    arguments: Mapping[str, Any] = section["init_args"]
    return arguments


def as_component(class_name: str, **arguments: Any) -> dict[str, Any]:
    """One component of a config as `component` reads it, under the package name of the public files."""
    return {"class_path": f"vocos.{class_name}", "init_args": arguments}
