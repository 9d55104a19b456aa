"""The Gaussian bottleneck of variational autoencoders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MINIMUM_STD = 1e-4


def draw(mean: Tensor, scale: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One sample, mean + (softplus(scale) + 1e-4) noise, in float32.

    The noise is float32 and channel-first, in the order in which stable-audio-tools and diffusers draw theirs, so that
    a seed gives their numbers.

    Args:
        mean: `[B, D, L]`.
        scale: `[B, D, L]`, before the softplus.
        generator: of the noise, which is drawn on its device; None for the global one of the device of `mean`.

    Returns:
        `[B, D, L]`, float32.
    """
    device = mean.device if generator is None else generator.device
    noise = torch.randn(mean.shape, generator=generator, device=device, dtype=torch.float32).to(mean.device)
    return mean.float() + (F.softplus(scale.float()) + MINIMUM_STD) * noise
