"""Hyperparameters of a codec as a frozen dataclass, each checked, for they may come from a stranger's file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, get_type_hints

from vocos.errors import CheckpointError

MAX_SIZE = 1 << 20  # above every real width, table or rate (the largest known is a rate, 192 000); a typo beyond


@dataclass(frozen=True)
class Config:
    """Base of every codec's config. Fields are `int` (>= 1), `float`, `str` or tuples of these; all have defaults."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            object.__setattr__(self, name, _checked(name, kind, getattr(self, name)))

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """The config that a checkpoint's JSON describes; absent or null values take the default, unknown are ignored.

        Raises:
            CheckpointError: if a value is of the wrong kind or out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known and value is not None})

    def as_dict(self) -> dict[str, Any]:
        """The hyperparameters as plain data, which `parse` takes back."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    def require(self, condition: bool, problem: str) -> None:
        """Raise CheckpointError unless the condition holds; for relations between fields."""
        if not condition:
            raise CheckpointError(f"config not supported: {problem}")


def _checked(name: str, kind: Any, value: Any) -> Any:
    """The value as a field of this kind, lists as tuples, or CheckpointError."""
    if kind in (tuple[int, ...], tuple[float, ...]):
        if not isinstance(value, (list, tuple)) or not value:
            raise CheckpointError(f"config: {name} must be a list of numbers, got {value!r}")
        return tuple(_checked(name, int if kind == tuple[int, ...] else float, item) for item in value)
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
            raise CheckpointError(f"config: {name} must be an integer from 1 to {MAX_SIZE}, got {value!r}")
    elif kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise CheckpointError(f"config: {name} must be a number, got {value!r}")
        return float(value)
    elif kind is str and not isinstance(value, str):
        raise CheckpointError(f"config: {name} must be a string, got {value!r}")
    return value
