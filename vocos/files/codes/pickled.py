"""Pickles of plain data and numpy arrays, read without running any of the code that a pickle may name."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocos.weights import opcodes
from vocos.weights.opcodes import Built

# What numpy names to rebuild its arrays and numbers; the modules have been renamed over the years
ARRAY = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
NUMBER = {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar"}
CLASSES = {"numpy ndarray", "numpy dtype"}
NAMES = {name: opcodes.unmade(name) for name in ARRAY | NUMBER | CLASSES}
KINDS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "b1")


def parse(data: bytes) -> Any:
    """The content of a pickle, with `Built` in the place of every object.

    Raises:
        ValueError: if it names anything but numpy's arrays and numbers, is cut off, or does what plain data does not.
    """
    return opcodes.parse(io.BytesIO(data), NAMES)


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
