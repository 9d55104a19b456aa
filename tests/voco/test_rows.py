"""The Vocos generator in parts of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vocos import get_voco
from vocos.kernels import engines
from vocos.kernels.dense import Packed


@pytest.mark.parametrize("name", ["mel", "encodec"])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_parts_of_every_size_give_the_whole(
    name: str, batch: int, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voco: Any = get_voco(name, weights=weights)
    latents = torch.randn(batch, 23, voco.latent_dim, generator=torch.Generator().manual_seed(0))
    whole = voco.decode(latents)
    seen: list[int] = []
    real = Packed.__call__

    def product(self: Packed, x: torch.Tensor, *arguments: Any, **keywords: Any) -> torch.Tensor:
        seen.append(x.shape[0] * x.shape[1])
        return real(self, x, *arguments, **keywords)

    monkeypatch.setattr(Packed, "__call__", product)
    for rows in (1, 7, 30):
        monkeypatch.setattr(engines, "ROWS", rows)
        seen.clear()
        torch.testing.assert_close(voco.decode(latents), whole, rtol=0, atol=2e-6)
        assert 0 < max(seen) <= rows
