"""Hyperparameters of a codec as a frozen dataclass, each checked, for they may come from a stranger's file."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, get_type_hints

from vocos.errors import CheckpointError

# Above every real value; beyond is a typo or an attack, and would fill the memory before anything else fails.
MAX_SIZE = 1 << 20  # of a width, table, rate or any other number; the largest known is a sampling rate of 192 000
MAX_BANDS = 1024  # of a mel spectrogram
MAX_COUNT = 256  # of layers, codebooks, bits
MAX_WINDOW = 1 << 15  # samples of a Fourier transform
MAX_DEPTH = 16  # of layers between two changes of rate
MAX_ITEMS = 32  # of a list
MAX_TEXT = 80  # characters of a string, and of a value in a message
LIMITS = {"n_fft": MAX_WINDOW, "n_mels": MAX_BANDS}
LIMITS |= dict.fromkeys(("num_layers", "num_hidden_layers", "n_codebooks", "nbits"), MAX_COUNT)
LIMITS |= dict.fromkeys(("num_residual_layers", "num_lstm_layers"), MAX_DEPTH)


@dataclass(frozen=True)
class Config:
    """Base of every codec's config.

    Fields are `int` (>= 1), `float`, `bool`, `str` or tuples of these; all have defaults.
    """

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


def section(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a config that is itself a mapping.

    Raises:
        CheckpointError: if it is missing or is none.
    """
    part = data.get(name)
    if not isinstance(part, Mapping):
        raise CheckpointError(f"config: no section {name!r}")
    return part


def expect(data: Mapping[str, Any], name: str, value: Any, default: Any = None) -> None:
    """Raise CheckpointError unless an option has the only value that the codec knows, rather than ignore another.

    Args:
        data: the part of the config with the option.
        name: of the option.
        value: that it must have.
        default: that it has when it is absent.
    """
    found = data.get(name, default)
    if found != value:
        raise CheckpointError(f"config: {name} is {brief(found)}, only {brief(value)} is supported")


def _checked(name: str, kind: Any, value: Any) -> Any:
    """The value as a field of this kind, lists as tuples, or CheckpointError."""
    if kind in (tuple[int, ...], tuple[float, ...]):
        if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MAX_ITEMS:
            raise CheckpointError(f"config: {name} must be a list of 1 to {MAX_ITEMS} numbers, got {brief(value)}")
        return tuple(_checked(name, int if kind == tuple[int, ...] else float, item) for item in value)
    if kind is int:
        limit = LIMITS.get(name, MAX_SIZE)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
            raise CheckpointError(f"config: {name} must be an integer from 1 to {limit}, got {brief(value)}")
    elif kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= MAX_SIZE:  # nor nan
            raise CheckpointError(f"config: {name} must be a number up to {MAX_SIZE}, got {brief(value)}")
        return float(value)
    elif kind is bool and not isinstance(value, bool):
        raise CheckpointError(f"config: {name} must be true or false, got {brief(value)}")
    elif kind is str and not (isinstance(value, str) and len(value) <= MAX_TEXT):
        raise CheckpointError(f"config: {name} must be a string of at most {MAX_TEXT} characters, got {brief(value)}")
    return value


class _Short(reprlib.Repr):
    """As `repr`, without visiting more of a value than is shown: it may be deep, or hold itself, or have no end."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict, self.maxstring = 2, 4, 4, 4, MAX_TEXT

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < MAX_TEXT else f"an integer of {x.bit_length()} bits"


def brief(value: Any) -> str:
    """A value for a message of one line."""
    text = " ".join(_Short().repr(value).split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
