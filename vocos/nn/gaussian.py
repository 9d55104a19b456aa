"""The Gaussian bottleneck of variational autoencoders."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vocos.kernels import Piece

MINIMUM_STD = 1e-4


def noise(shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Noise for latents `[B, D, L]`, float32.

    It is channel-first, in the order in which stable-audio-tools and diffusers draw theirs, so that a seed gives their
    numbers.

    Args:
        shape: `[B, D, L]`.
        device: where it is needed.
        generator: of the noise, which is drawn on its device; None for the global one of `device`.
    """
    place = device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=place, dtype=torch.float32).to(device)


def draw(mean: Tensor, scale: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One sample, mean + (softplus(scale) + 1e-4) noise, `[B, D, L]` each, in float32; `generator` as of `noise`."""
    return drawn(torch.cat([mean, scale], dim=1), noise(tuple(mean.shape), mean.device, generator), 1)


def drawn(posterior: Tensor, noise: Tensor, axis: int) -> Tensor:
    """The sample of means and scales, which are the halves of an axis, with some noise, in float32."""
    mean, scale = posterior.float().chunk(2, dim=axis)
    return mean + (F.softplus(scale) + MINIMUM_STD) * noise


def mean_of(posterior: Tensor) -> Tensor:
    """The means. Shape: `[B, 2 D, L]` -> `[B, D, L]`."""
    return posterior.chunk(2, dim=1)[0]


class Noise(NamedTuple):
    """A step that draws, with noise that was drawn before, or is drawn frame by frame as the frames come.

    Shape: `[B, 2 D, L]` -> `[B, D, L]`.

    Attributes:
        whole: the noise of a whole signal, `[B, D, L]`.
        generator: without `whole`, of the noise of each frame, `[B, D]`; None for PyTorch's global one.
    """

    whole: Tensor | None = None
    generator: torch.Generator | None = None

    @property
    def period(self) -> tuple[int, int]:
        """A sample."""
        return 1, 1

    def __call__(self, x: Tensor) -> Tensor:
        """The sample of a whole signal."""
        y, _ = self.advance(x.mT, 0, True)
        assert y is not None  # noqa: S101 - for the type checker
        return y.mT

    def start(self) -> int:
        """Frames so far, where they have a place in the noise."""
        return 0

    def advance(self, x: Piece, state: int, is_last: bool) -> tuple[Piece, int]:
        """The sample of a piece more, `[B, n, 2 D]`."""
        if x is None:
            return None, state
        batch, frames, size = x.shape
        if self.whole is not None:
            return drawn(x, self.whole[:, :, state : state + frames].mT, 2), state + frames
        shape = batch, size // 2
        each = [noise(shape, x.device, self.generator) for _ in range(frames)]
        return drawn(x, torch.stack(each, dim=1), 2), state

    def length(self, n: int) -> int:
        """As many."""
        return n

    def final(self, n: int) -> int:
        """All."""
        return n

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Their own."""
        return start, stop
