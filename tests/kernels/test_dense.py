"""Matrix products: the library's against the definition, and who gets which."""

from __future__ import annotations

import pytest
import torch

from vocos import kernels
from vocos.kernels import dense
from vocos.kernels.dense import Activation, Packed


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


LAYOUTS = {
    "contiguous": lambda: random(2, 9, 24),
    "channel-first": lambda: random(2, 24, 9).mT,
    "every other row": lambda: random(2, 18, 24)[:, ::2],
    "one row": lambda: random(24),
    "no rows": lambda: random(0, 9, 24),
    "repeated": lambda: random(1, 9, 24).expand(3, -1, -1),
}


@pytest.fixture(params=["library", "no library"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no library":
        monkeypatch.setattr(dense, "has_library", lambda dtype: False)
    elif not dense.has_library(torch.float32):
        pytest.skip("this PyTorch has no oneDNN")


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", ["none", "gelu"])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_a_product_is_that_of_the_definition(
    layout: str, activation: Activation, has_bias: bool, dtype: torch.dtype
) -> None:
    x, weight = LAYOUTS[layout]().to(dtype), random(7, 24).to(dtype)
    bias = random(7).to(dtype) if has_bias else None
    exact = dense.plain(x.double(), weight.double(), None if bias is None else bias.double(), activation)
    tolerance = 1e-5 if dtype == torch.float32 else 0.07  # half a unit in the last place of the largest is 0.03
    given = Packed(weight)(x, bias, activation)
    assert given.dtype == dtype
    torch.testing.assert_close(given.double(), exact, rtol=0, atol=tolerance)
    if activation == "none":
        onto = random(*given.shape).to(dtype)
        sums = Packed(weight)(x, bias, onto=onto)
        torch.testing.assert_close(sums.double(), exact + onto.double(), rtol=0, atol=tolerance)


def test_what_is_added_onto_stays_or_is_the_result() -> None:
    x, onto = random(5, 4), random(5, 3)
    before, given = onto.clone(), Packed(random(3, 4))(x, None, onto=onto)
    assert torch.equal(onto, before) or torch.equal(onto, given)


def test_gradients_and_other_dtypes_take_the_definition() -> None:
    x, weight, bias = random(5, 4), random(3, 4).requires_grad_(), random(3)
    kernels.linear(x, weight, bias, kernels.Cache(), "gelu").sum().backward()
    expected = weight.detach().clone().requires_grad_()
    dense.plain(x, expected, bias, "gelu").sum().backward()
    torch.testing.assert_close(weight.grad, expected.grad)
    with torch.no_grad():
        y = kernels.linear(x.double(), weight.double(), bias.double(), kernels.Cache())
        assert y.dtype == torch.float64


@torch.no_grad()
def test_changed_weights_are_noticed_by_the_same_cache() -> None:
    cache, x, weight = kernels.Cache(), random(5, 4), random(3, 4)
    first = kernels.linear(x, weight, None, cache)
    weight.mul_(2)
    torch.testing.assert_close(kernels.linear(x, weight, None, cache), 2 * first)
