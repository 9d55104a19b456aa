"""Fields of configs: what each kind takes, and that no field is left unchecked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from vocos import CheckpointError
from vocos.config import MAX_SIZE, Config, Range


@dataclass(frozen=True)
class Every(Config):
    """One field of every kind."""

    size: int = 1
    depth: Annotated[int, Range(0, 4)] = 0
    share: Annotated[float, Range(0, 1)] = 0.5
    flag: bool = False
    name: str = ""
    maybe: int | None = None
    cut: Annotated[int, Range(0, 9)] | None = 3
    sizes: tuple[int, ...] = (1,)
    depths: tuple[Annotated[int, Range(0, 4)], ...] = (0,)


@pytest.mark.parametrize(
    ("field", "right", "wrong", "message"),
    [
        ("size", [1, MAX_SIZE], [0, None, 1.0, True, "1", MAX_SIZE + 1, 10**400], "an integer from 1 to 1048576"),
        ("depth", [0, 4], [-1, 5, None], "an integer from 0 to 4"),
        ("share", [0, 1, 0.25], [-0.1, 1.1, float("nan"), "x", True], "a number from 0 to 1"),
        ("flag", [True], [1, "true", None], "true or false"),
        ("name", ["x"], [1, None, "x" * 81], "a string of at most 80 characters"),
        ("maybe", [None, 7], ["7", 0, [1]], "an integer from 1 to"),
        ("cut", [None, 0], [10, "0"], "an integer from 0 to 9"),
        ("sizes", [[1, 2], (3,)], [[], [0], 3, None], "must be"),
        ("depths", [[0, 4]], [[5], ["x"]], "an integer from 0 to 4"),
    ],
)
def test_kind_takes_what_it_says(field: str, right: list[Any], wrong: list[Any], message: str) -> None:
    for value in right:
        expected = tuple(value) if isinstance(value, list) else value
        assert getattr(Every(**{field: value}), field) == expected
    for value in wrong:
        with pytest.raises(CheckpointError, match=f"config: {field} must be .*{message}|{message}"):
            Every(**{field: value})


def test_null_is_none_where_that_may_be_and_else_the_default() -> None:
    assert Every.parse({"cut": None, "size": None, "unknown": 3}) == Every(cut=None)
    assert Every.parse(Every(cut=None).as_dict()) == Every(cut=None)


@pytest.mark.parametrize("kind", ["dict[str, int]", "int | str", "list[int]", "tuple[int, int]", "Any", "bytes"])
def test_field_that_nothing_would_check_is_refused_when_the_class_is_made(kind: str) -> None:
    with pytest.raises(TypeError, match=r"Odd.field: .* is not checked"):
        type("Odd", (Config,), {"__annotations__": {"field": kind}, "__module__": __name__})
