"""Reading pickles as data: an interpreter of the opcodes that never imports or calls what a pickle names.

A pickle is a program for a stack. Here a call of a function that the reader knows is made by a function of the reader,
and every other name is refused. What comes out takes no more memory than the pickle times a constant: values that a
pickle uses twice are one object, as in it, and nothing copies them.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_OPCODES = 1 << 21  # a checkpoint has some 30 for each tensor; each can make a dictionary of 64 bytes
MARK = object()

# What a pickle may name, and what is made of the arguments where it calls it.
Names = Mapping[str, Callable[..., Any]]


class Refused(ValueError):
    """The pickle names something that a file of data does not need."""


@dataclass(frozen=True)
class Named:
    """A function or class that a pickle names."""

    name: str


@dataclass(eq=False)
class Built:
    """A call that a pickle asks for: the name of the function, its arguments, and the state for the result."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


def unmade(name: str) -> Callable[..., Built]:
    """A function that records a call as a `Built` instead of making it."""
    return lambda *arguments: Built(name, arguments)


def parse(stream: io.BytesIO, names: Names, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The content of the pickle at the place of a stream, which is left after it.

    Args:
        stream: the bytes in memory, so that a damaged length cannot reserve any.
        names: the names that the pickle may use, as "module name", and what is called in their place.
        persistent: turns a persistent id into the object that the pickle keeps elsewhere; None if there may be none.

    Raises:
        Refused: if it names anything else.
        ValueError: if it is cut off, or does what plain data does not. A damaged one can raise anything.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for i, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if i == MAX_OPCODES:
            raise ValueError(f"a pickle of more than {MAX_OPCODES} steps")
        if name in MAKERS:
            stack.append(MAKERS[name]())
        elif name in LITERALS:
            stack.append(argument)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(_allowed(str(argument or " ".join(_taken(stack, 2))), names))
        elif name == "REDUCE":
            function, arguments = _taken(stack, 2)
            stack.append(names[function.name](*arguments))
        elif name == "BINPERSID" and persistent:
            stack.append(persistent(stack.pop()))
        elif name in TAKERS:
            count, apply = TAKERS[name]
            taken = _to_mark(stack) if count is None else _taken(stack, count)
            apply(stack, taken)
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif name not in ("PROTO", "FRAME"):
            raise Refused(f"refused, for plain data has no pickle opcode {name}")
    raise ValueError("cut off")


def _taken(stack: list[Any], count: int) -> list[Any]:
    taken = stack[len(stack) - count :]
    if len(taken) < count or any(value is MARK for value in taken):
        raise ValueError("a damaged pickle")
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


def _allowed(name: str, names: Names) -> Named:
    if name not in names:
        raise Refused(f"refused, for reading it would run code of its own: {name[:80]!r}")
    return Named(name)


def _push_tuple(stack: list[Any], taken: list[Any]) -> None:
    stack.append(tuple(taken))


def _set_items(stack: list[Any], taken: list[Any]) -> None:
    # The hash of a tuple of tuples of tuples could take for ever.
    if not (type(stack[-1]) is dict and all(key is None or isinstance(key, (str, int, float)) for key in taken[::2])):
        raise ValueError("a damaged pickle")
    stack[-1].update(zip(taken[::2], taken[1::2], strict=True))


def _append(stack: list[Any], taken: list[Any]) -> None:
    if type(stack[-1]) is not list:
        raise ValueError("a damaged pickle")
    stack[-1].extend(taken)


def _build(stack: list[Any], taken: list[Any]) -> None:
    if isinstance(stack[-1], Built):  # what else there is, an ordered dictionary, needs no attributes
        stack[-1].state = taken[0]


MAKERS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: MARK,
}
LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE"}
LITERALS |= {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "SHORT_BINSTRING", "BINSTRING"}
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
    "ADDITEMS": (None, _append),
    "BUILD": (1, _build),
}
