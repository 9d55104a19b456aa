"""Statistics of datasets, against those of all numbers at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from making import made

import vocos
from vocos.data.stats import Moments, compute
from vocos.errors import InvalidInput


def test_moments_of_pieces_are_those_of_the_whole() -> None:
    x = torch.randn(5000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 1e4
    x[:, 2] = 2 * x[:, 0] + x[:, 1]
    x[:, 3] = 7.0
    moments = Moments(4)
    for piece in x.split([1, 999, 4000]):
        moments.take(piece)
    torch.testing.assert_close(moments.mean, x.mean(dim=0))
    torch.testing.assert_close(moments.std, x.std(dim=0, unbiased=False))
    torch.testing.assert_close(moments.correlation[:3, :3], torch.corrcoef(x[:, :3].T))
    assert not moments.correlation[3].any()
    assert torch.equal(moments.low, x.amin(dim=0))
    assert torch.equal(moments.high, x.amax(dim=0))


def test_statistics_of_latents_are_those_of_all_of_them(tmp_path: Path, sounds: Path) -> None:
    made(tmp_path / "out", sounds)
    dataset = vocos.open_dataset(tmp_path / "out")
    with pytest.raises(InvalidInput, match="has no stats.json; `vocos dataset stats .*out` makes it"):
        dataset.stats  # noqa: B018
    compute(dataset)
    every = torch.cat([item["latents"].double() for item in dataset])
    found = dataset.stats
    torch.testing.assert_close(found["mean"].double(), every.mean(dim=0))
    torch.testing.assert_close(found["std"].double(), every.std(dim=0, unbiased=False))
    torch.testing.assert_close(found["correlation"].double(), torch.corrcoef(every.T), rtol=1e-4, atol=1e-4)
    assert found["overall"]["std"] == pytest.approx(float(every.std(unbiased=False)))
    assert (found["items"], found["failed"]) == (11, 0)
    assert found["hours"] == pytest.approx(dataset.seconds / 3600)
    assert found["bytes_per_second"] == pytest.approx(every.numel() * 2 / dataset.seconds)


@pytest.mark.parametrize("key", ["dac", "snac_24khz"])
def test_statistics_of_codes_are_of_each_codebook(tmp_path: Path, sounds: Path, folder: Any, key: str) -> None:
    made(tmp_path / "out", sounds, voco=key, weights=str(folder(key)), kind="codes")
    dataset = vocos.open_dataset(tmp_path / "out")
    found = compute(dataset)
    every = torch.cat([item["codes"].long() for item in dataset])
    columns = [[0], [1], [2]] if key == "dac" else [[0], [1, 2], [3, 4, 5, 6]]
    for book, its in enumerate(columns):
        values = every[:, its].flatten()
        shares = torch.bincount(values).double() / len(values)
        entropy = -(shares[shares > 0] * shares[shares > 0].log2()).sum()
        assert float(found["entropy_bits"][book]) == pytest.approx(float(entropy))
        assert float(found["use"][book]) == pytest.approx(len(values.unique()) / dataset.manifest["codebook_size"])
    assert found["bits_per_second"]["codes"] == pytest.approx(dataset.voco.bits_per_second)
    assert float(found["bits"][0]) == math.log2(dataset.manifest["codebook_size"])
