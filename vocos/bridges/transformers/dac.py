"""A codec with the calls of `DacModel`, the audio tokenizer of Dia."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from torch import Tensor
from transformers import DacConfig, DacModel
from transformers.models.dac.modeling_dac import DacDecoderOutput, DacEncoderOutput

from vocos.bridges.transformers import own_config
from vocos.bridges.transformers.view import View, column_count
from vocos.errors import InvalidInput
from vocos.voco import Voco


def config_of(voco: Voco[Any]) -> DacConfig:
    """The config of a codec that is a DAC, or the facts of another under the same names."""
    own = own_config(voco)
    if own.get("model_type") == "dac":
        return DacConfig(**own)
    return DacConfig(
        downsampling_ratios=[voco.hop_length],
        n_codebooks=column_count(voco),
        codebook_size=voco.codebook_size,
        sampling_rate=voco.sampling_rate,
    )


class VocoDac(View, DacModel):
    """A codec in the place of a `DacModel`. It has no losses: they are for training, and a codec is frozen.

    Args:
        voco: the codec.
    """

    def __init__(self, voco: Voco[Any]) -> None:
        super().__init__(voco, config_of(voco))

    def encode(
        self, input_values: Tensor, n_quantizers: int | None = None, return_dict: bool | None = None
    ) -> DacEncoderOutput | tuple[Any, ...]:
        """Codes `[batch, codebooks, frames]` of audio, and the latents `[batch, latent_dim, frames]` they stand for.

        Args:
            input_values: float `[batch, channel, samples]` in [-1, 1].
            n_quantizers: codebooks to use, None for all.
            return_dict: False for a tuple, with None for the loss and the projected latents.

        Raises:
            InvalidInput: as of `Voco.encode_codes`.
        """
        codes = rearrange(self._codes(input_values, n_codebooks=n_quantizers), "b l k -> b k l")
        latents = self._latents_of_codes(codes)
        if not self._wants_dict(return_dict):
            return None, latents, codes, None
        return DacEncoderOutput(quantized_representation=latents, audio_codes=codes)

    def decode(
        self,
        quantized_representation: Tensor | None = None,
        audio_codes: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> DacDecoderOutput | tuple[Tensor]:
        """Audio of codes or, without them, of latents: `[batch, samples]`; `[batch, 2, samples]` of a stereo codec.

        Args:
            quantized_representation: float `[batch, latent_dim, frames]`.
            audio_codes: integers `[batch, codebooks, frames]`.
            return_dict: False for a tuple.

        Raises:
            InvalidInput: as of `Voco.decode_codes`, or if neither is given.
        """
        if audio_codes is not None:
            audio = self._sound(audio_codes)
        elif quantized_representation is not None:
            audio = self._sound_of_latents(quantized_representation)
        else:
            raise InvalidInput("decode: expected audio_codes or quantized_representation, got neither")
        audio = audio.squeeze(1)
        return DacDecoderOutput(audio) if self._wants_dict(return_dict) else (audio,)
