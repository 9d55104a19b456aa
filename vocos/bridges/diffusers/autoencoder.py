"""The autoencoder of diffusers that is a codec of ours."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderOobleck, ModelMixin
from diffusers.models.autoencoders.autoencoder_oobleck import (
    AutoencoderOobleckOutput,
    OobleckDecoderOutput,
    OobleckDiagonalGaussianDistribution,
)
from einops import rearrange
from torch import Tensor

from vocos.bridges.hooks import weights_in_place
from vocos.errors import CheckpointError, UnsupportedOperation
from vocos.registry import get_voco
from vocos.voco import Voco
from vocos.voco.variational import VariationalVoco

__all__ = ["Certain", "ModelMixin", "VocoAutoencoder"]  # diffusers loads a component by a base class it finds beside it
OPTIONS = tuple(inspect.signature(AutoencoderOobleck.__init__).parameters)  # what a pipeline may find in the config


class Certain:
    """The posterior of a codec that knows its latents: nothing to draw.

    Attributes:
        mean: `[batch, latent_dim, frames]`.
        std: zeros like it.
    """

    def __init__(self, mean: Tensor) -> None:
        self.mean, self.std = mean, torch.zeros_like(mean)

    def sample(self, generator: Any = None) -> Tensor:
        """The mean; no number is drawn."""
        return self.mean

    def mode(self) -> Tensor:
        """The mean."""
        return self.mean


class VocoAutoencoder(AutoencoderOobleck):
    """A codec in the place of an `AutoencoderOobleck`, the type that pipelines ask for; channel-first, as it.

    It has that type's calls and facts and none of its weights: `voco` is its only part.

    Args:
        voco: the codec.

    Attributes:
        voco: the codec itself, not a copy.
        hop_length: samples per latent frame.
        sampling_rate: in Hz.
    """

    def __init__(self, voco: Voco[Any]) -> None:
        super(AutoencoderOobleck, self).__init__()  # what the class itself would build are weights of its own
        self.voco = voco
        self.hop_length, self.sampling_rate = voco.hop_length, voco.sampling_rate
        facts = {
            "downsampling_ratios": [voco.hop_length],
            "decoder_input_channels": voco.latent_dim,
            "audio_channels": voco.channel,
            "sampling_rate": voco.sampling_rate,
        }
        own = {name: value for name, value in voco.config.items() if name in OPTIONS}
        self.register_to_config(**facts | own, codec=voco.name)

    @property
    def device(self) -> torch.device:
        """Where the weights are, or will be."""
        return self.voco.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are, or will be."""
        return self.voco.dtype

    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderOobleckOutput | tuple[Any]:
        """The distribution of latents of audio, whose `sample` and `mode` are `[batch, latent_dim, frames]`.

        Args:
            x: float `[batch, channel, samples]` in [-1, 1], of any floating-point type.
            return_dict: False for a tuple of it alone.

        Raises:
            InvalidInput: as of `Voco.encode`.
        """
        posterior: Any
        with weights_in_place(self):
            audio = rearrange(x.to(self.device), "b c n -> b n c")
            if isinstance(self.voco, VariationalVoco):
                parts = [rearrange(part, "b l d -> b d l") for part in self.voco.posterior(audio)]
                posterior = OobleckDiagonalGaussianDistribution(torch.cat(parts, dim=1))
            else:
                posterior = Certain(rearrange(self.voco.encode(audio), "b l d -> b d l"))
        return AutoencoderOobleckOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: Any = None
    ) -> OobleckDecoderOutput | tuple[Tensor]:
        """Audio of latents, as `sample`: `[batch, channel, samples]`.

        Args:
            z: float `[batch, latent_dim, frames]`, of any floating-point type.
            return_dict: False for a tuple of it alone.
            generator: not used, for decoding draws nothing.

        Raises:
            InvalidInput: as of `Voco.decode`.
        """
        with weights_in_place(self):
            latents = rearrange(z.to(self.device), "b d l -> b l d")
            audio = rearrange(self.voco.decode(latents), "b n c -> b c n")
        return OobleckDecoderOutput(sample=audio) if return_dict else (audio,)

    def enable_layerwise_casting(self, *arguments: Any, **options: Any) -> None:
        """Refused: layers of a codec are not called one by one, and nothing would cast their weights back."""
        raise UnsupportedOperation(
            f"enable_layerwise_casting: the weights of {self.voco.name} have one type; .to(torch.bfloat16) changes it"
        )

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the codec, which `from_pretrained` and `get_voco(name, weights=save_directory)` read back."""
        self.voco.save(save_directory)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        dtype: torch.dtype | None = None,
        torch_dtype: torch.dtype | None = None,
        subfolder: str | None = None,
        **_: Any,  # how diffusers would read the files: memory maps, shards, maps of devices
    ) -> Self:
        """What `save_pretrained` wrote, alone or within a pipeline.

        Args:
            pretrained_model_name_or_path: the folder.
            dtype: of the weights, None for float32.
            torch_dtype: the same, under its older name.
            subfolder: where in the folder.

        Raises:
            CheckpointError: if the folder's config names no codec.
        """
        folder = Path(pretrained_model_name_or_path, subfolder or "")
        name = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("voco")
        if not isinstance(name, str):
            raise CheckpointError(f"{folder}/config.json names no codec: expected 'voco', as save_pretrained writes it")
        return cls(get_voco(name, weights=folder, dtype=dtype or torch_dtype))
