"""Codecs with a Gaussian bottleneck: the latents are the mean of a posterior, or drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor

from vocos.errors import InvalidInput
from vocos.kernels import Window
from vocos.nn import gaussian
from vocos.nn.gaussian import Noise
from vocos.voco import batches
from vocos.voco.facts import Steps
from vocos.voco.interface import Voco
from vocos.voco.streams import Stream
from vocos.weights.location import Location
from vocos.weights.weights import ConfigT


class VariationalVoco(Voco[ConfigT]):
    """A codec whose `encode` can draw. A subclass gives `posterior_steps` in the place of `encoder_steps`.

    Args:
        location, device, dtype: as of `Voco`.
        sample: whether `encode` draws from the posterior unless told otherwise; None for what the original does.

    Attributes:
        original_samples: whether the original draws.
    """

    original_samples: ClassVar[bool]
    without_chance = {"encode": {"sample": False}}

    def __init__(
        self,
        location: Location | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        sample: bool | None = None,
    ) -> None:
        super().__init__(location, device, dtype)
        if sample not in (None, True, False):
            raise InvalidInput(f"{self.name}: expected sample as True or False, got {sample!r}")
        self.sample = self.original_samples if sample is None else sample

    def posterior_steps(self, network: Any) -> Steps:
        """What makes mean and scale, before the softplus, `[B, 2 latent_dim, L]`, of audio `[B, channel, N]`."""
        raise NotImplementedError

    def encoder_steps(self, network: Any, noise: Noise | None = None) -> Steps:
        return *self.posterior_steps(network), Window(gaussian.mean_of) if noise is None else noise

    def to_posterior(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale, each `[B, latent_dim, L]`, of audio, as `posterior_steps`."""
        mean, scale = self.run_steps(self.posterior_steps(self.network), audio).chunk(2, dim=1)
        return mean, scale

    def posterior(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """What `encode` draws from: the mean, and the scale, whose softplus + 1e-4 is the standard deviation.

        Args:
            audio: as of `encode`.

        Returns:
            Each `[batch, encode_length(samples), latent_dim]`, the dtype of the module.

        Raises:
            As `encode`.
        """
        both = self._coded(lambda sound: torch.cat(self.to_posterior(sound), dim=1), audio, None)
        mean, scale = both.chunk(2, dim=-1)
        return mean, scale

    def encode(
        self,
        audio: Tensor,
        mask: Tensor | None = None,
        *,
        sample: bool | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Latents of audio, as `Voco.encode`: mean + std * noise, or the mean.

        Args:
            audio: float `[batch, samples, channel]` in [-1, 1].
            mask: bool `[batch, samples]`, as of `Voco.encode`.
            sample: draw from the posterior, or give its mean; None for what the constructor was told.
            generator: of the noise, which is drawn as `[batch, latent_dim, frames]`; None for PyTorch's global one.

        Returns:
            `[batch, encode_length(samples), latent_dim]`, the dtype of the module.

        Raises:
            InvalidInput: before anything is loaded.
            WeightsUnavailable, CheckpointError: as `load`.
        """
        drawn = self.sample if sample is None else sample
        return self._coded(partial(self._latents, sample=drawn, generator=generator), audio, mask)

    def encode_stream(
        self, batch: int = 1, *, sample: bool | None = None, generator: torch.Generator | None = None
    ) -> Stream:
        """`encode` spread over time, as of `Voco.encode_stream`; `sample` and `generator` as of `encode`.

        The noise is drawn frame by frame, `[batch, latent_dim]` each, so that a seed gives the same latents for every
        partition; they are not those of the whole, whose noise is drawn channel by channel.
        """
        if not (self.sample if sample is None else sample):
            return super().encode_stream(batch)

        def drawing(network: Any, generator: torch.Generator | None) -> Steps:
            return self.encoder_steps(network, Noise(generator=generator))

        return Stream(self, "encode", batch, drawing, {"generator": generator})

    def encode_batch(
        self,
        clips: batches.Clips,
        *,
        sample: bool | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> list[Tensor]:
        """Latents of clips, as `Voco.encode_batch`; `sample` and `generator` as of `encode`.

        The noise is drawn for one clip after the other in the order of the list, so that a seed gives what encoding
        them one by one gives; of several generators each clip has its own.
        """
        if not (self.sample if sample is None else sample):
            return batches.encode(self, clips, lambda audio, rows: self.encode(audio, sample=False))

        def posterior(audio: Tensor, rows: list[int]) -> Tensor:
            with self._at_hand():
                return torch.stack(self.to_posterior(rearrange(audio, "b n c -> b c n")), dim=1)

        heads = batches.encode(self, clips, posterior)
        each = generator if isinstance(generator, Sequence) else [generator] * len(heads)
        drawn = [gaussian.draw(mean[None], scale[None], own) for (mean, scale), own in zip(heads, each, strict=True)]
        return [rearrange(latents, "1 d l -> l d").to(self.dtype) for latents in drawn]

    def _latents(self, audio: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
        if not sample:
            return self.run_steps(self.encoder_steps(self.network), audio)
        shape = audio.shape[0], self.latent_dim, self.frames(audio.shape[-1])
        noise = gaussian.noise(shape, audio.device, generator)
        return self.run_steps(self.encoder_steps(self.network, gaussian.Noise(noise)), audio, result=noise)
