"""Pickles of plain data and numpy arrays, read without running any of the code that a pickle may name."""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What numpy names to rebuild its arrays and numbers; the modules have been renamed over the years
ARRAY = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
NUMBER = {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar"}
CLASSES = {"numpy ndarray", "numpy dtype"}
KINDS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "b1")
MARK = object()


@dataclass
class Built:
    """What a pickle would call: the name of the function, its arguments, and the state given to the result."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


def parse(data: bytes) -> Any:
    """The content of a pickle, with `Built` in the place of every object.

    Raises:
        ValueError: if it names anything but numpy's arrays and numbers, is cut off, or does what plain data does not.
    """
    stack: list[Any] = []
    memo: list[Any] = []
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in MAKERS:
            stack.append(MAKERS[name]())
        elif name in LITERALS:
            stack.append(argument)
        elif name == "GLOBAL":
            stack.append(_allowed(str(argument)))
        elif name in TAKERS:
            count, apply = TAKERS[name]
            taken = _to_mark(stack) if count is None else _taken(stack, count)
            apply(stack, taken)
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):  # pickle numbers what it remembers in order
            if argument not in (None, len(memo)):
                raise ValueError("a damaged pickle")
            memo.append(stack[-1])
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"refused, for plain data has no pickle opcode {name}")
    raise ValueError("cut off")


def _taken(stack: list[Any], count: int) -> list[Any]:
    if count > len(stack) or MARK in stack[len(stack) - count :]:
        raise ValueError("a damaged pickle")
    taken = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return taken


def _to_mark(stack: list[Any]) -> list[Any]:
    start = len(stack) - 1
    while stack[start] is not MARK:
        start -= 1
        if start < 0:
            raise ValueError("a damaged pickle")
    taken = stack[start + 1 :]
    del stack[start:]
    return taken


def _allowed(name: str) -> Built:
    if name not in ARRAY | NUMBER | CLASSES:
        raise ValueError(f"refused, for reading it would run code of its own: {name[:80]!r}")
    return Built(name, ())


def _push_tuple(stack: list[Any], taken: list[Any]) -> None:
    stack.append(tuple(taken))


def _set_items(stack: list[Any], taken: list[Any]) -> None:
    stack[-1].update(zip(taken[::2], taken[1::2], strict=True))


def _append(stack: list[Any], taken: list[Any]) -> None:
    stack[-1].extend(taken)


def _push_global(stack: list[Any], taken: list[Any]) -> None:
    stack.append(_allowed(" ".join(taken)))


def _reduce(stack: list[Any], taken: list[Any]) -> None:
    stack.append(Built(taken[0].name, tuple(taken[1])))


def _build(stack: list[Any], taken: list[Any]) -> None:
    stack[-1].state = taken[0]


MAKERS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: MARK,
}
LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE"}
LITERALS |= {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
# How many values of the stack an opcode takes, None for those above the mark, and what it does with them
TAKERS: dict[str, tuple[int | None, Callable[[list[Any], list[Any]], None]]] = {
    "TUPLE1": (1, _push_tuple),
    "TUPLE2": (2, _push_tuple),
    "TUPLE3": (3, _push_tuple),
    "TUPLE": (None, _push_tuple),
    "SETITEM": (2, _set_items),
    "SETITEMS": (None, _set_items),
    "APPEND": (1, _append),
    "APPENDS": (None, _append),
    "STACK_GLOBAL": (2, _push_global),
    "REDUCE": (2, _reduce),
    "BUILD": (1, _build),
}


def array(value: Any) -> NDArray[Any]:
    """The array of numbers, or the number as an array `[]`, that an object of `parse` stands for.

    Raises:
        ValueError: if it is neither, or has not as many bytes as its shape says.
    """
    if isinstance(value, int | float):
        return np.array(value)
    if isinstance(value, Built) and value.name in ARRAY and isinstance(value.state, tuple) and len(value.state) == 5:
        _, shape, dtype, is_fortran, data = value.state
    elif isinstance(value, Built) and value.name in NUMBER and len(value.arguments) == 2:
        (dtype, data), shape, is_fortran = value.arguments, (), False
    else:
        raise ValueError(f"expected an array, got a {type(value).__name__}")
    kind = _dtype(dtype)
    if not (isinstance(data, bytes) and all(type(size) is int and size >= 0 for size in shape)):
        raise ValueError("a damaged array")
    return np.frombuffer(data, kind).reshape(shape, order="F" if is_fortran else "C")


def content(value: Any) -> Any:
    """What is in an array `[]` of one object: the way numpy keeps what is no array."""
    if not (isinstance(value, Built) and value.name in ARRAY and isinstance(value.state, tuple)):
        raise ValueError("expected an array of one object")
    _, shape, _, _, objects = value.state
    if shape != () or not isinstance(objects, list) or len(objects) != 1:
        raise ValueError("expected an array of one object")
    return objects[0]


def _dtype(value: Any) -> np.dtype[Any]:
    if not (isinstance(value, Built) and value.name == "numpy dtype" and value.arguments[0] in KINDS):
        raise ValueError("expected a type of numbers")
    order = value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else "|"
    if order not in ("<", ">", "|", "="):
        raise ValueError("expected a byte order")
    return np.dtype(f"{order}{value.arguments[0]}")
