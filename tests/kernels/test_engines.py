"""Every engine computes what the steps say, in tiles of any size, and is chosen by facts."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from kernel_chains import CHAINS, conv, decoder, encoder, inputs, periodic, random, seanet, up
from torch import Tensor

from vocos import InvalidInput, UnsupportedOperation, get_voco, kernels
from vocos.kernels import (
    Chain,
    Elu,
    Pad,
    Residual,
    convolve,
    steps,
    tiled,
)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant"])
@pytest.mark.parametrize("tile", [1, 5, 1 << 20])
@torch.no_grad()
def test_signals_shorter_than_their_padding_are_padded_as_by_the_definition(mode: str, tile: int) -> None:
    torch.manual_seed(0)
    chain = seanet(mode)
    for n in range(1, 24):
        x = random(2, 2, n)
        given = tiled.TiledChain(chain, x.dtype)(x, tile)
        torch.testing.assert_close(given, steps.run(chain, x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("tile", [1, 7, 64, 100, 1 << 20])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_tiles_of_every_size_give_the_whole(name: str, tile: int, batch: int) -> None:
    torch.manual_seed(0)
    chain = CHAINS[name]()
    for n in (16, 40, 136):  # of which the shortcuts can make frames
        x = random(batch, inputs(chain), n)
        want = steps.run(chain, x)
        given = tiled.TiledChain(chain, x.dtype)(x, tile)
        torch.testing.assert_close(given, want, rtol=0, atol=1e-9)  # measured: 3e-11 of values up to 400


@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant"])
@torch.no_grad()
def test_tiles_shorter_than_the_padding_give_the_whole(mode: str) -> None:
    torch.manual_seed(0)
    chain = Pad(60, 50, 1, mode), conv(2, 3, 3), Elu()
    for n in (45, 55, 70, 300):
        x = random(1, 2, n)
        given = tiled.TiledChain(chain, x.dtype)(x, 18)
        torch.testing.assert_close(given, steps.run(chain, x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("few_rows", [0, 1 << 20], ids=["as convolutions", "as matrix products"])
@pytest.mark.parametrize("halved", [(0.1, 0), (1.6, 1 << 20), (1 << 20, 0)], ids=["by halves", "in halves", "at once"])
@torch.no_grad()
def test_every_way_to_convolve_agrees_with_the_definition(
    name: str, few_rows: int, halved: tuple[float, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolve, "FEW_ROWS", few_rows)
    monkeypatch.setattr(convolve, "HALVED_SAVING", halved[0])
    monkeypatch.setattr(convolve, "HALVED_ROWS", halved[1])
    monkeypatch.setattr(convolve, "WINDOW_NUMBERS", 300)  # so that a product takes several parts
    torch.manual_seed(0)
    chain = CHAINS[name]()
    x = random(2, inputs(chain), 64)
    given = tiled.TiledChain(chain, x.dtype)(x, 50)
    torch.testing.assert_close(given, steps.run(chain, x), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("dtype", "least_db"), [(torch.float32, 115), (torch.bfloat16, 32)])  # measured: 127, 35
@torch.no_grad()
def test_each_dtype_is_as_near_to_the_truth_as_it_can_be(dtype: torch.dtype, least_db: float) -> None:
    torch.manual_seed(0)
    inner = periodic(64), conv(64, 64, 7, 1, 3, 9), periodic(64, True), conv(64, 64, 1)
    chain: Chain = (Residual(inner), *up(64, 3))
    x = random(2, 64, 500)
    want = steps.run(chain, x)
    part = tiled.TiledChain(cast(chain, dtype), dtype)(x.to(dtype))
    assert part.dtype == dtype
    assert 10 * torch.log10(want.square().mean() / (part - want).square().mean()) > least_db


def cast(item: Any, dtype: torch.dtype) -> Any:
    """A chain with its tensors in another dtype."""
    if isinstance(item, Tensor):
        return item.to(dtype)
    if isinstance(item, tuple):
        parts = [cast(part, dtype) for part in item]
        return type(item)(*parts) if hasattr(item, "_fields") else tuple(parts)
    return item


def test_groups_are_cut_where_the_signal_is_small() -> None:
    kinds = [[type(step).__name__[0] for step in group] for group in tiled.parts(encoder(2, 4))]
    assert kinds == [["C", "R", "R", "P", "C"], ["R", "R", "P", "C"], ["P", "C"]]
    kinds = [[type(step).__name__[0] for step in group] for group in tiled.parts(decoder(5, 3))]
    assert kinds == [["C"], ["P", "T", "R", "R"], ["P", "T", "R", "R", "P", "C"]]


# Choice


def test_an_engine_is_chosen_by_device_dtype_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOCOS_KERNELS", raising=False)
    cpu = torch.device("cpu")
    assert kernels.engine(cpu, torch.float32) == kernels.engine(cpu, torch.bfloat16) == "tiled"
    assert kernels.engine(cpu, torch.float32, wants_gradients=True) == "reference"
    assert kernels.engine(cpu, torch.float64) == kernels.engine(cpu, torch.float16) == "reference"
    assert kernels.engine(torch.device("meta"), torch.float32) == "reference"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert kernels.engine(cpu, torch.float32) == "reference"


def test_an_engine_can_be_forced_and_a_forced_one_that_cannot_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setenv("VOCOS_KERNELS", "reference")
    assert kernels.engine(cpu, torch.float32) == "reference"
    monkeypatch.setenv("VOCOS_KERNELS", "tiled")
    assert kernels.engine(cpu, torch.float32) == "tiled"
    with pytest.raises(UnsupportedOperation, match="VOCOS_KERNELS=tiled: it computes in torch.float32"):
        kernels.engine(cpu, torch.float64)
    monkeypatch.setenv("VOCOS_KERNELS", "fastest")
    with pytest.raises(InvalidInput, match="VOCOS_KERNELS=fastest: expected one of reference, tiled"):
        kernels.engine(cpu, torch.float32)


def test_the_choice_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    chain = (periodic(2),)
    with caplog.at_level(logging.DEBUG, "vocos.kernels"), torch.no_grad():
        kernels.run(cast(chain, torch.float32), random(1, 2, 5).float(), kernels.Cache())
    assert "tiled: 1 steps on [1, 2, 5] torch.float32" in caplog.text


def test_a_codec_tells_which_engine_runs_what(weights: Path, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOCOS_KERNELS", raising=False)
    voco = get_voco("dac", weights=weights)
    assert voco.kernels() == {"encoder": "tiled", "quantizer": "reference", "decoder": "tiled"}
    assert voco.to(torch.float64).kernels() == dict.fromkeys(("encoder", "quantizer", "decoder"), "reference")
    assert get_voco("mel", weights=weights).kernels() == {"features": "reference", "backbone": "tiled", "head": "tiled"}
    codec = get_voco("encodec_24khz", weights=folder("original-encodec_24khz")).kernels()
    assert codec == {"encoder": "tiled", "quantizer": "reference", "decoder": "tiled"}
    whole = get_voco("encodec_48khz", weights=folder("transformers-encodec_48khz"))  # has norms over all of time
    assert set(whole.kernels().values()) == {"reference"}
    assert set(get_voco("griffinlim").kernels().values()) <= {"reference"}


# The cache of an engine


@torch.no_grad()
def test_changed_weights_are_noticed() -> None:
    one, x, cache = cast(conv(2, 2, 3), torch.float32), random(1, 2, 9).float(), kernels.Cache()
    first = kernels.run((one,), x, cache)
    one.weight.mul_(2)
    assert one.bias is not None
    one.bias.zero_()
    changed = kernels.run((one,), x, cache)
    torch.testing.assert_close(changed, steps.run((one,), x), rtol=0, atol=1e-5)
    assert not torch.allclose(first, changed)
    other = one._replace(weight=random(2, 2, 3).float())
    torch.testing.assert_close(kernels.run((other,), x, cache), steps.run((other,), x), rtol=0, atol=1e-5)


def test_copies_and_pickles_of_a_cache_are_empty() -> None:
    cache = kernels.Cache()
    with torch.no_grad():
        kernels.run((cast(conv(2, 2, 3), torch.float32),), random(1, 2, 9).float(), cache)
    assert cache._kept is not None
    assert copy.deepcopy(cache)._kept is None
    assert pickle.loads(pickle.dumps(cache))._kept is None


@torch.no_grad()
def test_a_loaded_codec_that_changes_dtype_or_weights_gives_the_new_results(weights: Path) -> None:
    voco = get_voco("dac", weights=weights)
    latents = torch.randn(1, 5, voco.latent_dim)
    first = voco.decode(latents)
    assert voco.to(torch.float64).decode(latents.double()).dtype == torch.float64
    torch.testing.assert_close(voco.to(torch.float32).decode(latents), first, rtol=0, atol=0)
    state = {name: tensor * 1.01 for name, tensor in voco.state_dict().items()}
    voco.load_state_dict(state)
    changed = voco.decode(latents)
    assert not torch.allclose(changed, first, atol=1e-5)
    fresh = get_voco("dac", weights=weights)
    fresh.load_state_dict(state)
    torch.testing.assert_close(fresh.decode(latents), changed, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["dac", "mel"])
@torch.no_grad()
def test_weights_that_have_been_rounded_between_two_calls_are_the_rounded_ones(
    name: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voco = get_voco(name, weights=weights)
    latents = torch.randn(1, 5, voco.latent_dim, generator=torch.Generator().manual_seed(0))
    first = voco.decode(latents)
    given = voco.to(torch.bfloat16).to(torch.float32).decode(latents)
    monkeypatch.setenv("VOCOS_KERNELS", "reference")
    torch.testing.assert_close(given, voco.decode(latents), rtol=0, atol=1e-5)
    assert not torch.allclose(given, first, atol=1e-4)


@pytest.mark.parametrize("few", [0, 1 << 40])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (6, 6), (6, 1)])
def test_every_channel_alone_is_a_convolution_or_a_sum_of_taps(
    few: int, left: int, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolve, "FEW_NUMBERS", few)
    weight, bias, x = torch.randn(8, 1, 7), torch.randn(8), torch.randn(2, 40, 8)
    given = convolve.InGroups(weight, 1, 2, 8)(x, bias, left, right)
    padded = torch.nn.functional.pad(x.mT, (left, right))
    wanted = torch.nn.functional.conv1d(padded, weight, bias, dilation=2, groups=8).mT
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)
