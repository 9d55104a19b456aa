"""The definitions of the hot operations against their formulas in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vocos.kernels import reference


def formula(x: Tensor, alpha: Tensor, beta: Tensor | None = None) -> Tensor:
    """Snake in float64; with logarithmic parameters if there are two."""
    frequency, inverse = (
        (alpha.double(), alpha.double()) if beta is None else (alpha.double().exp(), beta.double().exp())
    )
    return x.double() + torch.sin(frequency * x.double()) ** 2 / (inverse + 1e-9)


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, alpha, beta = (torch.randn(shape, generator=generator) for shape in ((2, 5, 33), (1, 5, 1), (1, 5, 1)))
    return (3 * x).to(dtype), alpha.sign().to(dtype) * (alpha.abs() + 0.1).to(dtype), beta.to(dtype)


# Largest error measured, relative to the largest value: 2e-7, 2e-3, 2e-2, for the frequency itself is rounded.
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 4e-7), (torch.float16, 4e-3), (torch.bfloat16, 4e-2)])
def test_snakes_are_their_formulas(dtype: torch.dtype, error: float) -> None:
    x, alpha, beta = inputs(dtype)
    for given, wanted in (
        (reference.snake(x, alpha), formula(x, alpha)),
        (reference.snake_beta(x, alpha, beta), formula(x, alpha, beta)),
    ):
        assert given.dtype == dtype
        assert (given.double() - wanted).abs().max() < error * wanted.abs().max()


def test_strided_input_is_no_matter() -> None:
    x, alpha, _ = inputs()
    assert torch.equal(reference.snake(x.mT.contiguous().mT, alpha), reference.snake(x, alpha))


def test_gradients_are_those_of_the_formula() -> None:
    x, alpha, beta = (tensor.double().requires_grad_() for tensor in inputs())
    assert torch.autograd.gradcheck(reference.snake, (x[:1, :, :3], alpha), atol=1e-4, rtol=1e-3, eps=1e-6)
    assert torch.autograd.gradcheck(reference.snake_beta, (x[:1, :, :3], alpha, beta), atol=1e-4, rtol=1e-3, eps=1e-6)


def test_frequency_of_zero_is_the_identity() -> None:
    x, alpha, _ = inputs()
    assert torch.equal(reference.snake(x, torch.zeros_like(alpha)), x)
    half = reference.snake(x.half(), torch.zeros_like(alpha).half())
    assert not half.isnan().any()
