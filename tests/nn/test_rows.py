"""The Vocos generator in parts of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vocos import get_voco
from vocos.kernels import dense


@pytest.mark.parametrize("name", ["mel", "encodec"])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_parts_of_every_size_give_the_whole(
    name: str, batch: int, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voco: Any = get_voco(name, weights=weights)
    latents = torch.randn(batch, 23, voco.latent_dim, generator=torch.Generator().manual_seed(0))
    whole = voco.decode(latents)
    for rows in (1, 7, 30):
        monkeypatch.setattr(dense, "ROWS", rows)
        torch.testing.assert_close(voco.decode(latents), whole, rtol=0, atol=2e-6)


@torch.no_grad()
def test_no_part_is_larger_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "ROWS", 10)
    seen = []

    def function(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[0] * x.shape[1])
        return 2 * x

    x = torch.randn(3, 17, 2)
    assert torch.equal(dense.in_row_parts(function, x), 2 * x)
    assert max(seen) <= 10 and sum(seen) == 51
