"""A codec with the calls of `EncodecModel`, the audio encoder of MusicGen and the codec of Bark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecDecoderOutput, EncodecEncoderOutput

from vocos.bridges.hooks import weights_in_place
from vocos.bridges.transformers import own_config
from vocos.bridges.transformers.view import View
from vocos.errors import InvalidInput
from vocos.voco import Voco
from vocos.voco.codes import ScaledCodes

Scales = Sequence[Tensor | None] | None


def config_of(voco: Voco[Any]) -> EncodecConfig:
    """The config of a codec that is an EnCodec, or the facts of another under the same names."""
    own = own_config(voco)
    if own.get("model_type") == "encodec":
        return EncodecConfig(**own)
    return EncodecConfig(
        sampling_rate=voco.sampling_rate,
        audio_channels=voco.channel,
        hidden_size=voco.latent_dim,
        upsampling_ratios=[voco.hop_length],
        codebook_size=voco.codebook_size,
        target_bandwidths=list(voco.bandwidths) or [(voco.bits_per_second or 0) / 1000],
    )


class Quantizer:
    """The quantiser alone, as Bark calls it."""

    def __init__(self, view: View) -> None:
        self._view = view

    def decode(self, codes: Tensor) -> Tensor:
        """Latents `[batch, latent_dim, frames]` of codes `[codebooks, batch, frames]`."""
        return self._view._latents_of_codes(rearrange(codes, "k b l -> b k l"))


class VocoEncodec(View, EncodecModel):
    """A codec in the place of an `EncodecModel`.

    Args:
        voco: the codec.
    """

    def __init__(self, voco: Voco[Any]) -> None:
        super().__init__(voco, config_of(voco))

    def encode(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        bandwidth: float | None = None,
        return_dict: bool | None = None,
    ) -> EncodecEncoderOutput | tuple[Tensor, list[Tensor | None], int]:
        """Codes `[chunks, batch, codebooks, frames]` of audio, and the scales `[batch, 1]` of the chunks, or None each.

        A codec that does not cut its audio has one chunk.

        Args:
            input_values: float `[batch, channel, samples]` in [-1, 1].
            padding_mask: `[batch, samples]` or `[batch, channel, samples]`, zero where the audio is to be silent.
            bandwidth: in kbps, one of the codec's; None for the lowest. A codec that has none gives all codebooks.
            return_dict: False for a tuple.

        Raises:
            InvalidInput: as of `Voco.encode_codes`, or for a clip whose last but one chunk is short, which has no
                place in this layout.
        """
        if padding_mask is not None:
            mask = padding_mask.view(padding_mask.shape[0], -1, padding_mask.shape[-1])
            input_values = input_values * mask.to(input_values.device, torch.bool)
        if bandwidth is None and self.voco.bandwidths:
            bandwidth = self.config.target_bandwidths[0]
        given = self._codes(input_values, bandwidth=bandwidth)
        is_scaled = isinstance(given, ScaledCodes)
        codes: Tensor = given.codes if is_scaled else given
        scales: list[Tensor | None] = list(given.scales.split(1, dim=1)) if is_scaled else [None]
        pieces = [rearrange(piece, "b l k -> b k l") for piece in codes.split(self._chunk_frames(codes.shape[1]), 1)]
        missing = [pieces[0].shape[-1] - piece.shape[-1] for piece in pieces]
        if any(missing[:-1]):
            raise InvalidInput(
                f"encode: the last but one chunk of {input_values.shape[-1]} samples is short, and chunks of codes "
                "must be equally long; complete the audio with zeros"
            )
        pieces[-1] = F.pad(pieces[-1], (0, missing[-1]))
        if not self._wants_dict(return_dict):
            return torch.stack(pieces), scales, missing[-1]
        return EncodecEncoderOutput(torch.stack(pieces), scales, missing[-1])

    def decode(
        self,
        audio_codes: Tensor,
        audio_scales: Scales = None,
        padding_mask: Tensor | None = None,
        return_dict: bool | None = None,
        last_frame_pad_length: int | None = 0,
    ) -> EncodecDecoderOutput | tuple[Tensor]:
        """Audio `[batch, channel, samples]` of codes.

        Args:
            audio_codes: integers `[chunks, batch, codebooks, frames]`.
            audio_scales: of the chunks, as `encode` gives them; a codec that has none needs none.
            padding_mask: what was encoded; the audio is cut to its length.
            return_dict: False for a tuple.
            last_frame_pad_length: frames to drop from the last chunk.

        Raises:
            InvalidInput: as of `Voco.decode_codes`.
        """
        if audio_codes.ndim != 4:
            raise InvalidInput(
                f"decode: expected audio_codes [chunks, batch, codebooks, frames], got {list(audio_codes.shape)}"
            )
        codes: Any = rearrange(audio_codes.to(self.device), "c b k l -> b (c l) k")
        codes = codes[:, : codes.shape[1] - (last_frame_pad_length or 0)]
        scales = [scale for scale in (audio_scales or [])[: len(audio_codes)] if scale is not None]
        if scales:
            codes = ScaledCodes(codes, torch.cat([scale.reshape(-1, 1) for scale in scales], dim=1).to(self.device))
        with weights_in_place(self):
            audio = rearrange(self.voco.decode_codes(codes), "b n c -> b c n")
        if padding_mask is not None:
            audio = audio[..., : padding_mask.shape[-1]]
        return EncodecDecoderOutput(audio) if self._wants_dict(return_dict) else (audio,)

    @property
    def quantizer(self) -> Quantizer:
        """From codes to latents."""
        return Quantizer(self)

    @property
    def decoder(self) -> Callable[[Tensor], Tensor]:
        """From latents `[batch, latent_dim, frames]` to audio `[batch, channel, samples]`."""
        return self._sound_of_latents

    def _chunk_frames(self, frames: int) -> list[int]:
        """Frames of each chunk, given those of all."""
        split: Callable[[int], list[int]] | None = getattr(self.voco, "_piece_frames", None)
        return split(frames) if split else [frames]
