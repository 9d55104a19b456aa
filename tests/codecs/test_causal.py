"""Mimi and the codecs made of its halves: every array of their goldens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import causal
import pytest
import torch
from conftest import CAUSALS, golden
from goldens import assert_close, checks_of, stored

from vocos import Voco, get_voco

CHECKS = [check for check in checks_of(CAUSALS) if not check[2].endswith("_full_attention")]  # see test_qwen3_tts


@pytest.fixture(scope="module")
def loaded(folder: Callable[[str], Path]) -> dict[str, Voco[Any]]:
    return {key: get_voco(item.name, weights=folder(key)).load() for key, item in CAUSALS.items()}


@pytest.mark.parametrize(("key", "case", "array"), CHECKS, ids=["-".join(check) for check in CHECKS])
def test_golden(key: str, case: str, array: str, loaded: dict[str, Voco[Any]]) -> None:
    name = CAUSALS[key].golden
    found = causal.given(loaded[key], name, case, array)
    if not causal.is_bare(golden(name)[0], case):
        assert_close(name, case, array, found)
        return
    # The references leave the audio as it is, and pad in every layer: the frames before the last are ours.
    wanted = stored(name, case, array)
    before = wanted.shape[1] - 1
    assert torch.allclose(found[:, :before].float(), wanted[:, :before].float(), atol=1e-5)
