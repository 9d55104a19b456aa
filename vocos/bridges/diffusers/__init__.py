"""Codecs as the VAE of audio pipelines of diffusers.

from vocos.bridges.diffusers import vae

pipeline = StableAudioPipeline.from_pretrained(repository, vae=vae(get_voco("oobleck")))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vocos.errors import InvalidInput, UnsupportedOperation
from vocos.voco import Voco

if TYPE_CHECKING:
    from vocos.bridges.diffusers.autoencoder import VocoAutoencoder


def vae(voco: Voco[Any]) -> VocoAutoencoder:
    """A codec as the `vae` of `StableAudioPipeline` and of the other pipelines that take an `AutoencoderOobleck`.

    It is a view: it holds the codec itself, whose weights arrive when they are first needed, and moves it when the
    pipeline is moved.

    Args:
        voco: with latents of as many channels as the pipeline's transformer has.

    Raises:
        InvalidInput: if it is no codec.
        UnsupportedOperation: if the codec has no continuous latents, or diffusers is not installed.
    """
    if not isinstance(voco, Voco):
        raise InvalidInput(f"vae: expected a voco, as of get_voco, got a {type(voco).__name__}")
    if not voco.latent_dim:
        raise UnsupportedOperation(
            f"vae: {voco.name} has codes alone, and a pipeline works on continuous latents; oobleck, dacvae, "
            "dac, encodec_24khz and mel have them"
        )
    try:
        from vocos.bridges.diffusers.autoencoder import VocoAutoencoder
    except ImportError as error:
        raise UnsupportedOperation(
            f"vae: this needs the package diffusers, which cannot be imported ({error}); pip install "
            "'diffusers>=0.36', or install this package with its extra: pip install '.[bridges]'"
        ) from error
    return VocoAutoencoder(voco)
