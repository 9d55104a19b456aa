"""Arrays of goldens that are described as `stored_slice` and `max_abs_error_float32_vs_float64`."""

from __future__ import annotations

from typing import Any

import torch
from conftest import golden
from torch import Tensor


def checks_of(items: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Key, case and array of every array of some stand-ins."""
    found = []
    for key, item in items.items():
        meta, arrays = golden(item.golden)
        found += [(key, *name.split("__")) for name in arrays if name.split("__")[0] in meta["cases"]]
    return found


def rule_of(name: str, case: str, array: str) -> dict[str, Any]:
    """What a golden says of an array."""
    rules = golden(name)[0]["cases"][case]["arrays"]
    found: dict[str, Any] = rules[array] if array in rules else rules[f"{case}__{array}"]
    return found


def stored(name: str, case: str, array: str) -> Tensor:
    """An array of a golden."""
    return torch.from_numpy(golden(name)[1][f"{case}__{array}"])


def cut(found: Tensor, rule: dict[str, Any]) -> Tensor:
    """What is stored of an array: all, a part of its time, or every so many of an axis, such as [:, ::3]."""
    if "time_slice" in rule:
        found = found[:, slice(*rule["time_slice"])]
    if "stored_slice" in rule:
        *whole, last = rule["stored_slice"].strip("[]").split(", ")
        start, _, step = last.partition("::")
        found = found[(*(slice(None) for _ in whole), slice(int(start or 0), None, int(step)))]
    return found[..., :: rule.get("channel_stride", 1)]


def assert_close(name: str, case: str, array: str, found: Tensor) -> None:
    """Integers to the number, the rest to ten times what float32 was measured to be off, and not less than 1e-5."""
    wanted, rule = stored(name, case, array), rule_of(name, case, array)
    found = cut(found, rule)
    assert found.shape == wanted.shape
    if not wanted.is_floating_point():
        assert torch.equal(found, wanted.long())
        return
    limit = max(1e-5, 10 * rule["max_abs_error_float32_vs_float64"])
    torch.testing.assert_close(found, wanted, atol=limit, rtol=0.0)
