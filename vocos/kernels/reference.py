"""The definition of every hot operation, in plain PyTorch: differentiable, on any device, in any float type."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SNAKE_EPSILON = 1e-9  # keeps a frequency of zero finite; the value of the public DAC and Oobleck code


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """Periodic activation with one frequency per channel: x + sin(alpha x)^2 / (alpha + 1e-9).

    Args:
        x: `[B, C, N]`.
        alpha: `[1, C, 1]`, linear; may be negative.

    Returns:
        `[B, C, N]`, the dtype of `x`.

    Source: Ziyin, Hartwig, Ueda, "Neural Networks Fail to Learn Periodic Functions and How to Fix It",
    arXiv 2006.08195.
    """
    return _periodic(x, *coefficients(alpha, None, x.dtype))


def snake_beta(x: Tensor, log_alpha: Tensor, log_beta: Tensor) -> Tensor:
    """Snake with its amplitude apart, both on a log scale: x + sin(e^log_alpha x)^2 / (e^log_beta + 1e-9).

    Args:
        x: `[B, C, N]`.
        log_alpha: `[1, C, 1]`, logarithm of the frequency.
        log_beta: `[1, C, 1]`, logarithm of the inverse amplitude.

    Returns:
        `[B, C, N]`, the dtype of `x`.

    Source: Lee et al., "BigVGAN", arXiv 2206.04658.
    """
    return _periodic(x, *coefficients(log_alpha, log_beta, x.dtype))


def coefficients(alpha: Tensor, beta: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Frequency and amplitude of a snake, or with logarithms as of `snake_beta`, in the dtype of its input."""
    frequency, amplitude = wide_coefficients(alpha, beta, dtype)
    return frequency.to(dtype), amplitude.to(dtype)


def wide_coefficients(alpha: Tensor, beta: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same in float32 at least; the amplitude is within the range of `dtype`, the dtype of the snake's input.

    In float16 the epsilon would be zero, and the reciprocal of a small number infinite.
    """
    frequency = inverse = _wide(alpha)
    if beta is not None:
        frequency, inverse = frequency.exp(), _wide(beta).exp()
    limit = torch.finfo(dtype).max
    return frequency, (inverse + SNAKE_EPSILON).reciprocal().clamp(-limit, limit)


def reflect_pad(x: Tensor, left: int, right: int) -> Tensor:
    """Pad by reflection; a signal too short to be reflected that far is first completed with zeros on its right.

    Shape: `[B, C, N]` -> `[B, C, left + N + right]`.
    """
    missing = max(left, right) - x.shape[-1] + 1
    if missing <= 0:
        return F.pad(x, (left, right), mode="reflect")
    padded = F.pad(F.pad(x, (0, missing)), (left, right), mode="reflect")
    return padded[..., : padded.shape[-1] - missing]


def _periodic(x: Tensor, frequency: Tensor, amplitude: Tensor) -> Tensor:
    return torch.addcmul(x, amplitude, torch.sin(frequency * x).square())


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
