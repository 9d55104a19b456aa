"""Hyperparameters of a codec as a frozen dataclass. Each is checked, for it may come from a stranger's file."""

from __future__ import annotations

import dataclasses
import reprlib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

from vocos.errors import CheckpointError

# Limits above every real value. A larger one is a typo or an attack, and would fill the memory before anything fails.
MAX_SIZE = 1 << 20  # of a width, table, rate or any other number; the largest known is a sampling rate of 192 000
MAX_BANDS = 1024  # of a mel spectrogram
MAX_COUNT = 256  # of layers, codebooks, bits
MAX_WINDOW = 1 << 15  # samples of a Fourier transform
MAX_DEPTH = 16  # of layers between two changes of rate
MAX_ITEMS = 32  # of a list
MAX_TEXT = 80  # characters of a string, and of a value in a message


@dataclass(frozen=True)
class Range:
    """The numbers that a field may have, both ends among them: `width: Annotated[int, Range(0, 16)] = 1`."""

    low: float
    high: float


Window = Annotated[int, Range(1, MAX_WINDOW)]
Bands = Annotated[int, Range(1, MAX_BANDS)]
Count = Annotated[int, Range(1, MAX_COUNT)]
Depth = Annotated[int, Range(0, MAX_DEPTH)]
RANGES = {int: Range(1, MAX_SIZE), float: Range(-MAX_SIZE, MAX_SIZE), bool: Range(0, 1), str: Range(0, MAX_TEXT)}


@dataclass(frozen=True)
class Kind:
    """What a field may hold.

    Attributes:
        type: `int`, `float`, `bool` or `str`.
        range: of a number.
        is_list: whether it holds a tuple of these.
        is_optional: whether it may be None.
    """

    type: type
    range: Range
    is_list: bool = False
    is_optional: bool = False

    @classmethod
    def of(cls, annotation: Any) -> Self:
        """The kind of value that a type annotation describes.

        Raises:
            TypeError: if the annotation is of a type that cannot be checked.
        """
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in (Union, types.UnionType) and len(arguments) == 2 and type(None) in arguments:
            inner = arguments[0] if arguments[1] is type(None) else arguments[1]
            return dataclasses.replace(cls.of(inner), is_optional=True)
        if origin is tuple and arguments[1:] == (...,):
            return dataclasses.replace(cls.of(arguments[0]), is_list=True)
        if origin is Annotated:
            ranges = [value for value in arguments[1:] if isinstance(value, Range)]
            found = cls.of(arguments[0])
            return dataclasses.replace(found, range=ranges[0]) if ranges else found
        if annotation not in RANGES:
            raise TypeError(f"{annotation} is not checked: int, float, bool, str, a tuple of one, or None beside")
        return cls(annotation, RANGES[annotation])


@dataclass(frozen=True)
class Config:
    """Base of every codec's config.

    Fields are `int` (>= 1), `float`, `bool`, `str`, tuples of these (`tuple[int, ...]`) or one of them or None; a
    `Range` beside the type says which numbers. All have defaults.
    """

    kinds: ClassVar[Mapping[str, Kind]] = {}  # by field

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.kinds = _kinds(cls)

    def __post_init__(self) -> None:
        for name, kind in self.kinds.items():
            object.__setattr__(self, name, checked(name, kind, getattr(self, name)))

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """The config that a checkpoint's JSON describes; absent values take the default, as null ones do where a
        field cannot be None; unknown ones are ignored.

        Raises:
            CheckpointError: if a value is of the wrong kind or out of range.
        """
        given = {name: value for name, value in data.items() if name in cls.kinds}
        return cls(**{name: value for name, value in given.items() if value is not None or cls.kinds[name].is_optional})

    def as_dict(self) -> dict[str, Any]:
        """The hyperparameters as plain data, which `parse` takes back."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    def require(self, condition: bool, problem: str) -> None:
        """Raise CheckpointError unless the condition holds; for relations between fields."""
        if not condition:
            raise CheckpointError(f"config not supported: {problem}")


def _kinds(config_type: type[Config]) -> dict[str, Kind]:
    """What each field of a config may hold.

    Raises:
        TypeError: if a field is of a kind that nothing checks.
    """
    found = {}
    for name, annotation in get_type_hints(config_type, include_extras=True).items():
        if get_origin(annotation) is not ClassVar:
            try:
                found[name] = Kind.of(annotation)
            except TypeError as error:
                raise TypeError(f"{config_type.__name__}.{name}: {error}") from None
    return found


def section(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of a config, which is itself a mapping.

    Raises:
        CheckpointError: if the section is missing or is no mapping.
    """
    found = data.get(name)
    if not isinstance(found, Mapping):
        raise CheckpointError(f"config: no section {name!r}")
    return found


def expect(data: Mapping[str, Any], name: str, value: Any, default: Any = None) -> None:
    """Raise CheckpointError unless an option of a config has the only value that the codec supports.

    Args:
        data: the config, or the section of it with the option.
        name: name of the option.
        value: the value that the option must have.
        default: the value that an absent option stands for.
    """
    found = data.get(name, default)
    if found != value:
        raise CheckpointError(f"config: {name} is {brief(found)}, only {brief(value)} is supported")


def checked(name: str, kind: Kind, value: Any) -> Any:
    """The value as a field of this kind holds it, lists as tuples. Raises CheckpointError if it cannot hold it."""
    if value is None and kind.is_optional:
        return None
    if kind.is_list:
        if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MAX_ITEMS:
            raise CheckpointError(f"config: {name} must be a list of 1 to {MAX_ITEMS} numbers, got {brief(value)}")
        return tuple(checked(name, dataclasses.replace(kind, is_list=False), item) for item in value)
    expected = _EXPECTED[kind.type].format(low=kind.range.low, high=kind.range.high)
    problem = CheckpointError(f"config: {name} must be {expected}, got {brief(value)}")
    if kind.type in (bool, str):
        if not isinstance(value, kind.type) or (isinstance(value, str) and len(value) > MAX_TEXT):
            raise problem
        return value
    types = (int, float) if kind.type is float else int
    if isinstance(value, bool) or not isinstance(value, types) or not kind.range.low <= value <= kind.range.high:
        raise problem  # of nan too
    return kind.type(value)


_EXPECTED = {
    int: "an integer from {low} to {high}",
    float: "a number from {low} to {high}",
    bool: "true or false",
    str: "a string of at most {high} characters",
}


class _Short(reprlib.Repr):
    """`repr` that visits no more of a value than it shows, for the value may be deep, or hold itself."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict, self.maxstring = 2, 4, 4, 4, MAX_TEXT

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < MAX_TEXT else f"an integer of {x.bit_length()} bits"


def brief(value: Any) -> str:
    """A value for a message of one line."""
    text = " ".join(_Short().repr(value).split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
