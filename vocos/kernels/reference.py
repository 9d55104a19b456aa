"""The definition of every hot operation, in plain PyTorch: differentiable, on any device, in any float type."""

from __future__ import annotations

import torch
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
    return _periodic(x, alpha, alpha)


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
    return _periodic(x, _wide(log_alpha).exp(), _wide(log_beta).exp())


def _periodic(x: Tensor, frequency: Tensor, inverse_amplitude: Tensor) -> Tensor:
    # In float32 at least: in float16 the epsilon would be zero, and the reciprocal of a small number infinite.
    limit = torch.finfo(x.dtype).max
    amplitude = (_wide(inverse_amplitude) + SNAKE_EPSILON).reciprocal().clamp(-limit, limit).to(x.dtype)
    return torch.addcmul(x, amplitude, torch.sin(frequency.to(x.dtype) * x).square())


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
